import { describe, expect, test } from 'vitest'
import { compareNeedleIds, type NeedleId } from '../../src/base/ids.ts'
import { encodeIndexEntry, INDEX_ENTRY_BYTES } from '../../src/format/index-entry.ts'
import type { NeedleVersion } from '../../src/format/needle.ts'
import { HashNeedleMap } from '../../src/storage/hash-needle-map.ts'
import { LayeredNeedleMap } from '../../src/storage/layered-needle-map.ts'
import type { NeedleMap } from '../../src/storage/needle-map.ts'
import { expectEntries, testNeedleMap } from '../conformance/needle-map.ts'
import { ID_SHAPES, type NeedleEntry } from '../support/needle-ids.ts'
import { Prng, seeds } from '../support/prng.ts'

interface Row {
  readonly id: NeedleId
  readonly offsetBytes: number
  readonly sizeBytes: number
}

testNeedleMap('LayeredNeedleMap loaded from ascending rows', (entries, version) => {
  const ascending = [...entries].sort((a, b) => compareNeedleIds(a.id, b.id))
  return fill(ascending, version, ascending.length)
})
testNeedleMap('LayeredNeedleMap of which half is loaded, half is put', (entries, version) => {
  const ascending = [...entries].sort((a, b) => compareNeedleIds(a.id, b.id))
  return fill(ascending, version, Math.floor(ascending.length / 2))
})
testNeedleMap('LayeredNeedleMap loaded from rows in no order', (entries, version) =>
  fill(entries, version, entries.length),
)

describe('LayeredNeedleMap', () => {
  // Goal: rows in any order, then puts and deletes, leave what a hash map would hold.
  // Method: mostly ascending rows with overwrites, deletes and strays; random chunks; compare.
  // Replay: SEED=17 npm test.
  test.each(seeds(40))('holds what a HashNeedleMap holds (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const rows = randomRows(prng)
    const layered = new LayeredNeedleMap({ version: 3, expectedCount: prng.below(rows.length * 2) })
    const hash = new HashNeedleMap({ version: 3 })
    for (let at = 0; at < rows.length; ) {
      const chunk = encodeRows(rows.slice(at, at + prng.between(1, 2000)))
      layered.loadRows(chunk, chunk.length, 4)
      hash.loadRows(chunk, chunk.length, 4)
      at += chunk.length / INDEX_ENTRY_BYTES
    }
    for (let count = 0; count < 500; count++) {
      const { id } = prng.pick(rows)
      const offsetBytes = 8 * (1 + prng.below(2 ** 31))
      if (prng.chance(0.5)) {
        const sizeBytes = prng.below(1000)
        layered.put(id, offsetBytes, sizeBytes)
        hash.put(id, offsetBytes, sizeBytes)
      } else {
        expect(layered.delete(id, offsetBytes)).toBe(hash.delete(id, offsetBytes))
      }
    }
    expectEntries(layered, entriesOf(hash), 3)
  })

  test('takes 12 bytes an entry for 100,000 ascending rows, and a little for what came after', () => {
    const rows = ID_SHAPES.dense(100_000).map((id, index) => row(id, index))
    const map = new LayeredNeedleMap({ version: 3, expectedCount: rows.length })
    const bytes = encodeRows(rows)
    map.loadRows(bytes, bytes.length, 4)
    expect(map.memoryBytes).toBeLessThan(13 * rows.length)
  })
})

function fill(entries: readonly NeedleEntry[], version: NeedleVersion, loaded: number): NeedleMap {
  const map = new LayeredNeedleMap({ version, expectedCount: loaded })
  const rows = encodeRows(entries.slice(0, loaded))
  map.loadRows(rows, rows.length, 4)
  for (const { id, offsetBytes, sizeBytes } of entries.slice(loaded)) {
    map.put(id, offsetBytes, sizeBytes)
  }
  for (const { id, offsetBytes, isDeleted } of entries) if (isDeleted) map.delete(id, offsetBytes)
  return map
}

function randomRows(prng: Prng): Row[] {
  const strays = prng.pick([0, 0.02, 0.3])
  const step = prng.pick([1, 3, 2 ** 20])
  const rows: Row[] = []
  let lo = 1
  let hi = 0
  for (let index = 0; index < 5000; index++) {
    const old = rows[prng.below(rows.length + 1)]
    if (old !== undefined && prng.chance(strays)) {
      rows.push({ ...row(old.id, index), sizeBytes: prng.chance(0.5) ? -1 : prng.below(500) })
      continue
    }
    lo += step
    if (lo >= 2 ** 32) {
      hi += prng.between(1, 3)
      lo = prng.below(100)
    }
    // A kept tombstone may be the first that is heard of an id, and a put may follow.
    const first = row({ hi, lo }, index)
    if (prng.chance(strays)) rows.push({ ...first, sizeBytes: -1 })
    if (prng.chance(0.9)) rows.push(first)
  }
  return rows
}

function row(id: NeedleId, index: number): Row {
  return { id, offsetBytes: (index + 1) * 64, sizeBytes: index % 700 }
}

function encodeRows(rows: readonly Row[]): Buffer {
  const bytes = Buffer.alloc(rows.length * INDEX_ENTRY_BYTES)
  rows.forEach((entry, index) => {
    encodeIndexEntry(entry, bytes, index * INDEX_ENTRY_BYTES)
  })
  return bytes
}

function entriesOf(map: NeedleMap): NeedleEntry[] {
  const entries: NeedleEntry[] = []
  map.visit((hi, lo, offsetBytes, sizeBytes, isDeleted) => {
    entries.push({ id: { hi, lo }, offsetBytes, sizeBytes, isDeleted })
  })
  return entries
}
