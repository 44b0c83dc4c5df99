import { describe, expect, test } from 'vitest'
import { NO_ATTRIBUTES } from '../../src/namespace/object-version.ts'
import {
  decodePart,
  decodeUpload,
  encodePart,
  encodeUpload,
  type Upload,
  type UploadedPart,
} from '../../src/namespace/upload-record.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'

const ID = '018cc251f400aabbccdd000000001234'

const UPLOAD: Upload = {
  ...NO_ATTRIBUTES,
  key: 'a/é',
  uploadId: ID,
  startedAtMs: 5,
  storageClass: 'STANDARD_IA',
  ownerId: 'ab'.repeat(32),
  checksumAlgorithm: 'CRC32C',
  checksumType: 'COMPOSITE',
  metadata: { k: 'v' },
  tags: [{ key: 't', value: 'u' }],
  retention: { mode: 'GOVERNANCE', untilMs: 9 },
}

const UPLOAD_GOLDEN =
  '\u0001{"headers":{},"metadata":{"k":"v"},"tags":[{"key":"t","value":"u"}],' +
  '"retention":{"mode":"GOVERNANCE","untilMs":9},"isLegalHold":false,"startedAtMs":5,' +
  `"storageClass":"STANDARD_IA","ownerId":"${'ab'.repeat(32)}",` +
  '"checksumAlgorithm":"CRC32C","checksumType":"COMPOSITE"}'

const PART: UploadedPart = {
  partNumber: 7,
  fileId: '4294967295,0123456789abcdef637037d6',
  sizeBytes: 300,
  md5: 'd41d8cd98f00b204e9800998ecf8427e',
  modifiedAtMs: 1_704_067_200_000,
  checksum: 'AQID',
}

const PART_GOLDEN =
  '01ffffffff0123456789abcdef637037d6d41d8cd98f00b204e9800998ecf8427eac0280e8c792cc3103010203'

describe('the row of an upload', () => {
  test('has these bytes, and says the same when it is read', () => {
    const row = encodeUpload(UPLOAD)
    expect(row.toString()).toBe(UPLOAD_GOLDEN)
    expect(decodeUpload('a/é', ID, row)).toEqual(UPLOAD)
    const plain = { ...UPLOAD, retention: undefined, ownerId: undefined, checksumType: undefined }
    expect(decodeUpload('a/é', ID, encodeUpload(plain))).toEqual(plain)
  })

  test('may say who began it, whoever will own the object', () => {
    const begun = { ...UPLOAD, ownerId: undefined, initiatorId: 'cd'.repeat(32) }
    expect(decodeUpload('a/é', ID, encodeUpload(begun))).toEqual(begun)
    const row = Buffer.from(encodeUpload(begun).toString().replace('cdcd', 'cd'))
    expectStoreError(() => decodeUpload('a/é', ID, row), 'METADATA_CORRUPT')
  })

  test('is METADATA_CORRUPT cut anywhere; with any byte changed it may be an upload', () => {
    for (const { bytes } of everyCut(encodeUpload(UPLOAD))) {
      expectStoreError(() => decodeUpload('k', ID, bytes), 'METADATA_CORRUPT')
    }
    for (const { bytes } of everyFlip(encodeUpload(UPLOAD))) {
      const read = expectStoreErrorOrValue(() => decodeUpload('k', ID, bytes), 'METADATA_CORRUPT')
      if (read !== undefined) expect(decodeUpload('k', ID, encodeUpload(read))).toEqual(read)
    }
  })

  test.each([
    ['null', 'null'],
    ['5', '5'],
    ['{}', '{}'],
    ['another class', UPLOAD_GOLDEN.slice(1).replace('STANDARD_IA', 'COLD')],
    ['a short owner', UPLOAD_GOLDEN.slice(1).replace('abab', 'ab')],
    ['another algorithm', UPLOAD_GOLDEN.slice(1).replace('CRC32C', 'CRC')],
    ['another type of sum', UPLOAD_GOLDEN.slice(1).replace('COMPOSITE', 'OTHER')],
    ['another mode', UPLOAD_GOLDEN.slice(1).replace('GOVERNANCE', 'OTHER')],
    ['no tags', UPLOAD_GOLDEN.slice(1).replace('[{"key":"t","value":"u"}]', '5')],
    ['no headers', UPLOAD_GOLDEN.slice(1).replace('"headers":{}', '"headers":null')],
  ])('of %s is METADATA_CORRUPT', (_, text) => {
    const row = Buffer.from(`\u0001${text}`)
    expectStoreError(() => decodeUpload('k', ID, row), 'METADATA_CORRUPT')
  })
})

describe('the row of a part', () => {
  test('has these bytes, and says the same when it is read', () => {
    expect(encodePart(PART).toString('hex')).toBe(PART_GOLDEN)
    expect(decodePart(7, encodePart(PART), 'k')).toEqual(PART)
    const plain = { ...PART, checksum: undefined, sizeBytes: 0 }
    expect(decodePart(7, encodePart(plain), 'k')).toEqual(plain)
  })

  test('is METADATA_CORRUPT cut anywhere; with any byte changed it may be a part', () => {
    for (const { bytes } of everyCut(encodePart(PART))) {
      expectStoreError(() => decodePart(7, bytes, 'k'), 'METADATA_CORRUPT')
    }
    for (const { bytes } of everyFlip(encodePart(PART))) {
      const read = expectStoreErrorOrValue(() => decodePart(7, bytes, 'k'), 'METADATA_CORRUPT')
      if (read !== undefined) expect(decodePart(7, encodePart(read), 'k')).toEqual(read)
    }
  })

  test.each([
    ['another version', `02${PART_GOLDEN.slice(2)}`],
    ['volume 0', `0100000000${PART_GOLDEN.slice(10)}`],
    ['a byte too many', `${PART_GOLDEN}00`],
  ])('with %s is METADATA_CORRUPT', (_, hex) => {
    expectStoreError(() => decodePart(7, Buffer.from(hex, 'hex'), 'k'), 'METADATA_CORRUPT')
  })
})
