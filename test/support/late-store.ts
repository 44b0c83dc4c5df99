import { StoreError } from '../../src/base/store-error.ts'
import type { MetadataBatch, MetadataRow, MetadataScan } from '../../src/metadata/metadata-store.ts'
import { WatchedStore } from './test-namespace.ts'

/** Once told to, it keeps a commit in doubt, which then happens between two reads. */
export class LateStore extends WatchedStore {
  isLate = false
  #late: MetadataBatch | undefined

  override async commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    if (!this.isLate) return await super.commit(batch, signal)
    this.isLate = false
    this.#late = batch
    throw new StoreError('DISK_FULL', 'perhaps it happened')
  }

  override async *scan(range: MetadataScan, signal: AbortSignal): AsyncIterable<MetadataRow> {
    const late = this.#late
    this.#late = undefined
    if (late !== undefined) await super.commit(late, signal)
    yield* super.scan(range, signal)
  }
}
