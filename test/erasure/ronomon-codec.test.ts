import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import { crc32c } from '../../src/base/crc32c.ts'
import { KIB } from '../../src/base/units.ts'
import { newColumn } from '../../src/erasure/erasure-codec.ts'
import { RonomonCodec } from '../../src/erasure/ronomon-codec.ts'
import { testErasureCodec } from '../conformance/erasure-codec.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { Prng } from '../support/prng.ts'

testErasureCodec('RonomonCodec', (shards) => RonomonCodec.open(shards, 4 * KIB))
testErasureCodec('RonomonCodec with units of 25,000 bytes', (shards) =>
  RonomonCodec.open(shards, 25_000),
)

describe('RonomonCodec', () => {
  // Goal: shards on disk can be read by every later version. Method: parity of known bytes.
  test.each([
    [4, 2, 618166231],
    [10, 4, 3424183731],
    [6, 3, 1688912609],
    [2, 1, 429351233],
  ])('makes the same parity for ever: %i+%i', async (dataShards, parityShards, checksum) => {
    const codec = RonomonCodec.open({ dataShards, parityShards })
    expect([codec.id, codec.unitBytes]).toEqual(['ronomon-cauchy', 131_072])
    const column = newColumn(codec)
    new Prng(7).bytes(column.data.length).copy(column.data)
    await codec.encode(column)
    expect(crc32c(column.parity)).toBe(checksum)
  })

  // Shards of objects are coded in units of their own length, whatever that is.
  test.each([
    [8, 2099611593],
    [96, 4268080194],
    [200_000, 2592930622],
    [2_097_152, 1350729198],
  ])('makes the same parity for ever of units of %i bytes', async (unitBytes, checksum) => {
    const codec = RonomonCodec.open({ dataShards: 4, parityShards: 2 }, unitBytes)
    const column = newColumn(codec)
    new Prng(7).bytes(column.data.length).copy(column.data)
    await codec.encode(column)
    expect(crc32c(column.parity)).toBe(checksum)
  })

  test.each([
    [0, 1],
    [1, 0],
    [25, 2],
    [10, 7],
    [1.5, 1],
  ])('%d+%d shards are CODEC_UNAVAILABLE', (dataShards, parityShards) => {
    expectStoreError(() => RonomonCodec.open({ dataShards, parityShards }), 'CODEC_UNAVAILABLE')
  })

  test.each([0, 4, 12, 100, 8.5, 2 ** 31])('units of %d bytes are CODEC_UNAVAILABLE', (bytes) => {
    const shards = { dataShards: 4, parityShards: 2 }
    expectStoreError(() => RonomonCodec.open(shards, bytes), 'CODEC_UNAVAILABLE')
  })

  test('what would end the process is refused before', async () => {
    const codec = RonomonCodec.open({ dataShards: 4, parityShards: 2 }, 64)
    const { data, parity } = newColumn(codec)
    const nothing = Buffer.alloc(0)
    expect(() => codec.encode({ data: nothing, parity })).toThrow(AssertionFailure)
    expect(() => codec.encode({ data, parity: nothing })).toThrow(AssertionFailure)
    const tooFew = codec.rebuild({ data, parity }, [0, 1, 2, 2], [3])
    await expect(tooFew).rejects.toThrow(AssertionFailure)
    const both = codec.rebuild({ data, parity }, [0, 1, 2, 3], [3])
    await expect(both).rejects.toThrow(AssertionFailure)
  })
})
