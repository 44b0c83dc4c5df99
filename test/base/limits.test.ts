import { describe, expect, test } from 'vitest'
import { CLIENT_LIMITS } from '../../src/base/client-limits.ts'
import { CLUSTER_LIMITS } from '../../src/base/cluster-limits.ts'
import type { Limit } from '../../src/base/limit.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { NET_LIMITS } from '../../src/base/net-limits.ts'
import { STORAGE_LIMITS } from '../../src/base/storage-limits.ts'
import { GIB, MIB } from '../../src/base/units.ts'
import { recordBytes } from '../../src/format/needle.ts'

describe('limits', () => {
  test.each(Object.entries<Limit>(LIMITS))('%s has a value, a unit and reasons', (_, limit) => {
    expect(limit.value).toBeGreaterThan(0)
    if (limit.unit === 'bytes') expect(Number.isSafeInteger(limit.value)).toBe(true)
    expect(limit.unit).toMatch(/^[a-z][a-z ]*$/)
    expect(limit.reason.length).toBeGreaterThan(20)
    expect(limit.atLimit.length).toBeGreaterThan(10)
  })

  test('the longest needle with the longest attributes fits an int32 and one read', () => {
    const attributesMax = 1 + 256 + 256 + 5 + 2 + 2 + LIMITS.needlePairsMax.value
    const sizeBytes = 4 + LIMITS.needleDataMax.value + attributesMax
    expect(recordBytes(sizeBytes, 3)).toBeLessThanOrEqual(2 * GIB - 1)
  })

  test('agree with each other', () => {
    expect(LIMITS.volumeSizeDefault.value).toBeLessThan(LIMITS.volumeSizeMax.value)
    expect(LIMITS.volumeSizeMax.value).toBe(2 ** 32 * 8)
    expect(LIMITS.queuedWritesMax.value % LIMITS.batchNeedlesMax.value).toBe(0)
    expect(LIMITS.checksumBlock.value).toBe(MIB)
  })
})

test('no name stands in two of the lists: the later one would replace the other', () => {
  const lists = [STORAGE_LIMITS, NET_LIMITS, CLUSTER_LIMITS, CLIENT_LIMITS]
  const names = lists.flatMap((list) => Object.keys(list))
  expect(names.filter((name, index) => names.indexOf(name) < index)).toEqual([])
})
