import type { VolumeId } from '../base/ids.ts'
import { copyCount } from '../base/replica-placement.ts'
import type { ClusterStatistics, Topology, TopologyNode } from '../net/master-api.ts'
import type { ClusterState } from './cluster-state.ts'
import type { VolumeCopy } from './topology.ts'

/** Everything there is, as a message. */
export function describeTopology(
  state: ClusterState,
  cluster: Pick<Topology, 'clusterId' | 'volumeSizeMaxBytes'>,
): Topology {
  const nodes: TopologyNode[] = []
  for (const node of state.topology.nodes) {
    const volumes = [...node.volumes.values()].sort((a, b) => a.volumeId - b.volumeId)
    nodes.push({ ...node, volumes })
  }
  nodes.sort((a, b) => (a.location.url < b.location.url ? -1 : 1))
  let maxVolumeId = 0
  for (const volumeId of state.topology.volumeIds) maxVolumeId = Math.max(maxVolumeId, volumeId)
  const layouts = Array.from(state.layouts, (layout) => ({
    ...layout.key,
    volumeIds: sorted(layout.volumeIds),
    writableVolumeIds: sorted(layout.writableVolumeIds()),
  }))
  return { ...cluster, nodes, layouts, maxVolumeId }
}

/** Needles count once, however many copies they have; bytes of disks as servers report them. */
export function summarise(state: ClusterState): ClusterStatistics {
  const { topology } = state
  let nodesUp = 0
  let totalBytes = 0
  let freeBytes = 0
  for (const node of topology.nodes) {
    if (node.state === 'down') continue
    nodesUp++
    for (const disk of node.disks) {
      totalBytes += disk.totalBytes
      freeBytes += disk.freeBytes
    }
  }
  let liveNeedles = 0
  let liveBytes = 0
  let garbageBytes = 0
  let volumesAtRisk = 0
  for (const volumeId of topology.volumeIds) {
    const copies = topology.copies(volumeId)
    const reports = copies.map((copy) => copy.report)
    liveNeedles += Math.max(...reports.map((report) => report.liveNeedles))
    liveBytes += Math.max(...reports.map((report) => report.liveBytes))
    garbageBytes += Math.max(...reports.map((report) => report.garbageBytes))
    if (isAtRisk(copies)) volumesAtRisk++
  }
  return {
    nodeCount: topology.nodeCount,
    nodesUp,
    volumeCount: topology.volumeCount,
    liveNeedles,
    liveBytes,
    garbageBytes,
    totalBytes,
    freeBytes,
    volumesAtRisk,
  }
}

/** Fewer healthy copies in reach than the volume should have. */
function isAtRisk(copies: readonly VolumeCopy[]): boolean {
  const [first] = copies
  if (first === undefined) return true
  let healthy = 0
  for (const { node, report } of copies) {
    if (report.state === 'failed' || report.state === 'damaged') return true
    if (node.state !== 'down') healthy++
  }
  return healthy < copyCount(first.report.replication)
}

function sorted(volumeIds: Iterable<VolumeId>): VolumeId[] {
  return [...volumeIds].sort((a, b) => a - b)
}
