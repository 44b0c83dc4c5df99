import { expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import {
  decodeIntent,
  decodeNamedFile,
  decodeOwner,
  encodeIntent,
  encodeNamedFile,
  encodeOwner,
  fileIdTextOfIntent,
  intentKey,
  nameKey,
  ownerKey,
} from '../../src/namespace/named-file-record.ts'
import { expectStoreError } from '../support/expect-error.ts'

const FILE = {
  name: 'a/é',
  fileId: parseFileId('4294967294,0123456789abcdef637037d6'),
  dataBytes: 2 ** 40 + 5,
  modifiedAtMs: 1_704_067_200_123,
}

const GOLDEN = '01fffffffe0123456789abcdef637037d600000100000000050000018cc251f47b'

test('the row of a name has these bytes, and says the same when it is read', () => {
  const row = encodeNamedFile(FILE)
  expect(Buffer.from(row).toString('hex')).toBe(GOLDEN)
  expect(decodeNamedFile(FILE.name, row)).toEqual(FILE)
})

test.each([
  ['nothing', ''],
  ['another version', `02${GOLDEN.slice(2)}`],
  ['a byte too few', GOLDEN.slice(0, -2)],
  ['a byte too many', `${GOLDEN}00`],
  ['volume 0', `0100000000${GOLDEN.slice(10)}`],
  [
    'more bytes than a number can hold',
    `${GOLDEN.slice(0, 34)}ffffffffffffffff${GOLDEN.slice(50)}`,
  ],
])('a row with %s is METADATA_CORRUPT', (_, hex) => {
  expectStoreError(() => decodeNamedFile('a', Buffer.from(hex, 'hex')), 'METADATA_CORRUPT')
})

test('the rows of owners and intents come back; others are METADATA_CORRUPT', () => {
  expect(decodeOwner('k', encodeOwner('a/é'))).toBe('a/é')
  expect(decodeIntent('k', encodeIntent(7))).toBe(7)
  expect(decodeIntent('k', encodeIntent(70_000))).toBe(65_535)
  expectStoreError(() => decodeOwner('k', Buffer.of(2, 97)), 'METADATA_CORRUPT')
  expectStoreError(() => decodeOwner('k', Buffer.of()), 'METADATA_CORRUPT')
  expectStoreError(() => decodeIntent('k', Buffer.of(1, 0)), 'METADATA_CORRUPT')
  expectStoreError(() => decodeIntent('k', Buffer.of(3, 0, 0)), 'METADATA_CORRUPT')
})

test('keys are these, and intents sort by the time they come due', () => {
  expect(nameKey('a/b')).toBe('names/a/b')
  expect(ownerKey(parseFileId('3,01637037d6'))).toBe('name-files/3,01637037d6')
  const key = intentKey(1_704_067_200_000, parseFileId('3,01637037d6'))
  expect(key).toBe('name-intents/018cc251f400/3,01637037d6')
  expect(fileIdTextOfIntent(key)).toBe('3,01637037d6')
  const times = [0, 9, 15, 16, 255, 256, 2 ** 40, 2 ** 47]
  const keys = times.map((dueAtMs) => intentKey(dueAtMs, parseFileId('3,01637037d6')))
  expect(keys.toSorted()).toEqual(keys)
})
