import { describe, expect, test } from 'vitest'
import { checksumOf } from '../../../../src/gateway/s3/body/checksum.ts'
import {
  type CrcAlgorithm,
  CrcCombiner,
  isCrc,
} from '../../../../src/gateway/s3/body/crc-combine.ts'
import { CHECKSUM_ALGORITHMS } from '../../../../src/gateway/s3/bucket-settings.ts'
import { Prng, seeds } from '../../../support/prng.ts'

const CRCS = ['CRC32', 'CRC32C', 'CRC64NVME'] as const

/** The sum of what `first` is of, followed by the `secondBytes` that `second` is of. */
function combineCrc(algorithm: CrcAlgorithm, first: Buffer, second: Buffer, secondBytes: number) {
  return new CrcCombiner(algorithm).append(first, 0).append(second, secondBytes).digest()
}

describe.each(CRCS)('%s of parts', (algorithm) => {
  test.each([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
    [4, 5],
    [9, 8],
    [100, 65_536],
    [65_536, 65_535],
  ])('of %d and %d bytes is that of both together', (firstBytes, secondBytes) => {
    const whole = new Prng(firstBytes + secondBytes + 1).bytes(firstBytes + secondBytes)
    const first = checksumOf(algorithm, whole.subarray(0, firstBytes))
    const second = checksumOf(algorithm, whole.subarray(firstBytes))
    const combined = combineCrc(algorithm, first, second, secondBytes)
    expect(combined).toEqual(checksumOf(algorithm, whole))
  })

  test.each(seeds(50))('cut at random is that of the whole (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const parts = Array.from({ length: prng.between(1, 12) }, () =>
      prng.bytes(prng.chance(0.5) ? 1000 : prng.below(3000)),
    )
    const combiner = new CrcCombiner(algorithm)
    for (const part of parts) combiner.append(checksumOf(algorithm, part), part.length)
    expect(combiner.digest()).toEqual(checksumOf(algorithm, Buffer.concat(parts)))
  })

  test('of 10000 parts of 11 bytes is that of the whole', () => {
    const whole = new Prng(1).bytes(110_000)
    const combiner = new CrcCombiner(algorithm)
    for (let at = 0; at < whole.length; at += 11) {
      combiner.append(checksumOf(algorithm, whole.subarray(at, at + 11)), 11)
    }
    expect(combiner.digest()).toEqual(checksumOf(algorithm, whole))
  })

  test('of up to 2^52 bytes is the same in whatever order they are combined', () => {
    // Sums of 2^k zero bytes, each from two of the one before.
    let zeros = checksumOf(algorithm, Buffer.alloc(1))
    const head = checksumOf(algorithm, Buffer.from('head'))
    for (let sizeBytes = 1; sizeBytes < 2 ** 52; sizeBytes *= 2) {
      const doubled = combineCrc(algorithm, zeros, zeros, sizeBytes)
      const step = combineCrc(algorithm, head, zeros, sizeBytes)
      const stepwise = combineCrc(algorithm, step, zeros, sizeBytes)
      expect(combineCrc(algorithm, head, doubled, sizeBytes * 2)).toEqual(stepwise)
      if (sizeBytes === 2 ** 19) {
        expect(doubled).toEqual(checksumOf(algorithm, Buffer.alloc(2 ** 20)))
      }
      zeros = doubled
    }
  })
})

test('the parts of a hash cannot be combined, those of a CRC can', () => {
  expect(CHECKSUM_ALGORITHMS.filter(isCrc)).toEqual(CRCS)
})

test.each([-1, 0.5, Number.NaN, 2 ** 53])('a part of %d bytes is a bug', (sizeBytes) => {
  const crc = checksumOf('CRC32', Buffer.alloc(0))
  expect(() => combineCrc('CRC32', crc, crc, sizeBytes)).toThrow('a part of')
})

test('a sum of another length is a bug', () => {
  const combiner = new CrcCombiner('CRC64NVME')
  expect(() => combiner.append(Buffer.alloc(4), 1)).toThrow('of another length')
})
