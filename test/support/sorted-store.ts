import { StoreError } from '../../src/base/store-error.ts'
import { checkBatch, checkKey } from '../../src/metadata/batch-check.ts'
import type {
  MetadataBatch,
  MetadataRow,
  MetadataScan,
  MetadataStore,
} from '../../src/metadata/metadata-store.ts'
import { cancelledError } from '../../src/runtime/abort.ts'

interface Row {
  readonly key: string
  readonly bytes: Buffer
  readonly value: Uint8Array
}

/**
 * A `MetadataStore` in memory that finds its place by halving, for tests with many rows, and counts
 * what is asked of it. A scan shows the rows as of its first one.
 */
export class SortedStore implements MetadataStore {
  /** Never changed in place while a scan may look at it. */
  #rows: Row[] = []
  #scansOpen = 0
  #isClosed = false
  rowsRead = 0
  scanCount = 0
  getCount = 0
  commitCount = 0

  /** All keys in their order, without counting. */
  get keys(): string[] {
    return this.#rows.map(({ key }) => key)
  }

  get rows(): readonly MetadataRow[] {
    return this.#rows.map(({ key, value }) => ({ key, value }))
  }

  /** Scans begun and neither read to the end nor ended. */
  get scansOpen(): number {
    return this.#scansOpen
  }

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
    this.getCount += keys.length
    const values = keys.map((key) => this.#find(key)?.value)
    await undefined // Others may go first, as with a disk.
    return values
  }

  async *scan(range: MetadataScan, signal: AbortSignal): AsyncGenerator<MetadataRow, void> {
    this.#checkUsable(signal)
    this.scanCount++
    const rows = this.#rows
    const start = range.gte === undefined ? 0 : this.#indexOf(Buffer.from(range.gte))
    const end = range.lt === undefined ? rows.length : this.#indexOf(Buffer.from(range.lt))
    const count = Math.min(Math.max(0, end - start), range.limit ?? Number.POSITIVE_INFINITY)
    this.#scansOpen++
    try {
      for (let step = 0; step < count; step++) {
        this.#checkUsable(signal)
        const row = rows[range.reverse === true ? end - 1 - step : start + step]
        if (row === undefined) return
        this.rowsRead++
        yield { key: row.key, value: row.value }
      }
    } finally {
      this.#scansOpen--
    }
  }

  async commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    this.#checkUsable(signal)
    this.commitNow(batch)
    await undefined
  }

  commitNow(batch: MetadataBatch): void {
    checkBatch(batch)
    this.commitCount++
    for (const { key, value } of batch.conditions ?? []) {
      if (sameBytes(this.#find(key)?.value, value)) continue
      throw new StoreError('METADATA_CONFLICT', `the row ${key} is not as it was expected`)
    }
    if (this.#scansOpen > 0) this.#rows = [...this.#rows]
    for (const { key, value } of batch.puts ?? []) this.#put(key, Uint8Array.from(value))
    for (const key of batch.deletes ?? []) this.#delete(key)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
  }

  #put(key: string, value: Uint8Array): void {
    const bytes = Buffer.from(key)
    const at = this.#indexOf(bytes)
    const isThere = this.#rows[at]?.key === key
    if (at === this.#rows.length) this.#rows.push({ key, bytes, value })
    else this.#rows.splice(at, isThere ? 1 : 0, { key, bytes, value })
  }

  #delete(key: string): void {
    const at = this.#indexOf(Buffer.from(key))
    if (this.#rows[at]?.key === key) this.#rows.splice(at, 1)
  }

  #find(key: string): Row | undefined {
    const row = this.#rows[this.#indexOf(Buffer.from(key))]
    return row?.key === key ? row : undefined
  }

  /** Of the first row at or above these bytes. */
  #indexOf(bytes: Buffer): number {
    let low = 0
    let high = this.#rows.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const row = this.#rows[middle]
      if (row !== undefined && Buffer.compare(row.bytes, bytes) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #checkUsable(signal: AbortSignal): void {
    if (this.#isClosed) throw new StoreError('CLOSED', 'the store was closed')
    if (signal.aborted) throw cancelledError(signal, 'before using the store')
  }
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return Buffer.compare(a, b) === 0
}
