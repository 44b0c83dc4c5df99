import type { ErasureScheme } from '../base/erasure-scheme.ts'
import type { VolumeId } from '../base/ids.ts'
import { copyCount } from '../base/replica-placement.ts'
import type {
  ClusterStatistics,
  CollectionReport,
  Topology,
  TopologyNode,
} from '../net/master-api.ts'
import type { ShardReport, StripeFacts } from '../net/stripe-facts.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Collections } from './collections.ts'
import { countedSets, shardBytesOf } from './stripe-figures.ts'
import type { NodeView, VolumeCopy } from './topology.ts'

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
      shards: shardsOf(node),
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

/** Needles count once, wherever they are stored; bytes of disks as servers report them. */
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
    const stripe = state.stripe(volumeId)
    if (isAtRisk(state, volumeId, stripe)) volumesAtRisk++
    const figures = figuresOf(state, volumeId, stripe)
    liveNeedles += figures.liveNeedles
    liveBytes += figures.liveBytes
    garbageBytes += figures.garbageBytes
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
  policy: { schemeOf(collection: string): ErasureScheme | undefined },
): CollectionReport[] {
  const sums = new Map<string, CollectionSum>()
  const sumOf = (collection: string): CollectionSum => {
    const found = sums.get(collection)
    if (found !== undefined) return found
    const replication = collections.replicationOf(collection)
    const writePolicy = collections.writePolicyOf(collection)
    const erasure = policy.schemeOf(collection)
    const sum = { collection, replication, writePolicy, ...(erasure && { erasure }), ...NOTHING }
    sums.set(collection, sum)
    return sum
  }
  for (const collection of collections.names) sumOf(collection)
  for (const volumeId of state.volumeIds) {
    const sum = sumOf(state.collectionOf(volumeId) ?? '')
    sum.volumeCount++
    const figures = figuresOf(state, volumeId, state.stripe(volumeId))
    sum.liveNeedles += figures.liveNeedles
    sum.liveBytes += figures.liveBytes
    sum.datBytes += figures.storedBytes
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

interface VolumeFigures {
  readonly liveNeedles: number
  readonly liveBytes: number
  readonly garbageBytes: number
  /** Of all copies, or all shards. */
  readonly storedBytes: number
}

/** As the server says that has most of it. */
function figuresOf(
  state: ClusterState,
  volumeId: VolumeId,
  stripe: StripeFacts | undefined,
): VolumeFigures {
  const copies = state.copies(volumeId).map(({ report }) => report)
  const reports = stripe === undefined ? copies : countedSets(stripe).map(({ report }) => report)
  const most = (pick: (report: (typeof reports)[number]) => number) =>
    Math.max(0, ...reports.map(pick))
  return {
    liveNeedles: most((report) => report.liveNeedles),
    liveBytes: most((report) => report.liveBytes),
    garbageBytes: most((report) => report.garbageBytes),
    storedBytes:
      stripe === undefined
        ? copies.reduce((sum, { datBytes }) => sum + datBytes, 0)
        : reportedShards(stripe) * shardBytesOf(stripe),
  }
}

function reportedShards({ shards }: StripeFacts): number {
  return shards.filter(({ report }) => report !== undefined).length
}

/** Fewer healthy copies or shards in reach than the volume should have. */
function isAtRisk(
  state: ClusterState,
  volumeId: VolumeId,
  stripe: StripeFacts | undefined,
): boolean {
  if (stripe !== undefined) {
    return stripe.shards.some(({ isUp, isBad, report }) => !isUp || isBad || report === undefined)
  }
  const key = state.layoutKeyOf(volumeId)
  return key === undefined || lacksCopies(state.copies(volumeId), copyCount(key.replication))
}

function lacksCopies(copies: readonly VolumeCopy[], wanted: number): boolean {
  let healthy = 0
  for (const { node, report } of copies) {
    if (report.state === 'failed' || report.state === 'damaged') return true
    if (node.state !== 'down') healthy++
  }
  return healthy < wanted
}

function shardsOf(node: NodeView): ShardReport[] {
  return [...node.shards.values()].flat().sort((a, b) => a.volumeId - b.volumeId)
}

function sorted(volumeIds: Iterable<VolumeId>): VolumeId[] {
  return [...volumeIds].sort((a, b) => a - b)
}
