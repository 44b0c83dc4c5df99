import type { NeedleId } from '../base/ids.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { NeedleStat } from '../net/volume-api.ts'

/** A copy that takes part when needles are made equal. */
export interface MergeCopy {
  readonly location: NodeLocation
  /** What it says counts. Otherwise it only takes over what the others say. */
  readonly isTruth: boolean
  readonly isWritable: boolean
}

/**
 * What makes the copies of one needle equal; numbers are places in the list of copies. `corrupt`:
 * no copy has a good one. `blocked`: a copy that does not count has a tombstone where the needle
 * lives; it cannot be made equal, only made anew.
 */
export type NeedleVerdict =
  | { readonly kind: 'same' | 'corrupt' | 'blocked' }
  | { readonly kind: 'delete'; readonly at: readonly number[] }
  | { readonly kind: 'heal'; readonly at: readonly number[]; readonly from: readonly number[] }

export interface NeedleFix {
  readonly needleId: NeedleId
  readonly verdict: NeedleVerdict
}

const SAME: NeedleVerdict = { kind: 'same' }

/**
 * A tombstone in a copy that counts wins over everything. Otherwise the newest good needle of those
 * counts, and every copy gets it that lacks it or has another one.
 */
export function judgeStats(
  copies: readonly MergeCopy[],
  stats: readonly NeedleStat[],
): NeedleVerdict {
  const places = copies.map((_, index) => index)
  const stateAt = (index: number) => stats[index]?.state ?? 'absent'
  const isTruth = (index: number) => copies[index]?.isTruth === true
  const isWritable = (index: number) => copies[index]?.isWritable === true
  const isThere = (index: number) => stateAt(index) === 'live' || stateAt(index) === 'corrupt'

  const truths = places.filter(isTruth)
  const isDeleted = truths.some((index) => stateAt(index) === 'deleted')
  if (isDeleted || truths.every((index) => stateAt(index) === 'absent')) {
    const at = places.filter((index) => isWritable(index) && isThere(index))
    return at.length === 0 ? SAME : { kind: 'delete', at }
  }
  const good = truths.filter((index) => stateAt(index) === 'live')
  const newest = newestOf(good, stats)
  if (newest === undefined) return { kind: 'corrupt' }
  const isLikeNewest = (index: number) => isSameNeedle(stats[index], stats[newest])
  const at = places.filter((index) => isWritable(index) && !isLikeNewest(index))
  if (at.length === 0) return SAME
  if (at.some((index) => stateAt(index) === 'deleted')) return { kind: 'blocked' }
  return { kind: 'heal', at, from: good.filter(isLikeNewest) }
}

function newestOf(places: readonly number[], stats: readonly NeedleStat[]): number | undefined {
  let newest: number | undefined
  let newestNs = -1n
  for (const index of places) {
    const appendAtNs = stats[index]?.appendAtNs ?? 0n
    if (appendAtNs <= newestNs) continue
    newest = index
    newestNs = appendAtNs
  }
  return newest
}

function isSameNeedle(a: NeedleStat | undefined, b: NeedleStat | undefined): boolean {
  if (a === undefined || b === undefined) return false
  if (a.state !== 'live' || b.state !== 'live') return false
  const isSameData = a.checksum === b.checksum && a.dataBytes === b.dataBytes
  return isSameData && a.cookie === b.cookie && a.attributesHash === b.attributesHash
}
