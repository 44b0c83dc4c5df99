import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'

/** One call of another server, with a deadline of its own. */
export interface Hop {
  /** Aborts at the deadline, or when whoever asked gives up. */
  readonly signal: AbortSignal
  /** The deadline is `ms` from now. */
  extend(ms: number): void
}

/** How long another copy may take for a write of `bytes`. */
export function replicaMs(bytes: number): number {
  const sendingMs = (bytes * 1000) / LIMITS.replicaRateMin.value
  return LIMITS.replicaWriteMs.value + Math.round(sendingMs)
}

/**
 * Runs a call to its end or its deadline, `ms` from now, also one that pays no heed to its signal:
 * what such a call comes to afterwards is dropped.
 *
 * @throws {StoreError} what `run` failed with; TIMEOUT; CANCELLED: `outer` aborted.
 */
export function runHop<Result>(
  clock: Clock,
  request: { readonly ms: number; readonly outer: AbortSignal; readonly what: string },
  run: (hop: Hop) => Promise<Result>,
): Promise<Result> {
  const { outer, what } = request
  return new Promise((resolve, reject) => {
    if (outer.aborted) return reject(cancelledError(outer, `before ${what}`))
    const controller = new AbortController()
    let isOver = false
    const settle = (tell: () => void): void => {
      isOver = true
      timer[Symbol.dispose]()
      aborting[Symbol.dispose]()
      tell()
    }
    const giveUp = (error: StoreError): void => {
      settle(() => reject(error))
      controller.abort(error)
    }
    const arm = (ms: number): Disposable =>
      clock.after(ms, () => giveUp(new StoreError('TIMEOUT', `${what} took longer than ${ms} ms`)))
    const extend = (ms: number): void => {
      if (isOver) return
      timer[Symbol.dispose]()
      timer = arm(ms)
    }
    let timer = arm(request.ms)
    const aborting = onAbort(outer, () => giveUp(cancelledError(outer, `during ${what}`)))
    const running = start(() => run({ signal: controller.signal, extend }))
    running.then(
      (result) => settle(() => resolve(result)),
      (error: unknown) => settle(() => reject(error)),
    )
  })
}

/** What throws at once fails like everything else. */
async function start<Result>(run: () => Promise<Result>): Promise<Result> {
  return await run()
}
