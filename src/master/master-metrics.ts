import type { EventCounts } from '../namespace/event-queue.ts'
import type { ClusterHealth } from '../net/jobs-api.ts'
import type { Metrics } from '../runtime/metrics.ts'
import { summarise } from './cluster-report.ts'
import type { ClusterState } from './cluster-state.ts'
import type { HealTotals } from './heal-desk.ts'

export interface HeartbeatAge {
  /** Of the volume server. */
  readonly url: string
  /** Since it was heard of; of one never heard of, since the start of this master. */
  readonly agoMs: number
}

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
  readonly events: EventCounts
  readonly heal: HealTotals
  /** As of the last look at all volumes. */
  readonly readHealth: () => ClusterHealth
  readonly readHeartbeatAges: () => readonly HeartbeatAge[]
  /** By the wall clock, as are the times above. */
  readonly nowMs: number
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
  ['cluster_coded_volumes', 'Volumes that are erasure-coded', (g) => countCoded(g.state)],
  ['cluster_shards', 'Shards on servers in reach', (g) => countShards(g.state)],
  ['master_name_deletes_done', 'Files deleted after their name', (g) => g.nameDeletesDone],
  ['master_name_deletes_failed', 'Tries to delete that failed', (g) => g.nameDeletesFailed],
  ['master_events_pending', 'Events of buckets not yet delivered', (g) => g.events.pending],
  ['master_events_delivered', 'Events that a webhook took', (g) => g.events.delivered],
  ['master_events_given_up', 'Events that failed for a day', (g) => g.events.givenUp],
  ['master_events_dropped', 'Events for which there was no room', (g) => g.events.dropped],
  ['heal_passes', 'Passes of the healer that came to their end', (g) => g.heal.passes],
  ['heal_intents_undone', 'Writes of gateways that went, undone', (g) => g.heal.intentsUndone],
  ['heal_objects_completed', 'Objects that lacked something', (g) => g.heal.objectsCompleted],
  ['heal_objects_healed', 'Objects whose shards were made anew', (g) => g.heal.objectsHealed],
  ['heal_shards_made', 'Shards made anew', (g) => g.heal.shardsMade],
  ['heal_corrupt_found', 'Shards that were not what was stored', (g) => g.heal.corruptFound],
  ['heal_files_verified', 'Files whose shards were all read', (g) => g.heal.filesVerified],
  ['heal_files_rewritten', 'Files stored anew under other ids', (g) => g.heal.filesRewritten],
  ['heal_copies_repaired', 'Volumes with copies of a lost server', (g) => g.heal.copiesRepaired],
  ['heal_objects_copied', 'Files in such volumes', (g) => g.heal.objectsCopied],
  ['heal_volumes_forgotten', 'Volumes of lost shards given up', (g) => g.heal.volumesForgotten],
  ['heal_failures', 'Objects that could not be healed, each time', (g) => g.heal.failures],
]

const STATISTICS = [
  ['nodesUp', 'cluster_nodes_up', 'Volume servers in reach'],
  ['nodeCount', 'cluster_nodes', 'Volume servers known'],
  ['volumeCount', 'cluster_volumes', 'Volumes known'],
  ['volumesAtRisk', 'cluster_volumes_at_risk', 'Volumes that lack good copies or shards'],
  ['liveNeedles', 'cluster_live_needles', 'Needles, each counted once'],
  ['liveBytes', 'cluster_live_bytes', 'Bytes of needles, each counted once'],
  ['garbageBytes', 'cluster_garbage_bytes', 'Bytes that a vacuum would give back'],
  ['totalBytes', 'cluster_disk_bytes', 'Size of the disks in reach'],
  ['freeBytes', 'cluster_disk_free_bytes', 'Free on the disks in reach'],
] as const

const HEALTH_GAUGES: readonly (readonly [
  name: string,
  help: string,
  read: (health: ClusterHealth, nowMs: number) => number,
])[] = [
  ['health_color', '0 green, 1 yellow, 2 red', ({ color }) => COLORS.indexOf(color)],
  ['health_alerts', 'What somebody has to look at', ({ alerts }) => alerts.length],
  ['repair_volumes_below', 'Volumes below full redundancy', (h) => h.volumesBelow],
  ['repair_objects_below', 'Objects below full redundancy', (h) => h.objectsBelow],
  ['repair_bytes_below', 'Bytes to copy until redundancy is full', (h) => h.bytesBelow],
  [
    'repair_below_seconds',
    'Since redundancy was lost first',
    (h, nowMs) => (h.belowSinceMs === 0 ? 0 : Math.max(0, nowMs - h.belowSinceMs) / 1000),
  ],
  ['repair_volumes_unavailable', 'Volumes without a copy in reach', (h) => h.volumesUnavailable],
  ['repair_dirty_needles', 'Needles that may differ between copies', (h) => h.dirtyNeedles],
  ['repair_bytes_per_second', 'Copied for redundancy lately', (h) => h.repairBytesPerS],
  ['repair_repairs_measured', 'Repairs that the times are of', (h) => h.repairTimes.count],
  ['repair_time_p50_seconds', 'From loss to full again', (h) => h.repairTimes.p50Ms / 1000],
  ['repair_time_p95_seconds', 'From loss to full again', (h) => h.repairTimes.p95Ms / 1000],
  ['jobs_running', 'Jobs that a worker holds', (h) => h.jobsRunning],
  ['jobs_waiting', 'Jobs in the queue', (h) => h.jobsWaiting],
  ['jobs_failing', 'Jobs whose last attempt failed', (h) => h.jobsFailing],
  ['scrub_age_max_seconds', 'Since the oldest check of a copy', (h) => h.scrubAgeMaxMs / 1000],
  ['scrub_unscrubbed_bytes', 'Of copies that were never checked', (h) => h.unscrubbedBytes],
]

const COLORS = ['green', 'yellow', 'red']

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
  registerHealth(metrics, master)
  metrics.collectProcess()
}

function registerHealth(metrics: Metrics, master: { readonly gauges: MasterGauges }): void {
  // The first of these is read first, and counts for all of them.
  let health: ClusterHealth | undefined
  for (const [index, [name, help, read]] of HEALTH_GAUGES.entries()) {
    metrics.gauge({ name, help }, (gauge) => {
      const { gauges } = master
      if (index === 0) health = gauges.readHealth()
      if (health !== undefined) gauge.set(read(health, gauges.nowMs))
    })
  }
  const name = 'cluster_heartbeat_age_seconds'
  const help = 'Since a volume server was heard of; of one never heard of, since the start'
  metrics.gauge<'node'>({ name, help, labelNames: ['node'] }, (gauge) => {
    gauge.reset()
    for (const { url, agoMs } of master.gauges.readHeartbeatAges()) {
      gauge.set({ node: url }, agoMs / 1000)
    }
  })
}

function countCoded(state: ClusterState): number {
  let count = 0
  for (const volumeId of state.volumeIds) if (state.stripe(volumeId) !== undefined) count++
  return count
}

function countShards(state: ClusterState): number {
  let count = 0
  for (const { state: is, shards } of state.topology.nodes) {
    if (is === 'down') continue
    for (const { shards: here } of [...shards.values()].flat()) count += here.length
  }
  return count
}
