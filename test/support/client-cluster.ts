import { crc32c } from '../../src/base/crc32c.ts'
import { type FileId, formatFileId } from '../../src/base/file-id.ts'
import { type NeedleId, needleIdFromNumber, type VolumeId, volumeId } from '../../src/base/ids.ts'
import { copyCount } from '../../src/base/replica-placement.ts'
import { type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import { GIB } from '../../src/base/units.ts'
import type {
  AssignRequest,
  Lease,
  ListNamesRequest,
  LocationsUpdate,
  MasterApi,
  NamedFile,
  NodeLocation,
  Topology,
  TopologyNode,
  VolumeLocations,
  VolumeReport,
} from '../../src/net/master-api.ts'
import type {
  BatchDeleteAnswer,
  ByteRange,
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  NeedleMetadata,
  PutAnswer,
  PutRequest,
  ReadRequest,
  VolumeApi,
} from '../../src/net/volume-api.ts'
import { cancelledError, onAbort } from '../../src/runtime/abort.ts'
import { FakeShards } from './fake-shards.ts'
import { EMPTY_REPORT } from './fake-volume-server.ts'
import type { SimClock } from './sim-clock.ts'

export interface FakeNeedle {
  readonly cookie: number
  readonly data: Buffer
  readonly metadata: NeedleMetadata
}

export interface FakeVolume {
  readonly id: VolumeId
  /** Urls of the servers that hold it. */
  readonly urls: Set<string>
  isWritable: boolean
}

/** Before the work, or after it: then the answer is lost. */
export type Fault = { readonly when: 'before' | 'after'; readonly code: ErrorCode }

export type Operation = 'put' | 'delete' | 'read' | 'batchDelete' | 'assign' | 'lookup' | 'linkName'

const ONE_COPY = { otherDataCenters: 0, otherRacks: 0, otherServers: 0 }

const UP_NODE = {
  state: 'up',
  lastHeardMs: 0,
  disks: [
    {
      directoryId: '',
      path: '/a',
      totalBytes: GIB,
      freeBytes: GIB,
      reserveBytes: 0,
      quarantinedCount: 0,
      clusterId: '',
    },
  ],
  volumes: [],
  inFlightCount: 0,
  downSinceMs: 0,
  isFlapping: false,
  isDraining: false,
} as const

const PIECE_BYTES = 1000
/** Large needles come in not many more than so many pieces, as a power of two. */
const PIECES_SHIFT = 5
const VALID_MS = 10_000

/** A cluster in memory: each server a map of needles, the master a few tables. Faults on demand. */
export class FakeCluster {
  readonly servers = new Map<string, FakeVolumeServer>()
  readonly volumes = new Map<VolumeId, FakeVolume>()
  readonly master = new FakeMaster(this)
  /** Asked for each operation, with the server's url; undefined lets it pass. */
  fault: (operation: Operation, url: string, request: unknown) => Fault | undefined = () =>
    undefined
  /** Chooses the volume of a lease among those that may be. */
  choose: (volumes: readonly FakeVolume[]) => FakeVolume = ([first]) => first as FakeVolume
  readonly counts = new Map<Operation, number>()
  /** Servers that answer nothing, and that the master knows to be down. */
  readonly down = new Set<string>()
  /** Data centre and rack of servers; both empty unless set. */
  readonly places = new Map<string, readonly [string, string]>()
  /** Leases that no volume is right for get a new one, as a master would make. */
  isGrowing = false
  /** Manifests of repaired files are put again under their old ids. */
  isOverwriting = false

  /** Servers `a`, `b`, …, and volumes 1, 2, … with copies on `copies` servers each. */
  constructor(shape: {
    readonly servers: number
    readonly volumes: number
    readonly copies?: number
  }) {
    for (let index = 0; index < shape.servers; index++) this.addServer()
    const urls = [...this.servers.keys()]
    for (let index = 0; index < shape.volumes; index++) {
      const held = urls.map((_, at) => urls[(index + at) % urls.length] as string)
      const id = volumeId(index + 1)
      const copies = new Set(held.slice(0, shape.copies ?? 1))
      this.volumes.set(id, { id, urls: copies, isWritable: true })
    }
  }

  addServer(): string {
    const url = `${String.fromCharCode(97 + this.servers.size)}:8080`
    this.servers.set(url, new FakeVolumeServer(this, url))
    return url
  }

  readonly connect = (location: NodeLocation): VolumeApi => {
    const server = this.servers.get(location.url)
    if (server === undefined) throw new StoreError('UNAVAILABLE', `no server ${location.url}`)
    return server
  }

  locations(id: VolumeId): VolumeLocations {
    const urls = [...(this.volumes.get(id)?.urls ?? [])]
    const locations = urls.filter((url) => !this.down.has(url)).map((url) => this.locationOf(url))
    return { volumeId: id, collection: '', writePolicy: 'all', locations }
  }

  locationOf(url: string): NodeLocation {
    const [dataCenter, rack] = this.places.get(url) ?? ['', '']
    return { ...locationOf(url), dataCenter, rack }
  }

  /** A volume with copies on `node` and as many servers after it as `copyCount` wants. */
  grow(node: string, copyCount: number): FakeVolume {
    const urls = [...this.servers.keys()].filter((url) => !this.down.has(url))
    const first = Math.max(0, urls.indexOf(node))
    const held = urls.map((_, at) => urls[(first + at) % urls.length] as string)
    const id = volumeId(this.volumes.size + 1)
    const volume = { id, urls: new Set(held.slice(0, copyCount)), isWritable: true }
    this.volumes.set(id, volume)
    const volumes = [this.locations(id)]
    this.master.tell({ isSnapshot: false, volumes, removedVolumeIds: [] })
    return volume
  }

  /** The servers are away, and the master says so; an empty list: all are back. */
  setDown(urls: readonly string[]): void {
    this.down.clear()
    for (const url of urls) this.down.add(url)
    const volumes = [...this.volumes.keys()].map((id) => this.locations(id))
    this.master.tell({ isSnapshot: false, volumes, removedVolumeIds: [] })
  }

  /** Moves the needles too; the old server forgets the volume. */
  move(id: VolumeId, from: string, to: string): void {
    const volume = this.volumes.get(id)
    const needles = this.servers.get(from)?.needles
    for (const [key, needle] of needles ?? []) {
      if (!key.startsWith(`${id},`)) continue
      this.servers.get(to)?.needles.set(key, needle)
      needles?.delete(key)
    }
    volume?.urls.delete(from)
    volume?.urls.add(to)
    this.master.tell({ isSnapshot: false, volumes: [this.locations(id)], removedVolumeIds: [] })
  }

  /** Every needle on any server, once. */
  liveNeedles(): Map<string, FakeNeedle> {
    const live = new Map<string, FakeNeedle>()
    for (const server of this.servers.values()) {
      for (const [key, needle] of server.needles) live.set(key, needle)
    }
    return live
  }

  count(operation: Operation): number {
    return this.counts.get(operation) ?? 0
  }

  async run<Result>(
    operation: Operation,
    url: string,
    request: unknown,
    signal: AbortSignal,
    work: () => Result,
  ): Promise<Result> {
    this.counts.set(operation, this.count(operation) + 1)
    if (signal.aborted) throw cancelledError(signal, 'before the fake worked')
    const fault = this.fault(operation, url, request)
    await new Promise(setImmediate)
    if (this.down.has(url)) throw new StoreError('UNAVAILABLE', `${url} is down`)
    if (fault?.when === 'before') throw new StoreError(fault.code, `${operation} was refused`)
    const result = work()
    if (fault !== undefined) throw new StoreError(fault.code, `the answer to ${operation} was lost`)
    return result
  }
}

export class FakeVolumeServer implements VolumeApi {
  readonly #cluster: FakeCluster
  readonly url: string
  readonly shards = new FakeShards()
  /** By `volume,needle`. */
  readonly needles = new Map<string, FakeNeedle>()

  constructor(cluster: FakeCluster, url: string) {
    this.#cluster = cluster
    this.url = url
  }

  put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    return this.#cluster.run('put', this.url, request, signal, () => {
      const { data, fileId, metadata } = request
      const volume = this.#volumeOf(fileId)
      if (!volume.isWritable) throw new StoreError('VOLUME_FULL', `volume ${volume.id}`)
      const copy = { cookie: fileId.cookie, data: Buffer.from(data), metadata }
      for (const url of volume.urls) this.#cluster.servers.get(url)?.keep(fileId, copy)
      const checksum = crc32c(copy.data)
      return { checksum, dataBytes: data.length, isUnchanged: false, isDurable: true }
    })
  }

  keep(fileId: FileId, needle: FakeNeedle): void {
    const key = keyOf(fileId)
    const old = this.needles.get(key)
    const isSame = old === undefined || old.data.equals(needle.data)
    const isManifest = needle.metadata.isChunkManifest === true
    if (!isSame && !(this.#cluster.isOverwriting && isManifest)) {
      throw new Error(`${formatFileId(fileId)} was used twice`)
    }
    this.needles.set(key, needle)
  }

  delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer> {
    return this.#cluster.run('delete', this.url, request, signal, () => this.#remove(request))
  }

  batchDelete(
    requests: readonly DeleteRequest[],
    signal: AbortSignal,
  ): Promise<readonly BatchDeleteAnswer[]> {
    return this.#cluster.run('batchDelete', this.url, requests, signal, () =>
      requests.map((request) => {
        try {
          const { wasLive } = this.#remove(request)
          return { fileId: request.fileId, wasLive, error: undefined }
        } catch (error) {
          if (!(error instanceof StoreError)) throw error
          const { code, message } = error
          return { fileId: request.fileId, wasLive: false, error: { code, message } }
        }
      }),
    )
  }

  read(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    return this.#cluster.run('read', this.url, request, signal, () => {
      const { fileId, range } = request
      this.#volumeOf(fileId)
      const needle = this.needles.get(keyOf(fileId))
      if (needle === undefined) throw new StoreError('NEEDLE_NOT_FOUND', formatFileId(fileId))
      if (needle.cookie !== fileId.cookie) throw new StoreError('COOKIE_MISMATCH', 'cookie')
      return contentOf(needle, range)
    })
  }

  #remove(request: DeleteRequest): DeleteAnswer {
    const volume = this.#volumeOf(request.fileId)
    const key = keyOf(request.fileId)
    const needle = this.needles.get(key)
    for (const url of volume.urls) this.#cluster.servers.get(url)?.needles.delete(key)
    return { wasLive: needle !== undefined, freedBytes: needle?.data.length ?? 0 }
  }

  #volumeOf(fileId: FileId): FakeVolume {
    const volume = this.#cluster.volumes.get(fileId.volumeId)
    if (volume?.urls.has(this.url)) return volume
    throw new StoreError('VOLUME_NOT_FOUND', `no volume ${fileId.volumeId} at ${this.url}`)
  }

  async volumeStatus(id: VolumeId): Promise<VolumeReport> {
    const urls = this.#cluster.volumes.get(id)?.urls
    if (urls?.has(this.url) !== true) throw new StoreError('VOLUME_NOT_FOUND', `no volume ${id}`)
    const replication = { otherDataCenters: 0, otherRacks: 0, otherServers: urls.size - 1 }
    return { ...EMPTY_REPORT, volumeId: id, replication }
  }

  putStream = notFaked
  allocateVolume = notFaked
  sealVolume = notFaked
  deleteVolume = notFaked
  serverStatus = notFaked
  copyVolume = notFaked
  readVolumeFiles = notFaked
  tailVolume = notFaked
  vacuumCheck = notFaked
  vacuumVolume = notFaked
  freezeVolume = notFaked
  digestVolume = notFaked
  catchUpVolume = notFaked
  listNeedles = notFaked
  statNeedles = notFaked
  healNeedles = notFaked
  deleteNeedles = notFaked
  scrubVolume = notFaked
  setVolumeReplication = notFaked
}

export class FakeMaster implements MasterApi {
  readonly #cluster: FakeCluster
  #nextNeedleId = 1
  readonly requests: AssignRequest[] = []
  readonly names = new Map<string, NamedFile>()
  readonly #watchers = new Set<(update: LocationsUpdate | undefined) => void>()
  validMs = VALID_MS
  /** New watchers are refused. */
  isWatchDown = false

  constructor(cluster: FakeCluster) {
    this.#cluster = cluster
  }

  get watcherCount(): number {
    return this.#watchers.size
  }

  assign(request: AssignRequest, signal: AbortSignal): Promise<Lease> {
    this.requests.push(request)
    return this.#cluster.run('assign', '', request, signal, () => {
      const volume = this.#choose(request)
      const firstNeedleId: NeedleId = needleIdFromNumber(this.#nextNeedleId)
      this.#nextNeedleId += request.count
      return {
        volumeId: volume.id,
        firstNeedleId,
        count: request.count,
        locations: this.#cluster.locations(volume.id).locations,
        writeToken: '',
        validMs: this.validMs,
      }
    })
  }

  #choose(request: AssignRequest): FakeVolume {
    const { excludedVolumeIds, node, replication } = request
    const cluster = this.#cluster
    const writable = [...cluster.volumes.values()].filter(
      (volume) => volume.isWritable && !excludedVolumeIds.includes(volume.id),
    )
    if (!cluster.isGrowing) {
      if (writable.length === 0) throw new StoreError('NO_WRITABLE_VOLUME', 'none left')
      return cluster.choose(writable)
    }
    const count = copyCount(replication ?? ONE_COPY)
    const right = writable.filter(
      ({ urls }) =>
        urls.size === count &&
        (node === '' || urls.has(node)) &&
        [...urls].every((url) => !cluster.down.has(url)),
    )
    if (right.length > 0) return cluster.choose(right)
    if (cluster.down.has(node)) throw new StoreError('NO_WRITABLE_VOLUME', `${node} is down`)
    return cluster.grow(node, count)
  }

  async topology(): Promise<Topology> {
    const cluster = this.#cluster
    const nodes = [...cluster.servers.keys()].map((url): TopologyNode => {
      const state = cluster.down.has(url) ? 'down' : 'up'
      return { ...UP_NODE, location: cluster.locationOf(url), state }
    })
    return { clusterId: '', nodes, layouts: [], maxVolumeId: 0, volumeSizeMaxBytes: 0 }
  }

  lookup(ids: readonly VolumeId[], signal: AbortSignal): Promise<readonly VolumeLocations[]> {
    return this.#cluster.run('lookup', '', ids, signal, () =>
      ids.filter((id) => this.#cluster.volumes.has(id)).map((id) => this.#cluster.locations(id)),
    )
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LocationsUpdate> {
    if (this.isWatchDown) throw new StoreError('UNAVAILABLE', 'no watching now')
    const updates: (LocationsUpdate | undefined)[] = [this.#snapshot()]
    let wake = () => {}
    const watcher = (update: LocationsUpdate | undefined) => {
      updates.push(update)
      wake()
    }
    this.#watchers.add(watcher)
    using _abort = onAbort(signal, () => watcher(undefined))
    try {
      for (;;) {
        if (updates.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        const update = updates.shift()
        if (signal.aborted) throw cancelledError(signal, 'while watching')
        if (update === undefined) throw new StoreError('UNAVAILABLE', 'the stream broke')
        yield update
      }
    } finally {
      this.#watchers.delete(watcher)
    }
  }

  tell(update: LocationsUpdate): void {
    for (const watcher of this.#watchers) watcher(update)
  }

  /** All streams end with an error. */
  breakWatches(): void {
    for (const watcher of this.#watchers) watcher(undefined)
  }

  linkName(file: Omit<NamedFile, 'modifiedAtMs'>, signal: AbortSignal): Promise<NamedFile> {
    return this.#cluster.run('linkName', '', file, signal, () => {
      if (file.name === '') throw new StoreError('NAME_INVALID', 'empty')
      const named = { ...file, modifiedAtMs: 1 }
      this.names.set(file.name, named)
      return named
    })
  }

  async resolveName(name: string): Promise<NamedFile> {
    const found = this.names.get(name)
    if (found === undefined) throw new StoreError('NAME_NOT_FOUND', name)
    return found
  }

  async unlinkName(name: string): Promise<NamedFile> {
    const found = await this.resolveName(name)
    this.names.delete(name)
    return found
  }

  async listNames(request: ListNamesRequest): Promise<readonly NamedFile[]> {
    const { after, limit, prefix } = request
    const names = [...this.names.keys()].sort()
    return names
      .filter((name) => name.startsWith(prefix) && name > after)
      .slice(0, limit)
      .map((name) => this.names.get(name) as NamedFile)
  }

  heartbeat = notFaked
  grow = notFaked
  collections = notFaked
  deleteCollection = notFaked
  configureCollection = notFaked
  recordDirty = notFaked
  statistics = notFaked
  status = notFaked

  #snapshot(): LocationsUpdate {
    const volumes = [...this.#cluster.volumes.keys()].map((id) => this.#cluster.locations(id))
    return { isSnapshot: true, volumes, removedVolumeIds: [] }
  }
}

const STEP_MS = 10
const STEPS_MAX = 20_000

/** Lets time pass in small steps, so that work between two timers keeps up with it. */
export async function letPass(clock: SimClock, ms: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += STEP_MS) await clock.advance(STEP_MS)
}

/** Lets time pass until the work is done. */
export async function finish<Result>(clock: SimClock, work: Promise<Result>): Promise<Result> {
  let isDone = false
  const onEnd = () => {
    isDone = true
  }
  work.then(onEnd, onEnd)
  for (let step = 0; !isDone && step < STEPS_MAX; step++) await clock.advance(STEP_MS)
  if (!isDone) throw new Error('the work does not come to an end')
  return work
}

export function locationOf(url: string): NodeLocation {
  return { url, publicUrl: url, grpcAddress: url, dataCenter: '', rack: '' }
}

function keyOf(fileId: FileId): string {
  return `${fileId.volumeId},${fileId.needleId.hi}:${fileId.needleId.lo}`
}

function contentOf(needle: FakeNeedle, range: ByteRange | undefined): NeedleContent {
  const { data, metadata } = needle
  const { end, start } = range ?? { start: 0, end: data.length }
  if (start >= end ? range !== undefined : end > data.length) {
    throw new StoreError('RANGE_INVALID', `${start} to ${end} of ${data.length}`)
  }
  return {
    metadata,
    checksum: crc32c(data),
    dataBytes: data.length,
    data: pieces(data.subarray(start, end)),
    [Symbol.asyncDispose]: async () => undefined,
  }
}

async function* pieces(data: Buffer): AsyncGenerator<Buffer> {
  const pieceBytes = Math.max(PIECE_BYTES, data.length >> PIECES_SHIFT)
  for (let at = 0; at < data.length; at += pieceBytes) {
    yield Buffer.from(data.subarray(at, at + pieceBytes))
  }
}

function notFaked(): never {
  throw new Error('the fake cluster does not do this')
}
