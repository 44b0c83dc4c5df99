/**
 * Everything that can go wrong outside our own code: bytes, disks, callers. Callers branch on the
 * code, never on the message. docs/ERRORS.md says what to do about each.
 */
export const ERROR_CODES = {
  NEEDLE_NOT_FOUND: 'no needle with this id is stored here, or it was deleted',
  COOKIE_MISMATCH: 'the needle exists, but the cookie in the file id is not its cookie',
  NEEDLE_CORRUPT: 'the stored record of a needle contradicts itself or its checksum',
  NEEDLE_TOO_LARGE: 'the data of a needle is longer than a record can hold',
  NEEDLE_INVALID: 'a name, mime type, time or set of pairs does not fit a needle',
  RANGE_INVALID: 'the requested byte range does not lie inside the data',
  FILE_ID_INVALID: 'this text is not a file id',
  TTL_INVALID: 'this is not a time to live',
  REPLICA_PLACEMENT_INVALID: 'this is not a replica placement',
  ERASURE_INVALID: 'these are not numbers of data and parity shards that can be made',
  SUPER_BLOCK_CORRUPT: 'the first bytes of a volume file are damaged',
  VERSION_UNSUPPORTED: 'the file has a format version this program does not know',
  INDEX_CORRUPT: 'the index file does not hold whole, sensible rows',
  SIDECAR_CORRUPT: 'the checksum file of a volume is damaged',
  VOLUME_INFO_CORRUPT: 'the volume info file is not readable as such',
  NOT_A_VOLUME: 'the file is not a volume',
  VOLUME_NOT_FOUND: 'no volume with this id is here',
  VOLUME_EXISTS: 'a volume with this id is already here',
  VOLUME_FULL: 'the volume has reached its size limit',
  VOLUME_SEALED: 'the volume is sealed and takes no more writes',
  VOLUME_FAILED: 'a sync to disk failed; the volume refuses writes until a vacuum renews its files',
  VOLUME_DAMAGED: 'bytes that were durable are gone or wrong; the volume is read-only',
  VOLUME_BUSY: 'this volume is being vacuumed, sealed or held still for a copy',
  CLOSED: 'the volume or store was closed',
  VACUUM_UNVERIFIED: 'the compacted copy did not match the original, which stays in use',
  CODEC_UNAVAILABLE: 'this server cannot read or make such erasure-coded shards',
  SHARD_NOT_FOUND: 'this shard of the volume is not here',
  SHARD_CORRUPT: 'a block of a shard is not what its checksum says',
  SHARDS_LOST: 'too few shards of a stripe are there and good',
  DISK_FULL: 'the disk has no room for this write',
  DISK_FAILED: 'the operating system reported a failure of the disk',
  DIRECTORY_LOCKED: 'another process, or another store in this one, uses the directory',
  DIRECTORY_UNUSABLE: 'the directory cannot be used: missing rights, read-only, or no directory',
  PATH_NOT_FOUND: 'the file or directory does not exist',
  TARGET_EXISTS: 'a file already exists where a new one was to be made',
  CONFIG_INVALID: 'a setting has a value that cannot be used',
  OVERLOADED: 'too much is waiting already; nothing was done',
  CANCELLED: 'the caller gave up before the work was done',
  TIMEOUT: 'the work was not done within its deadline; it may still happen',
  UNAVAILABLE: 'the other server cannot be reached, or is shutting down',
  PEER_FAILED: 'the other server answered with something that makes no sense',
  NOT_LEADER: 'this master is not the leader; the answer names who is',
  WARMING_UP: 'the master has just started and waits for its volume servers',
  EPOCH_STALE: 'the command comes from a master that has been replaced',
  NO_WRITABLE_VOLUME: 'no volume can take the write now, and none could be made',
  PLACEMENT_IMPOSSIBLE: 'the servers there are cannot satisfy the placement that was asked for',
  REPLICATION_FAILED: 'not every copy could be written; the write does not count',
  COLLECTION_NOT_FOUND: 'no collection has this name',
  NODE_NOT_FOUND: 'no data centre, rack or server has this name',
  NAME_INVALID: 'this cannot be the name of a file',
  NAME_NOT_FOUND: 'no file has this name',
  USER_NOT_FOUND: 'no user of S3 has this name',
  USER_EXISTS: 'a user of S3 has this name or this email address already',
  ACCESS_KEY_NOT_FOUND: 'no user of S3 has this access key',
  ACCESS_KEY_EXISTS: 'this access key is there already',
  REQUEST_INVALID: 'the request cannot be understood',
  ROUTE_NOT_FOUND: 'nothing answers at this path',
  METHOD_NOT_ALLOWED: 'this path does not answer this method',
  BODY_TOO_LARGE: 'the body is longer than is accepted here',
  CHECKSUM_MISMATCH: 'the data does not have the checksum the sender gave',
  MANIFEST_CORRUPT: 'the chunk manifest of a large file cannot be read as such',
  TOKEN_INVALID: 'the token is missing, expired, or for something else',
  ACCESS_DENIED: 'this belongs to somebody else',
  UNAUTHENTICATED: 'the caller has not shown the cluster secret, or the secret of its access key',
  LISTEN_FAILED: 'the address cannot be listened on',
  METADATA_CORRUPT: 'a stored row of metadata cannot be read as such',
  JOB_NOT_FOUND: 'no job has this number',
  JOB_LEASE_LOST: 'the worker was silent for too long; the job belongs to another one now',
  VOLUME_CHANGED: 'the volume is not what the command was conditional on; nothing was changed',
  METADATA_CONFLICT: 'a row is not what the change was conditional on; nothing was changed',
  BUCKET_NOT_FOUND: 'no bucket has this name',
  BUCKET_EXISTS: 'a bucket with this name is already there',
  BUCKET_NOT_EMPTY: 'the bucket still has objects or versions',
  OBJECT_NOT_FOUND: 'no object, or no version of it, is there under this name',
  OBJECT_LOCKED: 'a retention or a legal hold keeps this version',
  UPLOAD_NOT_FOUND: 'no multipart upload has this id; it may be completed or aborted',
  PART_INVALID: 'a part of the upload is not there, or is not the one that was meant',
  PRECONDITION_FAILED: 'the object is not what the change was conditional on',
  QUOTA_EXCEEDED: 'the bucket has no room for this within its quota',
  INTENT_LOST: 'the write was given up by whoever looks after those left half-done; try it again',
} as const

export type ErrorCode = keyof typeof ERROR_CODES

export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** True for a `StoreError` with one of `codes`; without codes, for any `StoreError`. */
export function isStoreError(error: unknown, ...codes: ErrorCode[]): error is StoreError {
  if (!(error instanceof StoreError)) return false
  return codes.length === 0 || codes.includes(error.code)
}

const QUOTED_MAX = 60

/** Foreign text for an error message: quoted, control characters escaped, cut after 60. */
export function quote(text: string): string {
  return JSON.stringify(text.length > QUOTED_MAX ? `${text.slice(0, QUOTED_MAX)}…` : text)
}
