import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import {
  formatTtl,
  parseTtl,
  TTL_NONE,
  type Ttl,
  ttlFromBytes,
  ttlFromWire,
  ttlToBytes,
  ttlToMs,
  ttlToWire,
} from '../../src/base/ttl.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

describe('parseTtl', () => {
  test.each([
    ['', ''],
    ['0', ''],
    ['0d', ''],
    ['000y', ''],
    ['1', '1m'],
    ['90', '90m'],
    ['1m', '1m'],
    ['59m', '59m'],
    ['60m', '1h'],
    ['61m', '61m'],
    ['255m', '255m'],
    ['256m', '4h'], // Does not divide by 60 and does not fit a byte: rounded down.
    ['300m', '5h'],
    ['301m', '5h'],
    ['1440m', '1d'],
    ['10080', '1w'],
    ['24h', '1d'],
    ['25h', '25h'],
    ['255h', '255h'],
    ['257h', '10d'],
    ['7d', '1w'],
    ['8d', '8d'],
    ['14d', '2w'],
    ['30d', '1M'],
    ['31d', '31d'],
    ['60d', '2M'],
    ['210d', '7M'], // Also 30w; the month is the larger unit.
    ['256d', '36w'],
    ['365d', '1y'],
    ['364d', '52w'],
    ['366d', '52w'],
    ['12M', '12M'], // 360 days, no year.
    ['73M', '6y'], // 2190 days are six years.
    ['255M', '255M'],
    ['256M', '21y'], // 7680 days: 1097 weeks do not fit, 256 months neither.
    ['255y', '255y'],
    ['000003d', '3d'],
  ])('%o becomes %o', (text, normalised) => {
    expect(formatTtl(parseTtl(text))).toBe(normalised)
  })

  test.each([
    'm',
    'x',
    '3x',
    '3 d',
    ' 3d',
    '3d ',
    '-3d',
    '+3d',
    '3D',
    '3mm',
    '1.5h',
    '3d\n',
    '256y',
    '999999999y',
    '1234567890',
  ])('%o is refused', (text) => {
    expectStoreError(() => parseTtl(text), 'TTL_INVALID')
  })

  test('its text reads back as the same time', () => {
    fc.assert(
      fc.property(fc.nat(200_000), fc.constantFrom(...'mhdwMy', ''), (count, letter) => {
        const ttl = expectStoreErrorOrValue(() => parseTtl(`${count}${letter}`), 'TTL_INVALID')
        if (ttl === undefined) return
        // A value that was rounded down to 98d may read back as 14w.
        expect(ttlToMs(parseTtl(formatTtl(ttl)))).toBe(ttlToMs(ttl))
      }),
    )
  })

  test('never lengthens a life, and shortens it by less than one unit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 255 * 365 * 1440 }), (minutes) => {
        const ttl = parseTtl(`${minutes}m`)
        const lostMs = minutes * MINUTE_MS - ttlToMs(ttl)
        expect(lostMs).toBeGreaterThanOrEqual(0)
        expect(lostMs).toBeLessThan(ttlToMs({ ...ttl, count: 1 }))
      }),
    )
  })

  test('any text is a TTL or TTL_INVALID', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), (text) => {
        expectStoreErrorOrValue(() => parseTtl(text), 'TTL_INVALID')
      }),
    )
  })
})

describe('a TTL in bytes', () => {
  const units: [number, Ttl['unit'], number][] = [
    [1, 'minute', MINUTE_MS],
    [2, 'hour', 60 * MINUTE_MS],
    [3, 'day', DAY_MS],
    [4, 'week', 7 * DAY_MS],
    [5, 'month', 30 * DAY_MS],
    [6, 'year', 365 * DAY_MS],
  ]
  test.each(units)('unit byte %i is a %s of %i ms', (byte, unit, ms) => {
    for (const count of [1, 2, 254, 255]) {
      const ttl = { count, unit }
      expect(ttlToBytes(ttl)).toEqual([count, byte])
      expect(ttlFromBytes(count, byte)).toEqual(ttl)
      expect(ttlToWire(ttl)).toBe(count * 256 + byte)
      expect(ttlFromWire(count * 256 + byte)).toEqual(ttl)
      expect(ttlToMs(ttl)).toBe(count * ms)
    }
  })

  test('a count of 0 or a unit of 0 means forever', () => {
    for (const [count, unit] of [
      [0, 0],
      [0, 3],
      [9, 0],
    ] as const) {
      expect(ttlFromBytes(count, unit)).toBe(TTL_NONE)
    }
    for (const ttl of [TTL_NONE, { count: 0, unit: 'day' }, { count: 9, unit: 'none' }] as const) {
      expect(ttlToBytes(ttl)).toEqual([0, 0])
      expect(ttlToMs(ttl)).toBe(0)
      expect(formatTtl(ttl)).toBe('')
    }
  })

  test('refuses a unit byte above 6 and a wire number above 16 bits', () => {
    for (const unit of [7, 8, 255]) expectStoreError(() => ttlFromBytes(1, unit), 'TTL_INVALID')
    for (const wire of [-1, 0x1_0000, 0.5, Number.NaN, 0x0107]) {
      expectStoreError(() => ttlFromWire(wire), 'TTL_INVALID')
    }
  })

  test('a count of 256 would not fit its byte: writing it is a bug', () => {
    for (const count of [-1, 256, 1.5]) {
      expect(() => ttlToBytes({ count, unit: 'day' })).toThrow(AssertionFailure)
    }
  })
})
