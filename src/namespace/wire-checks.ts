import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'

/**
 * Values from the wire, and of JSON in rows that came over it, whose types nobody has checked. Each
 * reader here throws REQUEST_INVALID for a value that means nothing.
 */

const LONE_SURROGATE = /\p{Surrogate}/u
const CANONICAL_ID = /^[0-9a-f]{64}$/

export function invalid(message: string, cause?: unknown): StoreError {
  return new StoreError('REQUEST_INVALID', message, { cause })
}

export function present<Value>(value: Value | null | undefined, what: string): Value {
  if (value === null || value === undefined) throw invalid(`${what} is missing`)
  return value
}

/** Exact: below 2^53. */
export function wholeNumber(value: unknown, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw invalid(`${what} cannot be ${String(value)}`)
}

export function numberFrom(value: unknown, [min, max]: readonly [number, number], what: string) {
  const number = wholeNumber(value, what)
  if (number < min || number > max) throw invalid(`${what} cannot be ${number}: ${min} to ${max}`)
  return number
}

export function oneOf<Word extends string>(
  value: unknown,
  words: readonly Word[],
  what: string,
): Word {
  const found = words.find((word) => word === value)
  if (found === undefined) throw invalid(`${what} cannot be ${quote(String(value))}`)
  return found
}

export function textOf(value: unknown, what: string): string {
  if (typeof value !== 'string') throw invalid(`${what} is no text`)
  return value
}

export function flagOf(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') throw invalid(`${what} is neither true nor false`)
  return value
}

export function canonicalId(value: unknown, what: string): string {
  const id = textOf(value, what)
  if (!CANONICAL_ID.test(id)) throw invalid(`${what} is not 64 hex digits`)
  return id
}

/**
 * Text in the order of which rows are looked for. It may be of any length: where nothing can be,
 * nothing is found.
 *
 * @throws {StoreError} NAME_INVALID, as in the process of a master.
 */
export function pageText(value: string): string {
  if (!LONE_SURROGATE.test(value)) return value
  throw new StoreError('NAME_INVALID', `${quote(value)} is not proper Unicode`)
}

export function pageLimit(value: number): number {
  return numberFrom(value, [1, LIMITS.listNamesMax.value], 'the size of a page')
}

/** An object that is no list. */
export function recordOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${what} is no object`)
  }
  return value as Readonly<Record<string, unknown>>
}

/** Text by name. A name like `__proto__` is one like any other: nothing is ever assigned to it. */
export function textsOf(value: unknown, what: string): Readonly<Record<string, string>> {
  const entries = Object.entries(recordOf(value, what))
  return Object.fromEntries(
    entries.map(([name, text]) => [name, textOf(text, `${quote(name)} of ${what}`)]),
  )
}

export function listOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(`${what} is no list`)
  return value
}

export function atMost<Item>(items: readonly Item[], max: number, what: string): readonly Item[] {
  if (items.length > max) throw invalid(`${items.length} ${what} at once, ${max} may be`)
  return items
}

/** What `convert` makes of a value that may be left out. */
export function maybe<Value, Result>(
  value: Value | null | undefined,
  convert: (value: Value) => Result,
): Result | undefined {
  return value === null || value === undefined ? undefined : convert(value)
}
