import { describe, expect, test } from 'vitest'
import { GIB, MIB } from '../../src/base/units.ts'
import { StripeGeometry, type StripeLayout } from '../../src/erasure/stripe-geometry.ts'
import { Prng, seeds } from '../support/prng.ts'

const TEN_FOUR = {
  dataShards: 10,
  parityShards: 4,
  largeBlockBytes: GIB,
  smallBlockBytes: MIB,
}

function randomLayout(prng: Prng): StripeLayout {
  const smallBlockBytes = 1 + prng.below(20)
  const largeBlockBytes = smallBlockBytes * (1 + prng.below(5))
  const dataShards = 1 + prng.below(6)
  const datBytes = prng.below(4 * dataShards * largeBlockBytes)
  return { dataShards, parityShards: 1, datBytes, largeBlockBytes, smallBlockBytes }
}

/** The shards byte by byte, as the picture says; -1 is a zero behind the end of the volume. */
function drawn({ dataShards, datBytes, largeBlockBytes, smallBlockBytes }: StripeLayout) {
  const shards = Array.from({ length: dataShards }, () => [] as number[])
  let at = 0
  while (at < datBytes) {
    const isLarge = datBytes - at >= dataShards * largeBlockBytes
    const blockBytes = isLarge ? largeBlockBytes : smallBlockBytes
    for (const shard of shards) {
      for (let end = at + blockBytes; at < end; at++) shard.push(at < datBytes ? at : -1)
    }
  }
  return shards
}

describe('the shards of a volume', () => {
  test.each([
    [0, 0, 0],
    [1, 0, MIB],
    [10 * MIB, 0, MIB],
    [10 * MIB + 1, 0, 2 * MIB],
    [10 * GIB - 1, 0, GIB],
    // Since October 2025; a row of small blocks before.
    [10 * GIB, 1, GIB],
    [10 * GIB + 1, 1, GIB + MIB],
    [25 * GIB, 2, 2 * GIB + 512 * MIB],
  ])('of %i bytes', (datBytes, largeRows, shardBytes) => {
    const geometry = new StripeGeometry({ ...TEN_FOUR, datBytes })
    expect([geometry.largeRows, geometry.shardBytes]).toEqual([largeRows, shardBytes])
    expect(geometry.shardCount).toBe(14)
  })

  // Goal: every byte is found where the picture draws it. Method: random small layouts, drawn.
  test.each(seeds(200))('hold every byte where the picture draws it (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const layout = randomLayout(prng)
    const geometry = new StripeGeometry(layout)
    const shards = drawn(layout)
    expect(shards.map(({ length }) => length)).toEqual(shards.map(() => geometry.shardBytes))
    const from = prng.below(layout.datBytes + 1)
    const bytes = prng.below(layout.datBytes - from + 1)
    const found: number[] = []
    for (const { shard, shardOffset, datOffset, bytes: length } of geometry.intervals(
      from,
      bytes,
    )) {
      expect(datOffset).toBe(from + found.length)
      found.push(...(shards[shard]?.slice(shardOffset, shardOffset + length) ?? []))
    }
    expect(found).toEqual(Array.from({ length: bytes }, (_, index) => from + index))

    shards.forEach((expected, shard) => {
      const shardFrom = prng.below(expected.length + 1)
      const shardBytes = prng.below(expected.length - shardFrom + 1)
      const seen = Array.from({ length: shardBytes }, () => -1)
      for (const run of geometry.datRuns(shard, shardFrom, shardBytes)) {
        for (let index = 0; index < run.bytes; index++) {
          seen[run.shardOffset - shardFrom + index] = run.datOffset + index
        }
      }
      expect(seen).toEqual(expected.slice(shardFrom, shardFrom + shardBytes))
    })
  })
})
