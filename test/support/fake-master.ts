import { type FileId, formatFileId } from '../../src/base/file-id.ts'
import { needleIdFromNumber, type VolumeId, volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { quote, StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { parseFileName } from '../../src/namespace/file-name.ts'
import type {
  AssignRequest,
  CollectionReport,
  CollectionSettings,
  DirtyRecord,
  GrowRequest,
  Lease,
  MasterApi,
  NamedFile,
  NodeLocation,
  TopologyNode,
  VolumeLocations,
  VolumeReport,
} from '../../src/net/master-api.ts'
import type {
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  VolumeApi,
  VolumeCommand,
} from '../../src/net/volume-api.ts'

export function nodeLocation(port: number, rack = 'r1'): NodeLocation {
  return {
    url: `127.0.0.1:${port}`,
    publicUrl: `127.0.0.1:${port}`,
    grpcAddress: `127.0.0.1:${port + 10_000}`,
    dataCenter: 'dc1',
    rack,
  }
}

export function volumeReport(id: number, collection = ''): VolumeReport {
  return {
    volumeId: volumeId(id),
    collection,
    replication: parseReplicaPlacement('001'),
    ttl: TTL_NONE,
    state: 'writable',
    reason: '',
    liveNeedles: 10,
    liveBytes: 1000,
    garbageBytes: 200,
    datBytes: 1300,
    compactionRevision: 2,
    directoryId: 'd1',
    modifiedAtS: 1_704_067_200,
    digest: '',
    requestsPerS: 0,
  }
}

/** A master whose answers are fields, and which remembers what it was asked. */
export class FakeMaster implements MasterApi {
  volumes: readonly VolumeLocations[] = []
  nodes: readonly TopologyNode[] = []
  isWarming = false
  leader = '127.0.0.1:9333'
  writeToken = ''
  /** What a method throws, by its name. */
  readonly failures = new Map<string, StoreError>()
  readonly assigns: AssignRequest[] = []
  readonly grows: GrowRequest[] = []
  readonly deletedCollections: string[] = []
  readonly configured: CollectionSettings[] = []
  readonly dirty: DirtyRecord[] = []
  readonly names = new Map<string, NamedFile>()
  #nextNeedle = 1

  async assign(request: AssignRequest): Promise<Lease> {
    this.assigns.push(request)
    this.#fail('assign')
    const volume = this.volumes.find(
      ({ volumeId }) => !request.excludedVolumeIds.includes(volumeId),
    )
    if (volume === undefined) throw new StoreError('NO_WRITABLE_VOLUME', 'no volume')
    const firstNeedleId = needleIdFromNumber(this.#nextNeedle)
    this.#nextNeedle += request.count
    return {
      volumeId: volume.volumeId,
      firstNeedleId,
      count: request.count,
      locations: volume.locations,
      writeToken: this.writeToken,
      validMs: 1000,
    }
  }

  async lookup(volumeIds: readonly VolumeId[]): Promise<readonly VolumeLocations[]> {
    this.#fail('lookup')
    return this.volumes.filter(({ volumeId }) => volumeIds.includes(volumeId))
  }

  async grow(request: GrowRequest): Promise<readonly VolumeId[]> {
    this.grows.push(request)
    this.#fail('grow')
    return this.volumes.map(({ volumeId }) => volumeId)
  }

  async topology() {
    this.#fail('topology')
    return {
      clusterId: 'c1',
      nodes: this.nodes,
      layouts: [
        {
          collection: '',
          replication: parseReplicaPlacement('001'),
          ttl: TTL_NONE,
          volumeIds: [volumeId(1), volumeId(2)],
          writableVolumeIds: [volumeId(1)],
        },
      ],
      maxVolumeId: 12,
      volumeSizeMaxBytes: 1000,
    }
  }

  async collections(): Promise<readonly CollectionReport[]> {
    const sums = {
      volumeCount: 2,
      liveNeedles: 20,
      liveBytes: 2000,
      datBytes: 2600,
      replication: undefined,
      writePolicy: 'all',
    } as const
    return [
      { collection: '', ...sums },
      { collection: 'photos', ...sums },
    ]
  }

  async deleteCollection(collection: string): Promise<void> {
    this.#fail('deleteCollection')
    if (collection !== 'photos') throw new StoreError('COLLECTION_NOT_FOUND', quote(collection))
    this.deletedCollections.push(collection)
  }

  async configureCollection(settings: CollectionSettings): Promise<void> {
    this.#fail('configureCollection')
    this.configured.push(settings)
  }

  async recordDirty(records: readonly DirtyRecord[]): Promise<void> {
    this.#fail('recordDirty')
    this.dirty.push(...records)
  }

  async statistics() {
    return {
      nodeCount: 2,
      nodesUp: 1,
      volumeCount: 2,
      liveNeedles: 20,
      liveBytes: 2000,
      garbageBytes: 400,
      totalBytes: 1e6,
      freeBytes: 5e5,
      volumesAtRisk: 1,
    }
  }

  async status() {
    const { isWarming, leader } = this
    const isLeader = leader !== ''
    return { isLeader, leader, epoch: 7, isWarming, version: '1.2.3', clusterId: 'c1' }
  }

  async linkName(file: Omit<NamedFile, 'modifiedAtMs'>): Promise<NamedFile> {
    this.#fail('linkName')
    const linked = { ...file, modifiedAtMs: 0 }
    this.names.set(parseFileName(file.name), linked)
    return linked
  }

  async resolveName(name: string): Promise<NamedFile> {
    const file = this.names.get(parseFileName(name))
    if (file === undefined) throw new StoreError('NAME_NOT_FOUND', quote(name))
    return file
  }

  async unlinkName(name: string): Promise<NamedFile> {
    const file = await this.resolveName(name)
    this.names.delete(name)
    return file
  }

  async listNames(): Promise<readonly NamedFile[]> {
    return [...this.names.values()]
  }

  watch(): never {
    throw new Error('not part of this fake')
  }

  heartbeat(): never {
    throw new Error('not part of this fake')
  }

  #fail(method: string): void {
    const failure = this.failures.get(method)
    if (failure !== undefined) throw failure
  }
}

interface StoredNeedle {
  readonly fileId: FileId
  readonly data: Buffer
  readonly request: Omit<PutRequest, 'data'>
  readonly wasStreamed: boolean
}

/** Volume servers that keep what they are sent, and fail where a test says so. */
export class FakeVolumes {
  readonly stored = new Map<string, StoredNeedle>()
  /** What puts to a volume throw: before they read anything, or after the first piece. */
  readonly failures = new Map<number, { readonly error: StoreError; readonly isLate?: boolean }>()
  readonly garbageShares = new Map<number, number>()
  readonly vacuumed: (VolumeCommand & { readonly url: string })[] = []
  vacuumFailure: StoreError | undefined

  connect(location: NodeLocation): VolumeApi {
    const fake = {
      put: (request: PutRequest) => this.#put(request, [request.data], false),
      putStream: (request: PutStreamRequest) => this.#put(request, request.source, true),
      vacuumCheck: async (id: VolumeId) => this.garbageShares.get(id) ?? 0,
      vacuumVolume: (command: VolumeCommand) => this.#vacuum(location.url, command),
      volumeStatus: async (id: VolumeId) => volumeReport(id),
    }
    return fake as unknown as VolumeApi // The master's HTTP calls nothing else of it.
  }

  async #put(
    request: Omit<PutRequest, 'data'>,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    wasStreamed: boolean,
  ): Promise<PutAnswer> {
    const failure = this.failures.get(request.fileId.volumeId)
    if (failure !== undefined && failure.isLate !== true) throw failure.error
    const pieces: Uint8Array[] = []
    for await (const piece of source) {
      pieces.push(piece)
      if (failure !== undefined && pieces.length > 1) throw failure.error
    }
    const data = Buffer.concat(pieces)
    const { fileId } = request
    this.stored.set(formatFileId(fileId), { fileId, data, request, wasStreamed })
    return { checksum: 0xabcd, dataBytes: data.length, isUnchanged: false, isDurable: true }
  }

  async *#vacuum(url: string, command: VolumeCommand) {
    if (this.vacuumFailure !== undefined) throw this.vacuumFailure
    yield { phase: 'copying' as const, copiedBytes: 1, totalBytes: 2 }
    this.vacuumed.push({ ...command, url })
    yield { phase: 'done' as const, copiedBytes: 2, totalBytes: 2 }
  }
}
