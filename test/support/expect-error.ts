import { expect } from 'vitest'
import { type ErrorCode, isStoreError, type StoreError } from '../../src/base/store-error.ts'

/** Expects `run` to throw a `StoreError` with one of `codes`, and returns it. */
export function expectStoreError(run: () => unknown, ...codes: ErrorCode[]): StoreError {
  let result: unknown
  try {
    result = run()
  } catch (error) {
    if (!isStoreError(error)) throw error
    expect(codes).toContain(error.code)
    return error
  }
  return expect.fail(`expected ${codes.join(' or ')}, got ${String(result)}`)
}

/** For fuzzing: a value, or undefined for an allowed `StoreError`; any other error escapes. */
export function expectStoreErrorOrValue<T>(run: () => T, ...codes: ErrorCode[]): T | undefined {
  try {
    return run()
  } catch (error) {
    if (!isStoreError(error, ...codes)) throw error
    return undefined
  }
}
