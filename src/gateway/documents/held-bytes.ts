import { assert } from '../../base/assert.ts'
import { StoreError } from '../../base/store-error.ts'

/** Bytes that may be in memory for all documents under way together. Nobody waits for room. */
export class HeldBytes {
  readonly #bytesMax: number
  #heldBytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  /** What one document takes, from nothing on; released as a whole. */
  open(): HeldShare {
    return new HeldShare((bytes) => this.#change(bytes))
  }

  #change(bytes: number): void {
    if (bytes > 0 && this.#heldBytes + bytes > this.#bytesMax) {
      const why = `documents of ${this.#heldBytes} bytes are under way already`
      throw new StoreError('OVERLOADED', why)
    }
    this.#heldBytes += bytes
    assert(this.#heldBytes >= 0, 'more bytes were released than were held')
  }
}

export class HeldShare implements Disposable {
  readonly #change: (bytes: number) => void
  #bytes = 0

  constructor(change: (bytes: number) => void) {
    this.#change = change
  }

  /** @throws {StoreError} OVERLOADED: there is no room for so many more. */
  add(bytes: number): void {
    this.#change(bytes)
    this.#bytes += bytes
  }

  /** Twice is harmless. */
  [Symbol.dispose](): void {
    this.#change(-this.#bytes)
    this.#bytes = 0
  }
}
