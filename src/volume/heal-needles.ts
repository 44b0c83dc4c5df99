import { formatNeedleId, type NeedleId, type VolumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { HealAnswer, HealOutcome, NeedleStat, VolumeExtent } from '../net/volume-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { Volume } from '../storage/volume.ts'
import { fetchNeedle, type NeedleFetchParts } from './needle-fetch.ts'
import { isSameNeedle, statNeedles } from './needle-stat.ts'

/** As many as a disk works on well; each may hold a needle of 8 MiB. */
const HEALS_AT_ONCE = 4

export interface HealParts extends NeedleFetchParts {
  readonly volumeId: VolumeId
  readonly volume: Volume
}

/**
 * Brings needles of another copy, over whatever is here under their ids, except tombstones.
 *
 * @throws {StoreError} what the peer throws; PEER_FAILED: it does not answer what it was asked; as
 * `Volume.put`. What was healed before stays.
 */
export async function healNeedles(
  parts: HealParts,
  needleIds: readonly NeedleId[],
  signal: AbortSignal,
): Promise<readonly HealAnswer[]> {
  const { volume, volumeId, peer } = parts
  const before = await peer.volumeStatus(volumeId, signal)
  const theirs = await peer.statNeedles(volumeId, needleIds, signal)
  const own = await statNeedles(volume, needleIds, signal)
  const healOne = async (needleId: NeedleId, index: number): Promise<HealAnswer> => {
    const outcome = await healOneNeedle(parts, needleId, own[index], theirs[index], signal)
    return { needleId, outcome }
  }
  const answers = await mapBounded(needleIds, HEALS_AT_ONCE, healOne, signal)
  // A delete on its way may have found nothing here before the needle came; the peer knows of it.
  const isQuiet = isSameExtent(before, await peer.volumeStatus(volumeId, signal))
  return isQuiet ? answers : await deleteAfterPeer(parts, answers, signal)
}

export function isSameExtent(a: VolumeExtent, b: VolumeExtent): boolean {
  return a.datBytes === b.datBytes && a.compactionRevision === b.compactionRevision
}

async function healOneNeedle(
  parts: HealParts,
  needleId: NeedleId,
  ours: NeedleStat | undefined,
  theirs: NeedleStat | undefined,
  signal: AbortSignal,
): Promise<HealOutcome> {
  if (theirs?.needleId.hi !== needleId.hi || theirs.needleId.lo !== needleId.lo) {
    const why = `the other server does not answer for needle ${formatNeedleId(needleId)}`
    throw new StoreError('PEER_FAILED', why)
  }
  if (ours?.state === 'deleted') return 'deleted'
  if (theirs.state !== 'live') return 'unavailable'
  if (ours !== undefined && isSameNeedle(ours, theirs)) return 'unchanged'
  const fileId = { volumeId: parts.volumeId, needleId, cookie: theirs.cookie }
  const outcome = await fetchNeedle(parts.volume, fileId, parts, signal)
  return outcome === 'stored' ? 'healed' : outcome
}

async function deleteAfterPeer(
  { volume, volumeId, peer }: HealParts,
  answers: readonly HealAnswer[],
  signal: AbortSignal,
): Promise<readonly HealAnswer[]> {
  const healedIds = answers
    .filter(({ outcome }) => outcome === 'healed')
    .map(({ needleId }) => needleId)
  if (healedIds.length === 0) return answers
  const deleted = new Set<string>()
  for (const { needleId, state } of await peer.statNeedles(volumeId, healedIds, signal)) {
    if (state !== 'deleted') continue
    await volume.delete({ id: needleId, cookie: undefined }, signal)
    deleted.add(formatNeedleId(needleId))
  }
  const withDeleted = (answer: HealAnswer): HealAnswer =>
    deleted.has(formatNeedleId(answer.needleId)) ? { ...answer, outcome: 'deleted' } : answer
  return answers.map(withDeleted)
}
