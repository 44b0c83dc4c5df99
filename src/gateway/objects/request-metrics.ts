import { LIMITS } from '../../base/limits.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Metrics } from '../../runtime/metrics.ts'
import { LatencyHistogram, type LatencySummary } from './latency-histogram.ts'

export const OBJECT_OPERATIONS = ['upload', 'download', 'delete', 'list', 'info'] as const
export type ObjectOperation = (typeof OBJECT_OPERATIONS)[number]

/** One request, once it is answered. */
export interface RequestOutcome {
  readonly durationMs: number
  /** Of the object, received or sent. */
  readonly bytes: number
  readonly isOk: boolean
}

export interface OperationSummary {
  readonly count: number
  /** 0 to 1; 1 when there were none. */
  readonly successRate: number
  readonly latency: LatencySummary
  readonly bytes: number
  /** While requests were under way, all their times added up. */
  readonly bytesPerS: number
}

export interface Recovery {
  readonly node: string
  readonly endedAtMs: number
  readonly durationMs: number
  readonly isOk: boolean
}

export interface RecoverySummary {
  readonly count: number
  readonly failedCount: number
  /** Of those that succeeded; 0 when there were none. */
  readonly meanMs: number
  readonly minMs: number
  readonly maxMs: number
  /** The last `LIMITS.requestRecoveriesKept`, the failed ones included. */
  readonly last: readonly Recovery[]
}

export interface MetricsSummary {
  readonly startedAtMs: number
  readonly windowMs: number
  readonly operations: Readonly<Record<ObjectOperation, OperationSummary>>
  readonly recoveries: RecoverySummary
}

const SECONDS_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 120]

/** What one operation adds up to within the window. */
interface OperationWindow {
  readonly latency: LatencyHistogram
  okCount: number
  bytes: number
}

interface Exported {
  count(outcome: RequestOutcome): void
}

/**
 * What requests for objects took since the window began: its memory does not grow with them. The
 * same goes to the metrics of the server, which are never cleared.
 */
export class RequestMetrics {
  readonly #clock: Clock
  readonly #exported: Readonly<Record<ObjectOperation, Exported>> | undefined
  readonly #exportRecovery: (recovery: Recovery) => void
  #windows = newWindows()
  #recoveries: Recovery[] = []
  #startedAtMs = 0
  #startedMonotonicMs = 0

  constructor({
    clock,
    metrics,
  }: { readonly clock: Clock; readonly metrics?: Metrics | undefined }) {
    this.#clock = clock
    this.#exported = metrics && exportedOperations(metrics)
    this.#exportRecovery = metrics === undefined ? () => undefined : exportedRecovery(metrics)
    this.clear()
  }

  /** The window begins anew. */
  clear(): void {
    this.#windows = newWindows()
    this.#recoveries = []
    this.#startedAtMs = this.#clock.nowMs()
    this.#startedMonotonicMs = this.#clock.monotonicMs()
  }

  record(operation: ObjectOperation, outcome: RequestOutcome): void {
    const window = this.#windows[operation]
    window.latency.record(outcome.durationMs)
    window.bytes += outcome.bytes
    if (outcome.isOk) window.okCount++
    this.#exported?.[operation].count(outcome)
  }

  recordRecovery(recovery: Omit<Recovery, 'endedAtMs'>): void {
    const ended = { ...recovery, endedAtMs: this.#clock.nowMs() }
    this.#recoveries.push(ended)
    if (this.#recoveries.length > LIMITS.requestRecoveriesKept.value) this.#recoveries.shift()
    this.#exportRecovery(ended)
  }

  summary(): MetricsSummary {
    const entries = OBJECT_OPERATIONS.map((operation) => {
      return [operation, summaryOf(this.#windows[operation])] as const
    })
    return {
      startedAtMs: this.#startedAtMs,
      windowMs: this.#clock.monotonicMs() - this.#startedMonotonicMs,
      operations: Object.fromEntries(entries) as MetricsSummary['operations'],
      recoveries: recoverySummary(this.#recoveries),
    }
  }
}

function newWindows(): Readonly<Record<ObjectOperation, OperationWindow>> {
  const entries = OBJECT_OPERATIONS.map((operation) => {
    return [operation, { latency: new LatencyHistogram(), okCount: 0, bytes: 0 }] as const
  })
  return Object.fromEntries(entries) as Record<ObjectOperation, OperationWindow>
}

function summaryOf({ bytes, latency, okCount }: OperationWindow): OperationSummary {
  const { count, sumMs } = latency
  return {
    count,
    successRate: count === 0 ? 1 : okCount / count,
    latency: latency.summary(),
    bytes,
    bytesPerS: sumMs === 0 ? 0 : (bytes / sumMs) * 1000,
  }
}

function recoverySummary(recoveries: readonly Recovery[]): RecoverySummary {
  const times = recoveries.filter(({ isOk }) => isOk).map(({ durationMs }) => durationMs)
  const sumMs = times.reduce((sum, ms) => sum + ms, 0)
  return {
    count: recoveries.length,
    failedCount: recoveries.length - times.length,
    meanMs: times.length === 0 ? 0 : sumMs / times.length,
    minMs: times.length === 0 ? 0 : Math.min(...times),
    maxMs: Math.max(0, ...times),
    last: [...recoveries],
  }
}

function exportedOperations(metrics: Metrics): Readonly<Record<ObjectOperation, Exported>> {
  const requests = metrics.tallies({
    name: 'objects_requests_total',
    help: 'Requests for objects over REST, by what became of them',
    labelNames: ['operation', 'outcome'],
  })
  const bytes = metrics.tallies({
    name: 'objects_bytes_total',
    help: 'Bytes of objects received and sent over REST',
    labelNames: ['operation'],
  })
  const seconds = metrics.histogram({
    name: 'objects_request_seconds',
    help: 'Time of a request for objects over REST, to its last byte',
    labelNames: ['operation'],
    buckets: SECONDS_BUCKETS,
  })
  const entries = OBJECT_OPERATIONS.map((operation) => {
    const ok = requests.of({ operation, outcome: 'ok' })
    const failed = requests.of({ operation, outcome: 'failed' })
    const moved = bytes.of({ operation })
    const taken = seconds.labels({ operation })
    const count = (outcome: RequestOutcome): void => {
      const tally = outcome.isOk ? ok : failed
      tally.add(1)
      moved.add(outcome.bytes)
      taken.observe(outcome.durationMs / 1000)
    }
    return [operation, { count }] as const
  })
  return Object.fromEntries(entries) as Record<ObjectOperation, Exported>
}

function exportedRecovery(metrics: Metrics): (recovery: Recovery) => void {
  const seconds = metrics.histogram({
    name: 'objects_recovery_seconds',
    help: 'Time to make anew what a server held, when it was asked for over REST',
    labelNames: ['outcome'],
    buckets: SECONDS_BUCKETS,
  })
  return ({ durationMs, isOk }) => {
    seconds.observe({ outcome: isOk ? 'ok' : 'failed' }, durationMs / 1000)
  }
}
