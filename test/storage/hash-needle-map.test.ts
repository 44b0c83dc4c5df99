import { describe, expect, test } from 'vitest'
import { type NeedleId, needleIdToBigInt } from '../../src/base/ids.ts'
import { type NeedleVersion, recordBytes } from '../../src/format/needle.ts'
import { HashNeedleMap } from '../../src/storage/hash-needle-map.ts'
import { HashNeedleMapView } from '../../src/storage/hash-needle-map-view.ts'
import type { NeedleMap } from '../../src/storage/needle-map.ts'
import { firstHashAt, homeSlot } from '../../src/storage/slot-table.ts'
import { expectEntries, find, sorted, testNeedleMap, walk } from '../conformance/needle-map.ts'
import {
  collidingIds,
  entriesOf,
  hashOf,
  ID_SHAPES,
  idWithHash,
  type NeedleEntry,
} from '../support/needle-ids.ts'
import { Prng, seeds } from '../support/prng.ts'

testNeedleMap('HashNeedleMap', (entries, version) => fill(new HashNeedleMap({ version }), entries))
testNeedleMap('HashNeedleMap of the expected size', (entries, version) =>
  fill(new HashNeedleMap({ version, expectedCount: entries.length }), entries),
)

describe('HashNeedleMap', () => {
  // Goal: any sequence of puts and deletes leaves what a plain Map would hold, counters included.
  // Method: random operations on ids that often repeat. Replay: SEED=17 npm test.
  test.each(seeds(20))('holds what a plain Map holds (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const version = prng.pick([1, 2, 3] as const)
    const [, idsOf] = prng.pick(Object.entries(ID_SHAPES))
    const ids = prng.chance(0.2) ? collidingIds(500) : idsOf(prng.between(1, 2000))
    const expectedCount = prng.chance(0.5) ? 0 : prng.below(4000)
    const map = new HashNeedleMap({ version, expectedCount })
    const model = new Model(version)
    for (let i = 0; i < 5000; i++) {
      const id = prng.pick(ids)
      const offsetBytes = (1 + prng.below(2 ** 32 - 1)) * 8
      if (prng.chance(0.6)) {
        const sizeBytes = prng.below(2 ** 31)
        map.put(id, offsetBytes, sizeBytes)
        model.put({ id, offsetBytes, sizeBytes, isDeleted: false })
      } else {
        const tombstone = prng.chance(0.2) ? 0 : offsetBytes
        expect(map.delete(id, tombstone)).toBe(model.delete(id, tombstone))
      }
      model.expectCounts(map)
      expect(find(map, id)).toEqual(model.find(id))
    }
    expectEntries(map, model.entries(), version)
  })

  test.each(Object.entries(ID_SHAPES))('grows from 0 to 300 000 %s ids', (_, idsOf) => {
    const map = new HashNeedleMap({ version: 3 })
    const ids = idsOf(300_000)
    ids.forEach((id, index) => {
      map.put(id, (index + 1) * 8, index)
      if (index % 9973 === 0) {
        // Earlier ids stay where they can be found, in whichever table they are by now.
        for (let back = 0; back <= index; back += 1 + (index >> 6)) {
          const { offsetBytes } = find(map, ids[back] as NeedleId) ?? { offsetBytes: -1 }
          if (offsetBytes !== (back + 1) * 8) expect.unreachable(`entry ${back} of ${index}`)
        }
      }
    })
    expect(map.entryCount).toBe(ids.length)
    let lost = 0
    ids.forEach((id, index) => {
      if (find(map, id)?.offsetBytes !== (index + 1) * 8) lost++
    })
    expect(lost).toBe(0)
  })

  test('3000 ids with one hash, and 100 000 others, all stay findable as the map grows', () => {
    const map = new HashNeedleMap({ version: 3 })
    const ids = [...collidingIds(3000), ...ID_SHAPES.random(100_000)]
    const entries = entriesOf(ids, 3, 1000)
    fill(map, entries)
    expectEntries(map, entries, 3)
  })

  test('hashes at which homes begin and end are found in the right table while it grows', () => {
    const map = new HashNeedleMap({ version: 3 })
    const ids = [65_536, 131_072].flatMap((slots) =>
      Array.from({ length: slots / 4 }, (_, group) => firstHashAt(slots, group * 4)).flatMap(
        (hash) => [hash, Math.max(hash - 1, 0)].map(idWithHash),
      ),
    )
    ids.forEach((id, index) => {
      map.put(id, 8, 1)
      if (index % 16 !== 0) return
      for (let back = index; back >= 0; back -= 1 + (index >> 4)) {
        if (find(map, ids[back] as NeedleId) === undefined) expect.unreachable(`entry ${back}`)
      }
    })
    expect(ids.filter((id) => find(map, id) === undefined)).toEqual([])
    expect(map.entryCount).toBe(new Set(ids.map(needleIdToBigInt)).size)
  })

  test('a cluster that runs past the end of the table goes on behind it', () => {
    for (const expectedCount of [0, 49_807]) {
      const map = new HashNeedleMap({ version: 3, expectedCount })
      const entries = entriesOf([...lastIds(100), ...ID_SHAPES.random(150_000)], 5, 1000)
      expectEntries(fill(map, entries.slice(0, 100)), entries.slice(0, 100), 3)
      expectEntries(fill(map, entries.slice(100)), entries, 3)
    }
  })

  test('takes at most 24 bytes an entry from 100 000 up, on the way and when pre-sized', () => {
    const map = new HashNeedleMap({ version: 3 })
    for (let i = 1; i <= 1_200_000; i++) {
      map.put({ hi: 0, lo: i * 7 }, 8, 100)
      // Three pieces of 1 MiB are in use in part only: they matter less the larger the map.
      if (i >= 100_000) {
        expectAtMost(map.memoryBytes - 3 * 2 ** 20, i * 22)
      }
    }
    const sized = new HashNeedleMap({ version: 3, expectedCount: 1_000_000 })
    expectAtMost(sized.memoryBytes, 22_500_000)
    expectAtMost(new HashNeedleMap({ version: 3 }).memoryBytes, 1024)
  })

  test('a walk in steps shows each entry once though the map grows meanwhile', () => {
    const ids = ID_SHAPES.random(60_000)
    const early = entriesOf(ids.slice(0, 20_000), 4, 1000)
    const map = fill(new HashNeedleMap({ version: 3 }), early)
    const late = ids.slice(20_000)
    const shown = new Map<bigint, number>()
    for (let cursor: number | undefined = 0; cursor !== undefined; ) {
      cursor = map.visitSome(cursor, 100, (hi, lo) => {
        const key = needleIdToBigInt({ hi, lo })
        shown.set(key, (shown.get(key) ?? 0) + 1)
      })
      for (const id of late.splice(0, 200)) map.put(id, 8, 1)
    }
    expect(late).toEqual([])
    expect(early.filter(({ id }) => shown.get(needleIdToBigInt(id)) !== 1)).toEqual([])
    expect([...shown.values()].every((times) => times === 1)).toBe(true)
  })

  test.each([
    [0, 1, /multiple of 8/],
    [12, 1, /multiple of 8/],
    [2 ** 35, 1, /32 GiB/],
    [8, -1, /size/],
    [8, 2 ** 31, /size/],
    [8, 1.5, /size/],
  ])('put asserts offset %d and size %d', (offsetBytes, sizeBytes, message) => {
    const map = new HashNeedleMap({ version: 3 })
    expect(() => map.put({ hi: 0, lo: 1 }, offsetBytes, sizeBytes)).toThrow(message)
    expect(map.entryCount).toBe(0)
  })

  test.each([16, 64, 65_536, 65_792, 12_500_224])(
    'hashes have homes in order in %d slots',
    (slots) => {
      expect(homeSlot(slots, 0)).toBe(0)
      expect(homeSlot(slots, 2 ** 32 - 1)).toBe(slots - 4)
      const prng = new Prng(slots)
      for (let i = 0; i < 1000; i++) {
        const slot = prng.below(slots / 4) * 4
        const hash = firstHashAt(slots, slot)
        expect(homeSlot(slots, hash)).toBe(slot)
        if (hash > 0) expect(homeSlot(slots, hash - 1)).toBe(slot - 4)
      }
    },
  )
})

describe('HashNeedleMap.loadRows', () => {
  const ids = [
    ...collidingIds(20),
    ...lastIds(100),
    ...ID_SHAPES['boundaries and random'](20_000),
    ...ID_SHAPES.dense(20_000),
  ]

  // Expecting more than there are takes the fast way, expecting none grows row by row.
  test.each([
    [4, 1, 0],
    [4, 255, 1000],
    [4, 100_000, 0],
    [4, 100_000, 49_807],
    [4, 100_000, 400_000],
    [5, 1, 0],
    [5, 10_000, 0],
    [5, 100_000, 400_000],
  ] as const)(
    'rows with %d-byte offsets, %d of them, equal puts and deletes (%d expected)',
    (offsetBytes, count, expectedCount) => {
      const prng = new Prng(count + offsetBytes)
      const rows = Array.from({ length: count }, () => ({
        id: prng.pick(ids),
        units: prng.chance(0.1) ? 0 : prng.u32(),
        size: prng.chance(0.7) ? prng.below(2 ** 31) : prng.pick([-1, -2, -(2 ** 31)]),
      }))
      const one = new HashNeedleMap({ version: 3 })
      for (const { id, units, size } of rows) {
        if (units !== 0 && size >= 0) one.put(id, units * 8, size)
        else one.delete(id, units * 8)
      }
      const loaded = new HashNeedleMap({ version: 3, expectedCount })
      const bytes = encodeRows(rows, offsetBytes)
      // In two chunks, out of a buffer that is longer than its rows and starts at an odd byte.
      const cut = (count >> 2) * (bytes.length / count)
      loaded.loadRows(bytes, cut, offsetBytes)
      const shifted = Buffer.concat([Buffer.alloc(1), bytes.subarray(cut), Buffer.alloc(50)])
      loaded.loadRows(shifted.subarray(1), bytes.length - cut, offsetBytes)
      expect(sorted(walk(loaded, 1000))).toEqual(sorted(walk(one, 1000)))
      expect(countersOf(loaded)).toEqual(countersOf(one))
      expectAtMost(loaded.entryCount, (loaded.memoryBytes / 16) * 0.9)
      expect(rows.filter(({ id }) => !isSameIn(loaded, one, id))).toEqual([])
    },
  )

  test.each([3, 300])(
    'a 5-byte offset of 32 GiB in row %d is refused, the rows before stay',
    (bad) => {
      const rows = Array.from({ length: bad + 10 }, (_, i) => ({
        id: { hi: 1, lo: i },
        units: i === bad ? 2 ** 32 : i + 1,
        size: 10,
      }))
      const map = new HashNeedleMap({ version: 3 })
      const bytes = encodeRows(rows, 5)
      expect(() => map.loadRows(bytes, bytes.length, 5)).toThrow(
        expect.objectContaining({
          code: 'INDEX_CORRUPT',
          message: expect.stringContaining(`offset beyond 32 GiB in the row at byte ${bad * 17}`),
        }),
      )
      expect(map.entryCount).toBe(bad)
    },
  )

  test('no rows change nothing, a part of a row is a bug of the caller', () => {
    const map = new HashNeedleMap({ version: 3 })
    map.loadRows(Buffer.alloc(0), 0, 4)
    expect(map.entryCount).toBe(0)
    expect(() => map.loadRows(Buffer.alloc(40), 20, 4)).toThrow(/part of a row/)
    expect(() => map.loadRows(Buffer.alloc(16), 32, 4)).toThrow(/overrun/)
  })
})

describe('HashNeedleMapView', () => {
  test('sees puts, overwrites and deletes at once, and says when it is stale', () => {
    const map = new HashNeedleMap({ version: 3 })
    let view = new HashNeedleMapView(map.sharedState())
    let renewals = 0
    const ids = ID_SHAPES.random(200_000)
    ids.forEach((id, index) => {
      map.put(id, (index + 1) * 8, index)
      if (view.isStale) {
        expect(view.lookup(id, { offsetBytes: 0, sizeBytes: 0, isDeleted: false })).toBeUndefined()
        view = new HashNeedleMapView(map.sharedState())
        renewals++
      }
      const seen = ids[index >> 1] as NeedleId
      if (find({ lookup: (...args) => view.lookup(...args) === true }, seen) === undefined) {
        expect.unreachable(`entry ${index >> 1} of ${index}`)
      }
    })
    expect(renewals).toBeGreaterThan(5)
    expect(renewals).toBeLessThan(100)
    const [first] = ids as [NeedleId]
    map.put(first, 800, 5)
    map.delete(first, 8)
    const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
    expect(view.lookup(first, location)).toBe(true)
    expect(location).toEqual({ offsetBytes: 800, sizeBytes: 5, isDeleted: true })
    expect(view.lookup({ hi: 1, lo: 1 }, location)).toBe(false)
  })
})

/** What a map must hold after puts and deletes, kept the slow and obvious way. */
class Model {
  readonly #version: NeedleVersion
  readonly #entries = new Map<bigint, NeedleEntry>()
  #liveCount = 0
  #liveBytes = 0

  constructor(version: NeedleVersion) {
    this.#version = version
  }

  put(entry: NeedleEntry): void {
    this.#set(entry)
  }

  delete(id: NeedleId, tombstone: number): boolean {
    const known = this.#entries.get(needleIdToBigInt(id))
    if (known === undefined) {
      if (tombstone !== 0) this.#set({ id, offsetBytes: tombstone, sizeBytes: 0, isDeleted: true })
      return false
    }
    this.#set({ ...known, isDeleted: true })
    return !known.isDeleted
  }

  find(id: NeedleId): Omit<NeedleEntry, 'id'> | undefined {
    const known = this.#entries.get(needleIdToBigInt(id))
    if (known === undefined) return undefined
    const { offsetBytes, sizeBytes, isDeleted } = known
    return { offsetBytes, sizeBytes, isDeleted }
  }

  entries(): NeedleEntry[] {
    return [...this.#entries.values()]
  }

  expectCounts(map: NeedleMap): void {
    expect(countersOf(map)).toEqual([this.#entries.size, this.#liveCount, this.#liveBytes])
  }

  #set(entry: NeedleEntry): void {
    const key = needleIdToBigInt(entry.id)
    this.#count(this.#entries.get(key), -1)
    this.#count(entry, 1)
    this.#entries.set(key, entry)
  }

  #count(entry: NeedleEntry | undefined, sign: 1 | -1): void {
    if (entry === undefined || entry.isDeleted) return
    this.#liveCount += sign
    this.#liveBytes += sign * recordBytes(entry.sizeBytes, this.#version)
  }
}

function fill(map: HashNeedleMap, entries: readonly NeedleEntry[]): HashNeedleMap {
  for (const { id, offsetBytes, sizeBytes } of entries) map.put(id, offsetBytes, sizeBytes)
  for (const { id, isDeleted } of entries) if (isDeleted) map.delete(id, 8)
  return map
}

/** Ids whose home is in the last 16 of 65 536 slots, a full table of one piece. */
function lastIds(count: number): NeedleId[] {
  const prng = new Prng(6)
  const ids: NeedleId[] = []
  while (ids.length < count) {
    const id = { hi: prng.u32(), lo: prng.u32() }
    if (homeSlot(65_536, hashOf(id)) >= 65_520) ids.push(id)
  }
  return ids
}

function isSameIn(one: NeedleMap, other: NeedleMap, id: NeedleId): boolean {
  const a = find(one, id)
  const b = find(other, id)
  return (
    a?.offsetBytes === b?.offsetBytes &&
    a?.sizeBytes === b?.sizeBytes &&
    a?.isDeleted === b?.isDeleted
  )
}

function countersOf(map: NeedleMap): number[] {
  return [map.entryCount, map.liveCount, map.liveBytes]
}

function expectAtMost(value: number, most: number): void {
  if (value > most) expect(value).toBeLessThanOrEqual(most)
}

function encodeRows(
  rows: readonly { id: NeedleId; units: number; size: number }[],
  offsetBytes: 4 | 5,
): Buffer {
  const rowBytes = 12 + offsetBytes
  const target = Buffer.alloc(rows.length * rowBytes)
  rows.forEach(({ id, units, size }, index) => {
    const at = index * rowBytes
    target.writeUInt32BE(id.hi, at)
    target.writeUInt32BE(id.lo, at + 4)
    target.writeUInt32BE(units % 2 ** 32, at + 8)
    if (offsetBytes === 5) target.writeUInt8(Math.floor(units / 2 ** 32), at + 12)
    target.writeInt32BE(size, at + rowBytes - 4)
  })
  return target
}
