import type { ErrorCode } from '../../src/base/store-error.ts'
import type { Versioning } from '../../src/namespace/bucket-record.ts'
import type { NewVersion, ObjectChange, WriteCondition } from '../../src/namespace/namespace-api.ts'
import type { PutTerms } from '../../src/namespace/object-changes.ts'
import type { ObjectVersion, StoredPart } from '../../src/namespace/object-version.ts'
import type { Upload, UploadedPart } from '../../src/namespace/upload-record.ts'

export interface UploadState {
  readonly upload: Upload
  readonly parts: ReadonlyMap<number, UploadedPart>
}

export interface BucketState {
  readonly id: number
  readonly versioning: Versioning
  /** The newest first. */
  readonly keys: ReadonlyMap<string, readonly ObjectVersion[]>
  readonly uploads: ReadonlyMap<string, UploadState>
}

export interface State {
  readonly nextBucketId: number
  readonly buckets: ReadonlyMap<string, BucketState>
  /** Files that lost their name. */
  readonly dropped: ReadonlySet<string>
  /** The files that each one names. */
  readonly intents: ReadonlyMap<string, readonly string[]>
}

export const EMPTY: State = {
  nextBucketId: 1,
  buckets: new Map(),
  dropped: new Set(),
  intents: new Map(),
}

/** What an operation gives: a value, or the code of an error; and what is there afterwards. */
export interface Outcome {
  readonly state: State
  readonly value?: unknown
  readonly error?: ErrorCode
}

/** An operation on one bucket, at one time. */
export interface Place {
  readonly bucket: string
  readonly id: number
  readonly key: string
  readonly nowMs: number
}

export function createBucket(state: State, name: string): Outcome {
  if (state.buckets.has(name)) return { state, error: 'BUCKET_EXISTS' }
  const id = state.nextBucketId
  const made: BucketState = { id, versioning: 'off', keys: new Map(), uploads: new Map() }
  const buckets = new Map(state.buckets).set(name, made)
  return { state: { ...state, nextBucketId: id + 1, buckets }, value: id }
}

export function deleteBucket(state: State, name: string, id: number): Outcome {
  const bucket = state.buckets.get(name)
  if (bucket?.id !== id) return { state, error: 'BUCKET_NOT_FOUND' }
  if (bucket.keys.size > 0) return { state, error: 'BUCKET_NOT_EMPTY' }
  const buckets = new Map(state.buckets)
  buckets.delete(name)
  const parts = [...bucket.uploads.values()].flatMap((upload) => [...upload.parts.values()])
  return {
    state: drop(
      { ...state, buckets },
      parts.map(({ fileId }) => fileId),
    ),
  }
}

export function setVersioning(
  state: State,
  name: string,
  id: number,
  versioning: Versioning,
): Outcome {
  const bucket = state.buckets.get(name)
  if (bucket?.id !== id) return { state, error: 'BUCKET_NOT_FOUND' }
  return { state: withBucket(state, name, { ...bucket, versioning }), value: versioning }
}

export function put(
  state: State,
  place: Place,
  version: NewVersion,
  { condition, intentId, sharesWith }: PutTerms = {},
): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const versions = versionsOf(bucket, place.key)
  const before = versions.find(({ id }) => id === version.id)
  if (before !== undefined) return { state, value: before }
  const top = current(versions)
  const error = checkCondition(top, condition)
  if (error !== undefined) return { state, error }
  const isShared = sharesWith !== undefined
  if (isShared && (top?.id !== sharesWith || bucket.versioning !== 'off')) {
    return { state, error: 'PRECONDITION_FAILED' }
  }
  if (version.parts.some(({ fileId }) => state.dropped.has(fileId))) {
    return { state, error: 'REQUEST_INVALID' }
  }
  if (intentId !== undefined && !state.intents.has(intentId)) {
    return { state, error: 'INTENT_LOST' }
  }
  const made: ObjectVersion = {
    ...version,
    isNull: bucket.versioning !== 'enabled',
    isMarker: false,
    seq: nextSeq(versions, place.nowMs),
    modifiedAtMs: place.nowMs,
    ...(top !== undefined && {
      history: {
        writeCount: (top.history?.writeCount ?? 1) + 1,
        firstWrittenAtMs: top.history?.firstWrittenAtMs ?? top.modifiedAtMs,
      },
    }),
  }
  if (isReplacedLocked(versions, made)) return { state, error: 'OBJECT_LOCKED' }
  const intents = new Map(state.intents)
  if (intentId !== undefined) intents.delete(intentId)
  return { state: { ...push(state, place, made), intents }, value: made }
}

export function putIntent(
  state: State,
  id: string,
  fileIds: readonly string[],
  isMore: boolean,
): Outcome {
  const before = state.intents.get(id)
  if (before === undefined && isMore) return { state, error: 'INTENT_LOST' }
  const all = [...new Set([...(before ?? []), ...fileIds])]
  if (before?.length === all.length) return { state }
  return { state: { ...state, intents: new Map(state.intents).set(id, all) } }
}

export function undoIntent(state: State, id: string): Outcome {
  const files = state.intents.get(id)
  if (files === undefined) return { state, value: false }
  const intents = new Map(state.intents)
  intents.delete(id)
  return { state: drop({ ...state, intents }, files), value: true }
}

export interface DeleteOptions {
  readonly versionId?: string | undefined
  readonly bypassesGovernance?: boolean | undefined
  readonly condition?: WriteCondition | undefined
  readonly seq?: number | undefined
  readonly isNoncurrent?: boolean | undefined
}

export function remove(
  state: State,
  place: Place,
  options: DeleteOptions,
  marker: ObjectVersion | undefined,
): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const versions = versionsOf(bucket, place.key)
  if (options.versionId !== undefined) return removeVersion(state, place, versions, options)
  const top = current(versions)
  const error = checkCondition(top, options.condition)
  if (error !== undefined) return { state, error }
  const nothing = { isMarker: false, versionId: undefined }
  if (options.seq !== undefined && top?.seq !== options.seq) return { state, value: nothing }
  if (bucket.versioning === 'off') {
    if (top === undefined) return { state, value: nothing }
    if (isLocked(top, place.nowMs, false)) return { state, error: 'OBJECT_LOCKED' }
    return {
      state: replace(
        state,
        place,
        versions.filter((version) => version !== top),
      ),
      value: nothing,
    }
  }
  const isNull = bucket.versioning === 'suspended'
  const id = marker?.id ?? 'unknown'
  const made = {
    ...MARKER,
    id,
    isNull,
    seq: nextSeq(versions, place.nowMs),
    modifiedAtMs: place.nowMs,
  }
  if (isReplacedLocked(versions, made)) return { state, error: 'OBJECT_LOCKED' }
  const value = { isMarker: true, versionId: isNull ? 'null' : id }
  return { state: push(state, place, made), value }
}

function removeVersion(
  state: State,
  place: Place,
  versions: readonly ObjectVersion[],
  options: DeleteOptions,
): Outcome {
  const { versionId } = options
  const found = versions.find((version) => publicId(version) === versionId)
  if (found === undefined || (options.seq !== undefined && found.seq !== options.seq)) {
    return { state, value: { isMarker: false, versionId } }
  }
  if (options.isNoncurrent === true && found === versions[0]) {
    return { state, value: { isMarker: false, versionId } }
  }
  const error = checkCondition(found, options.condition)
  if (error !== undefined) return { state, error }
  if (isLocked(found, place.nowMs, options.bypassesGovernance === true)) {
    return { state, error: 'OBJECT_LOCKED' }
  }
  const left = versions.filter((version) => version !== found)
  return { state: replace(state, place, left), value: { isMarker: found.isMarker, versionId } }
}

export function find(state: State, place: Place, versionId: string | undefined): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const versions = versionsOf(bucket, place.key)
  const value =
    versionId === undefined
      ? versions[0]
      : versions.find((version) => publicId(version) === versionId)
  return { state, value }
}

export function change(
  state: State,
  place: Place,
  versionId: string | undefined,
  { moved, retention, ...rest }: ObjectChange,
  bypassesGovernance: boolean,
): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const versions = versionsOf(bucket, place.key)
  const { value } = find(state, place, versionId)
  const found = value as ObjectVersion | undefined
  if (found === undefined || found.isMarker) return { state, error: 'OBJECT_NOT_FOUND' }
  const before = found.retention
  if (retention !== undefined && before !== undefined && before.untilMs > place.nowMs) {
    const isLonger =
      retention.value?.mode === before.mode && retention.value.untilMs >= before.untilMs
    const mayAnyway = before.mode === 'GOVERNANCE' && bypassesGovernance
    if (!isLonger && !mayAnyway) return { state, error: 'OBJECT_LOCKED' }
  }
  const liesIn = (fileIds: readonly string[]) =>
    fileIds.join() === found.parts.map(({ fileId }) => fileId).join()
  if (moved?.from !== undefined && !liesIn(moved.from)) {
    return { state, error: 'PRECONDITION_FAILED' }
  }
  if (moved?.parts.some(({ fileId }) => state.dropped.has(fileId))) {
    return { state, error: 'REQUEST_INVALID' }
  }
  const changed: ObjectVersion = {
    ...found,
    parts: moved?.parts ?? found.parts,
    storageClass: moved?.storageClass ?? found.storageClass,
    tags: rest.tags ?? found.tags,
    isLegalHold: rest.isLegalHold ?? found.isLegalHold,
    retention: retention === undefined ? before : retention.value,
  }
  const all = versions.map((version) => (version === found ? changed : version))
  return { state: replace(state, place, all), value: changed }
}

export function createUpload(state: State, place: Place, upload: Upload): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const before = uploadOf(bucket, place.key, upload.uploadId)
  if (before !== undefined) return { state, value: before.upload }
  const made = { upload: { ...upload, startedAtMs: place.nowMs }, parts: new Map() }
  return { state: withUpload(state, place, upload.uploadId, made), value: made.upload }
}

export function findUpload(state: State, place: Place, uploadId: string): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  return { state, value: uploadOf(bucket, place.key, uploadId)?.upload }
}

export function putPart(
  state: State,
  place: Place,
  uploadId: string,
  part: Omit<UploadedPart, 'modifiedAtMs'>,
): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const upload = uploadOf(bucket, place.key, uploadId)
  if (upload === undefined) return { state, error: 'UPLOAD_NOT_FOUND' }
  const before = upload.parts.get(part.partNumber)
  if (before?.fileId === part.fileId) return { state, value: before }
  if (state.dropped.has(part.fileId)) return { state, error: 'REQUEST_INVALID' }
  const made = { ...part, modifiedAtMs: place.nowMs }
  const parts = new Map(upload.parts).set(part.partNumber, made)
  const next = withUpload(state, place, uploadId, { ...upload, parts })
  return { state: drop(next, before === undefined ? [] : [before.fileId]), value: made }
}

export function listParts(state: State, place: Place, uploadId: string): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const upload = uploadOf(bucket, place.key, uploadId)
  if (upload === undefined) return { state, error: 'UPLOAD_NOT_FOUND' }
  const numbers = [...upload.parts.keys()].sort((a, b) => a - b)
  return { state, value: numbers.map((number) => upload.parts.get(number)) }
}

export interface Completion {
  readonly uploadId: string
  readonly parts: readonly Pick<UploadedPart, 'partNumber' | 'fileId'>[]
  readonly etag: string
  readonly condition: WriteCondition | undefined
}

export function completeUpload(state: State, place: Place, request: Completion): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const { uploadId } = request
  const found = uploadOf(bucket, place.key, uploadId)
  if (found === undefined) {
    const done = versionsOf(bucket, place.key).find(({ id }) => id === uploadId)
    return done === undefined ? { state, error: 'UPLOAD_NOT_FOUND' } : { state, value: done }
  }
  const parts: StoredPart[] = []
  for (const { fileId, partNumber } of request.parts) {
    const part = found.parts.get(partNumber)
    if (part?.fileId !== fileId) return { state, error: 'PART_INVALID' }
    parts.push({ fileId, sizeBytes: part.sizeBytes })
  }
  const {
    checksumAlgorithm: _,
    checksumType: __,
    key: ___,
    startedAtMs: ____,
    ...rest
  } = found.upload
  const { uploadId: id, ...attributes } = rest
  const version = {
    ...attributes,
    id,
    parts,
    sizeBytes: parts.reduce((sum, part) => sum + part.sizeBytes, 0),
    etag: request.etag,
    checksum: undefined,
  }
  const outcome = put(state, place, version, { condition: request.condition })
  if (outcome.error !== undefined) return outcome
  const kept = new Set(parts.map(({ fileId }) => fileId))
  const unused = [...found.parts.values()].map(({ fileId }) => fileId)
  const left = unused.filter((fileId) => !kept.has(fileId))
  const ended = withUpload(outcome.state, place, uploadId, undefined)
  return { state: drop(ended, left), value: outcome.value }
}

export function abortUpload(state: State, place: Place, uploadId: string): Outcome {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
  const upload = uploadOf(bucket, place.key, uploadId)
  if (upload === undefined) return { state, error: 'UPLOAD_NOT_FOUND' }
  const files = [...upload.parts.values()].map(({ fileId }) => fileId)
  return { state: drop(withUpload(state, place, uploadId, undefined), files) }
}

export function publicId({ id, isNull }: ObjectVersion): string {
  return isNull ? 'null' : id
}

/** What readers see; a marker hides it. */
export function current(versions: readonly ObjectVersion[]): ObjectVersion | undefined {
  return versions[0]?.isMarker === false ? versions[0] : undefined
}

export function bucketOf(state: State, { bucket, id }: Place): BucketState | undefined {
  const found = state.buckets.get(bucket)
  return found?.id === id ? found : undefined
}

const MARKER: ObjectVersion = {
  id: '',
  isNull: false,
  isMarker: true,
  seq: 0,
  modifiedAtMs: 0,
  sizeBytes: 0,
  etag: '',
  storageClass: 'STANDARD',
  checksum: undefined,
  parts: [],
  ownerId: undefined,
  contentType: undefined,
  headers: {},
  metadata: {},
  tags: [],
  acl: undefined,
  retention: undefined,
  isLegalHold: false,
}

function versionsOf(bucket: BucketState, key: string): readonly ObjectVersion[] {
  return bucket.keys.get(key) ?? []
}

function uploadOf(bucket: BucketState, key: string, uploadId: string): UploadState | undefined {
  const found = bucket.uploads.get(uploadId)
  return found?.upload.key === key ? found : undefined
}

function nextSeq(versions: readonly ObjectVersion[], nowMs: number): number {
  return Math.max((versions[0]?.seq ?? 0) + 1, nowMs * 1000)
}

function checkCondition(
  top: ObjectVersion | undefined,
  { ifMatch, ifNoneMatch }: WriteCondition = {},
): ErrorCode | undefined {
  const matches = (etags: readonly string[]) =>
    top !== undefined && etags.some((etag) => etag === '*' || etag === top.etag)
  if (ifMatch !== undefined && top === undefined) return 'OBJECT_NOT_FOUND'
  if (ifMatch !== undefined && !matches(ifMatch)) return 'PRECONDITION_FAILED'
  return ifNoneMatch !== undefined && matches(ifNoneMatch) ? 'PRECONDITION_FAILED' : undefined
}

function isLocked(version: ObjectVersion, nowMs: number, bypasses: boolean): boolean {
  const { isLegalHold, retention } = version
  if (isLegalHold) return true
  if (retention === undefined || retention.untilMs <= nowMs) return false
  return retention.mode === 'COMPLIANCE' || !bypasses
}

function isReplacedLocked(versions: readonly ObjectVersion[], made: ObjectVersion): boolean {
  const before = versions.find(({ isNull }) => isNull && made.isNull)
  return before !== undefined && isLocked(before, made.modifiedAtMs, false)
}

/** A new version on top; of two versions `null` the old one goes. */
function push(state: State, place: Place, made: ObjectVersion): State {
  const bucket = bucketOf(state, place)
  const versions = bucket === undefined ? [] : versionsOf(bucket, place.key)
  const left = versions.filter((version) => !(made.isNull && version.isNull))
  return replace(state, place, [made, ...left])
}

/** The versions of a key become these; files that are in none of them any more are dropped. */
function replace(state: State, place: Place, versions: readonly ObjectVersion[]): State {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return state
  const keys = new Map(bucket.keys)
  if (versions.length === 0) keys.delete(place.key)
  else keys.set(place.key, versions)
  const kept = new Set(filesOf(versions))
  const gone = filesOf(versionsOf(bucket, place.key)).filter((fileId) => !kept.has(fileId))
  return drop(withBucket(state, place.bucket, { ...bucket, keys }), gone)
}

function withUpload(
  state: State,
  place: Place,
  uploadId: string,
  upload: UploadState | undefined,
): State {
  const bucket = bucketOf(state, place)
  if (bucket === undefined) return state
  const uploads = new Map(bucket.uploads)
  if (upload === undefined) uploads.delete(uploadId)
  else uploads.set(uploadId, upload)
  return withBucket(state, place.bucket, { ...bucket, uploads })
}

function withBucket(state: State, name: string, bucket: BucketState): State {
  return { ...state, buckets: new Map(state.buckets).set(name, bucket) }
}

function drop(state: State, fileIds: readonly string[]): State {
  return { ...state, dropped: new Set([...state.dropped, ...fileIds]) }
}

function filesOf(versions: readonly ObjectVersion[]): string[] {
  return versions.flatMap(({ parts }) => parts.map(({ fileId }) => fileId))
}
