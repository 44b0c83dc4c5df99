import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import { errorCodeOf } from './error-maps.ts'

/** What a status means when the body names no code. */
const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'REQUEST_INVALID',
  401: 'TOKEN_INVALID',
  404: 'NEEDLE_NOT_FOUND',
  405: 'METHOD_NOT_ALLOWED',
  413: 'BODY_TOO_LARGE',
  416: 'RANGE_INVALID',
  429: 'OVERLOADED',
  503: 'UNAVAILABLE',
  504: 'TIMEOUT',
}

/** undici's own codes, and the system's for a connection that cannot be made or breaks. */
const CODE_OF_CAUSE: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['UND_ERR_CONNECT_TIMEOUT', 'UNAVAILABLE'],
  ['UND_ERR_HEADERS_TIMEOUT', 'TIMEOUT'],
  ['UND_ERR_BODY_TIMEOUT', 'TIMEOUT'],
  ['UND_ERR_SOCKET', 'UNAVAILABLE'],
  ['UND_ERR_INFO', 'UNAVAILABLE'],
  ['UND_ERR_CLOSED', 'CLOSED'],
  ['UND_ERR_DESTROYED', 'CLOSED'],
  ['ECONNREFUSED', 'UNAVAILABLE'],
  ['ECONNRESET', 'UNAVAILABLE'],
  ['EPIPE', 'UNAVAILABLE'],
  ['ETIMEDOUT', 'UNAVAILABLE'],
  ['EHOSTUNREACH', 'UNAVAILABLE'],
  ['ENETUNREACH', 'UNAVAILABLE'],
  ['EADDRNOTAVAIL', 'UNAVAILABLE'],
  ['ENOTFOUND', 'UNAVAILABLE'],
  ['EAI_AGAIN', 'UNAVAILABLE'],
])

/** An answer that is no success. `text` is its body, or the beginning of it. */
export function fromHttpAnswer(peer: string, status: number, text: string): StoreError {
  const body = parseJson(text)
  const code = errorCodeOf(body['code'])
  const message = typeof body['error'] === 'string' ? body['error'] : `status ${status}`
  if (code !== undefined) return new StoreError(code, message)
  return new StoreError(CODE_OF_STATUS[status] ?? 'PEER_FAILED', `${peer}: ${message}`)
}

/** What a request failed with before there was an answer, or in the middle of one. */
export function fromHttpFailure(cause: unknown, peer: string): StoreError {
  if (isStoreError(cause)) return cause
  const name = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const text = cause instanceof Error ? cause.message : String(cause)
  const code = CODE_OF_CAUSE.get(name) ?? 'PEER_FAILED'
  return new StoreError(code, `${peer}: ${name} ${text}`, { cause })
}

export function parseJson(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {} // A page of a proxy, or nothing.
  }
}
