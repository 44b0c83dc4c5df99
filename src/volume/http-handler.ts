import type { IncomingMessage, ServerResponse } from 'node:http'
import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import type { FastConnection, FastResponder } from '../net/fast-http.ts'
import { dropBody, sendError, sendJson } from '../net/http-reply.ts'
import type { HttpHandler } from '../net/http-server.ts'
import type { Metrics, Tally } from '../runtime/metrics.ts'
import { ByteBudget } from './http-byte-budget.ts'
import type { VolumeHttpConfig, VolumeHttpParts } from './http-context.ts'
import { FileDeletes } from './http-delete.ts'
import { FastReads } from './http-fast-read.ts'
import { FastShards } from './http-fast-shard.ts'
import { FAST_BODY_MAX, FastWrites } from './http-fast-write.ts'
import { FileReads } from './http-read.ts'
import { splitTarget } from './http-target.ts'
import { VolumeData } from './http-volume-data.ts'
import { FileWrites } from './http-write.ts'

/** Everything that a volume server answers over HTTP; docs/HTTP.md describes it. */
export function volumeHttp(
  parts: VolumeHttpParts,
  config: VolumeHttpConfig,
): { readonly handler: HttpHandler; readonly fast: FastResponder } {
  const routes = new VolumeRoutes(parts, config)
  const reads = routes.fastReads()
  const writes = routes.fastWrites()
  const shards = routes.fastShards()
  const handler: HttpHandler = (req, res) => {
    const { method } = req
    if (method === 'GET' && reads?.tryServe(req, res) === true) return
    if (method === 'PUT' && writes?.tryServe(req, res) === true) return
    routes.serve(req, res)
  }
  const fast: FastResponder = {
    tryGet: (path, connection) =>
      reads?.tryAnswer(path, connection) === true || shards?.tryAnswer(path, connection) === true,
    tryPut: (path, body, connection) => writes?.tryAnswer(path, body, connection) === true,
  }
  return { handler, fast }
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'other']
const OUTCOMES = ['2xx', '3xx', '4xx', '5xx']

const PAGE =
  '<!doctype html><html lang="en"><meta charset="utf-8"><title>Hayloft volume server</title>' +
  '<h1>Hayloft volume server</h1><ul><li><a href="/status">status</a>' +
  '<li><a href="/metrics">metrics</a><li><a href="/healthz">health</a></ul></html>\n'

type Route = (req: IncomingMessage, res: ServerResponse) => void | Promise<void>

class VolumeRoutes {
  readonly #parts: VolumeHttpParts
  readonly #config: VolumeHttpConfig
  readonly #reads: FileReads
  readonly #uploads: ByteBudget
  readonly #writes: FileWrites
  readonly #deletes: FileDeletes
  readonly #pages: ReadonlyMap<string, Route>
  /** By method, then by first digit of the status. */
  readonly #requests: ReadonlyMap<string, readonly Tally[]>
  readonly #receivedBytes: Tally
  readonly #sentBytes: Tally

  constructor(parts: VolumeHttpParts, config: VolumeHttpConfig) {
    this.#parts = parts
    this.#config = config
    const uploadBytesMax = config.uploadLimitBytes || LIMITS.httpUploadBytesMax.value
    this.#uploads = new ByteBudget(parts, uploadBytesMax)
    this.#writes = new FileWrites(parts, config, this.#uploads)
    this.#deletes = new FileDeletes(parts, config)
    this.#pages = this.#makePages()
    const { metrics } = parts
    this.#requests = requestTallies(metrics)
    const bytes = metrics.tallies({
      name: 'volume_http_bytes_total',
      help: 'Bytes of bodies, by direction.',
      labelNames: ['direction'],
    })
    this.#receivedBytes = bytes.of({ direction: 'received' })
    this.#sentBytes = bytes.of({ direction: 'sent' })
    this.#reads = new FileReads(parts, config, this.#sentBytes)
    metrics.gauge(
      {
        name: 'volume_http_held_bytes',
        help: 'Bytes of bodies under way that count against the limits, by direction.',
        labelNames: ['direction'],
      },
      (gauge) => {
        gauge.set({ direction: 'received' }, this.#uploads.heldBytes)
        gauge.set({ direction: 'sent' }, this.#reads.heldBytes)
      },
    )
  }

  /** Undefined: every read needs more than the plain way looks at. */
  fastReads(): FastReads | undefined {
    const { needsReadToken, downloadLimitBytes } = this.#config
    if (needsReadToken === true || downloadLimitBytes > 0) return undefined
    const [count] = this.#requests.get('GET') ?? []
    assert(count !== undefined, 'reads are counted')
    return new FastReads(this.#parts.access, { count, bytes: this.#sentBytes })
  }

  /** Undefined: every write needs more than the plain way looks at. */
  fastWrites(): FastWrites | undefined {
    const { needsWriteToken, publicOnly, fileSizeLimitBytes } = this.#config
    if (needsWriteToken === true || publicOnly === true) return undefined
    if (fileSizeLimitBytes < FAST_BODY_MAX) return undefined
    const { access, clock, signal } = this.#parts
    const [count] = this.#requests.get('PUT') ?? []
    assert(count !== undefined, 'writes are counted')
    const bytes = this.#receivedBytes
    const fail = (req: IncomingMessage, res: ServerResponse, error: unknown): void => {
      this.#fail('PUT', res, error)
      this.#count('PUT', req, res)
    }
    const failFast = (
      path: string,
      bodyBytes: number,
      error: unknown,
      connection: FastConnection,
    ): void => this.#failFast({ method: 'PUT', url: path }, bodyBytes, error, connection)
    const uploads = this.#uploads
    return new FastWrites({ access, clock, signal, uploads, count, bytes, fail, failFast })
  }

  /** Undefined: nobody may read shards here. */
  fastShards(): FastShards | undefined {
    const { verifyReplica, readShard } = this.#parts
    const { publicOnly } = this.#config
    if (verifyReplica === undefined || readShard === undefined || publicOnly) return undefined
    const [count] = this.#requests.get('GET') ?? []
    assert(count !== undefined, 'reads are counted')
    const fail = (path: string, error: unknown, connection: FastConnection): void =>
      this.#failFast({ method: 'GET', url: path }, 0, error, connection)
    return new FastShards({ verifyReplica, readShard, count, fail })
  }

  serve(req: IncomingMessage, res: ServerResponse): void {
    const method = req.method ?? ''
    if (req.headers.origin !== undefined) allowOrigin(res)
    this.#run(method, req, res).then(
      () => this.#count(method, req, res),
      (error: unknown) => {
        this.#fail(method, res, error)
        this.#count(method, req, res)
      },
    )
  }

  async #run(method: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    switch (method) {
      case 'GET':
      case 'HEAD': {
        const page = this.#pages.get(splitTarget(req.url ?? '').path)
        if (page === undefined) await this.#reads.serve(req, res)
        else await page(req, res)
        dropBody(req)
        return
      }
      case 'POST':
      case 'PUT':
        this.#checkWritable(method)
        await this.#writes.serve(req, res)
        return
      case 'DELETE':
        this.#checkWritable(method)
        await this.#deletes.serve(req, res)
        dropBody(req)
        return
      case 'OPTIONS':
        this.#sendOptions(res)
        dropBody(req)
        return
      default:
        throw new StoreError('METHOD_NOT_ALLOWED', `unsupported method ${quote(method)}`)
    }
  }

  #checkWritable(method: string): void {
    if (this.#config.publicOnly !== true) return
    throw new StoreError('METHOD_NOT_ALLOWED', `${method} is not for this port: it serves reads`)
  }

  #sendOptions(res: ServerResponse): void {
    const isPublic = this.#config.publicOnly === true
    res.writeHead(200, {
      'Access-Control-Allow-Methods': isPublic ? 'GET, OPTIONS' : 'PUT, POST, GET, DELETE, OPTIONS',
      'Access-Control-Allow-Headers': '*',
      'Content-Length': 0,
    })
    res.end()
  }

  #fail(method: string, res: ServerResponse, error: unknown): void {
    const { logger } = this.#parts
    if (res.headersSent && !isStoreError(error, 'CANCELLED')) {
      logger.warn('http.answer_cut', { url: res.req.url, error })
    }
    sendError(res, error, { logger, status: statusOf(method, error) })
  }

  #failFast(
    request: { readonly method: string; readonly url: string },
    bodyBytes: number,
    error: unknown,
    connection: FastConnection,
  ): void {
    const { method } = request
    const status = connection.fail(request, error, { status: statusOf(method, error) })
    this.#tally(method, status, bodyBytes)
  }

  #count(method: string, req: IncomingMessage, res: ServerResponse): void {
    this.#tally(method, res.statusCode, Number(req.headers['content-length'] ?? 0))
  }

  #tally(method: string, status: number, received: number): void {
    const tallies = this.#requests.get(method) ?? this.#requests.get('other')
    tallies?.[Math.floor(status / 100) - 2]?.add(1)
    if (received > 0) this.#receivedBytes.add(received)
  }

  #makePages(): ReadonlyMap<string, Route> {
    const { status, isReady, metrics } = this.#parts
    const sendHealth: Route = (_req, res) => {
      if (isReady()) return sendJson(res, 200, { ready: true })
      throw new StoreError('UNAVAILABLE', 'the server is stopping, or no master knows it')
    }
    const open: [string, Route][] = [
      ['/healthz', sendHealth],
      ['/readyz', sendHealth],
      ['/favicon.ico', (_req, res) => void res.writeHead(204).end()],
    ]
    if (this.#config.publicOnly === true) return new Map(open)
    const sendPage: Route = (_req, res) => sendText(res, 'text/html; charset=utf-8', PAGE)
    const data = new VolumeData(this.#parts)
    return new Map([
      ...open,
      ['/vol/data', (req, res) => data.serve(req, res)],
      ['/vol/shard', (req, res) => data.serveShard(req, res)],
      ['/', sendPage],
      ['/ui/index.html', sendPage],
      ['/status', async (_req, res) => sendJson(res, 200, await status())],
      ['/metrics', async (_req, res) => sendText(res, metrics.contentType, await metrics.text())],
    ])
  }
}

function requestTallies(metrics: Metrics): ReadonlyMap<string, readonly Tally[]> {
  const family = metrics.tallies({
    name: 'volume_http_requests_total',
    help: 'Requests answered, by method and first digit of the status.',
    labelNames: ['method', 'outcome'],
  })
  return new Map(
    METHODS.map((method) => [method, OUTCOMES.map((outcome) => family.of({ method, outcome }))]),
  )
}

/** Over HTTP a wrong cookie in a write is the caller's mistake, not an absent file. */
function statusOf(method: string, error: unknown): number | undefined {
  if (isStoreError(error, 'METHOD_NOT_ALLOWED')) return 400
  if (method === 'GET' || method === 'HEAD') return undefined
  return isStoreError(error, 'COOKIE_MISMATCH', 'MANIFEST_CORRUPT') ? 400 : undefined
}

function allowOrigin(res: ServerResponse): void {
  res.setHeader('Access-Control-Allow-Origin', '*')
  res.setHeader('Access-Control-Allow-Credentials', 'true')
}

function sendText(res: ServerResponse, type: string, text: string): void {
  res.writeHead(200, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    'X-Content-Type-Options': 'nosniff',
  })
  res.end(text)
}
