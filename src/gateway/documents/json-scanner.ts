import { isUtf8 } from 'node:buffer'
import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'

/** What may come next. Those of a literal are what is left of it. */
const STATES = [
  'error',
  'start',
  'end',
  'value',
  'firstValue',
  'key',
  'firstKey',
  'colon',
  'after',
  'string',
  'escape',
  'hex4',
  'hex3',
  'hex2',
  'hex1',
  'minus',
  'zero',
  'integer',
  'dot',
  'fraction',
  'exponent',
  'exponentSign',
  'exponentDigits',
  'rue',
  'ue',
  'alse',
  'lse',
  'se',
  'e',
  'ull',
  'll',
  'l',
] as const
type State = (typeof STATES)[number]

/** What is done beside going from state to state, at the byte that begins or ends something. */
const ACTIONS = [
  'beginObject',
  'beginArray',
  'beginKey',
  'beginString',
  'endObject',
  'endArray',
  'endString',
  'comma',
] as const
type Action = (typeof ACTIONS)[number]

const BYTE_BITS = 8
const FIRST_ACTION = STATES.length
const STATE = numbered(STATES, 0)
const ACTION = numbered(ACTIONS, FIRST_ACTION)
const NEXT = nextTable()
/** Bytes that stay within a string: all but the quote, the backslash and control characters. */
const IS_PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => {
  return byte >= 0x20 && byte !== 0x22 && byte !== 0x5c ? 1 : 0
})

const ARRAY = 0
const OBJECT = 1

/**
 * Decides byte by byte whether a text is JSON with an object at its top (RFC 8259), without making
 * values of it: pieces may be cut anywhere, and only the open objects and arrays are remembered.
 * Whether it is UTF-8 `checkUtf8` says.
 */
export class JsonScanner {
  #state = STATE.start
  #depth = 0
  #isKey = false
  #atBytes = 0
  readonly #open = new Uint8Array(LIMITS.jsonDepthMax.value)

  /** @throws {StoreError} REQUEST_INVALID: whatever follows, it is no JSON object. */
  push(piece: Uint8Array): void {
    let state = this.#state
    const { length } = piece
    for (let at = 0; at < length; at++) {
      if (state === STATE.string) {
        while (at < length && IS_PLAIN[piece[at] as number] === 1) at++
        if (at === length) break
      }
      const next = NEXT[(state << BYTE_BITS) | (piece[at] as number)] as number
      if (next < FIRST_ACTION) state = next
      else state = this.#act(next)
      if (state === STATE.error) throw this.#unexpected(piece[at] as number, at)
    }
    this.#state = state
    this.#atBytes += length
  }

  /** @throws {StoreError} REQUEST_INVALID: it ends too early. */
  end(): void {
    if (this.#state === STATE.end) return
    const what = this.#state === STATE.start ? 'is empty' : 'ends too early'
    throw invalid(`it ${what}, after ${this.#atBytes} bytes`)
  }

  /** The state after it; `error`: it may not stand here. */
  #act(action: number): number {
    switch (action) {
      case ACTION.beginString:
        this.#isKey = false
        return STATE.string
      case ACTION.beginKey:
        this.#isKey = true
        return STATE.string
      case ACTION.endString:
        return this.#isKey ? STATE.colon : STATE.after
      case ACTION.comma:
        return this.#open[this.#depth - 1] === OBJECT ? STATE.key : STATE.value
      case ACTION.beginObject:
        return this.#descend(OBJECT, STATE.firstKey)
      case ACTION.beginArray:
        return this.#descend(ARRAY, STATE.firstValue)
      case ACTION.endObject:
        return this.#ascend(OBJECT)
      default:
        return this.#ascend(ARRAY)
    }
  }

  #descend(kind: number, state: number): number {
    if (this.#depth === this.#open.length) {
      throw invalid(`it is nested more than ${this.#open.length} deep`)
    }
    this.#open[this.#depth] = kind
    this.#depth++
    return state
  }

  #ascend(kind: number): number {
    if (this.#open[this.#depth - 1] !== kind) return STATE.error
    this.#depth--
    return this.#depth === 0 ? STATE.end : STATE.after
  }

  #unexpected(byte: number, at: number): StoreError {
    const offsetBytes = this.#atBytes + at
    const isPrintable = byte > 0x20 && byte < 0x7f
    const shown = isPrintable ? String.fromCharCode(byte) : `0x${byte.toString(16)}`
    const isTop = this.#depth === 0 && this.#state === STATE.start
    const more = isTop ? '; only an object can be a document' : ''
    return invalid(`${shown} at byte ${offsetBytes} does not belong there${more}`)
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function checkUtf8(text: Uint8Array): void {
  if (!isUtf8(text)) throw invalid('it is not UTF-8')
}

/** @throws {StoreError} REQUEST_INVALID: it is no JSON object. */
export function checkJsonObject(text: Uint8Array): void {
  const scanner = new JsonScanner()
  scanner.push(text)
  scanner.end()
  checkUtf8(text)
}

function invalid(why: string): StoreError {
  return new StoreError('REQUEST_INVALID', `this is no JSON object: ${why}`)
}

function numbered<Name extends string>(
  names: readonly Name[],
  first: number,
): Readonly<Record<Name, number>> {
  const entries = names.map((name, index) => [name, first + index])
  return Object.fromEntries(entries) as Record<Name, number>
}

/** For each state and each byte: a state, or an action. Where nothing is said it is an error. */
function nextTable(): Uint8Array {
  const table = new Uint8Array(STATES.length << BYTE_BITS)
  const from = (states: readonly State[], bytes: string, to: State | Action): void => {
    const next = to in STATE ? STATE[to as State] : ACTION[to as Action]
    for (const state of states) {
      for (const byte of Buffer.from(bytes, 'latin1'))
        table[(STATE[state] << BYTE_BITS) | byte] = next
    }
  }
  const spaces = ' \t\n\r'
  const between = [
    'start',
    'end',
    'value',
    'firstValue',
    'key',
    'firstKey',
    'colon',
    'after',
  ] as const
  for (const state of between) from([state], spaces, state)
  const values = ['value', 'firstValue'] as const
  from(['start', ...values], '{', 'beginObject')
  from(values, '[', 'beginArray')
  from(values, '"', 'beginString')
  from(['key', 'firstKey'], '"', 'beginKey')
  from(['colon'], ':', 'value')
  from(['firstKey'], '}', 'endObject')
  from(['firstValue'], ']', 'endArray')
  fillStrings(from)
  fillNumbers(from, values, spaces)
  from(values, 't', 'rue')
  from(values, 'f', 'alse')
  from(values, 'n', 'ull')
  const rests = ['rue', 'ue', 'e', 'alse', 'lse', 'se', 'ull', 'll', 'l'] as const
  for (const rest of rests) {
    from([rest], rest.charAt(0), rest.length === 1 ? 'after' : (rest.slice(1) as State))
  }
  return table
}

type Fill = (states: readonly State[], bytes: string, to: State | Action) => void

function fillStrings(from: Fill): void {
  const plain = Array.from({ length: 256 }, (_, byte) => byte)
    .filter((byte) => byte >= 0x20 && byte !== 0x22 && byte !== 0x5c)
    .map((byte) => String.fromCharCode(byte))
  from(['string'], plain.join(''), 'string')
  from(['string'], '"', 'endString')
  from(['string'], '\\', 'escape')
  from(['escape'], '"\\/bfnrt', 'string')
  from(['escape'], 'u', 'hex4')
  const digits = '0123456789abcdefABCDEF'
  from(['hex4'], digits, 'hex3')
  from(['hex3'], digits, 'hex2')
  from(['hex2'], digits, 'hex1')
  from(['hex1'], digits, 'string')
}

function fillNumbers(from: Fill, values: readonly State[], spaces: string): void {
  const digits = '0123456789'
  from(values, '-', 'minus')
  from([...values, 'minus'], '0', 'zero')
  from([...values, 'minus'], '123456789', 'integer')
  from(['integer'], digits, 'integer')
  from(['zero', 'integer'], '.', 'dot')
  from(['dot', 'fraction'], digits, 'fraction')
  from(['zero', 'integer', 'fraction'], 'eE', 'exponent')
  from(['exponent'], '+-', 'exponentSign')
  from(['exponent', 'exponentSign', 'exponentDigits'], digits, 'exponentDigits')
  // A number ends where something else begins.
  const ended = ['zero', 'integer', 'fraction', 'exponentDigits'] as const
  from(ended, spaces, 'after')
  from(['after', ...ended], ',', 'comma')
  from(['after', ...ended], '}', 'endObject')
  from(['after', ...ended], ']', 'endArray')
}
