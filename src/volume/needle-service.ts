import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Needle } from '../format/needle.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { RETRY } from '../net/retry.ts'
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
import type { Random } from '../runtime/random.ts'
import type { StoredVolume } from '../storage/disk-location.ts'
import { LargeNeedle } from '../storage/needle-reader.ts'
import type { PutResult } from '../storage/pending-write.ts'
import type { ReadBuffer } from '../storage/read-buffer.ts'
import type { Store } from '../storage/store.ts'
import type { LocationCache } from './location-cache.ts'
import type { NeedleAccess } from './needle-access.ts'
import { contentOf } from './needle-content.ts'
import { placeOf, type ReadCache } from './read-cache.ts'
import { ReplicaPeers, writeEverywhere } from './replicate.ts'

export interface NeedleServiceParts {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  /** Undefined: this server is alone. */
  readonly cluster: ClusterParts | undefined
  /** Undefined: there is no cluster secret to make tokens with. */
  readonly tokens: FileTokens | undefined
  /** Undefined: needles are not kept in memory. */
  readonly cache: ReadCache | undefined
}

export interface ClusterParts {
  readonly locations: LocationCache
  readonly connect: ConnectVolume
  readonly ownUrl: () => string
}

/**
 * The needles of this server. A put or delete that does not come from another copy of the volume is
 * sent to all of them, and counts when all of them have it.
 */
export class NeedleService implements NeedleAccess {
  readonly #parts: NeedleServiceParts
  readonly #peers: ReplicaPeers | undefined
  readonly #isDurable: boolean
  readonly #needsWriteToken: boolean
  #inFlightCount = 0

  constructor(
    parts: NeedleServiceParts,
    options: { readonly isDurable: boolean; readonly needsWriteToken: boolean },
  ) {
    this.#parts = parts
    this.#peers = parts.cluster === undefined ? undefined : new ReplicaPeers(parts.cluster)
    this.#isDurable = options.isDurable
    this.#needsWriteToken = options.needsWriteToken
  }

  /** Writes, and reads that wait for a disk, under way. */
  get inFlightCount(): number {
    return this.#inFlightCount
  }

  isLocal(volumeId: VolumeId): boolean {
    return this.#parts.store.find(volumeId) !== undefined
  }

  readWarm(fileId: FileId, readDeleted: boolean, into: ReadBuffer): Needle | undefined {
    const { volume } = this.#find(fileId.volumeId)
    const cached = readDeleted ? undefined : this.#parts.cache?.get(volume, fileId)
    if (cached !== undefined) return cached
    return volume.readWarm({ id: fileId.needleId, cookie: fileId.cookie, readDeleted }, into)
  }

  async read(fileId: FileId, readDeleted: boolean): Promise<Needle | LargeNeedle> {
    const { cache } = this.#parts
    const { volume } = this.#find(fileId.volumeId)
    const place = cache === undefined || readDeleted ? undefined : placeOf(volume, fileId)
    // In the same turn: the read finds the needle at this place.
    const wholeBytesMax = LIMITS.answeredWholeMax.value
    const { cookie, needleId: id } = fileId
    const reading = volume.read({ id, cookie, readDeleted, wholeBytesMax })
    const found = await this.#count(reading)
    if (place !== undefined && !(found instanceof LargeNeedle)) cache?.put(fileId, found, place)
    return found
  }

  async put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    const stored = this.#checkWrite(request)
    const stamped = this.#stamp(request)
    const peers = await this.#peersOf(stored, request, signal)
    const { checksum, data } = request
    const putHere = stored.volume.put({ ...inputOf(stamped), data, checksum }, signal)
    if (peers.length === 0) return this.#answer(await this.#count(putHere))
    const replica = { ...stamped, isReplica: true }
    const sent = peers.map((peer) => peer.put(replica, signal))
    return this.#answer(await this.#count(writeEverywhere(putHere, sent)))
  }

  /** The body is stored here first, and sent on from here: it is read only once. */
  async putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer> {
    const stored = this.#checkWrite(request)
    const stamped = this.#stamp(request)
    const peers = await this.#peersOf(stored, request, signal)
    const putHere = stored.volume.putStream(inputOf(stamped), request.source, signal)
    const result = await this.#count(putHere)
    const sent = peers.map((peer) => this.#sendOn(peer, stored, stamped, signal))
    return this.#answer(await this.#count(writeEverywhere(Promise.resolve(result), sent)))
  }

  async delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer> {
    const stored = this.#checkWrite(request)
    const { needleId, cookie } = request.fileId
    const peers = await this.#peersOf(stored, request, signal)
    const deleteHere = stored.volume.delete({ id: needleId, cookie }, signal)
    if (peers.length === 0) return await this.#count(deleteHere)
    const replica = { ...request, isReplica: true }
    const sent = peers.map((peer) => peer.delete(replica, signal))
    return await this.#count(writeEverywhere(deleteHere, sent))
  }

  async fetch(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    const { fileId, range, readDeleted } = request
    if (this.isLocal(fileId.volumeId)) {
      return contentOf(await this.read(fileId, readDeleted), range, signal)
    }
    const { cluster } = this.#parts
    const locations = await this.locate(fileId.volumeId, signal)
    const others = locations.filter(({ url }) => url !== cluster?.ownUrl())
    if (cluster === undefined || others.length === 0) throw notHere(fileId.volumeId)
    const first = this.#parts.random.u32() % others.length
    let failure: unknown
    for (let tried = 0; tried < others.length; tried++) {
      const location = others[(first + tried) % others.length] as NodeLocation
      try {
        return await cluster.connect(location).read(request, signal)
      } catch (error) {
        failure = error
        if (!mayBeElsewhere(error)) throw error
      }
    }
    throw failure
  }

  async locate(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    const { cluster } = this.#parts
    return cluster === undefined ? [] : await cluster.locations.locate(volumeId, signal)
  }

  /** Deletes a needle of any volume of the cluster with all its copies; needs no token. */
  async deleteAnywhere(fileId: FileId, signal: AbortSignal): Promise<DeleteAnswer> {
    const writeToken = this.#parts.tokens?.mintWrite(fileId, OWN_TOKEN_S) ?? ''
    const request = { fileId, writeToken, isReplica: false }
    if (this.isLocal(fileId.volumeId)) return await this.delete(request, signal)
    const { cluster } = this.#parts
    const [first] = await this.locate(fileId.volumeId, signal)
    if (cluster === undefined || first === undefined) throw notHere(fileId.volumeId)
    return await cluster.connect(first).delete(request, signal)
  }

  #find(volumeId: VolumeId): StoredVolume {
    return this.#parts.store.find(volumeId) ?? this.#parts.store.get(volumeId)
  }

  #checkWrite(request: {
    readonly fileId: FileId
    readonly writeToken: string
    readonly isReplica: boolean
  }): StoredVolume {
    // Whoever may send replicas has shown that it knows the secret the tokens are made with.
    if (this.#needsWriteToken && !request.isReplica) {
      const { tokens } = this.#parts
      assert(tokens !== undefined, 'tokens can be checked where they are required')
      tokens.verifyWrite(request.writeToken, request.fileId)
    }
    return this.#find(request.fileId.volumeId)
  }

  /** Decided once, or the copies would not be equal. */
  #stamp<Request extends { readonly metadata: NeedleMetadata }>(request: Request): Request {
    if (request.metadata.lastModifiedS !== undefined) return request
    const lastModifiedS = Math.floor(this.#parts.clock.nowMs() / 1000)
    return { ...request, metadata: { ...request.metadata, lastModifiedS } }
  }

  /** No waiting where there is nothing to wait for: writes of one turn share a batch. */
  #peersOf(
    stored: StoredVolume,
    request: { readonly isReplica: boolean },
    signal: AbortSignal,
  ): readonly VolumeApi[] | Promise<readonly VolumeApi[]> {
    const count = copyCount(stored.volume.replicaPlacement)
    if (request.isReplica || count === 1) return NOBODY
    if (this.#peers !== undefined) return this.#peers.of(stored.volumeId, count, signal)
    const why = `volume ${stored.volumeId} has ${count} copies, and this server knows no master`
    throw new StoreError('REPLICATION_FAILED', why)
  }

  async #sendOn(
    peer: VolumeApi,
    { volume }: StoredVolume,
    request: PutStreamRequest,
    signal: AbortSignal,
  ): Promise<PutAnswer> {
    const { needleId, cookie } = request.fileId
    await using content = contentOf(await volume.read({ id: needleId, cookie }), undefined, signal)
    return await peer.putStream({ ...request, isReplica: true, source: content.data }, signal)
  }

  #answer(result: PutResult): PutAnswer {
    const { checksum, dataBytes, isUnchanged } = result
    return { checksum, dataBytes, isUnchanged, isDurable: this.#isDurable }
  }

  async #count<Result>(running: Promise<Result>): Promise<Result> {
    this.#inFlightCount++
    try {
      return await running
    } finally {
      this.#inFlightCount--
    }
  }
}

/** A delete waits no longer than that for its turn. */
const OWN_TOKEN_S = 60
const NOBODY: readonly VolumeApi[] = []

function inputOf(request: { readonly fileId: FileId; readonly metadata: NeedleMetadata }) {
  const { fileId, metadata } = request
  return { id: fileId.needleId, cookie: fileId.cookie, attributes: metadata }
}

/** Whether another copy may have what this server could not give. */
function mayBeElsewhere(error: unknown): boolean {
  return isStoreError(error) && RETRY[error.code] !== 'never'
}

function notHere(volumeId: VolumeId): StoreError {
  return new StoreError('VOLUME_NOT_FOUND', `no server is known that holds volume ${volumeId}`)
}
