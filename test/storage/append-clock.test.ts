import { expect, test } from 'vitest'
import { AppendClock } from '../../src/storage/append-clock.ts'
import { Prng } from '../support/prng.ts'

test('stamps are the wall clock in nanoseconds and one more for each record', () => {
  const clock = new AppendClock(0n)
  clock.advanceTo(1_700_000_000_123)
  expect(clock.tick().lastNs).toBe(1_700_000_000_123_000_001n)
  expect(clock.tick().lastNs).toBe(1_700_000_000_123_000_002n)
})

test('stamps strictly increase while the clock stands still, jumps back or ahead', () => {
  const prng = new Prng(1)
  const clock = new AppendClock(0n)
  let nowMs = 1_700_000_000_000
  let last = 0n
  for (let count = 0; count < 2000; count++) {
    nowMs += prng.pick([0, 0, 1, -1, 5000, -86_400_000, 0.5])
    clock.advanceTo(nowMs)
    for (let records = prng.below(4); records > 0; records--) {
      const stamp = clock.tick().lastNs
      expect(stamp).toBeGreaterThan(last)
      expect(stamp).toBe((BigInt(clock.hi) << 32n) | BigInt(clock.lo))
      last = stamp
    }
  }
})

test('a stamp carries from the low half into the high one', () => {
  const clock = new AppendClock(0x1_ffff_ffffn)
  expect([clock.hi, clock.lo]).toEqual([1, 0xffff_ffff])
  clock.tick()
  expect([clock.hi, clock.lo]).toEqual([2, 0])
})

test('a stamp that exists is never given again; an older one changes nothing', () => {
  const clock = new AppendClock(100n)
  clock.raiseTo(200n)
  clock.raiseTo(150n)
  expect(clock.tick().lastNs).toBe(201n)
})
