import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import { createServer as createListener, type Server as Listener, type Socket } from 'node:net'
import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { FastConnection, FastHttp, type FastResponder } from './fast-http.ts'
import { awaitContinue, awaitsContinue, sendError } from './http-reply.ts'
import { type ServerCertificate, whileUsable } from './tls.ts'

/** May be async: what it rejects with is answered like what it throws. */
export type HttpHandler = (req: IncomingMessage, res: ServerResponse) => void | Promise<void>

export interface HttpServerParts {
  readonly handler: HttpHandler
  /** Answers plain requests before the handler sees them, in the same words. */
  readonly fast?: FastResponder
  /** How to tell that a request was no HTTP; as JSON unless given. */
  readonly refuse?: (refusal: HttpRefusal) => RefusalBody
  readonly logger: Logger
  readonly clock: Clock
}

/** What was wrong with something that is not even a request. */
export interface HttpRefusal {
  readonly status: number
  readonly message: string
}

export interface RefusalBody {
  readonly contentType: string
  /** Beside those that every refusal has. */
  readonly headers?: Readonly<Record<string, string>>
  readonly text: string
}

export interface HttpServerOptions {
  readonly host: string
  /** 0: any that is free; `address` says which. */
  readonly port: number
  readonly connectionsMax?: number
  /** How long headers may take. */
  readonly headersMs?: number
  /** Whatever a client expects is let pass, not only `100-continue`. */
  readonly takesAnyExpectation?: boolean
  /** A listening descriptor shared with other threads, instead of `host` and `port`. */
  readonly fd?: number
  /** HTTPS; plain HTTP unless given. Not together with `fast`. */
  readonly certificate?: ServerCertificate | undefined
}

export interface HttpAddress {
  readonly host: string
  readonly port: number
}

const HEADERS_TIMEOUT_MS = 15_000
const CHECKING_MS = 5_000
const KEEP_ALIVE_MS = LIMITS.httpIdleMs.value

/** One connection: its last request, and how far it had come when somebody last looked. */
interface Connection {
  /** As long as there are only plain requests on it. */
  fast: FastConnection | undefined
  /** When it was last seen with something to do. */
  activeMs: number
  req: IncomingMessage | undefined
  res: ServerResponse | undefined
  windowStartMs: number
  bytesRead: number
  bytesWritten: number
}

/**
 * An HTTP/1.1 server whose clients cannot hold it up: headers are due within 15 s, bodies flow at a
 * lowest rate in both directions, connections and headers are limited. Errors of the handler,
 * thrown or rejected, are answered with JSON and never end the process.
 */
export class HttpServer implements AsyncDisposable {
  readonly address: HttpAddress
  readonly #server: Server
  /** What listens: the server itself, unless plain requests are answered without it. */
  readonly #listener: Listener
  readonly #clock: Clock
  readonly #connections: Map<Socket, Connection>
  /** Below TLS, and until that is agreed on the only ones there are. */
  readonly #rawSockets = new Set<Socket>()
  readonly #fast: FastHttp | undefined
  readonly #state: { isClosing: boolean }
  #closed: Promise<void> | undefined
  #watch: Disposable

  private constructor(
    server: Server,
    listener: Listener,
    clock: Clock,
    connections: Map<Socket, Connection>,
    fast: FastHttp | undefined,
    state: { isClosing: boolean },
  ) {
    this.#server = server
    this.#listener = listener
    this.#clock = clock
    this.#connections = connections
    this.#fast = fast
    this.#state = state
    if (server instanceof TlsServer) {
      server.on('connection', (socket: Socket) => {
        this.#rawSockets.add(socket)
        socket.on('close', () => this.#rawSockets.delete(socket))
      })
    }
    const address = listener.address()
    assert(address !== null && typeof address === 'object', 'the server listens on a port')
    this.address = { host: address.address, port: address.port }
    this.#watch = this.#watchNext()
  }

  /**
   * @throws {StoreError} LISTEN_FAILED: the address is in use, not ours, or not allowed.
   * CONFIG_INVALID: the certificate or its key cannot be used.
   */
  static async open(parts: HttpServerParts, options: HttpServerOptions): Promise<HttpServer> {
    const { clock, logger, fast: responder } = parts
    const connections = new Map<Socket, Connection>()
    const state = { isClosing: false }
    const headersMs = options.headersMs ?? HEADERS_TIMEOUT_MS
    const { certificate, takesAnyExpectation = false } = options
    assert(certificate === undefined || responder === undefined, 'plain requests come without TLS')
    const rules = { headersMs, takesAnyExpectation, certificate }
    const server = makeServer(parts, connections, state, rules)
    const takeOver = (socket: Socket): void => {
      connections.set(socket, newConnection(clock, undefined))
      server.emit('connection', socket)
    }
    const fast =
      responder &&
      new FastHttp({ responder, clock, logger, takeOver }, { keepAliveMs: KEEP_ALIVE_MS })
    const listener = fast === undefined ? server : createListener(LISTENER_OPTIONS)
    listener.maxConnections = options.connectionsMax ?? LIMITS.httpConnectionsMax.value
    listener.on(certificate === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
      socket.on('close', () => connections.delete(socket))
      const connection = fast && new FastConnection(fast, socket)
      connections.set(socket, newConnection(clock, connection))
    })
    await listen(listener, options)
    // Only with this does a server that does not listen itself watch how long headers take.
    if (listener !== server) server.emit('listening')
    listener.on('error', (error) => logger.error('http.server_error', { error }))
    return new HttpServer(server, listener, clock, connections, fast, state)
  }

  /**
   * For connections from now on.
   *
   * @throws {StoreError} CONFIG_INVALID: it cannot be used; the one before stays.
   */
  useCertificate(certificate: ServerCertificate): void {
    const server = this.#server
    assert(server instanceof TlsServer, 'only HTTPS has a certificate')
    whileUsable(certificate, () => server.setSecureContext(certificate))
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  /** Requests that have not been answered to the end. */
  get requestCount(): number {
    let count = 0
    for (const { res, fast } of this.#connections.values()) {
      if ((res !== undefined && !res.writableFinished) || fast?.isBusy === true) count++
    }
    return count
  }

  /**
   * Takes no new connections, closes idle ones at once, and lets requests under way finish until
   * `deadlineMs` have passed; then they are cut off.
   */
  async close(deadlineMs: number): Promise<void> {
    const closed = this.#stopListening()
    for (const [socket, connection] of this.#connections) {
      const { res, fast } = connection
      if (fast !== undefined) {
        fast.close()
      } else if (res === undefined) {
        if (socket.bytesRead === 0) socket.destroy()
      } else if (!res.writableFinished) {
        if (!res.headersSent) res.shouldKeepAlive = false
        res.once('close', () => setImmediate(() => this.#server.closeIdleConnections()))
      }
    }
    // Whoever has connected and said nothing yet has nothing to lose.
    for (const socket of this.#rawSockets) if (socket.bytesRead === 0) socket.destroy()
    this.#server.closeIdleConnections()
    using _deadline = this.#clock.after(deadlineMs, () => this.#cutAll())
    await closed
  }

  /** Cuts off every connection now. */
  async destroy(): Promise<void> {
    const closed = this.#stopListening()
    this.#cutAll()
    await closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy()
  }

  #stopListening(): Promise<void> {
    this.#state.isClosing = true
    if (this.#fast !== undefined) this.#fast.isClosing = true
    this.#watch[Symbol.dispose]()
    this.#closed ??= new Promise((resolve) => {
      this.#listener.close(() => resolve())
      if (this.#listener !== this.#server) this.#server.close()
    })
    return this.#closed
  }

  #cutAll(): void {
    for (const socket of this.#connections.keys()) socket.destroy()
    for (const socket of this.#rawSockets) socket.destroy()
  }

  #watchNext(): Disposable {
    return this.#clock.after(CHECKING_MS, () => {
      const nowMs = this.#clock.monotonicMs()
      for (const [socket, connection] of this.#connections) {
        if (isIdle(socket, connection, nowMs) || isTooSlow(socket, connection, nowMs)) {
          socket.destroy()
        }
      }
      this.#watch = this.#watchNext()
    })
  }
}

/** As node:http has them for servers of its own. */
const LISTENER_OPTIONS = { allowHalfOpen: true, noDelay: true }

function newConnection(clock: Clock, fast: FastConnection | undefined): Connection {
  const nowMs = clock.monotonicMs()
  const counts = { windowStartMs: nowMs, bytesRead: 0, bytesWritten: 0 }
  return { fast, activeMs: nowMs, req: undefined, res: undefined, ...counts }
}

interface ServerRules {
  readonly headersMs: number
  readonly takesAnyExpectation: boolean
  readonly certificate: ServerCertificate | undefined
}

function makeServer(
  parts: HttpServerParts,
  connections: Map<Socket, Connection>,
  state: { readonly isClosing: boolean },
  { certificate, headersMs, takesAnyExpectation }: ServerRules,
): Server {
  const options = {
    headersTimeout: headersMs,
    requestTimeout: 0, // An honest upload may take hours: its rate is watched instead.
    connectionsCheckingInterval: Math.min(CHECKING_MS, headersMs),
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: LIMITS.httpHeaderBytesMax.value,
  }
  const server =
    certificate === undefined
      ? createServer(options)
      : whileUsable(certificate, () =>
          createTlsServer({ ...options, ...certificate, handshakeTimeout: headersMs }),
        )
  const onRequest = requestListener(parts, connections, state)
  server.on('request', onRequest)
  server.on('checkContinue', (req, res) => {
    awaitContinue(req, res)
    onRequest(req, res)
  })
  server.on('checkExpectation', (req: IncomingMessage, res: ServerResponse) => {
    if (takesAnyExpectation) return onRequest(req, res)
    const error = new StoreError('REQUEST_INVALID', 'nothing but 100-continue can be expected')
    sendError(res, error, { status: 417 })
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // Where TLS was not agreed on, no answer would be understood.
    if (certificate !== undefined && !connections.has(socket)) socket.destroy()
    else refuse(error, socket, connections.get(socket)?.res, parts.refuse ?? jsonRefusal)
  })
  return server
}

function requestListener(
  { handler, logger }: HttpServerParts,
  connections: Map<Socket, Connection>,
  state: { readonly isClosing: boolean },
) {
  return (req: IncomingMessage, res: ServerResponse): void => {
    const connection = connections.get(req.socket)
    if (connection !== undefined) {
      connection.req = req
      connection.res = res
    }
    if (state.isClosing) res.shouldKeepAlive = false
    try {
      const running = handler(req, res)
      if (running === undefined) return
      running.catch((error: unknown) => sendError(res, error, { logger }))
    } catch (error) {
      sendError(res, error, { logger })
    }
  }
}

/** For connections that node:http does not watch. */
function isIdle(socket: Socket, connection: Connection, nowMs: number): boolean {
  const { fast } = connection
  if (fast === undefined) return false
  if (fast.isBusy || socket.bytesRead !== connection.bytesRead) connection.activeMs = nowMs
  return nowMs - connection.activeMs >= LIMITS.httpIdleMs.value
}

/**
 * A window begins anew whenever the client has nothing to do: it is judged by what it could have
 * sent or taken, not by how long we keep it waiting.
 */
function isTooSlow(socket: Socket, connection: Connection, nowMs: number): boolean {
  const { req, res, fast } = connection
  const isSending = req !== undefined && isClientSending(req)
  const isAnswered = fast !== undefined || (res?.headersSent === true && !res.writableFinished)
  const isTaking = isAnswered && socket.writableLength > 0
  const windowMs = nowMs - connection.windowStartMs
  if ((isSending || isTaking) && windowMs < LIMITS.httpRateWindowMs.value) return false
  const bytesMin = (LIMITS.httpRateMin.value * windowMs) / 1000
  const isSlow =
    (isSending || isTaking) &&
    !(isSending && socket.bytesRead - connection.bytesRead >= bytesMin) &&
    !(isTaking && bytesTaken(socket) - connection.bytesWritten >= bytesMin)
  connection.windowStartMs = nowMs
  connection.bytesRead = socket.bytesRead
  connection.bytesWritten = bytesTaken(socket)
  return isSlow
}

/** The body is not here yet, nothing of it waits to be read by us, and we asked for it. */
function isClientSending(req: IncomingMessage): boolean {
  return !req.complete && !req.destroyed && req.readableLength === 0 && !awaitsContinue(req)
}

/** Node counts bytes as written while they still wait in memory. */
function bytesTaken(socket: Socket): number {
  return socket.bytesWritten - socket.writableLength
}

const MALFORMED: HttpRefusal = { status: 400, message: 'the request is not HTTP' }

const REFUSALS: Readonly<Record<string, HttpRefusal>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    message: `the headers have more than ${LIMITS.httpHeaderBytesMax.value} bytes`,
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    message: 'the headers did not arrive in time',
  },
}

/** For what is no HTTP: there is no response object, and nothing after it can be understood. */
function refuse(
  error: NodeJS.ErrnoException,
  socket: Socket,
  last: ServerResponse | undefined,
  bodyOf: (refusal: HttpRefusal) => RefusalBody,
): void {
  const isAnswering = last !== undefined && !last.writableFinished
  if (error.code === 'ECONNRESET' || !socket.writable || isAnswering) {
    socket.destroy()
    return
  }
  const refusal = REFUSALS[error.code ?? ''] ?? MALFORMED
  const { contentType, headers = {}, text } = bodyOf(refusal)
  const all = {
    'Content-Type': contentType,
    ...headers,
    'Content-Length': Buffer.byteLength(text),
    Connection: 'close',
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  const { status } = refusal
  socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${text}`)
  socket.destroySoon()
}

function jsonRefusal({ message }: HttpRefusal): RefusalBody {
  const text = JSON.stringify({ error: message, code: 'REQUEST_INVALID' })
  return { contentType: 'application/json; charset=utf-8', text }
}

function listen(server: Listener, options: HttpServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error): void => {
      const where = options.fd === undefined ? `${options.host}:${options.port}` : 'a descriptor'
      const why = `cannot listen on ${where}: ${cause.message}`
      reject(new StoreError('LISTEN_FAILED', why, { cause }))
    }
    server.once('error', onError)
    const { host, port, fd } = options
    try {
      server.listen(fd === undefined ? { host, port } : { fd }, () => {
        server.off('error', onError)
        resolve()
      })
    } catch (error) {
      // A port outside 0 … 65535 is thrown, not emitted.
      onError(error instanceof Error ? error : new Error(String(error)))
    }
  })
}
