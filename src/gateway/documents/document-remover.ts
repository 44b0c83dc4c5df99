import { LIMITS } from '../../base/limits.ts'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import type { DocumentStrategy, ObjectVersion } from '../../namespace/object-version.ts'
import type { DoorParts } from '../door-parts.ts'
import { keyNotFound } from './document-facts.ts'
import type { DocumentReader } from './document-reader.ts'
import { DOCUMENTS } from './documents-config.ts'
import type { PartPlaces } from './part-places.ts'

export interface RemoverParts extends Pick<DoorParts, 'buckets' | 'namespace' | 'closing'> {
  readonly reader: DocumentReader
  readonly places: PartPlaces
}

export interface RemovedDocument {
  readonly strategy: DocumentStrategy
  /** Servers with a copy of what was kept in copies. */
  readonly hotUrls: ReadonlySet<string>
  readonly coldShards: number
}

/** Deletes documents: at once out of sight, and from the servers some seconds later. */
export class DocumentRemover {
  readonly #parts: RemoverParts

  constructor(parts: RemoverParts) {
    this.#parts = parts
  }

  /**
   * Durable when it returns; of several who delete a document at once, one does.
   *
   * @throws {StoreError} OBJECT_NOT_FOUND, NAME_INVALID, OBJECT_LOCKED; OVERLOADED: it was changed
   * by others all the time.
   */
  async remove(key: string): Promise<RemovedDocument> {
    const { buckets, closing, namespace, reader } = this.#parts
    for (let tries = 0; tries < LIMITS.documentTriesMax.value; tries++) {
      const version = await reader.find(key, closing)
      const removed = await this.#figuresOf(version)
      const bucket = await buckets.get(DOCUMENTS, closing)
      const condition = { ifMatch: [version.etag] }
      try {
        await namespace.deleteObject({ bucket, key, condition }, closing)
        return removed
      } catch (error) {
        if (isStoreError(error, 'OBJECT_NOT_FOUND')) throw keyNotFound(key)
        if (!isStoreError(error, 'PRECONDITION_FAILED')) throw error
      }
    }
    throw new StoreError('OVERLOADED', `${key} was changed by others all the time`)
  }

  /** Before it is deleted: then nobody can say. What cannot be found out now counts as nothing. */
  async #figuresOf(version: ObjectVersion): Promise<RemovedDocument> {
    const { closing, places } = this.#parts
    const hotUrls = new Set<string>()
    let coldShards = 0
    for (const part of version.parts) {
      const place = await places.find(part, closing).catch(() => undefined)
      if (place === undefined) continue
      if (place.isCoded) coldShards += place.shards
      else for (const url of place.urls) hotUrls.add(url)
    }
    const strategy = version.document?.strategy ?? (coldShards > 0 ? 'ec' : 'replication')
    return { strategy, hotUrls, coldShards }
  }
}
