import type { IncomingMessage, ServerResponse } from 'node:http'
import { isStoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'
import { NEEDLE_DATA_SIZE_BYTES, type Needle } from '../format/needle.ts'
import { type PlainAttributes, peekPlainAttributes } from '../format/plain-attributes.ts'
import type { FastConnection } from '../net/fast-http.ts'
import { HttpDates } from '../net/http-date.ts'
import type { Tally } from '../runtime/metrics.ts'
import { ReadBuffer } from '../storage/read-buffer.ts'
import { etagOf } from './http-conditions.ts'
import { disposition, extensionOf, mimeOf } from './http-headers.ts'
import { parsePlainPath } from './http-target.ts'
import type { NeedleAccess } from './needle-access.ts'

const READ_BUFFER_BYTES = 68 * KIB
/** As a string, a small body leaves in one write with its headers; larger ones are not copied. */
const COPIED_BODY_MAX = 4 * KIB

/** What the answer to a read depends on, beside its path; in lower case. */
const DECISIVE_HEADERS = new Set([
  'range',
  'origin',
  'if-none-match',
  'if-modified-since',
  'if-range',
  'expect',
])
const DECISIVE_LENGTHS = new Set([...DECISIVE_HEADERS].map((name) => name.length))

/** A needle whose answer depends on nothing but what is here. */
interface PlainFile {
  readonly needle: Needle
  readonly name: string
  readonly mime: string
  readonly lastModifiedS: number
}

/**
 * GET of a small needle that is in memory, asked for in the plainest way: almost every request of a
 * busy server. Whatever is special about path, headers or needle is left to `FileReads`, so they
 * must give the same answer where both could.
 */
export class FastReads {
  readonly #access: NeedleAccess
  readonly #count: Tally
  readonly #bytes: Tally
  #buffer = new ReadBuffer(READ_BUFFER_BYTES)
  readonly #times = new HttpDates()

  constructor(access: NeedleAccess, tallies: { readonly count: Tally; readonly bytes: Tally }) {
    this.#access = access
    this.#count = tallies.count
    this.#bytes = tallies.bytes
  }

  /** Without a request object. False: nothing was done. */
  tryAnswer(path: string, connection: FastConnection): boolean {
    const file = this.#find(path)
    if (file === undefined) return false
    const { needle, name, mime, lastModifiedS } = file
    const { data } = needle
    const named = name === '' ? '' : `Content-Disposition: ${disposition(name, false)}\r\n`
    const head =
      `HTTP/1.1 200 OK\r\nContent-Type: ${mimeOf(mime, extensionOf(name))}\r\n` +
      `Content-Length: ${data.length}\r\nETag: ${etagOf(needle.checksum)}\r\n` +
      `Last-Modified: ${this.#times.of(lastModifiedS)}\r\nAccept-Ranges: bytes\r\n` +
      `X-Content-Type-Options: nosniff\r\n${named}`
    this.#count.add(1)
    this.#bytes.add(data.length)
    if (data.length <= COPIED_BODY_MAX) connection.reply(head, data.toString('latin1'))
    else if (!connection.replyBytes(head, data)) this.#buffer = new ReadBuffer(READ_BUFFER_BYTES)
    return true
  }

  /** False: nothing was done. */
  tryServe(req: IncomingMessage, res: ServerResponse): boolean {
    if (hasDecisiveHeader(req.rawHeaders)) return false
    const file = this.#find(req.url ?? '')
    if (file === undefined) return false
    this.#send(req, res, file)
    return true
  }

  #find(path: string): PlainFile | undefined {
    const fileId = parsePlainPath(path)
    if (fileId === undefined) return undefined
    let needle: Needle | undefined
    try {
      needle = this.#access.readWarm(fileId, false, this.#buffer)
    } catch (error) {
      if (isStoreError(error)) return undefined
      throw error
    }
    if (needle === undefined) return undefined
    const attributes = peekAttributes(needle, this.#buffer.bytes)
    if (attributes?.lastModifiedS === undefined) return undefined
    const { name, mime, lastModifiedS } = attributes
    return { needle, name, mime, lastModifiedS }
  }

  #send(
    req: IncomingMessage,
    res: ServerResponse,
    { needle, name, mime, lastModifiedS }: PlainFile,
  ): void {
    const { data } = needle
    const extension = extensionOf(name)
    // One literal of the right length: an array that grows is copied.
    const headers = [
      'Content-Type',
      mimeOf(mime, extension),
      'Content-Length',
      String(data.length),
      'ETag',
      etagOf(needle.checksum),
      'Last-Modified',
      this.#times.of(lastModifiedS),
      'Accept-Ranges',
      'bytes',
      'X-Content-Type-Options',
      'nosniff',
    ]
    if (name !== '') headers.push('Content-Disposition', disposition(name, false))
    this.#count.add(1)
    this.#bytes.add(data.length)
    res.writeHead(200, headers)
    if (data.length <= COPIED_BODY_MAX) {
      res.end(data.toString('latin1'), 'latin1')
      return
    }
    const { socket } = req
    res.end(data)
    // Handed to the system already, or waiting in line: then the memory is no longer ours.
    if (res.socket !== socket || socket.writableLength > 0) {
      this.#buffer = new ReadBuffer(READ_BUFFER_BYTES)
    }
  }
}

/** They stand behind the data. Undefined: there are others, which change the answer. */
function peekAttributes(needle: Needle, bytes: Buffer): PlainAttributes | undefined {
  const { data, sizeBytes, version } = needle
  if (version === 1 || sizeBytes === 0) return undefined
  const { buffer, byteOffset, length } = data
  const source = buffer === bytes.buffer ? bytes : Buffer.from(buffer)
  const at = byteOffset + length - source.byteOffset
  return peekPlainAttributes(source, at, at + sizeBytes - NEEDLE_DATA_SIZE_BYTES - length)
}

function hasDecisiveHeader(rawHeaders: readonly string[]): boolean {
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ''
    if (DECISIVE_LENGTHS.has(name.length) && DECISIVE_HEADERS.has(name.toLowerCase())) return true
  }
  return false
}
