import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseTtl } from '../../src/base/ttl.ts'
import { type AssessOptions, isBelow, RISK, RISK_BELOW } from '../../src/master/assess.ts'
import { assessVolume } from '../../src/master/assess-volume.ts'
import { ErasurePolicy, type ErasurePolicyOptions } from '../../src/master/erasure-policy.ts'
import type { VolumeFacts } from '../../src/net/jobs-api.ts'
import type { StrayShards } from '../../src/net/stripe-facts.ts'
import {
  awayAt,
  codedFactsOf,
  copyAt,
  factsOf,
  placeOf,
  REPORT,
  type ShardSpec,
} from '../support/volume-facts.ts'

const NOW_MS = REPORT.modifiedAtS * 1000
const OPTIONS: AssessOptions = {
  nowMs: NOW_MS,
  isMassAway: false,
  garbageThreshold: 0.3,
  leaseMs: 60_000,
}
const URLS = ['a:1', 'b:1', 'c:1', 'd:1', 'e:1', 'f:1']
const AWAY = { isUp: false }
const LOST = { isUp: false, isLost: true }
const WIPED = { isLost: true, report: 'none' } as const
const BAD = { isBad: true }

/** A stripe of 4+2 on six servers, in which these are not as they should be. */
function stripeOf(
  wrong: Readonly<Record<number, Exclude<ShardSpec, string>[1]>> = {},
  more: Parameters<typeof codedFactsOf>[3] = {},
) {
  const specs = URLS.map((url, shard): ShardSpec => {
    const options = wrong[shard]
    return options === undefined ? url : [url, options]
  })
  return codedFactsOf(7, '4+2', specs, more)
}

function look(facts: VolumeFacts, options: Partial<AssessOptions> = {}) {
  return assessVolume(facts, { ...OPTIONS, ...options })
}

function strayAt(place: string, shards: readonly number[], isUp = true): StrayShards {
  return { location: placeOf(place), directoryId: 'x', runId: '5', shards, isUp }
}

describe('a coded volume that is as it should be', () => {
  test('needs nothing', () => {
    const found = look(stripeOf())
    expect(found).toMatchObject({
      volumeId: 7,
      wantedCount: 6,
      goodCount: 6,
      missingCount: 0,
      needsCopy: false,
      isUnavailable: false,
      liveNeedles: 10,
      datBytes: 1000,
      differs: false,
      unmetPlacement: undefined,
      jobs: [],
    })
    expect(isBelow(found)).toBe(false)
  })

  test('on servers of which one has more shards than parity makes up for is not', () => {
    const packed = codedFactsOf(7, '4+2', ['a:1', 'a:1', 'a:1', 'b:1', 'c:1', 'd:1'])
    expect(look(packed).unmetPlacement).toBe('3 shards of 4+2 are on one server, 2 may be lost')
    const pairs = codedFactsOf(7, '4+2', ['a:1', 'a:1', 'b:1', 'b:1', 'c:1', 'c:1'])
    expect(look(pairs).unmetPlacement).toBeUndefined()
  })
})

describe('shards that are missing', () => {
  test.each<[string, Parameters<typeof stripeOf>[0], number, string]>([
    ['one is lost', { 1: LOST }, RISK.fewCopies + 100, '5 of 6 shards, 1 lost'],
    ['its server has lost one', { 1: WIPED }, RISK.fewCopies + 100, '5 of 6 shards, 1 lost'],
    ['two are lost', { 1: LOST, 4: LOST }, RISK.lastCopy, '4 of 6 shards, 2 lost'],
    ['one is lost and one away', { 1: LOST, 4: AWAY }, RISK.lastCopy, '4 of 6 shards, 1 lost'],
    ['one has bad blocks', { 0: BAD }, RISK.fewCopies + 100, '5 of 6 shards, 1 damaged'],
    ['three have bad blocks', { 0: BAD, 1: BAD, 2: BAD }, RISK.lastCopy, '3 of 6 shards'],
  ])('are made when %s', (_, wrong, risk, reason) => {
    const facts = stripeOf(wrong)
    const found = look(facts)
    expect(found).toMatchObject({ needsCopy: true, isUnavailable: false })
    const [job] = found.jobs
    expect(job).toMatchObject({ kind: 'ec-repair', risk, target: { volumeId: 7 }, queue: 'dc1' })
    expect(job?.reason).toContain(reason)
    expect(risk).toBeGreaterThanOrEqual(RISK_BELOW)
    expect(isBelow(found)).toBe(true)
  })

  test('of 14 are the riskier the fewer may still be lost', () => {
    const specs = (lostCount: number) =>
      Array.from({ length: 14 }, (_, at): ShardSpec => {
        return at < lostCount ? [`s${at}:1`, LOST] : `s${at}:1`
      })
    const risks = [1, 2, 3, 4].map(
      (count) => look(codedFactsOf(7, '10+4', specs(count))).jobs[0]?.risk,
    )
    expect(risks).toEqual([850, 900, 950, 1000])
  })

  test('are waited for while their servers are down, and the volume is below meanwhile', () => {
    const found = look(stripeOf({ 2: AWAY, 3: AWAY }))
    expect(found).toMatchObject({ missingCount: 2, needsCopy: false, away: ['c:1', 'd:1'] })
    expect(found.jobs).toEqual([])
    expect(isBelow(found)).toBe(true)
  })

  test('too many to read from: red, and nothing can be done before some are back', () => {
    const found = look(stripeOf({ 0: LOST, 1: LOST, 2: AWAY }))
    expect(found).toMatchObject({ isUnavailable: true, missingCount: 3, jobs: [] })
    const empty = { report: { liveNeedles: 0 } }
    const nothing = stripeOf({ 0: LOST, 1: LOST, 2: LOST, 3: empty, 4: empty, 5: empty })
    expect(look(nothing).isUnavailable).toBe(true)
    const all = Object.fromEntries(URLS.map((_, at) => [at, { ...AWAY, ...empty }]))
    expect(look(stripeOf(all)).isUnavailable).toBe(false)
  })

  test('are not made because of servers that are all down at once', () => {
    const mass = { isMassAway: true }
    expect(look(stripeOf({ 1: LOST }), mass).jobs).toEqual([])
    expect(look(stripeOf({ 1: LOST }, { dirtyCount: 1 }), mass).jobs).toEqual([])
    expect(look(stripeOf({ 1: WIPED }), mass).jobs).toHaveLength(1)
    expect(look(stripeOf({ 1: BAD, 2: LOST }), mass).jobs).toHaveLength(1)
  })
})

describe('deletes that not every server has', () => {
  const other = { report: { journalDigest: 'ffffffffffffffff' } }

  test('are seen by the digests of the journals of servers in reach', () => {
    const found = look(stripeOf({ 2: other }))
    expect(found).toMatchObject({ differs: true })
    expect(found.jobs).toMatchObject([{ kind: 'ec-repair', risk: RISK.differs }])
    expect(isBelow(found)).toBe(true)
    expect(look(stripeOf({ 2: { ...other, ...AWAY } })).differs).toBe(false)
  })

  test('and are known are settled, but not while a server is away that may have another', () => {
    const found = look(stripeOf({ 2: other }, { dirtyCount: 3 }))
    expect(found.jobs).toMatchObject([{ kind: 'ec-repair', risk: RISK.dirty }])
    expect(found.jobs[0]?.reason).toBe('3 needles differ')
    expect(look(stripeOf({ 3: AWAY }, { dirtyCount: 3 })).jobs).toEqual([])
    expect(look(stripeOf({ 3: LOST }, { dirtyCount: 3 })).jobs[0]?.reason).toContain('3 needles')
  })
})

describe('what does not count', () => {
  test('is removed once the stripe is whole, if it is in reach', () => {
    const strayShards = [strayAt('a:1', [1, 2]), strayAt('z:1', [5], false)]
    const strays = [copyAt('a:1'), awayAt('z:1')]
    const job = look(stripeOf({}, { strays, strayShards })).jobs[0]
    expect(job).toMatchObject({ kind: 'ec-repair', risk: RISK.surplus })
    expect(job?.reason).toBe('1 copies that do not count; 2 shards that do not count')
    expect(look(stripeOf({ 0: AWAY }, { strays, strayShards })).jobs).toEqual([])
    const away = { strays: [awayAt('z:1')], strayShards: [strayAt('z:1', [5], false)] }
    expect(look(stripeOf({}, away)).jobs).toEqual([])
  })

  test('is left where its server has the one that counts as well', () => {
    const { runId } = stripeOf().stripe
    const twice = { ...strayAt('a:1', [0]), runId }
    expect(look(stripeOf({}, { strayShards: [twice] })).jobs).toEqual([])
    const other = { ...strayAt('a:1', [0, 1]), runId }
    expect(look(stripeOf({}, { strayShards: [other] })).jobs[0]?.reason).toContain('1 shards')
  })

  test('of a volume with copies, or one that was deleted, is removed by its repair', () => {
    const strayShards = [strayAt('dc2/r1/x:1', [1, 2])]
    const two = [copyAt('a:1'), copyAt('b:1')]
    const [job] = look(factsOf(7, two, { strayShards })).jobs
    expect(job).toMatchObject({ kind: 'ec-repair', risk: RISK.surplus })
    expect(job?.reason).toBe('2 shards that do not count')
    const half = look(factsOf(7, two.slice(1), { strayShards })).jobs
    expect(half.map(({ kind }) => kind)).toEqual(['replica-repair'])
    const deleted = look(factsOf(7, [], { isDeleted: true, strayShards })).jobs
    expect(deleted).toMatchObject([{ kind: 'replica-repair', queue: 'dc2' }])
    const gone = [strayAt('x:1', [1], false)]
    expect(look(factsOf(7, [], { isDeleted: true, strayShards: gone })).jobs).toEqual([])
  })
})

describe('a vacuum of a coded volume', () => {
  const full = (garbageBytes: number) => ({ report: { garbageBytes } })

  test.each([
    [1200, undefined],
    [1201, RISK.vacuum + 1201 / 4000],
  ])('of %d bytes of garbage in 4,000 has the risk %s', (bytes, risk) => {
    const job = look(stripeOf({ 3: full(bytes) })).jobs.find(({ kind }) => kind === 'ec-vacuum')
    expect(job?.risk).toBe(risk)
  })

  test('waits until it is whole, and its journals are the same', () => {
    const kinds = (facts: VolumeFacts) => look(facts).jobs.map(({ kind }) => kind)
    expect(kinds(stripeOf({ 3: full(3000) }))).toEqual(['ec-vacuum'])
    expect(kinds(stripeOf({ 3: full(3000), 1: AWAY }))).toEqual([])
    expect(kinds(stripeOf({ 3: full(3000), 1: BAD }))).toEqual(['ec-repair'])
    expect(kinds(stripeOf({ 3: full(3000) }, { dirtyCount: 1 }))).toEqual(['ec-repair'])
  })
})

describe('a volume is coded by itself', () => {
  const HOUR_MS = 3_600_000
  const scheme = { dataShards: 4, parityShards: 2 }
  const policyOf = (
    settings: Readonly<Record<string, 'off' | typeof scheme>> = {},
    erasure: Partial<ErasurePolicyOptions['erasure']> = { scheme },
    servers = 6,
  ) =>
    new ErasurePolicy(
      {
        collections: { erasureOf: (collection) => settings[collection] },
        serverCount: () => servers,
      },
      {
        erasure: { scheme: undefined, fullPercent: 95, quietMs: HOUR_MS, ...erasure },
        volumeSizeMaxBytes: 10_000,
      },
    )
  const policy = policyOf()
  const nowMs = NOW_MS + HOUR_MS
  const full = { report: { datBytes: 9500 } }
  const two = (options: Parameters<typeof copyAt>[1] = full) => [
    copyAt('a:1', options),
    copyAt('b:1', options),
  ]
  const kindsOf = (facts: VolumeFacts, by = policy, at = nowMs) =>
    assessVolume(facts, { ...OPTIONS, nowMs: at }, by).jobs.map(({ kind }) => kind)

  test('only if no server gets more shards than may be lost', () => {
    const kindsWith = (servers: number) =>
      kindsOf(factsOf(7, two()), policyOf({}, { scheme }, servers))
    expect([0, 1, 2].map(kindsWith)).toEqual([[], [], []])
    expect(kindsWith(3)).toEqual(['ec-encode'])
  })

  test('once it is full, or sealed, and nobody has written to it for an hour', () => {
    const [job] = assessVolume(factsOf(7, two()), { ...OPTIONS, nowMs }, policy).jobs
    expect(job).toMatchObject({
      kind: 'ec-encode',
      risk: RISK.encode,
      target: { volumeId: volumeId(7), erasure: scheme },
    })
    expect(kindsOf(factsOf(7, two()), policy, nowMs - 1)).toEqual([])
    expect(kindsOf(factsOf(7, two({ report: { datBytes: 9499 } })))).toEqual([])
    const sealed = { report: { state: 'sealed' } } as const
    expect(kindsOf(factsOf(7, two(sealed)))).toEqual(['ec-encode'])
  })

  test('as its collection says, else the cluster; without either it is not', () => {
    const photos = { collection: 'photos' }
    expect(kindsOf(factsOf(7, two(), photos), policyOf({ photos: 'off' }))).toEqual([])
    expect(kindsOf(factsOf(7, two(), photos), policyOf({}, {}))).toEqual([])
    const other = { dataShards: 6, parityShards: 3 }
    const own = policyOf({ photos: other }, {})
    const [job] = assessVolume(factsOf(7, two(), photos), { ...OPTIONS, nowMs }, own).jobs
    expect(job?.target.erasure).toEqual(other)
    expect(kindsOf(factsOf(8, two()), own)).toEqual([])
    expect(own.schemeAsked('photos')).toEqual(other)
    expect(own.schemeAsked('')).toEqual({ dataShards: 10, parityShards: 4 })
    expect(policy.schemeAsked('')).toEqual(scheme)
  })

  test.each<[string, VolumeFacts, string[]]>([
    ['a copy is away', factsOf(7, [copyAt('a:1', full), awayAt('b:1', full)]), []],
    ['there are too few', factsOf(7, [copyAt('a:1', full)]), ['replica-repair']],
    ['needles differ', factsOf(7, two(), { dirtyCount: 1 }), ['replica-repair']],
    ['a stray is about', factsOf(7, two(), { strays: [awayAt('c:1')] }), []],
    ['the digests are not known', factsOf(7, two({ report: { datBytes: 9500, digest: '' } })), []],
    [
      'it is to be vacuumed',
      factsOf(7, two({ report: { datBytes: 9500, garbageBytes: 9000 } })),
      ['vacuum'],
    ],
    ['it has a time to live', factsOf(7, two(), { ttl: parseTtl('1w') }), []],
    ['nothing is in it', factsOf(7, two({ report: { datBytes: 9500, liveNeedles: 0 } })), []],
    ['it is coded', codedFactsOf(7, '4+2', URLS), []],
  ])('but not while %s', (_, facts, kinds) => {
    expect(kindsOf(facts)).toEqual(kinds)
  })
})
