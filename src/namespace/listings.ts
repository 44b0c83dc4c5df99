import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type {
  ListedObject,
  ListedVersion,
  ListObjectsRequest,
  ListUploadsRequest,
  ListVersionsRequest,
  ObjectPage,
  UploadPage,
  VersionPage,
} from './namespace-api.ts'
import type { ObjectRows } from './object-rows.ts'
import { decodeObjectVersion, type ObjectVersion, publicVersionId } from './object-version.ts'
import { Page } from './page.ts'
import {
  bucketRange,
  isObjectKey,
  type KeyRange,
  keyOfObjectRow,
  keyOfVersionRow,
  objectKey,
  textAfterPrefix,
  uploadKey,
  uploadOfRow,
  versionKey,
} from './row-keys.ts'
import { decodeUpload, type Upload } from './upload-record.ts'
import { compareUtf8 } from './utf8-order.ts'

/**
 * Rows of one common prefix that are stepped over before the rest of them is passed with a seek:
 * a seek costs about as much as so many rows.
 */
const STEPS_MAX = 32
/** Handed on at once: one by one would cost more than to read them. */
const PIECE_ROWS = 100
/** Pages with a delimiter may need more rows than they have entries. */
const ROWS_MIN = 64

interface Walk {
  readonly whole: KeyRange
  readonly keyOf: (row: string) => string
}

/** A row, and the key of the object it belongs to. */
interface KeyedRow extends MetadataRow {
  readonly name: string
}

/** Where a page goes on among the versions of a key. */
interface VersionMark {
  readonly key: string
  /** Only versions below this one. */
  readonly seq: number
  /** The version just above those. */
  readonly newer: ObjectVersion | undefined
  readonly isCurrentBelow: boolean
}

/** `VersionPage.next`: where its version was remains known when it is gone. */
const MARK_PATTERN = /^(?:null|[0-9a-f]{32})\.(\d{1,16})$/

/** Pages of what a bucket has. Each costs what it shows, however much lies before or below it. */
export class Listings {
  readonly #store: MetadataStore
  readonly #rows: ObjectRows

  constructor(store: MetadataStore, rows: ObjectRows) {
    this.#store = store
    this.#rows = rows
  }

  /** @throws {StoreError} REQUEST_INVALID: the limit. NAME_INVALID: not proper Unicode. */
  async objects(request: ListObjectsRequest, signal: AbortSignal): Promise<ObjectPage> {
    const page = new Page(request)
    const walk = { whole: bucketRange('objects', request.bucket.id), keyOf: keyOfObjectRow }
    // A key follows directly on itself: it has one row.
    const range = page.rangeIn(walk.whole, (key) => walk.whole.gte + key)
    const objects: ListedObject[] = []
    for await (const rows of this.#walk(walk, range, page, request, signal)) {
      for (const { name, key, value } of rows) {
        if (page.offer(name) !== 'take') continue
        objects.push({ key: name, version: decodeObjectVersion(value, key) })
      }
      if (page.isFull) break
    }
    return { objects, commonPrefixes: page.commonPrefixes, next: page.next?.key }
  }

  /**
   * While the bucket changes, a version may be missed that moves from one kind of row to another.
   *
   * @throws {StoreError} As `objects`.
   */
  async versions(request: ListVersionsRequest, signal: AbortSignal): Promise<VersionPage> {
    const page = new Page(request)
    const versions: ListedVersion[] = []
    const mark = await this.#markOf(request, page, signal)
    let newer = mark?.newer && { key: mark.key, version: mark.newer }
    for await (const row of this.#allVersions(request, page, mark, signal)) {
      const step = page.offer(row.name)
      if (step === 'full') break
      if (step === 'pass') continue
      const version = decodeObjectVersion(row.value, row.key)
      const above = newer?.key === row.name ? newer.version : undefined
      const isLatest = above === undefined
      versions.push({
        key: row.name,
        version,
        isLatest,
        becameNoncurrentAtMs: above?.modifiedAtMs,
      })
      newer = { key: row.name, version }
    }
    const { commonPrefixes, next } = page
    const last = versions.at(-1)
    const afterVersionId =
      next?.isCommon === true || last === undefined
        ? undefined
        : `${publicVersionId(last.version)}.${last.version.seq}`
    return { versions, commonPrefixes, next: next && { after: next.key, afterVersionId } }
  }

  /** @throws {StoreError} As `objects`. */
  async uploads(request: ListUploadsRequest, signal: AbortSignal): Promise<UploadPage> {
    const page = new Page(request)
    const bucketId = request.bucket.id
    const walk = {
      whole: bucketRange('uploads', bucketId),
      keyOf: (row: string) => uploadOfRow(row).key,
    }
    const { gte, lt } = page.rangeIn(walk.whole, (key) => walk.whole.gte + key)
    const { after, afterUploadId } = request
    const isInside = afterUploadId !== undefined && isMarkable(request, page)
    const from = isInside ? `${uploadKey(bucketId, after, afterUploadId)}\0` : gte
    const uploads: Upload[] = []
    const range = { gte: from, lt }
    for await (const rows of this.#walk(walk, range, page, request, signal)) {
      for (const { name, key, value } of rows) {
        if (page.offer(name) !== 'take') continue
        uploads.push(decodeUpload(name, uploadOfRow(key).uploadId, value))
      }
      if (page.isFull) break
    }
    const { commonPrefixes, next } = page
    const lastId = next?.isCommon === true ? undefined : uploads.at(-1)?.uploadId
    return { uploads, commonPrefixes, next: next && { after: next.key, afterUploadId: lastId } }
  }

  /** Undefined: the page begins with a key. */
  async #markOf(
    request: ListVersionsRequest,
    page: Page,
    signal: AbortSignal,
  ): Promise<VersionMark | undefined> {
    const { after: key, afterVersionId, bucket } = request
    if (afterVersionId === undefined || !isMarkable(request, page)) return undefined
    const marked = MARK_PATTERN.exec(afterVersionId)?.[1]
    const seq =
      marked !== undefined
        ? Math.min(Number(marked), Number.MAX_SAFE_INTEGER)
        : await this.#seqOf(bucket.id, key, afterVersionId, signal)
    const current = (await this.#rows.current(bucket.id, key, signal))?.version
    const isCurrentBelow = current !== undefined && current.seq < seq
    const hidden = (await this.#rows.hiddenAtOrAbove(bucket.id, key, seq, signal))?.version
    return { key, seq, newer: hidden ?? (isCurrentBelow ? undefined : current), isCurrentBelow }
  }

  /** Of a version that is not there: above all, since none must be missed. */
  async #seqOf(
    bucketId: number,
    key: string,
    versionId: string,
    signal: AbortSignal,
  ): Promise<number> {
    const found = await this.#rows.find(bucketId, key, versionId, signal)
    return found?.version.seq ?? Number.MAX_SAFE_INTEGER
  }

  /** The rows of `objects` and `versions`, merged: of one key the newest first. */
  async *#allVersions(
    request: ListVersionsRequest,
    page: Page,
    mark: VersionMark | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<KeyedRow, void, undefined> {
    const bucketId = request.bucket.id
    const newest = { whole: bucketRange('objects', bucketId), keyOf: keyOfObjectRow }
    const older = { whole: bucketRange('versions', bucketId), keyOf: keyOfVersionRow }
    const inNewest = page.rangeIn(newest.whole, (key) => newest.whole.gte + key)
    const inOlder = page.rangeIn(older.whole, (key) => older.whole.gte + key)
    const newestRange =
      mark?.isCurrentBelow === true ? { ...inNewest, gte: objectKey(bucketId, mark.key) } : inNewest
    const olderRange =
      mark === undefined
        ? inOlder
        : { ...inOlder, gte: `${versionKey(bucketId, mark.key, mark.seq)}\0` }
    await using tops = pull(this.#walk(newest, newestRange, page, request, signal))
    await using hidden = pull(this.#walk(older, olderRange, page, request, signal))
    let top = await tops.next()
    let below = await hidden.next()
    while (top !== undefined || below !== undefined) {
      const isTop =
        below === undefined || (top !== undefined && compareUtf8(top.name, below.name) <= 0)
      if (isTop && top !== undefined) {
        yield top
        top = await tops.next()
      } else if (below !== undefined) {
        yield below
        below = await hidden.next()
      }
    }
  }

  /** Rows of a range, in pieces; of a common prefix some, then it is passed with a seek. */
  async *#walk(
    { keyOf, whole }: Walk,
    { gte, lt }: KeyRange,
    page: Page,
    request: { readonly delimiter: string; readonly limit: number },
    signal: AbortSignal,
  ): AsyncGenerator<readonly KeyedRow[], void, undefined> {
    const limit = request.delimiter === '' ? request.limit + 1 : Math.max(request.limit, ROWS_MIN)
    let from: string | undefined = gte
    while (from !== undefined && compareUtf8(from, lt) < 0) {
      let next: string | undefined
      let common: string | undefined
      let steps = 0
      let count = 0
      let piece: KeyedRow[] = []
      for await (const row of this.#store.scan({ gte: from, lt, limit }, signal)) {
        const name = keyOf(row.key)
        const prefix = page.commonPrefixOf(name)
        steps = prefix !== undefined && prefix === common ? steps + 1 : 0
        common = prefix
        if (steps > STEPS_MAX && prefix !== undefined) {
          const behind = textAfterPrefix(prefix)
          next = behind === undefined ? whole.lt : whole.gte + behind
          break
        }
        if (steps === 0) piece.push({ name, key: row.key, value: row.value })
        if (++count === limit) next = `${row.key}\0`
        // Behind a common prefix there may be many rows that nobody wants.
        if (piece.length === 0 || (common === undefined && piece.length < PIECE_ROWS)) continue
        yield piece
        piece = []
      }
      if (piece.length > 0) yield piece
      from = next
    }
  }
}

/** A page can go on among what the key `after` has. */
function isMarkable(
  { after, prefix }: { readonly after: string; readonly prefix: string },
  page: Page,
): boolean {
  return isObjectKey(after) && after.startsWith(prefix) && !page.isCommonAfter
}

/** Items of pieces, read by hand one by one; the source is ended when this is disposed. */
function pull<Item>(source: AsyncGenerator<readonly Item[], void, undefined>) {
  let piece: readonly Item[] = []
  let at = 0
  return {
    async next(): Promise<Item | undefined> {
      while (at === piece.length) {
        const { done, value } = await source.next()
        if (done === true) return undefined
        piece = value
        at = 0
      }
      return piece[at++]
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await source.return()
    },
  }
}
