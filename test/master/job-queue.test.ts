import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { volumeLock } from '../../src/master/job-leases.ts'
import { JobQueue } from '../../src/master/job-queue.ts'
import type { QueueRequest } from '../../src/master/job-record.ts'
import { decodeJob, encodeJob, JOB_PREFIX, jobKey } from '../../src/master/job-rows.ts'
import { endOf } from '../../src/master/master-rows.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { MetadataBatch } from '../../src/metadata/metadata-store.ts'
import type { JobRequest, JobView, TakeJobRequest } from '../../src/net/jobs-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const NO_SIGNAL = new AbortController().signal
const ANY: TakeJobRequest = { worker: 'w', queue: '', kinds: [] }
const LEASE_MS = 10_000

/** A store that fails when told to. */
class FailingStore extends MemoryStore {
  failure: Error | undefined

  override async commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    if (this.failure !== undefined) throw this.failure
    await super.commit(batch, signal)
  }
}

function locksOf({ target }: JobRequest): string[] {
  return target.volumeId === undefined ? [] : [volumeLock(target.volumeId)]
}

class Bench {
  readonly store = new FailingStore()
  readonly clock = new SimClock()
  readonly closing = new AbortController()
  isHoldingBack = false
  readonly #random = new Prng(1)

  open(): Promise<JobQueue> {
    const { store, clock } = this
    return JobQueue.open(
      {
        store,
        clock,
        random: this.#random,
        logger: silentLogger,
        closing: this.closing.signal,
        locksOf,
        isHeldBack: () => this.isHoldingBack,
      },
      { leaseMs: LEASE_MS },
      NO_SIGNAL,
    )
  }
}

function repair(id: number, more: Partial<QueueRequest> = {}): QueueRequest {
  const target = { volumeId: volumeId(id) }
  return {
    kind: 'replica-repair',
    target,
    reason: 'test',
    risk: 1,
    queue: '',
    isAsked: false,
    ...more,
  }
}

function report(taken: { readonly job: JobView; readonly token: string }, cursor = '') {
  const progress = { phase: 'copied', done: 1, total: 2, unit: 'bytes' } as const
  return { jobId: taken.job.id, token: taken.token, progress, cursor }
}

function end(
  taken: { readonly job: JobView; readonly token: string },
  outcome: 'done' | 'failed' | 'released',
  error = '',
) {
  return { ...report(taken, 'c'), outcome, error, summary: 'all well' }
}

async function takeSome(queue: JobQueue, request: Partial<TakeJobRequest> = {}) {
  const taken = await queue.take({ ...ANY, ...request }, NO_SIGNAL)
  if (taken === undefined) throw new Error('nothing to take')
  return taken
}

describe('the queue of jobs', () => {
  test('gives the riskiest first, the oldest of equals', async () => {
    const queue = await new Bench().open()
    await queue.add(repair(1, { risk: 5 }), NO_SIGNAL)
    await queue.add(repair(2, { risk: 9 }), NO_SIGNAL)
    await queue.add(repair(3, { risk: 5 }), NO_SIGNAL)
    const order = [await takeSome(queue), await takeSome(queue), await takeSome(queue)]
    expect(order.map(({ job }) => job.target.volumeId)).toEqual([2, 1, 3])
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
  })

  test('gives jobs of the own data centre first, else of the longest queue', async () => {
    const queue = await new Bench().open()
    await queue.add(repair(1, { queue: 'east', risk: 99 }), NO_SIGNAL)
    await queue.add(repair(2, { queue: 'west', risk: 1 }), NO_SIGNAL)
    await queue.add(repair(3, { queue: 'north', risk: 2 }), NO_SIGNAL)
    await queue.add(repair(4, { queue: 'north', risk: 3 }), NO_SIGNAL)
    const taken = [
      await takeSome(queue, { queue: 'west' }),
      await takeSome(queue, { queue: 'west' }),
      await takeSome(queue, { queue: 'nowhere' }),
    ]
    expect(taken.map(({ job }) => job.target.volumeId)).toEqual([2, 4, 1])
  })

  test('gives only the kinds that were asked for', async () => {
    const queue = await new Bench().open()
    await queue.add(repair(1, { risk: 9 }), NO_SIGNAL)
    await queue.add(repair(2, { kind: 'scrub' }), NO_SIGNAL)
    expect((await takeSome(queue, { kinds: ['scrub'] })).job.target.volumeId).toBe(2)
    expect(await queue.take({ ...ANY, kinds: ['scrub'] }, NO_SIGNAL)).toBeUndefined()
  })

  test('answers the same job for the same target, as risky as the riskier', async () => {
    const queue = await new Bench().open()
    const [first, second] = await Promise.all([
      queue.add(repair(1), NO_SIGNAL),
      queue.add(repair(1), NO_SIGNAL),
    ])
    expect(second.id).toBe(first.id)
    expect((await queue.add(repair(1, { risk: 7 }), NO_SIGNAL)).risk).toBe(7)
    const deep = repair(1, { target: { volumeId: volumeId(1), isDeep: true } })
    expect((await queue.add(deep, NO_SIGNAL)).id).not.toBe(first.id)
  })

  test('runs one job for each volume at a time', async () => {
    const queue = await new Bench().open()
    await queue.add(repair(1), NO_SIGNAL)
    await queue.add(repair(1, { kind: 'scrub' }), NO_SIGNAL)
    const taken = await takeSome(queue)
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    await queue.end(end(taken, 'done'))
    expect((await takeSome(queue)).job.kind).toBe('scrub')
  })

  test('a job that is held back runs once somebody asks for it', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    await queue.add(repair(1), NO_SIGNAL)
    bench.isHoldingBack = true
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    await queue.add(repair(1, { isAsked: true }), NO_SIGNAL)
    await queue[Symbol.asyncDispose]()
    const again = await bench.open()
    expect((await takeSome(again)).job.target.volumeId).toBe(1)
  })

  test('a silent worker loses its job after the lease, a reporting one does not', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    await queue.add(repair(1), NO_SIGNAL)
    const first = await takeSome(queue, { worker: 'a' })
    await bench.clock.advance(LEASE_MS - 1)
    expect(queue.report(report(first, 'half'))).toBe('go-on')
    await bench.clock.advance(LEASE_MS - 1)
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    await bench.clock.advance(1)
    const second = await takeSome(queue, { worker: 'b' })
    expect(second).toMatchObject({ cursor: 'half', job: { attempts: 2, worker: 'b' } })
    expect(() => queue.report(report(first))).toThrow('any more')
    await expect(queue.end(end(first, 'done'))).rejects.toMatchObject({ code: 'JOB_LEASE_LOST' })
    expect(queue.check(second.job.id, second.token).state).toBe('running')
  })

  test('a failed attempt waits 1 s, 2 s … 5 min, and the tenth is the last', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    const { id } = await queue.add(repair(1), NO_SIGNAL)
    const waits: number[] = []
    for (let attempt = 1; attempt < 10; attempt++) {
      const taken = await takeSome(queue)
      await queue.end(end(taken, 'failed', 'DISK_FULL: no room'))
      const job = queue.get(id)
      expect(job).toMatchObject({ state: 'waiting', error: 'DISK_FULL: no room' })
      const waitMs = (job?.notBeforeMs ?? 0) - bench.clock.nowMs()
      waits.push(waitMs / 1000)
      await bench.clock.advance(waitMs - 1)
      expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
      await bench.clock.advance(1)
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256])
    await queue.end(end(await takeSome(queue), 'failed', 'x'))
    expect(queue.get(id)).toMatchObject({ state: 'failed', attempts: 10 })
    expect(queue.lastEnded(repair(1))).toMatchObject({ state: 'failed', agoMs: 0 })
    expect((await queue.add(repair(1), NO_SIGNAL)).id).toBeGreaterThan(id)
  })

  test('an attempt that ran for ten minutes begins to count anew', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    await queue.add(repair(1), NO_SIGNAL)
    for (let attempt = 0; attempt < 12; attempt++) {
      const taken = await takeSome(queue)
      for (let ms = 0; ms < 600_000; ms += 5000) {
        await bench.clock.advance(5000)
        queue.report(report(taken))
      }
      await queue.end(end(taken, 'failed', 'x'))
      await bench.clock.advance(1000)
    }
    expect(queue.counts).toMatchObject({ waiting: 1, failing: 1 })
  })

  test('a released job is taken up again at once, with its cursor', async () => {
    const queue = await new Bench().open()
    await queue.add(repair(1), NO_SIGNAL)
    await queue.end(end(await takeSome(queue), 'released'))
    expect(await takeSome(queue)).toMatchObject({ cursor: 'c', job: { attempts: 2, error: '' } })
  })
})

describe('orders', () => {
  test('a waiting job is paused, resumed, cancelled', async () => {
    const queue = await new Bench().open()
    const { id } = await queue.add(repair(1), NO_SIGNAL)
    expect((await queue.order(id, 'pause', NO_SIGNAL)).state).toBe('paused')
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    expect((await queue.order(id, 'resume', NO_SIGNAL)).state).toBe('waiting')
    expect((await queue.order(id, 'cancel', NO_SIGNAL)).state).toBe('cancelled')
    await expect(queue.order(id, 'resume', NO_SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    await expect(queue.order(99, 'resume', NO_SIGNAL)).rejects.toMatchObject({
      code: 'JOB_NOT_FOUND',
    })
  })

  test.each([
    ['pause', 'paused'],
    ['cancel', 'cancelled'],
  ] as const)('%s reaches the worker with its next report', async (order, state) => {
    const queue = await new Bench().open()
    const { id } = await queue.add(repair(1), NO_SIGNAL)
    const taken = await takeSome(queue)
    expect((await queue.order(id, order, NO_SIGNAL)).state).toBe('running')
    expect(queue.report(report(taken))).toBe(order)
    await queue.end(end(taken, 'released'))
    expect(queue.get(id)?.state).toBe(state)
  })

  test('a pause holds although the worker dies, and can be taken back before', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    const { id } = await queue.add(repair(1), NO_SIGNAL)
    const taken = await takeSome(queue)
    await queue.order(id, 'pause', NO_SIGNAL)
    await queue.order(id, 'resume', NO_SIGNAL)
    expect(queue.report(report(taken))).toBe('go-on')
    await queue.order(id, 'pause', NO_SIGNAL)
    await bench.clock.advance(LEASE_MS)
    expect(queue.list({ withEnded: false })[0]?.state).toBe('paused')
    await bench.clock.advance(0)
    const again = await bench.open()
    expect(again.list({ withEnded: false })[0]?.state).toBe('paused')
  })

  test('resume lets a job that failed be tried at once', async () => {
    const queue = await new Bench().open()
    const { id } = await queue.add(repair(1), NO_SIGNAL)
    await queue.end(end(await takeSome(queue), 'failed', 'x'))
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    await queue.order(id, 'resume', NO_SIGNAL)
    expect((await takeSome(queue)).job.id).toBe(id)
  })
})

describe('a chore on a volume that has lost copies', () => {
  const RISK = 800
  const chore = { ...repair(1), kind: 'move', risk: 100, isAsked: true } as const

  test('makes way for the repair, and goes on behind it', async () => {
    const queue = await new Bench().open()
    await queue.add(chore, NO_SIGNAL)
    const taken = await takeSome(queue)
    expect(queue.report(report(taken, 'half'))).toBe('go-on')
    const urgent = await queue.add(repair(1, { risk: RISK, queue: 'dc2' }), NO_SIGNAL)
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    expect(queue.report(report(taken, 'more'))).toBe('make-way')
    await queue.end({ ...end(taken, 'released'), cursor: 'more' })
    // Also by a worker whose own queue has the chore.
    const own = { ...ANY, queue: chore.queue }
    const repairing = await queue.take(own, NO_SIGNAL)
    expect(repairing?.job.id).toBe(urgent.id)
    expect(await queue.take(own, NO_SIGNAL)).toBeUndefined()
    if (repairing !== undefined) await queue.end(end(repairing, 'done'))
    expect(await takeSome(queue)).toMatchObject({ job: { id: taken.job.id }, cursor: 'more' })
  })

  test.each([
    ['is of another volume', repair(2, { risk: RISK }), false],
    ['can wait', repair(1, { risk: 650 }), false],
    ['is held back', repair(1, { risk: RISK, isAsked: false }), true],
  ])('goes on while the repair %s', async (_what, request, isHoldingBack) => {
    const bench = new Bench()
    bench.isHoldingBack = isHoldingBack
    const queue = await bench.open()
    await queue.add(chore, NO_SIGNAL)
    const taken = await takeSome(queue)
    await queue.add(request, NO_SIGNAL)
    expect(queue.report(report(taken))).toBe('go-on')
  })

  test('goes on while the repair backs off', async () => {
    const queue = await new Bench().open()
    await queue.add(repair(1, { risk: RISK }), NO_SIGNAL)
    await queue.end(end(await takeSome(queue), 'failed', 'x'))
    await queue.add(chore, NO_SIGNAL)
    expect(queue.report(report(await takeSome(queue)))).toBe('go-on')
  })
})

describe('across restarts', () => {
  test('a running job stays its worker’s for one more lease, then goes on elsewhere', async () => {
    const bench = new Bench()
    const before = await bench.open()
    await before.add(repair(1), NO_SIGNAL)
    const taken = await takeSome(before)
    before.report(report(taken, 'half'))
    await before[Symbol.asyncDispose]()
    const queue = await bench.open()
    await bench.clock.advance(LEASE_MS - 1)
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    expect(queue.report(report(taken, 'more'))).toBe('go-on')
    await bench.clock.advance(LEASE_MS)
    expect(await takeSome(queue)).toMatchObject({ cursor: 'more' })
  })

  test('progress is kept within 5 s of the report', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    const { id } = await queue.add(repair(1), NO_SIGNAL)
    const taken = await takeSome(queue)
    await bench.clock.advance(4999)
    queue.report(report(taken, 'early'))
    await bench.clock.advance(1)
    queue.report(report(taken, 'late'))
    await bench.clock.advance(0)
    const row = await bench.store.get(jobKey(id), NO_SIGNAL)
    expect(decodeJob('k', row ?? Buffer.alloc(0))).toMatchObject({ cursor: 'late' })
  })

  test('a back-off goes on, but not for longer than it ever would', async () => {
    const bench = new Bench()
    const before = await bench.open()
    await before.add(repair(1), NO_SIGNAL)
    await before.end(end(await takeSome(before), 'failed', 'x'))
    bench.clock.jumpWallClock(-86_400_000)
    const queue = await bench.open()
    await bench.clock.advance(999)
    expect(await queue.take(ANY, NO_SIGNAL)).toBeUndefined()
    await bench.clock.advance(300_000)
    expect(await queue.take(ANY, NO_SIGNAL)).toBeDefined()
  })

  test('the last 1,000 that ended are known, and no number is given twice', async () => {
    const bench = new Bench()
    const kept = LIMITS.endedJobsKept.value
    let last = 0
    for (const count of [kept, 20]) {
      const queue = await bench.open()
      for (let index = 0; index < count; index++) {
        const { id } = await queue.add(repair(index + 1), NO_SIGNAL)
        expect(id).toBeGreaterThan(last)
        last = id
        await queue.end(end(await takeSome(queue), 'done'))
      }
      const ended = queue.list({ withEnded: true })
      expect(ended.length).toBeLessThanOrEqual(kept + 1)
      expect(ended.at(-1)).toMatchObject({ id: last, state: 'done', summary: 'all well' })
      await queue[Symbol.asyncDispose]()
    }
    let rows = 0
    const range = { gte: JOB_PREFIX, lt: endOf(JOB_PREFIX) }
    for await (const _row of bench.store.scan(range, NO_SIGNAL)) rows++
    expect(rows).toBeLessThanOrEqual(kept + 1)
  })
})

describe('a store that fails', () => {
  test('queues nothing, and gives nothing away', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    await queue.add(repair(1), NO_SIGNAL)
    bench.store.failure = new Error('full')
    await expect(queue.add(repair(2), NO_SIGNAL)).rejects.toThrow('full')
    await expect(queue.take(ANY, NO_SIGNAL)).rejects.toThrow('full')
    await expect(queue.order(1, 'pause', NO_SIGNAL)).rejects.toThrow('full')
    await expect(queue.order(1, 'cancel', NO_SIGNAL)).rejects.toThrow('full')
    bench.store.failure = undefined
    expect(queue.list({ withEnded: true })).toHaveLength(1)
    expect(await takeSome(queue)).toMatchObject({ job: { attempts: 1, id: 1 } })
  })

  test('does not keep a job from ending; it is kept with the next change', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    await queue.add(repair(1), NO_SIGNAL)
    await queue.add(repair(2), NO_SIGNAL)
    const first = await takeSome(queue)
    const second = await takeSome(queue)
    bench.store.failure = new Error('full')
    await queue.end(end(first, 'done'))
    bench.store.failure = undefined
    await queue.end(end(second, 'done'))
    const again = await bench.open()
    expect(again.list({ withEnded: true }).map(({ state }) => state)).toEqual(['done', 'done'])
  })
})

describe('watching', () => {
  test('begins with what there is, and tells the last state of what changes', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    const { id } = await queue.add(repair(1), NO_SIGNAL)
    const seen: string[] = []
    const stopping = new AbortController()
    const watching = (async () => {
      for await (const job of queue.watch(stopping.signal)) seen.push(`${job.id} ${job.state}`)
    })()
    await bench.clock.advance(0)
    const taken = await takeSome(queue)
    await bench.clock.advance(0)
    await queue.end(end(taken, 'done'))
    await bench.clock.advance(0)
    expect(seen).toEqual([`${id} waiting`, `${id} running`, `${id} done`])
    stopping.abort()
    await expect(watching).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  test('ends when the master closes', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    const next = queue.watch(NO_SIGNAL)[Symbol.asyncIterator]().next()
    bench.closing.abort()
    await expect(next).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })
})

describe('a row', () => {
  test('comes back as it was', async () => {
    const bench = new Bench()
    const queue = await bench.open()
    const target = {
      collection: 'photos',
      replication: parseReplicaPlacement('110'),
      node: 'a:1',
      toNode: 'b:1',
      acceptNode: 'c:1',
      isDeep: true,
      volumeId: volumeId(7),
    }
    const { id } = await queue.add(repair(1, { kind: 'move', target }), NO_SIGNAL)
    await queue.order(id, 'pause', NO_SIGNAL)
    const row = (await bench.store.get(jobKey(id), NO_SIGNAL)) ?? Buffer.alloc(0)
    const job = decodeJob('k', row)
    expect(job).toMatchObject({ target, state: 'paused', kind: 'move' })
    expect(decodeJob('k', encodeJob(job))).toEqual(job)
  })

  test.each(['', '{}', 'x', '{"id":1,"kind":"none"}', '{"id":1,"kind":"scrub","state":"odd"}'])(
    'that says %s cannot be read',
    (text) => {
      const row = Buffer.concat([Buffer.of(1), Buffer.from(text)])
      expect(() => decodeJob('k', row)).toThrow('cannot be read')
      expect(() => decodeJob('k', Buffer.from(text))).toThrow('cannot be read')
    },
  )
})
