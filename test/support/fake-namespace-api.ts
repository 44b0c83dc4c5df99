import { StoreError } from '../../src/base/store-error.ts'
import { type Bucket, NO_QUOTA } from '../../src/namespace/bucket-record.ts'
import type { EventCause, EventLane, ObjectEvent } from '../../src/namespace/event-record.ts'
import type {
  BucketChange,
  BucketRef,
  BucketUsage,
  ChangeObjectRequest,
  ClaimEventsRequest,
  ClaimedEvents,
  CompleteUploadRequest,
  CreateBucketRequest,
  CreateUploadRequest,
  DeleteObjectRequest,
  DeleteObjectResult,
  DroppedPage,
  FindObjectRequest,
  ListBucketsRequest,
  ListDroppedRequest,
  ListEventsRequest,
  ListObjectsRequest,
  ListPartsRequest,
  ListUploadsRequest,
  ListVersionsRequest,
  NamespaceApi,
  ObjectPage,
  PutObjectRequest,
  PutPartRequest,
  RemoveEventsRequest,
  SearchObjectsRequest,
  UploadPage,
  UploadRef,
  VersionPage,
} from '../../src/namespace/namespace-api.ts'
import type { ObjectVersion } from '../../src/namespace/object-version.ts'
import type { Upload, UploadedPart } from '../../src/namespace/upload-record.ts'
import type {
  DirtyObject,
  DirtyPage,
  IntentPage,
  ListedIntent,
  ListIntentsRequest,
  PutIntentRequest,
  UndoIntentRequest,
} from '../../src/namespace/write-intents-api.ts'

export const BUCKET: Bucket = {
  name: 'photos',
  id: 2 ** 32 - 1,
  ownerId: 'ab'.repeat(32),
  createdAtMs: 2 ** 41,
  versioning: 'enabled',
  isLockEnabled: true,
  documents: { policy: '{"Statement":[]}', cors: '[]' },
  quota: { bytesMax: 2 ** 52, objectsMax: undefined },
}

export const VERSION: ObjectVersion = {
  id: '0198c0ffee0012345678901234567890',
  isNull: false,
  isMarker: false,
  seq: 2 ** 52,
  modifiedAtMs: 2 ** 41,
  sizeBytes: 2 ** 43,
  etag: `${'0123456789abcdef'.repeat(2)}-2`,
  storageClass: 'STANDARD_IA',
  checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'AAAAAAAAAAA=' },
  parts: [
    { fileId: '3,01637037d6', sizeBytes: 2 ** 42, checksum: 'AAAA' },
    { fileId: '4,02637037d6', sizeBytes: 2 ** 42, checksum: 'AAAB' },
  ],
  recordFileId: '5,03637037d6',
  ownerId: 'cd'.repeat(32),
  contentType: 'text/plain; charset=utf-8',
  headers: { 'cache-control': 'no-store' },
  metadata: { note: 'grüß dich' },
  tags: [{ key: 'a', value: 'ä' }],
  acl: '{"grants":[]}',
  retention: { mode: 'GOVERNANCE', untilMs: 2 ** 42 },
  isLegalHold: true,
  history: { writeCount: 3, firstWrittenAtMs: 2 ** 40 },
  document: { strategy: 'field_hybrid', coldSha256: '0a'.repeat(32) },
}

const {
  history: _____,
  isMarker: _,
  isNull: __,
  modifiedAtMs: ___,
  seq: ____,
  ...newVersion
} = VERSION
export const NEW_VERSION = newVersion

export const UPLOAD: Upload = {
  key: 'a/ü',
  uploadId: 'ef'.repeat(16),
  startedAtMs: 2 ** 41,
  storageClass: 'GLACIER_IR',
  ownerId: 'cd'.repeat(32),
  checksumAlgorithm: 'SHA1',
  checksumType: 'COMPOSITE',
  contentType: undefined,
  headers: {},
  metadata: {},
  tags: [],
  acl: undefined,
  retention: undefined,
  isLegalHold: false,
}

export const PART: UploadedPart = {
  partNumber: 10_000,
  fileId: '3,01637037d6',
  sizeBytes: 2 ** 42,
  md5: '0123456789abcdef'.repeat(2),
  modifiedAtMs: 2 ** 41,
  checksum: 'AAAA',
}

export const CAUSE: EventCause = {
  kind: 'ObjectCreated:Put',
  requesterId: 'cd'.repeat(32),
  sourceAddress: '::1',
  requestId: '0123456789ABCDEF',
}

export const EVENT_LANE: EventLane = { target: 'arn:hayloft:sqs::hook:webhook', bucketId: 7 }

export const EVENT: ObjectEvent = {
  id: '0123456789abcd',
  name: 'ObjectCreated:Put',
  timeMs: 2 ** 41,
  configurationId: 'c',
  bucketName: 'photos',
  bucketOwnerId: 'ab'.repeat(32),
  key: 'a/ü',
  versionId: 'null',
  sizeBytes: 2 ** 43,
  etag: VERSION.etag,
  storageClass: undefined,
  requesterId: CAUSE.requesterId,
  sourceAddress: CAUSE.sourceAddress,
  requestId: CAUSE.requestId,
}

export const INTENT: ListedIntent = {
  id: VERSION.id,
  session: 'gateway 7',
  bucket: 'photos',
  key: 'a/ü',
  fileCount: 3,
  startedAtMs: 2 ** 41,
  isOrphaned: true,
}

export const DIRTY: DirtyObject = {
  bucket: { name: 'photos', id: 7 },
  key: 'a/ü',
  id: VERSION.id,
}

/** Answers with constants, and writes down what it was asked. */
export class FakeNamespace implements NamespaceApi {
  readonly calls: string[] = []
  readonly requests: unknown[] = []
  isLeader = true
  /** What is found; undefined: nothing is. */
  found: Bucket | undefined = BUCKET
  version: ObjectVersion = VERSION
  /** There is neither an object nor an upload. */
  isEmpty = false
  /** On a page. */
  count = 2
  beforeCall: (name: string) => Promise<void> = async () => undefined

  async createBucket(request: CreateBucketRequest): Promise<Bucket> {
    return await this.#answer('createBucket', request, { ...BUCKET, quota: NO_QUOTA })
  }

  async findBucket(name: string): Promise<Bucket | undefined> {
    return await this.#answer('findBucket', name, this.found)
  }

  async listBuckets(request: ListBucketsRequest): Promise<readonly Bucket[]> {
    const buckets = this.#some((at) => ({ ...BUCKET, name: `bucket-${at}` }))
    return await this.#answer('listBuckets', request, buckets)
  }

  async changeBucket(bucket: BucketRef, change: BucketChange): Promise<Bucket> {
    return await this.#answer('changeBucket', { bucket, change }, BUCKET)
  }

  async deleteBucket(bucket: BucketRef): Promise<void> {
    await this.#answer('deleteBucket', bucket, undefined)
  }

  async bucketUsage(bucket: BucketRef): Promise<BucketUsage> {
    return await this.#answer('bucketUsage', bucket, { bytes: 2 ** 52, objects: 2 ** 40 })
  }

  async putObject(request: PutObjectRequest): Promise<ObjectVersion> {
    return await this.#answer('putObject', request, this.version)
  }

  async findObject(request: FindObjectRequest): Promise<ObjectVersion | undefined> {
    return await this.#answer('findObject', request, this.isEmpty ? undefined : this.version)
  }

  async deleteObject(request: DeleteObjectRequest): Promise<DeleteObjectResult> {
    const versionId = this.isEmpty ? undefined : VERSION.id
    return await this.#answer('deleteObject', request, { isMarker: true, versionId })
  }

  async changeObject(request: ChangeObjectRequest): Promise<ObjectVersion> {
    return await this.#answer('changeObject', request, this.version)
  }

  async listObjects(request: ListObjectsRequest): Promise<ObjectPage> {
    const objects = this.#some((at) => ({ key: `k${at}`, version: this.version }))
    const next = this.isEmpty ? undefined : 'k9'
    return await this.#answer('listObjects', request, { objects, commonPrefixes: ['p/'], next })
  }

  async searchObjects(request: SearchObjectsRequest): Promise<ObjectPage> {
    const objects = this.#some((at) => ({ key: `k${at}`, version: this.version }))
    const next = this.isEmpty ? undefined : 'k9'
    return await this.#answer('searchObjects', request, { objects, commonPrefixes: [], next })
  }

  async listVersions(request: ListVersionsRequest): Promise<VersionPage> {
    const versions = this.#some((at) => ({
      key: `k${at}`,
      version: { ...this.version, seq: at },
      isLatest: at === 0,
      becameNoncurrentAtMs: at === 0 ? undefined : at,
    }))
    const next = this.isEmpty ? undefined : { after: 'k9', afterVersionId: 'null' }
    return await this.#answer('listVersions', request, { versions, commonPrefixes: ['p/'], next })
  }

  async createUpload(request: CreateUploadRequest): Promise<Upload> {
    return await this.#answer('createUpload', request, UPLOAD)
  }

  async findUpload(upload: UploadRef): Promise<Upload | undefined> {
    return await this.#answer('findUpload', upload, this.isEmpty ? undefined : UPLOAD)
  }

  async putPart(request: PutPartRequest): Promise<UploadedPart> {
    return await this.#answer('putPart', request, PART)
  }

  async listParts(request: ListPartsRequest): Promise<readonly UploadedPart[]> {
    const parts = this.#some((at) => ({ ...PART, partNumber: at + 1 }))
    return await this.#answer('listParts', request, parts)
  }

  async completeUpload(request: CompleteUploadRequest): Promise<ObjectVersion> {
    return await this.#answer('completeUpload', request, this.version)
  }

  async abortUpload(upload: UploadRef): Promise<void> {
    await this.#answer('abortUpload', upload, undefined)
  }

  async listUploads(request: ListUploadsRequest): Promise<UploadPage> {
    const uploads = this.#some((at) => ({ ...UPLOAD, key: `k${at}` }))
    const next = this.isEmpty ? undefined : { after: 'k9', afterUploadId: UPLOAD.uploadId }
    return await this.#answer('listUploads', request, { uploads, commonPrefixes: [], next })
  }

  async listDropped(request: ListDroppedRequest): Promise<DroppedPage> {
    const fileIds = this.#some((at) => `7,${(at + 1).toString(16).padStart(2, '0')}637037d6`)
    const next = this.isEmpty ? undefined : 'name-intents/9'
    return await this.#answer('listDropped', request, { fileIds, next })
  }

  async claimEvents(request: ClaimEventsRequest): Promise<ClaimedEvents> {
    const lanes = this.#some((at) => ({ target: EVENT_LANE.target, bucketId: at + 1 }))
    return await this.#answer('claimEvents', request, { lanes, unclaimed: [EVENT_LANE] })
  }

  async listEvents(request: ListEventsRequest): Promise<readonly ObjectEvent[]> {
    const events = this.#some((at) => ({ ...EVENT, sizeBytes: at }))
    return await this.#answer('listEvents', request, events)
  }

  async removeEvents(request: RemoveEventsRequest): Promise<void> {
    await this.#answer('removeEvents', request, undefined)
  }

  async renewSession(session: string): Promise<void> {
    await this.#answer('renewSession', session, undefined)
  }

  async endSession(session: string): Promise<void> {
    await this.#answer('endSession', session, undefined)
  }

  async putIntent(request: PutIntentRequest): Promise<void> {
    await this.#answer('putIntent', request, undefined)
  }

  async listIntents(request: ListIntentsRequest): Promise<IntentPage> {
    const intents = this.#some((at) => ({ ...INTENT, fileCount: at }))
    const next = this.isEmpty ? undefined : INTENT.id
    return await this.#answer('listIntents', request, { intents, next })
  }

  async undoIntent(request: UndoIntentRequest): Promise<boolean> {
    return await this.#answer('undoIntent', request, !this.isEmpty)
  }

  async listDirty(request: ListIntentsRequest): Promise<DirtyPage> {
    const objects = this.#some((at) => ({ ...DIRTY, key: `k${at}` }))
    const next = this.isEmpty ? undefined : 'dirty/9'
    return await this.#answer('listDirty', request, { objects, next })
  }

  async settleDirty(object: DirtyObject): Promise<void> {
    await this.#answer('settleDirty', object, undefined)
  }

  #some<Item>(make: (at: number) => Item): Item[] {
    return Array.from({ length: this.count }, (_item, at) => make(at))
  }

  async #answer<Answer>(name: string, request: unknown, answer: Answer): Promise<Answer> {
    if (!this.isLeader) throw new StoreError('NOT_LEADER', 'somebody else leads')
    this.calls.push(name)
    this.requests.push(request)
    await this.beforeCall(name)
    return answer
  }
}
