import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Logger } from '../runtime/logger.ts'

/** The usual status of each code; a route may know better and say so. */
export const HTTP_STATUS = {
  NEEDLE_NOT_FOUND: 404,
  COOKIE_MISMATCH: 404, // Whoever guesses cookies does not learn that the needle exists.
  NEEDLE_CORRUPT: 500,
  NEEDLE_TOO_LARGE: 413,
  NEEDLE_INVALID: 400,
  RANGE_INVALID: 416,
  FILE_ID_INVALID: 400,
  TTL_INVALID: 400,
  REPLICA_PLACEMENT_INVALID: 400,
  ERASURE_INVALID: 400,
  SUPER_BLOCK_CORRUPT: 500,
  VERSION_UNSUPPORTED: 500,
  INDEX_CORRUPT: 500,
  SIDECAR_CORRUPT: 500,
  VOLUME_INFO_CORRUPT: 500,
  NOT_A_VOLUME: 500,
  VOLUME_NOT_FOUND: 404,
  VOLUME_EXISTS: 409,
  VOLUME_FULL: 507,
  VOLUME_SEALED: 409,
  VOLUME_FAILED: 500,
  VOLUME_DAMAGED: 500,
  VOLUME_BUSY: 409,
  CLOSED: 503,
  VACUUM_UNVERIFIED: 500,
  CODEC_UNAVAILABLE: 501,
  SHARD_NOT_FOUND: 404,
  SHARD_CORRUPT: 500,
  SHARDS_LOST: 500,
  DISK_FULL: 507,
  DISK_FAILED: 500,
  DIRECTORY_LOCKED: 500,
  DIRECTORY_UNUSABLE: 500,
  PATH_NOT_FOUND: 500,
  TARGET_EXISTS: 409,
  CONFIG_INVALID: 400,
  OVERLOADED: 429,
  CANCELLED: 499,
  TIMEOUT: 504,
  UNAVAILABLE: 503,
  PEER_FAILED: 502,
  NOT_LEADER: 503,
  WARMING_UP: 503,
  EPOCH_STALE: 409,
  NO_WRITABLE_VOLUME: 406,
  PLACEMENT_IMPOSSIBLE: 406,
  REPLICATION_FAILED: 500,
  COLLECTION_NOT_FOUND: 400,
  NODE_NOT_FOUND: 400,
  NAME_INVALID: 400,
  NAME_NOT_FOUND: 404,
  USER_NOT_FOUND: 404,
  USER_EXISTS: 409,
  ACCESS_KEY_NOT_FOUND: 404,
  ACCESS_KEY_EXISTS: 409,
  REQUEST_INVALID: 400,
  ROUTE_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  BODY_TOO_LARGE: 413,
  CHECKSUM_MISMATCH: 400,
  MANIFEST_CORRUPT: 422, // What a client stored makes no sense: not a fault of this server.
  TOKEN_INVALID: 401,
  ACCESS_DENIED: 403,
  UNAUTHENTICATED: 401,
  LISTEN_FAILED: 500,
  METADATA_CORRUPT: 500,
  JOB_NOT_FOUND: 404,
  JOB_LEASE_LOST: 409,
  VOLUME_CHANGED: 409,
  METADATA_CONFLICT: 409,
  BUCKET_NOT_FOUND: 404,
  BUCKET_EXISTS: 409,
  BUCKET_NOT_EMPTY: 409,
  OBJECT_NOT_FOUND: 404,
  OBJECT_LOCKED: 403,
  UPLOAD_NOT_FOUND: 404,
  PART_INVALID: 400,
  PRECONDITION_FAILED: 412,
  QUOTA_EXCEEDED: 403,
  INTENT_LOST: 503,
} as const satisfies Record<ErrorCode, number>

/** Where a caller is told to wait a little and come again. */
const RETRY_AFTER_S = 1

/**
 * Answers with JSON. A response that has begun already is cut off: its client must not trust it.
 */
export function sendJson(
  res: ServerResponse,
  status: number,
  body: unknown,
  headers: OutgoingHttpHeaders = {},
): void {
  const answer = jsonAnswer(status, body, headers)
  sendBytes(res, answer.status, answer.headers, answer.body)
}

function jsonAnswer(status: number, body: unknown, more: OutgoingHttpHeaders): JsonAnswer {
  const text = Buffer.from(JSON.stringify(body))
  const headers = {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': text.length,
    'X-Content-Type-Options': 'nosniff',
    ...more,
  }
  return { status, headers, body: text }
}

export function sendBytes(
  res: ServerResponse,
  status: number,
  headers: OutgoingHttpHeaders,
  body: Buffer,
): void {
  if (res.headersSent) {
    if (!res.writableEnded) res.destroy()
    return
  }
  // What a failed route meant to send would contradict this body.
  for (const name of res.getHeaderNames()) if (name.startsWith('content-')) res.removeHeader(name)
  res.writeHead(status, headers)
  res.end(body)
}

export interface ErrorReply {
  readonly logger?: Logger | undefined
  /** Instead of the usual one of the code. */
  readonly status?: number | undefined
  readonly headers?: OutgoingHttpHeaders
}

/**
 * Answers with `{error, code}` and the status of the code. An error that is no `StoreError` is
 * ours: it is logged, and the caller learns nothing but 500. The rest of the request is read and
 * dropped within limits, so that the client gets to read the answer.
 */
export function sendError(res: ServerResponse, error: unknown, reply: ErrorReply = {}): void {
  const { req } = res
  const isWaiting = awaitsContinue(req)
  if (!isWaiting) dropBody(req)
  const more: OutgoingHttpHeaders = isWaiting ? { connection: 'close' } : {}
  const headers = { ...reply.headers, ...more }
  const answer = errorAnswer(error, req, { ...reply, headers })
  sendBytes(res, answer.status, answer.headers, answer.body)
}

export interface JsonAnswer {
  readonly status: number
  readonly headers: OutgoingHttpHeaders
  readonly body: Buffer
}

/** What `sendError` answers. */
export function errorAnswer(
  error: unknown,
  request: { readonly method?: string | undefined; readonly url?: string | undefined },
  reply: ErrorReply,
): JsonAnswer {
  const { logger } = reply
  const { method, url } = request
  const headers: OutgoingHttpHeaders = { ...reply.headers }
  if (!isStoreError(error)) {
    logger?.error('http.handler_failed', { method, url, error })
    return jsonAnswer(500, { error: 'internal error', code: 'INTERNAL' }, headers)
  }
  const status = reply.status ?? HTTP_STATUS[error.code]
  if (status === 429 || status === 503) headers['retry-after'] ??= String(RETRY_AFTER_S)
  if (status === 500) logger?.error('http.request_failed', { method, url, error })
  return jsonAnswer(status, { error: error.message, code: error.code }, headers)
}

const waiting = new WeakMap<IncomingMessage, ServerResponse>()

/** The client waits for a go-ahead before it sends the body: `continueBody` gives it. */
export function awaitContinue(req: IncomingMessage, res: ServerResponse): void {
  waiting.set(req, res)
}

export function awaitsContinue(req: IncomingMessage): boolean {
  return waiting.has(req)
}

/** Whoever reads a body, and has decided that it is wanted, calls this first. `readBody` does. */
export function continueBody(req: IncomingMessage): void {
  if (req.headers.expect === undefined) return
  const res = waiting.get(req)
  waiting.delete(req)
  if (res !== undefined && !res.headersSent) res.writeContinue()
}

/** Reads what is left of the body and forgets it; a client that sends too much is cut off. */
export function dropBody(req: IncomingMessage): void {
  if (req.complete || req.destroyed) return
  let droppedBytes = 0
  req.on('data', (piece: Buffer) => {
    droppedBytes += piece.length
    if (droppedBytes > LIMITS.httpDroppedBytesMax.value) req.destroy()
  })
  req.on('error', () => {}) // The client went away: nobody waits for these bytes.
  req.resume()
}

const NO_BYTES = Buffer.alloc(0)

/**
 * The whole body.
 *
 * @throws {StoreError} BODY_TOO_LARGE: it has, or is announced to have, more than `maxBytes`.
 * CANCELLED: the client went away, or `signal` aborted.
 */
export function readBody(
  req: IncomingMessage,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer> {
  if (signal.aborted) return Promise.reject(cancelledError(signal, 'before reading the body'))
  const announced = req.headers['content-length']
  if (announced !== undefined && Number(announced) > maxBytes) {
    return Promise.reject(tooLarge(maxBytes))
  }
  if (req.destroyed && !req.complete) return Promise.reject(goneError())
  continueBody(req)
  return new Promise((resolve, reject) => {
    let first: Buffer | undefined
    let pieces: Buffer[] | undefined
    let bytes = 0
    const aborting = onAbort(signal, () => finish(cancelledError(signal, 'reading the body')))
    const onData = (piece: Buffer): void => {
      bytes += piece.length
      if (bytes > maxBytes) finish(tooLarge(maxBytes))
      else if (first === undefined) first = piece
      else if (pieces === undefined) pieces = [first, piece]
      else pieces.push(piece)
    }
    const onEnd = (): void => finish(undefined)
    const onClose = (): void => finish(goneError())
    const finish = (error: StoreError | undefined): void => {
      aborting[Symbol.dispose]()
      req.off('data', onData).off('end', onEnd).off('close', onClose)
      if (error !== undefined) reject(error)
      else resolve(pieces === undefined ? (first ?? NO_BYTES) : Buffer.concat(pieces, bytes))
    }
    req.on('data', onData).on('end', onEnd).on('close', onClose)
    req.on('error', onClose)
  })
}

/**
 * The whole of a body whose length was announced, copied piece by piece into `target`, which has
 * that length. Once this settles nothing writes there any more.
 *
 * @returns the CRC-32C of the body.
 * @throws {StoreError} CANCELLED: the client went away, or `signal` aborted.
 */
export function readBodyInto(
  req: IncomingMessage,
  target: Buffer,
  signal: AbortSignal,
): Promise<number> {
  if (signal.aborted) return Promise.reject(cancelledError(signal, 'before reading the body'))
  if (req.destroyed && !req.complete) return Promise.reject(goneError())
  continueBody(req)
  return new Promise((resolve, reject) => {
    let bytes = 0
    let crc = 0
    const aborting = onAbort(signal, () => finish(cancelledError(signal, 'reading the body')))
    const onData = (piece: Buffer): void => {
      if (bytes + piece.length > target.length) {
        finish(tooLarge(target.length))
        return
      }
      // While the piece is still in the processor's cache.
      crc = crc32c(piece, crc)
      target.set(piece, bytes)
      bytes += piece.length
    }
    const onEnd = (): void => finish(bytes === target.length ? undefined : goneError())
    const onClose = (): void => finish(goneError())
    const finish = (error: StoreError | undefined): void => {
      aborting[Symbol.dispose]()
      req.off('data', onData).off('end', onEnd).off('close', onClose)
      if (error === undefined) resolve(crc)
      else reject(error)
    }
    req.on('data', onData).on('end', onEnd).on('close', onClose)
    req.on('error', onClose)
  })
}

function tooLarge(maxBytes: number): StoreError {
  return new StoreError('BODY_TOO_LARGE', `the body has more than ${maxBytes} bytes`)
}

function goneError(): StoreError {
  return new StoreError('CANCELLED', 'the client went away')
}
