import { expect, test } from 'vitest'
import { HashNeedleMap } from '../../src/storage/hash-needle-map.ts'
import { LiveOffsets, needlesAt, regionsOf } from '../../src/storage/live-offsets.ts'
import { Prng } from '../support/prng.ts'
import { toId } from '../support/test-volume.ts'

const giveWay = async (): Promise<void> => undefined

test.each([0, 1, 5, 4096, 50_000])('%i needles come in the order of the file', async (count) => {
  const prng = new Prng(count)
  const map = new HashNeedleMap({ version: 3 })
  const all: number[] = []
  for (let id = 1; id <= count; id++) {
    const at = 8 * (1 + prng.below(2 ** 31))
    if (prng.chance(0.1)) map.delete(toId(id), at)
    else {
      map.put(toId(id), at, 10)
      all.push(at)
    }
  }
  all.sort((a, b) => a - b)
  const range = { fromBytes: 8 * 2 ** 29, toBytes: 8 * 3 * 2 ** 29 }
  const inside = all.filter((at) => at >= range.fromBytes && at < range.toBytes)
  const offsets = await LiveOffsets.collect(map, range, giveWay)
  expect(offsets.beforeBytes).toBe(all.filter((at) => at < range.fromBytes).at(-1))
  const found: number[] = []
  for (let to = range.fromBytes; to < range.toBytes; to += 2 ** 28) {
    const end = Math.min(to + 2 ** 28, range.toBytes)
    for (let at = offsets.next(end); at !== undefined; at = offsets.next(end)) {
      expect(at).toBeLessThan(end)
      found.push(at)
    }
  }
  expect(found).toEqual(inside)
})

test('regions cover a range without gaps, in multiples of what is asked for', () => {
  for (const entryCount of [0, 1, 3_000_000, 1e9]) {
    for (const [fromBytes, toBytes] of [
      [0, 1],
      [8, 8],
      [4096, 33 * 2 ** 30],
    ] as const) {
      const regions = regionsOf(entryCount, { fromBytes, toBytes }, 4096)
      let at: number = fromBytes
      for (const region of regions) {
        expect(region.fromBytes).toBe(at)
        expect(region.toBytes).toBeGreaterThan(at)
        at = region.toBytes
        if (at !== toBytes) expect((at - fromBytes) % 4096).toBe(0)
      }
      expect(at).toBe(toBytes)
      expect(regions.length).toBeLessThanOrEqual(16)
    }
  }
})

test('who lies at a place: nobody, one, or two that are said to', async () => {
  const map = new HashNeedleMap({ version: 3 })
  map.put(toId(1), 8, 5)
  map.put(toId(2), 80, 6)
  map.put(toId(3), 80, 7)
  map.delete(toId(1), 16)
  const found = await needlesAt(map, new Set([8, 80, 800]), giveWay)
  expect(found.map(({ id, sizeBytes }) => [id.lo, sizeBytes]).toSorted()).toEqual([
    [2, 6],
    [3, 7],
  ])
})
