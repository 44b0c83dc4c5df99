import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { type ReadShard, readFirst } from '../../src/erasure/read-first.ts'
import { SimClock } from '../support/sim-clock.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

/** Shards that answer when a test says so. */
class Answers {
  readonly clock = new SimClock()
  readonly signals = new Map<number, AbortSignal>()
  readonly #waiting = new Map<number, (bytes: Buffer | Error) => void>()

  readonly read: ReadShard = (shard, signal) => {
    this.signals.set(shard, signal)
    return new Promise((resolve, reject) => {
      this.#waiting.set(shard, (answer) => {
        if (answer instanceof Error) reject(answer)
        else resolve(answer)
      })
      signal.addEventListener('abort', () => reject(new StoreError('CANCELLED', 'gone')))
    })
  }

  begin(shards: readonly number[], count: number, lingerMs = 0, signal = SIGNAL, spareMs = 0) {
    const options = { clock: this.clock, lingerMs, spareMs }
    const reading = readFirst(shards, count, this.read, options, signal)
    reading.catch(() => 'it is awaited by the test')
    return reading
  }

  async answer(shard: number, with_: Buffer | Error = Buffer.from([shard])): Promise<void> {
    this.#waiting.get(shard)?.(with_)
    await settle()
  }
}

const DOWN = new StoreError('UNAVAILABLE', 'it is down')

describe('the first shards that answer', () => {
  test('are enough: the others are aborted, and what they say later is not heard', async () => {
    const answers = new Answers()
    const reading = answers.begin([0, 1, 2, 3], 2)
    for (const shard of [3, 1, 0]) await answers.answer(shard)
    const found = await reading
    expect([...found.keys()]).toEqual([3, 1])
    expect(answers.signals.get(2)?.aborted).toBe(true)
    await answers.answer(2)
    expect(found.size).toBe(2)
  })

  test('may be the last that are left; one fewer is SHARDS_LOST at once', async () => {
    const answers = new Answers()
    const reading = answers.begin([0, 1, 2, 3], 2)
    for (const shard of [0, 1]) await answers.answer(shard, DOWN)
    for (const shard of [2, 3]) await answers.answer(shard)
    expect([...(await reading).keys()]).toEqual([2, 3])
    const lost = answers.begin([0, 1, 2, 3], 2)
    for (const shard of [0, 1, 2]) await answers.answer(shard, DOWN)
    await expectCode(lost, 'SHARDS_LOST')
    expect(answers.signals.get(3)?.aborted).toBe(true)
  })

  test('are waited for by nobody who has gone, and hide no bug', async () => {
    const answers = new Answers()
    const ending = new AbortController()
    const reading = answers.begin([0, 1, 2], 2, 0, ending.signal)
    ending.abort()
    await expectCode(reading, 'CANCELLED')
    const other = answers.begin([0, 1, 2], 2)
    await answers.answer(0, new TypeError('a bug'))
    await expect(other).rejects.toThrow(TypeError)
  })

  test('are no more than needed, until one fails or time is up', async () => {
    const answers = new Answers()
    const enough = answers.begin([4, 3, 2, 1], 2, 0, SIGNAL, 20)
    expect([...answers.signals.keys()]).toEqual([4, 3])
    for (const shard of [3, 4]) await answers.answer(shard)
    expect([...(await enough).keys()]).toEqual([3, 4])
    expect([answers.signals.size, answers.clock.timerCount]).toEqual([2, 0])
    const failing = answers.begin([4, 3, 2, 1], 2, 0, SIGNAL, 20)
    await answers.answer(4, DOWN)
    expect([...answers.signals.keys()]).toEqual([4, 3, 2])
    await answers.clock.advance(19)
    expect(answers.signals.has(1)).toBe(false)
    await answers.clock.advance(1)
    for (const shard of [1, 2]) await answers.answer(shard)
    expect([...(await failing).keys()]).toEqual([1, 2])
    const lost = answers.begin([4, 3, 2, 1], 2, 0, SIGNAL, 20)
    for (const shard of [3, 2, 4]) await answers.answer(shard, DOWN)
    await expectCode(lost, 'SHARDS_LOST')
    expect(answers.clock.timerCount).toBe(0)
  })

  test('let the others finish for a while, if that is wanted', async () => {
    for (const isLate of [false, true]) {
      const answers = new Answers()
      const reading = answers.begin([0, 1, 2, 3], 2, 50)
      await answers.answer(0)
      await answers.answer(1)
      expect(answers.signals.get(3)?.aborted).toBe(false)
      await answers.answer(2, DOWN)
      if (isLate) await answers.clock.advance(50)
      else await answers.answer(3)
      expect([...(await reading).keys()]).toEqual([0, 1])
      expect([answers.clock.timerCount, answers.clock.monotonicMs()]).toEqual([0, isLate ? 50 : 0])
    }
  })
})
