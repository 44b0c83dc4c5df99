import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Semaphore } from '../runtime/semaphore.ts'

const IDLE_MS = 10_000

/** So long a source may take to fill a buffer that others wait for. */
const FILL_MS = 2000

/** Memory on loan. */
export interface PooledBuffer {
  readonly bytes: Buffer
  /** Others wait for it, and who has it is slow. */
  isOverdue(): boolean
  /** `isReusable`: nothing can read or write it any more. Otherwise it is left to the collector. */
  release(isReusable: boolean): void
}

/**
 * Buffers of one size for chunks on their way: memory of this size is costly to get anew. `slots`
 * bounds those on loan, from all the pools that share it.
 */
export class BufferPool implements Disposable {
  readonly sizeBytes: number
  readonly #clock: Clock
  readonly #slots: Semaphore
  readonly #free: Buffer[] = []
  #forgetting: Disposable | undefined

  constructor(parts: { readonly clock: Clock; readonly slots: Semaphore }, sizeBytes: number) {
    this.#clock = parts.clock
    this.#slots = parts.slots
    this.sizeBytes = sizeBytes
  }

  get freeCount(): number {
    return this.#free.length
  }

  /** Its content is arbitrary. @throws {StoreError} OVERLOADED, CANCELLED. */
  async take(signal: AbortSignal): Promise<PooledBuffer> {
    const slot = await this.#slots.acquire(signal)
    const bytes = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.sizeBytes)
    const takenAtMs = this.#clock.monotonicMs()
    return {
      bytes,
      isOverdue: () =>
        this.#slots.waitingCount > 0 && this.#clock.monotonicMs() - takenAtMs >= FILL_MS,
      release: (isReusable) => {
        slot[Symbol.dispose]()
        if (isReusable) this.#keep(bytes)
      },
    }
  }

  [Symbol.dispose](): void {
    this.#forgetting?.[Symbol.dispose]()
    this.#free.length = 0
  }

  #keep(bytes: Buffer): void {
    if (this.#free.length >= LIMITS.chunksInFlightMax.value) return
    this.#free.push(bytes)
    this.#forgetting?.[Symbol.dispose]()
    this.#forgetting = this.#clock.after(IDLE_MS, () => {
      this.#free.length = 0
    })
  }
}
