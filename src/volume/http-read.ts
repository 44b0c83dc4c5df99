import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { formatFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'
import { httpDate } from '../net/http-date.ts'
import { sendError, sendJson } from '../net/http-reply.ts'
import type { ByteRange } from '../net/volume-api.ts'
import { BufferShelf, type LentBytes } from '../runtime/buffer-shelf.ts'
import type { Tally } from '../runtime/metrics.ts'
import { ReadBuffer } from '../storage/read-buffer.ts'
import { ByteBudget } from './http-byte-budget.ts'
import { acceptsGzip } from './http-compression.ts'
import { etagOf, isNotModified, isRangeCurrent } from './http-conditions.ts'
import type { VolumeHttpConfig, VolumeHttpParts } from './http-context.ts'
import { fileHeaders } from './http-headers.ts'
import { manifestSource, readManifest } from './http-manifest.ts'
import { contentRange, parseRanges, planMultipart } from './http-range.ts'
import { sendPieces, signalOf } from './http-send.ts'
import {
  type FileSource,
  goodSource,
  otherSource,
  remoteSource,
  type SourceRequest,
  unzippedSource,
} from './http-source.ts'
import { type FileTarget, isTrue, parseFileTarget, tokenOf } from './http-target.ts'

const READ_BUFFER_BYTES = 68 * KIB
const CUT_OFF_MAX = 64

/** GET and HEAD of files: everything that a plain read of a small needle does not need. */
export class FileReads {
  readonly #parts: VolumeHttpParts
  readonly #config: VolumeHttpConfig
  readonly #buffer = new ReadBuffer(READ_BUFFER_BYTES)
  readonly #downloads: ByteBudget | undefined
  readonly #sentBytes: Tally
  /**
   * What was last cut off because its bytes were wrong. All of it is read before the next answer
   * begins, so that whoever asks again is told what is wrong.
   */
  readonly #cutOff = new Set<string>()
  /** What answers under way hold, whatever is configured. */
  readonly #memory: ByteBudget
  /** What large needles are read into on their way out. */
  readonly #pieces: BufferShelf

  constructor(parts: VolumeHttpParts, config: VolumeHttpConfig, sentBytes: Tally) {
    this.#parts = parts
    this.#sentBytes = sentBytes
    this.#config = config
    this.#memory = new ByteBudget(parts, LIMITS.httpAnswersHeldMax.value)
    const sizeBytes = LIMITS.httpPieceBytes.value
    this.#pieces = new BufferShelf(parts, { sizeBytes, keptMax: LIMITS.httpPiecesKept.value })
    const { downloadLimitBytes } = config
    this.#downloads = downloadLimitBytes > 0 ? new ByteBudget(parts, downloadLimitBytes) : undefined
  }

  get heldBytes(): number {
    return (this.#downloads ?? this.#memory).heldBytes
  }

  async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const target = parseFileTarget(req.url ?? '')
    const readToken = this.#authorize(req, target)
    const signal = signalOf(res, this.#parts.signal)
    const found = await this.#find(res, target, readToken, signal)
    if (found === undefined) return
    try {
      await this.#answer(req, res, found, target, signal)
    } catch (error) {
      if (!isStoreError(error, 'NEEDLE_CORRUPT')) throw error
      const other = await this.#findOther(res, target, readToken, error, signal)
      if (other === undefined) throw error
      await this.#answer(req, res, other, target, signal)
    }
  }

  async #answer(
    req: IncomingMessage,
    res: ServerResponse,
    found: FileSource,
    target: FileTarget,
    signal: AbortSignal,
  ): Promise<void> {
    await using needle = found
    const etag = etagOf(needle.checksum)
    const { lastModifiedS } = needle.metadata
    const validators: OutgoingHttpHeaders = { ETag: etag }
    if (lastModifiedS !== undefined) validators['Last-Modified'] = httpDate(lastModifiedS)
    if (isNotModified(req, { etag, lastModifiedS })) {
      res.writeHead(304, validators)
      res.end()
      return
    }
    // Told with an error too: the needle itself may be good when what it lists is not there.
    if (isExpanded(needle, target)) res.setHeader('X-File-Store', 'chunked')
    const { source, headers } = await this.#represent(req, needle, target, signal)
    Object.assign(headers, validators)
    const isWhole = !isRangeCurrent(req, { etag, lastModifiedS }) || req.method === 'HEAD'
    await this.#send(res, source, headers, isWhole ? undefined : req.headers.range, signal)
  }

  /** The token, where one is needed. */
  #authorize(req: IncomingMessage, target: FileTarget): string {
    if (this.#config.needsReadToken !== true) return ''
    const token = tokenOf(req, target.query)
    const { tokens } = this.#parts
    if (tokens === undefined) throw new StoreError('TOKEN_INVALID', 'no token can be checked')
    tokens.verifyRead(token, target.fileId)
    return token
  }

  /** Undefined: the client was sent elsewhere. */
  async #find(
    res: ServerResponse,
    target: FileTarget,
    readToken: string,
    signal: AbortSignal,
  ): Promise<FileSource | undefined> {
    const { access } = this.#parts
    const { fileId } = target
    const request = requestOf(target, readToken)
    if (access.isLocal(fileId.volumeId)) {
      return await goodSource(access, request, this.#buffer, signal)
    }
    if (this.#config.readMode === 'local' || request.isForwarded) {
      throw new StoreError('VOLUME_NOT_FOUND', `volume ${fileId.volumeId} is not here`)
    }
    if (this.#config.readMode === 'proxy') return await remoteSource(access, request, signal)
    await this.#redirect(res, target, signal)
    return undefined
  }

  /** After the needle showed while it was being read that it is bad. Undefined: too late. */
  async #findOther(
    res: ServerResponse,
    target: FileTarget,
    readToken: string,
    failure: StoreError,
    signal: AbortSignal,
  ): Promise<FileSource | undefined> {
    const { access } = this.#parts
    if (!access.isLocal(target.fileId.volumeId)) return undefined
    if (!res.headersSent) {
      return await otherSource(access, requestOf(target, readToken), failure, signal)
    }
    access.noteBad(target.fileId)
    return undefined
  }

  async #redirect(res: ServerResponse, target: FileTarget, signal: AbortSignal): Promise<void> {
    const { fileId, query } = target
    const { access, random } = this.#parts
    const locations = await access.locate(fileId.volumeId, signal)
    const location = locations[random.u32() % Math.max(1, locations.length)]
    if (location === undefined) {
      throw new StoreError('VOLUME_NOT_FOUND', `no server has volume ${fileId.volumeId}`)
    }
    const kept = new URLSearchParams()
    for (const name of ['collection', 'jwt']) {
      const value = query.get(name)
      if (value !== null) kept.set(name, value)
    }
    kept.set('proxied', 'true')
    const url = `http://${location.url}/${formatFileId(fileId)}?${kept}`
    sendJson(res, 301, { location: url }, { Location: url })
  }

  /** What of the needle is sent: itself, unpacked, or the large file that it stands for. */
  async #represent(
    req: IncomingMessage,
    needle: FileSource,
    target: FileTarget,
    signal: AbortSignal,
  ): Promise<{ readonly source: FileSource; readonly headers: OutgoingHttpHeaders }> {
    const { isChunkManifest, isCompressed } = needle.metadata
    if (isExpanded(needle, target)) {
      const { access, clock, tokens } = this.#parts
      const manifest = await readManifest(needle, signal)
      const chunks = { access, clock, tokens: this.#config.needsReadToken ? tokens : undefined }
      const source = manifestSource(chunks, manifest, needle)
      const headers = fileHeaders(source.metadata, target)
      return { source, headers }
    }
    const headers = fileHeaders(needle.metadata, target)
    if (isChunkManifest) headers['X-File-Store'] = 'manifest'
    if (isCompressed !== true) return { source: needle, headers }
    headers.vary = 'Accept-Encoding'
    const unzipped = acceptsGzip(req) ? undefined : await unzippedSource(needle, signal)
    if (unzipped === undefined) headers['Content-Encoding'] ??= 'gzip'
    return { source: unzipped ?? needle, headers }
  }

  async #send(
    res: ServerResponse,
    source: FileSource,
    headers: OutgoingHttpHeaders,
    rangeHeader: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { sizeBytes } = source
    const ranges = sizeBytes === undefined ? undefined : rangesOf(res, rangeHeader, sizeBytes)
    if (ranges === 'refused') return
    if (res.req.method === 'HEAD') {
      if (sizeBytes !== undefined) headers['Content-Length'] = sizeBytes
      res.writeHead(200, headers)
      res.end()
      return
    }
    if (ranges === undefined || sizeBytes === undefined) {
      await this.#sendOne(res, 200, source, headers, undefined, signal)
      return
    }
    const [first] = ranges
    if (ranges.length === 1 && first !== undefined) {
      headers['Content-Range'] = contentRange(first, sizeBytes)
      await this.#sendOne(res, 206, source, headers, first, signal)
      return
    }
    const { random } = this.#parts
    const chance = Array.from({ length: 4 }, () => random.u32().toString(36))
    const boundary = `part${chance.join('')}`
    const contentType = String(headers['Content-Type'])
    const plan = planMultipart(ranges, { contentType, sizeBytes, boundary })
    headers['Content-Type'] = plan.contentType
    headers['Content-Length'] = plan.totalBytes
    await this.#hold(res, source, plan.totalBytes, signal)
    res.writeHead(206, headers)
    for (const { head, range } of plan.parts) {
      res.write(head)
      await sendPieces(res, source.open(range, signal), range.end - range.start)
    }
    res.end(plan.tail)
  }

  async #sendOne(
    res: ServerResponse,
    status: number,
    source: FileSource,
    headers: OutgoingHttpHeaders,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const bytes = range === undefined ? source.sizeBytes : range.end - range.start
    if (bytes !== undefined) headers['Content-Length'] = bytes
    await this.#hold(res, source, bytes ?? 0, signal)
    if (source.whole !== undefined) {
      res.writeHead(status, headers)
      res.end(range === undefined ? source.whole : source.whole.subarray(range.start, range.end))
      return
    }
    const url = res.req.url ?? ''
    const lent = range === undefined ? source.lend : undefined
    if (lent !== undefined && this.#cutOff.delete(url)) {
      for await (const piece of lent(this.#pieces, signal)) piece.release()
    }
    const pieces = await startReading<Uint8Array | LentBytes>(
      lent?.(this.#pieces, signal) ?? source.open(range, signal),
    )
    res.writeHead(status, headers)
    try {
      await sendPieces(res, pieces, bytes)
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_CORRUPT')) this.#noteCutOff(url)
      throw error
    }
    res.end()
  }

  #noteCutOff(url: string): void {
    const [oldest] = this.#cutOff
    if (oldest !== undefined && this.#cutOff.size >= CUT_OFF_MAX) this.#cutOff.delete(oldest)
    this.#cutOff.add(url)
  }

  /** Counts the bytes, and the memory they take, against the limits until the response is over. */
  async #hold(
    res: ServerResponse,
    source: FileSource,
    bytes: number,
    signal: AbortSignal,
  ): Promise<void> {
    this.#sentBytes.add(bytes)
    const piecesBytes =
      2 * LIMITS[source.lend === undefined ? 'streamPiece' : 'httpPieceBytes'].value
    const heldBytes = source.whole?.length ?? source.heldBytes ?? piecesBytes
    await take(this.#memory, heldBytes, res, signal)
    if (this.#downloads !== undefined) await take(this.#downloads, bytes, res, signal)
  }
}

/** What is sent is the large file that the needle stands for. */
function isExpanded({ metadata }: FileSource, { query }: FileTarget): boolean {
  return metadata.isChunkManifest === true && query.get('cm') !== 'false'
}

function requestOf({ fileId, query }: FileTarget, readToken: string): SourceRequest {
  const readDeleted = isTrue(query.get('readDeleted'))
  return { fileId, readDeleted, readToken, isForwarded: isTrue(query.get('proxied')) }
}

/** Takes the bytes until the response is over. */
async function take(
  budget: ByteBudget,
  bytes: number,
  res: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  if (!budget.tryTake(bytes)) await budget.take(bytes, signal)
  if (res.closed) budget.release(bytes)
  else res.once('close', () => budget.release(bytes))
}

/** What fails before the first byte is still answered with its own status. */
async function startReading<Piece>(source: AsyncIterable<Piece>): Promise<AsyncIterable<Piece>> {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  return (async function* () {
    try {
      for (let next = first; next.done !== true; next = await iterator.next()) yield next.value
    } finally {
      await iterator.return?.()
    }
  })()
}

function rangesOf(
  res: ServerResponse,
  header: string | undefined,
  sizeBytes: number,
): readonly ByteRange[] | undefined | 'refused' {
  if (header === undefined) return undefined
  try {
    return parseRanges(header, sizeBytes)
  } catch (error) {
    if (!isStoreError(error, 'RANGE_INVALID')) throw error
    sendError(res, error, { headers: { 'Content-Range': `bytes */${sizeBytes}` } })
    return 'refused'
  }
}
