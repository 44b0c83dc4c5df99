import type { NeedleId } from '../base/ids.ts'
import type { DirtyNeedle } from '../net/jobs-api.ts'
import type { NeedleStat } from '../net/volume-api.ts'
import { chunksOf } from './heal.ts'
import { addOutcome, applyFixes, emptyOutcome, type FixOutcome } from './needle-fixes.ts'
import { judgeStats, type MergeCopy, type NeedleFix } from './needle-verdict.ts'
import { needleKey, statEverywhere } from './reconcile.ts'
import type { VolumeWork } from './volume-work.ts'

/** By so much the clocks of two servers may differ. */
const CLOCK_SKEW_MS = 5_000
const NS_PER_MS = 1_000_000n

export interface DirtyOutcome extends FixOutcome {
  resolvedCount: number
  keptCount: number
}

export interface DirtyOptions {
  /** Otherwise a member is away that may have newer ones: then only deletes are done. */
  readonly hasAll: boolean
  /** The records of those that are equal now are taken back. */
  readonly resolves: boolean
  readonly onSettled: (needleCount: number) => void
}

/** Makes needles equal that are recorded as dirty. */
export async function settleDirty(
  work: VolumeWork,
  copies: readonly MergeCopy[],
  options: DirtyOptions,
  signal: AbortSignal,
): Promise<DirtyOutcome> {
  const { jobs } = work.context
  const { volumeId } = work
  const sum: DirtyOutcome = { ...emptyOutcome(), resolvedCount: 0, keptCount: 0 }
  let after: NeedleId | undefined
  for (;;) {
    const needles = await jobs.listDirty({ volumeId, after }, signal)
    const last = needles.at(-1)
    if (last === undefined) return sum
    after = last.needleId
    for (const chunk of chunksOf(needles)) {
      const { outcome, settled } = await settleSome(work, copies, chunk, options, signal)
      addOutcome(sum, outcome)
      const resolved = options.resolves ? settled : []
      if (resolved.length > 0) await jobs.resolveDirty(volumeId, resolved, signal)
      sum.resolvedCount += resolved.length
      sum.keptCount += chunk.length - resolved.length
      options.onSettled(sum.resolvedCount + sum.keptCount)
    }
  }
}

/**
 * Needles whose deletes some copy has missed: what lives of them must not be brought anywhere. Keys
 * as of `needleKey`.
 */
export async function dirtyDeletes(
  work: VolumeWork,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const { volumeId } = work
  const keys = new Set<string>()
  let after: NeedleId | undefined
  for (;;) {
    const needles = await work.context.jobs.listDirty({ volumeId, after }, signal)
    after = needles.at(-1)?.needleId
    if (after === undefined) return keys
    for (const { kind, needleId } of needles) if (kind === 'delete') keys.add(needleKey(needleId))
  }
}

async function settleSome(
  work: VolumeWork,
  copies: readonly MergeCopy[],
  needles: readonly DirtyNeedle[],
  { hasAll }: DirtyOptions,
  signal: AbortSignal,
): Promise<{ readonly outcome: FixOutcome; readonly settled: readonly DirtyNeedle[] }> {
  const ids = needles.map(({ needleId }) => needleId)
  const stats = await statEverywhere(work, copies, ids, signal)
  const fixes: NeedleFix[] = needles.map((needle, index) => {
    return { needleId: needle.needleId, verdict: judgeDirty(copies, needle, stats[index] ?? []) }
  })
  const isNow = ({ verdict }: NeedleFix) => hasAll || verdict.kind === 'delete'
  const outcome = await applyFixes(work, copies, fixes.filter(isNow), signal)
  const open = new Set(
    [...outcome.unsettled, ...outcome.blocked, ...outcome.corrupt].map(needleKey),
  )
  return { outcome, settled: needles.filter(({ needleId }) => !open.has(needleKey(needleId))) }
}

/**
 * A delete that not every copy got is done there, unless all that lives was put anew after it. What
 * was put anew only here and there is deleted as well: a delete wins.
 */
function judgeDirty(
  copies: readonly MergeCopy[],
  needle: DirtyNeedle,
  stats: readonly NeedleStat[],
): NeedleFix['verdict'] {
  if (needle.kind !== 'delete') return judgeStats(copies, stats)
  const isThere = ({ state }: NeedleStat) => state === 'live' || state === 'corrupt'
  const there = stats.filter(isThere)
  const deletedAtNs = BigInt(needle.recordedAtMs + CLOCK_SKEW_MS) * NS_PER_MS
  if (there.length > 0 && there.every(({ appendAtNs }) => appendAtNs > deletedAtNs)) {
    return judgeStats(copies, stats)
  }
  const at = copies.flatMap(({ isWritable }, index) => {
    const stat = stats[index]
    return isWritable && stat !== undefined && isThere(stat) ? [index] : []
  })
  return at.length === 0 ? { kind: 'same' } : { kind: 'delete', at }
}
