import { compareNeedleIds, type NeedleId, needleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { cancelledError } from '../runtime/abort.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { NeedleEntries } from './needle-map.ts'

const ENTRIES_PER_TURN = 8_192
/** About a millisecond of sorting. */
const PAGE_ENTRIES = 2_048
/** Entries collected in one walk over the map: some 40 MB for as long as they are shown. */
const WALK_ENTRIES = 512 * 1024
const SAMPLES_PER_PAGE = 8
const SAMPLES_MAX = 65_536

/** What a volume knows of a needle without reading it. */
export interface NeedleSummary {
  readonly needleId: NeedleId
  /** As in the record; 0 of a tombstone whose needle was never here. */
  readonly sizeBytes: number
  readonly isDeleted: boolean
}

/**
 * All entries of a map, ids ascending, in pages of at most `LIMITS.needlePageMax`. Memory does not
 * grow with the map: where pages end is guessed from a sample, and each walk over the map collects
 * some of them. Entries that are there all the time are shown exactly once.
 *
 * @throws {StoreError} CANCELLED.
 */
export async function* listSorted(
  entries: NeedleEntries,
  signal: AbortSignal,
): AsyncGenerator<readonly NeedleSummary[], void, undefined> {
  const bounds = await pageBounds(entries, signal)
  const pagesPerWalk = Math.max(1, Math.floor(WALK_ENTRIES / PAGE_ENTRIES))
  for (let first = 0; first <= bounds.length; first += pagesPerWalk) {
    const end = Math.min(first + pagesPerWalk, bounds.length + 1)
    for (const page of await collectPages(entries, bounds, { first, end }, signal)) {
      page.sort((a, b) => compareNeedleIds(a.needleId, b.needleId))
      for (let at = 0; at < page.length; at += LIMITS.needlePageMax.value) {
        yield page.slice(at, at + LIMITS.needlePageMax.value)
      }
      await yieldTurn()
    }
  }
}

/** Page `n` holds the ids from bound `n - 1` up to below bound `n`. */
async function pageBounds(entries: NeedleEntries, signal: AbortSignal): Promise<NeedleId[]> {
  const pages = Math.ceil(entries.entryCount / PAGE_ENTRIES)
  if (pages <= 1) return []
  const samplesMax = Math.min(pages * SAMPLES_PER_PAGE, SAMPLES_MAX)
  const stride = Math.max(1, Math.floor(entries.entryCount / samplesMax))
  const samples: NeedleId[] = []
  let index = 0
  await walk(entries, signal, (hi, lo) => {
    if (index++ % stride === 0 && samples.length <= 2 * SAMPLES_MAX) samples.push(needleId(hi, lo))
  })
  samples.sort(compareNeedleIds)
  const bounds: NeedleId[] = []
  for (let page = 1; page < pages; page++) {
    const bound = samples[Math.floor((page * samples.length) / pages)]
    const last = bounds.at(-1)
    if (bound === undefined) break
    if (last === undefined || compareNeedleIds(bound, last) > 0) bounds.push(bound)
  }
  return bounds
}

async function collectPages(
  entries: NeedleEntries,
  bounds: readonly NeedleId[],
  pages: { readonly first: number; readonly end: number },
  signal: AbortSignal,
): Promise<NeedleSummary[][]> {
  const { first, end } = pages
  const collected: NeedleSummary[][] = Array.from({ length: end - first }, () => [])
  const from = bounds[first - 1]
  const to = bounds[end - 1]
  await walk(entries, signal, (hi, lo, _at, sizeBytes, isDeleted) => {
    if (from !== undefined && isBelow(hi, lo, from)) return
    if (to !== undefined && !isBelow(hi, lo, to)) return
    const page = collected[pageOf(bounds, hi, lo, pages) - first]
    page?.push({ needleId: needleId(hi, lo), sizeBytes, isDeleted })
  })
  return collected
}

/** How many bounds in the range are at or below the id, by halves. */
function pageOf(
  bounds: readonly NeedleId[],
  hi: number,
  lo: number,
  pages: { readonly first: number; readonly end: number },
): number {
  let low = pages.first
  let high = Math.min(pages.end - 1, bounds.length)
  while (low < high) {
    const middle = (low + high) >>> 1
    const bound = bounds[middle]
    if (bound !== undefined && isBelow(hi, lo, bound)) high = middle
    else low = middle + 1
  }
  return low
}

function isBelow(hi: number, lo: number, bound: NeedleId): boolean {
  return hi < bound.hi || (hi === bound.hi && lo < bound.lo)
}

async function walk(
  entries: NeedleEntries,
  signal: AbortSignal,
  each: Parameters<NeedleEntries['visitSome']>[2],
): Promise<void> {
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    if (signal.aborted) throw cancelledError(signal, 'while listing needles')
    cursor = entries.visitSome(cursor, ENTRIES_PER_TURN, each)
    await yieldTurn()
  }
}
