import type { ErasureScheme } from '../base/erasure-scheme.ts'
import type { VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import type { NodeLocation } from './master-api.ts'

/** What servers and masters tell each other about erasure-coded volumes. */

/** Shards of one run of the encoder, of one volume, in one directory. */
export interface ShardReport extends ErasureScheme {
  readonly volumeId: VolumeId
  readonly collection: string
  /** What the volume wants when it is decoded. */
  readonly replication: ReplicaPlacement
  /** Names the run: decimal digits. Shards of two runs have nothing to do with each other. */
  readonly runId: string
  readonly directoryId: string
  /** Numbers of the shards that are there, ascending; data shards come before parity shards. */
  readonly shards: readonly number[]
  /** Those of them that are known to have bad blocks. */
  readonly badShards: readonly number[]
  /** Of each shard. */
  readonly shardBytes: number
  /** Of the `.dat` that was coded. */
  readonly datBytes: number
  /** Of the whole volume, as the index here has it: less what was deleted since. */
  readonly liveNeedles: number
  readonly liveBytes: number
  /** Of needles deleted since it was coded, or garbage already then. */
  readonly garbageBytes: number
  /** The same for two journals with the same ids, in whatever order; 16 hex digits. */
  readonly journalDigest: string
  /** When it was coded, or a needle was deleted last. */
  readonly modifiedAtS: number
  readonly requestsPerS: number
}

/** Where one shard of a stripe is. */
export interface ShardPlace {
  readonly shard: number
  readonly location: NodeLocation
}

/** Where a coded volume can be read now: part of `VolumeLocations`. */
export interface StripeLocations extends ErasureScheme {
  readonly runId: string
  /** Shards on servers in reach; a server may have several. In the order of the shards. */
  readonly shards: readonly ShardPlace[]
}

/** One shard of the stripe that counts, as the server that has it reported it last. */
export interface ShardFacts {
  readonly shard: number
  readonly location: NodeLocation
  readonly directoryId: string
  /** Undefined: the server does not say (any more) that it has it. */
  readonly report: ShardReport | undefined
  readonly isUp: boolean
  /** As `VolumeCopyFacts.isLost`. */
  readonly isLost: boolean
  /** It is there, and some of its blocks are wrong. */
  readonly isBad: boolean
}

/** The stripe of a coded volume: which run counts, and where each of its shards is. */
export interface StripeFacts extends ErasureScheme {
  readonly runId: string
  /** One for each shard, in their order. */
  readonly shards: readonly ShardFacts[]
}

/** Shards that do not count: of another run, or a second one of the same number. */
export interface StrayShards {
  readonly location: NodeLocation
  readonly directoryId: string
  readonly runId: string
  readonly shards: readonly number[]
  readonly isUp: boolean
}

/** A member of a stripe to be. */
export interface NewShard {
  readonly shard: number
  readonly url: string
  readonly directoryId: string
}

/**
 * What counts of a volume from now on, in place of its copies or of the stripe it had; all of it or
 * nothing, durable. The commit marker of whatever job makes shards.
 */
export interface StripeChange extends ErasureScheme {
  readonly jobId: number
  readonly token: string
  readonly volumeId: VolumeId
  /** As read with the facts the decision rests on. */
  readonly setVersion: number
  readonly runId: string
  /** One for each shard. Those that were not members before must have been reported. */
  readonly shards: readonly NewShard[]
}

export interface ChooseShardsRequest extends ErasureScheme {
  readonly volumeId: VolumeId
  /** Shards that stay where they are. */
  readonly kept: readonly { readonly shard: number; readonly url: string }[]
  /** Shards that need a place. */
  readonly wanted: readonly number[]
  /** Room each of them takes. */
  readonly shardBytes: number
  /** Servers that must not be chosen. */
  readonly excluded: readonly string[]
}

/** For `ec-balance`: what makes the layout better. */
export interface ShardMove {
  readonly shard: number
  readonly from: NodeLocation
  readonly fromDirectoryId: string
  readonly to: NodeLocation
}

/** How many shards of one stripe fall with the worst data centre, rack and server. */
export interface StripeSpread {
  readonly worstDataCenter: number
  readonly worstRack: number
  readonly worstServer: number
}
