import { describe, expect, test } from 'vitest'
import {
  checkCopyConditions,
  checkReadConditions,
  type ObjectState,
  parseHttpDate,
} from '../../../../src/gateway/s3/access/preconditions.ts'
import { expectS3Error } from './access-scenes.ts'

const MODIFIED = 'Tue, 10 Mar 2026 10:30:00 GMT'
const BEFORE = 'Tue, 10 Mar 2026 10:29:59 GMT'
const AFTER = 'Tue, 10 Mar 2026 10:30:01 GMT'
/** Half a second after what `Last-Modified` says. */
const state: ObjectState = { etag: 'abc', lastModifiedMs: Date.parse(MODIFIED) + 500 }

type Headers = Readonly<Record<string, string>>

function outcome(check: (header: (name: string) => string | undefined) => void, headers: Headers) {
  const map = new Map(Object.entries(headers))
  try {
    check((name) => map.get(name))
  } catch {
    return expectS3Error(() => check((name) => map.get(name))).code
  }
  return 'go on'
}

/** By its short names, so that tables stay narrow. */
function headersOf(short: Headers, prefix = ''): Headers {
  const names = new Map([
    ['match', 'if-match'],
    ['none', 'if-none-match'],
    ['since', 'if-modified-since'],
    ['until', 'if-unmodified-since'],
  ])
  return Object.fromEntries(
    Object.entries(short).map(([name, value]) => [`${prefix}${names.get(name)}`, value]),
  )
}

const FAILED = 'PreconditionFailed'
const SAME = 'NotModified'

/** Conditions, and what a read and a copy make of them. */
const TABLE: readonly (readonly [Headers, string, string])[] = [
  [{}, 'go on', 'go on'],
  [{ match: '"abc"' }, 'go on', 'go on'],
  [{ match: 'abc' }, 'go on', 'go on'],
  [{ match: '*' }, 'go on', 'go on'],
  [{ match: ' * ' }, 'go on', 'go on'],
  [{ match: '"x", "abc"' }, 'go on', 'go on'],
  [{ match: '"x","abc"' }, 'go on', 'go on'],
  [{ match: 'x, abc' }, 'go on', 'go on'],
  [{ match: '"a,c", "abc"' }, 'go on', 'go on'],
  [{ match: '"x"' }, FAILED, FAILED],
  [{ match: '"ABC"' }, FAILED, FAILED],
  [{ match: '""' }, FAILED, FAILED],
  [{ match: '"*"' }, FAILED, FAILED],
  [{ match: 'W/"abc"' }, FAILED, FAILED],
  [{ match: 'W/"abc", "abc"' }, 'go on', 'go on'],
  [{ none: '"abc"' }, SAME, FAILED],
  [{ none: 'abc' }, SAME, FAILED],
  [{ none: 'W/"abc"' }, SAME, FAILED],
  [{ none: '*' }, SAME, FAILED],
  [{ none: '"x", W/"abc"' }, SAME, FAILED],
  [{ none: '"x"' }, 'go on', 'go on'],
  [{ none: '"x", "y"' }, 'go on', 'go on'],
  [{ since: BEFORE }, 'go on', 'go on'],
  [{ since: MODIFIED }, SAME, FAILED],
  [{ since: AFTER }, SAME, FAILED],
  [{ until: BEFORE }, FAILED, FAILED],
  [{ until: MODIFIED }, 'go on', 'go on'],
  [{ until: AFTER }, 'go on', 'go on'],
  // An ETag that fits goes before a time.
  [{ match: '"abc"', until: BEFORE }, 'go on', 'go on'],
  [{ match: '"x"', until: AFTER }, FAILED, FAILED],
  [{ none: '"abc"', since: BEFORE }, SAME, FAILED],
  [{ none: '"x"', since: AFTER }, 'go on', 'go on'],
  // What fails with 412 goes before what fails with 304.
  [{ match: '"x"', none: '"abc"' }, FAILED, FAILED],
  [{ match: '"abc"', none: '"abc"' }, SAME, FAILED],
  [{ match: '"abc"', none: '"x"' }, 'go on', 'go on'],
  [{ match: '"abc"', since: AFTER }, SAME, FAILED],
  [{ match: '"abc"', since: BEFORE }, 'go on', 'go on'],
  [{ until: BEFORE, none: '"abc"' }, FAILED, FAILED],
  [{ until: AFTER, none: '"abc"' }, SAME, FAILED],
  [{ until: BEFORE, since: AFTER }, FAILED, FAILED],
  [{ until: AFTER, since: BEFORE }, 'go on', 'go on'],
  // A time that cannot be read.
  [{ since: 'yesterday' }, 'go on', 'InvalidArgument'],
  [{ until: '' }, 'go on', 'InvalidArgument'],
  [{ until: '2020-01-01T00:00:00Z' }, 'go on', 'InvalidArgument'],
  [{ match: '"abc"', until: 'yesterday' }, 'go on', 'go on'],
  // A list of ETags that cannot be read.
  [{ match: '' }, 'InvalidArgument', 'InvalidArgument'],
  [{ none: ' ' }, 'InvalidArgument', 'InvalidArgument'],
  [{ none: '"abc' }, 'InvalidArgument', 'InvalidArgument'],
  [{ none: '"a" "b"' }, 'InvalidArgument', 'InvalidArgument'],
  [{ match: '"abc",' }, 'InvalidArgument', 'InvalidArgument'],
]

describe('conditions of a read', () => {
  test.each(TABLE)('%o: %s', (short, expected) => {
    expect(outcome((header) => checkReadConditions(header, state), headersOf(short))).toBe(expected)
  })

  test('that fail with 304 bring the headers that an answer needs', () => {
    const none = (name: string) => (name === 'if-none-match' ? '"abc"' : undefined)
    expect(expectS3Error(() => checkReadConditions(none, state))).toMatchObject({
      code: 'NotModified',
      status: 304,
      headers: { ETag: '"abc"', 'Last-Modified': MODIFIED },
    })
  })

  test('are not those of a copy', () => {
    const headers = headersOf({ match: '"x"' }, 'x-amz-copy-source-')
    expect(outcome((header) => checkReadConditions(header, state), headers)).toBe('go on')
  })
})

describe('conditions of a copy', () => {
  test.each(TABLE)('%o of a read would be %s: %s', (short, _, expected) => {
    const headers = headersOf(short, 'x-amz-copy-source-')
    expect(outcome((header) => checkCopyConditions(header, state), headers)).toBe(expected)
  })

  test('are not those of the object that is written', () => {
    const headers = headersOf({ match: '"x"', none: '*' })
    expect(outcome((header) => checkCopyConditions(header, state), headers)).toBe('go on')
  })
})

describe('a date of HTTP', () => {
  const known = Date.parse('1994-11-06T08:49:37Z')
  test.each([
    ['Sun, 06 Nov 1994 08:49:37 GMT', known],
    [' Sun, 06 Nov 1994 08:49:37 GMT ', known],
    ['Sunday, 06-Nov-94 08:49:37 GMT', known],
    ['Sun Nov  6 08:49:37 1994', known],
    ['Mon, 06 Nov 1994 08:49:37 GMT', known],
    ['Thu, 29 Feb 2024 00:00:00 GMT', Date.parse('2024-02-29T00:00:00Z')],
    ['Wednesday, 01-Jan-69 00:00:00 GMT', Date.parse('2069-01-01T00:00:00Z')],
    ['Thursday, 01-Jan-70 00:00:00 GMT', 0],
    ['Sat, 31 Dec 2016 23:59:60 GMT', Date.parse('2017-01-01T00:00:00Z')],
    ['', undefined],
    ['0', undefined],
    ['1994-11-06T08:49:37Z', undefined],
    ['Sun, 6 Nov 1994 08:49:37 GMT', undefined],
    ['Sun, 06 Nov 1994 08:49:37', undefined],
    ['Sun, 06 Nov 1994 08:49:37 +0100', undefined],
    ['Sun, 06 Nov 1994 24:00:00 GMT', undefined],
    ['Sun, 06 Nov 1994 08:60:00 GMT', undefined],
    ['Sun, 06 Nov 1994 08:00:61 GMT', undefined],
    ['Sun, 31 Nov 1994 08:49:37 GMT', undefined],
    ['Thu, 29 Feb 2023 00:00:00 GMT', undefined],
    ['Sun, 00 Nov 1994 08:49:37 GMT', undefined],
    ['Sun, 06 Abc 1994 08:49:37 GMT', undefined],
    ['sun, 06 nov 1994 08:49:37 gmt', undefined],
    ['Sun, 06 Nov 1994 08:49:37 GMT\n; x', undefined],
  ])('%o is %o', (text, expected) => {
    expect(parseHttpDate(text)).toBe(expected)
  })
})
