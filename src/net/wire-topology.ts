import { formatReplicaPlacement, parseReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, parseTtl } from '../base/ttl.ts'
import type { Topology, TopologyLayout, TopologyNode } from './master-api.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import {
  diskReportFromWire,
  diskReportToWire,
  volumeReportFromWire,
  volumeReportToWire,
  type WireDiskReport,
  type WireVolumeReport,
} from './wire-reports.ts'
import { shardReportFromWire, shardReportToWire, type WireShardReport } from './wire-stripes.ts'
import { wireNumber, wireVolumeId, wireWord } from './wire-values.ts'

/** What `MasterApi.topology` answers, as the loader shows it, and back. */

export interface WireTopologyNode {
  readonly location: WireNode | null
  readonly state: string
  readonly lastHeardMs: number
  readonly disks: readonly WireDiskReport[]
  readonly volumes: readonly WireVolumeReport[]
  readonly shards: readonly WireShardReport[]
  readonly inFlightCount: number
  readonly downSinceMs: number
  readonly isFlapping: boolean
  readonly isDraining: boolean
}

export interface WireTopologyLayout {
  readonly collection: string
  readonly replication: string
  readonly ttl: string
  readonly volumeIds: readonly number[]
  readonly writableVolumeIds: readonly number[]
}

export interface WireTopology {
  readonly clusterId: string
  readonly nodes: readonly WireTopologyNode[]
  readonly layouts: readonly WireTopologyLayout[]
  readonly maxVolumeId: number
  readonly volumeSizeMaxBytes: number
}

const NODE_STATES = ['up', 'leaving', 'down'] as const satisfies readonly TopologyNode['state'][]

export function topologyToWire(topology: Topology): WireTopology {
  const { clusterId, maxVolumeId, volumeSizeMaxBytes } = topology
  return {
    clusterId,
    nodes: topology.nodes.map(topologyNodeToWire),
    layouts: topology.layouts.map(layoutToWire),
    maxVolumeId,
    volumeSizeMaxBytes,
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function topologyFromWire(wire: WireTopology): Topology {
  return {
    clusterId: wire.clusterId,
    nodes: wire.nodes.map(topologyNodeFromWire),
    layouts: wire.layouts.map(layoutFromWire),
    maxVolumeId: wire.maxVolumeId,
    volumeSizeMaxBytes: wireNumber(wire.volumeSizeMaxBytes, 'the size of a volume'),
  }
}

function topologyNodeToWire(node: TopologyNode): WireTopologyNode {
  return {
    location: nodeToWire(node.location),
    state: node.state,
    lastHeardMs: node.lastHeardMs,
    disks: node.disks.map(diskReportToWire),
    volumes: node.volumes.map(volumeReportToWire),
    shards: (node.shards ?? []).map(shardReportToWire),
    inFlightCount: node.inFlightCount,
    downSinceMs: node.downSinceMs,
    isFlapping: node.isFlapping,
    isDraining: node.isDraining,
  }
}

function topologyNodeFromWire(wire: WireTopologyNode): TopologyNode {
  return {
    location: nodeFromWire(wire.location),
    state: wireWord(wire.state, NODE_STATES, 'the state of a server'),
    lastHeardMs: wireNumber(wire.lastHeardMs, 'a time'),
    disks: wire.disks.map(diskReportFromWire),
    volumes: wire.volumes.map(volumeReportFromWire),
    shards: wire.shards.map(shardReportFromWire),
    inFlightCount: wire.inFlightCount,
    downSinceMs: wireNumber(wire.downSinceMs, 'a time'),
    isFlapping: wire.isFlapping,
    isDraining: wire.isDraining,
  }
}

function layoutToWire(layout: TopologyLayout): WireTopologyLayout {
  const { collection, volumeIds, writableVolumeIds } = layout
  return {
    collection,
    replication: formatReplicaPlacement(layout.replication),
    ttl: formatTtl(layout.ttl),
    volumeIds,
    writableVolumeIds,
  }
}

function layoutFromWire(wire: WireTopologyLayout): TopologyLayout {
  return {
    collection: wire.collection,
    replication: parseReplicaPlacement(wire.replication),
    ttl: parseTtl(wire.ttl),
    volumeIds: wire.volumeIds.map(wireVolumeId),
    writableVolumeIds: wire.writableVolumeIds.map(wireVolumeId),
  }
}
