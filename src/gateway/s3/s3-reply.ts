import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { KIB } from '../../base/units.ts'

export type ReplyHeaders = Readonly<Record<string, string | number | undefined>>

/** Bytes that are sent as they come. */
export interface ReplyStream {
  readonly pieces: AsyncIterable<Uint8Array>
  readonly sizeBytes: number
}

export interface S3Reply {
  readonly status: number
  readonly headers?: ReplyHeaders | undefined
  /** Undefined: none. */
  readonly body?: string | Buffer | ReplyStream | undefined
}

/** As a string, a small body leaves in one write with its headers; larger ones are not copied. */
const COPIED_BODY_MAX = 4 * KIB

const XML_TYPE = { 'Content-Type': 'application/xml' }

export function xmlReply(body: string, headers?: ReplyHeaders, status = 200): S3Reply {
  return { status, headers: { ...headers, ...XML_TYPE }, body }
}

export function emptyReply(status: number, headers?: ReplyHeaders): S3Reply {
  return { status, headers }
}

/**
 * Sends a reply, with the headers that all have in `common`; of an answer to HEAD all but the body.
 * Settles when all was handed over to the connection, or that is gone.
 */
export async function sendReply(
  res: ServerResponse,
  reply: S3Reply,
  common: ReplyHeaders,
  isHead: boolean,
): Promise<void> {
  const { body, status } = reply
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const headers: string[] = []
  if (reply.headers !== undefined) addHeaders(headers, reply.headers)
  addHeaders(headers, common)
  if (bytes === undefined) {
    // These two have no body, and must not say how long it is.
    if (status !== 204 && status !== 304 && !headers.includes('Content-Length')) {
      headers.push('Content-Length', '0')
    }
    res.writeHead(status, headers)
    res.end()
    return
  }
  const isBuffer = Buffer.isBuffer(bytes)
  headers.push('Content-Length', String(isBuffer ? bytes.length : bytes.sizeBytes))
  res.writeHead(status, headers)
  if (isHead) {
    res.end()
  } else if (!isBuffer) {
    await sendPieces(res, bytes.pieces)
  } else if (bytes.length <= COPIED_BODY_MAX) {
    res.end(bytes.toString('latin1'), 'latin1')
  } else {
    res.end(bytes)
  }
}

/** What fails now can only be shown by cutting the connection: the length was promised. */
async function sendPieces(res: ServerResponse, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const piece of pieces) {
      if (res.destroyed) return
      if (!res.write(piece)) await drained(res)
    }
    res.end()
  } catch (error) {
    res.destroy()
    throw error
  }
}

async function drained(res: ServerResponse): Promise<void> {
  if (res.destroyed) return
  const waiting = new AbortController()
  const { signal } = waiting
  try {
    await Promise.race([once(res, 'drain', { signal }), once(res, 'close', { signal })])
  } finally {
    waiting.abort()
  }
}

/** Names and values in turn. What is not ASCII came in as bytes read as Latin-1, and so it goes. */
function addHeaders(list: string[], headers: ReplyHeaders): void {
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    if (value !== undefined) list.push(name, String(value))
  }
}
