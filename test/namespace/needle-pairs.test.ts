import { describe, expect, test } from 'vitest'
import {
  movedPairs,
  ownerPairs,
  readMovedPairs,
  readOwnerPairs,
  readVersionPairs,
  type ToldVersion,
  toldParts,
  versionPairs,
} from '../../src/namespace/needle-pairs.ts'
import { NO_ATTRIBUTES } from '../../src/namespace/object-version.ts'
import { Prng } from '../support/prng.ts'

const ID = '0198c0ffee0012345678901234567890'
const OWNER = { bucket: 'photos', key: 'a/b "c" ä', version: ID }
const PLAIN: ToldVersion = {
  ...NO_ATTRIBUTES,
  sizeBytes: 0,
  etag: '0'.repeat(32),
  checksum: undefined,
  ownerId: undefined,
  storageClass: 'STANDARD',
  isNull: false,
  isRecord: false,
  isCut: false,
}
const FULL: ToldVersion = {
  sizeBytes: 5 * 2 ** 40,
  etag: `${'0123456789abcdef'.repeat(2)}-10000`,
  checksum: { algorithm: 'SHA256', type: 'COMPOSITE', value: 'AAAA-10000' },
  contentType: 'text/plain; charset="ä"',
  headers: { 'cache-control': 'no-store' },
  metadata: { note: 'grüß dich', __proto: 'x' },
  tags: [{ key: 'a', value: '' }],
  acl: '{"grants":[]}',
  retention: { mode: 'COMPLIANCE', untilMs: 2 ** 41 },
  isLegalHold: true,
  ownerId: 'ab'.repeat(32),
  storageClass: 'GLACIER_IR',
  made: { modifiedAtMs: 2 ** 41, seq: 2 ** 51 },
  isNull: true,
  isRecord: true,
  isCut: false,
}

const HYBRID: ToldVersion = {
  ...PLAIN,
  sizeBytes: 800_016,
  document: { strategy: 'field_hybrid', coldSha256: 'cd'.repeat(32) },
  parts: [null, ['4,01637037d6', 800_000]],
}

describe('what a needle tells of its object', () => {
  test.each([
    ['a whole object', OWNER],
    ['part 1', { ...OWNER, partNumber: 1 }],
    ['part 10,000', { ...OWNER, partNumber: 10_000 }],
  ])('is read as it was written: %s', (_title, owner) => {
    expect(readOwnerPairs(ownerPairs(owner))).toEqual(owner)
  })

  test.each([
    ['nothing but what is usual', PLAIN],
    ['everything', FULL],
    ['a document of one file', { ...PLAIN, document: { strategy: 'ec' } } as const],
    ['one file of several', HYBRID],
  ])('is read as it was written: %s', (_title, told) => {
    expect(readVersionPairs(versionPairs(told))).toEqual(told)
  })

  test('is short where nothing is unusual', () => {
    const [text = ''] = Object.values(versionPairs(PLAIN))
    expect(text).toBe(`{"etag":"${PLAIN.etag}","size":0}`)
  })

  test.each([
    [40_000, false],
    [47_000, false],
    [50_000, true],
    [200_000, true],
  ])('with metadata of %d bytes: leaves it out is %s', (sizeBytes, isCut) => {
    const told = { ...FULL, metadata: { long: 'x'.repeat(sizeBytes) } }
    const pairs = { ...ownerPairs({ ...OWNER, key: '\u0001'.repeat(1024) }), ...versionPairs(told) }
    // What a needle holds of pairs.
    expect(Buffer.byteLength(JSON.stringify(pairs))).toBeLessThan(65_536)
    const left = { ...FULL, headers: {}, metadata: {}, tags: [], acl: undefined, isCut: true }
    expect(readVersionPairs(pairs)).toEqual(isCut ? left : told)
  })

  test('is nothing in the pairs of other needles', () => {
    for (const pairs of [undefined, {}, { color: 'blue' }, ownerPairs(OWNER)]) {
      expect(readVersionPairs(pairs)).toBeUndefined()
      expect(readMovedPairs(pairs)).toBeUndefined()
    }
    expect(readOwnerPairs({ 'S3-Bucket': 'b', 'S3-Key': 'k' })).toBeUndefined()
    expect(readOwnerPairs({ ...ownerPairs(OWNER), 'S3-Version': 'null' })).toBeUndefined()
    expect(readOwnerPairs({ ...ownerPairs(OWNER), 'S3-Key': 'a\0b' })).toBeUndefined()
    expect(readOwnerPairs({ ...ownerPairs(OWNER), 'S3-Part': 'x' })).toBeUndefined()
  })

  test.each(['', 'null', '[]', '"x"', '{"size":0}', '{"etag":"x","size":0}', '{"etag"'])(
    'is nothing when it is damaged: %s',
    (text) => {
      expect(readVersionPairs({ 'S3-Attributes': text })).toBeUndefined()
      expect(readMovedPairs({ 'S3-Moved': text })).toBeUndefined()
    },
  )

  test.each([
    ['no list', '{}'],
    ['none of them the needle itself', '[["4,01637037d6",5]]'],
    ['nothing', '[]'],
    ['two of them the needle itself', '[null,null]'],
    ['no file id', '[null,["4",5]]'],
    ['no size', '[null,["4,01637037d6"]]'],
    ['more than id and size', '[null,["4,01637037d6",5,6]]'],
    ['a size below 0', '[null,["4,01637037d6",-1]]'],
    ['more bytes than the object has', '[null,["4,01637037d6",11]]'],
    ['a number', '[null,5]'],
  ])('is nothing when its files are %s', (_what, parts) => {
    const text = (list: string) => `{"etag":"${'0'.repeat(32)}","size":10,"parts":${list}}`
    const sound = '[["4,01637037d6",5],null]'
    expect(readVersionPairs({ 'S3-Attributes': text(sound) })?.parts).toHaveLength(2)
    expect(readVersionPairs({ 'S3-Attributes': text(parts) })).toBeUndefined()
  })

  test.each(['{}', '"ec"', '{"strategy":"raid"}', '{"strategy":"ec","coldSha256":"ab"}'])(
    'is nothing when it is of a document that is none: %s',
    (document) => {
      const text = `{"etag":"${'0'.repeat(32)}","size":0,"document":${document}}`
      expect(readVersionPairs({ 'S3-Attributes': text })).toBeUndefined()
    },
  )

  test('of files names all but itself', () => {
    const part = (n: number) => ({ fileId: `4,0${n}637037d6`, sizeBytes: n })
    expect(toldParts([part(1)], part(1).fileId)).toBeUndefined()
    const told = toldParts([part(1), part(2), part(3)], part(2).fileId)
    expect(told).toEqual([[part(1).fileId, 1], null, [part(3).fileId, 3]])
  })

  test('never throws, whatever bytes of it changed', () => {
    const prng = new Prng(1)
    for (let n = 0; n < 4000; n++) {
      const [text = ''] = Object.values(versionPairs(n % 2 === 0 ? FULL : HYBRID))
      const at = prng.below(text.length)
      const other = String.fromCharCode(32 + prng.below(95))
      const told = readVersionPairs({
        'S3-Attributes': text.slice(0, at) + other + text.slice(at + 1),
      })
      if (told === undefined) continue
      expect(Number.isSafeInteger(told.sizeBytes)).toBe(true)
      expect(versionPairs(told)).toBeDefined()
    }
  })

  test('of a moved part names the file it was', () => {
    const moved = { fromFileId: '3,01637037d6', storageClass: 'STANDARD_IA' } as const
    expect(readMovedPairs(movedPairs(moved))).toEqual(moved)
    const unknown = { 'S3-Moved': '{"from":"3,01637037d6","class":"COLDEST"}' }
    expect(readMovedPairs(unknown)).toBeUndefined()
  })
})
