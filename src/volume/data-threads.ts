import { Worker } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { type ErrorCode, StoreError } from '../base/store-error.ts'
import type { HttpAddress } from '../net/http-server.ts'
import type {
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
} from '../net/volume-api.ts'
import type { Logger } from '../runtime/logger.ts'
import { type MetricsSnapshot, mergeMetrics } from '../runtime/metrics.ts'
import type { SharedGeneration } from '../storage/generation.ts'
import type { DataThreadSetup, DataThreadState } from './data-thread.ts'
import type { VolumeHttpConfig } from './http-context.ts'
import type { NeedleAccess } from './needle-access.ts'
import type { PlaceOfShard } from './shard-sources.ts'
import { bindShared } from './shared-listener.ts'
import type { PostedContent, ReadCount } from './thread-access.ts'
import { type CallHandler, type StreamRef, ThreadPort } from './thread-port.ts'

/** Beyond the deadline of closing, for a thread that does not answer at all. */
const END_MS = 1000

export interface DataThreadsParts {
  readonly access: NeedleAccess
  readonly logger: Logger
  /** @throws {StoreError} VOLUME_NOT_FOUND. */
  readonly share: (volumeId: VolumeId) => SharedGeneration
  /** @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND. */
  readonly pathOfShard: (place: PlaceOfShard) => string
  readonly status: () => object | Promise<object>
  readonly deleteChunk: (fileId: FileId, signal: AbortSignal) => Promise<DeleteAnswer>
  /** What this thread has counted. */
  readonly metrics: () => Promise<MetricsSnapshot>
}

export interface DataThreadsOptions {
  readonly count: number
  readonly host: string
  readonly port: number
  readonly http: VolumeHttpConfig
  readonly secret: Buffer | undefined
  readonly hasTokens: boolean
}

interface DataThread {
  readonly worker: Worker
  readonly port: ThreadPort
}

/**
 * The threads that serve HTTP beside the one that owns the volumes. They share one port; each reads
 * needles from the shared index with files of its own, and has writes done by the owner.
 */
export class DataThreads implements AsyncDisposable {
  readonly address: HttpAddress
  readonly #threads: readonly DataThread[]
  readonly #reads = new Map<VolumeId, number>()
  readonly #volumesWord = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  #closing: Promise<void> | undefined

  private constructor(address: HttpAddress, threads: readonly DataThread[]) {
    this.address = address
    this.#threads = threads
  }

  /** @throws {StoreError} LISTEN_FAILED. */
  static async open(parts: DataThreadsParts, options: DataThreadsOptions): Promise<DataThreads> {
    const listener = await bindShared(options.host, options.port, options.count)
    const { http, secret, hasTokens } = options
    const threads: DataThread[] = []
    const self = new DataThreads(listener.address, threads)
    try {
      for (const fd of listener.fds) {
        const volumesWord = self.#volumesWord.buffer
        const setup: DataThreadSetup = { fd, http, secret, hasTokens, volumesWord }
        threads.push(await startThread(parts, setup, () => self.#metricsText(parts)))
      }
    } catch (error) {
      await self.destroy()
      throw error
    }
    for (const { worker } of threads) {
      // Such a bug ends the process, as it would in one thread.
      worker.on('exit', () => assert(self.#closing !== undefined, 'a data thread has ended'))
      worker.on('error', (error) => parts.logger.error('volume.data_thread_failed', { error }))
    }
    return self
  }

  /** To be called whenever it changes, before anybody hears of it. */
  setState(now: Omit<DataThreadState, 'volumesStamp'>): void {
    const volumesStamp = Atomics.add(this.#volumesWord, 0, 1) + 1
    const state: DataThreadState = { ...now, volumesStamp }
    const ids = new Set(now.volumeIds)
    for (const volumeId of this.#reads.keys()) {
      if (!ids.has(volumeId)) this.#reads.delete(volumeId)
    }
    for (const { port } of this.#threads) {
      port.call('state', [state]).then(
        (counts) => this.#addReads(counts as readonly ReadCount[]),
        () => 'one that has ended is reported by its exit',
      )
    }
  }

  /** Reads of a volume by these threads, as they told when they last heard of the state. */
  readsOf(volumeId: VolumeId): number {
    return this.#reads.get(volumeId) ?? 0
  }

  /** Lets requests under way finish until `deadlineMs` have passed. */
  close(deadlineMs: number): Promise<void> {
    this.#closing ??= this.#end('close', deadlineMs)
    return this.#closing
  }

  /** Cuts off every connection now. */
  destroy(): Promise<void> {
    this.#closing ??= this.#end('destroy', 0)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy()
  }

  #addReads(counts: readonly ReadCount[]): void {
    for (const [volumeId, count] of counts) {
      this.#reads.set(volumeId, this.readsOf(volumeId) + count)
    }
  }

  async #end(how: 'close' | 'destroy', deadlineMs: number): Promise<void> {
    const ending = this.#threads.map(async ({ worker, port }) => {
      const timeout = AbortSignal.timeout(deadlineMs + END_MS)
      await port.call(how, [deadlineMs], timeout).catch(() => 'it is ended all the same')
      port[Symbol.dispose]()
      await worker.terminate()
    })
    await Promise.all(ending)
  }

  async #metricsText(parts: DataThreadsParts): Promise<string> {
    const asked = this.#threads.map(({ port }) => port.call('metrics', []))
    const snapshots = [await parts.metrics(), ...((await Promise.all(asked)) as MetricsSnapshot[])]
    return mergeMetrics(snapshots)
  }
}

async function startThread(
  parts: DataThreadsParts,
  setup: DataThreadSetup,
  metricsText: () => Promise<string>,
): Promise<DataThread> {
  const worker = new Worker(new URL('./data-thread.js', import.meta.url), { workerData: setup })
  return new Promise((resolve, reject) => {
    const onEarlyExit = (): void => {
      reject(new StoreError('UNAVAILABLE', 'a data thread did not start'))
    }
    worker.once('error', reject).once('exit', onEarlyExit)
    const handlers: Record<string, CallHandler> = {
      ...ownerHandlers(parts, metricsText),
      started: () => {
        worker.off('error', reject).off('exit', onEarlyExit)
        resolve({ worker, port })
      },
    }
    const port: ThreadPort = new ThreadPort(worker, handlers)
    Object.assign(handlers, streamHandlers(parts, port))
  })
}

/** What a data thread asks of the thread that owns the volumes. */
function ownerHandlers(
  parts: DataThreadsParts,
  metricsText: () => Promise<string>,
): Record<string, CallHandler> {
  const { access, logger } = parts
  return {
    share: ([volumeId]) => parts.share(volumeId as VolumeId),
    pathOfShard: ([place]) => parts.pathOfShard(place as PlaceOfShard),
    put: ([request], signal) => access.put(request as PutRequest, signal),
    delete: ([request], signal) => access.delete(request as DeleteRequest, signal),
    noteBad: ([fileId]) => access.noteBad(fileId as FileId),
    locate: ([volumeId], signal) => access.locate(volumeId as VolumeId, signal),
    deleteChunk: ([fileId], signal) => parts.deleteChunk(fileId as FileId, signal),
    status: () => parts.status(),
    metricsText,
    log: ([level, event, fields]) => {
      logger[level as keyof Logger](String(event), fields as Record<string, unknown>)
    },
  }
}

function streamHandlers(parts: DataThreadsParts, port: ThreadPort): Record<string, CallHandler> {
  const { access } = parts
  const post = (content: NeedleContent): PostedContent => {
    const { metadata, checksum, dataBytes, data } = content
    return { metadata, checksum, dataBytes, data: port.lend(data, content) }
  }
  return {
    putStream: ([head, stream], signal) => {
      const source = port.borrow(stream as StreamRef)
      return access.putStream({ ...(head as Omit<PutStreamRequest, 'source'>), source }, signal)
    },
    fetch: async ([request], signal): Promise<PostedContent> =>
      post(await access.fetch(request as ReadRequest, signal)),
    fetchInstead: async ([request, code], signal): Promise<PostedContent | undefined> => {
      const head = request as ReadRequest
      const content = await access.fetchInstead(head, code as ErrorCode, signal)
      return content && post(content)
    },
  }
}
