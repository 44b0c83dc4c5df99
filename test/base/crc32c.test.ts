import { describe, expect, test } from 'vitest'
import { crc32c, maskCrc32c } from '../../src/base/crc32c.ts'

describe('CRC-32C', () => {
  test.each([
    ['', '00000000', 'a282ead8'],
    ['hello', '9a71bb4c', '191c1fbb'],
    ['123456789', 'e3069283', 'c78ab0e5'],
  ])('of %o is %s raw and %s masked', (text, raw, masked) => {
    const crc = crc32c(Buffer.from(text))
    expect(crc.toString(16).padStart(8, '0')).toBe(raw)
    expect(maskCrc32c(crc).toString(16).padStart(8, '0')).toBe(masked)
  })

  test('continues from the checksum of the bytes before, wherever they are cut', () => {
    const bytes = Buffer.from('123456789')
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(0xe306_9283)
    }
  })

  test('is unsigned: 32 zero bytes give 8a9136aa and a mask that wraps around', () => {
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a91_36aa)
    expect(maskCrc32c(0xffff_ffff)).toBe(0xa282_ead7)
  })
})
