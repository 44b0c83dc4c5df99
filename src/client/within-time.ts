import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import { forwardAbort, unlessAborted } from './unless-aborted.ts'

/**
 * Runs `run` to its end or for `ms`, whichever comes first, also when it pays no heed to the signal
 * it is given, which aborts then.
 *
 * @throws {StoreError} TIMEOUT; CANCELLED: `signal` aborted; what `run` failed with.
 */
export async function withinTime<Result>(
  clock: Clock,
  { ms, what }: { readonly ms: number; readonly what: string },
  run: (signal: AbortSignal) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const stopping = new AbortController()
  using _abort = forwardAbort(signal, stopping)
  let late: StoreError | undefined
  using _late = clock.after(ms, () => {
    late = new StoreError('TIMEOUT', `${what} took longer than ${ms} ms`)
    stopping.abort(late)
  })
  const running = run(stopping.signal)
  try {
    return await unlessAborted(running, stopping.signal, what)
  } catch (error) {
    running.catch(() => undefined) // It may still fail, and nobody waits for it any more.
    throw late ?? error
  }
}
