import { formatFileId, parseFileId } from '../base/file-id.ts'
import { StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Bucket } from './bucket-record.ts'
import { dirtyRow } from './intent-record.ts'
import type {
  ChangeObjectRequest,
  DeleteObjectRequest,
  DeleteObjectResult,
  MovedParts,
  NewVersion,
  ObjectChange,
  PutObjectRequest,
} from './namespace-api.ts'
import { encodeSeq, type ObjectRows, type VersionRow } from './object-rows.ts'
import {
  encodeObjectVersion,
  NO_ATTRIBUTES,
  type ObjectHistory,
  type ObjectVersion,
  publicVersionId,
} from './object-version.ts'
import { checkFilesKept, type Plan, type RowChanges } from './row-changes.ts'
import { nullKey, objectKey, versionKey } from './row-keys.ts'
import { checkWriteCondition } from './write-condition.ts'
import { endIntent } from './write-intents.ts'

export interface ObjectChangesParts {
  readonly store: MetadataStore
  readonly rows: ObjectRows
  readonly bucket: Bucket
  readonly key: string
  readonly nowMs: number
  readonly changes: RowChanges
}

/** Beside the version itself. */
export type PutTerms = Pick<PutObjectRequest, 'condition' | 'intentId' | 'isDirty' | 'sharesWith'>

type VersionFiles = Pick<ObjectVersion, 'parts' | 'recordFileId'>

const US_PER_MS = 1000
const NO_FILES: ReadonlySet<string> = new Set()
const NOTHING_KEPT = { sizeBytes: 0, etag: '', checksum: undefined, parts: [] }

/**
 * What becomes of the rows of one key. It keeps:
 *
 * - `objects` has the newest version unless that is a marker; `versions` has all others.
 * - There is at most one version `null`; `nulls` names it exactly while it lies in `versions`.
 * - The files of a version that goes are dropped with the same batch.
 */
export class ObjectChanges {
  readonly #parts: ObjectChangesParts

  constructor(parts: ObjectChangesParts) {
    this.#parts = parts
  }

  /**
   * @throws {StoreError} PRECONDITION_FAILED, OBJECT_NOT_FOUND, OBJECT_LOCKED; REQUEST_INVALID: it
   * has a file that lost its name before.
   */
  async put(
    request: NewVersion,
    terms: PutTerms,
    signal: AbortSignal,
  ): Promise<Plan<ObjectVersion>> {
    const { bucket, changes, key, rows, store } = this.#parts
    const { condition, intentId, isDirty = false, sharesWith } = terms
    const version = asStored(request)
    const current = await rows.current(bucket.id, key, signal)
    const repeated = await this.#madeBefore(version.id, current, signal)
    if (repeated !== undefined) return { result: repeated.version }
    checkWriteCondition(current?.version, condition)
    const isShared = sharesWith !== undefined
    if (isShared && (current?.version.id !== sharesWith || bucket.versioning !== 'off')) {
      const why = 'the version whose files this one shares is not the newest, or would stay'
      throw new StoreError('PRECONDITION_FAILED', why)
    }
    const fileIds = filesOf(version)
    await checkFilesKept(store, fileIds, signal)
    if (intentId !== undefined) await endIntent(store, intentId, changes, signal)
    const made: ObjectVersion = {
      ...version,
      isNull: bucket.versioning !== 'enabled',
      isMarker: false,
      seq: await this.#nextSeq(current, signal),
      modifiedAtMs: this.#parts.nowMs,
      ...(current !== undefined && { history: historyAfter(current.version) }),
    }
    await this.#makeWay(current, made.isNull, signal, new Set(isShared ? fileIds : []))
    changes.put(objectKey(bucket.id, key), encodeObjectVersion(made))
    changes.count(made.sizeBytes, 1)
    if (isDirty || (isShared && (await this.#isDirty(sharesWith, signal)))) {
      const row = dirtyRow({ bucket, key, id: made.id })
      changes.put(row.key, row.value)
    }
    return { result: made, changes }
  }

  /** @throws {StoreError} OBJECT_LOCKED, PRECONDITION_FAILED, OBJECT_NOT_FOUND. */
  async delete(
    request: DeleteObjectRequest,
    markerId: string,
    signal: AbortSignal,
  ): Promise<Plan<DeleteObjectResult>> {
    if (request.versionId !== undefined) return await this.#deleteVersion(request, signal)
    const { bucket, changes, key, rows } = this.#parts
    const current = await rows.current(bucket.id, key, signal)
    checkWriteCondition(current?.version, request.condition)
    if (request.seq !== undefined && current?.version.seq !== request.seq) {
      return { result: { isMarker: false, versionId: undefined } }
    }
    if (bucket.versioning === 'off') {
      const result = { isMarker: false, versionId: undefined }
      if (current === undefined) return { result }
      await this.#makeWay(current, true, signal)
      return { result, changes }
    }
    const marker: ObjectVersion = {
      ...NO_ATTRIBUTES,
      ...NOTHING_KEPT,
      id: markerId,
      isNull: bucket.versioning === 'suspended',
      isMarker: true,
      seq: await this.#nextSeq(current, signal),
      modifiedAtMs: this.#parts.nowMs,
      storageClass: 'STANDARD',
      ownerId: undefined,
    }
    await this.#makeWay(current, marker.isNull, signal)
    changes.put(versionKey(bucket.id, key, marker.seq), encodeObjectVersion(marker))
    if (marker.isNull) changes.put(nullKey(bucket.id, key), encodeSeq(marker.seq))
    changes.count(0, 1)
    return { result: { isMarker: true, versionId: publicVersionId(marker) }, changes }
  }

  /**
   * @throws {StoreError} OBJECT_NOT_FOUND, OBJECT_LOCKED; PRECONDITION_FAILED: it lies elsewhere.
   * REQUEST_INVALID: it moved to a file that lost its name before.
   */
  async change(request: ChangeObjectRequest, signal: AbortSignal): Promise<Plan<ObjectVersion>> {
    const { bucket, changes, key, rows, store } = this.#parts
    const found =
      request.versionId === undefined
        ? await rows.current(bucket.id, key, signal)
        : await rows.find(bucket.id, key, request.versionId, signal)
    const isOther = request.id !== undefined && found?.version.id !== request.id
    if (found === undefined || found.version.isMarker || isOther) {
      throw new StoreError('OBJECT_NOT_FOUND', 'there is no such version to be changed')
    }
    const { change } = request
    checkRetention(found.version, change, this.#parts.nowMs, request.bypassesGovernance === true)
    const { version } = found
    const { acl = version.acl, retention } = change
    const moved = change.moved && asStored(change.moved)
    const changed: ObjectVersion = {
      ...version,
      parts: moved?.parts ?? version.parts,
      storageClass: moved?.storageClass ?? version.storageClass,
      acl: acl === '' ? undefined : acl,
      tags: change.tags ?? version.tags,
      isLegalHold: change.isLegalHold ?? version.isLegalHold,
      retention: retention === undefined ? version.retention : retention.value,
    }
    if (moved !== undefined) {
      checkMove(version, moved)
      const kept = new Set(moved.parts.map(({ fileId }) => fileId))
      await checkFilesKept(store, [...kept], signal)
      for (const { fileId } of version.parts) {
        if (!kept.has(fileId)) changes.dropFile(fileId, version.sizeBytes)
      }
    }
    changes.expect(found.key, found.value)
    changes.put(found.key, encodeObjectVersion(changed))
    return { result: changed, changes }
  }

  async #deleteVersion(
    request: DeleteObjectRequest,
    signal: AbortSignal,
  ): Promise<Plan<DeleteObjectResult>> {
    const { bucket, changes, key, rows } = this.#parts
    const { versionId = '' } = request
    const found = await rows.find(bucket.id, key, versionId, signal)
    const isOther = request.seq !== undefined && found?.version.seq !== request.seq
    if (found === undefined || isOther) return { result: { isMarker: false, versionId } }
    const { version } = found
    if (request.isNoncurrent === true && (await this.#isNewest(version, signal))) {
      return { result: { isMarker: false, versionId } }
    }
    checkWriteCondition(version, request.condition)
    checkLock(version, this.#parts.nowMs, request.bypassesGovernance === true)
    changes.expect(found.key, found.value)
    changes.delete(found.key)
    this.#drop(version)
    if (found.key === objectKey(bucket.id, key)) {
      await this.#promote(await rows.newestHidden(bucket.id, key, signal))
    } else {
      if (version.isNull) changes.delete(nullKey(bucket.id, key))
      await this.#uncover(version, signal)
    }
    return { result: { isMarker: version.isMarker, versionId }, changes }
  }

  async #isNewest({ seq }: ObjectVersion, signal: AbortSignal): Promise<boolean> {
    const { bucket, key, rows } = this.#parts
    const current = await rows.current(bucket.id, key, signal)
    const newest = current ?? (await rows.newestHidden(bucket.id, key, signal))
    return newest?.version.seq === seq
  }

  /** When the newest version was a marker that goes, the one below it is seen again. */
  async #uncover(gone: ObjectVersion, signal: AbortSignal): Promise<void> {
    const { bucket, changes, key, rows } = this.#parts
    if (!gone.isMarker || (await rows.current(bucket.id, key, signal)) !== undefined) return
    const newest = await rows.newestHidden(bucket.id, key, signal)
    if (newest?.version.seq !== gone.seq) return
    changes.expect(objectKey(bucket.id, key), undefined)
    await this.#promote(await rows.nextHidden(bucket.id, key, gone.seq, signal))
  }

  async #promote(next: VersionRow | undefined): Promise<void> {
    if (next === undefined || next.version.isMarker) return
    const { bucket, changes, key } = this.#parts
    changes.expect(next.key, next.value)
    changes.delete(next.key)
    changes.put(objectKey(bucket.id, key), next.value)
    if (next.version.isNull) changes.delete(nullKey(bucket.id, key))
  }

  /**
   * The current version, if there is one, becomes an older one; but of two versions `null` the old
   * one goes, wherever it lies.
   */
  async #makeWay(
    current: VersionRow | undefined,
    isNull: boolean,
    signal: AbortSignal,
    keptFiles: ReadonlySet<string> = NO_FILES,
  ): Promise<void> {
    const { bucket, changes, key, rows } = this.#parts
    const row = objectKey(bucket.id, key)
    changes.expect(row, current?.value)
    if (current !== undefined) {
      changes.delete(row)
      if (isNull && current.version.isNull) {
        this.#replace(current.version, keptFiles)
        return
      }
      changes.put(versionKey(bucket.id, key, current.version.seq), current.value)
      if (current.version.isNull) {
        changes.put(nullKey(bucket.id, key), encodeSeq(current.version.seq))
      }
    }
    if (!isNull || bucket.versioning === 'off') return
    const hidden = await rows.hiddenNull(bucket.id, key, signal)
    if (hidden === undefined) return
    changes.expect(hidden.key, hidden.value)
    changes.delete(hidden.key)
    changes.delete(nullKey(bucket.id, key))
    this.#replace(hidden.version, NO_FILES)
  }

  /** Where versions can be locked, all have ids, and none is replaced: this is a second lock. */
  #replace(version: ObjectVersion, keptFiles: ReadonlySet<string>): void {
    checkLock(version, this.#parts.nowMs, false)
    this.#drop(version, keptFiles)
  }

  /** What a version lacks, the one that has its files lacks too. */
  async #isDirty(id: string, signal: AbortSignal): Promise<boolean> {
    const { bucket, key, store } = this.#parts
    const row = dirtyRow({ bucket, key, id })
    const value = await store.get(row.key, signal)
    return value !== undefined && row.value.equals(value)
  }

  /** The version that an earlier try of the same put made, wherever it lies now. */
  async #madeBefore(
    id: string,
    current: VersionRow | undefined,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    if (current?.version.id === id) return current
    const { bucket, key, rows } = this.#parts
    if (bucket.versioning === 'off') return undefined
    return await rows.hiddenSince(bucket.id, key, id, signal)
  }

  #drop(version: ObjectVersion, keptFiles = NO_FILES): void {
    const { changes } = this.#parts
    for (const fileId of filesOf(version)) {
      if (!keptFiles.has(fileId)) changes.dropFile(fileId, version.sizeBytes)
    }
    changes.count(-version.sizeBytes, -1)
  }

  /** Above every version there is, and the time as far as that allows. */
  async #nextSeq(current: VersionRow | undefined, signal: AbortSignal): Promise<number> {
    const { bucket, key, nowMs, rows } = this.#parts
    const newest =
      current ??
      (bucket.versioning === 'off' ? undefined : await rows.newestHidden(bucket.id, key, signal))
    return Math.max((newest?.version.seq ?? 0) + 1, nowMs * US_PER_MS)
  }
}

function historyAfter({ history, modifiedAtMs }: ObjectVersion): ObjectHistory {
  const { firstWrittenAtMs = modifiedAtMs, writeCount = 1 } = history ?? {}
  return { writeCount: writeCount + 1, firstWrittenAtMs }
}

function checkLock(version: ObjectVersion, nowMs: number, bypassesGovernance: boolean): void {
  if (version.isLegalHold) throw new StoreError('OBJECT_LOCKED', 'a legal hold keeps this version')
  const { retention } = version
  if (retention === undefined || retention.untilMs <= nowMs) return
  if (retention.mode === 'GOVERNANCE' && bypassesGovernance) return
  const until = new Date(retention.untilMs).toISOString()
  throw new StoreError('OBJECT_LOCKED', `${retention.mode} keeps this version until ${until}`)
}

/** A repetition finds it where it is to go: the same once more does no harm. */
function checkMove(version: ObjectVersion, { from, parts, storageClass }: MovedParts): void {
  const liesIn = (fileIds: readonly string[]) =>
    fileIds.length === version.parts.length &&
    version.parts.every(({ fileId }, index) => fileId === fileIds[index])
  if (from === undefined || liesIn(from)) return
  if (version.storageClass === storageClass && liesIn(parts.map(({ fileId }) => fileId))) return
  throw new StoreError('PRECONDITION_FAILED', 'the bytes lie in other files by now')
}

/**
 * It may be made longer; for all else, the mode included, governance must be bypassed, and
 * compliance stays.
 */
function checkRetention(
  version: ObjectVersion,
  change: ObjectChange,
  nowMs: number,
  bypassesGovernance: boolean,
): void {
  const before = version.retention
  if (change.retention === undefined || before === undefined || before.untilMs <= nowMs) return
  const after = change.retention.value
  if (after?.mode === before.mode && after.untilMs >= before.untilMs) return
  if (before.mode === 'GOVERNANCE' && bypassesGovernance) return
  throw new StoreError('OBJECT_LOCKED', `a retention of ${before.mode} can only be made longer`)
}

/** A file has more than one text; only the one that is read from rows can be compared. */
function asStored<Files extends VersionFiles>(files: Files): Files {
  const { parts, recordFileId } = files
  return {
    ...files,
    parts: parts.map((part) => ({ ...part, fileId: storedFileId(part.fileId) })),
    ...(recordFileId !== undefined && { recordFileId: storedFileId(recordFileId) }),
  }
}

function storedFileId(fileId: string): string {
  return formatFileId(parseFileId(fileId))
}

/** All that a version keeps from being deleted. */
function filesOf({ parts, recordFileId }: VersionFiles): string[] {
  const fileIds = parts.map(({ fileId }) => fileId)
  return recordFileId === undefined ? fileIds : [...fileIds, recordFileId]
}
