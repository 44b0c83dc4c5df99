import { INDEX_ENTRY_WIDE_BYTES } from '../format/index-entry.ts'
import { type NeedleVersion, recordBytes } from '../format/needle.ts'
import type { GrowableTable, GrowingTable } from './growing-table.ts'
import { hashNeedleId, homeSlot, SLOTS_PER_PIECE, WORD, WORDS_PER_SLOT } from './slot-table.ts'

/** Whole rows of an index file, from byte `start` up to `end` of the view. */
export interface RowRange {
  readonly view: DataView
  /** 16, or 17 with 5-byte offsets. */
  readonly rowBytes: number
  readonly start: number
  readonly end: number
}

/** Most rows that `applyRows` takes at once. */
export const ROWS_PER_BATCH = 65_536

// Not exported, see slot-table.ts.
const BATCH_ROWS = ROWS_PER_BATCH
const SLOT_WORDS = WORDS_PER_SLOT
const KEY_LO = WORD.keyLo
const KEY_HI = WORD.keyHi
const OFFSET = WORD.offset
const SIZE = WORD.size
const PIECE_SLOTS = SLOTS_PER_PIECE
const PIECE_BITS = 16
const PIECE_WORDS = PIECE_SLOTS * SLOT_WORDS

/** Rows whose cache lines are fetched before the first of them is applied. */
const ROWS_AHEAD = 256
/** In 'sorted': slot where the id is first looked for, then the four fields of the row. */
const ROW_WORDS = 5
const LO = 1
const HI = 2
const OFFSET_FIELD = 3
const SIZE_FIELD = 4
// One thread sorts one batch at a time, so there is one place to do it.
const sorted = new Int32Array(BATCH_ROWS * ROW_WORDS)

/** Written to keep the compiler from dropping reads that only fetch cache lines. */
const fetched = new Int32Array(1)

/** Byte of the first row whose 5-byte offset does not fit four bytes. */
export function firstWideRow(range: RowRange): number | undefined {
  const { view, rowBytes } = range
  if (rowBytes !== INDEX_ENTRY_WIDE_BYTES) return undefined
  for (let at = range.start; at < range.end; at += rowBytes) {
    if (view.getUint8(at + 12) !== 0) return at
  }
  return undefined
}

/**
 * Applies rows to a table that has room for all of them and that no other thread reads yet.
 *
 * Nearly all the time of a load is waiting for main memory and its page tables. So rows are sorted
 * by the piece of the table they belong to (those of one id stay in order), and in each piece the
 * cache lines of 256 rows are touched before the first is needed: such reads overlap.
 */
export function applyRows(
  growing: GrowingTable,
  table: GrowableTable,
  range: RowRange,
  version: NeedleVersion,
): { readonly inserted: number; readonly live: number; readonly liveBytes: number } {
  const count = sortRows(table, range)
  const change = { inserted: 0, live: 0, liveBytes: 0 }
  for (let first = 0; first < count; first += ROWS_AHEAD) {
    const end = Math.min(first + ROWS_AHEAD, count)
    fetchHomes(table, first, end)
    for (let next = first; next < end; ) {
      next = applySorted(table, { first: next, end }, version, change)
      if (next < end) growing.addPiece(table)
    }
  }
  return change
}

/** Counting sort by piece: one pass to count, one to put in place. Returns the number of rows. */
function sortRows(table: GrowableTable, range: RowRange): number {
  const { view, rowBytes, start, end } = range
  const { slots } = table
  const places = new Int32Array(Math.ceil(slots / PIECE_SLOTS) + 1)
  for (let at = start; at < end; at += rowBytes) {
    const slot = homeSlot(slots, hashNeedleId(view.getInt32(at), view.getInt32(at + 4)))
    const next = (slot >>> PIECE_BITS) + 1
    places[next] = (places[next] as number) + ROW_WORDS
  }
  for (let piece = 1; piece < places.length; piece++) {
    places[piece] = (places[piece] as number) + (places[piece - 1] as number)
  }
  for (let at = start; at < end; at += rowBytes) {
    const hi = view.getInt32(at)
    const lo = view.getInt32(at + 4)
    const slot = homeSlot(slots, hashNeedleId(hi, lo)) | (lo & (SLOT_WORDS - 1))
    const piece = slot >>> PIECE_BITS
    const to = places[piece] as number
    places[piece] = to + ROW_WORDS
    sorted[to] = slot
    sorted[to + LO] = lo
    sorted[to + HI] = hi
    sorted[to + OFFSET_FIELD] = view.getInt32(at + 8)
    sorted[to + SIZE_FIELD] = view.getInt32(at + rowBytes - 4)
  }
  return (end - start) / rowBytes
}

/** Touches the line where each id is at home, and the next one, where a quarter of them end up. */
function fetchHomes(table: GrowableTable, first: number, end: number): void {
  const { pieces } = table
  let word = 0
  let group = -1
  for (let row = first * ROW_WORDS; row < end * ROW_WORDS; row += ROW_WORDS) {
    const slot = sorted[row] as number
    if (slot >>> 2 === group) continue
    group = slot >>> 2
    const words = pieces[slot >>> PIECE_BITS]
    if (words === undefined) continue
    const at = (slot & (PIECE_SLOTS - 1)) * SLOT_WORDS
    word ^= (words[at] as number) ^ (words[(at + 4 * SLOT_WORDS) & (PIECE_WORDS - 1)] ?? 0)
  }
  fetched[0] = word
}

/** Stops early at a row for which there is no slot left at the end of the table. */
function applySorted(
  table: GrowableTable,
  rows: { readonly first: number; readonly end: number },
  version: NeedleVersion,
  change: { inserted: number; live: number; liveBytes: number },
): number {
  const { pieces } = table
  let { inserted, live, liveBytes } = change
  let next = rows.first
  search: for (; next < rows.end; next++) {
    const row = next * ROW_WORDS
    const slot = sorted[row] as number
    const lo = sorted[row + LO] as number
    const hi = sorted[row + HI] as number
    const offset = sorted[row + OFFSET_FIELD] as number
    const size = sorted[row + SIZE_FIELD] as number
    let index = slot >>> PIECE_BITS
    let words = pieces[index]
    let at = (slot & (PIECE_SLOTS - 1)) * SLOT_WORDS
    for (;;) {
      if (words === undefined) break search
      if (words[at + OFFSET] === 0) break
      if (words[at + KEY_LO] === lo && words[at + KEY_HI] === hi) break
      at += SLOT_WORDS
      if (at === words.length) {
        at = 0
        words = pieces[++index]
      }
    }
    const isPut = offset !== 0 && size >= 0
    if (words[at + OFFSET] === 0) {
      if (offset === 0) continue // Deletes an id never seen, and there is no tombstone to keep.
      words[at + KEY_LO] = lo
      words[at + KEY_HI] = hi
      words[at + OFFSET] = offset
      words[at + SIZE] = isPut ? size : ~0
      inserted++
    } else {
      const sizeBefore = words[at + SIZE] as number
      if (sizeBefore >= 0) {
        live--
        liveBytes -= recordBytes(sizeBefore, version)
      }
      if (isPut) words[at + OFFSET] = offset
      words[at + SIZE] = isPut ? size : sizeBefore < 0 ? sizeBefore : ~sizeBefore
    }
    if (isPut) {
      live++
      liveBytes += recordBytes(size, version)
    }
  }
  change.inserted = inserted
  change.live = live
  change.liveBytes = liveBytes
  return next
}
