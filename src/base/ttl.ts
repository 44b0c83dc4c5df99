import { assert } from './assert.ts'
import { quote, StoreError } from './store-error.ts'

export type TtlUnit = 'none' | 'minute' | 'hour' | 'day' | 'week' | 'month' | 'year'

/** A time to live. A month is 30 days and a year 365; a count of 0 means forever. */
export interface Ttl {
  /** 0 to 255: one byte on disk. */
  readonly count: number
  readonly unit: TtlUnit
}

export const TTL_NONE: Ttl = { count: 0, unit: 'none' }

export const TTL_COUNT_MAX = 255

interface UnitFacts {
  readonly unit: TtlUnit
  readonly letter: string
  readonly minutes: number
}

/** The place in this list is the unit's byte on disk. */
const UNITS: readonly UnitFacts[] = [
  { unit: 'none', letter: '', minutes: 0 },
  { unit: 'minute', letter: 'm', minutes: 1 },
  { unit: 'hour', letter: 'h', minutes: 60 },
  { unit: 'day', letter: 'd', minutes: 24 * 60 },
  { unit: 'week', letter: 'w', minutes: 7 * 24 * 60 },
  { unit: 'month', letter: 'M', minutes: 30 * 24 * 60 },
  { unit: 'year', letter: 'y', minutes: 365 * 24 * 60 },
]

const MS_PER_MINUTE = 60_000

/**
 * Reads `3m`, `4h`, `5d`, `6w`, `7M` or `8y`. A bare number counts minutes; empty and 0 mean
 * forever.
 *
 * One byte holds the count, so the value is brought to the largest unit that expresses it exactly
 * (`60m` is `1h`), and if none does within 255, to the smallest unit in which it fits, rounded down
 * (`301m` is `5h`). The Go server does the same, so both agree when a file expires.
 *
 * @throws {StoreError} TTL_INVALID: another text, or more than 255 years.
 */
export function parseTtl(text: string): Ttl {
  if (text === '') return TTL_NONE
  const match = /^(\d{1,9})([mhdwMy]?)$/.exec(text)
  if (match === null) {
    throw new StoreError('TTL_INVALID', `${quote(text)} is not a time to live like 3m, 4h or 5d`)
  }
  const [, digits = '', letter = ''] = match
  const unit = UNITS.find((facts) => facts.letter === (letter === '' ? 'm' : letter))
  const minutes = Number(digits) * (unit?.minutes ?? 0)
  if (minutes === 0) return TTL_NONE
  const ttl = normalise(minutes)
  if (ttl === undefined) {
    throw new StoreError('TTL_INVALID', `${quote(text)} is longer than ${TTL_COUNT_MAX} years`)
  }
  return ttl
}

export function formatTtl(ttl: Ttl): string {
  return isForever(ttl) ? '' : `${ttl.count}${factsOf(ttl).letter}`
}

/** The two bytes on disk. */
export function ttlToBytes(ttl: Ttl): [count: number, unit: number] {
  assert(Number.isInteger(ttl.count) && ttl.count >= 0 && ttl.count <= TTL_COUNT_MAX, 'TTL count')
  return isForever(ttl) ? [0, 0] : [ttl.count, UNITS.indexOf(factsOf(ttl))]
}

/** @throws {StoreError} TTL_INVALID: a unit byte above 6. */
export function ttlFromBytes(count: number, unit: number): Ttl {
  const facts = UNITS[unit]
  if (facts === undefined) throw new StoreError('TTL_INVALID', `TTL unit byte ${unit}`)
  return count === 0 || unit === 0 ? TTL_NONE : { count, unit: facts.unit }
}

/** One number for messages between machines: count in the high byte, unit in the low one. */
export function ttlToWire(ttl: Ttl): number {
  const [count, unit] = ttlToBytes(ttl)
  return (count << 8) | unit
}

/** @throws {StoreError} TTL_INVALID: above 16 bits, or an unknown unit. */
export function ttlFromWire(wire: number): Ttl {
  if (!Number.isInteger(wire) || wire < 0 || wire > 0xffff) {
    throw new StoreError('TTL_INVALID', `TTL number ${wire}`)
  }
  return ttlFromBytes(wire >>> 8, wire & 0xff)
}

/** 0 means forever. */
export function ttlToMs(ttl: Ttl): number {
  return isForever(ttl) ? 0 : ttl.count * factsOf(ttl).minutes * MS_PER_MINUTE
}

function normalise(minutes: number): Ttl | undefined {
  const units = UNITS.slice(1)
  const exact = units.findLast(
    (facts) => minutes % facts.minutes === 0 && minutes / facts.minutes <= TTL_COUNT_MAX,
  )
  const chosen =
    exact ?? units.find((facts) => Math.floor(minutes / facts.minutes) <= TTL_COUNT_MAX)
  if (chosen === undefined) return undefined
  return { count: Math.floor(minutes / chosen.minutes), unit: chosen.unit }
}

function isForever(ttl: Ttl): boolean {
  return ttl.count === 0 || ttl.unit === 'none'
}

function factsOf(ttl: Ttl): UnitFacts {
  const facts = UNITS.find((candidate) => candidate.unit === ttl.unit)
  assert(facts !== undefined, `TTL unit ${ttl.unit}`)
  return facts
}
