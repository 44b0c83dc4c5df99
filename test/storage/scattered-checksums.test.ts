import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { ScatteredChecksums } from '../../src/storage/scattered-checksums.ts'
import { Prng, seeds } from '../support/prng.ts'

function blocksOf(bytes: Buffer, blockBytes: number) {
  const count = Math.ceil(bytes.length / blockBytes)
  const crcs = Uint32Array.from({ length: count }, (_, index) =>
    crc32c(bytes.subarray(index * blockBytes, (index + 1) * blockBytes)),
  )
  return { blockBytes, datBytes: bytes.length, crcs }
}

/** The bytes in random pieces, in a random order. */
function piecesOf(bytes: Buffer, prng: Prng): (readonly [piece: Buffer, offset: number])[] {
  const pieces: (readonly [Buffer, number])[] = []
  for (let at = 0; at < bytes.length; ) {
    const piece = bytes.subarray(at, at + prng.between(1, 700))
    pieces.push([piece, at])
    at += piece.length
  }
  return prng.shuffle(pieces)
}

describe('the checksums of blocks whose bytes come in any order', () => {
  test.each(seeds(100))('match when all bytes are right (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const bytes = prng.bytes(prng.between(1, 9000))
    const sums = new ScatteredChecksums(blocksOf(bytes, 2 ** prng.between(3, 13)))
    for (const [piece, offset] of piecesOf(bytes, prng)) {
      expect(sums.isComplete).toBe(false)
      sums.add(piece, offset)
    }
    expect(sums.isComplete).toBe(true)
  })

  test.each(seeds(100))('name the block with a flipped bit (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const bytes = prng.bytes(prng.between(1, 9000))
    const blocks = blocksOf(bytes, 2 ** prng.between(3, 13))
    const at = prng.below(bytes.length)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << prng.below(8))
    const sums = new ScatteredChecksums(blocks)
    const add = () => {
      for (const [piece, offset] of piecesOf(bytes, prng)) sums.add(piece, offset)
    }
    const block = Math.floor(at / blocks.blockBytes)
    const damage = { code: 'VOLUME_DAMAGED', message: expect.stringContaining(`block ${block} `) }
    expect(add).toThrow(expect.objectContaining(damage))
    expect(sums.isComplete).toBe(false)
  })

  test('notice two pieces that were exchanged', () => {
    const bytes = new Prng(1).bytes(64)
    const sums = new ScatteredChecksums(blocksOf(bytes, 64))
    sums.add(bytes.subarray(0, 32), 32)
    const add = () => sums.add(bytes.subarray(32), 0)
    expect(add).toThrow(expect.objectContaining({ code: 'VOLUME_DAMAGED' }))
  })
})
