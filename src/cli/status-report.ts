import { formatBytes } from '../base/units.ts'
import type { ClusterHealth } from '../net/jobs-api.ts'
import type { ClusterStatistics, MasterStatus, Topology, TopologyNode } from '../net/master-api.ts'
import { formatDuration } from './durations.ts'
import { choresLine, healthLines } from './health-report.ts'

export interface ClusterView {
  readonly status: MasterStatus
  readonly statistics: ClusterStatistics
  readonly topology: Topology
  /** Undefined: no master leads, so nobody knows. */
  readonly health: ClusterHealth | undefined
  readonly nowMs: number
}

const HEADINGS = ['NODE', 'STATE', 'PLACE', 'VOLUMES', 'FILES', 'LIVE', 'GARBAGE', 'FREE'] as const
const SHARDS_HEADING = 'SHARDS'
/** These are numbers, which are compared by their last digit. */
const RIGHT_FROM = 3

/** The cluster for people: its health first, then a line for each volume server. */
export function statusLines(view: ClusterView): readonly string[] {
  const { status, statistics, topology, health, nowMs } = view
  const rows = topology.nodes.map((node) => nodeRow(node, nowMs))
  // Nobody without erasure-coded volumes has to read of them.
  const withShards = topology.nodes.some((node) => shardCountOf(node) > 0)
  const shards = [SHARDS_HEADING, ...topology.nodes.map((node) => String(shardCountOf(node)))]
  const lines = [[...HEADINGS], ...rows].map((row, index) =>
    withShards ? [...row, shards[index] ?? ''] : row,
  )
  return [
    ...(health === undefined ? ['red: there is no leader'] : healthLines(health, nowMs)),
    `cluster ${status.clusterId}, leader ${status.leader || 'none'}, epoch ${status.epoch}`,
    '',
    ...table(lines),
    '',
    totalLine(statistics),
    ...(health === undefined ? [] : [choresLine(health)]),
  ]
}

/** One document with the same facts, for programs. */
export function statusDocument(view: ClusterView): unknown {
  const { status, statistics, topology, health } = view
  return {
    healthy: isHealthy(view),
    health,
    ...status,
    ...statistics,
    nodes: topology.nodes.map((node) => ({
      url: node.location.url,
      publicUrl: node.location.publicUrl,
      grpcAddress: node.location.grpcAddress,
      dataCenter: node.location.dataCenter,
      rack: node.location.rack,
      state: node.state,
      downSinceMs: node.downSinceMs,
      isFlapping: node.isFlapping,
      isDraining: node.isDraining,
      ...sumOf(node),
      shards: shardCountOf(node),
    })),
  }
}

/** Green: everything has all its copies, and nobody has to look at anything. */
export function isHealthy({ health }: ClusterView): boolean {
  return health?.color === 'green'
}

/** `up`, `down 4 min`, `up, draining`. */
export function nodeState(node: TopologyNode, nowMs: number): string {
  const { state, downSinceMs, isFlapping, isDraining } = node
  const isDown = state === 'down' && downSinceMs > 0
  return [
    isDown ? `down ${formatDuration(nowMs - downSinceMs)}` : state,
    isFlapping ? 'flapping' : '',
    isDraining ? 'draining' : '',
  ]
    .filter((part) => part !== '')
    .join(', ')
}

/** Of erasure-coded volumes. */
export function shardCountOf({ shards = [] }: TopologyNode): number {
  return shards.reduce((count, report) => count + report.shards.length, 0)
}

function totalLine(statistics: ClusterStatistics): string {
  const { volumeCount, liveNeedles, liveBytes, garbageBytes, totalBytes, freeBytes } = statistics
  const files = `${volumeCount} volumes, ${liveNeedles} files, ${formatBytes(liveBytes)} live`
  const garbage = `${formatBytes(garbageBytes)} garbage`
  return `${files}, ${garbage}; ${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`
}

function nodeRow(node: TopologyNode, nowMs: number): readonly string[] {
  const { volumes, liveNeedles, liveBytes, garbageBytes, freeBytes } = sumOf(node)
  const { url, dataCenter, rack } = node.location
  return [
    url,
    nodeState(node, nowMs),
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
