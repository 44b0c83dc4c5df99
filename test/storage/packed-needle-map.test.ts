import { describe, expect, test } from 'vitest'
import type { NeedleId } from '../../src/base/ids.ts'
import { HashNeedleMap } from '../../src/storage/hash-needle-map.ts'
import type { NeedleEntries } from '../../src/storage/needle-map.ts'
import { PackedNeedleMap } from '../../src/storage/packed-needle-map.ts'
import { expectEntries, find, sorted, testNeedleMap, walk } from '../conformance/needle-map.ts'
import { BOUNDARY_IDS, entriesOf, ID_SHAPES, type NeedleEntry } from '../support/needle-ids.ts'
import { Prng } from '../support/prng.ts'

testNeedleMap('PackedNeedleMap', (entries, version) =>
  PackedNeedleMap.build(hashMap(entries, version), { version, yieldTurn }),
)
testNeedleMap('PackedNeedleMap of a PackedNeedleMap', async (entries, version) => {
  const first = await PackedNeedleMap.build(hashMap(entries, version), { version, yieldTurn })
  return await PackedNeedleMap.build(first, { version, yieldTurn })
})

describe('PackedNeedleMap', () => {
  test.each(Object.entries(ID_SHAPES))(
    'holds what the hash map held: 40 000 %s ids',
    async (_, of) => {
      const entries = entriesOf(of(40_000), 21, 2 ** 22)
      const source = hashMap(entries, 3)
      const map = await PackedNeedleMap.build(source, { version: 3, yieldTurn })
      expect(sorted(walk(map, 10_000))).toEqual(sorted(walk(source, 10_000)))
      expect([map.entryCount, map.liveCount, map.liveBytes]).toEqual([
        source.entryCount,
        source.liveCount,
        source.liveBytes,
      ])
      expect(entries.filter(({ id }) => find(map, id) === undefined)).toEqual([])
    },
  )

  test('takes at most 13 bytes an entry when sizes are small for their number', async () => {
    for (const ids of [ID_SHAPES.dense(200_000), ID_SHAPES.random(200_000)]) {
      const entries = entriesOf(ids, 22, 4000)
      const map = await PackedNeedleMap.build(hashMap(entries, 3), { version: 3, yieldTurn })
      expect(map.memoryBytes / map.entryCount).toBeLessThanOrEqual(13)
    }
  })

  test.each([0, 1, 50])('takes less than 4 KiB for %d entries', async (count) => {
    const source = hashMap(entriesOf(ID_SHAPES.random(count), 23, 2 ** 31), 3)
    const map = await PackedNeedleMap.build(source, { version: 3, yieldTurn })
    expect(map.memoryBytes).toBeLessThan(4096)
  })

  test('gives way while it packs: every 8192 entries or so, also in one large bucket', async () => {
    const ids = [...ID_SHAPES.dense(200_000), { hi: 0xffff_ffff, lo: 0 }]
    const source = hashMap(entriesOf(ids, 24, 1000), 3)
    let turns = 0
    await PackedNeedleMap.build(source, {
      version: 3,
      yieldTurn: async () => {
        turns++
      },
    })
    expect(turns).toBeGreaterThan((4 * 200_000) / 8192)
  })

  // Goal: a delete while the map is packed is not lost if the caller applies it again.
  // Method: random deletes of known and unknown ids at every turn, applied to the result again.
  test.each([1, 2, 3, 4, 5])(
    'deletes while packing, applied again, are all there (%d)',
    async (seed) => {
      const prng = new Prng(seed)
      const entries = entriesOf(
        [...BOUNDARY_IDS.slice(1, -1), ...ID_SHAPES.random(60_000)],
        seed,
        2 ** 20,
      )
      const source = hashMap(entries, 3)
      const deleted: { id: NeedleId; offsetBytes: number }[] = []
      const map = await PackedNeedleMap.build(source, {
        version: 3,
        yieldTurn: async () => {
          const isKnown = prng.chance(0.6)
          const stranger = prng.pick([
            { hi: 0, lo: 0 },
            { hi: 0xffff_ffff, lo: 0xffff_ffff },
            { hi: prng.u32(), lo: prng.u32() },
          ])
          const id = isKnown ? prng.pick(entries).id : stranger
          const offsetBytes = (1 + prng.below(1000)) * 8
          source.delete(id, offsetBytes)
          deleted.push({ id, offsetBytes })
        },
      })
      for (const { id, offsetBytes } of deleted) map.delete(id, offsetBytes)
      expect(deleted.length).toBeGreaterThan(10)
      expectEntries(map, walk(source, 1000), 3)
    },
  )

  test('an entry whose place was taken by one that came late is kept all the same', async () => {
    const source = hashMap(entriesOf(ID_SHAPES['every 4th'](100), 25, 1000), 3)
    let walks = 0
    // From the third walk on, the one that puts entries in their places, shows one more, first.
    const growing: NeedleEntries = {
      entryCount: source.entryCount,
      lookup: (id, into) => source.lookup(id, into),
      visitSome: (cursor, limit, each) => {
        if (cursor === 0) walks++
        if (cursor === 0 && walks > 2) each(0, 50, 80, 0, true)
        return source.visitSome(cursor, limit, each)
      },
    }
    const map = await PackedNeedleMap.build(growing, { version: 3, yieldTurn })
    source.delete({ hi: 0, lo: 50 }, 80)
    expectEntries(map, walk(source, 1000), 3)
  })

  test('nothing can be put in', async () => {
    const map = await PackedNeedleMap.build(hashMap([], 3), { version: 3, yieldTurn })
    expect(() => map.put({ hi: 0, lo: 1 }, 8, 1)).toThrow(/sealed/)
  })
})

function hashMap(entries: readonly NeedleEntry[], version: 1 | 2 | 3): HashNeedleMap {
  const map = new HashNeedleMap({ version })
  for (const { id, offsetBytes, sizeBytes } of entries) map.put(id, offsetBytes, sizeBytes)
  for (const { id, isDeleted } of entries) if (isDeleted) map.delete(id, 8)
  return map
}

async function yieldTurn(): Promise<void> {
  await Promise.resolve()
}
