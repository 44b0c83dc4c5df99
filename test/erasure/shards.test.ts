import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { encodeShards, type ShardSink } from '../../src/erasure/encode-shards.ts'
import { rebuildShards, type ShardSource } from '../../src/erasure/rebuild-shards.ts'
import { RonomonCodec } from '../../src/erasure/ronomon-codec.ts'
import { StripeGeometry } from '../../src/erasure/stripe-geometry.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng, seeds } from '../support/prng.ts'
import { expectCode, SIGNAL } from '../support/test-volume.ts'

const UNIT = 64
const BLOCK_BYTES = 4 * UNIT

class MemorySink implements ShardSink {
  readonly #pieces: Buffer[] = []

  async write(bytes: Buffer): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    this.#pieces.push(Buffer.from(bytes))
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces)
  }
}

function sourceOf(shard: number, bytes: Buffer): ShardSource {
  return {
    shard,
    read: async (into, at) => {
      bytes.copy(into, 0, at, at + into.length)
    },
  }
}

/** A random volume and its shards. */
async function encoded(seed: number, shards = { dataShards: 4, parityShards: 2 }) {
  const prng = new Prng(seed)
  const codec = RonomonCodec.open(shards, UNIT)
  const smallBlockBytes = UNIT * (1 + prng.below(3))
  const largeBlockBytes = smallBlockBytes * (1 + prng.below(4))
  const datBytes = 1 + prng.below(3 * shards.dataShards * largeBlockBytes)
  const geometry = new StripeGeometry({ ...shards, datBytes, smallBlockBytes, largeBlockBytes })
  const volume = prng.bytes(datBytes)
  const disk = new MemDisk(prng)
  disk.put('/a/3.dat', volume)
  await using dat = await disk.open('/a/3.dat', 'read')
  const sinks = Array.from({ length: geometry.shardCount }, () => new MemorySink())
  const options = { blockBytes: BLOCK_BYTES }
  const checksums = await encodeShards({ dat, geometry, codec }, sinks, options, SIGNAL)
  const { shardBytes } = geometry
  const set = { codec, shardBytes, blockBytes: BLOCK_BYTES, checksums }
  return { prng, geometry, volume, set, shards: sinks.map(({ bytes }) => bytes) }
}

describe('the shards of a volume', () => {
  test.each(seeds(50))('have its bytes where the geometry says (seed %d)', async (seed) => {
    const { geometry, volume, set, shards } = await encoded(seed)
    const pieces = [...geometry.intervals(0, volume.length)].map(({ shard, shardOffset, bytes }) =>
      shards[shard]?.subarray(shardOffset, shardOffset + bytes),
    )
    expect(Buffer.concat(pieces.filter((piece) => piece !== undefined)).equals(volume)).toBe(true)
    for (const { shard, coveredBytes, blockCrcs } of set.checksums) {
      const bytes = shards[shard] ?? Buffer.alloc(0)
      expect([bytes.length, coveredBytes]).toEqual([geometry.shardBytes, geometry.shardBytes])
      const crcs = Array.from(blockCrcs, (_, block) =>
        crc32c(bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)),
      )
      expect([...blockCrcs]).toEqual(crcs)
    }
  })

  // Goal: what is lost comes back byte for byte, from whatever is good. Method: some shards lost,
  // in the others random blocks flipped, never more of one block than the parity makes good.
  test.each(seeds(100))(
    'come back from any that are good, block by block (seed %d)',
    async (seed) => {
      const { prng, set, shards } = await encoded(seed, { dataShards: 3, parityShards: 3 })
      const lost = shards
        .map((_, shard) => shard)
        .filter(() => prng.chance(0.25))
        .slice(0, 2)
      const damaged = shards.map((bytes) => Buffer.from(bytes))
      for (let at = 0; at < set.shardBytes; at += BLOCK_BYTES) {
        const left = damaged.map((_, shard) => shard).filter((shard) => !lost.includes(shard))
        for (let flips = prng.below(4 - lost.length); flips > 0; flips--) {
          const [shard = 0] = left.splice(prng.below(left.length), 1)
          const offset = at + prng.below(Math.min(BLOCK_BYTES, set.shardBytes - at))
          const bytes = damaged[shard]
          if (bytes !== undefined) bytes[offset] = (bytes[offset] ?? 0) ^ (1 << prng.below(8))
        }
      }
      const sources = damaged.map((bytes, shard) => sourceOf(shard, bytes))
      const sinks = new Map(lost.map((shard) => [shard, new MemorySink()]))
      await rebuildShards(set, sources, sinks, {}, SIGNAL)
      for (const [shard, sink] of sinks) {
        expect([shard, sink.bytes.equals(shards[shard] ?? Buffer.alloc(0))]).toEqual([shard, true])
      }
    },
  )

  test('of which too few can be read or are good are SHARDS_LOST, and no sink gets a byte', async () => {
    const { set, shards } = await encoded(1)
    const gone: ShardSource = {
      shard: 3,
      read: () => Promise.reject(new StoreError('UNAVAILABLE', 'it is down')),
    }
    const wrong = sourceOf(4, Buffer.alloc(set.shardBytes, 1))
    const good = [0, 1, 2].map((shard) => sourceOf(shard, shards[shard] ?? Buffer.alloc(0)))
    const sink = new MemorySink()
    const rebuilding = rebuildShards(set, [gone, wrong, ...good], new Map([[5, sink]]), {}, SIGNAL)
    await expectCode(rebuilding, 'SHARDS_LOST')
    expect(sink.bytes).toHaveLength(0)
  })

  test('are not made of a volume that is shorter than was said', async () => {
    const { geometry, set, prng } = await encoded(2)
    const disk = new MemDisk(prng)
    disk.put('/a/3.dat', Buffer.alloc(geometry.layout.datBytes - 1))
    await using dat = await disk.open('/a/3.dat', 'read')
    const sinks = Array.from({ length: 6 }, () => new MemorySink())
    const { codec } = set
    const options = { blockBytes: BLOCK_BYTES }
    const encoding = encodeShards({ dat, geometry, codec }, sinks, options, SIGNAL)
    await expectCode(encoding, 'VOLUME_CHANGED')
  })

  test('a sink that fails ends the encoding when no other one is written to any more', async () => {
    const { geometry, set, volume, prng } = await encoded(3)
    const disk = new MemDisk(prng)
    disk.put('/a/3.dat', volume)
    await using dat = await disk.open('/a/3.dat', 'read')
    let writing = 0
    const slow: ShardSink = {
      write: async () => {
        writing++
        await new Promise((resolve) => setTimeout(resolve, 20))
        writing--
      },
    }
    const full = { write: () => Promise.reject(new StoreError('DISK_FULL', 'no room')) }
    const sinks = [full, slow, slow, slow, slow, slow]
    const { codec } = set
    const options = { blockBytes: BLOCK_BYTES }
    await expectCode(encodeShards({ dat, geometry, codec }, sinks, options, SIGNAL), 'DISK_FULL')
    expect(writing).toBe(0)
  })
})
