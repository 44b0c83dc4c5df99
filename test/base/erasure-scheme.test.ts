import { describe, expect, test } from 'vitest'
import {
  ERASURE_SHARDS_MAX,
  formatErasureScheme,
  isErasureScheme,
  isSameScheme,
  parseErasureScheme,
  shardCountOf,
} from '../../src/base/erasure-scheme.ts'

describe('a scheme as text', () => {
  test.each([
    ['1+1', 1, 1],
    ['2+1', 2, 1],
    ['10+4', 10, 4],
    ['24+6', 24, 6],
  ])('%s is %i data and %i parity shards, and back', (text, dataShards, parityShards) => {
    const scheme = { dataShards, parityShards }
    expect(parseErasureScheme(text)).toEqual(scheme)
    expect(formatErasureScheme(scheme)).toBe(text)
    expect(shardCountOf(scheme)).toBe(dataShards + parityShards)
  })

  test.each([
    '',
    '+',
    '10',
    '10+',
    '+4',
    '0+4',
    '10+0',
    '25+4',
    '10+7',
    '100+4',
    '10+4+1',
    '10 + 4',
    '10+4 ',
    '-1+4',
    '1.5+4',
    '10+٤',
    '10+4\n',
    'off',
  ])('%j is refused with its reason', (text) => {
    expect(() => parseErasureScheme(text)).toThrow(
      expect.objectContaining({
        code: 'ERASURE_INVALID',
        message: expect.stringContaining('at most 24+6'),
      }),
    )
  })

  test('every one that can be made comes back as it was', () => {
    for (let dataShards = 1; dataShards <= ERASURE_SHARDS_MAX.data; dataShards++) {
      for (let parityShards = 1; parityShards <= ERASURE_SHARDS_MAX.parity; parityShards++) {
        const scheme = { dataShards, parityShards }
        expect(parseErasureScheme(formatErasureScheme(scheme))).toEqual(scheme)
      }
    }
  })
})

test.each([
  [1, 1, true],
  [24, 6, true],
  [0, 1, false],
  [1, 0, false],
  [25, 6, false],
  [24, 7, false],
  [-1, 1, false],
  [1.5, 1, false],
  [Number.NaN, 1, false],
  [10, Number.POSITIVE_INFINITY, false],
])('of %d data and %d parity shards it is %s that they can be made', (data, parity, can) => {
  expect(isErasureScheme({ dataShards: data, parityShards: parity })).toBe(can)
})

test('schemes are the same when both numbers are', () => {
  const scheme = { dataShards: 10, parityShards: 4 }
  expect(isSameScheme(scheme, { ...scheme })).toBe(true)
  expect(isSameScheme(scheme, { ...scheme, dataShards: 4 })).toBe(false)
  expect(isSameScheme(scheme, { ...scheme, parityShards: 5 })).toBe(false)
  expect(isSameScheme(scheme, { dataShards: 4, parityShards: 10 })).toBe(false)
})
