import { Pool } from 'undici'
import { crc32c, maskCrc32c } from '../base/crc32c.ts'
import { formatFileId } from '../base/file-id.ts'
import { hex8, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { formatTtl } from '../base/ttl.ts'
import { BufferShelf } from '../runtime/buffer-shelf.ts'
import type { Clock } from '../runtime/clock.ts'
import { CLUSTER_AUTH_HEADER, type ClusterAuth } from './cluster-auth.ts'
import { download } from './download.ts'
import { fromHttpAnswer, parseJson } from './http-errors.ts'
import { HttpExchange, type HttpRequest } from './http-exchange.ts'
import { metadataFromHeaders, metadataToHeaders } from './needle-headers.ts'
import type { ReadShardRequest, ReadShardSlicesRequest } from './shard-api.ts'
import type {
  ByteRange,
  NeedleContent,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
  VolumeExtent,
} from './volume-api.ts'

export interface NeedleHttpOptions {
  /** host:port */
  readonly url: string
  /** Until an answer begins, and between pieces of one. */
  readonly timeoutMs: number
  readonly auth: ClusterAuth | undefined
}

/** Asks for a chunk manifest, not for the large file that it stands for. */
const ITSELF = 'cm=false'

/** What one volume server gives and takes over HTTP: what is too large for messages, all reads. */
export class NeedleHttp implements AsyncDisposable {
  readonly #url: string
  readonly #auth: ClusterAuth | undefined
  readonly #reads: Pool
  /** Apart from reads: a long body holds up whatever is behind it. */
  readonly #writes: Pool
  /** What volumes are read into. */
  readonly #shelf: BufferShelf
  readonly #clock: Clock
  readonly #timeoutMs: number

  constructor(parts: { readonly clock: Clock }, options: NeedleHttpOptions) {
    const { url, timeoutMs, auth } = options
    this.#clock = parts.clock
    this.#timeoutMs = timeoutMs
    this.#shelf = new BufferShelf(parts, { sizeBytes: LIMITS.streamPiece.value, keptMax: 4 })
    this.#url = url
    this.#auth = auth
    const shared = {
      connections: LIMITS.httpConnectionsPerServer.value,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connect: { timeout: timeoutMs },
    }
    this.#reads = new Pool(`http://${url}`, { ...shared, pipelining: LIMITS.httpPipelined.value })
    this.#writes = new Pool(`http://${url}`, shared)
  }

  /** @throws {StoreError} CHECKSUM_MISMATCH: other bytes arrived than were sent. */
  async put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    const { data } = request
    const answer = await this.#put(request, data, data.length, signal)
    const { metadata } = request
    const mayBePacked =
      !request.isReplica && metadata.isCompressed !== true && metadata.isChunkManifest !== true
    const mayBeText = metadata.mime !== undefined || metadata.name !== undefined
    // A server that compresses text stores other bytes than were sent, and says their checksum.
    const isSame = (): boolean => answer.checksum === (request.checksum ?? crc32c(data))
    if ((!mayBePacked || !mayBeText) && !isSame()) {
      throw new StoreError(
        'CHECKSUM_MISMATCH',
        `${this.#url} has stored other bytes than were sent`,
      )
    }
    return { ...answer, dataBytes: data.length }
  }

  /** An error of `source` comes out as it is, and nothing was stored. */
  async putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer> {
    let dataBytes = 0
    let failure: { readonly error: unknown } | undefined
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for await (const piece of request.source) {
          dataBytes += piece.length
          yield piece
        }
      } catch (error) {
        failure = { error }
        throw error
      }
    }
    try {
      const answer = await this.#put(request, counted(), undefined, signal)
      return { ...answer, dataBytes }
    } catch (error) {
      throw failure === undefined ? error : failure.error // Not the peer's fault.
    }
  }

  /** The metadata is what HTTP says of it: see `metadataFromHeaders`. */
  async read(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    const { range } = request
    if (range !== undefined && range.end <= range.start) throw rangeError(range)
    const found = await this.#get(request, '', signal)
    if (found.header('x-file-store') !== 'chunked') return await this.#content(found, range)
    // What the server began to send is the large file, not the needle that describes it.
    found[Symbol.dispose]()
    return await this.#content(await this.#get(request, ITSELF, signal), range)
  }

  /**
   * The bytes of `.dat`, all of `extent`. Each piece is to be done with before the next.
   *
   * @throws {StoreError} VOLUME_CHANGED: it was vacuumed, or is shorter; UNAUTHENTICATED.
   */
  async *readVolumeData(
    { volumeId, extent }: { readonly volumeId: VolumeId; readonly extent: VolumeExtent },
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { datBytes, compactionRevision } = extent
    const query = `volume=${volumeId}&revision=${compactionRevision}&bytes=${datBytes}`
    yield* this.#download(`/vol/data?${query}`, datBytes, signal)
  }

  /** Bytes of a shard, otherwise as `readVolumeData`. @throws {StoreError} SHARD_NOT_FOUND. */
  readShardData(
    request: ReadShardRequest,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#download(shardPath(request), request.lengthBytes, signal)
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND, RANGE_INVALID, UNAUTHENTICATED. */
  async readShard(request: ReadShardSlicesRequest, signal: AbortSignal): Promise<Buffer> {
    const { sliceCount, strideBytes } = request
    const target = `${shardPath(request)}&slices=${sliceCount}&stride=${strideBytes}`
    const path = this.#auth?.signTarget('GET', target) ?? target
    const asked: HttpRequest = { path, method: 'GET', headers: {} }
    using answer = await HttpExchange.begin(this.#reads, this.#url, asked, signal)
    if (answer.status !== 200) {
      throw fromHttpAnswer(this.#url, answer.status, await beginningOf(answer))
    }
    const pieces = await answer.whole()
    const bytes = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces)
    this.#checkLength(bytes.length, sliceCount * request.lengthBytes)
    return bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#reads.destroy(), this.#writes.destroy()])
  }

  /** What only servers of the cluster get; each piece is to be done with before the next. */
  async *#download(
    path: string,
    expectedBytes: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const headers = this.#signed(path)
    const request = { url: this.#url, path, headers, timeoutMs: this.#timeoutMs }
    const parts = { clock: this.#clock, shelf: this.#shelf }
    let bytes = 0
    for await (const piece of download(parts, request, signal)) {
      bytes += piece.bytes.length
      yield piece.bytes
      piece.release()
    }
    this.#checkLength(bytes, expectedBytes)
  }

  /** As a server of the cluster that asks for something that exists for no others. */
  #signed(path: string): Record<string, string> {
    const auth = this.#auth
    return auth === undefined ? {} : { [CLUSTER_AUTH_HEADER]: auth.signHttp('GET', path) }
  }

  /** @throws {StoreError} PEER_FAILED */
  #checkLength(bytes: number, expectedBytes: number): void {
    if (bytes === expectedBytes) return
    throw new StoreError('PEER_FAILED', `${this.#url} sent ${bytes} bytes, not ${expectedBytes}`)
  }

  async #put(
    request: Omit<PutRequest, 'data' | 'checksum'>,
    body: Uint8Array | AsyncGenerator<Uint8Array>,
    bodyBytes: number | undefined,
    signal: AbortSignal,
  ): Promise<Omit<PutAnswer, 'dataBytes'>> {
    const path = putPath(request)
    const headers = metadataToHeaders(request.metadata)
    if (bodyBytes !== undefined) headers['content-length'] = String(bodyBytes)
    if (request.writeToken !== '') headers['authorization'] = `BEARER ${request.writeToken}`
    if (request.isReplica && this.#auth !== undefined) {
      headers[CLUSTER_AUTH_HEADER] = this.#auth.signHttp('PUT', path)
    }
    const asked: HttpRequest = { path, method: 'PUT', headers, body }
    using answer = await HttpExchange.begin(this.#writes, this.#url, asked, signal)
    const text = await beginningOf(answer)
    if (answer.status !== 201 && answer.status !== 204) {
      throw fromHttpAnswer(this.#url, answer.status, text)
    }
    const isUnchanged = answer.status === 204
    return {
      checksum: this.#etag(answer),
      isUnchanged,
      // What is there already was durable when it was acknowledged the first time.
      isDurable: isUnchanged || parseJson(text)['durable'] === true,
    }
  }

  async #get(request: ReadRequest, query: string, signal: AbortSignal): Promise<HttpExchange> {
    const { range, readDeleted, readToken } = request
    const proxied = request.isForwarded === true ? 'proxied=true' : ''
    const deleted = readDeleted ? 'readDeleted=true' : ''
    const queries = [query, deleted, proxied].filter((part) => part !== '')
    const path = `/${formatFileId(request.fileId)}${queries.length > 0 ? '?' : ''}`
    const headers: Record<string, string> = { 'accept-encoding': 'gzip' }
    if (range !== undefined) headers['range'] = `bytes=${range.start}-${range.end - 1}`
    if (readToken !== '') headers['authorization'] = `BEARER ${readToken}`
    const asked: HttpRequest = { path: path + queries.join('&'), method: 'GET', headers }
    const answer = await HttpExchange.begin(this.#reads, this.#url, asked, signal)
    if (answer.status === (range === undefined ? 200 : 206)) return answer
    using failed = answer
    // The large file cannot be opened; the needle that describes it may be good all the same.
    const isExpanded = query !== ITSELF && failed.header('x-file-store') === 'chunked'
    if (isExpanded) return await this.#get(request, ITSELF, signal)
    // Of a file without bytes a server shows all there is, whatever was asked for.
    if (range !== undefined && failed.status === 200 && failed.header('content-length') === '0') {
      throw rangeError(range)
    }
    throw fromHttpAnswer(this.#url, failed.status, await beginningOf(failed))
  }

  async #content(answer: HttpExchange, range: ByteRange | undefined): Promise<NeedleContent> {
    try {
      const checksum = this.#etag(answer)
      const bodyBytes = this.#number(answer.header('content-length'), 'length')
      const head = {
        metadata: metadataFromHeaders(answer.headers),
        checksum,
        dataBytes: range === undefined ? bodyBytes : this.#total(answer, range),
        [Symbol.asyncDispose]: async () => answer[Symbol.dispose](),
      }
      const isWhole = range === undefined
      if (bodyBytes > LIMITS.eagerReadMax.value) {
        const pieces = answer.pieces()
        return { ...head, data: isWhole ? this.#verified(pieces, checksum) : pieces }
      }
      const pieces = await answer.whole()
      if (isWhole) {
        let actual = 0
        for (const piece of pieces) actual = crc32c(piece, actual)
        this.#check(checksum, actual)
      }
      return { ...head, data: inOrder(pieces) }
    } catch (error) {
      answer[Symbol.dispose]()
      throw error
    }
  }

  /** The last piece only once all matched. */
  async *#verified(pieces: AsyncIterable<Buffer>, expected: number): AsyncGenerator<Uint8Array> {
    let actual = 0
    let held: Buffer | undefined
    for await (const piece of pieces) {
      actual = crc32c(piece, actual)
      if (held !== undefined) yield held
      held = piece
    }
    this.#check(expected, actual)
    if (held !== undefined) yield held
  }

  /** @throws {StoreError} CHECKSUM_MISMATCH */
  #check(expected: number, actual: number): void {
    // Old needles carry the masked form of the same checksum.
    if (expected === actual || expected === maskCrc32c(actual)) return
    const text = `data with the checksum ${hex8(actual)} arrived, not ${hex8(expected)}`
    throw new StoreError('CHECKSUM_MISMATCH', `${this.#url}: ${text}`)
  }

  #etag(answer: HttpExchange): number {
    const digits = /^"([0-9a-f]{8})"$/i.exec(answer.header('etag') ?? '')?.[1]
    if (digits === undefined) throw new StoreError('PEER_FAILED', `${this.#url} sent no ETag`)
    return Number.parseInt(digits, 16)
  }

  #total(answer: HttpExchange, range: ByteRange): number {
    const header = answer.header('content-range') ?? ''
    const [, start, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(header) ?? []
    const totalBytes = this.#number(total, 'total')
    if (range.end > totalBytes) throw rangeError(range)
    if (Number(start) !== range.start || Number(last) !== range.end - 1) {
      throw new StoreError('PEER_FAILED', `${this.#url} sent another range than was asked for`)
    }
    return totalBytes
  }

  #number(text: string | undefined, what: string): number {
    const value = Number(text)
    if (text !== undefined && /^\d+$/.test(text) && Number.isSafeInteger(value)) return value
    throw new StoreError('PEER_FAILED', `${this.#url} sent no ${what}`)
  }
}

/** As much as an error needs; what is beyond is not waited for. */
async function beginningOf(answer: HttpExchange): Promise<string> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of answer.pieces()) {
    pieces.push(piece)
    bytes += piece.length
    if (bytes >= LIMITS.httpErrorBodyMax.value) break
  }
  return Buffer.concat(pieces).toString('utf8')
}

function shardPath(request: ReadShardRequest): string {
  const { volumeId, runId, shard, offsetBytes, lengthBytes } = request
  const place = `volume=${volumeId}&run=${runId}&shard=${shard}`
  return `/vol/shard?${place}&offset=${offsetBytes}&bytes=${lengthBytes}`
}

/** The reserved characters of a file id are few: it needs no escapes in a path. */
function putPath(request: Omit<PutRequest, 'data' | 'checksum'>): string {
  const { ttl, lastModifiedS, isChunkManifest } = request.metadata
  const query: string[] = []
  if (ttl !== undefined && formatTtl(ttl) !== '') query.push(`ttl=${formatTtl(ttl)}`)
  if (lastModifiedS !== undefined && lastModifiedS !== 0) query.push(`ts=${lastModifiedS}`)
  if (isChunkManifest === true) query.push('cm=true')
  if (request.isReplica) query.push('type=replicate')
  return `/${formatFileId(request.fileId)}${query.length === 0 ? '' : `?${query.join('&')}`}`
}

async function* inOrder(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces
}

function rangeError(range: ByteRange): StoreError {
  return new StoreError('RANGE_INVALID', `the data has no bytes ${range.start} to ${range.end}`)
}
