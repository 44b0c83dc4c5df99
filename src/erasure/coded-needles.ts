import { crc32c } from '../base/crc32c.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import {
  dataExtent,
  decodeNeedle,
  decodeNeedleHeader,
  matchesChecksum,
  NEEDLE_CHECKSUM_BYTES,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  type Needle,
  recordBytes,
  viewOf,
} from '../format/needle.ts'
import { decodeAttributes, type NeedleAttributes } from '../format/needle-attributes.ts'
import {
  checkIdentity,
  checkRange,
  corruptNeedle,
  expired,
  expiresAtMs,
  type NeedleRequest,
  notFound,
} from '../format/needle-checks.ts'
import type { SuperBlock } from '../format/super-block.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { EcIndex } from './ec-index.ts'
import type { StripeReader } from './stripe-reader.ts'
import { verifiedPieces } from './verified-pieces.ts'

/** What is looked for, and where its record lies in the volume as it was coded. */
interface Found {
  readonly request: NeedleRequest
  readonly place: { readonly offsetBytes: number; readonly sizeBytes: number }
  readonly superBlock: SuperBlock
}

/**
 * A needle of a coded volume: whole when its record has at most `wholeBytesMax` bytes, else to be
 * streamed. What is read as fast as it comes is checked like a needle of any volume; when it fails,
 * and before something is believed that a flipped bit could have made, it is read once more from
 * blocks that match their checksums. Deleted ones cannot be read.
 *
 * @throws {StoreError} NEEDLE_NOT_FOUND: never stored, deleted, or its time is over.
 * COOKIE_MISMATCH. NEEDLE_CORRUPT: it was so when the volume was coded. SHARDS_LOST,
 * CODEC_UNAVAILABLE, OVERLOADED, CANCELLED; SUPER_BLOCK_CORRUPT, VERSION_UNSUPPORTED.
 */
export async function readCodedNeedle(
  reader: StripeReader,
  index: Pick<EcIndex, 'find'>,
  request: NeedleRequest,
  wholeBytesMax: number,
  signal: AbortSignal,
): Promise<Needle | CodedLargeNeedle> {
  const { id } = request
  const place = index.find(id)
  if (place === undefined || place.isDeleted) throw notFound(id)
  const superBlock = await reader.superBlock(signal)
  const length = recordBytes(place.sizeBytes, superBlock.version)
  if (place.offsetBytes + length > reader.datBytes) {
    throw corruptNeedle(id, 'its record runs past the end of the volume')
  }
  const found = { request, place, superBlock }
  if (length <= wholeBytesMax) return await readWhole(reader, found, length, signal)
  const large = await CodedLargeNeedle.open(reader, found, signal)
  checkExpiry(large.attributes, superBlock, reader.clock.nowMs())
  return large
}

async function readWhole(
  reader: StripeReader,
  found: Found,
  length: number,
  signal: AbortSignal,
): Promise<Needle> {
  const { request, place, superBlock } = found
  const { offsetBytes } = place
  const check = (record: Buffer): Needle => {
    const needle = decodeNeedle(record, 0, superBlock.version)
    checkIdentity(needle, request, place)
    checkExpiry(needle.attributes(), superBlock, reader.clock.nowMs())
    return needle
  }
  const record = await reader.read(offsetBytes, length, signal)
  try {
    const needle = check(record)
    if (!needle.isDoubtful || reader.isSound(offsetBytes, length)) return needle
  } catch (error) {
    if (!isStoreError(error, 'NEEDLE_CORRUPT', 'COOKIE_MISMATCH', 'NEEDLE_NOT_FOUND')) throw error
    // Whoever guesses cookies must not have whole blocks read for each of them.
    const isBelieved = error.code !== 'NEEDLE_CORRUPT' && reader.isSound(offsetBytes, length)
    if (isBelieved) throw error
  }
  return check(await reader.readVerified(offsetBytes, length, signal))
}

function checkExpiry(attributes: NeedleAttributes, { ttl }: SuperBlock, nowMs: number): void {
  const expiresMs = expiresAtMs(attributes, ttl)
  if (expiresMs !== undefined && expiresMs <= nowMs) throw expired()
}

/**
 * A needle too large to be read in one piece: its attributes, and its data block by block, each
 * compared with its checksum or made from blocks that match theirs. Nothing is held in between.
 */
export class CodedLargeNeedle implements Disposable {
  readonly attributes: NeedleAttributes
  readonly cookie: number
  readonly dataBytes: number
  readonly checksum: number
  readonly #reader: StripeReader
  readonly #dataAt: number

  private constructor(
    reader: StripeReader,
    found: {
      readonly attributes: NeedleAttributes
      readonly cookie: number
      readonly dataAt: number
      readonly dataBytes: number
      readonly checksum: number
    },
  ) {
    this.#reader = reader
    this.#dataAt = found.dataAt
    this.attributes = found.attributes
    this.cookie = found.cookie
    this.dataBytes = found.dataBytes
    this.checksum = found.checksum
  }

  /** @throws {StoreError} NEEDLE_CORRUPT, COOKIE_MISMATCH; as `StripeReader.readVerified`. */
  static async open(
    reader: StripeReader,
    { request, place, superBlock }: Found,
    signal: AbortSignal,
  ): Promise<CodedLargeNeedle> {
    const { offsetBytes, sizeBytes } = place
    const head = await reader.readVerified(offsetBytes, NEEDLE_DATA_AT, signal)
    const header = decodeNeedleHeader(head, 0)
    checkIdentity(header, request, place)
    const extent = dataExtent(viewOf(head), NEEDLE_HEADER_BYTES, sizeBytes, superBlock.version)
    const crcAt = NEEDLE_HEADER_BYTES + sizeBytes
    const tailBytes = crcAt - extent.dataEnd + NEEDLE_CHECKSUM_BYTES
    const tail = await reader.readVerified(offsetBytes + extent.dataEnd, tailBytes, signal)
    return new CodedLargeNeedle(reader, {
      attributes: decodeAttributes(tail, 0, tailBytes - NEEDLE_CHECKSUM_BYTES),
      cookie: header.cookie,
      dataAt: offsetBytes + extent.dataAt,
      dataBytes: extent.dataEnd - extent.dataAt,
      checksum: tail.readUInt32BE(tailBytes - NEEDLE_CHECKSUM_BYTES),
    })
  }

  get mayExpire(): boolean {
    return this.attributes.ttl !== undefined
  }

  /**
   * All of the data. The last piece is handed out only when the whole has matched its checksum, so
   * nobody ever holds a complete wrong copy.
   *
   * @throws {StoreError} NEEDLE_CORRUPT, SHARDS_LOST, CODEC_UNAVAILABLE, OVERLOADED, CANCELLED.
   */
  async *read(signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    let crc = 0
    let done = 0
    for await (const piece of this.#pieces({ start: 0, end: this.dataBytes }, signal)) {
      crc = crc32c(piece, crc)
      done += piece.length
      if (done === this.dataBytes && !matchesChecksum(crc, this.checksum)) {
        throw new StoreError('NEEDLE_CORRUPT', 'the data does not match its checksum')
      }
      yield piece
    }
  }

  /**
   * The bytes from `start` up to `end`. Only the blocks they lie in are read.
   *
   * @throws {StoreError} RANGE_INVALID, SHARDS_LOST, CODEC_UNAVAILABLE, OVERLOADED, CANCELLED.
   */
  async *readRange(
    range: { readonly start: number; readonly end: number },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    checkRange(range, this.dataBytes)
    yield* this.#pieces(range, signal)
  }

  /** There is nothing to let go of; other needles of this kind have something. */
  [Symbol.dispose](): void {}

  async *#pieces(
    { start, end }: { readonly start: number; readonly end: number },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    const range = { fromBytes: this.#dataAt + start, toBytes: this.#dataAt + end }
    for await (const piece of verifiedPieces(this.#reader, range, signal)) {
      if (signal.aborted) throw cancelledError(signal, 'while reading a needle')
      yield piece
    }
  }
}
