import { type FileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { encodeChunkManifest, type ManifestChunk } from '../format/chunk-manifest.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import type { Chunk } from './chunker.ts'
import type { PutOptions, PutResult } from './client-api.ts'
import type { FileDeleter } from './file-deleter.ts'
import type { LeaseLane } from './lease-lane.ts'
import type { NeedleWriter } from './needle-writer.ts'
import type { PlannedIds } from './planned-ids.ts'

export interface ChunkedPutParts {
  readonly writer: NeedleWriter
  readonly deleter: FileDeleter
  /** Where chunk `index` gets its id: neighbours from different leases, so different volumes. */
  readonly laneOf: (index: number) => LeaseLane
  /** Where the manifest gets its id. */
  readonly manifestLane: LeaseLane
  /** Aborts when the work is to stop: by the caller, or here after a failure. */
  readonly stopping: AbortController
  /** Ends the clean-up, which goes on when the caller's signal aborts. */
  readonly closing: AbortSignal
}

export interface ChunkedPutPlan {
  readonly metadata: NeedleMetadata
  /** Asked for when the last chunk is stored. */
  readonly pairsAtEnd: PutOptions['pairsAtEnd']
  /** Kept with each chunk. */
  readonly chunkPairs: NeedleMetadata['pairs']
  /** Told of each needle before it is sent. */
  readonly planned: PlannedIds | undefined
}

interface StoredChunk extends ManifestChunk {
  readonly fileId: FileId
}

/** The same with what was not known before the last byte was read. */
export function withPairsAtEnd(
  metadata: NeedleMetadata,
  pairsAtEnd: PutOptions['pairsAtEnd'],
): NeedleMetadata {
  if (pairsAtEnd === undefined) return metadata
  return { ...metadata, pairs: { ...metadata.pairs, ...pairsAtEnd() } }
}

/**
 * Stores a file in chunks, `chunksInFlightMax` at a time, then the manifest that joins them. The
 * file exists when the manifest does: before that, a failure deletes the chunks again.
 */
export class ChunkedPut {
  readonly #parts: ChunkedPutParts
  readonly #plan: ChunkedPutPlan
  readonly #stored: StoredChunk[] = []
  readonly #underWay = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined

  constructor(parts: ChunkedPutParts, plan: ChunkedPutPlan) {
    this.#parts = parts
    this.#plan = plan
  }

  /** @throws {StoreError} What a chunk or the manifest failed with. Or what the source threw. */
  async run(chunks: AsyncIterable<Chunk> | Iterable<Chunk>): Promise<PutResult> {
    try {
      const sizeBytes = await this.#storeAll(chunks)
      return await this.#storeManifest(sizeBytes)
    } catch (error) {
      // When one of them failed, the source was told to stop; otherwise they are told now.
      const first = this.#failure?.error ?? error
      this.#parts.stopping.abort()
      await Promise.all(this.#underWay)
      await this.#plan.planned?.settled()
      await this.#deleteAll()
      throw first
    }
  }

  async #storeAll(chunks: AsyncIterable<Chunk> | Iterable<Chunk>): Promise<number> {
    let offsetBytes = 0
    let count = 0
    for await (const chunk of chunks) {
      if (count >= LIMITS.manifestChunksMax.value) {
        chunk.release(true)
        throw new StoreError('NEEDLE_TOO_LARGE', `more than ${count} chunks: use larger ones`)
      }
      const task = this.#store(chunk, offsetBytes, count).finally(() => {
        this.#underWay.delete(task)
      })
      this.#underWay.add(task)
      offsetBytes += chunk.bytes.length
      count++
      while (this.#underWay.size >= LIMITS.chunksInFlightMax.value) {
        await Promise.race(this.#underWay)
      }
      if (this.#failure !== undefined) throw this.#failure.error
    }
    await Promise.all(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure.error
    return offsetBytes
  }

  /** Never rejects: the first failure is kept for whoever goes on with the file. */
  async #store(chunk: Chunk, offsetBytes: number, index: number): Promise<void> {
    const { lastModifiedS, ttl } = this.#plan.metadata
    const { laneOf, stopping, writer } = this.#parts
    // After a failed attempt, somebody may still be about to send from this memory.
    let isReusable = true
    const onFailure = () => {
      isReusable = false
    }
    try {
      const lane = laneOf(index)
      const { chunkPairs, planned } = this.#plan
      const metadata = { lastModifiedS, ttl, pairs: chunkPairs }
      const write = { lane, data: chunk.bytes, metadata, onFailure, planned }
      const result = await writer.writeWith(write, stopping.signal)
      const { sizeBytes } = result
      this.#stored.push({ fileId: parseFileId(result.fileId), offsetBytes, sizeBytes })
    } catch (error) {
      isReusable = false
      this.#failure ??= { error }
      stopping.abort()
    } finally {
      chunk.release(isReusable)
    }
  }

  #storeManifest(sizeBytes: number): Promise<PutResult> {
    const { manifestLane, stopping, writer } = this.#parts
    const told = withPairsAtEnd(this.#plan.metadata, this.#plan.pairsAtEnd)
    const { mime = '', name = '' } = told
    const chunks = this.#stored.sort((a, b) => a.offsetBytes - b.offsetBytes)
    const bytes = encodeChunkManifest({ name, mime, sizeBytes, chunks })
    const metadata = { ...told, isChunkManifest: true }
    const write = { lane: manifestLane, data: bytes, metadata, planned: this.#plan.planned }
    return writer.writeWith(write, stopping.signal).then((result) => ({ ...result, sizeBytes }))
  }

  async #deleteAll(): Promise<void> {
    const fileIds = this.#stored.map((chunk) => chunk.fileId)
    await this.#parts.deleter.deleteSoon(fileIds, this.#parts.closing)
  }
}
