import { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'

/** A signal that aborts after a time, or when another one does, whichever is first. */
export class Deadline implements Disposable {
  readonly signal: AbortSignal
  readonly #timer: Disposable
  readonly #aborting: Disposable
  #hasPassed = false

  constructor(clock: Clock, ms: number, signal: AbortSignal) {
    const controller = new AbortController()
    this.signal = controller.signal
    this.#timer = clock.after(ms, () => {
      this.#hasPassed = true
      controller.abort(new StoreError('TIMEOUT', `not done within ${ms} ms`))
    })
    this.#aborting = onAbort(signal, () => controller.abort(signal.reason))
    if (signal.aborted) controller.abort(signal.reason)
  }

  get hasPassed(): boolean {
    return this.#hasPassed
  }

  /**
   * Waits no longer than the deadline, also for work that pays no heed to the signal; what that
   * work comes to afterwards is dropped.
   *
   * @throws {StoreError} TIMEOUT: the deadline passed. CANCELLED: the other signal aborted.
   */
  async race<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await orCancelled(work, this.signal)
    } catch (error) {
      // Work that heeds the signal says "cancelled" where the time was up.
      const { reason } = this.signal
      throw this.#hasPassed && reason instanceof StoreError ? reason : error
    }
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]()
    this.#aborting[Symbol.dispose]()
  }
}

/**
 * What `work` comes to, or CANCELLED as soon as `signal` aborts: the work goes on then, for others
 * who wait for it, or unheeded.
 */
export async function orCancelled<Result>(
  work: Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  let stop: Disposable | undefined
  const aborted = new Promise<never>((_resolve, reject) => {
    const give = () => reject(cancelledError(signal, 'while waiting'))
    if (signal.aborted) give()
    else stop = onAbort(signal, give)
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    stop?.[Symbol.dispose]()
  }
}
