import { cookie, needleId, volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
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
} from '../../src/net/master-api.ts'
import { SHARD_REPORT } from './fake-shards.ts'
import { NODE, REPORT } from './fake-volume-api.ts'

const FILE = {
  fileId: { volumeId: volumeId(3), needleId: needleId(0, 1), cookie: cookie(0x637037d6) },
  dataBytes: 5,
}

/** A master that knows one volume, and does what a test tells it first. */
export class FakeMaster implements MasterApi {
  readonly calls: string[] = []
  readonly beats: Heartbeat[] = []
  readonly settings: CollectionSettings[] = []
  readonly dirty: DirtyRecord[] = []
  isLeader = true
  /** Awaited before every call. */
  beforeCall: (name: string, signal: AbortSignal) => Promise<void> = async () => {}

  async assign(request: AssignRequest, signal: AbortSignal): Promise<Lease> {
    await this.#begin('assign', signal)
    return {
      volumeId: volumeId(7),
      firstNeedleId: needleId(1, 2),
      count: request.count,
      locations: [NODE],
      writeToken: 'token',
      validMs: 1000,
    }
  }

  async lookup(ids: readonly number[], signal: AbortSignal): Promise<readonly VolumeLocations[]> {
    await this.#begin('lookup', signal)
    return ids.map((id) => ({
      volumeId: volumeId(id),
      collection: 'c',
      writePolicy: 'best-effort',
      locations: [NODE],
      stripe: {
        dataShards: 2,
        parityShards: 1,
        runId: '1',
        shards: [{ shard: 2, location: NODE }],
      },
    }))
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LocationsUpdate> {
    await this.#begin('watch', signal)
    for (let count = 0; ; count++) {
      await this.#begin('update', signal)
      yield { isSnapshot: count === 0, volumes: [], removedVolumeIds: [volumeId(count + 1)] }
    }
  }

  async *heartbeat(
    beats: AsyncIterable<Heartbeat>,
    signal: AbortSignal,
  ): AsyncGenerator<HeartbeatAnswer> {
    await this.#begin('heartbeat', signal)
    for await (const beat of beats) {
      this.beats.push(beat)
      yield {
        isLeader: this.isLeader,
        leader: NODE.url,
        epoch: beat.epoch + 1,
        intervalMs: 5000,
        volumeSizeMaxBytes: 2 ** 40,
        clusterId: 'c1',
      }
    }
    this.calls.push('heartbeat-ended')
  }

  async grow(_request: GrowRequest, signal: AbortSignal) {
    await this.#begin('grow', signal)
    return [volumeId(8), volumeId(9)]
  }

  async topology(signal: AbortSignal): Promise<Topology> {
    await this.#begin('topology', signal)
    const node = { location: NODE, state: 'up', lastHeardMs: 1, disks: [] } as const
    return {
      clusterId: 'c1',
      nodes: [
        {
          ...node,
          volumes: [REPORT],
          shards: [SHARD_REPORT],
          inFlightCount: 0,
          downSinceMs: 2,
          isFlapping: true,
          isDraining: true,
        },
      ],
      layouts: [],
      maxVolumeId: 7,
      volumeSizeMaxBytes: 5,
    }
  }

  async collections(signal: AbortSignal): Promise<readonly CollectionReport[]> {
    await this.#begin('collections', signal)
    const sums = { volumeCount: 1, liveNeedles: 2, liveBytes: 3, datBytes: 4 }
    const { replication } = REPORT
    const erasure = { dataShards: 24, parityShards: 6 }
    return [
      { collection: 'c', ...sums, replication, writePolicy: 'best-effort', erasure },
      { collection: '', ...sums, replication: undefined, writePolicy: 'all' },
    ]
  }

  async deleteCollection(_name: string, signal: AbortSignal): Promise<void> {
    await this.#begin('deleteCollection', signal)
  }

  async configureCollection(settings: CollectionSettings, signal: AbortSignal): Promise<void> {
    await this.#begin('configureCollection', signal)
    this.settings.push(settings)
  }

  async recordDirty(records: readonly DirtyRecord[], signal: AbortSignal): Promise<void> {
    await this.#begin('recordDirty', signal)
    this.dirty.push(...records)
  }

  async statistics(signal: AbortSignal): Promise<ClusterStatistics> {
    await this.#begin('statistics', signal)
    return {
      nodeCount: 1,
      nodesUp: 1,
      volumeCount: 1,
      liveNeedles: 1,
      liveBytes: 1,
      garbageBytes: 1,
      totalBytes: 1,
      freeBytes: 1,
      volumesAtRisk: 0,
    }
  }

  async status(signal: AbortSignal): Promise<MasterStatus> {
    this.calls.push('status')
    await this.beforeCall('status', signal)
    const { isLeader } = this
    return { isLeader, leader: '', epoch: 1, isWarming: false, version: '1', clusterId: 'c1' }
  }

  async linkName(file: Omit<NamedFile, 'modifiedAtMs'>, signal: AbortSignal): Promise<NamedFile> {
    await this.#begin('linkName', signal)
    return { ...file, modifiedAtMs: 1 }
  }

  async resolveName(name: string, signal: AbortSignal): Promise<NamedFile> {
    await this.#begin('resolveName', signal)
    return { ...FILE, name, modifiedAtMs: 1 }
  }

  async unlinkName(name: string, signal: AbortSignal): Promise<NamedFile> {
    await this.#begin('unlinkName', signal)
    return { ...FILE, name, modifiedAtMs: 1 }
  }

  async listNames(request: ListNamesRequest, signal: AbortSignal): Promise<readonly NamedFile[]> {
    await this.#begin('listNames', signal)
    return [{ ...FILE, name: `${request.prefix}1`, modifiedAtMs: 1 }]
  }

  async #begin(name: string, signal: AbortSignal): Promise<void> {
    this.calls.push(name)
    await this.beforeCall(name, signal)
    if (!this.isLeader) throw new StoreError('NOT_LEADER', 'somebody else is')
  }
}
