import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedSharedLock } from '../runtime/keyed-shared-lock.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import { type Bucket, decodeBucket, encodeBucket, isBucketName, NO_QUOTA } from './bucket-record.ts'
import type {
  BucketChange,
  BucketRef,
  BucketUsage,
  CreateBucketRequest,
  ListBucketsRequest,
} from './namespace-api.ts'
import { decodeSeq, encodeSeq } from './object-rows.ts'
import { checkLimit } from './page.ts'
import { RowCache } from './row-cache.ts'
import { type Plan, RowChanges, type RowCommits } from './row-changes.ts'
import { BUCKET_IDS_KEY, BUCKETS_END, BUCKETS_PREFIX, bucketKey, bucketRange } from './row-keys.ts'

export interface BucketsParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly commits: RowCommits
}

/** How the uploads of a bucket that is deleted come to their end. */
export interface UploadsEnd {
  /** A change that ends some of them; `isLast`: all that there are. */
  endSome(): Promise<{ readonly changes: RowChanges; readonly isLast: boolean }>
  /** While the bucket is still held. */
  ended(usage: BucketUsage): void
}

/** Uploads that nobody completed keep no bucket: they go with it. */
const KEPT_KINDS = ['objects', 'versions'] as const

/**
 * The rows of buckets. Changes of what a bucket has share its lock, and its removal has it alone:
 * nothing can come into a bucket that was found to be empty.
 */
export class Buckets {
  readonly #store: MetadataStore
  readonly #clock: Clock
  readonly #commits: RowCommits
  readonly #cache: RowCache<Bucket>
  readonly #locks = new KeyedSharedLock<string>({ waitersMax: LIMITS.nameWritersMax.value })
  /** New buckets take turns: each takes the next id. */
  readonly #creating = new Semaphore({ slots: 1, waitersMax: LIMITS.nameWritersMax.value })

  constructor(parts: BucketsParts) {
    this.#store = parts.store
    this.#clock = parts.clock
    this.#commits = parts.commits
    this.#cache = new RowCache(parts, { max: LIMITS.bucketCacheMax.value })
  }

  find(name: string): Promise<Bucket | undefined> {
    return this.#cache.get(name, () => this.#load(name))
  }

  /** @throws {StoreError} BUCKET_NOT_FOUND: none has this name, or it is another one. */
  async get({ id, name }: BucketRef): Promise<Bucket> {
    const bucket = this.#cache.peek(name) ?? (await this.find(name))
    if (bucket?.id === id) return bucket
    throw notFound(name)
  }

  /** Runs a change of the bucket's content; the bucket stays until it is done. Errors as `get`. */
  async withBucket<Result>(
    ref: BucketRef,
    signal: AbortSignal,
    run: (bucket: Bucket) => Promise<Result>,
  ): Promise<Result> {
    using _lock = await this.#locks.share(ref.name, signal)
    // Also if its removal has failed, and is yet to be found to have happened.
    await this.#commits.settle(signal)
    return await run(await this.get(ref))
  }

  /** Keeps changes of the bucket's content away until it is disposed. Errors as `get`. */
  async exclude(ref: BucketRef, signal: AbortSignal): Promise<Disposable> {
    const alone = await this.#locks.exclude(ref.name, signal)
    try {
      await this.get(ref)
      return alone
    } catch (error) {
      alone[Symbol.dispose]()
      throw error
    }
  }

  /** @throws {StoreError} BUCKET_EXISTS, NAME_INVALID. */
  async create(request: CreateBucketRequest, signal: AbortSignal): Promise<Bucket> {
    const { documents, isLockEnabled, name, ownerId } = request
    if (!isBucketName(name)) {
      throw new StoreError('NAME_INVALID', `${quote(name)} cannot be the name of a bucket`)
    }
    using _turn = await this.#creating.acquire(signal)
    return await this.#change(name, signal, async () => {
      const [row, ids] = await this.#store.getMany([bucketKey(name), BUCKET_IDS_KEY], signal)
      if (row !== undefined) throw new StoreError('BUCKET_EXISTS', `there is a bucket ${name}`)
      const id = ids === undefined ? 1 : decodeSeq(ids, BUCKET_IDS_KEY)
      const bucket: Bucket = {
        name,
        id,
        ownerId,
        createdAtMs: this.#clock.nowMs(),
        versioning: isLockEnabled ? 'enabled' : 'off',
        isLockEnabled,
        documents,
        quota: NO_QUOTA,
      }
      const changes = this.#changes()
      changes.expect(bucketKey(name), undefined)
      changes.expect(BUCKET_IDS_KEY, ids)
      changes.put(BUCKET_IDS_KEY, encodeSeq(id + 1))
      changes.put(bucketKey(name), encodeBucket(bucket))
      return { result: bucket, changes }
    })
  }

  async list(request: ListBucketsRequest, signal: AbortSignal): Promise<readonly Bucket[]> {
    const { after, limit, ownerId, prefix } = request
    checkLimit(limit)
    const buckets: Bucket[] = []
    const gte = bucketKey(after >= prefix && after !== '' ? `${after}\0` : prefix)
    for await (const { key, value } of this.#store.scan({ gte, lt: BUCKETS_END }, signal)) {
      const name = key.slice(BUCKETS_PREFIX.length)
      if (!name.startsWith(prefix)) break
      const bucket = decodeBucket(name, value)
      if (ownerId === undefined || bucket.ownerId === ownerId) buckets.push(bucket)
      if (buckets.length === limit) break
    }
    return buckets
  }

  /** @throws {StoreError} BUCKET_NOT_FOUND; REQUEST_INVALID: locks need enabled versioning. */
  async change(ref: BucketRef, change: BucketChange, signal: AbortSignal): Promise<Bucket> {
    return await this.#change(ref.name, signal, async () => {
      const row = await this.#store.get(bucketKey(ref.name), signal)
      const before = row && decodeBucket(ref.name, row)
      if (before?.id !== ref.id) throw notFound(ref.name)
      const after = changed(before, change)
      const changes = this.#changes()
      changes.expect(bucketKey(ref.name), row)
      changes.put(bucketKey(ref.name), encodeBucket(after))
      return { result: after, changes }
    })
  }

  /**
   * The bucket is held alone until no upload is left in it; the last change has its own row, too.
   *
   * @throws {StoreError} BUCKET_NOT_FOUND, BUCKET_NOT_EMPTY.
   */
  async delete(ref: BucketRef, uploads: UploadsEnd, signal: AbortSignal): Promise<void> {
    using _lock = await this.#locks.exclude(ref.name, signal)
    using _change = this.#cache.change(ref.name)
    const plan = async () => {
      const row = await this.#emptyRow(ref, signal)
      const { changes, isLast } = await uploads.endSome()
      changes.expect(bucketKey(ref.name), row)
      if (isLast) changes.delete(bucketKey(ref.name))
      return { result: isLast, changes }
    }
    for (let isDone = false; !isDone; ) {
      const { changes, result } = await this.#commits.commit(plan, signal)
      isDone = result
      if (changes !== undefined) uploads.ended(changes.usage)
    }
  }

  /** @throws {StoreError} BUCKET_NOT_FOUND, BUCKET_NOT_EMPTY. */
  async #emptyRow(ref: BucketRef, signal: AbortSignal): Promise<Uint8Array> {
    const row = await this.#store.get(bucketKey(ref.name), signal)
    if (row === undefined || decodeBucket(ref.name, row).id !== ref.id) throw notFound(ref.name)
    for (const kind of KEPT_KINDS) {
      const range = { ...bucketRange(kind, ref.id), limit: 1 }
      for await (const _ of this.#store.scan(range, signal)) {
        throw new StoreError('BUCKET_NOT_EMPTY', `the bucket ${ref.name} has ${kind}`)
      }
    }
    return row
  }

  async #change<Result>(
    name: string,
    signal: AbortSignal,
    plan: () => Promise<Plan<Result>>,
  ): Promise<Result> {
    using _lock = await this.#locks.exclude(name, signal)
    using _change = this.#cache.change(name)
    return (await this.#commits.commit(plan, signal)).result
  }

  /** A bucket has no files of its own to be deleted. */
  #changes(): RowChanges {
    return new RowChanges(0)
  }

  async #load(name: string): Promise<Bucket | undefined> {
    if (!isBucketName(name)) return undefined
    // One read serves all who ask meanwhile: no caller's signal may end it.
    const row = await this.#store.get(bucketKey(name), new AbortController().signal)
    return row && decodeBucket(name, row)
  }
}

function changed(before: Bucket, change: BucketChange): Bucket {
  const { isLockEnabled = before.isLockEnabled, quota, versioning } = change
  const after = versioning ?? before.versioning
  if (isLockEnabled && after !== 'enabled') {
    throw new StoreError('REQUEST_INVALID', 'a bucket with object lock has versioning enabled')
  }
  const documents = { ...before.documents, ...change.documents }
  const kept = Object.entries(documents).filter(([, text]) => text !== '')
  return {
    ...before,
    isLockEnabled,
    versioning: after,
    documents: Object.fromEntries(kept),
    quota: quota ?? before.quota,
  }
}

function notFound(name: string): StoreError {
  return new StoreError('BUCKET_NOT_FOUND', `there is no bucket ${quote(name)}`)
}
