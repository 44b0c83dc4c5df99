import { describe, expect, test } from 'vitest'
import { KeyedSharedLock } from '../../src/runtime/keyed-shared-lock.ts'
import { Prng, seeds } from '../support/prng.ts'

const never = new AbortController().signal

function openLock(waitersMax = 10) {
  const lock = new KeyedSharedLock<string>({ waitersMax })
  const order: string[] = []
  const held = new Map<string, Disposable>()
  const take = (name: string, acquiring: Promise<Disposable>) =>
    acquiring.then((holding) => {
      order.push(name)
      held.set(name, holding)
    })
  return {
    lock,
    order,
    share: (name: string, signal = never) => take(name, lock.share('a', signal)),
    exclude: (name: string, signal = never) => take(name, lock.exclude('a', signal)),
    release: (name: string) => held.get(name)?.[Symbol.dispose](),
  }
}

/** Lets everything happen that can. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

describe('KeyedSharedLock', () => {
  test('many share a key; one has it alone; other keys do not wait', async () => {
    const { lock, exclude, order, release, share } = openLock()
    await share('s1')
    await share('s2')
    void exclude('x1')
    await settle()
    expect(order).toEqual(['s1', 's2'])
    using _other = await lock.exclude('b', never)
    expect([lock.heldCount, lock.waitingCount]).toEqual([2, 1])
    release('s1')
    await settle()
    expect(order).toEqual(['s1', 's2'])
    release('s2')
    await settle()
    expect(order).toEqual(['s1', 's2', 'x1'])
    release('x1')
    expect([lock.heldCount, lock.waitingCount]).toEqual([1, 0])
  })

  test('all are served in the order of arrival: nobody passes one who waits to be alone', async () => {
    const { exclude, order, release, share } = openLock()
    await share('s1')
    for (const name of ['x1', 's2', 's3', 'x2', 's4']) {
      void (name.startsWith('x') ? exclude(name) : share(name))
    }
    await settle()
    expect(order).toEqual(['s1'])
    release('s1')
    await settle()
    expect(order).toEqual(['s1', 'x1'])
    release('x1')
    await settle()
    expect(order).toEqual(['s1', 'x1', 's2', 's3'])
    release('s3')
    release('s2')
    await settle()
    expect(order).toEqual(['s1', 'x1', 's2', 's3', 'x2'])
    release('x2')
    await settle()
    expect(order).toEqual(['s1', 'x1', 's2', 's3', 'x2', 's4'])
    release('s4')
  })

  test('disposing twice does not free what the next one holds', async () => {
    const { lock, exclude, order, release } = openLock()
    await exclude('x1')
    void exclude('x2')
    release('x1')
    release('x1')
    void exclude('x3')
    await settle()
    expect(order).toEqual(['x1', 'x2'])
    release('x2')
    release('x2')
    await settle()
    release('x3')
    expect(order).toEqual(['x1', 'x2', 'x3'])
    expect(lock.heldCount).toBe(0)
  })

  test('one who gives up leaves the line, and those behind go on at once', async () => {
    const { lock, exclude, order, release, share } = openLock()
    const abort = new AbortController()
    await share('s1')
    const waiting = exclude('x1', abort.signal)
    void share('s2')
    await settle()
    expect(order).toEqual(['s1'])
    abort.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' })
    await settle()
    expect(order).toEqual(['s1', 's2'])
    expect(lock.waitingCount).toBe(0)
    release('s1')
    release('s2')
    expect(lock.heldCount).toBe(0)
  })

  test('an aborted signal takes nothing, not even a free lock', async () => {
    const { lock } = openLock()
    const cancelled = { code: 'CANCELLED' }
    await expect(lock.share('a', AbortSignal.abort())).rejects.toMatchObject(cancelled)
    await expect(lock.exclude('a', AbortSignal.abort())).rejects.toMatchObject(cancelled)
    expect(lock.heldCount).toBe(0)
  })

  test('a signal that aborts after the lock was taken changes nothing', async () => {
    const { lock, exclude, release } = openLock()
    const abort = new AbortController()
    await exclude('x1')
    const taking = exclude('x2', abort.signal)
    release('x1')
    abort.abort()
    await taking
    expect(lock.heldCount).toBe(1)
    release('x2')
    expect(lock.heldCount).toBe(0)
  })

  test.each([0, 1, 2])('with a line of %d one more is OVERLOADED', async (waitersMax) => {
    const { lock, exclude, release } = openLock(waitersMax)
    await exclude('x')
    const waiting = Array.from({ length: waitersMax }, (_, index) => exclude(`w${index}`))
    const overloaded = { code: 'OVERLOADED' }
    await expect(lock.share('a', never)).rejects.toMatchObject(overloaded)
    await expect(lock.exclude('a', never)).rejects.toMatchObject(overloaded)
    ;(await lock.share('b', never))[Symbol.dispose]()
    release('x')
    for (const [index, entering] of waiting.entries()) {
      await entering
      release(`w${index}`)
    }
    expect([lock.heldCount, lock.waitingCount]).toEqual([0, 0])
  })

  test('the place of one who gave up is free at once', async () => {
    const { exclude, release, share } = openLock(1)
    const abort = new AbortController()
    await exclude('x')
    const waiting = share('s', abort.signal)
    abort.abort()
    const next = share('next')
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' })
    release('x')
    await next
    release('next')
  })
})

// Goal: never two alone, nor one alone beside one who shares; nobody waits for ever.
test.each(seeds(50))('who shares and who is alone never meet (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  const lock = new KeyedSharedLock<number>({ waitersMax: 1000 })
  const inside = new Map<number, number>()
  const ALONE = 1000
  const visit = async () => {
    const key = prng.below(2)
    const isAlone = prng.chance(0.3)
    const abort = new AbortController()
    const entering = isAlone ? lock.exclude(key, abort.signal) : lock.share(key, abort.signal)
    if (prng.chance(0.2)) abort.abort()
    let holding: Disposable
    try {
      holding = await entering
    } catch {
      return
    }
    const weight = isAlone ? ALONE : 1
    inside.set(key, (inside.get(key) ?? 0) + weight)
    const count = inside.get(key) ?? 0
    expect(count === ALONE || count < ALONE).toBe(true)
    for (let turns = prng.below(5); turns > 0; turns--) await undefined
    inside.set(key, (inside.get(key) ?? 0) - weight)
    holding[Symbol.dispose]()
  }
  const visits: Promise<void>[] = []
  for (let count = 0; count < 60; count++) {
    visits.push(visit())
    if (prng.chance(0.3)) await undefined
  }
  await Promise.all(visits)
  expect([lock.heldCount, lock.waitingCount]).toEqual([0, 0])
})
