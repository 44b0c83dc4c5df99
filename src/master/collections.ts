import {
  type ErasureScheme,
  formatErasureScheme,
  parseErasureScheme,
} from '../base/erasure-scheme.ts'
import { LIMITS } from '../base/limits.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { CollectionSettings, WritePolicy } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import {
  COLLECTION_PREFIX,
  type CollectionRecord,
  decodeCollection,
  encodeCollection,
  endOf,
} from './master-rows.ts'

export interface CollectionsParts {
  readonly store: MetadataStore
  readonly clock: Clock
  /** Volumes of the collection are written to in another way now. */
  readonly onPolicyChanged: (collection: string) => void
}

const COLLECTION = /^[a-z0-9][a-z0-9_-]*$/

/**
 * The collections a volume was asked for once, or that were configured, durably; the default one,
 * whose name is empty, only once it was configured.
 */
export class Collections {
  readonly #parts: CollectionsParts
  readonly #records: Map<string, CollectionRecord>

  private constructor(parts: CollectionsParts, records: Map<string, CollectionRecord>) {
    this.#parts = parts
    this.#records = records
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(parts: CollectionsParts, signal: AbortSignal): Promise<Collections> {
    const records = new Map<string, CollectionRecord>()
    const range = { gte: COLLECTION_PREFIX, lt: endOf(COLLECTION_PREFIX) }
    for await (const { key, value } of parts.store.scan(range, signal)) {
      records.set(key.slice(COLLECTION_PREFIX.length), decodeCollection(key, value))
    }
    return new Collections(parts, records)
  }

  get names(): Iterable<string> {
    return this.#records.keys()
  }

  has(collection: string): boolean {
    return this.#records.has(collection)
  }

  /** Of volumes to come; undefined: the cluster's. */
  replicationOf(collection: string): ReplicaPlacement | undefined {
    return this.#records.get(collection)?.replication
  }

  writePolicyOf(collection: string): WritePolicy {
    return this.#records.get(collection)?.writePolicy ?? 'all'
  }

  /** How its volumes are coded once they are full; undefined: as the cluster says. */
  erasureOf(collection: string): ErasureScheme | 'off' | undefined {
    return this.#records.get(collection)?.erasure
  }

  /**
   * Makes the collection known, durably, before volumes are made for it.
   *
   * @throws {StoreError} REQUEST_INVALID: no collection can have this name. OVERLOADED: there are
   * too many.
   */
  async ensure(
    collection: string,
    replication: ReplicaPlacement | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (collection === '' || this.#records.has(collection)) return
    this.#checkName(collection)
    const createdAtMs = this.#parts.clock.nowMs()
    const record: CollectionRecord = { replication, writePolicy: 'all', createdAtMs }
    await this.#write(collection, record, signal)
    if (!this.#records.has(collection)) this.#records.set(collection, record)
  }

  /**
   * Makes the collection if there is none. Durable when it returns.
   *
   * @throws {StoreError} REQUEST_INVALID: no collection can have this name. ERASURE_INVALID.
   * OVERLOADED: there are too many.
   */
  async configure(settings: CollectionSettings, signal: AbortSignal): Promise<void> {
    const { collection } = settings
    const before = this.#records.get(collection)
    if (before === undefined && collection !== '') this.#checkName(collection)
    const erasure = checkErasure(settings.erasure) ?? before?.erasure
    const record: CollectionRecord = {
      replication: settings.replication ?? before?.replication,
      writePolicy: settings.writePolicy ?? before?.writePolicy ?? 'all',
      ...(erasure === undefined ? {} : { erasure }),
      createdAtMs: before?.createdAtMs ?? this.#parts.clock.nowMs(),
    }
    await this.#write(collection, record, signal)
    this.#records.set(collection, record)
    this.#parts.onPolicyChanged(collection)
  }

  async forget(collection: string, signal: AbortSignal): Promise<void> {
    await this.#parts.store.commit({ deletes: [COLLECTION_PREFIX + collection] }, signal)
    this.#records.delete(collection)
  }

  #checkName(collection: string): void {
    const lengthMax = LIMITS.collectionNameMax.value
    if (collection.length > lengthMax || !COLLECTION.test(collection)) {
      throw new StoreError(
        'REQUEST_INVALID',
        `${quote(collection)} is not a collection name: at most ${lengthMax} small letters, ` +
          'digits, - and _',
      )
    }
    if (this.#records.size >= LIMITS.collectionsMax.value) {
      throw new StoreError('OVERLOADED', `there are ${this.#records.size} collections already`)
    }
  }

  async #write(collection: string, record: CollectionRecord, signal: AbortSignal): Promise<void> {
    const row = { key: COLLECTION_PREFIX + collection, value: encodeCollection(record) }
    await this.#parts.store.commit({ puts: [row] }, signal)
  }
}

/** A row that says otherwise could not be read back. @throws {StoreError} ERASURE_INVALID */
function checkErasure(erasure: CollectionSettings['erasure']): CollectionSettings['erasure'] {
  if (typeof erasure !== 'object') return erasure
  return parseErasureScheme(formatErasureScheme(erasure))
}
