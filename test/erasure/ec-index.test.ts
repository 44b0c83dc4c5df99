import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { compareNeedleIds, hex8, type NeedleId, needleId } from '../../src/base/ids.ts'
import { EcIndex } from '../../src/erasure/ec-index.ts'
import { decodeEcJournal, encodeEcBatch, encodeEcJournal } from '../../src/format/ec-journal.ts'
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
    const bytes = encodeEcJournal(ids)
    const batch = encodeEcBatch([needleId(0, 8), needleId(0, 9)])
    for (let torn = 0; torn < batch.length; torn++) {
      const journal = decodeEcJournal(Buffer.concat([bytes, batch.subarray(0, torn)]))
      expect(journal).toEqual({ ids, wholeBytes: bytes.length, damagedAt: undefined, isOurs: true })
    }
    const all = decodeEcJournal(Buffer.concat([bytes, batch]))
    expect(all.ids).toEqual([...ids, needleId(0, 8), needleId(0, 9)])
    const entry = '0000000100000203'
    expect(encodeEcBatch([needleId(1, 0x0203)]).toString('hex')).toBe(
      `${entry}ffffffffffffffff48415945${hex8(crc32c(Buffer.from(entry, 'hex')))}`,
    )
    const nothing = { ids: [], wholeBytes: 0, damagedAt: undefined, isOurs: false }
    expect(decodeEcJournal(Buffer.alloc(0))).toEqual(nothing)
  })

  test('of another system counts as it is', () => {
    const entries = Buffer.from('0000000000000007000000000000000900', 'hex')
    const ids = [needleId(0, 7), needleId(0, 9)]
    expect(decodeEcJournal(entries)).toEqual({
      ids,
      wholeBytes: 16,
      damagedAt: undefined,
      isOurs: false,
    })
  })

  test('with a flipped bit never has a delete that nobody asked for', () => {
    const batches = [[needleId(0, 4)], [needleId(0, 5), needleId(0, 7)]]
    const bytes = Buffer.concat([encodeEcJournal([]), ...batches.map(encodeEcBatch)])
    const asked = new Set(batches.flat().map(({ lo }) => lo))
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      const { ids, damagedAt, wholeBytes } = decodeEcJournal(flipped)
      expect(
        ids.filter(({ lo }) => !asked.has(lo)),
        `bit ${bit}`,
      ).toEqual([])
      // The mark of the last batch is the end of what is known: then that batch was never whole.
      if (ids.length < 3) expect(damagedAt !== undefined || wholeBytes < bytes.length).toBe(true)
    }
  })
})
