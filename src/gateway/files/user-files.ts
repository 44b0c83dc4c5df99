import { LIMITS } from '../../base/limits.ts'
import { isStoreError, quote, StoreError } from '../../base/store-error.ts'
import type { Bucket } from '../../namespace/bucket-record.ts'
import type { WriteCondition } from '../../namespace/namespace-api.ts'
import type { ObjectVersion } from '../../namespace/object-version.ts'
import type {
  DownloadPart,
  DownloadRequest,
  ListFilesRequest,
  SearchFilesRequest,
  StoredFile,
  StoredFileRef,
  StoredFiles,
} from '../../net/files-api.ts'
import { invalid } from '../../net/wire-values.ts'
import type { ByteRange } from '../byte-range.ts'
import type { DoorParts } from '../door-parts.ts'
import { writeObject } from '../object-writer.ts'
import type { Identity } from '../s3/auth/identity.ts'
import { DOOR_COLLECTIONS, readVersion } from '../stored-bytes.ts'
import type { FileCache } from './file-cache.ts'
import type { FileCallers } from './file-callers.ts'
import { CHUNK_BYTES_METADATA, fileKey, listedFile, storedFile, userPrefix } from './file-key.ts'
import { FilesBucket } from './files-bucket.ts'
import type { UploadBody } from './upload-body.ts'

export interface UserFilesParts {
  readonly door: DoorParts
  readonly callers: FileCallers
  readonly cache: FileCache
}

export interface UserFilesConfig {
  /** Larger files are kept in chunks of so many bytes, on volumes side by side. */
  readonly chunkBytes: number
}

type StoreMode = 'upload' | 'update'

interface FoundFile {
  readonly user: string
  readonly bucket: Bucket
  readonly key: string
  readonly version: ObjectVersion
}

/** Small enough that sixteen of them, which a call may have waiting, take little memory. */
const PIECE_BYTES = LIMITS.streamPiece.value / 4
const PAGE_FILES = LIMITS.filePagesMax.value
const CONTENT_TYPE = /^[\x20-\x7e]{1,255}$/

/**
 * The files of users as objects: the file `a/b.txt` of `alice` is `alice/b.txt`… in the bucket
 * `files`, owned by her. A file is there when its object is, in one change; who reads it goes on
 * with the version that was found first.
 *
 * Methods throw ACCESS_DENIED: the file is somebody else's. NAME_INVALID, REQUEST_INVALID; those of
 * the namespace and of the client.
 */
export class UserFiles {
  readonly #door: DoorParts
  readonly #callers: FileCallers
  readonly #cache: FileCache
  readonly #bucket: FilesBucket
  readonly #chunkBytes: number

  constructor({ cache, callers, door }: UserFilesParts, { chunkBytes }: UserFilesConfig) {
    this.#door = door
    this.#callers = callers
    this.#cache = cache
    this.#bucket = new FilesBucket(door)
    this.#chunkBytes = chunkBytes
  }

  /**
   * Nothing of it stays when this fails, and nothing is seen of it before it succeeds.
   *
   * @throws {StoreError} TARGET_EXISTS: an upload, without `isOverwrite`. OBJECT_NOT_FOUND: an
   * update. USER_NOT_FOUND. What reading `body` throws.
   */
  async store(
    mode: StoreMode,
    caller: Identity,
    body: UploadBody,
    signal: AbortSignal,
  ): Promise<StoredFile> {
    const { head } = body
    const owner = await this.#callers.ownerOf(caller, head.user, signal)
    const key = fileKey(owner.name, head.name)
    checkContentType(head.contentType)
    const bucket = await this.#bucket.get(signal)
    const condition = conditionOf(mode, head.isOverwrite === true)
    const before = await this.#door.namespace.findObject({ bucket, key }, signal)
    const isThere = before !== undefined && !before.isMarker
    // Before the bytes come; the change itself checks once more.
    if (isThere && condition?.ifNoneMatch !== undefined) throw exists(key)
    if (!isThere && condition?.ifMatch !== undefined) throw notFound(key)
    const chunkBytes = this.#chunkBytes
    const object = {
      bucket,
      key,
      data: body,
      storage: { collection: DOOR_COLLECTIONS.files, chunkBytes },
      contentType: head.contentType,
      metadata: chunkMetadata(chunkBytes, head.sizeBytes),
      ownerId: owner.id,
      condition,
    }
    try {
      const version = await writeObject(this.#door, object, signal)
      if (before !== undefined) this.#cache.forget(before.id)
      return storedFile(owner.name, head.name, version)
    } catch (error) {
      const isTaken = condition?.ifNoneMatch !== undefined
      throw isTaken && isStoreError(error, 'PRECONDITION_FAILED') ? exists(key) : error
    }
  }

  /**
   * The file, then its bytes, in pieces of at most 256 KiB: all of one version.
   *
   * @throws {StoreError} OBJECT_NOT_FOUND; RANGE_INVALID: the range does not lie within the file.
   */
  async *download(
    caller: Identity,
    request: DownloadRequest,
    signal: AbortSignal,
  ): AsyncGenerator<DownloadPart> {
    const { user, version } = await this.#find(caller, request, signal)
    const range = rangeOf(request, version.sizeBytes)
    yield { file: storedFile(user, request.name, version) }
    for await (const bytes of this.#read(version, range, signal)) {
      for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
        yield { data: bytes.subarray(at, at + PIECE_BYTES) }
      }
    }
  }

  /** @throws {StoreError} OBJECT_NOT_FOUND */
  async delete(caller: Identity, ref: StoredFileRef, signal: AbortSignal): Promise<void> {
    const { bucket, key, version } = await this.#find(caller, ref, signal)
    const condition = { ifMatch: ['*'] }
    await this.#door.namespace.deleteObject({ bucket, key, condition }, signal)
    this.#cache.forget(version.id)
  }

  /** @throws {StoreError} OBJECT_NOT_FOUND */
  async info(caller: Identity, ref: StoredFileRef, signal: AbortSignal): Promise<StoredFile> {
    const { user, version } = await this.#find(caller, ref, signal)
    return storedFile(user, ref.name, version)
  }

  async *list(
    caller: Identity,
    request: ListFilesRequest,
    signal: AbortSignal,
  ): AsyncGenerator<StoredFiles> {
    const start = userPrefix(this.#callers.nameOf(caller, request.user))
    const prefix = start + request.prefix
    const bucket = await this.#bucket.get(signal)
    const first = request.after === '' ? '' : start + request.after
    const pages = (after: string, limit: number) =>
      this.#door.namespace.listObjects({ bucket, prefix, delimiter: '', after, limit }, signal)
    yield* inMessages(pages, first, request.limit, (key) => key.slice(start.length))
  }

  /** @throws {StoreError} REQUEST_INVALID: the pattern. */
  async *search(
    caller: Identity,
    request: SearchFilesRequest,
    signal: AbortSignal,
  ): AsyncGenerator<StoredFiles> {
    if (request.isOfAll) this.#callers.checkAll(caller)
    const { isOfAll, pattern, user } = request
    const prefix = isOfAll ? '' : userPrefix(this.#callers.nameOf(caller, user))
    const bucket = await this.#bucket.get(signal)
    const pages = (after: string, limit: number) =>
      this.#door.namespace.searchObjects({ bucket, prefix, pattern, after, limit }, signal)
    yield* inMessages(pages, request.after, request.limit, (key) => key)
  }

  /** @throws {StoreError} OBJECT_NOT_FOUND */
  async #find(caller: Identity, ref: StoredFileRef, signal: AbortSignal): Promise<FoundFile> {
    const user = this.#callers.nameOf(caller, ref.user)
    const key = fileKey(user, ref.name)
    const bucket = await this.#bucket.get(signal)
    const version = await this.#door.namespace.findObject({ bucket, key }, signal)
    if (version === undefined || version.isMarker) throw notFound(key)
    return { user, bucket, key, version }
  }

  async *#read(
    version: ObjectVersion,
    range: ByteRange,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    if (range.start === range.end) return
    const held = this.#cache.get(version)
    if (held !== undefined) {
      yield held.subarray(range.start, range.end)
      return
    }
    const isWhole = range.end - range.start === version.sizeBytes
    using filling = isWhole ? this.#cache.tryFill(version) : undefined
    for await (const bytes of readVersion(this.#door.client, version, range, signal)) {
      filling?.add(bytes)
      yield bytes
    }
  }
}

type ReadPage = (
  after: string,
  limit: number,
) => Promise<{
  readonly objects: readonly { readonly key: string; readonly version: ObjectVersion }[]
  readonly next: string | undefined
}>

/** Pages as messages, up to `limit` files in all (0: all); `nextOf` gives what goes on behind. */
async function* inMessages(
  read: ReadPage,
  first: string,
  limit: number,
  nextOf: (key: string) => string,
): AsyncGenerator<StoredFiles> {
  let left = limit === 0 ? Number.POSITIVE_INFINITY : limit
  let after = first
  for (;;) {
    const page = await read(after, Math.min(left, PAGE_FILES))
    const files = page.objects.flatMap((object) => listedFile(object) ?? [])
    left -= files.length
    if (page.next === undefined) return yield { files, next: '' }
    if (left <= 0) return yield { files, next: nextOf(page.next) }
    // A page of a search that found nothing so far.
    if (files.length > 0) yield { files, next: '' }
    after = page.next
  }
}

function conditionOf(mode: StoreMode, isOverwrite: boolean): WriteCondition | undefined {
  if (mode === 'update') return { ifMatch: ['*'] }
  return isOverwrite ? undefined : { ifNoneMatch: ['*'] }
}

/** It becomes a header of S3. */
function checkContentType(contentType: string | undefined): void {
  if (contentType === undefined || CONTENT_TYPE.test(contentType)) return
  throw invalid(`${quote(contentType)} is no content type`)
}

function chunkMetadata(chunkBytes: number, sizeBytes: number | undefined) {
  const isUsual = chunkBytes === LIMITS.chunkBytes.value
  if (isUsual || (sizeBytes !== undefined && sizeBytes <= chunkBytes)) return undefined
  return { [CHUNK_BYTES_METADATA]: String(chunkBytes) }
}

/** @throws {StoreError} RANGE_INVALID */
function rangeOf({ end, start }: DownloadRequest, sizeBytes: number): ByteRange {
  if (start === 0 && end === undefined) return { start, end: sizeBytes }
  if (start < sizeBytes) return { start, end: Math.min(end ?? sizeBytes, sizeBytes) }
  throw new StoreError('RANGE_INVALID', `byte ${start} of a file of ${sizeBytes} bytes`)
}

function exists(key: string): StoreError {
  return new StoreError('TARGET_EXISTS', `${quote(key)} is there already`)
}

function notFound(key: string): StoreError {
  return new StoreError('OBJECT_NOT_FOUND', `there is no file ${quote(key)}`)
}
