import type { VolumeId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { GrpcChannel } from './grpc-channel.ts'
import { mapStream } from './grpc-service.ts'
import type {
  AssignRequest,
  ClusterStatistics,
  CollectionReport,
  GrowRequest,
  Heartbeat,
  HeartbeatAnswer,
  Lease,
  ListNamesRequest,
  LocationsUpdate,
  MasterApi,
  MasterStatus,
  NamedFile,
  Topology,
  VolumeLocations,
} from './master-api.ts'
import { MASTER_PROTO } from './proto-loading.ts'
import { type RetryOptions, retrying } from './retry.ts'
import type { TlsKeys } from './tls.ts'
import {
  answerFromWire,
  assignToWire,
  collectionFromWire,
  growToWire,
  heartbeatToWire,
  leaseFromWire,
  linkNameToWire,
  listNamesRequest,
  namedFileFromWire,
  statisticsFromWire,
  statusFromWire,
  topologyFromWire,
  updateFromWire,
  type WireCollections,
  type WireLease,
  type WireLocationsUpdate,
  type WireLookupAnswer,
  type WireNamedFile,
  type WireNames,
  type WireTopology,
  type WireVolumeIds,
} from './wire-master.ts'
import { volumeLocationsFromWire } from './wire-reports.ts'
import { fromPeer, wireVolumeId } from './wire-values.ts'

export interface RemoteMasterParts {
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
}

export interface RemoteMasterConfig {
  /** host:port of the gRPC of every master. */
  readonly addresses: readonly string[]
  readonly secret?: Buffer | undefined
  readonly tls?: TlsKeys | undefined
  /** For one try of one call. */
  readonly timeoutMs: number
}

const RETRY_BASE_MS = 50
const RETRY_MAX_MS = 1000

/** Every master is asked this often before a call fails. */
const ROUNDS = 3

/**
 * The masters of a cluster over gRPC, as if they were one: calls go to the one that answered last,
 * and on to the next when it is out of reach or not the leader. What must not happen twice
 * (growing, unlinking, deleting a collection) is sent once, to a master that has just said it is
 * the leader.
 */
export class RemoteMaster implements MasterApi, AsyncDisposable {
  readonly #parts: RemoteMasterParts
  readonly #channels: readonly GrpcChannel[]
  readonly #retry: RetryOptions
  #currentIndex = 0

  private constructor(parts: RemoteMasterParts, channels: readonly GrpcChannel[]) {
    this.#parts = parts
    this.#channels = channels
    this.#retry = {
      attemptsMax: ROUNDS * channels.length,
      baseMs: RETRY_BASE_MS,
      maxMs: RETRY_MAX_MS,
    }
  }

  /**
   * Connects when it is first used.
   *
   * @throws {StoreError} CONFIG_INVALID: no address, or `tls` cannot be used.
   */
  static async open(parts: RemoteMasterParts, config: RemoteMasterConfig): Promise<RemoteMaster> {
    const { addresses, secret, tls, timeoutMs } = config
    if (addresses.length === 0) throw new StoreError('CONFIG_INVALID', 'no address of a master')
    const channels = addresses.map(
      (address) =>
        new GrpcChannel(parts, { address, service: MASTER_PROTO, secret, tls, timeoutMs }),
    )
    return new RemoteMaster(parts, channels)
  }

  assign(request: AssignRequest, signal: AbortSignal): Promise<Lease> {
    return this.#call('Assign', assignToWire(request), (wire: WireLease) => leaseFromWire(wire), {
      signal,
    })
  }

  lookup(volumeIds: readonly VolumeId[], signal: AbortSignal): Promise<readonly VolumeLocations[]> {
    const convert = (wire: WireLookupAnswer) => wire.volumes.map(volumeLocationsFromWire)
    return this.#call('Lookup', { volumeIds }, convert, { signal })
  }

  watch(signal: AbortSignal): AsyncIterable<LocationsUpdate> {
    return this.#stream(signal, (channel) =>
      mapStream(channel.serverStream<WireLocationsUpdate>('WatchLocations', {}, signal), (wire) =>
        fromPeer(channel.address, wire, updateFromWire),
      ),
    )
  }

  heartbeat(beats: AsyncIterable<Heartbeat>, signal: AbortSignal): AsyncIterable<HeartbeatAnswer> {
    return this.#stream(signal, (channel) =>
      mapStream(
        channel.duplex<HeartbeatAnswer>('Heartbeat', mapStream(beats, heartbeatToWire), signal),
        (wire) => fromPeer(channel.address, wire, answerFromWire),
      ),
    )
  }

  grow(request: GrowRequest, signal: AbortSignal): Promise<readonly VolumeId[]> {
    const convert = (wire: WireVolumeIds) => wire.volumeIds.map(wireVolumeId)
    return this.#call('Grow', growToWire(request), convert, { signal, isOnce: true })
  }

  topology(signal: AbortSignal): Promise<Topology> {
    const convert = (wire: WireTopology) => topologyFromWire(wire)
    return this.#call('GetTopology', {}, convert, { signal })
  }

  collections(signal: AbortSignal): Promise<readonly CollectionReport[]> {
    const convert = (wire: WireCollections) => wire.collections.map(collectionFromWire)
    return this.#call('ListCollections', {}, convert, { signal })
  }

  deleteCollection(collection: string, signal: AbortSignal): Promise<void> {
    const convert = (): void => {}
    return this.#call('DeleteCollection', { collection }, convert, { signal, isOnce: true })
  }

  statistics(signal: AbortSignal): Promise<ClusterStatistics> {
    return this.#call('GetStatistics', {}, statisticsFromWire, { signal })
  }

  status(signal: AbortSignal): Promise<MasterStatus> {
    return this.#call('GetStatus', {}, statusFromWire, { signal })
  }

  linkName(file: Omit<NamedFile, 'modifiedAtMs'>, signal: AbortSignal): Promise<NamedFile> {
    return this.#call('LinkName', linkNameToWire(file), toNamedFile, { signal })
  }

  resolveName(name: string, signal: AbortSignal): Promise<NamedFile> {
    return this.#call('ResolveName', { name }, toNamedFile, { signal })
  }

  unlinkName(name: string, signal: AbortSignal): Promise<NamedFile> {
    return this.#call('UnlinkName', { name }, toNamedFile, { signal, isOnce: true })
  }

  listNames(request: ListNamesRequest, signal: AbortSignal): Promise<readonly NamedFile[]> {
    const convert = (wire: WireNames) => wire.files.map(namedFileFromWire)
    return this.#call('ListNames', listNamesRequest(request), convert, { signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const channel of this.#channels) await channel[Symbol.asyncDispose]()
  }

  async #call<Wire extends object, Answer>(
    name: string,
    request: object,
    convert: (wire: Wire) => Answer,
    options: { readonly signal: AbortSignal; readonly isOnce?: boolean },
  ): Promise<Answer> {
    const { signal, isOnce = false } = options
    if (isOnce) {
      await this.#findLeader(signal)
      return await this.#tryOnce(name, request, convert, signal)
    }
    const run = () => this.#tryOnce(name, request, convert, signal)
    return await retrying(this.#parts, this.#retry, run, signal)
  }

  async #tryOnce<Wire extends object, Answer>(
    name: string,
    request: object,
    convert: (wire: Wire) => Answer,
    signal: AbortSignal,
  ): Promise<Answer> {
    const channel = this.#current()
    try {
      const wire = await channel.unary<Wire>(name, request, signal)
      return fromPeer(channel.address, wire, convert)
    } catch (error) {
      this.#leave(channel, error)
      throw error
    }
  }

  /** @throws {StoreError} NOT_LEADER: no master says that it leads, after several rounds. */
  async #findLeader(signal: AbortSignal): Promise<void> {
    const ask = async (): Promise<void> => {
      const channel = this.#current()
      const status = await this.#tryOnce('GetStatus', {}, statusFromWire, signal)
      if (status.isLeader) return
      const error = new StoreError('NOT_LEADER', `${channel.address} is not the leader`)
      this.#leave(channel, error)
      throw error
    }
    await retrying(this.#parts, this.#retry, ask, signal)
  }

  async *#stream<Answer>(
    signal: AbortSignal,
    start: (channel: GrpcChannel) => AsyncIterable<Answer>,
  ): AsyncGenerator<Answer> {
    signal.throwIfAborted()
    const channel = this.#current()
    try {
      yield* start(channel)
    } catch (error) {
      this.#leave(channel, error)
      throw error
    }
  }

  #current(): GrpcChannel {
    const channel = this.#channels[this.#currentIndex]
    if (channel === undefined) throw new StoreError('CONFIG_INVALID', 'no address of a master')
    return channel
  }

  /** The next call goes to the next master, unless another call has moved on already. */
  #leave(channel: GrpcChannel, error: unknown): void {
    if (!isStoreError(error, 'NOT_LEADER', 'UNAVAILABLE', 'TIMEOUT', 'PEER_FAILED')) return
    if (channel !== this.#current() || this.#channels.length === 1) return
    this.#currentIndex = (this.#currentIndex + 1) % this.#channels.length
    this.#parts.logger.debug('master.next_address', { from: channel.address, code: error.code })
  }
}

function toNamedFile(wire: WireNamedFile): NamedFile {
  return namedFileFromWire(wire)
}
