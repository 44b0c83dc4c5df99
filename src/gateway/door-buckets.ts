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

  constructor(parts: DoorBucketsParts) {
    this.#parts = parts
  }

  /** Made for the root user when it is missing. @throws {StoreError} Those of the namespace. */
  async get(name: string, signal: AbortSignal): Promise<Bucket> {
    const { namespace, users } = this.#parts
    const found = await namespace.findBucket(name, signal)
    if (found !== undefined) return found
    const { canonicalId: ownerId } = await users.get(ROOT_USER, signal)
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
}
