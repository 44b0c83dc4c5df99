import { describe, expect, test } from 'vitest'
import { NodeStandings, type StandingOptions } from '../../src/master/node-standings.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { SimClock } from '../support/sim-clock.ts'
import { NO_SIGNAL } from '../support/test-master.ts'

const MINUTE = 60_000
const OPTIONS: StandingOptions = {
  delayMs: 15 * MINUTE,
  flapCount: 3,
  flapWindowMs: 10 * MINUTE,
  flapCalmMs: 5 * MINUTE,
  upAgainMs: MINUTE,
}

async function open(store = new MemoryStore(), clock = new SimClock()) {
  const standings = await NodeStandings.open({ store, clock }, OPTIONS, NO_SIGNAL)
  const cycle = async (upMs: number, downMs: number) => {
    standings.onUp('a:1')
    await clock.advance(upMs)
    standings.onDown('a:1', false)
    await clock.advance(downMs)
  }
  return { standings, clock, store, cycle }
}

describe('a server that went down', () => {
  test('is gone after the delay; back for less than a minute, it was away all the time', async () => {
    const { standings, clock, cycle } = await open()
    await cycle(10 * MINUTE, 14 * MINUTE)
    const sinceMs = standings.downSinceMs('a:1')
    await cycle(MINUTE - 1, 0)
    expect(standings.downSinceMs('a:1')).toBe(sinceMs)
    expect(standings.isGone('a:1')).toBe(false)
    await clock.advance(1)
    expect(standings.isGone('a:1')).toBe(true)
  })

  test('is gone the full delay after it was up for a minute', async () => {
    const { standings, clock, cycle } = await open()
    await cycle(10 * MINUTE, 14 * MINUTE)
    await cycle(MINUTE, 15 * MINUTE - 1)
    expect(standings.isGone('a:1')).toBe(false)
    await clock.advance(1)
    expect(standings.isGone('a:1')).toBe(true)
  })

  test('a moment after it came for the first time is down since then', async () => {
    const { standings, clock, cycle } = await open()
    await clock.advance(MINUTE)
    const startMs = clock.nowMs()
    await cycle(10, 10)
    expect(standings.downSinceMs('a:1')).toBe(startMs + 10)
    expect(standings.downForMs('a:1')).toBe(10)
  })

  test('is not gone sooner because the wall clock jumps', async () => {
    const { standings, clock, cycle } = await open()
    await cycle(10 * MINUTE, MINUTE)
    clock.jumpWallClock(24 * 60 * MINUTE)
    expect(standings.isGone('a:1')).toBe(false)
  })

  test('and was declared lost is gone at once, until it is back', async () => {
    const { standings, cycle } = await open()
    await cycle(10 * MINUTE, 0)
    standings.forget('a:1')
    expect(standings.isGone('a:1')).toBe(true)
    standings.onUp('a:1')
    expect(standings.isGone('a:1')).toBe(false)
  })
})

describe('flapping', () => {
  test('is going down 3 times within 10 minutes, until up for 5 without a break', async () => {
    const { standings, clock, cycle } = await open()
    await cycle(MINUTE, MINUTE)
    await cycle(MINUTE, MINUTE)
    expect(standings.isFlapping('a:1')).toBe(false)
    await cycle(MINUTE, MINUTE)
    expect(standings.isSpared('a:1')).toBe(true)
    standings.onUp('a:1')
    await clock.advance(5 * MINUTE - 1)
    expect(standings.flapping().map(({ url }) => url)).toEqual(['a:1'])
    await clock.advance(1)
    expect(standings.isFlapping('a:1')).toBe(false)
    await cycle(MINUTE, MINUTE)
    expect(standings.isFlapping('a:1')).toBe(false)
  })

  test('is not going down 3 times in 11 minutes, nor leaving in order', async () => {
    const { standings, clock, cycle } = await open()
    for (let round = 0; round < 10; round++) await cycle(5 * MINUTE + 1, 1)
    expect(standings.isFlapping('a:1')).toBe(false)
    await clock.advance(60 * MINUTE)
    for (let round = 0; round < 10; round++) {
      standings.onUp('a:1')
      await clock.advance(1000)
      standings.onDown('a:1', true)
    }
    expect(standings.isFlapping('a:1')).toBe(false)
  })
})

test('a server that is being emptied is so after a restart, until it is said not to be', async () => {
  const { standings, store, clock } = await open()
  await standings.setDraining('a:1', true, NO_SIGNAL)
  expect(standings.isSpared('a:1')).toBe(true)
  const second = await open(store, clock)
  expect(second.standings.isDraining('a:1')).toBe(true)
  await second.standings.setDraining('a:1', false, NO_SIGNAL)
  expect((await open(store, clock)).standings.isDraining('a:1')).toBe(false)
})
