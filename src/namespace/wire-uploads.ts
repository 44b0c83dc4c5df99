import { formatFileId, parseFileId } from '../base/file-id.ts'
import type {
  CompleteUploadRequest,
  CreateUploadRequest,
  ListPartsRequest,
  PutPartRequest,
  UploadRef,
} from './namespace-api.ts'
import { parseObjectKey } from './row-keys.ts'
import {
  atMost,
  invalid,
  maybe,
  numberFrom,
  pageLimit,
  present,
  wholeNumber,
} from './wire-checks.ts'
import { causeFromWire, causeToWire, type WireCaused } from './wire-events.ts'
import {
  bucketRefFromWire,
  bucketRefToWire,
  conditionFromWire,
  conditionToWire,
  type WireCondition,
  type WireInBucket,
} from './wire-namespace.ts'
import {
  checksumOf,
  newPartFromWire,
  newPartToWire,
  newUploadFromWire,
  newUploadToWire,
  PART_NUMBERS,
  type WirePart,
  type WireUpload,
} from './wire-records.ts'

/** Requests of namespace.proto about uploads as the loader shows them, and back. */

export interface WireUploadRef extends WireInBucket {
  readonly key: string
  readonly uploadId: string
}

export interface WireOfUpload {
  readonly upload: WireUploadRef | null
}

export interface WireCreateUpload extends WireInBucket {
  readonly upload: WireUpload | null
}

export interface WirePutPart extends WireOfUpload {
  readonly part: WirePart | null
}

export interface WireListParts extends WireOfUpload {
  readonly after: number
  readonly limit: number
}

export interface WireCompleteUpload extends WireOfUpload, WireCaused {
  readonly parts: readonly { readonly partNumber: number; readonly fileId: string }[]
  readonly etag: string
  readonly checksum: {
    readonly algorithm: string
    readonly type: string
    readonly value: string
  } | null
  readonly condition: WireCondition | null
  readonly recordFileId?: string | null | undefined
}

const [, PARTS_MAX] = PART_NUMBERS
/** Of an upload. */
const ETAG = /^[0-9a-f]{32}-([1-9]\d{0,4})$/

export function uploadRefToWire({ bucket, key, uploadId }: UploadRef): WireUploadRef {
  return { bucket: bucketRefToWire(bucket), key, uploadId }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. What is no upload id names none. */
export function uploadRefFromWire(wire: WireUploadRef | null): UploadRef {
  const { bucket, key, uploadId } = present(wire, 'an upload')
  return { bucket: bucketRefFromWire(bucket), key: parseObjectKey(key), uploadId }
}

export function createUploadToWire({ bucket, upload }: CreateUploadRequest): WireCreateUpload {
  return { bucket: bucketRefToWire(bucket), upload: newUploadToWire(upload) }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function createUploadFromWire({ bucket, upload }: WireCreateUpload): CreateUploadRequest {
  return {
    bucket: bucketRefFromWire(bucket),
    upload: newUploadFromWire(present(upload, 'an upload')),
  }
}

export function putPartToWire(request: PutPartRequest): WirePutPart {
  return { upload: uploadRefToWire(request), part: newPartToWire(request.part) }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function putPartFromWire({ part, upload }: WirePutPart): PutPartRequest {
  return { ...uploadRefFromWire(upload), part: newPartFromWire(present(part, 'a part')) }
}

export function listPartsToWire(request: ListPartsRequest): WireListParts {
  const { after, limit } = request
  // Nothing follows the last number; a larger one might not fit the field.
  return { upload: uploadRefToWire(request), after: Math.min(after, PARTS_MAX), limit }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listPartsFromWire({ after, limit, upload }: WireListParts): ListPartsRequest {
  return {
    ...uploadRefFromWire(upload),
    after: wholeNumber(after, 'the number of a part'),
    limit: pageLimit(limit),
  }
}

export function completeUploadToWire(request: CompleteUploadRequest): WireCompleteUpload {
  const { checksum, condition, etag, parts, recordFileId } = request
  return {
    upload: uploadRefToWire(request),
    parts: parts.map(({ fileId, partNumber }) => ({ partNumber, fileId })),
    etag,
    checksum: checksum === undefined ? null : { ...checksum },
    condition: conditionToWire(condition),
    recordFileId,
    cause: causeToWire(request.cause),
  }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function completeUploadFromWire(wire: WireCompleteUpload): CompleteUploadRequest {
  const { etag } = wire
  const [, count = ''] = ETAG.exec(etag) ?? []
  if (count === '' || Number(count) > PARTS_MAX) throw invalid('the ETag is none of an upload')
  return {
    ...uploadRefFromWire(wire.upload),
    parts: atMost(wire.parts, PARTS_MAX, 'parts').map(({ fileId, partNumber }) => ({
      partNumber: numberFrom(partNumber, PART_NUMBERS, 'the number of a part'),
      fileId,
    })),
    etag,
    checksum: maybe(wire.checksum, checksumOf),
    condition: conditionFromWire(wire.condition),
    recordFileId: maybe(wire.recordFileId, (text) => formatFileId(parseFileId(text))),
    cause: causeFromWire(wire.cause),
  }
}
