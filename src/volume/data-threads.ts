import { Worker } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { HttpAddress } from '../net/http-server.ts'
import type {
  DeleteAnswer,
  DeleteRequest,
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
import { bindShared } from './shared-listener.ts'
import type { PostedContent } from './thread-access.ts'
import { type CallHandler, type StreamRef, ThreadPort } from './thread-port.ts'

/** Beyond the deadline of closing, for a thread that does not answer at all. */
const END_MS = 1000

export interface DataThreadsParts {
  readonly access: NeedleAccess
  readonly logger: Logger
  /** @throws {StoreError} VOLUME_NOT_FOUND. */
  readonly share: (volumeId: VolumeId) => SharedGeneration
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
    for (const { port } of this.#threads) {
      // One that has ended is reported by its exit.
      port.call('state', [state]).catch(() => undefined)
    }
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
    put: ([request], signal) => access.put(request as PutRequest, signal),
    delete: ([request], signal) => access.delete(request as DeleteRequest, signal),
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
  return {
    putStream: ([head, stream], signal) => {
      const source = port.borrow(stream as StreamRef)
      return access.putStream({ ...(head as Omit<PutStreamRequest, 'source'>), source }, signal)
    },
    fetch: async ([request], signal): Promise<PostedContent> => {
      const content = await access.fetch(request as ReadRequest, signal)
      const { metadata, checksum, dataBytes, data } = content
      return { metadata, checksum, dataBytes, data: port.lend(data, content) }
    },
  }
}
