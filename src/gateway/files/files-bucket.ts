import type { Bucket } from '../../namespace/bucket-record.ts'
import { SEARCH_READY } from '../../namespace/search-index.ts'
import { SharedRuns } from '../../runtime/shared-runs.ts'
import { DOOR_BUCKETS } from '../door-buckets.ts'
import type { DoorParts } from '../door-parts.ts'

export type FilesBucketParts = Pick<DoorParts, 'buckets' | 'closing' | 'namespace'>

/** The bucket of all files, which is made, and searched by name, from its first use on. */
export class FilesBucket {
  readonly #parts: FilesBucketParts
  readonly #marking = new SharedRuns<Bucket>()

  constructor(parts: FilesBucketParts) {
    this.#parts = parts
  }

  /** @throws {StoreError} As `DoorBuckets.get`. */
  async get(signal: AbortSignal): Promise<Bucket> {
    const { buckets, closing, namespace } = this.#parts
    const bucket = await buckets.get(DOOR_BUCKETS.files, signal)
    const { search } = bucket.documents
    if (search === SEARCH_READY) return bucket
    const change = { documents: { search: SEARCH_READY } }
    const mark = (shared: AbortSignal) => namespace.changeBucket(bucket, change, shared)
    if (search === undefined) return await this.#marking.join(`${bucket.id}`, mark, signal)
    // Rows for what is there are still being made; until then searches do without.
    this.#marking.join(`${bucket.id}`, mark, closing).catch(() => undefined)
    return bucket
  }
}
