import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import {
  dataExtent,
  decodeNeedleHeader,
  matchesChecksum,
  NEEDLE_CHECKSUM_BYTES,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  viewOf,
} from '../format/needle.ts'
import { decodeAttributes, type NeedleAttributes } from '../format/needle-attributes.ts'
import {
  checkIdentity,
  checkRange,
  corruptNeedle,
  type NeedleRequest,
} from '../format/needle-checks.ts'
import type { BufferShelf, LentBytes } from '../runtime/buffer-shelf.ts'
import { type DiskFile, readFully } from '../runtime/disk.ts'
import { readAhead } from '../runtime/read-ahead.ts'
import type { Generation } from './generation.ts'
import type { NeedleLocation } from './needle-map.ts'

/**
 * A needle too large to be read in one piece: its attributes, and its data piece by piece. Dispose
 * of it when done; until then a vacuum keeps the old files open for it.
 */
export class LargeNeedle implements Disposable {
  readonly attributes: NeedleAttributes
  readonly cookie: number
  readonly dataBytes: number
  readonly checksum: number
  readonly #generation: Generation
  readonly #dat: DiskFile
  readonly #dataAt: number
  readonly #held: Disposable

  private constructor(
    generation: Generation,
    held: Disposable,
    found: {
      attributes: NeedleAttributes
      cookie: number
      dataAt: number
      dataBytes: number
      checksum: number
    },
  ) {
    this.#generation = generation
    this.#dat = generation.dat
    this.#held = held
    this.#dataAt = found.dataAt
    this.attributes = found.attributes
    this.cookie = found.cookie
    this.dataBytes = found.dataBytes
    this.checksum = found.checksum
  }

  /** @throws {StoreError} NEEDLE_CORRUPT, COOKIE_MISMATCH. */
  static async open(
    generation: Generation,
    request: NeedleRequest,
    location: NeedleLocation,
  ): Promise<LargeNeedle> {
    const held = generation.retain()
    try {
      const { offsetBytes, sizeBytes } = location
      const head = await readFully(generation.dat, NEEDLE_DATA_AT, offsetBytes)
      const header = decodeNeedleHeader(head, 0)
      checkIdentity(header, request, location)
      const extent = dataExtent(viewOf(head), NEEDLE_HEADER_BYTES, sizeBytes, generation.version)
      const bodyEnd = NEEDLE_HEADER_BYTES + sizeBytes
      const tailBytes = bodyEnd - extent.dataEnd + NEEDLE_CHECKSUM_BYTES
      const tail = await readFully(generation.dat, tailBytes, offsetBytes + extent.dataEnd)
      if (tail.length < tailBytes) {
        throw corruptNeedle(request.id, 'its record runs past the end of .dat')
      }
      return new LargeNeedle(generation, held, {
        attributes: decodeAttributes(tail, 0, tail.length - NEEDLE_CHECKSUM_BYTES),
        cookie: header.cookie,
        dataAt: offsetBytes + extent.dataAt,
        dataBytes: extent.dataEnd - extent.dataAt,
        checksum: tail.readUInt32BE(tail.length - NEEDLE_CHECKSUM_BYTES),
      })
    } catch (error) {
      held[Symbol.dispose]()
      throw error
    }
  }

  get mayExpire(): boolean {
    return this.attributes.ttl !== undefined
  }

  /**
   * All of the data. The last piece is handed out only when the whole has matched its checksum, so
   * nobody ever holds a complete wrong copy.
   *
   * @throws {StoreError} NEEDLE_CORRUPT, CANCELLED.
   */
  async *read(signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    let crc = 0
    for (let done = 0; done < this.dataBytes; ) {
      throwIfAborted(signal)
      const length = Math.min(LIMITS.streamPiece.value, this.dataBytes - done)
      const piece = await readFully(this.#dat, length, this.#dataAt + done)
      if (piece.length < length) throw new StoreError('NEEDLE_CORRUPT', '.dat ends within a needle')
      crc = crc32c(piece, crc)
      done += length
      if (done === this.dataBytes && !matchesChecksum(crc, this.checksum)) {
        throw new StoreError('NEEDLE_CORRUPT', 'the data does not match its checksum')
      }
      yield piece
    }
  }

  /**
   * As `read`, in memory that is used again, a piece ahead: whoever takes a piece releases it once
   * its bytes are on their way. Those that nobody takes are released here.
   */
  async *lend(shelf: BufferShelf, signal: AbortSignal): AsyncGenerator<LentBytes, void, undefined> {
    let crc = 0
    let done = 0
    const range = { fromBytes: this.#dataAt, toBytes: this.#dataAt + this.dataBytes }
    for await (const piece of readAhead(this.#dat, range, shelf)) {
      crc = crc32c(piece.bytes, crc)
      done += piece.bytes.length
      if (done === this.dataBytes && !matchesChecksum(crc, this.checksum)) {
        piece.release()
        throw new StoreError('NEEDLE_CORRUPT', 'the data does not match its checksum')
      }
      yield piece
      throwIfAborted(signal)
    }
  }

  /**
   * The bytes from `start` up to `end`. Each piece is checked against the block checksums of the
   * volume, because the needle's own covers only the whole.
   *
   * @throws {StoreError} NEEDLE_CORRUPT, RANGE_INVALID, CANCELLED.
   */
  async *readRange(
    range: { readonly start: number; readonly end: number },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    checkRange(range, this.dataBytes)
    let at = this.#dataAt + range.start
    const end = this.#dataAt + range.end
    while (at < end) {
      throwIfAborted(signal)
      const piece = await this.#readBlock(at, end)
      yield piece
      at += piece.length
    }
  }

  [Symbol.dispose](): void {
    this.#held[Symbol.dispose]()
  }

  async #readBlock(at: number, end: number): Promise<Buffer> {
    const index = Math.floor(at / this.#generation.checksums.blockBytes)
    const { startBytes, bytes } = await this.#generation.readBlock(index)
    return bytes.subarray(at - startBytes, end - startBytes)
  }
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new StoreError('CANCELLED', 'the read was cancelled')
}
