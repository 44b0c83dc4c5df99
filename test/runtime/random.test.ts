import { expect, test } from 'vitest'
import { cryptoRandom } from '../../src/runtime/random.ts'

test('5,000 numbers are unsigned 32-bit, and every bit takes both values', () => {
  let ones = 0
  let zeros = 0
  for (let draw = 0; draw < 5000; draw++) {
    const value = cryptoRandom.u32()
    expect(Number.isInteger(value) && value >= 0 && value < 2 ** 32).toBe(true)
    ones |= value
    zeros |= ~value
  }
  expect([ones >>> 0, zeros >>> 0]).toEqual([0xffff_ffff, 0xffff_ffff])
})
