import { describe, expect, test } from 'vitest'
import { LatencyHistogram } from '../../../src/gateway/objects/latency-histogram.ts'
import { Prng } from '../../support/prng.ts'

describe('a histogram of latencies', () => {
  test('is all zeros when nothing was recorded', () => {
    const zeros = { minMs: 0, meanMs: 0, medianMs: 0, p95Ms: 0, p99Ms: 0, maxMs: 0 }
    expect(new LatencyHistogram().summary()).toEqual(zeros)
  })

  test.each([0, 0.0001, 0.001, 0.5, 3, 1000, 3_600_000, 1e9])(
    'gives one of %d ms exactly',
    (ms) => {
      const histogram = new LatencyHistogram()
      histogram.record(ms)
      const exact = { minMs: ms, meanMs: ms, medianMs: ms, p95Ms: ms, p99Ms: ms, maxMs: ms }
      expect(histogram.summary()).toEqual(exact)
    },
  )

  // Goal: quantiles are off by 1 % at most. Method: random times against a sorted list.
  test.each([1, 2, 3])('is off by 1 %% at most (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const histogram = new LatencyHistogram()
    const all: number[] = []
    for (let count = 0; count < 5000; count++) {
      const ms = 0.001 * 10 ** ((prng.u32() / 2 ** 32) * 8)
      all.push(ms)
      histogram.record(ms)
    }
    all.sort((a, b) => a - b)
    const exact = (share: number) => all[Math.ceil(share * all.length) - 1] ?? 0
    const { maxMs, meanMs, medianMs, minMs, p95Ms, p99Ms } = histogram.summary()
    expect([minMs, maxMs]).toEqual([all[0], all.at(-1)])
    expect(meanMs).toBeCloseTo(all.reduce((sum, ms) => sum + ms, 0) / all.length, 6)
    for (const [share, ms] of [
      [0.5, medianMs],
      [0.95, p95Ms],
      [0.99, p99Ms],
    ] as const) {
      expect(Math.abs(ms / exact(share) - 1)).toBeLessThan(0.0101)
    }
  })
})
