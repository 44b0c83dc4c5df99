import { isStoreError } from '../../../base/store-error.ts'
import { encodeCompletionRecord } from '../../../namespace/completion-record.ts'
import type { UploadRef } from '../../../namespace/namespace-api.ts'
import { versionPairs } from '../../../namespace/needle-pairs.ts'
import {
  type ObjectVersion,
  publicVersionId,
  type StoredPart,
} from '../../../namespace/object-version.ts'
import {
  PART_NUMBER_MAX,
  type Upload,
  type UploadedPart,
} from '../../../namespace/upload-record.ts'
import {
  checkCompletion,
  checksumOfParts,
  multipartEtag,
  readCompletionClaim,
} from '../body/multipart-checksum.ts'
import type { BucketView } from '../bucket-view.ts'
import {
  type CompletedPart,
  readCompleteMultipartUpload,
  writeCompleteMultipartUploadResult,
} from '../documents/complete-multipart-upload.ts'
import { causeOf } from '../events/event-cause.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { type S3Reply, xmlReply } from '../s3-reply.ts'
import { dropStored, nameStored, storeRecord } from './store-body.ts'
import { checksumOf, refOf } from './uploads.ts'
import { readWriteCondition } from './write-attributes.ts'

/** Every part but the last. Source: the S3 user guide, "Amazon S3 multipart upload limits". */
const PART_BYTES_MIN = 5 * 1024 * 1024
const MD5_BYTES = 16

type Checksum = ObjectVersion['checksum']

export async function completeUpload(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:PutObject')
  const { namespace } = exchange.parts
  const claim = readCompletionClaim((name) => exchange.header(name))
  const condition = readWriteCondition(exchange)
  const ref = { bucket: view.ref, key: exchange.key, uploadId: exchange.query('uploadId') ?? '' }
  const upload = await namespace.findUpload(ref, exchange.signal)
  const named = readCompleteMultipartUpload(await bodyOf(exchange))
  const listed = upload && (await listAllParts(exchange, refOf(view, upload)))
  if (upload === undefined || listed === undefined) return await repeated(exchange, view, named)
  const parts = chooseParts(named, listed, upload)
  const etag = multipartEtag(parts.map(({ md5 }) => Buffer.from(md5, 'hex')))
  const sums = parts.map(({ checksum = '', sizeBytes }) => {
    return { value: Buffer.from(checksum, 'base64'), sizeBytes }
  })
  const checksum = checksumOfParts(checksumOf(upload), sums)
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0)
  checkCompletion(claim, checksum, sizeBytes)
  const chosen = parts.map(({ fileId, partNumber }) => ({ fileId, partNumber }))
  const told = { ...upload, sizeBytes, etag, checksum }
  const record = await storeRecordOf(exchange, view, parts, told)
  const request = {
    ...refOf(view, upload),
    parts: chosen,
    etag,
    checksum,
    recordFileId: record.fileId,
    condition,
    cause: causeOf(exchange, view, 'ObjectCreated:CompleteMultipartUpload'),
  }
  const version = await nameStored(exchange.parts, record, () =>
    namespace.completeUpload(request, exchange.signal),
  )
  // Somebody else completed it at the same time.
  if (version.recordFileId !== record.fileId) await dropStored(exchange.parts, record)
  return completedReply(exchange, view, version)
}

/** What makes the version known to whoever has nothing but the volumes. */
async function storeRecordOf(
  exchange: S3Exchange,
  view: BucketView,
  parts: readonly UploadedPart[],
  told: Upload & { readonly sizeBytes: number; readonly etag: string; readonly checksum: Checksum },
): Promise<StoredPart> {
  const owner = { bucket: view.bucket.name, key: told.key, version: told.uploadId }
  const isNull = view.bucket.versioning !== 'enabled'
  const pairs = versionPairs({ ...told, isNull, isRecord: true })
  return await storeRecord(exchange.parts, encodeCompletionRecord(parts), owner, pairs)
}

/** Undefined: somebody else completed or aborted the upload meanwhile. */
async function listAllParts(
  exchange: S3Exchange,
  ref: UploadRef,
): Promise<readonly UploadedPart[] | undefined> {
  const { namespace } = exchange.parts
  try {
    return await namespace.listParts({ ...ref, after: 0, limit: PART_NUMBER_MAX }, exchange.signal)
  } catch (error) {
    if (isStoreError(error, 'UPLOAD_NOT_FOUND')) return undefined
    throw error
  }
}

/** The checksum headers of this request are about the object, not about its own body. */
async function bodyOf(exchange: S3Exchange): Promise<Buffer> {
  return await exchange.document({ hasObjectChecksum: true })
}

/**
 * An upload that was completed before gives the same answer again.
 *
 * @throws {S3Error} NoSuchUpload
 */
async function repeated(
  exchange: S3Exchange,
  view: BucketView,
  named: readonly CompletedPart[],
): Promise<S3Reply> {
  const uploadId = exchange.query('uploadId') ?? ''
  const { namespace } = exchange.parts
  const wanted = { bucket: view.ref, key: exchange.key }
  const current = await namespace.findObject(wanted, exchange.signal)
  // An upload's id becomes that of its version, which others may lie above by now.
  const made =
    current?.id === uploadId
      ? current
      : await namespace.findObject({ ...wanted, versionId: uploadId }, exchange.signal)
  if (made !== undefined && made.etag === etagOf(named)) {
    return completedReply(exchange, view, made)
  }
  throw new S3Error('NoSuchUpload', undefined, { fields: { UploadId: uploadId } })
}

/** Of the object that these parts make; undefined: what is named here is no MD5. */
function etagOf(named: readonly CompletedPart[]): string | undefined {
  const md5s = named.map(({ etag }) => Buffer.from(etag, 'hex'))
  return md5s.every(({ length }) => length === MD5_BYTES) ? multipartEtag(md5s) : undefined
}

function completedReply(
  exchange: S3Exchange,
  view: BucketView,
  version: Parameters<typeof publicVersionId>[0] & {
    readonly etag: string
    readonly checksum: Parameters<typeof writeCompleteMultipartUploadResult>[0]['checksum']
  },
): S3Reply {
  const { key, request } = exchange
  const bucket = view.bucket.name
  const host = request.headers.get('host') ?? ''
  const scheme = request.isTls ? 'https' : 'http'
  const location = `${scheme}://${host}${request.rawPath}`
  const { checksum, etag } = version
  const body = writeCompleteMultipartUploadResult({ location, bucket, key, etag, checksum })
  const isVersioned = view.bucket.versioning !== 'off'
  return xmlReply(body, isVersioned ? { 'x-amz-version-id': publicVersionId(version) } : {})
}

/** @throws {S3Error} InvalidPart, InvalidPartOrder, EntityTooSmall. */
function chooseParts(
  named: readonly CompletedPart[],
  listed: readonly UploadedPart[],
  upload: Upload,
): UploadedPart[] {
  const byNumber = new Map(listed.map((part) => [part.partNumber, part]))
  let before = 0
  const chosen = named.map((wanted) => {
    if (wanted.partNumber <= before) throw new S3Error('InvalidPartOrder')
    before = wanted.partNumber
    const part = byNumber.get(wanted.partNumber)
    if (part === undefined || part.md5 !== wanted.etag) {
      throw invalidPart(wanted, upload)
    }
    for (const { algorithm, value } of wanted.checksums) {
      const isSame = algorithm === checksumOf(upload).algorithm && value === part.checksum
      if (!isSame) throw invalidPart(wanted, upload)
    }
    return part
  })
  // As S3 has it: a composite sum tells the parts by their place, so that must be their number.
  const isInPlace = chosen.every(({ partNumber }, index) => partNumber === index + 1)
  if (upload.checksumType === 'COMPOSITE' && !isInPlace) throw new S3Error('InvalidPartOrder')
  for (const { partNumber, sizeBytes, md5 } of chosen.slice(0, -1)) {
    if (sizeBytes >= PART_BYTES_MIN) continue
    const fields = {
      ProposedSize: String(sizeBytes),
      MinSizeAllowed: String(PART_BYTES_MIN),
      PartNumber: String(partNumber),
      ETag: md5,
    }
    throw new S3Error('EntityTooSmall', undefined, { fields })
  }
  return chosen
}

function invalidPart({ etag, partNumber }: CompletedPart, { uploadId }: Upload): S3Error {
  const fields = { UploadId: uploadId, PartNumber: String(partNumber), ETag: etag }
  return new S3Error('InvalidPart', undefined, { fields })
}
