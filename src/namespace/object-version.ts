import { assert } from '../base/assert.ts'
import { formatFileId, parseFileId } from '../base/file-id.ts'
import { cookie, needleId, volumeId } from '../base/ids.ts'
import { isObject, isTexts, RowReader, RowWriter } from './row-bytes.ts'

export const CHECKSUM_ALGORITHMS = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const
export type ChecksumAlgorithm = (typeof CHECKSUM_ALGORITHMS)[number]

export const CHECKSUM_TYPES = ['FULL_OBJECT', 'COMPOSITE'] as const
export type ChecksumType = (typeof CHECKSUM_TYPES)[number]

export interface ObjectChecksum {
  readonly algorithm: ChecksumAlgorithm
  readonly type: ChecksumType
  /** Base64; a composite one ends in `-` and the number of parts. */
  readonly value: string
}

/** In the order of their numbers in rows, which hold eight: new ones go to the end. */
export const STORAGE_CLASSES = [
  'STANDARD',
  'STANDARD_IA',
  'GLACIER_IR',
  'REDUCED_REDUNDANCY',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
] as const
export type StorageClass = (typeof STORAGE_CLASSES)[number]

const CODED_CLASSES: readonly StorageClass[] = ['STANDARD_IA', 'ONEZONE_IA', 'GLACIER_IR']

/** Erasure-coded, where there are servers enough for that. The others are kept as copies. */
export function isCodedClass(storageClass: StorageClass): boolean {
  return CODED_CLASSES.includes(storageClass)
}

export const RETENTION_MODES = ['GOVERNANCE', 'COMPLIANCE'] as const
export type RetentionMode = (typeof RETENTION_MODES)[number]

export interface Retention {
  readonly mode: RetentionMode
  readonly untilMs: number
}

export interface Tag {
  readonly key: string
  readonly value: string
}

/** A run of an object's bytes that is one file of the store. */
export interface StoredPart {
  readonly fileId: string
  readonly sizeBytes: number
  /** Of the part alone, base64; only of multipart uploads. */
  readonly checksum?: string | undefined
}

/** What can be said of a version without looking at its data. */
export interface ObjectAttributes {
  readonly contentType: string | undefined
  /** Other headers to be sent with it, by lower-case name, such as `cache-control`. */
  readonly headers: Readonly<Record<string, string>>
  /** What the user keeps with it, by lower-case name without `x-amz-meta-`. */
  readonly metadata: Readonly<Record<string, string>>
  readonly tags: readonly Tag[]
  /** As JSON; undefined: the owner has full control, nobody else any. */
  readonly acl: string | undefined
  readonly retention: Retention | undefined
  readonly isLegalHold: boolean
}

/** What came before a version of the same key, as far as it was never deleted. */
export interface ObjectHistory {
  /** How often the key was written: 2 for the first overwrite. */
  readonly writeCount: number
  readonly firstWrittenAtMs: number
}

export const DOCUMENT_STRATEGIES = ['replication', 'ec', 'field_hybrid'] as const
export type DocumentStrategy = (typeof DOCUMENT_STRATEGIES)[number]

/** What the gateway of documents keeps with one. */
export interface DocumentFacts {
  readonly strategy: DocumentStrategy
  /** Of `field_hybrid`: SHA-256 of the last part in hex, if it has cold fields. */
  readonly coldSha256?: string | undefined
}

export interface ObjectVersion extends ObjectAttributes {
  /**
   * 32 hex digits: 12 of the time in milliseconds, 20 of chance. Fixed before the first byte is
   * stored, and kept with every needle of the version.
   */
  readonly id: string
  /** Clients know it as the version `null`: made while versioning was not enabled. */
  readonly isNull: boolean
  /** It hides the versions below it and has no data. */
  readonly isMarker: boolean
  /** Grows with each version of the key: the order of versions, whatever clocks say. */
  readonly seq: number
  readonly modifiedAtMs: number
  readonly sizeBytes: number
  /** MD5 in hex; of a multipart upload that of its parts' MD5s, `-` and their number. */
  readonly etag: string
  readonly storageClass: StorageClass
  readonly checksum: ObjectChecksum | undefined
  readonly parts: readonly StoredPart[]
  /**
   * Of a multipart upload: the file that tells of its parts, so that the version can be made anew
   * without its row. It goes with the version.
   */
  readonly recordFileId?: string | undefined
  /** Canonical id. Undefined: the owner of the bucket. */
  readonly ownerId: string | undefined
  /** Undefined: the key was written once. */
  readonly history?: ObjectHistory | undefined
  /** Undefined: it was not written as a document. */
  readonly document?: DocumentFacts | undefined
}

export const NO_ATTRIBUTES: ObjectAttributes = {
  contentType: undefined,
  headers: {},
  metadata: {},
  tags: [],
  acl: undefined,
  retention: undefined,
  isLegalHold: false,
}

const VERSION = 1
const ID_BYTES = 16
const OWNER_BYTES = 32
const SHA256_PATTERN = /^[0-9a-f]{64}$/
const MD5_PATTERN = /^([0-9a-f]{32})(?:-([1-9]\d*))?$/

const IS_MARKER = 1
const IS_NULL = 2
const IS_LEGAL_HOLD = 4
const HAS_RETENTION = 8
const IS_COMPLIANCE = 16
const HAS_OWNER = 32
const HAS_CHECKSUM = 64
const IS_COMPOSITE = 128
const HAS_EXTRA = 256
const HAS_CONTENT_TYPE = 512
const HAS_PART_CHECKSUMS = 1024
const HAS_RECORD = 2048
const HAS_HISTORY = 4096
const CLASS_SHIFT = 13
const KNOWN_FLAGS = 8191 | (7 << CLASS_SHIFT)

/** What few objects have. */
interface Extra {
  readonly headers?: Readonly<Record<string, string>>
  readonly metadata?: Readonly<Record<string, string>>
  readonly tags?: readonly Tag[]
  readonly acl?: string
  readonly document?: DocumentFacts
}

/**
 * A row of an object, apart from its key: `v u8`, `flags u16`, then
 *
 *     seq varint | id 16 | modifiedAtMs varint | sizeBytes varint | md5 16 | etag parts varint
 *     owner 32 if HAS_OWNER | retainUntilMs varint if HAS_RETENTION
 *     writeCount varint, firstWrittenAtMs varint if HAS_HISTORY
 *     algorithm u8, value text if HAS_CHECKSUM | content type text if HAS_CONTENT_TYPE
 *     part count varint, for each: volume u32, needle u64, cookie u32, sizeBytes varint,
 *       checksum bytes if HAS_PART_CHECKSUMS
 *     volume u32, needle u64, cookie u32 of the record if HAS_RECORD
 *     JSON text of headers, metadata, tags, ACL and document if HAS_EXTRA
 *
 * The top three bits of the flags are the storage class. The etag of a marker is 16 zeros.
 */
export function encodeObjectVersion(version: ObjectVersion): Buffer {
  const extra = extraOf(version)
  const row = new RowWriter(256).u8(VERSION).u16(flagsOf(version, extra))
  assert(version.id.length === 2 * ID_BYTES, `the version id ${version.id}`)
  row.varint(version.seq).hex(version.id).varint(version.modifiedAtMs).varint(version.sizeBytes)
  const [, md5 = '0'.repeat(32), count = '0'] = MD5_PATTERN.exec(version.etag) ?? []
  assert(version.isMarker || version.etag.startsWith(md5), `the ETag ${version.etag}`)
  row.hex(md5).varint(Number(count))
  const { checksum, contentType, history, ownerId, parts, retention } = version
  assert(ownerId === undefined || ownerId.length === 2 * OWNER_BYTES, `the owner ${ownerId}`)
  if (ownerId !== undefined) row.hex(ownerId)
  if (retention !== undefined) row.varint(retention.untilMs)
  if (history !== undefined) row.varint(history.writeCount).varint(history.firstWrittenAtMs)
  if (checksum !== undefined) {
    row.u8(CHECKSUM_ALGORITHMS.indexOf(checksum.algorithm)).text(checksum.value)
  }
  if (contentType !== undefined) row.text(contentType)
  writeParts(row, parts)
  if (version.recordFileId !== undefined) writeFileId(row, version.recordFileId)
  if (extra !== undefined) row.text(JSON.stringify(extra))
  return row.end()
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeObjectVersion(bytes: Uint8Array, key: string): ObjectVersion {
  const row = new RowReader(bytes, key)
  if (row.u8() !== VERSION) throw row.corrupt('its version is unknown')
  const flags = row.u16()
  if ((flags & ~KNOWN_FLAGS) !== 0) throw row.corrupt('it has flags that are unknown')
  const has = (flag: number) => (flags & flag) !== 0
  const seq = row.varint()
  const id = row.hex(ID_BYTES)
  const modifiedAtMs = row.varint()
  const sizeBytes = row.varint()
  const md5 = row.hex(16)
  const count = row.varint()
  const isMarker = has(IS_MARKER)
  const ownerId = has(HAS_OWNER) ? row.hex(OWNER_BYTES) : undefined
  const untilMs = has(HAS_RETENTION) ? row.varint() : undefined
  const mode = has(IS_COMPLIANCE) ? 'COMPLIANCE' : 'GOVERNANCE'
  const history = has(HAS_HISTORY)
    ? { writeCount: row.varint(), firstWrittenAtMs: row.varint() }
    : undefined
  const checksum = has(HAS_CHECKSUM) ? readChecksum(row, has(IS_COMPOSITE)) : undefined
  const contentType = has(HAS_CONTENT_TYPE) ? row.text() : undefined
  const parts = readParts(row, has(HAS_PART_CHECKSUMS))
  const recordFileId = has(HAS_RECORD) ? readFileId(row) : undefined
  const extra = has(HAS_EXTRA) ? readExtra(row) : {}
  row.end()
  const storageClass = STORAGE_CLASSES[flags >> CLASS_SHIFT]
  if (storageClass === undefined) throw row.corrupt('its storage class is unknown')
  const version: ObjectVersion = {
    id,
    isNull: has(IS_NULL),
    isMarker,
    seq,
    modifiedAtMs,
    sizeBytes,
    etag: isMarker ? '' : count === 0 ? md5 : `${md5}-${count}`,
    storageClass,
    checksum,
    parts,
    ownerId,
    contentType,
    headers: extra.headers ?? {},
    metadata: extra.metadata ?? {},
    tags: extra.tags ?? [],
    acl: extra.acl,
    retention: untilMs === undefined ? undefined : { mode, untilMs },
    isLegalHold: has(IS_LEGAL_HOLD),
  }
  return {
    ...version,
    ...(recordFileId !== undefined && { recordFileId }),
    ...(history !== undefined && { history }),
    ...(extra.document !== undefined && { document: extra.document }),
  }
}

/** What was read from JSON is a list of tags. */
export function isTags(value: unknown): value is readonly Tag[] {
  return (
    Array.isArray(value) && value.every((tag) => isTexts(tag) && 'key' in tag && 'value' in tag)
  )
}

/** What clients call the version. */
export function publicVersionId({ id, isNull }: Pick<ObjectVersion, 'id' | 'isNull'>): string {
  return isNull ? 'null' : id
}

function flagsOf(version: ObjectVersion, extra: Extra | undefined): number {
  const { checksum, parts, retention } = version
  return (
    (version.isMarker ? IS_MARKER : 0) |
    (version.isNull ? IS_NULL : 0) |
    (version.isLegalHold ? IS_LEGAL_HOLD : 0) |
    (retention === undefined ? 0 : HAS_RETENTION) |
    (retention?.mode === 'COMPLIANCE' ? IS_COMPLIANCE : 0) |
    (version.ownerId === undefined ? 0 : HAS_OWNER) |
    (checksum === undefined ? 0 : HAS_CHECKSUM) |
    (checksum?.type === 'COMPOSITE' ? IS_COMPOSITE : 0) |
    (extra === undefined ? 0 : HAS_EXTRA) |
    (version.contentType === undefined ? 0 : HAS_CONTENT_TYPE) |
    (parts.some((part) => part.checksum !== undefined) ? HAS_PART_CHECKSUMS : 0) |
    (version.recordFileId === undefined ? 0 : HAS_RECORD) |
    (version.history === undefined ? 0 : HAS_HISTORY) |
    (STORAGE_CLASSES.indexOf(version.storageClass) << CLASS_SHIFT)
  )
}

function extraOf({ acl, document, headers, metadata, tags }: ObjectVersion): Extra | undefined {
  const extra: Extra = {
    ...(Object.keys(headers).length > 0 && { headers }),
    ...(Object.keys(metadata).length > 0 && { metadata }),
    ...(tags.length > 0 && { tags }),
    ...(acl !== undefined && { acl }),
    ...(document !== undefined && { document }),
  }
  return Object.keys(extra).length === 0 ? undefined : extra
}

function writeParts(row: RowWriter, parts: readonly StoredPart[]): void {
  const hasChecksums = parts.some((part) => part.checksum !== undefined)
  row.varint(parts.length)
  for (const part of parts) {
    writeFileId(row, part.fileId)
    row.varint(part.sizeBytes)
    if (hasChecksums) row.bytes(Buffer.from(part.checksum ?? '', 'base64'))
  }
}

function writeFileId(row: RowWriter, text: string): void {
  const fileId = parseFileId(text)
  row.u32(fileId.volumeId).u32(fileId.needleId.hi).u32(fileId.needleId.lo).u32(fileId.cookie)
}

function readFileId(row: RowReader): string {
  const volume = row.u32()
  if (volume === 0) throw row.corrupt('a part lies on volume 0')
  return formatFileId({
    volumeId: volumeId(volume),
    needleId: needleId(row.u32(), row.u32()),
    cookie: cookie(row.u32()),
  })
}

function readParts(row: RowReader, hasChecksums: boolean): StoredPart[] {
  const count = row.varint()
  const parts: StoredPart[] = []
  for (let index = 0; index < count; index++) {
    const fileId = readFileId(row)
    const sizeBytes = row.varint()
    if (!hasChecksums) {
      parts.push({ fileId, sizeBytes })
      continue
    }
    const checksum = row.bytes().toString('base64')
    parts.push(checksum === '' ? { fileId, sizeBytes } : { fileId, sizeBytes, checksum })
  }
  return parts
}

function readChecksum(row: RowReader, isComposite: boolean): ObjectChecksum {
  const algorithm = CHECKSUM_ALGORITHMS[row.u8()]
  if (algorithm === undefined) throw row.corrupt('its checksum algorithm is unknown')
  return { algorithm, type: isComposite ? 'COMPOSITE' : 'FULL_OBJECT', value: row.text() }
}

function readExtra(row: RowReader): Extra {
  const text = row.text()
  let extra: unknown
  try {
    extra = JSON.parse(text)
  } catch (error) {
    throw row.corrupt('its attributes are no JSON', error)
  }
  if (!isExtra(extra)) throw row.corrupt('its attributes make no sense')
  return extra
}

function isExtra(value: unknown): value is Extra {
  if (!isObject(value)) return false
  const { acl, document, headers = {}, metadata = {}, tags = [] } = value
  return (
    isTexts(headers) &&
    isTexts(metadata) &&
    isTags(tags) &&
    (acl === undefined || typeof acl === 'string') &&
    (document === undefined || isDocumentFacts(document))
  )
}

/** What was read from JSON is what is kept with a document. */
export function isDocumentFacts(value: unknown): value is DocumentFacts {
  if (!isObject(value)) return false
  const { coldSha256, strategy } = value
  return (
    DOCUMENT_STRATEGIES.some((known) => known === strategy) &&
    (coldSha256 === undefined ||
      (typeof coldSha256 === 'string' && SHA256_PATTERN.test(coldSha256)))
  )
}
