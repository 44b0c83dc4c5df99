import { Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { ERROR_CODES, type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'

/** Names the code of a `StoreError` in the trailers of a call. */
export const CODE_TRAILER = 'hayloft-code'

/** A status line is a header: this much of a message fits with room to spare. */
const MESSAGE_CHARACTERS_MAX = 1000

/** For callers that know gRPC only; ours read the trailer. */
export const GRPC_STATUS = {
  NEEDLE_NOT_FOUND: status.NOT_FOUND,
  COOKIE_MISMATCH: status.NOT_FOUND,
  NEEDLE_CORRUPT: status.DATA_LOSS,
  NEEDLE_TOO_LARGE: status.INVALID_ARGUMENT,
  NEEDLE_INVALID: status.INVALID_ARGUMENT,
  RANGE_INVALID: status.OUT_OF_RANGE,
  FILE_ID_INVALID: status.INVALID_ARGUMENT,
  TTL_INVALID: status.INVALID_ARGUMENT,
  REPLICA_PLACEMENT_INVALID: status.INVALID_ARGUMENT,
  ERASURE_INVALID: status.INVALID_ARGUMENT,
  SUPER_BLOCK_CORRUPT: status.DATA_LOSS,
  VERSION_UNSUPPORTED: status.FAILED_PRECONDITION,
  INDEX_CORRUPT: status.DATA_LOSS,
  SIDECAR_CORRUPT: status.DATA_LOSS,
  VOLUME_INFO_CORRUPT: status.DATA_LOSS,
  NOT_A_VOLUME: status.FAILED_PRECONDITION,
  VOLUME_NOT_FOUND: status.NOT_FOUND,
  VOLUME_EXISTS: status.ALREADY_EXISTS,
  VOLUME_FULL: status.FAILED_PRECONDITION,
  VOLUME_SEALED: status.FAILED_PRECONDITION,
  VOLUME_FAILED: status.FAILED_PRECONDITION,
  VOLUME_DAMAGED: status.DATA_LOSS,
  VOLUME_BUSY: status.ABORTED,
  CLOSED: status.UNAVAILABLE,
  VACUUM_UNVERIFIED: status.INTERNAL,
  CODEC_UNAVAILABLE: status.UNIMPLEMENTED,
  SHARD_NOT_FOUND: status.NOT_FOUND,
  SHARD_CORRUPT: status.DATA_LOSS,
  SHARDS_LOST: status.DATA_LOSS,
  DISK_FULL: status.RESOURCE_EXHAUSTED,
  DISK_FAILED: status.INTERNAL,
  DIRECTORY_LOCKED: status.FAILED_PRECONDITION,
  DIRECTORY_UNUSABLE: status.FAILED_PRECONDITION,
  PATH_NOT_FOUND: status.NOT_FOUND,
  TARGET_EXISTS: status.ALREADY_EXISTS,
  CONFIG_INVALID: status.INVALID_ARGUMENT,
  OVERLOADED: status.RESOURCE_EXHAUSTED,
  CANCELLED: status.CANCELLED,
  TIMEOUT: status.DEADLINE_EXCEEDED,
  UNAVAILABLE: status.UNAVAILABLE,
  PEER_FAILED: status.INTERNAL,
  NOT_LEADER: status.FAILED_PRECONDITION,
  WARMING_UP: status.UNAVAILABLE,
  EPOCH_STALE: status.FAILED_PRECONDITION,
  NO_WRITABLE_VOLUME: status.RESOURCE_EXHAUSTED,
  PLACEMENT_IMPOSSIBLE: status.FAILED_PRECONDITION,
  REPLICATION_FAILED: status.UNAVAILABLE,
  COLLECTION_NOT_FOUND: status.NOT_FOUND,
  NODE_NOT_FOUND: status.NOT_FOUND,
  NAME_INVALID: status.INVALID_ARGUMENT,
  NAME_NOT_FOUND: status.NOT_FOUND,
  USER_NOT_FOUND: status.NOT_FOUND,
  USER_EXISTS: status.ALREADY_EXISTS,
  ACCESS_KEY_NOT_FOUND: status.NOT_FOUND,
  ACCESS_KEY_EXISTS: status.ALREADY_EXISTS,
  REQUEST_INVALID: status.INVALID_ARGUMENT,
  ROUTE_NOT_FOUND: status.UNIMPLEMENTED,
  METHOD_NOT_ALLOWED: status.UNIMPLEMENTED,
  BODY_TOO_LARGE: status.INVALID_ARGUMENT,
  CHECKSUM_MISMATCH: status.INVALID_ARGUMENT,
  MANIFEST_CORRUPT: status.DATA_LOSS,
  TOKEN_INVALID: status.PERMISSION_DENIED,
  ACCESS_DENIED: status.PERMISSION_DENIED,
  UNAUTHENTICATED: status.UNAUTHENTICATED,
  LISTEN_FAILED: status.INTERNAL,
  METADATA_CORRUPT: status.DATA_LOSS,
  JOB_NOT_FOUND: status.NOT_FOUND,
  JOB_LEASE_LOST: status.ABORTED,
  VOLUME_CHANGED: status.ABORTED,
  METADATA_CONFLICT: status.ABORTED,
  BUCKET_NOT_FOUND: status.NOT_FOUND,
  BUCKET_EXISTS: status.ALREADY_EXISTS,
  BUCKET_NOT_EMPTY: status.FAILED_PRECONDITION,
  OBJECT_NOT_FOUND: status.NOT_FOUND,
  OBJECT_LOCKED: status.FAILED_PRECONDITION,
  UPLOAD_NOT_FOUND: status.NOT_FOUND,
  PART_INVALID: status.FAILED_PRECONDITION,
  PRECONDITION_FAILED: status.FAILED_PRECONDITION,
  QUOTA_EXCEEDED: status.RESOURCE_EXHAUSTED,
  INTENT_LOST: status.ABORTED,
} as const satisfies Record<ErrorCode, status>

/** What a status without our trailer means: it was made by a library, or by a stranger. */
const CODE_OF_STATUS: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [status.DEADLINE_EXCEEDED, 'TIMEOUT'],
  [status.CANCELLED, 'CANCELLED'],
  [status.UNAVAILABLE, 'UNAVAILABLE'],
  [status.UNAUTHENTICATED, 'UNAUTHENTICATED'],
])

/**
 * How an error leaves through gRPC. Of one that is no `StoreError` the caller learns nothing; log
 * it where it is handled.
 */
export function toServiceError(error: unknown): ServiceError {
  const metadata = new Metadata()
  if (!isStoreError(error)) {
    return Object.assign(new Error('internal error'), {
      code: status.INTERNAL,
      details: 'internal error',
      metadata,
    })
  }
  metadata.set(CODE_TRAILER, error.code)
  const details = error.message.slice(0, MESSAGE_CHARACTERS_MAX)
  return Object.assign(new Error(details), { code: GRPC_STATUS[error.code], details, metadata })
}

/** How an error of a call to `peer` arrives. Of what makes no sense it says PEER_FAILED. */
export function fromServiceError(error: unknown, peer: string): StoreError {
  if (isStoreError(error)) return error
  const { code, details, trailer } = partsOf(error)
  const named = errorCodeOf(trailer)
  if (named !== undefined) return new StoreError(named, details)
  const known = CODE_OF_STATUS.get(code) ?? 'PEER_FAILED'
  const name = status[code] ?? 'no status'
  return new StoreError(known, `${peer}: ${name}: ${details}`, { cause: error })
}

/** Undefined for what is not the code of an error. */
export function errorCodeOf(text: unknown): ErrorCode | undefined {
  return typeof text === 'string' && Object.hasOwn(ERROR_CODES, text)
    ? (text as ErrorCode)
    : undefined
}

interface ErrorParts {
  readonly code: number
  readonly details: string
  readonly trailer: unknown
}

function partsOf(error: unknown): ErrorParts {
  if (!(error instanceof Error)) return { code: -1, details: String(error), trailer: undefined }
  const { code, details, metadata } = error as Partial<ServiceError>
  return {
    code: typeof code === 'number' ? code : -1,
    details: typeof details === 'string' ? details : error.message,
    trailer: metadata instanceof Metadata ? metadata.get(CODE_TRAILER)[0] : undefined,
  }
}
