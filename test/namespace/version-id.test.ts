import { expect, test } from 'vitest'
import { isVersionId, newVersionId, timeOfVersionId } from '../../src/namespace/version-id.ts'
import { Prng } from '../support/prng.ts'

test('an id is 12 hex digits of the time and 20 of chance', () => {
  const drawn = [0xaabbccdd, 0, 0x1234ffff]
  const random = { u32: () => drawn.shift() ?? 0 }
  const id = newVersionId(random, Date.UTC(2024, 0, 1))
  expect(id).toBe('018cc251f400aabbccdd000000001234')
  expect(timeOfVersionId(id)).toBe(Date.UTC(2024, 0, 1))
})

test('ids lie in the order of time, and 1,000 of one moment differ', () => {
  const prng = new Prng(1)
  const times = [0, 1, 255, 2 ** 40, 2 ** 48 - 1]
  const ids = times.map((timeMs) => newVersionId(prng, timeMs))
  expect(ids.toSorted()).toEqual(ids)
  expect(ids.map(timeOfVersionId)).toEqual(times)
  expect(ids.every(isVersionId)).toBe(true)
  const many = Array.from({ length: 1000 }, () => newVersionId(prng, 5))
  expect(new Set(many).size).toBe(1000)
})

test.each([
  '',
  'null',
  '018cc251f400aabbccdd00000000123',
  '018cc251f400aabbccdd0000000012345',
  '018CC251F400AABBCCDD000000001234',
  '018cc251f400aabbccdd00000000123g',
  '018cc251f400aabbccdd000000001234\n',
])('%o is no id', (text) => {
  expect(isVersionId(text)).toBe(false)
})
