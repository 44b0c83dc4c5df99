import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { Incidents, type Shortfall } from '../../src/master/incidents.ts'
import { REPAIR_PREFIX } from '../../src/master/job-rows.ts'
import { endOf } from '../../src/master/master-rows.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { SimClock } from '../support/sim-clock.ts'

const NO_SIGNAL = new AbortController().signal

class Bench {
  readonly store = new MemoryStore()
  readonly clock = new SimClock()
  readonly logger = silentLogger

  open(): Promise<Incidents> {
    return Incidents.open(this, NO_SIGNAL)
  }

  shortfall(id: number, options: Partial<Shortfall> = {}): Shortfall {
    const sinceMs = this.clock.nowMs()
    return { volumeId: volumeId(id), sinceMs, bytes: 100, needsCopy: true, ...options }
  }
}

const none = () => false

function observe(incidents: Incidents, shortfalls: readonly Shortfall[], isGone = none) {
  return incidents.observe(shortfalls, isGone, NO_SIGNAL)
}

describe('incidents', () => {
  test('last from the loss until redundancy is full, across restarts', async () => {
    const bench = new Bench()
    const before = await bench.open()
    const sinceMs = bench.clock.nowMs()
    await observe(before, [bench.shortfall(1), bench.shortfall(2)])
    await bench.clock.advance(60_000)
    const incidents = await bench.open()
    expect(incidents.belowSinceMs).toBe(sinceMs)
    await observe(incidents, [bench.shortfall(2)])
    expect(incidents.sinceMsOf(volumeId(1))).toBe(0)
    expect(incidents.sinceMsOf(volumeId(2))).toBe(sinceMs)
    await bench.clock.advance(60_000)
    await observe(incidents, [])
    expect(incidents.belowSinceMs).toBe(0)
    const times = { count: 2, p50Ms: 60_000, p95Ms: 120_000, lastMs: 120_000 }
    expect(incidents.times).toEqual(times)
    expect((await bench.open()).times).toEqual(times)
  })

  test('count as repairs only if a copy had to be made', async () => {
    const bench = new Bench()
    const incidents = await bench.open()
    await observe(incidents, [bench.shortfall(1, { needsCopy: false })])
    await bench.clock.advance(1000)
    await observe(incidents, [])
    expect(incidents.times.count).toBe(0)
    await observe(incidents, [bench.shortfall(1, { needsCopy: false })])
    await bench.clock.advance(1000)
    await observe(incidents, [bench.shortfall(1)])
    await bench.clock.advance(1000)
    await observe(incidents, [])
    expect(incidents.times).toMatchObject({ count: 1, lastMs: 2000 })
  })

  test('of a volume that was deleted were not repaired', async () => {
    const bench = new Bench()
    const incidents = await bench.open()
    await observe(incidents, [bench.shortfall(1)])
    await observe(incidents, [], (() => true) as () => boolean)
    expect(incidents.times.count).toBe(0)
    expect(incidents.belowSinceMs).toBe(0)
  })

  test('the last 1,000 repairs are kept', async () => {
    const bench = new Bench()
    const kept = LIMITS.repairTimesKept.value
    const incidents = await bench.open()
    for (const count of [kept, 50, 1]) {
      await observe(
        incidents,
        Array.from({ length: count }, (_, at) => bench.shortfall(at + 1)),
      )
      await bench.clock.advance(10)
      await observe(incidents, [])
    }
    await observe(incidents, [])
    let rows = 0
    const range = { gte: REPAIR_PREFIX, lt: endOf(REPAIR_PREFIX) }
    for await (const _row of bench.store.scan(range, NO_SIGNAL)) rows++
    expect([incidents.times.count, rows]).toEqual([kept, kept])
    expect((await bench.open()).times).toEqual(incidents.times)
  })
})
