import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'

/**
 * The keys of the rows of buckets and objects, in the order of their UTF-8 bytes:
 *
 *     buckets/{name}                              a bucket
 *     bucket-ids                                  the next id of a bucket
 *     objects/{bucket}/{key}                      the newest version, unless it is a marker
 *     versions/{bucket}/{key}\0{age}              the versions below it, and all markers
 *     nulls/{bucket}/{key}                        which of those is the version `null`
 *     uploads/{bucket}/{key}\0{upload}            a multipart upload
 *     parts/{bucket}/{upload}/{number}            a part of one
 *     events/{target}/{bucket}/{id}               an event to be delivered: `event-record.ts`
 *     intents/{version}                           files that are about to be stored
 *     search/{bucket}/{gram}\0{key}               a name with it: `search-rows.ts`
 *     dirty/{bucket}/{key}                        a version that lacks copies or shards
 *
 * Files that lost their name have rows of `NamedFiles`: an intent, and one of `name-files` until
 * they are deleted.
 *
 * `bucket` is its id in 8 hex digits, so a bucket made anew has none of the old one's rows. `age`
 * is what is left of 2^53 - 1 after the sequence number, in 14 hex digits: the newest first. No key
 * of an object has a NUL, so versions lie in the order of their keys.
 */
export const BUCKETS_PREFIX = 'buckets/'
export const BUCKETS_END = 'buckets0'
export const BUCKET_IDS_KEY = 'bucket-ids'

export const WRITE_INTENTS_START = 'intents/'
export const WRITE_INTENTS_END = 'intents0'
export const DIRTY_KEYS_START = 'dirty/'
export const DIRTY_KEYS_END = 'dirty0'

const BUCKET_DIGITS = 8
const AGE_DIGITS = 14
const PART_DIGITS = 5
const LONE_SURROGATE = /\p{Surrogate}/u

export interface KeyRange {
  readonly gte: string
  readonly lt: string
}

export function bucketKey(name: string): string {
  return BUCKETS_PREFIX + name
}

export function objectKey(bucketId: number, key: string): string {
  return `objects/${bucketText(bucketId)}/${key}`
}

export function versionKey(bucketId: number, key: string, seq: number): string {
  return `versions/${bucketText(bucketId)}/${key}\0${ageText(seq)}`
}

export function nullKey(bucketId: number, key: string): string {
  return `nulls/${bucketText(bucketId)}/${key}`
}

export function uploadKey(bucketId: number, key: string, uploadId: string): string {
  return `uploads/${bucketText(bucketId)}/${key}\0${uploadId}`
}

export function partKey(bucketId: number, uploadId: string, partNumber: number): string {
  const number = String(partNumber).padStart(PART_DIGITS, '0')
  return `parts/${bucketText(bucketId)}/${uploadId}/${number}`
}

export function partRange(bucketId: number, uploadId: string): KeyRange {
  const start = `parts/${bucketText(bucketId)}/${uploadId}`
  return { gte: `${start}/`, lt: `${start}0` }
}

export function writeIntentKey(id: string): string {
  return WRITE_INTENTS_START + id
}

export function dirtyKey(bucketId: number, key: string): string {
  return `${DIRTY_KEYS_START}${bucketText(bucketId)}/${key}`
}

/** Bucket and key in a row of `dirty`. */
export function objectOfDirtyRow(row: string): { readonly bucketId: number; readonly key: string } {
  const at = DIRTY_KEYS_START.length
  const bucketId = Number.parseInt(row.slice(at, at + BUCKET_DIGITS), 16)
  return { bucketId, key: row.slice(at + BUCKET_DIGITS + 1) }
}

/** All rows of a kind that a bucket has. */
export function bucketRange(
  kind: 'objects' | 'versions' | 'nulls' | 'uploads' | 'parts',
  bucketId: number,
): KeyRange {
  const start = `${kind}/${bucketText(bucketId)}`
  return { gte: `${start}/`, lt: `${start}0` }
}

/** All versions of one key but the one in `objects`. */
export function versionRange(bucketId: number, key: string): KeyRange {
  const start = `versions/${bucketText(bucketId)}/${key}`
  return { gte: `${start}\0`, lt: `${start}\u0001` }
}

/** The key of an object in a row of `objects`. */
export function keyOfObjectRow(row: string): string {
  return row.slice('objects/'.length + BUCKET_DIGITS + 1)
}

/** The key of an object in a row of `versions`. */
export function keyOfVersionRow(row: string): string {
  return row.slice('versions/'.length + BUCKET_DIGITS + 1, -AGE_DIGITS - 1)
}

/** Key and id in a row of `uploads`. */
export function uploadOfRow(row: string): { readonly key: string; readonly uploadId: string } {
  const at = row.lastIndexOf('\0')
  const start = 'uploads/'.length + BUCKET_DIGITS + 1
  return { key: row.slice(start, at), uploadId: row.slice(at + 1) }
}

export function partNumberOfRow(row: string): number {
  return Number(row.slice(-PART_DIGITS))
}

/**
 * The key itself, if an object may have it: 1 to 1024 bytes of UTF-8 without a NUL. Nothing is
 * resolved or normalised: `a//b`, `.` and `a/../b` are keys like any other.
 *
 * @throws {StoreError} NAME_INVALID
 */
export function parseObjectKey(text: string): string {
  if (isObjectKey(text)) return text
  throw new StoreError('NAME_INVALID', `${quote(text)} cannot be the key of an object`)
}

export function isObjectKey(text: string): boolean {
  const bytesMax = LIMITS.fileNameMax.value
  return (
    text !== '' &&
    !text.includes('\0') &&
    !LONE_SURROGATE.test(text) &&
    // Three bytes a code unit at most: short keys need not be measured.
    (text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax)
  )
}

/**
 * The lowest text above every text that begins with `prefix`, in the order of UTF-8; undefined:
 * there is none.
 */
export function textAfterPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0)
  while (points.length > 0) {
    const last = points.pop() ?? 0
    if (last === 0x10ffff) continue
    // Surrogates are no characters of their own.
    points.push(last === 0xd7ff ? 0xe000 : last + 1)
    return String.fromCodePoint(...points)
  }
  return undefined
}

function bucketText(bucketId: number): string {
  assert(Number.isInteger(bucketId) && bucketId > 0 && bucketId < 2 ** 32, `bucket id ${bucketId}`)
  return bucketId.toString(16).padStart(BUCKET_DIGITS, '0')
}

function ageText(seq: number): string {
  assert(Number.isSafeInteger(seq) && seq >= 0, `sequence number ${seq}`)
  return (Number.MAX_SAFE_INTEGER - seq).toString(16).padStart(AGE_DIGITS, '0')
}
