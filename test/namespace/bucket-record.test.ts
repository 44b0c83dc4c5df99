import { describe, expect, test } from 'vitest'
import {
  type Bucket,
  decodeBucket,
  encodeBucket,
  isBucketName,
  NO_QUOTA,
} from '../../src/namespace/bucket-record.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'

const BUCKET: Bucket = {
  name: 'one',
  id: 7,
  ownerId: 'ab',
  createdAtMs: 1_704_067_200_000,
  versioning: 'suspended',
  isLockEnabled: false,
  documents: { policy: '{"a":"é"}' },
  quota: { bytesMax: 5, objectsMax: undefined },
}

const GOLDEN =
  '\u0001{"id":7,"ownerId":"ab","createdAtMs":1704067200000,"versioning":"suspended",' +
  '"isLockEnabled":false,"documents":{"policy":"{\\"a\\":\\"é\\"}"},"quota":{"bytesMax":5}}'

test('the row of a bucket has these bytes, and says the same when it is read', () => {
  const row = encodeBucket(BUCKET)
  expect(row.toString()).toBe(GOLDEN)
  expect(decodeBucket('one', row)).toEqual(BUCKET)
  const plain = { ...BUCKET, documents: {}, quota: NO_QUOTA }
  expect(decodeBucket('one', encodeBucket(plain))).toEqual(plain)
})

test('a row is METADATA_CORRUPT wherever it is cut', () => {
  for (const { bytes } of everyCut(encodeBucket(BUCKET))) {
    expectStoreError(() => decodeBucket('one', bytes), 'METADATA_CORRUPT')
  }
})

test('a row is METADATA_CORRUPT or a bucket with any byte changed', () => {
  for (const { bytes } of everyFlip(encodeBucket(BUCKET))) {
    const read = expectStoreErrorOrValue(() => decodeBucket('one', bytes), 'METADATA_CORRUPT')
    if (read !== undefined) expect(decodeBucket('one', encodeBucket(read))).toEqual(read)
  }
})

test.each([
  'null',
  '5',
  '[]',
  '{}',
  GOLDEN.slice(1).replace('"id":7', '"id":0'),
  GOLDEN.slice(1).replace('"id":7', '"id":4294967296'),
  GOLDEN.slice(1).replace('suspended', 'on'),
  GOLDEN.slice(1).replace('"ab"', '5'),
  GOLDEN.slice(1).replace('{"policy"', '[{"policy"').replace('},"quota"', '}],"quota"'),
  GOLDEN.slice(1).replace('"bytesMax":5', '"bytesMax":-1'),
])('a row of %s is METADATA_CORRUPT', (text) => {
  const row = Buffer.from(`\u0001${text}`)
  expectStoreError(() => decodeBucket('one', row), 'METADATA_CORRUPT')
})

describe('the name of a bucket', () => {
  test.each(['abc', '0ab', 'a-b.c', 'x'.repeat(63), '1.2.3', '1.2.3.4.5', 'xn-a', 'a-s3alias-a'])(
    'may be %o',
    (name) => {
      expect(isBucketName(name)).toBe(true)
    },
  )

  test.each([
    '',
    'ab',
    'x'.repeat(64),
    'Abc',
    'a_b',
    '-ab',
    'ab-',
    '.ab',
    'ab.',
    'a..b',
    '1.2.3.4',
    'xn--abc',
    'abc-s3alias',
    'abc\n',
    'abé',
    'a/b',
  ])('may not be %o', (name) => {
    expect(isBucketName(name)).toBe(false)
  })
})
