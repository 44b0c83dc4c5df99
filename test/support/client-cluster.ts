import { crc32c } from '../../src/base/crc32c.ts'
import { type FileId, formatFileId } from '../../src/base/file-id.ts'
import { type NeedleId, needleIdFromNumber, type VolumeId, volumeId } from '../../src/base/ids.ts'
import { type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import type {
  AssignRequest,
  Lease,
  ListNamesRequest,
  LocationsUpdate,
  MasterApi,
  NamedFile,
  NodeLocation,
  VolumeLocations,
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

const PIECE_BYTES = 1000
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
    const locations = urls.map(locationOf)
    return { volumeId: id, collection: '', writePolicy: 'all', locations }
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
    if (fault?.when === 'before') throw new StoreError(fault.code, `${operation} was refused`)
    const result = work()
    if (fault !== undefined) throw new StoreError(fault.code, `the answer to ${operation} was lost`)
    return result
  }
}

export class FakeVolumeServer implements VolumeApi {
  readonly #cluster: FakeCluster
  readonly url: string
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
    if (old !== undefined && !old.data.equals(needle.data)) {
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

  putStream = notFaked
  allocateVolume = notFaked
  sealVolume = notFaked
  deleteVolume = notFaked
  volumeStatus = notFaked
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
      const writable = [...this.#cluster.volumes.values()].filter(
        (volume) => volume.isWritable && !request.excludedVolumeIds.includes(volume.id),
      )
      if (writable.length === 0) throw new StoreError('NO_WRITABLE_VOLUME', 'none left')
      const volume = this.#cluster.choose(writable)
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
  topology = notFaked
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
  for (let at = 0; at < data.length; at += PIECE_BYTES) {
    yield Buffer.from(data.subarray(at, at + PIECE_BYTES))
  }
}

function notFaked(): never {
  throw new Error('the fake cluster does not do this')
}
