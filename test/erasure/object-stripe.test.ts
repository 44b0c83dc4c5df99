import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import { shardBytesOf, stripeBytesOf } from '../../src/base/stripe-size.ts'
import { MIB } from '../../src/base/units.ts'
import {
  encodeStripe,
  isStoredShard,
  OBJECT_CODEC_ID,
  type ObjectStripe,
  StripeColumn,
} from '../../src/erasure/object-stripe.ts'
import {
  readObjectStripe,
  type ShardNeedle,
  type StripeReadParts,
} from '../../src/erasure/read-object-stripe.ts'
import { onAbort } from '../../src/runtime/abort.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const SCHEME = { dataShards: 4, parityShards: 2 }
const NEVER = new AbortController().signal
const OPTIONS = { slowMs: 1000, wholeBytesMax: 0 }

interface Stored {
  readonly bytes: Buffer
  readonly stripe: ObjectStripe
  /** What the servers have, by shard. */
  readonly needles: Map<number, Buffer>
}

async function store(sizeBytes: number, scheme = SCHEME, seed = 1): Promise<Stored> {
  const bytes = new Prng(seed).bytes(sizeBytes)
  const encoded = await encodeStripe(bytes, scheme)
  const needles = new Map<number, Buffer>()
  const shards = encoded.shards.map(({ checksum, data }, shard) => {
    if (data.length > 0) needles.set(shard, Buffer.from(data))
    const fileId = data.length > 0 ? parseFileId(`${shard + 1},0100000001`) : undefined
    return { fileId, storedBytes: data.length, checksum }
  })
  const { shardBytes } = encoded
  const codec = OBJECT_CODEC_ID
  const stripe = { sizeBytes, shardBytes, shards, scheme, codec, index: 0, offsetBytes: 0 }
  return { bytes, stripe, needles }
}

/** Servers that have what they have; `asked` are the shards in the order they were asked for. */
class Servers {
  readonly clock = new SimClock()
  readonly asked: string[] = []
  readonly noted: string[] = []
  readonly hanging = new Set<number>()
  readonly suspects = new Set<number>()
  readonly #stored: Stored

  constructor(stored: Stored) {
    this.#stored = stored
  }

  get parts(): StripeReadParts {
    return {
      clock: this.clock,
      isSuspect: (shard) => this.suspects.has(shardOf(shard)),
      onBad: (shard, { code }) => this.noted.push(`${shardOf(shard)} ${code}`),
      fetch: async (needle, range, signal) => {
        const shard = shardOf(needle)
        this.asked.push(range === undefined ? `${shard}` : `${shard}:${range.start}-${range.end}`)
        if (this.hanging.has(shard)) await aborted(signal)
        await new Promise(setImmediate)
        const found = this.#stored.needles.get(shard)
        if (found === undefined) throw new StoreError('UNAVAILABLE', `shard ${shard} is away`)
        const wanted = found.subarray(range?.start ?? 0, range?.end ?? found.length)
        const half = wanted.length >> 1
        return [wanted.subarray(0, half), wanted.subarray(half)]
      },
    }
  }

  async read(start = 0, end = this.#stored.stripe.sizeBytes, signal = NEVER): Promise<Buffer> {
    const range = { start, end }
    const { stripe } = this.#stored
    return Buffer.concat(await readObjectStripe(this.parts, stripe, range, OPTIONS, signal))
  }
}

function shardOf({ fileId }: ShardNeedle): number {
  return fileId.volumeId - 1
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    onAbort(signal, () => reject(new StoreError('CANCELLED', 'it hung to the end')))
  })
}

function* pairs(count: number): Generator<readonly [number, number]> {
  for (let a = 0; a < count; a++) for (let b = a + 1; b < count; b++) yield [a, b]
}

describe('the sizes of a stripe', () => {
  test.each([
    ['4+2', 4, 2, 8 * MIB],
    ['10+4', 10, 4, 8_388_480],
    ['6+3', 6, 3, 8_388_480],
    ['1+6', 1, 6, 1_797_504],
    ['24+6', 24, 6, 8_388_096],
  ])('%s takes up to %d bytes, and 12 MiB with its parity', (_, dataShards, parityShards, max) => {
    const scheme = { dataShards, parityShards }
    expect(stripeBytesOf(scheme)).toBe(max)
    const shardBytes = shardBytesOf(max, scheme)
    expect(shardBytes * dataShards).toBe(max)
    expect(shardBytes * (dataShards + parityShards)).toBeLessThanOrEqual(12 * MIB)
  })

  test.each([
    [1, 64, [1, 0, 0, 0]],
    [64, 64, [64, 0, 0, 0]],
    [65, 64, [64, 1, 0, 0]],
    [256, 64, [64, 64, 64, 64]],
    [257, 128, [128, 128, 1, 0]],
    [800_000, 200_000, [200_000, 200_000, 200_000, 200_000]],
    [819_200, 204_800, [204_800, 204_800, 204_800, 204_800]],
  ])('%d bytes are shards of %d, stored without zeros', async (bytes, shardBytes, stored) => {
    const { stripe, needles } = await store(bytes)
    expect(stripe.shardBytes).toBe(shardBytes)
    expect(stripe.shards.map(({ storedBytes }) => storedBytes)).toEqual([
      ...stored,
      shardBytes,
      shardBytes,
    ])
    expect(needles.size).toBe(stored.filter((length) => length > 0).length + 2)
  })
})

describe('the shards of a stripe', () => {
  test.each([1, 63, 64, 65, 255, 256, 257, 1000, 4096, 100_001])(
    'of %d bytes come back from any four of six',
    async (size) => {
      const { stripe, needles } = await store(size)
      for (const lost of pairs(6)) {
        const column = new StripeColumn(stripe)
        for (const [shard, bytes] of needles) if (!lost.includes(shard)) column.add(shard, [bytes])
        await column.rebuild(lost)
        for (const shard of lost) {
          const expected = needles.get(shard) ?? Buffer.alloc(0)
          expect([lost, column.stored(shard).equals(expected)]).toEqual([lost, true])
        }
      }
    },
  )

  test('are the same wherever the bytes lie in memory, which is not changed', async () => {
    const bytes = new Prng(3).bytes(1024)
    const { shards } = await encodeStripe(bytes, SCHEME)
    for (let shift = 0; shift < 9; shift++) {
      const memory = Buffer.alloc(1040, 0xff)
      memory.set(bytes, shift)
      const moved = await encodeStripe(memory.subarray(shift, shift + 1024), SCHEME)
      expect(moved.shards.map(({ checksum }) => checksum)).toEqual(
        shards.map(({ checksum }) => checksum),
      )
      expect(memory.subarray(shift, shift + 1024).equals(bytes)).toBe(true)
      expect(memory.subarray(shift + 1024).every((byte) => byte === 0xff)).toBe(true)
    }
  })

  test('that come out wrong are SHARDS_LOST, never wrong bytes', async () => {
    const { stripe, needles } = await store(1000)
    const column = new StripeColumn(stripe)
    for (const [shard, bytes] of needles) {
      if (shard === 0) continue
      if (shard === 1) bytes[0] = (bytes[0] ?? 0) ^ 1
      column.add(shard, [bytes])
    }
    await expect(column.rebuild([0])).rejects.toMatchObject({ code: 'SHARDS_LOST' })
  })

  test('of another codec are CODEC_UNAVAILABLE', async () => {
    const { stripe } = await store(1000)
    expect(() => new StripeColumn({ ...stripe, codec: 'vandermonde' })).toThrow(/vandermonde/)
  })

  test('are known by every bit of theirs, and by their length', async () => {
    const { stripe, needles } = await store(100)
    const shard = stripe.shards[0] ?? expect.fail('no shard')
    const bytes = needles.get(0) ?? expect.fail('no needle')
    expect(isStoredShard(shard, [bytes.subarray(0, 3), bytes.subarray(3)])).toBe(true)
    expect(isStoredShard(shard, [bytes.subarray(1)])).toBe(false)
    expect(isStoredShard(shard, [bytes, Buffer.alloc(1)])).toBe(false)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect([bit, isStoredShard(shard, [flipped])]).toEqual([bit, false])
    }
  })
})

describe('reading a stripe', () => {
  test('that is healthy asks for the data shards touched, and no others', async () => {
    const stored = await store(1024)
    const servers = new Servers(stored)
    expect((await servers.read()).equals(stored.bytes)).toBe(true)
    expect(servers.asked).toEqual(['0', '1', '2', '3'])
    servers.asked.length = 0
    expect((await servers.read(250, 300)).equals(stored.bytes.subarray(250, 300))).toBe(true)
    expect(servers.asked).toEqual(['0:250-256', '1:0-44'])
    expect(servers.noted).toEqual([])
    expect(servers.clock.timerCount).toBe(0)
  })

  test('reads small shards whole, since only then they can be verified', async () => {
    const stored = await store(1024)
    const servers = new Servers(stored)
    const options = { ...OPTIONS, wholeBytesMax: 256 }
    const range = { start: 250, end: 300 }
    const pieces = await readObjectStripe(servers.parts, stored.stripe, range, options, NEVER)
    expect(Buffer.concat(pieces).equals(stored.bytes.subarray(250, 300))).toBe(true)
    expect(servers.asked).toEqual(['0', '1'])
  })

  // Goal: any two of six may be away, or have other bytes than were stored, and every range is
  // right all the same. Method: all pairs, all borders of shards and some bytes around.
  test.each([...pairs(6)])('without shards %i and %i gives every range', async (a, b) => {
    for (const damage of ['gone', 'flipped', 'short'] as const) {
      const stored = await store(999)
      for (const shard of [a, b]) {
        const bytes = stored.needles.get(shard) ?? expect.fail('no needle')
        if (damage === 'gone') stored.needles.delete(shard)
        if (damage === 'flipped') bytes[7] = (bytes[7] ?? 0) ^ 4
        if (damage === 'short') stored.needles.set(shard, bytes.subarray(1))
      }
      const options = { ...OPTIONS, wholeBytesMax: 4096 }
      for (const [start, end] of [
        [0, 999],
        [0, 1],
        [255, 257],
        [256, 512],
        [500, 800],
        [998, 999],
      ] as const) {
        const { parts } = new Servers(stored)
        const range = { start, end }
        const pieces = await readObjectStripe(parts, stored.stripe, range, options, NEVER)
        const isRight = Buffer.concat(pieces).equals(stored.bytes.subarray(start, end))
        expect([damage, start, end, isRight]).toEqual([damage, start, end, true])
      }
    }
  })

  test('with three shards away is SHARDS_LOST, with what they failed with', async () => {
    const stored = await store(1024)
    for (const shard of [0, 4, 5]) stored.needles.delete(shard)
    const reading = new Servers(stored).read()
    await expect(reading).rejects.toMatchObject({ code: 'SHARDS_LOST' })
    await expect(reading).rejects.toThrow(/3 shards of stripe 0.*4 are needed.*is away/)
  })

  test('does not wait for a shard that does not answer for a second', async () => {
    const stored = await store(1024)
    const servers = new Servers(stored)
    servers.hanging.add(2)
    let read: Buffer | undefined
    const reading = servers.read().then((bytes) => {
      read = bytes
    })
    await servers.clock.advance(999)
    expect(read).toBeUndefined()
    expect(servers.asked).toEqual(['0', '1', '2', '3'])
    await servers.clock.advance(1)
    await reading
    expect(read?.equals(stored.bytes)).toBe(true)
    expect(servers.asked).toEqual(['0', '1', '2', '3', '4', '5'])
    expect(servers.noted).toEqual(['2 TIMEOUT'])
  })

  test('asks for all at once when a server has failed a short while ago', async () => {
    const stored = await store(1024)
    const servers = new Servers(stored)
    servers.hanging.add(1)
    servers.suspects.add(1)
    expect((await servers.read()).equals(stored.bytes)).toBe(true)
    expect(servers.asked).toEqual(['0', '1', '2', '3', '4', '5'])
  })

  test('of which too few answer ends when the caller gives up', async () => {
    const stored = await store(1024)
    const servers = new Servers(stored)
    for (const shard of [0, 1, 2]) servers.hanging.add(shard)
    const stopping = new AbortController()
    const reading = servers.read(0, 1024, stopping.signal).catch((error: unknown) => error)
    await servers.clock.advance(5000)
    stopping.abort()
    expect(await reading).toMatchObject({ code: 'CANCELLED' })
    expect(servers.clock.timerCount).toBe(0)
  })

  test('lets nothing pass that is no failure of a server', async () => {
    const stored = await store(1024)
    const { parts } = new Servers(stored)
    const fetch = async () => {
      throw new TypeError('a bug')
    }
    const range = { start: 0, end: 10 }
    const reading = readObjectStripe({ ...parts, fetch }, stored.stripe, range, OPTIONS, NEVER)
    await expect(reading).rejects.toThrow(TypeError)
    expect(await reading.catch((error: unknown) => isStoreError(error))).toBe(false)
  })

  // Which answers come first is chance; what comes out is not.
  test('is the same in whatever order the shards come', async () => {
    const prng = new Prng(9)
    for (let round = 0; round < 50; round++) {
      const stored = await store(prng.between(1, 3000), SCHEME, round)
      const servers = new Servers(stored)
      const { fetch } = servers.parts
      const parts: StripeReadParts = {
        ...servers.parts,
        fetch: async (shard, range, signal) => {
          for (let turn = prng.below(6); turn > 0; turn--) await new Promise(setImmediate)
          if (prng.chance(0.1)) throw new StoreError('TIMEOUT', 'by chance')
          return await fetch(shard, range, signal)
        },
      }
      const { sizeBytes } = stored.stripe
      const start = prng.below(sizeBytes)
      const range = { start, end: start + 1 + prng.below(sizeBytes - start) }
      const read = readObjectStripe(parts, stored.stripe, range, OPTIONS, NEVER)
      const found = await read.catch((error: unknown) => error)
      if (isStoreError(found, 'SHARDS_LOST')) continue
      const bytes = Buffer.concat(found as Uint8Array[])
      expect(bytes.equals(stored.bytes.subarray(range.start, range.end))).toBe(true)
    }
  })
})
