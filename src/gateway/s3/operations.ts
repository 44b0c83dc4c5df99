import {
  writeAccelerateConfiguration,
  writeBucketLoggingStatus,
  writeRequestPaymentConfiguration,
} from './documents/unset-settings.ts'
import * as documents from './handlers/bucket-documents.ts'
import * as buckets from './handlers/buckets.ts'
import { completeUpload } from './handlers/complete-upload.ts'
import { copyObject } from './handlers/copy-object.ts'
import { deleteObject, deleteObjects } from './handlers/delete-objects.ts'
import { getObject, headObject } from './handlers/get-object.ts'
import * as lists from './handlers/lists.ts'
import * as objects from './handlers/object-documents.ts'
import { putObject } from './handlers/put-object.ts'
import { notImplemented, unset, unsetError } from './handlers/unset-settings.ts'
import * as uploads from './handlers/uploads.ts'
import { notAForm } from './post-form.ts'
import { S3Error } from './s3-error.ts'
import type { S3Exchange } from './s3-exchange.ts'
import type { S3Reply } from './s3-reply.ts'
import type { S3Request } from './s3-request.ts'

export type S3Handler = (exchange: S3Exchange) => Promise<S3Reply>

export interface S3Operation {
  /** As the S3 API reference calls it. */
  readonly name: string
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE'
  readonly level: 'service' | 'bucket' | 'object'
  /** A parameter that must be in the query; undefined: one of none. */
  readonly parameter?: string
  /** A header that must be there. */
  readonly header?: string
  /** Only PutObject and UploadPart take bodies in signed chunks. */
  readonly takesChunks?: true
  readonly handle: S3Handler
}

/**
 * Every operation, those with a parameter or header first: of several that fit, the first one is
 * meant. Source: the S3 API reference, "Actions".
 */
export const S3_OPERATIONS: readonly S3Operation[] = [
  ...bucketSetting('cors', 'Cors', 'cors'),
  ...bucketSetting('encryption', 'Encryption', 'encryption'),
  ...bucketSetting('lifecycle', 'LifecycleConfiguration', 'lifecycle'),
  ...bucketSetting('notification', 'NotificationConfiguration', 'notification', false),
  ...bucketSetting('objectLock', 'ObjectLockConfiguration', 'object-lock', false),
  ...bucketSetting('ownership', 'OwnershipControls', 'ownershipControls'),
  ...bucketSetting('publicAccess', 'PublicAccessBlock', 'publicAccessBlock'),
  ...bucketSetting('tagging', 'Tagging', 'tagging'),
  bucket('GET', 'GetBucketVersioning', documents.getVersioning, 'versioning'),
  bucket('PUT', 'PutBucketVersioning', documents.putVersioning, 'versioning'),
  bucket('GET', 'GetBucketPolicy', documents.getPolicy, 'policy'),
  bucket('PUT', 'PutBucketPolicy', documents.putPolicy, 'policy'),
  bucket('DELETE', 'DeleteBucketPolicy', documents.deletePolicy, 'policy'),
  bucket('GET', 'GetBucketPolicyStatus', documents.getPolicyStatus, 'policyStatus'),
  bucket('GET', 'GetBucketAcl', documents.getBucketAcl, 'acl'),
  bucket('PUT', 'PutBucketAcl', documents.putBucketAcl, 'acl'),
  bucket('GET', 'GetBucketLocation', buckets.getBucketLocation, 'location'),
  bucket('GET', 'ListMultipartUploads', uploads.listUploads, 'uploads'),
  bucket('GET', 'ListObjectVersions', lists.listVersions, 'versions'),
  bucket('POST', 'DeleteObjects', deleteObjects, 'delete'),
  ...unsetSettings(),
  bucket('GET', 'ListObjectsV2', lists.listObjectsV2, 'list-type'),
  bucket('GET', 'ListObjects', lists.listObjects),
  bucket('PUT', 'CreateBucket', buckets.createBucket),
  bucket('HEAD', 'HeadBucket', buckets.headBucket),
  bucket('DELETE', 'DeleteBucket', buckets.deleteBucket),

  { ...object('PUT', 'UploadPartCopy', uploads.copyPart, 'uploadId'), header: 'x-amz-copy-source' },
  { ...object('PUT', 'UploadPart', uploads.uploadPart, 'uploadId'), takesChunks: true },
  object('POST', 'CompleteMultipartUpload', completeUpload, 'uploadId'),
  object('POST', 'CreateMultipartUpload', uploads.createUpload, 'uploads'),
  object('DELETE', 'AbortMultipartUpload', uploads.abortUpload, 'uploadId'),
  object('GET', 'ListParts', uploads.listParts, 'uploadId'),
  object('GET', 'GetObjectTagging', objects.getObjectTagging, 'tagging'),
  object('PUT', 'PutObjectTagging', objects.putObjectTagging, 'tagging'),
  object('DELETE', 'DeleteObjectTagging', objects.deleteObjectTagging, 'tagging'),
  object('GET', 'GetObjectAcl', objects.getObjectAcl, 'acl'),
  object('PUT', 'PutObjectAcl', objects.putObjectAcl, 'acl'),
  object('GET', 'GetObjectRetention', objects.getRetention, 'retention'),
  object('PUT', 'PutObjectRetention', objects.putRetention, 'retention'),
  object('GET', 'GetObjectLegalHold', objects.getLegalHold, 'legal-hold'),
  object('PUT', 'PutObjectLegalHold', objects.putLegalHold, 'legal-hold'),
  object('GET', 'GetObjectAttributes', objects.getObjectAttributes, 'attributes'),
  object('GET', 'GetObjectTorrent', notImplemented('s3:GetObjectTorrent'), 'torrent'),
  object('POST', 'RestoreObject', notImplemented('s3:RestoreObject'), 'restore'),
  object('POST', 'SelectObjectContent', notImplemented('s3:GetObject'), 'select'),
  { ...object('PUT', 'CopyObject', copyObject), header: 'x-amz-copy-source' },
  { ...object('PUT', 'PutObject', putObject), takesChunks: true },
  object('GET', 'GetObject', getObject),
  object('HEAD', 'HeadObject', headObject),
  object('DELETE', 'DeleteObject', deleteObject),

  { name: 'ListBuckets', method: 'GET', level: 'service', handle: buckets.listBuckets },
]

/** Parameters that name something else than the bucket or object itself. */
const SUBRESOURCES: ReadonlySet<string> = new Set([
  ...S3_OPERATIONS.flatMap(({ parameter }) => parameter ?? []),
  'analytics',
  'intelligent-tiering',
  'inventory',
  'metrics',
])

/** In the same order, by level and method. */
const OPERATIONS_OF: ReadonlyMap<string, readonly S3Operation[]> = operationsByPlace()

function operationsByPlace(): Map<string, S3Operation[]> {
  const byPlace = new Map<string, S3Operation[]>()
  for (const operation of S3_OPERATIONS) {
    const place = `${operation.level} ${operation.method}`
    const before = byPlace.get(place)
    if (before === undefined) byPlace.set(place, [operation])
    else before.push(operation)
  }
  return byPlace
}

/**
 * @throws {S3Error} MethodNotAllowed; NotImplemented: S3 has it, and this gateway has not.
 * PreconditionFailed: a POST to a bucket, and no form.
 */
export function findOperation(request: S3Request): S3Operation {
  const { bucket: bucketName, headers, key, method, query } = request
  const level = bucketName === undefined ? 'service' : key === undefined ? 'bucket' : 'object'
  const named = query.pairs.map(([name]) => name).filter((name) => SUBRESOURCES.has(name))
  for (const operation of OPERATIONS_OF.get(`${level} ${method}`) ?? []) {
    const { header, parameter } = operation
    if (parameter !== undefined && !named.includes(parameter)) continue
    if (header !== undefined && !headers.has(header) && !query.has(header)) continue
    if (parameter === undefined && isForSomethingElse(named, level)) continue
    return operation
  }
  if (named.length > 0 && level !== 'service') throw new S3Error('NotImplemented')
  if (level === 'bucket' && method === 'POST') throw notAForm()
  throw new S3Error('MethodNotAllowed', undefined, {
    fields: { Method: method, ResourceType: level.toUpperCase() },
  })
}

/** What has no meaning at this level is ignored, as S3 does: `versions` of an object, say. */
function isForSomethingElse(named: readonly string[], level: S3Operation['level']): boolean {
  return named.some(
    (name) =>
      !S3_OPERATIONS.some(({ parameter }) => parameter === name) ||
      S3_OPERATIONS.some((operation) => operation.parameter === name && operation.level === level),
  )
}

function bucket(
  method: S3Operation['method'],
  name: string,
  handle: S3Handler,
  parameter?: string,
): S3Operation {
  const operation = { name, method, level: 'bucket', handle } as const
  return parameter === undefined ? operation : { ...operation, parameter }
}

function object(
  method: S3Operation['method'],
  name: string,
  handle: S3Handler,
  parameter?: string,
): S3Operation {
  const operation = { name, method, level: 'object', handle } as const
  return parameter === undefined ? operation : { ...operation, parameter }
}

function bucketSetting(
  kind: Parameters<typeof documents.getSetting>[1],
  title: string,
  parameter: string,
  isRemovable = true,
): readonly S3Operation[] {
  const name =
    title === 'PublicAccessBlock' || title.startsWith('Object') ? title : `Bucket${title}`
  const operations = [
    bucket('GET', `Get${name}`, (exchange) => documents.getSetting(exchange, kind), parameter),
    bucket('PUT', `Put${name}`, (exchange) => documents.putSetting(exchange, kind), parameter),
  ]
  if (!isRemovable) return operations
  const remove: S3Handler = (exchange) => documents.deleteSetting(exchange, kind)
  const shown = kind === 'lifecycle' ? 'DeleteBucketLifecycle' : `Delete${name}`
  return [...operations, bucket('DELETE', shown, remove, parameter)]
}

/** What S3 has and this gateway has not: asked for, it is unset; to set it is refused. */
function unsetSettings(): readonly S3Operation[] {
  return [
    bucket(
      'GET',
      'GetBucketAccelerateConfiguration',
      unset('s3:GetAccelerateConfiguration', writeAccelerateConfiguration),
      'accelerate',
    ),
    bucket(
      'PUT',
      'PutBucketAccelerateConfiguration',
      notImplemented('s3:PutAccelerateConfiguration'),
      'accelerate',
    ),
    bucket(
      'GET',
      'GetBucketLogging',
      unset('s3:GetBucketLogging', writeBucketLoggingStatus),
      'logging',
    ),
    bucket('PUT', 'PutBucketLogging', notImplemented('s3:PutBucketLogging'), 'logging'),
    bucket(
      'GET',
      'GetBucketRequestPayment',
      unset('s3:GetBucketRequestPayment', writeRequestPaymentConfiguration),
      'requestPayment',
    ),
    bucket(
      'PUT',
      'PutBucketRequestPayment',
      notImplemented('s3:PutBucketRequestPayment'),
      'requestPayment',
    ),
    bucket(
      'GET',
      'GetBucketWebsite',
      unsetError('s3:GetBucketWebsite', 'NoSuchWebsiteConfiguration'),
      'website',
    ),
    bucket('PUT', 'PutBucketWebsite', notImplemented('s3:PutBucketWebsite'), 'website'),
    bucket('DELETE', 'DeleteBucketWebsite', notImplemented('s3:DeleteBucketWebsite'), 'website'),
    bucket(
      'GET',
      'GetBucketReplication',
      unsetError('s3:GetReplicationConfiguration', 'ReplicationConfigurationNotFoundError'),
      'replication',
    ),
    bucket(
      'PUT',
      'PutBucketReplication',
      notImplemented('s3:PutReplicationConfiguration'),
      'replication',
    ),
  ]
}
