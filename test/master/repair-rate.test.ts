import { expect, test } from 'vitest'
import { RepairRate } from '../../src/master/repair-rate.ts'
import { SimClock } from '../support/sim-clock.ts'

test('the rate is that of the last half minute, or since the work began', async () => {
  const clock = new SimClock()
  const rate = new RepairRate(clock)
  expect(rate.bytesPerS).toBe(0)
  await clock.advance(100_500)
  rate.add(1000)
  expect(rate.bytesPerS).toBe(1000)
  for (let second = 0; second < 60; second++) {
    await clock.advance(1000)
    rate.add(500)
  }
  expect(rate.bytesPerS).toBe(500)
  await clock.advance(15_000)
  expect(rate.bytesPerS).toBe(250)
  await clock.advance(15_000)
  expect(rate.bytesPerS).toBe(0)
  rate.add(0)
  rate.add(-5)
  expect(rate.bytesPerS).toBe(0)
  await clock.advance(3_600_000)
  rate.add(700)
  await clock.advance(1000)
  expect(rate.bytesPerS).toBe(350)
})
