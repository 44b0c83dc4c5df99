import { describe, expect, test } from 'vitest'
import { annualLoss, annualLossWithDamage, ninesOf } from '../../src/base/durability-model.ts'
import { assessVolume } from '../../src/master/assess-volume.ts'
import { type DurabilityInput, durabilityReport } from '../../src/master/durability-report.ts'
import type { VolumeFacts } from '../../src/net/jobs-api.ts'
import {
  awayAt,
  codedFactsOf,
  copyAt,
  factsOf,
  lostAt,
  type ShardSpec,
} from '../support/volume-facts.ts'

const HOUR_MS = 3_600_000

function reportOf(facts: readonly VolumeFacts[], options: Partial<DurabilityInput> = {}) {
  const assessing = { nowMs: 0, isMassAway: false, garbageThreshold: 1, leaseMs: 0 }
  const assessments = facts.map((each) => assessVolume(each, assessing))
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

describe('of coded volumes', () => {
  /** So many shards on each server. */
  function spread(id: number, scheme: string, counts: readonly number[], lost = 0) {
    const urls = counts.flatMap((count, at) => Array.from({ length: count }, () => `s${at}:1`))
    const specs = urls.map((url, shard): ShardSpec => {
      return shard < lost ? [url, { isUp: false, isLost: true }] : url
    })
    return codedFactsOf(id, scheme, specs)
  }

  test.each<[string, string, number[], number, number, number]>([
    ['one server each', '4+2', [1, 1, 1, 1, 1, 1], 0, 6, 2],
    ['two on each of three servers', '4+2', [2, 2, 2], 0, 3, 1],
    ['all on one', '4+2', [6], 0, 1, 0],
    ['14 on 14', '10+4', Array.from({ length: 14 }, () => 1), 0, 14, 4],
    ['14 on 7', '10+4', [2, 2, 2, 2, 2, 2, 2], 0, 7, 2],
    ['14 on 6', '10+4', [3, 3, 2, 2, 2, 2], 0, 6, 1],
    ['14 on 3', '10+4', [5, 5, 4], 0, 3, 0],
    ['one lost of six', '4+2', [1, 1, 1, 1, 1, 1], 1, 5, 1],
    ['two lost of six', '4+2', [1, 1, 1, 1, 1, 1], 2, 4, 0],
  ])('%s: servers count, not shards', (_, scheme, counts, lost, domains, tolerance) => {
    const [found] = reportOf([spread(1, scheme, counts, lost)]).schemes
    const is = { scheme: `erasure ${scheme}`, domainsWorst: domains, toleranceWorst: tolerance }
    expect(found).toMatchObject({ ...is, volumes: 1, objects: 10 })
    const mttrMs = 2 * HOUR_MS
    const loss = annualLoss({ domains, tolerance, afr: 0.04, mttrMs })
    expect(found?.nines).toBeCloseTo(ninesOf(loss), 9)
    expect(found?.ninesWithLatentDamage).toBeLessThan(found?.nines ?? 0)
  })

  test('too many lost are lost, whatever else there is; each scheme has its line', () => {
    const gone = spread(1, '4+2', [1, 1, 1, 1, 1, 1], 3)
    const facts = [
      gone,
      spread(2, '4+2', [6]),
      spread(3, '10+4', [7, 7]),
      factsOf(4, [copyAt('a:1')]),
    ]
    const { schemes } = reportOf(facts)
    expect(schemes.map(({ scheme }) => scheme)).toEqual([
      'erasure 10+4',
      'erasure 4+2',
      'replication 001',
    ])
    expect(schemes[1]).toMatchObject({ volumes: 2, toleranceWorst: 0, volumesBelow: 1 })
    expect(schemes[1]?.nines).toBeCloseTo(0)
    expect(schemes[1]?.objectsLostPerYear).toBeGreaterThan(10)
  })

  test('every shard that is left counts when some may have gone bad unnoticed', () => {
    const packed = annualLossWithDamage(
      { domains: 7, tolerance: 2, afr: 0.04, mttrMs: HOUR_MS, piecesLeft: 10 },
      { perYear: 0.008, scrubEveryMs: 14 * 24 * HOUR_MS },
    )
    const servers = annualLossWithDamage(
      { domains: 7, tolerance: 2, afr: 0.04, mttrMs: HOUR_MS },
      { perYear: 0.008, scrubEveryMs: 14 * 24 * HOUR_MS },
    )
    expect(packed).toBeGreaterThan(1.9 * servers)
  })
})
