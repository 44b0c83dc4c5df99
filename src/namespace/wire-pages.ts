import { formatFileId, parseFileId } from '../base/file-id.ts'
import { StoreError } from '../base/store-error.ts'
import type { Bucket } from './bucket-record.ts'
import type {
  DroppedPage,
  ListDroppedRequest,
  ListedVersion,
  ListObjectsRequest,
  ListUploadsRequest,
  ListVersionsRequest,
  ObjectPage,
  SearchObjectsRequest,
  UploadPage,
  VersionPage,
} from './namespace-api.ts'
import { parseObjectKey } from './row-keys.ts'
import { SEARCH_KINDS } from './search-pattern.ts'
import type { Upload, UploadedPart } from './upload-record.ts'
import { flagOf, maybe, oneOf, pageLimit, pageText, wholeNumber } from './wire-checks.ts'
import { bucketRefFromWire, bucketRefToWire, type WireInBucket } from './wire-namespace.ts'
import {
  bucketToWire,
  partToWire,
  uploadFromWire,
  uploadToWire,
  versionFromWire,
  versionToWire,
  type WireBucket,
  type WirePart,
  type WireUpload,
} from './wire-records.ts'

/**
 * Pages of namespace.proto as the loader shows them, and back. A page has up to 10,000 entries and
 * a row of a version up to a megabyte: so pages travel in pieces, and the last one says what
 * follows. One that is empty is one piece.
 */

export interface WireListObjects extends WireInBucket {
  readonly prefix: string
  readonly delimiter: string
  readonly after: string
  readonly limit: number
}

export interface WireSearchObjects extends WireInBucket {
  readonly prefix: string
  readonly kind: string
  readonly pattern: string
  readonly after: string
  readonly limit: number
}

export interface WireListVersions extends WireListObjects {
  readonly afterVersionId?: string | undefined
}

export interface WireListUploads extends WireListObjects {
  readonly afterUploadId?: string | undefined
}

export interface WireListedObject {
  readonly key: string
  readonly row: Uint8Array
}

export interface WireObjectPage {
  readonly objects: readonly WireListedObject[]
  readonly commonPrefixes: readonly string[]
  readonly next?: string | undefined
}

export interface WireListDropped {
  readonly after: string
  readonly limit: number
}

export interface WireDroppedPage {
  readonly fileIds: readonly string[]
  readonly next?: string | undefined
}

export interface WireListedVersion extends WireListedObject {
  readonly isLatest: boolean
  readonly becameNoncurrentAtMs?: number | undefined
}

export interface WireVersionPage {
  readonly versions: readonly WireListedVersion[]
  readonly commonPrefixes: readonly string[]
  readonly next: {
    readonly after: string
    readonly afterVersionId?: string | undefined
  } | null
}

export interface WireUploadPage {
  readonly uploads: readonly WireUpload[]
  readonly commonPrefixes: readonly string[]
  readonly next: { readonly after: string; readonly afterUploadId?: string | undefined } | null
}

export interface WireBuckets {
  readonly buckets: readonly WireBucket[]
}

export interface WireParts {
  readonly parts: readonly WirePart[]
}

/** A piece has one entry more than fits: far below the 64 MiB that a message may have. */
const PIECE_BYTES = 1024 * 1024
/** Lengths, field numbers and the few small fields of an entry. */
const ENTRY_BYTES = 32

export function listObjectsToWire(request: ListObjectsRequest): WireListObjects {
  const { after, bucket, delimiter, limit, prefix } = request
  return { bucket: bucketRefToWire(bucket), prefix, delimiter, after, limit }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listObjectsFromWire(wire: WireListObjects): ListObjectsRequest {
  return {
    bucket: bucketRefFromWire(wire.bucket),
    prefix: pageText(wire.prefix),
    delimiter: pageText(wire.delimiter),
    after: pageText(wire.after),
    limit: pageLimit(wire.limit),
  }
}

export function searchObjectsToWire(request: SearchObjectsRequest): WireSearchObjects {
  const { after, bucket, limit, pattern, prefix } = request
  const { kind, text } = pattern
  return { bucket: bucketRefToWire(bucket), prefix, kind, pattern: text, after, limit }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function searchObjectsFromWire(wire: WireSearchObjects): SearchObjectsRequest {
  return {
    bucket: bucketRefFromWire(wire.bucket),
    prefix: pageText(wire.prefix),
    pattern: { kind: oneOf(wire.kind, SEARCH_KINDS, 'a kind of pattern'), text: wire.pattern },
    after: pageText(wire.after),
    limit: pageLimit(wire.limit),
  }
}

export function listVersionsToWire(request: ListVersionsRequest): WireListVersions {
  return { ...listObjectsToWire(request), afterVersionId: request.afterVersionId }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listVersionsFromWire(wire: WireListVersions): ListVersionsRequest {
  const afterVersionId = maybe(wire.afterVersionId, pageText)
  return { ...listObjectsFromWire(wire), afterVersionId }
}

export function listUploadsToWire(request: ListUploadsRequest): WireListUploads {
  return { ...listObjectsToWire(request), afterUploadId: request.afterUploadId }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listUploadsFromWire(wire: WireListUploads): ListUploadsRequest {
  const afterUploadId = maybe(wire.afterUploadId, pageText)
  return { ...listObjectsFromWire(wire), afterUploadId }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listDroppedFromWire({ after, limit }: WireListDropped): ListDroppedRequest {
  return { after: pageText(after), limit: pageLimit(limit) }
}

/** @throws {StoreError} FILE_ID_INVALID */
export function droppedPageFromWire({ fileIds, next }: WireDroppedPage): DroppedPage {
  return { fileIds: fileIds.map((text) => formatFileId(parseFileId(text))), next }
}

export function* bucketsInPieces(buckets: readonly Bucket[]): Generator<WireBuckets> {
  const rows = buckets.map(bucketToWire)
  for (const piece of cut(rows, ({ name, row }) => name.length + row.length)) {
    yield { buckets: piece }
  }
}

export function* partsInPieces(parts: readonly UploadedPart[]): Generator<WireParts> {
  for (const piece of cut(parts.map(partToWire), ({ row }) => row.length)) yield { parts: piece }
}

export function* objectPageInPieces(page: ObjectPage): Generator<WireObjectPage> {
  const objects = page.objects.map(({ key, version }) => ({ key, ...versionToWire(version) }))
  for (const { commonPrefixes, entries, isLast } of pieces(objects, page.commonPrefixes)) {
    yield { objects: entries, commonPrefixes, next: isLast ? page.next : undefined }
  }
}

/** One piece. @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function objectPageFromWire(wire: WireObjectPage): ObjectPage {
  const { commonPrefixes, next } = wire
  const objects = wire.objects.map((object) => ({
    key: parseObjectKey(object.key),
    version: versionFromWire(object),
  }))
  return { objects, commonPrefixes, next }
}

/** @throws {StoreError} PEER_FAILED: not even an empty page. */
export function joinObjectPages(parts: readonly ObjectPage[]): ObjectPage {
  return {
    objects: parts.flatMap(({ objects }) => objects),
    commonPrefixes: parts.flatMap(({ commonPrefixes }) => commonPrefixes),
    next: lastOf(parts).next,
  }
}

export function* versionPageInPieces(page: VersionPage): Generator<WireVersionPage> {
  const versions = page.versions.map(
    ({ becameNoncurrentAtMs, isLatest, key, version }): WireListedVersion => ({
      key,
      ...versionToWire(version),
      isLatest,
      becameNoncurrentAtMs,
    }),
  )
  for (const { commonPrefixes, entries, isLast } of pieces(versions, page.commonPrefixes)) {
    const next = isLast && page.next !== undefined ? { ...page.next } : null
    yield { versions: entries, commonPrefixes, next }
  }
}

/** One piece. @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function versionPageFromWire(wire: WireVersionPage): VersionPage {
  const next = maybe(wire.next, ({ after, afterVersionId }) => ({ after, afterVersionId }))
  return { versions: wire.versions.map(listedVersion), commonPrefixes: wire.commonPrefixes, next }
}

function listedVersion(wire: WireListedVersion): ListedVersion {
  return {
    key: parseObjectKey(wire.key),
    version: versionFromWire(wire),
    isLatest: flagOf(wire.isLatest, 'whether a version is the latest'),
    becameNoncurrentAtMs: maybe(wire.becameNoncurrentAtMs, (ms) => wholeNumber(ms, 'a time')),
  }
}

/** @throws {StoreError} PEER_FAILED: not even an empty page. */
export function joinVersionPages(parts: readonly VersionPage[]): VersionPage {
  return {
    versions: parts.flatMap(({ versions }) => versions),
    commonPrefixes: parts.flatMap(({ commonPrefixes }) => commonPrefixes),
    next: lastOf(parts).next,
  }
}

export function* uploadPageInPieces(page: UploadPage): Generator<WireUploadPage> {
  const uploads = page.uploads.map(uploadToWire)
  for (const { commonPrefixes, entries, isLast } of pieces(uploads, page.commonPrefixes)) {
    const next = isLast && page.next !== undefined ? { ...page.next } : null
    yield { uploads: entries, commonPrefixes, next }
  }
}

/** One piece. @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function uploadPageFromWire(wire: WireUploadPage): UploadPage {
  const uploads: Upload[] = wire.uploads.map(uploadFromWire)
  const next = maybe(wire.next, ({ after, afterUploadId }) => ({ after, afterUploadId }))
  return { uploads, commonPrefixes: wire.commonPrefixes, next }
}

/** @throws {StoreError} PEER_FAILED: not even an empty page. */
export function joinUploadPages(parts: readonly UploadPage[]): UploadPage {
  return {
    uploads: parts.flatMap(({ uploads }) => uploads),
    commonPrefixes: parts.flatMap(({ commonPrefixes }) => commonPrefixes),
    next: lastOf(parts).next,
  }
}

interface Piece<Entry> {
  readonly entries: readonly Entry[]
  readonly commonPrefixes: readonly string[]
  readonly isLast: boolean
}

function* pieces<Entry extends WireListedObject>(
  entries: readonly Entry[],
  commonPrefixes: readonly string[],
): Generator<Piece<Entry>> {
  const ofEntries = cut(entries, ({ key, row }) => 3 * key.length + row.length)
  const ofPrefixes = cut(commonPrefixes, (prefix) => 3 * prefix.length)
  const count = Math.max(1, ofEntries.length, ofPrefixes.length)
  for (let index = 0; index < count; index++) {
    yield {
      entries: ofEntries[index] ?? [],
      commonPrefixes: ofPrefixes[index] ?? [],
      isLast: index === count - 1,
    }
  }
}

/** Runs of items, each ended by the item that makes it large enough. */
function cut<Item>(items: readonly Item[], bytesOf: (item: Item) => number): Item[][] {
  const runs: Item[][] = []
  let run: Item[] = []
  let bytes = 0
  for (const item of items) {
    run.push(item)
    bytes += ENTRY_BYTES + bytesOf(item)
    if (bytes < PIECE_BYTES) continue
    runs.push(run)
    run = []
    bytes = 0
  }
  if (run.length > 0) runs.push(run)
  return runs
}

function lastOf<Page>(parts: readonly Page[]): Page {
  const last = parts.at(-1)
  if (last === undefined) throw new StoreError('PEER_FAILED', 'a master sent no page at all')
  return last
}
