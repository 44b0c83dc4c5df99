import type { NeedleId } from '../base/ids.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { chunksOf, healNeedles } from './heal.ts'
import type { MergeCopy, NeedleFix } from './needle-verdict.ts'
import type { VolumeWork } from './volume-work.ts'

export interface FixOutcome {
  deletedCount: number
  healedCount: number
  /** Needles that could not be made equal: something changed meanwhile, or a tombstone is there. */
  readonly unsettled: NeedleId[]
  readonly blocked: NeedleId[]
  /** Needles of which no copy is good. */
  readonly corrupt: NeedleId[]
}

interface HealGroup {
  readonly target: NodeLocation
  readonly sources: readonly NodeLocation[]
  readonly needleIds: NeedleId[]
}

/** Carries out what was decided needle by needle, deletes first, in as few calls as possible. */
export async function applyFixes(
  work: VolumeWork,
  copies: readonly MergeCopy[],
  fixes: readonly NeedleFix[],
  signal: AbortSignal,
): Promise<FixOutcome> {
  const outcome = emptyOutcome()
  const deletes = new Map<number, NeedleId[]>()
  const heals = new Map<string, HealGroup>()
  for (const { needleId, verdict } of fixes) {
    if (verdict.kind === 'corrupt') outcome.corrupt.push(needleId)
    if (verdict.kind === 'blocked') outcome.blocked.push(needleId)
    if (verdict.kind === 'delete') {
      for (const index of verdict.at) pushTo(deletes, index, needleId)
    }
    if (verdict.kind !== 'heal') continue
    for (const index of verdict.at) groupOf(heals, copies, index, verdict.from).push(needleId)
  }
  for (const [index, needleIds] of deletes) {
    const target = locationAt(copies, index)
    for (const chunk of chunksOf(needleIds)) {
      await work.at(target).deleteNeedles({ ...work.command, needleIds: chunk }, signal)
    }
    outcome.deletedCount += needleIds.length
  }
  for (const group of heals.values()) {
    const result = await healNeedles(work, group, signal)
    outcome.healedCount += result.healed.length
    outcome.unsettled.push(...result.deleted)
    outcome.corrupt.push(...result.unavailable)
  }
  return outcome
}

export function emptyOutcome(): FixOutcome {
  return { deletedCount: 0, healedCount: 0, unsettled: [], blocked: [], corrupt: [] }
}

export function addOutcome(sum: FixOutcome, part: FixOutcome): void {
  sum.deletedCount += part.deletedCount
  sum.healedCount += part.healedCount
  sum.unsettled.push(...part.unsettled)
  sum.blocked.push(...part.blocked)
  sum.corrupt.push(...part.corrupt)
}

function groupOf(
  groups: Map<string, HealGroup>,
  copies: readonly MergeCopy[],
  index: number,
  from: readonly number[],
): NeedleId[] {
  const key = `${index} ${from.join(' ')}`
  let group = groups.get(key)
  if (group === undefined) {
    const sources = from.map((place) => locationAt(copies, place))
    group = { target: locationAt(copies, index), sources, needleIds: [] }
    groups.set(key, group)
  }
  return group.needleIds
}

function pushTo(lists: Map<number, NeedleId[]>, key: number, needleId: NeedleId): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [needleId])
  else list.push(needleId)
}

function locationAt(copies: readonly MergeCopy[], index: number): NodeLocation {
  const copy = copies[index]
  if (copy === undefined) throw new RangeError(`there is no copy ${index}`)
  return copy.location
}
