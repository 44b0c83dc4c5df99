import type { VolumeFacts } from '../net/jobs-api.ts'
import { type LiveShards, surveyShards } from './stripe-survey.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/**
 * Removes what does not count of these shards, as the master says at this very moment. The number
 * of those that are gone; what is out of reach stays.
 *
 * A shard of which one server has two, in two directories, stays as long as one of them counts: it
 * could not be told which one goes.
 */
export async function removeStrayShards(
  work: VolumeWork,
  sets: readonly LiveShards[],
  signal: AbortSignal,
): Promise<number> {
  let removedCount = 0
  for (const { location, report } of sets) {
    const { runId } = report
    const facts = await work.facts(signal)
    const shards = strayOnes(facts, location.url, report)
    if (shards.length === 0) continue
    try {
      const command = { ...work.command, runId, shards }
      await work.at(location).shards.deleteShards(command, signal)
      removedCount += shards.length
    } catch (error) {
      if (!isOutOfReach(error)) throw error
      const { volumeId, context } = work
      const { url } = location
      context.logger.warn('job.shards_kept', { volumeId, url, shards, error: error.message })
    }
  }
  return removedCount
}

/** Of a deleted volume: whatever there is. The number of shards that are gone. */
export async function removeAllShards(work: VolumeWork, signal: AbortSignal): Promise<number> {
  const survey = await surveyShards(work, [], signal)
  if (survey === undefined || !survey.facts.isDeleted) return 0
  return await removeStrayShards(work, survey.found, signal)
}

/** None while nobody can tell what counts instead. */
function strayOnes(
  facts: VolumeFacts | undefined,
  url: string,
  { runId, shards }: LiveShards['report'],
): readonly number[] {
  if (facts === undefined) return []
  const { stripe, members, isDeleted } = facts
  if (isDeleted) return shards
  if (stripe === undefined) return members.length > 0 ? shards : []
  if (stripe.runId !== runId) return shards
  const counted = stripe.shards.filter(({ location }) => location.url === url)
  return shards.filter((shard) => !counted.some((place) => place.shard === shard))
}
