import { StoreError } from '../../base/store-error.ts'
import { cancelledError } from '../../runtime/abort.ts'
import { checkBatch, checkKey } from '../batch-check.ts'
import type { MetadataBatch, MetadataRow, MetadataScan, MetadataStore } from '../metadata-store.ts'

/**
 * A `MetadataStore` that forgets everything with the process: for tests, and for clusters that are
 * thrown away. What `commit` promises about a power cut it cannot keep.
 */
export class MemoryStore implements MetadataStore {
  readonly #rows = new Map<string, Uint8Array>()
  #isClosed = false

  async get(key: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const [value] = await this.getMany([key], signal)
    return value
  }

  async getMany(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (Uint8Array | undefined)[]> {
    for (const key of keys) checkKey(key)
    this.#checkUsable(signal)
    const values = keys.map((key) => copyOf(this.#rows.get(key)))
    await undefined // Others may go first, as with a disk.
    return values
  }

  async *scan(range: MetadataScan, signal: AbortSignal): AsyncIterable<MetadataRow> {
    this.#checkUsable(signal)
    for (const [key, value] of this.#select(range)) {
      this.#checkUsable(signal)
      yield { key, value: Uint8Array.from(value) }
    }
  }

  async commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    checkBatch(batch)
    this.#checkUsable(signal)
    for (const { key, value } of batch.conditions ?? []) {
      if (sameBytes(this.#rows.get(key), value)) continue
      throw new StoreError('METADATA_CONFLICT', `the row ${key} is not as it was expected`)
    }
    for (const { key, value } of batch.puts ?? []) this.#rows.set(key, Uint8Array.from(value))
    for (const key of batch.deletes ?? []) this.#rows.delete(key)
    await undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
  }

  #select(range: MetadataScan): readonly (readonly [string, Uint8Array])[] {
    const { gte, lt, limit = Number.POSITIVE_INFINITY, reverse = false } = range
    const rows = [...this.#rows]
      .filter(([key]) => gte === undefined || compareKeys(key, gte) >= 0)
      .filter(([key]) => lt === undefined || compareKeys(key, lt) < 0)
      .sort(([a], [b]) => (reverse ? compareKeys(b, a) : compareKeys(a, b)))
    return rows.slice(0, limit)
  }

  #checkUsable(signal: AbortSignal): void {
    if (this.#isClosed) throw new StoreError('CLOSED', 'the store was closed')
    if (signal.aborted) throw cancelledError(signal, 'before using the store')
  }
}

function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return Buffer.compare(a, b) === 0
}

function copyOf(value: Uint8Array | undefined): Uint8Array | undefined {
  return value === undefined ? undefined : Uint8Array.from(value)
}
