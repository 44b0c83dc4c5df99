import type { ClientDuplexStream } from '@grpc/grpc-js'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import { fromServiceError } from './error-maps.ts'
import type { GrpcChannel } from './grpc-channel.ts'
import type { WireOperation, WireResult, WireResults } from './wire-volume.ts'

type Stream = ClientDuplexStream<object, object>

/** A caller that waits for the result of its operation. */
interface Caller {
  readonly operation: WireOperation
  readonly dataBytes: number
  readonly slot: Disposable
  readonly startedMs: number
  /** Undefined as soon as the caller has been told. */
  settle: ((outcome: WireResult | StoreError) => void) | undefined
  isSent: boolean
}

const SEQUENCE_END = 2 ** 32
const SPEAKS_FOR_ALL = new Set<ErrorCode | undefined>([
  'UNAUTHENTICATED',
  'PEER_FAILED',
  'OVERLOADED',
])
/** Timeouts are looked for this often within one: they are at most this part too late. */
const SWEEPS_PER_TIMEOUT = 4
/** Of an operation beside its data: ids, token, metadata. */
const OPERATION_BYTES = 64

/**
 * The client's end of Write streams to one server: one at a time, made when it is needed.
 *
 *     run → [ window, then a line ] → queued → message of one turn → stream → results → run
 *
 * Operations of one turn of the event loop share a message, and so do those that come while
 * messages wait for the connection. When the stream breaks, whatever is unanswered fails with
 * UNAVAILABLE (it may have happened), and the next operation makes a new stream. A caller that
 * gives up is told at once; its operation keeps its place in the window until it is answered.
 */
export class WriteStreamClient {
  readonly #channel: GrpcChannel
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #window = new Semaphore({
    slots: LIMITS.writeStreamWindow.value,
    waitersMax: LIMITS.writeStreamWaitersMax.value,
  })
  /** By sequence: sent or queued, and not answered. */
  readonly #unanswered = new Map<number, Caller>()
  #queued: Caller[] = []
  #sequence = 0
  #stream: Stream | undefined
  #streaming = new AbortController()
  #unsentCount = 0
  #isFlushDue = false
  #watchdog: Disposable | undefined
  #answeredMs = 0
  #closing: 'draining' | 'closed' | undefined
  #onEmpty: (() => void) | undefined

  constructor(
    parts: { readonly clock: Clock },
    options: { readonly channel: GrpcChannel; readonly timeoutMs: number },
  ) {
    this.#clock = parts.clock
    this.#channel = options.channel
    this.#timeoutMs = options.timeoutMs
  }

  /** Operations that have no answer yet. */
  get inFlightCount(): number {
    return this.#unanswered.size
  }

  /** Operations that wait for the window. */
  get waitingCount(): number {
    return this.#window.waitingCount
  }

  /**
   * @throws {StoreError} OVERLOADED: the line is full. CANCELLED, UNAVAILABLE, TIMEOUT: it may have
   * happened. CLOSED. The error of the operation itself is in its result.
   */
  async run(
    operation: Omit<WireOperation, 'sequence'>,
    dataBytes: number,
    signal: AbortSignal,
  ): Promise<WireResult> {
    const slot = await this.#window.acquire(signal)
    if (this.#closing !== undefined || signal.aborted) {
      slot[Symbol.dispose]()
      throw signal.aborted ? cancelledError(signal, 'before it was sent') : this.#closedError()
    }
    return await new Promise<WireResult>((resolve, reject) => {
      const sequence = this.#nextSequence()
      const caller: Caller = {
        operation: { sequence, ...operation },
        dataBytes,
        slot,
        startedMs: this.#clock.monotonicMs(),
        settle: undefined,
        isSent: false,
      }
      const aborting = onAbort(signal, () => this.#giveUp(sequence, caller, signal))
      caller.settle = (outcome) => {
        aborting[Symbol.dispose]()
        if (isStoreError(outcome)) reject(outcome)
        else resolve(outcome)
      }
      this.#unanswered.set(sequence, caller)
      this.#queued.push(caller)
      this.#scheduleFlush()
      this.#watchdog ??= this.#watch()
    })
  }

  /** Takes nothing new and waits for what is under way; after `deadlineMs` that fails. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#closing !== undefined) return
    this.#closing = 'draining'
    if (this.#unanswered.size > 0 && deadlineMs > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.after(deadlineMs, resolve)
        this.#onEmpty = () => {
          timer[Symbol.dispose]()
          resolve()
        }
      })
    }
    this.#closing = 'closed'
    this.#stream?.end()
    this.#break(this.#closedError())
  }

  /** Of those at large none may have the same: 2^32 are enough never to meet an old one. */
  #nextSequence(): number {
    do this.#sequence = (this.#sequence + 1) % SEQUENCE_END
    while (this.#unanswered.has(this.#sequence))
    return this.#sequence
  }

  #scheduleFlush(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    setImmediate(() => {
      this.#isFlushDue = false
      this.#flush()
    })
  }

  #flush(): void {
    while (this.#queued.length > 0 && this.#unsentCount < LIMITS.writeMessagesUnsent.value) {
      const stream = this.#openStream()
      if (stream === undefined) return
      const operations = this.#takeMessage()
      if (operations.length === 0) return
      this.#unsentCount++
      stream.write({ operations }, (error?: Error | null) => {
        if (stream !== this.#stream || error) return // The stream's end tells everybody.
        this.#unsentCount--
        if (this.#queued.length > 0) this.#scheduleFlush()
      })
    }
  }

  /** Operations for one message, taken from the queue. */
  #takeMessage(): WireOperation[] {
    const operations: WireOperation[] = []
    const queued = this.#queued
    let bytes = 0
    let index = 0
    for (; index < queued.length; index++) {
      const caller = queued[index]
      // One without a settle gave up before it was sent.
      if (caller?.settle === undefined) continue
      bytes += caller.dataBytes + OPERATION_BYTES
      const isFull = operations.length >= LIMITS.writeMessageOperations.value
      if (isFull || (bytes > LIMITS.writeMessageBytes.value && operations.length > 0)) break
      caller.isSent = true
      operations.push(caller.operation)
    }
    this.#queued = index === queued.length ? [] : queued.slice(index)
    return operations
  }

  /** Undefined: it cannot be opened, and everybody has been told. */
  #openStream(): Stream | undefined {
    if (this.#stream !== undefined) return this.#stream
    this.#streaming = new AbortController()
    let stream: Stream
    try {
      stream = this.#channel.rawDuplex('Write', this.#streaming.signal)
    } catch (error) {
      this.#break(fromServiceError(error, this.#channel.address))
      return undefined
    }
    this.#stream = stream
    this.#unsentCount = 0
    stream.on('data', (message: WireResults) => {
      if (stream === this.#stream) this.#onResults(message)
    })
    let failure: Error | undefined
    // Answers that came just before may still be on their way through the stream.
    const endSoon = () => {
      setImmediate(() => {
        if (stream === this.#stream) this.#onBroken(failure)
      })
    }
    stream.on('error', (error) => {
      failure = error
      endSoon()
    })
    stream.on('end', endSoon)
    return stream
  }

  #onResults(message: WireResults): void {
    this.#answeredMs = this.#clock.monotonicMs()
    for (const result of message.results) {
      const caller = this.#unanswered.get(result.sequence)
      if (caller?.isSent !== true) {
        const text = `${this.#channel.address} answered an operation that nobody sent`
        this.#break(new StoreError('PEER_FAILED', text))
        return
      }
      this.#forget(result.sequence, caller)
      caller.settle?.(result)
      caller.settle = undefined
    }
  }

  /** Without a cause, the server has ended a stream that nobody wanted to end. */
  #onBroken(cause: Error | undefined): void {
    const { address } = this.#channel
    const error = cause && fromServiceError(cause, address)
    // These say something about every operation. Another code says why the stream is gone.
    const isAnswer = SPEAKS_FOR_ALL.has(error?.code)
    if (error !== undefined && isAnswer) {
      this.#break(error)
      return
    }
    const text = `the write stream to ${address} broke: ${error?.message ?? 'the server ended it'}`
    this.#break(new StoreError('UNAVAILABLE', text, { cause }))
  }

  /** Everybody is told; the next operation starts afresh. */
  #break(error: StoreError): void {
    const stream = this.#stream
    this.#stream = undefined
    this.#unsentCount = 0
    this.#queued = []
    const callers = [...this.#unanswered.values()]
    this.#unanswered.clear()
    for (const caller of callers) {
      caller.slot[Symbol.dispose]()
      caller.settle?.(error)
      caller.settle = undefined
    }
    this.#stopWatching()
    stream?.cancel()
  }

  #giveUp(sequence: number, caller: Caller, signal: AbortSignal): void {
    const { settle } = caller
    caller.settle = undefined
    if (!caller.isSent) this.#forget(sequence, caller)
    settle?.(cancelledError(signal, 'while waiting for the answer'))
  }

  #forget(sequence: number, caller: Caller): void {
    this.#unanswered.delete(sequence)
    caller.slot[Symbol.dispose]()
    if (this.#unanswered.size === 0) this.#stopWatching()
  }

  #stopWatching(): void {
    this.#watchdog?.[Symbol.dispose]()
    this.#watchdog = undefined
    this.#onEmpty?.()
  }

  #watch(): Disposable {
    return this.#clock.after(this.#timeoutMs / SWEEPS_PER_TIMEOUT, () => {
      this.#watchdog = undefined
      this.#sweep()
      if (this.#unanswered.size > 0) this.#watchdog ??= this.#watch()
    })
  }

  /**
   * Tells those who have waited too long. A server that answers nothing at all meanwhile will not
   * answer the rest either.
   */
  #sweep(): void {
    const nowMs = this.#clock.monotonicMs()
    const { address } = this.#channel
    const text = `${address} did not answer a write within ${this.#timeoutMs} ms`
    for (const [sequence, caller] of this.#unanswered) {
      // They stand in the order in which they came.
      if (nowMs - caller.startedMs < this.#timeoutMs) return
      if (nowMs - this.#answeredMs >= this.#timeoutMs) {
        this.#break(new StoreError('TIMEOUT', text))
        return
      }
      const { settle } = caller
      caller.settle = undefined
      if (!caller.isSent) this.#forget(sequence, caller)
      settle?.(new StoreError('TIMEOUT', text))
    }
  }

  #closedError(): StoreError {
    return new StoreError('CLOSED', `the write stream to ${this.#channel.address} is closed`)
  }
}
