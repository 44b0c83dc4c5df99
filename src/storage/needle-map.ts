import type { NeedleId } from '../base/ids.ts'
import { NEEDLE_ALIGN_BYTES } from '../format/needle.ts'
import type { SharedNeedleMap } from './shared-needle-map.ts'

/**
 * Filled in by a lookup: callers keep one and pass it again, so that a lookup allocates nothing.
 */
export interface NeedleLocation {
  offsetBytes: number
  sizeBytes: number
  isDeleted: boolean
}

/** Called once for every entry; the id comes as unsigned 32-bit halves. */
export type EntryVisitor = (
  hi: number,
  lo: number,
  offsetBytes: number,
  sizeBytes: number,
  isDeleted: boolean,
) => void

/** The entries of a map, countable and walkable: all that building another map from it needs. */
export interface NeedleEntries {
  /** Live and deleted entries. */
  readonly entryCount: number

  /** As `NeedleMap.lookup`. */
  lookup(id: NeedleId, into: NeedleLocation): boolean

  /** As `NeedleMap.visitSome`. */
  visitSome(cursor: number, limit: number, each: EntryVisitor): number | undefined
}

/**
 * Where each needle of one volume lies. Offsets are multiples of 8 above 0 and below 32 GiB, sizes
 * are the Size field of the record.
 */
export interface NeedleMap extends NeedleEntries {
  readonly liveCount: number
  /** What the records of all live needles take on disk, padding included. Exact. */
  readonly liveBytes: number
  /** Memory this map holds, without the fixed cost of its few objects. */
  readonly memoryBytes: number
  /** No entry, live or deleted, has a higher id. 0 when there is none. */
  readonly highestId: NeedleId

  /**
   * False when this id was never seen; `into` is then unchanged. A deleted needle is found, with
   * the offset and size it had, so that what was deleted can still be read until it is vacuumed.
   */
  lookup(id: NeedleId, into: NeedleLocation): boolean

  /** Inserts or overwrites; a deleted needle lives again. */
  put(id: NeedleId, offsetBytes: number, sizeBytes: number): void

  /**
   * Marks a needle deleted; true when it was live. An id never seen is remembered as deleted, with
   * the place of its tombstone and size 0, unless that place is 0: then there is nothing to keep.
   */
  delete(id: NeedleId, tombstoneOffsetBytes: number): boolean

  /** Shows every entry once, in no particular order. `each` must not change the map. */
  visit(each: EntryVisitor): void

  /** For a reader in another thread; see `viewNeedleMap`. */
  share(): SharedNeedleMap

  /**
   * Shows some entries and says where to go on; undefined when all were shown. Starts at cursor 0
   * and stops soon after `limit` entries, so that a long walk can give way to other work. Entries
   * that are there from the first to the last call are shown exactly once, whatever was put or
   * deleted between the calls; entries that came in between are shown at most once.
   */
  visitSome(cursor: number, limit: number, each: EntryVisitor): number | undefined
}

/** Collects the highest of many ids. */
export class HighestId {
  #hi = 0
  #lo = 0

  /** Halves may be signed or unsigned. */
  note(hi: number, lo: number): void {
    const high = hi >>> 0
    const low = lo >>> 0
    if (high < this.#hi || (high === this.#hi && low <= this.#lo)) return
    this.#hi = high
    this.#lo = low
  }

  get value(): NeedleId {
    return { hi: this.#hi, lo: this.#lo }
  }
}

/** True for what a map can hold as the place of a record: a multiple of 8 below 32 GiB, not 0. */
export function isRecordOffset(offsetBytes: number): boolean {
  const units = offsetBytes / NEEDLE_ALIGN_BYTES
  return units > 0 && units === units >>> 0
}

/** True for what a map can hold as a size: it keeps deleted ones as the complement, below zero. */
export function isRecordSize(sizeBytes: number): boolean {
  return sizeBytes >= 0 && sizeBytes === (sizeBytes | 0)
}
