import { expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { locateWrongByte } from '../../src/storage/crc-locate.ts'
import { Prng } from '../support/prng.ts'
import { flipped } from '../support/small-volume.ts'

const prng = new Prng(1)

test.each([1, 2, 7, 4096, 2 ** 20])('finds any wrong byte of a block of %i bytes', (length) => {
  const block = prng.bytes(length)
  const expected = crc32c(block)
  const places = length <= 7 ? [...block.keys()] : [0, 1, length - 2, length - 1, length >> 1]
  for (const at of places) {
    for (const mask of [1, 0x80, 0xff, prng.between(1, 255)]) {
      const actual = crc32c(flipped(block, at, mask))
      expect(locateWrongByte({ lengthBytes: length, expected, actual })).toContain(at)
    }
  }
})

test('two wrong bytes far apart lead to no place, but by chance', () => {
  const block = prng.bytes(4096)
  const expected = crc32c(block)
  let found = 0
  for (let round = 0; round < 200; round++) {
    const first = prng.below(2000)
    const actual = crc32c(flipped(flipped(block, first, 5), 2000 + prng.below(2000), 9))
    found += locateWrongByte({ lengthBytes: block.length, expected, actual }).length
  }
  // 4096 places and 255 patterns among 2^32 checksums: one in 4000.
  expect(found).toBeLessThan(3)
})
