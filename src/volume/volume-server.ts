import { join } from 'node:path'
import { deriveTokenKeys, FileTokens } from '../net/file-token.ts'
import { GrpcServer } from '../net/grpc-server.ts'
import type { MasterApi, NodeLocation } from '../net/master-api.ts'
import { shardsService } from '../net/serve-shards.ts'
import { volumeService } from '../net/serve-volume.ts'
import type { ConnectVolume, VolumeApi } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import { Store } from '../storage/store.ts'
import { type ClusterLink, openClusterLink } from './cluster-link.ts'
import type { VolumeServerConfig } from './config.ts'
import { DirtyRecords } from './dirty-records.ts'
import { EpochFile } from './epoch-file.ts'
import { HeartbeatLink } from './heartbeat.ts'
import { type HttpListener, openHttp } from './http-listener.ts'
import { LocalVolume } from './local-volume.ts'
import { LocationCache } from './location-cache.ts'
import { NeedleService } from './needle-service.ts'
import { ReadCache } from './read-cache.ts'
import { codedCounts, registerVolumeMetrics, replicationCounts } from './volume-metrics.ts'
import { VolumeReports } from './volume-report.ts'
import { WriteGate } from './write-gate.ts'

export interface VolumeServerParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly metrics?: Metrics | undefined
  /** A master in this process, instead of those the configuration names. */
  readonly master?: MasterApi | undefined
  /** How to reach other volume servers, when some of them are in this process. */
  readonly connect?: ConnectVolume | undefined
  readonly version?: string | undefined
}

const EPOCH_FILE = 'epoch'
const LEAVE_MS_MAX = 1_000

/** What lives behind the listeners. */
interface Inside {
  readonly store: Store
  readonly needles: NeedleService
  readonly api: LocalVolume
  readonly reports: VolumeReports
  readonly epochs: EpochFile
  readonly tokens: FileTokens | undefined
  readonly metrics: Metrics
}

/** What is found out, and changes, once the parts have been put together. */
interface Present {
  /** First as configured, then as it listens. */
  location: NodeLocation
  isClosing: boolean
  /** One for each master. Undefined until they have been begun. */
  links: readonly HeartbeatLink[] | undefined
  http: HttpListener | undefined
}

/**
 * A volume server: its store, HTTP for clients, gRPC for machines, and the heartbeats that make its
 * volumes known.
 */
export class VolumeServer implements AsyncDisposable {
  readonly api: VolumeApi
  readonly metrics: Metrics
  /** As other servers and clients reach it, with the ports it really listens on. */
  readonly location: NodeLocation
  readonly #present: Present
  readonly #listeners: Listeners
  readonly #config: VolumeServerConfig
  readonly #owned: DisposeStack
  readonly #stop: AbortController
  #closing: Promise<void> | undefined

  private constructor(
    opened: { readonly inside: Inside; readonly listeners: Listeners; readonly present: Present },
    config: VolumeServerConfig,
    owned: DisposeStack,
    stop: AbortController,
  ) {
    this.api = opened.inside.api
    this.metrics = opened.inside.metrics
    this.location = opened.present.location
    this.#present = opened.present
    this.#listeners = opened.listeners
    this.#config = config
    this.#owned = owned
    this.#stop = stop
  }

  /**
   * @throws {StoreError} as `Store.open`; LISTEN_FAILED; METADATA_CORRUPT; CONFIG_INVALID: masters
   * elsewhere without a secret.
   */
  static async open(
    parts: VolumeServerParts,
    config: VolumeServerConfig,
    signal: AbortSignal,
  ): Promise<VolumeServer> {
    await using opening = new DisposeStack()
    const stop = new AbortController()
    opening.defer(() => stop.abort())
    const location = locationOf(config, config)
    const present: Present = { location, isClosing: false, links: undefined, http: undefined }
    const cluster = opening.use(await openClusterLink(parts, config))
    const around = { present, cluster, stopping: stop.signal }
    const inside = await openInside(parts, config, around, opening, signal)
    const listeners = await listen(parts, config, inside, around, opening)
    present.location = locationOf(config, {
      port: listeners.http.address.port,
      grpcPort: listeners.grpc.address.port,
    })
    present.links = cluster.masters.map(({ name, api }) => {
      const link = new HeartbeatLink({
        ...parts,
        master: api,
        masterName: name,
        reports: inside.reports,
        epochs: inside.epochs,
        directories: inside.store,
        location: () => present.location,
        inFlightCount: () => inside.needles.inFlightCount,
      })
      return opening.use(link)
    })
    const { url, grpcAddress: grpc } = present.location
    parts.logger.info('volume_server.open', { url, grpc })
    const opened = { inside, listeners, present }
    return new VolumeServer(opened, config, opening.move(), stop)
  }

  /** A leader among its masters knows of it; true also when it has no master. */
  get isReady(): boolean {
    return isReady(this.#present)
  }

  /** Says goodbye, finishes what is under way within the configured time, and closes everything. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Cuts off every client now, then closes everything. What was acknowledged is kept. */
  async destroy(): Promise<void> {
    this.#present.isClosing = true
    this.#stop.abort()
    this.#listeners.grpc.destroy()
    await this.#listeners.http.destroy()
    this.#closing ??= this.#owned[Symbol.asyncDispose]()
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const { drainMs } = this.#config
    const { http, grpc } = this.#listeners
    const { links = [] } = this.#present
    this.#present.isClosing = true
    const leaveMs = Math.min(drainMs, LEAVE_MS_MAX)
    await Promise.all(links.map((link) => link.leave(leaveMs)))
    await Promise.all([http.close(drainMs), grpc.close(drainMs)])
    await this.#owned[Symbol.asyncDispose]()
  }
}

interface Listeners {
  readonly http: HttpListener
  readonly grpc: GrpcServer
}

interface Around {
  readonly present: Present
  readonly cluster: ClusterLink
  readonly stopping: AbortSignal
}

async function openInside(
  parts: VolumeServerParts,
  config: VolumeServerConfig,
  { present, cluster }: Around,
  owned: DisposeStack,
  signal: AbortSignal,
): Promise<Inside> {
  const { clock, random, logger, disk, metrics = new Metrics(), version = '' } = parts
  const store = owned.use(await openStore(parts, config, signal))
  const epochs = await EpochFile.open(disk, join(config.directories[0] ?? '', EPOCH_FILE))
  const tokens =
    config.secret === undefined
      ? undefined
      : new FileTokens({ clock }, deriveTokenKeys(config.secret))
  const cacheOptions = { bytesMax: config.cacheBytes }
  const cache = config.cacheBytes === 0 ? undefined : new ReadCache({ clock }, cacheOptions)
  const tellMasters = (): void => {
    for (const link of present.links ?? []) link.nudge()
  }
  const onChanged = (): void => {
    tellMasters()
    present.http?.refresh()
  }
  const { master, connect } = cluster
  const ownUrl = (): string => present.location.url
  const counts = replicationCounts(metrics)
  const locations = master && owned.use(new LocationCache({ master, clock, logger }))
  const dirty =
    master && owned.use(new DirtyRecords({ master, clock, logger, ownUrl, counts: counts.dirty }))
  // The members may have changed meanwhile, and the news of it may still be on its way.
  const gate = owned.use(new WriteGate({ clock }, (volumeId) => locations?.expire(volumeId)))
  const needles = owned.use(
    new NeedleService(
      {
        store,
        clock,
        random,
        gate,
        cluster: locations && dirty && { locations, connect, ownUrl, dirty, counts },
        tokens,
        cache,
        codedCounts: codedCounts(metrics),
      },
      { isDurable: config.durability.mode === 'fsync', needsWriteToken: config.writeTokens },
    ),
  )
  const reports = owned.use(
    new VolumeReports({
      store,
      clock,
      logger,
      onDigest: tellMasters,
      otherRequestCount: (volumeId) => present.http?.readsOf(volumeId) ?? 0,
    }),
  )
  const api = new LocalVolume({
    store,
    needles,
    reports,
    epochs,
    gate,
    clock,
    logger,
    connect: master && connect,
    readTokens: config.readTokens ? tokens : undefined,
    location: () => present.location,
    onChanged,
    version,
  })
  owned.use(api)
  registerVolumeMetrics(metrics, { reports, needles, cache, gate })
  return { store, needles, api, reports, epochs, tokens, metrics }
}

function openStore(
  parts: VolumeServerParts,
  config: VolumeServerConfig,
  signal: AbortSignal,
): Promise<Store> {
  const { durability, volumeSizeMaxBytes, reserveBytes, ballastBytes } = config
  const space = { reserveBytes, ballastBytes }
  return Store.open(parts, config.directories, { durability, volumeSizeMaxBytes, space }, signal)
}

async function listen(
  parts: VolumeServerParts,
  config: VolumeServerConfig,
  inside: Inside,
  { present, stopping }: Around,
  owned: DisposeStack,
): Promise<Listeners> {
  const { clock, logger } = parts
  const { secret, tls, bindHost: host, grpcPort } = config
  const services = [volumeService(inside.api, { logger }), shardsService(inside.api.shards)]
  const grpc = owned.use(
    await GrpcServer.open({ logger, clock, secret, tls }, { host, port: grpcPort, services }),
  )
  const http = owned.use(
    await openHttp(
      {
        ...parts,
        ...inside,
        version: parts.version ?? '',
        isReady: () => isReady(present),
        stopping,
      },
      config,
    ),
  )
  present.http = http
  return { http, grpc }
}

function isReady({ isClosing, links }: Present): boolean {
  if (isClosing || links === undefined) return false
  return links.length === 0 || links.some((link) => link.isHeardByLeader)
}

function locationOf(
  config: VolumeServerConfig,
  ports: { readonly port: number; readonly grpcPort: number },
): NodeLocation {
  const host = config.host.includes(':') ? `[${config.host}]` : config.host
  const url = `${host}:${ports.port}`
  return {
    url,
    publicUrl: config.publicUrl === '' ? url : config.publicUrl,
    grpcAddress: `${host}:${ports.grpcPort}`,
    dataCenter: config.dataCenter,
    rack: config.rack,
  }
}
