import { formatBytes } from '../base/units.ts'
import type { ClusterStatistics, MasterStatus, Topology, TopologyNode } from '../net/master-api.ts'

export interface ClusterView {
  readonly status: MasterStatus
  readonly statistics: ClusterStatistics
  readonly topology: Topology
}

const HEADINGS = ['NODE', 'STATE', 'PLACE', 'VOLUMES', 'FILES', 'LIVE', 'GARBAGE', 'FREE'] as const
/** These are numbers, which are compared by their last digit. */
const RIGHT_FROM = 3

/** The cluster for people: a line for its health, a row for each volume server. */
export function statusLines({ status, statistics, topology }: ClusterView): readonly string[] {
  const rows = topology.nodes.map(nodeRow)
  return [
    healthLine(status, statistics),
    `cluster ${status.clusterId}, leader ${status.leader || 'none'}, epoch ${status.epoch}`,
    '',
    ...table([HEADINGS, ...rows]),
    '',
    totalLine(statistics),
  ]
}

/** One document with the same facts, for programs. */
export function statusDocument({ status, statistics, topology }: ClusterView): unknown {
  return {
    healthy: isHealthy(status, statistics),
    ...status,
    ...statistics,
    nodes: topology.nodes.map((node) => ({
      url: node.location.url,
      publicUrl: node.location.publicUrl,
      grpcAddress: node.location.grpcAddress,
      dataCenter: node.location.dataCenter,
      rack: node.location.rack,
      state: node.state,
      ...sumOf(node),
    })),
  }
}

export function isHealthy(status: MasterStatus, statistics: ClusterStatistics): boolean {
  const isComplete = statistics.nodesUp === statistics.nodeCount && statistics.volumesAtRisk === 0
  return isComplete && status.leader !== '' && !status.isWarming
}

function healthLine(status: MasterStatus, statistics: ClusterStatistics): string {
  if (isHealthy(status, statistics)) return 'healthy: every volume has all its copies'
  const { nodeCount, nodesUp, volumesAtRisk } = statistics
  const reasons = [
    status.leader === '' ? 'there is no leader' : '',
    status.isWarming ? 'the master waits for its volume servers' : '',
    nodesUp < nodeCount ? `${nodeCount - nodesUp} of ${nodeCount} nodes are not up` : '',
    volumesAtRisk > 0 ? `${volumesAtRisk} volumes have fewer copies than they should` : '',
  ]
  return `at risk: ${reasons.filter((reason) => reason !== '').join('; ')}`
}

function totalLine(statistics: ClusterStatistics): string {
  const { volumeCount, liveNeedles, liveBytes, garbageBytes, totalBytes, freeBytes } = statistics
  const files = `${volumeCount} volumes, ${liveNeedles} files, ${formatBytes(liveBytes)} live`
  const garbage = `${formatBytes(garbageBytes)} garbage`
  return `${files}, ${garbage}; ${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`
}

function nodeRow(node: TopologyNode): readonly string[] {
  const { volumes, liveNeedles, liveBytes, garbageBytes, freeBytes } = sumOf(node)
  const { url, dataCenter, rack } = node.location
  return [
    url,
    node.state,
    `${dataCenter}/${rack}`,
    String(volumes),
    String(liveNeedles),
    formatBytes(liveBytes),
    formatBytes(garbageBytes),
    formatBytes(freeBytes),
  ]
}

interface NodeSum {
  readonly volumes: number
  readonly liveNeedles: number
  readonly liveBytes: number
  readonly garbageBytes: number
  readonly freeBytes: number
}

function sumOf({ volumes, disks }: TopologyNode): NodeSum {
  const sum = <Item>(items: readonly Item[], of: (item: Item) => number): number =>
    items.reduce((total, item) => total + of(item), 0)
  return {
    volumes: volumes.length,
    liveNeedles: sum(volumes, ({ liveNeedles }) => liveNeedles),
    liveBytes: sum(volumes, ({ liveBytes }) => liveBytes),
    garbageBytes: sum(volumes, ({ garbageBytes }) => garbageBytes),
    freeBytes: sum(disks, ({ freeBytes }) => freeBytes),
  }
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[], rightFrom = RIGHT_FROM): string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  )
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0
        return column < rightFrom ? cell.padEnd(width) : cell.padStart(width)
      })
      .join('  ')
      .trimEnd(),
  )
}
