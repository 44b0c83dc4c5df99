import { assert } from '../../src/base/assert.ts'
import { cancelledError, onAbort } from '../../src/runtime/abort.ts'
import type { Clock } from '../../src/runtime/clock.ts'

interface Timer {
  readonly dueMs: number
  readonly run: () => void
}

/** Time that moves only when a test says so. Starts at 2024-01-01T00:00:00Z. */
export class SimClock implements Clock {
  #monotonicMs = 0
  #wallOffsetMs = Date.UTC(2024, 0, 1)
  readonly #timers = new Set<Timer>()

  /** Timers and sleeps that have not come due. */
  get timerCount(): number {
    return this.#timers.size
  }

  nowMs(): number {
    return this.#wallOffsetMs + this.#monotonicMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelledError(signal, 'before sleeping'))
      const timer = this.after(ms, () => {
        aborting[Symbol.dispose]()
        resolve()
      })
      const aborting = onAbort(signal, () => {
        timer[Symbol.dispose]()
        reject(cancelledError(signal, 'while sleeping'))
      })
    })
  }

  after(ms: number, run: () => void): Disposable {
    assert(ms >= 0, `a delay of ${ms} ms`)
    const timer = { dueMs: this.#monotonicMs + ms, run }
    this.#timers.add(timer)
    return { [Symbol.dispose]: () => this.#timers.delete(timer) }
  }

  /**
   * Lets `ms` pass: timers run in the order they come due, each at its own time, and what they set
   * off runs until it waits again. Timers set meanwhile that come due in time run too.
   */
  async advance(ms: number): Promise<void> {
    const endMs = this.#monotonicMs + ms
    await settle()
    for (let next = this.#firstDue(endMs); next !== undefined; next = this.#firstDue(endMs)) {
      this.#timers.delete(next)
      this.#monotonicMs = next.dueMs
      next.run()
      await settle()
    }
    this.#monotonicMs = endMs
  }

  /** The wall clock is set, forwards or backwards; nothing else notices. */
  jumpWallClock(ms: number): void {
    this.#wallOffsetMs += ms
  }

  #firstDue(endMs: number): Timer | undefined {
    let first: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.dueMs <= endMs && (first === undefined || timer.dueMs < first.dueMs)) first = timer
    }
    return first
  }
}

/** Every promise that can settle without time passing has settled after this. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
