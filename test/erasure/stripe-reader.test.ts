import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import { KIB, MIB } from '../../src/base/units.ts'
import { findPackets } from '../../src/erasure/codec-packets.ts'
import { RebuildPool } from '../../src/erasure/rebuild-pool.ts'
import { RONOMON_UNIT_BYTES, RonomonCodec } from '../../src/erasure/ronomon-codec.ts'
import { verifiedPieces } from '../../src/erasure/verified-pieces.ts'
import { encodeSuperBlock } from '../../src/format/super-block.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { Prng, seeds } from '../support/prng.ts'
import {
  memorySource,
  type ShardFault,
  type StripeShape,
  shapeOf,
  TestStripe,
} from '../support/test-stripe.ts'
import { expectCode, gather, PLAIN_SUPER_BLOCK, SIGNAL, settle } from '../support/test-volume.ts'

const SMALL: readonly StripeShape[] = [shapeOf(2, 1), shapeOf(4, 2), shapeOf(6, 3), shapeOf(10, 4)]
const SLOW_MS = LIMITS.shardSlowMs.value

/** A random volume of some large and small rows, and a last row that is not full. */
async function stripeOf(shape: StripeShape, seed = 1, datBytes?: number): Promise<TestStripe> {
  const prng = new Prng(seed)
  const { dataShards, smallBlockBytes, largeBlockBytes } = shape
  const bytes = datBytes ?? dataShards * (largeBlockBytes + smallBlockBytes) + 200
  return TestStripe.encode(prng.bytes(bytes), shape)
}

/** All sets of at most `max` of so many shards. */
function subsets(count: number, max: number): number[][] {
  let found: number[][] = [[]]
  for (let shard = 0; shard < count; shard++) {
    const more = found.filter((set) => set.length < max).map((set) => [...set, shard])
    found = [...found, ...more]
  }
  return found
}

function randomRange(prng: Prng, bytes: number): { at: number; length: number } {
  const at = prng.below(bytes)
  return { at, length: 1 + prng.below(Math.min(bytes - at, 700)) }
}

async function expectBytes(stripe: TestStripe, read: Promise<Buffer>, at: number): Promise<void> {
  const bytes = await read
  const isSame = bytes.equals(stripe.volume.subarray(at, at + bytes.length))
  expect([at, bytes.length, isSame]).toEqual([at, bytes.length, true])
}

const NO_BYTES = Buffer.alloc(0)

async function outcomeOf(reading: Promise<unknown>): Promise<string> {
  try {
    await reading
    return 'read'
  } catch (error) {
    if (!isStoreError(error)) throw error
    return error.code
  }
}

describe('a coded volume without some of its shards', () => {
  const shapes = SMALL.filter(({ dataShards }) => dataShards < 10)
  const faults: readonly ShardFault[] = ['missing', 'throwing']

  // Goal: whichever shards are gone, as many as the parity makes good, every byte is right.
  // Method: every such set, gone or failing; the whole volume, and ranges of it.
  test.each(shapes.flatMap((shape) => faults.map((fault) => [shape, fault] as const)))(
    'is read whole, whichever are gone (%o, %s)',
    async (shape, fault) => {
      const prng = new Prng(shape.dataShards)
      const stripe = await stripeOf(shape)
      for (const lost of subsets(stripe.shardCount, shape.parityShards)) {
        stripe.faults.clear()
        for (const shard of lost) stripe.faults.set(shard, fault)
        stripe.pool = new RebuildPool()
        const reader = stripe.reader()
        await expectBytes(stripe, reader.readVerified(0, stripe.volume.length, SIGNAL), 0)
        for (let tries = 0; tries < 3; tries++) {
          const { at, length } = randomRange(prng, stripe.volume.length)
          await expectBytes(stripe, reader.read(at, length, SIGNAL), at)
        }
      }
      expect(stripe.bad).toEqual([])
    },
  )

  test.each(shapes)(
    'is read whole, whichever are corrupt, and all of them are found (%o)',
    async (shape) => {
      const stripe = await stripeOf(shape)
      const { blockBytes } = stripe.checksums
      for (const corrupt of subsets(stripe.shardCount, shape.parityShards)) {
        for (const [shard, bytes] of stripe.shards.entries()) stripe.originals[shard]?.copy(bytes)
        for (const shard of corrupt) stripe.corrupt(shard, blockBytes + 3)
        stripe.forget()
        stripe.pool = new RebuildPool()
        const reader = stripe.reader()
        await expectBytes(stripe, reader.readVerified(0, stripe.volume.length, SIGNAL), 0)
        // Parity is read only where something is missing.
        const data = corrupt.filter((shard) => shard < shape.dataShards)
        const found = stripe.bad.map(({ shard, block }) => `${shard}/${block}`)
        for (const shard of data) expect(found).toContain(`${shard}/1`)
        expect(corrupt.map((shard) => `${shard}/1`)).toEqual(expect.arrayContaining(found))
      }
    },
  )

  // Goal: right bytes or SHARDS_LOST, whatever is wrong. Method: random faults in random shards of
  // 10+4, more than can be made good among them; a range read is verified, or only of shards that
  // have no wrong bytes.
  test.each(seeds(60))('gives right bytes or none (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const shape = prng.pick(SMALL)
    const stripe = await stripeOf(shape, seed)
    const broken = prng.below(shape.parityShards + 3)
    const shards = prng.shuffle(stripe.shards.map((_, shard) => shard)).slice(0, broken)
    const isCorrupt = prng.chance(0.5)
    for (const shard of shards) {
      if (isCorrupt && prng.chance(0.5)) {
        for (let at = 5; at < stripe.geometry.shardBytes; at += 64) stripe.corrupt(shard, at)
      } else stripe.faults.set(shard, prng.pick(['missing', 'throwing'] as const))
    }
    for (let shard = 0; shard < stripe.shardCount; shard++) {
      if (prng.chance(0.3)) stripe.here.add(shard)
    }
    const reader = stripe.reader()
    for (let tries = 0; tries < 20; tries++) {
      const { at, length } = randomRange(prng, stripe.volume.length)
      const read = isCorrupt
        ? reader.readVerified(at, length, SIGNAL)
        : reader.read(at, length, SIGNAL)
      try {
        await expectBytes(stripe, read, at)
      } catch (error) {
        if (!isStoreError(error, 'SHARDS_LOST')) throw error
        expect(shards.length).toBeGreaterThan(shape.parityShards)
      }
    }
    if (broken > shape.parityShards && shards.some((shard) => shard < shape.dataShards)) {
      const whole = reader.readVerified(0, stripe.volume.length, SIGNAL)
      await expectCode(whole, 'SHARDS_LOST')
    }
  })

  test.each([
    [2, 1],
    [6, 3],
    [10, 4],
  ])(
    'of the real sizes is read by no more than it takes: %d+%d',
    async (dataShards, parityShards) => {
      const sizes = { unitBytes: RONOMON_UNIT_BYTES, blockBytes: MIB, smallBlockBytes: MIB }
      const shape = shapeOf(dataShards, parityShards, { ...sizes, largeBlockBytes: 1024 * MIB })
      const stripe = await stripeOf(shape, 1, dataShards * MIB + 3 * MIB + 1000)
      for (let shard = 0; shard < parityShards; shard++) stripe.faults.set(shard, 'missing')
      const reader = stripe.reader()
      const packets = await findPackets(stripe.codec)
      const at = RONOMON_UNIT_BYTES - 100
      await expectBytes(stripe, reader.read(at - 50, 100, SIGNAL), at - 50)
      // A page of each packet.
      const bytesOf = () => new Set(stripe.reads.map(({ bytes }) => bytes))
      expect(bytesOf()).toEqual(new Set([KIB * packets.count]))
      expect(stripe.reads).toHaveLength(dataShards)
      // Over the border of two grains, of two packets, of two units.
      for (const [border, grains] of [
        [3 * KIB, [2]],
        [packets.bytes, [packets.count === 1 ? 1 : packets.bytes / KIB]],
        [2 * RONOMON_UNIT_BYTES, [1]],
      ] as const) {
        stripe.forget()
        stripe.pool = new RebuildPool()
        await expectBytes(stripe, stripe.reader().read(border - 100, 200, SIGNAL), border - 100)
        const sizes = grains.map((count) => count * KIB * packets.count)
        expect([border, bytesOf()]).toEqual([border, new Set(sizes)])
      }
      await expectBytes(stripe, reader.readVerified(0, stripe.volume.length, SIGNAL), 0)
    },
  )
})

describe('a read from a good shard', () => {
  test('asks for nothing but its bytes, here before elsewhere', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.here.add(0)
    const reader = stripe.reader()
    await expectBytes(stripe, reader.read(10, 50, SIGNAL), 10)
    expect(stripe.reads).toEqual([{ shard: 0, at: 10, bytes: 50 }])
    expect([stripe.rebuiltCount, stripe.clock.timerCount]).toEqual([0, 0])
  })

  test('goes elsewhere when the one here fails', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    const bytes = stripe.originals[0] ?? Buffer.alloc(0)
    const fails = () => Promise.reject(new Error('not to be called'))
    const broken = () => Promise.reject(new StoreError('DISK_FAILED', 'it is broken'))
    const sources = {
      local: (shard: number) => (shard === 0 ? memorySource(shard, broken) : undefined),
      remote: (shard: number) => memorySource(shard, shard === 0 ? async () => bytes : fails),
    }
    const reader = stripe.reader({ sources })
    await expectBytes(stripe, reader.read(10, 50, SIGNAL), 10)
    await expectBytes(stripe, reader.readVerified(10, 50, SIGNAL), 10)
    expect(stripe.rebuiltCount).toBe(0)
  })

  test('outside the volume is RANGE_INVALID', async () => {
    const stripe = await stripeOf(shapeOf(2, 1))
    const reader = stripe.reader()
    const end = stripe.volume.length
    await expectCode(reader.read(end - 10, 11, SIGNAL), 'RANGE_INVALID')
    await expectCode(reader.readVerified(-1, 5, SIGNAL), 'RANGE_INVALID')
    expect(await reader.read(end, 0, SIGNAL)).toHaveLength(0)
    await expectBytes(stripe, reader.read(end - 10, 10, SIGNAL), end - 10)
  })

  test('knows the super block, long ones too', async () => {
    const superBlock = { ...PLAIN_SUPER_BLOCK, compactionRevision: 7, extra: Buffer.alloc(300, 5) }
    const volume = Buffer.concat([encodeSuperBlock(superBlock), Buffer.alloc(900, 1)])
    const stripe = await TestStripe.encode(volume, shapeOf(4, 2))
    stripe.faults.set(0, 'missing')
    const reader = stripe.reader()
    const found = await Promise.all([reader.superBlock(SIGNAL), reader.superBlock(SIGNAL)])
    expect(found).toEqual([superBlock, superBlock])
    stripe.forget()
    await reader.superBlock(SIGNAL)
    expect(stripe.reads).toEqual([])
  })
})

describe('a slow shard', () => {
  test('that hangs holds nobody up for long', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.faults.set(0, 'hanging')
    for (const read of ['read', 'readVerified'] as const) {
      stripe.pool = new RebuildPool()
      const reading = stripe.reader()[read](0, 100, SIGNAL)
      await stripe.clock.advance(SLOW_MS - 1)
      expect(stripe.reads.filter(({ shard }) => shard !== 0)).toEqual([])
      await stripe.clock.advance(1)
      await expectBytes(stripe, reading, 0)
      expect(stripe.clock.timerCount).toBe(0)
      stripe.forget()
    }
  })

  test('among those that stand in for another one is not waited for', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    await stripe.pool.packetsOf(stripe.codec)
    stripe.faults.set(0, 'missing')
    stripe.faults.set(1, 'hanging')
    for (const read of ['read', 'readVerified'] as const) {
      const reading = stripe.reader()[read](100, 20, SIGNAL)
      await settle()
      const asked = stripe.reads.map(({ shard }) => shard)
      expect(asked).toEqual([1, 2, 3, 4])
      await stripe.clock.advance(LIMITS.shardSpareMs.value)
      await expectBytes(stripe, reading, 100)
      expect([stripe.reads.at(-1)?.shard, stripe.clock.timerCount]).toEqual([5, 0])
      stripe.forget()
    }
  })

  test('is waited for a little when bytes were not believed that others made', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    await stripe.pool.packetsOf(stripe.codec)
    stripe.faults.set(0, 'missing')
    stripe.faults.set(1, 'hanging')
    const reader = stripe.reader()
    const fast = reader.read(0, 100, SIGNAL)
    await settle()
    await stripe.clock.advance(LIMITS.shardSpareMs.value)
    await expectBytes(stripe, fast, 0)
    stripe.forget()
    const verified = reader.readVerified(0, 100, SIGNAL)
    await settle()
    expect(stripe.reads.map(({ shard }) => shard)).toEqual([1, 2, 3, 4, 5])
    await stripe.clock.advance(SLOW_MS)
    await expectBytes(stripe, verified, 0)
    expect(stripe.clock.timerCount).toBe(0)
  })

  test('may still answer first', async () => {
    const stripe = await stripeOf(shapeOf(2, 1))
    let answer = (): void => undefined
    const sources = {
      local: () => undefined,
      remote: (shard: number) =>
        memorySource(shard, async () => {
          await new Promise<void>((resolve) => {
            if (shard === 0) answer = resolve
          })
          return stripe.originals[shard] ?? NO_BYTES
        }),
    }
    const reading = stripe.reader({ sources }).read(0, 100, SIGNAL)
    await stripe.clock.advance(10 * SLOW_MS)
    answer()
    await expectBytes(stripe, reading, 0)
  })

  test('is not waited for when another part of the bytes is lost', async () => {
    const stripe = await stripeOf(shapeOf(2, 1))
    stripe.faults.set(0, 'throwing')
    stripe.faults.set(1, 'hanging')
    stripe.faults.set(2, 'missing')
    const { largeBlockBytes } = stripe.geometry.layout
    const reader = stripe.reader()
    await expectCode(reader.read(largeBlockBytes - 10, 20, SIGNAL), 'SHARDS_LOST')
    expect(stripe.clock.timerCount).toBe(0)
  })

  test('is waited for when the others cannot stand in for it', async () => {
    const stripe = await stripeOf(shapeOf(2, 1))
    stripe.faults.set(1, 'missing')
    let answer = (): void => undefined
    const sources = {
      local: () => undefined,
      remote: (shard: number) =>
        shard === 1
          ? undefined
          : memorySource(shard, async () => {
              if (shard === 0) await new Promise<void>((resolve) => (answer = resolve))
              return stripe.originals[shard] ?? NO_BYTES
            }),
    }
    const reading = stripe.reader({ sources }).read(0, 100, SIGNAL)
    await stripe.clock.advance(10 * SLOW_MS)
    answer()
    await expectBytes(stripe, reading, 0)
  })

  test('is no reason for more work when there is much already', async () => {
    const stripe = await stripeOf(shapeOf(2, 1))
    stripe.pool = new RebuildPool({ slots: 2, waitersMax: 1, bytesMax: MIB })
    using _slot = await stripe.pool.enter(SIGNAL)
    stripe.faults.set(0, 'hanging')
    const ending = new AbortController()
    const reading = stripe.reader().read(0, 100, ending.signal)
    await stripe.clock.advance(10 * SLOW_MS)
    expect(stripe.reads).toHaveLength(1)
    ending.abort()
    await expectCode(reading, 'CANCELLED')
  })
})

describe('whoever gives up', () => {
  test('is let go at once, and leaves nothing behind', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    for (let shard = 0; shard < 6; shard++) stripe.faults.set(shard, 'hanging')
    stripe.faults.set(0, 'missing')
    const reader = stripe.reader()
    for (const read of ['read', 'readVerified'] as const) {
      const ending = new AbortController()
      const reading = reader[read](0, 1000, ending.signal)
      reading.catch(() => 'it is awaited below')
      await settle()
      ending.abort()
      await expectCode(reading, 'CANCELLED')
    }
    await settle()
    expect([stripe.clock.timerCount, stripe.pool.underWayCount]).toEqual([0, 0])
  })

  test('does not take the work from others who want the same', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.faults.set(0, 'missing')
    const reader = stripe.reader()
    const ending = new AbortController()
    const first = reader.read(0, 10, ending.signal)
    const second = reader.read(20, 10, SIGNAL)
    ending.abort()
    await expectCode(first, 'CANCELLED')
    await expectBytes(stripe, second, 20)
  })
})

describe('what was made of a lost shard', () => {
  test('is made once for all who want it, and for those who come later', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.faults.set(0, 'missing')
    const reader = stripe.reader()
    const reads = [0, 1, 7, 40].map((at) => expectBytes(stripe, reader.read(at, 20, SIGNAL), at))
    await Promise.all(reads)
    const each = shapeOf(4, 2).dataShards
    expect(stripe.reads).toHaveLength(each)
    await expectBytes(stripe, reader.read(3, 60, SIGNAL), 3)
    expect(stripe.reads).toHaveLength(each)
    // A verified one is not made of it; it asks all, to find who is wrong.
    await expectBytes(stripe, reader.readVerified(3, 60, SIGNAL), 3)
    const all = each + stripe.shardCount - 1
    expect(stripe.reads).toHaveLength(all)
    await expectBytes(stripe, reader.readVerified(60, 30, SIGNAL), 60)
    expect(stripe.reads).toHaveLength(all)
    // It is back: what is known is still nearer than another server, but not than this one.
    stripe.faults.clear()
    await expectBytes(stripe, reader.read(3, 60, SIGNAL), 3)
    expect(stripe.reads).toHaveLength(all)
    stripe.here.add(0)
    await expectBytes(stripe, reader.read(3, 60, SIGNAL), 3)
    expect(stripe.reads.slice(all)).toEqual([{ shard: 0, at: 3, bytes: 60 }])
  })

  test('takes a bounded amount of memory', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.faults.set(0, 'missing')
    stripe.pool = new RebuildPool({ slots: 2, waitersMax: 5, bytesMax: 1300 })
    const reader = stripe.reader()
    await expectBytes(stripe, reader.readVerified(0, stripe.volume.length, SIGNAL), 0)
    expect(stripe.pool.bytes).toBeGreaterThan(0)
    expect(stripe.pool.bytes).toBeLessThanOrEqual(1300)
  })

  test('is not mixed up with that of another volume', async () => {
    const one = await stripeOf(shapeOf(4, 2), 1)
    const other = await stripeOf(shapeOf(4, 2), 2)
    other.pool = one.pool
    for (const stripe of [one, other]) stripe.faults.set(0, 'missing')
    const readers = [one.reader(), other.reader()] as const
    await expectBytes(one, readers[0].read(0, 100, SIGNAL), 0)
    await expectBytes(other, readers[1].read(0, 100, SIGNAL), 0)
  })

  test('from a bad shard is forgotten when it is not believed, and the bad one is found', async () => {
    for (let culprit = 1; culprit < 6; culprit++) {
      const stripe = await stripeOf(shapeOf(4, 2))
      stripe.faults.set(0, 'missing')
      for (let at = 0; at < 64; at++) stripe.corrupt(culprit, at)
      const reader = stripe.reader()
      const wrong = await reader.read(0, 60, SIGNAL)
      const isWrong = !wrong.equals(stripe.volume.subarray(0, 60))
      await expectBytes(stripe, reader.readVerified(0, 60, SIGNAL), 0)
      expect([culprit, isWrong, stripe.bad]).toEqual([
        culprit,
        culprit < 5,
        [{ shard: culprit, block: 0 }],
      ])
      await expectBytes(stripe, reader.read(0, 60, SIGNAL), 0)
    }
  })

  test('waits in line, and is OVERLOADED when that is full', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.faults.set(0, 'missing')
    stripe.pool = new RebuildPool({ slots: 1, waitersMax: 1, bytesMax: MIB })
    const slot = await stripe.pool.enter(SIGNAL)
    const reader = stripe.reader()
    const waiting = reader.read(0, 10, SIGNAL)
    await settle()
    await expectCode(reader.read(70, 10, SIGNAL), 'OVERLOADED')
    slot[Symbol.dispose]()
    await expectBytes(stripe, waiting, 0)
  })
})

const NOTHING_KEPT = { slots: 8, waitersMax: 100, bytesMax: 1 }

describe('a bad block', () => {
  test('stands in for no other, unless there are too few without it', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.pool = new RebuildPool(NOTHING_KEPT)
    stripe.faults.set(0, 'missing')
    const reader = stripe.reader()
    const { smallBlockBytes, largeBlockBytes } = stripe.geometry.layout
    // The first block of each shard, which is in a large row here.
    expect(largeBlockBytes).toBeGreaterThan(smallBlockBytes)
    const found: string[] = []
    for (const shard of [1, 2]) {
      stripe.corrupt(shard, 10)
      const verified = reader.readVerified(shard * largeBlockBytes, 5, SIGNAL)
      found.push(await outcomeOf(verified))
      stripe.forget()
      await reader.read(0, 5, SIGNAL)
      const asked = stripe.reads.map((read) => read.shard).sort()
      // With one bad there are four good ones left, with two there are three: then any may do.
      expect(asked).toEqual(shard === 1 ? [2, 3, 4, 5] : [1, 2, 3, 4])
    }
    expect(found).toEqual(['read', 'SHARDS_LOST'])
    for (const shard of [1, 2]) stripe.originals[shard]?.copy(stripe.shards[shard] ?? NO_BYTES)
    await expectBytes(stripe, reader.readVerified(0, 5, SIGNAL), 0)
  })

  test('is SHARDS_LOST when what is made of good ones does not match', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    const shards = stripe.checksums.shards.map((each) => ({ ...each }))
    const [first] = shards
    if (first !== undefined) shards[0] = { ...first, blockCrcs: first.blockCrcs.map((crc) => ~crc) }
    const reader = stripe.reader({ checksums: { ...stripe.checksums, shards } })
    await expectCode(reader.readVerified(0, 5, SIGNAL), 'SHARDS_LOST')
    expect(stripe.bad).toEqual([{ shard: 0, block: 0 }])
  })

  test('is left alone for a while, then looked at again', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    stripe.pool = new RebuildPool(NOTHING_KEPT)
    stripe.corrupt(0, 10)
    const reader = stripe.reader()
    await expectBytes(stripe, reader.readVerified(0, 30, SIGNAL), 0)
    expect(stripe.bad).toEqual([{ shard: 0, block: 0 }])
    stripe.forget()
    await expectBytes(stripe, reader.read(0, 30, SIGNAL), 0)
    expect(stripe.reads.filter(({ shard }) => shard === 0)).toEqual([])
    stripe.originals[0]?.copy(stripe.shards[0] ?? Buffer.alloc(0))
    await stripe.clock.advance(LIMITS.shardDoubtMs.value)
    await expectBytes(stripe, reader.readVerified(0, 30, SIGNAL), 0)
    expect(stripe.reads.filter(({ shard }) => shard === 0)).toHaveLength(1)
    expect(stripe.bad).toEqual([])
  })

  test('is sound once it was read whole, until something else is found', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    const reader = stripe.reader()
    await reader.read(0, 30, SIGNAL)
    expect(reader.isSound(0, 30)).toBe(false)
    await reader.readVerified(0, 30, SIGNAL)
    expect([reader.isSound(0, 30), reader.isSound(0, 1000)]).toEqual([true, false])
    stripe.faults.set(0, 'missing')
    await expectBytes(stripe, reader.read(0, 30, SIGNAL), 0)
    expect(reader.isSound(0, 30)).toBe(false)
  })
})

describe('the pieces of a volume', () => {
  test('come whole and in order, one ahead, none twice', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    const reader = stripe.reader()
    const range = { fromBytes: 100, toBytes: stripe.volume.length - 50 }
    const bytes = await gather(verifiedPieces(reader, range, SIGNAL))
    expect(bytes.equals(stripe.volume.subarray(100, -50))).toBe(true)
    stripe.forget()
    for await (const piece of verifiedPieces(reader, range, SIGNAL)) {
      expect(piece.length).toBeGreaterThan(0)
      await settle()
      expect(stripe.reads).toHaveLength(2)
      break
    }
  })

  test('that nobody wants any more are not waited for', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    const { blockBytes } = stripe.checksums
    const { largeBlockBytes } = stripe.geometry.layout
    stripe.faults.set(1, 'hanging')
    const range = { fromBytes: largeBlockBytes - blockBytes, toBytes: largeBlockBytes + 10 }
    for await (const _piece of verifiedPieces(stripe.reader(), range, SIGNAL)) {
      if (stripe.reads.some(({ shard }) => shard === 1)) break
    }
    await settle()
    expect(stripe.clock.timerCount).toBe(0)
  })
})

describe('a stripe that does not fit together', () => {
  test('is SIDECAR_CORRUPT with checksums of other shards', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    const { shards } = stripe.checksums
    const few = { ...stripe.checksums, shards: shards.slice(1) }
    expectStoreError(() => stripe.reader({ checksums: few }), 'SIDECAR_CORRUPT')
    const longer = shards.map((each) => ({ ...each, coveredBytes: each.coveredBytes + 1 }))
    const other = { ...stripe.checksums, shards: longer }
    expectStoreError(() => stripe.reader({ checksums: other }), 'SIDECAR_CORRUPT')
  })

  test('is CODEC_UNAVAILABLE in other units, but only when it is needed', async () => {
    const stripe = await stripeOf(shapeOf(4, 2))
    const codec = () => RonomonCodec.open({ dataShards: 4, parityShards: 2 }, 512)
    const reader = stripe.reader({ codec })
    await expectBytes(stripe, reader.read(0, 100, SIGNAL), 0)
    stripe.faults.set(0, 'missing')
    await expectCode(reader.read(0, 100, SIGNAL), 'CODEC_UNAVAILABLE')
  })
})
