import type { NeedleId } from '../base/ids.ts'
import { NEEDLE_ALIGN_BYTES } from '../format/needle.ts'
import type { EntryVisitor, NeedleLocation } from './needle-map.ts'

/**
 * A hash table in shared memory with linear probing. A slot is four 32-bit words, a quarter of a
 * cache line, and is empty when its offset is 0:
 *
 *     | id, low half | id, high half | offset in 8-byte units | size, or ~size when deleted |
 *
 * The slots lie in pieces of 1 MiB: pieces are what a growing table gives back and takes again, as
 * freed shared memory puts no pressure on the garbage collector and would stay for minutes. A table
 * smaller than a piece has a shorter one. Probing runs from piece to piece and never wraps around;
 * a cluster that reaches past the last slot goes on in what is left of the last piece, or in one
 * more piece. So slots are in the order of hashes, except within a cluster.
 *
 * Four neighbouring ids have one hash and share a home group, one cache line, because ids are
 * mostly handed out in sequence. Slots only ever fill up: nothing is removed.
 */
export interface SlotTable {
  /** Slots where an id can be at home: a multiple of 4. */
  readonly slots: number
  /** In order; undefined where everything has moved to a larger table. */
  readonly pieces: (Int32Array | undefined)[]
}

// Not exported: the compiler takes an exported constant for a variable and reads it every time,
// which made a lookup half as slow again. What others need of them has a second name.
const SLOT_WORDS = 4
const KEY_LO = 0
const KEY_HI = 1
const OFFSET = 2
const SIZE = 3
const HASHES = 2 ** 32
const OFFSET_UNIT_BYTES = NEEDLE_ALIGN_BYTES
/** Bits that are set in the word of the last slot of a group, and only there. */
const GROUP_END = (SLOT_WORDS - 1) * SLOT_WORDS
const MISSING = -(2 ** 31)

const PIECE_BITS = 16
const PIECE_SLOTS = 2 ** PIECE_BITS
const PIECE_WORDS = PIECE_SLOTS * SLOT_WORDS
/**
 * A position is a 31-bit number: the piece above, the word within the piece in the lower 18 bits.
 */
const POSITION_BITS = PIECE_BITS + 2
/**
 * Of 2^13 pieces, 8 GiB: 500 million entries, while 32 GiB hold half as many records of 128 bytes.
 */
export const PIECES_MAX = 2 ** (31 - POSITION_BITS)
export const SLOTS_PER_PIECE = PIECE_SLOTS
export const WORDS_PER_SLOT = SLOT_WORDS
export const WORD = { keyLo: KEY_LO, keyHi: KEY_HI, offset: OFFSET, size: SIZE } as const
export const HASH_END = HASHES
/** Neither the id nor an empty slot is in the table. */
export const NO_SLOT = MISSING

/**
 * Hash of an id's upper 62 bits. Two such halves of 31 bits each would not fit: ids whose upper 30
 * bits agree never collide.
 */
export function hashNeedleId(hi: number, lo: number): number {
  let upper = Math.imul(hi >>> 2, 0x2c1b3c6d)
  upper = Math.imul(upper ^ (upper >>> 15), 0x297a2d39)
  let hash = ((lo >>> 2) | (hi << 30)) ^ upper ^ (upper >>> 15)
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d)
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** First slot of the four where ids with this hash belong. Never falls as the hash rises. */
export function homeSlot(slots: number, hash: number): number {
  return ((hash * (slots / (HASHES * SLOT_WORDS))) | 0) * SLOT_WORDS
}

/** The lowest hash that is at home at `slot`, the first of a group, or behind it. */
export function firstHashAt(slots: number, slot: number): number {
  let hash = Math.min(Math.round(slot * (HASH_END / slots)), HASH_END)
  while (hash > 0 && homeSlot(slots, hash - 1) >= slot) hash--
  while (hash < HASHES && homeSlot(slots, hash) < slot) hash++
  return hash
}

export function pieceAt(table: SlotTable, position: number): Int32Array {
  return table.pieces[position >>> POSITION_BITS] as Int32Array
}

export function wordAt(position: number): number {
  return position & (PIECE_WORDS - 1)
}

/** Size of the entry, or its complement when it is deleted. */
export function sizeOf(words: Int32Array, at: number): number {
  return words[at + SIZE] as number
}

export function setSize(words: Int32Array, at: number, size: number): void {
  words[at + SIZE] = size
}

export function setOffset(words: Int32Array, at: number, offset: number): void {
  words[at + OFFSET] = offset
}

/** Readers in other threads take the slot for empty until its offset is there. */
export function fillSlot(
  words: Int32Array,
  at: number,
  entry: {
    readonly hi: number
    readonly lo: number
    readonly offset: number
    readonly size: number
  },
): void {
  words[at + KEY_LO] = entry.lo
  words[at + KEY_HI] = entry.hi
  words[at + SIZE] = entry.size
  Atomics.store(words, at + OFFSET, entry.offset | 0)
}

/**
 * Copies the entries of a piece, from word `start` on, into a larger table which must not have
 * them. Stops after `slotsMin` slots, as soon as a cluster has ended: all that is at home before
 * the word returned lies before it. At the end of the piece a cluster may go on. Returns the
 * complement (negative) of the word of an entry for which the target has no slot.
 */
export function copyClusters(
  source: Int32Array,
  start: number,
  target: SlotTable,
  slotsMin: number,
): number {
  const atMin = start + slotsMin * SLOT_WORDS
  for (let at = start; at < source.length; at += SLOT_WORDS) {
    const offset = source[at + OFFSET] as number
    if (offset === 0) {
      // Homes are groups of four: only behind a group can a cluster be told to have ended.
      const isGroupEnd = (at & GROUP_END) === GROUP_END
      if (isGroupEnd && at >= atMin) return at + SLOT_WORDS
      continue
    }
    const lo = source[at + KEY_LO] as number
    const hi = source[at + KEY_HI] as number
    const position = findEmptySlot(target, hashNeedleId(hi, lo), lo)
    if (position === MISSING) return ~at
    const words = target.pieces[position >>> POSITION_BITS] as Int32Array
    const to = position & (PIECE_WORDS - 1)
    words[to + KEY_LO] = lo
    words[to + KEY_HI] = hi
    words[to + SIZE] = source[at + SIZE] as number
    words[to + OFFSET] = offset
  }
  return source.length
}

/** Looks an id up; fills `into` and returns true when it is there. */
export function readEntry(
  table: SlotTable,
  hash: number,
  id: NeedleId,
  into: NeedleLocation,
): boolean {
  const { pieces } = table
  const keyHi = id.hi | 0
  const keyLo = id.lo | 0
  const slot = homeSlot(table.slots, hash) | (keyLo & (SLOT_WORDS - 1))
  let index = slot >>> PIECE_BITS
  let at = (slot & (PIECE_SLOTS - 1)) * SLOT_WORDS
  let words = pieces[index]
  while (words !== undefined) {
    if (words[at + KEY_LO] === keyLo && words[at + KEY_HI] === keyHi) {
      const offset = words[at + OFFSET] as number
      if (offset === 0) return false
      const size = words[at + SIZE] as number
      into.offsetBytes = (offset >>> 0) * OFFSET_UNIT_BYTES
      into.sizeBytes = size < 0 ? ~size : size
      into.isDeleted = size < 0
      return true
    }
    if (words[at + OFFSET] === 0) return false
    at += SLOT_WORDS
    if (at === words.length) {
      at = 0
      words = pieces[++index]
    }
  }
  return false
}

/**
 * Position of the id, or the complement (negative) of the position of the empty slot where it is to
 * be inserted. `NO_SLOT` when the pieces end before either. The halves of the id as signed numbers.
 */
export function findSlot(table: SlotTable, hash: number, hi: number, lo: number): number {
  const { pieces } = table
  const slot = homeSlot(table.slots, hash) | (lo & (SLOT_WORDS - 1))
  let index = slot >>> PIECE_BITS
  let at = (slot & (PIECE_SLOTS - 1)) * SLOT_WORDS
  let words = pieces[index]
  while (words !== undefined) {
    if (words[at + OFFSET] === 0) return ~((index << POSITION_BITS) | at)
    if (words[at + KEY_LO] === lo && words[at + KEY_HI] === hi) return (index << POSITION_BITS) | at
    at += SLOT_WORDS
    if (at === words.length) {
      at = 0
      words = pieces[++index]
    }
  }
  return MISSING
}

/**
 * Position of the first empty slot for an id that is known not to be in the table; or `NO_SLOT`.
 */
export function findEmptySlot(table: SlotTable, hash: number, lo: number): number {
  const { pieces } = table
  const slot = homeSlot(table.slots, hash) | (lo & (SLOT_WORDS - 1))
  let index = slot >>> PIECE_BITS
  let at = (slot & (PIECE_SLOTS - 1)) * SLOT_WORDS
  let words = pieces[index]
  while (words !== undefined) {
    if (words[at + OFFSET] === 0) return (index << POSITION_BITS) | at
    at += SLOT_WORDS
    if (at === words.length) {
      at = 0
      words = pieces[++index]
    }
  }
  return MISSING
}

/** Shows every entry whose hash is from `from` up to `to`, and returns how many there were. */
export function visitHashes(
  table: SlotTable,
  range: { readonly from: number; readonly to: number },
  each: EntryVisitor,
): number {
  const { from, to } = range
  if (from >= to) return 0
  const slot = homeSlot(table.slots, from)
  // Behind the last group of homes, the first empty slot ends the last cluster.
  const slotLast = homeSlot(table.slots, to - 1) + SLOT_WORDS - 1
  const indexLast = slotLast >>> PIECE_BITS
  const atLast = (slotLast & (PIECE_SLOTS - 1)) * SLOT_WORDS
  let at = (slot & (PIECE_SLOTS - 1)) * SLOT_WORDS
  let count = 0
  for (let index = slot >>> PIECE_BITS; index < table.pieces.length; index++) {
    const words = table.pieces[index]
    if (words === undefined) break
    for (; at < words.length; at += SLOT_WORDS) {
      if (words[at + OFFSET] === 0) {
        if (index > indexLast || (index === indexLast && at >= atLast)) return count
        continue
      }
      const hash = hashNeedleId(words[at + KEY_HI] as number, words[at + KEY_LO] as number)
      if (hash < from || hash >= to) continue
      showEntry(words, at, each)
      count++
    }
    at = 0
  }
  return count
}

function showEntry(words: Int32Array, at: number, each: EntryVisitor): void {
  const size = words[at + SIZE] as number
  each(
    (words[at + KEY_HI] as number) >>> 0,
    (words[at + KEY_LO] as number) >>> 0,
    ((words[at + OFFSET] as number) >>> 0) * OFFSET_UNIT_BYTES,
    size < 0 ? ~size : size,
    size < 0,
  )
}
