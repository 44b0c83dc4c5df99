import type { Bucket, BucketDocument, BucketQuota, Versioning } from './bucket-record.ts'
import type { EventCause, EventLane, ObjectEvent } from './event-record.ts'
import type { ObjectVersion, Retention, Tag } from './object-version.ts'
import type { SearchPattern } from './search-pattern.ts'
import type { Upload, UploadedPart } from './upload-record.ts'
import type { WriteIntentsApi } from './write-intents-api.ts'

/** A bucket as the caller saw it: one made anew under the same name is another. */
export interface BucketRef {
  readonly name: string
  readonly id: number
}

export interface CreateBucketRequest {
  readonly name: string
  readonly ownerId: string
  readonly isLockEnabled: boolean
  readonly documents: Readonly<Partial<Record<BucketDocument, string>>>
}

export interface ListBucketsRequest {
  /** Undefined: of all owners. */
  readonly ownerId: string | undefined
  readonly prefix: string
  /** Only names above this one. */
  readonly after: string
  readonly limit: number
}

/** What is left out stays. */
export interface BucketChange {
  readonly versioning?: Exclude<Versioning, 'off'> | undefined
  /** Empty text removes one. */
  readonly documents?: Readonly<Partial<Record<BucketDocument, string>>> | undefined
  readonly quota?: BucketQuota | undefined
  /** Needs enabled versioning; cannot be taken back. */
  readonly isLockEnabled?: true | undefined
}

/** Checked in the moment in which the change happens. ETags without quotes; `*` is any. */
export interface WriteCondition {
  /** There must be an object, with one of these ETags. */
  readonly ifMatch?: readonly string[] | undefined
  /** There must be none, or one with another ETag. */
  readonly ifNoneMatch?: readonly string[] | undefined
}

export type NewVersion = Omit<
  ObjectVersion,
  'isNull' | 'isMarker' | 'seq' | 'modifiedAtMs' | 'history'
>

export interface PutObjectRequest {
  readonly bucket: BucketRef
  readonly key: string
  readonly version: NewVersion
  readonly condition?: WriteCondition | undefined
  /** It named the files before they were stored, and goes with this change. */
  readonly intentId?: string | undefined
  /**
   * The id of the version in whose place this one comes, and which has some of its files: they
   * stay. Where versions are kept no two of them may have the same file.
   */
  readonly sharesWith?: string | undefined
  /**
   * It has fewer copies or shards than it is to have: see `listDirty`. So has one that shares files
   * with a version of which that is known.
   */
  readonly isDirty?: boolean | undefined
  /** Undefined here and below: nobody hears of the change. */
  readonly cause?: EventCause | undefined
}

export interface FindObjectRequest {
  readonly bucket: BucketRef
  readonly key: string
  /** Undefined: the newest one. `null` is the one that was made without versioning. */
  readonly versionId?: string | undefined
}

export interface DeleteObjectRequest extends FindObjectRequest {
  /** Whoever asks may delete what governance retains. */
  readonly bypassesGovernance?: boolean | undefined
  readonly condition?: WriteCondition | undefined
  /** Delete nothing but this version of this sequence number; what changed meanwhile stays. */
  readonly seq?: number | undefined
  /** Delete the version only while a newer one, or a marker, is above it. */
  readonly isNoncurrent?: boolean | undefined
  readonly cause?: EventCause | undefined
}

export interface DeleteObjectResult {
  /** A marker was made, or the version that was deleted was one. */
  readonly isMarker: boolean
  /** Of the version deleted, or the marker made; undefined: without versioning. */
  readonly versionId: string | undefined
}

/** What is left out stays. */
export interface ObjectChange {
  readonly tags?: readonly Tag[] | undefined
  /** Empty: none. */
  readonly acl?: string | undefined
  /** Undefined within: none. */
  readonly retention?: { readonly value: Retention | undefined } | undefined
  readonly isLegalHold?: boolean | undefined
  readonly moved?: MovedParts | undefined
}

/** Other bytes of the same content: they lie elsewhere now. */
export interface MovedParts extends Pick<ObjectVersion, 'parts' | 'storageClass'> {
  /** The files that were copied, not none: if others are there by now, nothing moves. */
  readonly from?: readonly string[] | undefined
}

export interface ChangeObjectRequest extends FindObjectRequest {
  readonly change: ObjectChange
  /** Whoever asks may shorten a retention of governance, or change its mode. */
  readonly bypassesGovernance?: boolean | undefined
  /** Only this version. */
  readonly id?: string | undefined
  readonly cause?: EventCause | undefined
}

export interface ListObjectsRequest {
  readonly bucket: BucketRef
  readonly prefix: string
  /** Empty: none. */
  readonly delimiter: string
  /** Only keys above this one. What begins with a common prefix that ends so is passed as well. */
  readonly after: string
  readonly limit: number
}

export interface ListedObject {
  readonly key: string
  readonly version: ObjectVersion
}

/** Keys and common prefixes, each in order, together at most `limit`. */
export interface ObjectPage {
  readonly objects: readonly ListedObject[]
  readonly commonPrefixes: readonly string[]
  /** Undefined: nothing follows. To be given as `after` for the next page. */
  readonly next: string | undefined
}

/** In a bucket with the document `search`. */
export interface SearchObjectsRequest {
  readonly bucket: BucketRef
  /** Only keys that begin so; empty: all. */
  readonly prefix: string
  /** Compared with what is behind the first slash of a key; see `search-pattern.ts`. */
  readonly pattern: SearchPattern
  /** Only keys above this one. */
  readonly after: string
  readonly limit: number
}

export interface ListVersionsRequest extends ListObjectsRequest {
  /**
   * Of the key `after`: only versions below this one, the id of a version or what `next` said. Of
   * one that is not there (any more) `next` still says where it was; otherwise all versions of the
   * key follow. Undefined: only keys above it.
   */
  readonly afterVersionId: string | undefined
}

export interface ListedVersion extends ListedObject {
  readonly isLatest: boolean
  /** Undefined: it is the latest. */
  readonly becameNoncurrentAtMs: number | undefined
}

export interface VersionPage {
  readonly versions: readonly ListedVersion[]
  readonly commonPrefixes: readonly string[]
  /** `afterVersionId` begins with the id of the last version, and is more than that. */
  readonly next: { readonly after: string; readonly afterVersionId: string | undefined } | undefined
}

export interface CreateUploadRequest {
  readonly bucket: BucketRef
  readonly upload: Omit<Upload, 'startedAtMs'>
}

export interface UploadRef {
  readonly bucket: BucketRef
  readonly key: string
  readonly uploadId: string
}

export interface PutPartRequest extends UploadRef {
  readonly part: Omit<UploadedPart, 'modifiedAtMs'>
}

export interface ListPartsRequest extends UploadRef {
  /** Only numbers above this one. */
  readonly after: number
  readonly limit: number
}

export interface CompleteUploadRequest extends UploadRef {
  /** In this order; each must still be the file that was listed. */
  readonly parts: readonly Pick<UploadedPart, 'partNumber' | 'fileId'>[]
  readonly etag: string
  readonly checksum: ObjectVersion['checksum']
  /** The file that tells of the parts. */
  readonly recordFileId?: string | undefined
  readonly condition?: WriteCondition | undefined
  readonly cause?: EventCause | undefined
}

export interface ListUploadsRequest {
  readonly bucket: BucketRef
  readonly prefix: string
  readonly delimiter: string
  readonly after: string
  /** Of the key `after`: only uploads above this one. Undefined: only keys above it. */
  readonly afterUploadId: string | undefined
  readonly limit: number
}

export interface UploadPage {
  readonly uploads: readonly Upload[]
  readonly commonPrefixes: readonly string[]
  readonly next: { readonly after: string; readonly afterUploadId: string | undefined } | undefined
}

export interface ListDroppedRequest {
  /** As `next` said; empty: from the start. */
  readonly after: string
  readonly limit: number
}

/** Files that lost their name, of objects and others, and are yet to be deleted. */
export interface DroppedPage {
  readonly fileIds: readonly string[]
  /** Undefined: nothing follows. To be given as `after` for the next page. */
  readonly next: string | undefined
}

export interface ClaimEventsRequest {
  /** Whoever delivers, by a name of its own. */
  readonly claimant: string
  /** To which it can deliver. */
  readonly targets: readonly string[]
}

export interface ClaimedEvents {
  /** With events for these targets, and for 10 s nobody else's: ask again before. */
  readonly lanes: readonly EventLane[]
  /** With events for other targets, to which nobody delivers. */
  readonly unclaimed: readonly EventLane[]
}

export interface ListEventsRequest {
  readonly lane: EventLane
  readonly limit: number
}

export interface RemoveEventsRequest {
  readonly lane: EventLane
  readonly ids: readonly string[]
  /** Only for those who count. */
  readonly outcome: 'delivered' | 'givenUp'
}

export interface BucketUsage {
  readonly bytes: number
  readonly objects: number
}

/**
 * Buckets and what is in them. Every change is one transaction: durable when it returns, and
 * nothing half-done is ever seen. Files that nothing names any more are deleted soon after.
 *
 * Every method throws BUCKET_NOT_FOUND for a bucket that is not there (any more), NAME_INVALID for
 * a key or name that cannot be one, FILE_ID_INVALID, REQUEST_INVALID for a page out of range,
 * OVERLOADED, CANCELLED, CLOSED, and the errors of the metadata store.
 */
export interface NamespaceApi extends WriteIntentsApi {
  /** @throws {StoreError} BUCKET_EXISTS */
  createBucket(request: CreateBucketRequest, signal: AbortSignal): Promise<Bucket>
  findBucket(name: string, signal: AbortSignal): Promise<Bucket | undefined>
  listBuckets(request: ListBucketsRequest, signal: AbortSignal): Promise<readonly Bucket[]>
  /**
   * The document `search`, once set, stays; it takes as long as there are objects until it is.
   *
   * @throws {StoreError} REQUEST_INVALID: versioning of a bucket with locks stays enabled.
   */
  changeBucket(bucket: BucketRef, change: BucketChange, signal: AbortSignal): Promise<Bucket>
  /**
   * Uploads that are open go with it, one after the other: when this fails half-way the bucket is
   * still there, with fewer of them.
   *
   * @throws {StoreError} BUCKET_NOT_EMPTY: it has objects, or versions.
   */
  deleteBucket(bucket: BucketRef, signal: AbortSignal): Promise<void>
  bucketUsage(bucket: BucketRef, signal: AbortSignal): Promise<BucketUsage>

  /**
   * The newest version of the key from now on. To put the same version again changes nothing.
   *
   * @throws {StoreError} PRECONDITION_FAILED, also when `sharesWith` is not the newest version, or
   * would stay; OBJECT_NOT_FOUND: `ifMatch` of nothing. INTENT_LOST: nobody may have it any more.
   * QUOTA_EXCEEDED. REQUEST_INVALID: no version id; or the version was put before, and is gone.
   */
  putObject(request: PutObjectRequest, signal: AbortSignal): Promise<ObjectVersion>
  /** Undefined: there is none. May be a marker: without a version id, the newest one. */
  findObject(request: FindObjectRequest, signal: AbortSignal): Promise<ObjectVersion | undefined>
  /**
   * Without a version id: hides the object behind a marker where there is versioning, otherwise
   * deletes it. With one: deletes that version. What is not there is no error.
   *
   * @throws {StoreError} OBJECT_LOCKED, PRECONDITION_FAILED; OBJECT_NOT_FOUND: `ifMatch` of
   * nothing.
   */
  deleteObject(request: DeleteObjectRequest, signal: AbortSignal): Promise<DeleteObjectResult>
  /**
   * @throws {StoreError} OBJECT_NOT_FOUND; OBJECT_LOCKED: a retention cannot be shortened, nor its
   * mode be changed, so. PRECONDITION_FAILED: it does not lie where it is to move from, nor where
   * it is to move to. REQUEST_INVALID: a file it moved to is gone already.
   */
  changeObject(request: ChangeObjectRequest, signal: AbortSignal): Promise<ObjectVersion>
  listObjects(request: ListObjectsRequest, signal: AbortSignal): Promise<ObjectPage>
  listVersions(request: ListVersionsRequest, signal: AbortSignal): Promise<VersionPage>
  /**
   * Objects with a name like the pattern, in the order of their keys. A page may have fewer than
   * `limit`, even none, and still say what follows: each looks at a bounded number of rows.
   *
   * @throws {StoreError} REQUEST_INVALID: the pattern, or the bucket is not searched.
   */
  searchObjects(request: SearchObjectsRequest, signal: AbortSignal): Promise<ObjectPage>

  /** To create it again changes nothing. */
  createUpload(request: CreateUploadRequest, signal: AbortSignal): Promise<Upload>
  findUpload(upload: UploadRef, signal: AbortSignal): Promise<Upload | undefined>
  /**
   * Takes the place of an earlier part with this number.
   *
   * @throws {StoreError} UPLOAD_NOT_FOUND, QUOTA_EXCEEDED; REQUEST_INVALID: the number, or the part
   * was put before, and is gone.
   */
  putPart(request: PutPartRequest, signal: AbortSignal): Promise<UploadedPart>
  /** @throws {StoreError} UPLOAD_NOT_FOUND */
  listParts(request: ListPartsRequest, signal: AbortSignal): Promise<readonly UploadedPart[]>
  /**
   * The object is there, the upload gone, its other parts deleted. To complete it again gives the
   * same version while that is there.
   *
   * @throws {StoreError} UPLOAD_NOT_FOUND, PART_INVALID, PRECONDITION_FAILED, OBJECT_NOT_FOUND,
   * QUOTA_EXCEEDED.
   */
  completeUpload(request: CompleteUploadRequest, signal: AbortSignal): Promise<ObjectVersion>
  /** @throws {StoreError} UPLOAD_NOT_FOUND */
  abortUpload(upload: UploadRef, signal: AbortSignal): Promise<void>
  listUploads(request: ListUploadsRequest, signal: AbortSignal): Promise<UploadPage>

  /** In the order in which they come due. One whose delete fails meanwhile may come twice. */
  listDropped(request: ListDroppedRequest, signal: AbortSignal): Promise<DroppedPage>

  /**
   * Changes that came with a cause left events where the bucket's document `notification` asks for
   * them: each exactly if its change was made. They wait until they are removed.
   */
  claimEvents(request: ClaimEventsRequest, signal: AbortSignal): Promise<ClaimedEvents>
  /** The first ones of a lane, in order. */
  listEvents(request: ListEventsRequest, signal: AbortSignal): Promise<readonly ObjectEvent[]>
  removeEvents(request: RemoveEventsRequest, signal: AbortSignal): Promise<void>
}
