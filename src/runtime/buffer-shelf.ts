import type { Clock } from './clock.ts'

const IDLE_MS = 10_000

/** Memory on loan. */
export interface LentBytes {
  readonly bytes: Buffer
  /**
   * Call it only when nothing reads or writes the bytes any more: the next user changes them. Twice
   * is harmless. Memory that is never given back is left to the collector, and nothing is lost.
   */
  release(): void
}

/**
 * Buffers of one size that are used again: memory of this size is costly to get anew, and the
 * collector is late to give it back. It bounds what lies idle, not what is on loan; that is up to
 * whoever lends.
 */
export class BufferShelf {
  readonly sizeBytes: number
  readonly #clock: Clock
  readonly #keptMax: number
  readonly #free: Buffer[] = []
  #forgetting: Disposable | undefined

  constructor(
    parts: { readonly clock: Clock },
    options: { readonly sizeBytes: number; readonly keptMax: number },
  ) {
    this.#clock = parts.clock
    this.sizeBytes = options.sizeBytes
    this.#keptMax = options.keptMax
  }

  get freeCount(): number {
    return this.#free.length
  }

  /** `length` bytes of arbitrary content; more than `sizeBytes` are not kept for later. */
  take(length: number): LentBytes {
    if (length > this.sizeBytes) return { bytes: Buffer.allocUnsafeSlow(length), release() {} }
    const whole = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.sizeBytes)
    let isLent = true
    return {
      bytes: whole.subarray(0, length),
      release: () => {
        if (!isLent) return
        isLent = false
        this.#keep(whole)
      },
    }
  }

  #keep(whole: Buffer): void {
    if (this.#free.length >= this.#keptMax) return
    this.#free.push(whole)
    // One timer for all: a shelf that is in use is not worth a timer for each buffer.
    this.#forgetting ??= this.#clock.after(IDLE_MS, () => {
      this.#forgetting = undefined
      this.#free.length = 0
    })
  }
}
