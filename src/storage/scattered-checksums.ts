import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { StoreError } from '../base/store-error.ts'
import type { KnownBlocks } from './scrub-blocks.ts'

/** The generator of CRC-32C, bits reversed. */
const POLYNOMIAL = 0x82f6_3b78
/** Polynomials are held bits reversed: this is 1, and the next lower bit is x. */
const ONE = 0x8000_0000
/** Of a number of bits that can be a length here. */
const EXPONENT_BITS = 48

/** `POWERS[i]` is x to the power of 2 to the i. */
const POWERS = makePowers()

/**
 * Compares bytes of a file with the checksums of its blocks, in whatever order and pieces they
 * come, each byte once. The checksum of a block is put together from those of its pieces.
 */
export class ScatteredChecksums {
  readonly #known: KnownBlocks
  /** Of the pieces that have come, each as if zeros followed it to the end of its block. */
  readonly #crcs: Uint32Array
  readonly #missingBytes: Uint32Array
  #leftBytes: number

  constructor(known: KnownBlocks) {
    const { blockBytes, datBytes, crcs } = known
    assert(crcs.length === Math.ceil(datBytes / blockBytes), 'one checksum for each block')
    this.#known = known
    this.#crcs = new Uint32Array(crcs.length)
    this.#missingBytes = new Uint32Array(crcs.length).fill(blockBytes)
    if (datBytes % blockBytes !== 0) this.#missingBytes[crcs.length - 1] = datBytes % blockBytes
    this.#leftBytes = datBytes
  }

  /** Every byte has come, and every block matched. */
  get isComplete(): boolean {
    return this.#leftBytes === 0
  }

  /** @throws {StoreError} VOLUME_DAMAGED: a block that is complete now is another one. */
  add(bytes: Buffer, offset: number): void {
    const { blockBytes, datBytes } = this.#known
    assert(offset + bytes.length <= datBytes, 'bytes of the file')
    for (let at = 0; at < bytes.length; ) {
      const index = Math.floor((offset + at) / blockBytes)
      const endBytes = Math.min((index + 1) * blockBytes, datBytes)
      const piece = bytes.subarray(at, Math.min(bytes.length, endBytes - offset))
      at += piece.length
      this.#addPiece(index, piece, endBytes - (offset + at))
    }
  }

  #addPiece(index: number, piece: Buffer, followingBytes: number): void {
    const crc = followZeros(crc32c(piece), followingBytes)
    const sum = ((this.#crcs[index] ?? 0) ^ crc) >>> 0
    const missing = (this.#missingBytes[index] ?? 0) - piece.length
    assert(missing >= 0, 'each byte comes once')
    this.#crcs[index] = sum
    this.#missingBytes[index] = missing
    if (missing === 0 && sum !== this.#known.crcs[index]) {
      const startBytes = index * this.#known.blockBytes
      const why = `block ${index} of .dat, at byte ${startBytes}, does not match its checksum`
      throw new StoreError('VOLUME_DAMAGED', why)
    }
    this.#leftBytes -= piece.length
  }
}

/**
 * What the checksum of some bytes adds to that of the whole when so many others follow: the
 * checksum of a whole is the sum of what its pieces add.
 */
function followZeros(crc: number, bytes: number): number {
  let factor = ONE
  for (let bit = 3, left = bytes; left > 0; bit++, left = Math.floor(left / 2)) {
    if (left % 2 === 1) factor = multiply(POWERS[bit] ?? 0, factor)
  }
  return multiply(factor, crc)
}

/** Modulo the generator. */
function multiply(a: number, b: number): number {
  let product = 0
  let term = b
  for (let bit = 31; bit >= 0; bit--) {
    if (((a >>> bit) & 1) === 1) product ^= term
    term = (term & 1) === 1 ? (term >>> 1) ^ POLYNOMIAL : term >>> 1
  }
  return product >>> 0
}

function makePowers(): readonly number[] {
  const powers = [ONE >>> 1]
  while (powers.length < EXPONENT_BITS) {
    const last = powers.at(-1) ?? 0
    powers.push(multiply(last, last))
  }
  return powers
}
