import { formatFileId, parseFileId } from '../base/file-id.ts'
import { isStoreError } from '../base/store-error.ts'
import type { NewVersion } from './namespace-api.ts'
import {
  CHECKSUM_ALGORITHMS,
  type DocumentFacts,
  isDocumentFacts,
  isTags,
  NO_ATTRIBUTES,
  type ObjectChecksum,
  RETENTION_MODES,
  type Retention,
  STORAGE_CLASSES,
  type StorageClass,
  type StoredPart,
} from './object-version.ts'
import { isObject, isTexts } from './row-bytes.ts'
import { isObjectKey } from './row-keys.ts'
import { isVersionId } from './version-id.ts'

/** What a needle says of the object it is of, so that names can be made anew from volumes alone. */
export interface NeedleOwner {
  readonly bucket: string
  readonly key: string
  /** The id of the version; of an upload, its own. */
  readonly version: string
  /** Of an upload; undefined: it is the whole object. */
  readonly partNumber?: number | undefined
}

/** A version as the needle by which it exists tells it: all but where its bytes are. */
export interface ToldVersion extends Omit<NewVersion, 'id' | 'parts' | 'recordFileId'> {
  /** It was made while versioning was not enabled. */
  readonly isNull: boolean
  /** The needle tells of the parts of an upload; its data is a `CompletionRecord`. */
  readonly isRecord: boolean
  /**
   * The files that the version is made of, in order: `null` is the needle itself, which is one of
   * them, the others are file ids with their sizes. Undefined: the needle is all of it.
   */
  readonly parts?: readonly (ToldPart | null)[] | undefined
  /** When it was made, if these bytes are younger. Undefined: when the needle was appended. */
  readonly made?: { readonly modifiedAtMs: number; readonly seq: number } | undefined
  /** There was too much to tell: headers, metadata, tags and ACL were left out. */
  readonly isCut: boolean
}

/** A file beside the needle: its id, and how many bytes of the object it has. */
export type ToldPart = readonly [fileId: string, sizeBytes: number]

/** A part of an upload that was copied to another storage class after the upload was completed. */
export interface MovedPart {
  /** The file that the record of the upload names. */
  readonly fromFileId: string
  readonly storageClass: StorageClass
}

/** What is known of a version before its first byte is stored. */
export type ToldAttributes = Omit<
  ToldVersion,
  'sizeBytes' | 'etag' | 'checksum' | 'isRecord' | 'isCut' | 'made' | 'parts'
>

export type NeedlePairs = Readonly<Record<string, string>>

const PAIR = {
  bucket: 'S3-Bucket',
  key: 'S3-Key',
  version: 'S3-Version',
  part: 'S3-Part',
  attributes: 'S3-Attributes',
  moved: 'S3-Moved',
} as const

/**
 * All pairs of a needle take 64 KiB at most, as JSON in which every quote of ours has a backslash.
 * A key of 1024 control characters takes 6 KiB of it.
 */
const ATTRIBUTES_BYTES_MAX = 48 * 1024
const MD5_PATTERN = /^[0-9a-f]{32}(?:-[1-9]\d{0,4})?$/
const OWNER_PATTERN = /^[0-9a-f]{64}$/

/** What every needle of an object carries: its chunks and shards as well. */
export function ownerPairs({ bucket, key, partNumber, version }: NeedleOwner): NeedlePairs {
  return {
    [PAIR.bucket]: bucket,
    [PAIR.key]: key,
    [PAIR.version]: version,
    ...(partNumber !== undefined && { [PAIR.part]: String(partNumber) }),
  }
}

/**
 * What the needle by which a version exists carries beside `ownerPairs`: JSON of all that differs
 * from what is usual.
 *
 *     {"etag":"…","size":5,"checksum":["CRC32","FULL_OBJECT","…"],"type":"text/plain",
 *      "headers":{…},"metadata":{…},"tags":[…],"acl":"…","retention":{…},"hold":true,
 *      "owner":"…","class":"STANDARD_IA","null":true,"record":true,"made":[ms,seq],"cut":true,
 *      "document":{"strategy":"field_hybrid","coldSha256":"…"},"parts":[null,["4,…",800000]]}
 *
 * How often the key was written before is not told.
 */
export function versionPairs(told: Omit<ToldVersion, 'isCut'>): NeedlePairs {
  const { acl, headers, metadata, tags } = told
  const whole = attributesText(told, {
    ...(Object.keys(headers).length > 0 && { headers }),
    ...(Object.keys(metadata).length > 0 && { metadata }),
    ...(tags.length > 0 && { tags }),
    ...(acl !== undefined && { acl }),
  })
  const isFitting = Buffer.byteLength(JSON.stringify(whole)) <= ATTRIBUTES_BYTES_MAX
  return { [PAIR.attributes]: isFitting ? whole : attributesText(told, { cut: true }) }
}

/** What a part carries besides once it was moved: `{"from":"3,01637037d6","class":"…"}`. */
export function movedPairs({ fromFileId, storageClass }: MovedPart): NeedlePairs {
  return { [PAIR.moved]: JSON.stringify({ from: fromFileId, class: storageClass }) }
}

/** Undefined: it was not moved, or what it says cannot be read. */
export function readMovedPairs(pairs: NeedlePairs | undefined): MovedPart | undefined {
  const json = objectIn(pairs?.[PAIR.moved])
  const from = json?.['from']
  const storageClass = STORAGE_CLASSES.find((known) => known === json?.['class'])
  if (typeof from !== 'string' || storageClass === undefined) return undefined
  return { fromFileId: from, storageClass }
}

/** Undefined: the needle is of no object. What was read may be anything. */
export function readOwnerPairs(pairs: NeedlePairs | undefined): NeedleOwner | undefined {
  if (pairs === undefined) return undefined
  const { [PAIR.bucket]: bucket, [PAIR.key]: key, [PAIR.version]: version } = pairs
  if (bucket === undefined || key === undefined || version === undefined) return undefined
  if (!isObjectKey(key) || !isVersionId(version)) return undefined
  const part = pairs[PAIR.part]
  if (part === undefined) return { bucket, key, version }
  const partNumber = Number(part)
  return Number.isInteger(partNumber) && partNumber > 0
    ? { bucket, key, version, partNumber }
    : undefined
}

/** Undefined: it is a chunk, a shard or a part; or what it tells cannot be read. */
export function readVersionPairs(pairs: NeedlePairs | undefined): ToldVersion | undefined {
  const json = objectIn(pairs?.[PAIR.attributes])
  if (json === undefined) return undefined
  const { acl, etag, headers = {}, metadata = {}, owner, retention, size, tags = [], type } = json
  const storageClass = STORAGE_CLASSES.find((known) => known === (json['class'] ?? 'STANDARD'))
  const checksum = readChecksum(json['checksum'])
  const { document } = json
  const parts = readParts(json['parts'])
  const isRecord = json['record'] === true
  const isSound =
    typeof etag === 'string' &&
    MD5_PATTERN.test(etag) &&
    isCount(size) &&
    isTexts(headers) &&
    isTexts(metadata) &&
    isTags(tags) &&
    isTextOrNone(acl) &&
    isTextOrNone(type) &&
    isTextOrNone(owner) &&
    (owner === undefined || OWNER_PATTERN.test(owner)) &&
    isRetentionOrNone(retention) &&
    isDocumentOrNone(document)
  if (!isSound || storageClass === undefined || checksum === 'bad') return undefined
  if (parts === 'bad' || (parts !== undefined && (isRecord || othersOf(parts) > Number(size)))) {
    return undefined
  }
  return {
    ...NO_ATTRIBUTES,
    sizeBytes: Number(size),
    etag,
    checksum,
    contentType: type,
    headers,
    metadata,
    tags,
    acl,
    retention,
    isLegalHold: json['hold'] === true,
    ownerId: owner,
    storageClass,
    isNull: json['null'] === true,
    isRecord,
    made: readMade(json['made']),
    isCut: json['cut'] === true,
    ...(document !== undefined && { document }),
    ...(parts !== undefined && { parts }),
  }
}

/**
 * The files of a version as the needle that is one of them tells of them; undefined: it is the only
 * one.
 */
export function toldParts(parts: readonly StoredPart[], itself: string): ToldVersion['parts'] {
  if (parts.length < 2) return undefined
  return parts.map(({ fileId, sizeBytes }) => (fileId === itself ? null : [fileId, sizeBytes]))
}

/** Bytes of an object that are in other files than the needle that tells of it. */
export function othersOf(parts: readonly (ToldPart | null)[]): number {
  return parts.reduce((sum, part) => sum + (part?.[1] ?? 0), 0)
}

function attributesText(
  told: Omit<ToldVersion, 'isCut'>,
  more: Readonly<Record<string, unknown>>,
): string {
  const { checksum, contentType, etag, ownerId, retention, sizeBytes, storageClass } = told
  return JSON.stringify({
    etag,
    size: sizeBytes,
    ...(checksum !== undefined && {
      checksum: [checksum.algorithm, checksum.type, checksum.value],
    }),
    ...(contentType !== undefined && { type: contentType }),
    ...(retention !== undefined && { retention }),
    ...(told.isLegalHold && { hold: true }),
    ...(ownerId !== undefined && { owner: ownerId }),
    ...(storageClass !== 'STANDARD' && { class: storageClass }),
    ...(told.isNull && { null: true }),
    ...(told.isRecord && { record: true }),
    ...(told.made !== undefined && { made: [told.made.modifiedAtMs, told.made.seq] }),
    ...(told.document !== undefined && { document: told.document }),
    ...(told.parts !== undefined && { parts: told.parts }),
    ...more,
  })
}

function objectIn(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  if (text === undefined) return undefined
  try {
    const json: unknown = JSON.parse(text)
    return isObject(json) ? json : undefined
  } catch {
    return undefined
  }
}

function readMade(value: unknown): ToldVersion['made'] {
  if (!Array.isArray(value)) return undefined
  const [modifiedAtMs, seq]: unknown[] = value
  if (!isCount(modifiedAtMs) || !isCount(seq)) return undefined
  return { modifiedAtMs, seq }
}

/** Exactly one of them is the needle itself. */
function readParts(value: unknown): readonly (ToldPart | null)[] | undefined | 'bad' {
  if (value === undefined) return undefined
  if (!Array.isArray(value)) return 'bad'
  const parts: (ToldPart | null)[] = []
  for (const item of value as readonly unknown[]) {
    const part = item === null ? null : readPart(item)
    if (part === undefined) return 'bad'
    parts.push(part)
  }
  return parts.filter((part) => part === null).length === 1 ? parts : 'bad'
}

function readPart(value: unknown): ToldPart | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined
  const [fileId, sizeBytes]: unknown[] = value
  if (typeof fileId !== 'string' || !isCount(sizeBytes)) return undefined
  try {
    return [formatFileId(parseFileId(fileId)), sizeBytes]
  } catch (error) {
    if (!isStoreError(error, 'FILE_ID_INVALID')) throw error
    return undefined
  }
}

function isDocumentOrNone(value: unknown): value is DocumentFacts | undefined {
  return value === undefined || isDocumentFacts(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function readChecksum(value: unknown): ObjectChecksum | undefined | 'bad' {
  if (value === undefined) return undefined
  if (!Array.isArray(value)) return 'bad'
  const [algorithmText, type, text]: unknown[] = value
  const algorithm = CHECKSUM_ALGORITHMS.find((known) => known === algorithmText)
  if (algorithm === undefined || typeof text !== 'string') return 'bad'
  if (type !== 'FULL_OBJECT' && type !== 'COMPOSITE') return 'bad'
  return { algorithm, type, value: text }
}

function isTextOrNone(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string'
}

function isRetentionOrNone(value: unknown): value is Retention | undefined {
  if (value === undefined) return true
  if (!isObject(value)) return false
  const { mode, untilMs } = value
  return isCount(untilMs) && RETENTION_MODES.some((known) => known === mode)
}
