import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { type Attempt, hedged } from '../../src/runtime/hedged.ts'
import { SimClock } from '../support/sim-clock.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

/** An attempt that ends when a test says so. */
class Told {
  signal: AbortSignal | undefined
  answer: (value: string) => void = () => undefined
  fail: (error: unknown) => void = () => undefined

  readonly run: Attempt<string> = (signal) => {
    this.signal = signal
    return new Promise((resolve, reject) => {
      this.answer = resolve
      this.fail = reject
    })
  }
}

function begin(hasRoom = true, signal: AbortSignal = SIGNAL) {
  const clock = new SimClock()
  const [first, second] = [new Told(), new Told()]
  const options = { clock, afterMs: 100, hasRoom: () => hasRoom }
  const running = hedged(first.run, second.run, options, signal)
  running.catch(() => 'it is awaited by the test')
  return { clock, first, second, running }
}

const DOWN = new StoreError('UNAVAILABLE', 'it is down')

describe('two attempts', () => {
  test('are one when the first is fast', async () => {
    const { clock, first, second, running } = begin()
    await clock.advance(99)
    first.answer('first')
    expect(await running).toBe('first')
    expect([second.signal, clock.timerCount]).toEqual([undefined, 0])
  })

  test.each(['first', 'second'] as const)(
    'run beside each other when the first is slow: the %s wins',
    async (winner) => {
      const attempts = begin()
      const { clock, first, second, running } = attempts
      await clock.advance(100)
      attempts[winner].answer(winner)
      expect(await running).toBe(winner)
      expect([first.signal?.aborted, second.signal?.aborted]).toEqual([true, true])
    },
  )

  test('are one after the other when the first fails', async () => {
    const { clock, first, second, running } = begin()
    first.fail(DOWN)
    await settle()
    second.answer('second')
    expect(await running).toBe('second')
    expect(clock.timerCount).toBe(0)
  })

  test('fail as the second does, also when the first is the last to fail', async () => {
    const { clock, first, second, running } = begin()
    await clock.advance(100)
    second.fail(new StoreError('SHARDS_LOST', 'too few'))
    await settle()
    first.fail(DOWN)
    await expectCode(running, 'SHARDS_LOST')
  })

  test('that run still count when the second has failed', async () => {
    const { clock, first, second, running } = begin()
    await clock.advance(100)
    second.fail(DOWN)
    await settle()
    first.answer('first')
    expect(await running).toBe('first')
  })

  test('are not made where there is no room, until the first has failed', async () => {
    const { clock, first, second, running } = begin(false)
    await clock.advance(1000)
    expect(second.signal).toBeUndefined()
    first.fail(DOWN)
    await settle()
    second.answer('second')
    expect(await running).toBe('second')
  })

  test('are not made to hide a bug, nor for somebody who has gone', async () => {
    const bug = begin()
    bug.first.fail(new TypeError('a bug'))
    await expect(bug.running).rejects.toThrow(TypeError)
    const ending = new AbortController()
    const gone = begin(true, ending.signal)
    ending.abort()
    gone.first.fail(DOWN)
    await expectCode(gone.running, 'CANCELLED')
    expect(gone.second.signal).toBeUndefined()
  })
})
