import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import { alignUp, formatBytes, GIB, KIB, MIB, parseBytes } from '../../src/base/units.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'

describe('alignUp', () => {
  test.each([
    [0, 8, 0],
    [1, 8, 8],
    [7, 8, 8],
    [8, 8, 8],
    [9, 8, 16],
    [2 ** 32 + 1, 8, 2 ** 32 + 8],
    [10, 3, 12],
    [2 ** 53 - 8, 8, 2 ** 53 - 8],
  ])('brings %i to a multiple of %i: %i', (value, multiple, expected) => {
    expect(alignUp(value, multiple)).toBe(expected)
  })

  test('refuses a negative value and a multiple below 1', () => {
    expect(() => alignUp(-1, 8)).toThrow(AssertionFailure)
    expect(() => alignUp(1, 0)).toThrow(AssertionFailure)
  })
})

describe('formatBytes', () => {
  test.each([
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [KIB, '1 KiB'],
    [1536, '1.5 KiB'],
    [MIB - 1, '1 MiB'],
    [MIB, '1 MiB'],
    [1.5 * GIB, '1.5 GiB'],
    [30 * GIB, '30 GiB'],
    [2 ** 53 - 1, '8 PiB'],
  ])('shows %i as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text)
  })
})

describe('parseBytes', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['4096B', 4096],
    ['1KB', 1000],
    ['1KiB', 1024],
    ['64MB', 64_000_000],
    ['64 MiB', 64 * MIB],
    ['1.5 GiB', 1.5 * GIB],
    ['30gib', 30 * GIB],
    ['2TB', 2e12],
    ['2TiB', 2048 * GIB],
    ['9007199254740991', 2 ** 53 - 1],
  ])('reads %o as %i', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes)
  })

  test.each([
    '',
    ' ',
    'x',
    '-1',
    '+1',
    '1e9',
    '0x10',
    '1.',
    '.5',
    '1.5',
    '0.3KB1',
    '1 XB',
    '1  GiB',
    '5GiB ',
    '9007199254740992',
    '99999999999999999',
    '9999TiB9',
    '1K',
    '10G',
    'constructor',
    '1toString',
  ])('refuses %o', (text) => {
    expectStoreError(() => parseBytes(text), 'CONFIG_INVALID')
  })

  test('any text gives a safe whole number or CONFIG_INVALID', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), (text) => {
        const bytes = expectStoreErrorOrValue(() => parseBytes(text), 'CONFIG_INVALID')
        expect(bytes === undefined || Number.isSafeInteger(bytes)).toBe(true)
      }),
    )
  })
})
