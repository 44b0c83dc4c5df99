import { type ErrorCode, isStoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'

/**
 * What to do after an error: `never` try again, try the `same-node` after a pause, or try an
 * `other-node` (which may also be the same one, later). Of a method that must not happen twice only
 * the caller knows: TIMEOUT and UNAVAILABLE do not say whether it happened.
 */
export type RetryAdvice = 'never' | 'same-node' | 'other-node'

export const RETRY = {
  NEEDLE_NOT_FOUND: 'other-node', // A copy may hold what this one missed.
  COOKIE_MISMATCH: 'never', // The caller has the wrong file id, everywhere.
  NEEDLE_CORRUPT: 'other-node', // Other copies have bytes of their own.
  NEEDLE_TOO_LARGE: 'never', // Too large everywhere.
  NEEDLE_INVALID: 'never', // The request is wrong.
  RANGE_INVALID: 'never', // The request is wrong.
  FILE_ID_INVALID: 'never', // The request is wrong.
  TTL_INVALID: 'never', // The request is wrong.
  REPLICA_PLACEMENT_INVALID: 'never', // The request is wrong.
  ERASURE_INVALID: 'never', // The request is wrong.
  SUPER_BLOCK_CORRUPT: 'other-node', // Damage on one disk.
  VERSION_UNSUPPORTED: 'other-node', // Another server may run a newer release.
  INDEX_CORRUPT: 'other-node', // Damage on one disk.
  SIDECAR_CORRUPT: 'other-node', // Damage on one disk.
  VOLUME_INFO_CORRUPT: 'other-node', // Damage on one disk.
  NOT_A_VOLUME: 'other-node', // Damage on one disk.
  VOLUME_NOT_FOUND: 'other-node', // It was moved since the location was learnt.
  VOLUME_EXISTS: 'never', // It will still exist.
  VOLUME_FULL: 'other-node', // Another volume has room; this one will not.
  VOLUME_SEALED: 'other-node', // Another volume takes writes; this one will not.
  VOLUME_FAILED: 'other-node', // Refuses writes until somebody repairs it.
  VOLUME_DAMAGED: 'other-node', // Read-only until somebody repairs it.
  VOLUME_BUSY: 'same-node', // What keeps it busy comes to an end.
  CLOSED: 'other-node', // The server is going away.
  VACUUM_UNVERIFIED: 'never', // Needs a look at disk and memory first.
  CODEC_UNAVAILABLE: 'never',
  SHARD_NOT_FOUND: 'other-node', // It was moved since the location was learnt.
  SHARD_CORRUPT: 'other-node', // Damage on one disk.
  SHARDS_LOST: 'never',
  DISK_FULL: 'other-node', // Only more room on this disk would help.
  DISK_FAILED: 'other-node', // A failed disk stays failed.
  DIRECTORY_LOCKED: 'never', // Held as long as the other process lives.
  DIRECTORY_UNUSABLE: 'never', // Somebody has to correct it.
  PATH_NOT_FOUND: 'never', // It will not appear by itself.
  TARGET_EXISTS: 'never', // It will not go away by itself.
  CONFIG_INVALID: 'never', // Somebody has to correct it.
  OVERLOADED: 'same-node', // Nothing was done, and the queue shrinks.
  CANCELLED: 'never', // The caller wants no answer any more.
  TIMEOUT: 'other-node', // This node is slow just now; it may still happen.
  UNAVAILABLE: 'other-node', // This node is out of reach just now.
  PEER_FAILED: 'other-node', // This node talks nonsense, perhaps only this one.
  NOT_LEADER: 'other-node', // Another master is the leader.
  WARMING_UP: 'same-node', // Over in seconds.
  EPOCH_STALE: 'never', // A newer master has taken over from the caller.
  NO_WRITABLE_VOLUME: 'same-node', // Growth or a vacuum makes room.
  PLACEMENT_IMPOSSIBLE: 'never', // Needs more servers, or another placement.
  REPLICATION_FAILED: 'other-node', // A new file id on another volume gets around the lost copy.
  COLLECTION_NOT_FOUND: 'never', // It will not appear by itself.
  NODE_NOT_FOUND: 'never', // The request is wrong.
  NAME_INVALID: 'never', // The request is wrong.
  NAME_NOT_FOUND: 'never', // The master is the only one who knows names.
  USER_NOT_FOUND: 'never', // The master is the only one who knows users.
  USER_EXISTS: 'never', // It will still exist.
  ACCESS_KEY_NOT_FOUND: 'never', // The master is the only one who knows keys.
  ACCESS_KEY_EXISTS: 'never', // It will still exist.
  REQUEST_INVALID: 'never', // The request is wrong.
  ROUTE_NOT_FOUND: 'never', // The request is wrong.
  METHOD_NOT_ALLOWED: 'never', // The request is wrong.
  BODY_TOO_LARGE: 'never', // Too large everywhere.
  CHECKSUM_MISMATCH: 'same-node', // Bytes were changed on the way; the next try may be luckier.
  MANIFEST_CORRUPT: 'other-node', // Other copies have bytes of their own.
  TOKEN_INVALID: 'never', // Needs a new token first.
  ACCESS_DENIED: 'never', // The user will be the same next time.
  UNAUTHENTICATED: 'never', // The secret will be the same next time.
  LISTEN_FAILED: 'never', // Somebody else has the address.
  METADATA_CORRUPT: 'never', // The row will read the same.
  JOB_NOT_FOUND: 'never', // It will not appear by itself.
  JOB_LEASE_LOST: 'never', // Another worker goes on with it.
  VOLUME_CHANGED: 'never', // Whoever gave the command has to look again first.
  METADATA_CONFLICT: 'never', // Whoever made the condition has to look again first.
  BUCKET_NOT_FOUND: 'never', // It will not appear by itself.
  BUCKET_EXISTS: 'never', // It will not go by itself.
  BUCKET_NOT_EMPTY: 'never', // Its objects will not go by themselves.
  OBJECT_NOT_FOUND: 'never', // It will not appear by itself.
  OBJECT_LOCKED: 'never', // It is kept for days or for ever.
  UPLOAD_NOT_FOUND: 'never', // It will not appear by itself.
  PART_INVALID: 'never', // The parts are what they are.
  PRECONDITION_FAILED: 'never', // The caller has to look again first.
  QUOTA_EXCEEDED: 'never', // There is no more room than before.
  INTENT_LOST: 'never', // The bytes that were stored are about to be deleted.
} as const satisfies Record<ErrorCode, RetryAdvice>

export interface RetryOptions {
  /** Tries in all, the first included. */
  readonly attemptsMax: number
  /** The first pause is at most this long, each further one at most twice the one before. */
  readonly baseMs: number
  readonly maxMs: number
}

/**
 * Runs `run` until it succeeds, fails with what no new try helps against, or has been tried
 * `attemptsMax` times; then the last error is thrown. Between tries it pauses for a random time, so
 * that many who failed together do not come back together.
 *
 * @throws {StoreError} CANCELLED: `signal` aborted during a pause.
 */
export async function retrying<Result>(
  parts: { readonly clock: Clock; readonly random: Random },
  options: RetryOptions,
  run: (attemptIndex: number) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  for (let attemptIndex = 0; ; attemptIndex++) {
    try {
      return await run(attemptIndex)
    } catch (error) {
      const isLast = attemptIndex + 1 >= options.attemptsMax
      if (isLast || signal.aborted || !isStoreError(error)) throw error
      if (RETRY[error.code] === 'never') throw error
    }
    await parts.clock.sleep(pauseMs(parts.random, options, attemptIndex), signal)
  }
}

/** Between half of the step and all of it: never nothing, never all at the same time. */
function pauseMs(random: Random, options: RetryOptions, attemptIndex: number): number {
  const stepMs = Math.min(options.maxMs, options.baseMs * 2 ** Math.min(attemptIndex, 30))
  return stepMs * (0.5 + random.u32() / 2 ** 33)
}
