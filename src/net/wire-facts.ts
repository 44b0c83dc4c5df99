import { formatNeedleId, type NeedleId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { formatReplicaPlacement, parseReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, parseTtl } from '../base/ttl.ts'
import type {
  ChooseTargetRequest,
  DirtyNeedle,
  MembersChange,
  NextMove,
  ScrubNote,
  VacuumNote,
  VolumeCopyFacts,
  VolumeFacts,
} from './jobs-api.ts'
import { DIRTY_KINDS } from './wire-master.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import {
  volumeReportFromWire,
  volumeReportToWire,
  type WireVolumeReport,
  writePolicyFromWire,
} from './wire-reports.ts'
import {
  strayShardsFromWire,
  strayShardsToWire,
  stripeFromWire,
  stripeToWire,
  type WireStrayShards,
  type WireStripeFacts,
} from './wire-stripes.ts'
import { wireAtMost, wireNeedleId, wireNumber, wireVolumeId, wireWord } from './wire-values.ts'

/** Messages of jobs.proto about volumes, their copies and needles, and back. */

export interface WireCopyFacts {
  readonly location: WireNode | null
  readonly report: WireVolumeReport | null
  readonly isUp: boolean
  readonly directoryId: string
  readonly isLost: boolean
}

export interface WireFacts {
  readonly volumeId: number
  readonly collection: string
  readonly replication: string
  readonly ttl: string
  readonly writePolicy: string
  readonly setVersion: number
  readonly members: readonly WireCopyFacts[]
  readonly strays: readonly WireCopyFacts[]
  readonly isDeleted: boolean
  readonly dirtyCount: number
  readonly stripe: WireStripeFacts | null
  readonly strayShards: readonly WireStrayShards[]
}

export interface WireListVolumes {
  readonly collection?: string | undefined
}

export interface WireChooseTarget {
  readonly volumeId: number
  readonly replaces: string
  readonly excluded: readonly string[]
}

export interface WireMembersChange {
  readonly jobId: number
  readonly token: string
  readonly volumeId: number
  readonly setVersion: number
  readonly add: readonly { readonly url: string; readonly directoryId: string }[]
  readonly removeDirectoryIds: readonly string[]
}

export interface WireListDirty {
  readonly volumeId: number
  readonly after: string
}

export interface WireDirtyNeedle {
  readonly needleId: string
  readonly kind: string
  readonly recordedAtMs: number
}

export interface WireDirtyNeedles {
  readonly needles: readonly WireDirtyNeedle[]
}

export interface WireResolveDirty extends WireDirtyNeedles {
  readonly volumeId: number
}

export interface WireVacuumNote {
  readonly volumeId: number
  readonly directoryId: string
  readonly compactionRevision: number
}

export interface WireScrubNote {
  readonly volumeId: number
  readonly directoryId: string
  readonly bytes: number
  readonly damageCount: number
}

export interface WireForgetVolume {
  readonly jobId: number
  readonly token: string
  readonly volumeId: number
}

export interface WireMove {
  readonly volumeId: number
  readonly from: WireNode | null
  readonly to: WireNode | null
}

export interface WireNextMove {
  readonly move: WireMove | null
}

const MOVE_KINDS = ['rebalance', 'evacuate'] as const

export function copyFactsToWire(copy: VolumeCopyFacts): WireCopyFacts {
  const { location, report, isUp, directoryId, isLost } = copy
  return {
    location: nodeToWire(location),
    report: report === undefined ? null : volumeReportToWire(report),
    isUp,
    directoryId,
    isLost,
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function copyFactsFromWire(wire: WireCopyFacts): VolumeCopyFacts {
  const { location, report, isUp, directoryId, isLost } = wire
  return {
    location: nodeFromWire(location),
    report: report === null ? undefined : volumeReportFromWire(report),
    isUp,
    directoryId,
    isLost,
  }
}

export function factsToWire(facts: VolumeFacts): WireFacts {
  const { volumeId, collection, writePolicy, setVersion, isDeleted, dirtyCount, stripe } = facts
  return {
    volumeId,
    collection,
    replication: formatReplicaPlacement(facts.replication),
    ttl: formatTtl(facts.ttl),
    writePolicy,
    setVersion,
    members: facts.members.map(copyFactsToWire),
    strays: facts.strays.map(copyFactsToWire),
    isDeleted,
    dirtyCount,
    stripe: stripe === undefined ? null : stripeToWire(stripe),
    strayShards: (facts.strayShards ?? []).map(strayShardsToWire),
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function factsFromWire(wire: WireFacts): VolumeFacts {
  return {
    volumeId: wireVolumeId(wire.volumeId),
    collection: wire.collection,
    replication: parseReplicaPlacement(wire.replication),
    ttl: parseTtl(wire.ttl),
    writePolicy: writePolicyFromWire(wire.writePolicy),
    setVersion: wireNumber(wire.setVersion, 'the version of a set'),
    members: wire.members.map(copyFactsFromWire),
    strays: wire.strays.map(copyFactsFromWire),
    isDeleted: wire.isDeleted,
    dirtyCount: wire.dirtyCount,
    ...(wire.stripe !== null && { stripe: stripeFromWire(wire.stripe) }),
    ...(wire.strayShards.length > 0 && { strayShards: wire.strayShards.map(strayShardsFromWire) }),
  }
}

export function chooseTargetToWire(request: ChooseTargetRequest): WireChooseTarget {
  return {
    volumeId: request.volumeId,
    replaces: request.replaces,
    excluded: request.excluded,
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function chooseTargetFromWire(wire: WireChooseTarget): ChooseTargetRequest {
  const { replaces, excluded } = wire
  return { volumeId: wireVolumeId(wire.volumeId), replaces, excluded }
}

export function membersChangeToWire(change: MembersChange): WireMembersChange {
  const { jobId, token, volumeId, setVersion, removeDirectoryIds } = change
  const add = change.add.map(({ url, directoryId }) => ({ url, directoryId }))
  return { jobId, token, volumeId, setVersion, add, removeDirectoryIds }
}

/** @throws {StoreError} REQUEST_INVALID */
export function membersChangeFromWire(wire: WireMembersChange): MembersChange {
  return {
    jobId: wireNumber(wire.jobId, 'the number of a job'),
    token: wire.token,
    volumeId: wireVolumeId(wire.volumeId),
    setVersion: wireNumber(wire.setVersion, 'the version of a set'),
    add: wire.add.map(({ url, directoryId }) => ({ url, directoryId })),
    removeDirectoryIds: wire.removeDirectoryIds,
  }
}

export interface ListDirtyRequest {
  readonly volumeId: VolumeId
  readonly after: NeedleId | undefined
}

export function listDirtyToWire(request: ListDirtyRequest): WireListDirty {
  const { volumeId, after } = request
  return { volumeId, after: after === undefined ? '' : formatNeedleId(after) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function listDirtyFromWire(wire: WireListDirty): ListDirtyRequest {
  const { after } = wire
  const id = after === '' ? undefined : wireNeedleId(after)
  return { volumeId: wireVolumeId(wire.volumeId), after: id }
}

export function dirtyNeedlesToWire(needles: readonly DirtyNeedle[]): WireDirtyNeedles {
  return {
    needles: needles.map(({ needleId, kind, recordedAtMs }) => {
      return { needleId: formatNeedleId(needleId), kind, recordedAtMs }
    }),
  }
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.dirtyListMax`. */
export function dirtyNeedlesFromWire(wire: WireDirtyNeedles): DirtyNeedle[] {
  const needles = wireAtMost(wire.needles, LIMITS.dirtyListMax.value, 'dirty needles')
  return needles.map(({ needleId, kind, recordedAtMs }) => ({
    needleId: wireNeedleId(needleId),
    kind: wireWord(kind, DIRTY_KINDS, 'why a needle is dirty'),
    recordedAtMs: wireNumber(recordedAtMs, 'a time'),
  }))
}

export function vacuumNoteToWire(note: VacuumNote): WireVacuumNote {
  const { volumeId, directoryId, compactionRevision } = note
  return { volumeId, directoryId, compactionRevision }
}

/** @throws {StoreError} REQUEST_INVALID */
export function vacuumNoteFromWire(wire: WireVacuumNote): VacuumNote {
  const { directoryId, compactionRevision } = wire
  return { volumeId: wireVolumeId(wire.volumeId), directoryId, compactionRevision }
}

export function scrubNoteToWire(note: ScrubNote): WireScrubNote {
  const { volumeId, directoryId, bytes, damageCount } = note
  return { volumeId, directoryId, bytes, damageCount }
}

/** @throws {StoreError} REQUEST_INVALID */
export function scrubNoteFromWire(wire: WireScrubNote): ScrubNote {
  const { directoryId, damageCount } = wire
  const bytes = wireNumber(wire.bytes, 'bytes')
  return { volumeId: wireVolumeId(wire.volumeId), directoryId, bytes, damageCount }
}

export interface ForgetVolumeRequest {
  readonly jobId: number
  readonly token: string
  readonly volumeId: VolumeId
}

export function forgetVolumeToWire(request: ForgetVolumeRequest): WireForgetVolume {
  const { jobId, token, volumeId } = request
  return { jobId, token, volumeId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function forgetVolumeFromWire(wire: WireForgetVolume): ForgetVolumeRequest {
  const jobId = wireNumber(wire.jobId, 'the number of a job')
  return { jobId, token: wire.token, volumeId: wireVolumeId(wire.volumeId) }
}

export interface NextMoveRequest {
  readonly kind: (typeof MOVE_KINDS)[number]
  readonly node: string
}

/** @throws {StoreError} REQUEST_INVALID */
export function nextMoveRequestFromWire(wire: {
  readonly kind: string
  readonly node: string
}): NextMoveRequest {
  return { kind: wireWord(wire.kind, MOVE_KINDS, 'why a volume is moved'), node: wire.node }
}

export function moveToWire(move: NextMove): WireMove {
  const { volumeId, from, to } = move
  return { volumeId, from: nodeToWire(from), to: nodeToWire(to) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function moveFromWire(wire: WireMove): NextMove {
  const { volumeId, from, to } = wire
  return { volumeId: wireVolumeId(volumeId), from: nodeFromWire(from), to: nodeFromWire(to) }
}
