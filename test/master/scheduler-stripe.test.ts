import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { RISK } from '../../src/master/assess.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import { SimClock } from '../support/sim-clock.ts'
import { HEARTBEAT_MS, TestScheduler } from '../support/test-scheduler.ts'
import {
  codedFactsOf,
  copyAt,
  FakeRepairView,
  factsOf,
  placeOf,
  type ShardSpec,
} from '../support/volume-facts.ts'

const NO_SIGNAL = new AbortController().signal
const LOST = { isUp: false, isLost: true }
const SIX = ['a:1', 'b:1', 'c:1', 'd:1', 'e:1', 'f:1']
const SCHEME = { dataShards: 4, parityShards: 2 }

async function openBench(urls: readonly string[] = SIX) {
  const view = new FakeRepairView()
  for (const url of urls) view.addNode(url)
  const clock = new SimClock()
  const bench = await TestScheduler.open({ view, clock, coordinator: { isLeader: () => true } })
  return { view, clock, bench }
}

function stripe(id: number, specs: readonly ShardSpec[] = SIX) {
  return codedFactsOf(id, '4+2', specs)
}

async function queue(bench: TestScheduler, kind: JobKind, target: JobTarget) {
  const more = { reason: '', risk: 1, queue: '', isAsked: true }
  return await bench.queue.add({ kind, target, ...more }, NO_SIGNAL)
}

describe('shards that could lie better', () => {
  test('are moved by a job for each volume: those on a server that is emptied too', async () => {
    const { view, bench } = await openBench([...SIX, 'g:1'])
    view.addNode('f:1', { isDraining: true })
    view.put(stripe(1, ['a:1', 'a:1', 'b:1', 'c:1', 'd:1', 'e:1']))
    view.put(stripe(2))
    view.put(stripe(3, ['a:1', 'b:1', 'c:1', 'd:1', 'e:1', 'g:1']))
    await bench.turn()
    expect(bench.waiting).toEqual(['ec-balance 1', 'ec-balance 2', 'evacuate f:1'])
    const [first, second] = bench.queue.list({ kind: 'ec-balance', withEnded: false })
    expect(first).toMatchObject({ risk: RISK.placement, queue: 'dc1' })
    expect(second?.risk).toBe(RISK.evacuate)
    expect(second?.reason).toContain('f:1')
  })

  test('are left where they are while the stripe is not whole', async () => {
    const { view, bench } = await openBench()
    view.put(stripe(1, ['a:1', 'a:1', 'b:1', 'c:1', 'd:1', ['e:1', { isUp: false }]]))
    view.put({ ...stripe(2, ['a:1', 'a:1', 'b:1', 'c:1', 'd:1', 'e:1']), dirtyCount: 1 })
    await bench.turn()
    expect(bench.waiting).toEqual(['ec-repair 2'])
  })

  test('of 250 volumes on a server that is emptied are all queued after some turns', async () => {
    const { view, bench } = await openBench([...SIX, 'g:1'])
    for (let id = 1; id <= 250; id++) view.put(stripe(id))
    for (let id = 251; id <= 500; id++) view.put(stripe(id, [...SIX.slice(0, 5), 'g:1']))
    view.addNode('f:1', { isDraining: true })
    for (let turn = 0; turn < 3; turn++) await bench.turn()
    const moves = bench.waiting.filter((each) => each.startsWith('ec-balance'))
    expect(moves).toHaveLength(250)
  })
})

describe('a repair of shards', () => {
  test('for different journals waits for two heartbeats of the same age', async () => {
    const { view, clock, bench } = await openBench()
    const other = { report: { journalDigest: 'ffffffffffffffff' } }
    view.put(stripe(1, [['a:1', other], ...SIX.slice(1)]))
    await bench.turn()
    expect(bench.waiting).toEqual([])
    await clock.advance(2 * HEARTBEAT_MS)
    await bench.turn()
    expect(bench.waiting).toEqual(['ec-repair 1'])
  })

  test('is an incident from when the server was heard of last until all are there', async () => {
    const { view, clock, bench } = await openBench()
    await clock.advance(1_000_000)
    view.addNode('a:1', { isUp: false, lastHeardMs: clock.nowMs() - 5000 })
    view.put(stripe(1, [['a:1', LOST], ...SIX.slice(1)]))
    await bench.turn()
    expect(bench.incidents.belowSinceMs).toBe(clock.nowMs() - 5000)
    await clock.advance(60_000)
    view.put(stripe(1))
    await bench.turn()
    expect(bench.incidents.times).toMatchObject({ count: 1, lastMs: 65_000 })
  })

  test('makes way for nobody, and every other job of the volume for it', async () => {
    const { view, bench } = await openBench()
    await queue(bench, 'ec-vacuum', { volumeId: volumeId(1) })
    const taken = await bench.queue.take({ worker: 'w', queue: '', kinds: [] }, NO_SIGNAL)
    if (taken === undefined) throw new Error('nothing to take')
    const { job, token } = taken
    const report = { jobId: job.id, token, progress: job.progress, cursor: '' }
    expect(bench.queue.report(report)).toBe('go-on')
    view.put(stripe(1, [['a:1', LOST], ...SIX.slice(1)]))
    await bench.turn()
    expect(bench.waiting).toEqual(['ec-repair 1', 'ec-vacuum 1'])
    expect(bench.queue.report(report)).toBe('make-way')
    // One job of a volume at a time.
    expect(await bench.queue.take({ worker: 'x', queue: '', kinds: [] }, NO_SIGNAL)).toBeUndefined()
    await bench.queue.end({ ...report, outcome: 'released', error: '', summary: '' })
    expect(await bench.work()).toBe('ec-repair 1')
    expect(await bench.work()).toBe('ec-vacuum 1')
  })
})

describe('what a job that makes shards leaves lying about', () => {
  const strayShards = [
    { location: placeOf('a:1'), directoryId: 'x', runId: '5', shards: [0, 1], isUp: true },
  ]

  test.each<[JobKind]>([['ec-encode'], ['ec-vacuum'], ['ec-decode']])(
    'is its own until it has ended: %s',
    async (kind) => {
      const { view, bench } = await openBench()
      view.put(factsOf(1, [copyAt('a:1'), copyAt('b:1')], { strayShards }))
      view.put({ ...stripe(2), strayShards })
      for (const id of [1, 2]) await queue(bench, kind, { volumeId: volumeId(id), erasure: SCHEME })
      await bench.turn()
      expect(bench.waiting.filter((each) => each.includes('repair'))).toEqual([])
      for (const id of [1, 2]) expect(await bench.work()).toBe(`${kind} ${id}`)
      await bench.turn()
      expect(bench.waiting).toEqual(['ec-repair 1', 'ec-repair 2'])
    },
  )

  test('does not keep a repair for what is missing from being queued', async () => {
    const { view, bench } = await openBench()
    const [lost, ...others] = [['a:1', LOST] as const, ...SIX.slice(1)]
    view.put({ ...stripe(2, [lost, ...others]), strayShards })
    await queue(bench, 'ec-vacuum', { volumeId: volumeId(2) })
    await bench.turn()
    expect(bench.waiting).toContain('ec-repair 2')
  })
})
