import { LIMITS } from '../../base/limits.ts'
import type { Clock } from '../../runtime/clock.ts'

/** After a slow read the disk is asked through the thread pool for so long. */
const COLD_MS = 50

/**
 * Reads of rows on this thread, as long as they come from memory: that takes a few microseconds,
 * the way through the thread pool fifty. One read that was slow means that others will be, so the
 * event loop waits for a disk once in `COLD_MS` at most.
 */
export class QuickReads {
  readonly #clock: Clock
  #coldUntilMs = Number.NEGATIVE_INFINITY

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** In the order of the keys, of this one moment. Undefined: use the thread pool for them all. */
  tryRead<Value>(
    keys: readonly string[],
    read: (key: string) => Value,
  ): readonly Value[] | undefined {
    let beforeMs = this.#clock.monotonicMs()
    const values: Value[] = []
    for (const key of keys) {
      if (beforeMs < this.#coldUntilMs) return undefined
      values.push(read(key))
      const afterMs = this.#clock.monotonicMs()
      if (afterMs - beforeMs > LIMITS.slowReadMs.value) this.#coldUntilMs = afterMs + COLD_MS
      beforeMs = afterMs
    }
    return values
  }
}
