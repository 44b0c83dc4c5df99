import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import {
  addToNeedleId,
  compareNeedleIds,
  cookie,
  formatNeedleId,
  needleId,
  needleIdFromBigInt,
  needleIdFromNumber,
  needleIdToBigInt,
  parseVolumeId,
  volumeId,
} from '../../src/base/ids.ts'
import { expectStoreError } from '../support/expect-error.ts'

const U32 = fc.integer({ min: 0, max: 0xffff_ffff })
const U64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })

describe('volume ids', () => {
  test.each([1, 2, 0xffff_ffff])('%i is one', (value) => {
    expect(volumeId(value)).toBe(value)
    expect(parseVolumeId(`${value}`)).toBe(value)
  })

  test.each([0, -1, 1.5, 0x1_0000_0000, Number.NaN])('a trusted %d is a bug', (value) => {
    expect(() => volumeId(value)).toThrow(AssertionFailure)
  })

  test('leading zeros are accepted in text', () => {
    expect(parseVolumeId('007')).toBe(7)
  })

  test.each([
    '',
    '0',
    '000',
    '4294967296',
    '99999999999',
    '-1',
    '+1',
    ' 1',
    '1 ',
    '0x1',
    '1.0',
    '٣',
  ])('text %o is refused', (text) => {
    expectStoreError(() => parseVolumeId(text), 'FILE_ID_INVALID')
  })
})

describe('cookies', () => {
  test.each([0, 1, 0xffff_ffff])('%i is one', (value) => expect(cookie(value)).toBe(value))

  test.each([-1, 0x1_0000_0000, 0.5])('a trusted %d is a bug', (value) => {
    expect(() => cookie(value)).toThrow(AssertionFailure)
  })
})

describe('needle ids', () => {
  test.each([
    [0n, 0, 0, '00'],
    [1n, 0, 1, '01'],
    [0xffn, 0, 0xff, 'ff'],
    [0x100n, 0, 0x100, '0100'],
    [0xffff_ffffn, 0, 0xffff_ffff, 'ffffffff'],
    [0x1_0000_0000n, 1, 0, '0100000000'],
    [(1n << 53n) - 1n, 0x1f_ffff, 0xffff_ffff, '1fffffffffffff'],
    [(1n << 64n) - 1n, 0xffff_ffff, 0xffff_ffff, 'ffffffffffffffff'],
  ])('%d is the halves %i and %i, written %s', (value, hi, lo, text) => {
    const id = needleIdFromBigInt(value)
    expect(id).toEqual({ hi, lo })
    expect(needleId(hi, lo)).toEqual(id)
    expect(needleIdToBigInt(id)).toBe(value)
    expect(formatNeedleId(id)).toBe(text)
  })

  test.each([0, 1, 0xffff_ffff, 0x1_0000_0000, 2 ** 53 - 1])(
    'the number %i becomes one',
    (value) => {
      expect(needleIdToBigInt(needleIdFromNumber(value))).toBe(BigInt(value))
    },
  )

  test('halves, numbers and big integers out of range are bugs', () => {
    const bugs = [
      () => needleId(-1, 0),
      () => needleId(0, 0x1_0000_0000),
      () => needleId(0.5, 0),
      () => needleIdFromNumber(2 ** 53),
      () => needleIdFromNumber(-1),
      () => needleIdFromBigInt(-1n),
      () => needleIdFromBigInt(1n << 64n),
      () => addToNeedleId(needleId(0, 0), -1),
      () => addToNeedleId(needleId(0, 0), 0.5),
    ]
    for (const bug of bugs) expect(bug).toThrow(AssertionFailure)
  })

  test('are ordered as unsigned 64-bit values', () => {
    fc.assert(
      fc.property(U64, U64, (a, b) => {
        const order = compareNeedleIds(needleIdFromBigInt(a), needleIdFromBigInt(b))
        expect(Math.sign(order)).toBe(a < b ? -1 : a > b ? 1 : 0)
      }),
    )
  })

  test('add carries into the high half and refuses to wrap around', () => {
    expect(addToNeedleId(needleId(0, 0xffff_ffff), 0)).toEqual(needleId(0, 0xffff_ffff))
    expect(addToNeedleId(needleId(0, 0xffff_ffff), 1)).toEqual(needleId(1, 0))
    expect(addToNeedleId(needleId(0xffff_ffff, 0xffff_fffe), 1)).toEqual(
      needleId(0xffff_ffff, 0xffff_ffff),
    )
    const last = needleId(0xffff_ffff, 0xffff_ffff)
    expectStoreError(() => addToNeedleId(last, 1), 'FILE_ID_INVALID')
    expectStoreError(() => addToNeedleId(last, 2 ** 53 - 1), 'FILE_ID_INVALID')
    fc.assert(
      fc.property(U32, U32, fc.maxSafeNat(), (hi, lo, count) => {
        const sum = needleIdToBigInt(needleId(hi, lo)) + BigInt(count)
        if (sum >= 1n << 64n) return
        expect(needleIdToBigInt(addToNeedleId(needleId(hi, lo), count))).toBe(sum)
      }),
    )
  })
})
