import { StoreError } from '../../src/base/store-error.ts'
import type {
  MetadataBatch,
  MetadataRow,
  MetadataScan,
  MetadataStore,
} from '../../src/metadata/metadata-store.ts'
import type { Prng } from './prng.ts'
import type { SortedStore } from './sorted-store.ts'

export interface FaultyStoreParts {
  readonly rows: SortedStore
  readonly prng: Prng
  /** Called in the moment in which a batch takes effect; the signal says whose it is. */
  readonly onApplied: (batch: MetadataBatch, signal: AbortSignal) => void
}

interface Pending {
  readonly batch: MetadataBatch
  readonly signal: AbortSignal
}

/**
 * The rows of a `SortedStore`, as one process sees them whose disk fails: calls take a random few
 * turns, and commits fail before they happen, after they happened, or so that they happen (or not)
 * together with the next one, as `MetadataStore.commit` says of DISK_FULL. After `crash` every call
 * fails, and nothing happens any more.
 */
export class FaultyStore implements MetadataStore {
  readonly #parts: FaultyStoreParts
  #pending: Pending[] = []
  #isCrashed = false
  /** Of commits. */
  failChance = 0

  constructor(parts: FaultyStoreParts) {
    this.#parts = parts
  }

  async get(key: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const [value] = await this.getMany([key], signal)
    return value
  }

  async getMany(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (Uint8Array | undefined)[]> {
    await this.#pause()
    const values = await this.#parts.rows.getMany(keys, signal)
    await this.#pause()
    return values
  }

  async *scan(range: MetadataScan, signal: AbortSignal): AsyncGenerator<MetadataRow, void> {
    await this.#pause()
    for await (const row of this.#parts.rows.scan(range, signal)) {
      yield row
      await this.#pause()
    }
  }

  async commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    await this.#pause()
    if (signal.aborted) throw new StoreError('CANCELLED', 'cancelled while waiting to commit')
    this.#settlePending()
    if (this.#parts.prng.chance(this.failChance)) this.#fail(batch, signal)
    else this.#apply(batch, signal)
    await this.#pause()
  }

  /** The process is gone; what was in doubt has happened, or has not. */
  crash(): void {
    this.#settlePending()
    this.#isCrashed = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.crash()
  }

  #apply(batch: MetadataBatch, signal: AbortSignal): void {
    this.#parts.rows.commitNow(batch)
    this.#parts.onApplied(batch, signal)
  }

  #fail(batch: MetadataBatch, signal: AbortSignal): never {
    const kind = this.#parts.prng.pick(['before', 'after', 'late', 'late', 'overloaded'])
    if (kind === 'after') this.#apply(batch, signal)
    if (kind === 'late') {
      this.#checkConditions(batch)
      this.#pending.push({ batch, signal })
    }
    if (kind === 'overloaded') throw new StoreError('OVERLOADED', 'too many commits (simulated)')
    throw new StoreError(kind === 'late' ? 'DISK_FULL' : 'DISK_FAILED', `${kind} (simulated)`)
  }

  #checkConditions({ conditions = [] }: MetadataBatch): void {
    this.#parts.rows.commitNow({ conditions })
  }

  #settlePending(): void {
    const pending = this.#pending
    this.#pending = []
    for (const { batch, signal } of pending) {
      if (this.#parts.prng.chance(0.5)) this.#apply(batch, signal)
    }
  }

  async #pause(): Promise<void> {
    for (let turns = this.#parts.prng.below(4); turns > 0; turns--) await undefined
    if (this.#isCrashed) throw new StoreError('CLOSED', 'the process is gone (simulated)')
  }
}
