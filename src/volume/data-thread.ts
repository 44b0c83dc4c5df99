import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { ClusterAuth } from '../net/cluster-auth.ts'
import { deriveTokenKeys, FileTokens } from '../net/file-token.ts'
import { HttpServer } from '../net/http-server.ts'
import type { ReadShardSlicesRequest } from '../net/shard-api.ts'
import type { DeleteAnswer } from '../net/volume-api.ts'
import { systemClock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { Metrics } from '../runtime/metrics.ts'
import { NodeDisk } from '../runtime/node-disk.ts'
import { cryptoRandom } from '../runtime/random.ts'
import type { VolumeHttpConfig } from './http-context.ts'
import { volumeHttp } from './http-handler.ts'
import { isFromCluster, type SignedRequest } from './http-replica.ts'
import type { PlaceOfShard } from './shard-sources.ts'
import { ThreadAccess } from './thread-access.ts'
import { type CallHandler, ThreadPort } from './thread-port.ts'

/** What the owner's thread gives a data thread that it starts. */
export interface DataThreadSetup {
  /** Of the port that all data threads accept from; this thread's own, to be closed by it. */
  readonly fd: number
  readonly http: VolumeHttpConfig
  readonly secret: Uint8Array | undefined
  readonly hasTokens: boolean
  /** One word, changed whenever volumes come or go, before anybody is told of it. */
  readonly volumesWord: SharedArrayBuffer
}

/** What the owner's thread says whenever it changes. */
export interface DataThreadState {
  readonly volumeIds: readonly VolumeId[]
  /** Those of which there are shards. */
  readonly codedIds: readonly VolumeId[]
  /** What `volumesWord` said when these were all volumes. */
  readonly volumesStamp: number
  readonly isReady: boolean
}

/**
 * A thread that accepts HTTP on the port it shares with its siblings. It reads needles by itself
 * and leaves everything else to the thread that owns the volumes.
 */
async function runDataThread(setup: DataThreadSetup): Promise<void> {
  assert(parentPort !== null, 'a data thread is started by the thread that owns the volumes')
  const handlers: Record<string, CallHandler> = {}
  const port = new ThreadPort(parentPort, handlers)
  const clock = systemClock
  const access = new ThreadAccess({ disk: new NodeDisk(), clock }, port, setup.volumesWord)
  const metrics = new ThreadMetrics(port)
  const stop = new AbortController()
  let isReady = false
  const logger = postingLogger(port)
  const secret = setup.secret === undefined ? undefined : Buffer.from(setup.secret)
  const auth = secret && new ClusterAuth({ clock, random: cryptoRandom }, secret)
  const tokens =
    secret && setup.hasTokens ? new FileTokens({ clock }, deriveTokenKeys(secret)) : undefined
  const http = volumeHttp(
    {
      access,
      metrics,
      logger,
      clock,
      random: cryptoRandom,
      signal: stop.signal,
      status: async () => (await port.call('status', [])) as object,
      isReady: () => isReady,
      openVolumeData: (volumeId: VolumeId) => access.openData(volumeId),
      openShard: (place: PlaceOfShard) => access.openShard(place),
      readShard: (request: ReadShardSlicesRequest) => access.readShard(request),
      deleteChunk: async (fileId: FileId, signal: AbortSignal) =>
        (await port.call('deleteChunk', [fileId], signal)) as DeleteAnswer,
      ...(auth && { verifyReplica: (req: SignedRequest) => isFromCluster(auth, req) }),
      ...(tokens && { tokens }),
    },
    setup.http,
  )
  const options = { host: '', port: 0, fd: setup.fd }
  const server = await HttpServer.open({ ...http, logger, clock }, options)
  Object.assign(handlers, {
    state: ([state]: unknown[]) => {
      const now = state as DataThreadState
      access.setVolumes(now)
      isReady = now.isReady
      return access.takeReadCounts()
    },
    metrics: () => metrics.snapshot(),
    close: async ([deadlineMs]: unknown[]) => {
      await server.close(Number(deadlineMs))
      stop.abort()
      await access[Symbol.asyncDispose]()
    },
    destroy: async () => {
      stop.abort()
      await server.destroy()
      await access[Symbol.asyncDispose]()
    },
  })
  await port.call('started', [])
}

/** Counts on its own, and shows what all threads have counted. */
class ThreadMetrics extends Metrics {
  readonly #port: ThreadPort

  constructor(port: ThreadPort) {
    super()
    this.#port = port
  }

  override async text(): Promise<string> {
    return String(await this.#port.call('metricsText', []))
  }
}

function postingLogger(port: ThreadPort): Logger {
  const post =
    (level: keyof Logger) =>
    (event: string, fields: Record<string, unknown> = {}): void => {
      const texts = Object.entries(fields).map(([name, value]) => [name, String(value)])
      // Nobody is there to hear it any more when this fails.
      port.call('log', [level, event, Object.fromEntries(texts)]).catch(() => undefined)
    }
  return { debug: post('debug'), info: post('info'), warn: post('warn'), error: post('error') }
}

await runDataThread(workerData as DataThreadSetup)
