import type { VolumeId } from '../base/ids.ts'
import { copyCount } from '../base/replica-placement.ts'
import type {
  ClusterStatistics,
  CollectionReport,
  Topology,
  TopologyNode,
} from '../net/master-api.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Collections } from './collections.ts'
import type { LayoutKey } from './layout-key.ts'
import type { VolumeCopy } from './topology.ts'

/** Everything there is, as a message. */
export function describeTopology(
  state: ClusterState,
  cluster: Pick<Topology, 'clusterId' | 'volumeSizeMaxBytes'>,
): Topology {
  const nodes: TopologyNode[] = []
  for (const node of state.topology.nodes) {
    const { location, lastHeardMs, inFlightCount } = node
    const { url } = location
    nodes.push({
      location,
      state: node.state,
      lastHeardMs,
      disks: node.reportedDisks,
      volumes: [...node.volumes.values()].sort((a, b) => a.volumeId - b.volumeId),
      inFlightCount,
      downSinceMs: node.state === 'down' ? state.standings.downSinceMs(url) : 0,
      isFlapping: state.standings.isFlapping(url),
      isDraining: state.standings.isDraining(url),
    })
  }
  nodes.sort((a, b) => (a.location.url < b.location.url ? -1 : 1))
  let maxVolumeId = 0
  for (const volumeId of state.volumeIds) maxVolumeId = Math.max(maxVolumeId, volumeId)
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
  let volumeCount = 0
  for (const volumeId of state.volumeIds) {
    volumeCount++
    const copies = state.copies(volumeId)
    if (isAtRisk(copies, state.layoutKeyOf(volumeId))) volumesAtRisk++
    if (copies.length === 0) continue
    const reports = copies.map((copy) => copy.report)
    liveNeedles += Math.max(...reports.map((report) => report.liveNeedles))
    liveBytes += Math.max(...reports.map((report) => report.liveBytes))
    garbageBytes += Math.max(...reports.map((report) => report.garbageBytes))
  }
  return {
    nodeCount: topology.nodeCount,
    nodesUp,
    volumeCount,
    liveNeedles,
    liveBytes,
    garbageBytes,
    totalBytes,
    freeBytes,
    volumesAtRisk,
  }
}

/** Collections that were used or configured once, and those that volumes name, by their names. */
export function describeCollections(
  state: ClusterState,
  collections: Pick<Collections, 'names' | 'replicationOf' | 'writePolicyOf'>,
): CollectionReport[] {
  const sums = new Map<string, CollectionSum>()
  const sumOf = (collection: string): CollectionSum => {
    const found = sums.get(collection)
    if (found !== undefined) return found
    const replication = collections.replicationOf(collection)
    const writePolicy = collections.writePolicyOf(collection)
    const sum = { collection, replication, writePolicy, ...NOTHING }
    sums.set(collection, sum)
    return sum
  }
  for (const collection of collections.names) sumOf(collection)
  for (const volumeId of state.volumeIds) {
    const sum = sumOf(state.collectionOf(volumeId) ?? '')
    sum.volumeCount++
    const reports = state.copies(volumeId).map((copy) => copy.report)
    sum.liveNeedles += Math.max(0, ...reports.map((report) => report.liveNeedles))
    sum.liveBytes += Math.max(0, ...reports.map((report) => report.liveBytes))
    for (const report of reports) sum.datBytes += report.datBytes
  }
  return [...sums.values()].sort((a, b) => (a.collection < b.collection ? -1 : 1))
}

interface CollectionSum extends CollectionReport {
  volumeCount: number
  liveNeedles: number
  liveBytes: number
  datBytes: number
}

const NOTHING = { volumeCount: 0, liveNeedles: 0, liveBytes: 0, datBytes: 0 }

/** Fewer healthy copies in reach than the volume should have. */
function isAtRisk(copies: readonly VolumeCopy[], key: LayoutKey | undefined): boolean {
  if (key === undefined) return true
  let healthy = 0
  for (const { node, report } of copies) {
    if (report.state === 'failed' || report.state === 'damaged') return true
    if (node.state !== 'down') healthy++
  }
  return healthy < copyCount(key.replication)
}

function sorted(volumeIds: Iterable<VolumeId>): VolumeId[] {
  return [...volumeIds].sort((a, b) => a - b)
}
