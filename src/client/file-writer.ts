import { LIMITS } from '../base/limits.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import { abortable } from './abortable-source.ts'
import { BufferPool } from './buffer-pool.ts'
import { ChunkedPut } from './chunked-put.ts'
import { type Chunk, chunksOfBytes, chunksOfStream } from './chunker.ts'
import type { PutResult } from './client-api.ts'
import type { FileDeleter } from './file-deleter.ts'
import type { LeaseLane } from './lease-lane.ts'
import type { Layout, LeasePool } from './lease-pool.ts'
import type { NeedleWriter } from './needle-writer.ts'

export interface FileWriterParts {
  readonly writer: NeedleWriter
  readonly deleter: FileDeleter
  readonly leases: LeasePool
  readonly clock: Clock
  readonly closing: AbortSignal
}

/** Where and how a file is to be stored. */
export interface PutPlan {
  readonly lane: LeaseLane
  readonly layout: Layout
  readonly metadata: NeedleMetadata
  readonly chunkBytes: number
}

/** Ids for chunks: each is megabytes, so few do. */
const CHUNK_IDS_MIN = 16
const CHUNK_IDS_MAX = 64

/** Stores what does not fit one needle, or whose length is not known. */
export class FileWriter implements Disposable {
  readonly #parts: FileWriterParts
  readonly #slots = new Semaphore({
    slots: LIMITS.chunkBuffersMax.value,
    waitersMax: LIMITS.chunkBufferWaitersMax.value,
  })
  readonly #pool: BufferPool

  constructor(parts: FileWriterParts) {
    this.#parts = parts
    this.#pool = this.#newPool(LIMITS.chunkBytes.value)
  }

  /** Bytes of more than one chunk; they must not change until it returns. */
  async putBytes(bytes: Uint8Array, plan: PutPlan, signal: AbortSignal): Promise<PutResult> {
    const stopping = new AbortController()
    using _abort = forward(signal, stopping)
    return await this.#chunkedPut(plan, stopping).run(chunksOfBytes(bytes, plan.chunkBytes))
  }

  /** What fits one chunk becomes one needle. */
  async putStream(
    source: AsyncIterable<Uint8Array | string>,
    plan: PutPlan,
    signal: AbortSignal,
  ): Promise<PutResult> {
    const stopping = new AbortController()
    using _abort = forward(signal, stopping)
    const isUsual = plan.chunkBytes === this.#pool.sizeBytes
    const pool = isUsual ? this.#pool : this.#newPool(plan.chunkBytes)
    const pieces = abortable(source, stopping.signal)
    const chunks = chunksOfStream(pieces, pool, stopping.signal)
    try {
      const held = await firstTwo(chunks)
      if (held.length < 2) return await this.#putWhole(held[0], plan, stopping.signal)
      return await this.#chunkedPut(plan, stopping).run(resumed(held, chunks))
    } finally {
      await chunks.return()
      if (!isUsual) pool[Symbol.dispose]()
    }
  }

  [Symbol.dispose](): void {
    this.#pool[Symbol.dispose]()
  }

  async #putWhole(
    chunk: Chunk | undefined,
    plan: PutPlan,
    signal: AbortSignal,
  ): Promise<PutResult> {
    const { lane, metadata } = plan
    let isReusable = chunk !== undefined
    const onFailure = () => {
      isReusable = false
    }
    const bytes = chunk?.bytes ?? NO_BYTES
    try {
      return await this.#parts.writer.write(lane, bytes, metadata, signal, onFailure)
    } finally {
      chunk?.release(isReusable)
    }
  }

  #chunkedPut(plan: PutPlan, stopping: AbortController): ChunkedPut {
    const { closing, deleter, leases, writer } = this.#parts
    const { chunkBytes, lane, layout, metadata } = plan
    const sizes = { idsMin: CHUNK_IDS_MIN, idsMax: CHUNK_IDS_MAX, dataBytes: chunkBytes }
    const laneOf = (index: number) =>
      leases.lane(layout, sizes, index % LIMITS.chunksInFlightMax.value)
    const parts = { writer, deleter, laneOf, manifestLane: lane, stopping, closing }
    return new ChunkedPut(parts, metadata)
  }

  #newPool(sizeBytes: number): BufferPool {
    return new BufferPool({ clock: this.#parts.clock, slots: this.#slots }, sizeBytes)
  }
}

const NO_BYTES = Buffer.alloc(0)

function forward(signal: AbortSignal, to: AbortController): Disposable {
  if (signal.aborted) to.abort(signal.reason)
  return onAbort(signal, () => to.abort(signal.reason))
}

/** Two at most: then it is known whether there is more than one. */
async function firstTwo(chunks: AsyncGenerator<Chunk, void, undefined>): Promise<Chunk[]> {
  const held: Chunk[] = []
  try {
    while (held.length < 2) {
      const next = await chunks.next()
      if (next.done === true) break
      held.push(next.value)
    }
    return held
  } catch (error) {
    for (const chunk of held) chunk.release(true)
    throw error
  }
}

async function* resumed(
  held: Chunk[],
  rest: AsyncIterable<Chunk>,
): AsyncGenerator<Chunk, void, undefined> {
  try {
    for (let chunk = held.shift(); chunk !== undefined; chunk = held.shift()) yield chunk
    yield* rest
  } finally {
    for (const chunk of held) chunk.release(true)
  }
}
