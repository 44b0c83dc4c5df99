import { shardCountOf } from '../base/erasure-scheme.ts'
import type { FileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { encodeStripe, OBJECT_CODEC_ID } from '../erasure/object-stripe.ts'
import { encodeChunkManifest, type ManifestChunk } from '../format/chunk-manifest.ts'
import {
  type ManifestErasure,
  type ManifestStripe,
  storedBytesOf,
} from '../format/manifest-erasure.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import type { Semaphore } from '../runtime/semaphore.ts'
import { withPairsAtEnd } from './chunked-put.ts'
import type { Chunk } from './chunker.ts'
import type { PutOptions, PutResult } from './client-api.ts'
import type { FileDeleter } from './file-deleter.ts'
import type { LeaseLane } from './lease-lane.ts'
import type { Layout } from './lease-pool.ts'
import type { NeedleWriter } from './needle-writer.ts'
import type { ShardWriter } from './shard-writer.ts'
import type { ErasurePolicy } from './storage-policy.ts'

export interface StripedPutParts {
  readonly writer: NeedleWriter
  readonly shards: ShardWriter
  readonly deleter: FileDeleter
  /** For stripes in memory, of all files. */
  readonly slots: Semaphore
  /** Where the manifest gets its id. */
  readonly manifestLane: LeaseLane
  /** Aborts when the work is to stop: by the caller, or here after a failure. */
  readonly stopping: AbortController
  /** Ends the clean-up, which goes on when the caller's signal aborts. */
  readonly closing: AbortSignal
}

export interface StripedPutPlan {
  readonly policy: ErasurePolicy
  readonly layout: Layout
  readonly metadata: NeedleMetadata
  /** Asked for when the last stripe is stored. */
  readonly pairsAtEnd: PutOptions['pairsAtEnd']
  /** Kept with each shard. */
  readonly chunkPairs: NeedleMetadata['pairs']
}

/** JSON of a chunk, of a checksum and of a parity shard, with the longest file ids and numbers. */
const CHUNK_JSON_BYTES = 90
const CHECKSUM_JSON_BYTES = 11
const PARITY_JSON_BYTES = 40
/** Of a stripe, and of the rest of a manifest, its name and mime type included. */
const STRIPE_JSON_BYTES = 60
const HEAD_JSON_BYTES = 4096

/**
 * Stores an erasure-coded file, stripe by stripe, `objectStripesInFlight` at a time, then the
 * manifest, in more copies than shards may be lost. The file exists when the manifest does: every
 * shard is durable by then, and a failure before that deletes them again.
 */
export class StripedPut {
  readonly #parts: StripedPutParts
  readonly #plan: StripedPutPlan
  readonly #stripes: ManifestStripe[] = []
  readonly #stored: FileId[] = []
  readonly #underWay = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined

  constructor(parts: StripedPutParts, plan: StripedPutPlan) {
    this.#parts = parts
    this.#plan = plan
  }

  /**
   * Each chunk is a stripe.
   *
   * @throws {StoreError} What a shard or the manifest failed with. Or what the source threw.
   */
  async run(chunks: AsyncIterable<Chunk> | Iterable<Chunk>): Promise<PutResult> {
    try {
      await this.#storeAll(chunks)
      return await this.#storeManifest()
    } catch (error) {
      // When one of them failed, the source was told to stop; otherwise they are told now.
      const first = this.#failure?.error ?? error
      this.#parts.stopping.abort()
      await Promise.all(this.#underWay)
      await this.#parts.deleter.deleteSoon(this.#stored, this.#parts.closing)
      throw first
    }
  }

  async #storeAll(chunks: AsyncIterable<Chunk> | Iterable<Chunk>): Promise<void> {
    const countMax = stripeCountMax(this.#plan.policy)
    let count = 0
    for await (const chunk of chunks) {
      if (count >= countMax) {
        chunk.release(true)
        throw new StoreError('NEEDLE_TOO_LARGE', `more than ${count} stripes`)
      }
      const task = this.#store(chunk, count).finally(() => {
        this.#underWay.delete(task)
      })
      this.#underWay.add(task)
      count++
      while (this.#underWay.size >= LIMITS.objectStripesInFlight.value) {
        await Promise.race(this.#underWay)
      }
      if (this.#failure !== undefined) throw this.#failure.error
    }
    await Promise.all(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Never rejects: the first failure is kept for whoever goes on with the file. */
  async #store(chunk: Chunk, index: number): Promise<void> {
    const { slots, stopping } = this.#parts
    // After a failed try, somebody may still be about to send from this memory.
    let isReusable = true
    const onFailure = () => {
      isReusable = false
    }
    try {
      using _slot = await slots.acquire(stopping.signal)
      this.#stripes[index] = await this.#storeShards(chunk.bytes, onFailure)
    } catch (error) {
      isReusable = false
      this.#failure ??= { error }
      stopping.abort()
    } finally {
      chunk.release(isReusable)
    }
  }

  async #storeShards(bytes: Uint8Array, onFailure: () => void): Promise<ManifestStripe> {
    const { chunkPairs, layout, metadata, policy } = this.#plan
    const { lastModifiedS, ttl } = metadata
    const { shards, shardBytes, sizeBytes } = await encodeStripe(bytes, policy.scheme)
    const work = {
      shards,
      placement: { ...policy, kept: [] },
      layout,
      metadata: { lastModifiedS, ttl, pairs: chunkPairs },
      onStored: (fileId: FileId) => this.#stored.push(fileId),
      onFailure,
    }
    const stored = await this.#parts.shards.store(work, this.#parts.stopping.signal)
    const named = shards.map(({ checksum, data }, index) => {
      return { fileId: stored[index]?.fileId, storedBytes: data.length, checksum }
    })
    return { sizeBytes, shardBytes, shards: named }
  }

  async #storeManifest(): Promise<PutResult> {
    const { manifestLane, stopping, writer } = this.#parts
    const { pairsAtEnd, policy } = this.#plan
    const metadata = withPairsAtEnd(this.#plan.metadata, pairsAtEnd)
    const { scheme, spread } = policy
    const erasure = { scheme, spread, codec: OBJECT_CODEC_ID, stripes: this.#stripes }
    const { bytes, sizeBytes } = stripedManifest(erasure, metadata)
    const attributes = { ...metadata, isChunkManifest: true }
    const result = await writer.write(manifestLane, bytes, attributes, stopping.signal)
    return { ...result, sizeBytes }
  }
}

/** The data of the needle that stands for an erasure-coded file. */
export function stripedManifest(
  erasure: ManifestErasure,
  { mime = '', name = '' }: Pick<NeedleMetadata, 'mime' | 'name'>,
): { readonly bytes: Buffer; readonly sizeBytes: number } {
  const chunks: ManifestChunk[] = []
  let sizeBytes = 0
  for (const stripe of erasure.stripes) {
    for (const [index, { fileId }] of stripe.shards.entries()) {
      if (index >= erasure.scheme.dataShards || fileId === undefined) continue
      const bytes = storedBytesOf(stripe, index)
      chunks.push({ fileId, offsetBytes: sizeBytes, sizeBytes: bytes })
      sizeBytes += bytes
    }
  }
  return { bytes: encodeChunkManifest({ name, mime, sizeBytes, chunks, erasure }), sizeBytes }
}

/** So that the manifest stays within its limits. */
function stripeCountMax({ scheme }: ErasurePolicy): number {
  const { dataShards, parityShards } = scheme
  const stripeBytes =
    STRIPE_JSON_BYTES +
    dataShards * CHUNK_JSON_BYTES +
    shardCountOf(scheme) * CHECKSUM_JSON_BYTES +
    parityShards * PARITY_JSON_BYTES
  const bytesMax = LIMITS.manifestBytesMax.value - HEAD_JSON_BYTES
  const chunksMax = LIMITS.manifestChunksMax.value
  return Math.floor(Math.min(bytesMax / stripeBytes, chunksMax / dataShards))
}
