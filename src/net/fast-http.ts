import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { type ErrorReply, errorAnswer } from './http-reply.ts'
import { hasBytesAt, type PlainHeaders, parsePlainHeaders } from './plain-headers.ts'

/**
 * Answers the plainest requests. What it says must be what the handler of the server would say; a
 * request that it refuses goes there.
 */
export interface FastResponder {
  /**
   * Answers `GET path`: at once, through `reply`; or, after `later`, through `finishBytes` or
   * `fail`. False: nothing was done.
   */
  tryGet(path: string, connection: FastConnection): boolean
  /**
   * Answers `PUT path` later, through `finish` or `fail`; `body` is its own to keep. False: nothing
   * was done.
   */
  tryPut(path: string, body: Buffer, connection: FastConnection): boolean
}

export interface FastHttpParts {
  readonly responder: FastResponder
  readonly clock: Clock
  readonly logger: Logger
  /** Serves the connection from here on; what was not understood waits in it. */
  readonly takeOver: (socket: Socket) => void
}

/** What the connections of a server share. */
export class FastHttp {
  readonly parts: FastHttpParts
  /** Of whoever came last: clients of one kind send the same. */
  latestHeaders: PlainHeaders | undefined
  isClosing = false
  readonly #keepAlive: string
  #second = -1
  #date = ''
  #tail = ''

  constructor(parts: FastHttpParts, options: { readonly keepAliveMs: number }) {
    this.parts = parts
    this.#keepAlive = `Keep-Alive: timeout=${Math.floor(options.keepAliveMs / 1000)}\r\n`
  }

  /** The headers that every answer ends with, and the empty line. */
  tail(): string {
    const second = Math.floor(this.parts.clock.nowMs() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#date = `Date: ${new Date(second * 1000).toUTCString()}\r\n`
      this.#tail = `${this.#date}Connection: keep-alive\r\n${this.#keepAlive}\r\n`
    }
    return this.isClosing ? `${this.#date}Connection: close\r\n\r\n` : this.#tail
  }
}

const GET = 0x47455420
const PUT = 0x50555420
const METHOD_BYTES = 4
const SPACE = 0x20
/** The longest that is served here: a signed one for parts of a shard. */
const PATH_MAX = 320
const VERSION = Buffer.from(' HTTP/1.1\r\n', 'latin1')
const HAND_OVER = -1

/**
 * A connection on which only plain requests have come so far, each whole in one piece: they are
 * answered without request and response objects, for half the cost. With the first byte of anything
 * else node:http takes over for good, so what is malformed or only unusual is judged there:
 *
 *     piece ─> plain, whole? ─yes─> GET: answered ──> next in the piece
 *                  │                PUT: answer awaited; what follows waits in the socket
 *                  └─no──> put back, handed over
 */
export class FastConnection {
  readonly #shared: FastHttp
  readonly #socket: Socket
  #headers: PlainHeaders | undefined
  #isBusy = false
  /** What came too early, or for a client that does not read, waits in the socket. */
  #isHeld = false
  #onData = (piece: Buffer): void => this.#serveAll(piece)
  #onDrain = (): void => this.#goOn()
  /** As node:http: a client that says it is done is not answered any more. */
  #onEnd = (): void => void this.#socket.end()
  /** The close that follows says all. */
  #onError = (): void => undefined

  constructor(shared: FastHttp, socket: Socket) {
    this.#shared = shared
    this.#socket = socket
    this.#headers = shared.latestHeaders
    socket.on('data', this.#onData).on('drain', this.#onDrain)
    socket.on('end', this.#onEnd).on('error', this.#onError)
  }

  /** A request is not answered, or its answer not taken to the end. */
  get isBusy(): boolean {
    return this.#isBusy || this.#socket.writableLength > 0
  }

  /** `head` is the status line and headers, each with its line break; all in Latin-1. */
  reply(head: string, body: string): void {
    this.#socket.write(head + this.#shared.tail() + body, 'latin1')
  }

  /** As `reply`. False: `data` is still in use, and must not change any more. */
  replyBytes(head: string, data: Buffer): boolean {
    const socket = this.#socket
    socket.cork()
    socket.write(head + this.#shared.tail(), 'latin1')
    socket.write(data)
    socket.uncork()
    return socket.writableLength === 0
  }

  /** A GET is answered as a PUT is: nothing else is begun before `finishBytes` or `fail`. */
  later(): void {
    this.#isBusy = true
  }

  /** The answer to a PUT. */
  finish(head: string, body: string): void {
    this.#finish(() => this.reply(head, body))
  }

  /** The answer to a GET that came later. */
  finishBytes(head: string, data: Buffer): void {
    this.#finish(() => this.replyBytes(head, data))
  }

  #finish(answer: () => void): void {
    this.#isBusy = false
    const socket = this.#socket
    if (!socket.writable) return
    answer()
    if (this.#shared.isClosing) socket.destroySoon()
    else this.#goOn()
  }

  /** The answer to a request that failed; returns its status. */
  fail(
    request: { readonly method: string; readonly url: string },
    error: unknown,
    reply: Omit<ErrorReply, 'logger'> = {},
  ): number {
    const { logger } = this.#shared.parts
    const { status, headers, body } = errorAnswer(error, request, { logger, ...reply })
    let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n`
    for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`
    this.finish(head, body.toString('latin1'))
    return status
  }

  /** The server closes: what is under way is finished, and nothing else begun. */
  close(): void {
    if (!this.isBusy) this.#socket.destroy()
    else if (!this.#isBusy) this.#socket.destroySoon()
  }

  #serveAll(piece: Buffer): void {
    // Nobody answers these any more.
    if (this.#shared.isClosing && !this.#isBusy) return
    let at = 0
    while (at < piece.length) {
      if (this.#isBusy || this.#isFull()) {
        this.#hold(piece, at)
        return
      }
      const next = this.#tryServe(piece, at)
      if (next === HAND_OVER) {
        this.#handOver(piece, at)
        return
      }
      at = next
    }
    if (this.#isFull()) this.#hold(piece, at)
  }

  /** What fails here by our own fault is answered there, with 500 at worst. */
  #tryServe(piece: Buffer, at: number): number {
    try {
      return this.#serve(piece, at)
    } catch (error) {
      this.#shared.parts.logger.error('http.plain_request_failed', { error })
      this.#isBusy = false
      return HAND_OVER
    }
  }

  /** Returns where the next request begins, or HAND_OVER. */
  #serve(piece: Buffer, at: number): number {
    if (piece.length - at < METHOD_BYTES) return HAND_OVER
    const method = piece.readUInt32BE(at)
    if (method !== GET && method !== PUT) return HAND_OVER
    const pathAt = at + METHOD_BYTES
    const pathEnd = endOfPath(piece, pathAt)
    if (!hasBytesAt(piece, pathEnd, VERSION)) return HAND_OVER
    const headersAt = pathEnd + VERSION.length
    const headers = this.#headersAt(piece, headersAt)
    if (headers === undefined) return HAND_OVER
    const { bodyBytes } = headers
    const path = piece.toString('latin1', pathAt, pathEnd)
    const bodyAt = headersAt + headers.bytes.length
    if (method === GET) {
      if (bodyBytes >= 0) return HAND_OVER
      return this.#shared.parts.responder.tryGet(path, this) ? bodyAt : HAND_OVER
    }
    const end = bodyAt + bodyBytes
    const isWhole = bodyBytes >= 0 && end <= piece.length
    if (!isWhole || bodyBytes > LIMITS.httpPlainBodyMax.value) return HAND_OVER
    // Before: it may be answered in the same turn.
    this.#isBusy = true
    const isTaken = this.#shared.parts.responder.tryPut(path, piece.subarray(bodyAt, end), this)
    if (!isTaken) this.#isBusy = false
    return isTaken ? end : HAND_OVER
  }

  #headersAt(piece: Buffer, at: number): PlainHeaders | undefined {
    const known = this.#headers
    if (known !== undefined && hasBytesAt(piece, at, known.bytes)) return known
    const headers = parsePlainHeaders(piece, at)
    if (headers === undefined) return undefined
    this.#headers = headers
    this.#shared.latestHeaders = headers
    return headers
  }

  /** The client does not take its answers. One that was large, but is with the system, is taken. */
  #isFull(): boolean {
    return this.#socket.writableNeedDrain && this.#socket.writableLength > 0
  }

  /** Nothing more is read until `#goOn`. In the socket it keeps its place, and its end waits. */
  #hold(piece: Buffer, at: number): void {
    this.#isHeld = true
    this.#socket.pause()
    if (at < piece.length) this.#socket.unshift(piece.subarray(at))
  }

  #goOn(): void {
    if (!this.#isHeld || this.#isBusy || this.#isFull()) return
    this.#isHeld = false
    this.#socket.resume()
  }

  #handOver(piece: Buffer, at: number): void {
    const socket = this.#socket
    socket.pause()
    socket.off('data', this.#onData).off('drain', this.#onDrain)
    socket.off('end', this.#onEnd).off('error', this.#onError)
    socket.unshift(piece.subarray(at))
    this.#shared.parts.takeOver(socket)
    socket.resume()
  }
}

/** Where the path ends, or a longer one than we serve is given up. */
function endOfPath(piece: Buffer, at: number): number {
  const limit = Math.min(at + PATH_MAX, piece.length)
  let end = at
  while (end < limit && piece[end] !== SPACE) end++
  return end
}
