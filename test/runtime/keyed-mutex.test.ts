import { describe, expect, test } from 'vitest'
import { KeyedMutex } from '../../src/runtime/keyed-mutex.ts'

const NEVER = new AbortController().signal

describe('KeyedMutex', () => {
  test('one key is held by one at a time, in order; other keys do not wait', async () => {
    const mutex = new KeyedMutex<string>({ waitersMax: 10 })
    const a1 = await mutex.acquire('a', NEVER)
    const b1 = await mutex.acquire('b', NEVER)
    const order: string[] = []
    const waiting = ['a2', 'a3'].map(async (name) => {
      using _lock = await mutex.acquire('a', NEVER)
      order.push(name)
    })
    expect([mutex.heldCount, mutex.waitingCount]).toEqual([2, 2])
    b1[Symbol.dispose]()
    await Promise.resolve()
    expect(order).toEqual([])
    a1[Symbol.dispose]()
    await Promise.all(waiting)
    expect(order).toEqual(['a2', 'a3'])
    expect([mutex.heldCount, mutex.waitingCount]).toEqual([0, 0])
  })

  test('the lines of all keys together hold waitersMax', async () => {
    const mutex = new KeyedMutex<string>({ waitersMax: 2 })
    const held = [await mutex.acquire('a', NEVER), await mutex.acquire('b', NEVER)]
    const waiting = [mutex.acquire('a', NEVER), mutex.acquire('b', NEVER)]
    await expect(mutex.acquire('b', NEVER)).rejects.toMatchObject({ code: 'OVERLOADED' })
    await takeAndRelease(mutex.acquire('c', NEVER))
    for (const lock of held) lock[Symbol.dispose]()
    for (const lock of waiting) (await lock)[Symbol.dispose]()
    expect(mutex.heldCount).toBe(0)
  })

  test('with a line of 0 a held key is OVERLOADED and a free one is not', async () => {
    const mutex = new KeyedMutex<number>({ waitersMax: 0 })
    using _lock = await mutex.acquire(1, NEVER)
    await expect(mutex.acquire(1, NEVER)).rejects.toMatchObject({ code: 'OVERLOADED' })
    await takeAndRelease(mutex.acquire(2, NEVER))
  })

  test('a cancelled waiter leaves; an aborted signal takes no free lock', async () => {
    const mutex = new KeyedMutex<number>({ waitersMax: 5 })
    const lock = await mutex.acquire(1, NEVER)
    const abort = new AbortController()
    const waiting = mutex.acquire(1, abort.signal)
    abort.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(mutex.waitingCount).toBe(0)
    lock[Symbol.dispose]()
    expect(mutex.isHeld(1)).toBe(false)
    await expect(mutex.acquire(1, AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(mutex.isHeld(1)).toBe(false)
  })

  test('disposing twice does not free the lock of the next holder', async () => {
    const mutex = new KeyedMutex<number>({ waitersMax: 5 })
    const first = await mutex.acquire(1, NEVER)
    first[Symbol.dispose]()
    const second = await mutex.acquire(1, NEVER)
    first[Symbol.dispose]()
    expect(mutex.isHeld(1)).toBe(true)
    second[Symbol.dispose]()
    expect(mutex.isHeld(1)).toBe(false)
  })
})

async function takeAndRelease(acquiring: Promise<Disposable>): Promise<void> {
  using _lock = await acquiring
}
