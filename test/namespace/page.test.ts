import { describe, expect, test } from 'vitest'
import { Page } from '../../src/namespace/page.ts'
import { expectStoreError } from '../support/expect-error.ts'

const ALL = { prefix: '', delimiter: '', after: '', limit: 10 }
const WHOLE = { gte: 'x/', lt: 'x0' }

function rangeOf(request: Partial<typeof ALL>) {
  return new Page({ ...ALL, ...request }).rangeIn(WHOLE, (key) => WHOLE.gte + key)
}

test.each([0, -1, 1.5, 10_001, Number.NaN])('a page of %d is REQUEST_INVALID', (limit) => {
  expectStoreError(() => new Page({ ...ALL, limit }), 'REQUEST_INVALID')
})

test.each([1, 10_000])('a page of %d is fine', (limit) => {
  expect(new Page({ ...ALL, limit }).next).toBeUndefined()
})

test.each(['after', 'delimiter', 'prefix'])(
  '%s that is not proper Unicode is NAME_INVALID',
  (name) => {
    for (const text of ['\ud800', 'a\udc00', '\udc00\ud800']) {
      expectStoreError(() => new Page({ ...ALL, [name]: text }), 'NAME_INVALID')
    }
  },
)

describe('the rows of a page', () => {
  test.each([
    ['all', {}, 'x/', 'x0'],
    ['of a prefix', { prefix: 'a/' }, 'x/a/', 'x/a0'],
    ['of the highest prefix', { prefix: '\u{10ffff}' }, 'x/\u{10ffff}', 'x0'],
    ['after a key', { after: 'a' }, 'x/a\u0001', 'x0'],
    ['after a key within the prefix', { prefix: 'a', after: 'ab' }, 'x/ab\u0001', 'x/b'],
    ['after the prefix itself', { prefix: 'a', after: 'a' }, 'x/a\u0001', 'x/b'],
    ['after a key below the prefix', { prefix: 'b', after: 'a' }, 'x/b', 'x/c'],
    ['after a common prefix', { delimiter: '/', after: 'a/' }, 'x/a0', 'x0'],
    [
      'after one that has a key too',
      { prefix: 'a/', delimiter: '/', after: 'a/' },
      'x/a/\u0001',
      'x/a0',
    ],
    ['after a key within a common prefix', { delimiter: '/', after: 'a/b' }, 'x/a/b\u0001', 'x0'],
    ['after a nested one', { prefix: 'a/', delimiter: '/', after: 'a/b/' }, 'x/a/b0', 'x/a0'],
    ['after text with a NUL', { after: 'a\0b' }, 'x/a\u0001', 'x0'],
    ['after a NUL', { after: '\0' }, 'x/', 'x0'],
    ['after a common prefix and a NUL', { delimiter: '/', after: 'a/\0' }, 'x/a/\u0001', 'x0'],
    [
      'after the highest common prefix',
      { delimiter: '\u{10ffff}', after: '\u{10ffff}' },
      'x0',
      'x0',
    ],
    ['of a prefix with a NUL', { prefix: 'a\0' }, 'x0', 'x0'],
  ])('%s', (_, request, gte, lt) => {
    expect(rangeOf(request)).toEqual({ gte, lt })
  })

  test('are none after a key above the prefix', () => {
    const { gte, lt } = rangeOf({ prefix: 'a', after: 'b' })
    expect(gte >= lt).toBe(true)
  })
})

describe('the entries of a page', () => {
  const take = (request: Partial<typeof ALL>, keys: readonly string[]) => {
    const page = new Page({ ...ALL, ...request })
    const steps = keys.map((key) => page.offer(key))
    return { steps: steps.join(' '), commonPrefixes: page.commonPrefixes, next: page.next }
  }

  test('are keys until the page is full; only then is there a next one', () => {
    expect(take({ limit: 2 }, ['a', 'b'])).toMatchObject({ steps: 'take take', next: undefined })
    expect(take({ limit: 2 }, ['a', 'b', 'c'])).toEqual({
      steps: 'take take full',
      commonPrefixes: [],
      next: { key: 'b', isCommon: false },
    })
  })

  test('may be several of one key', () => {
    expect(take({}, ['a', 'a', 'a']).steps).toBe('take take take')
  })

  test('are common prefixes too, each one entry however many keys it stands for', () => {
    const keys = ['a', 'a/b', 'a/c/d', 'a/', 'b', 'b/c', 'c']
    expect(take({ delimiter: '/', limit: 4 }, keys)).toEqual({
      steps: 'take pass pass pass take pass full',
      commonPrefixes: ['a/', 'b/'],
      next: { key: 'b/', isCommon: true },
    })
  })

  test('of a full page may still pass keys of its last common prefix', () => {
    const { next, steps } = take({ delimiter: '/', limit: 1 }, ['a/b', 'a/c'])
    expect([steps, next]).toEqual(['pass pass', undefined])
  })

  test('have the delimiter looked for behind the prefix, also if it has several characters', () => {
    const request = { prefix: 'a/', delimiter: '//' }
    expect(take(request, ['a//b', 'a/b//c', 'a/b/c'])).toMatchObject({
      steps: 'take pass take',
      commonPrefixes: ['a/b//'],
    })
  })
})
