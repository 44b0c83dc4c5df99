import { expect, test } from 'vitest'
import { formatDuration, formatTime } from '../../src/cli/durations.ts'
import { readDurationMs, readNumber } from '../../src/cli/setting-values.ts'
import { expectStoreError } from '../support/expect-error.ts'

test.each([
  [-5, '0 s'],
  [0, '0 s'],
  [999, '0 s'],
  [1000, '1 s'],
  [59_999, '59 s'],
  [60_000, '1 min'],
  [250_000, '4 min 10 s'],
  [3_600_000, '1 h'],
  [3_659_999, '1 h'],
  [3_660_000, '1 h 1 min'],
  [86_400_000, '1 d'],
  [14 * 86_400_000 + 7_200_000, '14 d 2 h'],
])('%d ms is %o', (ms, text) => {
  expect(formatDuration(ms)).toBe(text)
})

test('a time is shown to the second, in UTC', () => {
  expect(formatTime(Date.UTC(2026, 10, 21, 8, 31, 2, 117))).toBe('2026-11-21T08:31:02Z')
})

const RANGE = { min: 10, max: 30 * 86_400_000 }

test.each([
  ['10ms', 10],
  ['30s', 30_000],
  ['1.5 h', 5_400_000],
  ['15m', 900_000],
  ['30d', 30 * 86_400_000],
])('%o is read as %d ms', (text, ms) => {
  expect(readDurationMs('--x', text, RANGE)).toBe(ms)
})

test.each(['', '10', '9ms', '31d', '-1s', '1w', '1e3s', 's', '1s1s', ' 1s'])(
  '%o is refused as a time, with its range',
  (text) => {
    const error = expectStoreError(() => readDurationMs('--x', text, RANGE), 'CONFIG_INVALID')
    expect(error.message).toBe(
      `--x "${text}": it must be a time like 30s, 15m, 2h or 14d, from 0 s to 30 d`,
    )
  },
)

test('numbers may have fractions, and keep to their range', () => {
  expect(readNumber('--x', '0.25', { min: 0, max: 1 })).toBe(0.25)
  for (const text of ['', '1.1', '-0', '.5', '1e0', 'x']) {
    expectStoreError(() => readNumber('--x', text, { min: 0, max: 1 }), 'CONFIG_INVALID')
  }
})
