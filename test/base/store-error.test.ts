import { describe, expect, test } from 'vitest'
import { ERROR_CODES, isStoreError, quote, StoreError } from '../../src/base/store-error.ts'

describe('StoreError', () => {
  test('carries code, message and cause', () => {
    const cause = new Error('EIO')
    const error = new StoreError('DISK_FAILED', 'read of 7.dat', { cause })
    expect(error).toMatchObject({ name: 'StoreError', code: 'DISK_FAILED', cause })
    expect(error.message).toBe('read of 7.dat')
    expect(error).toBeInstanceOf(Error)
  })

  test('isStoreError asks for any of the codes, or for any code at all', () => {
    const error: unknown = new StoreError('CLOSED', 'closed')
    expect(isStoreError(error)).toBe(true)
    expect(isStoreError(error, 'CLOSED')).toBe(true)
    expect(isStoreError(error, 'OVERLOADED', 'CLOSED')).toBe(true)
    expect(isStoreError(error, 'OVERLOADED')).toBe(false)
    for (const other of [new Error('CLOSED'), { code: 'CLOSED' }, undefined, 'CLOSED']) {
      expect(isStoreError(other)).toBe(false)
    }
  })

  test('codes are upper-case words and meanings are one line of text', () => {
    for (const [code, meaning] of Object.entries(ERROR_CODES)) {
      expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/)
      expect(meaning).toMatch(/^[a-z][^\n|]{9,89}$/)
    }
  })
})

describe('quote', () => {
  test.each([
    ['abc', '"abc"'],
    ['a"b\n\0', '"a\\"b\\n\\u0000"'],
    ['x'.repeat(60), `"${'x'.repeat(60)}"`],
    ['x'.repeat(61), `"${'x'.repeat(60)}…"`],
  ])('shows %o as %s', (text, shown) => {
    expect(quote(text)).toBe(shown)
  })
})
