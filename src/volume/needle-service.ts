import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import type { Needle } from '../format/needle.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  ConnectVolume,
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  NeedleMetadata,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
  VolumeApi,
} from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Tally } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import type { StoredVolume } from '../storage/disk-location.ts'
import { LargeNeedle } from '../storage/needle-reader.ts'
import type { PutResult } from '../storage/pending-write.ts'
import type { ReadBuffer } from '../storage/read-buffer.ts'
import type { Store } from '../storage/store.ts'
import { ArrivingBody, type Entered } from './arriving-body.ts'
import { CodedDeletes } from './coded-deletes.ts'
import { type CodedCounts, CodedVolumes } from './coded-volumes.ts'
import type { DirtyRecords } from './dirty-records.ts'
import { type Hop, replicaMs } from './hop.ts'
import type { LocationCache } from './location-cache.ts'
import type { NeedleAccess, StreamedNeedle } from './needle-access.ts'
import { contentOf } from './needle-content.ts'
import { NeedleWrites } from './needle-writes.ts'
import { placeOf, type ReadCache } from './read-cache.ts'
import { ReadsElsewhere } from './reads-elsewhere.ts'
import { type Copies, ReplicaPeers } from './replicate.ts'
import { type ReplicatedPut, type ReplicatedWrite, ReplicatedWrites } from './replicated-writes.ts'
import { WriteEntry } from './write-entry.ts'
import type { WriteGate } from './write-gate.ts'

export interface NeedleServiceParts {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly gate: WriteGate
  /** Undefined: this server is alone. */
  readonly cluster: ClusterParts | undefined
  /** Undefined: there is no cluster secret to make tokens with. */
  readonly tokens: FileTokens | undefined
  /** Undefined: needles are not kept in memory. */
  readonly cache: ReadCache | undefined
  readonly codedCounts: CodedCounts
}

export interface ClusterParts {
  readonly locations: LocationCache
  readonly connect: ConnectVolume
  readonly ownUrl: () => string
  readonly dirty: DirtyRecords
  readonly counts: { readonly failures: Tally; readonly readsElsewhere: Tally }
}

/**
 * The needles of this server. A put or delete that does not come from another copy of the volume is
 * sent to all of them; see `ReplicatedWrites` for when it counts.
 */
export class NeedleService implements NeedleAccess, AsyncDisposable {
  readonly #parts: NeedleServiceParts
  readonly #replicas: ReplicatedWrites | undefined
  readonly #elsewhere: ReadsElsewhere | undefined
  readonly #coded: CodedVolumes
  readonly #codedDeletes: CodedDeletes
  readonly #entry: WriteEntry
  readonly #writes = new NeedleWrites()
  readonly #isDurable: boolean
  readonly #needsWriteToken: boolean
  readonly #stop = new AbortController()

  constructor(
    parts: NeedleServiceParts,
    options: { readonly isDurable: boolean; readonly needsWriteToken: boolean },
  ) {
    this.#parts = parts
    const { cluster, clock, random } = parts
    const stop = this.#stop.signal
    this.#entry = new WriteEntry(parts.gate)
    this.#coded = new CodedVolumes({ ...parts, counts: parts.codedCounts, stop })
    if (cluster !== undefined) {
      const { dirty, counts } = cluster
      const peers = new ReplicaPeers({ ...cluster, clock })
      const { failures, readsElsewhere: count } = counts
      this.#replicas = new ReplicatedWrites({ peers, dirty, clock, failures, stop })
      this.#elsewhere = new ReadsElsewhere({ ...cluster, clock, random, count })
    }
    const inside = { coded: this.#coded, entry: this.#entry, writes: this.#writes, stop }
    this.#codedDeletes = new CodedDeletes({ ...parts, ...inside, replicas: this.#replicas })
    this.#isDurable = options.isDurable
    this.#needsWriteToken = options.needsWriteToken
  }

  /** Writes, and reads that wait for a disk, under way. */
  get inFlightCount(): number {
    return this.#entry.inFlightCount
  }

  /** Of which there are shards here. */
  get coded(): CodedVolumes {
    return this.#coded
  }

  isLocal(volumeId: VolumeId): boolean {
    return this.#parts.store.find(volumeId) !== undefined || this.#coded.isHere(volumeId)
  }

  readWarm(fileId: FileId, readDeleted: boolean, into?: ReadBuffer): Needle | undefined {
    const { volumeId } = fileId
    const stored = this.#parts.store.find(volumeId)
    if (stored === undefined && this.#coded.isHere(volumeId)) return undefined
    const { volume } = stored ?? this.#parts.store.get(volumeId)
    const cached = readDeleted ? undefined : this.#parts.cache?.get(volume, fileId)
    if (cached !== undefined) return cached
    return volume.readWarm({ id: fileId.needleId, cookie: fileId.cookie, readDeleted }, into)
  }

  async read(fileId: FileId, readDeleted: boolean): Promise<Needle | StreamedNeedle> {
    const { cache, store } = this.#parts
    const stored = store.find(fileId.volumeId)
    if (stored === undefined && this.#coded.isHere(fileId.volumeId)) {
      return await this.#entry.count(this.#coded.read(fileId))
    }
    const { volume } = stored ?? store.get(fileId.volumeId)
    const place = cache === undefined || readDeleted ? undefined : placeOf(volume, fileId)
    // In the same turn: the read finds the needle at this place.
    const wholeBytesMax = LIMITS.answeredWholeMax.value
    const { cookie, needleId: id } = fileId
    const reading = volume.read({ id, cookie, readDeleted, wholeBytesMax })
    const found = await this.#entry.count(reading)
    if (place !== undefined && !(found instanceof LargeNeedle)) cache?.put(fileId, found, place)
    return found
  }

  async put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    this.#checkToken(request)
    const stamped = this.#stamp(request)
    const { checksum, data, fileId } = request
    const ready = await this.#ready(request, signal)
    const input = { ...inputOf(stamped), data, checksum }
    const { volume } = ready.stored
    if (ready.copies === undefined) {
      using _write = this.#track(ready.stored, fileId)
      return this.#answer(await this.#entry.inside(fileId, () => volume.put(input, signal)))
    }
    const isNew = placeOf(volume, fileId) === undefined
    using write = this.#writes.begin(fileId)
    const stop = this.#stop.signal
    const replicated: ReplicatedPut = {
      fileId,
      copyCount: ready.copyCount,
      dataBytes: data.length,
      here: async () =>
        this.#answer(await this.#entry.inside(fileId, () => volume.put(input, stop))),
      send: (peer, hop) => peer.put({ ...stamped, isReplica: true }, hop.signal),
      undo: () => this.#undo(ready.stored, fileId, isNew && !write.isContested),
    }
    return await this.#entry.count(ready.replicas.put(replicated, ready.copies))
  }

  /** The body is stored here first, and sent on from here: it is read only once. */
  async putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer> {
    this.#checkToken(request)
    const stamped = this.#stamp(request)
    const ready = await this.#ready(request, signal)
    const arriving = new ArrivingBody(request, () => this.#enter(request, ready.stored, signal))
    try {
      const { volume } = ready.stored
      const result = await this.#entry.count(
        volume.putStream(inputOf(stamped), arriving.read(), signal),
      )
      arriving.leave()
      const answer = this.#answer(result)
      if (ready.copies === undefined) return answer
      return await this.#entry.count(this.#sendStream(ready, stamped, answer, arriving))
    } finally {
      arriving[Symbol.dispose]()
    }
  }

  async delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer> {
    this.#checkToken(request)
    const { fileId } = request
    const { volumeId } = fileId
    // One that was held still may have been coded meanwhile.
    if (this.#parts.gate.isFrozen(volumeId) || this.#coded.mayBeCoded(volumeId)) {
      const answer = await this.#codedDeletes.delete(request, signal)
      if (answer !== undefined) return answer
    }
    const ready = await this.#ready(request, signal, 'delete')
    const { volume } = ready.stored
    const needle = { id: fileId.needleId, cookie: fileId.cookie }
    if (ready.copies === undefined) {
      using _write = this.#track(ready.stored, fileId)
      return await this.#entry.inside(fileId, () => volume.delete(needle, signal))
    }
    using _write = this.#writes.begin(fileId)
    const replicated: ReplicatedWrite<DeleteAnswer> = {
      fileId,
      copyCount: ready.copyCount,
      dataBytes: 0,
      here: () => this.#entry.inside(fileId, () => volume.delete(needle, this.#stop.signal)),
      send: (peer, hop) => peer.delete({ ...request, isReplica: true }, hop.signal),
    }
    return await this.#entry.count(ready.replicas.delete(replicated, ready.copies))
  }

  /**
   * A needle of a volume that is here: from another copy if the one here is bad.
   *
   * @throws {StoreError} as `Volume.read`.
   */
  async get(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    const { fileId, range, readDeleted } = request
    if (this.#elsewhere?.isBad(fileId) === true) {
      const instead = await this.fetchInstead(request, 'NEEDLE_CORRUPT', signal)
      if (instead !== undefined) return instead
    }
    try {
      const found = this.readWarm(fileId, readDeleted) ?? (await this.read(fileId, readDeleted))
      return contentOf(found, range, signal, () => this.noteBad(fileId))
    } catch (error) {
      if (!isStoreError(error)) throw error
      const instead = await this.fetchInstead(request, error.code, signal)
      if (instead === undefined) throw error
      return instead
    }
  }

  async fetch(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    const { volumeId } = request.fileId
    if (this.isLocal(volumeId)) return await this.get(request, signal)
    if (this.#elsewhere !== undefined) return await this.#elsewhere.fetch(request, signal)
    throw new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not here`)
  }

  async fetchInstead(
    request: ReadRequest,
    code: ErrorCode,
    signal: AbortSignal,
  ): Promise<NeedleContent | undefined> {
    const { volumeId } = request.fileId
    const volume = this.#parts.store.find(volumeId)?.volume
    // What was coded when it was bad already is the same on every server.
    const isHopeless = volume === undefined && code === 'NEEDLE_CORRUPT'
    if (isHopeless && this.#coded.isHere(volumeId)) return undefined
    return await this.#elsewhere?.fetchInstead(request, { code, volume }, signal)
  }

  noteBad(fileId: FileId): void {
    const stored = this.#parts.store.find(fileId.volumeId)
    if (stored === undefined && this.#coded.isHere(fileId.volumeId)) return
    this.#elsewhere?.noteBad(fileId, stored?.volume)
  }

  async locate(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    const { cluster } = this.#parts
    return cluster === undefined ? [] : await cluster.locations.locate(volumeId, signal)
  }

  /** Whether the master counts the copy here. @throws {StoreError} as `MasterApi.lookup`. */
  async isMember(volumeId: VolumeId, signal: AbortSignal): Promise<boolean> {
    const { cluster } = this.#parts
    if (cluster === undefined) return true
    const { locations, stripe } = await cluster.locations.refresh(volumeId, signal)
    return stripe === undefined && locations.some(({ url }) => url === cluster.ownUrl())
  }

  /** Deletes a needle of any volume of the cluster with all its copies; needs no token. */
  async deleteAnywhere(fileId: FileId, signal: AbortSignal): Promise<DeleteAnswer> {
    const writeToken = this.#parts.tokens?.mintWrite(fileId, OWN_TOKEN_S) ?? ''
    const request = { fileId, writeToken, isReplica: false }
    const { volumeId } = fileId
    try {
      if (this.isLocal(volumeId)) return await this.delete(request, signal)
    } catch (error) {
      // Shards that do not count are of no use.
      if (!isStoreError(error, 'VOLUME_NOT_FOUND')) throw error
    }
    const { cluster } = this.#parts
    const others = await this.locate(volumeId, signal)
    const first = others.find(({ url }) => url !== cluster?.ownUrl())
    if (cluster === undefined || first === undefined) throw notHere(volumeId)
    return await cluster.connect(first).delete(request, signal)
  }

  /** Gives up what waits for other servers. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
  }

  #find(volumeId: VolumeId): StoredVolume {
    const stored = this.#parts.store.find(volumeId)
    if (stored === undefined && this.#coded.isHere(volumeId)) throw isCoded(volumeId)
    return stored ?? this.#parts.store.get(volumeId)
  }

  /** Whoever may send replicas has shown that it knows the secret the tokens are made with. */
  #checkToken(request: WriteHead): void {
    if (!this.#needsWriteToken || request.isReplica) return
    const { tokens } = this.#parts
    assert(tokens !== undefined, 'tokens can be checked where they are required')
    tokens.verifyWrite(request.writeToken, request.fileId)
  }

  /** Decided once, or the copies would not be equal. */
  #stamp<Request extends { readonly metadata: NeedleMetadata }>(request: Request): Request {
    if (request.metadata.lastModifiedS !== undefined) return request
    const lastModifiedS = Math.floor(this.#parts.clock.nowMs() / 1000)
    return { ...request, metadata: { ...request.metadata, lastModifiedS } }
  }

  /**
   * Where a write goes. No waiting where there is nothing to wait for: writes of one turn share a
   * batch. When this returns the volume is not frozen.
   */
  #ready(
    request: WriteHead,
    signal: AbortSignal,
    what: 'put' | 'delete' = 'put',
  ): Ready | Promise<Ready> {
    const { gate } = this.#parts
    const { volumeId } = request.fileId
    if (gate.frozenCount > 0 && gate.isFrozen(volumeId)) {
      return this.#readyLater(request, signal, what)
    }
    const stored = this.#find(volumeId)
    const count = copyCount(stored.volume.replicaPlacement)
    if (request.isReplica || count === 1) return { stored, copies: undefined }
    return this.#readyLater(request, signal, what)
  }

  async #readyLater(
    request: WriteHead,
    signal: AbortSignal,
    what: 'put' | 'delete',
  ): Promise<Ready> {
    const { gate } = this.#parts
    const { volumeId } = request.fileId
    for (;;) {
      await this.#entry.pass(request, signal)
      const { thawCount } = gate
      const stored = this.#find(volumeId)
      const count = copyCount(stored.volume.replicaPlacement)
      if (request.isReplica || count === 1) return { stored, copies: undefined }
      const replicas = this.#replicas
      if (replicas === undefined) throw knowsNoMaster(volumeId, count)
      const copies = await replicas.copies(what, request.fileId, count, signal)
      // If it was held still meanwhile, the copies may be others.
      if (gate.isFrozen(volumeId) || gate.thawCount !== thawCount) continue
      return { stored, copies, copyCount: count, replicas }
    }
  }

  /** The body of a stream is complete: from here on it is a write like others. */
  async #enter(
    request: WriteHead,
    { volume }: StoredVolume,
    signal: AbortSignal,
  ): Promise<Entered> {
    const { gate } = this.#parts
    const { fileId } = request
    await this.#entry.pass(request, signal)
    gate.enter(fileId.volumeId)
    const isNew = placeOf(volume, fileId) === undefined
    const write = this.#writes.begin(fileId)
    return { isNew, write, leave: () => gate.leave(fileId.volumeId) }
  }

  async #sendStream(
    { stored, copies, replicas, copyCount }: ReadyToSend,
    request: PutStreamRequest,
    answer: PutAnswer,
    { entered }: ArrivingBody,
  ): Promise<PutAnswer> {
    const { fileId } = request
    const replicated: ReplicatedPut = {
      fileId,
      copyCount,
      dataBytes: answer.dataBytes,
      here: async () => answer,
      send: (peer, hop) => this.#sendOn(peer, stored, request, hop),
      undo: () => {
        const isOurs = entered?.isNew === true && !entered.write.isContested
        return this.#undo(stored, fileId, isOurs)
      },
    }
    // The body may have taken hours to arrive.
    return await replicas.put(replicated, await replicas.copiesNow(replicated, copies))
  }

  async #sendOn(
    peer: VolumeApi,
    { volume }: StoredVolume,
    request: PutStreamRequest,
    hop: Hop,
  ): Promise<PutAnswer> {
    const { needleId, cookie } = request.fileId
    const found = await volume.read({ id: needleId, cookie })
    await using content = contentOf(found, undefined, hop.signal)
    const source = paced(content.data, hop)
    return await peer.putStream({ ...request, isReplica: true, source }, hop.signal)
  }

  /** What a put that failed elsewhere stored here, unless something else may be behind its id. */
  async #undo({ volume }: StoredVolume, fileId: FileId, isOurs: boolean): Promise<boolean> {
    if (!isOurs || this.#parts.gate.isFrozen(fileId.volumeId)) return false
    const needle = { id: fileId.needleId, cookie: fileId.cookie }
    try {
      await this.#entry.inside(fileId, () => volume.delete(needle, this.#stop.signal))
      return true
    } catch (error) {
      if (isStoreError(error)) return false
      throw error
    }
  }

  /** Only volumes with several copies have puts that may be taken back. */
  #track({ volume }: StoredVolume, fileId: FileId): Disposable | undefined {
    return copyCount(volume.replicaPlacement) === 1 ? undefined : this.#writes.begin(fileId)
  }

  #answer(result: PutResult): PutAnswer {
    const { checksum, dataBytes, isUnchanged } = result
    return { checksum, dataBytes, isUnchanged, isDurable: this.#isDurable }
  }
}

interface WriteHead {
  readonly fileId: FileId
  readonly writeToken: string
  readonly isReplica: boolean
}

interface ReadyToSend {
  readonly stored: StoredVolume
  readonly copies: Copies
  readonly copyCount: number
  readonly replicas: ReplicatedWrites
}

/** `copies` is undefined for what is written only here. */
type Ready = ReadyToSend | { readonly stored: StoredVolume; readonly copies: undefined }

/** Each piece that is taken gives the other server time for the next one. */
async function* paced(
  source: AsyncIterable<Uint8Array>,
  hop: Hop,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0
  for await (const piece of source) {
    bytes += piece.length
    hop.extend(replicaMs(piece.length))
    yield piece
  }
  // It has now to write all of it to its volume.
  hop.extend(replicaMs(bytes))
}

/** A delete waits no longer than that for its turn. */
const OWN_TOKEN_S = 60

function inputOf(request: { readonly fileId: FileId; readonly metadata: NeedleMetadata }) {
  const { fileId, metadata } = request
  return { id: fileId.needleId, cookie: fileId.cookie, attributes: metadata }
}

function isCoded(volumeId: VolumeId): StoreError {
  return new StoreError('VOLUME_SEALED', `volume ${volumeId} is erasure-coded: it takes no puts`)
}

function notHere(volumeId: VolumeId): StoreError {
  return new StoreError('VOLUME_NOT_FOUND', `no server is known that holds volume ${volumeId}`)
}

function knowsNoMaster(volumeId: VolumeId, count: number): StoreError {
  const why = `volume ${volumeId} has ${count} copies, and this server knows no master`
  return new StoreError('REPLICATION_FAILED', why)
}
