import type { IncomingMessage } from 'node:http'
import { type FileId, type FileIdPath, parseFileIdPath } from '../base/file-id.ts'
import type { Cookie, VolumeId } from '../base/ids.ts'

/** What a request asks for. The path is taken as it was sent: nothing resolves `..` in it. */
export interface FileTarget extends FileIdPath {
  readonly path: string
  readonly query: URLSearchParams
}

export function splitTarget(url: string): { readonly path: string; readonly query: string } {
  const at = url.indexOf('?')
  return at < 0 ? { path: url, query: '' } : { path: url.slice(0, at), query: url.slice(at + 1) }
}

/** @throws {StoreError} FILE_ID_INVALID. */
export function parseFileTarget(url: string): FileTarget {
  const { path, query } = splitTarget(url)
  return { ...parseFileIdPath(path), path, query: new URLSearchParams(query) }
}

const SLASH = 0x2f
const COMMA = 0x2c
const KEY_DIGITS_MIN = 9
const KEY_DIGITS_MAX = 24
const COOKIE_DIGITS = 8

/** The value of each hex digit by its character code; -1 for every other character. */
const HEX = new Int8Array(128).fill(-1)
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  HEX[digit.charCodeAt(0)] = value
  HEX[digit.toUpperCase().charCodeAt(0)] = value
}

/**
 * Reads `/3,01637037d6` and nothing else: undefined for every other path, right or wrong. Runs for
 * every read, where a regular expression would cost more than finding the needle.
 */
export function parsePlainPath(url: string): FileId | undefined {
  if (url.charCodeAt(0) !== SLASH) return undefined
  let at = 1
  let volume = 0
  for (; at <= 11; at++) {
    const digit = url.charCodeAt(at) - 0x30
    if (!(digit >= 0 && digit <= 9)) break
    volume = volume * 10 + digit
  }
  if (url.charCodeAt(at) !== COMMA || volume === 0 || volume > 0xffff_ffff) return undefined
  const keyAt = at + 1
  const digits = url.length - keyAt
  if (digits < KEY_DIGITS_MIN || digits > KEY_DIGITS_MAX) return undefined
  const cookieAt = url.length - COOKIE_DIGITS
  const lowAt = Math.max(keyAt, cookieAt - 8)
  const hi = hexNumber(url, keyAt, lowAt)
  const lo = hexNumber(url, lowAt, cookieAt)
  const cookie = hexNumber(url, cookieAt, url.length)
  if (hi < 0 || lo < 0 || cookie < 0) return undefined
  return { volumeId: volume as VolumeId, needleId: { hi, lo }, cookie: cookie as Cookie }
}

/** Up to eight digits; -1: one of them is no hex digit. */
function hexNumber(text: string, start: number, end: number): number {
  let value = 0
  for (let at = start; at < end; at++) {
    const digit = HEX[text.charCodeAt(at)] ?? -1
    if (digit < 0) return -1
    value = (value << 4) | digit
  }
  return value >>> 0
}

/** The token of a request: parameter `jwt`, header `Authorization: Bearer`, or cookie `AT`. */
export function tokenOf(req: IncomingMessage, query: URLSearchParams): string {
  const inQuery = query.get('jwt')
  if (inQuery !== null && inQuery !== '') return inQuery
  const bearer = /^bearer +(\S+) *$/i.exec(req.headers.authorization ?? '')?.[1]
  if (bearer !== undefined) return bearer
  const { cookie = '' } = req.headers
  return /(?:^|; *)AT=([^;\s]+)/.exec(cookie)?.[1] ?? ''
}

const TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True'])

/** The spellings of true that clients of this protocol use. */
export function isTrue(text: string | null | undefined): boolean {
  return text !== null && text !== undefined && TRUE.has(text)
}
