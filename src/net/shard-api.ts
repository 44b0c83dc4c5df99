import type { ErasureScheme } from '../base/erasure-scheme.ts'
import type { NeedleId, VolumeId } from '../base/ids.ts'
import type { NodeLocation } from './master-api.ts'
import type { ShardPlace, ShardReport } from './stripe-facts.ts'
import type { VolumeCommand, VolumeExtent } from './volume-api.ts'

/** A command about the shards of one run of the encoder. */
export interface ShardCommand extends VolumeCommand {
  readonly runId: string
}

export interface EncodeVolumeCommand extends ShardCommand, ErasureScheme {
  /** Of the format; smaller ones are for tests. */
  readonly largeBlockBytes: number
  readonly smallBlockBytes: number
  /** For each millisecond of work, rest so many. */
  readonly politeness: number
}

/** What long work on shards says of itself. */
export interface ShardProgress {
  readonly doneBytes: number
  readonly totalBytes: number
  readonly isDone: boolean
}

export interface EncodeProgress extends ShardProgress {
  /** How far the volume went that was coded; undefined until it is done. */
  readonly sourceExtent: VolumeExtent | undefined
  /** Where the shards lie; empty until it is done. */
  readonly directoryId: string
}

export interface CopyShardsCommand extends ShardCommand {
  readonly collection: string
  /** Those that are here already are left as they are. */
  readonly shards: readonly number[]
  /** A server that has all of them. */
  readonly source: NodeLocation
  readonly politeness: number
}

export interface RebuildShardsCommand extends ShardCommand {
  readonly collection: string
  /** To be made here; those that are here already are left as they are. */
  readonly shards: readonly number[]
  /** Where the others are. Of those k are read, the nearest first. */
  readonly sources: readonly ShardPlace[]
  readonly politeness: number
}

export interface DecodeVolumeCommand extends ShardCommand {
  readonly collection: string
  readonly sources: readonly ShardPlace[]
  /** Deleted needles are left out, and their space with them. */
  readonly livingOnly: boolean
  readonly politeness: number
}

export interface DecodeProgress extends ShardProgress {
  /** Where the volume lies; empty until it is done. */
  readonly directoryId: string
}

export interface VerifyShardsCommand {
  readonly volumeId: VolumeId
  readonly runId: string
  /** Empty: all that are here. */
  readonly shards: readonly number[]
  readonly politeness: number
}

/** One block of a shard, of the size that one checksum covers. */
export interface ShardBlock {
  readonly shard: number
  readonly block: number
}

export interface VerifyProgress extends ShardProgress {
  /** Found since the last report; `.ecx`, which every server has, is compared too. */
  readonly badBlocks: readonly ShardBlock[]
}

export interface HealShardsCommand extends ShardCommand {
  /** At most `LIMITS.healBlocksMax`. */
  readonly blocks: readonly ShardBlock[]
  readonly sources: readonly ShardPlace[]
}

export interface ReadShardRequest {
  readonly volumeId: VolumeId
  readonly runId: string
  readonly shard: number
  readonly offsetBytes: number
  /** 1 to `LIMITS.shardReadMax`; all of them must be within the shard. */
  readonly lengthBytes: number
}

/** Several runs of `lengthBytes` each; from the first to the last at most `LIMITS.shardReadMax`. */
export interface ReadShardSlicesRequest extends ReadShardRequest {
  readonly sliceCount: number
  /** From the beginning of one to that of the next. */
  readonly strideBytes: number
}

export type ShardFileExtension = 'ecx' | 'ecj' | 'vif' | 'ecsum'

export interface ShardFilePiece {
  readonly extension: ShardFileExtension
  readonly offsetBytes: number
  readonly data: Uint8Array
}

/**
 * What a volume server does with shards of coded volumes. A server with any shard of a volume has
 * its whole index, its journal of deletes and the checksums of all shards. Every method rejects
 * with a `StoreError`, as those of `VolumeApi`; VOLUME_NOT_FOUND also when another run is here.
 */
export interface ShardApi {
  /**
   * Makes all shards of a volume of which a copy is here, durably, from as far as it goes now. They
   * are served, and count for nothing until the master says so. Shards of the run that are whole
   * already are not made again.
   *
   * @throws {StoreError} EPOCH_STALE, CODEC_UNAVAILABLE, DISK_FULL; VOLUME_DAMAGED: what was read
   * of the copy is not what was written.
   */
  encodeVolume(command: EncodeVolumeCommand, signal: AbortSignal): AsyncIterable<EncodeProgress>

  /**
   * Fetches shards from another server, with index, journal and checksums if they are not here.
   * What arrives is compared with the checksums before it is served.
   *
   * @throws {StoreError} EPOCH_STALE, DISK_FULL; SHARD_CORRUPT: it is bad at the source.
   */
  copyShards(command: CopyShardsCommand, signal: AbortSignal): AsyncIterable<ShardProgress>

  /** Makes shards from others, byte for byte. @throws {StoreError} EPOCH_STALE, SHARDS_LOST. */
  rebuildShards(command: RebuildShardsCommand, signal: AbortSignal): AsyncIterable<ShardProgress>

  /**
   * Makes a normal volume of it here, on which the master decides. One that an earlier attempt left
   * is replaced. @throws {StoreError} EPOCH_STALE, SHARDS_LOST, DISK_FULL.
   */
  decodeVolume(command: DecodeVolumeCommand, signal: AbortSignal): AsyncIterable<DecodeProgress>

  /** Reads shards that are here, and compares every block with its checksum. Changes nothing. */
  verifyShards(command: VerifyShardsCommand, signal: AbortSignal): AsyncIterable<VerifyProgress>

  /** Writes blocks anew from those of other shards, in place. @throws {StoreError} SHARDS_LOST. */
  healShards(command: HealShardsCommand, signal: AbortSignal): Promise<void>

  /** With the last one, the index goes too. Those that are not here are no error. */
  deleteShards(
    command: ShardCommand & { readonly shards: readonly number[] },
    signal: AbortSignal,
  ): Promise<void>

  /**
   * These needles are deleted, whatever their cookies; durable in the journal here when it returns.
   * Any number of them.
   */
  journalDeletes(
    command: ShardCommand & { readonly needleIds: readonly NeedleId[] },
    signal: AbortSignal,
  ): Promise<void>

  /** What the journal here has, in pages. */
  listJournal(
    request: { readonly volumeId: VolumeId; readonly runId: string },
    signal: AbortSignal,
  ): AsyncIterable<readonly NeedleId[]>

  /** All runs of the volume of which anything is here; empty: nothing is. */
  shardStatus(volumeId: VolumeId, signal: AbortSignal): Promise<readonly ShardReport[]>

  /**
   * The slices one after the other. What is read is not verified.
   *
   * @throws {StoreError} SHARD_NOT_FOUND, RANGE_INVALID.
   */
  readShard(request: ReadShardSlicesRequest, signal: AbortSignal): Promise<Buffer>

  /** Everything beside the shards themselves. */
  readShardFiles(
    request: { readonly volumeId: VolumeId; readonly runId: string },
    signal: AbortSignal,
  ): AsyncIterable<ShardFilePiece>

  /**
   * One run of bytes, however long, in pieces, not verified. Each is the caller's only until it
   * asks for the next one.
   */
  streamShard(request: ReadShardRequest, signal: AbortSignal): AsyncIterable<Uint8Array>
}
