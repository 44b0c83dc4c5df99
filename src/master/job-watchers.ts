import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { JobView } from '../net/jobs-api.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'

interface Watcher {
  /** Jobs that changed since this watcher was told; a job stands here once. */
  readonly changed: Set<number>
  wake: () => void
}

/**
 * Tells watchers of jobs: how a job is when the watcher asks, not each step that led there. So what
 * waits for a slow one is bounded by the jobs there are.
 */
export class JobWatchers {
  readonly #watchers = new Set<Watcher>()
  readonly #closing: AbortSignal

  constructor(closing: AbortSignal) {
    this.#closing = closing
  }

  onChanged(jobId: number): void {
    for (const watcher of this.#watchers) {
      watcher.changed.add(jobId)
      watcher.wake()
    }
  }

  /**
   * First the jobs named, then each that changes. Ends only with an error.
   *
   * @throws {StoreError} OVERLOADED: too many watch already. UNAVAILABLE: the master is closing.
   * CANCELLED.
   */
  async *watch(
    first: Iterable<number>,
    viewOf: (jobId: number) => JobView | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<JobView> {
    if (this.#watchers.size >= LIMITS.watchersMax.value) {
      throw new StoreError('OVERLOADED', `${this.#watchers.size} are watching already`)
    }
    const watcher: Watcher = { changed: new Set(first), wake: () => undefined }
    this.#watchers.add(watcher)
    using _aborting = onAbort(signal, () => watcher.wake())
    using _closing = onAbort(this.#closing, () => watcher.wake())
    try {
      for (;;) {
        if (signal.aborted) throw cancelledError(signal, 'while watching')
        if (this.#closing.aborted) {
          throw new StoreError('UNAVAILABLE', 'this master is shutting down')
        }
        const [jobId] = watcher.changed
        if (jobId === undefined) {
          await new Promise<void>((resolve) => {
            watcher.wake = resolve
          })
          continue
        }
        watcher.changed.delete(jobId)
        const view = viewOf(jobId)
        if (view !== undefined) yield view
      }
    } finally {
      this.#watchers.delete(watcher)
    }
  }
}
