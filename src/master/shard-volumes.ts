import { copyCount } from '../base/replica-placement.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'

/**
 * Gateways keep erasure-coded files in collections whose names end so, and nobody else may: the
 * shards on volumes with one copy, the lists of their shards on volumes with several.
 */
const CODED_SUFFIX = '-coded'

export function isCodedCollection(collection: string): boolean {
  return collection.endsWith(CODED_SUFFIX)
}

/**
 * Its needles are shards of files of a gateway: without it they can be read, and made anew from the
 * others. No copy of it is wanted, and none could be made.
 */
export function isShardVolume({
  collection,
  replication,
  stripe,
}: Pick<VolumeFacts, 'collection' | 'replication' | 'stripe'>): boolean {
  return isCodedCollection(collection) && copyCount(replication) === 1 && stripe === undefined
}

/** A volume with shards that nobody has any more, as far as anybody can know. */
export function isLostShardVolume(facts: VolumeFacts): boolean {
  const { isDeleted, members, strays } = facts
  if (isDeleted || !isShardVolume(facts) || members.length === 0) return false
  return members.every(({ isLost }) => isLost) && !strays.some(({ isUp }) => isUp)
}
