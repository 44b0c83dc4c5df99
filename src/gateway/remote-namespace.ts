import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Bucket } from '../namespace/bucket-record.ts'
import { DELETE_DELAY_MS } from '../namespace/delete-delay.ts'
import type { ObjectEvent } from '../namespace/event-record.ts'
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
} from '../namespace/namespace-api.ts'
import type { ObjectVersion } from '../namespace/object-version.ts'
import type { Upload, UploadedPart } from '../namespace/upload-record.ts'
import {
  claimedFromWire,
  eventsFromWire,
  type WireClaimedEvents,
  type WireEvents,
} from '../namespace/wire-events.ts'
import {
  dirtyObjectToWire,
  dirtyPageFromWire,
  intentPageFromWire,
  putIntentToWire,
  type WireDirtyPage,
  type WireIntents,
} from '../namespace/wire-intents.ts'
import {
  bucketRefToWire,
  changeBucketToWire,
  changeObjectToWire,
  createBucketToWire,
  deletedFromWire,
  deleteObjectToWire,
  findObjectToWire,
  listBucketsToWire,
  putObjectToWire,
  usageFromWire,
  type WireDeleted,
  type WireUsage,
} from '../namespace/wire-namespace.ts'
import {
  droppedPageFromWire,
  joinObjectPages,
  joinUploadPages,
  joinVersionPages,
  listObjectsToWire,
  listUploadsToWire,
  listVersionsToWire,
  objectPageFromWire,
  searchObjectsToWire,
  uploadPageFromWire,
  versionPageFromWire,
  type WireBuckets,
  type WireDroppedPage,
  type WireObjectPage,
  type WireParts,
  type WireUploadPage,
  type WireVersionPage,
} from '../namespace/wire-pages.ts'
import {
  bucketFromWire,
  partFromWire,
  uploadFromWire,
  versionFromWire,
  type WireBucket,
  type WirePart,
  type WireUpload,
  type WireVersion,
} from '../namespace/wire-records.ts'
import {
  completeUploadToWire,
  createUploadToWire,
  listPartsToWire,
  putPartToWire,
  uploadRefToWire,
} from '../namespace/wire-uploads.ts'
import type {
  DirtyObject,
  DirtyPage,
  IntentPage,
  ListIntentsRequest,
  PutIntentRequest,
  UndoIntentRequest,
} from '../namespace/write-intents-api.ts'
import {
  MasterChannels,
  type MasterChannelsConfig,
  type MasterChannelsParts,
} from '../net/master-channels.ts'
import { NAMESPACE_PROTO } from '../net/proto-loading.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { BucketCache } from './bucket-cache.ts'

/**
 * A file that lost its name is deleted 10 s later by its master, or later still if it is large, and
 * until then the master refuses to give it one again. So a put whose answer was lost may be sent
 * again, even if somebody replaced the object meanwhile, but not later than those 10 s: it would
 * bring back a version without its bytes. What is left of them is for the last try to be done.
 */
export const NAMING_MS = DELETE_DELAY_MS - 2000

/**
 * The buckets and objects of the masters of a cluster over gRPC; see `MasterChannels`. A call whose
 * answer was lost is sent again where that does no harm:
 *
 * - Reads and pages. Changes by value too: the last of two changes counts, whichever that is.
 * - What names files (`putObject`, `putPart`, `changeObject` with `moved`): the id of the version,
 *   or the file, tells a master that it is the same again. For `NAMING_MS` in all.
 * - `createUpload`: its id is the caller's. `completeUpload`: the upload is gone after the first
 *   time, and the second finds the version that it became.
 * - `deleteObject` of what can only be one version: by its own id, or with a sequence number.
 *
 * The others are sent once, to a master that has just said it is the leader: `createBucket` would
 * find that there is one, `deleteBucket` and `abortUpload` that there is none, and take that for a
 * failure; `deleteObject` of the newest version, or of `null`, would make another marker or delete
 * what somebody put meanwhile.
 *
 * After TIMEOUT, UNAVAILABLE and PEER_FAILED a change may have happened, or happen yet: whoever put
 * files into it must leave them where they are.
 */
export class RemoteNamespace implements NamespaceApi, AsyncDisposable {
  readonly #channels: MasterChannels
  readonly #clock: Clock
  readonly #buckets: BucketCache

  private constructor(channels: MasterChannels, clock: Clock) {
    this.#channels = channels
    this.#clock = clock
    this.#buckets = new BucketCache({ clock }, (name, signal) => this.#loadBucket(name, signal))
  }

  /**
   * Connects when it is first used.
   *
   * @throws {StoreError} CONFIG_INVALID: no address, or `tls` cannot be used.
   */
  static async open(
    parts: MasterChannelsParts,
    config: MasterChannelsConfig,
  ): Promise<RemoteNamespace> {
    return new RemoteNamespace(new MasterChannels(parts, config, NAMESPACE_PROTO), parts.clock)
  }

  createBucket(request: CreateBucketRequest, signal: AbortSignal): Promise<Bucket> {
    const wire = createBucketToWire(request)
    return this.#changeBucket(request.name, () =>
      this.#channels.call('CreateBucket', wire, toBucket, { signal, isOnce: true }),
    )
  }

  /** As it was up to 2 s ago, unless it was changed here meanwhile. */
  findBucket(name: string, signal: AbortSignal): Promise<Bucket | undefined> {
    return this.#buckets.find(name, signal)
  }

  listBuckets(request: ListBucketsRequest, signal: AbortSignal): Promise<readonly Bucket[]> {
    const convert = ({ buckets }: WireBuckets) => buckets.map(bucketFromWire)
    return this.#channels.gather('ListBuckets', listBucketsToWire(request), convert, { signal })
  }

  changeBucket(bucket: BucketRef, change: BucketChange, signal: AbortSignal): Promise<Bucket> {
    const wire = changeBucketToWire(bucket, change)
    return this.#changeBucket(bucket.name, () =>
      this.#channels.call('ChangeBucket', wire, toBucket, { signal }),
    )
  }

  deleteBucket(bucket: BucketRef, signal: AbortSignal): Promise<void> {
    const wire = { bucket: bucketRefToWire(bucket) }
    return this.#changeBucket(bucket.name, () =>
      this.#channels.call('DeleteBucket', wire, nothing, { signal, isOnce: true }),
    )
  }

  bucketUsage(bucket: BucketRef, signal: AbortSignal): Promise<BucketUsage> {
    const convert = (wire: WireUsage) => usageFromWire(wire)
    const wire = { bucket: bucketRefToWire(bucket) }
    return this.#within(bucket, () =>
      this.#channels.call('GetBucketUsage', wire, convert, { signal }),
    )
  }

  async putObject(request: PutObjectRequest, signal: AbortSignal): Promise<ObjectVersion> {
    const wire = putObjectToWire(request)
    return await this.#within(request.bucket, () =>
      this.#naming(signal, (bounded) =>
        this.#channels.call('PutObject', wire, toVersion, { signal: bounded }),
      ),
    )
  }

  findObject(request: FindObjectRequest, signal: AbortSignal): Promise<ObjectVersion | undefined> {
    const convert = ({ version }: { readonly version: WireVersion | null }) =>
      version === null ? undefined : versionFromWire(version)
    const wire = findObjectToWire(request)
    return this.#within(request.bucket, () =>
      this.#channels.call('FindObject', wire, convert, { signal }),
    )
  }

  deleteObject(request: DeleteObjectRequest, signal: AbortSignal): Promise<DeleteObjectResult> {
    const { seq, versionId } = request
    const isOnce = seq === undefined && (versionId === undefined || versionId === 'null')
    const convert = (wire: WireDeleted) => deletedFromWire(wire)
    const wire = deleteObjectToWire(request)
    return this.#within(request.bucket, () =>
      this.#channels.call('DeleteObject', wire, convert, { signal, isOnce }),
    )
  }

  changeObject(request: ChangeObjectRequest, signal: AbortSignal): Promise<ObjectVersion> {
    const wire = changeObjectToWire(request)
    const call = (bounded: AbortSignal) =>
      this.#channels.call('ChangeObject', wire, toVersion, { signal: bounded })
    return this.#within(request.bucket, () =>
      request.change.moved === undefined ? call(signal) : this.#naming(signal, call),
    )
  }

  listObjects(request: ListObjectsRequest, signal: AbortSignal): Promise<ObjectPage> {
    const convert = (wire: WireObjectPage) => [objectPageFromWire(wire)]
    const wire = listObjectsToWire(request)
    return this.#within(request.bucket, async () =>
      joinObjectPages(await this.#channels.gather('ListObjects', wire, convert, { signal })),
    )
  }

  searchObjects(request: SearchObjectsRequest, signal: AbortSignal): Promise<ObjectPage> {
    const convert = (wire: WireObjectPage) => [objectPageFromWire(wire)]
    const wire = searchObjectsToWire(request)
    return this.#within(request.bucket, async () =>
      joinObjectPages(await this.#channels.gather('SearchObjects', wire, convert, { signal })),
    )
  }

  listVersions(request: ListVersionsRequest, signal: AbortSignal): Promise<VersionPage> {
    const convert = (wire: WireVersionPage) => [versionPageFromWire(wire)]
    const wire = listVersionsToWire(request)
    return this.#within(request.bucket, async () =>
      joinVersionPages(await this.#channels.gather('ListVersions', wire, convert, { signal })),
    )
  }

  createUpload(request: CreateUploadRequest, signal: AbortSignal): Promise<Upload> {
    const convert = (wire: WireUpload) => uploadFromWire(wire)
    const wire = createUploadToWire(request)
    return this.#within(request.bucket, () =>
      this.#channels.call('CreateUpload', wire, convert, { signal }),
    )
  }

  findUpload(ref: UploadRef, signal: AbortSignal): Promise<Upload | undefined> {
    const convert = ({ upload }: { readonly upload: WireUpload | null }) =>
      upload === null ? undefined : uploadFromWire(upload)
    const wire = { upload: uploadRefToWire(ref) }
    return this.#within(ref.bucket, () =>
      this.#channels.call('FindUpload', wire, convert, { signal }),
    )
  }

  async putPart(request: PutPartRequest, signal: AbortSignal): Promise<UploadedPart> {
    const convert = (wire: WirePart) => partFromWire(wire)
    const wire = putPartToWire(request)
    return await this.#within(request.bucket, () =>
      this.#naming(signal, (bounded) =>
        this.#channels.call('PutPart', wire, convert, { signal: bounded }),
      ),
    )
  }

  listParts(request: ListPartsRequest, signal: AbortSignal): Promise<readonly UploadedPart[]> {
    const convert = ({ parts }: WireParts) => parts.map(partFromWire)
    const wire = listPartsToWire(request)
    return this.#within(request.bucket, () =>
      this.#channels.gather('ListParts', wire, convert, { signal }),
    )
  }

  completeUpload(request: CompleteUploadRequest, signal: AbortSignal): Promise<ObjectVersion> {
    const wire = completeUploadToWire(request)
    return this.#within(request.bucket, () =>
      this.#channels.call('CompleteUpload', wire, toVersion, { signal }),
    )
  }

  abortUpload(ref: UploadRef, signal: AbortSignal): Promise<void> {
    const wire = { upload: uploadRefToWire(ref) }
    return this.#within(ref.bucket, () =>
      this.#channels.call('AbortUpload', wire, nothing, { signal, isOnce: true }),
    )
  }

  listDropped(request: ListDroppedRequest, signal: AbortSignal): Promise<DroppedPage> {
    const convert = (wire: WireDroppedPage) => droppedPageFromWire(wire)
    return this.#channels.call('ListDropped', { ...request }, convert, { signal })
  }

  claimEvents(request: ClaimEventsRequest, signal: AbortSignal): Promise<ClaimedEvents> {
    const convert = (wire: WireClaimedEvents) => claimedFromWire(wire)
    return this.#channels.call('ClaimEvents', { ...request }, convert, { signal })
  }

  listEvents(request: ListEventsRequest, signal: AbortSignal): Promise<readonly ObjectEvent[]> {
    const convert = (wire: WireEvents) => eventsFromWire(wire)
    return this.#channels.call('ListEvents', { ...request }, convert, { signal })
  }

  removeEvents(request: RemoveEventsRequest, signal: AbortSignal): Promise<void> {
    return this.#channels.call('RemoveEvents', { ...request }, nothing, { signal })
  }

  renewSession(session: string, signal: AbortSignal): Promise<void> {
    return this.#channels.call('RenewSession', { session }, nothing, { signal })
  }

  endSession(session: string, signal: AbortSignal): Promise<void> {
    return this.#channels.call('EndSession', { session }, nothing, { signal })
  }

  /** Sent again when the answer was lost: it names the same files. */
  putIntent(request: PutIntentRequest, signal: AbortSignal): Promise<void> {
    return this.#channels.call('PutIntent', putIntentToWire(request), nothing, { signal })
  }

  listIntents(request: ListIntentsRequest, signal: AbortSignal): Promise<IntentPage> {
    const convert = (wire: WireIntents) => intentPageFromWire(wire)
    return this.#channels.call('ListIntents', { ...request }, convert, { signal })
  }

  undoIntent(request: UndoIntentRequest, signal: AbortSignal): Promise<boolean> {
    const convert = ({ wasUndone }: { readonly wasUndone: boolean }) => wasUndone
    return this.#channels.call('UndoIntent', { ...request }, convert, { signal })
  }

  listDirty(request: ListIntentsRequest, signal: AbortSignal): Promise<DirtyPage> {
    const convert = (wire: WireDirtyPage) => dirtyPageFromWire(wire)
    return this.#channels.call('ListDirty', { ...request }, convert, { signal })
  }

  settleDirty(object: DirtyObject, signal: AbortSignal): Promise<void> {
    return this.#channels.call('SettleDirty', dirtyObjectToWire(object), nothing, { signal })
  }

  listUploads(request: ListUploadsRequest, signal: AbortSignal): Promise<UploadPage> {
    const convert = (wire: WireUploadPage) => [uploadPageFromWire(wire)]
    const wire = listUploadsToWire(request)
    return this.#within(request.bucket, async () =>
      joinUploadPages(await this.#channels.gather('ListUploads', wire, convert, { signal })),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#channels[Symbol.asyncDispose]()
  }

  #loadBucket(name: string, signal: AbortSignal): Promise<Bucket | undefined> {
    const convert = ({ bucket }: { readonly bucket: WireBucket | null }) =>
      bucket === null ? undefined : bucketFromWire(bucket)
    return this.#channels.call('FindBucket', { name }, convert, { signal })
  }

  /** Whatever became of the change, the bucket may be another now. */
  async #changeBucket<Answer>(name: string, run: () => Promise<Answer>): Promise<Answer> {
    try {
      return await run()
    } finally {
      this.#buckets.forget(name)
    }
  }

  /** A bucket that is not there any more is not known from before either. */
  async #within<Answer>({ name }: BucketRef, run: () => Promise<Answer>): Promise<Answer> {
    try {
      return await run()
    } catch (error) {
      if (isStoreError(error, 'BUCKET_NOT_FOUND')) this.#buckets.forget(name)
      throw error
    }
  }

  /** @throws {StoreError} TIMEOUT: not done within `NAMING_MS`, all tries together. */
  async #naming<Answer>(
    signal: AbortSignal,
    run: (signal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer> {
    const ending = new AbortController()
    if (signal.aborted) ending.abort(signal.reason)
    using _caller = onAbort(signal, () => ending.abort(signal.reason))
    let isLate = false
    using _timer = this.#clock.after(NAMING_MS, () => {
      isLate = true
      ending.abort(new StoreError('TIMEOUT', `not done within ${NAMING_MS} ms`))
    })
    try {
      return await run(ending.signal)
    } catch (cause) {
      if (!isLate || signal.aborted || !isStoreError(cause, 'CANCELLED')) throw cause
      throw new StoreError('TIMEOUT', `no master was done within ${NAMING_MS} ms`, { cause })
    }
  }
}

function toBucket(wire: WireBucket): Bucket {
  return bucketFromWire(wire)
}

function toVersion(wire: WireVersion): ObjectVersion {
  return versionFromWire(wire)
}

function nothing(): void {}
