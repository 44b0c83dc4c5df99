import { parseObjectKey } from '../../../namespace/row-keys.ts'
import {
  PART_NUMBER_MAX,
  type Upload,
  type UploadedPart,
} from '../../../namespace/upload-record.ts'
import { newVersionId } from '../../../namespace/version-id.ts'
import { uploadExpiryOf } from '../access/lifecycle.ts'
import type { S3Action } from '../access/s3-actions.ts'
import { checksumHeaderName } from '../body/checksum.ts'
import { DEFAULT_ALGORITHM, type UploadChecksum } from '../body/checksum-headers.ts'
import { readUploadChecksum, resolveChecksumType } from '../body/multipart-checksum.ts'
import type { BucketView } from '../bucket-view.ts'
import { parseCopyRange } from '../byte-range.ts'
import { writeCopyPartResult } from '../documents/copy-result.ts'
import { writeInitiateMultipartUploadResult } from '../documents/initiate-multipart-upload.ts'
import { writeListPartsResult } from '../documents/list-parts.ts'
import { writeListMultipartUploadsResult } from '../documents/list-uploads.ts'
import { httpDate } from '../object-headers.ts'
import { parsePartNumber } from '../part-number.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { emptyReply, type ReplyHeaders, type S3Reply, xmlReply } from '../s3-reply.ts'
import { ownerOf } from './bucket-documents.ts'
import { CopiedBytes, checkSourceSize, findSource, sourceVersionHeader } from './copy-object.ts'
import { ENTRIES, keysPage, readCount, readListRequest } from './list-parameters.ts'
import { readTerms } from './put-object.ts'
import { nameStored, storeBody, storePieces } from './store-body.ts'
import { readWriteAttributes } from './write-attributes.ts'

export async function createUpload(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  const attributes = await readWriteAttributes(exchange, view)
  const key = parseObjectKey(exchange.key)
  const { algorithm, isChosen, type } = readUploadChecksum((name) => exchange.header(name))
  const { namespace, random, clock, config } = exchange.parts
  const uploadId = newVersionId(random, clock.nowMs())
  const checksum = isChosen
    ? { checksumAlgorithm: algorithm, checksumType: type }
    : { checksumAlgorithm: undefined, checksumType: undefined }
  const initiatorId = exchange.principal?.canonicalId
  const upload = { ...attributes, ...checksum, initiatorId, key, uploadId }
  const { startedAtMs } = await namespace.createUpload(
    { bucket: view.ref, upload },
    exchange.signal,
  )
  const rules = view.document('lifecycle') ?? []
  const expiry = uploadExpiryOf(rules, { key, initiatedAtMs: startedAtMs }, config.dayMs)
  const headers = {
    ...(isChosen && { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type }),
    ...(expiry !== undefined && {
      'x-amz-abort-date': httpDate(expiry.atMs),
      'x-amz-abort-rule-id': expiry.ruleId,
    }),
  }
  const result = { bucket: view.bucket.name, key, uploadId }
  return xmlReply(writeInitiateMultipartUploadResult(result), headers)
}

export async function uploadPart(exchange: S3Exchange): Promise<S3Reply> {
  const { upload, view } = await findUpload(exchange, 's3:PutObject')
  const partNumber = parsePartNumber(exchange.query('partNumber') ?? '')
  const { parts } = exchange
  const sum = checksumOf(upload)
  const terms = readTerms(exchange, sum)
  const owner = needleOwner(view, upload, partNumber)
  const wire = () => exchange.wire
  const { part, summary } = await storeBody(parts, wire, terms, owner, upload.storageClass)
  const { checksum, md5, sizeBytes } = summary
  const value = { partNumber, fileId: part.fileId, sizeBytes, checksum: checksum.value }
  const request = { ...refOf(view, upload), part: { ...value, md5: md5.toString('hex') } }
  await nameStored(parts, part, () => parts.namespace.putPart(request, exchange.signal))
  const shown: ReplyHeaders = { [checksumHeaderName(checksum.algorithm)]: checksum.value }
  return emptyReply(200, { ETag: `"${md5.toString('hex')}"`, ...shown })
}

export async function copyPart(exchange: S3Exchange): Promise<S3Reply> {
  const { upload, view } = await findUpload(exchange, 's3:PutObject')
  const partNumber = parsePartNumber(exchange.query('partNumber') ?? '')
  const found = await findSource(exchange)
  const { version } = found
  const header = exchange.header('x-amz-copy-source-range')
  const range =
    header === undefined
      ? { start: 0, end: version.sizeBytes }
      : parseCopyRange(header, version.sizeBytes)
  const size = range.end - range.start
  checkSourceSize(size)
  const { parts } = exchange
  const copy = new CopiedBytes(exchange, version, range, checksumOf(upload).algorithm)
  const owner = needleOwner(view, upload, partNumber)
  const part = await storePieces(parts, copy, size, owner, upload.storageClass)
  const { checksum: sum, etag: md5 } = copy.sums
  const { algorithm, value } = sum
  const stored = { partNumber, fileId: part.fileId, sizeBytes: size, md5, checksum: value }
  const request = { ...refOf(view, upload), part: stored }
  const put = () => parts.namespace.putPart(request, exchange.signal)
  const { modifiedAtMs } = await nameStored(parts, part, put)
  const isShown = upload.checksumAlgorithm !== undefined
  const checksum = isShown ? { algorithm, value } : undefined
  const body = writeCopyPartResult({ modifiedAtMs, etag: md5, checksum })
  return xmlReply(body, sourceVersionHeader(found))
}

export async function abortUpload(exchange: S3Exchange): Promise<S3Reply> {
  const { upload, view } = await findUpload(exchange, 's3:AbortMultipartUpload')
  await exchange.parts.namespace.abortUpload(refOf(view, upload), exchange.signal)
  return emptyReply(204)
}

export async function listParts(exchange: S3Exchange): Promise<S3Reply> {
  const { upload, view } = await findUpload(exchange, 's3:ListMultipartUploadParts')
  const maxParts = readCount(exchange, 'max-parts', ENTRIES)
  const bounds = { min: 0, max: PART_NUMBER_MAX, usual: 0 }
  const after = readCount(exchange, 'part-number-marker', bounds)
  const request = { ...refOf(view, upload), after, limit: maxParts + 1 }
  const found = await exchange.parts.namespace.listParts(request, exchange.signal)
  const shown = found.slice(0, maxParts)
  // A page of nothing has no place to go on from.
  const isTruncated = maxParts > 0 && found.length > maxParts
  const owner = await ownerOf(exchange, upload.ownerId ?? view.bucket.ownerId)
  const { checksumAlgorithm: algorithm, checksumType: type } = upload
  const body = writeListPartsResult({
    bucket: view.bucket.name,
    key: upload.key,
    uploadId: upload.uploadId,
    initiator: await ownerOf(exchange, initiatorOf(upload, view)),
    owner,
    storageClass: upload.storageClass,
    checksum: algorithm && type && { algorithm, type },
    partNumberMarker: after,
    nextPartNumberMarker: isTruncated ? shown.at(-1)?.partNumber : undefined,
    maxParts,
    isTruncated,
    parts: shown.map((part) => listedPart(part, algorithm)),
  })
  return xmlReply(body)
}

export async function listUploads(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:ListBucketMultipartUploads', { key: undefined })
  const { namespace } = exchange.parts
  const request = readListRequest(exchange, view, 'max-uploads')
  const keyMarker = exchange.query('key-marker') ?? ''
  // Without a key to belong to it says nothing.
  const uploadIdMarker = keyMarker === '' ? '' : (exchange.query('upload-id-marker') ?? '')
  const afterUploadId = uploadIdMarker === '' ? undefined : uploadIdMarker
  const wanted = { ...request, after: keyMarker, afterUploadId }
  const page =
    request.limit === 0
      ? { uploads: [], commonPrefixes: [], next: undefined }
      : await namespace.listUploads(wanted, exchange.signal)
  const uploads = []
  for (const upload of page.uploads) {
    const owner = await ownerOf(exchange, upload.ownerId ?? view.bucket.ownerId)
    const { checksumAlgorithm: algorithm, checksumType: type, key, startedAtMs, uploadId } = upload
    uploads.push({
      key,
      uploadId,
      initiator: await ownerOf(exchange, initiatorOf(upload, view)),
      owner,
      storageClass: upload.storageClass,
      initiatedAtMs: startedAtMs,
      checksum: algorithm && type && { algorithm, type },
    })
  }
  const body = writeListMultipartUploadsResult({
    ...keysPage(view, request, page),
    keyMarker,
    uploadIdMarker,
    nextKeyMarker: page.next?.after,
    nextUploadIdMarker: page.next?.afterUploadId,
    maxUploads: request.limit,
    uploads,
  })
  return xmlReply(body)
}

export interface FoundUpload {
  readonly view: BucketView
  readonly upload: Upload
}

/** @throws {S3Error} AccessDenied, NoSuchUpload. */
export async function findUpload(exchange: S3Exchange, action: S3Action): Promise<FoundUpload> {
  const view = await exchange.bucket()
  const uploadId = exchange.query('uploadId') ?? ''
  const ref = { bucket: view.ref, key: exchange.key, uploadId }
  const upload = await exchange.parts.namespace.findUpload(ref, exchange.signal)
  const object = upload && { ownerId: initiatorOf(upload, view), tags: upload.tags }
  exchange.authorize(action, { object })
  if (upload === undefined) {
    throw new S3Error('NoSuchUpload', undefined, { fields: { UploadId: uploadId } })
  }
  return { view, upload }
}

function initiatorOf({ initiatorId, ownerId }: Upload, { bucket }: BucketView): string {
  return initiatorId ?? ownerId ?? bucket.ownerId
}

export function refOf(view: BucketView, { key, uploadId }: Upload) {
  return { bucket: view.ref, key, uploadId }
}

/** What is computed of each part. */
export function checksumOf({ checksumAlgorithm, checksumType }: Upload): UploadChecksum {
  const algorithm = checksumAlgorithm ?? DEFAULT_ALGORITHM
  const type = checksumType ?? resolveChecksumType(algorithm, undefined)
  return { algorithm, type, isChosen: checksumAlgorithm !== undefined }
}

function needleOwner(view: BucketView, { key, uploadId }: Upload, partNumber: number) {
  return { bucket: view.bucket.name, key, version: uploadId, partNumber }
}

function listedPart(part: UploadedPart, algorithm: Upload['checksumAlgorithm']) {
  const { checksum, md5, modifiedAtMs, partNumber, sizeBytes } = part
  const isShown = algorithm !== undefined && checksum !== undefined
  return {
    partNumber,
    modifiedAtMs,
    etag: md5,
    sizeBytes,
    checksum: isShown ? { algorithm, value: checksum } : undefined,
  }
}
