import { formatFileId, parseFileId } from '../base/file-id.ts'
import type { MetadataBatch, MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import { encodeBucket, isBucketName, NO_QUOTA, type Versioning } from './bucket-record.ts'
import type { CompletedPartFile } from './completion-record.ts'
import { type MovedPart, type NeedleOwner, othersOf, type ToldVersion } from './needle-pairs.ts'
import { encodeSeq } from './object-rows.ts'
import {
  decodeObjectVersion,
  encodeObjectVersion,
  type ObjectVersion,
  STORAGE_CLASSES,
} from './object-version.ts'
import { BUCKET_IDS_KEY, bucketKey, nullKey, objectKey, versionKey } from './row-keys.ts'
import { timeOfVersionId } from './version-id.ts'

/** A needle by which a version exists, as it was found on a volume. */
export interface FoundVersion {
  readonly owner: NeedleOwner
  readonly told: ToldVersion
  readonly fileId: string
  readonly appendAtNs: bigint
  /** What the record of an upload lists; undefined: the needle is the object, or a part of it. */
  readonly parts: readonly CompletedPartFile[] | undefined
}

export interface RebuiltBucket {
  readonly name: string
  readonly versioning: Versioning
  /** Versions that are there now. */
  readonly versions: number
  /** Found as well, but replaced by younger ones without a version id. */
  readonly superseded: number
  /** Came back without headers, metadata, tags and ACL. */
  readonly cut: number
}

/**
 * Rows of what was found, until all of it was: `rebuild/{bucket}\0{key}\0{seq}{m or p}{file}`,
 * `m` of bytes that were moved once the version was there; and
 * `rebuild-moved/{file}` for parts that lie elsewhere than the record of their upload says.
 */
const FOUND_PREFIX = 'rebuild/'
const FOUND_END = 'rebuild0'
const MOVED_PREFIX = 'rebuild-moved/'
const MOVED_END = 'rebuild-moved0'

const PUT = 'p'
const MOVED = 'm'

const BATCH_ROWS = 500
const SEQ_DIGITS = 14
const US_NS = 1000n
const US_PER_MS = 1000

/** What one key is made of, the oldest first. */
interface FoundKey {
  readonly bucket: string
  readonly key: string
  readonly versions: readonly ObjectVersion[]
}

interface BucketTally {
  versions: number
  superseded: number
  cut: number
  hasIds: boolean
  hasLocks: boolean
  isNewestNull: boolean
  newestSeq: number
  createdAtMs: number
}

/**
 * Makes the rows of buckets and objects anew from what needles say of themselves. It holds no more
 * than one key at a time: the store itself sorts. What fails half-way leaves rows of its own
 * behind, and is begun anew in an empty store.
 */
export class RebuiltRows {
  readonly #store: MetadataStore
  #puts = new Map<string, Uint8Array>()
  #deletes: string[] = []
  #cutIds = new Set<string>()

  constructor(store: MetadataStore) {
    this.#store = store
  }

  async addVersion(found: FoundVersion, signal: AbortSignal): Promise<void> {
    const { fileId, owner, told } = found
    if (!isBucketName(owner.bucket)) return
    const version = versionOf(found)
    if (told.isCut) this.#cutIds.add(version.id)
    const seq = version.seq.toString(16).padStart(SEQ_DIGITS, '0')
    const how = told.made === undefined ? PUT : MOVED
    const row = `${FOUND_PREFIX}${owner.bucket}\0${owner.key}\0${seq}${how}${fileId}`
    await this.#put(row, encodeObjectVersion(version), signal)
  }

  async addMoved(moved: MovedPart, fileId: string, signal: AbortSignal): Promise<void> {
    const value = Buffer.from(`${moved.storageClass}\0${fileId}`)
    await this.#put(MOVED_PREFIX + formatFileId(parseFileId(moved.fromFileId)), value, signal)
  }

  /** All that was added is rows of buckets and versions now, and nothing else. */
  async finish(ownerId: string, signal: AbortSignal): Promise<readonly RebuiltBucket[]> {
    await this.#flush(signal)
    const tallies = new Map<string, BucketTally>()
    const ids = new Map<string, number>()
    for await (const { key, value } of this.#store.scan(range(FOUND_PREFIX, FOUND_END), signal)) {
      const { bucket } = partsOfRow(key)
      note(tallies, bucket, decodeObjectVersion(value, key))
      if (!ids.has(bucket)) ids.set(bucket, ids.size + 1)
    }
    for await (const found of this.#foundKeys(signal)) {
      const tally = tallies.get(found.bucket)
      const id = ids.get(found.bucket)
      if (tally !== undefined && id !== undefined)
        await this.#writeKey(found, { id, tally }, signal)
    }
    for (const [name, tally] of tallies) {
      const { createdAtMs, hasLocks } = tally
      const bucket = {
        name,
        id: ids.get(name) ?? 0,
        ownerId,
        createdAtMs,
        versioning: hasLocks ? ('enabled' as const) : versioningOf(tally),
        isLockEnabled: hasLocks,
        documents: {},
        quota: NO_QUOTA,
      }
      await this.#put(bucketKey(name), encodeBucket(bucket), signal)
    }
    await this.#put(BUCKET_IDS_KEY, encodeSeq(ids.size + 1), signal)
    for (const [start, end] of [
      [FOUND_PREFIX, FOUND_END],
      [MOVED_PREFIX, MOVED_END],
    ] as const) {
      for await (const { key } of this.#store.scan(range(start, end), signal)) {
        this.#deletes.push(key)
        if (this.#deletes.length >= BATCH_ROWS) await this.#flush(signal)
      }
    }
    await this.#flush(signal)
    return Array.from(tallies, ([name, tally]) => {
      const { cut, superseded, versions } = tally
      return { name, versioning: versioningOf(tally), versions, superseded, cut }
    })
  }

  async *#foundKeys(signal: AbortSignal): AsyncGenerator<FoundKey, void, undefined> {
    let at = { bucket: '', key: '', isMoved: false }
    let byId = new Map<string, ObjectVersion>()
    let movedIds = new Set<string>()
    for await (const row of this.#store.scan(range(FOUND_PREFIX, FOUND_END), signal)) {
      const next = partsOfRow(row.key)
      if (next.bucket !== at.bucket || next.key !== at.key) {
        if (byId.size > 0) yield { bucket: at.bucket, key: at.key, versions: [...byId.values()] }
        at = next
        byId = new Map()
        movedIds = new Set()
      }
      const version = decodeObjectVersion(row.value, row.key)
      // Bytes that were moved count, whatever clocks said; of two tries of one put the later ones.
      if (next.isMoved) movedIds.add(version.id)
      else if (movedIds.has(version.id)) continue
      byId.delete(version.id)
      byId.set(version.id, version)
    }
    if (byId.size > 0) yield { bucket: at.bucket, key: at.key, versions: [...byId.values()] }
  }

  /** The newest version is in `objects`, all others in `versions`; of two `null` one goes. */
  async #writeKey(
    { key, versions }: FoundKey,
    bucket: { readonly id: number; readonly tally: BucketTally },
    signal: AbortSignal,
  ): Promise<void> {
    const { id, tally } = bucket
    const newestNull = versions.findLast(({ isNull }) => isNull)
    const kept = versions.filter((version) => !version.isNull || version === newestNull)
    tally.superseded += versions.length - kept.length
    let seq = 0
    for (const [index, found] of kept.entries()) {
      seq = Math.max(seq + 1, found.seq)
      const version = await this.#located({ ...found, seq }, signal)
      tally.versions++
      if (this.#cutIds.has(version.id)) tally.cut++
      if (index === kept.length - 1) {
        await this.#put(objectKey(id, key), encodeObjectVersion(version), signal)
        continue
      }
      await this.#put(versionKey(id, key, seq), encodeObjectVersion(version), signal)
      if (version.isNull) await this.#put(nullKey(id, key), encodeSeq(seq), signal)
    }
  }

  /** Where the files lie now that another needle names. */
  async #located(version: ObjectVersion, signal: AbortSignal): Promise<ObjectVersion> {
    if (version.recordFileId === undefined && version.parts.length < 2) return version
    const keys = version.parts.map(({ fileId }) => MOVED_PREFIX + fileId)
    const rows = await this.#store.getMany(keys, signal)
    let { storageClass } = version
    const parts = version.parts.map((part, index) => {
      const row = rows[index]
      if (row === undefined) return part
      const [className, fileId = part.fileId] = Buffer.from(row).toString('utf8').split('\0')
      storageClass = STORAGE_CLASSES.find((known) => known === className) ?? storageClass
      return { ...part, fileId }
    })
    return { ...version, parts, storageClass }
  }

  async #put(key: string, value: Uint8Array, signal: AbortSignal): Promise<void> {
    this.#puts.set(key, value)
    if (this.#puts.size >= BATCH_ROWS) await this.#flush(signal)
  }

  async #flush(signal: AbortSignal): Promise<void> {
    const puts = Array.from(this.#puts, ([key, value]): MetadataRow => ({ key, value }))
    const batch: MetadataBatch = { puts, deletes: this.#deletes }
    this.#puts = new Map()
    this.#deletes = []
    if (puts.length > 0 || (batch.deletes?.length ?? 0) > 0) await this.#store.commit(batch, signal)
  }
}

function versionOf({ appendAtNs, fileId, owner, parts, told }: FoundVersion): ObjectVersion {
  const { isCut: _, isRecord: __, made, parts: toldParts, ...attributes } = told
  const appendedAtUs = Number(appendAtNs / US_NS)
  // A volume of an old version does not know when it was written.
  const seq = appendedAtUs > 0 ? appendedAtUs : timeOfVersionId(owner.version) * US_PER_MS
  const version = {
    ...attributes,
    id: owner.version,
    isMarker: false,
    seq: made?.seq ?? seq,
    modifiedAtMs: made?.modifiedAtMs ?? Math.floor(seq / US_PER_MS),
  }
  if (parts === undefined) {
    const files = toldParts ?? [null]
    const itself = { fileId, sizeBytes: told.sizeBytes - othersOf(files) }
    const named = files.map((file) => {
      return file === null ? itself : { fileId: file[0], sizeBytes: file[1] }
    })
    return { ...version, parts: named }
  }
  const stored = parts.map((part) => {
    const { checksum, sizeBytes } = part
    const partFileId = formatFileId(parseFileId(part.fileId))
    return checksum === undefined
      ? { fileId: partFileId, sizeBytes }
      : { fileId: partFileId, sizeBytes, checksum }
  })
  return { ...version, parts: stored, recordFileId: fileId }
}

function note(tallies: Map<string, BucketTally>, bucket: string, version: ObjectVersion): void {
  const tally = tallies.get(bucket) ?? newTally()
  tallies.set(bucket, tally)
  const { id, isLegalHold, isNull, retention, seq } = version
  if (!isNull) tally.hasIds = true
  if (isLegalHold || retention !== undefined) tally.hasLocks = true
  if (seq > tally.newestSeq) {
    tally.newestSeq = seq
    tally.isNewestNull = isNull
  }
  tally.createdAtMs = Math.min(tally.createdAtMs, timeOfVersionId(id))
}

function newTally(): BucketTally {
  return {
    versions: 0,
    superseded: 0,
    cut: 0,
    hasIds: false,
    hasLocks: false,
    isNewestNull: false,
    newestSeq: -1,
    createdAtMs: Number.MAX_SAFE_INTEGER,
  }
}

/** It shows in what was put: the last one without an id after others with one was suspended. */
function versioningOf({ hasIds, isNewestNull }: BucketTally): Versioning {
  if (!hasIds) return 'off'
  return isNewestNull ? 'suspended' : 'enabled'
}

function range(gte: string, lt: string) {
  return { gte, lt }
}

function partsOfRow(row: string) {
  const first = row.indexOf('\0')
  const last = row.lastIndexOf('\0')
  const isMoved = row[last + 1 + SEQ_DIGITS] === MOVED
  const key = row.slice(first + 1, last)
  return { bucket: row.slice(FOUND_PREFIX.length, first), key, isMoved }
}
