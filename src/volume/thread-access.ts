import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import { readSpan } from '../erasure/shard-slices.ts'
import type { Needle } from '../format/needle.ts'
import type { NeedleAttributes } from '../format/needle-attributes.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ReadShardSlicesRequest } from '../net/shard-api.ts'
import type {
  ByteRange,
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  NeedleMetadata,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
} from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Disk, type DiskFile, readFully } from '../runtime/disk.ts'
import { Tally } from '../runtime/metrics.ts'
import type { SharedGeneration } from '../storage/generation.ts'
import type { ReadBuffer } from '../storage/read-buffer.ts'
import { VolumeView } from '../storage/volume-view.ts'
import type { NeedleAccess, StreamedNeedle, WholeNeedle } from './needle-access.ts'
import { checkShardSlices, openShardAt, type PlaceOfShard } from './shard-sources.ts'
import { ownBytes, type StreamRef, type ThreadPort } from './thread-port.ts'

/** A needle being overwritten all the time is at last asked of the owner. */
const VIEWS_TRIED_MAX = 3

/** What there is on this server. */
interface Volumes {
  readonly volumeIds: readonly VolumeId[]
  readonly codedIds: readonly VolumeId[]
  readonly volumesStamp: number
}

/** A volume, and how often it was read since this was last told. */
export type ReadCount = readonly [VolumeId, number]

/** What the owner answers about a needle that is read through it. */
export interface PostedContent {
  readonly metadata: NeedleMetadata
  readonly checksum: number
  readonly dataBytes: number
  readonly data: StreamRef
}

/**
 * The needles of this server in a data thread: reads come from the shared index and this thread's
 * own files; writes, large needles, and whatever a view cannot be sure of go to the owner's thread.
 */
export class ThreadAccess implements NeedleAccess {
  readonly #port: ThreadPort
  readonly #parts: { readonly disk: Disk; readonly clock: Clock }
  readonly #volumes = new Set<VolumeId>()
  readonly #volumesWord: Int32Array
  /** Only the owner can read them. */
  #coded: ReadonlySet<VolumeId> = new Set()
  #volumesStamp = -1
  readonly #views = new Map<VolumeId, VolumeView>()
  readonly #reads = new Map<VolumeId, Tally>()
  readonly #opening = new Map<VolumeId, Promise<VolumeView>>()

  constructor(
    parts: { readonly disk: Disk; readonly clock: Clock },
    port: ThreadPort,
    volumesWord: SharedArrayBuffer,
  ) {
    this.#parts = parts
    this.#port = port
    this.#volumesWord = new Int32Array(volumesWord)
  }

  /** All volumes there were when the word that counts their changes said so. */
  setVolumes(now: Volumes): void {
    this.#volumesStamp = now.volumesStamp
    this.#volumes.clear()
    for (const volumeId of now.volumeIds) this.#volumes.add(volumeId)
    this.#coded = new Set(now.codedIds)
    for (const volumeId of this.#views.keys()) {
      if (!this.#volumes.has(volumeId)) this.#forget(volumeId)
    }
  }

  takeReadCounts(): ReadCount[] {
    const counts: ReadCount[] = []
    for (const [volumeId, { value }] of this.#reads) if (value > 0) counts.push([volumeId, value])
    this.#reads.clear()
    return counts
  }

  /** True also when volumes have come or gone and this thread has not heard which: it then asks. */
  isLocal(volumeId: VolumeId): boolean {
    return this.#volumes.has(volumeId) || this.#coded.has(volumeId) || this.#isBehind
  }

  readWarm(fileId: FileId, readDeleted: boolean, into: ReadBuffer): Needle | undefined {
    const view = this.#views.get(fileId.volumeId)
    if (view === undefined) return undefined
    try {
      const request = { id: fileId.needleId, cookie: fileId.cookie, readDeleted }
      const found = view.readWarm(request, into)
      if (found !== undefined) this.#countRead(fileId.volumeId)
      return found
    } catch (error) {
      // Perhaps it was overwritten in this moment.
      if (isStoreError(error, 'NEEDLE_CORRUPT')) return undefined
      throw error
    }
  }

  async read(
    fileId: FileId,
    readDeleted: boolean,
    isForwarded: boolean,
  ): Promise<WholeNeedle | StreamedNeedle> {
    const request = { id: fileId.needleId, cookie: fileId.cookie, readDeleted }
    const isCoded = this.#coded.has(fileId.volumeId) && !this.#volumes.has(fileId.volumeId)
    for (let tried = 0; tried < VIEWS_TRIED_MAX && !isCoded; tried++) {
      const view = await this.#view(fileId.volumeId)
      if (view === undefined) break
      try {
        const found = await view.read(request)
        if (found !== undefined) {
          this.#countRead(fileId.volumeId)
          return found
        }
        if (!view.isStale) break
      } catch (error) {
        if (!isStoreError(error, 'NEEDLE_CORRUPT')) throw error
      }
    }
    return this.#readThroughOwner(fileId, readDeleted, isForwarded)
  }

  async put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    const posted = { ...request, data: ownBytes(request.data) }
    return (await this.#port.call('put', [posted], signal)) as PutAnswer
  }

  async putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer> {
    const { source, ...rest } = request
    const lent = this.#port.lend(source)
    try {
      return (await this.#port.call('putStream', [rest, lent], signal)) as PutAnswer
    } finally {
      await this.#port.withdraw(lent)
    }
  }

  async delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer> {
    return (await this.#port.call('delete', [request], signal)) as DeleteAnswer
  }

  async fetch(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    return this.#contentOf((await this.#port.call('fetch', [request], signal)) as PostedContent)
  }

  #contentOf(posted: PostedContent): NeedleContent {
    const { metadata, checksum, dataBytes } = posted
    const data = this.#port.borrow(posted.data)
    return {
      metadata,
      checksum,
      dataBytes,
      data,
      [Symbol.asyncDispose]: async () => {
        // A generator that was never begun does not notice its end.
        await data.return()
        this.#port.decline(posted.data)
      },
    }
  }

  async fetchInstead(
    request: ReadRequest,
    code: ErrorCode,
    signal: AbortSignal,
  ): Promise<NeedleContent | undefined> {
    if (request.isForwarded === true) return undefined
    const posted = await this.#port.call('fetchInstead', [request, code], signal)
    return posted === undefined ? undefined : this.#contentOf(posted as PostedContent)
  }

  noteBad(fileId: FileId): void {
    // Nobody is there to hear it any more when this fails.
    this.#port.call('noteBad', [fileId]).catch(() => undefined)
  }

  async locate(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    return (await this.#port.call('locate', [volumeId], signal)) as readonly NodeLocation[]
  }

  /** The `.dat` of a volume. @throws {StoreError} VOLUME_NOT_FOUND, PATH_NOT_FOUND, DISK_FAILED. */
  async openData(volumeId: VolumeId): Promise<DiskFile> {
    const { path } = (await this.#port.call('share', [volumeId])) as SharedGeneration
    return await this.#parts.disk.open(path, 'read')
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND, DISK_FAILED. */
  async openShard(place: PlaceOfShard): Promise<DiskFile> {
    const path = (await this.#port.call('pathOfShard', [place])) as string
    return await openShardAt(this.#parts.disk, path)
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND, RANGE_INVALID, DISK_FAILED. */
  async readShard(request: ReadShardSlicesRequest): Promise<Buffer> {
    const { volumeId, runId, shard } = request
    await using file = await this.openShard({ volumeId, runId, shard })
    const slices = checkShardSlices(request, await file.sizeBytes())
    const read = async (span: Buffer, at: number): Promise<void> => {
      ;(await readFully(file, span.length, at)).copy(span)
    }
    const bytes = Buffer.allocUnsafe(slices.count * slices.lengthBytes)
    await readSpan(slices, read, bytes)
    return bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const view of this.#views.values()) await view[Symbol.asyncDispose]()
    this.#views.clear()
  }

  #countRead(volumeId: VolumeId): void {
    let tally = this.#reads.get(volumeId)
    if (tally === undefined) {
      tally = new Tally()
      this.#reads.set(volumeId, tally)
    }
    tally.add(1)
  }

  get #isBehind(): boolean {
    return Atomics.load(this.#volumesWord, 0) !== this.#volumesStamp
  }

  /** One that is not stale; it may be by the time it is used. Undefined: the volume is not here. */
  async #view(volumeId: VolumeId): Promise<VolumeView | undefined> {
    const view = this.#views.get(volumeId)
    if (view !== undefined && !view.isStale) return view
    const opening = this.#opening.get(volumeId) ?? this.#open(volumeId)
    this.#opening.set(volumeId, opening)
    try {
      return await opening
    } catch (error) {
      // Not here, or just removed: the owner knows where it is.
      if (isStoreError(error, 'VOLUME_NOT_FOUND', 'PATH_NOT_FOUND')) return undefined
      throw error
    } finally {
      this.#opening.delete(volumeId)
    }
  }

  async #open(volumeId: VolumeId): Promise<VolumeView> {
    const shared = (await this.#port.call('share', [volumeId])) as SharedGeneration
    const view = await VolumeView.open(this.#parts, shared)
    this.#forget(volumeId)
    this.#views.set(volumeId, view)
    return view
  }

  #forget(volumeId: VolumeId): void {
    void this.#views.get(volumeId)?.[Symbol.asyncDispose]()
    this.#views.delete(volumeId)
  }

  async #readThroughOwner(
    fileId: FileId,
    readDeleted: boolean,
    isForwarded: boolean,
  ): Promise<WholeNeedle | StreamedNeedle> {
    const head = { fileId, readDeleted, readToken: '', isForwarded }
    const opened = await this.fetch({ ...head, range: undefined }, new AbortController().signal)
    if (opened.dataBytes <= LIMITS.answeredWholeMax.value) return await wholeOf(opened)
    const fetchRange = (range: ByteRange, signal: AbortSignal): Promise<NeedleContent> =>
      this.fetch({ ...head, range }, signal)
    return new OwnersNeedle(fileId.cookie, opened, fetchRange)
  }
}

/** As those are that this thread reads itself: an answer depends on whether all is in memory. */
async function wholeOf(opened: NeedleContent): Promise<WholeNeedle> {
  await using content = opened
  const pieces: Uint8Array[] = []
  for await (const piece of content.data) pieces.push(piece)
  const { metadata, checksum } = content
  return { data: Buffer.concat(pieces), checksum, attributes: () => metadata }
}

/** A needle that the owner's thread reads for this one. */
class OwnersNeedle implements StreamedNeedle {
  readonly attributes: NeedleAttributes
  readonly cookie: number
  readonly dataBytes: number
  readonly checksum: number
  readonly #whole: NeedleContent
  readonly #fetchRange: (range: ByteRange, signal: AbortSignal) => Promise<NeedleContent>

  constructor(
    cookie: number,
    whole: NeedleContent,
    fetchRange: (range: ByteRange, signal: AbortSignal) => Promise<NeedleContent>,
  ) {
    this.attributes = whole.metadata
    this.cookie = cookie
    this.dataBytes = whole.dataBytes
    this.checksum = whole.checksum
    this.#whole = whole
    this.#fetchRange = fetchRange
  }

  async *read(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of this.#whole.data) {
      if (signal.aborted) throw new StoreError('CANCELLED', 'the read was cancelled')
      yield piece
    }
  }

  async *readRange(
    range: ByteRange,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    await using content = await this.#fetchRange(range, signal)
    yield* content.data
  }

  [Symbol.dispose](): void {
    void this.#whole[Symbol.asyncDispose]()
  }
}
