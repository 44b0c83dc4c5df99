import { describe, expect, test } from 'vitest'
import { Rest } from '../../src/volume/rest.ts'
import { SimClock } from '../support/sim-clock.ts'
import { SIGNAL } from '../support/volume-model.ts'

async function restedMs(clock: SimClock, working: Promise<void>): Promise<number> {
  const beganMs = clock.monotonicMs()
  let isOver = false
  const done = working.then(() => {
    isOver = true
  })
  await clock.advance(0)
  while (!isOver) await clock.advance(1)
  await done
  return clock.monotonicMs() - beganMs
}

describe('Rest', () => {
  test.each([
    [0, 100, 0],
    [1, 100, 100],
    [4, 20, 80],
    [0.5, 40, 20],
    [4, 60_000, 10_000],
  ])('politeness %d: after %d ms of work it rests %d ms', async (politeness, workMs, expected) => {
    const clock = new SimClock()
    const rest = new Rest({ clock }, politeness, SIGNAL)
    expect(await restedMs(clock, rest.after(workMs))).toBe(expected)
  })

  test('rests too short to be worth it are added up', async () => {
    const clock = new SimClock()
    const rest = new Rest({ clock }, 1, SIGNAL)
    expect(await restedMs(clock, rest.after(2))).toBe(0)
    expect(await restedMs(clock, rest.after(2))).toBe(0)
    expect(await restedMs(clock, rest.after(2))).toBe(6)
    expect(await restedMs(clock, rest.after(2))).toBe(0)
  })

  test('counts the time since the last rest as work, and no rest as work', async () => {
    const clock = new SimClock()
    const rest = new Rest({ clock }, 2, SIGNAL)
    await clock.advance(30)
    expect(await restedMs(clock, rest.sinceLast())).toBe(60)
    await clock.advance(10)
    expect(await restedMs(clock, rest.sinceLast())).toBe(20)
  })

  test('whoever gives up does not rest to the end', async () => {
    const clock = new SimClock()
    const stop = new AbortController()
    const resting = new Rest({ clock }, 4, stop.signal).after(1000)
    stop.abort()
    await expect(resting).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(clock.timerCount).toBe(0)
  })

  test.each([-1, 1001, Number.NaN])('a politeness of %d makes no sense', (politeness) => {
    expect(() => new Rest({ clock: new SimClock() }, politeness, SIGNAL)).toThrow(
      expect.objectContaining({ code: 'REQUEST_INVALID' }),
    )
  })
})
