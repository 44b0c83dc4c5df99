import { shardCountOf } from '../base/erasure-scheme.ts'
import { type FileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { type EncodedStripe, encodeStripe, OBJECT_CODEC_ID } from '../erasure/object-stripe.ts'
import { encodeChunkManifest, type ManifestChunk } from '../format/chunk-manifest.ts'
import {
  type ManifestErasure,
  type ManifestStripe,
  storedBytesOf,
} from '../format/manifest-erasure.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Semaphore } from '../runtime/semaphore.ts'
import { withPairsAtEnd } from './chunked-put.ts'
import type { Chunk } from './chunker.ts'
import type { PutOptions, PutResult } from './client-api.ts'
import type { FileDeleter } from './file-deleter.ts'
import type { Grant, LeaseLane } from './lease-lane.ts'
import type { Layout } from './lease-pool.ts'
import type { NeedleWriter } from './needle-writer.ts'
import type { PlannedIds } from './planned-ids.ts'
import { mayPass, type ShardsToStore, type ShardWriter, type StoredShard } from './shard-writer.ts'
import type { ErasurePolicy } from './storage-policy.ts'

export interface StripedPutParts {
  readonly writer: NeedleWriter
  readonly shards: ShardWriter
  readonly deleter: FileDeleter
  /** For stripes in memory, of all files. */
  readonly slots: Semaphore
  readonly clock: Clock
  /** Where the manifest gets its id. */
  readonly manifestPlace: ManifestPlace
  /** Where it gets one when it need not outlive so many losses. */
  readonly placeWithLess: (losses: number) => Promise<ManifestPlace>
  /** Aborts when the work is to stop: by the caller, or here after a failure. */
  readonly stopping: AbortController
  /** Ends the clean-up, which goes on when the caller's signal aborts. */
  readonly closing: AbortSignal
}

export interface ManifestPlace {
  readonly lane: LeaseLane
  readonly copyCount: number
}

export interface StripedPutPlan {
  readonly policy: ErasurePolicy
  readonly layout: Layout
  readonly metadata: NeedleMetadata
  /** Asked for when the last stripe is stored. */
  readonly pairsAtEnd: PutOptions['pairsAtEnd']
  /** Kept with each shard. */
  readonly chunkPairs: NeedleMetadata['pairs']
  /** Told of each needle before it is sent. */
  readonly planned: PlannedIds | undefined
  /** Shards may be missing, as many as may be lost. */
  readonly isBestEffort: boolean
  /** All bytes are in the first stripe, and known now. */
  readonly isOneStripe: boolean
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
 *
 * Who is told of needles before they are sent knows what a crash leaves behind. So for him the
 * manifest of a file of one stripe goes out together with the shards: after a crash it may be there
 * without all of them. The put returns when all are durable.
 */
export class StripedPut {
  readonly #parts: StripedPutParts
  readonly #plan: StripedPutPlan
  readonly #stripes: ManifestStripe[] = []
  readonly #stored: FileId[] = []
  readonly #underWay = new Set<Promise<void>>()
  /** The id that was told for the manifest. */
  #manifestGrant: Grant | undefined
  /** It was sent with the shards. */
  #early: EarlyManifest | undefined
  #missingCount = 0
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
      await this.#plan.planned?.settled()
      await this.#earlyResult()
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
      this.#stripes[index] = await this.#storeShards(chunk.bytes, index, onFailure)
    } catch (error) {
      isReusable = false
      this.#failure ??= { error }
      stopping.abort()
    } finally {
      chunk.release(isReusable)
    }
  }

  async #storeShards(
    bytes: Uint8Array,
    index: number,
    onFailure: () => void,
  ): Promise<ManifestStripe> {
    const { chunkPairs, isBestEffort, layout, metadata, policy } = this.#plan
    const { lastModifiedS, ttl } = metadata
    const encoded = await encodeStripe(bytes, policy.scheme)
    const work = {
      shards: encoded.shards,
      placement: { ...policy, kept: [] },
      layout,
      metadata: { lastModifiedS, ttl, pairs: chunkPairs },
      onStored: (fileId: FileId) => this.#stored.push(fileId),
      onFailure,
      planning: this.#planningOf(encoded, index),
      isBestEffort,
    }
    const stored = await this.#parts.shards.store(work, this.#parts.stopping.signal)
    this.#missingCount += stored.filter((shard) => shard?.isMissing === true).length
    return stripeOf(encoded, fileIdsOf(stored))
  }

  /** The manifest is told of with the first stripe, which often is the only one. */
  #planningOf(stripe: EncodedStripe, index: number): ShardsToStore['planning'] {
    const { isOneStripe, planned } = this.#plan
    if (planned === undefined) return undefined
    if (index > 0) return { planned, others: async () => [], onTold: () => undefined }
    const others = async () => {
      const grant = await this.#grantManifest()
      return grant === undefined ? [] : [grant.fileId]
    }
    const onTold = (fileIds: readonly (FileId | undefined)[]) => {
      const isComplete = stripe.shards.every(
        ({ data }, at) => data.length === 0 || fileIds[at] !== undefined,
      )
      const grant = this.#manifestGrant
      if (!isOneStripe || !isComplete || grant === undefined) return
      this.#sendEarly(grant, stripeOf(stripe, fileIds))
    }
    return { planned, others, onTold }
  }

  /** Undefined: there is none now. Never rejects: the manifest is not needed yet. */
  async #grantManifest(): Promise<Grant | undefined> {
    const { manifestPlace, stopping, writer } = this.#parts
    const waitMs = LIMITS.bestEffortMs.value
    const granting = writer.grant(manifestPlace.lane, waitMs, stopping.signal)
    this.#manifestGrant = await granting.catch(() => undefined)
    return this.#manifestGrant
  }

  /** One try: where it fails, there is time enough for the manifest when the shards are stored. */
  #sendEarly(grant: Grant, stripe: ManifestStripe): void {
    const { stopping, writer } = this.#parts
    const { data, metadata, sizeBytes } = this.#manifestOf([stripe])
    const sending = writer.writeOnce(grant, { data, metadata }, stopping.signal)
    const result = sending.then(
      (put) => {
        this.#stored.push(parseFileId(put.fileId))
        return { ...put, sizeBytes }
      },
      () => undefined,
    )
    this.#manifestGrant = undefined
    this.#early = { result, data }
  }

  /** Undefined: there is none, or it could not be stored. */
  async #earlyResult(): Promise<PutResult | undefined> {
    return await this.#early?.result
  }

  async #storeManifest(): Promise<PutResult> {
    const { data, metadata, sizeBytes } = this.#manifestOf(this.#stripes)
    const early = await this.#earlyResult()
    // When a shard had to go elsewhere, it names one that is not there.
    const isRight = early !== undefined && this.#early?.data.equals(data) === true
    const { copyCount } = this.#parts.manifestPlace
    const { result, ...place } = isRight
      ? { result: early, copyCount }
      : await this.#writeManifest(data, metadata)
    if (early !== undefined && !isRight) {
      await this.#parts.deleter.deleteSoon([parseFileId(early.fileId)], this.#parts.closing)
    }
    const { isBestEffort, policy } = this.#plan
    const lessCount = isBestEffort ? policy.scheme.parityShards + 1 - place.copyCount : 0
    const missingCount = this.#missingCount + lessCount
    return { ...result, sizeBytes, ...(missingCount > 0 && { missingCount }) }
  }

  #manifestOf(stripes: readonly ManifestStripe[]) {
    const { pairsAtEnd, policy } = this.#plan
    const told = withPairsAtEnd(this.#plan.metadata, pairsAtEnd)
    const { scheme, spread } = policy
    const erasure = { scheme, spread, codec: OBJECT_CODEC_ID, stripes }
    const { bytes, sizeBytes } = stripedManifest(erasure, told)
    return { data: bytes, sizeBytes, metadata: { ...told, isChunkManifest: true } }
  }

  /**
   * With best effort in as many copies as there can be, one at least. Nobody adds copies later, so
   * all of them are tried twice, on other volumes, before there are fewer.
   */
  async #writeManifest(data: Buffer, metadata: NeedleMetadata) {
    const { manifestPlace, placeWithLess, stopping, writer } = this.#parts
    const { isBestEffort, planned } = this.#plan
    let granted = this.#manifestGrant
    let isTried = false
    for (let place = manifestPlace; ; granted = undefined) {
      const isLast = !isBestEffort || place.copyCount === 1
      const retryMs = isLast ? undefined : LIMITS.bestEffortMs.value
      const write = { lane: place.lane, data, metadata, planned, granted, retryMs }
      try {
        const result = await writer.writeWith(write, stopping.signal)
        return { result, copyCount: place.copyCount }
      } catch (error) {
        const isFatal = stopping.signal.aborted || planned?.failure !== undefined
        if (isLast || isFatal || !isStoreError(error) || !mayPass(error)) throw error
        place = await placeWithLess(place.copyCount - (isTried ? 2 : 1))
        isTried = true
      }
    }
  }
}

interface EarlyManifest {
  readonly data: Buffer
  /** Undefined: it could not be stored. Never rejects. */
  readonly result: Promise<PutResult | undefined>
}

function stripeOf(
  { shardBytes, shards, sizeBytes }: EncodedStripe,
  fileIds: readonly (FileId | undefined)[],
): ManifestStripe {
  const named = shards.map(({ checksum, data }, index) => {
    return { fileId: fileIds[index], storedBytes: data.length, checksum }
  })
  return { sizeBytes, shardBytes, shards: named }
}

function fileIdsOf(stored: readonly (StoredShard | undefined)[]): (FileId | undefined)[] {
  return stored.map((shard) => shard?.fileId)
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
