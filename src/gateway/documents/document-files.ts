import { LIMITS } from '../../base/limits.ts'
import { isStoreError } from '../../base/store-error.ts'
import type { PutOptions, PutResult } from '../../client/client-api.ts'
import type { Bucket } from '../../namespace/bucket-record.ts'
import type { NewVersion } from '../../namespace/namespace-api.ts'
import { type NeedlePairs, ownerPairs } from '../../namespace/needle-pairs.ts'
import type { ObjectVersion, StoredPart } from '../../namespace/object-version.ts'
import { newVersionId } from '../../namespace/version-id.ts'
import type { DoorParts } from '../door-parts.ts'
import type { IntentHandle } from '../gateway-session.ts'
import { isRefused } from '../written-files.ts'
import { fileShardsOf } from './coded-size.ts'
import type { DocumentPlacement } from './document-placement.ts'
import { CODED_DOCUMENTS, DOCUMENTS, type DocumentsConfig } from './documents-config.ts'

/**
 * Where a write is. A gateway that dies there leaves the document as it was, and nothing behind
 * that is not cleared away; from `named` on it is the new one.
 *
 *     planned      the ids of the first file are known, durably if there are several needles; no
 *                  byte was sent
 *     cold-stored  the erasure-coded file is durable
 *     hot-planned  of `field_hybrid`: the same as `planned`, for the file in copies
 *     hot-stored   the file in copies is durable
 *     named        the new version is there; nobody was told
 */
export const DOCUMENT_PHASES = [
  'planned',
  'cold-stored',
  'hot-planned',
  'hot-stored',
  'named',
] as const
export type DocumentPhase = (typeof DOCUMENT_PHASES)[number]

export interface DocumentFilesParts extends DoorParts {
  /** Awaited at each phase, for tests of crashes. */
  readonly onPhase?: ((phase: DocumentPhase) => Promise<void>) | undefined
}

export interface StoredFile {
  readonly part: StoredPart
  /** Copies, or shards of all stripes. */
  readonly count: number
  /** As there are to be. */
  readonly wantedCount: number
  readonly isCoded: boolean
}

export interface FileToStore {
  readonly data: Buffer
  /** Erasure-coded where there are servers enough; otherwise in copies. */
  readonly isCold: boolean
  readonly placement: DocumentPlacement
  /** Kept with the needle that stands for the file, beside the owner. */
  readonly told?: NeedlePairs | undefined
}

/** What the best-effort policy may make up for: too few servers, or some that fail. */
const SHORT_OF_SERVERS = [
  'NO_WRITABLE_VOLUME',
  'PLACEMENT_IMPOSSIBLE',
  'REPLICATION_FAILED',
  'UNAVAILABLE',
  'TIMEOUT',
] as const

/** The files of one version that is to be, from the first needle to its name. */
export class DocumentFiles {
  readonly id: string
  readonly #parts: DocumentFilesParts
  readonly #config: DocumentsConfig
  readonly #bucket: Bucket
  readonly #key: string
  readonly #intent: IntentHandle | undefined
  readonly #stored: StoredFile[] = []

  /** Without an intent there may be only one needle. */
  constructor(
    parts: DocumentFilesParts,
    config: DocumentsConfig,
    version: { readonly bucket: Bucket; readonly key: string; readonly hasIntent: boolean },
  ) {
    this.#parts = parts
    this.#config = config
    this.#bucket = version.bucket
    this.#key = version.key
    this.id = newVersionId(parts.random, parts.clock.nowMs())
    this.#intent = version.hasIntent
      ? parts.session.begin({ id: this.id, bucket: version.bucket.name, key: version.key })
      : undefined
  }

  /** It has fewer copies or shards than it is to have. */
  get isDirty(): boolean {
    return this.#stored.some(({ count, wantedCount }) => count < wantedCount)
  }

  /** @throws {StoreError} As `HayloftClient.put`; then nothing of any file stays. */
  async store(file: FileToStore): Promise<StoredFile> {
    const policy = file.isCold ? file.placement.codedPolicy : undefined
    try {
      const stored =
        policy === undefined ? await this.#storeCopies(file) : await this.#storeCoded(file, policy)
      this.#stored.push(stored)
      await this.#parts.onPhase?.(file.isCold ? 'cold-stored' : 'hot-stored')
      return stored
    } catch (error) {
      await this.giveUp()
      throw error
    }
  }

  /**
   * Lets them be the document.
   *
   * @throws {StoreError} As `NamespaceApi.putObject`. When it surely did not happen nothing of the
   * files stays; otherwise they are the healer's.
   */
  async name(
    version: Omit<NewVersion, 'id'>,
    terms: { readonly sharesWith?: string | undefined; readonly ifMatch?: string | undefined },
    isDirty: boolean,
  ): Promise<ObjectVersion> {
    const { closing, namespace, onPhase } = this.#parts
    const { ifMatch, sharesWith } = terms
    try {
      const stored = await namespace.putObject(
        {
          bucket: this.#bucket,
          key: this.#key,
          version: { ...version, id: this.id },
          condition: ifMatch === undefined ? undefined : { ifMatch: [ifMatch] },
          intentId: this.#intent?.isBegun === true ? this.id : undefined,
          sharesWith,
          isDirty,
        },
        closing,
      )
      await onPhase?.('named')
      return stored
    } catch (error) {
      if (isRefused(error)) await this.giveUp()
      else this.#intent?.leave()
      throw error
    }
  }

  /** Whoever calls it is sure that the version has not come to be. */
  async giveUp(): Promise<void> {
    if (this.#intent?.isBegun === true) return await this.#intent.undo()
    const { client, logger } = this.#parts
    for (const { part } of this.#stored.splice(0)) {
      const { fileId } = part
      await client.delete(fileId).catch((error: unknown) => {
        // Whoever collects what nothing names finds it.
        logger.warn('documents.orphan_left', { fileId, error })
      })
    }
  }

  async #storeCoded(file: FileToStore, policy: string): Promise<StoredFile> {
    const { scheme, writePolicy } = this.#config
    const options = { ...this.#options(file), collection: CODED_DOCUMENTS, policy, writePolicy }
    const { missingCount = 0, ...result } = await this.#parts.client.put(file.data, options)
    const wantedCount = fileShardsOf(file.data.length, scheme)
    return {
      part: partOf(result),
      count: Math.max(0, wantedCount - missingCount),
      wantedCount,
      isCoded: true,
    }
  }

  async #storeCopies(file: FileToStore): Promise<StoredFile> {
    const { copies: wantedCount, fallbacks, isPossibleNow, replication } = file.placement
    const options = { ...this.#options(file), collection: DOCUMENTS }
    const isBestEffort = this.#config.writePolicy === 'best-effort'
    const whole = { replication, copies: wantedCount }
    // To try what cannot be would only take time.
    const tries = isBestEffort && !isPossibleNow ? [...fallbacks] : [whole]
    if (isBestEffort && isPossibleNow) tries.push(...fallbacks)
    if (tries.length === 0) tries.push(whole)
    let failure: unknown
    for (const { copies, replication: code } of tries) {
      try {
        const put = this.#parts.client.put(file.data, { ...options, replication: code })
        return { part: partOf(await put), count: copies, wantedCount, isCoded: false }
      } catch (error) {
        failure = error
        if (!isStoreError(error, ...SHORT_OF_SERVERS)) throw error
      }
    }
    throw failure
  }

  #options({ isCold, told }: FileToStore): PutOptions {
    const { closing, onPhase } = this.#parts
    const pairs = ownerPairs({ bucket: this.#bucket.name, key: this.#key, version: this.id })
    const isFirst = this.#stored.length === 0
    const phase = isCold || isFirst ? 'planned' : 'hot-planned'
    const needsIds = this.#intent !== undefined || onPhase !== undefined
    let isTold = false
    const onPlanned = async (fileIds: readonly string[]): Promise<void> => {
      await this.#intent?.planned(fileIds)
      if (isTold) return
      isTold = true
      await onPhase?.(phase)
    }
    return {
      pairs: { ...pairs, ...told },
      chunkPairs: pairs,
      signal: closing,
      ...(needsIds && { onPlanned }),
    }
  }
}

/** A file of so many bytes takes more than one needle. */
export function isManyNeedles(sizeBytes: number, isCoded: boolean): boolean {
  return isCoded || sizeBytes > LIMITS.chunkBytes.value
}

function partOf({ fileId, sizeBytes }: PutResult): StoredPart {
  return { fileId, sizeBytes }
}
