import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import { hex8 } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { formatTtl, TTL_NONE } from '../base/ttl.ts'
import { type ObjectStripe, stripesOf } from '../erasure/object-stripe.ts'
import { readObjectStripe, type StripeReadParts } from '../erasure/read-object-stripe.ts'
import { type ChunkManifest, chunkParts, needlesOfManifest } from '../format/chunk-manifest.ts'
import type { ManifestErasure } from '../format/manifest-erasure.ts'
import type { ByteRange, NeedleMetadata } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import type { FileInfo, GetRange, GetResult } from './client-api.ts'
import { manifestIn } from './file-needles.ts'
import { unzip, unzipStream } from './gunzip.ts'
import { mapOrdered } from './map-ordered.ts'
import type { FetchedNeedle, FetchedPieces, NeedleFetcher, NeedleHead } from './needle-fetcher.ts'
import type { Replicas } from './replicas.ts'

/** One read of a chunk: small enough to be held in memory several times. */
interface ChunkSegment {
  readonly stripe: undefined
  readonly fileId: FileId
  /** Of the whole chunk. */
  readonly chunkBytes: number
  readonly range: ByteRange
  /** Where its bytes belong in the result. */
  readonly targetAt: number
}

/** One read of a stripe of an erasure-coded file. */
interface StripeSegment {
  readonly stripe: ObjectStripe
  /** Of the file. */
  readonly fileId: FileId
  /** From the start of the stripe. */
  readonly range: ByteRange
  readonly targetAt: number
}

type Segment = ChunkSegment | StripeSegment

/** The needles of a file beside the one that has its id; none: it is not in chunks. */
export interface FileNeedles {
  readonly fileIds: readonly FileId[]
  readonly isCoded: boolean
}

export interface FileReaderParts {
  readonly fetcher: NeedleFetcher
  readonly replicas: Replicas
  readonly clock: Clock
}

/** Reads files as they were put: from one needle, packed or not, or from many. */
export class FileReader {
  readonly #fetcher: NeedleFetcher
  readonly #stripeParts: StripeReadParts
  /** One for each chunk that is fetched before somebody is there to take it. */
  readonly #ahead = new Semaphore({ slots: LIMITS.readAheadSlots.value, waitersMax: 0 })

  constructor(parts: FileReaderParts) {
    const { clock, fetcher, replicas } = parts
    this.#fetcher = fetcher
    this.#stripeParts = {
      clock,
      fetch: ({ fileId }, range, signal) => fetcher.fetchOnce(fileId, range, signal),
      isSuspect: ({ fileId }) => replicas.isVolumeSuspect(fileId.volumeId),
      onBad: ({ fileId }, error) => replicas.noteVolume(fileId.volumeId, error),
    }
  }

  /** Into memory. Errors as `NeedleFetcher`, and NEEDLE_TOO_LARGE, MANIFEST_CORRUPT. */
  async get(text: string, range: GetRange | undefined, signal: AbortSignal): Promise<GetResult> {
    const fileId = parseFileId(text)
    if (range !== undefined) {
      checkRange(range, text)
      const head = await this.#fetcher.stat(fileId, signal)
      if (isPlain(head)) return this.#getPart(text, fileId, head, range, signal)
    }
    const needle = await this.#fetcher.fetch(fileId, undefined, signal)
    const { data, metadata } = needle
    if (metadata.isChunkManifest === true) return this.#getChunked(text, needle, range, signal)
    if (metadata.isCompressed !== true) return { ...infoOf(text, needle), data }
    const unzipped = await unzip(data, LIMITS.unzippedBytesMax.value, text)
    const { end, start } = insideOf(range, unzipped.length, text)
    const info = { ...infoOf(text, needle), sizeBytes: unzipped.length }
    return { ...info, data: unzipped.subarray(start, end) }
  }

  /** As `VolumeApi.readNow`. @throws {StoreError} FILE_ID_INVALID */
  getNow(text: string): Buffer | undefined {
    return this.#fetcher.fetchNow(parseFileId(text))
  }

  async stat(text: string, signal: AbortSignal): Promise<FileInfo> {
    const fileId = parseFileId(text)
    const head = await this.#fetcher.stat(fileId, signal)
    if (head.metadata.isChunkManifest !== true) return infoOf(text, head)
    const needle = await this.#fetcher.fetch(fileId, undefined, signal)
    return chunkedInfo(text, needle, await manifestIn(needle, text))
  }

  /** In pieces, in order; chunks are read ahead. Errors as `get`, at any piece. */
  async *stream(
    text: string,
    range: GetRange | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const fileId = parseFileId(text)
    const head = range === undefined ? undefined : await this.#fetcher.stat(fileId, signal)
    const isPacked = head?.metadata.isCompressed === true || head?.metadata.isChunkManifest === true
    const stored =
      head === undefined || isPacked ? undefined : insideOf(range, head.dataBytes, text)
    if (stored !== undefined && stored.start === stored.end) return
    const content = await this.#fetcher.open(fileId, stored, signal)
    const { metadata } = content
    if (metadata.isChunkManifest === true) {
      const data = await gather(this.#fetcher.pieces(fileId, content, undefined, signal))
      const manifest = await manifestIn({ metadata, data }, text)
      const { end, start } = insideOf(range, manifest.sizeBytes, text)
      const read = (segment: Segment, stop: AbortSignal) => this.#readSegment(segment, stop)
      const segments = segmentsOf(fileId, manifest, { start, end })
      using ahead = this.tryReadAhead()
      const chunksMax = ahead === undefined ? 1 : LIMITS.chunksReadAhead.value
      for await (const pieces of mapOrdered(segments, chunksMax, read, signal)) {
        // Let go of one by one: whoever takes them may be slow.
        for (const last = pieces.reverse(); last.length > 0; ) yield last.pop() as Uint8Array
      }
      return
    }
    const pieces = this.#fetcher.pieces(fileId, content, stored, signal)
    if (metadata.isCompressed !== true) yield* pieces
    else yield* cut(unzipStream(pieces, text), range, text)
  }

  /** See `HayloftClient.tryReadAhead`. */
  tryReadAhead(): Disposable | undefined {
    return this.#ahead.tryAcquire()
  }

  async needlesOf(fileId: FileId, signal: AbortSignal): Promise<FileNeedles> {
    const manifest = await this.manifestOf(fileId, signal)
    if (manifest === undefined) return { fileIds: [], isCoded: false }
    return { fileIds: needlesOfManifest(manifest), isCoded: manifest.erasure !== undefined }
  }

  /** Undefined: the file is one needle. */
  async manifestOf(fileId: FileId, signal: AbortSignal): Promise<ChunkManifest | undefined> {
    const head = await this.#fetcher.stat(fileId, signal)
    if (head.metadata.isChunkManifest !== true) return undefined
    const needle = await this.#fetcher.fetch(fileId, undefined, signal)
    return await manifestIn(needle, formatFileId(fileId))
  }

  async #getPart(
    text: string,
    fileId: FileId,
    head: NeedleHead,
    range: GetRange,
    signal: AbortSignal,
  ): Promise<GetResult> {
    const stored = insideOf(range, head.dataBytes, text)
    const info = infoOf(text, head)
    if (stored.start === stored.end) return { ...info, data: Buffer.alloc(0) }
    const needle = await this.#fetcher.fetch(fileId, stored, signal)
    return { ...info, data: needle.data }
  }

  async #getChunked(
    text: string,
    needle: FetchedNeedle,
    range: GetRange | undefined,
    signal: AbortSignal,
  ): Promise<GetResult> {
    const manifest = await manifestIn(needle, text)
    const { end, start } = insideOf(range, manifest.sizeBytes, text)
    if (end - start > LIMITS.getBytesMax.value) {
      throw new StoreError('NEEDLE_TOO_LARGE', `${text} has ${end - start} bytes: use getStream`)
    }
    const data = Buffer.allocUnsafeSlow(end - start)
    const read = async (segment: Segment): Promise<void> => {
      let at = segment.targetAt
      for (const piece of await this.#readSegment(segment, signal)) {
        data.set(piece, at)
        at += piece.length
      }
    }
    const segments = segmentsOf(parseFileId(text), manifest, { start, end })
    await mapBounded(segments, LIMITS.chunksInFlightMax.value, read, signal)
    return { ...chunkedInfo(text, needle, manifest), data }
  }

  #readSegment(segment: Segment, signal: AbortSignal): Promise<Uint8Array[]> {
    if (segment.stripe === undefined) return this.#readChunk(segment, signal)
    return this.#readStripe(segment, signal)
  }

  /** A stripe that was repaired meanwhile has other shards now. */
  async #readStripe(segment: StripeSegment, signal: AbortSignal): Promise<Uint8Array[]> {
    const { fileId, range, stripe } = segment
    try {
      return await readObjectStripe(this.#stripeParts, stripe, range, STRIPE_READ, signal)
    } catch (error) {
      if (!isStoreError(error, 'SHARDS_LOST')) throw error
      // When the file is deleted, this says so.
      const now = (await this.manifestOf(fileId, signal))?.erasure
      const again = now === undefined ? undefined : [...stripesOf(now)][stripe.index]
      if (again === undefined || !isMoved(stripe, again)) throw error
      return await readObjectStripe(this.#stripeParts, again, range, STRIPE_READ, signal)
    }
  }

  async #readChunk(segment: ChunkSegment, signal: AbortSignal): Promise<Uint8Array[]> {
    const { chunkBytes, fileId, range } = segment
    const isWhole = range.start === 0 && range.end === chunkBytes
    const needle = await this.#fetchSegment(fileId, isWhole ? undefined : range, signal)
    const text = formatFileId(fileId)
    if (needle.metadata.isChunkManifest === true) throw wrongChunk(text, 'is a manifest itself')
    if (needle.metadata.isCompressed !== true) {
      if (needle.dataBytes === chunkBytes) return needle.pieces
      throw wrongChunk(text, `has ${needle.dataBytes} bytes instead of ${chunkBytes}`)
    }
    const whole = isWhole ? needle : await this.#fetcher.fetchPieces(fileId, undefined, signal)
    const data = await unzip(Buffer.concat(whole.pieces), chunkBytes, text)
    if (data.length === chunkBytes) return [data.subarray(range.start, range.end)]
    throw wrongChunk(text, `has ${data.length} bytes instead of ${chunkBytes}`)
  }

  async #fetchSegment(
    fileId: FileId,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<FetchedPieces> {
    try {
      return await this.#fetcher.fetchPieces(fileId, range, signal)
    } catch (error) {
      if (range === undefined || !isStoreError(error, 'RANGE_INVALID')) throw error
      // It is packed, or has the wrong size.
      return await this.#fetcher.fetchPieces(fileId, undefined, signal)
    }
  }
}

function isPlain(head: NeedleHead): boolean {
  return head.metadata.isChunkManifest !== true && head.metadata.isCompressed !== true
}

function infoOf(fileId: string, head: NeedleHead): FileInfo {
  const { metadata } = head
  return {
    fileId,
    sizeBytes: head.dataBytes,
    eTag: hex8(head.checksum),
    name: metadata.name,
    mime: metadata.mime,
    lastModifiedMs: lastModifiedMs(metadata),
    ttl: formatTtl(metadata.ttl ?? TTL_NONE),
    pairs: metadata.pairs ?? {},
    isCompressed: metadata.isCompressed === true,
    isChunked: metadata.isChunkManifest === true,
  }
}

function chunkedInfo(fileId: string, head: NeedleHead, manifest: ChunkManifest): FileInfo {
  const info = infoOf(fileId, head)
  const name = info.name ?? (manifest.name === '' ? undefined : manifest.name)
  const mime = info.mime ?? (manifest.mime === '' ? undefined : manifest.mime)
  const { erasure: coded, sizeBytes } = manifest
  const erasure = coded && formatErasureScheme(coded.scheme)
  return { ...info, sizeBytes, name, mime, isCompressed: false, ...(erasure && { erasure }) }
}

function lastModifiedMs(metadata: NeedleMetadata): number | undefined {
  const seconds = metadata.lastModifiedS ?? 0
  return seconds === 0 ? undefined : seconds * 1000
}

const STRIPE_READ = {
  slowMs: LIMITS.objectShardSlowMs.value,
  wholeBytesMax: LIMITS.shardWholeReadMax.value,
}

function segmentsOf(fileId: FileId, manifest: ChunkManifest, range: ByteRange): Iterable<Segment> {
  const { erasure } = manifest
  if (erasure === undefined) return chunkSegments(manifest, range)
  return stripeSegments(fileId, erasure, range)
}

function* stripeSegments(
  fileId: FileId,
  erasure: ManifestErasure,
  range: ByteRange,
): Generator<StripeSegment, void, undefined> {
  for (const stripe of stripesOf(erasure)) {
    const start = Math.max(0, range.start - stripe.offsetBytes)
    const end = Math.min(stripe.sizeBytes, range.end - stripe.offsetBytes)
    const targetAt = stripe.offsetBytes + start - range.start
    if (start < end) yield { stripe, fileId, range: { start, end }, targetAt }
  }
}

function isMoved(stripe: ObjectStripe, now: ObjectStripe): boolean {
  if (stripe.sizeBytes !== now.sizeBytes || stripe.shardBytes !== now.shardBytes) return false
  const ids = ({ shards }: ObjectStripe) =>
    shards.map(({ fileId }) => (fileId === undefined ? '' : formatFileId(fileId))).join()
  return ids(stripe) !== ids(now)
}

function* chunkSegments(
  manifest: ChunkManifest,
  range: ByteRange,
): Generator<ChunkSegment, void, undefined> {
  let targetAt = 0
  for (const { chunk, end, start } of chunkParts(manifest, range)) {
    const { fileId, sizeBytes: chunkBytes } = chunk
    for (let at = start; at < end; ) {
      const partEnd = Math.min(end, at + LIMITS.chunkBytes.value)
      const part = { start: at, end: partEnd }
      yield { stripe: undefined, fileId, chunkBytes, range: part, targetAt }
      targetAt += partEnd - at
      at = partEnd
    }
  }
}

function checkRange(range: GetRange, what: string): void {
  const { end, start } = range
  const isSound = Number.isSafeInteger(start) && start >= 0
  const isEndSound = end === undefined || (Number.isSafeInteger(end) && end >= start)
  if (isSound && isEndSound) return
  throw new StoreError('RANGE_INVALID', `bytes ${start} to ${end} of ${what}`)
}

function insideOf(range: GetRange | undefined, sizeBytes: number, what: string): ByteRange {
  if (range === undefined) return { start: 0, end: sizeBytes }
  checkRange(range, what)
  const { start, end = Math.max(start, sizeBytes) } = range
  if (end <= sizeBytes) return { start, end }
  throw new StoreError(
    'RANGE_INVALID',
    `bytes ${start} to ${end} of ${what}, which has ${sizeBytes}`,
  )
}

async function gather(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const gathered: Uint8Array[] = []
  for await (const piece of pieces) gathered.push(piece)
  return Buffer.concat(gathered)
}

/** The range of a stream whose length is known only at its end. */
async function* cut(
  pieces: AsyncIterable<Buffer>,
  range: GetRange | undefined,
  what: string,
): AsyncGenerator<Buffer, void, undefined> {
  const { start, end = Number.POSITIVE_INFINITY } = range ?? { start: 0 }
  let at = 0
  for await (const piece of pieces) {
    const wanted = piece.subarray(Math.max(0, start - at), Math.max(0, end - at))
    at += piece.length
    if (wanted.length > 0) yield wanted
    if (at >= end) return
  }
  if (at < start || (at < end && end !== Number.POSITIVE_INFINITY)) {
    throw new StoreError('RANGE_INVALID', `bytes ${start} to ${end} of ${what}, which has ${at}`)
  }
}

function wrongChunk(fileId: string, why: string): StoreError {
  return new StoreError('MANIFEST_CORRUPT', `the chunk ${fileId} ${why}`)
}
