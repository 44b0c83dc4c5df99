import { expect, test } from 'vitest'
import { AssertionFailure, assert } from '../../src/base/assert.ts'
import { isStoreError } from '../../src/base/store-error.ts'

test('assert passes what is truthy and throws its message for what is not', () => {
  for (const value of [true, 1, 'x', {}]) expect(() => assert(value, 'fine')).not.toThrow()
  for (const value of [false, 0, '', undefined, Number.NaN]) {
    expect(() => assert(value, 'the sky is up')).toThrow(new AssertionFailure('the sky is up'))
  }
})

test('a failed assertion is no StoreError: nobody who handles those catches it', () => {
  const failure = new AssertionFailure('broken')
  expect(isStoreError(failure)).toBe(false)
  expect(failure.name).toBe('AssertionFailure')
})
