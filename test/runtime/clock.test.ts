import { expect, test } from 'vitest'
import { systemClock } from '../../src/runtime/clock.ts'

const NEVER = new AbortController().signal

test('sleep waits about as long as asked', async () => {
  const startMs = systemClock.monotonicMs()
  await systemClock.sleep(20, NEVER)
  const sleptMs = systemClock.monotonicMs() - startMs
  expect(sleptMs).toBeGreaterThanOrEqual(19) // Timers have whole milliseconds.
  expect(sleptMs).toBeLessThan(5000)
})

test('an abort ends a sleep of a day at once with CANCELLED and its reason', async () => {
  const abort = new AbortController()
  const sleeping = systemClock.sleep(86_400_000, abort.signal)
  abort.abort('enough')
  await expect(sleeping).rejects.toMatchObject({ code: 'CANCELLED', cause: 'enough' })
  await expect(systemClock.sleep(0, AbortSignal.abort())).rejects.toMatchObject({
    code: 'CANCELLED',
  })
})

test('a timer runs once, or never when disposed before', async () => {
  let ran = 0
  systemClock.after(1, () => ran++)
  {
    using _timer = systemClock.after(1, () => ran++)
  }
  await systemClock.sleep(20, NEVER)
  expect(ran).toBe(1)
})

test.each([-1, 2 ** 31, Number.NaN])('a delay of %d ms is a bug of ours', async (ms) => {
  expect(() => systemClock.after(ms, () => {})).toThrow('outside 31 bits')
  expect(() => systemClock.sleep(ms, NEVER)).toThrow('outside 31 bits')
})

test('now is the wall clock, in ms since 1970', () => {
  expect(Math.abs(systemClock.nowMs() - Date.now())).toBeLessThan(1000)
})
