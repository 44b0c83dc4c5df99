import { type MessagePort, Worker } from 'node:worker_threads'
import { type ErrorCode, StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'

/** A stream that the other thread holds; `borrow` reads it. */
export type StreamRef = { readonly stream: number }

type Message =
  | {
      readonly kind: 'call'
      readonly id: number
      readonly method: string
      readonly args: unknown[]
    }
  | { readonly kind: 'done'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly error: PostedError }
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'pull'; readonly stream: number }
  | { readonly kind: 'piece'; readonly stream: number; readonly data: Uint8Array }
  | { readonly kind: 'end'; readonly stream: number; readonly error?: PostedError | undefined }
  | { readonly kind: 'stop'; readonly stream: number }

/** A code of undefined: a bug, which is told as such on the other side too. */
interface PostedError {
  readonly code: ErrorCode | undefined
  readonly message: string
}

/** Answers the calls of the other thread. */
export type CallHandler = (args: unknown[], signal: AbortSignal) => unknown

interface Call {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  readonly watch: Disposable | undefined
}

interface Lent {
  readonly pieces: AsyncIterator<Uint8Array>
  readonly owner: AsyncDisposable | undefined
}

interface Waiter {
  readonly resolve: (piece: Uint8Array | undefined) => void
  readonly reject: (error: unknown) => void
}

/**
 * Calls and streams between two threads. Everything said in one turn of the event loop crosses in
 * one message, because a message costs several times what its content does.
 *
 *     call ──> [ said this turn ] ──> one postMessage ──> handler ──> done or failed
 *     lend ──> reference in a call; the borrower pulls piece by piece, the lender never runs ahead
 */
export class ThreadPort implements Disposable {
  readonly #port: MessagePort | Worker
  readonly #handlers: Readonly<Record<string, CallHandler>>
  readonly #calls = new Map<number, Call>()
  readonly #running = new Map<number, AbortController>()
  readonly #lent = new Map<number, Lent>()
  readonly #borrowed = new Map<number, Waiter>()
  #said: Message[] = []
  #nextId = 1
  #isClosed = false

  constructor(port: MessagePort | Worker, handlers: Readonly<Record<string, CallHandler>>) {
    this.#port = port
    this.#handlers = handlers
    const onMessage = (messages: readonly Message[]): void => {
      for (const message of messages) this.#hear(message)
    }
    const onEnd = (): void => this[Symbol.dispose]()
    if (port instanceof Worker) port.on('message', onMessage).on('exit', onEnd)
    else port.on('message', onMessage).on('close', onEnd)
  }

  /** Calls under way in the other thread. */
  get pendingCount(): number {
    return this.#calls.size
  }

  /** @throws {StoreError} what the handler threw; CANCELLED; UNAVAILABLE: the other has ended. */
  call(method: string, args: unknown[], signal?: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(ended())
      const id = this.#nextId++
      // Told at once: the other thread may be stuck.
      const cancel = (): void => {
        this.#say({ kind: 'cancel', id })
        this.#take(id)
        if (signal !== undefined) reject(cancelledError(signal, 'between threads'))
      }
      const watch = signal === undefined ? undefined : onAbort(signal, cancel)
      this.#calls.set(id, { resolve, reject, watch })
      this.#say({ kind: 'call', id, method, args })
      if (signal?.aborted === true) cancel()
    })
  }

  /**
   * To be passed in a call. Read at most once, at the borrower's speed. `owner` is disposed of when
   * the borrower has read all or wants no more.
   */
  lend(source: AsyncIterable<Uint8Array>, owner?: AsyncDisposable): StreamRef {
    const stream = this.#nextId++
    this.#lent.set(stream, { pieces: source[Symbol.asyncIterator](), owner })
    return { stream }
  }

  /** The lender gives up what nobody came for. */
  async withdraw({ stream }: StreamRef): Promise<void> {
    const lent = this.#lent.get(stream)
    this.#lent.delete(stream)
    await lent?.pieces.return?.()
    // A generator that was never begun does not notice its end.
    await lent?.owner?.[Symbol.asyncDispose]()
  }

  /** The borrower wants no more of it, or never began. */
  decline({ stream }: StreamRef): void {
    this.#say({ kind: 'stop', stream })
  }

  async *borrow({ stream }: StreamRef): AsyncGenerator<Uint8Array, void, undefined> {
    let isOver = false
    try {
      for (;;) {
        const piece = await this.#pull(stream)
        if (piece === undefined) {
          isOver = true
          return
        }
        yield piece
      }
    } catch (error) {
      isOver = true
      throw error
    } finally {
      if (!isOver) this.decline({ stream })
    }
  }

  /** Fails what is under way here, and stops what the other thread asked for. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const { reject, watch } of this.#calls.values()) {
      watch?.[Symbol.dispose]()
      reject(ended())
    }
    this.#calls.clear()
    for (const running of this.#running.values()) running.abort(ended())
    for (const { reject } of this.#borrowed.values()) reject(ended())
    for (const stream of [...this.#lent.keys()]) void this.withdraw({ stream })
    // A worker is ended by whoever started it.
    if (!(this.#port instanceof Worker)) this.#port.close()
  }

  #pull(stream: number): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(ended())
      this.#borrowed.set(stream, { resolve, reject })
      this.#say({ kind: 'pull', stream })
    })
  }

  #say(message: Message): void {
    if (this.#isClosed) return
    if (this.#said.length === 0) setImmediate(() => this.#flush())
    this.#said.push(message)
  }

  #flush(): void {
    const said = this.#said
    this.#said = []
    if (!this.#isClosed) this.#port.postMessage(said)
  }

  #hear(message: Message): void {
    switch (message.kind) {
      case 'call':
        void this.#run(message.id, message.method, message.args)
        break
      case 'done':
        this.#take(message.id)?.resolve(message.value)
        break
      case 'failed':
        this.#take(message.id)?.reject(toError(message.error))
        break
      case 'cancel':
        this.#running.get(message.id)?.abort()
        break
      case 'pull':
        void this.#give(message.stream)
        break
      case 'piece':
        this.#hand(message.stream)?.resolve(message.data)
        break
      case 'end': {
        const waiter = this.#hand(message.stream)
        if (message.error === undefined) waiter?.resolve(undefined)
        else waiter?.reject(toError(message.error))
        break
      }
      case 'stop':
        void this.withdraw({ stream: message.stream })
        break
    }
  }

  #take(id: number): Call | undefined {
    const call = this.#calls.get(id)
    this.#calls.delete(id)
    call?.watch?.[Symbol.dispose]()
    return call
  }

  #hand(stream: number): Waiter | undefined {
    const waiter = this.#borrowed.get(stream)
    this.#borrowed.delete(stream)
    return waiter
  }

  async #run(id: number, method: string, args: unknown[]): Promise<void> {
    const running = new AbortController()
    this.#running.set(id, running)
    try {
      const handler = this.#handlers[method]
      if (handler === undefined) throw new Error(`no call ${method} between threads`)
      this.#say({ kind: 'done', id, value: await handler(args, running.signal) })
    } catch (error) {
      this.#say({ kind: 'failed', id, error: toPosted(error) })
    } finally {
      this.#running.delete(id)
    }
  }

  async #give(stream: number): Promise<void> {
    try {
      const next = await this.#lent.get(stream)?.pieces.next()
      if (next === undefined || next.done === true) {
        await this.withdraw({ stream })
        this.#say({ kind: 'end', stream })
      } else {
        this.#say({ kind: 'piece', stream, data: ownBytes(next.value) })
      }
    } catch (error) {
      void this.withdraw({ stream })
      this.#say({ kind: 'end', stream, error: toPosted(error) })
    }
  }
}

/** Bytes with memory of their own: posting a view would copy all the memory it lies in. */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
}

function toPosted(error: unknown): PostedError {
  if (error instanceof StoreError) return { code: error.code, message: error.message }
  return { code: undefined, message: String(error) }
}

function toError({ code, message }: PostedError): Error {
  return code === undefined ? new Error(message) : new StoreError(code, message)
}

function ended(): StoreError {
  return new StoreError('UNAVAILABLE', 'the other thread has ended')
}
