import { formatFileId } from '../../src/base/file-id.ts'
import { cookie, needleIdFromNumber, volumeId } from '../../src/base/ids.ts'
import type { StoreError } from '../../src/base/store-error.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { MetadataBatch, MetadataStore } from '../../src/metadata/metadata-store.ts'
import type { Bucket, Versioning } from '../../src/namespace/bucket-record.ts'
import { Namespace } from '../../src/namespace/namespace.ts'
import type { NewVersion, PutPartRequest } from '../../src/namespace/namespace-api.ts'
import {
  NO_ATTRIBUTES,
  type ObjectAttributes,
  type ObjectVersion,
} from '../../src/namespace/object-version.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

export const never = new AbortController().signal
export const DELETE_DELAY_MS = 10_000
export const ETAG = 'd41d8cd98f00b204e9800998ecf8427e'

/** Fails or interferes where a test says so, and counts. */
export class WatchedStore extends MemoryStore {
  getCount = 0
  /** Runs before the next read, once. */
  beforeRead: () => Promise<void> = nothing
  /** Runs before the next commit, once; what it throws is what the commit throws. */
  beforeCommit: () => Promise<void> = nothing
  afterCommit: () => Promise<void> = nothing

  override async getMany(keys: readonly string[], signal: AbortSignal) {
    this.getCount++
    const before = this.beforeRead
    this.beforeRead = nothing
    await before()
    return await super.getMany(keys, signal)
  }

  override async commit(batch: MetadataBatch, signal: AbortSignal) {
    const before = this.beforeCommit
    const after = this.afterCommit
    this.beforeCommit = nothing
    this.afterCommit = nothing
    await before()
    await super.commit(batch, signal)
    await after()
  }

  async keys(prefix = ''): Promise<string[]> {
    const keys: string[] = []
    for await (const { key } of this.scan({}, never)) if (key.startsWith(prefix)) keys.push(key)
    return keys
  }

  /** Files that are to be deleted, in the order in which they come due. */
  async dropped(): Promise<string[]> {
    const keys = await this.keys('name-intents/')
    return keys.map((key) => key.split('/')[2] ?? '')
  }
}

export interface NewVersionOptions extends Partial<ObjectAttributes> {
  readonly id?: string
  readonly sizeBytes?: number
  readonly etag?: string
  readonly fileIds?: readonly string[]
}

/** A namespace with one bucket, and short ways to use it. */
export class TestNamespace<Store extends MetadataStore = WatchedStore> {
  readonly store: Store
  readonly clock: SimClock
  readonly random = new Prng(1)
  namespace: Namespace
  #fileCount = 0

  constructor(store: Store, clock = new SimClock()) {
    this.store = store
    this.clock = clock
    this.namespace = this.#open()
  }

  /** As after a restart, over the same rows. */
  reopen(): void {
    this.namespace = this.#open()
  }

  async bucket(versioning: Versioning = 'off', name = 'one', isLockEnabled = false) {
    const request = { name, ownerId: 'o', isLockEnabled, documents: {} }
    const bucket = await this.namespace.createBucket(request, never)
    return versioning === 'off' ? bucket : await this.setVersioning(bucket, versioning)
  }

  async setVersioning(bucket: Bucket, versioning: Versioning): Promise<Bucket> {
    if (versioning === 'off') return bucket
    return await this.namespace.changeBucket(bucket, { versioning }, never)
  }

  newId(): string {
    return newVersionId(this.random, this.clock.nowMs())
  }

  newFile(): string {
    this.#fileCount++
    return formatFileId({
      volumeId: volumeId(3),
      needleId: needleIdFromNumber(this.#fileCount),
      cookie: cookie(0xaaaaaaaa),
    })
  }

  newVersion(options: NewVersionOptions = {}): NewVersion {
    const { etag = ETAG, fileIds = [this.newFile()], id, sizeBytes = 5, ...attributes } = options
    const parts = fileIds.map((fileId) => ({ fileId, sizeBytes }))
    return {
      ...NO_ATTRIBUTES,
      ...attributes,
      id: id ?? this.newId(),
      sizeBytes: fileIds.length * sizeBytes,
      etag,
      storageClass: 'STANDARD',
      checksum: undefined,
      parts,
      ownerId: undefined,
    }
  }

  put(bucket: Bucket, key: string, options: NewVersionOptions = {}): Promise<ObjectVersion> {
    return this.namespace.putObject({ bucket, key, version: this.newVersion(options) }, never)
  }

  find(bucket: Bucket, key: string, versionId?: string): Promise<ObjectVersion | undefined> {
    return this.namespace.findObject({ bucket, key, versionId }, never)
  }

  delete(bucket: Bucket, key: string, versionId?: string) {
    return this.namespace.deleteObject({ bucket, key, versionId }, never)
  }

  /** What a list of versions shows of a key: ids as clients know them, `-` before markers. */
  async versions(bucket: Bucket, key: string): Promise<string[]> {
    const page = await this.namespace.listVersions(
      { bucket, prefix: key, delimiter: '', after: '', afterVersionId: undefined, limit: 10_000 },
      never,
    )
    return page.versions
      .filter((listed) => listed.key === key)
      .map(({ version }) => (version.isMarker ? '-' : '') + (version.isNull ? 'null' : version.id))
  }

  async upload(bucket: Bucket, key: string) {
    const uploadId = this.newId()
    const upload = {
      ...NO_ATTRIBUTES,
      key,
      uploadId,
      storageClass: 'STANDARD' as const,
      ownerId: undefined,
      checksumAlgorithm: undefined,
      checksumType: undefined,
    }
    await this.namespace.createUpload({ bucket, upload }, never)
    return { bucket, key, uploadId }
  }

  newPart(partNumber: number, fileId = this.newFile()): PutPartRequest['part'] {
    return { partNumber, fileId, sizeBytes: 5, md5: ETAG, checksum: undefined }
  }

  #open(): Namespace {
    const parts = { store: this.store, clock: this.clock, random: this.random }
    return new Namespace(parts, { deleteDelayMs: DELETE_DELAY_MS })
  }
}

export function openTestNamespace(): TestNamespace {
  return new TestNamespace(new WatchedStore())
}

/** For `beforeCommit` and `afterCommit`. */
export function failsWith(error: StoreError): () => Promise<void> {
  return () => Promise.reject(error)
}

async function nothing(): Promise<void> {}
