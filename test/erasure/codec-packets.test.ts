import { describe, expect, test } from 'vitest'
import { KIB } from '../../src/base/units.ts'
import { findPackets } from '../../src/erasure/codec-packets.ts'
import { newColumn, unitOf } from '../../src/erasure/erasure-codec.ts'
import { Grains } from '../../src/erasure/grains.ts'
import { RONOMON_UNIT_BYTES, RonomonCodec } from '../../src/erasure/ronomon-codec.ts'
import { gatherSlices, spanBytesOf } from '../../src/erasure/shard-slices.ts'
import { Prng } from '../support/prng.ts'

const KINDS: readonly (readonly [data: number, parity: number])[] = [
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 2],
  [6, 3],
  [10, 4],
  [12, 4],
  [17, 3],
  [24, 6],
]

describe('the packets of a codec', () => {
  // Goal: whatever slices are cut at the places of the packets, they can be coded alone.
  // Method: a random column; random slices of it, rebuilt from k others, are those of the column.
  test.each(KINDS)('let any part of a unit be made alone (%d+%d)', async (data, parity) => {
    const prng = new Prng(data * 100 + parity)
    const codec = RonomonCodec.open({ dataShards: data, parityShards: parity })
    const { count, bytes } = await findPackets(codec)
    expect(RONOMON_UNIT_BYTES % (count * bytes)).toBe(0)
    const column = newColumn(codec)
    prng.bytes(column.data.length).copy(column.data)
    await codec.encode(column)
    const grains = new Grains({ count, bytes })
    for (let tries = 0; tries < 20; tries++) {
      const at = prng.below(RONOMON_UNIT_BYTES - 1)
      const length = 1 + prng.below(Math.min(RONOMON_UNIT_BYTES - at, 9 * KIB))
      const shards = prng.shuffle(Array.from({ length: data + parity }, (_, shard) => shard))
      const [lost = 0, ...others] = shards
      const made = new Map<number, Buffer>()
      for (const slices of grains.slices({ at, bytes: length })) {
        const part = codec.ofUnit(slices.count * slices.lengthBytes)
        const small = newColumn(part)
        const present = others.slice(0, data)
        for (const shard of present) {
          const span = unitOf(codec, column, shard).subarray(slices.at)
          gatherSlices(span, slices, unitOf(part, small, shard))
        }
        await part.rebuild(small, present, [lost])
        const unit = unitOf(part, small, lost)
        for (const [grainAt, grain] of grains.of(slices, unit)) made.set(grainAt, grain)
      }
      const found = grains.join({ at, bytes: length }, (grainAt) => made.get(grainAt))
      const expected = unitOf(codec, column, lost).subarray(at, at + length)
      expect([at, length, found?.equals(expected)]).toEqual([at, length, true])
    }
  })

  test('are found where a part of them would not do', async () => {
    const wide = await findPackets(RonomonCodec.open({ dataShards: 10, parityShards: 4 }))
    expect(wide).toEqual({ count: 4, bytes: 16 * KIB })
    const plain = await findPackets(RonomonCodec.open({ dataShards: 2, parityShards: 1 }))
    expect(plain.count * plain.bytes).toBeLessThanOrEqual(RONOMON_UNIT_BYTES)
  })
})

describe('grains', () => {
  const grains = new Grains({ count: 4, bytes: 16 * KIB })

  test.each([
    [0, 1, [{ at: 0, lengthBytes: 1024 }]],
    [1023, 2, [{ at: 0, lengthBytes: 2048 }]],
    [16_384 + 5, 10, [{ at: 0, lengthBytes: 1024 }]],
    [65_536 + 20_480, 1024, [{ at: 65_536 + 4096, lengthBytes: 1024 }]],
    [16_383, 2, [{ at: 0, lengthBytes: 16_384 }]],
    [
      65_535,
      2,
      [
        { at: 15_360, lengthBytes: 1024 },
        { at: 65_536, lengthBytes: 1024 },
      ],
    ],
  ])('around byte %i, %i of them, are these slices', (at, bytes, expected) => {
    const found = [...grains.slices({ at, bytes })]
    expect(found).toEqual(expected.map((each) => ({ ...each, count: 4, strideBytes: 16_384 })))
    for (const slices of found) expect(spanBytesOf(slices)).toBeLessThanOrEqual(65_536)
  })

  test('are packets where those cannot be divided', () => {
    const small = new Grains({ count: 8, bytes: 1000 })
    expect(small.bytes).toBe(1000)
    expect([...small.slices({ at: 2500, bytes: 10 })]).toEqual([
      { at: 0, lengthBytes: 1000, count: 8, strideBytes: 1000 },
    ])
  })

  test('are put together only when all are there', () => {
    const grain = Buffer.alloc(1024, 1)
    const found = (at: number) => (at === 0 ? grain : undefined)
    expect(grains.join({ at: 1000, bytes: 24 }, found)?.equals(Buffer.alloc(24, 1))).toBe(true)
    expect(grains.join({ at: 1000, bytes: 25 }, found)).toBeUndefined()
  })
})
