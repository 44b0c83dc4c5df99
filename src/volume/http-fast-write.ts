import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { FastConnection } from '../net/fast-http.ts'
import type { PutAnswer } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Tally } from '../runtime/metrics.ts'
import type { ByteBudget } from './http-byte-budget.ts'
import { etagOf } from './http-conditions.ts'
import { parsePlainPath } from './http-target.ts'
import type { NeedleAccess } from './needle-access.ts'

/** A longer body comes in many pieces: then the way it is taken in no longer shows. */
export const FAST_BODY_MAX = LIMITS.httpPlainBodyMax.value

/** What a put does not depend on; in lower case. With any other header it is not plain. */
const INDIFFERENT_HEADERS = new Set([
  'host',
  'connection',
  'keep-alive',
  'user-agent',
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'pragma',
])
const CONTENT_LENGTH = 'content-length'

export interface FastWriteParts {
  readonly access: NeedleAccess
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly uploads: ByteBudget
  readonly count: Tally
  readonly bytes: Tally
  readonly fail: (req: IncomingMessage, res: ServerResponse, error: unknown) => void
  readonly failFast: (
    path: string,
    bodyBytes: number,
    error: unknown,
    connection: FastConnection,
  ) => void
}

/**
 * PUT of a small plain body, without parameters or special headers. Whatever is special is left to
 * `FileWrites`, so the two must store and answer the same where both could.
 */
export class FastWrites {
  readonly #parts: FastWriteParts

  constructor(parts: FastWriteParts) {
    this.#parts = parts
  }

  /** Without a request object. False: nothing was done. */
  tryAnswer(path: string, data: Buffer, connection: FastConnection): boolean {
    const { access, uploads, count, bytes } = this.#parts
    const { length } = data
    const fileId = parsePlainPath(path)
    if (fileId === undefined || !access.isLocal(fileId.volumeId)) return false
    if (!uploads.tryTake(length)) return false
    const name = path.slice(1)
    this.#store(fileId, name, data).then(
      (answer) => {
        uploads.release(length)
        count.add(1)
        bytes.add(length)
        finish(connection, answer, name, length)
      },
      (error: unknown) => {
        uploads.release(length)
        this.#parts.failFast(path, length, error, connection)
      },
    )
    return true
  }

  /** False: nothing was done. */
  tryServe(req: IncomingMessage, res: ServerResponse): boolean {
    const { access, uploads } = this.#parts
    const url = req.url ?? ''
    const fileId = parsePlainPath(url)
    if (fileId === undefined) return false
    const length = plainLength(req.rawHeaders)
    if (length === undefined || !access.isLocal(fileId.volumeId)) return false
    if (!uploads.tryTake(length)) return false
    this.#collect(req, res, fileId, length)
    return true
  }

  #collect(req: IncomingMessage, res: ServerResponse, fileId: FileId, length: number): void {
    let first: Buffer | undefined
    let rest: Buffer[] | undefined
    req.on('data', (piece: Buffer) => {
      if (first === undefined) first = piece
      else if (rest === undefined) rest = [first, piece]
      else rest.push(piece)
    })
    let isDone = false
    req.on('end', () => {
      isDone = true
      const data = rest === undefined ? (first ?? Buffer.alloc(0)) : Buffer.concat(rest, length)
      this.#put(req, res, fileId, data)
    })
    req.on('error', () => {}) // The close that follows says all.
    req.on('close', () => {
      if (isDone) return
      this.#parts.uploads.release(length)
      this.#parts.fail(req, res, new StoreError('CANCELLED', 'the client went away'))
    })
  }

  #put(req: IncomingMessage, res: ServerResponse, fileId: FileId, data: Buffer): void {
    const { uploads, count, bytes } = this.#parts
    const { length } = data
    const name = (req.url ?? '').slice(1)
    this.#store(fileId, name, data).then(
      (answer) => {
        uploads.release(length)
        reply(res, answer, name, length)
        count.add(1)
        bytes.add(length)
      },
      (error: unknown) => {
        uploads.release(length)
        this.#parts.fail(req, res, error)
      },
    )
  }

  #store(fileId: FileId, name: string, data: Buffer): Promise<PutAnswer> {
    const { access, clock, signal } = this.#parts
    const metadata = { name, lastModifiedS: Math.floor(clock.nowMs() / 1000) }
    return access.put({ fileId, data, metadata, writeToken: '', isReplica: false }, signal)
  }
}

function finish(
  connection: FastConnection,
  answer: PutAnswer,
  name: string,
  sizeBytes: number,
): void {
  const etag = etagOf(answer.checksum)
  if (answer.isUnchanged) {
    connection.finish(`HTTP/1.1 204 No Content\r\nETag: ${etag}\r\n`, '')
    return
  }
  const body = bodyOf(answer, etag, name, sizeBytes)
  const head =
    `HTTP/1.1 201 Created\r\nETag: ${etag}\r\n` +
    `Content-Type: application/json; charset=utf-8\r\nContent-Length: ${body.length}\r\n`
  connection.finish(head, body)
}

/** The name is a file id here: nothing in it needs an escape. */
function bodyOf(answer: PutAnswer, etag: string, name: string, sizeBytes: number): string {
  return `{"name":"${name}","size":${sizeBytes},"eTag":${etag},"durable":${answer.isDurable}}`
}

function reply(res: ServerResponse, answer: PutAnswer, name: string, sizeBytes: number): void {
  const etag = etagOf(answer.checksum)
  if (answer.isUnchanged) {
    res.writeHead(204, ['ETag', etag])
    res.end()
    return
  }
  const body = bodyOf(answer, etag, name, sizeBytes)
  res.writeHead(201, [
    'ETag',
    etag,
    'Content-Type',
    'application/json; charset=utf-8',
    'Content-Length',
    String(body.length),
  ])
  res.end(body, 'latin1')
}

/** The length of a plain body; undefined: not known, too long, or some header matters. */
function plainLength(rawHeaders: readonly string[]): number | undefined {
  let length: number | undefined
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase()
    if (name === CONTENT_LENGTH) length = Number(rawHeaders[at + 1])
    // Says as much as no type at all.
    else if (name === 'content-type' && rawHeaders[at + 1] === 'application/octet-stream') continue
    else if (!INDIFFERENT_HEADERS.has(name)) return undefined
  }
  return length !== undefined && length <= FAST_BODY_MAX ? length : undefined
}
