import type { ErrorCode, StoreError } from '../../base/store-error.ts'
import { S3Error, type S3ErrorCode } from './s3-error.ts'

/** What a failure of the store is called in S3; all others are ours, and say nothing. */
const CODES: Readonly<Partial<Record<ErrorCode, S3ErrorCode>>> = {
  BUCKET_NOT_FOUND: 'NoSuchBucket',
  BUCKET_EXISTS: 'BucketAlreadyExists',
  BUCKET_NOT_EMPTY: 'BucketNotEmpty',
  OBJECT_NOT_FOUND: 'NoSuchKey',
  OBJECT_LOCKED: 'AccessDenied',
  UPLOAD_NOT_FOUND: 'NoSuchUpload',
  PART_INVALID: 'InvalidPart',
  PRECONDITION_FAILED: 'PreconditionFailed',
  QUOTA_EXCEEDED: 'QuotaExceeded',
  NAME_INVALID: 'InvalidArgument',
  REQUEST_INVALID: 'InvalidRequest',
  NEEDLE_INVALID: 'InvalidRequest',
  OVERLOADED: 'SlowDown',
  DISK_FULL: 'ServiceUnavailable',
  NO_WRITABLE_VOLUME: 'ServiceUnavailable',
  PLACEMENT_IMPOSSIBLE: 'ServiceUnavailable',
  REPLICATION_FAILED: 'ServiceUnavailable',
  UNAVAILABLE: 'ServiceUnavailable',
  TIMEOUT: 'ServiceUnavailable',
  NOT_LEADER: 'ServiceUnavailable',
  WARMING_UP: 'ServiceUnavailable',
  CLOSED: 'ServiceUnavailable',
  CANCELLED: 'ServiceUnavailable',
}

const LOCKED = 'Access Denied because object protected by object lock.'

/** Messages of the store name volumes and servers: they are for the log. */
export function s3ErrorOf(error: StoreError): S3Error {
  const code = CODES[error.code] ?? 'InternalError'
  const message = error.code === 'OBJECT_LOCKED' ? LOCKED : undefined
  return new S3Error(code, message, { cause: error })
}
