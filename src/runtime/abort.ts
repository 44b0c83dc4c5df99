import { StoreError } from '../base/store-error.ts'

const watchers = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Runs `run` once when `signal` aborts, unless disposed before. Thousands may wait on one signal (a
 * server's shutdown): they share one event listener, because each more costs a walk over all.
 */
export function onAbort(signal: AbortSignal, run: () => void): Disposable {
  const waiting = watchers.get(signal) ?? watch(signal)
  waiting.add(run)
  return { [Symbol.dispose]: () => waiting.delete(run) }
}

/** The error for work given up because `signal` aborted; its reason is the cause. */
export function cancelledError(signal: AbortSignal, when: string): StoreError {
  return new StoreError('CANCELLED', `cancelled ${when}`, { cause: signal.reason })
}

function watch(signal: AbortSignal): Set<() => void> {
  const waiting = new Set<() => void>()
  watchers.set(signal, waiting)
  const runAll = () => {
    for (const run of waiting) {
      waiting.delete(run)
      run()
    }
  }
  signal.addEventListener('abort', runAll, { once: true })
  return waiting
}
