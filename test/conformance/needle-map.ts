import { describe, expect, test } from 'vitest'
import { compareNeedleIds, type NeedleId, needleIdToBigInt } from '../../src/base/ids.ts'
import { type NeedleVersion, recordBytes } from '../../src/format/needle.ts'
import type { NeedleLocation, NeedleMap } from '../../src/storage/needle-map.ts'
import {
  BOUNDARY_IDS,
  collidingIds,
  entriesOf,
  hashOf,
  ID_SHAPES,
  type NeedleEntry,
} from '../support/needle-ids.ts'
import { Prng } from '../support/prng.ts'

/** A map that holds the entries, put and deleted in this order. */
export type FillMap = (
  entries: readonly NeedleEntry[],
  version: NeedleVersion,
) => NeedleMap | Promise<NeedleMap>

const SHAPES = Object.entries(ID_SHAPES)
const COUNT = 3000
const SIZE_MAX = 2 ** 31

/** What every `NeedleMap` must do with the entries it was made of. */
export function testNeedleMap(name: string, fill: FillMap): void {
  describe(`${name} as a NeedleMap`, () => {
    testLookups(fill)
    testDeletes(fill)
    testVisits(fill)
  })
}

function testLookups(fill: FillMap): void {
  test('an empty map finds nothing and counts nothing', async () => {
    const map = await fill([], 3)
    for (const id of BOUNDARY_IDS) expect(find(map, id)).toBeUndefined()
    expect(countsOf(map)).toEqual({ entryCount: 0, liveCount: 0, liveBytes: 0 })
    expect(visited(map)).toEqual([])
    expect(map.visitSome(0, 10, () => expect.unreachable())).toBeUndefined()
  })

  test.each([1, 2, 3] as const)('one entry at each boundary id (version %d)', async (version) => {
    for (const id of BOUNDARY_IDS) {
      const entry = { id, offsetBytes: 8, sizeBytes: 7, isDeleted: false }
      const map = await fill([entry], version)
      expectEntries(map, [entry], version)
      for (const other of BOUNDARY_IDS) {
        if (other !== id) expect(find(map, other)).toBeUndefined()
      }
    }
  })

  test('all boundary ids together', async () => {
    const entries = entriesOf(BOUNDARY_IDS, 6, SIZE_MAX)
    expectEntries(await fill(entries, 3), entries, 3)
  })

  test.each(SHAPES)('finds each of %s ids and no others', async (_, idsOf) => {
    const entries = entriesOf(idsOf(COUNT), 7, SIZE_MAX)
    const map = await fill(entries, 3)
    expectEntries(map, entries, 3)
    const known = new Set(entries.map(({ id }) => needleIdToBigInt(id)))
    const neighbours = entries.flatMap(({ id }) => [
      { hi: id.hi, lo: (id.lo + 1) >>> 0 },
      { hi: (id.hi + 1) >>> 0, lo: id.lo },
      { hi: id.hi, lo: (id.lo ^ 0x8000_0000) >>> 0 },
    ])
    for (const id of neighbours) {
      if (!known.has(needleIdToBigInt(id))) expect(find(map, id)).toBeUndefined()
    }
  })

  test('finds ids that share one hash', async () => {
    const ids = collidingIds(COUNT)
    expect(new Set(ids.map(hashOf)).size).toBe(1)
    expect(new Set(ids.map(needleIdToBigInt)).size).toBe(COUNT)
    const entries = entriesOf(ids, 8, SIZE_MAX)
    const map = await fill(entries, 3)
    expectEntries(map, entries, 3)
  })

  test('keeps the largest offset, size 0 and the largest size', async () => {
    const id = (lo: number): NeedleId => ({ hi: lo, lo })
    const entries = [
      { id: id(1), offsetBytes: 8, sizeBytes: 0, isDeleted: false },
      { id: id(2), offsetBytes: 2 ** 35 - 8, sizeBytes: 2 ** 31 - 1, isDeleted: false },
      { id: id(3), offsetBytes: 2 ** 34, sizeBytes: 2 ** 31 - 1, isDeleted: true },
      { id: id(4), offsetBytes: 2 ** 31, sizeBytes: 0, isDeleted: true },
    ]
    expectEntries(await fill(entries, 3), entries, 3)
  })

  test.each([2 ** 8, 2 ** 20, 2 ** 30])(
    'sizes of up to %d bytes come back exactly',
    async (max) => {
      for (const [, idsOf] of SHAPES) {
        const entries = entriesOf(idsOf(500), 9, max)
        expectEntries(await fill(entries, 3), entries, 3)
      }
    },
  )

  test('a lookup that finds nothing leaves the location as it was', async () => {
    const map = await fill([], 3)
    const location = { offsetBytes: 16, sizeBytes: 5, isDeleted: true }
    expect(map.lookup({ hi: 0, lo: 1 }, location)).toBe(false)
    expect(location).toEqual({ offsetBytes: 16, sizeBytes: 5, isDeleted: true })
  })
}

function testDeletes(fill: FillMap): void {
  test.each(SHAPES)('deletes of %s ids keep offset and size, and count', async (_, idsOf) => {
    const ids = idsOf(COUNT)
    const expected = new Map<bigint, NeedleEntry>()
    for (const entry of entriesOf(ids, 10, SIZE_MAX)) {
      expected.set(needleIdToBigInt(entry.id), entry)
    }
    const map = await fill([...expected.values()], 3)
    const prng = new Prng(11)
    for (let i = 0; i < 300; i++) {
      const id = prng.pick(ids)
      const entry = expected.get(needleIdToBigInt(id)) as NeedleEntry
      expect(map.delete(id, 64)).toBe(!entry.isDeleted)
      expected.set(needleIdToBigInt(id), { ...entry, isDeleted: true })
      expectCounts(map, [...expected.values()], 3)
    }
    expectEntries(map, [...expected.values()], 3)
  })

  test('an id never seen is remembered by its tombstone', async () => {
    const known = entriesOf(ID_SHAPES.dense(100), 12, 1000)
    const map = await fill(known, 3)
    const strangers = BOUNDARY_IDS.filter(({ hi, lo }) => hi > 0 || lo > 100).map((id, index) => ({
      id,
      offsetBytes: 8 + 8 * index,
      sizeBytes: 0,
      isDeleted: true,
    }))
    for (const { id, offsetBytes } of strangers) {
      expect(map.delete(id, offsetBytes)).toBe(false)
      expect(map.delete(id, 8000)).toBe(false)
    }
    expectEntries(map, [...known, ...strangers], 3)
  })

  test('an id never seen and without a tombstone is not remembered', async () => {
    const map = await fill([], 3)
    expect(map.delete({ hi: 1, lo: 2 }, 0)).toBe(false)
    expect(find(map, { hi: 1, lo: 2 })).toBeUndefined()
    expect(map.entryCount).toBe(0)
  })

  test('a tombstone offset that is no multiple of 8 is a bug of the caller', async () => {
    const map = await fill([], 3)
    expect(() => map.delete({ hi: 0, lo: 1 }, 12)).toThrow(/multiple of 8/)
    expect(() => map.delete({ hi: 0, lo: 1 }, 2 ** 35)).toThrow(/32 GiB/)
  })
}

function testVisits(fill: FillMap): void {
  test.each(SHAPES)('a walk in steps shows each of %s ids exactly once', async (_, idsOf) => {
    const entries = entriesOf(idsOf(COUNT), 13, SIZE_MAX)
    const map = await fill(entries, 3)
    for (const limit of [1, 7, 1000, 1_000_000]) {
      expect(sorted(walk(map, limit))).toEqual(sorted(entries))
    }
  })

  test('a walk in steps stops soon after its limit', async () => {
    const map = await fill(entriesOf(ID_SHAPES.random(COUNT), 14, 1000), 3)
    let shown = 0
    expect(map.visitSome(0, 100, () => shown++)).toBeGreaterThan(0)
    expect(shown).toBeGreaterThanOrEqual(100)
    expect(shown).toBeLessThan(300)
  })

  test('a walk in steps shows each entry once though entries are deleted meanwhile', async () => {
    const entries = entriesOf(ID_SHAPES.snowflake(COUNT), 15, 1000)
    const map = await fill(entries, 3)
    const shown: bigint[] = []
    const prng = new Prng(16)
    for (let cursor: number | undefined = 0; cursor !== undefined; ) {
      cursor = map.visitSome(cursor, 50, (hi, lo) => shown.push(needleIdToBigInt({ hi, lo })))
      for (let i = 0; i < 100; i++) map.delete(prng.pick(entries).id, 8)
    }
    const known = entries.map(({ id }) => needleIdToBigInt(id))
    expect(shown.sort(compareBigInts)).toEqual(known.sort(compareBigInts))
  })
}

/** What the map must hold: these entries, findable, visitable and counted. Nothing else. */
export function expectEntries(
  map: NeedleMap,
  entries: readonly NeedleEntry[],
  version: NeedleVersion,
): void {
  const wrong = entries.filter((entry) => !isSame(find(map, entry.id), entry))
  expect(wrong).toEqual([])
  expect(sorted(visited(map))).toEqual(sorted(entries))
  const ids = entries.map(({ id }) => id).sort(compareNeedleIds)
  expect(map.highestId).toEqual(ids.at(-1) ?? { hi: 0, lo: 0 })
  expectCounts(map, entries, version)
}

export function expectCounts(
  map: NeedleMap,
  entries: readonly NeedleEntry[],
  version: NeedleVersion,
): void {
  const live = entries.filter(({ isDeleted }) => !isDeleted)
  expect(countsOf(map)).toEqual({
    entryCount: entries.length,
    liveCount: live.length,
    liveBytes: live.reduce((bytes, { sizeBytes }) => bytes + recordBytes(sizeBytes, version), 0),
  })
}

export function find(map: Pick<NeedleMap, 'lookup'>, id: NeedleId): NeedleLocation | undefined {
  const location = { offsetBytes: -1, sizeBytes: -1, isDeleted: false }
  return map.lookup(id, location) ? location : undefined
}

function countsOf(map: NeedleMap): { entryCount: number; liveCount: number; liveBytes: number } {
  return { entryCount: map.entryCount, liveCount: map.liveCount, liveBytes: map.liveBytes }
}

function visited(map: NeedleMap): NeedleEntry[] {
  const entries: NeedleEntry[] = []
  map.visit((hi, lo, offsetBytes, sizeBytes, isDeleted) => {
    entries.push({ id: { hi, lo }, offsetBytes, sizeBytes, isDeleted })
  })
  return entries
}

export function walk(map: NeedleMap, limit: number): NeedleEntry[] {
  const entries: NeedleEntry[] = []
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = map.visitSome(cursor, limit, (hi, lo, offsetBytes, sizeBytes, isDeleted) => {
      entries.push({ id: { hi, lo }, offsetBytes, sizeBytes, isDeleted })
    })
  }
  return entries
}

/** One line an entry, in the order of ids: cheap to compare, and readable when it differs. */
export function sorted(entries: readonly NeedleEntry[]): string[] {
  return entries
    .map(({ id, ...rest }) => ({ key: needleIdToBigInt(id), ...rest }))
    .sort((a, b) => compareBigInts(a.key, b.key))
    .map(({ key, offsetBytes, sizeBytes, isDeleted }) => {
      return `${key} ${offsetBytes} ${sizeBytes} ${isDeleted}`
    })
}

function isSame(location: NeedleLocation | undefined, entry: NeedleEntry): boolean {
  return (
    location?.offsetBytes === entry.offsetBytes &&
    location.sizeBytes === entry.sizeBytes &&
    location.isDeleted === entry.isDeleted
  )
}

function compareBigInts(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0
}
