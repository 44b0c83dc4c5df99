import { NEEDLE_ALIGN_BYTES } from '../format/needle.ts'
import type { EntryVisitor } from './needle-map.ts'

/**
 * Entries of a sealed volume, sorted by id, in 12 bytes each:
 *
 *     | id bits 'below', then the size, in 64 bits: high word, low word | offset in 8-byte units |
 *
 * What is left of an id after subtracting the smallest one is cut in two: the upper bits choose a
 * bucket, the lower ones ('below') stay in the entry. Buckets hold 10 to 20 entries if ids are
 * spread evenly, so `below` is short and leaves room for the size; a size that does not fit is all
 * ones, and the real one is in a list of exceptions. In 32 GiB there cannot be many of those: with
 * ten million random ids, sizes from 1 MiB up are exceptions, at most 32 thousand.
 */
export interface PackedEntries {
  readonly count: number
  /** Smallest id, and the largest less the smallest. */
  readonly firstHi: number
  readonly firstLo: number
  readonly rangeHi: number
  readonly rangeLo: number
  /** Bits of the id that stay in the entry, 0 to 64. */
  readonly belowBits: number
  /** Bits of the size in the entry, 0 to 31. */
  readonly sizeBits: number
  /** Masks of these bits, as signed words, and 2 to the power of -belowBits: for speed. */
  readonly belowMaskHi: number
  readonly belowMaskLo: number
  readonly sizeMask: number
  readonly belowScale: number
  /** Where each bucket starts, and at last where the last one ends. */
  readonly starts: Uint32Array
  readonly words: Uint32Array
  /** Entries whose size is elsewhere, in order, and these sizes. */
  readonly exceptions: Uint32Array
  readonly exceptionSizes: Uint32Array
}

// Not exported: the compiler reads an exported constant from memory every time.
const ENTRY_WORDS = 3
const HIGH = 0
const LOW = 1
const OFFSET = 2
const TWO_32 = 2 ** 32
const OFFSET_UNIT_BYTES = NEEDLE_ALIGN_BYTES
/** So many neighbours of the estimated place are tried before the rest is cut in halves. */
const NEIGHBOURS_MAX = 6
const ENTRIES_PER_BUCKET_MIN = 10
const SIZE_BITS_MAX = 31

export const WORDS_PER_ENTRY = ENTRY_WORDS

/** How ids from `first` to `last` are cut. */
export type PackedLayout = Omit<
  PackedEntries,
  'count' | 'starts' | 'words' | 'exceptions' | 'exceptionSizes'
>

export function packedLayout(
  count: number,
  first: { readonly hi: number; readonly lo: number },
  last: { readonly hi: number; readonly lo: number },
): PackedLayout {
  const isBorrowing = last.lo < first.lo
  const rangeHi = last.hi - first.hi - (isBorrowing ? 1 : 0)
  const rangeLo = last.lo - first.lo + (isBorrowing ? TWO_32 : 0)
  // Few enough that their starts take at most 0.4 bytes an entry.
  const bucketsMax = Math.max(Math.floor(count / ENTRIES_PER_BUCKET_MIN), 1)
  let belowBits = 0
  while (topBits(rangeHi, rangeLo, belowBits) >= bucketsMax) belowBits++
  const sizeBits = Math.min(64 - belowBits, SIZE_BITS_MAX)
  return {
    firstHi: first.hi,
    firstLo: first.lo,
    rangeHi,
    rangeLo,
    belowBits,
    sizeBits,
    belowMaskHi: lowMask(belowBits - 32),
    belowMaskLo: lowMask(belowBits),
    sizeMask: lowMask(sizeBits),
    belowScale: 2 ** -belowBits,
  }
}

export function bucketCount(layout: PackedLayout): number {
  return topBits(layout.rangeHi, layout.rangeLo, layout.belowBits) + 1
}

/** The bucket of an id; -1 for one below the first or above the last id of the layout. */
export function bucketOf(layout: PackedLayout, hi: number, lo: number): number {
  const isBorrowing = lo < layout.firstLo
  const restHi = hi - layout.firstHi - (isBorrowing ? 1 : 0)
  const restLo = (lo - layout.firstLo) >>> 0
  if (restHi < 0 || restHi > layout.rangeHi) return -1
  if (restHi === layout.rangeHi && restLo > layout.rangeLo) return -1
  const { belowBits } = layout
  if (belowBits < 32) return ((restHi << (32 - belowBits)) | (restLo >>> belowBits)) >>> 0
  return belowBits === 64 ? 0 : restHi >>> (belowBits - 32)
}

/** Writes an entry; of a size that does not fit only that it does not. */
export function writePacked(
  layout: PackedLayout,
  words: Uint32Array,
  index: number,
  entry: { hi: number; lo: number; offsetBytes: number; sizeBytes: number },
): void {
  const { sizeBits } = layout
  const isBorrowing = entry.lo < layout.firstLo
  const restHi = entry.hi - layout.firstHi - (isBorrowing ? 1 : 0)
  const restLo = (entry.lo - layout.firstLo) >>> 0
  const belowHi = restHi & layout.belowMaskHi
  const belowLo = restLo & layout.belowMaskLo
  const at = index * ENTRY_WORDS
  words[at + HIGH] = highWord(belowHi, belowLo, sizeBits)
  words[at + LOW] = (belowLo << sizeBits) | Math.min(entry.sizeBytes, layout.sizeMask)
  words[at + OFFSET] = entry.offsetBytes / OFFSET_UNIT_BYTES
}

/** Index of the entry of an id, or -1. */
export function findPacked(packed: PackedEntries, hi: number, lo: number): number {
  const { sizeBits, words, starts } = packed
  const bucket = bucketOf(packed, hi, lo)
  if (bucket < 0) return -1
  const isBorrowing = lo < packed.firstLo
  const restHi = hi - packed.firstHi - (isBorrowing ? 1 : 0)
  const restLo = (lo - packed.firstLo) >>> 0
  const belowHi = (restHi & packed.belowMaskHi) >>> 0
  const belowLo = (restLo & packed.belowMaskLo) >>> 0
  const high = highWord(belowHi, belowLo, sizeBits)
  const low = ((belowLo << sizeBits) >>> 0) >>> sizeBits
  let first = starts[bucket] as number
  let end = starts[bucket + 1] as number
  const share = (belowHi * TWO_32 + belowLo) * packed.belowScale
  let index = first + Math.floor((end - first) * share)
  if (index >= end) index = end - 1 // The share of the very last id is rounded up to 1.
  for (let tried = 0; first < end; tried++) {
    const at = index * ENTRY_WORDS
    const entryHigh = words[at + HIGH] as number
    const entryLow = (words[at + LOW] as number) >>> sizeBits
    if (entryHigh === high && entryLow === low) return index
    const isBefore = entryHigh < high || (entryHigh === high && entryLow < low)
    if (isBefore) first = index + 1
    else end = index
    if (tried >= NEIGHBOURS_MAX) index = (first + end) >>> 1
    else index = isBefore ? first : end - 1
  }
  return -1
}

export function packedOffset(packed: PackedEntries, index: number): number {
  return (packed.words[index * ENTRY_WORDS + OFFSET] as number) * OFFSET_UNIT_BYTES
}

export function packedSize(packed: PackedEntries, index: number): number {
  const mask = packed.sizeMask
  const size = (packed.words[index * ENTRY_WORDS + LOW] as number) & mask
  return size === mask ? exceptionSize(packed, index) : size
}

/** True when the size of an entry does not fit it. */
export function isException(packed: PackedLayout, words: Uint32Array, index: number): boolean {
  const mask = packed.sizeMask
  return ((words[index * ENTRY_WORDS + LOW] as number) & mask) === mask
}

/** Shows the ids of the entries from `start` up to `end` of a map that need not be complete. */
export function visitPacked(
  packed: PackedEntries,
  range: { readonly start: number; readonly end: number },
  isDeleted: (index: number) => boolean,
  each: EntryVisitor,
): void {
  const id = { hi: 0, lo: 0 }
  let bucket = bucketAt(packed, range.start)
  for (let index = range.start; index < range.end; index++) {
    while ((packed.starts[bucket + 1] as number) <= index) bucket++
    readPackedId(packed, bucket, index, id)
    each(id.hi, id.lo, packedOffset(packed, index), packedSize(packed, index), isDeleted(index))
  }
}

/** The last bucket that starts at or before an entry. */
export function bucketAt(packed: Pick<PackedEntries, 'starts'>, index: number): number {
  const { starts } = packed
  let low = 0
  let high = starts.length - 1
  while (low + 1 < high) {
    const middle = (low + high) >>> 1
    if ((starts[middle] as number) <= index) low = middle
    else high = middle
  }
  return low
}

/** Puts the id of an entry together again from its bucket and what the entry holds of it. */
export function readPackedId(
  packed: PackedLayout & Pick<PackedEntries, 'words'>,
  bucket: number,
  index: number,
  into: { hi: number; lo: number },
): void {
  const { belowBits, sizeBits, words } = packed
  const high = words[index * ENTRY_WORDS + HIGH] as number
  const low = words[index * ENTRY_WORDS + LOW] as number
  let restHi = high >>> sizeBits
  let restLo = ((high << 1) << (31 - sizeBits)) | (low >>> sizeBits)
  if (belowBits >= 32) {
    restHi |= bucket << (belowBits - 32)
  } else {
    restHi |= (bucket >>> 1) >>> (31 - belowBits)
    restLo |= bucket << belowBits
  }
  const lo = packed.firstLo + (restLo >>> 0)
  into.lo = lo >>> 0
  into.hi = packed.firstHi + (restHi >>> 0) + (lo >= TWO_32 ? 1 : 0)
}

function exceptionSize(packed: PackedEntries, index: number): number {
  const { exceptions } = packed
  let low = 0
  let high = exceptions.length
  while (low + 1 < high) {
    const middle = (low + high) >>> 1
    if ((exceptions[middle] as number) <= index) low = middle
    else high = middle
  }
  return packed.exceptionSizes[low] as number
}

/** What is left of a 64-bit number without its lowest bits; must be below 2^53. */
function topBits(hi: number, lo: number, bits: number): number {
  return bits < 32
    ? hi * 2 ** (32 - bits) + Math.floor(lo / 2 ** bits)
    : Math.floor(hi / 2 ** (bits - 32))
}

/** High word of the id bits shifted left by the size. Two shifts, as a shift by 32 shifts by 0. */
function highWord(belowHi: number, belowLo: number, sizeBits: number): number {
  return ((belowHi << sizeBits) | ((belowLo >>> 1) >>> (31 - sizeBits))) >>> 0
}

/** So many of the lowest bits, as a signed mask: none for 0 or less, all from 32 up. */
function lowMask(bits: number): number {
  if (bits <= 0) return 0
  return bits >= 32 ? -1 : 2 ** bits - 1
}
