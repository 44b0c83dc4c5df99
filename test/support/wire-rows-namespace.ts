import fc from 'fast-check'
import { formatFileId } from '../../src/base/file-id.ts'
import type { ErrorCode } from '../../src/base/store-error.ts'
import { BUCKET_DOCUMENTS, VERSIONINGS } from '../../src/namespace/bucket-record.ts'
import {
  EVENT_CAUSES,
  type EventCause,
  type EventLane,
  type ObjectEvent,
} from '../../src/namespace/event-record.ts'
import type {
  BucketChange,
  BucketRef,
  ChangeObjectRequest,
  ClaimEventsRequest,
  ClaimedEvents,
  CompleteUploadRequest,
  CreateBucketRequest,
  CreateUploadRequest,
  DeleteObjectRequest,
  DroppedPage,
  ListBucketsRequest,
  ListDroppedRequest,
  ListEventsRequest,
  ListObjectsRequest,
  MovedParts,
  NewVersion,
  ObjectChange,
  PutObjectRequest,
  PutPartRequest,
  RemoveEventsRequest,
  SearchObjectsRequest,
  UploadRef,
} from '../../src/namespace/namespace-api.ts'
import {
  CHECKSUM_ALGORITHMS,
  CHECKSUM_TYPES,
  DOCUMENT_STRATEGIES,
  type DocumentFacts,
  RETENTION_MODES,
  STORAGE_CLASSES,
} from '../../src/namespace/object-version.ts'
import { SEARCH_KINDS } from '../../src/namespace/search-pattern.ts'
import * as events from '../../src/namespace/wire-events.ts'
import * as intents from '../../src/namespace/wire-intents.ts'
import * as requests from '../../src/namespace/wire-namespace.ts'
import * as pages from '../../src/namespace/wire-pages.ts'
import * as records from '../../src/namespace/wire-records.ts'
import * as uploads from '../../src/namespace/wire-uploads.ts'
import type {
  DirtyObject,
  DirtyPage,
  IntentPage,
  ListedIntent,
  ListIntentsRequest,
  PutIntentRequest,
  UndoIntentRequest,
} from '../../src/namespace/write-intents-api.ts'
import { bool, fileId, maybe, type Row, row, someText, text, u32, u64 } from './wire-rows.ts'

const hexOf = (count: number) =>
  fc.uint8Array({ minLength: count, maxLength: count }).map((array) => hex(array))
const base64 = fc
  .uint8Array({ minLength: 4, maxLength: 32 })
  .map((array) => Buffer.from(array).toString('base64'))
const versionId = hexOf(16)
const owner = hexOf(32)
const key = fc.string({ unit: 'grapheme', minLength: 1 }).filter((each) => !each.includes('\0'))
const fileIdText = fileId.map(formatFileId)
const name = fc.stringMatching(/^[a-z][a-z0-9-]{1,20}[a-z]$/).filter((each) => !/^xn--/.test(each))
const limit = fc.integer({ min: 1, max: 10_000 })
const partNumber = fc.integer({ min: 1, max: 10_000 })
const bucket = fc.record({ name, id: fc.integer({ min: 1, max: 0xffff_ffff }) })

/** A field more in what is carried, left out here and on the wire, does not compile. */
type Every<Value> = Readonly<Record<keyof Value, unknown>>

/** Names that objects have by themselves are no reason to lose one. */
const dictionaryKey = fc.oneof(
  someText,
  fc.constantFrom('constructor', 'toString', 'hasOwnProperty'),
)
const texts = fc.dictionary(
  dictionaryKey.filter((each) => each !== '__proto__'),
  text,
  { maxKeys: 3, noNullPrototype: true },
)
const retention = fc.record({ mode: fc.constantFrom(...RETENTION_MODES), untilMs: u64 })
const tags = fc.array(fc.record({ key: text, value: text }), { maxLength: 3 })
const attributes = {
  contentType: maybe(text),
  headers: texts,
  metadata: texts,
  tags,
  acl: maybe(text),
  retention: maybe(retention),
  isLegalHold: bool,
}
const checksum = fc.record({
  algorithm: fc.constantFrom(...CHECKSUM_ALGORITHMS),
  type: fc.constantFrom(...CHECKSUM_TYPES),
  value: fc.tuple(base64, fc.constantFrom('', '-1', '-10000')).map((each) => each.join('')),
})
const storedParts = fc.array(
  fc.record({ fileId: fileIdText, sizeBytes: u64, checksum: maybe(base64) }),
  { maxLength: 3 },
)
const etag = fc.tuple(hexOf(16), fc.constantFrom('', '-1', '-10000')).map((each) => each.join(''))
const made = {
  id: versionId,
  sizeBytes: u64,
  etag,
  storageClass: fc.constantFrom(...STORAGE_CLASSES),
  checksum: maybe(checksum),
  parts: storedParts,
  ownerId: maybe(owner),
  recordFileId: maybe(fileIdText),
  document: maybe(
    fc.record({
      strategy: fc.constantFrom(...DOCUMENT_STRATEGIES),
      coldSha256: maybe(hexOf(32)),
    } satisfies Every<DocumentFacts>),
  ),
  ...attributes,
} satisfies Every<NewVersion>
const history = maybe(fc.record({ writeCount: u64, firstWrittenAtMs: u64 }))
export const anObjectVersion = fc
  .record({ ...made, history, isNull: bool, isMarker: bool, seq: u64, modifiedAtMs: u64 })
  .map((version) => (version.isMarker ? { ...version, etag: '' } : version))

const documents = fc
  .uniqueArray(fc.constantFrom(...BUCKET_DOCUMENTS))
  .chain((names) => fc.record(Object.fromEntries(names.map((each) => [each, text]))))
const quota = fc.record({ bytesMax: maybe(u64), objectsMax: maybe(u64) })
export const aBucket = fc
  .record({
    ref: bucket,
    ownerId: owner,
    createdAtMs: u64,
    versioning: fc.constantFrom(...VERSIONINGS),
    isLockEnabled: bool,
    documents,
    quota,
  })
  .map(({ ref, ...rest }) => ({ ...ref, ...rest }))
const begun = {
  key,
  uploadId: versionId,
  storageClass: fc.constantFrom(...STORAGE_CLASSES),
  ownerId: maybe(owner),
  initiatorId: maybe(owner),
  checksumAlgorithm: maybe(fc.constantFrom(...CHECKSUM_ALGORITHMS)),
  checksumType: maybe(fc.constantFrom(...CHECKSUM_TYPES)),
  ...attributes,
} satisfies Every<CreateUploadRequest['upload']>
export const anUpload = fc.record({ ...begun, startedAtMs: u64 })
const part = {
  partNumber,
  fileId: fileIdText,
  sizeBytes: u64,
  md5: hexOf(16),
  checksum: maybe(base64),
} satisfies Every<PutPartRequest['part']>
export const aPart = fc.record({ ...part, modifiedAtMs: u64 })
const etags = maybe(fc.array(text, { maxLength: 3 }))
const condition = maybe(fc.record({ ifMatch: etags, ifNoneMatch: etags }))
const eventCause = fc.record({
  kind: fc.constantFrom(...EVENT_CAUSES),
  requesterId: text,
  sourceAddress: text,
  requestId: text,
} satisfies Every<EventCause>)
const cause = maybe(eventCause)
const eventIdText = hexOf(7)
const lane = fc.record({
  target: someText,
  bucketId: fc.integer({ min: 1, max: 0xffff_ffff }),
} satisfies Every<EventLane>)
const event = fc.record({
  id: eventIdText,
  name: text,
  timeMs: u64,
  configurationId: text,
  bucketName: name,
  bucketOwnerId: owner,
  key,
  versionId: maybe(text),
  sizeBytes: maybe(u64),
  etag: maybe(text),
  storageClass: maybe(text),
  requesterId: text,
  sourceAddress: text,
  requestId: text,
} satisfies Every<ObjectEvent>)
const uploadRef = { bucket, key, uploadId: versionId } satisfies Every<UploadRef>
const listing = {
  bucket,
  prefix: text,
  delimiter: text,
  after: text,
  limit,
} satisfies Every<ListObjectsRequest>
const change = fc.record({
  tags: maybe(tags),
  acl: maybe(text),
  retention: maybe(fc.record({ value: maybe(retention) })),
  isLegalHold: maybe(bool),
  moved: maybe(
    fc
      .record({
        parts: storedParts,
        storageClass: fc.constantFrom(...STORAGE_CLASSES),
        from: fc.array(fileIdText, { maxLength: 3 }),
      } satisfies Every<MovedParts>)
      .map(({ from, ...rest }) => (from.length === 0 ? rest : { ...rest, from })),
  ),
} satisfies Every<ObjectChange>)
const commonPrefixes = fc.array(text, { maxLength: 3 })
const changeOfBucket = fc
  .record({
    versioning: maybe(fc.constantFrom('enabled' as const, 'suspended' as const)),
    documents: maybe(documents.filter((each) => Object.keys(each).length > 0)),
    quota: maybe(quota),
    isLockEnabled: maybe(fc.constant(true as const)),
  } satisfies Every<BucketChange>)
  .map((each): BucketChange => each)

/** Of a page that is small enough for one. */
function onlyPiece<Piece>(pieces: Iterable<Piece>): Piece {
  const [piece, ...others] = pieces
  if (piece === undefined || others.length > 0) throw new Error('not one piece')
  return piece
}

const REQUEST_ROWS: readonly Row[] = [
  row('BucketRef', bucket, requests.bucketRefToWire, requests.bucketRefFromWire),
  row(
    'CreateBucketRequest',
    fc.record({
      name,
      ownerId: owner,
      isLockEnabled: bool,
      documents,
    } satisfies Every<CreateBucketRequest>),
    requests.createBucketToWire,
    requests.createBucketFromWire,
  ),
  row(
    'ListBucketsRequest',
    fc.record({
      ownerId: maybe(owner),
      prefix: text,
      after: text,
      limit,
    } satisfies Every<ListBucketsRequest>),
    requests.listBucketsToWire,
    requests.listBucketsFromWire,
  ),
  row(
    'ChangeBucketRequest',
    fc.record({ ref: bucket, change: changeOfBucket }),
    (value: { ref: BucketRef; change: BucketChange }) =>
      requests.changeBucketToWire(value.ref, value.change),
    (wire) => ({
      ref: requests.bucketRefFromWire(wire.bucket),
      change: requests.bucketChangeFromWire(wire),
    }),
  ),
  row(
    'BucketUsage',
    fc.record({ bytes: u64, objects: u64 }),
    requests.usageToWire,
    requests.usageFromWire,
  ),
  row('WriteCondition', condition.filter(isThere), requests.conditionToWire, (wire) =>
    requests.conditionFromWire(wire),
  ),
  row(
    'PutObjectRequest',
    fc.record({
      bucket,
      key,
      version: fc.record(made),
      condition,
      cause,
      intentId: maybe(versionId),
      sharesWith: maybe(versionId),
      isDirty: maybe(fc.constant(true)),
    } satisfies Every<PutObjectRequest>),
    requests.putObjectToWire,
    requests.putObjectFromWire,
  ),
  row(
    'FindObjectRequest',
    fc.record({ bucket, key, versionId: maybe(text) }),
    requests.findObjectToWire,
    requests.findObjectFromWire,
  ),
  row(
    'DeleteObjectRequest',
    fc.record({
      bucket,
      key,
      versionId: maybe(text),
      bypassesGovernance: bool,
      isNoncurrent: bool,
      condition,
      seq: maybe(u64),
      cause,
    } satisfies Every<DeleteObjectRequest>),
    requests.deleteObjectToWire,
    requests.deleteObjectFromWire,
  ),
  row(
    'DeleteObjectResponse',
    fc.record({ isMarker: bool, versionId: maybe(text) }),
    requests.deletedToWire,
    requests.deletedFromWire,
  ),
  row(
    'ChangeObjectRequest',
    fc.record({
      bucket,
      key,
      versionId: maybe(text),
      change,
      bypassesGovernance: bool,
      id: maybe(versionId),
      cause,
    } satisfies Every<ChangeObjectRequest>),
    requests.changeObjectToWire,
    requests.changeObjectFromWire,
  ),
  row(
    'CreateUploadRequest',
    fc.record({ bucket, upload: fc.record(begun) }),
    uploads.createUploadToWire,
    uploads.createUploadFromWire,
  ),
  row('UploadRef', fc.record(uploadRef), uploads.uploadRefToWire, uploads.uploadRefFromWire),
  row(
    'PutPartRequest',
    fc.record({ ...uploadRef, part: fc.record(part) }),
    uploads.putPartToWire,
    uploads.putPartFromWire,
  ),
  row(
    'ListPartsRequest',
    fc.record({ ...uploadRef, after: fc.integer({ min: 0, max: 10_000 }), limit }),
    uploads.listPartsToWire,
    uploads.listPartsFromWire,
  ),
  row(
    'CompleteUploadRequest',
    fc.record({
      ...uploadRef,
      parts: fc.array(fc.record({ partNumber, fileId: fileIdText }), { maxLength: 3 }),
      etag: hexOf(16).map((md5) => `${md5}-3`),
      checksum: maybe(checksum),
      recordFileId: maybe(fileIdText),
      condition,
      cause,
    } satisfies Every<CompleteUploadRequest>),
    uploads.completeUploadToWire,
    uploads.completeUploadFromWire,
  ),
]

const EVENT_ROWS: readonly Row[] = [
  row('EventCause', eventCause, events.causeToWire, events.causeFromWire),
  row(
    'EventLane',
    lane,
    (value) => ({ ...value }),
    (wire: events.WireLane) => events.laneFromWire(wire),
  ),
  row(
    'ClaimEventsRequest',
    fc.record({
      claimant: someText,
      targets: fc.array(text, { maxLength: 3 }),
    } satisfies Every<ClaimEventsRequest>),
    (request) => ({ ...request }),
    events.claimEventsFromWire,
  ),
  row(
    'ClaimedEvents',
    fc.record({
      lanes: fc.array(lane, { maxLength: 3 }),
      unclaimed: fc.array(lane, { maxLength: 3 }),
    } satisfies Every<ClaimedEvents>),
    events.claimedToWire,
    events.claimedFromWire,
  ),
  row(
    'ListEventsRequest',
    fc.record({ lane, limit } satisfies Every<ListEventsRequest>),
    (request) => ({ ...request }),
    events.listEventsFromWire,
  ),
  row('EventList', fc.array(event, { maxLength: 3 }), events.eventsToWire, events.eventsFromWire),
  row(
    'RemoveEventsRequest',
    fc.record({
      lane,
      ids: fc.array(eventIdText, { maxLength: 3 }),
      outcome: fc.constantFrom('delivered' as const, 'givenUp' as const),
    } satisfies Every<RemoveEventsRequest>),
    (request) => ({ ...request }),
    events.removeEventsFromWire,
  ),
]

const intent = fc.record({
  id: versionId,
  session: someText,
  bucket: name,
  key,
  fileCount: u32,
  startedAtMs: u64,
  isOrphaned: bool,
} satisfies Every<ListedIntent>)
const dirty = fc.record({ bucket, key, id: versionId } satisfies Every<DirtyObject>)

const INTENT_ROWS: readonly Row[] = [
  row(
    'PutIntentRequest',
    fc.record({
      id: versionId,
      session: someText,
      bucket: name,
      key,
      fileIds: fc.array(fileIdText, { maxLength: 3 }),
      isMore: bool,
    } satisfies Every<PutIntentRequest>),
    intents.putIntentToWire,
    intents.putIntentFromWire,
  ),
  row(
    'ListIntentsRequest',
    fc.record({ after: text, limit } satisfies Every<ListIntentsRequest>),
    (request) => ({ ...request }),
    intents.listIntentsFromWire,
  ),
  row(
    'IntentList',
    fc.record({
      intents: fc.array(intent, { maxLength: 3 }),
      next: maybe(versionId),
    } satisfies Every<IntentPage>),
    intents.intentPageToWire,
    intents.intentPageFromWire,
  ),
  row(
    'UndoIntentRequest',
    fc.record({ id: versionId, isOnlyIfOrphaned: bool } satisfies Every<UndoIntentRequest>),
    (request) => ({ ...request }),
    intents.undoIntentFromWire,
  ),
  row('DirtyObject', dirty, intents.dirtyObjectToWire, intents.dirtyObjectFromWire),
  row(
    'DirtyList',
    fc.record({
      objects: fc.array(dirty, { maxLength: 3 }),
      next: maybe(someText),
    } satisfies Every<DirtyPage>),
    intents.dirtyPageToWire,
    intents.dirtyPageFromWire,
  ),
]

const PAGE_ROWS: readonly Row[] = [
  row('ListObjectsRequest', fc.record(listing), pages.listObjectsToWire, pages.listObjectsFromWire),
  row(
    'SearchObjectsRequest',
    fc.record({
      bucket,
      prefix: text,
      pattern: fc.record({ kind: fc.constantFrom(...SEARCH_KINDS), text }),
      after: text,
      limit,
    } satisfies Every<SearchObjectsRequest>),
    pages.searchObjectsToWire,
    pages.searchObjectsFromWire,
  ),
  row(
    'ListVersionsRequest',
    fc.record({ ...listing, afterVersionId: maybe(text) }),
    pages.listVersionsToWire,
    pages.listVersionsFromWire,
  ),
  row(
    'ListUploadsRequest',
    fc.record({ ...listing, afterUploadId: maybe(text) }),
    pages.listUploadsToWire,
    pages.listUploadsFromWire,
  ),
  row(
    'ListDroppedRequest',
    fc.record({ after: text, limit } satisfies Every<ListDroppedRequest>),
    (request) => ({ ...request }),
    pages.listDroppedFromWire,
  ),
  row(
    'DroppedPage',
    fc.record({ fileIds: fc.array(fileIdText), next: maybe(text) } satisfies Every<DroppedPage>),
    (page) => ({ ...page }),
    pages.droppedPageFromWire,
  ),
  row(
    'ObjectPage',
    fc.record({
      objects: fc.array(fc.record({ key, version: anObjectVersion }), { maxLength: 3 }),
      commonPrefixes,
      next: maybe(text),
    }),
    (page) => onlyPiece(pages.objectPageInPieces(page)),
    pages.objectPageFromWire,
  ),
  row(
    'VersionPage',
    fc.record({
      versions: fc.array(
        fc.record({
          key,
          version: anObjectVersion,
          isLatest: bool,
          becameNoncurrentAtMs: maybe(u64),
        }),
        { maxLength: 3 },
      ),
      commonPrefixes,
      next: maybe(fc.record({ after: text, afterVersionId: maybe(text) })),
    }),
    (page) => onlyPiece(pages.versionPageInPieces(page)),
    pages.versionPageFromWire,
  ),
  row(
    'UploadPage',
    fc.record({
      uploads: fc.array(anUpload, { maxLength: 3 }),
      commonPrefixes,
      next: maybe(fc.record({ after: text, afterUploadId: maybe(text) })),
    }),
    (page) => onlyPiece(pages.uploadPageInPieces(page)),
    pages.uploadPageFromWire,
  ),
  row(
    'BucketList',
    fc.array(aBucket, { minLength: 1, maxLength: 3 }),
    (buckets) => onlyPiece(pages.bucketsInPieces(buckets)),
    (wire) => wire.buckets.map(records.bucketFromWire),
  ),
  row(
    'UploadedPartList',
    fc.array(aPart, { minLength: 1, maxLength: 3 }),
    (parts) => onlyPiece(pages.partsInPieces(parts)),
    (wire) => wire.parts.map(records.partFromWire),
  ),
]

export const NAMESPACE_ROWS: readonly Row[] = [
  row('Bucket', aBucket, records.bucketToWire, records.bucketFromWire),
  row('ObjectVersion', anObjectVersion, records.versionToWire, records.versionFromWire),
  row('Upload', anUpload, records.uploadToWire, records.uploadFromWire),
  row('UploadedPart', aPart, records.partToWire, records.partFromWire),
  ...REQUEST_ROWS,
  ...EVENT_ROWS,
  ...INTENT_ROWS,
  ...PAGE_ROWS,
]

/** Messages that hold others, or a value or two, and are made where they are used. */
export const PLAIN_NAMESPACE: Readonly<Record<string, readonly string[]>> = {
  FindBucketRequest: ['name'],
  FindBucketResponse: ['bucket'],
  BucketQuota: ['bytesMax', 'objectsMax'],
  DeleteBucketRequest: ['bucket'],
  DeleteBucketResponse: [],
  GetBucketUsageRequest: ['bucket'],
  EtagList: ['etags'],
  FindObjectResponse: ['version'],
  Tag: ['key', 'value'],
  TagList: ['tags'],
  Retention: ['mode', 'untilMs'],
  RetentionChange: ['value'],
  StoredPart: ['fileId', 'sizeBytes', 'checksum'],
  MovedParts: ['parts', 'storageClass', 'fromFileIds'],
  ObjectChange: ['tags', 'acl', 'retention', 'isLegalHold', 'moved'],
  ListedObject: ['key', 'row'],
  ListedVersion: ['key', 'row', 'isLatest', 'becameNoncurrentAtMs'],
  VersionCursor: ['after', 'afterVersionId'],
  FindUploadRequest: ['upload'],
  FindUploadResponse: ['upload'],
  ObjectChecksum: ['algorithm', 'type', 'value'],
  CompletedPart: ['partNumber', 'fileId'],
  AbortUploadRequest: ['upload'],
  AbortUploadResponse: [],
  Event: ['id', 'row'],
  RemoveEventsResponse: [],
  SessionRequest: ['session'],
  SessionResponse: [],
  PutIntentResponse: [],
  WriteIntent: ['id', 'session', 'bucket', 'key', 'fileCount', 'startedAtMs', 'isOrphaned'],
  UndoIntentResponse: ['wasUndone'],
  SettleDirtyResponse: [],
  UploadCursor: ['after', 'afterUploadId'],
}

const CAUSE = { kind: 'ObjectRemoved', requesterId: '', sourceAddress: '', requestId: '' }
const LANE = { target: 'a', bucketId: 1 }
const REF = { name: 'photos', id: 1 }
const KEY = { bucket: REF, key: 'a' }
const LISTING = { bucket: REF, prefix: '', delimiter: '', after: '', limit: 1 }
const UPLOAD = { ...KEY, uploadId: 'ab'.repeat(16) }
const NO_CHANGE = { tags: null, retention: null, moved: null }
const ONE_DELETE = { ...KEY, bypassesGovernance: false, condition: null, isNoncurrent: false }
const COMPLETE = {
  upload: UPLOAD,
  parts: [],
  etag: `${'0'.repeat(32)}-1`,
  checksum: null,
  condition: null,
}
const BUCKET_CHANGE = {
  bucket: REF,
  versioning: '',
  documents: {},
  quota: null,
  enablesLock: false,
}
const NEW_BUCKET = { name: 'b', ownerId: 'ab'.repeat(32), isLockEnabled: false, documents: {} }
const MANY = Array.from({ length: 10_001 }, () => ({ partNumber: 1, fileId: '3,01637037d6' }))

export const HOSTILE_NAMESPACE: readonly [string, ErrorCode, () => unknown][] = [
  ['a bucket that is missing', 'REQUEST_INVALID', () => requests.bucketRefFromWire(null)],
  ['a bucket of the id 0', 'REQUEST_INVALID', () => requests.bucketRefFromWire({ ...REF, id: 0 })],
  [
    'a document nobody knows',
    'REQUEST_INVALID',
    () => requests.createBucketFromWire({ ...NEW_BUCKET, documents: { polices: '' } }),
  ],
  [
    'a document by the name of what every object has',
    'REQUEST_INVALID',
    () => requests.bucketChangeFromWire({ ...BUCKET_CHANGE, documents: { constructor: '' } }),
  ],
  [
    'an owner of 63 digits',
    'REQUEST_INVALID',
    () => requests.createBucketFromWire({ ...NEW_BUCKET, ownerId: 'a'.repeat(63) }),
  ],
  [
    'versioning that goes back to off',
    'REQUEST_INVALID',
    () => requests.bucketChangeFromWire({ ...BUCKET_CHANGE, versioning: 'off' }),
  ],
  [
    'a quota of 2^53 bytes',
    'REQUEST_INVALID',
    () => requests.bucketChangeFromWire({ ...BUCKET_CHANGE, quota: { bytesMax: 2 ** 53 } }),
  ],
  ['an empty key', 'NAME_INVALID', () => requests.findObjectFromWire({ ...KEY, key: '' })],
  ['a key with a NUL', 'NAME_INVALID', () => requests.findObjectFromWire({ ...KEY, key: 'a\0b' })],
  [
    'a key of 1025 bytes',
    'NAME_INVALID',
    () => requests.findObjectFromWire({ ...KEY, key: 'a'.repeat(1025) }),
  ],
  [
    'a sequence number of 2^53',
    'REQUEST_INVALID',
    () => requests.deleteObjectFromWire({ ...ONE_DELETE, seq: 2 ** 53 }),
  ],
  [
    '1,001 ETags',
    'REQUEST_INVALID',
    () => {
      const ifMatch = { etags: Array.from({ length: 1001 }, () => '*') }
      return requests.conditionFromWire({ ifMatch, ifNoneMatch: null })
    },
  ],
  [
    'a change that is missing',
    'REQUEST_INVALID',
    () => requests.changeObjectFromWire({ ...KEY, change: null, bypassesGovernance: false }),
  ],
  [
    'a version to be changed by an id that is none',
    'REQUEST_INVALID',
    () => {
      const asked = { ...KEY, change: NO_CHANGE, bypassesGovernance: false, id: 'null' }
      return requests.changeObjectFromWire(asked)
    },
  ],
  ['a retention of no mode', 'REQUEST_INVALID', () => changeOf({ mode: '', untilMs: 1 })],
  [
    'a retention until 2^53',
    'REQUEST_INVALID',
    () => changeOf({ mode: 'COMPLIANCE', untilMs: 2 ** 53 }),
  ],
  ['a move to a class nobody knows', 'REQUEST_INVALID', () => moveTo('3,01637037d6', 'COLD')],
  ['a move to what is no file', 'FILE_ID_INVALID', () => moveTo('3;01637037d6', 'STANDARD')],
  ['a page of 0', 'REQUEST_INVALID', () => pages.listObjectsFromWire({ ...LISTING, limit: 0 })],
  [
    'a page of 10,001',
    'REQUEST_INVALID',
    () => pages.listObjectsFromWire({ ...LISTING, limit: 10_001 }),
  ],
  [
    'a page after half a character',
    'NAME_INVALID',
    () => pages.listVersionsFromWire({ ...LISTING, after: '\ud800', afterVersionId: 'null' }),
  ],
  ['an upload that is missing', 'REQUEST_INVALID', () => uploads.uploadRefFromWire(null)],
  [
    'parts after a half',
    'REQUEST_INVALID',
    () => uploads.listPartsFromWire({ upload: UPLOAD, after: 0.5, limit: 1 }),
  ],
  [
    'an object of 10,001 parts',
    'REQUEST_INVALID',
    () => uploads.completeUploadFromWire({ ...COMPLETE, parts: MANY }),
  ],
  [
    'an upload with the ETag of a single put',
    'REQUEST_INVALID',
    () => uploads.completeUploadFromWire({ ...COMPLETE, etag: '0'.repeat(32) }),
  ],
  [
    'an upload with the ETag of 10,001 parts',
    'REQUEST_INVALID',
    () => uploads.completeUploadFromWire({ ...COMPLETE, etag: `${'0'.repeat(32)}-10001` }),
  ],
  [
    'a cause nobody knows',
    'REQUEST_INVALID',
    () => events.causeFromWire({ ...CAUSE, kind: 'ObjectEaten' }),
  ],
  ['a lane that is missing', 'REQUEST_INVALID', () => events.laneFromWire(null)],
  [
    'a lane of the bucket 0',
    'REQUEST_INVALID',
    () => events.laneFromWire({ ...LANE, bucketId: 0 }),
  ],
  ['a lane to nowhere', 'REQUEST_INVALID', () => events.laneFromWire({ ...LANE, target: '' })],
  [
    'a claim of nobody',
    'REQUEST_INVALID',
    () => events.claimEventsFromWire({ claimant: '', targets: [] }),
  ],
  [
    '65 events to be removed',
    'REQUEST_INVALID',
    () => {
      const ids = Array.from({ length: 65 }, () => '0123456789abcd')
      return events.removeEventsFromWire({ lane: LANE, ids, outcome: 'delivered' })
    },
  ],
  [
    'an event by an id that is none',
    'REQUEST_INVALID',
    () => events.removeEventsFromWire({ lane: LANE, ids: ['0'], outcome: 'delivered' }),
  ],
  [
    'an event of which nothing became',
    'REQUEST_INVALID',
    () => events.removeEventsFromWire({ lane: LANE, ids: [], outcome: '' }),
  ],
  [
    'an event whose row is none',
    'METADATA_CORRUPT',
    () => events.eventsFromWire({ events: [{ id: '0123456789abcd', row: Buffer.of(1) }] }),
  ],
  [
    'an intent by an id that is none',
    'REQUEST_INVALID',
    () => intents.undoIntentFromWire({ id: 'x', isOnlyIfOrphaned: true }),
  ],
  [
    'more files than an intent may name',
    'REQUEST_INVALID',
    () => {
      const fileIds = Array.from({ length: 20_001 }, () => '3,01637037d6')
      const rest = { session: 's', bucket: 'b', key: 'k', isMore: false }
      return intents.putIntentFromWire({ id: '0a'.repeat(16), fileIds, ...rest })
    },
  ],
  [
    'a dirty object of no version',
    'REQUEST_INVALID',
    () => intents.dirtyObjectFromWire({ bucket: { name: 'abc', id: 1 }, key: 'k', id: '' }),
  ],
  [
    'a checksum by an algorithm nobody knows',
    'REQUEST_INVALID',
    () => {
      const checksum = { algorithm: 'MD5', type: 'FULL_OBJECT', value: 'AAAA' }
      return uploads.completeUploadFromWire({ ...COMPLETE, checksum })
    },
  ],
]

function changeOf(value: object): unknown {
  const change = { ...NO_CHANGE, retention: { value } }
  return requests.changeObjectFromWire({ ...KEY, change, bypassesGovernance: false })
}

function moveTo(fileIdText: string, storageClass: string): unknown {
  const moved = { parts: [{ fileId: fileIdText, sizeBytes: 1 }], storageClass, fromFileIds: [] }
  const change = { ...NO_CHANGE, moved }
  return requests.changeObjectFromWire({ ...KEY, change, bypassesGovernance: false })
}

function isThere<Value>(value: Value | undefined): value is Value {
  return value !== undefined
}

function hex(array: Uint8Array): string {
  return Buffer.from(array).toString('hex')
}
