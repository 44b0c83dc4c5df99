import type { ServiceDefinition } from '@grpc/grpc-js'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { GrpcChannel } from './grpc-channel.ts'
import { mapStream } from './grpc-service.ts'
import { MASTER_PROTO } from './proto-loading.ts'
import { type RetryOptions, retrying } from './retry.ts'
import type { TlsKeys } from './tls.ts'
import { statusFromWire } from './wire-master.ts'
import { fromPeer } from './wire-values.ts'

export interface MasterChannelsParts {
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
}

export interface MasterChannelsConfig {
  /** host:port of the gRPC of every master. */
  readonly addresses: readonly string[]
  readonly secret?: Buffer | undefined
  readonly tls?: TlsKeys | undefined
  /** For one try of one call. */
  readonly timeoutMs: number
}

export interface MasterCallOptions {
  readonly signal: AbortSignal
  /** It must not happen twice: sent once, to a master that has just said it is the leader. */
  readonly isOnce?: boolean
}

const RETRY_BASE_MS = 50
const RETRY_MAX_MS = 1000

/** Every master is asked this often before a call fails. */
const ROUNDS = 3

/**
 * A service of all masters of a cluster, as if they were one: calls go to the one that answered
 * last, and on to the next when it is out of reach or not the leader.
 */
export class MasterChannels implements AsyncDisposable {
  readonly #parts: MasterChannelsParts
  readonly #channels: readonly GrpcChannel[]
  readonly #retry: RetryOptions
  #currentIndex = 0

  /**
   * Connects when it is first used.
   *
   * @throws {StoreError} CONFIG_INVALID: no address, or `tls` cannot be used.
   */
  constructor(
    parts: MasterChannelsParts,
    config: MasterChannelsConfig,
    definition: ServiceDefinition,
  ) {
    const { addresses, secret, tls, timeoutMs } = config
    if (addresses.length === 0) throw new StoreError('CONFIG_INVALID', 'no address of a master')
    this.#parts = parts
    const { GetStatus: getStatus } = MASTER_PROTO
    const service = { ...definition, ...(getStatus && { GetStatus: getStatus }) }
    this.#channels = addresses.map(
      (address) => new GrpcChannel(parts, { address, service, secret, tls, timeoutMs }),
    )
    this.#retry = {
      attemptsMax: ROUNDS * addresses.length,
      baseMs: RETRY_BASE_MS,
      maxMs: RETRY_MAX_MS,
    }
  }

  async call<Wire extends object, Answer>(
    name: string,
    request: object,
    convert: (wire: Wire) => Answer,
    options: MasterCallOptions,
  ): Promise<Answer> {
    const { signal, isOnce = false } = options
    const run = () =>
      this.#tryOn(async (channel) => {
        const wire = await channel.unary<Wire>(name, request, signal)
        return fromPeer(channel.address, wire, convert)
      })
    if (!isOnce) return await retrying(this.#parts, this.#retry, run, signal)
    await this.#findLeader(signal)
    return await run()
  }

  /** As `call`, for answers that come in pieces: all of them, of one try. */
  async gather<Wire extends object, Answer>(
    name: string,
    request: object,
    convert: (wire: Wire) => readonly Answer[],
    options: { readonly signal: AbortSignal },
  ): Promise<readonly Answer[]> {
    const { signal } = options
    const run = () =>
      this.#tryOn(async (channel) => {
        const answers: Answer[] = []
        for await (const wire of channel.serverStream<Wire>(name, request, signal)) {
          for (const answer of fromPeer(channel.address, wire, convert)) answers.push(answer)
        }
        return answers
      })
    return await retrying(this.#parts, this.#retry, run, signal)
  }

  /** What one master sends; when it breaks off, nobody asks the next one. */
  stream<Wire extends object, Answer>(
    name: string,
    request: object,
    convert: (wire: Wire) => Answer,
    options: { readonly signal: AbortSignal },
  ): AsyncIterable<Answer> {
    return this.#stream(options.signal, (channel) =>
      mapStream(channel.serverStream<Wire>(name, request, options.signal), (wire) =>
        fromPeer(channel.address, wire, convert),
      ),
    )
  }

  /** As `stream`, while messages go the other way. */
  duplex<Wire extends object, Answer>(
    name: string,
    requests: AsyncIterable<object>,
    convert: (wire: Wire) => Answer,
    options: { readonly signal: AbortSignal },
  ): AsyncIterable<Answer> {
    return this.#stream(options.signal, (channel) =>
      mapStream(channel.duplex<Wire>(name, requests, options.signal), (wire) =>
        fromPeer(channel.address, wire, convert),
      ),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const channel of this.#channels) await channel[Symbol.asyncDispose]()
  }

  async #tryOn<Answer>(run: (channel: GrpcChannel) => Promise<Answer>): Promise<Answer> {
    const channel = this.#current()
    try {
      return await run(channel)
    } catch (error) {
      this.#leave(channel, error)
      throw error
    }
  }

  /** @throws {StoreError} NOT_LEADER: no master says that it leads, after several rounds. */
  async #findLeader(signal: AbortSignal): Promise<void> {
    const ask = () =>
      this.#tryOn(async (channel) => {
        const wire = await channel.unary<Parameters<typeof statusFromWire>[0]>(
          'GetStatus',
          {},
          signal,
        )
        if (fromPeer(channel.address, wire, statusFromWire).isLeader) return
        throw new StoreError('NOT_LEADER', `${channel.address} is not the leader`)
      })
    await retrying(this.#parts, this.#retry, ask, signal)
  }

  async *#stream<Answer>(
    signal: AbortSignal,
    start: (channel: GrpcChannel) => AsyncIterable<Answer>,
  ): AsyncGenerator<Answer> {
    signal.throwIfAborted()
    const channel = this.#current()
    try {
      yield* start(channel)
    } catch (error) {
      this.#leave(channel, error)
      throw error
    }
  }

  #current(): GrpcChannel {
    const channel = this.#channels[this.#currentIndex]
    if (channel === undefined) throw new StoreError('CONFIG_INVALID', 'no address of a master')
    return channel
  }

  /** The next call goes to the next master, unless another call has moved on already. */
  #leave(channel: GrpcChannel, error: unknown): void {
    if (!isStoreError(error, 'NOT_LEADER', 'UNAVAILABLE', 'TIMEOUT', 'PEER_FAILED')) return
    if (channel !== this.#current() || this.#channels.length === 1) return
    this.#currentIndex = (this.#currentIndex + 1) % this.#channels.length
    this.#parts.logger.debug('master.next_address', { from: channel.address, code: error.code })
  }
}
