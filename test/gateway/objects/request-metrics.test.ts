import { beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import { RequestMetrics } from '../../../src/gateway/objects/request-metrics.ts'
import { Metrics } from '../../../src/runtime/metrics.ts'
import { SimClock } from '../../support/sim-clock.ts'

let clock: SimClock
let exported: Metrics
let metrics: RequestMetrics

beforeEach(() => {
  clock = new SimClock()
  exported = new Metrics()
  metrics = new RequestMetrics({ clock, metrics: exported })
})

const OK = { durationMs: 10, bytes: 1000, isOk: true }

describe('the metrics of a window', () => {
  test('count each operation for itself', () => {
    metrics.record('upload', OK)
    metrics.record('upload', { durationMs: 30, bytes: 3000, isOk: true })
    metrics.record('upload', { durationMs: 20, bytes: 0, isOk: false })
    metrics.record('download', OK)
    const { operations } = metrics.summary()
    expect(operations.upload).toMatchObject({ count: 3, successRate: 2 / 3, bytes: 4000 })
    expect(operations.upload.latency).toMatchObject({ minMs: 10, meanMs: 20, maxMs: 30 })
    expect(operations.upload.bytesPerS).toBeCloseTo(4000 / 0.06)
    expect(operations.download).toMatchObject({ count: 1, successRate: 1, bytesPerS: 100_000 })
    expect(operations.list).toMatchObject({ count: 0, successRate: 1, bytes: 0, bytesPerS: 0 })
  })

  test('begin anew when they are cleared; what is exported goes on', async () => {
    metrics.record('upload', OK)
    metrics.recordRecovery({ node: 'a', durationMs: 5, isOk: true })
    await clock.advance(60_000)
    expect(metrics.summary().windowMs).toBe(60_000)
    metrics.clear()
    const { operations, recoveries, startedAtMs, windowMs } = metrics.summary()
    expect([operations.upload.count, recoveries.count, windowMs]).toEqual([0, 0, 0])
    expect(startedAtMs).toBe(clock.nowMs())
    metrics.record('upload', { ...OK, isOk: false })
    const text = await exported.text()
    expect(text).toContain('objects_requests_total{operation="upload",outcome="ok"} 1')
    expect(text).toContain('objects_requests_total{operation="upload",outcome="failed"} 1')
    expect(text).toContain('objects_bytes_total{operation="upload"} 2000')
    expect(text).toContain('objects_request_seconds_count{operation="upload"} 2')
    expect(text).toContain('objects_recovery_seconds_count{outcome="ok"} 1')
  })

  test('give the mean time of recoveries that succeeded', () => {
    metrics.recordRecovery({ node: 'a', durationMs: 1000, isOk: true })
    metrics.recordRecovery({ node: 'b', durationMs: 9, isOk: false })
    metrics.recordRecovery({ node: 'c', durationMs: 3000, isOk: true })
    const { last, ...rest } = metrics.summary().recoveries
    expect(rest).toEqual({ count: 3, failedCount: 1, meanMs: 2000, minMs: 1000, maxMs: 3000 })
    expect(last.map(({ node }) => node)).toEqual(['a', 'b', 'c'])
  })

  test('keep no more recoveries than the limit says', () => {
    const max = LIMITS.requestRecoveriesKept.value
    for (let count = 0; count <= max; count++) {
      metrics.recordRecovery({ node: String(count), durationMs: 1, isOk: true })
    }
    const { last } = metrics.summary().recoveries
    expect([last.length, last[0]?.node]).toEqual([max, '1'])
  })

  test('need no server to export them', () => {
    const alone = new RequestMetrics({ clock })
    alone.record('info', OK)
    alone.recordRecovery({ node: 'a', durationMs: 1, isOk: true })
    expect(alone.summary().operations.info.count).toBe(1)
  })
})
