import { MIB } from '../base/units.ts'
import type { Clock } from '../runtime/clock.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'

/**
 * Told after each window of work how long it took; the work goes on when this resolves. Whoever
 * wants it polite rests meanwhile. What it rejects with ends the work.
 */
export type Pace = (workMs: number) => Promise<void>

/** Measures the windows of one long work. Without a pace it only gives way to other work. */
export class WorkPace {
  readonly #clock: Clock
  readonly #pace: Pace | undefined
  #startedMs: number

  constructor(clock: Clock, pace: Pace | undefined) {
    this.#clock = clock
    this.#pace = pace
    this.#startedMs = clock.monotonicMs()
  }

  /** The end of a window of work. */
  async rest(): Promise<void> {
    if (this.#pace !== undefined) await this.#pace(this.#clock.monotonicMs() - this.#startedMs)
    await yieldTurn()
    this.#startedMs = this.#clock.monotonicMs()
  }

  /** Only gives way, for work that others wait for. */
  async giveWay(): Promise<void> {
    await yieldTurn()
  }
}

const WINDOW_BYTES = 4 * MIB
const WINDOW_RECORDS = 512

/** Tells when a stretch of work over records is long enough for a rest: some milliseconds. */
export class WorkWindow {
  readonly #rest: () => Promise<void>
  #bytes = 0
  #records = 0

  constructor(rest: () => Promise<void>) {
    this.#rest = rest
  }

  /** Counts one more record. */
  isFull(recordBytes: number): boolean {
    this.#bytes += recordBytes
    this.#records++
    return this.#bytes >= WINDOW_BYTES || this.#records >= WINDOW_RECORDS
  }

  async rest(): Promise<void> {
    this.#bytes = 0
    this.#records = 0
    await this.#rest()
  }
}
