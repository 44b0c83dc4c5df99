import type { Metrics } from '../runtime/metrics.ts'
import { summarise } from './cluster-report.ts'
import type { ClusterState } from './cluster-state.ts'

/** Numbers for whoever watches the master. */
export interface MasterGauges {
  readonly state: ClusterState
  readonly isWarming: boolean
  readonly sessions: number
  readonly watchers: number
  readonly watchBacklog: number
  readonly growthRunning: number
  readonly growthRemains: number
  readonly layoutsInUse: number
  readonly nameDeletesDone: number
  readonly nameDeletesFailed: number
}

const GAUGES: readonly (readonly [
  name: string,
  help: string,
  read: (gauges: MasterGauges) => number,
])[] = [
  ['master_warming', '1 while volume servers are waited for after a start', (g) => +g.isWarming],
  ['master_sessions', 'Volume servers that send heartbeats', (g) => g.sessions],
  ['master_watchers', 'Streams that watch where volumes are', (g) => g.watchers],
  ['master_watch_backlog_volumes', 'Not yet told to the slowest watcher', (g) => g.watchBacklog],
  ['master_growth_running', 'Volumes being made', (g) => g.growthRunning],
  ['master_growth_remains', 'Volumes that failed and are to be removed', (g) => g.growthRemains],
  ['master_layouts_in_use', 'Layouts that get volumes ahead of need', (g) => g.layoutsInUse],
  ['master_name_deletes_done', 'Files deleted after their name', (g) => g.nameDeletesDone],
  ['master_name_deletes_failed', 'Tries to delete that failed', (g) => g.nameDeletesFailed],
]

const STATISTICS = [
  ['nodesUp', 'cluster_nodes_up', 'Volume servers in reach'],
  ['nodeCount', 'cluster_nodes', 'Volume servers known'],
  ['volumeCount', 'cluster_volumes', 'Volumes known'],
  ['volumesAtRisk', 'cluster_volumes_at_risk', 'Volumes with fewer good copies than they should'],
  ['liveNeedles', 'cluster_live_needles', 'Needles, each counted once'],
  ['liveBytes', 'cluster_live_bytes', 'Bytes of needles, each counted once'],
  ['garbageBytes', 'cluster_garbage_bytes', 'Bytes that a vacuum would give back'],
  ['totalBytes', 'cluster_disk_bytes', 'Size of the disks in reach'],
  ['freeBytes', 'cluster_disk_free_bytes', 'Free on the disks in reach'],
] as const

export function registerMasterMetrics(
  metrics: Metrics,
  master: { readonly gauges: MasterGauges },
): void {
  for (const [name, help, read] of GAUGES) {
    metrics.gauge({ name, help }, (gauge) => gauge.set(read(master.gauges)))
  }
  // The first of these is read first, and counts for all of them.
  let statistics: ReturnType<typeof summarise> | undefined
  for (const [field, name, help] of STATISTICS) {
    metrics.gauge({ name, help }, (gauge) => {
      if (field === 'nodesUp') statistics = summarise(master.gauges.state)
      gauge.set(statistics?.[field] ?? 0)
    })
  }
  metrics.collectProcess()
}
