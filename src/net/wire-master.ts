import { formatErasureScheme, parseErasureScheme } from '../base/erasure-scheme.ts'
import { formatFileId, parseFileId } from '../base/file-id.ts'
import { formatNeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { formatTtl, parseTtl } from '../base/ttl.ts'
import type {
  AssignRequest,
  ClusterStatistics,
  CollectionReport,
  CollectionSettings,
  DirtyKind,
  DirtyRecord,
  GrowRequest,
  Heartbeat,
  HeartbeatAnswer,
  Lease,
  ListNamesRequest,
  LocationsUpdate,
  MasterStatus,
  NamedFile,
} from './master-api.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import {
  diskReportFromWire,
  diskReportToWire,
  volumeLocationsFromWire,
  volumeLocationsToWire,
  volumeReportFromWire,
  volumeReportToWire,
  type WireDiskReport,
  type WireVolumeLocations,
  type WireVolumeReport,
  writePolicyFromWire,
} from './wire-reports.ts'
import { shardReportFromWire, shardReportToWire, type WireShardReport } from './wire-stripes.ts'
import {
  placementToWire,
  wireAtMost,
  wireNeedleId,
  wireNumber,
  wirePlacement,
  wireVolumeId,
  wireWord,
} from './wire-values.ts'

/** Messages of master.proto, as the loader shows them, and back. */

export interface WireGrow {
  readonly count: number
  readonly collection: string
  readonly replication: string
  readonly ttl: string
  readonly dataCenter: string
  readonly rack: string
  readonly node: string
}

export interface WireAssign extends WireGrow {
  readonly excludedVolumeIds: readonly number[]
  readonly dataBytes: number
  readonly key: string
}

export interface WireLease {
  readonly volumeId: number
  readonly firstNeedleId: string
  readonly count: number
  readonly locations: readonly WireNode[]
  readonly writeToken: string
  readonly validMs: number
}

export interface WireLocationsUpdate {
  readonly isSnapshot: boolean
  readonly volumes: readonly WireVolumeLocations[]
  readonly removedVolumeIds: readonly number[]
}

export interface WireHeartbeat {
  readonly node: WireNode | null
  readonly isFull: boolean
  readonly volumes: readonly WireVolumeReport[]
  readonly removedVolumeIds: readonly number[]
  readonly disks: readonly WireDiskReport[]
  readonly highestNeedleId: string
  readonly inFlightCount: number
  readonly epoch: number
  readonly isLeaving: boolean
  readonly shards: readonly WireShardReport[]
}

export interface WireLinkName {
  readonly name: string
  readonly fileId: string
  readonly dataBytes: number
}

export interface WireNamedFile extends WireLinkName {
  readonly modifiedAtMs: number
}

export interface WireCollection
  extends Omit<CollectionReport, 'replication' | 'writePolicy' | 'erasure'> {
  readonly replication: string
  readonly writePolicy: string
  readonly erasure: string
}

export interface WireCollections {
  readonly collections: readonly WireCollection[]
}

export interface WireCollectionSettings {
  readonly collection: string
  readonly replication: string
  readonly writePolicy: string
  readonly erasure: string
}

export interface WireDirtyRecord {
  readonly volumeId: number
  readonly needleId: string
  readonly kind: string
  readonly reportedBy: string
  readonly unreached: readonly string[]
}

export interface WireDirtyRecords {
  readonly records: readonly WireDirtyRecord[]
}

export interface WireVolumeIds {
  readonly volumeIds: readonly number[]
}

export interface WireLookupAnswer {
  readonly volumes: readonly WireVolumeLocations[]
}

export interface WireNames {
  readonly files: readonly WireNamedFile[]
}

export const DIRTY_KINDS = ['put', 'delete', 'check'] as const satisfies readonly DirtyKind[]

export function growToWire(request: GrowRequest): WireGrow {
  const { count, collection, replication, dataCenter, rack, node } = request
  return {
    count,
    collection,
    replication: placementToWire(replication),
    ttl: formatTtl(request.ttl),
    dataCenter,
    rack,
    node,
  }
}

/** @throws {StoreError} REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function growFromWire(wire: WireGrow): GrowRequest {
  const { count, collection, dataCenter, rack, node } = wire
  const replication = wirePlacement(wire.replication)
  return { count, collection, replication, ttl: parseTtl(wire.ttl), dataCenter, rack, node }
}

export function assignToWire(request: AssignRequest): WireAssign {
  const { excludedVolumeIds, dataBytes, key } = request
  return { ...growToWire(request), excludedVolumeIds, dataBytes, key }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function assignFromWire(wire: WireAssign): AssignRequest {
  return {
    ...growFromWire(wire),
    excludedVolumeIds: wire.excludedVolumeIds.map(wireVolumeId),
    dataBytes: wireNumber(wire.dataBytes, 'bytes to write'),
    key: wire.key,
  }
}

export function leaseToWire(lease: Lease): WireLease {
  const { volumeId, count, writeToken, validMs } = lease
  return {
    volumeId,
    firstNeedleId: formatNeedleId(lease.firstNeedleId),
    count,
    locations: lease.locations.map(nodeToWire),
    writeToken,
    validMs,
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function leaseFromWire(wire: WireLease): Lease {
  return {
    volumeId: wireVolumeId(wire.volumeId),
    firstNeedleId: wireNeedleId(wire.firstNeedleId),
    count: wire.count,
    locations: wire.locations.map(nodeFromWire),
    writeToken: wire.writeToken,
    validMs: wire.validMs,
  }
}

export function updateToWire(update: LocationsUpdate): WireLocationsUpdate {
  const { isSnapshot, removedVolumeIds } = update
  return { isSnapshot, volumes: update.volumes.map(volumeLocationsToWire), removedVolumeIds }
}

/** @throws {StoreError} REQUEST_INVALID */
export function updateFromWire(wire: WireLocationsUpdate): LocationsUpdate {
  return {
    isSnapshot: wire.isSnapshot,
    volumes: wire.volumes.map(volumeLocationsFromWire),
    removedVolumeIds: wire.removedVolumeIds.map(wireVolumeId),
  }
}

export function heartbeatToWire(beat: Heartbeat): WireHeartbeat {
  return {
    node: nodeToWire(beat.node),
    isFull: beat.isFull,
    volumes: beat.volumes.map(volumeReportToWire),
    removedVolumeIds: beat.removedVolumeIds,
    disks: beat.disks.map(diskReportToWire),
    highestNeedleId: formatNeedleId(beat.highestNeedleId),
    inFlightCount: beat.inFlightCount,
    epoch: beat.epoch,
    isLeaving: beat.isLeaving,
    shards: (beat.shards ?? []).map(shardReportToWire),
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function heartbeatFromWire(wire: WireHeartbeat): Heartbeat {
  return {
    node: nodeFromWire(wire.node),
    isFull: wire.isFull,
    volumes: wire.volumes.map(volumeReportFromWire),
    removedVolumeIds: wire.removedVolumeIds.map(wireVolumeId),
    disks: wire.disks.map(diskReportFromWire),
    highestNeedleId: wireNeedleId(wire.highestNeedleId),
    inFlightCount: wire.inFlightCount,
    epoch: wireNumber(wire.epoch, 'an epoch'),
    isLeaving: wire.isLeaving,
    shards: wire.shards.map(shardReportFromWire),
  }
}

export function answerToWire(answer: HeartbeatAnswer): HeartbeatAnswer {
  const { isLeader, leader, epoch, intervalMs, volumeSizeMaxBytes, clusterId } = answer
  return { isLeader, leader, epoch, intervalMs, volumeSizeMaxBytes, clusterId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function answerFromWire(wire: HeartbeatAnswer): HeartbeatAnswer {
  return {
    isLeader: wire.isLeader,
    leader: wire.leader,
    epoch: wireNumber(wire.epoch, 'an epoch'),
    intervalMs: wire.intervalMs,
    volumeSizeMaxBytes: wireNumber(wire.volumeSizeMaxBytes, 'the size of a volume'),
    clusterId: wire.clusterId,
  }
}

export function collectionToWire(report: CollectionReport): WireCollection {
  const { collection, volumeCount, liveNeedles, liveBytes, datBytes, writePolicy, erasure } = report
  return {
    collection,
    volumeCount,
    liveNeedles,
    liveBytes,
    datBytes,
    replication: placementToWire(report.replication),
    writePolicy,
    erasure: erasure === undefined ? '' : formatErasureScheme(erasure),
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function collectionFromWire(wire: WireCollection): CollectionReport {
  return {
    collection: wire.collection,
    volumeCount: wire.volumeCount,
    liveNeedles: wireNumber(wire.liveNeedles, 'live needles'),
    liveBytes: wireNumber(wire.liveBytes, 'live bytes'),
    datBytes: wireNumber(wire.datBytes, 'bytes of .dat'),
    replication: wirePlacement(wire.replication),
    writePolicy: writePolicyFromWire(wire.writePolicy),
    ...(wire.erasure !== '' && { erasure: parseErasureScheme(wire.erasure) }),
  }
}

export function settingsToWire(settings: CollectionSettings): WireCollectionSettings {
  const { collection, replication, writePolicy, erasure } = settings
  return {
    collection,
    replication: placementToWire(replication),
    writePolicy: writePolicy ?? '',
    erasure:
      erasure === undefined || erasure === 'off' ? (erasure ?? '') : formatErasureScheme(erasure),
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function settingsFromWire(wire: WireCollectionSettings): CollectionSettings {
  const { collection, writePolicy, erasure } = wire
  return {
    collection,
    replication: wirePlacement(wire.replication),
    writePolicy: writePolicy === '' ? undefined : writePolicyFromWire(writePolicy),
    ...(erasure !== '' && { erasure: erasure === 'off' ? erasure : parseErasureScheme(erasure) }),
  }
}

export function dirtyRecordsToWire(records: readonly DirtyRecord[]): WireDirtyRecords {
  return {
    records: records.map(({ volumeId, needleId, kind, reportedBy, unreached }) => ({
      volumeId,
      needleId: formatNeedleId(needleId),
      kind,
      reportedBy,
      unreached,
    })),
  }
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.dirtyRecordsMax`. */
export function dirtyRecordsFromWire(wire: WireDirtyRecords): DirtyRecord[] {
  const records = wireAtMost(wire.records, LIMITS.dirtyRecordsMax.value, 'dirty needles')
  return records.map((record) => ({
    volumeId: wireVolumeId(record.volumeId),
    needleId: wireNeedleId(record.needleId),
    kind: wireWord(record.kind, DIRTY_KINDS, 'why a needle is dirty'),
    reportedBy: record.reportedBy,
    unreached: record.unreached,
  }))
}

export function statisticsToWire(statistics: ClusterStatistics): ClusterStatistics {
  return statisticsFromWire(statistics)
}

/** @throws {StoreError} REQUEST_INVALID */
export function statisticsFromWire(wire: ClusterStatistics): ClusterStatistics {
  return {
    nodeCount: wire.nodeCount,
    nodesUp: wire.nodesUp,
    volumeCount: wire.volumeCount,
    liveNeedles: wireNumber(wire.liveNeedles, 'live needles'),
    liveBytes: wireNumber(wire.liveBytes, 'live bytes'),
    garbageBytes: wireNumber(wire.garbageBytes, 'garbage bytes'),
    totalBytes: wireNumber(wire.totalBytes, 'bytes of all disks'),
    freeBytes: wireNumber(wire.freeBytes, 'free bytes'),
    volumesAtRisk: wire.volumesAtRisk,
  }
}

export function statusToWire(status: MasterStatus): MasterStatus {
  const { isLeader, leader, epoch, isWarming, version, clusterId } = status
  return { isLeader, leader, epoch, isWarming, version, clusterId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function statusFromWire(wire: MasterStatus): MasterStatus {
  return { ...statusToWire(wire), epoch: wireNumber(wire.epoch, 'an epoch') }
}

export function linkNameToWire(file: Omit<NamedFile, 'modifiedAtMs'>): WireLinkName {
  return { name: file.name, fileId: formatFileId(file.fileId), dataBytes: file.dataBytes }
}

/** @throws {StoreError} REQUEST_INVALID, FILE_ID_INVALID. */
export function linkNameFromWire(wire: WireLinkName): Omit<NamedFile, 'modifiedAtMs'> {
  return {
    name: wire.name,
    fileId: parseFileId(wire.fileId),
    dataBytes: wireNumber(wire.dataBytes, 'bytes of a file'),
  }
}

export function namedFileToWire(file: NamedFile): WireNamedFile {
  return { ...linkNameToWire(file), modifiedAtMs: file.modifiedAtMs }
}

/** @throws {StoreError} REQUEST_INVALID, FILE_ID_INVALID. */
export function namedFileFromWire(wire: WireNamedFile): NamedFile {
  return { ...linkNameFromWire(wire), modifiedAtMs: wireNumber(wire.modifiedAtMs, 'a time') }
}

/** In both directions: there is nothing in it that could be wrong by itself. */
export function listNamesRequest(request: ListNamesRequest): ListNamesRequest {
  return { prefix: request.prefix, after: request.after, limit: request.limit }
}
