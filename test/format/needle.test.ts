import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { crc32c, maskCrc32c } from '../../src/base/crc32c.ts'
import { needleId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { parseTtl } from '../../src/base/ttl.ts'
import { MIB } from '../../src/base/units.ts'
import {
  decodeNeedle,
  decodeNeedleHeader,
  encodeTombstone,
  matchesChecksum,
  type NeedleInput,
  type NeedleVersion,
  prepareNeedle,
  prepareSpooledNeedle,
  recordBytes,
  TOMBSTONE_BYTES,
} from '../../src/format/needle.ts'
import { decodeAttributes, type NeedleAttributes } from '../../src/format/needle-attributes.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { golden } from '../support/golden.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'
import { encodeNeedle, halvesOf } from '../support/needle-bytes.ts'

const HELLO = Buffer.from('hello')
const APPEND_AT_NS = 1_700_000_000_123_456_789n
const NAMED: NeedleAttributes = { name: 'a.txt', lastModifiedS: 1_700_000_000 }
const FIRST: NeedleInput = {
  id: needleId(0, 1),
  cookie: 0x6370_37d6,
  data: HELLO,
  attributes: NAMED,
}
const FULL: NeedleInput = {
  id: needleId(0x0102_0304, 0x0506_0708),
  cookie: 0xffff_ffff,
  data: HELLO,
  attributes: {
    ...NAMED,
    mime: 'text/plain',
    ttl: parseTtl('4h'),
    pairs: { bucket: 'b', key: 'k' },
    isCompressed: true,
    isChunkManifest: true,
  },
}
const PLAIN_FLAGS = { isCompressed: false, isChunkManifest: false }

describe('golden needles', () => {
  test.each<[string, NeedleVersion, string]>([
    ['needle-v1.dat', 1, '637037d6000000000000000100000005'],
    ['needle-v2.dat', 2, '637037d6000000000000000100000016'],
    ['needle-v3.dat', 3, '637037d6000000000000000100000016'],
  ])('%s decodes as version %i: id 1, data hello', (file, version, head) => {
    const record = golden(file)
    expect(record.subarray(0, 16).toString('hex')).toBe(head)
    const needle = decodeNeedle(record, 0, version)
    expect(needle).toMatchObject({ cookie: 0x6370_37d6, id: { hi: 0, lo: 1 }, version })
    expect(needle.data.toString()).toBe('hello')
    expect(needle.appendAtNs()).toBe(version === 3 ? APPEND_AT_NS : undefined)
    expect(needle.attributes()).toEqual(version === 1 ? {} : { ...NAMED, ...PLAIN_FLAGS })
    expect(record).toHaveLength(recordBytes(needle.sizeBytes, version))
  })

  test('needle-v3.dat is what we write, padding included', () => {
    expect(encodeNeedle(FIRST, APPEND_AT_NS).toString('hex')).toBe(
      '637037d60000000000000001000000160000000568656c6c6f0e05612e747874' +
        '00006553f1009a71bb4c17979cfe3d85cd15000000160000',
    )
    expect(encodeNeedle(FIRST, APPEND_AT_NS)).toEqual(golden('needle-v3.dat'))
  })

  test('needle-v3-full.dat has every attribute and 8 bytes of padding', () => {
    expect(encodeNeedle(FULL, APPEND_AT_NS + 1n)).toEqual(golden('needle-v3-full.dat'))
    const needle = decodeNeedle(golden('needle-v3-full.dat'), 0, 3)
    expect(needle.attributes()).toEqual(FULL.attributes)
    expect(needle).toMatchObject({ id: FULL.id, cookie: 0xffff_ffff, sizeBytes: 60 })
    expect(golden('needle-v3-full.dat')).toHaveLength(16 + 60 + 4 + 8 + 8)
  })

  test('tombstone-v3.dat names the checksum of what it deletes', () => {
    const target = Buffer.alloc(TOMBSTONE_BYTES + 8, 0xee)
    const deleted = { id: FIRST.id, cookie: FIRST.cookie, checksum: crc32c(HELLO) }
    expect(encodeTombstone(deleted, halvesOf(APPEND_AT_NS + 1n), target, 8)).toBe(40)
    expect(target.subarray(8)).toEqual(golden('tombstone-v3.dat'))
    expect(target.subarray(0, 8)).toEqual(Buffer.alloc(8, 0xee))
    const tombstone = decodeNeedle(golden('tombstone-v3.dat'), 0, 3)
    expect(tombstone).toMatchObject({ id: FIRST.id, sizeBytes: 0, checksum: 0x9a71_bb4c })
    expect(tombstone.appendAtNs()).toBe(APPEND_AT_NS + 1n)
    expect(tombstone.data).toHaveLength(0)
    expect(tombstone.attributes()).toEqual({})
  })
})

describe('the length of a record', () => {
  test.each<[NeedleVersion, number, number]>([
    [1, 0, 24],
    [1, 3, 24],
    [1, 4, 32], // 24 bytes are aligned already and still get 8 more.
    [2, 3, 24],
    [2, 4, 32],
    [3, 0, 32],
    [3, 3, 32],
    [3, 4, 40],
    [3, 11, 40],
    [3, 12, 48],
    [3, 22, 56],
    [3, 0x7fff_ffff, 2 ** 31 + 32],
  ])('of version %i with size %i is %i bytes', (version, sizeBytes, bytes) => {
    expect(recordBytes(sizeBytes, version)).toBe(bytes)
  })

  test('has 1 to 8 bytes of padding, each of them once in 8 sizes', () => {
    for (const version of [1, 2, 3] as const) {
      const unpadded = version === 3 ? 28 : 20
      const paddings = Array.from(
        { length: 8 },
        (_, sizeBytes) => recordBytes(sizeBytes, version) - unpadded - sizeBytes,
      )
      expect(paddings.toSorted()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    }
  })

  test('each padding decodes, whatever its content', () => {
    for (let dataBytes = 0; dataBytes < 16; dataBytes++) {
      const input = { ...FIRST, data: Buffer.alloc(dataBytes, 7) }
      const record = encodeNeedle(input, APPEND_AT_NS)
      const { sizeBytes } = prepareNeedle(input)
      expect(record).toHaveLength(recordBytes(sizeBytes, 3))
      record.fill(0xff, 16 + sizeBytes + 12)
      expect(decodeNeedle(record, 0, 3).data).toEqual(input.data)
    }
  })

  test('of a nameless needle is 40 bytes and its data, plus padding', () => {
    const input = { ...FIRST, attributes: {}, data: Buffer.alloc(7) }
    expect(prepareNeedle(input).recordBytes).toBe(48)
  })
})

describe('checksums', () => {
  test.each([
    ['', 0x0000_0000, 0xa282_ead8],
    ['hello', 0x9a71_bb4c, 0x191c_1fbb],
    ['123456789', 0xe306_9283, 0xc78a_b0e5],
  ])('of %o match raw %i and masked %i, and nothing else', (text, raw, masked) => {
    const computed = crc32c(Buffer.from(text))
    expect(matchesChecksum(computed, raw)).toBe(true)
    expect(matchesChecksum(computed, masked)).toBe(true)
    expect(matchesChecksum(computed, raw ^ 1)).toBe(false)
    expect(matchesChecksum(computed, masked ^ 1)).toBe(false)
  })

  test.each<[string, NeedleVersion, number]>([
    ['needle-v1.dat', 1, 21],
    ['needle-v2.dat', 2, 38],
    ['needle-v3.dat', 3, 38],
  ])('%s is accepted with either form and no third', (file, version, crcAt) => {
    const record = golden(file)
    for (const checksum of [0x9a71_bb4c, 0x191c_1fbb]) {
      record.writeUInt32BE(checksum, crcAt)
      expect(decodeNeedle(record, 0, version).checksum).toBe(checksum)
    }
    record.writeUInt32BE(maskCrc32c(0x191c_1fbb), crcAt)
    expectStoreError(() => decodeNeedle(record, 0, version), 'NEEDLE_CORRUPT')
  })

  test('a flip of any data bit is NEEDLE_CORRUPT', () => {
    for (let bit = 0; bit < HELLO.length * 8; bit++) {
      const record = golden('needle-v3.dat')
      const at = 20 + (bit >> 3)
      record[at] = (record[at] ?? 0) ^ (1 << (bit & 7))
      expectStoreError(() => decodeNeedle(record, 0, 3), 'NEEDLE_CORRUPT')
    }
  })
})

describe('damaged records', () => {
  const files: [string, NeedleVersion][] = [
    ['needle-v1.dat', 1],
    ['needle-v2.dat', 2],
    ['needle-v3.dat', 3],
    ['needle-v3-full.dat', 3],
    ['tombstone-v3.dat', 3],
  ]

  test.each(files)('%s (version %i) is corrupt at every cut', (file, version) => {
    for (const { bytes } of everyCut(golden(file))) {
      expectStoreError(() => decodeNeedle(bytes, 0, version), 'NEEDLE_CORRUPT')
    }
  })

  test.each(files)(
    '%s (version %i) with any byte changed decodes or is corrupt',
    (file, version) => {
      for (const { bytes } of everyFlip(golden(file))) decodeOrCode(bytes, version)
    },
  )

  test.each([-1, -2, -0x8000_0000])('a size of %i is corrupt', (sizeBytes) => {
    const record = golden('needle-v3.dat')
    record.writeInt32BE(sizeBytes, 12)
    expectStoreError(() => decodeNeedleHeader(record, 0), 'NEEDLE_CORRUPT')
    expectStoreError(() => decodeNeedle(record, 0, 3), 'NEEDLE_CORRUPT')
  })

  test('a header is cut short up to its last byte', () => {
    const header = golden('needle-v3.dat').subarray(0, 16)
    expect(decodeNeedleHeader(header, 0)).toEqual({
      cookie: FIRST.cookie,
      id: FIRST.id,
      sizeBytes: 22,
    })
    for (const { bytes } of everyCut(header)) {
      expectStoreError(() => decodeNeedleHeader(bytes, 0), 'NEEDLE_CORRUPT')
    }
    expectStoreError(() => decodeNeedleHeader(header, 1), 'NEEDLE_CORRUPT')
  })

  test('a claimed size of 2 GiB allocates nothing', () => {
    const record = golden('needle-v3.dat')
    record.writeInt32BE(0x7fff_ffff, 12)
    const before = process.memoryUsage().arrayBuffers
    expectStoreError(() => decodeNeedle(record, 0, 3), 'NEEDLE_CORRUPT')
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MIB)
  })

  test.each([0, 1, 4, 6, 17, 18, 19, 0x7fff_ffff, 0xffff_ffff])(
    'a data size of %i in a body of 22 bytes is corrupt',
    (dataBytes) => {
      const record = golden('needle-v3.dat')
      record.writeUInt32BE(dataBytes, 16)
      expectStoreError(() => decodeNeedle(record, 0, 3), 'NEEDLE_CORRUPT')
    },
  )

  test.each([1, 2, 3])('a body of %i bytes has no room for its data size', (sizeBytes) => {
    const record = Buffer.alloc(recordBytes(sizeBytes, 3))
    record.writeInt32BE(sizeBytes, 12)
    expectStoreError(() => decodeNeedle(record, 0, 3), 'NEEDLE_CORRUPT')
    expectStoreError(() => decodeNeedle(record, 0, 2), 'NEEDLE_CORRUPT')
  })

  test('any bytes decode or are NEEDLE_CORRUPT', () => {
    const bytes = fc.uint8Array({ maxLength: 120 })
    fc.assert(
      fc.property(bytes, fc.constantFrom(1 as const, 2 as const, 3 as const), (source, version) => {
        const record = Buffer.from(source)
        decodeOrCode(record, version)
        if (record.length >= 16) record.writeInt32BE(Math.max(0, record.length - 36), 12)
        decodeOrCode(record, version)
      }),
      { numRuns: 500 },
    )
  })
})

describe('attributes', () => {
  test('of any bytes decode or are NEEDLE_CORRUPT', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(80), (source, end) => {
        const bytes = Buffer.from(source)
        const within = Math.min(end, bytes.length)
        expectStoreErrorOrValue(() => decodeAttributes(bytes, 0, within), 'NEEDLE_CORRUPT')
      }),
      { numRuns: 1000 },
    )
  })

  test('are corrupt at every cut', () => {
    const end = 16 + 60
    for (let cut = 26; cut < end; cut++) {
      expectStoreError(
        () => decodeAttributes(golden('needle-v3-full.dat'), 25, cut),
        'NEEDLE_CORRUPT',
      )
    }
    expect(decodeAttributes(golden('needle-v3-full.dat'), 25, 25)).toEqual({})
  })

  test('empty name and mime are written as one byte each and read as absent', () => {
    const { attributes } = prepareNeedle({ ...FIRST, attributes: { name: '', mime: '' } })
    expect(attributes.toString('hex')).toBe('0e00000000000000')
    expect(decodeAttributes(attributes, 0, attributes.length)).toEqual({
      lastModifiedS: 0,
      ...PLAIN_FLAGS,
    })
  })

  test.each([
    ['20000401020304', 'no JSON'],
    ['2000025b5d', 'an array'],
    ['2000046e756c6c', 'null'],
    ['20000131', 'a number'],
    ['200000', 'nothing'],
  ])('pairs %s are corrupt: %s', (hex) => {
    const bytes = Buffer.from(hex, 'hex')
    expectStoreError(() => decodeAttributes(bytes, 0, bytes.length), 'NEEDLE_CORRUPT')
  })

  test.each([
    '{"a":{"toString":1,"valueOf":1}}',
    `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`,
    '{"a":{}}',
    '{"a":null}',
    '{"a":5}',
  ])('pairs with another value than strings throw no other error (%#)', (json) => {
    const bytes = pairsOf(json)
    expectStoreErrorOrValue(() => decodeAttributes(bytes, 0, bytes.length), 'NEEDLE_CORRUPT')
  })

  test('a pair may have any name, __proto__ too', () => {
    const bytes = pairsOf('{"__proto__":"x","constructor":"y"}')
    const { pairs = {} } = decodeAttributes(bytes, 0, bytes.length)
    expect(Object.entries(pairs)).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
  })

  test.each<[string, number, NeedleAttributes]>([
    ['name', 255, { name: 'x'.repeat(255) }],
    ['mime', 255, { mime: 'x'.repeat(255) }],
    ['name', 254, { name: 'ä'.repeat(127) }],
    ['last modified', 2 ** 40 - 1, { lastModifiedS: 2 ** 40 - 1 }],
    ['pairs', 65_535, { pairs: { k: 'x'.repeat(65_535 - 8) } }],
  ])('%s of %i fits', (_what, _size, attributes) => {
    const bytes = prepareNeedle({ ...FIRST, attributes }).attributes
    expect(decodeAttributes(bytes, 0, bytes.length)).toMatchObject(attributes)
  })

  test.each<[string, NeedleAttributes]>([
    ['a name of 256 bytes', { name: 'x'.repeat(256) }],
    ['a name of 128 letters that take 256 bytes', { name: 'ä'.repeat(128) }],
    ['a mime type of 256 bytes', { mime: 'x'.repeat(256) }],
    ['a time of 41 bits', { lastModifiedS: 2 ** 40 }],
    ['a negative time', { lastModifiedS: -1 }],
    ['a time that is no number', { lastModifiedS: Number.NaN }],
    ['pairs of 65536 bytes', { pairs: { k: 'x'.repeat(65_536 - 8) } }],
  ])('%s is NEEDLE_INVALID', (_, attributes) => {
    expectStoreError(() => prepareNeedle({ ...FIRST, attributes }), 'NEEDLE_INVALID')
  })

  test('all that were given come back', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
    const short = text.filter((value) => Buffer.byteLength(value) <= 255)
    const attributes = fc.record(
      {
        name: short,
        mime: short,
        lastModifiedS: fc.nat(2 ** 40 - 1),
        ttl: fc.integer({ min: 1, max: 255 }).map((count) => parseTtl(`${count}m`)),
        pairs: fc.dictionary(text, text, { minKeys: 1, maxKeys: 5 }),
        isCompressed: fc.boolean(),
        isChunkManifest: fc.boolean(),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(attributes, fc.uint8Array({ maxLength: 50 }), (given, data) => {
        const record = encodeNeedle({ ...FIRST, data, attributes: given }, APPEND_AT_NS)
        const needle = decodeNeedle(record, 0, 3)
        expect(needle.data.equals(data)).toBe(true)
        expect(needle.appendAtNs()).toBe(APPEND_AT_NS)
        const { pairs, ...others } = needle.attributes()
        const { pairs: givenPairs, ...givenOthers } = given
        expect(others).toEqual({ lastModifiedS: 0, ...PLAIN_FLAGS, ...givenOthers })
        expect({ ...pairs }).toEqual({ ...givenPairs })
      }),
    )
  })
})

describe('writing', () => {
  test('data of 0 and 1 bytes', () => {
    for (const data of [Buffer.alloc(0), Buffer.from('x')]) {
      const record = encodeNeedle({ ...FIRST, data }, APPEND_AT_NS)
      expect(decodeNeedle(record, 0, 3).data).toEqual(data)
    }
  })

  test('data at the limit is prepared, one byte more is NEEDLE_TOO_LARGE', () => {
    const spooled = { ...FIRST, data: Buffer.alloc(0), checksum: 0 }
    const { value } = LIMITS.needleDataMax
    const largest = prepareSpooledNeedle({ ...spooled, dataBytes: value })
    expect(largest.sizeBytes).toBeLessThanOrEqual(0x7fff_ffff)
    expectStoreError(
      () => prepareSpooledNeedle({ ...spooled, dataBytes: value + 1 }),
      'NEEDLE_TOO_LARGE',
    )
  })

  test('a record in the middle of a buffer decodes from there', () => {
    const record = golden('needle-v3.dat')
    const buffer = Buffer.concat([Buffer.alloc(24, 0xff), record, Buffer.alloc(9, 0xff)])
    const needle = decodeNeedle(buffer, 24, 3)
    expect(needle.data.toString()).toBe('hello')
    expect(needle.attributes()).toMatchObject(NAMED)
    expect(needle.appendAtNs()).toBe(APPEND_AT_NS)
  })
})

describe('hasSameAttributes', () => {
  test.each<[string, NeedleAttributes, boolean]>([
    ['the same', NAMED, true],
    ['another time', { ...NAMED, lastModifiedS: 5 }, true],
    ['another name', { ...NAMED, name: 'b.txt' }, false],
    ['a longer name', { ...NAMED, name: 'a.text' }, false],
    ['a mime type', { ...NAMED, mime: 'x' }, false],
    ['a letter moved from name to mime type', { ...NAMED, name: 'a.tx', mime: 't' }, false],
    ['a TTL', { ...NAMED, ttl: parseTtl('1d') }, false],
    ['pairs', { ...NAMED, pairs: { a: 'b' } }, false],
    ['compressed', { ...NAMED, isCompressed: true }, false],
  ])('%s: %o is %s', (_, attributes, isSame) => {
    const needle = decodeNeedle(golden('needle-v3.dat'), 0, 3)
    const { attributes: bytes } = prepareNeedle({ ...FIRST, attributes })
    expect(needle.hasSameAttributes(bytes)).toBe(isSame)
  })

  test('of any two sets of bytes gives an answer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (own) => {
        const record = Buffer.alloc(recordBytes(4 + own.length, 3))
        record.writeInt32BE(4 + own.length, 12)
        record.set(own, 20)
        const needle = decodeNeedle(record, 0, 3)
        expect(needle.hasSameAttributes(Buffer.from(own))).toBe(true)
      }),
    )
  })
})

function decodeOrCode(bytes: Buffer, version: NeedleVersion): void {
  expectStoreErrorOrValue(() => {
    const needle = decodeNeedle(bytes, 0, version)
    needle.appendAtNs()
    needle.attributes()
  }, 'NEEDLE_CORRUPT')
}

function pairsOf(json: string): Buffer {
  const bytes = Buffer.alloc(3 + Buffer.byteLength(json))
  bytes[0] = 0x20
  bytes.writeUInt16BE(Buffer.byteLength(json), 1)
  bytes.write(json, 3)
  return bytes
}
