import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { CreateJob, JobContext, StepResult } from '../../src/jobs/job.ts'
import { Worker, type WorkerOptions } from '../../src/jobs/worker.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { FakeQueue } from './fake-queue.ts'

type Step = (context: JobContext, signal: AbortSignal) => Promise<StepResult>

/** A worker whose jobs do what the test says, step by step. */
function setUp(step: Step, options: Partial<WorkerOptions> = {}, isPaced = false) {
  const clock = new SimClock()
  const queue = new FakeQueue(clock)
  const cursors = new Map<number, string>()
  const createJob: CreateJob = (context) => ({
    step: (signal) => step(context, signal),
    progress: { phase: 'planned', done: 1, total: 2, unit: 'bytes' },
    get cursor() {
      return cursors.get(context.lease.job.id) ?? context.lease.cursor
    },
    summary: 'all of it',
    isPaced,
  })
  const connect = () => {
    throw new Error('no server is needed')
  }
  const random = new Prng(1)
  const parts = { jobs: queue.api, connect, clock, random, logger: silentLogger, createJob }
  const start = (name = 'w1') =>
    Worker.start(parts, { name, queue: 'dc1', kinds: [], width: 1, ...options })
  return { clock, queue, cursors, start }
}

const done: Step = async () => 'done'

describe('a worker', () => {
  test('takes jobs of its queue and tells that they are done', async () => {
    const { clock, queue, start } = setUp(done, { kinds: ['vacuum', 'move'] })
    const id = queue.add('vacuum')
    queue.add('scrub')
    await using _worker = start()
    await clock.advance(100)
    expect(queue.taken[0]).toEqual({ worker: 'w1', queue: 'dc1', kinds: ['vacuum', 'move'] })
    expect(queue.job(id)).toMatchObject({ state: 'done', summary: 'all of it' })
    expect(queue.job(2).state).toBe('waiting')
  })

  test('asks again after at most two seconds when there is nothing to do', async () => {
    const { clock, queue, start } = setUp(done)
    await using _worker = start()
    await clock.advance(60_000)
    const before = queue.taken.length
    expect(before).toBeLessThan(80)
    const id = queue.add('vacuum')
    await clock.advance(2_000)
    expect(queue.job(id).state).toBe('done')
  })

  test('runs as many jobs at a time as its width', async () => {
    let running = 0
    let most = 0
    const step: Step = async ({ clock }, signal) => {
      most = Math.max(most, ++running)
      await clock.sleep(5_000, signal)
      running--
      return 'done'
    }
    const { clock, queue, start } = setUp(step, { width: 3 })
    for (let count = 0; count < 7; count++) queue.add('vacuum')
    await using _worker = start()
    await clock.advance(20_000)
    expect(most).toBe(3)
    expect(queue.ends).toHaveLength(7)
  })

  test('keeps its lease with a report every two seconds, however long a step takes', async () => {
    const step: Step = async ({ clock }, signal) => {
      await clock.sleep(61_000, signal)
      return 'done'
    }
    const { clock, queue, cursors, start } = setUp(step)
    const id = queue.add('vacuum')
    cursors.set(id, 'far')
    await using _worker = start()
    await clock.advance(62_000)
    expect(queue.job(id)).toMatchObject({ state: 'done', attempts: 1, cursor: 'far' })
    expect(queue.reports.length).toBeGreaterThanOrEqual(30)
  })

  test.each([
    [4, false, 4_000],
    [0, false, 0],
    [4, true, 0],
    [100, false, 10_000],
  ])(
    'rests %d times what a step took (paced by itself: %s)',
    async (politeness, isPaced, restMs) => {
      const begunMs: number[] = []
      const step: Step = async ({ clock }, signal) => {
        begunMs.push(clock.monotonicMs())
        await clock.sleep(1_000, signal)
        return begunMs.length === 2 ? 'done' : 'busy'
      }
      const { clock, queue, start } = setUp(step, {}, isPaced)
      queue.add('scrub', politeness)
      await using _worker = start()
      // In pieces: between two steps other work has its turn, which takes no time.
      for (let ms = 0; ms < 20_000; ms += 500) await clock.advance(500)
      const [first = 0, second = 0] = begunMs
      expect(second - first).toBe(1_000 + restMs)
    },
  )

  test.each(['pause', 'cancel'] as const)(
    'gives the job back on the advice to %s',
    async (advice) => {
      let wasAborted = false
      const step: Step = async ({ clock }, signal) => {
        await clock.sleep(60_000, signal).catch((error: unknown) => {
          wasAborted = true
          throw error
        })
        return 'done'
      }
      const { clock, queue, start } = setUp(step)
      const id = queue.add('vacuum')
      await using _worker = start()
      await clock.advance(1_000)
      queue.advice.set(id, advice)
      await clock.advance(3_000)
      expect(wasAborted).toBe(true)
      expect(queue.ends).toMatchObject([{ outcome: 'released', error: '' }])
    },
  )

  test('says what a job failed with, and takes the next one', async () => {
    const step: Step = async ({ lease }) => {
      if (lease.job.id === 1) throw new StoreError('DISK_FULL', 'no room')
      if (lease.job.id === 2) throw new Error('a mistake')
      return 'done'
    }
    const { clock, queue, start } = setUp(step)
    for (let count = 0; count < 3; count++) queue.add('vacuum')
    await using _worker = start()
    await clock.advance(1_000)
    expect(queue.ends.map(({ outcome, error }) => [outcome, error])).toEqual([
      ['failed', 'DISK_FULL: no room'],
      ['failed', 'a defect of ours: a mistake'],
      ['done', ''],
    ])
  })

  test('stops at once, and says nothing, when the lease is lost', async () => {
    let abortedAtMs = 0
    const step: Step = async ({ clock }, signal) => {
      await clock.sleep(60_000, signal).catch((error: unknown) => {
        abortedAtMs = clock.monotonicMs()
        throw error
      })
      return 'done'
    }
    const { clock, queue, start } = setUp(step)
    const id = queue.add('vacuum')
    await using _worker = start()
    await clock.advance(1_000)
    queue.job(id).token = 'of somebody else'
    await clock.advance(3_000)
    expect(abortedAtMs).toBeGreaterThan(0)
    expect(abortedAtMs).toBeLessThanOrEqual(4_000)
    expect(queue.ends).toEqual([])
  })

  test('stops before its lease ends when the master is out of reach', async () => {
    let abortedAtMs = 0
    const step: Step = async ({ clock }, signal) => {
      await clock.sleep(60_000, signal).catch((error: unknown) => {
        abortedAtMs = clock.monotonicMs()
        throw error
      })
      return 'done'
    }
    const { clock, queue, start } = setUp(step)
    queue.add('vacuum')
    await using _worker = start()
    await clock.advance(1_000)
    queue.isDown = true
    await clock.advance(30_000)
    expect(abortedAtMs).toBeGreaterThan(5_000)
    expect(abortedAtMs).toBeLessThan(10_000)
  })

  test('survives a master that is away for a moment', async () => {
    const step: Step = async ({ clock }, signal) => {
      await clock.sleep(20_000, signal)
      return 'done'
    }
    const { clock, queue, start } = setUp(step)
    const id = queue.add('vacuum')
    await using _worker = start()
    await clock.advance(5_000)
    queue.isDown = true
    await clock.advance(4_000)
    queue.isDown = false
    await clock.advance(15_000)
    expect(queue.job(id)).toMatchObject({ state: 'done', attempts: 1 })
  })

  test('gives everything back when it is disposed, and another one goes on', async () => {
    let isQuick = false
    const step: Step = async ({ clock }, signal) => {
      if (!isQuick) await clock.sleep(600_000, signal)
      return 'done'
    }
    const { clock, queue, cursors, start } = setUp(step, { width: 2 })
    queue.add('vacuum')
    queue.add('scrub')
    cursors.set(1, 'half')
    {
      await using worker = start()
      await clock.advance(5_000)
      expect(worker.runningCount).toBe(2)
    }
    expect(queue.ends.map(({ outcome, cursor }) => [outcome, cursor])).toEqual([
      ['released', 'half'],
      ['released', ''],
    ])
    isQuick = true
    await using _other = start('w2')
    await clock.advance(1_000)
    expect(queue.job(1)).toMatchObject({ state: 'done', attempts: 2 })
    expect(queue.job(2)).toMatchObject({ state: 'done', attempts: 2 })
  })

  test('runs other jobs in the place of one that waits for them', async () => {
    const { clock, queue, start } = setUp(async ({ lease }) => {
      if (lease.job.kind === 'move') return 'done'
      return queue.job(2).state === 'done' ? 'done' : 'idle'
    })
    queue.add('evacuate')
    queue.add('move')
    await using _worker = start()
    await clock.advance(5_000)
    expect([queue.job(1).state, queue.job(2).state]).toEqual(['done', 'done'])
  })

  test('keeps places for moves, however many jobs wait for some', async () => {
    const { clock, queue, start } = setUp(async ({ lease }) => {
      if (lease.job.kind === 'move') return 'done'
      return queue.job(21).state === 'done' ? 'done' : 'idle'
    })
    for (let count = 0; count < 20; count++) queue.add('evacuate')
    queue.add('move')
    await using worker = start()
    await clock.advance(8_000)
    expect(queue.job(21).state).toBe('done')
    expect(worker.runningCount).toBeLessThanOrEqual(9)
    await clock.advance(60_000)
    expect(queue.ends).toHaveLength(21)
  })
})
