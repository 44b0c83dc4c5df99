import { orAborted } from './abort-scope.ts'

interface Run<Value> {
  readonly result: Promise<Value>
  readonly controller: AbortController
  waiters: number
}

/**
 * Work that is done once for all who want the same at the same time. It is aborted when the last of
 * them has gone. Bounded by those who wait.
 */
export class SharedRuns<Value> {
  readonly #runs = new Map<string, Run<Value>>()

  /** Work that is under way. */
  get count(): number {
    return this.#runs.size
  }

  /**
   * What `start` gives, or gave those who came before and still wait.
   *
   * @throws {StoreError} CANCELLED: `signal` aborted first. What `start` throws.
   */
  async join(
    key: string,
    start: (signal: AbortSignal) => Promise<Value>,
    signal: AbortSignal,
  ): Promise<Value> {
    const run = this.#runs.get(key) ?? this.#start(key, start)
    run.waiters++
    try {
      return await orAborted(run.result, signal, 'while others did the same')
    } finally {
      run.waiters--
      if (run.waiters === 0) {
        // Whoever comes now must not wait for what is being aborted.
        this.#forget(key, run)
        run.controller.abort()
      }
    }
  }

  #start(key: string, start: (signal: AbortSignal) => Promise<Value>): Run<Value> {
    const controller = new AbortController()
    const run: Run<Value> = { result: start(controller.signal), controller, waiters: 0 }
    this.#runs.set(key, run)
    const onEnd = (): void => this.#forget(key, run)
    run.result.then(onEnd, onEnd)
    return run
  }

  #forget(key: string, run: Run<Value>): void {
    if (this.#runs.get(key) === run) this.#runs.delete(key)
  }
}
