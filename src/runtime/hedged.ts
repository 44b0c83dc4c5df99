import { isStoreError } from '../base/store-error.ts'
import { cancelledError } from './abort.ts'
import { AbortScope } from './abort-scope.ts'
import type { Clock } from './clock.ts'

/** Ends soon after its signal aborts. */
export type Attempt<Value> = (signal: AbortSignal) => Promise<Value>

export interface HedgeOptions {
  readonly clock: Clock
  /** How long the first one may take before the second is tried beside it. */
  readonly afterMs: number
  /** Whether there is room now for doing more than is needed. */
  readonly hasRoom: () => boolean
}

/**
 * What `first` gives. `second` is tried when that fails, and beside it when it is slow; then the
 * one that is done first counts, and the other one is aborted. When both fail, `second` says why.
 *
 * @throws {StoreError} CANCELLED; what `second` throws.
 */
export async function hedged<Value>(
  first: Attempt<Value>,
  second: Attempt<Value>,
  options: HedgeOptions,
  signal: AbortSignal,
): Promise<Value> {
  using scope = new AbortScope(signal)
  const running = first(scope.signal)
  const isSlow = await isStillRunning(running, options)
  if (isSlow && options.hasRoom()) {
    const other = second(scope.signal)
    // Both have failed when this is caught: the second one says why.
    return await Promise.any([running, other]).catch(() => other)
  }
  try {
    return await running
  } catch (error) {
    // A bug of ours is not to be hidden by a second attempt.
    if (!isStoreError(error)) throw error
    if (signal.aborted) throw cancelledError(signal, 'before a second attempt')
  }
  return await second(scope.signal)
}

async function isStillRunning(
  running: Promise<unknown>,
  { clock, afterMs }: HedgeOptions,
): Promise<boolean> {
  return await new Promise((resolve) => {
    const timer = clock.after(afterMs, () => resolve(true))
    const onEnd = (): void => {
      timer[Symbol.dispose]()
      resolve(false)
    }
    running.then(onEnd, onEnd)
  })
}
