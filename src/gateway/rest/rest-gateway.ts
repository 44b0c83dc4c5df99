import type { IncomingMessage, ServerResponse } from 'node:http'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { LIMITS } from '../../base/limits.ts'
import { quote, StoreError } from '../../base/store-error.ts'
import { awaitsContinue, continueBody, dropBody } from '../../net/http-reply.ts'
import {
  type HttpAddress,
  type HttpRefusal,
  HttpServer,
  type RefusalBody,
} from '../../net/http-server.ts'
import type { ServerCertificate } from '../../net/tls.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Logger } from '../../runtime/logger.ts'
import { type ErrorBody, failureOf } from './rest-error.ts'
import { RouteTable } from './route-table.ts'

/** Routes of one API. Each has a scope of its own: what it sets for itself stays there. */
export type RestPlugin = (app: FastifyInstance) => Promise<void>

export interface RestParts {
  readonly clock: Clock
  readonly logger: Logger
}

export interface RestConfig {
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
  readonly plugins: readonly RestPlugin[]
  /** Of the program, for the page at `/docs`. */
  readonly version?: string | undefined
  /** HTTPS; plain HTTP unless given. */
  readonly certificate?: ServerCertificate | undefined
  /** How long headers may take. */
  readonly headersMs?: number | undefined
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route reads the body by itself, and says when the client is to send it. */
    readonly readsBody?: boolean
    /** What such a body looks like, as a schema, for the description alone. */
    readonly describedBody?: object
  }
}

/** A key of 1,024 bytes takes three times as many characters, percent-encoded. */
const PARAMETER_LENGTH_MAX = 4096

/**
 * APIs of JSON over HTTP on one port, with their description as OpenAPI at `/openapi.json` and for
 * people at `/docs`. Routes are fastify's; connections are those of `HttpServer`, whose clients
 * cannot hold it up. Every error is `{detail, code}`.
 */
export class RestGateway implements AsyncDisposable {
  readonly #app: FastifyInstance
  readonly #http: HttpServer
  readonly #isSecure: boolean

  private constructor(app: FastifyInstance, http: HttpServer, isSecure: boolean) {
    this.#app = app
    this.#http = http
    this.#isSecure = isSecure
  }

  /**
   * @throws {StoreError} LISTEN_FAILED: the address is in use, not ours, or not allowed.
   * CONFIG_INVALID: the certificate or its key cannot be used.
   */
  static async open(parts: RestParts, config: RestConfig): Promise<RestGateway> {
    const { certificate, headersMs, host, port } = config
    const app = await openApp(parts, config)
    const handler = (req: IncomingMessage, res: ServerResponse): void => app.routing(req, res)
    const timing = headersMs === undefined ? {} : { headersMs }
    try {
      const options = { host, port, certificate, ...timing }
      const http = await HttpServer.open({ ...parts, handler, refuse: jsonRefusal }, options)
      return new RestGateway(app, http, certificate !== undefined)
    } catch (error) {
      await app.close()
      throw error
    }
  }

  get address(): HttpAddress {
    return this.#http.address
  }

  /** Like `http://127.0.0.1:8000`; `https` with a certificate. */
  get url(): string {
    const { host, port } = this.address
    const scheme = this.#isSecure ? 'https' : 'http'
    return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  }

  /** As `HttpServer.useCertificate`. */
  useCertificate(certificate: ServerCertificate): void {
    this.#http.useCertificate(certificate)
  }

  /** Takes nothing new, and lets requests under way finish until `deadlineMs` have passed. */
  async close(deadlineMs: number): Promise<void> {
    await this.#http.close(deadlineMs)
    await this.#app.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http.destroy()
    await this.#app.close()
  }
}

async function openApp(parts: RestParts, config: RestConfig): Promise<FastifyInstance> {
  const app = fastify({
    bodyLimit: LIMITS.restBodyBytesMax.value,
    routerOptions: { maxParamLength: PARAMETER_LENGTH_MAX },
    // A path that cannot be decoded never comes as far as a route.
    frameworkErrors: (error, request, reply) => sendFailure(parts, error, request, reply),
  })
  const routes = new RouteTable()
  app.addHook('onRoute', ({ method, url }) => routes.add(url, method))
  app.addHook('preParsing', (request, _reply, payload, done) => {
    if (request.routeOptions.config.readsBody !== true) continueBody(request.raw)
    done(null, payload)
  })
  app.setErrorHandler((error, request, reply) => sendFailure(parts, error, request, reply))
  app.setNotFoundHandler((request, reply) => {
    sendFailure(parts, notFoundError(routes, request, reply), request, reply)
  })
  await app.register(swagger, {
    openapi: {
      info: {
        title: 'Hayloft',
        description: 'Objects and documents over HTTP. Errors are `{"detail", "code"}`.',
        version: config.version ?? '1',
      },
    },
    transform: ({ route, schema, url }) => {
      const { describedBody: body } = route.config ?? {}
      // The router has no names for the rest of a path.
      const named = url.replace('*', ':key')
      return { schema: body === undefined ? schema : { ...schema, body }, url: named }
    },
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    // Without TLS a browser would look for the page's scripts where nobody listens.
    transformStaticCSP: (header) => header.replace(/ ?upgrade-insecure-requests;?/, ''),
  })
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  for (const plugin of config.plugins) await app.register(async (scope) => await plugin(scope))
  await app.ready()
  return app
}

function notFoundError(
  routes: RouteTable,
  { method, url }: FastifyRequest,
  reply: FastifyReply,
): StoreError {
  const [path = ''] = url.split('?')
  const methods = routes.methodsAt(path)
  if (methods.length === 0) return new StoreError('ROUTE_NOT_FOUND', `nothing is at ${quote(path)}`)
  reply.header('allow', methods.join(', '))
  return new StoreError('METHOD_NOT_ALLOWED', `${quote(path)} does not answer ${quote(method)}`)
}

/** The rest of the body is read and dropped within limits, so that the client reads the answer. */
function sendFailure(
  { logger }: RestParts,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  const { body, headers, status } = failureOf(error, request, logger)
  if (awaitsContinue(request.raw)) reply.header('connection', 'close')
  else dropBody(request.raw)
  reply.code(status).headers(headers).type('application/json; charset=utf-8')
  // As text: the schema of a route says what its own answers have, not those of all others.
  reply.send(JSON.stringify(body))
}

function jsonRefusal({ message }: HttpRefusal): RefusalBody {
  const body: ErrorBody = { detail: message, code: 'REQUEST_INVALID' }
  return { contentType: 'application/json; charset=utf-8', text: JSON.stringify(body) }
}
