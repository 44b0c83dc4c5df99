import { Readable } from 'node:stream'
import { type VolumeId, volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { GIB, MIB } from '../../src/base/units.ts'
import type {
  DiskReport,
  Heartbeat,
  HeartbeatAnswer,
  MasterApi,
  NodeLocation,
  VolumeReport,
} from '../../src/net/master-api.ts'
import type { ShardApi } from '../../src/net/shard-api.ts'
import type { ShardReport } from '../../src/net/stripe-facts.ts'
import type {
  AllocateVolumeCommand,
  ConnectVolume,
  DeleteRequest,
  NeedleContent,
  VolumeApi,
  VolumeCommand,
} from '../../src/net/volume-api.ts'

export interface FakeServerOptions {
  readonly dataCenter?: string
  readonly rack?: string
  /** Names the directory in which all volumes lie; one of its own if left out. */
  readonly directoryId?: string
  readonly clusterId?: string
  readonly totalBytes?: number
  readonly reserveBytes?: number
}

/** How a fake server answers the next commands. */
export type FakeFault = 'none' | 'fails' | 'hangs' | 'does-and-fails' | 'does-and-hangs'

/**
 * A volume server without disks or needles: it keeps a table of volumes, answers the commands a
 * master gives, and sends heartbeats when told to.
 */
export class FakeVolumeServer {
  readonly location: NodeLocation
  readonly volumes = new Map<VolumeId, VolumeReport>()
  /** By volume, run and directory; one without shards was removed, and is to be told of. */
  readonly shards = new Map<string, ShardReport>()
  readonly deleted: string[] = []
  readonly #options: FakeServerOptions
  readonly #told = new Set<VolumeId>()
  readonly #changed = new Set<VolumeId>()
  readonly #changedShards = new Set<string>()
  /** May change: another disk was put in. */
  directoryId: string
  fault: FakeFault = 'none'
  isLeaving = false
  highestNeedleId = { hi: 0, lo: 0 }
  seenEpoch = 0
  usedBytes = 0
  allocateCount = 0
  #stream: BeatStream | undefined

  constructor(url: string, options: FakeServerOptions = {}) {
    this.#options = options
    this.directoryId = options.directoryId ?? `disk-${url}`
    this.location = {
      url,
      publicUrl: `public-${url}`,
      grpcAddress: `grpc-${url}`,
      dataCenter: options.dataCenter ?? 'dc1',
      rack: options.rack ?? 'r1',
    }
  }

  get freeBytes(): number {
    return Math.max(0, (this.#options.totalBytes ?? 100 * GIB) - this.usedBytes)
  }

  get roomBytes(): number {
    return this.freeBytes - (this.#options.reserveBytes ?? MIB)
  }

  get isConnected(): boolean {
    return this.#stream !== undefined
  }

  /** Opens a session and sends a full heartbeat; `answers` collects what the master says. */
  join(master: Pick<MasterApi, 'heartbeat'>, signal: AbortSignal): BeatStream {
    const stream = new BeatStream()
    this.#stream = stream
    this.#told.clear()
    this.#changed.clear()
    stream.push(this.beat(true))
    stream.running = this.#consume(master.heartbeat(stream, signal), stream)
    return stream
  }

  /** What changed since the last one. */
  sendBeat(): void {
    this.#stream?.push(this.beat(false))
  }

  /** The stream ends; what the server holds stays. */
  leave(): void {
    this.#stream?.end()
    this.#stream = undefined
  }

  beat(isFull: boolean): Heartbeat {
    const wanted = isFull ? [...this.volumes.keys()] : [...this.#changed]
    const volumes = wanted.flatMap((id) => this.volumes.get(id) ?? [])
    const removed = [...this.#told].filter((id) => !this.volumes.has(id))
    for (const id of removed) this.#told.delete(id)
    for (const { volumeId: id } of volumes) this.#told.add(id)
    this.#changed.clear()
    const shards = [...(isFull ? this.shards.keys() : this.#changedShards)]
      .flatMap((key) => this.shards.get(key) ?? [])
      .filter((report) => !isFull || report.shards.length > 0)
    this.#changedShards.clear()
    return {
      node: this.location,
      isFull,
      volumes,
      removedVolumeIds: isFull ? [] : removed,
      ...(shards.length > 0 && { shards }),
      disks: [this.#disk()],
      highestNeedleId: this.highestNeedleId,
      inFlightCount: 0,
      epoch: this.seenEpoch,
      isLeaving: this.isLeaving,
    }
  }

  addVolume(report: Partial<VolumeReport> & { readonly volumeId: VolumeId }): void {
    const directoryId = report.directoryId || this.directoryId
    this.volumes.set(report.volumeId, { ...EMPTY_REPORT, ...report, directoryId })
    this.#changed.add(report.volumeId)
  }

  /** What one directory has of a run from now on; the server's own if none is named. */
  putShards(
    id: number,
    report: Partial<ShardReport> & { readonly shards: readonly number[] },
  ): void {
    const directoryId = report.directoryId ?? this.directoryId
    const runId = report.runId ?? EMPTY_SHARDS.runId
    const key = `${id} ${runId} ${directoryId}`
    const before = this.shards.get(key) ?? { ...EMPTY_SHARDS, volumeId: volumeId(id) }
    this.shards.set(key, { ...before, ...report, runId, directoryId })
    this.#changedShards.add(key)
  }

  /** As if a needle of so many bytes was put. False: the disk is full. */
  write(id: VolumeId, bytes: number): boolean {
    const report = this.volumes.get(id)
    if (report === undefined || this.roomBytes < bytes) return false
    this.usedBytes += bytes
    const liveBytes = report.liveBytes + bytes
    const liveNeedles = report.liveNeedles + 1
    this.addVolume({ ...report, datBytes: report.datBytes + bytes, liveBytes, liveNeedles })
    return true
  }

  api(): VolumeApi {
    const allocateVolume = (command: AllocateVolumeCommand) =>
      this.#command(command, () => {
        this.allocateCount++
        const { volumeId: id } = command
        if (this.volumes.has(id)) throw new StoreError('VOLUME_EXISTS', `${id} is here`)
        const { collection, replication, ttl } = command
        this.addVolume({ volumeId: id, collection, replication, ttl })
      })
    const deleteVolume = (command: VolumeCommand) =>
      this.#command(command, () => {
        const report = this.volumes.get(command.volumeId)
        if (report === undefined) throw new StoreError('VOLUME_NOT_FOUND', 'not here')
        this.usedBytes -= report.datBytes
        this.volumes.delete(command.volumeId)
        this.deleted.push(`${command.volumeId}`)
      })
    const remove = async ({ fileId }: DeleteRequest) => {
      this.deleted.push(`${fileId.volumeId}:${fileId.needleId.lo}`)
      return { wasLive: true, freedBytes: 1 }
    }
    const read = async (): Promise<NeedleContent> => ({
      metadata: {},
      checksum: 0,
      dataBytes: 1,
      data: Readable.from([Buffer.alloc(1)]),
      [Symbol.asyncDispose]: async () => undefined,
    })
    const deleteShards: ShardApi['deleteShards'] = (command) =>
      this.#command(command, () => {
        const { volumeId: id, runId } = command
        for (const report of [...this.shards.values()]) {
          if (report.volumeId !== id || report.runId !== runId) continue
          const shards = report.shards.filter((shard) => !command.shards.includes(shard))
          this.putShards(id, { ...report, shards })
        }
        this.deleted.push(`${id} run ${runId}: ${command.shards.join(' ')}`)
      })
    const shards = { deleteShards } satisfies Partial<ShardApi> as ShardApi
    const api: Partial<VolumeApi> = { shards, allocateVolume, deleteVolume, delete: remove, read }
    return api as VolumeApi
  }

  async #command(command: VolumeCommand, run: () => void): Promise<void> {
    await Promise.resolve()
    if (this.fault === 'fails') throw new StoreError('UNAVAILABLE', 'not now')
    if (this.fault === 'hangs') return new Promise(() => undefined)
    if (command.epoch < this.seenEpoch) throw new StoreError('EPOCH_STALE', 'an old master')
    this.seenEpoch = command.epoch
    run()
    if (this.fault === 'does-and-hangs') return new Promise(() => undefined)
    if (this.fault === 'does-and-fails') throw new StoreError('TIMEOUT', 'the answer was lost')
  }

  #disk(): DiskReport {
    return {
      directoryId: this.directoryId,
      path: `/${this.location.url}`,
      totalBytes: this.#options.totalBytes ?? 100 * GIB,
      freeBytes: this.freeBytes,
      reserveBytes: this.#options.reserveBytes ?? MIB,
      quarantinedCount: 0,
      clusterId: this.#options.clusterId ?? '',
    }
  }

  async #consume(answers: AsyncIterable<HeartbeatAnswer>, stream: BeatStream): Promise<void> {
    try {
      for await (const answer of answers) stream.answers.push(answer)
    } catch (error) {
      stream.error = error
    }
    stream.isOver = true
    if (this.#stream === stream) this.#stream = undefined
  }
}

export const EMPTY_REPORT: VolumeReport = {
  volumeId: volumeId(1),
  collection: '',
  replication: { otherDataCenters: 0, otherRacks: 0, otherServers: 0 },
  ttl: { count: 0, unit: 'none' },
  state: 'writable',
  reason: '',
  liveNeedles: 0,
  liveBytes: 0,
  garbageBytes: 0,
  datBytes: 8,
  compactionRevision: 0,
  directoryId: '',
  modifiedAtS: 0,
  digest: '',
  requestsPerS: 0,
}

export const EMPTY_SHARDS: ShardReport = {
  volumeId: volumeId(1),
  collection: '',
  replication: { otherDataCenters: 0, otherRacks: 0, otherServers: 0 },
  dataShards: 4,
  parityShards: 2,
  runId: '1700000000000000001',
  directoryId: '',
  shards: [],
  badShards: [],
  shardBytes: 1000,
  datBytes: 4000,
  liveNeedles: 10,
  liveBytes: 3000,
  garbageBytes: 0,
  journalDigest: '0000000000000000',
  modifiedAtS: 1_704_067_200,
  requestsPerS: 0,
}

/** Heartbeats on their way to a master. */
export class BeatStream implements AsyncIterable<Heartbeat> {
  readonly answers: HeartbeatAnswer[] = []
  running: Promise<void> = Promise.resolve()
  error: unknown
  isOver = false
  readonly #queue: Heartbeat[] = []
  #hasEnded = false
  #wake: () => void = () => undefined

  push(beat: Heartbeat): void {
    this.#queue.push(beat)
    this.#wake()
  }

  end(): void {
    this.#hasEnded = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Heartbeat> {
    for (;;) {
      const beat = this.#queue.shift()
      if (beat !== undefined) yield beat
      else if (this.#hasEnded) return
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }
}

export function connectTo(servers: Iterable<FakeVolumeServer>): ConnectVolume {
  return (location) => {
    for (const server of servers) if (server.location.url === location.url) return server.api()
    throw new StoreError('UNAVAILABLE', `no server is at ${location.url}`)
  }
}
