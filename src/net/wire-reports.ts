import { formatReplicaPlacement, parseReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, parseTtl } from '../base/ttl.ts'
import type {
  DiskReport,
  ReportedVolumeState,
  VolumeLocations,
  VolumeReport,
  WritePolicy,
} from './master-api.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import {
  stripeLocationsFromWire,
  stripeLocationsToWire,
  type WireStripeLocations,
} from './wire-stripes.ts'
import { digestFromWire, wireNumber, wireRatio, wireVolumeId, wireWord } from './wire-values.ts'

/** What masters and volume servers both say about volumes and disks. */

export interface WireVolumeLocations {
  readonly volumeId: number
  readonly collection: string
  readonly locations: readonly WireNode[]
  readonly writePolicy: string
  readonly stripe: WireStripeLocations | null
}

export interface WireVolumeReport extends Omit<VolumeReport, 'volumeId' | 'replication' | 'ttl'> {
  readonly volumeId: number
  readonly replication: string
  readonly ttl: string
}

export type WireDiskReport = DiskReport

const VOLUME_STATES = [
  'writable',
  'sealed',
  'read-only',
  'failed',
  'damaged',
] as const satisfies readonly ReportedVolumeState[]

const WRITE_POLICIES = ['all', 'best-effort'] as const satisfies readonly WritePolicy[]

/** @throws {StoreError} REQUEST_INVALID */
export function writePolicyFromWire(text: string): WritePolicy {
  return wireWord(text, WRITE_POLICIES, 'a write policy')
}

export function volumeLocationsToWire(volume: VolumeLocations): WireVolumeLocations {
  const { volumeId, collection, writePolicy, stripe } = volume
  return {
    volumeId,
    collection,
    locations: volume.locations.map(nodeToWire),
    writePolicy,
    stripe: stripe === undefined ? null : stripeLocationsToWire(stripe),
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function volumeLocationsFromWire(wire: WireVolumeLocations): VolumeLocations {
  return {
    volumeId: wireVolumeId(wire.volumeId),
    collection: wire.collection,
    locations: wire.locations.map(nodeFromWire),
    writePolicy: writePolicyFromWire(wire.writePolicy),
    ...(wire.stripe !== null && { stripe: stripeLocationsFromWire(wire.stripe) }),
  }
}

export function volumeReportToWire(report: VolumeReport): WireVolumeReport {
  return {
    volumeId: report.volumeId,
    collection: report.collection,
    replication: formatReplicaPlacement(report.replication),
    ttl: formatTtl(report.ttl),
    state: report.state,
    reason: report.reason,
    liveNeedles: report.liveNeedles,
    liveBytes: report.liveBytes,
    garbageBytes: report.garbageBytes,
    datBytes: report.datBytes,
    compactionRevision: report.compactionRevision,
    directoryId: report.directoryId,
    modifiedAtS: report.modifiedAtS,
    digest: report.digest,
    requestsPerS: report.requestsPerS,
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function volumeReportFromWire(wire: WireVolumeReport): VolumeReport {
  return {
    volumeId: wireVolumeId(wire.volumeId),
    collection: wire.collection,
    replication: parseReplicaPlacement(wire.replication),
    ttl: parseTtl(wire.ttl),
    state: wireWord(wire.state, VOLUME_STATES, 'the state of a volume'),
    reason: wire.reason,
    liveNeedles: wireNumber(wire.liveNeedles, 'live needles'),
    liveBytes: wireNumber(wire.liveBytes, 'live bytes'),
    garbageBytes: wireNumber(wire.garbageBytes, 'garbage bytes'),
    datBytes: wireNumber(wire.datBytes, 'bytes of .dat'),
    compactionRevision: wireNumber(wire.compactionRevision, 'compaction revision'),
    directoryId: wire.directoryId,
    modifiedAtS: wireNumber(wire.modifiedAtS, 'time of change'),
    digest: digestFromWire(wire.digest),
    requestsPerS: wireRatio(wire.requestsPerS, 'requests a second'),
  }
}

export function diskReportToWire(report: DiskReport): WireDiskReport {
  const { directoryId, path, totalBytes, freeBytes, reserveBytes } = report
  const { quarantinedCount, clusterId } = report
  return { directoryId, path, totalBytes, freeBytes, reserveBytes, quarantinedCount, clusterId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function diskReportFromWire(wire: WireDiskReport): DiskReport {
  return {
    directoryId: wire.directoryId,
    path: wire.path,
    totalBytes: wireNumber(wire.totalBytes, 'bytes of a disk'),
    freeBytes: wireNumber(wire.freeBytes, 'free bytes'),
    reserveBytes: wireNumber(wire.reserveBytes, 'reserved bytes'),
    quarantinedCount: wireNumber(wire.quarantinedCount, 'quarantined files'),
    clusterId: wire.clusterId,
  }
}
