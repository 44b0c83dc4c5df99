// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of policies look like this.
import { describe, expect, test } from 'vitest'
import {
  matchesPattern,
  matchesStars,
  type PatternSyntax,
  parseTextPattern,
} from '../../../../src/gateway/s3/access/text-pattern.ts'

const FULL: PatternSyntax = { hasWildcards: true, hasVariables: true }

function matches(source: string, text: string, syntax = FULL, user?: string): boolean {
  const pattern = parseTextPattern(source, syntax)
  if (typeof pattern === 'string') return expect.fail(pattern)
  return matchesPattern(pattern, text, (name) => (name === 'aws:username' ? user : undefined))
}

describe('a pattern', () => {
  test.each([
    ['', '', true],
    ['', 'a', false],
    ['a', '', false],
    ['a', 'a', true],
    ['a', 'A', false],
    ['a', 'ab', false],
    ['ab', 'a', false],
    ['*', '', true],
    ['*', 'anything/at all', true],
    ['**', '', true],
    ['**', 'x', true],
    ['a*', 'a', true],
    ['a*', 'abc', true],
    ['a*', 'ba', false],
    ['*a', 'a', true],
    ['*a', 'ba', true],
    ['*a', 'ab', false],
    ['a*c', 'ac', true],
    ['a*c', 'abbbc', true],
    ['a*c', 'abbb', false],
    ['a*b*c', 'a--b--b--c', true],
    ['a*b*c', 'a--c--b', false],
    ['*ab', 'aab', true],
    ['*aab', 'aaaab', true],
    ['a*a', 'a', false],
    ['?', '', false],
    ['?', 'x', true],
    ['?', 'xy', false],
    ['?', '😀', true],
    ['??', '😀', false],
    ['*??', '😀', false],
    ['*?', '😀', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['a?*', 'a', false],
    ['a?*', 'ab', true],
    ['*?b', 'b', false],
    ['*?b', 'xxb', true],
    ['.', 'x', false],
    ['[a]', 'a', false],
    ['a+', 'aa', false],
    ['日*', '日本', true],
    ['a\nb*', 'a\nbc', true],
    ['${*}', '*', true],
    ['${*}', 'x', false],
    ['${?}', '?', true],
    ['${?}', 'x', false],
    ['${$}{', '${', true],
    ['$', '$', true],
    ['a$b', 'a$b', true],
  ])('%o and %o: %o', (source, text, expected) => {
    expect(matches(source, text)).toBe(expected)
  })

  test.each([
    ['home/${aws:username}/*', 'home/sten/a', 'sten', true],
    ['home/${aws:username}/*', 'home/olga/a', 'sten', false],
    ['home/${AWS:UserName}/*', 'home/sten/a', 'sten', true],
    ['${aws:username}', 'sten', undefined, false],
    ['*${aws:username}', 'anything', undefined, false],
    ['${aws:username}', 'anything', '*', false],
    ['${aws:username}', '*', '*', true],
    ['${aws:username}', 'x', '?', false],
    ['${aws:username}', '', '', true],
    ['${aws:username}-${aws:username}', 'a-a', 'a', true],
    ['${aws:username}-${aws:username}', 'a-b', 'a', false],
  ])('%o and %o for user %o: %o', (source, text, user, expected) => {
    expect(matches(source, text, FULL, user)).toBe(expected)
  })

  test.each([
    [{ hasWildcards: false, hasVariables: true }, 'a*', 'a*', true],
    [{ hasWildcards: false, hasVariables: true }, 'a*', 'ab', false],
    [{ hasWildcards: false, hasVariables: true }, 'a?', 'ab', false],
    [{ hasWildcards: true, hasVariables: false }, '${aws:username}', '${aws:username}', true],
    [{ hasWildcards: true, hasVariables: false }, '${nonsense', '${nonsense', true],
    [
      { hasWildcards: true, hasVariables: false, isCaseless: true },
      'S3:Get*',
      's3:GETobject',
      true,
    ],
    [{ hasWildcards: false, hasVariables: true, isCaseless: true }, 'ÉA', 'éa', true],
  ])('with syntax %o: %o and %o: %o', (syntax, source, text, expected) => {
    expect(matches(source, text, syntax)).toBe(expected)
  })

  test.each(['${', 'a${aws:username', '${}', '${aws:SourceIp}', '${aws:username }', '${**}'])(
    'cannot be %o',
    (source) => {
      expect(typeof parseTextPattern(source, FULL)).toBe('string')
    },
  )

  test('of many stars against a long text is answered in steps that are counted, not doubled', () => {
    expect(matches('*a'.repeat(200), 'a'.repeat(199))).toBe(false)
    expect(matches('*a'.repeat(200), 'a'.repeat(2000))).toBe(true)
    expect(matches(`${'*a'.repeat(200)}b`, 'a'.repeat(2000))).toBe(false)
  })
})

describe('stars alone', () => {
  test.each([
    ['*', '', true],
    ['http://*.example.org', 'http://www.example.org', true],
    ['http://*.example.org', 'http://example.org', false],
    ['a?', 'a?', true],
    ['a?', 'ab', false],
    ['${aws:username}', '${aws:username}', true],
  ])('%o and %o: %o', (source, text, expected) => {
    expect(matchesStars(source, text)).toBe(expected)
  })
})
