import { Worker } from 'node:worker_threads'
import { StoreError } from '../../../base/store-error.ts'
import { KIB } from '../../../base/units.ts'
import type { Logger } from '../../../runtime/logger.ts'
import { algorithmsOf, type BodyPromise, type BodySums, type StreamedSums } from './body-checks.ts'
import type { HashAnswer, HashCall, HashPort } from './hash-service.ts'

/** Handed over at once: less would wake the thread too often. */
const BATCH_BYTES = 256 * KIB
/** On their way, for one body: one is hashed while the next is filled. */
const BATCHES_MAX = 3
/** Kept for use again. */
const FREE_BATCHES_MAX = 16

/** A thread as its user sees it. */
export interface HashThread extends HashPort<HashCall, HashAnswer> {
  on(event: 'message', listener: (message: HashAnswer) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'exit', listener: () => void): unknown
  terminate(): Promise<unknown>
}

export interface HashThreadsParts {
  readonly logger: Logger
  /** Another than the built program's, for tests. */
  readonly startThread?: () => HashThread
}

interface RunningThread {
  readonly thread: HashThread
  readonly streams: Map<number, ThreadSums>
}

/**
 * Computes the sums of long bodies beside the event loop: MD5 alone takes longer than everything
 * else that is done with a byte. Threads are started when they are first needed; when one fails, so
 * do the bodies that it was hashing, and the next one has a new thread.
 */
export class HashThreads implements AsyncDisposable {
  readonly #parts: HashThreadsParts
  readonly #count: number
  readonly #running = new Set<RunningThread>()
  readonly #free: Uint8Array<ArrayBuffer>[] = []
  #nextStream = 0
  #isClosed = false

  constructor(parts: HashThreadsParts, options: { readonly count: number }) {
    this.#parts = parts
    this.#count = options.count
  }

  /** The sums of one body. To be disposed of. @throws {StoreError} CLOSED */
  sums(promise: BodyPromise): StreamedSums {
    if (this.#isClosed) throw new StoreError('CLOSED', 'the threads that hash were ended')
    const running = this.#idlest()
    const stream = this.#nextStream++
    const { thread, streams } = running
    const post = (call: HashCall, transfer: readonly ArrayBuffer[] = []) =>
      thread.postMessage(call, transfer)
    const takeBatch = () => this.#free.pop() ?? new Uint8Array(BATCH_BYTES)
    const onEnd = () => void streams.delete(stream)
    const sums = new ThreadSums(stream, { post, takeBatch, onEnd })
    streams.set(stream, sums)
    post({ kind: 'start', stream, algorithms: algorithmsOf(promise) })
    return sums
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    const ended = [...this.#running].map(({ thread }) => thread.terminate())
    await Promise.all(ended)
  }

  #idlest(): RunningThread {
    const sorted = [...this.#running].sort((a, b) => a.streams.size - b.streams.size)
    const [idlest] = sorted
    const isBusy = idlest === undefined || idlest.streams.size > 0
    return isBusy && sorted.length < this.#count ? this.#start() : (idlest ?? this.#start())
  }

  #start(): RunningThread {
    const thread = (this.#parts.startThread ?? startWorker)()
    const running: RunningThread = { thread, streams: new Map() }
    this.#running.add(running)
    thread.on('message', (answer) => {
      const sums = running.streams.get(answer.stream)
      if (answer.kind === 'sums') return sums?.finish(answer.sums)
      if (this.#free.length < FREE_BATCHES_MAX) this.#free.push(new Uint8Array(answer.bytes.buffer))
      sums?.taken()
    })
    thread.on('error', (error) => this.#parts.logger.error('s3.hash_thread_failed', { error }))
    thread.on('exit', () => {
      this.#running.delete(running)
      const error = new StoreError('UNAVAILABLE', 'the thread that hashed a body has ended')
      for (const sums of running.streams.values()) sums.fail(error)
    })
    return running
  }
}

function startWorker(): HashThread {
  const worker = new Worker(new URL('./hash-thread.js', import.meta.url))
  worker.unref()
  return worker
}

interface ThreadSumsParts {
  readonly post: (call: HashCall, transfer?: readonly ArrayBuffer[]) => void
  readonly takeBatch: () => Uint8Array<ArrayBuffer>
  readonly onEnd: () => void
}

/** A body whose bytes are copied into batches, and these handed over one after the other. */
class ThreadSums implements StreamedSums {
  readonly #stream: number
  readonly #parts: ThreadSumsParts
  #sizeBytes = 0
  #batch: Uint8Array<ArrayBuffer> | undefined
  #batchBytes = 0
  #underWay = 0
  /** Of the one who waits: for room, or for the sums. */
  #onRoom: (() => void) | undefined
  #onSums: ((sums: BodySums) => void) | undefined
  #onFailure: ((error: StoreError) => void) | undefined
  #failure: StoreError | undefined

  constructor(stream: number, parts: ThreadSumsParts) {
    this.#stream = stream
    this.#parts = parts
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  update(bytes: Buffer): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure
    this.#sizeBytes += bytes.length
    for (let at = 0; at < bytes.length; ) {
      this.#batch ??= this.#parts.takeBatch()
      const end = Math.min(bytes.length, at + BATCH_BYTES - this.#batchBytes)
      this.#batch.set(bytes.subarray(at, end), this.#batchBytes)
      this.#batchBytes += end - at
      at = end
      if (this.#batchBytes === BATCH_BYTES) this.#handOver()
    }
    if (this.#underWay < BATCHES_MAX) return undefined
    return new Promise((resolve, reject) => {
      this.#onRoom = resolve
      this.#onFailure = reject
    })
  }

  digest(): Promise<BodySums> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    this.#handOver()
    this.#parts.post({ kind: 'digest', stream: this.#stream })
    return new Promise((resolve, reject) => {
      this.#onSums = resolve
      this.#onFailure = reject
    })
  }

  /** A batch was hashed. */
  taken(): void {
    this.#underWay--
    if (this.#underWay < BATCHES_MAX) this.#onRoom?.()
  }

  finish(sums: BodySums): void {
    this.#parts.onEnd()
    const bytesOf = (sum: Uint8Array) => Buffer.from(sum.buffer, sum.byteOffset, sum.byteLength)
    // What comes from another thread are plain arrays of bytes.
    const known = Array.from(sums.sums, ([name, sum]) => [name, bytesOf(sum)] as const)
    this.#onSums?.({ ...sums, md5: bytesOf(sums.md5), sums: new Map(known) })
  }

  fail(error: StoreError): void {
    this.#failure = error
    this.#onFailure?.(error)
  }

  [Symbol.dispose](): void {
    this.#parts.onEnd()
    if (this.#failure === undefined) this.#parts.post({ kind: 'drop', stream: this.#stream })
  }

  #handOver(): void {
    const batch = this.#batch
    if (batch === undefined) return
    const bytes = batch.subarray(0, this.#batchBytes)
    this.#batch = undefined
    this.#batchBytes = 0
    this.#underWay++
    this.#parts.post({ kind: 'update', stream: this.#stream, bytes }, [bytes.buffer])
  }
}
