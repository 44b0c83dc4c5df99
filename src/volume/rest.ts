import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'

/** Kinder than that is as good as not working at all. */
const POLITENESS_MAX = 1_000
/** Shorter rests cost more than they give. */
const REST_MIN_MS = 5
/** After a disk that hung for a minute nobody needs an hour of rest. */
const REST_MAX_MS = 10_000

/**
 * Keeps background work out of the way of readers and writers: for each millisecond of work it
 * rests `politeness` milliseconds. Workers call it after every slice of at most 100 ms.
 */
export class Rest {
  readonly #clock: Clock
  readonly #politeness: number
  readonly #signal: AbortSignal
  #owedMs = 0
  #beganMs: number

  /** @throws {StoreError} REQUEST_INVALID: a politeness that is not 0 to 1000. */
  constructor(parts: { readonly clock: Clock }, politeness: number, signal: AbortSignal) {
    if (!(politeness >= 0 && politeness <= POLITENESS_MAX)) {
      throw new StoreError(
        'REQUEST_INVALID',
        `politeness ${politeness} is not 0 to ${POLITENESS_MAX}`,
      )
    }
    this.#clock = parts.clock
    this.#politeness = politeness
    this.#signal = signal
    this.#beganMs = parts.clock.monotonicMs()
  }

  /** To be awaited after `workMs` of work. @throws {StoreError} CANCELLED. */
  async after(workMs: number): Promise<void> {
    this.#owedMs += workMs * this.#politeness
    if (this.#owedMs < REST_MIN_MS) return
    const restMs = Math.min(this.#owedMs, REST_MAX_MS)
    this.#owedMs = 0
    await this.#clock.sleep(restMs, this.#signal)
  }

  /** As `after`, for the time since the last call, or since this was made, of so many servers. */
  async sinceLast(serverCount = 1): Promise<void> {
    if (this.#politeness === 0) return
    await this.after((this.#clock.monotonicMs() - this.#beganMs) * serverCount)
    this.#beganMs = this.#clock.monotonicMs()
  }
}
