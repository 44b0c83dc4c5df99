import type { DirtyKind } from '../net/master-api.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import type { Metrics, Tally } from '../runtime/metrics.ts'
import type { CodedCounts } from './coded-volumes.ts'
import type { NeedleService } from './needle-service.ts'
import type { ReadCache } from './read-cache.ts'
import type { VolumeReports } from './volume-report.ts'
import type { WriteGate } from './write-gate.ts'

export interface ReplicationCounts {
  readonly failures: Tally
  readonly readsElsewhere: Tally
  readonly dirty: Readonly<Record<DirtyKind, Tally>>
}

/** What becomes of writes and reads that one copy alone cannot serve. */
export function replicationCounts(metrics: Metrics): ReplicationCounts {
  const failures = metrics.tallies({
    name: 'hayloft_replication_failures_total',
    help: 'Writes that did not reach every copy of their volume.',
  })
  const readsElsewhere = metrics.tallies({
    name: 'hayloft_reads_elsewhere_total',
    help: 'Reads answered from another copy because the one here is bad.',
  })
  const dirty = metrics.tallies({
    name: 'hayloft_dirty_records_total',
    help: 'Needles recorded with the master as different between copies, by reason.',
    labelNames: ['kind'],
  })
  return {
    failures: failures.of({}),
    readsElsewhere: readsElsewhere.of({}),
    dirty: {
      put: dirty.of({ kind: 'put' }),
      delete: dirty.of({ kind: 'delete' }),
      check: dirty.of({ kind: 'check' }),
    },
  }
}

/** What coded volumes are asked for, and what that takes. */
export function codedCounts(metrics: Metrics): CodedCounts {
  const reads = metrics.tallies({
    name: 'hayloft_coded_reads_total',
    help: 'Needles read from erasure-coded volumes.',
  })
  const rebuilt = metrics.tallies({
    name: 'hayloft_coded_rebuilds_total',
    help: 'Runs of bytes made from other shards, because theirs is gone, bad or slow.',
  })
  return { reads: reads.of({}), rebuilt: rebuilt.of({}) }
}

/** Gauges that are read when somebody asks for them. */
export function registerVolumeMetrics(
  metrics: Metrics,
  parts: {
    readonly reports: VolumeReports
    readonly needles: NeedleService
    readonly cache: ReadCache | undefined
    readonly gate: WriteGate
  },
): void {
  const { reports, needles, cache, gate } = parts
  const sum = (pick: (report: ReturnType<VolumeReports['one']>) => number): number =>
    reports.all().reduce((total, report) => total + pick(report), 0)
  const volumes = { name: 'volume_count', help: 'Volumes served, by state.' }
  metrics.gauge({ ...volumes, labelNames: ['state'] as const }, (gauge) => {
    gauge.reset()
    for (const { state } of reports.all()) gauge.inc({ state })
  })
  metrics.gauge({ name: 'volume_needles', help: 'Live needles.' }, (gauge) =>
    gauge.set(sum(({ liveNeedles }) => liveNeedles)),
  )
  metrics.gauge({ name: 'volume_live_bytes', help: 'Bytes that live needles take.' }, (gauge) =>
    gauge.set(sum(({ liveBytes }) => liveBytes)),
  )
  metrics.gauge({ name: 'volume_garbage_bytes', help: 'Bytes a vacuum gives back.' }, (gauge) =>
    gauge.set(sum(({ garbageBytes }) => garbageBytes)),
  )
  const inFlight = { name: 'volume_requests_in_flight', help: 'Needle requests under way.' }
  metrics.gauge(inFlight, (gauge) => gauge.set(needles.inFlightCount))
  const frozen = { name: 'hayloft_frozen_volumes', help: 'Volumes whose writes are held back.' }
  metrics.gauge(frozen, (gauge) => gauge.set(gate.frozenCount))
  const queue = { name: 'volume_queued_writes', help: 'Writes that wait for the next batch.' }
  metrics.gauge(queue, (gauge) => gauge.set(reports.writes().queueDepth))
  const batches = { name: 'volume_append_batches', help: 'Batches appended since the start.' }
  metrics.gauge(batches, (gauge) => gauge.set(reports.writes().batchCount))
  const free = { name: 'disk_free_bytes', help: 'Bytes free on the disk of a directory.' }
  metrics.gauge({ ...free, labelNames: ['directory'] as const }, (gauge) => {
    for (const { path, freeBytes } of reports.disks()) gauge.set({ directory: path }, freeBytes)
  })
  const quarantined = { name: 'volume_quarantined_count', help: 'Files that are not served.' }
  metrics.gauge(quarantined, (gauge) => {
    gauge.set(reports.disks().reduce((total, disk) => total + disk.quarantinedCount, 0))
  })
  const shards = { name: 'hayloft_shard_count', help: 'Shards of coded volumes, by state.' }
  metrics.gauge({ ...shards, labelNames: ['state'] as const }, (gauge) => {
    const counts = { good: 0, bad: 0 }
    for (const report of reports.shards()) {
      counts.bad += report.badShards.length
      counts.good += report.shards.length - report.badShards.length
    }
    for (const state of ['good', 'bad'] as const) gauge.set({ state }, counts[state])
  })
  const shardBytes = { name: 'hayloft_shard_bytes', help: 'Bytes of the shards served.' }
  metrics.gauge(shardBytes, (gauge) => {
    const bytesOf = ({ shards: { length }, shardBytes: each }: ShardReport) => length * each
    gauge.set(reports.shards().reduce((total, report) => total + bytesOf(report), 0))
  })
  if (cache === undefined) return
  metrics.gauge({ name: 'read_cache_bytes', help: 'Memory of the read cache.' }, (gauge) =>
    gauge.set(cache.bytes),
  )
}
