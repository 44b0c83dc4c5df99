import { formatNeedleId, type NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type {
  CopyShardsCommand,
  DecodeProgress,
  DecodeVolumeCommand,
  EncodeProgress,
  EncodeVolumeCommand,
  HealShardsCommand,
  ReadShardRequest,
  ReadShardSlicesRequest,
  RebuildShardsCommand,
  ShardBlock,
  ShardCommand,
  ShardFileExtension,
  ShardFilePiece,
  ShardProgress,
  VerifyProgress,
  VerifyShardsCommand,
} from './shard-api.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import {
  placesFromWire,
  placeToWire,
  runIdFromWire,
  schemeFromWire,
  shardNumberFromWire,
  shardNumbersFromWire,
  type WireScheme,
  type WireShardPlace,
  type WireShardReport,
} from './wire-stripes.ts'
import {
  invalid,
  wireAtMost,
  wireNeedleId,
  wireNumber,
  wirePoliteness,
  wireVolumeId,
  wireWord,
} from './wire-values.ts'
import {
  commandFromWire,
  commandToWire,
  someExtentFromWire,
  someExtentToWire,
  type WireCommand,
  type WireExtent,
} from './wire-volume.ts'

/** Messages of shards.proto, as the loader shows them, and back. */

export interface WireShardCommand extends WireCommand {
  readonly runId: string
}

export interface WireEncode extends WireShardCommand, WireScheme {
  readonly largeBlockBytes: number
  readonly smallBlockBytes: number
  readonly politeness: number
}

export interface WireEncodeProgress extends ShardProgress {
  readonly sourceExtent: WireExtent | null
  readonly directoryId: string
}

export interface WireCopyShards extends WireShardCommand {
  readonly collection: string
  readonly shards: readonly number[]
  readonly source: WireNode | null
  readonly politeness: number
}

export interface WireRebuildShards extends WireShardCommand {
  readonly collection: string
  readonly shards: readonly number[]
  readonly sources: readonly WireShardPlace[]
  readonly politeness: number
}

export interface WireDecode extends WireShardCommand {
  readonly collection: string
  readonly sources: readonly WireShardPlace[]
  readonly livingOnly: boolean
  readonly politeness: number
}

export interface WireVerify {
  readonly volumeId: number
  readonly runId: string
  readonly shards: readonly number[]
  readonly politeness: number
}

export interface WireHealShards extends WireShardCommand {
  readonly blocks: readonly ShardBlock[]
  readonly sources: readonly WireShardPlace[]
}

export interface WireDeleteShards extends WireShardCommand {
  readonly shards: readonly number[]
}

export interface WireJournalDeletes extends WireShardCommand {
  readonly needleIds: readonly string[]
}

export interface WireJournalPage {
  readonly needleIds: readonly string[]
}

export interface WireShardRun {
  readonly volumeId: number
  readonly runId: string
}

export interface WireStreamShard extends WireShardRun {
  readonly shard: number
  readonly offsetBytes: number
  readonly lengthBytes: number
}

export interface WireReadShard extends WireStreamShard {
  readonly sliceCount: number
  readonly strideBytes: number
}

export interface WireShardBytes {
  readonly data: Uint8Array
}

export interface WireShardFilePiece {
  readonly extension: string
  readonly offsetBytes: number
  readonly data: Uint8Array
}

export interface WireShardStatus {
  readonly runs: readonly WireShardReport[]
}

const EXTENSIONS = ['ecx', 'ecj', 'vif', 'ecsum'] as const satisfies readonly ShardFileExtension[]

export function shardCommandToWire(command: ShardCommand): WireShardCommand {
  return { ...commandToWire(command), runId: command.runId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function shardCommandFromWire(wire: WireShardCommand): ShardCommand {
  return { ...commandFromWire(wire), runId: runIdFromWire(wire.runId) }
}

export function encodeToWire(command: EncodeVolumeCommand): WireEncode {
  const { dataShards, parityShards, largeBlockBytes, smallBlockBytes, politeness } = command
  const blocks = { largeBlockBytes, smallBlockBytes }
  return { ...shardCommandToWire(command), dataShards, parityShards, ...blocks, politeness }
}

/** @throws {StoreError} REQUEST_INVALID: also for blocks of which no shards can be made. */
export function encodeFromWire(wire: WireEncode): EncodeVolumeCommand {
  const largeBlockBytes = wireNumber(wire.largeBlockBytes, 'bytes of a block')
  const smallBlockBytes = wireNumber(wire.smallBlockBytes, 'bytes of a block')
  if (largeBlockBytes === 0 || smallBlockBytes === 0 || largeBlockBytes % smallBlockBytes > 0) {
    throw invalid(`blocks of ${largeBlockBytes} and ${smallBlockBytes} bytes`)
  }
  return {
    ...shardCommandFromWire(wire),
    ...schemeFromWire(wire),
    largeBlockBytes,
    smallBlockBytes,
    politeness: wirePoliteness(wire.politeness),
  }
}

export function shardProgressToWire({ doneBytes, totalBytes, isDone }: ShardProgress) {
  return { doneBytes, totalBytes, isDone }
}

/** @throws {StoreError} REQUEST_INVALID */
export function shardProgressFromWire(wire: ShardProgress): ShardProgress {
  return {
    doneBytes: wireNumber(wire.doneBytes, 'bytes done'),
    totalBytes: wireNumber(wire.totalBytes, 'bytes in all'),
    isDone: wire.isDone,
  }
}

export function encodeProgressToWire(progress: EncodeProgress): WireEncodeProgress {
  const { sourceExtent, directoryId } = progress
  const extent = someExtentToWire(sourceExtent)
  return { ...shardProgressToWire(progress), sourceExtent: extent, directoryId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function encodeProgressFromWire(wire: WireEncodeProgress): EncodeProgress {
  const sourceExtent = someExtentFromWire(wire.sourceExtent)
  return { ...shardProgressFromWire(wire), sourceExtent, directoryId: wire.directoryId }
}

export function copyShardsToWire(command: CopyShardsCommand): WireCopyShards {
  const { collection, shards, politeness } = command
  const source = nodeToWire(command.source)
  return { ...shardCommandToWire(command), collection, shards, source, politeness }
}

/** @throws {StoreError} REQUEST_INVALID */
export function copyShardsFromWire(wire: WireCopyShards): CopyShardsCommand {
  return {
    ...shardCommandFromWire(wire),
    collection: wire.collection,
    shards: shardNumbersFromWire(wire.shards),
    source: nodeFromWire(wire.source),
    politeness: wirePoliteness(wire.politeness),
  }
}

export function rebuildShardsToWire(command: RebuildShardsCommand): WireRebuildShards {
  const { collection, shards, politeness } = command
  const sources = command.sources.map(placeToWire)
  return { ...shardCommandToWire(command), collection, shards, sources, politeness }
}

/** @throws {StoreError} REQUEST_INVALID */
export function rebuildShardsFromWire(wire: WireRebuildShards): RebuildShardsCommand {
  return {
    ...shardCommandFromWire(wire),
    collection: wire.collection,
    shards: shardNumbersFromWire(wire.shards),
    sources: placesFromWire(wire.sources),
    politeness: wirePoliteness(wire.politeness),
  }
}

export function decodeToWire(command: DecodeVolumeCommand): WireDecode {
  const { collection, livingOnly, politeness } = command
  const sources = command.sources.map(placeToWire)
  return { ...shardCommandToWire(command), collection, sources, livingOnly, politeness }
}

/** @throws {StoreError} REQUEST_INVALID */
export function decodeFromWire(wire: WireDecode): DecodeVolumeCommand {
  return {
    ...shardCommandFromWire(wire),
    collection: wire.collection,
    sources: placesFromWire(wire.sources),
    livingOnly: wire.livingOnly,
    politeness: wirePoliteness(wire.politeness),
  }
}

export function decodeProgressToWire(progress: DecodeProgress): DecodeProgress {
  return { ...shardProgressToWire(progress), directoryId: progress.directoryId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function decodeProgressFromWire(wire: DecodeProgress): DecodeProgress {
  return { ...shardProgressFromWire(wire), directoryId: wire.directoryId }
}

export function verifyToWire(command: VerifyShardsCommand): WireVerify {
  const { volumeId, runId, shards, politeness } = command
  return { volumeId, runId, shards, politeness }
}

/** @throws {StoreError} REQUEST_INVALID */
export function verifyFromWire(wire: WireVerify): VerifyShardsCommand {
  return {
    ...shardRunFromWire(wire),
    shards: shardNumbersFromWire(wire.shards),
    politeness: wirePoliteness(wire.politeness),
  }
}

export function verifyProgressToWire(progress: VerifyProgress): VerifyProgress {
  return { ...shardProgressToWire(progress), badBlocks: progress.badBlocks.map(blockOf) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function verifyProgressFromWire(wire: VerifyProgress): VerifyProgress {
  return { ...shardProgressFromWire(wire), badBlocks: wire.badBlocks.map(blockFromWire) }
}

export function healShardsToWire(command: HealShardsCommand): WireHealShards {
  const sources = command.sources.map(placeToWire)
  return { ...shardCommandToWire(command), blocks: command.blocks.map(blockOf), sources }
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.healBlocksMax`. */
export function healShardsFromWire(wire: WireHealShards): HealShardsCommand {
  return {
    ...shardCommandFromWire(wire),
    blocks: wireAtMost(wire.blocks, LIMITS.healBlocksMax.value, 'blocks').map(blockFromWire),
    sources: placesFromWire(wire.sources),
  }
}

export type DeleteShardsCommand = ShardCommand & { readonly shards: readonly number[] }

export function deleteShardsToWire(command: DeleteShardsCommand): WireDeleteShards {
  return { ...shardCommandToWire(command), shards: command.shards }
}

/** @throws {StoreError} REQUEST_INVALID */
export function deleteShardsFromWire(wire: WireDeleteShards): DeleteShardsCommand {
  return { ...shardCommandFromWire(wire), shards: shardNumbersFromWire(wire.shards) }
}

export type JournalDeletesCommand = ShardCommand & { readonly needleIds: readonly NeedleId[] }

export function journalDeletesToWire(command: JournalDeletesCommand): WireJournalDeletes {
  return { ...shardCommandToWire(command), needleIds: command.needleIds.map(formatNeedleId) }
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.journalPageMax`. */
export function journalDeletesFromWire(wire: WireJournalDeletes): JournalDeletesCommand {
  return { ...shardCommandFromWire(wire), needleIds: journalPageFromWire(wire) }
}

export function journalPageToWire(needleIds: readonly NeedleId[]): WireJournalPage {
  return { needleIds: needleIds.map(formatNeedleId) }
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.journalPageMax`. */
export function journalPageFromWire({ needleIds }: WireJournalPage): NeedleId[] {
  return wireAtMost(needleIds, LIMITS.journalPageMax.value, 'needles').map(wireNeedleId)
}

export type ShardRun = Pick<ReadShardRequest, 'volumeId' | 'runId'>

export function shardRunToWire({ volumeId, runId }: ShardRun): WireShardRun {
  return { volumeId, runId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function shardRunFromWire({ volumeId, runId }: WireShardRun): ShardRun {
  return { volumeId: wireVolumeId(volumeId), runId: runIdFromWire(runId) }
}

export function streamShardToWire(request: ReadShardRequest): WireStreamShard {
  const { volumeId, runId, shard, offsetBytes, lengthBytes } = request
  return { volumeId, runId, shard, offsetBytes, lengthBytes }
}

/** @throws {StoreError} REQUEST_INVALID */
export function streamShardFromWire(wire: WireStreamShard): ReadShardRequest {
  return {
    ...shardRunFromWire(wire),
    shard: shardNumberFromWire(wire.shard),
    offsetBytes: wireNumber(wire.offsetBytes, 'an offset'),
    lengthBytes: wireNumber(wire.lengthBytes, 'a length'),
  }
}

export function readShardToWire(request: ReadShardSlicesRequest): WireReadShard {
  const { sliceCount, strideBytes } = request
  return { ...streamShardToWire(request), sliceCount, strideBytes }
}

/** @throws {StoreError} REQUEST_INVALID */
export function readShardFromWire(wire: WireReadShard): ReadShardSlicesRequest {
  return {
    ...streamShardFromWire(wire),
    sliceCount: wire.sliceCount,
    strideBytes: wireNumber(wire.strideBytes, 'a distance'),
  }
}

export function shardFilePieceToWire(piece: ShardFilePiece): WireShardFilePiece {
  const { extension, offsetBytes, data } = piece
  return { extension, offsetBytes, data }
}

/** `data` is a view on its message. @throws {StoreError} REQUEST_INVALID */
export function shardFilePieceFromWire(wire: WireShardFilePiece): ShardFilePiece {
  return {
    extension: wireWord(wire.extension, EXTENSIONS, 'the extension of a file'),
    offsetBytes: wireNumber(wire.offsetBytes, 'an offset'),
    data: wire.data,
  }
}

function blockOf({ shard, block }: ShardBlock): ShardBlock {
  return { shard, block }
}

function blockFromWire({ shard, block }: ShardBlock): ShardBlock {
  return { shard: shardNumberFromWire(shard), block: wireNumber(block, 'the number of a block') }
}
