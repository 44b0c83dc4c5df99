import { describe, expect, test } from 'vitest'
import { annualLoss, ninesOf } from '../../src/base/durability-model.ts'
import { assess } from '../../src/master/assess.ts'
import { type DurabilityInput, durabilityReport } from '../../src/master/durability-report.ts'
import type { VolumeFacts } from '../../src/net/jobs-api.ts'
import { awayAt, copyAt, factsOf, lostAt } from '../support/volume-facts.ts'

const HOUR_MS = 3_600_000

function reportOf(facts: readonly VolumeFacts[], options: Partial<DurabilityInput> = {}) {
  const assessing = { nowMs: 0, isMassAway: false, garbageThreshold: 1, leaseMs: 0 }
  const assessments = facts.map((each) => assess(each, assessing))
  return durabilityReport({
    survey: { isMassGone: false, facts, assessments },
    times: { count: 0, p50Ms: 0, p95Ms: 0, lastMs: 0 },
    scrub: { ageMaxMs: 9, ageP95Ms: 7, unscrubbedBytes: 5 },
    belowSinceMs: () => 0,
    nowMs: 0,
    delayMs: HOUR_MS,
    scrubEveryMs: 14 * 24 * HOUR_MS,
    ...options,
  })
}

describe('the report', () => {
  test('of an empty cluster has no lines', () => {
    expect(reportOf([])).toMatchObject({ schemes: [], scrubAgeP95Ms: 7, unscrubbedBytes: 5 })
  })

  test('counts servers, not copies, in the worst volume; one that is away counts', () => {
    const whole = factsOf(1, [copyAt('a:1'), copyAt('b:1')])
    const away = factsOf(2, [copyAt('a:1'), awayAt('b:1')])
    expect(reportOf([whole, away]).schemes[0]).toMatchObject({
      scheme: 'replication 001',
      volumes: 2,
      objects: 20,
      domainsWorst: 2,
      toleranceWorst: 1,
      volumesBelow: 1,
    })
    const lost = factsOf(3, [copyAt('a:1'), lostAt('b:1')])
    const [scheme] = reportOf([whole, lost]).schemes
    expect(scheme).toMatchObject({ domainsWorst: 1, toleranceWorst: 0 })
    expect(scheme?.nines).toBeCloseTo(ninesOf(0.04), 6)
    const [gone] = reportOf([factsOf(4, [lostAt('a:1')])]).schemes
    expect(gone?.nines).toBeCloseTo(0)
    expect(gone?.objectsLostPerYear).toBe(10)
  })

  test('takes repair times that were measured, once there are enough', () => {
    const facts = [factsOf(1, [copyAt('a:1'), copyAt('b:1')])]
    const [assumed] = reportOf(facts).schemes
    expect(assumed).toMatchObject({ isMttrAssumed: true, mttrP95Ms: 2 * HOUR_MS })
    const times = { count: 5, p50Ms: 1000, p95Ms: 60_000, lastMs: 1 }
    const [measured] = reportOf(facts, { times }).schemes
    expect(measured).toMatchObject({ isMttrAssumed: false, mttrP50Ms: 1000, mttrP95Ms: 60_000 })
    const loss = annualLoss({ domains: 2, tolerance: 1, afr: 0.04, mttrMs: 60_000 })
    expect(measured?.nines).toBeCloseTo(ninesOf(loss), 9)
    expect(measured?.ninesWithLatentDamage).toBeLessThan(measured?.nines ?? 0)
  })

  test('says for how long the oldest volume has been below, and leaves deleted ones out', () => {
    const below = factsOf(1, [copyAt('a:1')])
    const deleted = factsOf(2, [], { isDeleted: true, strays: [copyAt('a:1')] })
    const report = reportOf([below, deleted], { belowSinceMs: () => 1000, nowMs: 5000 })
    expect(report.schemes).toHaveLength(1)
    expect(report.schemes[0]).toMatchObject({ volumes: 1, volumesBelow: 1, belowOldestMs: 4000 })
  })
})
