import type { IncomingMessage, ServerResponse } from 'node:http'
import { create as createDisposition } from 'content-disposition'
import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'
import type { HayloftClient } from '../../client/hayloft-client.ts'
import type { ObjectVersion } from '../../namespace/object-version.ts'
import { HttpDates } from '../../net/http-date.ts'
import { type ByteRange, readRange } from '../byte-range.ts'
import { checkReadConditions, parseHttpDate } from '../s3/access/preconditions.ts'
import { isS3Error } from '../s3/s3-error.ts'
import { type ReplyHeaders, sendReply } from '../s3/s3-reply.ts'
import { begun, readHeld, readVersion } from '../stored-bytes.ts'

const DEFAULT_TYPE = 'application/octet-stream'

/** Kept with an object by S3, and needed to make sense of its bytes or to keep them. */
const SENT_HEADERS = ['cache-control', 'content-encoding', 'content-language', 'expires'] as const

export interface ObjectReply {
  readonly status: 200 | 206 | 304
  readonly headers: ReplyHeaders
  /** Undefined: none is sent. */
  readonly range: ByteRange | undefined
}

/**
 * What a GET or HEAD of a version is answered with, from the headers of the request.
 *
 * @throws {StoreError} PRECONDITION_FAILED, RANGE_INVALID; REQUEST_INVALID: a list of ETags that
 * cannot be read.
 */
export function objectReply(
  key: string,
  version: ObjectVersion,
  req: IncomingMessage,
): ObjectReply {
  const header = (name: string): string | undefined => {
    const value = req.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }
  const headers = versionHeaders(key, version)
  if (isUnchanged(header, version)) return { status: 304, headers, range: undefined }
  const { sizeBytes } = version
  const range = isSameAsBefore(header('if-range'), version)
    ? readRange(header('range'), sizeBytes)
    : undefined
  if (range === 'outside') {
    throw new StoreError('RANGE_INVALID', `the object has ${sizeBytes} bytes`)
  }
  if (range === undefined) {
    return { status: 200, headers, range: { start: 0, end: sizeBytes } }
  }
  const shown = `bytes ${range.start}-${range.end - 1}/${sizeBytes}`
  return { status: 206, headers: { ...headers, 'Content-Range': shown }, range }
}

/**
 * Sends it; of an answer to HEAD all but the bytes. What cannot be read at all is thrown while the
 * answer can still say so; what fails later cuts the connection.
 *
 * @returns bytes of the object sent.
 * @throws {StoreError} As `HayloftClient.getStream`.
 */
export async function sendObject(
  client: HayloftClient,
  version: ObjectVersion,
  { headers, range, status }: ObjectReply,
  res: ServerResponse,
  signal: AbortSignal,
): Promise<number> {
  if (range === undefined) {
    await sendReply(res, { status, headers }, {}, false)
    return 0
  }
  const sizeBytes = range.end - range.start
  if (res.req.method === 'HEAD') {
    await sendReply(res, { status, headers: { ...headers, 'Content-Length': sizeBytes } }, {}, true)
    return 0
  }
  const held = readHeld(client, version, range, LIMITS.objectsHeldBytes.value, signal)
  const body = held instanceof Promise ? await held : held
  if (body !== undefined) {
    await sendReply(res, { status, headers, body }, {}, false)
    return sizeBytes
  }
  const pieces = await begun(readVersion(client, version, range, signal))
  await sendReply(res, { status, headers, body: { pieces, sizeBytes } }, {}, false)
  return sizeBytes
}

const dates = new HttpDates()

function versionHeaders(key: string, version: ObjectVersion): ReplyHeaders {
  const headers: Record<string, string> = {
    'Content-Type': version.contentType ?? DEFAULT_TYPE,
    'Content-Disposition': dispositionOf(key),
    'Last-Modified': dates.of(Math.floor(version.modifiedAtMs / 1000)),
    ETag: `"${version.etag}"`,
    'Accept-Ranges': 'bytes',
    'X-Content-Type-Options': 'nosniff',
  }
  for (const name of SENT_HEADERS) {
    const value = version.headers[name]
    if (value !== undefined) headers[name] = value
  }
  return headers
}

const PLAIN_NAME = /^[A-Za-z0-9._-]+$/

/** Saved under the last segment of its key. Source: RFC 6266. */
export function dispositionOf(key: string): string {
  const path = key.replace(/\/+$/, '')
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (PLAIN_NAME.test(name)) return `attachment; filename="${name}"`
  if (name === '') return 'attachment; filename="object"'
  // Without this, what is Latin-1 would be sent as such, and clients take it for UTF-8.
  return createDisposition(name, { fallback: name.replace(/[^\x20-\x7e]/gu, '?') })
}

type HeaderLookup = (name: string) => string | undefined

function isUnchanged(header: HeaderLookup, version: ObjectVersion): boolean {
  const { etag, modifiedAtMs: lastModifiedMs } = version
  try {
    checkReadConditions(header, { etag, lastModifiedMs })
    return false
  } catch (error) {
    if (!isS3Error(error)) throw error
    if (error.status === 304) return true
    const code = error.status === 412 ? 'PRECONDITION_FAILED' : 'REQUEST_INVALID'
    throw new StoreError(code, error.message, { cause: error })
  }
}

/** Who goes on with a download wants the rest of what it has the beginning of, or else all. */
function isSameAsBefore(before: string | undefined, version: ObjectVersion): boolean {
  if (before === undefined || before.trim() === `"${version.etag}"`) return true
  return parseHttpDate(before) === Math.floor(version.modifiedAtMs / 1000) * 1000
}
