import type { VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'

/** What a `heal` job counts. */
export const HEAL_COUNTS = [
  'intentsUndone',
  'objectsCompleted',
  'objectsHealed',
  'objectsCopied',
  'shardsMade',
  'corruptFound',
  'filesVerified',
  'filesRewritten',
  'copiesRepaired',
  'volumesForgotten',
  'failures',
] as const

export type HealCount = (typeof HEAL_COUNTS)[number]

/** What a `heal` job needs to know of volumes. */
export interface HealPlan {
  /** Of collections for erasure-coded files: those with shards, and those with their lists. */
  readonly codedVolumeIds: readonly VolumeId[]
  /** Of these, with shards, and nobody has them any more. */
  readonly lostVolumeIds: readonly VolumeId[]
  /** By the wall clock of the master: since then nobody wrote to any of them; 0: none is lost. */
  readonly lostSinceMs: number
  /** The most copies that volumes of a collection have, for collections of plain files. */
  readonly replications: Readonly<Record<string, ReplicaPlacement>>
  /**
   * Volumes with lost copies, which are to be made elsewhere: those that the job's server had; of a
   * job about none, those with lists of shards.
   */
  readonly repairVolumeIds: readonly VolumeId[]
  /** Of those that the job's server had: they have their copies again. */
  readonly repairedVolumeIds: readonly VolumeId[]
}
