import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import { decodeNeedle, type Needle, recordBytes, viewOf } from '../format/needle.ts'
import {
  checkIdentity,
  expired,
  expiresAtMs,
  type NeedleRequest,
  notFound,
} from '../format/needle-checks.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Generation } from './generation.ts'
import type { NeedleLocation, NeedleMap } from './needle-map.ts'
import { LargeNeedle } from './needle-reader.ts'
import { type ReadBuffer, ReadSlab } from './read-buffer.ts'
import { SyncReads } from './sync-reads.ts'

export interface ReadRequest extends NeedleRequest {
  /** Also read what was deleted, until a vacuum removes it. */
  readonly readDeleted?: boolean
  /** A longer record is not read whole; `LIMITS.wholeReadMax` unless given. */
  readonly wholeBytesMax?: number
}

/** What is read from: a generation, or the view of one that another thread owns. */
export interface ReadSource
  extends Pick<
    Generation,
    'superBlock' | 'version' | 'dat' | 'warm' | 'retain' | 'openLarge' | 'checkBlocks'
  > {
  readonly map: Pick<NeedleMap, 'lookup'>
}

/**
 * Finds and reads needles: one lookup, one read, then header, cookie, checksum and time to live are
 * checked. Map and files are taken from one generation in one turn, so a vacuum in between does no
 * harm.
 */
export class VolumeReader {
  readonly #clock: Clock
  readonly #sync: SyncReads
  readonly #logger: Logger
  readonly #base: string
  readonly #location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  readonly #slab = new ReadSlab()

  constructor(parts: { readonly clock: Clock; readonly logger: Logger }, base: string) {
    this.#clock = parts.clock
    this.#sync = new SyncReads(parts.clock)
    this.#logger = parts.logger
    this.#base = base
  }

  /** As `Volume.readWarm`. */
  readWarm(
    generation: ReadSource,
    request: ReadRequest,
    into: ReadBuffer | undefined,
  ): Needle | undefined {
    const location = this.#locate(generation, request)
    const { offsetBytes } = location
    const length = recordBytes(location.sizeBytes, generation.version)
    if (length > LIMITS.syncReadMax.value) return undefined
    if (!generation.warm.isWarm(offsetBytes, offsetBytes + length)) return undefined
    const isRoomy = into !== undefined && length <= into.bytes.length
    const { bytes, view } = isRoomy ? into : this.#slab.take(length)
    const at = isRoomy ? 0 : this.#slab.at
    const got = this.#sync.read(generation.dat, generation.warm, bytes, at, length, offsetBytes)
    const needle = this.#check(generation, request, location, bytes, view, at, at + got)
    return needle.isDoubtful ? undefined : needle
  }

  /** As `Volume.read`. */
  async read(generation: ReadSource, request: ReadRequest): Promise<Needle | LargeNeedle> {
    const location = { ...this.#locate(generation, request) }
    const { offsetBytes } = location
    const length = recordBytes(location.sizeBytes, generation.version)
    if (length > (request.wholeBytesMax ?? LIMITS.wholeReadMax.value)) {
      return this.#checkExpiry(generation, await generation.openLarge(request, location))
    }
    using _held = generation.retain()
    const record = Buffer.allocUnsafe(length)
    const got = await generation.dat.read(record, 0, length, offsetBytes)
    generation.warm.warm(offsetBytes, offsetBytes + length)
    const needle = this.#check(generation, request, location, record, viewOf(record), 0, got)
    if (needle.isDoubtful) await this.#checkBlocks(generation, offsetBytes, length)
    return needle
  }

  async #checkBlocks(generation: ReadSource, offsetBytes: number, length: number): Promise<void> {
    try {
      await generation.checkBlocks(offsetBytes, offsetBytes + length)
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_CORRUPT')) this.#logCorrupt(offsetBytes, error.message)
      throw error
    }
  }

  #logCorrupt(offsetBytes: number, why: string): void {
    this.#logger.error('volume.needle_corrupt', { volume: this.#base, offsetBytes, why })
  }

  #locate(generation: ReadSource, request: ReadRequest): NeedleLocation {
    const location = this.#location
    if (!generation.map.lookup(request.id, location)) throw notFound(request.id)
    // A deleted entry of size 0 is a tombstone that outlived its needle.
    const isGone = location.isDeleted && !(request.readDeleted && location.sizeBytes > 0)
    if (isGone) throw notFound(request.id)
    return location
  }

  /** Positional, without objects in between: this runs for every read. */
  #check(
    generation: ReadSource,
    request: ReadRequest,
    location: NeedleLocation,
    bytes: Buffer,
    view: DataView,
    at: number,
    end: number,
  ): Needle {
    try {
      const needle = decodeNeedle(bytes, at, generation.superBlock.version, end, view)
      const isRight = needle.hasId(request.id) && needle.sizeBytes === location.sizeBytes
      if (!isRight || needle.cookie !== request.cookie) checkIdentity(needle, request, location)
      return this.#checkExpiry(generation, needle)
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_CORRUPT')) {
        this.#logCorrupt(location.offsetBytes, error.message)
      }
      throw error
    }
  }

  #checkExpiry<Found extends Needle | LargeNeedle>(generation: ReadSource, found: Found): Found {
    const { ttl } = generation.superBlock
    if (!found.mayExpire && ttl.count === 0) return found
    const attributes = found instanceof LargeNeedle ? found.attributes : found.attributes()
    const expiresMs = expiresAtMs(attributes, ttl)
    if (expiresMs === undefined || expiresMs > this.#clock.nowMs()) return found
    if (found instanceof LargeNeedle) found[Symbol.dispose]()
    throw expired()
  }
}
