import { viewOf } from '../format/needle.ts'

const SLAB_BYTES = 64 * 1024
/** Larger records get a buffer of their own: they would use a slab up in a few reads. */
const SLICE_BYTES_MAX = 8 * 1024

/** Memory that a record is read into. A caller that reads again and again keeps one. */
export class ReadBuffer {
  readonly bytes: Buffer
  readonly view: DataView

  constructor(sizeBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(sizeBytes)
    this.view = viewOf(this.bytes)
  }
}

/**
 * Memory for callers that bring none: pieces of one large buffer, taken one after the other and
 * never used twice. A buffer of its own for each record costs half as much as the read itself.
 */
export class ReadSlab {
  #slab = new ReadBuffer(SLAB_BYTES)
  #usedBytes = 0
  /** Where the piece last taken starts. */
  at = 0

  take(length: number): ReadBuffer {
    if (length > SLICE_BYTES_MAX) {
      this.at = 0
      return new ReadBuffer(length)
    }
    if (this.#usedBytes + length > SLAB_BYTES) {
      this.#slab = new ReadBuffer(SLAB_BYTES)
      this.#usedBytes = 0
    }
    this.at = this.#usedBytes
    this.#usedBytes += length
    return this.#slab
  }
}
