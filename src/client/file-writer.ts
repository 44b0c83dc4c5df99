import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import { stripeBytesOf } from '../base/stripe-size.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import { abortable } from './abortable-source.ts'
import { BufferPool } from './buffer-pool.ts'
import { ChunkedPut, withPairsAtEnd } from './chunked-put.ts'
import { type Chunk, chunksOfBytes, chunksOfStream } from './chunker.ts'
import type { PutOptions, PutResult } from './client-api.ts'
import type { FileDeleter } from './file-deleter.ts'
import type { LeaseLane } from './lease-lane.ts'
import { type Layout, type LeasePool, NEEDLE_LEASES } from './lease-pool.ts'
import type { NeedleWriter } from './needle-writer.ts'
import type { PlannedIds } from './planned-ids.ts'
import { survivingReplication } from './shard-placement.ts'
import type { ShardWriter } from './shard-writer.ts'
import type { ErasurePolicy } from './storage-policy.ts'
import { type ManifestPlace, StripedPut } from './striped-put.ts'
import type { TopologyCache } from './topology-cache.ts'
import { forwardAbort } from './unless-aborted.ts'

export interface FileWriterParts {
  readonly writer: NeedleWriter
  readonly shards: ShardWriter
  readonly topology: TopologyCache
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
  /** Asked for when the last byte was read. */
  readonly pairsAtEnd: PutOptions['pairsAtEnd']
  /** Kept with each chunk or shard. */
  readonly chunkPairs: NeedleMetadata['pairs']
  readonly chunkBytes: number
  /** Undefined: it is replicated. */
  readonly policy: ErasurePolicy | undefined
  /** Told of each needle before it is sent. */
  readonly planned: PlannedIds | undefined
  /** Shards may be missing, as many as may be lost. */
  readonly isBestEffort: boolean
}

/** Ids for chunks: each is megabytes, so few do. */
const CHUNK_IDS_MIN = 16
const CHUNK_IDS_MAX = 64

/** Stores what does not fit one needle, is erasure-coded, or has a length that is not known. */
export class FileWriter implements Disposable {
  readonly #parts: FileWriterParts
  readonly #slots = new Semaphore({
    slots: LIMITS.chunkBuffersMax.value,
    waitersMax: LIMITS.chunkBufferWaitersMax.value,
  })
  readonly #pool: BufferPool
  /** For stripes on their way, with their parity. */
  readonly #stripeSlots = new Semaphore({
    slots: LIMITS.objectStripesMax.value,
    waitersMax: LIMITS.objectStripeWaitersMax.value,
  })

  constructor(parts: FileWriterParts) {
    this.#parts = parts
    this.#pool = this.#newPool(LIMITS.chunkBytes.value)
  }

  /** Bytes that are not to be one needle; they must not change until it returns. */
  async putBytes(bytes: Uint8Array, plan: PutPlan, signal: AbortSignal): Promise<PutResult> {
    const stopping = new AbortController()
    using _abort = forwardAbort(signal, stopping)
    const { policy } = plan
    if (policy !== undefined) {
      const stripeBytes = stripeBytesOf(policy.scheme)
      const isOneStripe = bytes.length <= stripeBytes
      const put = await this.#stripedPut({ ...plan, policy }, stopping, isOneStripe)
      return await put.run(chunksOfBytes(bytes, stripeBytes))
    }
    return await this.#chunkedPut(plan, stopping).run(chunksOfBytes(bytes, plan.chunkBytes))
  }

  /**
   * What fits one chunk becomes one needle. What may be erasure-coded is held in memory until it is
   * known whether it is long enough.
   */
  async putStream(
    source: AsyncIterable<Uint8Array | string>,
    plan: PutPlan,
    signal: AbortSignal,
  ): Promise<PutResult> {
    const stopping = new AbortController()
    using _abort = forwardAbort(signal, stopping)
    const pieces = abortable(source, stopping.signal)
    const { policy } = plan
    if (policy === undefined) return await this.#putPieces(pieces, plan, stopping)
    try {
      const start = await startOf(pieces, Math.max(1, policy.minBytes))
      if (!start.isLong) return await this.#putPieces(start.pieces, plan, stopping)
      return await this.#putStripes(start.pieces, { ...plan, policy }, stopping)
    } finally {
      await pieces.return()
    }
  }

  [Symbol.dispose](): void {
    this.#pool[Symbol.dispose]()
  }

  async #putStripes(
    pieces: AsyncIterable<Uint8Array | string>,
    plan: CodedPlan,
    stopping: AbortController,
  ): Promise<PutResult> {
    const stripeBytes = stripeBytesOf(plan.policy.scheme)
    const put = await this.#stripedPut(plan, stopping, false)
    const isUsual = stripeBytes === this.#pool.sizeBytes
    const pool = isUsual ? this.#pool : this.#newPool(stripeBytes)
    const chunks = chunksOfStream(pieces, pool, stopping.signal, { mayCutEarly: false })
    try {
      return await put.run(chunks)
    } finally {
      await chunks.return()
      if (!isUsual) pool[Symbol.dispose]()
    }
  }

  async #putPieces(
    pieces: AsyncIterable<Uint8Array | string>,
    plan: PutPlan,
    stopping: AbortController,
  ): Promise<PutResult> {
    const isUsual = plan.chunkBytes === this.#pool.sizeBytes
    const pool = isUsual ? this.#pool : this.#newPool(plan.chunkBytes)
    const chunks = chunksOfStream(pieces, pool, stopping.signal, { mayCutEarly: true })
    try {
      const held = await firstTwo(chunks)
      if (held.length < 2) return await this.#putWhole(held[0], plan, stopping.signal)
      return await this.#chunkedPut(plan, stopping).run(resumed(held, chunks))
    } finally {
      await chunks.return()
      if (!isUsual) pool[Symbol.dispose]()
    }
  }

  async #putWhole(
    chunk: Chunk | undefined,
    plan: PutPlan,
    signal: AbortSignal,
  ): Promise<PutResult> {
    const { lane, pairsAtEnd, planned } = plan
    let isReusable = chunk !== undefined
    const onFailure = () => {
      isReusable = false
    }
    const data = chunk?.bytes ?? NO_BYTES
    try {
      const metadata = withPairsAtEnd(plan.metadata, pairsAtEnd)
      const { writer } = this.#parts
      if (planned === undefined) return await writer.write(lane, data, metadata, signal, onFailure)
      return await writer.writeWith({ lane, data, metadata, onFailure, planned }, signal)
    } finally {
      chunk?.release(isReusable)
    }
  }

  #chunkedPut(plan: PutPlan, stopping: AbortController): ChunkedPut {
    const { closing, deleter, leases, writer } = this.#parts
    const { chunkBytes, chunkPairs, lane, layout, metadata, pairsAtEnd, planned } = plan
    const sizes = { idsMin: CHUNK_IDS_MIN, idsMax: CHUNK_IDS_MAX, dataBytes: chunkBytes }
    const laneOf = (index: number) =>
      leases.lane(layout, sizes, { number: index % LIMITS.chunksInFlightMax.value })
    const parts = { writer, deleter, laneOf, manifestLane: lane, stopping, closing }
    return new ChunkedPut(parts, { metadata, pairsAtEnd, chunkPairs, planned })
  }

  async #stripedPut(
    plan: CodedPlan,
    stopping: AbortController,
    isOneStripe: boolean,
  ): Promise<StripedPut> {
    const { clock, closing, deleter, leases, shards, topology, writer } = this.#parts
    const { layout, policy } = plan
    const placeOf = async (losses: number): Promise<ManifestPlace> => {
      const servers = await topology.servers(stopping.signal)
      const replication = survivingReplication(servers, losses)
      const lane = leases.lane({ ...layout, replication }, NEEDLE_LEASES)
      return { lane, copyCount: copyCount(replication) }
    }
    const manifestPlace = await placeOf(policy.scheme.parityShards)
    const placeWithLess = (losses: number) => {
      topology.expire()
      return placeOf(losses)
    }
    const slots = this.#stripeSlots
    const manifest = { manifestPlace, placeWithLess }
    const parts = { writer, shards, deleter, slots, clock, stopping, closing, ...manifest }
    return new StripedPut(parts, { ...plan, isOneStripe })
  }

  #newPool(sizeBytes: number): BufferPool {
    return new BufferPool({ clock: this.#parts.clock, slots: this.#slots }, sizeBytes)
  }
}

const NO_BYTES = Buffer.alloc(0)

interface CodedPlan extends PutPlan {
  readonly policy: ErasurePolicy
}

interface StreamStart {
  /** It has `minBytes` or more. */
  readonly isLong: boolean
  /** All of it. */
  readonly pieces: AsyncIterable<Uint8Array | string>
}

/** Reads a stream until its length is known to reach `minBytes`, or it ends. */
async function startOf(
  source: AsyncGenerator<Uint8Array | string, void, undefined>,
  minBytes: number,
): Promise<StreamStart> {
  const held: (Uint8Array | string)[] = []
  let bytes = 0
  while (bytes < minBytes) {
    const next = await source.next()
    if (next.done === true) break
    const isBytes = next.value instanceof Uint8Array
    // The memory of a piece may be used again for the next one.
    held.push(isBytes ? Buffer.from(next.value) : next.value)
    // What is neither is refused by whoever cuts it into chunks.
    if (!isBytes && typeof next.value !== 'string') break
    bytes += Buffer.byteLength(next.value)
  }
  return { isLong: bytes >= minBytes, pieces: joined(held, source) }
}

async function* joined(
  held: (Uint8Array | string)[],
  rest: AsyncGenerator<Uint8Array | string, void, undefined>,
): AsyncGenerator<Uint8Array | string, void, undefined> {
  for (let piece = held.shift(); piece !== undefined; piece = held.shift()) yield piece
  yield* rest
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
