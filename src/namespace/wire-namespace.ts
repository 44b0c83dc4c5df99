import { formatFileId, parseFileId } from '../base/file-id.ts'
import type {
  BucketChange,
  BucketRef,
  BucketUsage,
  ChangeObjectRequest,
  CreateBucketRequest,
  DeleteObjectRequest,
  DeleteObjectResult,
  FindObjectRequest,
  ListBucketsRequest,
  MovedParts,
  ObjectChange,
  PutObjectRequest,
  WriteCondition,
} from './namespace-api.ts'
import { STORAGE_CLASSES, type StoredPart } from './object-version.ts'
import { parseObjectKey } from './row-keys.ts'
import { isVersionId } from './version-id.ts'
import {
  atMost,
  canonicalId,
  flagOf,
  invalid,
  maybe,
  oneOf,
  pageLimit,
  pageText,
  present,
  wholeNumber,
} from './wire-checks.ts'
import { causeFromWire, causeToWire, type WireCaused } from './wire-events.ts'
import {
  bucketIdOf,
  documentsOf,
  newVersionFromRow,
  newVersionToRow,
  PART_NUMBERS,
  quotaOf,
  retentionOf,
  tagsOf,
} from './wire-records.ts'

/**
 * Requests of namespace.proto about buckets and objects as the loader shows them, and back. Those
 * about uploads are in wire-uploads.ts, pages in wire-pages.ts.
 */

export interface WireBucketRef {
  readonly name: string
  readonly id: number
}

export interface WireInBucket {
  readonly bucket: WireBucketRef | null
}

export interface WireCreateBucket {
  readonly name: string
  readonly ownerId: string
  readonly isLockEnabled: boolean
  readonly documents: Readonly<Record<string, string>>
}

export interface WireListBuckets {
  readonly ownerId?: string | undefined
  readonly prefix: string
  readonly after: string
  readonly limit: number
}

export interface WireChangeBucket extends WireInBucket {
  readonly versioning: string
  readonly documents: Readonly<Record<string, string>>
  readonly quota: {
    readonly bytesMax?: number | undefined
    readonly objectsMax?: number | undefined
  } | null
  readonly enablesLock: boolean
}

export interface WireUsage {
  readonly bytes: number
  readonly objects: number
}

interface WireEtags {
  readonly etags: readonly string[]
}

export interface WireCondition {
  readonly ifMatch: WireEtags | null
  readonly ifNoneMatch: WireEtags | null
}

export interface WirePutObject extends WireInBucket, WireCaused {
  readonly key: string
  readonly row: Uint8Array
  readonly condition: WireCondition | null
  readonly intentId: string
  readonly sharesWith: string
  readonly isDirty: boolean
}

export interface WireFindObject extends WireInBucket {
  readonly key: string
  readonly versionId?: string | undefined
}

export interface WireDeleteObject extends WireFindObject, WireCaused {
  readonly bypassesGovernance: boolean
  readonly condition: WireCondition | null
  readonly seq?: number | undefined
  readonly isNoncurrent: boolean
}

export interface WireDeleted {
  readonly isMarker: boolean
  readonly versionId?: string | undefined
}

export interface WireStoredPart {
  readonly fileId: string
  readonly sizeBytes: number
  readonly checksum?: string | undefined
}

export interface WireObjectChange {
  readonly tags: { readonly tags: readonly object[] } | null
  readonly acl?: string | undefined
  readonly retention: { readonly value: object | null } | null
  readonly isLegalHold?: boolean | undefined
  readonly moved: {
    readonly parts: readonly WireStoredPart[]
    readonly storageClass: string
    readonly fromFileIds: readonly string[]
  } | null
}

export interface WireChangeObject extends WireFindObject, WireCaused {
  readonly change: WireObjectChange | null
  readonly bypassesGovernance: boolean
  readonly id?: string | undefined
}

/** What versioning can become: nothing goes back to `off`. */
const NEXT_VERSIONINGS = ['enabled', 'suspended'] as const
/** A header of the longest kind has some hundreds. */
const ETAGS_MAX = 1000
const [, PARTS_MAX] = PART_NUMBERS

export function bucketRefToWire({ name, id }: BucketRef): WireBucketRef {
  return { name, id }
}

/** @throws {StoreError} REQUEST_INVALID */
export function bucketRefFromWire(wire: WireBucketRef | null): BucketRef {
  const { id, name } = present(wire, 'a bucket')
  if (name === '') throw invalid('the name of a bucket is missing')
  return { name, id: bucketIdOf(id) }
}

export function createBucketToWire(request: CreateBucketRequest): WireCreateBucket {
  const { documents, isLockEnabled, name, ownerId } = request
  return { name, ownerId, isLockEnabled, documents: { ...documents } }
}

/** @throws {StoreError} REQUEST_INVALID. The name is judged where it is used. */
export function createBucketFromWire(wire: WireCreateBucket): CreateBucketRequest {
  const ownerId = canonicalId(wire.ownerId, 'the owner of a bucket')
  const { isLockEnabled, name } = wire
  return { name, ownerId, isLockEnabled, documents: documentsOf(wire.documents) }
}

export function listBucketsToWire(request: ListBucketsRequest): WireListBuckets {
  const { after, limit, ownerId, prefix } = request
  return { ownerId, prefix, after, limit }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listBucketsFromWire(wire: WireListBuckets): ListBucketsRequest {
  return {
    ownerId: maybe(wire.ownerId, (id) => canonicalId(id, 'an owner')),
    prefix: pageText(wire.prefix),
    after: pageText(wire.after),
    limit: pageLimit(wire.limit),
  }
}

export function changeBucketToWire(bucket: BucketRef, change: BucketChange): WireChangeBucket {
  const { documents, isLockEnabled = false, quota, versioning = '' } = change
  return {
    bucket: bucketRefToWire(bucket),
    versioning,
    documents: { ...documents },
    quota: quota === undefined ? null : { ...quota },
    enablesLock: isLockEnabled,
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function bucketChangeFromWire(wire: WireChangeBucket): BucketChange {
  const { versioning } = wire
  const documents = documentsOf(wire.documents)
  return {
    ...(versioning !== '' && {
      versioning: oneOf(versioning, NEXT_VERSIONINGS, 'the versioning of a bucket'),
    }),
    ...(Object.keys(documents).length > 0 && { documents }),
    ...(wire.quota !== null && { quota: quotaOf(wire.quota) }),
    ...(wire.enablesLock && { isLockEnabled: true }),
  }
}

export function usageToWire({ bytes, objects }: BucketUsage): WireUsage {
  return { bytes, objects }
}

/** @throws {StoreError} REQUEST_INVALID */
export function usageFromWire({ bytes, objects }: WireUsage): BucketUsage {
  return {
    bytes: wholeNumber(bytes, 'the bytes of a bucket'),
    objects: wholeNumber(objects, 'the objects of a bucket'),
  }
}

export function conditionToWire(condition: WriteCondition | undefined): WireCondition | null {
  if (condition === undefined) return null
  const etags = (list: readonly string[] | undefined) =>
    list === undefined ? null : { etags: list }
  return { ifMatch: etags(condition.ifMatch), ifNoneMatch: etags(condition.ifNoneMatch) }
}

/** @throws {StoreError} REQUEST_INVALID: too many ETags. */
export function conditionFromWire(wire: WireCondition | null): WriteCondition | undefined {
  if (wire === null) return undefined
  const etags = (list: WireEtags) => atMost(list.etags, ETAGS_MAX, 'ETags')
  return { ifMatch: maybe(wire.ifMatch, etags), ifNoneMatch: maybe(wire.ifNoneMatch, etags) }
}

export function putObjectToWire(request: PutObjectRequest): WirePutObject {
  const { bucket, condition, key, version } = request
  return {
    bucket: bucketRefToWire(bucket),
    key,
    row: newVersionToRow(version),
    condition: conditionToWire(condition),
    cause: causeToWire(request.cause),
    intentId: request.intentId ?? '',
    sharesWith: request.sharesWith ?? '',
    isDirty: request.isDirty === true,
  }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function putObjectFromWire(wire: WirePutObject): PutObjectRequest {
  return {
    bucket: bucketRefFromWire(wire.bucket),
    key: parseObjectKey(wire.key),
    version: newVersionFromRow(wire.row),
    condition: conditionFromWire(wire.condition),
    cause: causeFromWire(wire.cause),
    intentId: wire.intentId === '' ? undefined : wire.intentId,
    sharesWith: wire.sharesWith === '' ? undefined : wire.sharesWith,
    isDirty: flagOf(wire.isDirty, 'whether it lacks something') || undefined,
  }
}

export function findObjectToWire({ bucket, key, versionId }: FindObjectRequest): WireFindObject {
  return { bucket: bucketRefToWire(bucket), key, versionId }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. What is no version id names none. */
export function findObjectFromWire(wire: WireFindObject): FindObjectRequest {
  const { bucket, key, versionId } = wire
  return { bucket: bucketRefFromWire(bucket), key: parseObjectKey(key), versionId }
}

export function deleteObjectToWire(request: DeleteObjectRequest): WireDeleteObject {
  return {
    ...findObjectToWire(request),
    bypassesGovernance: request.bypassesGovernance ?? false,
    condition: conditionToWire(request.condition),
    seq: request.seq,
    isNoncurrent: request.isNoncurrent ?? false,
    cause: causeToWire(request.cause),
  }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function deleteObjectFromWire(wire: WireDeleteObject): DeleteObjectRequest {
  return {
    ...findObjectFromWire(wire),
    bypassesGovernance: wire.bypassesGovernance,
    condition: conditionFromWire(wire.condition),
    seq: maybe(wire.seq, (seq) => wholeNumber(seq, 'a sequence number')),
    isNoncurrent: wire.isNoncurrent,
    cause: causeFromWire(wire.cause),
  }
}

export function deletedToWire({ isMarker, versionId }: DeleteObjectResult): WireDeleted {
  return { isMarker, versionId }
}

export function deletedFromWire({ isMarker, versionId }: WireDeleted): DeleteObjectResult {
  return { isMarker, versionId }
}

export function changeObjectToWire(request: ChangeObjectRequest): WireChangeObject {
  return {
    ...findObjectToWire(request),
    change: objectChangeToWire(request.change),
    bypassesGovernance: request.bypassesGovernance ?? false,
    id: request.id,
    cause: causeToWire(request.cause),
  }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID, FILE_ID_INVALID. */
export function changeObjectFromWire(wire: WireChangeObject): ChangeObjectRequest {
  const { id } = wire
  if (id !== undefined && !isVersionId(id)) throw invalid('the id of a version is no such')
  return {
    ...findObjectFromWire(wire),
    change: objectChangeFromWire(present(wire.change, 'a change')),
    bypassesGovernance: wire.bypassesGovernance,
    id,
    cause: causeFromWire(wire.cause),
  }
}

function objectChangeToWire(change: ObjectChange): WireObjectChange {
  const { acl, isLegalHold, moved, retention, tags } = change
  return {
    tags: tags === undefined ? null : { tags },
    acl,
    retention: retention === undefined ? null : { value: retention.value ?? null },
    isLegalHold,
    moved: moved === undefined ? null : movedToWire(moved),
  }
}

function objectChangeFromWire(wire: WireObjectChange): ObjectChange {
  const { acl, isLegalHold } = wire
  return {
    tags: maybe(wire.tags, ({ tags }) => tagsOf(tags)),
    acl,
    retention: maybe(wire.retention, ({ value }) => ({ value: maybe(value, retentionOf) })),
    isLegalHold,
    moved: maybe(wire.moved, ({ fromFileIds, parts, storageClass }) => ({
      parts: atMost(parts, PARTS_MAX, 'parts').map(storedPartFromWire),
      storageClass: oneOf(storageClass, STORAGE_CLASSES, 'a storage class'),
      ...(fromFileIds.length > 0 && {
        from: atMost(fromFileIds, PARTS_MAX, 'files').map(fileIdFromWire),
      }),
    })),
  }
}

function movedToWire({ from = [], parts, storageClass }: MovedParts) {
  return { parts, storageClass, fromFileIds: from }
}

function fileIdFromWire(text: string): string {
  return formatFileId(parseFileId(text))
}

/** In the one form that rows give back: what is compared later is text. */
function storedPartFromWire({ checksum, fileId, sizeBytes }: WireStoredPart): StoredPart {
  return {
    fileId: fileIdFromWire(fileId),
    sizeBytes: wholeNumber(sizeBytes, 'the size of a part'),
    ...(checksum !== undefined && { checksum }),
  }
}
