import {
  BUCKET_DOCUMENTS,
  type Bucket,
  type BucketDocument,
  type BucketQuota,
  decodeBucket,
  encodeBucket,
  isBucketName,
} from './bucket-record.ts'
import type { CreateUploadRequest, NewVersion, PutPartRequest } from './namespace-api.ts'
import {
  CHECKSUM_ALGORITHMS,
  CHECKSUM_TYPES,
  decodeObjectVersion,
  encodeObjectVersion,
  type ObjectChecksum,
  type ObjectVersion,
  RETENTION_MODES,
  type Retention,
  type Tag,
} from './object-version.ts'
import { parseObjectKey } from './row-keys.ts'
import {
  decodePart,
  decodeUpload,
  encodePart,
  encodeUpload,
  PART_NUMBER_MAX,
  type Upload,
  type UploadedPart,
} from './upload-record.ts'
import { isVersionId } from './version-id.ts'
import {
  canonicalId,
  invalid,
  listOf,
  maybe,
  numberFrom,
  oneOf,
  recordOf,
  textOf,
  textsOf,
  wholeNumber,
} from './wire-checks.ts'

/**
 * Records of namespace.proto: rows as they lie in the metadata store, with what is in the key of a
 * row beside it. What the codec of a row lets pass is checked here as far as a store would not take
 * it, or a gateway would rely on it, so that a row from the wire is as good as one of this process.
 */

export interface WireBucket {
  readonly name: string
  readonly row: Uint8Array
}

export interface WireVersion {
  readonly row: Uint8Array
}

export interface WireUpload {
  readonly key: string
  readonly uploadId: string
  readonly row: Uint8Array
}

export interface WirePart {
  readonly partNumber: number
  readonly row: Uint8Array
}

export const PART_NUMBERS = [1, PART_NUMBER_MAX] as const
const BUCKET_IDS = [1, 0xffff_ffff] as const

/** 10,000 parts with a checksum each are half of it, headers and ACL of the longest some 50 KB. */
const ROW_BYTES_MAX = 1024 * 1024
/** 32 bytes of a SHA-256 are 44 characters; a composite checksum ends in `-` and a number. */
const CHECKSUM_VALUE = /^[A-Za-z0-9+/]{1,88}={0,2}(?:-[1-9]\d{0,4})?$/

export function bucketToWire(bucket: Bucket): WireBucket {
  return { name: bucket.name, row: encodeBucket(bucket) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function bucketFromWire({ name, row }: WireBucket): Bucket {
  if (!isBucketName(name)) throw invalid('a bucket without a name')
  const bucket = decoded('a bucket', () => decodeBucket(name, row))
  const { createdAtMs, id, isLockEnabled, quota, versioning } = bucket
  return {
    name,
    id,
    ownerId: canonicalId(bucket.ownerId, 'the owner of a bucket'),
    createdAtMs,
    versioning,
    isLockEnabled,
    documents: documentsOf(bucket.documents),
    quota,
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function bucketIdOf(value: unknown): number {
  return numberFrom(value, BUCKET_IDS, 'the id of a bucket')
}

/** @throws {StoreError} REQUEST_INVALID: one that buckets do not have. */
export function documentsOf(value: unknown): Readonly<Partial<Record<BucketDocument, string>>> {
  const documents = Object.entries(textsOf(value, 'the documents of a bucket'))
  return Object.fromEntries(
    documents.map(([name, text]) => [oneOf(name, BUCKET_DOCUMENTS, 'a document'), text]),
  )
}

/** @throws {StoreError} REQUEST_INVALID */
export function quotaOf(value: {
  readonly bytesMax?: unknown
  readonly objectsMax?: unknown
}): BucketQuota {
  return {
    bytesMax: maybe(value.bytesMax, (bytes) => wholeNumber(bytes, 'the bytes of a quota')),
    objectsMax: maybe(value.objectsMax, (count) => wholeNumber(count, 'the objects of a quota')),
  }
}

export function versionToWire(version: ObjectVersion): WireVersion {
  return { row: encodeObjectVersion(version) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function versionFromWire({ row }: WireVersion): ObjectVersion {
  const version = decoded('a version', () => decodeObjectVersion(row, 'from the wire'))
  return { ...version, checksum: maybe(version.checksum, checksumOf) }
}

/** What is the master's to give is 0. */
export function newVersionToRow(version: NewVersion): Uint8Array {
  const given = { isNull: false, isMarker: false, seq: 0, modifiedAtMs: 0 }
  return encodeObjectVersion({ ...version, ...given })
}

/** @throws {StoreError} REQUEST_INVALID: also for what is the master's to give. */
export function newVersionFromRow(row: Uint8Array): NewVersion {
  checkLength(row)
  const { history, isMarker, isNull, modifiedAtMs, seq, ...version } = versionFromWire({ row })
  if (isMarker || isNull || seq !== 0 || modifiedAtMs !== 0 || history !== undefined) {
    throw invalid('a new version says what only a master can know')
  }
  return version
}

export function uploadToWire(upload: Upload): WireUpload {
  return { key: upload.key, uploadId: upload.uploadId, row: encodeUpload(upload) }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function uploadFromWire(wire: WireUpload): Upload {
  const { row, uploadId } = wire
  if (!isVersionId(uploadId)) throw invalid('the id of an upload is not 32 hex digits')
  const key = parseObjectKey(wire.key)
  const upload = decoded('an upload', () => decodeUpload(key, uploadId, row))
  const { acl, contentType, headers, isLegalHold, metadata, retention, tags } = upload
  const { checksumAlgorithm, checksumType, initiatorId, ownerId } = upload
  const { startedAtMs, storageClass } = upload
  // Nothing but these: what else was in the JSON would be stored, and given out, as ours.
  return {
    ...{ key, uploadId, startedAtMs, storageClass, ownerId, initiatorId },
    ...{ checksumAlgorithm, checksumType },
    ...{ contentType, headers, metadata, tags, acl, retention, isLegalHold },
  }
}

/** What is the master's to give is 0. */
export function newUploadToWire(upload: CreateUploadRequest['upload']): WireUpload {
  return uploadToWire({ ...upload, startedAtMs: 0 })
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function newUploadFromWire(wire: WireUpload): CreateUploadRequest['upload'] {
  checkLength(wire.row)
  const { startedAtMs, ...upload } = uploadFromWire(wire)
  if (startedAtMs !== 0) throw invalid('a new upload says what only a master can know')
  return upload
}

export function partToWire(part: UploadedPart): WirePart {
  return { partNumber: part.partNumber, row: encodePart(part) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function partFromWire({ partNumber, row }: WirePart): UploadedPart {
  const number = numberFrom(partNumber, PART_NUMBERS, 'the number of a part')
  return decoded('a part', () => decodePart(number, row, 'from the wire'))
}

/** What is the master's to give is 0. */
export function newPartToWire(part: PutPartRequest['part']): WirePart {
  return partToWire({ ...part, modifiedAtMs: 0 })
}

/** @throws {StoreError} REQUEST_INVALID */
export function newPartFromWire(wire: WirePart): PutPartRequest['part'] {
  checkLength(wire.row)
  const { modifiedAtMs, ...part } = partFromWire(wire)
  if (modifiedAtMs !== 0) throw invalid('a new part says what only a master can know')
  return part
}

/** @throws {StoreError} REQUEST_INVALID */
export function checksumOf(value: {
  readonly algorithm: unknown
  readonly type: unknown
  readonly value: unknown
}): ObjectChecksum {
  const text = textOf(value.value, 'a checksum')
  if (!CHECKSUM_VALUE.test(text)) throw invalid('a checksum is not base64')
  return {
    algorithm: oneOf(value.algorithm, CHECKSUM_ALGORITHMS, 'a checksum algorithm'),
    type: oneOf(value.type, CHECKSUM_TYPES, 'a checksum type'),
    value: text,
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function retentionOf(value: unknown): Retention {
  const { mode, untilMs } = recordOf(value, 'a retention')
  return {
    mode: oneOf(mode, RETENTION_MODES, 'the mode of a retention'),
    untilMs: wholeNumber(untilMs, 'the end of a retention'),
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function tagsOf(value: unknown): readonly Tag[] {
  return listOf(value, 'the tags').map((tag) => {
    const { key, value } = recordOf(tag, 'a tag')
    return { key: textOf(key, 'the key of a tag'), value: textOf(value, 'the value of a tag') }
  })
}

/** Whatever a codec stumbles over in bytes of others is their fault: METADATA_CORRUPT is ours. */
function decoded<Value>(what: string, decode: () => Value): Value {
  try {
    return decode()
  } catch (cause) {
    throw invalid(`the row of ${what} cannot be read`, cause)
  }
}

function checkLength(row: Uint8Array): void {
  if (row.length > ROW_BYTES_MAX) {
    throw invalid(`a row of ${row.length} bytes, ${ROW_BYTES_MAX} may be`)
  }
}
