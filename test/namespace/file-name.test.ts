import { describe, expect, test } from 'vitest'
import { parseFileName, RESERVED_SEGMENTS } from '../../src/namespace/file-name.ts'
import { expectStoreError } from '../support/expect-error.ts'

describe('a name of a file', () => {
  test.each([
    'a',
    'holiday.jpg',
    '2024/03/holiday.jpg',
    ' ',
    '...',
    '.hidden',
    'a/..b',
    'a\\b',
    'é/日本/😀',
    'with\nnewline',
    '%2e%2e',
    'a,b',
    '3,nothex',
    '0,01637037d6',
    '3,01637037d6/deeper',
    '3/01637037d6',
    'dirx',
    'DIR/assign',
    'x/dir',
    'x'.repeat(1024),
    'é'.repeat(512),
  ])('may be %o', (name) => {
    expect(parseFileName(name)).toBe(name)
  })

  test.each([
    ['', 'empty'],
    ['x'.repeat(1025), '1025 bytes'],
    [`x${'é'.repeat(512)}`, '1025 bytes'],
    ['a\0b', 'NUL'],
    ['\ud800', 'Unicode'],
    ['a\udc00b', 'Unicode'],
    ['/', 'empty segment'],
    ['/a', 'empty segment'],
    ['a/', 'empty segment'],
    ['a//b', 'empty segment'],
    ['.', '. or ..'],
    ['..', '. or ..'],
    ['a/../b', '. or ..'],
    ['a/.', '. or ..'],
    ['3,01637037d6', 'file id'],
    ['3,01637037d6_2', 'file id'],
    ['3,01637037d6.jpg', 'file id'],
    ['4294967295,ffffffffffffffffffffffff', 'file id'],
  ])('may not be %o', (name, reason) => {
    const error = expectStoreError(() => parseFileName(name), 'NAME_INVALID')
    expect(error.message).toContain(reason)
  })

  test.each(RESERVED_SEGMENTS)('may not begin with the segment %s', (segment) => {
    expectStoreError(() => parseFileName(segment), 'NAME_INVALID')
    expectStoreError(() => parseFileName(`${segment}/a`), 'NAME_INVALID')
    expect(parseFileName(`${segment}a/${segment}`)).toBe(`${segment}a/${segment}`)
  })
})
