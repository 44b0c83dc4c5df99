import { expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { QuickReads } from '../../src/metadata/level/quick-reads.ts'
import { systemClock } from '../../src/runtime/clock.ts'

const SLOW_MS = LIMITS.slowReadMs.value + 0.1

/** A clock that stands still unless it is told. */
function stillClock() {
  let nowMs = 1000
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { ...systemClock, monotonicMs: () => nowMs, pass }
}

function readsWith(clock: ReturnType<typeof stillClock>, tookMs: readonly number[]) {
  const quick = new QuickReads(clock)
  const asked: string[] = []
  const tryRead = (...keys: string[]) =>
    quick.tryRead(keys, (key) => {
      clock.pass(tookMs[asked.length] ?? 0)
      asked.push(key)
      return key.toUpperCase()
    })
  return { asked, tryRead }
}

test('gives the values in the order of the keys while reads are quick', () => {
  const { tryRead } = readsWith(stillClock(), [])
  expect(tryRead('b', 'a')).toEqual(['B', 'A'])
  expect(tryRead()).toEqual([])
  expect(tryRead('c')).toEqual(['C'])
})

test('a slow read is answered, and the next are not tried for 50 ms', () => {
  const clock = stillClock()
  const { asked, tryRead } = readsWith(clock, [SLOW_MS])
  expect(tryRead('a')).toEqual(['A'])
  expect(tryRead('b')).toBeUndefined()
  clock.pass(49)
  expect(tryRead('c')).toBeUndefined()
  clock.pass(2)
  expect(tryRead('d')).toEqual(['D'])
  expect(asked).toEqual(['a', 'd'])
})

test('a slow read in the middle leaves the others to the thread pool', () => {
  const { asked, tryRead } = readsWith(stillClock(), [0, SLOW_MS])
  expect(tryRead('a', 'b', 'c')).toBeUndefined()
  expect(asked).toEqual(['a', 'b'])
})

test('a read at the limit is not slow', () => {
  const { tryRead } = readsWith(stillClock(), [LIMITS.slowReadMs.value])
  expect(tryRead('a')).toEqual(['A'])
  expect(tryRead('b')).toEqual(['B'])
})
