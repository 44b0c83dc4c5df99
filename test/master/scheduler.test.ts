import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { RISK } from '../../src/master/assess.ts'
import { SimClock } from '../support/sim-clock.ts'
import { HEARTBEAT_MS, TestScheduler } from '../support/test-scheduler.ts'
import { awayAt, copyAt, FakeRepairView, factsOf, lostAt } from '../support/volume-facts.ts'

const NO_SIGNAL = new AbortController().signal
const OTHER = { report: { digest: 'ffffffffffffffff' } }

async function openBench(options: { readonly scrubEveryMs?: number } = {}) {
  const view = new FakeRepairView()
  const clock = new SimClock()
  const coordinator = { isLeader: () => true }
  const bench = await TestScheduler.open({ view, clock, coordinator }, options)
  return { view, clock, coordinator, bench }
}

const whole = (id: number) => factsOf(id, [copyAt('a:1'), copyAt('b:1')])
const halved = (id: number) => factsOf(id, [copyAt('a:1'), lostAt('b:1')])

describe('two candidates', () => {
  test('the second is idle until the first is gone', async () => {
    const view = new FakeRepairView()
    const clock = new SimClock()
    // One lead for both, as one coordinator gives it.
    const coordination = { leader: 'first' }
    const candidate = async (name: string) => {
      const coordinator = { isLeader: () => coordination.leader === name }
      const bench = await TestScheduler.open({ view, clock, coordinator })
      const stopping = new AbortController()
      const running = bench.scheduler.run(stopping.signal)
      const stop = async () => {
        stopping.abort()
        await running
      }
      return { bench, stop }
    }
    const first = await candidate('first')
    const second = await candidate('second')
    view.put(halved(1))
    await clock.advance(60_000)
    expect(first.bench.waiting).toEqual(['replica-repair 1'])
    expect(second.bench.waiting).toEqual([])
    expect(second.bench.surveyor.latest.facts).toEqual([])
    await first.stop()
    await clock.advance(60_000)
    expect(second.bench.waiting).toEqual([])
    coordination.leader = 'second'
    view.put(halved(2))
    await clock.advance(1000)
    expect(second.bench.waiting).toEqual(['replica-repair 1', 'replica-repair 2'])
    expect(first.bench.waiting).toEqual(['replica-repair 1'])
    await second.stop()
  })

  test('one that loses the lead on the way queues nothing more', async () => {
    const view = new FakeRepairView()
    let answersLeft = Number.POSITIVE_INFINITY
    const coordinator = { isLeader: () => answersLeft-- > 0 }
    for (let id = 1; id <= 100; id++) view.put(halved(id))
    for (const answers of [1, 2, 3, 12]) {
      const bench = await TestScheduler.open({ view, clock: new SimClock(), coordinator })
      answersLeft = answers
      await bench.turn()
      // Two looks come before the first job.
      expect(bench.waiting).toHaveLength(Math.max(0, answers - 2))
    }
  })
})

describe('what is to be done', () => {
  test('is queued once, the riskiest first; nothing while the master is warming up', async () => {
    const { view, bench } = await openBench()
    view.put(factsOf(1, [copyAt('a:1'), copyAt('b:1', { report: { garbageBytes: 900 } })]))
    view.put(halved(2))
    view.put(whole(3))
    view.put(factsOf(4, [copyAt('a:1'), copyAt('b:1')], { dirtyCount: 1 }))
    bench.warmUp.isWarming = true
    await bench.turn()
    expect(bench.waiting).toEqual([])
    bench.warmUp.isWarming = false
    for (let turn = 0; turn < 3; turn++) await bench.turn()
    expect(bench.waiting).toEqual(['replica-repair 2', 'replica-repair 4', 'vacuum 1'])
  })

  test('changes its risk with the volume', async () => {
    const { view, bench } = await openBench()
    view.put(factsOf(1, [copyAt('a:1'), copyAt('b:1')], { dirtyCount: 1 }))
    await bench.turn()
    view.put(factsOf(1, [copyAt('a:1'), lostAt('b:1')], { dirtyCount: 1 }))
    await bench.turn()
    const [job] = bench.queue.list({ kind: undefined, withEnded: false })
    expect(job?.risk).toBe(RISK.lastCopy)
  })

  test('is not queued beside the comparison of every byte that an operator asked for', async () => {
    const { view, bench } = await openBench()
    view.put(halved(1))
    const target = { volumeId: volumeId(1), isDeep: true }
    const deep = {
      kind: 'replica-repair',
      target,
      reason: '',
      risk: 1,
      queue: '',
      isAsked: true,
    } as const
    await bench.queue.add(deep, NO_SIGNAL)
    await bench.turn()
    expect(bench.waiting).toEqual(['replica-repair 1'])
    expect(bench.queue.list({ kind: undefined, withEnded: false })[0]?.risk).toBe(RISK.lastCopy)
  })

  test('waits ever longer when it was done and is still needed', async () => {
    const { view, clock, bench } = await openBench()
    view.put(halved(1))
    const waitsS: number[] = []
    await bench.turn()
    for (let round = 0; round < 7; round++) {
      expect(await bench.work()).toBe('replica-repair 1')
      let seconds = 0
      for (; bench.waiting.length === 0; seconds++) {
        await clock.advance(1000)
        await bench.turn()
      }
      waitsS.push(seconds)
    }
    expect(waitsS).toEqual([10, 20, 40, 80, 160, 300, 300])
  })

  test('begins anew when it was whole in between', async () => {
    const { view, clock, bench } = await openBench()
    for (let round = 0; round < 4; round++) {
      view.put(halved(1))
      await bench.turn()
      expect(await bench.work()).toBe('replica-repair 1')
      view.put(whole(1))
      await bench.turn()
      await clock.advance(2 * HEARTBEAT_MS)
    }
  })

  test('that was cancelled is left alone for ten minutes', async () => {
    const { view, clock, bench } = await openBench()
    view.put(halved(1))
    await bench.turn()
    await bench.queue.order(1, 'cancel', NO_SIGNAL)
    await clock.advance(599_000)
    await bench.turn()
    expect(bench.waiting).toEqual([])
    await clock.advance(1000)
    await bench.turn()
    expect(bench.waiting).toEqual(['replica-repair 1'])
  })
})

describe('copies with other digests', () => {
  test('are compared once they have differed for two heartbeats', async () => {
    const { view, clock, bench } = await openBench()
    view.put(factsOf(1, [copyAt('a:1'), copyAt('b:1', OTHER)]))
    await bench.turn()
    await clock.advance(2 * HEARTBEAT_MS - 1)
    await bench.turn()
    expect(bench.waiting).toEqual([])
    await clock.advance(1)
    await bench.turn()
    expect(bench.waiting).toEqual(['replica-repair 1'])
  })

  test('that agree in between were only told of at different times', async () => {
    const { view, clock, bench } = await openBench()
    for (let beat = 0; beat < 10; beat++) {
      const members = beat % 2 === 0 ? [copyAt('a:1'), copyAt('b:1', OTHER)] : whole(1).members
      view.put(factsOf(1, members))
      await bench.turn()
      await clock.advance(HEARTBEAT_MS)
    }
    expect(bench.waiting).toEqual([])
  })
})

describe('a running job', () => {
  test('may leave copies lying about: those are its own', async () => {
    const { view, bench } = await openBench()
    const target = { volumeId: volumeId(1), node: 'a:1' }
    const move = { kind: 'move', target, reason: '', risk: 1, queue: '', isAsked: true } as const
    await bench.queue.add(move, NO_SIGNAL)
    await bench.queue.take({ worker: 'w', queue: '', kinds: [] }, NO_SIGNAL)
    view.put(factsOf(1, [copyAt('a:1'), copyAt('b:1')], { strays: [copyAt('c:1')] }))
    await bench.turn()
    expect(bench.waiting).toEqual(['move 1'])
    view.put(halved(1))
    await bench.turn()
    expect(bench.waiting).toEqual(['replica-repair 1', 'move 1'])
  })
})

describe('servers', () => {
  test('many of which are down at once: nothing is copied because of it', async () => {
    const { view, bench } = await openBench()
    view.put(halved(1))
    view.isMass = true
    await bench.turn()
    expect(bench.waiting).toEqual([])
    expect(bench.incidents.belowSinceMs).toBeGreaterThan(0)
    view.isMass = false
    await bench.turn()
    expect(bench.waiting).toEqual(['replica-repair 1'])
  })

  test('that are to be emptied are, as long as copies are there', async () => {
    const { view, bench } = await openBench()
    view.addNode('a:1', { isDraining: true })
    view.addNode('b:1', { isDraining: true, hasMembers: false })
    view.addNode('c:1', { isDraining: true, isUp: false })
    await bench.turn()
    expect(bench.waiting).toEqual(['evacuate a:1'])
  })

  test('that are fuller than others are evened out, but not while copies are missing', async () => {
    const { view, bench } = await openBench()
    const mb = 1_000_000
    view.addNode('a:1', { usedBytes: 90 * mb, roomBytes: 10 * mb })
    view.addNode('b:1', { usedBytes: 10 * mb, roomBytes: 90 * mb })
    const at = (place: string) => copyAt(place, { report: { datBytes: 10 * mb } })
    for (let id = 1; id <= 9; id++) view.put(factsOf(id, [at('a:1')], { replication: '000' }))
    view.put(factsOf(10, [at('b:1'), awayAt('c:1')]))
    for (let turn = 0; turn < 12; turn++) await bench.turn()
    expect(bench.waiting).toEqual([])
    view.put(factsOf(10, [at('b:1')], { replication: '000' }))
    for (let turn = 0; turn < 6; turn++) await bench.turn()
    expect(bench.waiting).toEqual(['rebalance'])
  })
})

describe('placement', () => {
  test('that is not met is mended by a move, where a move can', async () => {
    const { view, bench } = await openBench()
    const places = ['dc1/r1/a:1', 'dc1/r1/b:1']
    for (const place of places) view.addNode(place)
    const copies = places.map((place) => copyAt(place))
    view.put(factsOf(1, copies, { replication: '010' }))
    await bench.turn()
    expect(bench.waiting).toEqual([])
    view.addNode('dc1/r2/c:1')
    await bench.turn()
    await bench.turn()
    expect(bench.waiting).toEqual(['move 1'])
  })
})

describe('scrubs', () => {
  test('come when it is time, and stop when they were noted', async () => {
    const { view, clock, bench } = await openBench({ scrubEveryMs: 100_000 })
    view.put(factsOf(1, [copyAt('a:1')], { replication: '000' }))
    await bench.turn()
    await clock.advance(80_000)
    await bench.turn()
    expect(await bench.work()).toBe('scrub 1')
    const note = { volumeId: volumeId(1), directoryId: 'disk-a:1', bytes: 1, damageCount: 0 }
    await bench.scrubs.note(note, NO_SIGNAL)
    await clock.advance(79_000)
    await bench.turn()
    expect(bench.waiting).toEqual([])
    await clock.advance(1000)
    await bench.turn()
    expect(bench.waiting).toEqual(['scrub 1'])
  })
})

describe('repair times', () => {
  test('begin when the server was last heard of, and end with the last copy', async () => {
    const { view, clock, bench } = await openBench()
    const heardMs = clock.nowMs()
    view.addNode('b:1', { isUp: false, lastHeardMs: heardMs })
    await clock.advance(15_000)
    view.put(factsOf(1, [copyAt('a:1'), awayAt('b:1')]))
    await bench.turn()
    expect(bench.incidents.belowSinceMs).toBe(heardMs)
    await clock.advance(900_000)
    view.put(halved(1))
    await bench.turn()
    await clock.advance(5000)
    view.put(factsOf(1, [copyAt('a:1'), copyAt('c:1')]))
    await bench.turn()
    expect(bench.incidents.times).toMatchObject({ count: 1, lastMs: 920_000 })
  })
})
