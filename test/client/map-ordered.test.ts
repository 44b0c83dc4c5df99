import { expect, test } from 'vitest'
import { mapOrdered } from '../../src/client/map-ordered.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const NEVER = new AbortController().signal

test.each(seeds(20))('results come in order, however long each takes (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  const clock = new SimClock()
  const aheadMax = prng.between(1, 8)
  let running = 0
  let runningMax = 0
  const run = async (item: number) => {
    runningMax = Math.max(runningMax, ++running)
    await clock.sleep(prng.below(50), NEVER)
    running--
    return item * 2
  }
  const results: number[] = []
  const all = (async () => {
    for await (const result of mapOrdered(Array(40).keys(), aheadMax, run, NEVER)) {
      results.push(result)
    }
  })()
  await clock.advance(5000)
  await all
  expect(results).toEqual(Array.from({ length: 40 }, (_, i) => i * 2))
  expect(runningMax).toBe(aheadMax)
})

test('a result is handed on although the source has no next item yet', async () => {
  async function* slow() {
    yield 1
    await new Promise(() => {})
  }
  const results = mapOrdered(slow(), 4, async (item) => item, NEVER)
  expect(await results.next()).toEqual({ done: false, value: 1 })
})

test('a failure comes in its turn, stops the others and ends the source', async () => {
  let isEnded = false
  function* source() {
    try {
      for (let i = 0; ; i++) yield i
    } finally {
      isEnded = true
    }
  }
  let stopped = 0
  const run = (item: number, signal: AbortSignal) =>
    new Promise<number>((resolve, reject) => {
      if (item === 0) resolve(0)
      if (item === 1) reject(new Error('item 1'))
      signal.addEventListener('abort', () => {
        stopped++
        reject(new Error('stopped'))
      })
    })
  const results = mapOrdered(source(), 4, run, NEVER)
  expect(await results.next()).toEqual({ done: false, value: 0 })
  await expect(results.next()).rejects.toThrow('item 1')
  expect(stopped).toBeGreaterThanOrEqual(2)
  expect(isEnded).toBe(true)
})

test('an abort ends it with CANCELLED', async () => {
  const caller = new AbortController()
  const run = (item: number) => Promise.resolve(item)
  const results = mapOrdered([1, 2, 3], 1, run, caller.signal)
  expect((await results.next()).value).toBe(1)
  caller.abort()
  await expect(results.next()).rejects.toMatchObject({ code: 'CANCELLED' })
})

test('an error of the source comes out', async () => {
  function* source() {
    yield 1
    throw new Error('no more paper')
  }
  const results = mapOrdered(source(), 1, async (item) => item, NEVER)
  expect((await results.next()).value).toBe(1)
  await expect(results.next()).rejects.toThrow('no more paper')
})
