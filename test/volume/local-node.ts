import { expect } from 'vitest'
import { cookie, needleIdFromNumber, volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type { ConnectVolume, VolumeApi } from '../../src/net/volume-api.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Metrics } from '../../src/runtime/metrics.ts'
import { checkVolume } from '../../src/storage/check-volume.ts'
import { Store } from '../../src/storage/store.ts'
import { DirtyRecords } from '../../src/volume/dirty-records.ts'
import { EpochFile } from '../../src/volume/epoch-file.ts'
import { LocalVolume } from '../../src/volume/local-volume.ts'
import { LocationCache } from '../../src/volume/location-cache.ts'
import { NeedleService } from '../../src/volume/needle-service.ts'
import { ReadCache } from '../../src/volume/read-cache.ts'
import {
  codedCounts,
  type ReplicationCounts,
  replicationCounts,
} from '../../src/volume/volume-metrics.ts'
import { VolumeReports } from '../../src/volume/volume-report.ts'
import { WriteGate } from '../../src/volume/write-gate.ts'
import { HookDisk } from '../support/hook-disk.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { STORE_OPTIONS } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { FakeMaster } from './fake-master.ts'

export const fid = (volume: number, needle: number, secret = 7) => ({
  volumeId: volumeId(volume),
  needleId: needleIdFromNumber(needle),
  cookie: cookie(secret),
})

export const vacuumCommand = (volume: number) => ({
  epoch: 1,
  volumeId: volumeId(volume),
  dropsTombstones: false,
  skipsDamage: false,
  politeness: 0,
})

export const nodeAt = (port: number): NodeLocation => ({
  url: `node:${port}`,
  publicUrl: `node:${port}`,
  grpcAddress: `node:${port + 10_000}`,
  dataCenter: 'dc1',
  rack: 'rack1',
})

/** Servers of one cluster in one process, on simulated disks, and a master that knows them. */
export class LocalCluster {
  readonly clock = new SimClock()
  readonly master = new FakeMaster()
  readonly nodes = new Map<string, VolumeApi>()
  readonly connect: ConnectVolume = ({ url }) => {
    const api = this.nodes.get(url)
    if (api === undefined) throw new StoreError('UNAVAILABLE', `no server ${url}`)
    return api
  }
}

interface NodeOptions {
  /** The first has the epoch. */
  readonly directories?: readonly string[]
  readonly cacheBytes?: number
  /** Of the disk. */
  readonly seed?: number
}

/** A volume server without its listeners. Disposing of it checks every volume it served. */
export class LocalNode implements AsyncDisposable {
  readonly disk: MemDisk
  readonly hooks: HookDisk
  readonly location: NodeLocation
  readonly #cluster: LocalCluster
  readonly #cacheBytes: number
  readonly #directories: readonly string[]
  #open: Opened | undefined
  changedCount = 0

  constructor(cluster: LocalCluster, port: number, options: NodeOptions = {}) {
    this.disk = new MemDisk(new Prng(options.seed ?? port))
    this.hooks = new HookDisk(this.disk)
    this.location = nodeAt(port)
    this.#cluster = cluster
    this.#cacheBytes = options.cacheBytes ?? 0
    this.#directories = options.directories ?? ['/a']
  }

  static async open(
    cluster: LocalCluster,
    port: number,
    options: NodeOptions = {},
  ): Promise<LocalNode> {
    const node = new LocalNode(cluster, port, options)
    await node.open()
    return node
  }

  get opened(): Opened {
    if (this.#open === undefined) throw new Error('the node is not open')
    return this.#open
  }

  get api(): LocalVolume {
    return this.opened.api
  }

  async open(): Promise<void> {
    const { clock, master, connect } = this.#cluster
    const { hooks: disk, location } = this
    const logger = silentLogger
    const random = new Prng(7)
    await using opening = new DisposeStack()
    const parts = { disk, clock, logger, random }
    const store = opening.use(await Store.open(parts, this.#directories, STORE_OPTIONS, SIGNAL))
    const epochs = await EpochFile.open(disk, '/a/epoch')
    const locations = opening.use(new LocationCache({ master, clock, logger }))
    const bytesMax = this.#cacheBytes
    const cache = bytesMax === 0 ? undefined : new ReadCache({ clock }, { bytesMax })
    const ownUrl = () => location.url
    const gate = opening.use(new WriteGate({ clock }, (volumeId) => locations.expire(volumeId)))
    const counts = replicationCounts(new Metrics())
    const dirty = opening.use(
      new DirtyRecords({ master, clock, logger, ownUrl, counts: counts.dirty }),
    )
    const cluster = { locations, connect, ownUrl, dirty, counts }
    const needles = opening.use(
      new NeedleService(
        {
          ...parts,
          store,
          gate,
          cluster,
          tokens: undefined,
          cache,
          codedCounts: codedCounts(new Metrics()),
        },
        { isDurable: true, needsWriteToken: false },
      ),
    )
    const reports = opening.use(
      new VolumeReports({ store, clock, logger, onDigest: () => undefined }),
    )
    const api = opening.use(
      new LocalVolume({
        store,
        needles,
        reports,
        epochs,
        gate,
        clock,
        logger,
        connect,
        readTokens: undefined,
        location: () => location,
        onChanged: () => this.changedCount++,
        version: 'test',
      }),
    )
    this.#cluster.nodes.set(location.url, api)
    const owned = opening.move()
    const more = { counts, dirty, owned, locations }
    this.#open = { store, needles, gate, reports, epochs, api, cache, ...more }
  }

  async close(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    await open?.owned[Symbol.asyncDispose]()
  }

  /** The power goes: what was open is forgotten, and the disk keeps what was synced. */
  async cutPower(): Promise<void> {
    this.#open = undefined
    this.disk.restart()
    await this.open()
  }

  async allocate(id: number, replication = '000', epoch = 1): Promise<void> {
    const command = {
      epoch,
      volumeId: volumeId(id),
      collection: '',
      replication: parseReplicaPlacement(replication),
      ttl: TTL_NONE,
    }
    await this.api.allocateVolume(command, SIGNAL)
  }

  put(volume: number, needle: number, text: string) {
    const data = Buffer.from(text)
    const request = { fileId: fid(volume, needle), data, metadata: {}, writeToken: '' }
    return this.api.put({ ...request, isReplica: false }, SIGNAL)
  }

  delete(volume: number, needle: number) {
    const request = { fileId: fid(volume, needle), writeToken: '', isReplica: false }
    return this.api.delete(request, SIGNAL)
  }

  async read(volume: number, needle: number): Promise<string> {
    return await readText(this.api, volume, needle)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hooks.before = undefined
    const served = [...(this.#open?.store.volumes() ?? [])].map(({ volume }) => volume.paths)
    await this.close()
    expect(this.disk.openFiles, 'files or locks left open').toBe(0)
    for (const paths of served) {
      const { findings } = await checkVolume(this.disk, paths, {}, SIGNAL)
      expect(findings, paths.base).toEqual([])
    }
  }
}

interface Opened {
  readonly store: Store
  readonly needles: NeedleService
  readonly gate: WriteGate
  readonly reports: VolumeReports
  readonly epochs: EpochFile
  readonly api: LocalVolume
  readonly cache: ReadCache | undefined
  readonly counts: ReplicationCounts
  readonly dirty: DirtyRecords
  readonly locations: LocationCache
  readonly owned: DisposeStack
}

/** The next answer is as of now, and comes when the function returned is called. */
export function holdLookup(master: FakeMaster): () => void {
  const { lookup } = master
  let release: () => void = () => undefined
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  master.lookup = async (volumeIds) => {
    master.lookup = lookup
    const found = await lookup.call(master, volumeIds)
    await held
    return found
  }
  return release
}

export async function readText(api: VolumeApi, volume: number, needle: number): Promise<string> {
  const request = {
    fileId: fid(volume, needle),
    range: undefined,
    readDeleted: false,
    readToken: '',
  }
  await using content = await api.read(request, SIGNAL)
  const pieces: Uint8Array[] = []
  for await (const piece of content.data) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

export async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of items) all.push(item)
  return all
}

/** A server some of whose methods are others. */
export function changedPeer(api: VolumeApi, changes: Partial<VolumeApi>): VolumeApi {
  return new Proxy(api, {
    get(target, name) {
      const member: unknown = Reflect.get(name in changes ? changes : target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}
