import { describe, expect, test } from 'vitest'
import { compareNeedleIds, type NeedleId, needleId } from '../../src/base/ids.ts'
import { EcIndex } from '../../src/erasure/ec-index.ts'
import { decodeEcJournal, encodeEcJournalEntry } from '../../src/format/ec-journal.ts'
import {
  encodeIndexEntry,
  INDEX_ENTRY_BYTES,
  type IndexEntry,
} from '../../src/format/index-entry.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { BOUNDARY_IDS } from '../support/needle-ids.ts'
import { Prng, seeds } from '../support/prng.ts'

function rowsOf(entries: readonly IndexEntry[]): Buffer {
  const rows = Buffer.alloc(entries.length * INDEX_ENTRY_BYTES)
  for (const [row, entry] of entries.entries()) {
    encodeIndexEntry(entry, rows, row * INDEX_ENTRY_BYTES)
  }
  return rows
}

function put(id: NeedleId, sizeBytes: number): IndexEntry {
  return { id, offsetBytes: 8 * (1 + sizeBytes), sizeBytes }
}

describe('the index of a coded volume', () => {
  // Goal: it finds what is there and nothing else. Method: random ids beside each other and at the
  // boundaries, some deleted, compared with a map.
  test.each(seeds(50))('finds what is there and nothing else (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const ids = new Map<string, NeedleId>()
    for (let count = prng.below(300); count > 0; count--) {
      const id = needleId(prng.below(3), prng.below(200))
      ids.set(`${id.hi},${id.lo}`, id)
    }
    for (const id of BOUNDARY_IDS) if (prng.chance(0.5)) ids.set(`${id.hi},${id.lo}`, id)
    const sorted = [...ids.values()].sort(compareNeedleIds)
    const entries = sorted.map((id) => put(id, prng.below(1000)))
    const deleted = sorted.filter(() => prng.chance(0.2))
    const index = new EcIndex(rowsOf(entries), deleted.slice(1))
    const [late] = deleted
    if (late !== undefined) index.delete(late)
    for (const entry of entries) {
      const isDeleted = deleted.includes(entry.id)
      expect(index.find(entry.id)).toEqual({ ...entry, isDeleted })
    }
    for (let tried = 0; tried < 200; tried++) {
      const id = needleId(prng.below(3), prng.below(220))
      if (!ids.has(`${id.hi},${id.lo}`)) expect(index.find(id)).toBeUndefined()
    }
    const living = entries.filter(({ id }) => !deleted.includes(id))
    expect([...index.live()]).toEqual(living)
    expect(index.entryCount).toBe(entries.length)
  })

  test('shows a row that says deleted as deleted', () => {
    const index = new EcIndex(rowsOf([{ id: needleId(0, 1), offsetBytes: 8, sizeBytes: -1 }]), [])
    expect(index.find(needleId(0, 1))?.isDeleted).toBe(true)
    expect([...index.live()]).toEqual([])
  })

  test.each<[string, Buffer]>([
    ['half a row', Buffer.alloc(INDEX_ENTRY_BYTES + 8)],
    ['the same id twice', rowsOf([put(needleId(0, 1), 1), put(needleId(0, 1), 2)])],
    ['ids that descend', rowsOf([put(needleId(1, 0), 1), put(needleId(0, 9), 2)])],
  ])('is corrupt with %s', (_what, rows) => {
    expectStoreError(() => new EcIndex(rows, []), 'INDEX_CORRUPT')
  })
})

describe('the journal of a coded volume', () => {
  test('has what was appended; a torn append at its end is none', () => {
    const ids = [...BOUNDARY_IDS, needleId(0, 7)]
    const bytes = Buffer.concat(ids.map(encodeEcJournalEntry))
    for (let torn = 0; torn < 8; torn++) {
      const journal = decodeEcJournal(Buffer.concat([bytes, Buffer.alloc(torn, 0xff)]))
      expect(journal).toEqual({ ids, wholeBytes: bytes.length })
    }
    expect(encodeEcJournalEntry(needleId(1, 0x0203)).toString('hex')).toBe('0000000100000203')
    expect(decodeEcJournal(Buffer.alloc(0))).toEqual({ ids: [], wholeBytes: 0 })
  })
})
