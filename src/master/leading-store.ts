import type { Coordinator } from '../metadata/coordinator.ts'
import type {
  MetadataBatch,
  MetadataRow,
  MetadataScan,
  MetadataStore,
} from '../metadata/metadata-store.ts'
import { checkLeader } from './check-leader.ts'

/** A store in which nothing is changed by a master that does not lead. It closes nothing. */
export class LeadingStore implements MetadataStore {
  readonly #store: MetadataStore
  readonly #coordinator: Pick<Coordinator, 'isLeader' | 'leader'>

  constructor(store: MetadataStore, coordinator: Pick<Coordinator, 'isLeader' | 'leader'>) {
    this.#store = store
    this.#coordinator = coordinator
  }

  get(key: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#store.get(key, signal)
  }

  getMany(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#store.getMany(keys, signal)
  }

  scan(range: MetadataScan, signal: AbortSignal): AsyncIterable<MetadataRow> {
    return this.#store.scan(range, signal)
  }

  /** @throws {StoreError} NOT_LEADER: nothing was changed. The errors of the store. */
  async commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    checkLeader(this.#coordinator)
    await this.#store.commit(batch, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
