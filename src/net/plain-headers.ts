import { LIMITS } from '../base/limits.ts'

/** The headers of a request, understood once; a client mostly sends the same ones again. */
export interface PlainHeaders {
  /** From the first name to the empty line, which is included. */
  readonly bytes: Buffer
  /** -1: no length is given. */
  readonly bodyBytes: number
}

const END = '\r\n\r\n'
const NO_BODY = -1
const LENGTH_DIGITS_MAX = 6

/** What an answer does not depend on, whatever the value; in lower case. */
const INDIFFERENT = new Set([
  'user-agent',
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'pragma',
  'referer',
  'sec-fetch-dest',
  'sec-fetch-mode',
  'sec-fetch-site',
  'sec-fetch-user',
])

/**
 * The headers that begin at `at`, when there is nothing in them to decide: known names, each line
 * as the standard wants it, printable ASCII only. Undefined: incomplete, too long, or anything else
 * - which is not to say that it is wrong.
 */
export function parsePlainHeaders(source: Buffer, at: number): PlainHeaders | undefined {
  const endAt = source.indexOf(END, at, 'latin1')
  if (endAt < 0 || endAt - at > LIMITS.httpPlainHeaderBytesMax.value) return undefined
  const seen = new Set<string>()
  let bodyBytes = NO_BODY
  for (const line of source.toString('latin1', at, endAt).split('\r\n')) {
    if (!isPrintable(line)) return undefined
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase()
    if (INDIFFERENT.has(name)) continue
    const value = line.slice(line.charCodeAt(colon + 1) === SPACE ? colon + 2 : colon + 1)
    if (seen.has(name) || !isPlain(name, value)) return undefined
    seen.add(name)
    if (name === 'content-length') bodyBytes = Number(value)
  }
  if (!seen.has('host')) return undefined
  // A copy: a view would keep the whole segment.
  return { bytes: Buffer.from(source.subarray(at, endAt + END.length)), bodyBytes }
}

/** Whether `source` has exactly these bytes at `at`. */
export function hasBytesAt(source: Buffer, at: number, expected: Buffer): boolean {
  const { length } = expected
  if (source.length - at < length) return false
  for (let next = 0; next < length; next++) {
    if (source[at + next] !== expected[next]) return false
  }
  return true
}

const SPACE = 0x20
const TILDE = 0x7e

/** ASCII without control characters: no tab, no lone CR or LF. */
function isPrintable(line: string): boolean {
  for (let at = 0; at < line.length; at++) {
    const code = line.charCodeAt(at)
    if (code < SPACE || code > TILDE) return false
  }
  return true
}

/** Headers that matter, with the values that mean nothing special. */
function isPlain(name: string, value: string): boolean {
  switch (name) {
    case 'host':
      return value.trim() !== ''
    case 'connection':
      return value.toLowerCase() === 'keep-alive'
    case 'content-type':
      return value === 'application/octet-stream'
    case 'content-length':
      return isLength(value)
    default:
      return false
  }
}

/** Digits and nothing else, not even a zero that could be left out. */
function isLength(value: string): boolean {
  if (value.length === 0 || value.length > LENGTH_DIGITS_MAX) return false
  for (let at = 0; at < value.length; at++) {
    const digit = value.charCodeAt(at) - 0x30
    if (!(digit >= 0 && digit <= 9)) return false
  }
  return value.length === 1 || value.charCodeAt(0) !== 0x30
}
