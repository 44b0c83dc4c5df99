import { describe, expect, test } from 'vitest'
import { Semaphore } from '../../src/runtime/semaphore.ts'

const NEVER = new AbortController().signal

describe('Semaphore', () => {
  test('2 slots go to the first 2, the rest get theirs in the order they came', async () => {
    const semaphore = new Semaphore({ slots: 2, waitersMax: 10 })
    const order: string[] = []
    const run = async (name: string) => {
      using _slot = await semaphore.acquire(NEVER)
      order.push(`+${name}`)
      await turn()
      order.push(`-${name}`)
    }
    const runs = ['a', 'b', 'c', 'd'].map(run)
    expect([semaphore.heldCount, semaphore.waitingCount]).toEqual([2, 2])
    await Promise.all(runs)
    expect(order).toEqual(['+a', '+b', '-a', '+c', '-b', '+d', '-c', '-d'])
    expect([semaphore.heldCount, semaphore.waitingCount]).toEqual([0, 0])
  })

  test.each([
    { waitersMax: 0, admitted: 1 },
    { waitersMax: 1, admitted: 2 },
    { waitersMax: 5, admitted: 6 },
  ])(
    'with a line of $waitersMax, $admitted are let in and the next is OVERLOADED',
    async (sample) => {
      const semaphore = new Semaphore({ slots: 1, waitersMax: sample.waitersMax })
      const tries = Array.from({ length: sample.admitted }, () => semaphore.acquire(NEVER))
      await expect(semaphore.acquire(NEVER)).rejects.toMatchObject({ code: 'OVERLOADED' })
      for (const admitted of tries) (await admitted)[Symbol.dispose]()
      expect(semaphore.heldCount).toBe(0)
    },
  )

  test('a slot can be taken only if one is free, past nobody in line', async () => {
    const semaphore = new Semaphore({ slots: 2, waitersMax: 1 })
    const first = semaphore.tryAcquire()
    const second = semaphore.tryAcquire()
    expect([semaphore.heldCount, semaphore.tryAcquire()]).toEqual([2, undefined])
    const waiting = semaphore.acquire(NEVER)
    first?.[Symbol.dispose]()
    first?.[Symbol.dispose]()
    expect(semaphore.tryAcquire()).toBeUndefined()
    const third = await waiting
    for (const slot of [second, third]) slot?.[Symbol.dispose]()
    expect(semaphore.heldCount).toBe(0)
  })

  test('a cancelled waiter leaves the line; those behind it move up', async () => {
    const semaphore = new Semaphore({ slots: 1, waitersMax: 2 })
    const first = await semaphore.acquire(NEVER)
    const abort = new AbortController()
    const second = semaphore.acquire(abort.signal)
    const third = semaphore.acquire(NEVER)
    abort.abort(new Error('the client left'))
    await expect(second).rejects.toMatchObject({
      code: 'CANCELLED',
      cause: { message: 'the client left' },
    })
    expect(semaphore.waitingCount).toBe(1)
    first[Symbol.dispose]()
    const slot = await third
    expect(semaphore.heldCount).toBe(1)
    slot[Symbol.dispose]()
  })

  test('an aborted signal gets nothing even when slots are free', async () => {
    const semaphore = new Semaphore({ slots: 1, waitersMax: 1 })
    await expect(semaphore.acquire(AbortSignal.abort())).rejects.toMatchObject({
      code: 'CANCELLED',
    })
    expect(semaphore.heldCount).toBe(0)
  })

  test('an abort after the slot was granted changes nothing', async () => {
    const semaphore = new Semaphore({ slots: 1, waitersMax: 1 })
    const first = await semaphore.acquire(NEVER)
    const abort = new AbortController()
    const second = semaphore.acquire(abort.signal)
    first[Symbol.dispose]()
    abort.abort()
    const slot = await second
    expect(semaphore.heldCount).toBe(1)
    slot[Symbol.dispose]()
    expect(semaphore.heldCount).toBe(0)
  })

  test('disposing twice frees one slot', async () => {
    const semaphore = new Semaphore({ slots: 2, waitersMax: 0 })
    const first = await semaphore.acquire(NEVER)
    await semaphore.acquire(NEVER)
    first[Symbol.dispose]()
    first[Symbol.dispose]()
    expect(semaphore.heldCount).toBe(1)
  })

  test('nobody who arrives as a slot is freed overtakes the line', async () => {
    const semaphore = new Semaphore({ slots: 1, waitersMax: 9 })
    const first = await semaphore.acquire(NEVER)
    const order: number[] = []
    const waiting = semaphore.acquire(NEVER).then((slot) => {
      order.push(1)
      slot[Symbol.dispose]()
    })
    first[Symbol.dispose]()
    const late = semaphore.acquire(NEVER).then((slot) => {
      order.push(2)
      slot[Symbol.dispose]()
    })
    await Promise.all([waiting, late])
    expect(order).toEqual([1, 2])
  })

  test('10,000 waiters on one signal leave no listeners and raise no warning', async () => {
    const warnings: string[] = []
    const onWarning = (warning: Error) => warnings.push(warning.name)
    process.on('warning', onWarning)
    const semaphore = new Semaphore({ slots: 1, waitersMax: 10_000 })
    const first = await semaphore.acquire(NEVER)
    const waiting = Array.from({ length: 10_000 }, async () => {
      using _slot = await semaphore.acquire(NEVER)
    })
    first[Symbol.dispose]()
    await Promise.all(waiting)
    await turn()
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })
})

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
