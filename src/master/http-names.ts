import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { request } from 'undici'
import { type FileId, formatFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import { TTL_NONE } from '../base/ttl.ts'
import { parseFileName } from '../namespace/file-name.ts'
import { dropBody } from '../net/http-reply.ts'
import type { AssignRequest, NodeLocation } from '../net/master-api.ts'
import { findVolume, readTokenFor, redirect } from './http-directory.ts'
import { readFlag } from './http-options.ts'
import type { MasterExchange, MasterHttpConfig, MasterHttpParts } from './http-parts.ts'
import { storedMime } from './http-submit.ts'
import { readRequestBody, storeUpload } from './http-upload.ts'

const TRY_ON_FROM = 400

/** Of a request, to the server that answers in our stead. */
const ASKED_HEADERS = [
  'accept-encoding',
  'range',
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
] as const

/** About one connection only: not passed on. */
const HOP_HEADERS: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'date',
])

/**
 * Files by names of the users' own: `PUT`, `GET`, `HEAD` and `DELETE /{name}`. The replicas of a
 * file are named in turn, so that its readers spread over them.
 */
export class NamedFileRoutes {
  readonly #parts: MasterHttpParts
  readonly #config: MasterHttpConfig
  #turn = 0

  constructor(parts: MasterHttpParts, config: MasterHttpConfig) {
    this.#parts = parts
    this.#config = config
  }

  /** Acknowledged when every replica is durable and the name means the new file. */
  async put({ req, res, path, query, signal }: MasterExchange): Promise<void> {
    const name = nameOfPath(path)
    const source = readRequestBody(req, this.#config.nameBytesMax)
    const upload = {
      assign: assignFor(name, query.get('collection') ?? '', req.headers),
      metadata: {
        ...storedMime(req.headers['content-type'] ?? ''),
        ...needleName(name),
        lastModifiedS: Math.floor(this.#parts.clock.nowMs() / 1000),
        // Enough to find out, from the volumes alone, which name a needle belonged to.
        pairs: { 'Hayloft-Bucket': 'names', 'Hayloft-Key': encodeURIComponent(name) },
      },
      source,
    }
    const { fileId, answer } = await storeUpload(this.#parts, upload, signal)
    await this.#parts.api.linkName({ name, fileId, dataBytes: answer.dataBytes }, signal)
    sendText(res, 201, name)
  }

  /** `GET` and `HEAD`: to the server that has the bytes, or with `proxy=true` its answer. */
  async get(exchange: MasterExchange): Promise<void> {
    const { path, query, search, signal } = exchange
    const { fileId } = await this.#parts.api.resolveName(nameOfPath(path), signal)
    const locations = await this.#replicas(fileId, signal)
    const token = readTokenFor(this.#parts, this.#config, fileId)
    const targets = locations.map(({ publicUrl, url }) => ({
      outside: targetUrl(publicUrl, fileId, search, token),
      inside: targetUrl(url, fileId, search, token),
    }))
    if (readFlag(query, 'proxy')) {
      await passOn(
        exchange,
        targets.map(({ inside }) => inside),
      )
      return
    }
    redirect(exchange, 302, targets[0]?.outside ?? '')
  }

  async delete({ req, res, path, signal }: MasterExchange): Promise<void> {
    await this.#parts.api.unlinkName(nameOfPath(path), signal)
    dropBody(req)
    res.writeHead(204)
    res.end()
  }

  /** All that hold the volume, another one first each time. */
  async #replicas(fileId: FileId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    try {
      const { locations } = await findVolume(this.#parts, fileId.volumeId, '', signal)
      this.#turn = (this.#turn + 1) % 0x1000_0000
      const first = this.#turn % locations.length
      return [...locations.slice(first), ...locations.slice(0, first)]
    } catch (error) {
      if (!isStoreError(error, 'VOLUME_NOT_FOUND')) throw error
      // The name is known, so the file exists: its servers are away.
      const message = `no server that holds volume ${fileId.volumeId} can be reached`
      throw new StoreError('UNAVAILABLE', message, { cause: error })
    }
  }
}

/** @throws {StoreError} NAME_INVALID: also for a broken percent escape. */
export function nameOfPath(path: string): string {
  return parseFileName(decodeName(path))
}

/** Decoded once: what still looks like an escape afterwards is part of the name. */
export function decodeName(path: string): string {
  try {
    return decodeURIComponent(path.slice(1))
  } catch (cause) {
    throw new StoreError('NAME_INVALID', `broken percent escape in ${quote(path)}`, { cause })
  }
}

function assignFor(name: string, collection: string, headers: IncomingHttpHeaders): AssignRequest {
  return {
    count: 1,
    collection,
    replication: undefined,
    ttl: TTL_NONE,
    dataCenter: '',
    rack: '',
    node: '',
    excludedVolumeIds: [],
    dataBytes: Number(headers['content-length'] ?? 0),
    key: name,
  }
}

/** The last segment, where a needle can hold it: volume servers offer it as the file's name. */
function needleName(name: string): { readonly name?: string } {
  const segment = name.slice(name.lastIndexOf('/') + 1)
  return Buffer.byteLength(segment) > LIMITS.needleNameMax.value ? {} : { name: segment }
}

function targetUrl(host: string, fileId: FileId, search: string, token: string): string {
  const target = `http://${host}/${formatFileId(fileId)}${search}`
  if (token === '') return target
  return `${target}${search === '' ? '?' : '&'}jwt=${token}`
}

function sendText(res: ServerResponse, status: number, text: string): void {
  const body = Buffer.from(text)
  res.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': body.length,
    'X-Content-Type-Options': 'nosniff',
  })
  res.end(body)
}

/** The answer of the first of these servers that has the file; if none has, that of the last. */
async function passOn({ req, res, signal }: MasterExchange, targets: readonly string[]) {
  const headers: Record<string, string> = {}
  for (const name of ASKED_HEADERS) {
    const value = req.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  const method = req.method === 'HEAD' ? 'HEAD' : 'GET'
  for (const [index, target] of targets.entries()) {
    const isLast = index === targets.length - 1
    const answer = await ask(target, { method, headers, signal }, isLast)
    if (answer === undefined) continue
    const isFaulty = answer.statusCode >= TRY_ON_FROM && answer.statusCode !== 416
    if (isFaulty && !isLast) {
      await answer.body.dump()
      continue
    }
    dropBody(req)
    res.writeHead(answer.statusCode, passedHeaders(answer.headers))
    try {
      await pipeline(answer.body, res)
    } catch (cause) {
      const isGone = signal.aborted
      throw new StoreError(isGone ? 'CANCELLED' : 'PEER_FAILED', 'the bytes broke off', { cause })
    }
    return
  }
}

async function ask(
  target: string,
  options: { method: 'GET' | 'HEAD'; headers: Record<string, string>; signal: AbortSignal },
  isLast: boolean,
) {
  try {
    return await request(target, options)
  } catch (cause) {
    if (options.signal.aborted) throw new StoreError('CANCELLED', 'the client went away', { cause })
    if (!isLast) return undefined
    throw new StoreError('UNAVAILABLE', 'no server that holds the file answers', { cause })
  }
}

function passedHeaders(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_HEADERS.has(name)))
}
