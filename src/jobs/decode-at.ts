import { isStoreError, StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { OnBytes } from './new-run.ts'
import { nearestPlaces } from './shard-commands.ts'
import type { StripeSurvey } from './stripe-survey.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** A copy that was made of shards, or of such a copy, and does not count. */
export interface MadeCopy {
  readonly location: NodeLocation
  readonly directoryId: string
}

/** @throws {StoreError} SHARDS_LOST, DISK_FULL; see `ShardApi.decodeVolume`. */
export async function decodeAt(
  work: VolumeWork,
  request: {
    readonly survey: StripeSurvey
    readonly location: NodeLocation
    readonly livingOnly: boolean
    readonly onBytes: OnBytes
  },
  signal: AbortSignal,
): Promise<MadeCopy> {
  const { survey, location, livingOnly, onBytes } = request
  const { good, bad, stripe, facts } = survey
  const places = good.length >= stripe.dataShards ? good : [...good, ...bad]
  const sources = nearestPlaces(places, location)
  const { command, politeness } = work
  const { runId } = stripe
  const { collection } = facts
  const decode = { ...command, runId, collection, sources, livingOnly, politeness }
  for await (const progress of work.at(location).shards.decodeVolume(decode, signal)) {
    const { doneBytes, totalBytes, isDone, directoryId } = progress
    onBytes(doneBytes, totalBytes)
    if (isDone) return { location, directoryId }
  }
  throw new StoreError('PEER_FAILED', `${location.url} decoded a volume without saying it is done`)
}

/** It is still where it was made, and can be read. */
export async function isStillThere(
  work: VolumeWork,
  { location, directoryId }: MadeCopy,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const report = await work.at(location).volumeStatus(work.volumeId, signal)
    const { state } = report
    return report.directoryId === directoryId && state !== 'failed' && state !== 'damaged'
  } catch (error) {
    if (isStoreError(error, 'VOLUME_NOT_FOUND') || isOutOfReach(error)) return false
    throw error
  }
}

/** Another server may do. */
export function isOfThisServer(error: unknown): error is StoreError {
  return isOutOfReach(error) || isStoreError(error, 'DISK_FULL', 'DISK_FAILED', 'PEER_FAILED')
}
