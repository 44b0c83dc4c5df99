import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import { isStoreError } from '../../base/store-error.ts'
import { awaitsContinue, continueBody, dropBody } from '../../net/http-reply.ts'
import {
  type HttpAddress,
  type HttpRefusal,
  HttpServer,
  type RefusalBody,
} from '../../net/http-server.ts'
import type { ServerCertificate } from '../../net/tls.ts'
import type { Random } from '../../runtime/random.ts'
import { corsHeaders, preflightHeaders } from './access/cors.ts'
import { authenticate } from './auth/authenticate.ts'
import { requireNotChunked } from './auth/content-sha256.ts'
import { BucketView } from './bucket-view.ts'
import { writeError } from './documents/error-document.ts'
import { originalClient } from './forwarded.ts'
import { postObject } from './handlers/post-object.ts'
import { HealthPage, isHealthRequest } from './health-page.ts'
import { httpDate } from './object-headers.ts'
import { checkKey } from './object-key.ts'
import { findOperation } from './operations.ts'
import { isS3Error, S3Error } from './s3-error.ts'
import { type ExchangeParts, S3Exchange } from './s3-exchange.ts'
import type { S3Config, S3Parts } from './s3-parts.ts'
import { emptyReply, type ReplyHeaders, type S3Reply, sendReply, xmlReply } from './s3-reply.ts'
import { parseS3Request, type S3Request } from './s3-request.ts'
import { s3ErrorOf } from './store-failure.ts'

export interface S3GatewayConfig extends S3Config {
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
  /** HTTPS; plain HTTP unless given. */
  readonly certificate?: ServerCertificate | undefined
  /** How long headers may take. */
  readonly headersMs?: number
}

const SERVER = 'Hayloft'

/** An answer, and what is known of the request by then. */
interface Answered {
  readonly reply: S3Reply
  readonly request: S3Request | undefined
}

/**
 * S3 over HTTP. Stores nothing: buckets and objects are the namespace's, bytes the volume servers'.
 *
 * Every request goes through one verifier of signatures, and no operation's answer leaves before
 * somebody has asked whether it is allowed.
 */
export class S3Gateway implements AsyncDisposable {
  readonly #parts: ExchangeParts
  readonly #http: HttpServer
  readonly #health: HealthPage

  private constructor(parts: ExchangeParts, http: HttpServer) {
    this.#parts = parts
    this.#http = http
    this.#health = new HealthPage(parts)
  }

  /**
   * @throws {StoreError} LISTEN_FAILED: the address is in use, not ours, or not allowed.
   * CONFIG_INVALID: the certificate or its key cannot be used.
   */
  static async open(parts: S3Parts, config: S3GatewayConfig): Promise<S3Gateway> {
    const { certificate, headersMs, host, port } = config
    const exchangeParts = { ...parts, config }
    const late: { gateway: S3Gateway | undefined } = { gateway: undefined }
    const { clock, logger } = parts
    const handler = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
      await late.gateway?.handle(req, res)
    }
    const timing = headersMs === undefined ? {} : { headersMs }
    const options = { host, port, certificate, takesAnyExpectation: true, ...timing }
    const refuse = (refusal: HttpRefusal) => xmlRefusal(refusal, newRequestId(parts.random))
    const http = await HttpServer.open({ handler, refuse, clock, logger }, options)
    late.gateway = new S3Gateway(exchangeParts, http)
    return late.gateway
  }

  get address(): HttpAddress {
    return this.#http.address
  }

  /** As `HttpServer.useCertificate`. */
  useCertificate(certificate: ServerCertificate): void {
    this.#http.useCertificate(certificate)
  }

  /** Takes nothing new, and lets requests under way finish until `deadlineMs` have passed. */
  async close(deadlineMs: number): Promise<void> {
    await this.#http.close(deadlineMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http.destroy()
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const requestId = newRequestId(this.#parts.random)
    const { reply, request } = await this.#answer(req, requestId)
    const isCrossOrigin = request?.headers.has('origin') === true
    const common = {
      ...(isCrossOrigin && (await this.#corsOf(request))),
      'x-amz-request-id': requestId,
      Date: httpDate(this.#parts.clock.nowMs()),
      Server: SERVER,
    }
    if (!req.complete) settleBody(req, res)
    try {
      await sendReply(res, reply, common, req.method === 'HEAD')
    } catch (error) {
      // The answer may have begun: cutting it off is all that can be done.
      this.#parts.logger.warn('s3.answer_cut', { requestId, url: req.url, error })
      res.destroy()
    }
  }

  async #answer(req: IncomingMessage, requestId: string): Promise<Answered> {
    let request: S3Request | undefined
    try {
      request = this.#parse(req, requestId)
      return { reply: await this.#dispatch(request, req), request }
    } catch (error) {
      const failure = this.#failureOf(error, req, requestId)
      return { reply: errorReply(failure, req, requestId), request }
    }
  }

  #parse(req: IncomingMessage, requestId: string): S3Request {
    const { method = '', rawHeaders, socket, url = '' } = req
    const remoteAddress = socket.remoteAddress ?? ''
    const isTls = 'encrypted' in socket
    const raw = { method, url, rawHeaders, remoteAddress, isTls, requestId }
    const { domains, trustedProxies = [] } = this.#parts.config
    const request = parseS3Request(raw, domains)
    if (request.key !== undefined) checkKey(request.key)
    if (trustedProxies.length === 0) return request
    return { ...request, ...originalClient(request, trustedProxies) }
  }

  async #dispatch(request: S3Request, req: IncomingMessage): Promise<S3Reply> {
    if (isHealthRequest(request)) return await this.#health.answer()
    if (request.method === 'OPTIONS') return await this.#preflight(request)
    if (isForm(request)) {
      return await postObject({ parts: this.#parts, request, message: req, continueBody })
    }
    const operation = findOperation(request)
    const { config } = this.#parts
    const authentication = await authenticate(request, this.#parts, config)
    if (operation.takesChunks !== true) requireNotChunked(authentication.payload)
    const exchange = new S3Exchange(this.#parts, request, authentication, req, continueBody)
    const reply = await operation.handle(exchange)
    // A handler that forgot to ask is a hole: better no answer than one too many.
    if (!exchange.isDecided) throw new Error(`${operation.name} asked nobody if it is allowed`)
    return reply
  }

  async #preflight(request: S3Request): Promise<S3Reply> {
    const bucket =
      request.bucket === undefined
        ? undefined
        : await this.#parts.namespace.findBucket(request.bucket, this.#parts.closing)
    const rules = bucket === undefined ? undefined : BucketView.of(bucket).document('cors')
    return emptyReply(200, preflightHeaders(rules ?? [], corsRequest(request)))
  }

  /** Pages of other origins may read answers, errors among them, where the bucket says so. */
  async #corsOf(request: S3Request): Promise<ReplyHeaders> {
    const { bucket: name, method } = request
    if (method === 'OPTIONS' || name === undefined) return {}
    try {
      const bucket = await this.#parts.namespace.findBucket(name, this.#parts.closing)
      const rules = bucket === undefined ? undefined : BucketView.of(bucket).document('cors')
      return rules === undefined ? {} : corsHeaders(rules, corsRequest(request))
    } catch (error) {
      this.#parts.logger.warn('s3.cors_unknown', { bucket: name, error })
      return {}
    }
  }

  #failureOf(error: unknown, req: IncomingMessage, requestId: string): S3Error {
    if (isS3Error(error)) return error
    const { logger } = this.#parts
    // The client went away in the middle of its body: nobody is there to read an answer.
    if (req.destroyed && !req.complete) return new S3Error('IncompleteBody')
    const failure = isStoreError(error) ? s3ErrorOf(error) : new S3Error('InternalError')
    if (failure.status >= 500) {
      logger.error('s3.request_failed', { requestId, method: req.method, url: req.url, error })
    }
    return failure
  }
}

function newRequestId(random: Random): string {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, '0')
  return hex(random.u32()) + hex(random.u32())
}

function isForm({ bucket, headers, key, method, query }: S3Request): boolean {
  if (method !== 'POST' || bucket === undefined || key !== undefined) return false
  if (query.has('delete')) return false
  return /^multipart\/form-data/i.test(headers.get('content-type') ?? '')
}

function corsRequest({ headers, method }: S3Request) {
  return {
    method,
    origin: headers.get('origin'),
    requestedMethod: headers.get('access-control-request-method'),
    requestedHeaders: headers.get('access-control-request-headers'),
  }
}

/**
 * The connection stays usable if the rest of the body comes soon and is short; a client that still
 * waits to be asked for it is told that nobody will. One that was asked is sending: were it cut
 * off, it would not get to read the answer.
 */
function settleBody(req: IncomingMessage, res: ServerResponse): void {
  if (awaitsContinue(req)) res.shouldKeepAlive = false
  dropBody(req)
}

function errorReply(error: S3Error, req: IncomingMessage, requestId: string): S3Reply {
  const { headers, status } = error
  if (status === 304) return emptyReply(304, headers)
  const [resource = ''] = (req.url ?? '').split('?')
  const body = writeError(error, { resource, requestId, hostId: SERVER })
  return xmlReply(body, headers, status)
}

function xmlRefusal({ message, status }: HttpRefusal, requestId: string): RefusalBody {
  const code = status === 408 ? 'RequestTimeout' : 'InvalidRequest'
  const error = new S3Error(code, `${STATUS_CODES[status]}: ${message}`)
  return {
    contentType: 'application/xml',
    headers: { 'x-amz-request-id': requestId },
    text: writeError(error, { resource: '', requestId, hostId: SERVER }),
  }
}
