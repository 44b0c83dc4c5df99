import { assert } from '../base/assert.ts'
import type { NeedleId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import { indexEntryBytes, type OffsetBytes } from '../format/index-entry.ts'
import { NEEDLE_ALIGN_BYTES, type NeedleVersion, recordBytes } from '../format/needle.ts'
import { type GrowableTable, GrowingTable, type HashSharedState } from './growing-table.ts'
import {
  type EntryVisitor,
  HighestId,
  isRecordOffset,
  isRecordSize,
  type NeedleLocation,
  type NeedleMap,
} from './needle-map.ts'
import { applyRows, firstWideRow, ROWS_PER_BATCH, type RowRange } from './row-replay.ts'
import type { SharedNeedleMap } from './shared-needle-map.ts'
import {
  fillSlot,
  findSlot,
  HASH_END,
  hashNeedleId,
  NO_SLOT,
  pieceAt,
  readEntry,
  setOffset,
  setSize,
  sizeOf,
  visitHashes,
  wordAt,
} from './slot-table.ts'

/**
 * The writable needle map: 16 bytes an entry in shared memory, 18 to 22 with the room to grow. The
 * slots are described in slot-table.ts; growing-table.ts makes more of them, a few with every
 * insert, so that none takes much longer than the others.
 *
 * One thread owns and writes the map; others may read it, through a `HashNeedleMapView`. A new
 * entry becomes visible when its offset is stored, as the last of its words. An overwrite stores
 * offset and size one after the other, so that a reader in another thread may see one of them new
 * and the other old: the header of the record it then reads does not match, and it looks again.
 */
export class HashNeedleMap implements NeedleMap {
  readonly #growing: GrowingTable
  readonly #version: NeedleVersion
  readonly #highest = new HighestId()
  #entryCount = 0
  #liveCount = 0
  #liveBytes = 0

  /** `expectedCount` entries go in without the map having to grow; it is no limit. */
  constructor(options: { readonly version: NeedleVersion; readonly expectedCount?: number }) {
    this.#growing = new GrowingTable(options.expectedCount ?? 0)
    this.#version = options.version
  }

  get entryCount(): number {
    return this.#entryCount
  }

  get liveCount(): number {
    return this.#liveCount
  }

  get liveBytes(): number {
    return this.#liveBytes
  }

  get memoryBytes(): number {
    return this.#growing.memoryBytes
  }

  get highestId(): NeedleId {
    return this.#highest.value
  }

  lookup(id: NeedleId, into: NeedleLocation): boolean {
    const hash = hashNeedleId(id.hi, id.lo)
    return readEntry(this.#growing.tableOf(hash), hash, id, into)
  }

  put(id: NeedleId, offsetBytes: number, sizeBytes: number): void {
    assert(isRecordOffset(offsetBytes), 'a needle lies at a multiple of 8 from 8 to 32 GiB')
    assert(isRecordSize(sizeBytes), 'the size of a needle is 0 to 2^31 - 1')
    this.#put(id.hi | 0, id.lo | 0, offsetBytes / NEEDLE_ALIGN_BYTES, sizeBytes)
  }

  delete(id: NeedleId, tombstoneOffsetBytes: number): boolean {
    assert(
      tombstoneOffsetBytes === 0 || isRecordOffset(tombstoneOffsetBytes),
      'a tombstone lies at a multiple of 8 below 32 GiB, or nowhere',
    )
    return this.#delete(id.hi | 0, id.lo | 0, tombstoneOffsetBytes / NEEDLE_ALIGN_BYTES)
  }

  visit(each: EntryVisitor): void {
    this.#visitHashes(0, HASH_END, each)
  }

  /**
   * Goes through the hashes in order, not through the slots: entries may move to a larger table
   * between two calls, but no entry changes its hash. The cursor is the next hash.
   */
  visitSome(cursor: number, limit: number, each: EntryVisitor): number | undefined {
    assert(cursor >= 0 && cursor < HASH_END && limit > 0, 'a cursor is a hash, a limit above 0')
    let from = cursor
    for (let left = limit; left > 0 && from < HASH_END; ) {
      const hashes = Math.ceil((HASH_END * left) / Math.max(this.#entryCount, 1))
      const to = Math.min(from + hashes, HASH_END)
      left -= this.#visitHashes(from, to, each)
      from = to
    }
    return from < HASH_END ? from : undefined
  }

  /**
   * Replays rows of an `.idx` file, faster than one `put` or `delete` each. Not to be called while
   * other threads read the map.
   *
   * @throws {StoreError} INDEX_CORRUPT: a row with a 5-byte offset points beyond 32 GiB. The rows
   * before it have been applied.
   */
  loadRows(rows: Buffer, byteLength: number, offsetBytes: OffsetBytes): void {
    const rowBytes = indexEntryBytes(offsetBytes)
    assert(byteLength <= rows.length, 'rows overrun their buffer')
    assert(byteLength % rowBytes === 0, 'a part of a row at the end')
    const view = new DataView(rows.buffer, rows.byteOffset, byteLength)
    const batchBytes = ROWS_PER_BATCH * rowBytes
    for (let at = 0; at < byteLength; at += batchBytes) {
      const range = { view, rowBytes, start: at, end: Math.min(at + batchBytes, byteLength) }
      const rowsMax = (range.end - at) / rowBytes
      const table = this.#growing.roomFor(rowsMax, this.#entryCount)
      if (table === undefined || firstWideRow(range) !== undefined) {
        this.#applyOneByOne(range)
        continue
      }
      this.#noteHighest(range)
      const change = applyRows(this.#growing, table, range, this.#version)
      this.#entryCount += change.inserted
      this.#liveCount += change.live
      this.#liveBytes += change.liveBytes
    }
  }

  /** What a `HashNeedleMapView` needs. To be asked for again when a view says it is stale. */
  sharedState(): HashSharedState {
    return this.#growing.sharedState()
  }

  share(): SharedNeedleMap {
    return { kind: 'hash', hash: this.sharedState() }
  }

  #noteHighest(range: RowRange): void {
    const { view, rowBytes, start, end } = range
    for (let at = start; at < end; at += rowBytes) {
      this.#highest.note(view.getInt32(at), view.getInt32(at + 4))
    }
  }

  /** For rows that make the map grow, or that are to be refused. */
  #applyOneByOne(range: RowRange): void {
    const { view, rowBytes } = range
    const wideAt = firstWideRow(range)
    for (let at = range.start; at < (wideAt ?? range.end); at += rowBytes) {
      const offset = view.getUint32(at + 8)
      const sizeBytes = view.getInt32(at + rowBytes - 4)
      const hi = view.getInt32(at)
      const lo = view.getInt32(at + 4)
      if (offset !== 0 && sizeBytes >= 0) this.#put(hi, lo, offset, sizeBytes)
      else this.#delete(hi, lo, offset)
    }
    if (wideAt !== undefined) {
      throw new StoreError('INDEX_CORRUPT', `offset beyond 32 GiB in the row at byte ${wideAt}`)
    }
  }

  #put(hi: number, lo: number, offset: number, sizeBytes: number): void {
    const hash = hashNeedleId(hi, lo)
    const table = this.#growing.tableOf(hash)
    const position = findSlot(table, hash, hi, lo)
    this.#liveBytes += recordBytes(sizeBytes, this.#version)
    if (position < 0) {
      this.#liveCount++
      this.#insert(table, position, { hash, hi, lo, offset, size: sizeBytes })
      return
    }
    const words = pieceAt(table, position)
    const at = wordAt(position)
    const sizeBefore = sizeOf(words, at)
    if (sizeBefore >= 0) this.#liveBytes -= recordBytes(sizeBefore, this.#version)
    else this.#liveCount++
    setOffset(words, at, offset)
    setSize(words, at, sizeBytes)
  }

  #delete(hi: number, lo: number, tombstone: number): boolean {
    const hash = hashNeedleId(hi, lo)
    const table = this.#growing.tableOf(hash)
    const position = findSlot(table, hash, hi, lo)
    if (position < 0) {
      if (tombstone !== 0) {
        this.#insert(table, position, { hash, hi, lo, offset: tombstone, size: ~0 })
      }
      return false
    }
    const words = pieceAt(table, position)
    const at = wordAt(position)
    const sizeBytes = sizeOf(words, at)
    if (sizeBytes < 0) return false
    setSize(words, at, ~sizeBytes)
    this.#liveCount--
    this.#liveBytes -= recordBytes(sizeBytes, this.#version)
    return true
  }

  /** `found` is what `findSlot` returned for an id that is not in the table. */
  #insert(
    table: GrowableTable,
    found: number,
    entry: { hash: number; hi: number; lo: number; offset: number; size: number },
  ): void {
    this.#highest.note(entry.hi, entry.lo)
    const isFull = found === NO_SLOT
    const position = isFull ? this.#growing.addSlot(table, entry.hash, entry.lo) : ~found
    fillSlot(pieceAt(table, position), wordAt(position), entry)
    this.#entryCount++
    this.#growing.noteInsert(this.#entryCount)
  }

  #visitHashes(from: number, to: number, each: EntryVisitor): number {
    const border = Math.min(Math.max(this.#growing.frontier, from), to)
    const below = { from, to: border }
    const above = { from: border, to }
    return (
      visitHashes(this.#growing.tableOf(from), below, each) +
      visitHashes(this.#growing.tableOf(border), above, each)
    )
  }
}
