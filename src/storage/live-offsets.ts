import { type NeedleId, needleId } from '../base/ids.ts'
import { NEEDLE_ALIGN_BYTES } from '../format/needle.ts'
import type { NeedleEntries } from './needle-map.ts'

const ENTRIES_PER_TURN = 8_192
/** Sorting so many takes well under a millisecond. */
const BUCKET_ENTRIES = 4_096
const REGION_ENTRIES = 1024 * 1024
/** More walks over the map than this cost more than the memory that they save. */
const REGIONS_MAX = 16

export interface ByteRange {
  readonly fromBytes: number
  readonly toBytes: number
}

export interface PlacedNeedle {
  readonly id: NeedleId
  readonly offsetBytes: number
  readonly sizeBytes: number
}

/**
 * Regions of `range` to be worked through one after the other, so that the offsets of one of them
 * take little memory: 4 bytes for each of about a million needles, or a 16th of all. All but the
 * last are multiples of `alignBytes`.
 */
export function regionsOf(
  entryCount: number,
  range: ByteRange,
  alignBytes: number = NEEDLE_ALIGN_BYTES,
): ByteRange[] {
  const count = Math.min(Math.max(1, Math.ceil(entryCount / REGION_ENTRIES)), REGIONS_MAX)
  const { fromBytes, toBytes } = range
  const step = Math.ceil((toBytes - fromBytes) / count / alignBytes) * alignBytes
  const regions: ByteRange[] = []
  for (let at = fromBytes; at < toBytes; at += step) {
    regions.push({ fromBytes: at, toBytes: Math.min(at + step, toBytes) })
  }
  return regions
}

/**
 * Where the needles of a volume begin that lived when it was asked, in the order of the file. Those
 * put or deleted since are for the caller to tell, with a lookup.
 */
export class LiveOffsets {
  /** The last needle that begins before the range, and may reach into it; undefined: none. */
  readonly beforeBytes: number | undefined
  readonly #buckets: readonly Uint32Array[]
  #bucket = 0
  #index = 0
  #isSorted = false

  private constructor(buckets: readonly Uint32Array[], beforeBytes: number | undefined) {
    this.#buckets = buckets
    this.beforeBytes = beforeBytes
  }

  /** Calls `giveWay` after every few entries; what it throws ends it. */
  static async collect(
    entries: NeedleEntries,
    range: ByteRange,
    giveWay: () => Promise<void>,
  ): Promise<LiveOffsets> {
    const from = range.fromBytes / NEEDLE_ALIGN_BYTES
    const to = range.toBytes / NEEDLE_ALIGN_BYTES
    let units = new Uint32Array(1024)
    let count = 0
    let before = 0
    await walk(entries, giveWay, (_hi, _lo, offsetBytes, _size, isDeleted) => {
      const unit = offsetBytes / NEEDLE_ALIGN_BYTES
      if (isDeleted || unit >= to) return
      if (unit < from) {
        if (unit > before) before = unit
        return
      }
      if (count === units.length) {
        const larger = new Uint32Array(count * 2)
        larger.set(units)
        units = larger
      }
      units[count++] = unit
    })
    const buckets = await spread(units.subarray(0, count), { from, to }, giveWay)
    return new LiveOffsets(buckets, before === 0 ? undefined : before * NEEDLE_ALIGN_BYTES)
  }

  /**
   * The next needle that begins below `toBytes`; undefined: there is none. A place comes twice when
   * two needles are said to lie there.
   */
  next(toBytes: number): number | undefined {
    for (; this.#bucket < this.#buckets.length; this.#bucket++) {
      const units = this.#buckets[this.#bucket]
      if (units !== undefined && this.#index < units.length) {
        if (!this.#isSorted) units.sort()
        this.#isSorted = true
        const offsetBytes = (units[this.#index] as number) * NEEDLE_ALIGN_BYTES
        if (offsetBytes >= toBytes) return undefined
        this.#index++
        return offsetBytes
      }
      this.#index = 0
      this.#isSorted = false
    }
    return undefined
  }
}

/** Which needles live at these places, by what the map says. Walks over all of it. */
export async function needlesAt(
  entries: NeedleEntries,
  offsets: ReadonlySet<number>,
  giveWay: () => Promise<void>,
): Promise<PlacedNeedle[]> {
  const found: PlacedNeedle[] = []
  if (offsets.size === 0) return found
  await walk(entries, giveWay, (hi, lo, offsetBytes, sizeBytes, isDeleted) => {
    if (isDeleted || !offsets.has(offsetBytes)) return
    found.push({ id: needleId(hi, lo), offsetBytes, sizeBytes })
  })
  return found
}

/** Sorts by halves: into buckets of neighbours now, each of which is sorted when it is its turn. */
async function spread(
  units: Uint32Array,
  range: { readonly from: number; readonly to: number },
  giveWay: () => Promise<void>,
): Promise<Uint32Array[]> {
  const bucketCount = Math.max(1, Math.ceil(units.length / BUCKET_ENTRIES))
  const width = Math.max(1, Math.ceil((range.to - range.from) / bucketCount))
  const bucketOf = (unit: number): number => Math.floor((unit - range.from) / width)
  const ends = new Uint32Array(bucketCount)
  const inSteps = async (each: (unit: number) => void): Promise<void> => {
    for (let at = 0; at < units.length; ) {
      const end = Math.min(at + ENTRIES_PER_TURN * 8, units.length)
      for (; at < end; at++) each(units[at] as number)
      await giveWay()
    }
  }
  await inSteps((unit) => {
    const bucket = bucketOf(unit)
    ends[bucket] = (ends[bucket] as number) + 1
  })
  let total = 0
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    const size = ends[bucket] as number
    ends[bucket] = total
    total += size
  }
  const ordered = new Uint32Array(units.length)
  await inSteps((unit) => {
    const bucket = bucketOf(unit)
    const at = ends[bucket] as number
    ordered[at] = unit
    ends[bucket] = at + 1
  })
  let start = 0
  return Array.from(ends, (end) => {
    const bucket = ordered.subarray(start, end)
    start = end
    return bucket
  })
}

async function walk(
  entries: NeedleEntries,
  giveWay: () => Promise<void>,
  each: Parameters<NeedleEntries['visitSome']>[2],
): Promise<void> {
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = entries.visitSome(cursor, ENTRIES_PER_TURN, each)
    await giveWay()
  }
}
