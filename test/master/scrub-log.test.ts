import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { RISK } from '../../src/master/assess.ts'
import { ScrubLog } from '../../src/master/scrub-log.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { VolumeFacts } from '../../src/net/jobs-api.ts'
import { SimClock } from '../support/sim-clock.ts'
import { awayAt, codedFactsOf, copyAt, factsOf } from '../support/volume-facts.ts'

const NO_SIGNAL = new AbortController().signal
const DAY_MS = 86_400_000
const EVERY_MS = 14 * DAY_MS

class Bench {
  readonly store = new MemoryStore()
  readonly clock = new SimClock()

  open(): Promise<ScrubLog> {
    return ScrubLog.open(this, { everyMs: EVERY_MS }, NO_SIGNAL)
  }
}

async function note(log: ScrubLog, id: number, directoryId: string, damageCount = 0) {
  await log.note({ volumeId: volumeId(id), directoryId, bytes: 1, damageCount }, NO_SIGNAL)
}

/** Those that are due, of these. */
function due(log: ScrubLog, all: readonly VolumeFacts[]): number[] {
  return all.filter((facts) => log.dueOf(facts) !== undefined).map(({ volumeId: id }) => id)
}

describe('when a volume is checked', () => {
  test('the first turns are spread over the round, and all are over before its end', async () => {
    const { clock, ...bench } = new Bench()
    const log = await ScrubLog.open({ ...bench, clock }, { everyMs: EVERY_MS }, NO_SIGNAL)
    const all = Array.from({ length: 1000 }, (_, index) => factsOf(index + 1, [copyAt('a:1')]))
    await log.sync(all, NO_SIGNAL)
    expect(due(log, all).length).toBeLessThan(5)
    await clock.advance(EVERY_MS * 0.4)
    expect(due(log, all).length).toBeGreaterThan(450)
    expect(due(log, all).length).toBeLessThan(550)
    await clock.advance(EVERY_MS * 0.4)
    expect(due(log, all)).toHaveLength(1000)
  })

  test('it is due again in time, each copy for itself, across restarts', async () => {
    const bench = new Bench()
    const facts = factsOf(7, [copyAt('a:1'), copyAt('b:1')])
    const log = await bench.open()
    await log.sync([facts], NO_SIGNAL)
    await bench.clock.advance(EVERY_MS)
    expect(log.dueOf(facts)).toMatchObject({ kind: 'scrub', risk: RISK.scrub })
    await note(log, 7, 'disk-a:1')
    expect(log.dueOf(facts)).toBeDefined()
    await note(log, 7, 'disk-b:1')
    expect(log.dueOf(facts)).toBeUndefined()
    const again = await bench.open()
    await bench.clock.advance(EVERY_MS * 0.8 - 1)
    expect(again.dueOf(facts)).toBeUndefined()
    await bench.clock.advance(1)
    expect(again.dueOf(facts)).toBeDefined()
  })

  test('a copy that is away is not waited for', async () => {
    const bench = new Bench()
    const log = await bench.open()
    const facts = factsOf(7, [copyAt('a:1'), copyAt('b:1')])
    await log.sync([facts], NO_SIGNAL)
    await bench.clock.advance(EVERY_MS)
    await note(log, 7, 'disk-a:1')
    expect(log.dueOf(factsOf(7, [copyAt('a:1'), awayAt('b:1')]))).toBeUndefined()
  })
})

describe('damage', () => {
  test('makes the other volumes of its disk due at once, before all else', async () => {
    const bench = new Bench()
    const log = await bench.open()
    const here = [1, 2, 3].map((id) => factsOf(id, [copyAt('a:1'), copyAt(`b${id}:1`)]))
    const elsewhere = factsOf(4, [copyAt('c:1'), copyAt('d:1')])
    const all = [...here, elsewhere]
    await log.sync(all, NO_SIGNAL)
    for (const { volumeId: id, members } of all) {
      for (const { directoryId } of members) await note(log, id, directoryId)
    }
    await bench.clock.advance(1000)
    await note(log, 2, 'disk-a:1', 5)
    expect(due(log, all)).toEqual([1, 3])
    const [first] = here
    expect(first && log.dueOf(first)).toMatchObject({ risk: RISK.damagedDisk })
    // A master that was started anew still knows.
    const again = await bench.open()
    expect(due(again, all)).toEqual([1, 3])
    await bench.clock.advance(1000)
    await note(again, 1, 'disk-a:1')
    await note(again, 3, 'disk-a:1')
    expect(due(again, all)).toEqual([])
  })

  test('of a volume that came to the disk later says nothing', async () => {
    const bench = new Bench()
    const log = await bench.open()
    await note(log, 1, 'disk-a:1', 1)
    await bench.clock.advance(1000)
    const fresh = factsOf(2, [copyAt('a:1')])
    await log.sync([factsOf(1, [copyAt('a:1')]), fresh], NO_SIGNAL)
    expect(log.dueOf(fresh)?.risk).not.toBe(RISK.damagedDisk)
  })
})

describe('figures', () => {
  test('say the age of the oldest check, or of what was never checked', async () => {
    const bench = new Bench()
    const log = await bench.open()
    const all = [factsOf(1, [copyAt('a:1')]), factsOf(2, [copyAt('a:1')])]
    expect(log.figures(all)).toEqual({ ageMaxMs: 0, ageP95Ms: 0, unscrubbedBytes: 2400 })
    await log.sync(all, NO_SIGNAL)
    await bench.clock.advance(5000)
    await note(log, 1, 'disk-a:1')
    await bench.clock.advance(1000)
    expect(log.figures(all)).toEqual({ ageMaxMs: 6000, ageP95Ms: 6000, unscrubbedBytes: 1200 })
    await note(log, 2, 'disk-a:1')
    expect(log.figures(all)).toEqual({ ageMaxMs: 1000, ageP95Ms: 1000, unscrubbedBytes: 0 })
  })

  test('forget copies and volumes that are gone, also what is kept of them', async () => {
    const bench = new Bench()
    const log = await bench.open()
    const both = factsOf(1, [copyAt('a:1'), copyAt('b:1')])
    await log.sync([both, factsOf(2, [copyAt('a:1')])], NO_SIGNAL)
    await log.sync([factsOf(1, [copyAt('b:1')])], NO_SIGNAL)
    const keys: string[] = []
    for await (const { key } of bench.store.scan({}, NO_SIGNAL)) keys.push(key)
    expect(keys).toEqual(['master/scrubs/0000000001/disk-b:1'])
  })
})

describe('shards', () => {
  const twoDirectories = codedFactsOf(7, '2+1', ['a:1', 'a:1', 'b:1'])

  test('of one directory are checked as one, and count with their bytes', async () => {
    const bench = new Bench()
    const log = await bench.open()
    await log.sync([twoDirectories], NO_SIGNAL)
    expect(log.figures([twoDirectories])).toMatchObject({ unscrubbedBytes: 3000 })
    await bench.clock.advance(EVERY_MS)
    expect(log.dueOf(twoDirectories)).toMatchObject({ kind: 'scrub', target: { volumeId: 7 } })
    await note(log, 7, 'disk-a:1')
    expect(log.dueOf(twoDirectories)).toBeDefined()
    expect(log.figures([twoDirectories])).toMatchObject({
      unscrubbedBytes: 1000,
      ageMaxMs: EVERY_MS,
    })
    await note(log, 7, 'disk-b:1')
    expect(log.dueOf(twoDirectories)).toBeUndefined()
    const again = await bench.open()
    expect(again.figures([twoDirectories])).toMatchObject({ unscrubbedBytes: 0, ageMaxMs: 0 })
  })

  test('that are away or missing are not waited for; a volume that is coded is no new one', async () => {
    const bench = new Bench()
    const log = await bench.open()
    await log.sync([factsOf(7, [copyAt('a:1'), copyAt('b:1')])], NO_SIGNAL)
    await note(log, 7, 'disk-a:1')
    const away = codedFactsOf(7, '2+1', [
      'a:1',
      ['b:1', { isUp: false }],
      ['c:1', { report: 'none' }],
    ])
    await log.sync([away], NO_SIGNAL)
    expect(log.dueOf(away)).toBeUndefined()
    expect(log.figures([away])).toMatchObject({ unscrubbedBytes: 1000 })
  })
})
