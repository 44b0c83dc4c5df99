import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { BlockChecksums } from '../../src/storage/block-checksums.ts'
import { Prng } from '../support/prng.ts'

const BLOCK_BYTES = 4096
const bytes = new Prng(1).bytes(70 * BLOCK_BYTES + 123)

function expected(length: number): number[] {
  const crcs: number[] = []
  for (let at = 0; at < length; at += BLOCK_BYTES) {
    crcs.push(crc32c(bytes.subarray(at, Math.min(at + BLOCK_BYTES, length))))
  }
  return crcs
}

describe('block checksums', () => {
  test('are those of the blocks, however the bytes are fed', () => {
    for (const step of [1, 7, 4095, 4096, 4097, 10_000, bytes.length]) {
      const checksums = new BlockChecksums(BLOCK_BYTES)
      const length = step < 100 ? 3 * BLOCK_BYTES + 5 : bytes.length
      for (let at = 0; at < length; at += step) {
        checksums.extend(bytes.subarray(at, Math.min(at + step, length)))
      }
      expect(checksums.coveredBytes).toBe(length)
      expect([...checksums.toArray()]).toEqual(expected(length))
    }
  })

  test('are all there at every length around 64 and 65 full blocks', () => {
    for (const length of [63.5, 64, 64.5, 65, 65.5].map((blocks) => blocks * BLOCK_BYTES)) {
      const checksums = new BlockChecksums(BLOCK_BYTES)
      checksums.extend(bytes.subarray(0, length))
      expect([...checksums.toArray()]).toEqual(expected(length))
    }
  })

  test.each([0, 1, 4095, 4096, 4097, 8192])('of %d bytes are restored and go on', (length) => {
    const first = new BlockChecksums(BLOCK_BYTES)
    first.extend(bytes.subarray(0, length))
    const crcs = first.toArray()
    const restored = BlockChecksums.restore({ blockBytes: BLOCK_BYTES, coveredBytes: length, crcs })
    expect(restored.blockCount).toBe(Math.ceil(length / BLOCK_BYTES))
    expect(restored.toArray()).toEqual(crcs)
    restored.extend(bytes.subarray(length))
    expect([...restored.toArray()]).toEqual(expected(bytes.length))
  })

  test('forget what came after a mark, across any number of blocks', () => {
    for (const [markAt, end] of [
      [0, 1],
      [10, 4096],
      [4096, 4097],
      [4095, 60 * BLOCK_BYTES],
      [5000, 5000],
    ] as const) {
      const checksums = new BlockChecksums(BLOCK_BYTES)
      checksums.extend(bytes.subarray(0, markAt))
      const mark = checksums.mark()
      checksums.extend(bytes.subarray(markAt, end))
      checksums.rollBack(mark)
      expect([...checksums.toArray()]).toEqual(expected(markAt))
      checksums.extend(bytes.subarray(markAt))
      expect([...checksums.toArray()]).toEqual(expected(bytes.length))
    }
  })

  test('say for each block what it covers, the last one in part', () => {
    const checksums = new BlockChecksums(BLOCK_BYTES)
    checksums.extend(bytes.subarray(0, BLOCK_BYTES + 10))
    const [first = 0, second = 0] = expected(BLOCK_BYTES + 10)
    expect(checksums.block(0)).toEqual({ startBytes: 0, endBytes: 4096, crc: first })
    expect(checksums.block(1)).toEqual({ startBytes: 4096, endBytes: 4106, crc: second })
    expect(() => checksums.block(2)).toThrow(/cover/)
  })
})
