import { LIMITS } from '../../../base/limits.ts'
import { isStoreError } from '../../../base/store-error.ts'
import type { DeleteObjectResult, WriteCondition } from '../../../namespace/namespace-api.ts'
import { mapBounded } from '../../../runtime/map-bounded.ts'
import { requireNotChunked } from '../auth/content-sha256.ts'
import type { BucketView } from '../bucket-view.ts'
import {
  type DeletedObject,
  type ObjectToDelete,
  readDelete,
  type UndeletedObject,
  writeDeleteResult,
} from '../documents/delete-objects.ts'
import { causeOf } from '../events/event-cause.ts'
import { checkKey } from '../object-key.ts'
import { isS3Error, S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { emptyReply, type S3Reply, xmlReply } from '../s3-reply.ts'
import { s3ErrorOf } from '../store-failure.ts'
import { checkVersionId } from './find-version.ts'
import { readWriteCondition } from './write-attributes.ts'

interface Deletion {
  readonly key: string
  readonly versionId: string | undefined
  readonly condition: WriteCondition | undefined
}

/** S3 has them for directory buckets alone. To drop them would delete what was to be kept. */
const UNKNOWN_CONDITIONS = ['x-amz-if-match-last-modified-time', 'x-amz-if-match-size'] as const

export async function deleteObject(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  const versionId = exchange.query('versionId')
  const condition = readWriteCondition(exchange)
  for (const name of UNKNOWN_CONDITIONS) {
    if (exchange.header(name) !== undefined) throw unknownCondition(name)
  }
  const result = await deleteOne(exchange, view, { key: exchange.key, versionId, condition })
  return emptyReply(204, {
    'x-amz-delete-marker': result.isMarker ? 'true' : undefined,
    'x-amz-version-id': result.versionId,
  })
}

export async function deleteObjects(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  requireNotChunked(exchange.authentication.payload)
  // Each key is judged for itself; whoever may not even sign for anything sees each refused.
  exchange.isDecided = true
  requireBodySum(exchange)
  const { isQuiet, objects } = readDelete(await exchange.document())
  const deleted: DeletedObject[] = []
  const failed: UndeletedObject[] = []
  const remove = async (object: ObjectToDelete): Promise<void> => {
    const { key, versionId } = object
    try {
      const result = await deleteOne(exchange, view, { ...object, condition: conditionOf(object) })
      const markerVersionId = result.isMarker ? result.versionId : undefined
      deleted.push({ key, versionId, markerVersionId })
    } catch (error) {
      const { code, message } = failureOf(exchange, error)
      failed.push({ key, versionId, code, message })
    }
  }
  await mapBounded(objects, LIMITS.nameDeletesAtOnce.value, remove, exchange.signal)
  return xmlReply(writeDeleteResult({ deleted: isQuiet ? [] : deleted, failed }))
}

async function deleteOne(
  exchange: S3Exchange,
  view: BucketView,
  { condition, key, versionId }: Deletion,
): Promise<DeleteObjectResult> {
  checkVersionId(versionId)
  const { namespace } = exchange.parts
  const action = versionId === undefined ? 's3:DeleteObject' : 's3:DeleteObjectVersion'
  const about = { bucket: view.access, key, object: undefined }
  exchange.authorize(action, about)
  checkKey(key)
  const bypasses = exchange.header('x-amz-bypass-governance-retention')?.toLowerCase() === 'true'
  const bypassesGovernance =
    bypasses && exchange.isAuthorized('s3:BypassGovernanceRetention', about)
  const cause = causeOf(exchange, view, 'ObjectRemoved')
  const request = { bucket: view.ref, key, versionId, condition, bypassesGovernance, cause }
  return await namespace.deleteObject(request, exchange.signal)
}

/** @throws {S3Error} NotImplemented: a condition other than the ETag. */
function conditionOf(object: ObjectToDelete): WriteCondition | undefined {
  const { etag, modifiedAtMs, sizeBytes } = object
  if (modifiedAtMs !== undefined) throw unknownCondition('LastModifiedTime')
  if (sizeBytes !== undefined) throw unknownCondition('Size')
  return etag === undefined ? undefined : { ifMatch: [etag] }
}

function unknownCondition(name: string): S3Error {
  return new S3Error('NotImplemented', `The condition ${name} is not implemented.`)
}

/** @throws {S3Error} InvalidRequest: nothing protects the list from what the way did to it. */
function requireBodySum(exchange: S3Exchange): void {
  const { payload } = exchange.authentication
  if (payload.kind === 'signed') return
  const names = ['content-md5', 'x-amz-sdk-checksum-algorithm', 'x-amz-trailer']
  const sums = ['crc32', 'crc32c', 'crc64nvme', 'sha1', 'sha256'].map((n) => `x-amz-checksum-${n}`)
  if ([...names, ...sums].some((name) => exchange.header(name) !== undefined)) return
  throw new S3Error('InvalidRequest', 'Missing required header for this request: Content-MD5')
}

function failureOf(exchange: S3Exchange, error: unknown): S3Error {
  if (isS3Error(error)) return error
  if (isStoreError(error)) return s3ErrorOf(error)
  exchange.parts.logger.error('s3.delete_failed', { error })
  return new S3Error('InternalError')
}
