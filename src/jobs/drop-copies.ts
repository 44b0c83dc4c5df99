import { isStoreError } from '../base/store-error.ts'
import { leastNeeded } from './placement-fit.ts'
import type { LiveCopy, Survey } from './survey.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/**
 * The members that can go now, named by their directories: lost ones once all wanted copies are
 * there, then bad ones, then one that is too many. What is good in the bad ones has to be in the
 * good ones before, and the good ones have to be equal.
 */
export function membersToDrop(survey: Survey): readonly string[] {
  const { good, bad, away, lost, wantedCount } = survey
  const idsOf = (copies: readonly { readonly directoryId: string }[]) =>
    copies.map(({ directoryId }) => directoryId)
  if (good.length + away.length < wantedCount) return []
  if (lost.length > 0) return idsOf(lost)
  if (good.length < wantedCount) return []
  if (bad.length > 0) return idsOf(bad)
  if (away.length > 0 || good.length === wantedCount) return []
  const least = leastNeeded(good, survey.facts.replication)
  return least === undefined ? [] : [least.directoryId]
}

/** Every wanted copy is there and healthy, and none beside them. */
export function isComplete({ good, bad, away, lost, wantedCount }: Survey): boolean {
  return good.length === wantedCount && bad.length + away.length + lost.length === 0
}

/**
 * Removes copies that do not count. One that is being written to is no leftover, whatever it is,
 * and stays. The number of those that are gone.
 */
export async function removeCopies(
  work: VolumeWork,
  copies: readonly LiveCopy[],
  signal: AbortSignal,
): Promise<number> {
  let removedCount = 0
  for (const { location, report } of copies) {
    const { datBytes, compactionRevision } = report
    try {
      await work.deleteCopy(location, { datBytes, compactionRevision }, signal)
      removedCount++
    } catch (error) {
      if (!isStoreError(error, 'VOLUME_CHANGED') && !isOutOfReach(error)) throw error
      const { url } = location
      const { volumeId, context } = work
      context.logger.warn('job.copy_kept', { volumeId, url, error: error.message })
    }
  }
  return removedCount
}
