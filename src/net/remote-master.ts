import type { VolumeId } from '../base/ids.ts'
import { mapStream } from './grpc-service.ts'
import type {
  AssignRequest,
  ClusterStatistics,
  CollectionReport,
  CollectionSettings,
  DirtyRecord,
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
import {
  MasterChannels,
  type MasterChannelsConfig,
  type MasterChannelsParts,
} from './master-channels.ts'
import { MASTER_PROTO } from './proto-loading.ts'
import {
  answerFromWire,
  assignToWire,
  collectionFromWire,
  dirtyRecordsToWire,
  growToWire,
  heartbeatToWire,
  leaseFromWire,
  linkNameToWire,
  listNamesRequest,
  namedFileFromWire,
  settingsToWire,
  statisticsFromWire,
  statusFromWire,
  updateFromWire,
  type WireCollections,
  type WireLease,
  type WireLocationsUpdate,
  type WireLookupAnswer,
  type WireNamedFile,
  type WireNames,
  type WireVolumeIds,
} from './wire-master.ts'
import { volumeLocationsFromWire } from './wire-reports.ts'
import { topologyFromWire, type WireTopology } from './wire-topology.ts'
import { wireVolumeId } from './wire-values.ts'

/**
 * The masters of a cluster over gRPC, as if they were one: calls go to the one that answered last,
 * and on to the next when it is out of reach or not the leader. What must not happen twice
 * (growing, unlinking, deleting a collection) is sent once, to a master that has just said it is
 * the leader.
 */
export class RemoteMaster implements MasterApi, AsyncDisposable {
  readonly #channels: MasterChannels

  private constructor(channels: MasterChannels) {
    this.#channels = channels
  }

  /**
   * Connects when it is first used.
   *
   * @throws {StoreError} CONFIG_INVALID: no address, or `tls` cannot be used.
   */
  static async open(
    parts: MasterChannelsParts,
    config: MasterChannelsConfig,
  ): Promise<RemoteMaster> {
    return new RemoteMaster(new MasterChannels(parts, config, MASTER_PROTO))
  }

  assign(request: AssignRequest, signal: AbortSignal): Promise<Lease> {
    return this.#channels.call(
      'Assign',
      assignToWire(request),
      (wire: WireLease) => leaseFromWire(wire),
      {
        signal,
      },
    )
  }

  lookup(volumeIds: readonly VolumeId[], signal: AbortSignal): Promise<readonly VolumeLocations[]> {
    const convert = (wire: WireLookupAnswer) => wire.volumes.map(volumeLocationsFromWire)
    return this.#channels.call('Lookup', { volumeIds }, convert, { signal })
  }

  watch(signal: AbortSignal): AsyncIterable<LocationsUpdate> {
    const convert = (wire: WireLocationsUpdate) => updateFromWire(wire)
    return this.#channels.stream('WatchLocations', {}, convert, { signal })
  }

  heartbeat(beats: AsyncIterable<Heartbeat>, signal: AbortSignal): AsyncIterable<HeartbeatAnswer> {
    const wires = mapStream(beats, heartbeatToWire)
    return this.#channels.duplex('Heartbeat', wires, answerFromWire, { signal })
  }

  grow(request: GrowRequest, signal: AbortSignal): Promise<readonly VolumeId[]> {
    const convert = (wire: WireVolumeIds) => wire.volumeIds.map(wireVolumeId)
    return this.#channels.call('Grow', growToWire(request), convert, { signal, isOnce: true })
  }

  topology(signal: AbortSignal): Promise<Topology> {
    const convert = (wire: WireTopology) => topologyFromWire(wire)
    return this.#channels.call('GetTopology', {}, convert, { signal })
  }

  collections(signal: AbortSignal): Promise<readonly CollectionReport[]> {
    const convert = (wire: WireCollections) => wire.collections.map(collectionFromWire)
    return this.#channels.call('ListCollections', {}, convert, { signal })
  }

  deleteCollection(collection: string, signal: AbortSignal): Promise<void> {
    const options = { signal, isOnce: true }
    return this.#channels.call('DeleteCollection', { collection }, nothing, options)
  }

  configureCollection(settings: CollectionSettings, signal: AbortSignal): Promise<void> {
    const wire = settingsToWire(settings)
    return this.#channels.call('ConfigureCollection', wire, nothing, { signal })
  }

  recordDirty(records: readonly DirtyRecord[], signal: AbortSignal): Promise<void> {
    const wire = dirtyRecordsToWire(records)
    return this.#channels.call('RecordDirty', wire, nothing, { signal })
  }

  statistics(signal: AbortSignal): Promise<ClusterStatistics> {
    return this.#channels.call('GetStatistics', {}, statisticsFromWire, { signal })
  }

  status(signal: AbortSignal): Promise<MasterStatus> {
    return this.#channels.call('GetStatus', {}, statusFromWire, { signal })
  }

  linkName(file: Omit<NamedFile, 'modifiedAtMs'>, signal: AbortSignal): Promise<NamedFile> {
    return this.#channels.call('LinkName', linkNameToWire(file), toNamedFile, { signal })
  }

  resolveName(name: string, signal: AbortSignal): Promise<NamedFile> {
    return this.#channels.call('ResolveName', { name }, toNamedFile, { signal })
  }

  unlinkName(name: string, signal: AbortSignal): Promise<NamedFile> {
    return this.#channels.call('UnlinkName', { name }, toNamedFile, { signal, isOnce: true })
  }

  listNames(request: ListNamesRequest, signal: AbortSignal): Promise<readonly NamedFile[]> {
    const convert = (wire: WireNames) => wire.files.map(namedFileFromWire)
    return this.#channels.call('ListNames', listNamesRequest(request), convert, { signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#channels[Symbol.asyncDispose]()
  }
}

function toNamedFile(wire: WireNamedFile): NamedFile {
  return namedFileFromWire(wire)
}

function nothing(): void {}
