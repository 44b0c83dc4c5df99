import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  Metadata,
  type MethodDefinition,
  type ServiceDefinition,
} from '@grpc/grpc-js'
import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { CLUSTER_AUTH_HEADER, ClusterAuth } from './cluster-auth.ts'
import { fromServiceError } from './error-maps.ts'
import { FLOW_CONTROL_BYTES, KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS } from './grpc-server.ts'
import { channelCredentials, type TlsKeys } from './tls.ts'
import { abortable, messageStream, writeAll } from './wire-streams.ts'

export interface GrpcChannelOptions {
  /** host:port */
  readonly address: string
  readonly service: ServiceDefinition
  /** Until a unary call fails with TIMEOUT. Streams and long calls have no end. */
  readonly timeoutMs: number
  readonly secret?: Buffer | undefined
  readonly tls?: TlsKeys | undefined
  /** More metadata for a call of `path`: who calls, for services that ask for it. */
  readonly proof?: ((path: string) => readonly [name: string, value: string]) | undefined
}

type Method = MethodDefinition<object, object>

/**
 * Calls of one service of one server, over one connection that is made when it is first needed and
 * again when it breaks. All errors are `StoreError`s; with a secret, every call shows it.
 */
export class GrpcChannel implements AsyncDisposable {
  readonly address: string
  readonly #client: Client
  readonly #clock: Clock
  readonly #auth: ClusterAuth | undefined
  readonly #service: ServiceDefinition
  readonly #timeoutMs: number
  readonly #proof: GrpcChannelOptions['proof']
  #isClosed = false

  /** @throws {StoreError} CONFIG_INVALID: `tls` cannot be used. */
  constructor(
    parts: { readonly clock: Clock; readonly random: Random },
    options: GrpcChannelOptions,
  ) {
    this.address = options.address
    this.#clock = parts.clock
    this.#auth = options.secret && new ClusterAuth(parts, options.secret)
    this.#service = options.service
    this.#timeoutMs = options.timeoutMs
    this.#proof = options.proof
    this.#client = new Client(options.address, channelCredentials(options.tls), {
      'grpc.max_receive_message_length': LIMITS.grpcMessageMax.value,
      'grpc.max_send_message_length': LIMITS.grpcMessageMax.value,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc-node.flow_control_window': FLOW_CONTROL_BYTES,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_channelz': 0,
      'grpc.enable_retries': 0,
    })
  }

  /**
   * `isLong`: without a time limit, for work that takes as long as a volume is large. A peer that
   * is gone is noticed all the same, within a minute.
   *
   * @throws {StoreError} what the peer answered, TIMEOUT, CANCELLED, UNAVAILABLE, PEER_FAILED.
   */
  unary<Answer extends object>(
    name: string,
    request: object,
    signal: AbortSignal,
    options: { readonly isLong?: boolean } = {},
  ): Promise<Answer> {
    const method = this.#method(name)
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelledError(signal, 'before calling'))
      let gaveUp: StoreError | undefined
      const giveUp = (reason: StoreError): void => {
        gaveUp ??= reason
        call.cancel()
      }
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(method),
        (error, answer) => {
          aborting[Symbol.dispose]()
          timer?.[Symbol.dispose]()
          if (error === null) resolve(answer as Answer)
          else reject(gaveUp ?? this.#errorOf(error, signal))
        },
      )
      const aborting = onAbort(signal, () => giveUp(cancelledError(signal, 'while waiting')))
      const timer = options.isLong === true ? undefined : this.#timeout(name, giveUp)
    })
  }

  /** What the peer sends, as it is asked for; leaving the loop cancels the call. */
  async *serverStream<Answer extends object>(
    name: string,
    request: object,
    signal: AbortSignal,
  ): AsyncGenerator<Answer> {
    const method = this.#method(name)
    if (signal.aborted) throw cancelledError(signal, 'before calling')
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      this.#metadata(method),
    )
    yield* this.#answers<Answer>(call, signal)
  }

  /**
   * Sends `requests` as the peer takes them, and hears once what became of all of them. Without a
   * time limit; if the peer answers before the last one, the others stay unsent.
   *
   * @throws {StoreError} As `unary`. Otherwise what `requests` threw, and the call is given up.
   */
  async clientStream<Answer extends object>(
    name: string,
    requests: AsyncIterable<object>,
    signal: AbortSignal,
  ): Promise<Answer> {
    const method = this.#method(name)
    if (signal.aborted) throw cancelledError(signal, 'before calling')
    const sending = new AbortController()
    using _aborting = onAbort(signal, () => sending.abort(signal.reason))
    const { answer, call } = this.#startClientStream<Answer>(method)
    // Whoever comes to it gets the error; until then it only ends the sending.
    answer.then(
      () => sending.abort(),
      () => sending.abort(),
    )
    try {
      await writeAll(call, requests, sending.signal)
      call.end()
    } catch (error) {
      // The answer was there first: the call is over, and says how.
      if (!sending.signal.aborted || signal.aborted) {
        call.cancel()
        await answer.catch(() => undefined)
        throw signal.aborted ? cancelledError(signal, 'while sending') : error
      }
    }
    using _waiting = onAbort(signal, () => call.cancel())
    try {
      return await answer
    } catch (error) {
      throw this.#errorOf(error, signal)
    }
  }

  #startClientStream<Answer extends object>(method: Method) {
    let call: ClientWritableStream<object> | undefined
    const answer = new Promise<Answer>((resolve, reject) => {
      call = this.#client.makeClientStreamRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        this.#metadata(method),
        (error, value) => (error === null ? resolve(value as Answer) : reject(error)),
      )
      call.on('error', () => {}) // The callback reports it.
    })
    assert(call !== undefined, 'the call was started')
    return { answer, call }
  }

  /** Sends `requests` as the peer takes them; when the answers end, nobody asks for more. */
  async *duplex<Answer extends object>(
    name: string,
    requests: AsyncIterable<object>,
    signal: AbortSignal,
  ): AsyncGenerator<Answer> {
    const call = this.rawDuplex(name, signal)
    const sending = new AbortController()
    using _aborting = onAbort(signal, () => sending.abort(signal.reason))
    let failure: { readonly error: unknown } | undefined
    const send = async (): Promise<void> => {
      try {
        await writeAll(call, requests, sending.signal)
        call.end()
      } catch (error) {
        if (sending.signal.aborted) return
        failure = { error }
        call.cancel()
      }
    }
    const sent = send()
    try {
      yield* this.#answers<Answer>(call, signal)
    } catch (error) {
      throw failure === undefined ? error : failure.error
    } finally {
      sending.abort()
      await sent
    }
  }

  /** A stream for whoever handles its events; has a listener for errors already. */
  rawDuplex(name: string, signal: AbortSignal): ClientDuplexStream<object, object> {
    const method = this.#method(name)
    if (signal.aborted) throw cancelledError(signal, 'before calling')
    const call = this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      this.#metadata(method),
    )
    call.on('error', () => {}) // Read from the stream itself, or of no interest after a cancel.
    return call
  }

  /** Fails what is under way with UNAVAILABLE. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#client.close()
  }

  async *#answers<Answer>(
    call: ClientReadableStream<object> | ClientDuplexStream<object, object>,
    signal: AbortSignal,
  ): AsyncGenerator<Answer> {
    call.on('error', () => {}) // The iterator reports it; after a cancel nobody has to.
    try {
      yield* abortable(messageStream<Answer>(call, signal), signal)
    } catch (error) {
      throw this.#errorOf(error, signal)
    } finally {
      call.cancel()
    }
  }

  #timeout(name: string, giveUp: (reason: StoreError) => void): Disposable {
    return this.#clock.after(this.#timeoutMs, () => {
      const text = `${this.address} did not answer ${name} within ${this.#timeoutMs} ms`
      giveUp(new StoreError('TIMEOUT', text))
    })
  }

  #method(name: string): Method {
    if (this.#isClosed) throw new StoreError('CLOSED', `the channel to ${this.address} is closed`)
    const method = this.#service[name]
    assert(method !== undefined, `there is no method ${name}`)
    return method
  }

  #metadata(method: Method): Metadata {
    const metadata = new Metadata()
    if (this.#auth !== undefined) {
      metadata.set(CLUSTER_AUTH_HEADER, this.#auth.signGrpc(method.path))
    }
    if (this.#proof !== undefined) metadata.set(...this.#proof(method.path))
    return metadata
  }

  #errorOf(cause: unknown, signal: AbortSignal): StoreError {
    const error = fromServiceError(cause, this.address)
    // The peer, or the connection, gave up; the caller did not.
    if (!isStoreError(error, 'CANCELLED') || signal.aborted) return error
    return new StoreError('UNAVAILABLE', `${this.address} broke the call off`, { cause })
  }
}
