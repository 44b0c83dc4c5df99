import { assert } from '../base/assert.ts'
import { cancelledError, onAbort } from './abort.ts'

export interface Clock {
  /** Wall clock: may jump. For timestamps, never for measuring or waiting. */
  nowMs(): number
  /** Never goes back; its zero means nothing. */
  monotonicMs(): number
  /** @throws {StoreError} CANCELLED: `signal` aborted first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Runs `run` once after `ms`, unless disposed before. Does not keep the process alive. */
  after(ms: number, run: () => void): Disposable
}

/** A longer timer would fire at once: the system keeps the delay in 31 bits. */
const DELAY_MS_MAX = 2 ** 31 - 1

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep,
  after(ms, run) {
    checkDelay(ms)
    const timer = setTimeout(run, ms)
    timer.unref()
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  checkDelay(ms)
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(cancelledError(signal, 'before sleeping'))
    const timer = setTimeout(() => {
      aborting[Symbol.dispose]()
      resolve()
    }, ms)
    const aborting = onAbort(signal, () => {
      clearTimeout(timer)
      reject(cancelledError(signal, 'while sleeping'))
    })
  })
}

function checkDelay(ms: number): void {
  assert(ms >= 0 && ms <= DELAY_MS_MAX, `a delay of ${ms} ms is outside 31 bits`)
}
