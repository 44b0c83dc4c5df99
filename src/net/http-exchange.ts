import type { Dispatcher, Pool } from 'undici'
import { LIMITS } from '../base/limits.ts'
import type { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import { fromHttpFailure } from './http-errors.ts'

export interface HttpRequest {
  readonly path: string
  readonly method: 'GET' | 'PUT'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | AsyncGenerator<Uint8Array>
}

type Controller = Dispatcher.DispatchController

/**
 * One request and its answer, without the stream objects in between: for small needles those cost
 * more than everything else. Of the body at most `LIMITS.eagerReadMax` is held before it is asked
 * for; then the connection waits. All errors are `StoreError`s.
 */
export class HttpExchange implements Disposable {
  status = 0
  /** Names and values in turn, read as Latin-1. */
  headers: readonly string[] = []
  readonly #signal: AbortSignal
  readonly #aborting: Disposable
  #controller: Controller | undefined
  #pieces: Buffer[] = []
  #heldBytes = 0
  #isEnded = false
  #error: StoreError | undefined
  /** Whoever waits for the head, for the next piece or for the end. */
  #wake: (() => void) | undefined

  private constructor(signal: AbortSignal) {
    this.#signal = signal
    this.#aborting = onAbort(signal, () => {
      this.#fail(cancelledError(signal, 'while waiting for the answer'))
    })
  }

  /**
   * Sends the request and waits for the head of the answer.
   *
   * @throws {StoreError} CANCELLED, UNAVAILABLE, TIMEOUT, CLOSED, PEER_FAILED.
   */
  static async begin(
    pool: Pool,
    peer: string,
    request: HttpRequest,
    signal: AbortSignal,
  ): Promise<HttpExchange> {
    if (signal.aborted) throw cancelledError(signal, 'before asking')
    const exchange = new HttpExchange(signal)
    // undici takes whatever can be iterated, though its types know only some of it.
    const options = request as Dispatcher.DispatchOptions
    pool.dispatch(options, {
      onRequestStart: (controller) => exchange.#onStart(controller),
      onResponseStart: (controller, status) => exchange.#onHead(controller, status),
      onResponseData: (controller, piece) => exchange.#onPiece(controller, piece),
      onResponseEnd: () => exchange.#onEnd(),
      onResponseError: (_, error) => exchange.#fail(fromHttpFailure(error, peer)),
    })
    while (exchange.status === 0 && exchange.#error === undefined) await exchange.#woken()
    if (exchange.#error !== undefined) throw exchange.#error
    return exchange
  }

  /** The whole of a body that is known to be small. */
  async whole(): Promise<readonly Buffer[]> {
    while (!this.#isEnded) {
      if (this.#error !== undefined) throw this.#error
      await this.#woken()
    }
    return this.#take()
  }

  /** The body as it comes. Leaving early gives the connection up. */
  async *pieces(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        yield* this.#take()
        if (this.#heldBytes > 0) continue
        if (this.#error !== undefined) throw this.#error
        if (this.#isEnded) return
        await this.#woken()
      }
    } finally {
      this[Symbol.dispose]()
    }
  }

  header(lowerName: string): string | undefined {
    const { headers } = this
    for (let index = 0; index + 1 < headers.length; index += 2) {
      if (headers[index]?.toLowerCase() === lowerName) return headers[index + 1]
    }
    return undefined
  }

  /** Nothing more of the answer is wanted. Twice is harmless. */
  [Symbol.dispose](): void {
    this.#aborting[Symbol.dispose]()
    if (!this.#isEnded) this.#fail(cancelledError(this.#signal, 'before the end of the answer'))
  }

  #onStart(controller: Controller): void {
    this.#controller = controller
    if (this.#error !== undefined) controller.abort(this.#error)
  }

  #onHead(controller: Controller, status: number): void {
    if (status < 200) return // There is more to come.
    this.status = status
    const raw = (controller.rawHeaders ?? []) as readonly (Buffer | string)[]
    this.headers = raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1')))
    this.#wakeUp()
  }

  #onPiece(controller: Controller, piece: Buffer): void {
    this.#pieces.push(piece)
    this.#heldBytes += piece.length
    if (this.#heldBytes > LIMITS.eagerReadMax.value) controller.pause()
    this.#wakeUp()
  }

  #onEnd(): void {
    this.#isEnded = true
    this.#aborting[Symbol.dispose]()
    this.#wakeUp()
  }

  #fail(error: StoreError): void {
    if (this.#isEnded || this.#error !== undefined) return
    this.#error = error
    this.#aborting[Symbol.dispose]()
    this.#controller?.abort(error)
    this.#wakeUp()
  }

  #take(): readonly Buffer[] {
    const taken = this.#pieces
    this.#pieces = []
    this.#heldBytes = 0
    if (!this.#isEnded) this.#controller?.resume()
    return taken
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  #wakeUp(): void {
    this.#wake?.()
    this.#wake = undefined
  }
}
