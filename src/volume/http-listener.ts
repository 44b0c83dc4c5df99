import type { VolumeId } from '../base/ids.ts'
import { ClusterAuth } from '../net/cluster-auth.ts'
import type { FileTokens } from '../net/file-token.ts'
import { type HttpAddress, HttpServer } from '../net/http-server.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import type { Store } from '../storage/store.ts'
import type { VolumeServerConfig } from './config.ts'
import { DataThreads } from './data-threads.ts'
import type { VolumeHttpConfig } from './http-context.ts'
import { volumeHttp } from './http-handler.ts'
import { isFromCluster, type SignedRequest } from './http-replica.ts'
import type { NeedleService } from './needle-service.ts'
import { statusMembers } from './server-status.ts'
import { openShardAt, pathOfShard, readShardHere } from './shard-sources.ts'
import type { VolumeReports } from './volume-report.ts'

export interface HttpListenerParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly random: Random
  readonly disk: Disk
  readonly metrics: Metrics
  readonly store: Store
  readonly needles: NeedleService
  readonly reports: VolumeReports
  readonly tokens: FileTokens | undefined
  readonly version: string
  readonly isReady: () => boolean
  /** Aborts when the server is cut off. */
  readonly stopping: AbortSignal
}

/** HTTP of a volume server: in this thread, or in data threads. */
export interface HttpListener extends AsyncDisposable {
  readonly address: HttpAddress
  /** Volumes have come or gone. */
  refresh(): void
  /** Reads of a volume by other threads than the one that owns it. */
  readsOf(volumeId: VolumeId): number
  close(deadlineMs: number): Promise<void>
  destroy(): Promise<void>
}

/** Besides whenever volumes come and go: whether the server is ready changes by itself. */
const REFRESH_MS = 500

/** @throws {StoreError} LISTEN_FAILED. */
export function openHttp(
  parts: HttpListenerParts,
  config: VolumeServerConfig,
): Promise<HttpListener> {
  return config.threads === 0 ? listenHere(parts, config) : listenInThreads(parts, config)
}

async function listenHere(
  parts: HttpListenerParts,
  config: VolumeServerConfig,
): Promise<HttpListener> {
  const { clock, logger, random, store, needles, reports, tokens, version, ...rest } = parts
  const auth = config.secret && new ClusterAuth({ clock, random }, config.secret)
  const http = volumeHttp(
    {
      metrics: rest.metrics,
      isReady: rest.isReady,
      logger,
      clock,
      random,
      access: needles,
      signal: rest.stopping,
      status: () => statusMembers(reports, version),
      openVolumeData: (volumeId) => {
        return rest.disk.open(store.get(volumeId).volume.paths.dat, 'read')
      },
      openShard: (place) => openShardAt(rest.disk, pathOfShard(store, place)),
      readShard: (request) => readShardHere(store, request),
      ...(tokens && { tokens }),
      ...(auth && { verifyReplica: (req: SignedRequest) => isFromCluster(auth, req) }),
      deleteChunk: (fileId, signal) => needles.deleteAnywhere(fileId, signal),
    },
    httpConfig(config),
  )
  const { bindHost: host, port } = config
  const server = await HttpServer.open({ ...http, logger, clock }, { host, port })
  return Object.assign(server, { refresh: () => undefined, readsOf: () => 0 })
}

async function listenInThreads(
  parts: HttpListenerParts,
  config: VolumeServerConfig,
): Promise<HttpListener> {
  const { clock, logger, store, needles, reports, metrics, version } = parts
  const { threads: count, bindHost: host, port, secret } = config
  const threads = await DataThreads.open(
    {
      access: needles,
      logger,
      share: (volumeId) => store.get(volumeId).volume.share(),
      pathOfShard: (place) => pathOfShard(store, place),
      status: () => statusMembers(reports, version),
      deleteChunk: (fileId, signal) => needles.deleteAnywhere(fileId, signal),
      metrics: () => metrics.snapshot(),
    },
    { count, host, port, http: httpConfig(config), secret, hasTokens: parts.tokens !== undefined },
  )
  const refresh = (): void => {
    const volumeIds = Array.from(store.volumes(), ({ volumeId }) => volumeId)
    const codedIds = new Set(Array.from(store.allShardSets(), ({ set }) => set.run.volumeId))
    threads.setState({ volumeIds, codedIds: [...codedIds], isReady: parts.isReady() })
  }
  const timer = repeat(clock, REFRESH_MS, refresh)
  refresh()
  const stop = (ending: Promise<void>): Promise<void> => {
    timer[Symbol.dispose]()
    return ending
  }
  return {
    address: threads.address,
    refresh,
    readsOf: (volumeId) => threads.readsOf(volumeId),
    close: (deadlineMs) => stop(threads.close(deadlineMs)),
    destroy: () => stop(threads.destroy()),
    [Symbol.asyncDispose]: () => stop(threads.destroy()),
  }
}

/** Runs `run` again and again, until disposed. */
function repeat(clock: Clock, ms: number, run: () => void): Disposable {
  let timer = clock.after(ms, again)
  function again(): void {
    run()
    timer = clock.after(ms, again)
  }
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() }
}

function httpConfig(config: VolumeServerConfig): VolumeHttpConfig {
  const { uploadLimitBytes, downloadLimitBytes, fileSizeLimitBytes, readMode } = config
  const tokens = { needsReadToken: config.readTokens, needsWriteToken: config.writeTokens }
  return { uploadLimitBytes, downloadLimitBytes, fileSizeLimitBytes, readMode, ...tokens }
}
