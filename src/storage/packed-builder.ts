import { assert } from '../base/assert.ts'
import type { NeedleEntries, NeedleLocation } from './needle-map.ts'
import {
  bucketCount,
  bucketOf,
  isException,
  type PackedEntries,
  type PackedLayout,
  packedLayout,
  readPackedId,
  WORDS_PER_ENTRY,
  writePacked,
} from './packed-entries.ts'
import { sharedUint32Array } from './shared-words.ts'

/** Entries handled between two yields: under 5 ms, even when each waits for main memory. */
const ENTRIES_PER_TURN = 8_192
/** Up to here, inserting one entry after another is the fastest way to sort. */
const INSERTION_SORT_MAX = 24

export interface PackOptions {
  readonly yieldTurn: () => Promise<void>
  /** Called for an entry that came into the source too late to have a place. */
  readonly onLate: (hi: number, lo: number, offsetBytes: number, sizeBytes: number) => void
  /** Called for each entry that got a place. */
  readonly onPacked: (sizeBytes: number) => void
}

/**
 * Packs the entries of a map, deleted ones like live ones. Goes through the source three times: to
 * find the smallest and the largest id, to count what belongs in each bucket, and to put the
 * entries there; then sorts each bucket. So nothing is allocated beyond the result but 0.4 bytes an
 * entry. Entries may be deleted from the source meanwhile, and unknown ids may come in as deleted.
 */
export async function packEntries(
  source: NeedleEntries,
  options: PackOptions,
): Promise<PackedEntries> {
  const { yieldTurn } = options
  const layout = await findLayout(source, yieldTurn)
  const starts = sharedUint32Array(bucketCount(layout) + 1)
  const count = await countBuckets(source, { layout, starts }, yieldTurn)
  const words = sharedUint32Array(count * WORDS_PER_ENTRY)
  const exceptionCount = await placeEntries(source, { layout, starts, words }, options)
  await sortBuckets(starts, words, yieldTurn)
  const unfinished = {
    ...layout,
    count,
    starts,
    words,
    exceptions: sharedUint32Array(exceptionCount),
    exceptionSizes: sharedUint32Array(exceptionCount),
  }
  await fillExceptions(source, unfinished, yieldTurn)
  return unfinished
}

async function findLayout(
  source: NeedleEntries,
  yieldTurn: () => Promise<void>,
): Promise<PackedLayout> {
  const first = { hi: 2 ** 32, lo: 0 }
  const last = { hi: 0, lo: 0 }
  let count = 0
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = source.visitSome(cursor, ENTRIES_PER_TURN, (hi, lo) => {
      count++
      if (hi < first.hi || (hi === first.hi && lo < first.lo)) {
        first.hi = hi
        first.lo = lo
      }
      if (hi > last.hi || (hi === last.hi && lo > last.lo)) {
        last.hi = hi
        last.lo = lo
      }
    })
    await yieldTurn()
  }
  return packedLayout(count, count === 0 ? last : first, last)
}

/** Turns `starts` into where each bucket starts. Returns the number of entries. */
async function countBuckets(
  source: NeedleEntries,
  target: { readonly layout: PackedLayout; readonly starts: Uint32Array },
  yieldTurn: () => Promise<void>,
): Promise<number> {
  const { layout, starts } = target
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = source.visitSome(cursor, ENTRIES_PER_TURN, (hi, lo) => {
      const bucket = bucketOf(layout, hi, lo)
      if (bucket >= 0) starts[bucket + 1] = (starts[bucket + 1] as number) + 1
    })
    await yieldTurn()
  }
  for (let bucket = 1; bucket < starts.length; bucket++) {
    starts[bucket] = (starts[bucket] as number) + (starts[bucket - 1] as number)
  }
  return starts[starts.length - 1] as number
}

/** Puts each entry in its bucket, in any order. Returns how many sizes do not fit. */
async function placeEntries(
  source: NeedleEntries,
  target: { readonly layout: PackedLayout; readonly starts: Uint32Array; words: Uint32Array },
  options: PackOptions,
): Promise<number> {
  const { layout, starts, words } = target
  const free = starts.slice()
  const entry = { hi: 0, lo: 0, offsetBytes: 0, sizeBytes: 0 }
  let exceptionCount = 0
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = source.visitSome(cursor, ENTRIES_PER_TURN, (hi, lo, offsetBytes, sizeBytes) => {
      const bucket = bucketOf(layout, hi, lo)
      const index = bucket < 0 ? 0 : (free[bucket] as number)
      if (bucket < 0 || index === starts[bucket + 1]) {
        options.onLate(hi, lo, offsetBytes, sizeBytes)
        return
      }
      free[bucket] = index + 1
      entry.hi = hi
      entry.lo = lo
      entry.offsetBytes = offsetBytes
      entry.sizeBytes = sizeBytes
      writePacked(layout, words, index, entry)
      if (isException(layout, words, index)) exceptionCount++
      options.onPacked(sizeBytes)
    })
    await options.yieldTurn()
  }
  return exceptionCount
}

async function sortBuckets(
  starts: Uint32Array,
  words: Uint32Array,
  yieldTurn: () => Promise<void>,
): Promise<void> {
  const budget = { left: ENTRIES_PER_TURN }
  for (let bucket = 0; bucket + 1 < starts.length; bucket++) {
    const start = starts[bucket] as number
    const end = starts[bucket + 1] as number
    budget.left -= 1 + end - start
    if (end - start <= INSERTION_SORT_MAX) insertionSort(words, start, end)
    else await sortLarge(words, { start, end }, budget, yieldTurn)
    if (budget.left <= 0) {
      budget.left = ENTRIES_PER_TURN
      await yieldTurn()
    }
  }
}

/**
 * Quicksort that gives way between steps. Entries come in the order of their hashes, which is as
 * good as random, so halves are halves. The larger part waits: at most one range for each bit.
 */
async function sortLarge(
  words: Uint32Array,
  range: { readonly start: number; readonly end: number },
  budget: { left: number },
  yieldTurn: () => Promise<void>,
): Promise<void> {
  const waiting: { start: number; end: number }[] = [{ ...range }]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { start, end } = next
    if (end - start <= INSERTION_SORT_MAX) {
      insertionSort(words, start, end)
      continue
    }
    const parting = { low: start, high: end - 1, pivot: middleOfThree(words, start, end) }
    while (!partSome(words, parting, ENTRIES_PER_TURN)) await yieldTurn()
    const lower = { start, end: parting.high + 1 }
    const upper = { start: parting.low, end }
    const isLowerLarge = lower.end - lower.start > upper.end - upper.start
    waiting.push(isLowerLarge ? lower : upper, isLowerLarge ? upper : lower)
    budget.left -= end - start
    if (budget.left <= 0) {
      budget.left = ENTRIES_PER_TURN
      await yieldTurn()
    }
  }
}

interface Parting {
  low: number
  high: number
  readonly pivot: { readonly high: number; readonly low: number }
}

/** Exchanges up to `stepsMax` entries that are on the wrong side. True when none is left. */
function partSome(words: Uint32Array, parting: Parting, stepsMax: number): boolean {
  const { pivot } = parting
  let { low, high } = parting
  for (let steps = 0; steps < stepsMax && low <= high; steps++) {
    if (compareTo(words, low, pivot.high, pivot.low) < 0) {
      low++
    } else if (compareTo(words, high, pivot.high, pivot.low) > 0) {
      high--
    } else {
      exchange(words, low, high)
      low++
      high--
    }
  }
  parting.low = low
  parting.high = high
  return low > high
}

function middleOfThree(
  words: Uint32Array,
  start: number,
  end: number,
): { high: number; low: number } {
  const [, middle] = [start, (start + end) >>> 1, end - 1]
    .map((index) => ({
      high: words[index * WORDS_PER_ENTRY] as number,
      low: words[index * WORDS_PER_ENTRY + 1] as number,
    }))
    .sort((a, b) => (a.high === b.high ? a.low - b.low : a.high - b.high))
  assert(middle !== undefined, 'three entries have a middle one')
  return middle
}

function insertionSort(words: Uint32Array, start: number, end: number): void {
  for (let index = start + 1; index < end; index++) {
    const at = index * 3
    const high = words[at] as number
    const low = words[at + 1] as number
    const offset = words[at + 2] as number
    let to = at
    for (; to > start * 3; to -= 3) {
      const highBefore = words[to - 3] as number
      if (highBefore < high || (highBefore === high && (words[to - 2] as number) < low)) break
      words[to] = highBefore
      words[to + 1] = words[to - 2] as number
      words[to + 2] = words[to - 1] as number
    }
    words[to] = high
    words[to + 1] = low
    words[to + 2] = offset
  }
}

/** Ids are unlike, so an entry's two words order it whatever its size. */
function compareTo(words: Uint32Array, index: number, high: number, low: number): number {
  const highHere = words[index * 3] as number
  return highHere === high ? (words[index * 3 + 1] as number) - low : highHere - high
}

function exchange(words: Uint32Array, a: number, b: number): void {
  for (let word = 0; word < 3; word++) {
    const kept = words[a * 3 + word] as number
    words[a * 3 + word] = words[b * 3 + word] as number
    words[b * 3 + word] = kept
  }
}

/** Looks up in the source what did not fit; in the order of entries, as the list must be. */
async function fillExceptions(
  source: NeedleEntries,
  packed: PackedEntries,
  yieldTurn: () => Promise<void>,
): Promise<void> {
  const { starts, words, exceptions, exceptionSizes } = packed
  const id = { hi: 0, lo: 0 }
  const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  let filled = 0
  let bucket = 0
  for (let index = 0; index < packed.count && filled < exceptions.length; index++) {
    while ((starts[bucket + 1] as number) <= index) bucket++
    if (index % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) await yieldTurn()
    if (!isException(packed, words, index)) continue
    readPackedId(packed, bucket, index, id)
    assert(source.lookup(id, location), 'an entry left the map that is being packed')
    exceptions[filled] = index
    exceptionSizes[filled] = location.sizeBytes
    filled++
  }
}
