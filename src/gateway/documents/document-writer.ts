import { LIMITS } from '../../base/limits.ts'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import type { Bucket } from '../../namespace/bucket-record.ts'
import type {
  DocumentFacts,
  DocumentStrategy,
  ObjectVersion,
} from '../../namespace/object-version.ts'
import { KeyedMutex } from '../../runtime/keyed-mutex.ts'
import { hashBytes } from '../one-shot-hash.ts'
import type { CanonicalMember } from './canonical-json.ts'
import {
  compositeSums,
  documentLost,
  documentOf,
  type HybridParts,
  isByFields,
  isGone,
  type KeptCold,
  keptCold,
  sumsOf,
  sumsOfParts,
  toldPairs,
  versionOf,
} from './document-facts.ts'
import {
  DocumentFiles,
  type DocumentFilesParts,
  isManyNeedles,
  type StoredFile,
} from './document-files.ts'
import type { DocumentPlacement, Placements } from './document-placement.ts'
import { DOCUMENTS, type DocumentsConfig } from './documents-config.ts'
import type { HeldShare } from './held-bytes.ts'
import { joinFields, type SplitFields, splitFields } from './hot-and-cold.ts'
import { HotUpdates } from './hot-updates.ts'

export interface DocumentWriterParts extends DocumentFilesParts {
  readonly placements: Placements
}

export interface DocumentToWrite {
  readonly key: string
  readonly strategy: DocumentStrategy
  /** Fields that are not hot stay as they are stored; those of the body are ignored. */
  readonly isHotOnly: boolean
  /** A JSON object, as it was sent. */
  readonly body: Buffer
  /** For what is made of the body. */
  readonly held: HeldShare
}

export interface WrittenDocument {
  readonly version: ObjectVersion
  readonly strategy: DocumentStrategy
  /** Undefined: nothing in copies was written. */
  readonly hot: StoredFile | undefined
  /** Undefined: nothing erasure-coded, nor what was meant to be, was written. */
  readonly cold: StoredFile | undefined
  /** No cold field was written: there are none, or they are those that were stored before. */
  readonly isPureHot: boolean
  /** It has fewer copies or shards than it is to have. */
  readonly isPartial: boolean
  /** Cold fields of the body that a hot-only update left out. */
  readonly ignoredFields: readonly string[]
}

/** Names of fields in an answer, at most. */
const IGNORED_SHOWN_MAX = 100

/** Writes documents: see docs/DOCUMENTS.md for what each strategy stores where. */
export class DocumentWriter {
  readonly #parts: DocumentWriterParts
  readonly #config: DocumentsConfig
  /** Writes by fields of one document take turns: each builds on what the one before made. */
  readonly #turns = new KeyedMutex<string>({ waitersMax: LIMITS.documentWritersMax.value })
  readonly #hotUpdates: HotUpdates

  constructor(parts: DocumentWriterParts, config: DocumentsConfig) {
    this.#parts = parts
    this.#config = config
    this.#hotUpdates = new HotUpdates(parts)
  }

  /**
   * The document is there, for all who read from now on, when this returns.
   *
   * @throws {StoreError} OBJECT_NOT_FOUND: a hot-only update of nothing. REQUEST_INVALID: of a
   * document that is not stored by its fields, or without a hot field. OVERLOADED: it was changed
   * by others all the time. Those of `HayloftClient.put` and of `NamespaceApi.putObject`.
   */
  async write(request: DocumentToWrite): Promise<WrittenDocument> {
    const { buckets, closing, namespace, placements } = this.#parts
    const bucket = await buckets.get(DOCUMENTS, closing)
    const placement = await placements.current(closing)
    if (request.strategy !== 'field_hybrid') return this.#writeWhole(request, bucket, placement)
    // As it came, canonical, and the cold part of that.
    request.held.add(2 * request.body.length)
    using _turn = await this.#turns.acquire(request.key, closing)
    const fields = splitFields(request.body, this.#config.hotFields)
    let goneId: string | undefined
    for (let tries = 0; tries < LIMITS.documentTriesMax.value; tries++) {
      // Whoever changes the document all the time must not keep others from it for ever.
      const mayShare = bucket.versioning === 'off' && tries < LIMITS.documentTriesMax.value / 2
      const current = await namespace.findObject({ bucket, key: request.key }, closing)
      try {
        return await this.#writeFields(request, fields, current, { bucket, placement, mayShare })
      } catch (error) {
        if (!isStoreError(error, 'PRECONDITION_FAILED')) throw error
        if (!isGone(error.cause)) continue
        // What was not there a moment ago, and is still what is named, is lost.
        if (current?.id === goneId) throw documentLost(request.key, error.cause)
        goneId = current?.id
      }
    }
    throw new StoreError('OVERLOADED', `${request.key} was changed by others all the time`)
  }

  async #writeWhole(
    { body, key, strategy }: DocumentToWrite,
    bucket: Bucket,
    placement: DocumentPlacement,
  ): Promise<WrittenDocument> {
    const isCold = strategy === 'ec'
    const isCoded = isCold && placement.codedPolicy !== undefined
    const hasIntent = isManyNeedles(body.length, isCoded)
    const files = new DocumentFiles(this.#parts, this.#config, { bucket, key, hasIntent })
    const document: DocumentFacts = { strategy }
    const facts = sumsOf(body.length, hashBytes('md5', body), hashBytes('sha256', body))
    const told = toldPairs(bucket, facts, document, [])
    const file = await files.store({ data: body, isCold, placement, told })
    const { isDirty } = files
    const version = await files.name(versionOf(facts, document, [file.part]), {}, isDirty)
    return {
      version,
      strategy,
      hot: isCold ? undefined : file,
      cold: isCold ? file : undefined,
      isPureHot: false,
      isPartial: isDirty,
      ignoredFields: [],
    }
  }

  async #writeFields(
    { isHotOnly, key }: DocumentToWrite,
    fields: SplitFields,
    current: ObjectVersion | undefined,
    terms: { bucket: Bucket; placement: DocumentPlacement; mayShare: boolean },
  ): Promise<WrittenDocument> {
    const { bucket, mayShare, placement } = terms
    if (isHotOnly) {
      const { closing } = this.#parts
      const ignoredFields = fields.cold.slice(0, IGNORED_SHOWN_MAX).map(nameOf)
      const update = await this.#hotUpdates.prepare(key, current, fields.hot, mayShare, closing)
      const { ifMatch, kept, parts } = update
      const target = { bucket, key, placement, ifMatch }
      if (kept === undefined) {
        const isPureHot = parts.cold === undefined
        return { ...(await this.#storeBoth(target, parts)), isPureHot, ignoredFields }
      }
      return { ...(await this.#storeHot(target, parts.hot, kept, undefined)), ignoredFields }
    }
    const { cold, hot } = joinFields(fields)
    const coldSha256 = cold && hashBytes('sha256', cold).toString('hex')
    const parts = { hot, cold, coldSha256 }
    const target = { bucket, key, placement, ifMatch: undefined }
    const kept = mayShare ? keptCold(current, coldSha256) : undefined
    if (kept !== undefined) return await this.#storeHot(target, hot, kept, cold)
    const isPureHot =
      cold === undefined && isByFields(current) && current.document?.coldSha256 === undefined
    return { ...(await this.#storeBoth(target, parts)), isPureHot }
  }

  /** Cold fields first: with the hot ones the document is complete. */
  async #storeBoth(target: HybridTarget, parts: HybridParts): Promise<WrittenDocument> {
    const { bucket, ifMatch, key, placement } = target
    const { cold, coldSha256, hot } = parts
    const files = new DocumentFiles(this.#parts, this.#config, { bucket, key, hasIntent: true })
    const document = documentOf(coldSha256)
    const facts = sumsOfParts(hot, cold)
    const coldFile =
      cold && (await files.store({ data: cold, isCold: true, placement, told: undefined }))
    const coldPart = coldFile === undefined ? [] : [coldFile.part]
    const told = toldPairs(bucket, facts, document, coldPart)
    const hotFile = await files.store({ data: hot, isCold: false, placement, told })
    const { isDirty } = files
    const made = versionOf(facts, document, [hotFile.part, ...coldPart])
    const version = await files.name(made, { ifMatch }, isDirty)
    const stored = { version, hot: hotFile, cold: coldFile, isPartial: isDirty }
    return { ...stored, strategy: 'field_hybrid', isPureHot: false, ignoredFields: [] }
  }

  /**
   * One needle, if the hot fields fit into one, and one change that lets it and the cold fields
   * stored before be the document, provided that nobody changed it meanwhile. Without the bytes of
   * the cold fields, the ETag and the checksum are made of those of the parts, as S3 does.
   */
  async #storeHot(
    target: HybridTarget,
    hot: Buffer,
    { current, part, sha256 }: KeptCold,
    cold: Buffer | undefined,
  ): Promise<WrittenDocument> {
    const { bucket, key, placement } = target
    // Of one needle too: what a crash leaves of an update that comes often is cleared away at once.
    const files = new DocumentFiles(this.#parts, this.#config, { bucket, key, hasIntent: true })
    const document = documentOf(sha256)
    const facts =
      cold === undefined ? compositeSums(hot, part.sizeBytes, sha256) : sumsOfParts(hot, cold)
    const told = toldPairs(bucket, facts, document, [part])
    const hotFile = await files.store({ data: hot, isCold: false, placement, told })
    const made = versionOf(facts, document, [hotFile.part, part])
    const { isDirty } = files
    const version = await files.name(made, { sharesWith: current.id }, isDirty)
    const stored = { version, hot: hotFile, cold: undefined, isPartial: isDirty }
    return { ...stored, strategy: 'field_hybrid', isPureHot: true, ignoredFields: [] }
  }
}

function nameOf({ key }: CanonicalMember): string {
  return JSON.parse(`"${key}"`) as string
}

interface HybridTarget {
  readonly bucket: Bucket
  readonly key: string
  readonly placement: DocumentPlacement
  /** The ETag of the version that this one builds on, if it does. */
  readonly ifMatch: string | undefined
}
