import { copyCount } from '../base/replica-placement.ts'
import { isStoreError } from '../base/store-error.ts'
import type { VolumeCopyFacts, VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation, VolumeReport } from '../net/master-api.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** A copy whose server has just said how it is. */
export interface LiveCopy {
  readonly location: NodeLocation
  readonly directoryId: string
  readonly report: VolumeReport
}

/** A volume as it is now: the set from the master, the rest from the servers themselves. */
export interface Survey {
  readonly facts: VolumeFacts
  readonly wantedCount: number
  /** Members that can be read and written. */
  readonly good: readonly LiveCopy[]
  /** Members that are damaged or failed: what can be read of them counts. */
  readonly bad: readonly LiveCopy[]
  /** Members that cannot be asked just now, and may come back. */
  readonly away: readonly VolumeCopyFacts[]
  /** Members that are gone for good. */
  readonly lost: readonly VolumeCopyFacts[]
  /** Copies that do not count, and can be reached. */
  readonly strays: readonly LiveCopy[]
}

/**
 * Heartbeats are seconds old, and a copy that was just made may not be in any yet: so every server
 * is asked. Undefined: the master does not know the volume.
 */
export async function surveyVolume(
  work: VolumeWork,
  signal: AbortSignal,
): Promise<Survey | undefined> {
  const facts = await work.facts(signal)
  if (facts === undefined) return undefined
  const ask = (copy: VolumeCopyFacts) => askCopy(work, copy, signal)
  const members = await Promise.all(facts.members.map(ask))
  const strays = await Promise.all(facts.strays.map(ask))
  const live = members.filter((copy) => copy !== undefined)
  return {
    facts,
    wantedCount: copyCount(facts.replication),
    good: live.filter((copy) => !isBad(copy.report)),
    bad: live.filter((copy) => isBad(copy.report)),
    away: facts.members.filter((copy, index) => members[index] === undefined && !copy.isLost),
    lost: facts.members.filter((copy, index) => members[index] === undefined && copy.isLost),
    strays: strays.filter((copy) => copy !== undefined),
  }
}

export function isBad(report: VolumeReport): boolean {
  return report.state === 'failed' || report.state === 'damaged'
}

/** Its server has not said yet in which directory the member lies: the name is made up. */
function isNameless({ directoryId }: VolumeCopyFacts): boolean {
  return directoryId === '' || directoryId.startsWith('?')
}

async function askCopy(
  work: VolumeWork,
  copy: VolumeCopyFacts,
  signal: AbortSignal,
): Promise<LiveCopy | undefined> {
  if (!copy.isUp || copy.isLost) return undefined
  try {
    const report = await work.at(copy.location).volumeStatus(work.volumeId, signal)
    if (!isNameless(copy) && report.directoryId !== copy.directoryId) return undefined
    return { location: copy.location, directoryId: report.directoryId, report }
  } catch (error) {
    if (isOutOfReach(error) || isStoreError(error, 'VOLUME_NOT_FOUND')) return undefined
    throw error
  }
}
