import type { NeedleId } from '../base/ids.ts'
import type { NeedleStat } from '../net/volume-api.ts'
import { chunksOf } from './heal.ts'
import { addOutcome, applyFixes, emptyOutcome, type FixOutcome } from './needle-fixes.ts'
import { mergeNeedles, type NeedleRow } from './needle-merge.ts'
import { judgeStats, type MergeCopy, type NeedleFix, type NeedleVerdict } from './needle-verdict.ts'
import type { VolumeWork } from './volume-work.ts'

export interface ReconcileOptions {
  /** Read and compare every needle, not only ids and sizes. */
  readonly isDeep: boolean
  /** Needles to leave as they are, as of `needleKey`: see `dirtyDeletes`. */
  readonly ignored: ReadonlySet<string>
  readonly onCompared?: ((needleCount: number) => void) | undefined
}

/** More of them would fill the memory, and are a disk to be replaced anyway. */
const CORRUPT_MAX = 100_000

/**
 * Makes copies equal needle by needle: what one of those that count has as deleted is deleted
 * everywhere, what one of them has and another lacks is brought there, and of two that differ the
 * newest good one counts. Writes may go on; what they change meanwhile may be found or not.
 */
export async function reconcile(
  work: VolumeWork,
  copies: readonly MergeCopy[],
  options: ReconcileOptions,
  signal: AbortSignal,
): Promise<FixOutcome> {
  const outcome = emptyOutcome()
  const lists = copies.map(({ location }) => work.at(location).listNeedles(work.volumeId, signal))
  let comparedCount = 0
  for await (const rows of mergeNeedles(lists)) {
    const fixes: NeedleFix[] = []
    const unsure: NeedleId[] = []
    for (const row of rows) {
      if (options.ignored.size > 0 && options.ignored.has(needleKey(row.needleId))) continue
      const verdict = judgeRow(copies, row, options.isDeep)
      if (verdict === undefined) unsure.push(row.needleId)
      else if (verdict.kind !== 'same') fixes.push({ needleId: row.needleId, verdict })
    }
    for (const chunk of chunksOf(unsure)) {
      fixes.push(...(await judgeByReading(work, copies, chunk, signal)))
    }
    addOutcome(outcome, await applyFixes(work, copies, fixes, signal))
    comparedCount += rows.length
    options.onCompared?.(comparedCount)
    if (outcome.corrupt.length > CORRUPT_MAX) return outcome
  }
  return outcome
}

export function needleKey({ hi, lo }: NeedleId): string {
  return hi === 0 ? String(lo) : `${hi}:${lo}`
}

/** Nothing was found that differs, except what no copy has good. */
export function isAgreed(outcome: FixOutcome): boolean {
  const { deletedCount, healedCount, unsettled, blocked } = outcome
  return deletedCount + healedCount + unsettled.length + blocked.length === 0
}

/** What those needles are in every copy decides, read from the disks. */
export async function judgeByReading(
  work: VolumeWork,
  copies: readonly MergeCopy[],
  needleIds: readonly NeedleId[],
  signal: AbortSignal,
): Promise<NeedleFix[]> {
  const stats = await statEverywhere(work, copies, needleIds, signal)
  return needleIds.map((needleId, index) => {
    return { needleId, verdict: judgeStats(copies, stats[index] ?? []) }
  })
}

/** For each needle what each copy has, in the order of the copies. */
export async function statEverywhere(
  work: VolumeWork,
  copies: readonly { readonly location: MergeCopy['location'] }[],
  needleIds: readonly NeedleId[],
  signal: AbortSignal,
): Promise<readonly (readonly NeedleStat[])[]> {
  const perCopy = await Promise.all(
    copies.map(({ location }) => work.at(location).statNeedles(work.volumeId, needleIds, signal)),
  )
  return needleIds.map((_, index) => perCopy.flatMap((stats) => stats[index] ?? []))
}

/** From the lists alone; undefined: the needles have to be read. */
function judgeRow(
  copies: readonly MergeCopy[],
  { summaries }: NeedleRow,
  isDeep: boolean,
): NeedleVerdict | undefined {
  let isDeleted = false
  let isLive = false
  let isDeletedAside = false
  let sizeBytes: number | undefined
  let hasSizes = false
  const live: number[] = []
  const missing: number[] = []
  for (const [index, { isTruth, isWritable }] of copies.entries()) {
    const summary = summaries[index]
    if (summary === undefined) {
      if (isWritable) missing.push(index)
    } else if (summary.isDeleted) {
      if (isTruth) isDeleted = true
      else isDeletedAside = true
    } else {
      live.push(index)
      if (isTruth) isLive = true
      hasSizes ||= sizeBytes !== undefined && sizeBytes !== summary.sizeBytes
      sizeBytes = summary.sizeBytes
    }
  }
  if (isDeleted || !isLive) {
    const at = live.filter((index) => copies[index]?.isWritable === true)
    return at.length === 0 ? { kind: 'same' } : { kind: 'delete', at }
  }
  if (isDeletedAside) return { kind: 'blocked' }
  if (isDeep || hasSizes) return undefined
  if (missing.length === 0) return { kind: 'same' }
  return {
    kind: 'heal',
    at: missing,
    from: live.filter((index) => copies[index]?.isTruth === true),
  }
}
