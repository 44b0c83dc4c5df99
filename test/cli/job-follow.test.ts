import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { followAll, followToEnd } from '../../src/cli/job-follow.ts'
import type { JobsApi, JobView } from '../../src/net/jobs-api.ts'
import { cancelledError, onAbort } from '../../src/runtime/abort.ts'
import { makeJob } from '../support/job-views.ts'
import { SimClock } from '../support/sim-clock.ts'

/** A queue whose watchers hear of changes, unless its stream is down. */
class FakeQueue {
  readonly jobs = new Map<number, JobView>()
  readonly #watchers = new Set<(job: JobView | undefined) => void>()
  streamError: StoreError | undefined
  listError: StoreError | undefined
  listCount = 0

  readonly api: JobsApi = {
    watchJobs: (signal: AbortSignal) => this.#watch(signal),
    listJobs: async () => {
      this.listCount++
      if (this.listError !== undefined) throw this.listError
      return [...this.jobs.values()]
    },
  } as Partial<JobsApi> as JobsApi

  put(change: Partial<JobView>): void {
    const before = this.jobs.get(change.id ?? 1) ?? makeJob({ id: change.id ?? 1 })
    const job = { ...before, ...change }
    this.jobs.set(job.id, job)
    for (const hear of this.#watchers) hear(job)
  }

  /** Every stream ends. */
  cut(): void {
    for (const hear of this.#watchers) hear(undefined)
  }

  async *#watch(signal: AbortSignal): AsyncGenerator<JobView> {
    if (this.streamError !== undefined) throw this.streamError
    const queue: (JobView | undefined)[] = [...this.jobs.values()].filter(
      ({ endedAtMs }) => endedAtMs === 0,
    )
    let wake = (): void => undefined
    const hear = (job: JobView | undefined): void => {
      queue.push(job)
      wake()
    }
    this.#watchers.add(hear)
    using _aborting = onAbort(signal, () => wake())
    try {
      for (;;) {
        if (signal.aborted) throw cancelledError(signal, 'while watching')
        if (queue.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
          continue
        }
        const job = queue.shift()
        if (job === undefined) throw new StoreError('UNAVAILABLE', 'the stream was cut')
        yield job
      }
    } finally {
      this.#watchers.delete(hear)
    }
  }
}

const GONE = new StoreError('UNAVAILABLE', 'no master')

function follow(queue: FakeQueue, ids: readonly number[], signal = new AbortController().signal) {
  const clock = new SimClock()
  const shown: string[] = []
  const running = followToEnd(
    { jobs: queue.api, clock },
    ids,
    ({ id, state }) => shown.push(`${id} ${state}`),
    signal,
  )
  // Looked at later; until then nobody has to handle it.
  running.catch(() => undefined)
  return { clock, shown, running }
}

/** Lets everything that is ready run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

describe('following jobs to their end', () => {
  test('shows each change of these jobs alone, and ends when the last has ended', async () => {
    const queue = new FakeQueue()
    for (const id of [1, 2, 3]) queue.put({ id })
    const { running, shown } = follow(queue, [1, 3])
    await settle()
    queue.put({ id: 1, state: 'running' })
    queue.put({ id: 2, state: 'running' })
    queue.put({ id: 1, state: 'done', endedAtMs: 5 })
    await settle()
    queue.put({ id: 3, state: 'failed', endedAtMs: 6 })
    expect((await running).map(({ id, state }) => [id, state])).toEqual([
      [1, 'done'],
      [3, 'failed'],
    ])
    expect(shown).toEqual(['1 waiting', '3 waiting', '1 running', '1 done', '3 failed'])
  })

  test('sees what ended before it began, or while the stream was down', async () => {
    const queue = new FakeQueue()
    queue.put({ id: 1, state: 'done', endedAtMs: 1 })
    expect(await follow(queue, [1]).running).toHaveLength(1)
    queue.put({ id: 2 })
    const { clock, running, shown } = follow(queue, [2])
    await settle()
    queue.streamError = GONE
    queue.cut()
    await settle()
    queue.put({ id: 2, state: 'cancelled', endedAtMs: 2 })
    await clock.advance(2000)
    await running
    expect(shown).toEqual(['2 waiting', '2 cancelled'])
  })

  test('waits for a master that is away for 20 s, and gives up after 40', async () => {
    const queue = new FakeQueue()
    queue.put({ id: 1 })
    queue.streamError = GONE
    queue.listError = GONE
    const short = follow(queue, [1])
    const long = follow(queue, [1])
    for (let second = 0; second < 20; second++) await short.clock.advance(1000)
    queue.streamError = undefined
    queue.listError = undefined
    queue.put({ id: 1, state: 'done', endedAtMs: 1 })
    for (let second = 0; second < 3; second++) await short.clock.advance(1000)
    expect(await short.running).toHaveLength(1)
    queue.jobs.clear()
    queue.streamError = GONE
    queue.listError = GONE
    for (let second = 0; second < 40; second++) await long.clock.advance(1000)
    await expect(long.running).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('refuses a job that there is not', async () => {
    const { running } = follow(new FakeQueue(), [9])
    await expect(running).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' })
  })

  test('does not try again what will never work', async () => {
    const queue = new FakeQueue()
    queue.put({ id: 1 })
    queue.listError = new StoreError('UNAUTHENTICATED', 'no secret')
    await expect(follow(queue, [1]).running).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(queue.listCount).toBe(1)
  })

  test('ends with CANCELLED when it is called off', async () => {
    const queue = new FakeQueue()
    queue.put({ id: 1 })
    const stop = new AbortController()
    const { running } = follow(queue, [1], stop.signal)
    await settle()
    stop.abort()
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' })
  })
})

test('following all jobs shows them until it is called off, which is no failure', async () => {
  const queue = new FakeQueue()
  queue.put({ id: 1 })
  const stop = new AbortController()
  const shown: number[] = []
  const parts = { jobs: queue.api, clock: new SimClock() }
  const running = followAll(parts, ({ id }) => shown.push(id), stop.signal)
  await settle()
  queue.put({ id: 2 })
  await settle()
  stop.abort()
  await running
  expect(shown).toEqual([1, 2])
})
