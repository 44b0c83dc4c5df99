import { expect, test } from 'vitest'
import { SimClock } from './sim-clock.ts'

test('timers run in the order they come due, each at its own time', async () => {
  const clock = new SimClock()
  const ran: string[] = []
  clock.after(30, () => ran.push(`c ${clock.monotonicMs()}`))
  clock.after(10, () => {
    ran.push(`a ${clock.monotonicMs()}`)
    clock.after(10, () => ran.push(`b ${clock.monotonicMs()}`))
  })
  clock.after(31, () => ran.push('late'))
  await clock.advance(30)
  expect(ran).toEqual(['a 10', 'b 20', 'c 30'])
  expect(clock.timerCount).toBe(1)
})

test('a loop that sleeps runs once per interval', async () => {
  const clock = new SimClock()
  const stop = new AbortController()
  let rounds = 0
  const loop = (async () => {
    for (;;) {
      await clock.sleep(10, stop.signal)
      rounds++
    }
  })()
  await clock.advance(95)
  expect(rounds).toBe(9)
  stop.abort()
  await expect(loop).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(clock.timerCount).toBe(0)
})

test('a disposed timer does not run, and an aborted signal does not sleep', async () => {
  const clock = new SimClock()
  const timer = clock.after(1, () => expect.unreachable())
  timer[Symbol.dispose]()
  await clock.advance(10)
  await expect(clock.sleep(1, AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' })
})

test('the wall clock jumps, the monotonic one does not', async () => {
  const clock = new SimClock()
  const startMs = clock.nowMs()
  clock.jumpWallClock(-3_600_000)
  await clock.advance(5)
  expect(clock.nowMs() - startMs).toBe(5 - 3_600_000)
  expect(clock.monotonicMs()).toBe(5)
})
