import { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from './abort.ts'

/** Why what is left over ends. Made once: the one that the platform makes each time is dear. */
const DONE = new StoreError('CANCELLED', 'the rest is not wanted any more')

/**
 * A signal for part of some work. It aborts when `outer` does, and when it is disposed of: what of
 * that part still runs then is not wanted any more.
 */
export class AbortScope implements Disposable {
  readonly #controller = new AbortController()
  readonly #link: Disposable | undefined

  constructor(outer: AbortSignal) {
    if (outer.aborted) this.#controller.abort(outer.reason)
    else this.#link = onAbort(outer, () => this.#controller.abort(outer.reason))
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Twice is harmless. */
  [Symbol.dispose](): void {
    this.#link?.[Symbol.dispose]()
    this.#controller.abort(DONE)
  }
}

/**
 * What `work` gives. Whether or not it heeds the signal itself, the wait ends with it, and nobody
 * hears of what becomes of the work then.
 *
 * @throws {StoreError} CANCELLED; what `work` rejects with.
 */
export function orAborted<Value>(
  work: Promise<Value>,
  signal: AbortSignal,
  when: string,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    const aborting = onAbort(signal, () => reject(cancelledError(signal, when)))
    work.then(resolve, reject).finally(() => aborting[Symbol.dispose]())
    if (signal.aborted) reject(cancelledError(signal, when))
  })
}
