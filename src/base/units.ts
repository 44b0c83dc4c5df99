import { assert } from './assert.ts'
import { quote, StoreError } from './store-error.ts'

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: KIB,
  mib: MIB,
  gib: GIB,
  tib: 1024 * GIB,
}

/** The first multiple of `multiple` that is not below `value`. Exact for every safe integer. */
export function alignUp(value: number, multiple: number): number {
  assert(value >= 0 && multiple > 0, `cannot align ${value} to ${multiple}`)
  const rest = value % multiple
  return rest === 0 ? value : value + multiple - rest
}

/** For people: `1.5 GiB`, `512 B`. At most one decimal. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  // What would round up to 1024 is shown in the next unit.
  while (Math.round(value * 10) / 10 >= 1024 && unit < BINARY_UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${Math.round(value * 10) / 10} ${BINARY_UNITS[unit]}`
}

/**
 * Reads `4096`, `64MB` (powers of 1000), `30GiB` or `1.5 GiB` (powers of 1024); case is ignored.
 *
 * @throws {StoreError} CONFIG_INVALID: no such size, not a whole number of bytes, or 2^53 and more.
 */
export function parseBytes(text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,16}(?:\.\d{1,6})?) ?([a-z]{0,3})$/i.exec(text) ?? []
  const factor = FACTORS[unit.toLowerCase()]
  const bytes = Number(digits) * (factor ?? Number.NaN)
  if (digits === '' || !Number.isSafeInteger(bytes)) {
    throw new StoreError(
      'CONFIG_INVALID',
      `${quote(text)} is not a size; write bytes like 4096, 64MB or 30GiB`,
    )
  }
  return bytes
}
