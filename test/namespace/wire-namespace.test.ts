import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isStoreError } from '../../src/base/store-error.ts'
import { type Bucket, encodeBucket, NO_QUOTA } from '../../src/namespace/bucket-record.ts'
import type { ObjectPage, UploadPage, VersionPage } from '../../src/namespace/namespace-api.ts'
import {
  encodeObjectVersion,
  NO_ATTRIBUTES,
  type ObjectVersion,
} from '../../src/namespace/object-version.ts'
import {
  encodePart,
  encodeUpload,
  type Upload,
  type UploadedPart,
} from '../../src/namespace/upload-record.ts'
import { bucketChangeFromWire, createBucketFromWire } from '../../src/namespace/wire-namespace.ts'
import * as pages from '../../src/namespace/wire-pages.ts'
import * as records from '../../src/namespace/wire-records.ts'
import { messageNamed } from '../../src/net/proto-loading.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { aBucket, anObjectVersion, anUpload, aPart } from '../support/wire-rows-namespace.ts'

const VERSION: ObjectVersion = {
  ...NO_ATTRIBUTES,
  id: '0198c0ffee0012345678901234567890',
  isNull: false,
  isMarker: false,
  seq: 7,
  modifiedAtMs: 8,
  sizeBytes: 9,
  etag: '0123456789abcdef'.repeat(2),
  storageClass: 'STANDARD',
  checksum: undefined,
  parts: [{ fileId: '3,01637037d6', sizeBytes: 9 }],
  ownerId: 'ab'.repeat(32),
}
const UPLOAD: Upload = {
  ...NO_ATTRIBUTES,
  key: 'a/b',
  uploadId: VERSION.id,
  startedAtMs: 8,
  storageClass: 'STANDARD_IA',
  ownerId: undefined,
  checksumAlgorithm: 'SHA256',
  checksumType: 'COMPOSITE',
}
const PART: UploadedPart = {
  partNumber: 10_000,
  fileId: '3,01637037d6',
  sizeBytes: 5,
  md5: '00'.repeat(16),
  modifiedAtMs: 8,
  checksum: undefined,
}
const BUCKET: Bucket = {
  name: 'photos',
  id: 1,
  ownerId: 'ab'.repeat(32),
  createdAtMs: 8,
  versioning: 'off',
  isLockEnabled: false,
  documents: { policy: '{}' },
  quota: NO_QUOTA,
}

/** A version row that ends in this JSON, which no codec of ours would write. */
function versionWithExtra(json: string): Buffer {
  const row = encodeObjectVersion({ ...VERSION, acl: 'x' })
  const own = Buffer.from('{"acl":"x"}')
  expect(row.subarray(-own.length)).toEqual(own)
  const text = Buffer.from(json)
  expect(text.length).toBeLessThan(128)
  return Buffer.concat([row.subarray(0, -own.length - 1), Buffer.of(text.length), text])
}

/** A row of version 1 with this JSON. */
function jsonRow(value: unknown): Buffer {
  return Buffer.concat([Buffer.of(1), Buffer.from(JSON.stringify(value))])
}

describe('records', () => {
  test('travel as the rows in which they are kept', () => {
    expect(records.versionToWire(VERSION).row).toEqual(encodeObjectVersion(VERSION))
    expect(records.bucketToWire(BUCKET)).toEqual({ name: 'photos', row: encodeBucket(BUCKET) })
    const { key, uploadId } = UPLOAD
    const upload = { key, uploadId, row: encodeUpload(UPLOAD) }
    expect(records.uploadToWire(UPLOAD)).toEqual(upload)
    expect(records.partToWire(PART)).toEqual({ partNumber: 10_000, row: encodePart(PART) })
  })

  test.each([
    ['a version', anObjectVersion, records.versionToWire, records.versionFromWire],
    ['a bucket', aBucket, records.bucketToWire, records.bucketFromWire],
    ['an upload', anUpload, records.uploadToWire, records.uploadFromWire],
    ['a part', aPart, records.partToWire, records.partFromWire],
  ] as const)(
    '%s with any byte changed is refused, or one that can be stored',
    (_, values, toWire, fromWire) => {
      const encode = toWire as (value: unknown) => { readonly row: Uint8Array }
      const decode = fromWire as (wire: object) => unknown
      const change = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }))
      fc.assert(
        fc.property(values as fc.Arbitrary<unknown>, change, (value, [at, by]) => {
          const wire = encode(value)
          const row = Buffer.from(wire.row)
          const index = at % row.length
          row[index] = (row[index] ?? 0) ^ by
          try {
            encode(decode({ ...wire, row }))
          } catch (error) {
            if (!isStoreError(error, 'REQUEST_INVALID')) throw error
          }
        }),
        { numRuns: 1000 },
      )
    },
  )

  test.each([0, 1, 2, 10, 40])('a version row cut to %i bytes is refused', (length) => {
    const row = encodeObjectVersion(VERSION).subarray(0, length)
    expectStoreError(() => records.versionFromWire({ row }), 'REQUEST_INVALID')
  })

  test.each([
    'null',
    '5',
    '{',
    '{"headers":[]}',
    '{"headers":null}',
    '{"headers":{"cache-control":5}}',
    '{"metadata":"x"}',
    '{"metadata":{"a":null}}',
    '{"tags":{}}',
    '{"tags":[null]}',
    '{"tags":[["a","b"]]}',
    '{"tags":[{"key":"a"}]}',
    '{"tags":[{"key":"a","value":1}]}',
    '{"acl":{}}',
    '{"acl":7}',
  ])('a version with the attributes %s is refused', (json) => {
    const row = versionWithExtra(json)
    expectStoreError(() => records.versionFromWire({ row }), 'REQUEST_INVALID')
  })

  test('names that begin with two underscores are names, and change no prototype', () => {
    const row = versionWithExtra('{"metadata":{"__proto__":"a","constructor":"b"}}')
    const { metadata } = records.versionFromWire({ row })
    expect(Object.entries(metadata)).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ])
    expect(Object.getPrototypeOf(metadata)).toBe(Object.prototype)
    expect(Object.hasOwn(Object.prototype, 'a')).toBe(false)
    const again = records.versionFromWire(records.versionToWire({ ...VERSION, metadata }))
    expect(Object.keys(again.metadata)).toEqual(['__proto__', 'constructor'])
  })

  test.each([
    ['no object', 5],
    ['nothing', null],
    ['no owner', { ownerId: undefined }],
    ['an owner that is no id', { ownerId: 'alice' }],
    ['the id 0', { id: 0 }],
    ['an id that is text', { id: '1' }],
    ['an id of 33 bits', { id: 2 ** 32 }],
    ['a time before 1970', { createdAtMs: -1 }],
    ['versioning nobody knows', { versioning: 'on' }],
    ['a lock that is text', { isLockEnabled: 'false' }],
    ['documents that are a list', { documents: [] }],
    ['a document nobody knows', { documents: { website: '' } }],
    ['a document that is no text', { documents: { policy: {} } }],
    ['a quota below 0', { quota: { bytesMax: -1 } }],
    ['a quota that is text', { quota: { objectsMax: '1' } }],
  ])('a bucket with %s is refused', (_, change) => {
    const { name, ...rest } = BUCKET
    const value = typeof change === 'object' && change !== null ? { ...rest, ...change } : change
    expectStoreError(() => records.bucketFromWire({ name, row: jsonRow(value) }), 'REQUEST_INVALID')
  })

  test.each(['', 'ab', 'A-b-c', '10.0.0.1', 'a..b'])(
    'a bucket of the name %o is refused',
    (name) => {
      const wire = { ...records.bucketToWire(BUCKET), name }
      expectStoreError(() => records.bucketFromWire(wire), 'REQUEST_INVALID')
    },
  )

  test.each([
    ['no time', { startedAtMs: undefined }],
    ['a class nobody knows', { storageClass: 'COLD' }],
    ['an owner of an odd number of digits', { ownerId: 'abc' }],
    ['an owner of too few digits', { ownerId: 'abcd' }],
    ['an algorithm nobody knows', { checksumAlgorithm: 'MD5' }],
    ['a checksum type nobody knows', { checksumType: 'PART' }],
    ['headers that are a list', { headers: [] }],
    ['no headers', { headers: undefined }],
    ['a content type that is a number', { contentType: 5 }],
    ['tags that are text', { tags: 'a=b' }],
    ['a retention without a mode', { retention: { untilMs: 1 } }],
    ['a retention of half a millisecond', { retention: { mode: 'GOVERNANCE', untilMs: 0.5 } }],
    ['a legal hold that is a number', { isLegalHold: 1 }],
  ])('an upload with %s is refused', (_, change) => {
    const { key, uploadId, ...rest } = UPLOAD
    const row = jsonRow({ ...rest, ...change })
    expectStoreError(() => records.uploadFromWire({ key, uploadId, row }), 'REQUEST_INVALID')
  })

  test('an upload has no members but its own', () => {
    const { key, uploadId, ...rest } = UPLOAD
    const row = jsonRow({ ...rest, isRoot: true, uploadId: 'x', key: 'y' })
    expect(records.uploadFromWire({ key, uploadId, row })).toEqual(UPLOAD)
    for (const id of ['', 'x', 'AB'.repeat(16)]) {
      const wire = { key, uploadId: id, row }
      expectStoreError(() => records.uploadFromWire(wire), 'REQUEST_INVALID')
    }
    expectStoreError(() => records.uploadFromWire({ key: '', uploadId, row }), 'NAME_INVALID')
  })

  test.each([0, 10_001, -1, 1.5])('a part of the number %d is refused', (partNumber) => {
    const wire = { ...records.partToWire(PART), partNumber }
    expectStoreError(() => records.partFromWire(wire), 'REQUEST_INVALID')
  })
})

describe('what is new', () => {
  const { isMarker: _, isNull: __, modifiedAtMs: ___, seq: ____, ...newVersion } = VERSION

  test('has nothing yet that only a master can know', () => {
    const row = records.newVersionToRow(newVersion)
    expect(records.newVersionFromRow(row)).toEqual(newVersion)
    expect(Object.keys(records.newVersionFromRow(row))).not.toContain('seq')
  })

  test.each([
    ['a marker', { isMarker: true, etag: '' }],
    ['the version null', { isNull: true }],
    ['its sequence number', { seq: 1 }],
    ['its time', { modifiedAtMs: 1 }],
  ])('is refused as a version that is or says %s', (_, change) => {
    const plain = { ...VERSION, seq: 0, modifiedAtMs: 0 }
    const row = encodeObjectVersion({ ...plain, ...change })
    expectStoreError(() => records.newVersionFromRow(row), 'REQUEST_INVALID')
  })

  test('is refused as an upload or a part that says its time', () => {
    const { key, uploadId } = UPLOAD
    const upload = { key, uploadId, row: encodeUpload(UPLOAD) }
    expectStoreError(() => records.newUploadFromWire(upload), 'REQUEST_INVALID')
    const part = { partNumber: 1, row: encodePart(PART) }
    expectStoreError(() => records.newPartFromWire(part), 'REQUEST_INVALID')
  })

  test('has a row of 1 MiB at most', () => {
    const row = (length: number) => {
      const empty = records.newVersionToRow({ ...newVersion, acl: '' })
      // Lengths of more than 16,383 bytes have three bytes instead of one.
      const acl = 'a'.repeat(length - empty.length - 2)
      return records.newVersionToRow({ ...newVersion, acl })
    }
    expect(row(1024 * 1024)).toHaveLength(1024 * 1024)
    expect(records.newVersionFromRow(row(1024 * 1024)).id).toBe(VERSION.id)
    expectStoreError(() => records.newVersionFromRow(row(1024 * 1024 + 1)), 'REQUEST_INVALID')
  })

  test('fits with 10,000 parts that all have a checksum', () => {
    const part = { fileId: '4294967295,ffffffffffffffffffffffff', sizeBytes: 2 ** 40 }
    const checksum = Buffer.alloc(32, 7).toString('base64')
    const parts = Array.from({ length: 10_000 }, () => ({ ...part, checksum }))
    const version = { ...newVersion, parts }
    expect(records.newVersionFromRow(records.newVersionToRow(version))).toEqual(version)
  })
})

describe('documents of a bucket', () => {
  test('that a stranger names __proto__ change no prototype', () => {
    // map<string, string> documents = 4: one entry, by hand.
    const entry = Buffer.from('\x0a\x09__proto__\x12\x01x')
    const bytes = Buffer.concat([Buffer.of(0x22, entry.length), entry])
    const wire = messageNamed('CreateBucketRequest').deserialize(bytes) as Parameters<
      typeof createBucketFromWire
    >[0]
    const request = { ...wire, ownerId: 'ab'.repeat(32) }
    let documents: object = {}
    try {
      documents = createBucketFromWire(request).documents
    } catch (error) {
      expect(error).toMatchObject({ code: 'REQUEST_INVALID' })
    }
    expect(Object.keys(documents)).toEqual([])
    expect(Object.getPrototypeOf(documents)).toBe(Object.prototype)
    expect(Object.getPrototypeOf({})).toBe(Object.prototype)
  })

  test('of the empty text go, and those that are not named stay', () => {
    const nothing = { versioning: '', quota: null, enablesLock: false }
    const bucket = { name: 'photos', id: 1 }
    const cors = bucketChangeFromWire({ bucket, ...nothing, documents: { cors: '' } })
    expect(cors).toEqual({ documents: { cors: '' } })
    expect(bucketChangeFromWire({ bucket, ...nothing, documents: {} })).toEqual({})
  })
})

describe('pages', () => {
  /** Rows that differ, of about this size each. */
  function versionsOf(count: number, bytes: number) {
    return Array.from({ length: count }, (_, at) => ({
      key: `k${at}`,
      version: { ...VERSION, seq: at, metadata: { x: 'y'.repeat(bytes) } },
    }))
  }

  test.each([
    [0, 1],
    [1, 10],
    [10_000, 10],
    [10_000, 1000],
    [300, 100_000],
  ])('%i versions of %i bytes come back from pieces of 1 MiB', (count, bytes) => {
    const versions = versionsOf(count, bytes).map((listed) => ({
      ...listed,
      isLatest: true,
      becameNoncurrentAtMs: undefined,
    }))
    const next = { after: 'x', afterVersionId: undefined }
    const page: VersionPage = { versions, commonPrefixes: ['p/'], next }
    const pieces = [...pages.versionPageInPieces(page)]
    const sizes = pieces.map((piece) => messageNamed('VersionPage').serialize(piece).length)
    expect(Math.max(...sizes)).toBeLessThan(1024 * 1024 + bytes + 1000)
    const total = sizes.reduce((sum, size) => sum + size)
    expect(pieces.length).toBeLessThanOrEqual(Math.ceil(total / 900_000))
    expect(pieces.map((piece) => piece.next !== null).indexOf(true)).toBe(pieces.length - 1)
    expect(pages.joinVersionPages(pieces.map(pages.versionPageFromWire))).toEqual(page)
  })

  test('10,000 common prefixes of 1 KiB take more pieces than the one object beside them', () => {
    const commonPrefixes = Array.from({ length: 10_000 }, (_, at) => `${at}`.padEnd(1024, 'x'))
    const page: ObjectPage = { objects: versionsOf(1, 1), commonPrefixes, next: '9' }
    const pieces = [...pages.objectPageInPieces(page)]
    expect(pieces.length).toBeGreaterThan(9)
    expect(pages.joinObjectPages(pieces.map(pages.objectPageFromWire))).toEqual(page)
  })

  test('an empty page is one piece, and none at all is the peer failing', () => {
    const empty: UploadPage = { uploads: [], commonPrefixes: [], next: undefined }
    const pieces = [...pages.uploadPageInPieces(empty)]
    expect(pieces).toHaveLength(1)
    expect(pages.joinUploadPages(pieces.map(pages.uploadPageFromWire))).toEqual(empty)
    for (const join of [pages.joinObjectPages, pages.joinVersionPages, pages.joinUploadPages]) {
      expectStoreError(() => join([]), 'PEER_FAILED')
    }
  })

  test('a key that cannot be one is refused', () => {
    const { row } = records.versionToWire(VERSION)
    const page = { objects: [{ key: '', row }], commonPrefixes: [] }
    expectStoreError(() => pages.objectPageFromWire(page), 'NAME_INVALID')
  })
})
