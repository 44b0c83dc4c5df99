import { expect, test } from 'vitest'
import { RowReader, RowWriter } from '../../src/namespace/row-bytes.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { Prng, seeds } from '../support/prng.ts'

test.each([
  [0, '00'],
  [1, '01'],
  [127, '7f'],
  [128, '8001'],
  [300, 'ac02'],
  [16_383, 'ff7f'],
  [16_384, '808001'],
  [2 ** 32, '8080808010'],
  [2 ** 49 - 1, 'ffffffffffff7f'],
  [Number.MAX_SAFE_INTEGER, 'ffffffffffffff0f'],
])('%d is the varint %s', (value, hex) => {
  const row = new RowWriter(0).varint(value).end()
  expect(row.toString('hex')).toBe(hex)
  const reader = new RowReader(row, 'k')
  expect(reader.varint()).toBe(value)
  reader.end()
})

test.each([
  ['a number that is too large', 'ffffffffffffff1f'],
  ['a number without an end', 'ffffffffffffffff01'],
  ['a number cut off', 'ff'],
  ['nothing', ''],
])('%s is METADATA_CORRUPT', (_, hex) => {
  const reader = new RowReader(Buffer.from(hex, 'hex'), 'k')
  expectStoreError(() => reader.varint(), 'METADATA_CORRUPT')
})

test('all parts together have these bytes, and come back', () => {
  const row = new RowWriter(1)
    .u8(1)
    .u16(0x0203)
    .u32(0x04050607)
    .varint(300)
    .raw(Buffer.of(9, 9))
    .bytes(Buffer.of(8))
    .text('é\u{1f600}')
    .hex('0aff')
    .end()
  expect(row.toString('hex')).toBe('01020304050607ac02090901080' + '6c3a9f09f98800aff')
  const reader = new RowReader(row, 'k')
  expect(reader.u8()).toBe(1)
  expect(reader.u16()).toBe(0x0203)
  expect(reader.u32()).toBe(0x04050607)
  expect(reader.varint()).toBe(300)
  expect([...reader.raw(2)]).toEqual([9, 9])
  expect([...reader.bytes()]).toEqual([8])
  expect(reader.text()).toBe('é\u{1f600}')
  expect(reader.hex(2)).toBe('0aff')
  reader.end()
})

test('what follows the end, and a length beyond it, is METADATA_CORRUPT', () => {
  expectStoreError(() => new RowReader(Buffer.of(1), 'k').end(), 'METADATA_CORRUPT')
  const long = new RowWriter(8).varint(Number.MAX_SAFE_INTEGER).end()
  expectStoreError(() => new RowReader(long, 'k').bytes(), 'METADATA_CORRUPT')
  expectStoreError(() => new RowReader(long, 'k').text(), 'METADATA_CORRUPT')
  for (const read of ['u8', 'u16', 'u32'] as const) {
    expectStoreError(() => new RowReader(Buffer.of(), 'k')[read](), 'METADATA_CORRUPT')
  }
})

test('a view into a larger buffer is read from where it begins', () => {
  const whole = Buffer.of(9, 9, 5, 9)
  expect(new RowReader(new Uint8Array(whole.buffer, whole.byteOffset + 2, 1), 'k').u8()).toBe(5)
})

test.each(seeds(20))('random rows come back, from a buffer of any size (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const writer = new RowWriter(prng.below(40))
  const checks: ((reader: RowReader) => void)[] = []
  for (let count = prng.below(50); count > 0; count--) {
    const bytes = prng.bytes(prng.below(200))
    const number = Math.floor((prng.u32() / 2 ** 32) * 2 ** prng.below(54))
    const text = bytes.toString('utf8')
    writer.bytes(bytes).varint(number).text(text)
    checks.push((reader) => {
      expect(reader.bytes().equals(bytes)).toBe(true)
      expect(reader.varint()).toBe(number)
      expect(reader.text()).toBe(text)
    })
  }
  const reader = new RowReader(writer.end(), 'k')
  for (const check of checks) check(reader)
  reader.end()
})
