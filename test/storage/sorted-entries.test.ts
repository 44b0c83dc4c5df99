import { describe, expect, test } from 'vitest'
import { compareNeedleIds, formatNeedleId, type NeedleId, needleId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { yieldTurn } from '../../src/runtime/yield-turn.ts'
import { HashNeedleMap } from '../../src/storage/hash-needle-map.ts'
import type { NeedleEntries } from '../../src/storage/needle-map.ts'
import { PackedNeedleMap } from '../../src/storage/packed-needle-map.ts'
import { listSorted, type NeedleSummary } from '../../src/storage/sorted-entries.ts'
import { unpackEntries } from '../../src/storage/unpacked-map.ts'
import { Prng } from '../support/prng.ts'
import { expectCode, SIGNAL, TestVolume, toId } from '../support/test-volume.ts'

async function list(entries: NeedleEntries): Promise<NeedleSummary[]> {
  const all: NeedleSummary[] = []
  for await (const page of listSorted(entries, SIGNAL)) {
    expect(page.length).toBeGreaterThan(0)
    expect(page.length).toBeLessThanOrEqual(LIMITS.needlePageMax.value)
    all.push(...page)
  }
  return all
}

const ID_KINDS: Readonly<Record<string, (prng: Prng, index: number) => NeedleId>> = {
  'ids in a row': (_, index) => needleId(0, index + 1),
  'ids in a row across 32 bits': (_, index) => needleId(index < 3000 ? 7 : 8, index),
  'ids by chance': (prng) => needleId(prng.u32(), prng.u32()),
  'ids in two far heaps': (prng, index) => needleId(index % 2 === 0 ? 0 : 0xffff_ffff, prng.u32()),
}

describe('a sorted list', () => {
  test.each(Object.keys(ID_KINDS))('shows all entries once, ascending: %s', async (kind) => {
    for (const count of [0, 1, 2, 2048, 2049, 30_000]) {
      const prng = new Prng(count + 1)
      const map = new HashNeedleMap({ version: 3 })
      const expected = new Map<string, NeedleSummary>()
      for (let index = 0; index < count; index++) {
        const id = ID_KINDS[kind]?.(prng, index) ?? needleId(0, 0)
        const sizeBytes = prng.below(1000)
        const isDeleted = prng.chance(0.2)
        map.put(id, (index + 1) * 8, sizeBytes)
        if (isDeleted) map.delete(id, 8)
        expected.set(formatNeedleId(id), { needleId: id, sizeBytes, isDeleted })
      }
      const sorted = [...expected.values()].sort((a, b) => compareNeedleIds(a.needleId, b.needleId))
      const packed = await PackedNeedleMap.build(map, { version: 3, yieldTurn })
      const unpacked = await unpackEntries(packed, { version: 3, yieldTurn })
      for (const entries of [map, packed, unpacked]) {
        const all = await list(entries)
        expect(all.length).toBe(sorted.length)
        const differs = all.findIndex((entry, index) => !isSame(entry, sorted[index]))
        expect(differs, `entry ${differs} of ${count}`).toBe(-1)
      }
    }
  })

  test('shows what is there all the time once, whatever comes and goes meanwhile', async () => {
    const map = new HashNeedleMap({ version: 3 })
    for (let id = 1; id <= 20_000; id++) map.put(toId(id * 2), id * 8, 5)
    const seen = new Map<string, number>()
    let next = 1
    for await (const page of listSorted(map, SIGNAL)) {
      for (const entry of page) {
        const key = formatNeedleId(entry.needleId)
        seen.set(key, (seen.get(key) ?? 0) + 1)
      }
      for (let count = 0; count < 500; count++, next += 2) map.put(toId(next), 800, 5)
      map.delete(toId(next + 1), 8)
    }
    expect([...seen.values()].every((times) => times === 1)).toBe(true)
    for (let id = 1; id <= 20_000; id++) expect(seen.has(formatNeedleId(toId(id * 2)))).toBe(true)
  })

  test('of a volume has tombstones, and ends when it is cancelled or the volume closes', async () => {
    await using test = await TestVolume.create()
    for (const id of [5, 3, 9]) await test.put(id, `needle ${id}`)
    await test.delete(3)
    await test.volume.vacuum({ tombstones: 'keep' }, SIGNAL)
    const pages: NeedleSummary[] = []
    for await (const page of test.volume.listNeedles(SIGNAL)) pages.push(...page)
    expect(pages).toEqual([
      { needleId: toId(3), sizeBytes: 0, isDeleted: true },
      { needleId: toId(5), sizeBytes: 20, isDeleted: false },
      { needleId: toId(9), sizeBytes: 20, isDeleted: false },
    ])
    const aborting = new AbortController()
    aborting.abort()
    await expectCode(test.volume.listNeedles(aborting.signal).next(), 'CANCELLED')
    await test.close()
  })
})

function isSame(a: NeedleSummary, b: NeedleSummary | undefined): boolean {
  return (
    b !== undefined &&
    compareNeedleIds(a.needleId, b.needleId) === 0 &&
    a.sizeBytes === b.sizeBytes &&
    a.isDeleted === b.isDeleted
  )
}
