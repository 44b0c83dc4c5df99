import { describe, expect, test } from 'vitest'
import { crc32c, maskCrc32c } from '../../src/base/crc32c.ts'
import { formatNeedleId } from '../../src/base/ids.ts'
import { decodeIndexEntry, INDEX_ENTRY_BYTES, isPutEntry } from '../../src/format/index-entry.ts'
import { decodeNeedle, decodeNeedleHeader, recordBytes } from '../../src/format/needle.ts'
import { decodeSuperBlock, superBlockBytes } from '../../src/format/super-block.ts'
import { golden } from '../support/golden.ts'

const dat = golden('seaweedfs/1.dat')
const idx = golden('seaweedfs/1.idx')

const rows = Array.from({ length: idx.length / INDEX_ENTRY_BYTES }, (_, index) =>
  decodeIndexEntry(idx, index * INDEX_ENTRY_BYTES),
)

/** Offsets and sizes by walking the records, without the index. */
function walk(): Map<number, number> {
  const found = new Map<number, number>()
  let at = superBlockBytes(decodeSuperBlock(dat))
  while (at < dat.length) {
    const { sizeBytes } = decodeNeedleHeader(dat, at)
    found.set(at, sizeBytes)
    at += recordBytes(sizeBytes, 3)
  }
  expect(at).toBe(dat.length)
  return found
}

describe('a volume written by SeaweedFS in 2019', () => {
  test('has a plain super block of version 3', () => {
    expect(decodeSuperBlock(dat)).toMatchObject({ version: 3, compactionRevision: 0 })
    expect(superBlockBytes(decodeSuperBlock(dat))).toBe(8)
  })

  test('has 298 index rows, all of them puts', () => {
    expect(rows).toHaveLength(298)
    expect(rows.every(isPutEntry)).toBe(true)
  })

  test('every row points at a record with its id and size, whose masked checksum is right', () => {
    for (const row of rows) {
      const needle = decodeNeedle(dat, row.offsetBytes, 3)
      expect(needle.id).toEqual(row.id)
      expect(needle.sizeBytes).toBe(row.sizeBytes)
      expect(needle.checksum, formatNeedleId(row.id)).toBe(maskCrc32c(crc32c(needle.data)))
    }
  })

  test('a walk from record to record ends exactly at the end and finds what the index has', () => {
    const indexed = new Map(rows.map((row) => [row.offsetBytes, row.sizeBytes]))
    const walked = walk()
    expect(new Map([...walked].toSorted(([a], [b]) => a - b))).toEqual(
      new Map([...indexed].toSorted(([a], [b]) => a - b)),
    )
  })

  test('attributes and times read as a person would expect', () => {
    const names = rows.map((row) => decodeNeedle(dat, row.offsetBytes, 3).attributes().name)
    expect(names.every((name) => name !== undefined && name.length > 0)).toBe(true)
    for (const row of rows) {
      const needle = decodeNeedle(dat, row.offsetBytes, 3)
      const seconds = Number((needle.appendAtNs() ?? 0n) / 1_000_000_000n)
      expect(new Date(seconds * 1000).getUTCFullYear()).toBe(2019)
      expect(needle.attributes().lastModifiedS).toBeGreaterThan(0)
    }
  })
})
