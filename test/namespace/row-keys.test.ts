import { describe, expect, test } from 'vitest'
import {
  bucketRange,
  isObjectKey,
  keyOfObjectRow,
  keyOfVersionRow,
  nullKey,
  objectKey,
  parseObjectKey,
  partKey,
  partNumberOfRow,
  partRange,
  textAfterPrefix,
  uploadKey,
  uploadOfRow,
  versionKey,
  versionRange,
} from '../../src/namespace/row-keys.ts'
import { compareUtf8 } from '../../src/namespace/utf8-order.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { Prng, seeds } from '../support/prng.ts'

const ID = '018cc251f400aabbccdd000000001234'

test('rows have these keys', () => {
  expect(objectKey(1, 'a/b')).toBe('objects/00000001/a/b')
  expect(versionKey(0xffff_ffff, 'a', 0)).toBe('versions/ffffffff/a\0' + '1fffffffffffff')
  expect(versionKey(2, 'a', Number.MAX_SAFE_INTEGER)).toBe(
    'versions/00000002/a\0' + '00000000000000',
  )
  expect(nullKey(2, 'a')).toBe('nulls/00000002/a')
  expect(uploadKey(2, 'a', ID)).toBe(`uploads/00000002/a\0${ID}`)
  expect(partKey(2, ID, 7)).toBe(`parts/00000002/${ID}/00007`)
  expect(partRange(2, ID)).toEqual({
    gte: `parts/00000002/${ID}/`,
    lt: `parts/00000002/${ID}0`,
  })
})

test.each(['a', 'a/', 'a\u0001', '\uffff', '\u{10ffff}', '/', 'a\n'])(
  'the key %o comes back from its rows',
  (key) => {
    expect(keyOfObjectRow(objectKey(7, key))).toBe(key)
    expect(keyOfVersionRow(versionKey(7, key, 123))).toBe(key)
    expect(uploadOfRow(uploadKey(7, key, ID))).toEqual({ key, uploadId: ID })
    expect(partNumberOfRow(partKey(7, ID, 10_000))).toBe(10_000)
  },
)

test('versions lie in the order of their keys, and of one key the newest first', () => {
  const keys = ['a', 'a\u0001', 'a/', 'aa', 'b', '\ud7ff', '\ue000', '\uffff', '\u{10000}']
  const seqs = [Number.MAX_SAFE_INTEGER, 2 ** 40, 256, 255, 1, 0]
  const rows = keys.flatMap((key) => seqs.map((seq) => versionKey(1, key, seq)))
  expect(rows.toSorted(compareUtf8)).toEqual(rows)
  const { gte, lt } = versionRange(1, 'a')
  const inside = rows.filter((row) => compareUtf8(row, gte) >= 0 && compareUtf8(row, lt) < 0)
  expect(inside).toEqual(rows.slice(0, seqs.length))
})

test('a bucket has the rows with its id and no others', () => {
  const { gte, lt } = bucketRange('objects', 0x10)
  const isInside = (row: string) => compareUtf8(row, gte) >= 0 && compareUtf8(row, lt) < 0
  expect(isInside(objectKey(0x10, '\u{10ffff}'))).toBe(true)
  expect(isInside(objectKey(0x10, '\u0001'))).toBe(true)
  expect(isInside(objectKey(0x11, '\u0001'))).toBe(false)
  expect(isInside(objectKey(0x0f, '\u{10ffff}'))).toBe(false)
  expect(isInside(nullKey(0x10, 'a'))).toBe(false)
})

describe('a key of an object', () => {
  test.each([
    'a',
    '.',
    '..',
    '/',
    'a//b',
    'a/../b',
    '/a',
    'a/',
    ' ',
    '\u0001',
    '\n',
    'x'.repeat(1024),
    'é'.repeat(512),
    '日'.repeat(341),
    '\u{1f600}'.repeat(256),
  ])('may be %o', (key) => {
    expect(parseObjectKey(key)).toBe(key)
    expect(isObjectKey(key)).toBe(true)
  })

  test.each([
    '',
    '\0',
    'a\0b',
    '\ud800',
    'a\udc00',
    '\udc00\ud800',
    'x'.repeat(1025),
    `x${'é'.repeat(512)}`,
    '\u{1f600}'.repeat(257),
  ])('may not be %o', (key) => {
    expectStoreError(() => parseObjectKey(key), 'NAME_INVALID')
    expect(isObjectKey(key)).toBe(false)
  })
})

describe('the text after a prefix', () => {
  test.each([
    ['', undefined],
    ['a', 'b'],
    ['a/', 'a0'],
    ['a\u007f', 'a\u0080'],
    ['\ud7ff', '\ue000'],
    ['\uffff', '\u{10000}'],
    ['\u{103ff}', '\u{10400}'],
    ['\u{10ffff}', undefined],
    ['\u{10ffff}\u{10ffff}', undefined],
    ['a\u{10ffff}', 'b'],
    ['\ud7ff\u{10ffff}', '\ue000'],
    ['\uffff\u{10ffff}\u{10ffff}', '\u{10000}'],
  ])('%o is %o', (prefix, after) => {
    expect(textAfterPrefix(prefix)).toBe(after)
  })

  test.each(seeds(20))(
    'is above all that has the prefix, and nothing lies between (seed %d)',
    (seed) => {
      const prng = new Prng(seed)
      const points = [1, 0x2f, 0x61, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff]
      const text = () =>
        String.fromCodePoint(...Array.from({ length: prng.below(4) }, () => prng.pick(points)))
      for (let round = 0; round < 200; round++) {
        const prefix = text()
        const other = text()
        const after = textAfterPrefix(prefix)
        const isBelow = after === undefined || compareUtf8(other, after) < 0
        expect(other.startsWith(prefix)).toBe(compareUtf8(other, prefix) >= 0 && isBelow)
      }
    },
  )
})
