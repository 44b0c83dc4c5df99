import type { LatencySummary } from './latency-histogram.ts'
import { type MetricsSummary, OBJECT_OPERATIONS, type OperationSummary } from './request-metrics.ts'

/** The summary as the API gives it; times in ms. */
export function metricsReport(summary: MetricsSummary) {
  const { recoveries, startedAtMs, windowMs } = summary
  const operations = OBJECT_OPERATIONS.map((operation) => {
    return [operation, operationReport(summary.operations[operation])] as const
  })
  return {
    window_started_at: new Date(startedAtMs).toISOString(),
    window_seconds: round(windowMs / 1000),
    operations: Object.fromEntries(operations),
    recoveries: {
      count: recoveries.count,
      failed: recoveries.failedCount,
      mttr_ms: {
        mean: round(recoveries.meanMs),
        min: round(recoveries.minMs),
        max: round(recoveries.maxMs),
      },
      last: recoveries.last.map(({ durationMs, endedAtMs, isOk, node }) => ({
        node_id: node,
        ended_at: new Date(endedAtMs).toISOString(),
        recovery_time_ms: round(durationMs),
        succeeded: isOk,
      })),
    },
  }
}

const COLUMNS = [
  'operation',
  'count',
  'success_rate',
  'min_ms',
  'mean_ms',
  'median_ms',
  'p95_ms',
  'p99_ms',
  'max_ms',
  'bytes',
  'bytes_per_second',
]

/** One row for each operation, and one for recoveries, of which no quantiles are kept. */
export function metricsCsv({ operations, recoveries }: MetricsSummary): string {
  const rows = OBJECT_OPERATIONS.map((operation) => {
    const { bytes, bytesPerS, count, latency, successRate } = operations[operation]
    const { maxMs, meanMs, medianMs, minMs, p95Ms, p99Ms } = latency
    const times = [minMs, meanMs, medianMs, p95Ms, p99Ms, maxMs].map(round)
    return [operation, count, round(successRate), ...times, bytes, round(bytesPerS)]
  })
  const { count, failedCount, maxMs, meanMs, minMs } = recoveries
  const rate = count === 0 ? 1 : (count - failedCount) / count
  const times = [round(minMs), round(meanMs), '', '', '', round(maxMs)]
  const all = [COLUMNS, ...rows, ['recovery', count, round(rate), ...times, '', '']]
  return all.map((row) => `${row.join(',')}\n`).join('')
}

function operationReport({ bytes, bytesPerS, count, latency, successRate }: OperationSummary) {
  return {
    count,
    success_rate: round(successRate),
    latency_ms: latencyReport(latency),
    bytes,
    bytes_per_second: round(bytesPerS),
  }
}

function latencyReport({ maxMs, meanMs, medianMs, minMs, p95Ms, p99Ms }: LatencySummary) {
  return {
    min: round(minMs),
    mean: round(meanMs),
    median: round(medianMs),
    p95: round(p95Ms),
    p99: round(p99Ms),
    max: round(maxMs),
  }
}

/** Microseconds are enough. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
