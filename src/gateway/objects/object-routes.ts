import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import type { ObjectVersion } from '../../namespace/object-version.ts'
import { type StoragePlan, writeObject } from '../object-writer.ts'
import { addClusterRoutes } from './cluster-routes.ts'
import { type ListObjectsQuery, listObjects } from './list-objects.ts'
import { addMetricsRoutes } from './metrics-routes.ts'
import { objectInfo } from './object-info.ts'
import { parseObjectPath } from './object-path.ts'
import {
  DELETE_SCHEMA,
  DOWNLOAD_SCHEMA,
  INFO_SCHEMA,
  LIST_SCHEMA,
  UPLOAD_BODY,
  UPLOAD_SCHEMA,
} from './object-schemas.ts'
import { objectStorage } from './object-storage.ts'
import type { ObjectsConfig, ObjectsParts } from './objects-config.ts'
import { readUpload } from './read-upload.ts'
import { type ObjectOperation, RequestMetrics } from './request-metrics.ts'
import { objectReply, sendObject } from './send-object.ts'

/** What a handler did; whatever it answers it has answered. */
interface Done {
  /** Of the object, received or sent. */
  readonly bytes: number
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<Done>

const JSON_TYPE = 'application/json; charset=utf-8'
const NO_BYTES: Done = { bytes: 0 }

/**
 * Objects by key, and what operators want to know: `/objects`, `/cluster` and `/metrics`.
 *
 * @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID: the policy or the spread is none.
 */
export function objectRoutes(
  parts: ObjectsParts,
  config: ObjectsConfig,
): (app: FastifyInstance) => Promise<void> {
  const storage = objectStorage(parts, config)
  const metrics = new RequestMetrics(parts)
  return async (app) => {
    // Forms are read by the handler; what other bodies there are nobody reads.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, _payload, done) => done(null))
    new ObjectRoutes(parts, config, storage, metrics).addTo(app)
    addClusterRoutes(app, parts, config, metrics)
    addMetricsRoutes(app, parts, config, metrics)
  }
}

class ObjectRoutes {
  readonly #parts: ObjectsParts
  readonly #config: ObjectsConfig
  readonly #storage: (signal: AbortSignal) => StoragePlan | Promise<StoragePlan>
  readonly #metrics: RequestMetrics

  constructor(
    parts: ObjectsParts,
    config: ObjectsConfig,
    storage: (signal: AbortSignal) => StoragePlan | Promise<StoragePlan>,
    metrics: RequestMetrics,
  ) {
    this.#parts = parts
    this.#config = config
    this.#storage = storage
    this.#metrics = metrics
  }

  addTo(app: FastifyInstance): void {
    const upload = this.#measured('upload', (request, reply) => this.#upload(request, reply))
    const remove = this.#measured('delete', (request, reply) => this.#delete(request, reply))
    const list = this.#measured('list', (request, reply) => this.#list(request, reply))
    const download = this.#measured('download', (request, reply) => this.#download(request, reply))
    const info = this.#measured('info', (request, reply) => this.#info(request, reply))
    const either = (request: FastifyRequest, reply: FastifyReply) =>
      isInfo(request) ? info(request, reply) : download(request, reply)
    const config = { readsBody: true, describedBody: UPLOAD_BODY }
    app.post('/objects/*', { config, schema: UPLOAD_SCHEMA }, upload)
    const method = ['GET', 'HEAD']
    app.route({ method, url: '/objects/*', schema: DOWNLOAD_SCHEMA, handler: either })
    // For the description: keys with slashes in them come to the route above.
    app.route({ method, url: '/objects/:key/info', schema: INFO_SCHEMA, handler: either })
    app.delete('/objects/*', { schema: DELETE_SCHEMA }, remove)
    app.get('/objects', { schema: LIST_SCHEMA }, list)
  }

  #measured(operation: ObjectOperation, handler: Handler) {
    const { clock } = this.#parts
    return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      const startedMs = clock.monotonicMs()
      const record = (bytes: number, isOk: boolean): void => {
        const durationMs = clock.monotonicMs() - startedMs
        this.#metrics.record(operation, { durationMs, bytes, isOk })
      }
      try {
        const { bytes } = await handler(request, reply)
        record(bytes, true)
        return reply
      } catch (error) {
        record(0, false)
        throw error
      }
    }
  }

  async #upload(request: FastifyRequest, reply: FastifyReply): Promise<Done> {
    const { key } = parseObjectPath(request.url, false)
    const { buckets, closing } = this.#parts
    const { bucket: bucketName, maxFileBytes } = this.#config
    const { content_type: givenType } = request.query as { readonly content_type?: string }
    using upload = await readUpload(request.raw, maxFileBytes, closing)
    const contentType = givenType ?? typeOf(upload.mime)
    const bucket = await buckets.get(bucketName, closing)
    const storage = await this.#storage(closing)
    const { data } = upload
    const wanted = { bucket, key, data, storage, contentType, sizeBytesMax: maxFileBytes }
    const { sizeBytes } = await writeObject(this.#parts, wanted, closing)
    reply.send({ message: 'Object uploaded', size: sizeBytes })
    return { bytes: sizeBytes }
  }

  async #download(request: FastifyRequest, reply: FastifyReply): Promise<Done> {
    const { key } = parseObjectPath(request.url, true)
    const { client, closing, logger } = this.#parts
    const version = await this.#find(key)
    const answer = answerOf(key, version, request, reply)
    try {
      const bytes = await sendObject(client, version, answer, reply.raw, closing)
      reply.hijack()
      return { bytes }
    } catch (error) {
      if (!reply.raw.headersSent) throw error
      // The answer has begun: cutting it off is all that could be done, and was.
      reply.hijack()
      reply.raw.destroy()
      logger.warn('objects.answer_cut', { key, error })
      throw error
    }
  }

  async #delete(request: FastifyRequest, reply: FastifyReply): Promise<Done> {
    const { key } = parseObjectPath(request.url, false)
    const { buckets, closing, namespace } = this.#parts
    const bucket = await buckets.get(this.#config.bucket, closing)
    try {
      const condition = { ifMatch: ['*'] }
      await namespace.deleteObject({ bucket, key, condition }, closing)
    } catch (error) {
      throw isStoreError(error, 'OBJECT_NOT_FOUND') ? notFound(error) : error
    }
    reply.send({ message: 'Object deleted' })
    return NO_BYTES
  }

  async #list(request: FastifyRequest, reply: FastifyReply): Promise<Done> {
    const { buckets, closing, logger, namespace } = this.#parts
    const bucket = await buckets.get(this.#config.bucket, closing)
    const query = request.query as ListObjectsQuery
    const listed = await listObjects(namespace, bucket, query, closing)
    if (!(Symbol.asyncIterator in listed)) {
      reply.send(listed)
      return NO_BYTES
    }
    const pieces = Readable.from(listed, { objectMode: false })
    pieces.on('error', (error) => logger.warn('objects.answer_cut', { url: request.url, error }))
    reply.type(JSON_TYPE).send(pieces)
    return NO_BYTES
  }

  async #info(request: FastifyRequest, reply: FastifyReply): Promise<Done> {
    const { key } = parseObjectPath(request.url, true)
    const { client, closing } = this.#parts
    const version = await this.#find(key)
    const info = await objectInfo(client, key, version, this.#config.maxFileBytes, closing)
    // As text: the route of keys with slashes is described by what a download gives.
    reply.type(JSON_TYPE).send(JSON.stringify(info))
    return NO_BYTES
  }

  async #find(key: string): Promise<ObjectVersion> {
    const { buckets, closing, namespace } = this.#parts
    const bucket = await buckets.get(this.#config.bucket, closing)
    const version = await namespace.findObject({ bucket, key }, closing)
    if (version === undefined || version.isMarker) throw notFound()
    return version
  }
}

function isInfo({ url }: FastifyRequest): boolean {
  return parseObjectPath(url, true).isInfo
}

function answerOf(
  key: string,
  version: ObjectVersion,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  try {
    return objectReply(key, version, request.raw)
  } catch (error) {
    if (isStoreError(error, 'RANGE_INVALID')) {
      reply.header('content-range', `bytes */${version.sizeBytes}`)
    }
    throw error
  }
}

/** Of a form: what cannot be the value of a header is not kept. */
function typeOf(mime: string): string | undefined {
  return /^[\x20-\x7e]{1,255}$/.test(mime) ? mime : undefined
}

/** In the words that clients of this API know. */
function notFound(cause?: unknown): StoreError {
  return new StoreError('OBJECT_NOT_FOUND', 'Object not found', { cause })
}
