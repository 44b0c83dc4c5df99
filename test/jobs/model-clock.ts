import { cancelledError } from '../../src/runtime/abort.ts'
import type { Clock } from '../../src/runtime/clock.ts'

/** Time that passes when somebody sleeps, or a test says so; nobody waits for it. */
export class ModelClock implements Clock {
  #nowMs = 0
  #stampCount = 0n
  readonly #timers = new Set<{ readonly dueMs: number; readonly run: () => void }>()

  nowMs(): number {
    return Date.UTC(2024, 0, 1) + this.#nowMs
  }

  /** For what is appended: later every time. */
  stampNs(): bigint {
    return BigInt(this.nowMs()) * 1_000_000n + this.#stampCount++
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw cancelledError(signal, 'before sleeping')
    this.pass(ms)
  }

  after(ms: number, run: () => void): Disposable {
    const timer = { dueMs: this.#nowMs + ms, run }
    this.#timers.add(timer)
    return { [Symbol.dispose]: () => this.#timers.delete(timer) }
  }

  pass(ms: number): void {
    this.#nowMs += ms
    for (const timer of [...this.#timers]) {
      if (timer.dueMs > this.#nowMs) continue
      this.#timers.delete(timer)
      timer.run()
    }
  }
}
