import type { Metrics } from '../runtime/metrics.ts'
import type { NeedleService } from './needle-service.ts'
import type { ReadCache } from './read-cache.ts'
import type { VolumeReports } from './volume-report.ts'

/** Gauges that are read when somebody asks for them. */
export function registerVolumeMetrics(
  metrics: Metrics,
  parts: {
    readonly reports: VolumeReports
    readonly needles: NeedleService
    readonly cache: ReadCache | undefined
  },
): void {
  const { reports, needles, cache } = parts
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
  if (cache === undefined) return
  metrics.gauge({ name: 'read_cache_bytes', help: 'Memory of the read cache.' }, (gauge) =>
    gauge.set(cache.bytes),
  )
}
