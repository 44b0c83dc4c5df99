import { isStoreError } from '../base/store-error.ts'
import type { MasterApi, TopologyNode } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { SharedRuns } from '../runtime/shared-runs.ts'

export interface TopologyViewParts {
  readonly master: Pick<MasterApi, 'topology'>
  readonly clock: Clock
}

export interface TopologyViewOptions<Value> {
  readonly derive: (nodes: readonly TopologyNode[]) => Value
  /** Servers come and go slowly: the master is asked so often. */
  readonly freshMs: number
}

/** What follows from the servers that the cluster has just now. */
export class TopologyView<Value> {
  readonly #parts: TopologyViewParts
  readonly #options: TopologyViewOptions<Value>
  readonly #asking = new SharedRuns<Value>()
  #known: { readonly value: Value; readonly atMs: number } | undefined

  constructor(parts: TopologyViewParts, options: TopologyViewOptions<Value>) {
    this.#parts = parts
    this.#options = options
  }

  /** @throws {StoreError} CANCELLED; why the master could not be asked, the first time. */
  current(signal: AbortSignal): Value | Promise<Value> {
    const nowMs = this.#parts.clock.monotonicMs()
    const known = this.#known
    if (known !== undefined && nowMs - known.atMs < this.#options.freshMs) return known.value
    return this.#asking.join('topology', (shared) => this.#ask(nowMs, shared), signal)
  }

  async #ask(atMs: number, signal: AbortSignal): Promise<Value> {
    try {
      const { nodes } = await this.#parts.master.topology(signal)
      this.#known = { value: this.#options.derive(nodes), atMs }
    } catch (error) {
      // What was right a moment ago most likely is so still.
      if (this.#known === undefined || isStoreError(error, 'CANCELLED')) throw error
    }
    return this.#known.value
  }
}
