import type { IncomingMessage } from 'node:http'
import { hostname } from 'node:os'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isStoreError, quote, type StoreError } from '../../base/store-error.ts'
import { DOCUMENT_STRATEGIES, type DocumentStrategy } from '../../namespace/object-version.ts'
import { isObjectKey } from '../../namespace/row-keys.ts'
import { restError } from '../rest/rest-error.ts'
import { readDocumentBody } from './document-body.ts'
import type { DocumentFilesParts } from './document-files.ts'
import { openPlacements } from './document-placement.ts'
import { DocumentReader } from './document-reader.ts'
import { DocumentRemover } from './document-remover.ts'
import {
  DELETE_SCHEMA,
  HEALTH_SCHEMA,
  NODE_STATUS_SCHEMA,
  READ_SCHEMA,
  STORAGE_USAGE_SCHEMA,
  WRITE_SCHEMA,
} from './document-schemas.ts'
import { DocumentWriter, type WrittenDocument } from './document-writer.ts'
import type { DocumentsConfig } from './documents-config.ts'
import { HeldBytes } from './held-bytes.ts'
import { PartPlaces } from './part-places.ts'
import { nodeState, StorageFiguresReader } from './storage-figures.ts'

/** What the gateway of documents works with, and a hook for tests of crashes. */
export type DocumentRouteParts = DocumentFilesParts

const JSON_TYPE = /^application\/(?:[\w!#$&^.+-]+\+)?json\s*(?:;|$)/i
/** Nobody notices which of two microseconds it was. */
const MS_DIGITS = 3

/** The API of documents: writes, reads and deletes, and how the servers are. */
export function documentRoutes(
  parts: DocumentRouteParts,
  config: DocumentsConfig,
): (app: FastifyInstance) => Promise<void> {
  const routes = new DocumentRoutes(parts, config)
  return async (app) => {
    // The routes read bodies by themselves: fastify would hold them, and make values of them.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    app.setValidatorCompiler(() => () => true)
    app.post('/write', { schema: WRITE_SCHEMA, config: { readsBody: true } }, routes.write)
    app.get('/read/*', { schema: READ_SCHEMA }, routes.read)
    app.delete('/delete/*', { schema: DELETE_SCHEMA }, routes.remove)
    app.get('/health', { schema: HEALTH_SCHEMA }, async () => {
      return { status: 'healthy', service: 'api_gateway', hostname: hostname() }
    })
    app.get('/node_status', { schema: NODE_STATUS_SCHEMA }, routes.nodeStatus)
    app.get('/storage_usage', { schema: STORAGE_USAGE_SCHEMA }, routes.storageUsage)
  }
}

class DocumentRoutes {
  readonly #parts: DocumentRouteParts
  readonly #config: DocumentsConfig
  readonly #held: HeldBytes
  readonly #writer: DocumentWriter
  readonly #reader: DocumentReader
  readonly #remover: DocumentRemover
  readonly #places: PartPlaces
  readonly #figures: StorageFiguresReader

  constructor(parts: DocumentRouteParts, config: DocumentsConfig) {
    this.#parts = parts
    this.#config = config
    this.#held = new HeldBytes(config.heldBytesMax)
    const placements = openPlacements(parts, config)
    const places = new PartPlaces(parts)
    const reader = new DocumentReader(parts, config)
    this.#places = places
    this.#reader = reader
    this.#writer = new DocumentWriter({ ...parts, placements }, config)
    this.#remover = new DocumentRemover({ ...parts, reader, places })
    this.#figures = new StorageFiguresReader({ ...parts, places }, config)
  }

  readonly write = async (request: FastifyRequest, reply: FastifyReply) => {
    const { clock } = this.#parts
    const startedAtMs = clock.monotonicMs()
    const { isHotOnly, key, strategy } = readWriteQuery(request)
    checkContentType(request)
    using held = this.#held.open()
    const terms = { held, sizeBytesMax: this.#config.documentBytesMax }
    const body = await readDocumentBody(request.raw, terms, goneSignal(request.raw, reply))
    const document = { key, strategy, isHotOnly, body, held }
    const written = await this.#writer.write(document).catch(failOnServers)
    const figures = await this.#writtenFigures(written)
    const latencyMs = Number((clock.monotonicMs() - startedAtMs).toFixed(MS_DIGITS))
    const { isPartial: partial } = written
    return { status: 'ok', key, strategy, latency_ms: latencyMs, partial, ...figures }
  }

  readonly read = async (request: FastifyRequest, reply: FastifyReply) => {
    const key = keyInPath(request)
    const { body, version } = await this.#reader.read(key, goneSignal(request.raw, reply))
    reply.header('content-type', 'application/json')
    reply.header('content-length', version.sizeBytes)
    reply.header('etag', `"${version.etag}"`)
    reply.header('last-modified', new Date(version.modifiedAtMs).toUTCString())
    return reply.send(body instanceof Buffer ? body : Readable.from(body))
  }

  readonly remove = async (request: FastifyRequest) => {
    const key = keyInPath(request)
    const { coldShards, hotUrls, strategy } = await this.#remover.remove(key)
    return {
      status: 'ok',
      key,
      strategy,
      ...((strategy !== 'ec' || hotUrls.size > 0) && { hot_nodes_deleted: hotUrls.size }),
      ...((strategy !== 'replication' || coldShards > 0) && { cold_chunks_deleted: coldShards }),
    }
  }

  readonly nodeStatus = async (): Promise<Record<string, string>> => {
    const { nodes } = await this.#parts.master.topology(this.#parts.closing)
    return Object.fromEntries(nodes.map((node) => [node.location.url, nodeState(node)]))
  }

  readonly storageUsage = async () => {
    const figures = await this.#figures.read(this.#parts.closing)
    const nodes = Array.from(figures.nodes, ([url, { garbageBytes, liveBytes }]) => {
      return [url, { live: liveBytes, garbage: garbageBytes }]
    })
    return {
      total_system_size: figures.totalBytes,
      garbage: figures.garbageBytes,
      documents: figures.documentCount,
      document_bytes: figures.documentBytes,
      nodes: Object.fromEntries(nodes),
    }
  }

  async #writtenFigures(written: WrittenDocument) {
    const { cold, hot, ignoredFields, isPureHot, strategy } = written
    const copied = [hot, cold].find((file) => file?.isCoded === false)
    const urls =
      copied === undefined || strategy === 'field_hybrid'
        ? []
        : await this.#urlsOf(copied.part.fileId)
    const chunks = cold?.isCoded === true ? cold : undefined
    if (strategy === 'replication') return { nodes_written: urls }
    if (strategy === 'ec') {
      return {
        chunks_written: chunks?.count ?? 0,
        total_chunks: chunks?.wantedCount ?? 0,
        ...(chunks === undefined && { nodes_written: urls }),
      }
    }
    return {
      operation_type: isPureHot ? 'Pure Hot Update' : 'Cold Update',
      is_pure_hot_update: isPureHot,
      hot_nodes_written: hot?.count ?? 0,
      cold_chunks_written: chunks?.count ?? 0,
      ...(ignoredFields.length > 0 && { cold_fields_ignored: ignoredFields }),
    }
  }

  /** The document is written, whether or not the master can say where. */
  async #urlsOf(fileId: string): Promise<readonly string[]> {
    const { closing, logger } = this.#parts
    return await this.#places.urlsOf(fileId, closing).catch((error: unknown) => {
      logger.warn('documents.places_unknown', { fileId, error })
      return []
    })
  }
}

/** @throws {StoreError} 422: a parameter is missing, or cannot be what it is. */
function readWriteQuery({ query }: FastifyRequest) {
  const { hot_only, key, strategy } = query as Readonly<Record<string, unknown>>
  if (typeof key !== 'string' || key === '') throw invalidQuery('the parameter key is missing')
  if (!isObjectKey(key)) throw invalidQuery('a key has 1 to 1024 bytes, and no NUL')
  const isHotOnly = readFlag(hot_only)
  const chosen = readStrategy(strategy ?? (isHotOnly ? 'field_hybrid' : 'replication'))
  if (isHotOnly && chosen !== 'field_hybrid') {
    throw invalidQuery(`hot_only is for field_hybrid: ${chosen} has no hot fields`)
  }
  return { key, strategy: chosen, isHotOnly }
}

function readStrategy(value: unknown): DocumentStrategy {
  const found = DOCUMENT_STRATEGIES.find((known) => known === value)
  if (found !== undefined) return found
  const all = DOCUMENT_STRATEGIES.join(', ')
  throw invalidQuery(`${quote(String(value))} is no strategy: ${all}`)
}

function readFlag(value: unknown): boolean {
  if (value === undefined) return false
  const text = String(value).toLowerCase()
  if (text === 'true' || text === '1') return true
  if (text === 'false' || text === '0' || text === '') return false
  throw invalidQuery(`${quote(String(value))} is neither true nor false, as hot_only`)
}

function invalidQuery(why: string): StoreError {
  return restError(422, 'REQUEST_INVALID', why)
}

/** @throws {StoreError} 415 */
function checkContentType({ headers }: FastifyRequest): void {
  const type = headers['content-type']
  if (type === undefined || !JSON_TYPE.test(type)) {
    const shown = type === undefined ? 'nothing' : quote(type)
    throw restError(415, 'REQUEST_INVALID', `a document comes as application/json, not ${shown}`)
  }
  const coding = headers['content-encoding'] ?? 'identity'
  if (coding === 'identity') return
  throw restError(415, 'REQUEST_INVALID', `the content encoding ${quote(coding)} is not taken`)
}

/**
 * The rest of the path, with or without percent-encoded slashes; nothing else is done to it.
 *
 * @throws {StoreError} 404: there is none, or no document can have it.
 */
function keyInPath({ params }: FastifyRequest): string {
  const { '*': key = '' } = params as Readonly<Record<string, string>>
  if (isObjectKey(key)) return key
  throw restError(404, 'OBJECT_NOT_FOUND', `Key '${key}' not found`)
}

/** Too few servers are a fault of the cluster, which may pass: the request was good. */
function failOnServers(error: unknown): never {
  if (isStoreError(error, 'NO_WRITABLE_VOLUME', 'PLACEMENT_IMPOSSIBLE')) {
    throw restError(503, error.code, error.message, { cause: error })
  }
  throw error
}

/** Aborts when the client goes away before it has its answer. */
function goneSignal(req: IncomingMessage, reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  const { raw } = reply
  const onClose = (): void => {
    if (!raw.writableFinished) gone.abort()
  }
  raw.once('close', onClose)
  if (req.destroyed && !req.complete) gone.abort()
  return gone.signal
}
