import {
  Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { ReflectionService } from '@grpc/reflection'
import { HealthImplementation } from 'grpc-health-check'
import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { cryptoRandom } from '../runtime/random.ts'
import { CLUSTER_AUTH_HEADER, ClusterAuth } from './cluster-auth.ts'
import { toServiceError } from './error-maps.ts'
import type {
  CallContext,
  ClientStreamMethod,
  DuplexMethod,
  GrpcMethod,
  GrpcService,
  MethodPolicy,
  RawDuplexMethod,
  ServerStreamMethod,
  UnaryMethod,
} from './grpc-service.ts'
import { PROTO_PACKAGE } from './proto-loading.ts'
import { serverCredentials, type TlsKeys } from './tls.ts'
import { messageStream, writeAll } from './wire-streams.ts'

export interface GrpcServerParts {
  readonly logger: Logger
  readonly clock: Clock
  /** The cluster secret. Without it every method of the policy `cluster` is refused. */
  readonly secret?: Buffer | undefined
  /** Without it: plain text. */
  readonly tls?: TlsKeys | undefined
}

export interface GrpcServerConfig {
  readonly host: string
  /** 0: one that is free. */
  readonly port: number
  readonly services: readonly GrpcService[]
  /** `LIMITS.grpcCallsMax` unless given. */
  readonly callsMax?: number | undefined
  /** Of a message that comes; `LIMITS.grpcMessageMax` unless given. */
  readonly messageMax?: number | undefined
  /** `LIMITS.grpcCallMs` unless given. */
  readonly callMs?: number | undefined
}

export interface GrpcAddress {
  readonly host: string
  readonly port: number
}

/** Services of libraries, which bring their methods along: their policy is declared here. */
const LIBRARY_POLICIES: Readonly<Record<string, MethodPolicy>> = {
  '/grpc.health.v1.Health/Check': 'public',
  '/grpc.health.v1.Health/Watch': 'public',
  '/grpc.health.v1.Health/List': 'public',
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo': 'public',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': 'public',
}

/**
 * What reflection is made of. Each message brings the descriptors of all files, and the library
 * would decode those of every message: 150 ms for each server, where one of each is enough.
 */
const REFLECTED: typeof PROTO_PACKAGE = Object.fromEntries(
  new Map(
    Object.entries(PROTO_PACKAGE).map((entry) => [
      'fileDescriptorProtos' in entry[1] ? entry[1].fileDescriptorProtos : entry[0],
      entry,
    ]),
  ).values(),
)

/** Big enough for a fast network with some distance; the usual 64 KiB is not. */
export const FLOW_CONTROL_BYTES = 1024 * 1024
export const KEEPALIVE_MS = 30_000
export const KEEPALIVE_TIMEOUT_MS = 10_000

interface StreamCall {
  emit(event: 'error', error: Error): boolean
  readonly cancelled: boolean
}

/** A call with a stream in it, and how it is told that it has failed. */
interface StreamEnd {
  readonly call: Pick<StreamCall, 'cancelled'> & IncomingCall
  readonly fail: (error: unknown) => void
}

/**
 * A gRPC server. Every call is counted, bounded in number and time, and checked against the policy
 * of its method before anything is done; health and reflection are there by themselves.
 */
export class GrpcServer implements AsyncDisposable {
  /** By path. A method without a policy cannot be registered. */
  readonly policies: ReadonlyMap<string, MethodPolicy>
  readonly address: GrpcAddress
  readonly #server: Server
  readonly #calls: Calls
  readonly #health: HealthImplementation
  readonly #clock: Clock
  readonly #services: readonly string[]
  #closing: Promise<void> | undefined

  private constructor(built: Built, clock: Clock, address: GrpcAddress) {
    this.#server = built.server
    this.#calls = built.calls
    this.#health = built.health
    this.#services = built.services
    this.policies = built.policies
    this.#clock = clock
    this.address = address
  }

  /**
   * @throws {StoreError} LISTEN_FAILED: the address is taken or not ours. CONFIG_INVALID: `tls`.
   */
  static async open(parts: GrpcServerParts, config: GrpcServerConfig): Promise<GrpcServer> {
    const credentials = serverCredentials(parts.tls)
    const built = buildServer(parts, config)
    const host = config.host.includes(':') ? `[${config.host}]` : config.host
    const port = await new Promise<number>((resolve, reject) => {
      built.server.bindAsync(`${host}:${config.port}`, credentials, (cause, bound) => {
        if (cause === null) return resolve(bound)
        const where = `${host}:${config.port}`
        reject(new StoreError('LISTEN_FAILED', `cannot listen on ${where}`, { cause }))
      })
    })
    return new GrpcServer(built, parts.clock, { host: config.host, port })
  }

  /** What can be called, as the library under it sees it: for tests to compare with `policies`. */
  registeredPaths(): readonly string[] {
    const { handlers } = this.#server as unknown as { readonly handlers: Map<string, unknown> }
    return [...handlers.keys()]
  }

  /** Calls under way, streams included. */
  get inFlightCount(): number {
    return this.#calls.count
  }

  /**
   * Takes no new calls, ends the endless streams, and waits up to `deadlineMs` for the other ones;
   * what is still under way then fails.
   */
  close(deadlineMs: number): Promise<void> {
    this.#closing ??= this.#close(deadlineMs)
    return this.#closing
  }

  /** Fails what is under way, now. */
  destroy(): void {
    this.#calls.beginClosing()
    this.#calls.abortAll()
    this.#server.forceShutdown()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(0)
  }

  async #close(deadlineMs: number): Promise<void> {
    for (const name of this.#services) this.#health.setStatus(name, 'NOT_SERVING')
    this.#calls.beginClosing()
    if (deadlineMs > 0) await this.#calls.idle(this.#clock, deadlineMs)
    this.#calls.abortAll()
    if (deadlineMs > 0) await this.#sayGoodbye(Math.min(deadlineMs, LIMITS.grpcGoodbyeMs.value))
    this.#server.forceShutdown()
  }

  /** Lets the last answers out: everybody is done, or has had the time to be. */
  #sayGoodbye(deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(deadlineMs, resolve)
      this.#server.tryShutdown(() => {
        timer[Symbol.dispose]()
        resolve()
      })
    })
  }
}

interface Built {
  readonly server: Server
  readonly calls: Calls
  readonly health: HealthImplementation
  readonly policies: ReadonlyMap<string, MethodPolicy>
  readonly services: readonly string[]
}

function buildServer(parts: GrpcServerParts, config: GrpcServerConfig): Built {
  const callsMax = config.callsMax ?? LIMITS.grpcCallsMax.value
  // Channelz stays on: without it `forceShutdown` does not know the connections, and cuts none.
  const server = new Server({
    'grpc.max_receive_message_length': config.messageMax ?? LIMITS.grpcMessageMax.value,
    'grpc.max_send_message_length': LIMITS.grpcMessageMax.value,
    'grpc.max_concurrent_streams': callsMax,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc-node.flow_control_window': FLOW_CONTROL_BYTES,
  })
  const policies = new Map<string, MethodPolicy>()
  const callMs = config.callMs ?? LIMITS.grpcCallMs.value
  const calls = new Calls(parts, { callsMax, callMs })
  const services = ['', ...config.services.map((service) => service.name)]
  for (const service of config.services) {
    const implementation: UntypedServiceImplementation = {}
    for (const [name, { path }] of Object.entries(service.definition)) {
      const method = service.methods[name]
      assert(method !== undefined, `${service.name} does not implement ${name}`)
      policies.set(path, method.policy)
      implementation[name] = calls.handlerOf(path, method)
    }
    server.addService(service.definition, implementation)
  }
  const library = {
    addService(definition: object, implementation: object): void {
      for (const { path } of Object.values(definition as ServiceDefinition)) {
        const policy = LIBRARY_POLICIES[path]
        assert(policy !== undefined, `${path} has no policy`)
        policies.set(path, policy)
      }
      server.addService(
        definition as ServiceDefinition,
        implementation as UntypedServiceImplementation,
      )
    },
  }
  const serving = services.map((name) => [name, 'SERVING'] as const)
  const health = new HealthImplementation(Object.fromEntries(serving))
  health.addToServer(library)
  new ReflectionService(REFLECTED, { services: services.slice(1) }).addToServer(library)
  return { server, calls, health, policies, services }
}

type Handler = UntypedServiceImplementation[string]

/** The calls under way, and what each has to pass before its method runs. */
class Calls {
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #auth: ClusterAuth | undefined
  readonly #callsMax: number
  readonly #callMs: number
  readonly #running = new Set<RunningCall>()
  readonly #closing = new AbortController()
  readonly #lifetime = new AbortController()
  #onIdle: (() => void) | undefined

  constructor(
    parts: GrpcServerParts,
    options: { readonly callsMax: number; readonly callMs: number },
  ) {
    const { clock, logger, secret } = parts
    this.#logger = logger
    this.#clock = clock
    this.#auth = secret && new ClusterAuth({ clock, random: cryptoRandom }, secret)
    this.#callsMax = options.callsMax
    this.#callMs = options.callMs
  }

  get count(): number {
    return this.#running.size
  }

  beginClosing(): void {
    this.#closing.abort(closingError())
  }

  abortAll(): void {
    this.#lifetime.abort(closingError())
    for (const call of this.#running) call.abort(closingError())
  }

  /** Resolves when nothing is under way, or after `deadlineMs`. */
  idle(clock: Clock, deadlineMs: number): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = clock.after(deadlineMs, resolve)
      this.#onIdle = () => {
        timer[Symbol.dispose]()
        resolve()
      }
    })
  }

  handlerOf(path: string, method: GrpcMethod): Handler {
    if (method.kind === 'unary') return this.#unary(path, method)
    if (method.kind === 'server-stream') return this.#serverStream(path, method)
    if (method.kind === 'client-stream') return this.#clientStream(path, method)
    return this.#duplex(path, method)
  }

  #unary(path: string, method: UnaryMethod): Handler {
    return (call: ServerUnaryCall<object, object>, callback: sendUnaryData<object>) => {
      const answer = async (): Promise<void> => {
        try {
          using running = this.#begin(path, method.policy, call)
          if (!method.isLong) running.abortAfter(this.#clock, this.#callMs)
          try {
            callback(null, await method.run(call.request, running))
          } catch (error) {
            throw running.errorOf(error)
          }
        } catch (error) {
          this.#logUnknown(path, error)
          callback(toServiceError(error))
        }
      }
      void answer()
    }
  }

  #serverStream(path: string, method: ServerStreamMethod): Handler {
    return (call: ServerWritableStream<object, object>) => {
      void this.#runStream(path, method.policy, streamEnd(call), async (running) => {
        using _ending = method.isEndless ? running.abortWith(this.#closing.signal) : undefined
        await writeAll(call, method.run(call.request, running), running.signal)
        call.end()
      })
    }
  }

  #clientStream(path: string, method: ClientStreamMethod): Handler {
    return (call: ServerReadableStream<object, object>, callback: sendUnaryData<object>) => {
      const fail = (error: unknown) => {
        call.on('error', () => {}) // What the client still sends meets a call that is over.
        callback(toServiceError(error))
      }
      void this.#runStream(path, method.policy, { call, fail }, async (running) => {
        const requests = messageStream<object>(call, running.signal)
        callback(null, await method.run(requests, running))
      })
    }
  }

  #duplex(path: string, method: DuplexMethod | RawDuplexMethod): Handler {
    return (call: ServerDuplexStream<object, object>) => {
      void this.#runStream(path, method.policy, streamEnd(call), async (running) => {
        if (method.kind === 'raw-duplex') return await method.run(call, running)
        using _ending = method.isEndless ? running.abortWith(this.#closing.signal) : undefined
        const requests = messageStream<object>(call, running.signal)
        await writeAll(call, method.run(requests, running), running.signal)
        call.end()
      })
    }
  }

  async #runStream(
    path: string,
    policy: MethodPolicy,
    { call, fail }: StreamEnd,
    run: (running: RunningCall) => Promise<void>,
  ): Promise<void> {
    try {
      using running = this.#begin(path, policy, call)
      try {
        await run(running)
      } catch (error) {
        throw running.errorOf(error)
      }
    } catch (error) {
      // Whoever cancelled does not listen any more; an error would only meet a destroyed stream.
      if (call.cancelled) return
      this.#logUnknown(path, error)
      fail(error)
    }
  }

  /** @throws {StoreError} UNAVAILABLE, OVERLOADED, UNAUTHENTICATED. */
  #begin(path: string, policy: MethodPolicy, call: IncomingCall): RunningCall {
    if (this.#closing.signal.aborted) throw closingError()
    if (this.#running.size >= this.#callsMax) {
      throw new StoreError('OVERLOADED', `${this.#running.size} calls are under way`)
    }
    const running = new RunningCall({
      closing: this.#closing.signal,
      lifetime: this.#lifetime.signal,
      isCluster: this.#isCluster(path, policy, call),
      path,
      header: (name) => textIn(call.metadata.get(name)),
      onDone: () => this.#forget(running),
    })
    this.#running.add(running)
    call.on('cancelled', () => {
      running.abort(new StoreError('CANCELLED', 'the caller gave up, or is gone'))
    })
    return running
  }

  #forget(running: RunningCall): void {
    this.#running.delete(running)
    if (this.#running.size === 0) this.#onIdle?.()
  }

  /** @throws {StoreError} UNAUTHENTICATED: a `cluster` method, and the caller shows no secret. */
  #isCluster(path: string, policy: MethodPolicy, call: IncomingCall): boolean {
    const [value] = call.metadata.get(CLUSTER_AUTH_HEADER)
    if (value === undefined && policy !== 'cluster') return false
    if (this.#auth === undefined) {
      if (policy !== 'cluster') return false
      throw new StoreError('UNAUTHENTICATED', `${path} needs a cluster secret; there is none here`)
    }
    try {
      this.#auth.verifyGrpc(path, typeof value === 'string' ? value : undefined)
      return true
    } catch (error) {
      this.#logger.warn('grpc.unauthenticated', { path, peer: call.getPeer(), error })
      throw error
    }
  }

  #logUnknown(path: string, error: unknown): void {
    if (!isStoreError(error)) this.#logger.error('grpc.method_failed', { path, error })
  }
}

function textIn([value]: readonly (string | Buffer)[]): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function streamEnd(call: StreamCall & IncomingCall): StreamEnd {
  return { call, fail: (error) => call.emit('error', toServiceError(error)) }
}

interface IncomingCall {
  readonly metadata: { get(key: string): readonly (string | Buffer)[] }
  getPeer(): string
  on(event: 'cancelled', run: () => void): unknown
}

class RunningCall implements CallContext, Disposable {
  readonly closing: AbortSignal
  readonly lifetime: AbortSignal
  readonly isCluster: boolean
  readonly path: string
  readonly header: CallContext['header']
  readonly #controller = new AbortController()
  readonly #onDone: () => void
  #timer: Disposable | undefined

  constructor(options: Omit<CallContext, 'signal'> & { readonly onDone: () => void }) {
    this.closing = options.closing
    this.lifetime = options.lifetime
    this.isCluster = options.isCluster
    this.path = options.path
    this.header = options.header
    this.#onDone = options.onDone
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  abort(reason: StoreError): void {
    this.#controller.abort(reason)
  }

  abortAfter(clock: Clock, ms: number): void {
    this.#timer = clock.after(ms, () => {
      this.abort(new StoreError('TIMEOUT', `not done within ${ms} ms`))
    })
  }

  abortWith(signal: AbortSignal): Disposable {
    return onAbort(signal, () => this.abort(closingError()))
  }

  /** Work that gave up because of our signal says CANCELLED: the reason says more. */
  errorOf(error: unknown): unknown {
    const { aborted, reason } = this.signal
    return aborted && isStoreError(error, 'CANCELLED') ? reason : error
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]()
    this.#onDone()
  }
}

function closingError(): StoreError {
  return new StoreError('UNAVAILABLE', 'the server is shutting down')
}
