import { describe, expect, test } from 'vitest'
import { needleIdFromNumber } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type { DirtyKind } from '../../src/net/master-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Tally } from '../../src/runtime/metrics.ts'
import { DirtyRecords } from '../../src/volume/dirty-records.ts'
import { SimClock } from '../support/sim-clock.ts'
import { vid } from '../support/test-store.ts'
import { FakeMaster } from './fake-master.ts'

function openRecords() {
  const clock = new SimClock()
  const master = new FakeMaster()
  const counts = { put: new Tally(), delete: new Tally(), check: new Tally() }
  const ownUrl = () => 'node:1'
  const records = new DirtyRecords({ master, clock, logger: silentLogger, ownUrl, counts })
  const close = () => records[Symbol.asyncDispose]()
  return { clock, master, counts, records, [Symbol.asyncDispose]: close }
}

const note = (needle: number, kind: DirtyKind = 'put') => ({
  volumeId: vid(3),
  needleId: needleIdFromNumber(needle),
  kind,
  unreached: [],
})

const codeOf = async (running: Promise<void>): Promise<string> => {
  try {
    await running
    return 'done'
  } catch (error) {
    return error instanceof StoreError ? error.code : String(error)
  }
}

describe('DirtyRecords', () => {
  test('tells in one message what came in one turn, and in the next what came meanwhile', async () => {
    await using test = await openRecords()
    const { records, master, counts } = test
    let answer: () => void = () => undefined
    master.beforeRecord = () =>
      new Promise<void>((resolve) => {
        answer = resolve
      })
    const first = [1, 2, 3].map((needle) => records.record(note(needle)))
    await test.clock.advance(0)
    const second = [4, 5].map((needle) => records.record(note(needle, 'delete')))
    await test.clock.advance(0)
    expect(master.recorded).toEqual([])
    answer()
    await Promise.all(first)
    await test.clock.advance(0)
    answer()
    await Promise.all(second)
    expect(master.recorded.map(({ length }) => length)).toEqual([3, 2])
    expect(master.dirty[0]).toEqual({ ...note(1), reportedBy: 'node:1' })
    expect([counts.put.value, counts.delete.value, counts.check.value]).toEqual([3, 2, 0])
  })

  test('splits what is too much for one message', async () => {
    await using test = await openRecords()
    const { records, master } = test
    const all = Array.from({ length: 10_000 }, (_, index) => records.record(note(index)))
    expect(await codeOf(records.record(note(10_000)))).toBe('OVERLOADED')
    await Promise.all(all)
    expect(master.recorded.map(({ length }) => length)).toEqual([10_000])
  })

  test('tells later what could not be told at once', async () => {
    await using test = await openRecords()
    const { records, master, clock } = test
    master.failure = new StoreError('NOT_LEADER', 'another one is')
    expect(await codeOf(records.record(note(1)))).toBe('NOT_LEADER')
    expect(records.laterCount).toBe(1)
    await clock.advance(20_000)
    expect(records.laterCount).toBe(1)
    master.failure = undefined
    await clock.advance(31_000)
    expect(master.dirty).toEqual([{ ...note(1), reportedBy: 'node:1' }])
    expect(records.laterCount).toBe(0)
  })

  test('gives up a master that does not answer after three seconds', async () => {
    await using test = await openRecords()
    const { records, master, clock } = test
    master.beforeRecord = () => new Promise(() => undefined)
    const code = codeOf(records.record(note(1)))
    await clock.advance(3000)
    expect(await code).toBe('TIMEOUT')
  })

  test('keeps no more for later than there is room for', async () => {
    await using test = await openRecords()
    const { records, master, clock } = test
    master.failure = new StoreError('UNAVAILABLE', 'away')
    for (let needle = 0; needle < 10_100; needle++) records.recordLater(note(needle, 'check'))
    expect(records.laterCount).toBe(10_000)
    master.failure = undefined
    await clock.advance(40_000)
    expect(master.dirty).toHaveLength(10_000)
  })

  test('tells soon what nobody waits for, and not again within a minute', async () => {
    await using test = await openRecords()
    const { records, master, clock } = test
    for (let time = 0; time < 5; time++) records.recordLater(note(1, 'check'))
    await clock.advance(1000)
    expect(master.dirty).toHaveLength(1)
    records.recordLater(note(1, 'check'))
    records.recordLater(note(2, 'check'))
    await clock.advance(10_000)
    expect(master.dirty).toHaveLength(2)
    await clock.advance(50_000)
    records.recordLater(note(1, 'check'))
    await clock.advance(1000)
    expect(master.dirty).toHaveLength(3)
  })

  test('fails what waits when the server closes', async () => {
    const test = openRecords()
    test.master.beforeRecord = () => new Promise(() => undefined)
    const code = codeOf(test.records.record(note(1)))
    await test.clock.advance(0)
    const late = codeOf(test.records.record(note(2)))
    await test[Symbol.asyncDispose]()
    expect(await Promise.all([code, late])).toEqual(['CANCELLED', 'CANCELLED'])
    expect(await codeOf(test.records.record(note(3)))).toBe('CANCELLED')
  })
})
