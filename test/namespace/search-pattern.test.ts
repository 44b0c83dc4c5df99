import { describe, expect, test } from 'vitest'
import {
  foldName,
  NameMatcher,
  PATTERN_CHARACTERS_MAX,
} from '../../src/namespace/search-pattern.ts'
import { gramsOf, longestGrams, searchKeys } from '../../src/namespace/search-rows.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { Prng } from '../support/prng.ts'

function matches(kind: 'substring' | 'glob', text: string, name: string): boolean {
  return new NameMatcher({ kind, text }).matches(foldName(name))
}

describe('a glob', () => {
  test.each([
    ['*', '', true],
    ['*', 'a', true],
    ['a*', 'abc', true],
    ['a*', 'ba', false],
    ['*c', 'abc', true],
    ['*c', 'abcd', false],
    ['a*c', 'ac', true],
    ['a*c', 'a', false],
    ['aba*aba', 'aba', false],
    ['aba*aba', 'abaaba', true],
    ['a**c', 'axxc', true],
    ['*ab*ab*', 'xabxabx', true],
    ['*ab*ab*', 'xabx', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['a?c', 'a😀c', true],
    ['??', '😀', false],
    ['?', '', false],
    ['*?', 'a', true],
    ['*.JPG', 'Urlaub.jpg', true],
    ['dir/*', 'dir/a/b', true],
    ['a\\*c', 'a*c', true],
    ['a\\*c', 'abc', false],
    ['a\\?c', 'a?c', true],
    ['a\\\\c', 'a\\c', true],
    ['*aab', 'aaaab', true],
    ['*a?b*c', 'aaxbaxbxc', true],
  ])('%s and %j: %s', (glob, name, expected) => {
    expect(matches('glob', glob, name)).toBe(expected)
  })

  test.each([1, 2, 3, 4, 5])('finds what a regular expression finds (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const draw = (letters: string, max: number) =>
      Array.from({ length: prng.below(max) }, () => letters[prng.below(letters.length)]).join('')
    for (let run = 0; run < 2000; run++) {
      const glob = draw('ab*?', 8) || '*'
      const name = draw('abc', 10)
      const source = glob.replaceAll('*', '.*').replaceAll('?', '.')
      expect([glob, name, matches('glob', glob, name)]).toEqual([
        glob,
        name,
        new RegExp(`^${source}$`, 's').test(name),
      ])
    }
  })

  test('of many stars against a name of the longest kind is done at once', () => {
    const matcher = new NameMatcher({ kind: 'glob', text: `${'*a?'.repeat(60)}b` })
    expect(matcher.matches('a'.repeat(1024))).toBe(false)
  })
})

describe('a substring', () => {
  test.each([
    ['ab', 'xABy', true],
    ['a*', 'ab', false],
    ['a*', 'xa*y', true],
    ['😀', 'a😀', true],
    ['ΟΔΟΣ', 'οδοσα', true],
    ['οδος', 'ΟΔΟΣΑ', true],
    ['ä', 'Ärger', true],
    ['a', 'Ärger', false],
    ['abc', 'ab', false],
  ])('%s and %j: %s', (text, name, expected) => {
    expect(matches('substring', text, name)).toBe(expected)
  })
})

test.each([
  ['an empty pattern', ''],
  ['a pattern that is too long', 'a'.repeat(PATTERN_CHARACTERS_MAX + 1)],
  ['half a character', '\ud800'],
  ['a NUL', 'a\0'],
  ['a backslash at the end', 'a\\'],
])('%s is refused', (_, text) => {
  expectStoreError(() => new NameMatcher({ kind: 'glob', text }), 'REQUEST_INVALID')
})

test('256 characters above U+FFFF are a pattern', () => {
  const text = '😀'.repeat(PATTERN_CHARACTERS_MAX)
  expect(matches('substring', text, `a${text}`)).toBe(true)
})

describe('runs of characters', () => {
  test('are each of one to three, once, and no half characters', () => {
    expect([...gramsOf('aab😀')]).toEqual(['a', 'b', '😀', 'aa', 'ab', 'b😀', 'aab', 'ab😀'])
    expect([...longestGrams('ab😀x')]).toEqual(['ab😀', 'b😀x'])
    expect([...longestGrams('a')]).toEqual(['a'])
  })

  test('make rows that a metadata store takes, also of the longest names', () => {
    const key = `u/${'😀ä'.repeat(170)}`
    for (const row of searchKeys(2 ** 32 - 1, key)) {
      expect(Buffer.byteLength(row)).toBeLessThan(4096)
      expect(row.endsWith(`\0${key}`)).toBe(true)
    }
  })
})
