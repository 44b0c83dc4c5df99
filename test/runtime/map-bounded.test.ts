import { describe, expect, test } from 'vitest'
import { mapBounded } from '../../src/runtime/map-bounded.ts'

const NEVER = new AbortController().signal

describe('mapBounded', () => {
  test.each([
    { itemCount: 0, concurrencyMax: 3, peak: 0 },
    { itemCount: 2, concurrencyMax: 3, peak: 2 },
    { itemCount: 50, concurrencyMax: 1, peak: 1 },
    { itemCount: 50, concurrencyMax: 3, peak: 3 },
  ])('$itemCount items, $concurrencyMax at a time: $peak run at once', async (sample) => {
    let running = 0
    let peak = 0
    const items = Array.from({ length: sample.itemCount }, (_, index) => index)
    const run = async (item: number, index: number) => {
      expect(index).toBe(item)
      running++
      peak = Math.max(peak, running)
      // The earlier an item, the longer it takes: the order of finishing is not that of starting.
      for (let turns = sample.itemCount - item; turns > 0; turns--) await undefined
      running--
      return item * 10
    }
    const results = await mapBounded(items, sample.concurrencyMax, run, NEVER)
    expect(results).toEqual(items.map((item) => item * 10))
    expect(peak).toBe(sample.peak)
  })

  test('after a failure nothing more starts, and nothing still runs', async () => {
    const started: number[] = []
    let running = 0
    const run = async (item: number) => {
      started.push(item)
      running++
      for (let turns = 0; turns < item * 5; turns++) await undefined
      running--
      if (item >= 2) throw new Error(`item ${item}`)
    }
    await expect(mapBounded([1, 2, 3, 4, 5, 6, 7, 8], 3, run, NEVER)).rejects.toThrow('item 2')
    expect(running).toBe(0)
    expect(started).toEqual([1, 2, 3, 4])
  })

  test('an abort stops it with CANCELLED after the items under way', async () => {
    const abort = new AbortController()
    const started: number[] = []
    const run = async (item: number) => {
      started.push(item)
      if (item === 2) abort.abort()
    }
    await expect(mapBounded([1, 2, 3, 4], 1, run, abort.signal)).rejects.toMatchObject({
      code: 'CANCELLED',
    })
    expect(started).toEqual([1, 2])
  })

  test('an abort after the last item was started is not a failure', async () => {
    const abort = new AbortController()
    expect(await mapBounded([1], 1, async () => abort.abort(), abort.signal)).toEqual([undefined])
  })

  test('a source that throws is a failure like any other', async () => {
    function* source() {
      yield 1
      throw new Error('no more')
    }
    await expect(mapBounded(source(), 2, async () => 1, NEVER)).rejects.toThrow('no more')
  })

  test('a lazy source is asked for items only as they are needed', async () => {
    let asked = 0
    function* source() {
      for (; asked < 100; asked++) yield asked
    }
    const run = async (item: number) => {
      expect(asked - item).toBeLessThanOrEqual(4)
      await undefined
    }
    await mapBounded(source(), 4, run, NEVER)
    expect(asked).toBe(100)
  })
})
