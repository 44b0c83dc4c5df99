import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'

const FIRST_CAPACITY = 64

/** A point to come back to when bytes turn out not to count. */
export interface ChecksumMark {
  readonly coveredBytes: number
  readonly partialCrc: number
}

/**
 * CRC-32C of every block of a file that grows at its end, kept up to date by feeding it the bytes
 * in order. Blocks below `coveredBytes` are final except the last, which holds the checksum of its
 * bytes so far.
 */
export class BlockChecksums {
  readonly blockBytes: number
  #crcs: Uint32Array
  #coveredBytes = 0
  #partialCrc = 0

  constructor(blockBytes: number = LIMITS.checksumBlock.value) {
    this.blockBytes = blockBytes
    this.#crcs = new Uint32Array(FIRST_CAPACITY)
  }

  /** Continues from stored checksums; the last one may be that of a partial block. */
  static restore(stored: {
    readonly blockBytes: number
    readonly coveredBytes: number
    readonly crcs: Uint32Array
  }): BlockChecksums {
    const checksums = new BlockChecksums(stored.blockBytes)
    checksums.#crcs = new Uint32Array(Math.max(FIRST_CAPACITY, stored.crcs.length * 2))
    checksums.#crcs.set(stored.crcs)
    checksums.#coveredBytes = stored.coveredBytes
    const partialBytes = stored.coveredBytes % stored.blockBytes
    checksums.#partialCrc = partialBytes === 0 ? 0 : (stored.crcs.at(-1) ?? 0)
    return checksums
  }

  get coveredBytes(): number {
    return this.#coveredBytes
  }

  get blockCount(): number {
    return Math.ceil(this.#coveredBytes / this.blockBytes)
  }

  extend(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const room = this.blockBytes - (this.#coveredBytes % this.blockBytes)
      const piece = at === 0 && bytes.length <= room ? bytes : bytes.subarray(at, at + room)
      this.#partialCrc = crc32c(piece, this.#partialCrc)
      this.#coveredBytes += piece.length
      at += piece.length
      if (piece.length === room) this.#finishBlock()
    }
  }

  mark(): ChecksumMark {
    return { coveredBytes: this.#coveredBytes, partialCrc: this.#partialCrc }
  }

  /** Forgets everything fed since `mark`. */
  rollBack(mark: ChecksumMark): void {
    assert(mark.coveredBytes <= this.#coveredBytes, 'a mark lies behind the bytes fed so far')
    this.#coveredBytes = mark.coveredBytes
    this.#partialCrc = mark.partialCrc
  }

  /** Checksum of block `index`, with the end of what it covers. */
  block(index: number): { readonly startBytes: number; readonly endBytes: number; crc: number } {
    assert(index < this.blockCount, 'a checksum block beyond what is covered')
    const startBytes = index * this.blockBytes
    const endBytes = Math.min(startBytes + this.blockBytes, this.#coveredBytes)
    const isPartial = endBytes - startBytes < this.blockBytes
    return { startBytes, endBytes, crc: isPartial ? this.#partialCrc : (this.#crcs[index] ?? 0) }
  }

  /** All checksums in order, the partial last one included; a copy. */
  toArray(): Uint32Array {
    // The partial block has no place in `#crcs` yet when that is full.
    const crcs = new Uint32Array(this.blockCount)
    crcs.set(this.#crcs.subarray(0, this.blockCount))
    if (this.#coveredBytes % this.blockBytes !== 0) crcs[crcs.length - 1] = this.#partialCrc
    return crcs
  }

  #finishBlock(): void {
    const index = this.#coveredBytes / this.blockBytes - 1
    if (index >= this.#crcs.length) {
      const larger = new Uint32Array(this.#crcs.length * 2)
      larger.set(this.#crcs)
      this.#crcs = larger
    }
    this.#crcs[index] = this.#partialCrc
    this.#partialCrc = 0
  }
}
