import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseFileIdPath } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import { RESERVED_SEGMENTS } from '../namespace/file-name.ts'
import { readBody, sendError } from '../net/http-reply.ts'
import { answerAssign, answerLookup, redirectFileId } from './http-directory.ts'
import { decodeName, NamedFileRoutes } from './http-names.ts'
import type { MasterExchange, MasterHttpConfig, MasterHttpParts } from './http-parts.ts'
import {
  answerAlive,
  answerClusterStatus,
  answerHasLeader,
  answerHealth,
  answerMetrics,
  answerPage,
  answerReady,
} from './http-status.ts'
import { answerSubmit } from './http-submit.ts'
import {
  answerCollectionInfo,
  answerDeleteCollection,
  answerDirectoryStatus,
  answerGrow,
  answerVacuum,
  answerVolumeStatus,
} from './http-volumes.ts'

interface Route {
  /** For metrics: one of a small set. */
  readonly name: string
  /** Undefined: any. */
  readonly methods?: readonly string[]
  readonly answer: (exchange: MasterExchange) => Promise<void>
}

const READ = ['GET', 'HEAD']
const RESERVED: ReadonlySet<string> = new Set(RESERVED_SEGMENTS)
const SECONDS_BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]

/**
 * Everything a master answers over HTTP: the paths of the dialect, files by their ids, and files by
 * names. Errors are JSON with a code.
 */
export function masterHttpHandler(
  parts: MasterHttpParts,
  config: MasterHttpConfig,
): (req: IncomingMessage, res: ServerResponse) => void {
  const routes = fixedRoutes(parts, config)
  const otherRoute = otherRoutes(parts, config)
  const requests = parts.metrics.counter<'route' | 'status'>({
    name: 'master_http_requests_total',
    help: 'Requests answered, by route and status',
    labelNames: ['route', 'status'],
  })
  const seconds = parts.metrics.histogram<'route'>({
    name: 'master_http_request_seconds',
    help: 'Time from the headers of a request to the end of its answer',
    labelNames: ['route'],
    buckets: SECONDS_BUCKETS,
  })

  return (req, res) => {
    const startMs = parts.clock.monotonicMs()
    let routeName = 'none'
    const gone = new AbortController()
    res.on('close', () => {
      gone.abort()
      requests.inc({ route: routeName, status: String(res.statusCode) })
      seconds.observe({ route: routeName }, (parts.clock.monotonicMs() - startMs) / 1000)
    })
    const run = async () => {
      const exchange = readExchange(req, res, gone.signal)
      const route = routes.get(exchange.path) ?? otherRoute(exchange)
      routeName = route.name
      checkMethod(req, res, route)
      await readFormParameters(exchange, route)
      await route.answer(exchange)
    }
    run().catch((error: unknown) => sendError(res, error, { logger: parts.logger }))
  }
}

function fixedRoutes(parts: MasterHttpParts, config: MasterHttpConfig): ReadonlyMap<string, Route> {
  const page = {
    name: 'page',
    methods: READ,
    answer: (at: MasterExchange) => answerPage(parts, at),
  }
  const routes: [string, Route][] = [
    ['/dir/assign', { name: 'assign', answer: (at) => answerAssign(parts, at) }],
    ['/dir/lookup', { name: 'lookup', answer: (at) => answerLookup(parts, config, at) }],
    ['/dir/status', { name: 'dir_status', answer: (at) => answerDirectoryStatus(parts, at) }],
    ['/vol/status', { name: 'vol_status', answer: (at) => answerVolumeStatus(parts, at) }],
    ['/vol/grow', { name: 'grow', answer: (at) => answerGrow(parts, at) }],
    ['/vol/vacuum', { name: 'vacuum', answer: (at) => answerVacuum(parts, config, at) }],
    ['/col/delete', { name: 'col_delete', answer: (at) => answerDeleteCollection(parts, at) }],
    ['/collection/info', { name: 'collection', answer: (at) => answerCollectionInfo(parts, at) }],
    [
      '/submit',
      { name: 'submit', methods: ['POST'], answer: (at) => answerSubmit(parts, config, at) },
    ],
    [
      '/cluster/status',
      {
        name: 'cluster_status',
        methods: READ,
        answer: (at) => answerClusterStatus(parts, config, at),
      },
    ],
    [
      '/cluster/healthz',
      { name: 'health', methods: READ, answer: (at) => answerHasLeader(parts, at) },
    ],
    [
      '/cluster/health',
      { name: 'cluster_health', methods: READ, answer: (at) => answerHealth(parts, at) },
    ],
    ['/healthz', { name: 'health', methods: READ, answer: answerAlive }],
    ['/readyz', { name: 'health', methods: READ, answer: (at) => answerReady(parts, at) }],
    ['/metrics', { name: 'metrics', methods: READ, answer: (at) => answerMetrics(parts, at) }],
    ['/', page],
    ['/ui/index.html', page],
  ]
  return new Map(routes)
}

/** Files: by an id, or by a name. */
function otherRoutes(parts: MasterHttpParts, config: MasterHttpConfig) {
  const names = new NamedFileRoutes(parts, config)
  const byId = { name: 'file_id', answer: (at: MasterExchange) => redirectFileId(parts, at) }
  const methods = ['GET', 'HEAD', 'PUT', 'DELETE']
  const get = { name: 'name_get', methods, answer: (at: MasterExchange) => names.get(at) }
  const put = { name: 'name_put', methods, answer: (at: MasterExchange) => names.put(at) }
  const remove = { name: 'name_delete', methods, answer: (at: MasterExchange) => names.delete(at) }
  return ({ req, path }: MasterExchange): Route => {
    if (isFileIdPath(path)) return byId
    const isRead = READ.includes(req.method ?? '')
    const [first = ''] = decodeName(path).split('/')
    if (isRead && RESERVED.has(first)) {
      throw new StoreError('ROUTE_NOT_FOUND', `nothing answers at ${quote(path)}`)
    }
    if (req.method === 'PUT') return put
    return req.method === 'DELETE' ? remove : get
  }
}

function isFileIdPath(path: string): boolean {
  // The longer forms of a file id's path are names here: only volume servers answer them.
  if (path.includes('/', 1)) return false
  try {
    parseFileIdPath(path)
    return true
  } catch (error) {
    if (isStoreError(error, 'FILE_ID_INVALID')) return false
    throw error
  }
}

function readExchange(
  req: IncomingMessage,
  res: ServerResponse,
  signal: AbortSignal,
): MasterExchange {
  // Clients of a proxy send the whole URL; what it begins with is how they came here.
  const url = (req.url ?? '').replace(/^https?:\/\/[^/?#]*(?=[/?#]|$)/i, '')
  const [target = ''] = url.split('#', 1)
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  const search = mark < 0 ? '' : target.slice(mark)
  if (path !== '' && !path.startsWith('/')) {
    throw new StoreError('REQUEST_INVALID', `${quote(path)} is not a path`)
  }
  const query = new URLSearchParams(search)
  return { req, res, path: path === '' ? '/' : path, search, query, signal }
}

function checkMethod(req: IncomingMessage, res: ServerResponse, { methods }: Route): void {
  if (methods === undefined || methods.includes(req.method ?? '')) return
  res.setHeader('Allow', methods.join(', '))
  const message = `${req.method} is not answered here, only ${methods.join(', ')}`
  throw new StoreError('METHOD_NOT_ALLOWED', message)
}

/** The dialect's clients may send the parameters of a POST as a form; routes without methods do. */
async function readFormParameters({ req, query, signal }: MasterExchange, route: Route) {
  const isForm = /^application\/x-www-form-urlencoded\b/i.test(req.headers['content-type'] ?? '')
  if (req.method !== 'POST' || !isForm || route.methods !== undefined) return
  if (route.name === 'file_id') return
  const body = await readBody(req, LIMITS.queryBytesMax.value, signal)
  // What the query says already goes first: `get` takes the first of several.
  for (const [name, value] of new URLSearchParams(body.toString('utf8'))) query.append(name, value)
}
