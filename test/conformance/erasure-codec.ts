import { describe, expect, test } from 'vitest'
import { type ErasureCodec, newColumn, unitOf } from '../../src/erasure/erasure-codec.ts'
import { Prng } from '../support/prng.ts'

type OpenCodec = (shards: {
  readonly dataShards: number
  readonly parityShards: number
}) => ErasureCodec

const SHARDS: readonly (readonly [number, number])[] = [
  [1, 1],
  [2, 1],
  [4, 2],
  [6, 3],
  [10, 4],
  [24, 6],
]
const LOSSES = 30

/** What every `ErasureCodec` must do. */
export function testErasureCodec(name: string, open: OpenCodec): void {
  describe(`${name} as an ErasureCodec`, () => {
    // Goal: any k shards give all. Method: random columns; all but random k shards are filled with
    // noise, and made again.
    test.each(SHARDS)('%i+%i shards: any m may be lost', async (dataShards, parityShards) => {
      const codec = open({ dataShards, parityShards })
      const prng = new Prng(dataShards * 100 + parityShards)
      const all = Array.from({ length: dataShards + parityShards }, (_, shard) => shard)
      const column = newColumn(codec)
      prng.bytes(column.data.length).copy(column.data)
      await codec.encode(column)
      const expected = all.map((shard) => Buffer.from(unitOf(codec, column, shard)))
      for (let round = 0; round < LOSSES; round++) {
        const present = shuffled(prng, all).slice(0, dataShards)
        const lost = all.filter((shard) => !present.includes(shard))
        for (const shard of lost) {
          prng.bytes(codec.unitBytes).copy(unitOf(codec, column, shard))
        }
        // Sometimes not all that are lost are wanted.
        const wanted = lost.filter(() => prng.chance(0.7))
        await codec.rebuild(column, present, wanted)
        for (const shard of [...present, ...wanted]) {
          const isSame = unitOf(codec, column, shard).equals(expected[shard] ?? Buffer.alloc(0))
          expect([round, shard, isSame]).toEqual([round, shard, true])
        }
        for (const shard of all) expected[shard]?.copy(unitOf(codec, column, shard))
      }
    })

    test('many columns at once do not disturb each other', async () => {
      const codec = open({ dataShards: 4, parityShards: 2 })
      const prng = new Prng(1)
      const columns = Array.from({ length: 16 }, () => {
        const column = newColumn(codec)
        prng.bytes(column.data.length).copy(column.data)
        return column
      })
      await Promise.all(columns.map((column) => codec.encode(column)))
      for (const column of columns) {
        const parity = Buffer.from(column.parity)
        column.parity.fill(0)
        await codec.encode(column)
        expect(column.parity.equals(parity)).toBe(true)
      }
    })

    test('a column of zeros has parity of zeros', async () => {
      const codec = open({ dataShards: 10, parityShards: 4 })
      const column = newColumn(codec)
      column.data.fill(0)
      column.parity.fill(1)
      await codec.encode(column)
      expect(column.parity.every((byte) => byte === 0)).toBe(true)
    })
  })
}

function shuffled<Item>(prng: Prng, items: readonly Item[]): Item[] {
  const rest = [...items]
  return items.map(() => rest.splice(prng.below(rest.length), 1)[0] as Item)
}
