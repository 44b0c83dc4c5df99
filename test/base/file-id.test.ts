import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  formatFileId,
  parseFileId,
  parseFileIdPath,
  parseNeedleKey,
} from '../../src/base/file-id.ts'
import { cookie, needleIdFromBigInt, needleIdToBigInt, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'

const fileIds = fc
  .tuple(
    fc.integer({ min: 1, max: 0xffff_ffff }),
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.integer({ min: 0, max: 0xffff_ffff }),
  )
  .map(([volume, needle, value]) => ({
    volumeId: volumeId(volume),
    needleId: needleIdFromBigInt(needle),
    cookie: cookie(value),
  }))

describe('a file id', () => {
  test.each([
    ['3,01637037d6', 3, 1n, 0x6370_37d6],
    ['3,1637037d6', 3, 1n, 0x6370_37d6], // An odd number of digits.
    ['3,0000000000000001637037d6', 3, 1n, 0x6370_37d6], // 24 digits, the longest.
    ['3,01637037D6', 3, 1n, 0x6370_37d6],
    ['3,0000000000', 3, 0n, 0],
    ['003,01637037d6', 3, 1n, 0x6370_37d6],
    ['4294967295,ffffffffffffffffffffffff', 0xffff_ffff, (1n << 64n) - 1n, 0xffff_ffff],
    ['3,01637037d6_0', 3, 1n, 0x6370_37d6],
    ['3,01637037d6_4', 3, 5n, 0x6370_37d6],
    ['3,ff637037d6_1', 3, 0x100n, 0x6370_37d6],
    ['3,01637037d6_007', 3, 8n, 0x6370_37d6],
    ['3,fffffffffffffffe637037d6_1', 3, (1n << 64n) - 1n, 0x6370_37d6],
  ])('%s names volume %i, needle %d, cookie %i', (text, volume, needle, value) => {
    const fileId = parseFileId(text)
    expect(fileId.volumeId).toBe(volume)
    expect(needleIdToBigInt(fileId.needleId)).toBe(needle)
    expect(fileId.cookie).toBe(value)
  })

  test.each([
    ['', 'nothing'],
    ['3', 'no comma'],
    ['3,', 'no key'],
    [',01637037d6', 'no volume'],
    ['0,01637037d6', 'volume 0'],
    ['4294967296,01637037d6', 'volume 2^32'],
    ['-3,01637037d6', 'a sign'],
    ['3,637037d6', '8 digits: a cookie but no needle'],
    ['3,00000000000000001637037d6', '25 digits'],
    ['3,0163703zd6', 'no hex digit'],
    ['3,+1637037d6', 'a sign in the key'],
    ['3,0x01637037d6', 'a prefix'],
    ['3,01637037d6_', 'an empty suffix'],
    ['3,_1', 'only a suffix'],
    ['3,01637037d6_x', 'a suffix that is no number'],
    ['3,01637037d6_-1', 'a negative suffix'],
    ['3,01637037d6_1_2', 'two suffixes'],
    ['3,01637037d6_1000000000000000', 'a suffix of 16 digits'],
    ['3,ffffffffffffffff637037d6_1', 'a suffix that overflows'],
    ['3,4,01637037d6', 'two commas'],
    ['3,01637037d6.jpg', 'an extension'],
    ['3,01637037d6\n', 'a line feed'],
    [' 3,01637037d6', 'a space'],
  ])('%o is refused: %s', (text) => {
    expectStoreError(() => parseFileId(text), 'FILE_ID_INVALID')
  })

  test.each([
    ['3,1637037d6', '3,01637037d6'],
    ['3,0000000000000001637037D6', '3,01637037d6'],
    ['3,0100637037d6', '3,0100637037d6'],
    ['3,0100000001', '3,0100000001'],
    ['3,0000000000', '3,0000000000'],
    ['3,01637037d6_255', '3,0100637037d6'],
  ])('%s is written %s: whole bytes, no leading zero bytes', (text, written) => {
    expect(formatFileId(parseFileId(text))).toBe(written)
  })

  test('comes back from its text, also in upper case', () => {
    fc.assert(
      fc.property(fileIds, (fileId) => {
        expect(parseFileId(formatFileId(fileId))).toEqual(fileId)
        expect(parseFileId(formatFileId(fileId).toUpperCase())).toEqual(fileId)
      }),
    )
  })

  test('is never longer than the limit, which the longest one reaches', () => {
    const longest = `4294967295,${'0'.repeat(24)}_${'9'.repeat(15)}`
    expect(longest).toHaveLength(LIMITS.fileIdTextMax.value)
    expect(needleIdToBigInt(parseFileId(longest).needleId)).toBe(999_999_999_999_999n)
    for (const at of [0, longest.indexOf(',') + 1, longest.length]) {
      const longer = `${longest.slice(0, at)}0${longest.slice(at)}`
      expectStoreError(() => parseFileId(longer), 'FILE_ID_INVALID')
    }
  })

  test('any text is a file id or FILE_ID_INVALID', () => {
    const digits = fc.string({ unit: fc.constantFrom(...'0123456789abcdefF,_./%'), maxLength: 60 })
    fc.assert(
      fc.property(fc.oneof(fc.string(), digits), (text) => {
        expectStoreErrorOrValue(() => parseFileId(text), 'FILE_ID_INVALID')
        expectStoreErrorOrValue(() => parseNeedleKey(text), 'FILE_ID_INVALID')
        expectStoreErrorOrValue(() => parseFileIdPath(text), 'FILE_ID_INVALID')
        expectStoreErrorOrValue(() => parseFileIdPath(`/${text}`), 'FILE_ID_INVALID')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('the path of a file id', () => {
  test.each([
    ['/3,01637037d6', '', undefined],
    ['/3,01637037d6.jpg', '.jpg', undefined],
    ['/3,01637037d6_0.jpg', '.jpg', undefined],
    ['/3%2C01637037d6', '', undefined],
    ['/3,01637037d6.', '', undefined],
    ['/3/01637037d6', '', undefined],
    ['/3/01637037d6.tar', '.tar', undefined],
    ['/3/01637037d6/holiday.jpg', '.jpg', 'holiday.jpg'],
    ['/3/01637037d6/archive.tar.gz', '.gz', 'archive.tar.gz'],
    ['/3/01637037d6/README', '', 'README'],
    ['/3/01637037d6/.profile', '.profile', '.profile'],
    ['/3/01637037d6/a%20b%2Fc.txt', '.txt', 'a b/c.txt'],
    ['/3/01637037d6/%C3%A4.txt', '.txt', 'ä.txt'],
    ['/3/01637037d6/', '', undefined],
  ])('%s: extension %o, file name %o', (path, extension, fileName) => {
    const fileId = parseFileId('3,01637037d6')
    expect(parseFileIdPath(path)).toEqual({ fileId, extension, fileName })
  })

  test.each([
    ['', 'nothing'],
    ['/', 'no name'],
    ['3,01637037d6', 'no slash'],
    ['/3', 'a volume only'],
    ['/3,01637037d6.tar.gz', 'the key ends at the last dot'],
    ['//3,01637037d6', 'an empty part'],
    ['/3,01637037d6/name.jpg', 'comma and name'],
    ['/3/01637037d6.jpg/name.jpg', 'an extension before the name'],
    ['/3/01637037d6/a/b', 'four parts'],
    ['/3/01637037d6/a/b/c/d/e', 'seven parts'],
    ['/3/%zz', 'a broken escape'],
    ['/3/01637037d6/%ff', 'an escape that is not UTF-8'],
    ['/3,01637037d6?x=1', 'a query'],
  ])('%o is refused: %s', (path) => {
    expectStoreError(() => parseFileIdPath(path), 'FILE_ID_INVALID')
  })

  test('an error message quotes at most 60 characters of a hostile path', () => {
    const error = expectStoreError(() => parseFileIdPath('/x'.repeat(50_000)), 'FILE_ID_INVALID')
    expect(error.message.length).toBeLessThan(120)
  })
})
