import { cancelledError, onAbort } from '../runtime/abort.ts'

/**
 * What `work` comes to, or CANCELLED as soon as the signal aborts. The work goes on: others may
 * wait for the same promise, or nobody can stop it.
 */
export function unlessAborted<Result>(
  work: Promise<Result>,
  signal: AbortSignal,
  what: string,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(cancelledError(signal, `before ${what}`))
    const aborting = onAbort(signal, () => reject(cancelledError(signal, `while ${what}`)))
    work.then(
      (value) => {
        aborting[Symbol.dispose]()
        resolve(value)
      },
      (error: unknown) => {
        aborting[Symbol.dispose]()
        reject(error)
      },
    )
  })
}

/** `to` aborts when `signal` does, at once if it has already. */
export function forwardAbort(signal: AbortSignal, to: AbortController): Disposable {
  if (signal.aborted) to.abort(signal.reason)
  return onAbort(signal, () => to.abort(signal.reason))
}
