import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { assess } from '../../src/master/assess.ts'
import { HealDesk } from '../../src/master/heal-desk.ts'
import { HEAL_LOCK } from '../../src/master/job-leases.ts'
import { JobQueue } from '../../src/master/job-queue.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { JobEnd, JobView, VolumeFacts } from '../../src/net/jobs-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { copyAt, factsOf, lostAt } from '../support/volume-facts.ts'

const NEVER = new AbortController().signal
const EVERY_MS = 30_000
const LEASE_MS = 10_000
const ANY = { worker: 'w', queue: '', kinds: [] }

const LISTS = factsOf(1, [copyAt('a:1'), copyAt('b:1')], { collection: 'x-coded' })
const SHARDS = { collection: 'x-coded', replication: '000' }
const LOST = factsOf(2, [lostAt('c:1')], SHARDS)
const HELD = factsOf(3, [copyAt('b:1')], SHARDS)
const PLAIN = factsOf(4, [copyAt('a:1'), lostAt('c:1')], { collection: 'x' })

class Bench {
  readonly store = new MemoryStore()
  readonly clock = new SimClock()
  readonly warmUp = { isWarming: false }
  readonly givenUp: string[] = []
  facts: readonly VolumeFacts[] = []
  isLeader = true
  isMassGone = false
  hasObjects = false

  readonly queue: JobQueue

  private constructor(queue: JobQueue) {
    this.queue = queue
  }

  static async open(): Promise<Bench> {
    const clock = new SimClock()
    const store = new MemoryStore()
    const queue = await JobQueue.open(
      {
        store,
        clock,
        random: new Prng(1),
        logger: silentLogger,
        closing: NEVER,
        locksOf: ({ kind }) => (kind === 'heal' ? [HEAL_LOCK] : []),
        isHeldBack: () => false,
      },
      { leaseMs: LEASE_MS },
      NEVER,
    )
    return Object.assign(new Bench(queue), { clock, store })
  }

  desk(healEveryMs = EVERY_MS): Promise<HealDesk> {
    const { clock, queue, store, warmUp } = this
    const nodes = [{ location: { url: 'c:1' }, downForMs: 4000 }]
    const view = {
      nodes: () => nodes,
      isMassGone: () => this.isMassGone,
      facts: (id: number) => this.facts.find((each) => each.volumeId === id),
      allFacts: () => this.facts,
    }
    const parts = {
      store,
      clock,
      queue,
      warmUp,
      view,
      coordinator: { isLeader: () => this.isLeader },
      membership: { giveUp: (url: string) => void this.givenUp.push(url) },
      hasObjectsToHeal: async () => this.hasObjects,
      logger: silentLogger,
    } as unknown as Parameters<typeof HealDesk.open>[0]
    return HealDesk.open(parts, { healEveryMs }, NEVER)
  }

  get jobs(): readonly string[] {
    const jobs = this.queue.list({ kind: 'heal', withEnded: false })
    return jobs.map(({ reason, state }) => `${state}: ${reason}`)
  }

  /** Takes the pass that waits, and ends it. */
  async work(desk: HealDesk, end: Partial<JobEnd> = {}): Promise<JobView> {
    const taken = await this.queue.take(ANY, NEVER)
    if (taken === undefined) throw new Error('nothing waits')
    const { job, token } = taken
    const report = { jobId: job.id, token, progress: job.progress, cursor: '' }
    const told: JobEnd = { ...report, outcome: 'done', error: '', summary: '', ...end }
    await this.queue.end(told)
    await desk.onEnded(job, told)
    return job
  }
}

describe('the desk of the healer', () => {
  test('queues a pass each period while there is something to do, and else none', async () => {
    const bench = await Bench.open()
    const desk = await bench.desk()
    bench.facts = [PLAIN]
    await desk.turn(NEVER)
    expect(bench.jobs).toEqual([])
    bench.facts = [PLAIN, LISTS]
    await bench.clock.advance(EVERY_MS - 1)
    await desk.turn(NEVER)
    expect(bench.jobs).toEqual([])
    await bench.clock.advance(1)
    await desk.turn(NEVER)
    expect(bench.jobs).toEqual(['waiting: objects are looked after'])
    await bench.work(desk)
    await bench.clock.advance(EVERY_MS - 1)
    await desk.turn(NEVER)
    expect(bench.jobs).toEqual([])
    await bench.clock.advance(1)
    bench.facts = [LISTS, LOST]
    await desk.turn(NEVER)
    expect(bench.jobs).toEqual(['waiting: shards are lost'])
  })

  test.each([
    ['objects wait', { hasObjects: true }, 1],
    ['somebody else leads', { hasObjects: true, isLeader: false }, 0],
    ['servers are expected', { hasObjects: true, warmUp: { isWarming: true } }, 0],
  ])('when %s: %o', async (_, state, count) => {
    const bench = Object.assign(await Bench.open(), state)
    const desk = await bench.desk()
    await desk.turn(NEVER)
    expect(bench.jobs).toHaveLength(count)
  })

  test('queues no pass by itself when it is off, and does when it is asked', async () => {
    const bench = await Bench.open()
    bench.facts = [LISTS, LOST]
    const desk = await bench.desk(0)
    await desk.turn(NEVER)
    expect(bench.jobs).toEqual([])
    desk.request('a gateway has gone')
    await bench.clock.advance(0)
    expect(bench.jobs).toEqual(['waiting: a gateway has gone'])
  })

  test('takes a pass that waits for the one asked for; after one that runs another follows', async () => {
    const bench = await Bench.open()
    const desk = await bench.desk(0)
    desk.request('first')
    desk.request('second')
    await bench.clock.advance(0)
    desk.request('third')
    await bench.clock.advance(0)
    expect(bench.jobs).toEqual(['waiting: first'])
    const taken = await bench.queue.take(ANY, NEVER)
    desk.request('fourth')
    desk.request('fifth')
    await bench.clock.advance(0)
    expect(bench.jobs).toEqual(['running: first'])
    if (taken === undefined) throw new Error('nothing was taken')
    const { job, token } = taken
    const report = { jobId: job.id, token, progress: job.progress, cursor: '' }
    const end = { ...report, outcome: 'done', error: '', summary: '' } as const
    await bench.queue.end(end)
    await desk.onEnded(job, end)
    expect(bench.jobs).toEqual(['waiting: fifth'])
  })

  test('keeps where the round is, and counts what passes did', async () => {
    const bench = await Bench.open()
    const desk = await bench.desk(0)
    desk.request('test')
    await bench.clock.advance(0)
    await bench.work(desk, { cursor: 'there', counts: { shardsMade: 2, unknown: 5 } })
    expect([desk.cursor, desk.totals.shardsMade, desk.totals.passes]).toEqual(['there', 2, 1])
    desk.request('test')
    await bench.clock.advance(0)
    await bench.work(desk, { outcome: 'failed', cursor: 'lost', counts: { shardsMade: 9 } })
    expect([desk.cursor, desk.totals.shardsMade, desk.totals.passes]).toEqual(['there', 2, 1])
    expect((await bench.desk(0)).cursor).toBe('there')
  })

  test('tells which volumes are lost, and since when', async () => {
    const bench = await Bench.open()
    const desk = await bench.desk()
    bench.facts = [LISTS, LOST, HELD, PLAIN]
    const plan = desk.plan({ target: {} })
    expect(plan).toMatchObject({
      codedVolumeIds: [1, 2, 3],
      lostVolumeIds: [2],
      lostSinceMs: bench.clock.nowMs() - 4000,
      repairVolumeIds: [],
      repairedVolumeIds: [],
    })
    expect(Object.keys(plan.replications)).toEqual(['x'])
    bench.isMassGone = true
    expect(desk.plan({ target: {} })).toMatchObject({ lostVolumeIds: [], lostSinceMs: 0 })
    expect(desk.plan({ target: { node: 'c:1' } })).toMatchObject({ lostVolumeIds: [2] })
  })

  test('of a server that is given up, tells whose copies are there again', async () => {
    const bench = await Bench.open()
    const desk = await bench.desk()
    bench.facts = [LOST, PLAIN]
    desk.giveUp('c:1')
    expect(bench.givenUp).toEqual(['c:1'])
    const target = { node: 'c:1' }
    expect(desk.plan({ target })).toMatchObject({ repairVolumeIds: [4], repairedVolumeIds: [] })
    bench.facts = [LOST, factsOf(4, [copyAt('a:1'), copyAt('b:1')], { collection: 'x' })]
    expect(desk.plan({ target })).toMatchObject({ repairVolumeIds: [], repairedVolumeIds: [4] })
  })

  test('leaves what a recovery does to it', async () => {
    const bench = await Bench.open()
    const desk = await bench.desk()
    bench.facts = [LOST]
    desk.giveUp('c:1')
    const job = { kind: 'heal', reason: '', risk: 1, queue: '', isAsked: true } as const
    await bench.queue.add({ ...job, target: { node: 'c:1' } }, NEVER)
    expect(desk.plan({ target: {} }).lostVolumeIds).toEqual([])
    await bench.work(desk)
    expect(desk.plan({ target: {} }).lostVolumeIds).toEqual([2])
  })

  test.each([
    ['with shards that nobody has', LOST, true],
    ['with shards that somebody has', HELD, false],
    [
      'that is away, and may come back',
      factsOf(2, [lostAt('c:1', { isLost: false })], SHARDS),
      false,
    ],
    ['with lists of shards', factsOf(2, [lostAt('c:1')], { ...SHARDS, replication: '001' }), false],
    ['of plain files', factsOf(2, [lostAt('c:1')], { replication: '000' }), false],
    ['of which a stray copy is there', { ...LOST, strays: [copyAt('d:1')] }, false],
  ])('lets a volume be given up %s: or not', async (_, facts, isAllowed) => {
    const bench = await Bench.open()
    bench.facts = [facts]
    const desk = await bench.desk()
    const check = () => desk.checkForget(volumeId(facts.volumeId))
    if (isAllowed) check()
    else expect(check).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
  })
})

describe('jobs of the healer', () => {
  async function addHeal(queue: JobQueue, node?: string): Promise<JobView> {
    const target = node === undefined ? {} : { node }
    return await queue.add(
      { kind: 'heal', target, reason: '', risk: 600, queue: '', isAsked: false },
      NEVER,
    )
  }

  test('are taken from a worker after four seconds of silence', async () => {
    const { clock, queue } = await Bench.open()
    await addHeal(queue)
    const taken = await queue.take(ANY, NEVER)
    await clock.advance(3999)
    expect(await queue.take(ANY, NEVER)).toBeUndefined()
    await clock.advance(1)
    const again = await queue.take({ ...ANY, worker: 'other' }, NEVER)
    expect([again?.job.id, again?.job.worker]).toEqual([taken?.job.id, 'other'])
  })

  test('do not wait until the queues of all data centres are empty', async () => {
    const { queue } = await Bench.open()
    const scrub = (id: number) => ({
      kind: 'scrub' as const,
      target: { volumeId: volumeId(id) },
      reason: '',
      risk: 100,
      queue: 'dc1',
      isAsked: false,
    })
    await queue.add(scrub(1), NEVER)
    await queue.add(scrub(2), NEVER)
    await addHeal(queue)
    const taken = await queue.take({ ...ANY, queue: 'dc1' }, NEVER)
    expect(taken?.job.kind).toBe('heal')
  })

  test('run one at a time; the usual one makes way for one about a server', async () => {
    const { queue } = await Bench.open()
    await addHeal(queue)
    const usual = await queue.take(ANY, NEVER)
    if (usual === undefined) throw new Error('nothing was taken')
    await addHeal(queue, 'c:1')
    expect(await queue.take(ANY, NEVER)).toBeUndefined()
    const { job, token } = usual
    const report = { jobId: job.id, token, progress: job.progress, cursor: 'c' }
    expect(queue.report(report)).toBe('make-way')
    await queue.end({ ...report, outcome: 'released', error: '', summary: '' })
    const next = await queue.take(ANY, NEVER)
    expect(next?.job.target).toEqual({ node: 'c:1' })
    expect(await queue.take(ANY, NEVER)).toBeUndefined()
  })

  test('that have ended do not push out others: the last twenty are kept', async () => {
    const bench = await Bench.open()
    const { queue } = bench
    const desk = await bench.desk(0)
    const move = { kind: 'rebalance', target: {}, reason: '', risk: 1, queue: '' } as const
    await queue.add({ ...move, isAsked: false }, NEVER)
    await bench.work(desk)
    for (let count = 0; count < 30; count++) {
      await addHeal(queue)
      await bench.work(desk, { counts: { failures: count } })
      await bench.clock.advance(1)
    }
    const ended = queue.list({ kind: undefined, withEnded: true })
    expect(ended.map(({ kind }) => kind).filter((kind) => kind === 'rebalance')).toHaveLength(1)
    const heals = ended.filter(({ kind }) => kind === 'heal')
    expect(heals.length).toBeLessThanOrEqual(21)
    expect(heals.at(-1)?.counts).toEqual({ failures: 29 })
  })
})

describe('a volume of shards', () => {
  const options = { nowMs: 0, isMassAway: false, garbageThreshold: 1, leaseMs: 0 }

  test('that is lost makes its objects less safe, not unreadable, and cannot be copied', () => {
    const found = assess(
      factsOf(2, [lostAt('c:1', { report: { liveNeedles: 5 } })], SHARDS),
      options,
    )
    expect(found).toMatchObject({ isUnavailable: false, missingCount: 1, jobs: [] })
    const plain = lostAt('c:1', { report: { liveNeedles: 5 } })
    expect(assess(factsOf(2, [plain], { replication: '000' }), options).isUnavailable).toBe(true)
  })
})
