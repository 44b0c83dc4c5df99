import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import { needleId } from '../../src/base/ids.ts'
import { GIB } from '../../src/base/units.ts'
import {
  decodeIndexEntry,
  encodeIndexEntry,
  INDEX_ENTRY_BYTES,
  type IndexEntry,
  indexEntryBytes,
  isPutEntry,
  type OffsetBytes,
} from '../../src/format/index-entry.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { golden } from '../support/golden.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'

const FIRST: IndexEntry = { id: needleId(0, 1), offsetBytes: 8, sizeBytes: 22 }
const LAST_UNIT = needleId(0x0102_0304, 0x0506_0708)
const ROWS: IndexEntry[] = [
  FIRST,
  { id: LAST_UNIT, offsetBytes: 32 * GIB - 8, sizeBytes: 0x7fff_ffff },
  { id: needleId(0, 1), offsetBytes: 64, sizeBytes: -1 },
]

describe('an index row', () => {
  test('rows.idx holds a put, the largest put and a deletion', () => {
    expect(golden('rows.idx').toString('hex')).toBe(
      '00000000000000010000000100000016' +
        '0102030405060708ffffffff7fffffff' +
        '000000000000000100000008ffffffff',
    )
    expect(decodeAll(golden('rows.idx'), 4)).toEqual(ROWS)
    const target = Buffer.alloc(48)
    for (const [index, row] of ROWS.entries()) encodeIndexEntry(row, target, index * 16)
    expect(target).toEqual(golden('rows.idx'))
  })

  test('rows-wide.idx has a fifth offset byte, which is the highest', () => {
    const [first, second, third] = ROWS
    expect(decodeAll(golden('rows-wide.idx'), 5)).toEqual([
      first,
      { ...second, offsetBytes: 64 * GIB - 8 },
      third,
    ])
  })

  test('takes 16 bytes, 17 in the wide form', () => {
    expect([indexEntryBytes(4), indexEntryBytes(5)]).toEqual([16, 17])
  })

  test.each([
    [8, 0, true],
    [8, 1, true],
    [32 * GIB - 8, 0x7fff_ffff, true],
    [0, 0, false],
    [0, 5, false],
    [0, -1, false],
    [8, -1, false],
    [8, -2, false],
    [8, -0x8000_0000, false],
  ])('at %i with size %i is a put: %s', (offsetBytes, sizeBytes, isPut) => {
    const row = { id: needleId(0, 1), offsetBytes, sizeBytes }
    expect(isPutEntry(row)).toBe(isPut)
    const target = Buffer.alloc(16)
    encodeIndexEntry(row, target, 0)
    expect(decodeIndexEntry(target, 0)).toEqual(row)
  })

  test('writes 16 bytes and no other', () => {
    const target = Buffer.alloc(32, 0xee)
    encodeIndexEntry(FIRST, target, 8)
    const untouched = 'ee'.repeat(8)
    expect(target.toString('hex')).toBe(`${untouched}00000000000000010000000100000016${untouched}`)
  })

  test('an unaligned offset and a row past the buffer are bugs', () => {
    const target = Buffer.alloc(INDEX_ENTRY_BYTES)
    expect(() => encodeIndexEntry(FIRST, target, 1)).toThrow(AssertionFailure)
    for (const offsetBytes of [1, 7, 9, 12]) {
      expect(() => encodeIndexEntry({ ...FIRST, offsetBytes }, target, 0)).toThrow(AssertionFailure)
    }
  })

  test.each<[string, OffsetBytes]>([
    ['rows.idx', 4],
    ['rows-wide.idx', 5],
  ])('%s is corrupt at each cut inside a row', (file, offsetBytes) => {
    const row = golden(file).subarray(0, indexEntryBytes(offsetBytes))
    for (const { bytes } of everyCut(row)) {
      expectStoreError(() => decodeIndexEntry(bytes, 0, offsetBytes), 'INDEX_CORRUPT')
    }
    const end = golden(file).length - indexEntryBytes(offsetBytes)
    expect(() => decodeIndexEntry(golden(file), end, offsetBytes)).not.toThrow()
    expectStoreError(() => decodeIndexEntry(golden(file), end + 1, offsetBytes), 'INDEX_CORRUPT')
  })

  test('with any bit flipped it is another row, which comes back from its bytes', () => {
    for (const { bytes } of everyFlip(golden('rows.idx').subarray(0, 16))) {
      const row = decodeIndexEntry(bytes, 0)
      expect(row).not.toEqual(FIRST)
      const target = Buffer.alloc(16)
      encodeIndexEntry(row, target, 0)
      expect(target).toEqual(bytes)
    }
  })

  test('any 16 or 17 bytes are a row with an aligned offset', () => {
    const bytes = fc.uint8Array({ minLength: 17, maxLength: 17 })
    fc.assert(
      fc.property(bytes, fc.constantFrom(4 as const, 5 as const), (source, offsetBytes) => {
        const row = decodeIndexEntry(Buffer.from(source), 0, offsetBytes)
        expect(row.offsetBytes % 8).toBe(0)
        expect(row.offsetBytes).toBeLessThan(offsetBytes === 4 ? 32 * GIB : 8192 * GIB)
        expect(Number.isInteger(row.sizeBytes)).toBe(true)
      }),
    )
  })
})

function decodeAll(source: Buffer, offsetBytes: OffsetBytes): IndexEntry[] {
  const rowBytes = indexEntryBytes(offsetBytes)
  return Array.from({ length: source.length / rowBytes }, (_, index) =>
    decodeIndexEntry(source, index * rowBytes, offsetBytes),
  )
}
