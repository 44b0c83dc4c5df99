import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const SMALL_U = 0x75
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
/** Most strings are shorter. */
const NEAR_BYTES = 64
/** By the letter after the backslash. */
const ESCAPED: Readonly<Record<string, number>> = {
  '"': 0x22,
  '\\': 0x5c,
  '/': 0x2f,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
}
const SHORT_ESCAPES = new Map([
  [0x22, '\\"'],
  [0x5c, '\\\\'],
  [8, '\\b'],
  [12, '\\f'],
  [10, '\\n'],
  [13, '\\r'],
  [9, '\\t'],
])

/** A member of an object in canonical text: `"key":value`. */
export interface CanonicalMember {
  /** Without quotes, with escapes: equal texts are equal keys. */
  readonly key: string
  /** Part of a larger buffer. */
  readonly text: Buffer
}

/** Starts and ends of members in the text, three numbers each: start, end of the key, end. */
type Spans = readonly number[]

/**
 * The canonical text of JSON that is known to be sound: no white space; members in the order of
 * their keys' bytes, of equal keys the last; strings with no more escapes than JSON needs; numbers
 * as they were written, never rounded. Two texts with the same canonical text are the same value,
 * and the other way round, where numbers written differently count as different ones.
 *
 * It is never longer than the text it is made of.
 */
export function canonicalText(text: Buffer): Buffer {
  const writer = new CanonicalWriter(text)
  writer.value(0)
  return writer.written
}

/**
 * The members of the object that a text is, in canonical form and order. Keys are told apart as
 * they are, `__proto__` like any other.
 *
 * @throws {StoreError} REQUEST_INVALID: an object in it has more than `jsonMembersMax`.
 */
export function canonicalMembers(text: Buffer): readonly CanonicalMember[] {
  const writer = new CanonicalWriter(text)
  const { order, spans } = writer.members(skipSpace(text, 0))
  const { written } = writer
  return order.map((index) => {
    const [start = 0, keyEnd = 0, end = 0] = spans.slice(3 * index, 3 * index + 3)
    const key = written.toString('utf8', start + 1, keyEnd - 1)
    return { key, text: written.subarray(start, end) }
  })
}

class CanonicalWriter {
  readonly #source: Buffer
  readonly #target: Buffer
  #length = 0
  /** The next ones at or after where they were looked for last. */
  #quoteAt = -1
  #backslashAt = -1

  constructor(source: Buffer) {
    this.#source = source
    this.#target = Buffer.allocUnsafe(source.length)
  }

  get written(): Buffer {
    return this.#target.subarray(0, this.#length)
  }

  /** Where the value ends that begins at or after `at`. */
  value(at: number): number {
    const start = skipSpace(this.#source, at)
    switch (this.#source[start]) {
      case QUOTE:
        return this.#string(start)
      case OPEN_OBJECT:
        return this.#object(start)
      case OPEN_ARRAY:
        return this.#array(start)
      default:
        return this.#scalar(start)
    }
  }

  /**
   * Writes the members of the object that begins at `start`, with commas between them, in the order
   * in which they come. `order` leaves out those that a later one replaces.
   */
  members(start: number): {
    readonly spans: Spans
    readonly order: readonly number[]
    readonly isOrdered: boolean
    readonly end: number
  } {
    const source = this.#source
    const spans: number[] = []
    let isOrdered = true
    let at = skipSpace(source, start + 1)
    while (source[at] !== CLOSE_OBJECT) {
      if (source[at] === COMMA) {
        this.#byte(COMMA)
        at = skipSpace(source, at + 1)
      }
      const memberAt = this.#length
      at = skipSpace(source, this.#string(at))
      const keyEnd = this.#length
      this.#byte(COLON)
      at = skipSpace(source, this.value(at + 1))
      spans.push(memberAt, keyEnd, this.#length)
      const index = spans.length / 3 - 1
      if (index >= LIMITS.jsonMembersMax.value) throw tooManyMembers()
      if (index > 0 && this.#compare(spans, index - 1, index) >= 0) isOrdered = false
    }
    const indices = Array.from({ length: spans.length / 3 }, (_, index) => index)
    const order = isOrdered ? indices : this.#lastOfEach(spans, indices)
    return { spans, order, isOrdered, end: at + 1 }
  }

  #object(start: number): number {
    this.#byte(OPEN_OBJECT)
    const from = this.#length
    const { end, isOrdered, order, spans } = this.members(start)
    if (!isOrdered) this.#arrange(from, spans, order)
    this.#byte(CLOSE_OBJECT)
    return end
  }

  /** Puts the members that lie from there on in order. */
  #arrange(from: number, spans: Spans, order: readonly number[]): void {
    const unordered = Buffer.from(this.#target.subarray(from, this.#length))
    this.#length = from
    for (const index of order) {
      if (this.#length > from) this.#byte(COMMA)
      const start = (spans[3 * index] as number) - from
      const end = (spans[3 * index + 2] as number) - from
      this.#length += unordered.copy(this.#target, this.#length, start, end)
    }
  }

  #lastOfEach(spans: Spans, indices: readonly number[]): readonly number[] {
    const sorted = indices.toSorted((a, b) => this.#compare(spans, a, b) || a - b)
    return sorted.filter((index, at) => {
      const next = sorted[at + 1]
      return next === undefined || this.#compare(spans, index, next) !== 0
    })
  }

  #compare(spans: Spans, a: number, b: number): number {
    const target = this.#target
    const aEnd = (spans[3 * a + 1] as number) - 1
    const bEnd = (spans[3 * b + 1] as number) - 1
    let aAt = (spans[3 * a] as number) + 1
    let bAt = (spans[3 * b] as number) + 1
    while (aAt < aEnd && bAt < bEnd) {
      const difference = (target[aAt] as number) - (target[bAt] as number)
      if (difference !== 0) return difference
      aAt++
      bAt++
    }
    return aEnd - aAt - (bEnd - bAt)
  }

  #array(start: number): number {
    const source = this.#source
    this.#byte(OPEN_ARRAY)
    let at = skipSpace(source, start + 1)
    while (source[at] !== CLOSE_ARRAY) {
      if (source[at] === COMMA) {
        this.#byte(COMMA)
        at++
      }
      at = skipSpace(source, this.value(at))
    }
    this.#byte(CLOSE_ARRAY)
    return at + 1
  }

  /** A number, `true`, `false` or `null`: up to what cannot be part of one. */
  #scalar(start: number): number {
    const source = this.#source
    let at = start
    while (at < source.length && IS_SCALAR[source[at] as number] === 1) {
      this.#byte(source[at] as number)
      at++
    }
    return at
  }

  #string(start: number): number {
    const source = this.#source
    this.#byte(QUOTE)
    let at = start + 1
    for (;;) {
      const run = at
      at = this.#runEnd(run)
      this.#length += source.copy(this.#target, this.#length, run, at)
      if (source[at] === QUOTE) break
      at = this.#escape(at)
    }
    this.#byte(QUOTE)
    return at + 1
  }

  /** Where the next quote or backslash is. */
  #runEnd(from: number): number {
    const source = this.#source
    const nearEnd = from + NEAR_BYTES
    let at = from
    while (at < nearEnd && source[at] !== QUOTE && source[at] !== BACKSLASH) at++
    if (at < nearEnd) return at
    // The system looks faster than we do, and what it found holds until we are past it.
    if (this.#quoteAt < at) this.#quoteAt = this.#find(QUOTE, at)
    if (this.#backslashAt < at) this.#backslashAt = this.#find(BACKSLASH, at)
    return Math.min(this.#quoteAt, this.#backslashAt)
  }

  #find(byte: number, from: number): number {
    const found = this.#source.indexOf(byte, from)
    return found < 0 ? this.#source.length : found
  }

  /** Where the escape ends, of both halves if it is a pair. */
  #escape(at: number): number {
    const source = this.#source
    const letter = source[at + 1] as number
    if (letter !== SMALL_U) {
      this.#character(ESCAPED[String.fromCharCode(letter)] as number)
      return at + 2
    }
    const unit = this.#hex(at + 2)
    const isPaired = isHigh(unit) && source[at + 6] === BACKSLASH && source[at + 7] === SMALL_U
    const low = isPaired ? this.#hex(at + 8) : 0
    if (!isLow(low)) {
      this.#character(unit)
      return at + 6
    }
    this.#character(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
    return at + 12
  }

  #hex(at: number): number {
    return Number.parseInt(this.#source.toString('latin1', at, at + 4), 16)
  }

  /** Half of a pair without the other half has no UTF-8: it stays an escape. */
  #character(point: number): void {
    const short = SHORT_ESCAPES.get(point)
    if (short !== undefined) this.#text(short)
    else if (point < 0x20 || isHigh(point) || isLow(point)) {
      this.#text(`\\u${point.toString(16).padStart(4, '0')}`)
    } else this.#text(String.fromCodePoint(point))
  }

  #text(text: string): void {
    this.#length += this.#target.write(text, this.#length, 'utf8')
  }

  #byte(byte: number): void {
    this.#target[this.#length] = byte
    this.#length++
  }
}

const IS_SCALAR = Uint8Array.from({ length: 256 }, (_, byte) => {
  return /[-+.0-9A-Za-z]/.test(String.fromCharCode(byte)) && byte < 0x80 ? 1 : 0
})

function skipSpace(source: Buffer, from: number): number {
  let at = from
  while (at < source.length && (source[at] as number) <= 0x20) at++
  return at
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000
}

function tooManyMembers(): StoreError {
  const countMax = LIMITS.jsonMembersMax.value
  return new StoreError('REQUEST_INVALID', `an object in it has more than ${countMax} fields`)
}
