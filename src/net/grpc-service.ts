import type { ServerDuplexStream, ServiceDefinition } from '@grpc/grpc-js'

/**
 * `cluster`: only for callers that know the cluster secret. `user`: the service itself asks for the
 * access key of a user.
 */
export type MethodPolicy = 'public' | 'cluster' | 'user'

/** What a method knows about the call beside its message. */
export interface CallContext {
  /**
   * Aborts when the client cancels or goes away, when the call has taken too long, and when the
   * server is destroyed; its reason is the `StoreError` the client is told, if it still listens.
   * Of an endless stream also when the server begins to close.
   */
  readonly signal: AbortSignal
  /** Aborts when the server begins to close. */
  readonly closing: AbortSignal
  /** Aborts when the server is destroyed: for work that outlives the interest of its caller. */
  readonly lifetime: AbortSignal
  /** The caller knows the cluster secret. */
  readonly isCluster: boolean
  /** Like `/hayloft.v1.Master/Grow`. */
  readonly path: string
  /** Metadata of the call, the first of a name; undefined: there is none, or it is no text. */
  readonly header: (name: string) => string | undefined
}

export interface UnaryMethod {
  readonly kind: 'unary'
  readonly policy: MethodPolicy
  /** It takes as long as a volume is large: only its caller can give it up. */
  readonly isLong: boolean
  readonly run: (request: object, call: CallContext) => Promise<object>
}

export interface ServerStreamMethod {
  readonly kind: 'server-stream'
  readonly policy: MethodPolicy
  /** It ends only when its client goes away: a closing server does not wait for it. */
  readonly isEndless: boolean
  readonly run: (request: object, call: CallContext) => AsyncIterable<object>
}

export interface ClientStreamMethod {
  readonly kind: 'client-stream'
  readonly policy: MethodPolicy
  /**
   * What it does not read is of no interest: it may answer, or fail, before the last request. When
   * the client resets the stream, the requests may end before the signal aborts: what must be whole
   * has to say so in a request.
   */
  readonly run: (requests: AsyncIterable<object>, call: CallContext) => Promise<object>
}

export interface DuplexMethod {
  readonly kind: 'duplex'
  readonly policy: MethodPolicy
  readonly isEndless: boolean
  readonly run: (requests: AsyncIterable<object>, call: CallContext) => AsyncIterable<object>
}

/** Reads and writes the stream itself, and ends it; done when nothing of it is under way. */
export interface RawDuplexMethod {
  readonly kind: 'raw-duplex'
  readonly policy: MethodPolicy
  readonly run: (stream: ServerDuplexStream<object, object>, call: CallContext) => Promise<void>
}

export type GrpcMethod =
  | UnaryMethod
  | ServerStreamMethod
  | ClientStreamMethod
  | DuplexMethod
  | RawDuplexMethod

export interface GrpcService {
  /** With its package. */
  readonly name: string
  readonly definition: ServiceDefinition
  /** By name; exactly those of the definition. */
  readonly methods: Readonly<Record<string, GrpcMethod>>
}

/** The loader makes the requests what the definition says: `Request` must say the same. */
export function unary<Request extends object>(
  policy: MethodPolicy,
  run: (request: Request, call: CallContext) => Promise<object>,
): UnaryMethod {
  return { kind: 'unary', policy, isLong: false, run: run as UnaryMethod['run'] }
}

/** As `unary`; clients call it with `isLong`. */
export function longUnary<Request extends object>(
  policy: MethodPolicy,
  run: (request: Request, call: CallContext) => Promise<object>,
): UnaryMethod {
  return { ...unary(policy, run), isLong: true }
}

export function serverStream<Request extends object>(
  policy: MethodPolicy,
  run: (request: Request, call: CallContext) => AsyncIterable<object>,
): ServerStreamMethod {
  const general = run as ServerStreamMethod['run']
  return { kind: 'server-stream', policy, isEndless: false, run: general }
}

export function clientStream<Request extends object>(
  policy: MethodPolicy,
  run: (requests: AsyncIterable<Request>, call: CallContext) => Promise<object>,
): ClientStreamMethod {
  return { kind: 'client-stream', policy, run: run as ClientStreamMethod['run'] }
}

export async function* mapStream<Source, Result>(
  source: AsyncIterable<Source>,
  convert: (value: Source) => Result,
): AsyncGenerator<Result> {
  for await (const value of source) yield convert(value)
}
