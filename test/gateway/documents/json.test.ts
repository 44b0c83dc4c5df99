import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import { canonicalMembers, canonicalText } from '../../../src/gateway/documents/canonical-json.ts'
import { checkJsonObject, JsonScanner } from '../../../src/gateway/documents/json-scanner.ts'
import { expectStoreError } from '../../support/expect-error.ts'
import { Prng } from '../../support/prng.ts'

const SEED = Number(process.env['SEED'] ?? 1)
const RUNS = { seed: SEED, numRuns: 500 }

function isTaken(text: Uint8Array): boolean {
  try {
    checkJsonObject(text)
    return true
  } catch {
    return false
  }
}

/** What JSON.parse makes of it, told apart from what it refuses. */
function parsed(text: Uint8Array): unknown {
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    return JSON.parse(decoder.decode(text))
  } catch {
    return undefined
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function canonical(text: string): string {
  return canonicalText(Buffer.from(text)).toString('utf8')
}

/** The same value written in another way: order, white space, escapes. */
function rewritten(value: unknown, prng: Prng): string {
  const space = () => [' ', '\n', '\t', '\r', '', ''][prng.below(6)] ?? ''
  if (typeof value === 'string') return rewrittenText(value, prng)
  if (Array.isArray(value)) {
    const items = value.map((item) => `${space()}${rewritten(item, prng)}${space()}`)
    return `[${items.join(',') || space()}]`
  }
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.entries(value as object).map(([key, member]) => {
    return `${space()}${rewrittenText(key, prng)}${space()}:${space()}${rewritten(member, prng)}`
  })
  for (let at = members.length - 1; at > 0; at--) {
    const other = prng.below(at + 1)
    const [a = '', b = ''] = [members[at], members[other]]
    members[at] = b
    members[other] = a
  }
  return `${space()}{${members.join(',') || space()}}${space()}`
}

function rewrittenText(text: string, prng: Prng): string {
  const units = Array.from({ length: text.length }, (_, at) => {
    const hex = text.charCodeAt(at).toString(16).padStart(4, '0')
    return `\\u${prng.below(2) === 0 ? hex : hex.toUpperCase()}`
  })
  if (prng.below(2) === 0) return `"${units.join('')}"`
  return JSON.stringify(text).replaceAll('/', '\\/')
}

const objects = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ maxDepth: 5 }))

describe('what is taken for JSON', () => {
  test.each([
    '{}',
    ' \t\r\n{ } ',
    '{"a":1}',
    '{"a":-0.5e+10,"b":[],"c":{},"d":[[],{}]}',
    '{"":"\\u0041\\"\\\\\\/\\b\\f\\n\\r\\t"}',
    '{"a":true,"b":false,"c":null}',
    '{"a":1,"a":2}',
    '{"a":"\u007f\u2028\uffff\u{10ffff}"}',
    '{"\\ud800":"\\udc00"}',
    '{"a":1E5,"b":0,"c":0.0,"d":-0}',
  ])('%s', (text) => {
    expect(() => checkJsonObject(Buffer.from(text))).not.toThrow()
    expect(() => JSON.parse(text)).not.toThrow()
  })

  test.each([
    ['', 'is empty'],
    ['  ', 'is empty'],
    ['[]', 'only an object'],
    ['5', 'only an object'],
    ['null', 'only an object'],
    ['"a"', 'only an object'],
    ['\ufeff{}', 'only an object'],
    ['{', 'ends too early'],
    ['{"a":1', 'ends too early'],
    ['{"a":"', 'ends too early'],
    ['{}{}', 'at byte 2'],
    ['{} x', 'at byte 3'],
    ['{"a":1,}', 'at byte 7'],
    ['{,}', 'at byte 1'],
    ['{"a"}', 'at byte 4'],
    ['{"a":}', 'at byte 5'],
    ['{"a":1 2}', 'at byte 7'],
    ['{"a":[1,]}', 'at byte 8'],
    ['{"a":[1}', 'at byte 7'],
    ['{"a":1]', 'at byte 6'],
    ['{"a":01}', 'at byte 6'],
    ['{"a":1.}', 'at byte 7'],
    ['{"a":.5}', 'at byte 5'],
    ['{"a":+1}', 'at byte 5'],
    ['{"a":1e}', 'at byte 7'],
    ['{"a":-}', 'at byte 6'],
    ['{"a":NaN}', 'at byte 5'],
    ['{"a":tru}', 'at byte 8'],
    ['{"a":nulll}', 'at byte 9'],
    ["{'a':1}", 'at byte 1'],
    ['{a:1}', 'at byte 1'],
    ['{"a":"\\x"}', 'at byte 7'],
    ['{"a":"\\u12g4"}', 'at byte 10'],
    ['{"a":"\n"}', 'at byte 6'],
    ['{"a":1}\u0000', 'at byte 7'],
    ['{"a":1}\u00a0', 'at byte 7'],
    ['{/**/}', 'at byte 1'],
  ])('not %j: %s', (text, why) => {
    const error = expectStoreError(() => checkJsonObject(Buffer.from(text)), 'REQUEST_INVALID')
    expect(error.message).toContain(why)
  })

  test.each([
    ['a byte alone', [0xff]],
    ['a continuation alone', [0x80]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['half of a pair', [0xed, 0xa0, 0x80]],
    ['beyond the last character', [0xf4, 0x90, 0x80, 0x80]],
    ['a character that is cut', [0xe2, 0x82]],
  ])('no text that is not UTF-8: %s', (_, bytes) => {
    const text = Buffer.concat([Buffer.from('{"a":"'), Buffer.from(bytes), Buffer.from('"}')])
    const error = expectStoreError(() => checkJsonObject(text), 'REQUEST_INVALID')
    expect(error.message).toContain('UTF-8')
  })

  test('200 levels, and no more', () => {
    const nested = (levels: number) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
    const max = LIMITS.jsonDepthMax.value
    expect(isTaken(Buffer.from(nested(max)))).toBe(true)
    expect(isTaken(Buffer.from(nested(max + 1)))).toBe(false)
  })

  test(`is what JSON.parse takes, of texts with faults (seed ${SEED})`, () => {
    const alphabet = [...'{}[]:,"\\/ \n0123456789.eE+-truefalsnu', '\u00e9', '\u0001', '\u{1f600}']
    let takenCount = 0
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(2), fc.constantFrom(...alphabet)), {
      maxLength: 3,
    })
    const property = fc.property(objects, edits, (value, changes) => {
      let text = JSON.stringify(value)
      for (const [at, kind, character] of changes) {
        const index = at % (text.length + 1)
        const tail = text.slice(kind === 0 ? index : index + 1)
        text = text.slice(0, index) + (kind === 2 ? '' : character) + tail
      }
      const bytes = Buffer.from(text)
      const isSound = isObject(parsed(bytes))
      if (isSound) takenCount++
      expect(isTaken(bytes), text).toBe(isSound)
    })
    fc.assert(property, { ...RUNS, numRuns: 3000 })
    expect(takenCount).toBeGreaterThan(100)
  })

  test(`is the same however it is cut into pieces (seed ${SEED})`, () => {
    const property = fc.property(
      objects,
      fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
      (value, cuts) => {
        const text = Buffer.from(JSON.stringify(value, undefined, 1))
        const scanner = new JsonScanner()
        for (let at = 0; at < text.length; ) {
          const { value: length } = cuts.next() as { value: number }
          scanner.push(text.subarray(at, at + length))
          at += length
        }
        scanner.end()
      },
    )
    fc.assert(property, { ...RUNS, numRuns: 200 })
  })

  test('a fault is found in the piece that has it', () => {
    const scanner = new JsonScanner()
    scanner.push(Buffer.from('{"a":[1,'))
    const error = expectStoreError(() => scanner.push(Buffer.from(' }')), 'REQUEST_INVALID')
    expect(error.message).toContain('} at byte 9')
  })
})

describe('canonical text', () => {
  test.each([
    ['{}', '{}'],
    [' { "b" : 1 , "a" : [ 1 , 2 ] } ', '{"a":[1,2],"b":1}'],
    ['{"b":{"d":1,"c":2},"a":{}}', '{"a":{},"b":{"c":2,"d":1}}'],
    ['{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'],
    ['{"a":1,"\\u0061":2}', '{"a":2}'],
    ['{"__proto__":1,"constructor":2}', '{"__proto__":1,"constructor":2}'],
    ['{"a":"\\u0041\\/\\u000a\\u001f"}', '{"a":"A/\\n\\u001f"}'],
    ['{"a":"\\ud83d\\ude00"}', '{"a":"\u{1f600}"}'],
    ['{"a":"\\uD83D"}', '{"a":"\\ud83d"}'],
    ['{"a":"\\ude00\\ud83d"}', '{"a":"\\ude00\\ud83d"}'],
    ['{"a":"\\ud83d\\ud83d\\ude00"}', '{"a":"\\ud83d\u{1f600}"}'],
    ['{"a":12345678901234567890.10,"b":1E400}', '{"a":12345678901234567890.10,"b":1E400}'],
    ['{"ab":1,"a":2,"a!":3}', '{"a":2,"a!":3,"ab":1}'],
    ['{"a":[true,false,null]}', '{"a":[true,false,null]}'],
  ])('of %s', (text, expected) => {
    expect(canonical(text)).toBe(expected)
    expect(canonical(expected)).toBe(expected)
  })

  test(`is the same for the same value, however it is written (seed ${SEED})`, () => {
    const prng = new Prng(SEED)
    const property = fc.property(objects, (value) => {
      const text = JSON.stringify(value)
      expect(canonical(rewritten(JSON.parse(text), prng))).toBe(canonical(text))
      expect(JSON.parse(canonical(text))).toEqual(JSON.parse(text))
    })
    fc.assert(property, RUNS)
  })

  test(`differs for different values (seed ${SEED})`, () => {
    const property = fc.property(objects, objects, (one, two) => {
      const texts = [JSON.stringify(one), JSON.stringify(two)].map((text) => canonical(text))
      const isSame = JSON.stringify(sorted(one)) === JSON.stringify(sorted(two))
      expect(texts[0] === texts[1]).toBe(isSame)
    })
    fc.assert(property, RUNS)
  })

  test('tells numbers apart that are one as a double', () => {
    expect(canonical('{"a":9007199254740993}')).not.toBe(canonical('{"a":9007199254740992}'))
    expect(canonical('{"a":1}')).not.toBe(canonical('{"a":1.0}'))
  })

  test('of long strings, with quotes and escapes far apart', () => {
    const prng = new Prng(SEED)
    const pieces = Array.from({ length: 50 }, (_, at) => {
      return ['\\', '"', '\n', '/', '\u{1f600}'][at % 5] + 'x'.repeat(prng.below(200))
    })
    const value = { b: pieces.join(''), a: pieces, c: 'y'.repeat(1000) }
    expect(canonical(rewritten(value, prng))).toBe(canonical(JSON.stringify(value)))
    expect(JSON.parse(canonical(JSON.stringify(value)))).toEqual(value)
  })

  test('has each member once, the last of each key', () => {
    const members = canonicalMembers(Buffer.from(' {"b":1, "a":{"y":1,"x":2}, "b":[ ]} '))
    expect(members.map(({ key, text }) => [key, text.toString()])).toEqual([
      ['a', '"a":{"x":2,"y":1}'],
      ['b', '"b":[]'],
    ])
  })

  test('of more fields than can be sorted is refused', () => {
    const count = LIMITS.jsonMembersMax.value
    const text = (fields: number) => {
      return Buffer.from(`{${Array.from({ length: fields }, (_, at) => `"${at}":0`).join(',')}}`)
    }
    expect(canonicalMembers(text(count))).toHaveLength(count)
    expectStoreError(() => canonicalMembers(text(count + 1)), 'REQUEST_INVALID')
  })
})

/** Members in one order, so that texts can be compared. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isObject(value)) return value
  const entries = Object.entries(value as object).map(([key, member]) => [
    `_${key}`,
    sorted(member),
  ])
  return Object.fromEntries(entries.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)))
}
