import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Bucket } from '../namespace/bucket-record.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import { ROOT_USER } from '../namespace/users.ts'
import type { UsersApi } from '../net/users-api.ts'

/** In which bucket each gateway beside S3 keeps what it is given. */
export const DOOR_BUCKETS = {
  objects: 'objects',
  documents: 'documents',
  files: 'files',
} as const

export interface DoorBucketsParts {
  readonly namespace: Pick<NamespaceApi, 'findBucket' | 'createBucket'>
  readonly users: Pick<UsersApi, 'get'>
}

/** Buckets that are there because somebody needs them: the first who does makes them. */
export class DoorBuckets {
  readonly #parts: DoorBucketsParts
  /** Those that were found to be the root user's. */
  readonly #trustedIds = new Set<number>()

  constructor(parts: DoorBucketsParts) {
    this.#parts = parts
  }

  /**
   * Made for the root user when it is missing.
   *
   * @throws {StoreError} ACCESS_DENIED: a user of S3 made it first, and may do with what is in it
   * as the owner likes. Those of the namespace.
   */
  async get(name: string, signal: AbortSignal): Promise<Bucket> {
    const { namespace } = this.#parts
    const bucket = (await namespace.findBucket(name, signal)) ?? (await this.#make(name, signal))
    if (!this.#trustedIds.has(bucket.id)) await this.#checkOwner(bucket, signal)
    return bucket
  }

  async #make(name: string, signal: AbortSignal): Promise<Bucket> {
    const { namespace } = this.#parts
    const ownerId = await this.#rootId(signal)
    const request = { name, ownerId, isLockEnabled: false, documents: {} }
    try {
      return await namespace.createBucket(request, signal)
    } catch (error) {
      if (!isStoreError(error, 'BUCKET_EXISTS')) throw error
      const made = await namespace.findBucket(name, signal)
      if (made !== undefined) return made
      throw new StoreError('OVERLOADED', `the bucket ${name} was made and deleted meanwhile`)
    }
  }

  async #checkOwner({ id, name, ownerId }: Bucket, signal: AbortSignal): Promise<void> {
    if (ownerId !== (await this.#rootId(signal))) {
      const why = `the bucket ${name} is not the root user's: nothing is put there for others`
      throw new StoreError('ACCESS_DENIED', why)
    }
    this.#trustedIds.add(id)
  }

  async #rootId(signal: AbortSignal): Promise<string> {
    return (await this.#parts.users.get(ROOT_USER, signal)).canonicalId
  }
}
