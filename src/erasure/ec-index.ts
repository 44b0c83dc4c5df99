import { type NeedleId, needleIdFromBigInt, needleIdToBigInt } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import {
  decodeIndexEntry,
  INDEX_ENTRY_BYTES,
  type IndexEntry,
  isPutEntry,
} from '../format/index-entry.ts'

/**
 * The `.ecx` file of a coded volume, in memory: rows of `.idx` of the needles that lived when it
 * was coded, ids ascending, offsets those of the `.dat` that was; and what was deleted since, as
 * the `.ecj` file says. Sixteen bytes a needle.
 */
export class EcIndex {
  readonly #rows: Buffer
  readonly #deleted: Set<bigint>

  /** @throws {StoreError} INDEX_CORRUPT: no whole rows, or ids that do not ascend. */
  constructor(rows: Buffer, deleted: Iterable<NeedleId>) {
    this.#rows = rows
    this.#deleted = new Set(Array.from(deleted, needleIdToBigInt))
    checkRows(rows)
  }

  get entryCount(): number {
    return this.#rows.length / INDEX_ENTRY_BYTES
  }

  /** Of all needles that were in the volume, deleted ones too. Undefined: there were none. */
  get highestId(): NeedleId | undefined {
    const at = this.#rows.length - INDEX_ENTRY_BYTES
    return at < 0 ? undefined : decodeIndexEntry(this.#rows, at).id
  }

  /** The whole `.ecx`; not to be changed. */
  get rows(): Buffer {
    return this.#rows
  }

  /** How many ids were deleted, also such that were never in the volume. */
  get deletedCount(): number {
    return this.#deleted.size
  }

  hasDeleted(id: NeedleId): boolean {
    return this.#deleted.has(needleIdToBigInt(id))
  }

  /** Each once, in the order in which they came first. */
  deletedIds(): NeedleId[] {
    return Array.from(this.#deleted, needleIdFromBigInt)
  }

  /** The needle's place, also of one that was deleted since. Undefined: it was not there. */
  find(id: NeedleId): (IndexEntry & { readonly isDeleted: boolean }) | undefined {
    let low = 0
    let high = this.entryCount
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isBelow(this.#rows, middle, id)) low = middle + 1
      else high = middle
    }
    if (low === this.entryCount) return undefined
    const entry = decodeIndexEntry(this.#rows, low * INDEX_ENTRY_BYTES)
    if (entry.id.hi !== id.hi || entry.id.lo !== id.lo) return undefined
    const isDeleted = !isPutEntry(entry) || this.#deleted.has(needleIdToBigInt(id))
    return { ...entry, isDeleted }
  }

  /** After the deletion is durable in `.ecj`. */
  delete(id: NeedleId): void {
    this.#deleted.add(needleIdToBigInt(id))
  }

  /** Those that live, ids ascending. */
  *live(): Generator<IndexEntry> {
    for (let at = 0; at < this.#rows.length; at += INDEX_ENTRY_BYTES) {
      const entry = decodeIndexEntry(this.#rows, at)
      if (isPutEntry(entry) && !this.#deleted.has(needleIdToBigInt(entry.id))) yield entry
    }
  }
}

function checkRows(rows: Buffer): void {
  if (rows.length % INDEX_ENTRY_BYTES !== 0) {
    throw new StoreError('INDEX_CORRUPT', `.ecx of ${rows.length} bytes has no whole rows`)
  }
  const last = { hi: -1, lo: 0 }
  for (let at = 0; at < rows.length; at += INDEX_ENTRY_BYTES) {
    const hi = rows.readUInt32BE(at)
    const lo = rows.readUInt32BE(at + 4)
    if (hi < last.hi || (hi === last.hi && lo <= last.lo)) {
      const row = at / INDEX_ENTRY_BYTES
      throw new StoreError('INDEX_CORRUPT', `row ${row} of .ecx is not above the one before`)
    }
    last.hi = hi
    last.lo = lo
  }
}

function isBelow(rows: Buffer, row: number, id: NeedleId): boolean {
  const at = row * INDEX_ENTRY_BYTES
  const hi = rows.readUInt32BE(at)
  return hi < id.hi || (hi === id.hi && rows.readUInt32BE(at + 4) < id.lo)
}
