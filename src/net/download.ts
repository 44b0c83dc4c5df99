import { connect, type Socket } from 'node:net'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { BufferShelf, LentBytes } from '../runtime/buffer-shelf.ts'
import type { Clock } from '../runtime/clock.ts'
import { fromHttpAnswer, fromHttpFailure } from './http-errors.ts'

const HEAD_BYTES_MAX = 16 * 1024
const HEAD_END = '\r\n\r\n'
/** Full blocks that wait; one more is being filled meanwhile. */
const WAITING_MAX = 2

export interface DownloadRequest {
  /** host:port */
  readonly url: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** Between any two bytes. */
  readonly timeoutMs: number
}

/**
 * The body of one GET, of gigabytes, over a connection of its own. The system writes it straight
 * into memory that is used again: buffers of their own for every 64 KiB would keep the collector
 * busier than the network. Whoever takes a piece releases it.
 *
 * @throws {StoreError} what the server answers instead of 200; UNAVAILABLE, TIMEOUT, CANCELLED;
 * PEER_FAILED: it is no HTTP, has no length, or is longer than that.
 */
export async function* download(
  parts: { readonly clock: Clock; readonly shelf: BufferShelf },
  request: DownloadRequest,
  signal: AbortSignal,
): AsyncGenerator<LentBytes, void, undefined> {
  if (signal.aborted) throw cancelledError(signal, 'before asking')
  using answer = new Answer(parts, request)
  using _aborting = onAbort(signal, () => {
    answer.fail(cancelledError(signal, 'in the middle of the answer'))
  })
  for (;;) {
    const piece = await answer.next()
    if (piece === undefined) return
    yield piece
  }
}

class Answer implements Disposable {
  readonly #clock: Clock
  readonly #shelf: BufferShelf
  readonly #request: DownloadRequest
  readonly #socket: Socket
  readonly #full: LentBytes[] = []
  #block: LentBytes
  #filledBytes = 0
  /** Undefined until there is a head. */
  #status: number | undefined
  /** Of the body, that have not arrived. */
  #leftBytes = 0
  /** All of it has arrived: nothing can go wrong any more. */
  #isWhole = false
  #readCount = 0
  #error: StoreError | undefined
  #wake: (() => void) | undefined

  constructor(
    { clock, shelf }: { readonly clock: Clock; readonly shelf: BufferShelf },
    request: DownloadRequest,
  ) {
    this.#clock = clock
    this.#shelf = shelf
    this.#request = request
    this.#block = shelf.take(shelf.sizeBytes)
    const { hostname, port } = new URL(`http://${request.url}`)
    const socket = connect({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port === '' ? 80 : port),
      onread: {
        buffer: () => this.#block.bytes.subarray(this.#filledBytes),
        callback: (bytes) => this.#onRead(bytes),
      },
    })
    socket.on('error', (error) => this.fail(fromHttpFailure(error, request.url)))
    socket.on('close', () => this.fail(this.#shortError()))
    const lines = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const fixed = `Host: ${request.url}\r\nConnection: close\r\n`
    socket.write(`GET ${request.path} HTTP/1.1\r\n${fixed}${lines.join('')}\r\n`)
    this.#socket = socket
  }

  /** Undefined: that was all. */
  async next(): Promise<LentBytes | undefined> {
    for (;;) {
      const piece = this.#full.shift()
      if (piece !== undefined) {
        if (this.#full.length < WAITING_MAX) this.#socket.resume()
        return piece
      }
      if (this.#isWhole) return undefined
      if (this.#error !== undefined) throw this.#error
      await this.#woken()
    }
  }

  /** The first reason counts. */
  fail(error: StoreError): void {
    if (this.#isWhole) return
    this.#error ??= error
    this.#socket.destroy()
    this.#wakeUp()
  }

  [Symbol.dispose](): void {
    // What the system may still write into is left to the collector.
    this.#socket.destroy()
    for (const piece of this.#full) piece.release()
  }

  /** False: no more for now. */
  #onRead(bytes: number): boolean {
    this.#readCount++
    this.#filledBytes += bytes
    try {
      if (this.#status === undefined) this.#readHead()
      else this.#leftBytes -= bytes
      if (this.#status !== undefined) this.#passOn()
    } catch (error) {
      this.fail(error as StoreError)
    }
    return this.#full.length < WAITING_MAX
  }

  /** @throws {StoreError} PEER_FAILED */
  #readHead(): void {
    const { bytes } = this.#block
    const head = bytes.toString('latin1', 0, Math.min(this.#filledBytes, HEAD_BYTES_MAX))
    const at = head.indexOf(HEAD_END)
    if (at < 0) {
      if (this.#filledBytes >= HEAD_BYTES_MAX) throw this.#noHttpError()
      return
    }
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1])
    const length = /\r\ncontent-length: (\d{1,16})\r\n/i.exec(head.slice(0, at + 2))?.[1]
    if (!Number.isInteger(status) || length === undefined) throw this.#noHttpError()
    const bodyAt = at + HEAD_END.length
    bytes.copyWithin(0, bodyAt, this.#filledBytes)
    this.#filledBytes -= bodyAt
    this.#status = status
    this.#leftBytes = Number(length) - this.#filledBytes
  }

  #passOn(): void {
    const isFull = this.#filledBytes === this.#block.bytes.length
    if (this.#leftBytes < 0) throw this.#noHttpError()
    if (!isFull && this.#leftBytes > 0) return
    const { bytes, release } = this.#block
    const filled = bytes.subarray(0, this.#filledBytes)
    if (this.#status !== 200) {
      const text = filled.toString('utf8', 0, LIMITS.httpErrorBodyMax.value)
      throw fromHttpAnswer(this.#request.url, this.#status ?? 0, text)
    }
    if (filled.length > 0) this.#full.push({ bytes: filled, release })
    this.#block = this.#shelf.take(this.#shelf.sizeBytes)
    this.#filledBytes = 0
    this.#isWhole = this.#leftBytes === 0
    this.#wakeUp()
  }

  /** Until something has happened, or nothing for too long. */
  async #woken(): Promise<void> {
    const { timeoutMs, url } = this.#request
    let seenCount = this.#readCount
    const onTime = (): void => {
      if (this.#readCount === seenCount) {
        this.fail(new StoreError('TIMEOUT', `${url} sent nothing for ${timeoutMs} ms`))
        return
      }
      seenCount = this.#readCount
      timer = this.#clock.after(timeoutMs, onTime)
    }
    let timer = this.#clock.after(timeoutMs, onTime)
    try {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    } finally {
      timer[Symbol.dispose]()
    }
  }

  #wakeUp(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  #noHttpError(): StoreError {
    return new StoreError('PEER_FAILED', `${this.#request.url} sent no answer that makes sense`)
  }

  #shortError(): StoreError {
    const { url } = this.#request
    if (this.#status === undefined) return new StoreError('UNAVAILABLE', `${url} hung up`)
    return new StoreError('UNAVAILABLE', `${url} hung up ${this.#leftBytes} bytes too early`)
  }
}
