import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'

/** A sleep that can be cut short. One sleeper at a time. */
export class Wakeup {
  readonly #clock: Clock
  #isDue = false
  #wake: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Ends the present sleep, or else the next one before it begins. */
  wake(): void {
    this.#isDue = true
    this.#wake?.()
  }

  /** Returns after `ms`, when woken, or when `signal` aborts. True when woken. */
  async sleep(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#isDue && !signal.aborted) await this.#wait(ms, signal)
    const wasWoken = this.#isDue
    this.#isDue = false
    return wasWoken
  }

  /** Returns after `ms` or when `signal` aborts. What wakes meanwhile counts as heard. */
  async pause(ms: number, signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(ms, signal).catch(() => 'the caller looks at the signal')
    this.#isDue = false
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    let wake: () => void = () => undefined
    const woken = new Promise<void>((resolve) => {
      wake = resolve
    })
    using _timer = this.#clock.after(ms, wake)
    using _aborting = onAbort(signal, wake)
    this.#wake = wake
    await woken
    this.#wake = undefined
  }
}
