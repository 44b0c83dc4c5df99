import { formatFileId, parseFileId } from '../base/file-id.ts'
import { cookie, needleId, volumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import {
  CHECKSUM_ALGORITHMS,
  CHECKSUM_TYPES,
  type ChecksumAlgorithm,
  type ChecksumType,
  isTags,
  type ObjectAttributes,
  RETENTION_MODES,
  type Retention,
  STORAGE_CLASSES,
  type StorageClass,
} from './object-version.ts'
import { isObject, isTexts, RowReader, RowWriter } from './row-bytes.ts'

/** Parts are numbered from 1. Source: the S3 user guide, "Amazon S3 multipart upload limits". */
export const PART_NUMBER_MAX = 10_000

/** What a multipart upload will be, said when it is begun. */
export interface Upload extends ObjectAttributes {
  readonly key: string
  /** The id of the version it will become. */
  readonly uploadId: string
  readonly startedAtMs: number
  readonly storageClass: StorageClass
  /** Canonical id of who will own the object. Undefined: the bucket's owner. */
  readonly ownerId: string | undefined
  /** Canonical id of who began it, whoever owns the object. Undefined: nobody that has a name. */
  readonly initiatorId?: string | undefined
  readonly checksumAlgorithm: ChecksumAlgorithm | undefined
  readonly checksumType: ChecksumType | undefined
}

export interface UploadedPart {
  /** 1 to 10,000. */
  readonly partNumber: number
  readonly fileId: string
  readonly sizeBytes: number
  /** In hex. */
  readonly md5: string
  readonly modifiedAtMs: number
  /** By the upload's algorithm, base64. */
  readonly checksum: string | undefined
}

const VERSION = 1
const OWNER_PATTERN = /^[0-9a-f]{64}$/

/** The row of an upload: v u8, then JSON without key and id, which are in the row's key. */
export function encodeUpload({ key: _, uploadId: __, ...rest }: Upload): Buffer {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(rest))])
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeUpload(key: string, uploadId: string, bytes: Uint8Array): Upload {
  try {
    if (bytes[0] !== VERSION) throw new Error(`version ${bytes[0]}`)
    const rest = JSON.parse(Buffer.from(bytes.subarray(1)).toString('utf8')) as Upload
    const upload = { ...rest, key, uploadId }
    if (!isSound(upload)) throw new Error('a value makes no sense')
    return upload
  } catch (cause) {
    const message = `the row of the upload ${uploadId} cannot be read`
    throw new StoreError('METADATA_CORRUPT', message, { cause })
  }
}

/**
 * The row of a part, apart from its number, which is in the key:
 *
 *     v u8 | volume u32 | needle u64 | cookie u32 | md5 16 | sizeBytes varint | modifiedAtMs varint
 *     checksum bytes, empty without one
 */
export function encodePart(part: UploadedPart): Buffer {
  const fileId = parseFileId(part.fileId)
  return new RowWriter(96)
    .u8(VERSION)
    .u32(fileId.volumeId)
    .u32(fileId.needleId.hi)
    .u32(fileId.needleId.lo)
    .u32(fileId.cookie)
    .hex(part.md5)
    .varint(part.sizeBytes)
    .varint(part.modifiedAtMs)
    .bytes(Buffer.from(part.checksum ?? '', 'base64'))
    .end()
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodePart(partNumber: number, bytes: Uint8Array, key: string): UploadedPart {
  const row = new RowReader(bytes, key)
  if (row.u8() !== VERSION) throw row.corrupt('its version is unknown')
  const volume = row.u32()
  if (volume === 0) throw row.corrupt('it lies on volume 0')
  const needle = needleId(row.u32(), row.u32())
  const fileId = formatFileId({
    volumeId: volumeId(volume),
    needleId: needle,
    cookie: cookie(row.u32()),
  })
  const md5 = row.hex(16)
  const sizeBytes = row.varint()
  const modifiedAtMs = row.varint()
  const checksum = row.bytes().toString('base64')
  row.end()
  return {
    partNumber,
    fileId,
    sizeBytes,
    md5,
    modifiedAtMs,
    checksum: checksum === '' ? undefined : checksum,
  }
}

/** What was read may be anything: the version that an upload becomes is made of it. */
function isSound(upload: Upload): boolean {
  const { checksumAlgorithm, checksumType, initiatorId, ownerId, retention } = upload
  const isText = (value: unknown) => value === undefined || typeof value === 'string'
  return (
    isTime(upload.startedAtMs) &&
    STORAGE_CLASSES.includes(upload.storageClass) &&
    (ownerId === undefined || OWNER_PATTERN.test(ownerId)) &&
    (initiatorId === undefined || OWNER_PATTERN.test(initiatorId)) &&
    (checksumAlgorithm === undefined || CHECKSUM_ALGORITHMS.includes(checksumAlgorithm)) &&
    (checksumType === undefined || CHECKSUM_TYPES.includes(checksumType)) &&
    isText(upload.contentType) &&
    isTexts(upload.headers) &&
    isTexts(upload.metadata) &&
    isTags(upload.tags) &&
    isText(upload.acl) &&
    (retention === undefined || isRetention(retention)) &&
    typeof upload.isLegalHold === 'boolean'
  )
}

function isRetention(value: Retention): boolean {
  return isObject(value) && RETENTION_MODES.includes(value.mode) && isTime(value.untilMs)
}

function isTime(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
