import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedSharedLock } from '../runtime/keyed-shared-lock.ts'
import { type Logger, silentLogger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Bucket } from './bucket-record.ts'
import { Buckets } from './buckets.ts'
import { listDropped } from './delete-intents.ts'
import { type Told, toldDelete, toldVersion } from './event-facts.ts'
import { type EventCounts, EventQueue } from './event-queue.ts'
import type { ObjectEvent } from './event-record.ts'
import { GatewaySessions } from './gateway-sessions.ts'
import { Listings } from './listings.ts'
import type {
  BucketChange,
  BucketRef,
  BucketUsage,
  ChangeObjectRequest,
  ClaimEventsRequest,
  ClaimedEvents,
  CompleteUploadRequest,
  CreateBucketRequest,
  CreateUploadRequest,
  DeleteObjectRequest,
  DeleteObjectResult,
  DroppedPage,
  FindObjectRequest,
  ListBucketsRequest,
  ListDroppedRequest,
  ListEventsRequest,
  ListObjectsRequest,
  ListPartsRequest,
  ListUploadsRequest,
  ListVersionsRequest,
  NamespaceApi,
  ObjectPage,
  PutObjectRequest,
  PutPartRequest,
  RemoveEventsRequest,
  SearchObjectsRequest,
  UploadPage,
  UploadRef,
  VersionPage,
} from './namespace-api.ts'
import { ObjectChanges } from './object-changes.ts'
import { ObjectRows } from './object-rows.ts'
import type { ObjectVersion } from './object-version.ts'
import { RowCache } from './row-cache.ts'
import { type Plan, RowChanges, RowCommits } from './row-changes.ts'
import { objectKey, parseObjectKey } from './row-keys.ts'
import { checkSearch, SEARCH_BUILDING, SEARCH_READY, SearchIndex } from './search-index.ts'
import type { Upload, UploadedPart } from './upload-record.ts'
import { UploadRows, versionOf } from './uploads.ts'
import { type CheckRoom, UsageCounter } from './usage-counter.ts'
import { isVersionId, newVersionId } from './version-id.ts'
import { checkSession, WriteIntents } from './write-intents.ts'
import type {
  DirtyObject,
  DirtyPage,
  IntentPage,
  ListIntentsRequest,
  PutIntentRequest,
  UndoIntentRequest,
} from './write-intents-api.ts'

export interface NamespaceParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly random: Random
  /** Unless given, nobody hears of events that cannot be kept. */
  readonly logger?: Logger | undefined
}

type PlanKey<Result> = (changes: ObjectChanges, rows: RowChanges) => Promise<Plan<Result>>

export interface NamespaceConfig {
  /** How long the bytes of a version outlive it, if they are few: see `readingMs`. */
  readonly deleteDelayMs: number
}

/**
 * Buckets and objects as rows of a `MetadataStore`, which nobody else changes.
 *
 * Changes of one key take turns, and each is one conditional batch. Parts of an upload are put side
 * by side; who ends the upload has it alone. Files that lose their name become intents in the same
 * batch; `DeleteIntents` carries them out.
 *
 * Locks are taken in this order: the bucket's, the upload's, the key's.
 */
export class Namespace implements NamespaceApi {
  readonly #store: MetadataStore
  readonly #clock: Clock
  readonly #random: Random
  readonly #deleteDelayMs: number
  readonly #buckets: Buckets
  readonly #rows: ObjectRows
  readonly #uploads: UploadRows
  readonly #listings: Listings
  readonly #search: SearchIndex
  readonly #usage: UsageCounter
  readonly #events: EventQueue
  readonly #sessions: GatewaySessions
  readonly #intents: WriteIntents
  readonly #commits: RowCommits
  readonly #cache: RowCache<ObjectVersion>
  /** Shared by reads of more than one row. */
  readonly #keyLocks = new KeyedSharedLock<string>({ waitersMax: LIMITS.nameWritersMax.value })
  readonly #uploadLocks = new KeyedSharedLock<string>({ waitersMax: LIMITS.nameWritersMax.value })

  constructor(parts: NamespaceParts, config: NamespaceConfig) {
    this.#store = parts.store
    this.#clock = parts.clock
    this.#random = parts.random
    this.#deleteDelayMs = config.deleteDelayMs
    this.#commits = new RowCommits(parts.store)
    const { store, clock, logger = silentLogger } = parts
    const commits = this.#commits
    const newChanges = () => this.#changes()
    this.#events = new EventQueue({ store, clock, commits, newChanges, logger })
    this.#buckets = new Buckets({ store, clock, commits })
    this.#cache = new RowCache({ commits }, { max: LIMITS.objectCacheMax.value })
    this.#rows = new ObjectRows(parts.store)
    this.#uploads = new UploadRows(parts.store)
    this.#listings = new Listings(parts.store, this.#rows)
    this.#search = new SearchIndex({ store, commits, newChanges })
    this.#usage = new UsageCounter({ store, commits })
    this.#sessions = new GatewaySessions({ clock })
    const { sessions } = this
    this.#intents = new WriteIntents({ store, commits, newChanges, sessions, clock, logger })
  }

  async createBucket(request: CreateBucketRequest, signal: AbortSignal): Promise<Bucket> {
    checkSearch(request.documents.search)
    return await this.#buckets.create(request, signal)
  }

  findBucket(name: string, _signal: AbortSignal): Promise<Bucket | undefined> {
    return this.#buckets.find(name)
  }

  listBuckets(request: ListBucketsRequest, signal: AbortSignal): Promise<readonly Bucket[]> {
    return this.#buckets.list(request, signal)
  }

  async changeBucket(
    bucket: BucketRef,
    change: BucketChange,
    signal: AbortSignal,
  ): Promise<Bucket> {
    const { search } = change.documents ?? {}
    checkSearch(search)
    if (search !== undefined) await this.#openSearch(bucket, signal)
    return await this.#buckets.change(bucket, change, signal)
  }

  async deleteBucket(bucket: BucketRef, signal: AbortSignal): Promise<void> {
    const endSome = async () => {
      const changes = this.#changes()
      return { changes, isLast: await this.#uploads.endSome(bucket, changes, signal) }
    }
    const ended = (usage: BucketUsage) => this.#usage.add(bucket.id, usage)
    await this.#buckets.delete(bucket, { endSome, ended }, signal)
    this.#usage.forget(bucket.id)
  }

  async bucketUsage(ref: BucketRef, signal: AbortSignal): Promise<BucketUsage> {
    const { id } = await this.#buckets.get(ref)
    return await this.#usage.of(id, () => this.#buckets.exclude(ref, signal))
  }

  async putObject(request: PutObjectRequest, signal: AbortSignal): Promise<ObjectVersion> {
    const { bucket, version } = request
    checkVersionId(version.id)
    const checkRoom = await this.#roomIn(bucket, signal)
    const plan: PlanKey<ObjectVersion> = async (changes) =>
      ifRoom(await changes.put(version, request, signal), checkRoom)
    return await this.#changeKey(request, plan, toldVersion(request), signal)
  }

  async findObject(
    request: FindObjectRequest,
    signal: AbortSignal,
  ): Promise<ObjectVersion | undefined> {
    const { bucket, key, versionId } = request
    const { id } = bucket
    const row = objectKey(id, parseObjectKey(key))
    if (versionId === undefined) {
      const current =
        this.#cache.peek(row) ?? (await this.#cache.get(row, () => this.#load(id, key)))
      // Asked for after the read: a bucket that was deleted meanwhile has nothing.
      const isPlain = await this.#isPlain(bucket)
      if (current !== undefined || isPlain) return current
    }
    using _lock = await this.#keyLocks.share(row, signal)
    await this.#buckets.get(bucket)
    const look = async () => {
      if (versionId !== undefined) return await this.#rows.find(id, key, versionId, signal)
      // A marker is found only to say that it hides what is there.
      const current = await this.#rows.current(id, key, signal)
      return current ?? (await this.#rows.newestHidden(id, key, signal))
    }
    // Of a change in doubt that happens between two reads, they see neither before nor after. There
    // is at most one of the key, since the next one would wait for us: the second look is whole.
    return ((await look()) ?? (await look()))?.version
  }

  deleteObject(request: DeleteObjectRequest, signal: AbortSignal): Promise<DeleteObjectResult> {
    const markerId = newVersionId(this.#random, this.#clock.nowMs())
    const plan: PlanKey<DeleteObjectResult> = (changes) => changes.delete(request, markerId, signal)
    return this.#changeKey(request, plan, toldDelete(request), signal)
  }

  changeObject(request: ChangeObjectRequest, signal: AbortSignal): Promise<ObjectVersion> {
    const plan: PlanKey<ObjectVersion> = (changes) => changes.change(request, signal)
    return this.#changeKey(request, plan, toldVersion(request), signal)
  }

  async listObjects(request: ListObjectsRequest, signal: AbortSignal): Promise<ObjectPage> {
    await this.#buckets.get(request.bucket)
    return await this.#listings.objects(request, signal)
  }

  async searchObjects(request: SearchObjectsRequest, signal: AbortSignal): Promise<ObjectPage> {
    return await this.#search.search(await this.#buckets.get(request.bucket), request, signal)
  }

  async listVersions(request: ListVersionsRequest, signal: AbortSignal): Promise<VersionPage> {
    // Versions lie in rows of two kinds, and a page is to show them as of one moment.
    if (request.afterVersionId === undefined && (await this.#isPlain(request.bucket))) {
      const page = await this.#listings.versions(request, signal)
      if (await this.#isPlain(request.bucket)) return page
    }
    using _alone = await this.#buckets.exclude(request.bucket, signal)
    return await this.#listings.versions(request, signal)
  }

  async listUploads(request: ListUploadsRequest, signal: AbortSignal): Promise<UploadPage> {
    await this.#buckets.get(request.bucket)
    return await this.#listings.uploads(request, signal)
  }

  listDropped(request: ListDroppedRequest, signal: AbortSignal): Promise<DroppedPage> {
    return listDropped(this.#store, request, signal)
  }

  claimEvents(request: ClaimEventsRequest, signal: AbortSignal): Promise<ClaimedEvents> {
    return this.#events.claim(request, signal)
  }

  listEvents(request: ListEventsRequest, signal: AbortSignal): Promise<readonly ObjectEvent[]> {
    return this.#events.list(request, signal)
  }

  removeEvents(request: RemoveEventsRequest, signal: AbortSignal): Promise<void> {
    return this.#events.remove(request, signal)
  }

  get eventCounts(): EventCounts {
    return this.#events.counts
  }

  /** Of gateways, by which it is known whose intents are orphaned. */
  get sessions(): GatewaySessions {
    return this.#sessions
  }

  async renewSession(session: string, _signal: AbortSignal): Promise<void> {
    checkSession(session)
    this.#sessions.renew(session)
  }

  async endSession(session: string, _signal: AbortSignal): Promise<void> {
    checkSession(session)
    this.#sessions.end(session)
  }

  putIntent(request: PutIntentRequest, signal: AbortSignal): Promise<void> {
    return this.#intents.put(request, signal)
  }

  listIntents(request: ListIntentsRequest, signal: AbortSignal): Promise<IntentPage> {
    return this.#intents.list(request, signal)
  }

  undoIntent(request: UndoIntentRequest, signal: AbortSignal): Promise<boolean> {
    return this.#intents.undo(request, signal)
  }

  listDirty(request: ListIntentsRequest, signal: AbortSignal): Promise<DirtyPage> {
    return this.#intents.listDirty(request, signal)
  }

  settleDirty(object: DirtyObject, signal: AbortSignal): Promise<void> {
    return this.#intents.settleDirty(object, signal)
  }

  async createUpload(request: CreateUploadRequest, signal: AbortSignal): Promise<Upload> {
    const upload = { ...request.upload, startedAtMs: this.#clock.nowMs() }
    parseObjectKey(upload.key)
    checkVersionId(upload.uploadId)
    return await this.#buckets.withBucket(request.bucket, signal, async ({ id }) => {
      const plan = () => this.#uploads.create(id, upload, this.#changes(), signal)
      return await this.#commit(id, plan, signal)
    })
  }

  async findUpload(ref: UploadRef, signal: AbortSignal): Promise<Upload | undefined> {
    await this.#buckets.get(ref.bucket)
    parseObjectKey(ref.key)
    return isVersionId(ref.uploadId) ? await this.#uploads.find(ref, signal) : undefined
  }

  async putPart(request: PutPartRequest, signal: AbortSignal): Promise<UploadedPart> {
    checkUpload(request)
    const checkRoom = await this.#roomIn(request.bucket, signal)
    return await this.#buckets.withBucket(request.bucket, signal, async ({ id }) => {
      using _lock = await this.#uploadLocks.share(request.uploadId, signal)
      const plan = async () => {
        const nowMs = this.#clock.nowMs()
        const planned = await this.#uploads.putPart(request, nowMs, this.#changes(), signal)
        return ifRoom(planned, checkRoom)
      }
      return await this.#commit(id, plan, signal)
    })
  }

  async listParts(
    request: ListPartsRequest,
    signal: AbortSignal,
  ): Promise<readonly UploadedPart[]> {
    // The bucket is shared: its removal ends uploads that it does not hold.
    return await this.#buckets.withBucket(request.bucket, signal, async () => {
      checkUpload(request)
      using _lock = await this.#uploadLocks.share(request.uploadId, signal)
      return await this.#uploads.listParts(request, signal)
    })
  }

  async completeUpload(
    request: CompleteUploadRequest,
    signal: AbortSignal,
  ): Promise<ObjectVersion> {
    checkUpload(request)
    const { bucket, key, uploadId } = request
    const checkRoom = await this.#roomIn(bucket, signal)
    return await this.#buckets.withBucket(bucket, signal, async (found) => {
      using _lock = await this.#uploadLocks.exclude(uploadId, signal)
      const plan: PlanKey<ObjectVersion> = async (changes, rows) => {
        const upload = await this.#uploads.find(request, signal)
        if (upload === undefined) return { result: await this.#completed(request, signal) }
        const parts = await this.#uploads.end(request, request.parts, rows, signal)
        const version = versionOf(upload, parts, request)
        const terms = { condition: request.condition }
        return ifRoom(await changes.put(version, terms, signal), checkRoom)
      }
      return await this.#changeKeyIn(found, key, plan, toldVersion(request), signal)
    })
  }

  async abortUpload(ref: UploadRef, signal: AbortSignal): Promise<void> {
    checkUpload(ref)
    await this.#buckets.withBucket(ref.bucket, signal, async ({ id }) => {
      using _lock = await this.#uploadLocks.exclude(ref.uploadId, signal)
      const plan = async (): Promise<Plan<undefined>> => {
        const changes = this.#changes()
        await this.#uploads.end(ref, [], changes, signal)
        return { result: undefined, changes }
      }
      await this.#commit(id, plan, signal)
    })
  }

  /**
   * What the upload became when it was completed before. While the key is held.
   *
   * @throws {StoreError} UPLOAD_NOT_FOUND
   */
  async #completed(
    { bucket, key, uploadId }: UploadRef,
    signal: AbortSignal,
  ): Promise<ObjectVersion> {
    const current = await this.#rows.current(bucket.id, key, signal)
    if (current?.version.id === uploadId) return current.version
    const hidden = await this.#rows.hiddenMade(bucket.id, key, uploadId, signal)
    if (hidden !== undefined) return hidden.version
    throw uploadNotFound()
  }

  #changeKey<Result>(
    { bucket: ref, key }: { readonly bucket: BucketRef; readonly key: string },
    plan: PlanKey<Result>,
    told: Told<Result> | undefined,
    signal: AbortSignal,
  ): Promise<Result> {
    return this.#buckets.withBucket(ref, signal, (bucket) =>
      this.#changeKeyIn(bucket, parseObjectKey(key), plan, told, signal),
    )
  }

  /** While the bucket is shared. */
  async #changeKeyIn<Result>(
    bucket: Bucket,
    key: string,
    plan: PlanKey<Result>,
    told: Told<Result> | undefined,
    signal: AbortSignal,
  ): Promise<Result> {
    const row = objectKey(bucket.id, key)
    using _lock = await this.#keyLocks.exclude(row, signal)
    using _change = this.#cache.change(row)
    const planned = async () => {
      const changes = this.#changes()
      const nowMs = this.#clock.nowMs()
      const parts = { store: this.#store, rows: this.#rows, bucket, key, nowMs, changes }
      const made = await plan(new ObjectChanges(parts), changes)
      if (made.changes === undefined) return made
      this.#search.note(made.changes, bucket, key)
      if (told === undefined) return made
      const facts = told.factsOf(made.result)
      await this.#events.tell(made.changes, bucket, told.cause, facts, signal)
      return made
    }
    return await this.#commit(bucket.id, planned, signal)
  }

  /** While the bucket is shared. */
  async #commit<Result>(
    bucketId: number,
    plan: () => Promise<Plan<Result>>,
    signal: AbortSignal,
  ): Promise<Result> {
    const { changes, result } = await this.#commits.commit(plan, signal)
    if (changes === undefined) return result
    this.#usage.add(bucketId, changes.usage)
    for (const lane of changes.eventLanes) this.#events.added(lane)
    return result
  }

  /** From the first change on, whatever happens to objects happens to the rows of names, too. */
  async #openSearch(ref: BucketRef, signal: AbortSignal): Promise<void> {
    const { documents } = await this.#buckets.get(ref)
    if (documents.search === SEARCH_READY) return
    const begun = { documents: { search: SEARCH_BUILDING } }
    await this.#search.build(await this.#buckets.change(ref, begun, signal), signal)
  }

  /** It never had versions: all it has are the rows of `objects`. */
  async #isPlain(ref: BucketRef): Promise<boolean> {
    return (await this.#buckets.get(ref)).versioning === 'off'
  }

  /** Before anything of the bucket is held: what it has may have to be counted. */
  async #roomIn(ref: BucketRef, signal: AbortSignal): Promise<CheckRoom> {
    const bucket = await this.#buckets.get(ref)
    return await this.#usage.room(bucket, () => this.#buckets.exclude(ref, signal))
  }

  #changes(): RowChanges {
    return new RowChanges(this.#clock.nowMs() + this.#deleteDelayMs)
  }

  async #load(bucketId: number, key: string): Promise<ObjectVersion | undefined> {
    // One read serves all who ask meanwhile: no caller's signal may end it.
    return (await this.#rows.current(bucketId, key, new AbortController().signal))?.version
  }
}

/** A repetition changes nothing, so it needs no room; nor does what only takes another's place. */
function ifRoom<Result>(planned: Plan<Result>, checkRoom: CheckRoom): Plan<Result> {
  if (planned.changes !== undefined) checkRoom(planned.changes.usage)
  return planned
}

function checkVersionId(id: string): void {
  if (!isVersionId(id)) throw new StoreError('REQUEST_INVALID', `${id} is no version id`)
}

/** @throws {StoreError} UPLOAD_NOT_FOUND: what is no id is nobody's. NAME_INVALID. */
function checkUpload({ key, uploadId }: UploadRef): void {
  parseObjectKey(key)
  if (isVersionId(uploadId)) return
  throw uploadNotFound()
}

function uploadNotFound(): StoreError {
  return new StoreError('UPLOAD_NOT_FOUND', 'there is no such upload')
}
