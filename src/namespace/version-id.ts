import { assert } from '../base/assert.ts'
import type { Random } from '../runtime/random.ts'

const TIME_DIGITS = 12

/**
 * 32 hex digits: 12 of the time in milliseconds, so that ids lie in the order of time, and 20 of
 * chance.
 */
export function newVersionId(random: Random, nowMs: number): string {
  assert(Number.isSafeInteger(nowMs) && nowMs >= 0, `a version made at ${nowMs}`)
  const time = nowMs.toString(16).padStart(TIME_DIGITS, '0')
  return time + hex(random.u32(), 8) + hex(random.u32(), 8) + hex(random.u32() >>> 16, 4)
}

export function isVersionId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text)
}

/** Milliseconds since 1970. */
export function timeOfVersionId(id: string): number {
  return Number.parseInt(id.slice(0, TIME_DIGITS), 16)
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
