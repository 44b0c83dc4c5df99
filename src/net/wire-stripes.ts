import {
  ERASURE_SHARDS_MAX,
  type ErasureScheme,
  isErasureScheme,
  shardCountOf,
} from '../base/erasure-scheme.ts'
import { formatReplicaPlacement, parseReplicaPlacement } from '../base/replica-placement.ts'
import { quote } from '../base/store-error.ts'
import type {
  ChooseShardsRequest,
  NewShard,
  ShardFacts,
  ShardMove,
  ShardPlace,
  ShardReport,
  StrayShards,
  StripeChange,
  StripeFacts,
  StripeLocations,
} from './stripe-facts.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import { digestFromWire, invalid, wireNumber, wireRatio, wireVolumeId } from './wire-values.ts'

/** Messages about erasure-coded volumes that masters and volume servers share, and back. */

export interface WireScheme {
  readonly dataShards: number
  readonly parityShards: number
}

export interface WireShardReport extends Omit<ShardReport, 'volumeId' | 'replication'> {
  readonly volumeId: number
  readonly replication: string
}

export interface WireShardPlace {
  readonly shard: number
  readonly location: WireNode | null
}

export interface WireStripeLocations extends WireScheme {
  readonly runId: string
  readonly shards: readonly WireShardPlace[]
}

export interface WireShardFacts {
  readonly shard: number
  readonly location: WireNode | null
  readonly directoryId: string
  readonly report: WireShardReport | null
  readonly isUp: boolean
  readonly isLost: boolean
  readonly isBad: boolean
}

export interface WireStripeFacts extends WireScheme {
  readonly runId: string
  readonly shards: readonly WireShardFacts[]
}

export interface WireStrayShards {
  readonly location: WireNode | null
  readonly directoryId: string
  readonly runId: string
  readonly shards: readonly number[]
  readonly isUp: boolean
}

export interface WireStripeChange extends WireScheme {
  readonly jobId: number
  readonly token: string
  readonly volumeId: number
  readonly setVersion: number
  readonly runId: string
  readonly shards: readonly NewShard[]
}

export interface WireChooseShards extends WireScheme {
  readonly volumeId: number
  readonly kept: readonly { readonly shard: number; readonly url: string }[]
  readonly wanted: readonly number[]
  readonly shardBytes: number
  readonly excluded: readonly string[]
}

export interface WireShardPlaces {
  readonly places: readonly WireShardPlace[]
}

export interface WireShardMove {
  readonly shard: number
  readonly from: WireNode | null
  readonly fromDirectoryId: string
  readonly to: WireNode | null
}

export interface WireNextShardMove {
  readonly move: WireShardMove | null
}

/** @throws {StoreError} REQUEST_INVALID: numbers of shards that cannot be made. */
export function schemeFromWire({ dataShards, parityShards }: WireScheme): ErasureScheme {
  if (isErasureScheme({ dataShards, parityShards })) return { dataShards, parityShards }
  throw invalid(`${dataShards}+${parityShards} shards cannot be made`)
}

/**
 * The name of a run is part of paths, and a number in `.vif` files: one number has one name.
 *
 * @throws {StoreError} REQUEST_INVALID: not 1 to 20 decimal digits, the first of them 0.
 */
export function runIdFromWire(text: string): string {
  if (/^[1-9]\d{0,19}$/.test(text)) return text
  throw invalid(`${quote(text)} names no run of the encoder`)
}

/** Without a scheme any can be meant. */
const SHARDS_MAX = ERASURE_SHARDS_MAX.data + ERASURE_SHARDS_MAX.parity

/** @throws {StoreError} REQUEST_INVALID: the volume has fewer shards. */
export function shardNumberFromWire(shard: number, scheme?: ErasureScheme): number {
  const end = scheme === undefined ? SHARDS_MAX : shardCountOf(scheme)
  if (Number.isInteger(shard) && shard >= 0 && shard < end) return shard
  throw invalid(`shard ${shard} of ${end}`)
}

/** In any order. @throws {StoreError} REQUEST_INVALID: the volume has fewer, or one is twice. */
export function shardNumbersFromWire(
  shards: readonly number[],
  scheme?: ErasureScheme,
): readonly number[] {
  for (const shard of shards) shardNumberFromWire(shard, scheme)
  if (new Set(shards).size === shards.length) return shards
  throw invalid('a shard is named twice')
}

/** As reports have them. @throws {StoreError} REQUEST_INVALID: also if they do not ascend. */
function ascendingFromWire(shards: readonly number[], scheme?: ErasureScheme): readonly number[] {
  const isAscending = shards.every((shard, index) => shard > (shards[index - 1] ?? -1))
  if (isAscending) return shardNumbersFromWire(shards, scheme)
  throw invalid('shards in another order than their numbers')
}

export function shardReportToWire(report: ShardReport): WireShardReport {
  return {
    volumeId: report.volumeId,
    collection: report.collection,
    replication: formatReplicaPlacement(report.replication),
    dataShards: report.dataShards,
    parityShards: report.parityShards,
    runId: report.runId,
    directoryId: report.directoryId,
    shards: report.shards,
    badShards: report.badShards,
    shardBytes: report.shardBytes,
    datBytes: report.datBytes,
    liveNeedles: report.liveNeedles,
    liveBytes: report.liveBytes,
    garbageBytes: report.garbageBytes,
    journalDigest: report.journalDigest,
    modifiedAtS: report.modifiedAtS,
    requestsPerS: report.requestsPerS,
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function shardReportFromWire(wire: WireShardReport): ShardReport {
  const scheme = schemeFromWire(wire)
  return {
    ...scheme,
    volumeId: wireVolumeId(wire.volumeId),
    collection: wire.collection,
    replication: parseReplicaPlacement(wire.replication),
    runId: runIdFromWire(wire.runId),
    directoryId: wire.directoryId,
    shards: ascendingFromWire(wire.shards, scheme),
    badShards: ascendingFromWire(wire.badShards, scheme),
    shardBytes: wireNumber(wire.shardBytes, 'bytes of a shard'),
    datBytes: wireNumber(wire.datBytes, 'bytes of .dat'),
    liveNeedles: wireNumber(wire.liveNeedles, 'live needles'),
    liveBytes: wireNumber(wire.liveBytes, 'live bytes'),
    garbageBytes: wireNumber(wire.garbageBytes, 'garbage bytes'),
    journalDigest: digestFromWire(wire.journalDigest),
    modifiedAtS: wireNumber(wire.modifiedAtS, 'time of change'),
    requestsPerS: wireRatio(wire.requestsPerS, 'requests a second'),
  }
}

export function placeToWire({ shard, location }: ShardPlace): WireShardPlace {
  return { shard, location: nodeToWire(location) }
}

/** @throws {StoreError} REQUEST_INVALID */
function placeFromWire(wire: WireShardPlace, scheme?: ErasureScheme): ShardPlace {
  const { shard, location } = wire
  return { shard: shardNumberFromWire(shard, scheme), location: nodeFromWire(location) }
}

/** A shard may be in several places. @throws {StoreError} REQUEST_INVALID */
export function placesFromWire(
  places: readonly WireShardPlace[],
  scheme?: ErasureScheme,
): readonly ShardPlace[] {
  return places.map((place) => placeFromWire(place, scheme))
}

export function stripeLocationsToWire(stripe: StripeLocations): WireStripeLocations {
  const { dataShards, parityShards, runId } = stripe
  return { dataShards, parityShards, runId, shards: stripe.shards.map(placeToWire) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function stripeLocationsFromWire(wire: WireStripeLocations): StripeLocations {
  const scheme = schemeFromWire(wire)
  const runId = runIdFromWire(wire.runId)
  return { ...scheme, runId, shards: placesFromWire(wire.shards, scheme) }
}

export function stripeToWire(stripe: StripeFacts): WireStripeFacts {
  const { dataShards, parityShards, runId } = stripe
  const shards = stripe.shards.map((facts) => {
    const { shard, location, directoryId, report, isUp, isLost, isBad } = facts
    return {
      shard,
      location: nodeToWire(location),
      directoryId,
      report: report === undefined ? null : shardReportToWire(report),
      isUp,
      isLost,
      isBad,
    }
  })
  return { dataShards, parityShards, runId, shards }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function stripeFromWire(wire: WireStripeFacts): StripeFacts {
  const scheme = schemeFromWire(wire)
  const shards = wire.shards.map((facts, index): ShardFacts => {
    const { shard, location, directoryId, report, isUp, isLost, isBad } = facts
    if (shard !== index) throw invalid(`shard ${shard} in the place of shard ${index}`)
    return {
      shard,
      location: nodeFromWire(location),
      directoryId,
      report: report === null ? undefined : shardReportFromWire(report),
      isUp,
      isLost,
      isBad,
    }
  })
  if (shards.length !== shardCountOf(scheme)) throw invalid(`a stripe of ${shards.length} shards`)
  return { ...scheme, runId: runIdFromWire(wire.runId), shards }
}

export function strayShardsToWire(strays: StrayShards): WireStrayShards {
  const { directoryId, runId, shards, isUp } = strays
  return { location: nodeToWire(strays.location), directoryId, runId, shards, isUp }
}

/** @throws {StoreError} REQUEST_INVALID */
export function strayShardsFromWire(wire: WireStrayShards): StrayShards {
  const { directoryId, isUp } = wire
  const location = nodeFromWire(wire.location)
  const shards = ascendingFromWire(wire.shards)
  return { location, directoryId, runId: runIdFromWire(wire.runId), shards, isUp }
}

export function stripeChangeToWire(change: StripeChange): WireStripeChange {
  const { jobId, token, volumeId, setVersion, dataShards, parityShards, runId } = change
  const shards = change.shards.map(({ shard, url, directoryId }) => ({ shard, url, directoryId }))
  return { jobId, token, volumeId, setVersion, dataShards, parityShards, runId, shards }
}

/** @throws {StoreError} REQUEST_INVALID */
export function stripeChangeFromWire(wire: WireStripeChange): StripeChange {
  const scheme = schemeFromWire(wire)
  return {
    ...scheme,
    jobId: wireNumber(wire.jobId, 'the number of a job'),
    token: wire.token,
    volumeId: wireVolumeId(wire.volumeId),
    setVersion: wireNumber(wire.setVersion, 'the version of a set'),
    runId: runIdFromWire(wire.runId),
    shards: wire.shards.map(({ shard, url, directoryId }) => {
      return { shard: shardNumberFromWire(shard, scheme), url, directoryId }
    }),
  }
}

export function chooseShardsToWire(request: ChooseShardsRequest): WireChooseShards {
  const { volumeId, dataShards, parityShards, wanted, shardBytes, excluded } = request
  const kept = request.kept.map(({ shard, url }) => ({ shard, url }))
  return { volumeId, dataShards, parityShards, kept, wanted, shardBytes, excluded }
}

/** @throws {StoreError} REQUEST_INVALID */
export function chooseShardsFromWire(wire: WireChooseShards): ChooseShardsRequest {
  const scheme = schemeFromWire(wire)
  return {
    ...scheme,
    volumeId: wireVolumeId(wire.volumeId),
    kept: wire.kept.map(({ shard, url }) => {
      return { shard: shardNumberFromWire(shard, scheme), url }
    }),
    wanted: shardNumbersFromWire(wire.wanted, scheme),
    shardBytes: wireNumber(wire.shardBytes, 'bytes of a shard'),
    excluded: wire.excluded,
  }
}

export function shardMoveToWire(move: ShardMove): WireShardMove {
  const { shard, from, fromDirectoryId, to } = move
  return { shard, from: nodeToWire(from), fromDirectoryId, to: nodeToWire(to) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function shardMoveFromWire(wire: WireShardMove): ShardMove {
  const { fromDirectoryId } = wire
  const shard = shardNumberFromWire(wire.shard)
  return { shard, from: nodeFromWire(wire.from), fromDirectoryId, to: nodeFromWire(wire.to) }
}
