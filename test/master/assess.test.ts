import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { parseTtl } from '../../src/base/ttl.ts'
import {
  type AssessOptions,
  areInSync,
  assess,
  isBelow,
  RISK,
  RISK_BELOW,
} from '../../src/master/assess.ts'
import type { VolumeFacts } from '../../src/net/jobs-api.ts'
import { awayAt, copyAt, factsOf, lostAt, REPORT } from '../support/volume-facts.ts'

const NOW_MS = REPORT.modifiedAtS * 1000
const OPTIONS: AssessOptions = {
  nowMs: NOW_MS,
  isMassAway: false,
  garbageThreshold: 0.3,
  leaseMs: 60_000,
}

function jobsOf(facts: VolumeFacts, options: Partial<AssessOptions> = {}) {
  return assess(facts, { ...OPTIONS, ...options }).jobs
}

function repairOf(facts: VolumeFacts, options: Partial<AssessOptions> = {}) {
  return jobsOf(facts, options).find(({ kind }) => kind === 'replica-repair')
}

const damaged = { report: { state: 'damaged' } } as const

describe('a volume that is as it should be', () => {
  test('needs nothing', () => {
    const assessment = assess(factsOf(7, [copyAt('a:1'), copyAt('b:1')]), OPTIONS)
    expect(assessment).toEqual({
      volumeId: 7,
      wantedCount: 2,
      goodCount: 2,
      missingCount: 0,
      needsCopy: false,
      away: [],
      isUnavailable: false,
      liveNeedles: 10,
      datBytes: 1200,
      dirtyCount: 0,
      differs: false,
      unmetPlacement: undefined,
      jobs: [],
    })
    expect(isBelow(assessment)).toBe(false)
  })
})

describe('copies that are missing', () => {
  test('a server that is down is waited for, and the volume is below meanwhile', () => {
    const facts = factsOf(7, [copyAt('a:1'), awayAt('b:1')])
    const assessment = assess(facts, OPTIONS)
    expect(assessment).toMatchObject({ missingCount: 1, needsCopy: false, away: ['b:1'], jobs: [] })
    expect(isBelow(assessment)).toBe(true)
  })

  test.each<[string, VolumeFacts, number, string]>([
    [
      'the last but one is lost',
      factsOf(1, [copyAt('a:1'), lostAt('b:1')]),
      RISK.lastCopy,
      '1 of 2',
    ],
    [
      'one of three is lost',
      factsOf(1, [copyAt('a:1'), copyAt('b:1'), lostAt('c:1')], { replication: '002' }),
      RISK.fewCopies,
      '2 of 3 copies, 1 lost',
    ],
    [
      'one is damaged',
      factsOf(1, [copyAt('a:1'), copyAt('b:1', damaged)]),
      RISK.lastCopy,
      'damaged',
    ],
    ['there were never enough', factsOf(1, [copyAt('a:1')]), RISK.lastCopy, '1 of 2 copies'],
    ['only a damaged one is left', factsOf(1, [copyAt('a:1', damaged)]), RISK.lastCopy, '0 of 2'],
    [
      'the only one is damaged',
      factsOf(1, [copyAt('a:1', damaged)], { replication: '000' }),
      RISK.fewCopies,
      'damaged',
    ],
    [
      'one is lost and one away',
      factsOf(1, [copyAt('a:1'), lostAt('b:1'), awayAt('c:1')], { replication: '002' }),
      RISK.lastCopy,
      '1 of 3',
    ],
  ])('are made when %s', (_, facts, risk, reason) => {
    const job = repairOf(facts)
    expect(job).toMatchObject({ risk, target: { volumeId: 1 }, queue: 'dc1' })
    expect(job?.reason).toContain(reason)
    expect(risk).toBeGreaterThanOrEqual(RISK_BELOW)
  })

  test('cannot be made when no copy is left to copy from', () => {
    const assessment = assess(factsOf(7, [lostAt('a:1'), lostAt('b:1')]), OPTIONS)
    expect(assessment).toMatchObject({ isUnavailable: true, missingCount: 2, jobs: [] })
  })

  test('are not made because of servers that are all down at once', () => {
    const facts = factsOf(7, [copyAt('a:1'), lostAt('b:1')])
    expect(repairOf(facts, { isMassAway: true })).toBeUndefined()
    const dirty = factsOf(7, [copyAt('a:1'), copyAt('c:1'), lostAt('b:1')], { dirtyCount: 1 })
    expect(repairOf(dirty, { isMassAway: true })).toBeUndefined()
    const wiped = factsOf(7, [copyAt('a:1'), lostAt('b:1', { isUp: true, report: 'none' })])
    expect(repairOf(wiped, { isMassAway: true })).toBeDefined()
    const bad = factsOf(7, [copyAt('a:1'), copyAt('b:1', damaged)])
    expect(repairOf(bad, { isMassAway: true })).toBeDefined()
  })

  test('a volume is unavailable only if something is in it, or may be', () => {
    const empty = { report: { liveNeedles: 0 } }
    const isUnavailable = (facts: VolumeFacts) => assess(facts, OPTIONS).isUnavailable
    expect(isUnavailable(factsOf(7, [awayAt('a:1'), awayAt('b:1')]))).toBe(true)
    expect(isUnavailable(factsOf(7, [awayAt('a:1', empty), awayAt('b:1', empty)]))).toBe(false)
    expect(isUnavailable(factsOf(7, [awayAt('a:1', { report: 'none' })]))).toBe(true)
    expect(isUnavailable(factsOf(7, [copyAt('a:1', damaged)]))).toBe(false)
  })
})

describe('copies that differ', () => {
  const two = [copyAt('a:1'), copyAt('b:1')]
  const other = copyAt('b:1', { report: { digest: 'ffffffffffffffff' } })

  test('by their digests are compared, once both are known', () => {
    const facts = factsOf(7, [copyAt('a:1'), other])
    expect(assess(facts, OPTIONS).differs).toBe(true)
    expect(repairOf(facts)?.risk).toBe(RISK.differs)
    const busy = factsOf(7, [copyAt('a:1', { report: { digest: '' } }), other])
    expect(repairOf(busy)).toBeUndefined()
  })

  test('in needles that are known are settled', () => {
    const facts = factsOf(7, two, { dirtyCount: 3 })
    expect(repairOf(facts)).toMatchObject({ risk: RISK.dirty, reason: '3 needles differ' })
    expect(isBelow(assess(facts, OPTIONS))).toBe(true)
  })

  test('have to wait for a server that is away: its copy may have the newest needle', () => {
    const one = factsOf(7, [copyAt('a:1'), awayAt('b:1')], { dirtyCount: 1 })
    expect(repairOf(one)).toBeUndefined()
    const three = [copyAt('a:1'), copyAt('b:1'), awayAt('c:1')]
    const others = factsOf(7, three, { dirtyCount: 1, replication: '002' })
    expect(repairOf(others)).toBeUndefined()
    const back = [copyAt('a:1'), copyAt('b:1'), copyAt('c:1')]
    const whole = factsOf(7, back, { dirtyCount: 1, replication: '002' })
    expect(repairOf(whole)?.risk).toBe(RISK.dirty)
  })
})

describe('copies that are too many', () => {
  test('leave, and strays are removed once there are enough others', () => {
    const three = [copyAt('a:1'), copyAt('b:1'), copyAt('c:1')]
    expect(repairOf(factsOf(7, three))).toMatchObject({ risk: RISK.surplus })
    const strays = [copyAt('c:1')]
    expect(repairOf(factsOf(7, three.slice(0, 2), { strays }))?.risk).toBe(RISK.surplus)
    const waiting = factsOf(7, [copyAt('a:1'), awayAt('b:1')], { strays })
    expect(repairOf(waiting)).toBeUndefined()
    const away = factsOf(7, three.slice(0, 2), { strays: [awayAt('c:1')] })
    expect(repairOf(away)).toBeUndefined()
  })

  test('of a deleted volume are removed, and it lacks nothing', () => {
    const facts = factsOf(7, [], { isDeleted: true, strays: [copyAt('dc2/r1/c:1')] })
    const assessment = assess(facts, OPTIONS)
    expect(assessment).toMatchObject({ missingCount: 0, isUnavailable: false })
    expect(repairOf(facts)).toMatchObject({ risk: RISK.surplus, queue: 'dc2' })
    expect(jobsOf({ ...facts, strays: [awayAt('c:1')] })).toEqual([])
  })
})

describe('replication', () => {
  test('is told to a copy that says another one of itself', () => {
    const old = { report: { replication: parseReplicaPlacement('000') } }
    const facts = factsOf(7, [copyAt('a:1'), copyAt('b:1', old)])
    expect(repairOf(facts)?.reason).toContain('its replication is 001')
  })

  test('that is not met although there are enough copies is said', () => {
    const unmet = (facts: VolumeFacts) => assess(facts, OPTIONS).unmetPlacement
    const far = [copyAt('dc1/r1/a:1'), copyAt('dc1/r2/b:1')]
    expect(unmet(factsOf(7, far, { replication: '010' }))).toBeUndefined()
    const near = [copyAt('dc1/r1/a:1'), copyAt('dc1/r1/b:1')]
    expect(unmet(factsOf(7, near, { replication: '010' }))).toContain('racks')
    const away = [copyAt('dc1/r1/a:1'), awayAt('dc1/r1/b:1')]
    expect(unmet(factsOf(7, away, { replication: '010' }))).toBeUndefined()
  })
})

describe('vacuum', () => {
  const full = (garbageBytes: number) => ({ report: { garbageBytes, datBytes: 1000 } })

  test.each([
    [300, undefined],
    [301, RISK.vacuum + 0.301],
    [900, RISK.vacuum + 0.9],
  ])('of %d bytes of garbage in 1,000 has the risk %d', (bytes, risk) => {
    const facts = factsOf(7, [copyAt('a:1', full(bytes)), copyAt('b:1', full(0))])
    expect(jobsOf(facts).find(({ kind }) => kind === 'vacuum')?.risk).toBe(risk)
  })

  test('waits while a copy is away, damaged or lost, or needles differ', () => {
    const kinds = (facts: VolumeFacts) => jobsOf(facts).map(({ kind }) => kind)
    const here = copyAt('a:1', full(900))
    expect(kinds(factsOf(7, [here, awayAt('b:1')]))).not.toContain('vacuum')
    expect(kinds(factsOf(7, [here, lostAt('b:1')]))).not.toContain('vacuum')
    expect(kinds(factsOf(7, [here, copyAt('b:1', damaged)]))).not.toContain('vacuum')
    expect(kinds(factsOf(7, [here, copyAt('b:1')], { dirtyCount: 1 }))).not.toContain('vacuum')
  })
})

describe('expiry', () => {
  const ttl = parseTtl('1h')
  const HOUR_MS = 3_600_000

  test('comes when the last write is older than the time to live and a tenth more', () => {
    const older = copyAt('b:1', { report: { modifiedAtS: REPORT.modifiedAtS - 999 } })
    const facts = factsOf(7, [copyAt('a:1'), older], { ttl })
    expect(jobsOf(facts, { nowMs: NOW_MS + 1.1 * HOUR_MS - 1 })).toEqual([])
    const [job] = jobsOf(facts, { nowMs: NOW_MS + 1.1 * HOUR_MS })
    expect(job).toMatchObject({ kind: 'expire', target: { volumeId: 7 } })
  })

  test('leaves a lease on its ids the time it has', () => {
    const facts = factsOf(7, [copyAt('a:1')], { ttl: parseTtl('1m'), replication: '000' })
    const leaseMs = 300_000
    expect(jobsOf(facts, { leaseMs, nowMs: NOW_MS + 359_000 })).toEqual([])
    expect(jobsOf(facts, { leaseMs, nowMs: NOW_MS + 361_000 })[0]?.kind).toBe('expire')
  })

  test('goes before a vacuum, and waits for a copy that may know better', () => {
    const nowMs = NOW_MS + 9 * HOUR_MS
    const garbage = { report: { garbageBytes: 900, datBytes: 1000 } }
    const facts = factsOf(7, [copyAt('a:1', garbage), copyAt('b:1')], { ttl })
    expect(jobsOf(facts, { nowMs }).map(({ kind }) => kind)).toEqual(['expire'])
    const away = factsOf(7, [copyAt('a:1', garbage), awayAt('b:1')], { ttl })
    expect(jobsOf(away, { nowMs })).toEqual([])
    const forever = factsOf(7, [copyAt('a:1'), copyAt('b:1')])
    expect(jobsOf(forever, { nowMs })).toEqual([])
  })
})

describe('copies are in sync', () => {
  const other = copyAt('b:1', { report: { digest: 'ffffffffffffffff' } })
  const unknown = { report: { digest: '' } }
  test.each<[string, boolean, VolumeFacts]>([
    ['with equal digests', true, factsOf(7, [copyAt('a:1'), copyAt('b:1')])],
    [
      'when there is one, as there should be',
      true,
      factsOf(7, [copyAt('a:1', unknown)], { replication: '000' }),
    ],
    ['with other digests', false, factsOf(7, [copyAt('a:1'), other])],
    ['with unknown digests', false, factsOf(7, [copyAt('a:1', unknown), copyAt('b:1', unknown)])],
    ['with one away', false, factsOf(7, [copyAt('a:1'), awayAt('b:1')])],
    ['with too few', false, factsOf(7, [copyAt('a:1')])],
    [
      'with needles that differ',
      false,
      factsOf(7, [copyAt('a:1'), copyAt('b:1')], { dirtyCount: 1 }),
    ],
    [
      'with a stray about',
      false,
      factsOf(7, [copyAt('a:1'), copyAt('b:1')], { strays: [awayAt('c:1')] }),
    ],
  ])('%s: %s', (_, expected, facts) => {
    expect(areInSync(facts)).toBe(expected)
  })
})
