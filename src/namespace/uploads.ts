import { formatFileId, parseFileId } from '../base/file-id.ts'
import { StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type {
  BucketRef,
  CompleteUploadRequest,
  ListPartsRequest,
  NewVersion,
  PutPartRequest,
  UploadRef,
} from './namespace-api.ts'
import type { StoredPart } from './object-version.ts'
import { checkLimit } from './page.ts'
import { checkFilesKept, type Plan, type RowChanges } from './row-changes.ts'
import {
  bucketRange,
  partKey,
  partNumberOfRow,
  partRange,
  uploadKey,
  uploadOfRow,
} from './row-keys.ts'
import {
  decodePart,
  decodeUpload,
  encodePart,
  encodeUpload,
  PART_NUMBER_MAX,
  type Upload,
  type UploadedPart,
} from './upload-record.ts'

/** A change that ends uploads is full with the one that reaches this, of up to 10,000 parts. */
const ROWS_PER_CHANGE = 10_000
const UPLOADS_PER_CHANGE = 100

interface PartRow {
  readonly key: string
  readonly part: UploadedPart
}

/**
 * The rows of multipart uploads. A part is put only while its upload is there; whoever ends an
 * upload must have it alone, so that no part is left behind.
 */
export class UploadRows {
  readonly #store: MetadataStore

  constructor(store: MetadataStore) {
    this.#store = store
  }

  async create(
    bucketId: number,
    upload: Upload,
    changes: RowChanges,
    signal: AbortSignal,
  ): Promise<Plan<Upload>> {
    const { key, uploadId } = upload
    const row = uploadKey(bucketId, key, uploadId)
    const before = await this.#store.get(row, signal)
    if (before !== undefined) return { result: decodeUpload(key, uploadId, before) }
    changes.expect(row, undefined)
    changes.put(row, encodeUpload(upload))
    return { result: upload, changes }
  }

  async find(ref: UploadRef, signal: AbortSignal): Promise<Upload | undefined> {
    const { bucket, key, uploadId } = ref
    const row = await this.#store.get(uploadKey(bucket.id, key, uploadId), signal)
    return row && decodeUpload(key, uploadId, row)
  }

  /**
   * @throws {StoreError} UPLOAD_NOT_FOUND; REQUEST_INVALID: the number, or the file lost its name
   * before.
   */
  async putPart(
    request: PutPartRequest,
    nowMs: number,
    changes: RowChanges,
    signal: AbortSignal,
  ): Promise<Plan<UploadedPart>> {
    const { bucket, key, uploadId } = request
    const { partNumber } = request.part
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > PART_NUMBER_MAX) {
      throw new StoreError('REQUEST_INVALID', `part ${partNumber}: 1 to ${PART_NUMBER_MAX}`)
    }
    const uploadRow = uploadKey(bucket.id, key, uploadId)
    const partRow = partKey(bucket.id, uploadId, partNumber)
    const [upload, before] = await this.#store.getMany([uploadRow, partRow], signal)
    if (upload === undefined) throw notFound(uploadId)
    // A file has more than one text; only the one that is read from rows can be compared.
    const fileId = formatFileId(parseFileId(request.part.fileId))
    const part = { ...request.part, fileId, modifiedAtMs: nowMs }
    const replaced = before && decodePart(partNumber, before, partRow)
    if (replaced?.fileId === part.fileId) return { result: replaced }
    await checkFilesKept(this.#store, [part.fileId], signal)
    changes.expect(uploadRow, upload)
    changes.expect(partRow, before)
    changes.put(partRow, encodePart(part))
    if (replaced !== undefined) {
      changes.dropFile(replaced.fileId, 0)
      changes.count(-replaced.sizeBytes, 0)
    }
    changes.count(part.sizeBytes, 0)
    return { result: part, changes }
  }

  /** @throws {StoreError} UPLOAD_NOT_FOUND; REQUEST_INVALID: the page. */
  async listParts(request: ListPartsRequest, signal: AbortSignal): Promise<UploadedPart[]> {
    const { after, bucket, limit, uploadId } = request
    checkLimit(limit)
    if (!Number.isInteger(after) || after < 0) {
      throw new StoreError('REQUEST_INVALID', `parts after ${after}`)
    }
    const parts: UploadedPart[] = []
    if (after < PART_NUMBER_MAX) {
      const { lt } = partRange(bucket.id, uploadId)
      const range = { gte: partKey(bucket.id, uploadId, after + 1), lt, limit }
      for await (const { part } of this.#parts(range, signal)) parts.push(part)
    }
    // Afterwards: an end in doubt, if it happens in between, takes both away together.
    if ((await this.find(request, signal)) === undefined) throw notFound(uploadId)
    return parts
  }

  /**
   * Takes the rows of an upload away. Its parts are dropped, but for those of what it becomes.
   *
   * @throws {StoreError} UPLOAD_NOT_FOUND; PART_INVALID: a part is not there any more.
   */
  async end(
    ref: UploadRef,
    wanted: CompleteUploadRequest['parts'],
    changes: RowChanges,
    signal: AbortSignal,
  ): Promise<readonly StoredPart[]> {
    const { bucket, key, uploadId } = ref
    const row = uploadKey(bucket.id, key, uploadId)
    const value = await this.#store.get(row, signal)
    if (value === undefined) throw notFound(uploadId)
    changes.expect(row, value)
    changes.delete(row)
    const left = new Map<string, UploadedPart>()
    for await (const found of this.#parts(partRange(bucket.id, uploadId), signal)) {
      changes.delete(found.key)
      changes.count(-found.part.sizeBytes, 0)
      left.set(found.part.fileId, found.part)
    }
    const parts = wanted.map(({ fileId, partNumber }): StoredPart => {
      const part = left.get(fileId)
      if (part?.partNumber !== partNumber) {
        throw new StoreError('PART_INVALID', `part ${partNumber} is not what was listed`)
      }
      left.delete(fileId)
      const { checksum, sizeBytes } = part
      return checksum === undefined ? { fileId, sizeBytes } : { fileId, sizeBytes, checksum }
    })
    for (const fileId of left.keys()) changes.dropFile(fileId, 0)
    return parts
  }

  /**
   * Ends the first uploads of a bucket that is held alone, as many as one change should have. True:
   * they were all.
   */
  async endSome(bucket: BucketRef, changes: RowChanges, signal: AbortSignal): Promise<boolean> {
    let count = 0
    for await (const { key: row } of this.#store.scan(bucketRange('uploads', bucket.id), signal)) {
      if (count >= UPLOADS_PER_CHANGE || changes.size >= ROWS_PER_CHANGE) return false
      await this.end({ bucket, ...uploadOfRow(row) }, [], changes, signal)
      count++
    }
    return true
  }

  async *#parts(
    range: { readonly gte: string; readonly lt: string; readonly limit?: number },
    signal: AbortSignal,
  ): AsyncGenerator<PartRow, void, undefined> {
    for await (const { key, value } of this.#store.scan(range, signal)) {
      yield { key, part: decodePart(partNumberOfRow(key), value, key) }
    }
  }
}

/** The version an upload becomes. */
export function versionOf(
  upload: Upload,
  parts: readonly StoredPart[],
  request: CompleteUploadRequest,
): NewVersion {
  const { checksumAlgorithm: _, checksumType: __, initiatorId: ___, ...said } = upload
  const { key: ____, startedAtMs: _____, ...rest } = said
  const { uploadId, ...attributes } = rest
  return {
    ...attributes,
    id: uploadId,
    sizeBytes: parts.reduce((sum, part) => sum + part.sizeBytes, 0),
    etag: request.etag,
    checksum: request.checksum,
    parts,
    ...(request.recordFileId !== undefined && { recordFileId: request.recordFileId }),
  }
}

function notFound(uploadId: string): StoreError {
  return new StoreError('UPLOAD_NOT_FOUND', `there is no upload ${uploadId}`)
}
