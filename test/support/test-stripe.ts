import { StoreError } from '../../src/base/store-error.ts'
import { encodeShards, type ShardSink } from '../../src/erasure/encode-shards.ts'
import type { ErasureCodec } from '../../src/erasure/erasure-codec.ts'
import { RebuildPool } from '../../src/erasure/rebuild-pool.ts'
import { RonomonCodec } from '../../src/erasure/ronomon-codec.ts'
import { gatherSlices, type ShardSlices } from '../../src/erasure/shard-slices.ts'
import { StripeGeometry } from '../../src/erasure/stripe-geometry.ts'
import {
  type SlicedSource,
  StripeReader,
  type StripeReaderParts,
} from '../../src/erasure/stripe-reader.ts'
import type { ShardChecksums } from '../../src/format/shard-checksums.ts'
import { MemDisk } from './mem-disk.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'
import { SIGNAL } from './volume-model.ts'

/** What is wrong with a shard. A corrupt one has wrong bytes; see `corrupt`. */
export type ShardFault = 'missing' | 'throwing' | 'hanging'

export interface StripeShape {
  readonly dataShards: number
  readonly parityShards: number
  readonly unitBytes: number
  /** Of the checksums; a multiple of the unit. */
  readonly blockBytes: number
  readonly smallBlockBytes: number
  readonly largeBlockBytes: number
}

export interface ShardRead {
  readonly shard: number
  readonly at: number
  readonly bytes: number
}

export function shapeOf(
  dataShards: number,
  parityShards: number,
  sizes: Partial<StripeShape> = {},
): StripeShape {
  const { unitBytes = 64 } = sizes
  const blockBytes = sizes.blockBytes ?? 4 * unitBytes
  const smallBlockBytes = sizes.smallBlockBytes ?? 2 * unitBytes
  const largeBlockBytes = sizes.largeBlockBytes ?? 3 * smallBlockBytes
  return { dataShards, parityShards, unitBytes, blockBytes, smallBlockBytes, largeBlockBytes }
}

/** The shards of a volume in memory, each of which can be made to fail, and who read what. */
export class TestStripe {
  readonly volume: Buffer
  readonly geometry: StripeGeometry
  readonly codec: ErasureCodec
  readonly checksums: ShardChecksums
  /** As they were coded. */
  readonly originals: readonly Buffer[]
  readonly shards: readonly Buffer[]
  readonly faults = new Map<number, ShardFault>()
  /** Shards that are on this server. */
  readonly here = new Set<number>()
  readonly clock = new SimClock()
  pool = new RebuildPool()
  readonly reads: ShardRead[] = []
  readonly bad: { readonly shard: number; readonly block: number }[] = []
  rebuiltCount = 0

  private constructor(
    volume: Buffer,
    geometry: StripeGeometry,
    codec: ErasureCodec,
    checksums: ShardChecksums,
    shards: readonly Buffer[],
  ) {
    this.volume = volume
    this.geometry = geometry
    this.codec = codec
    this.checksums = checksums
    this.originals = shards
    this.shards = shards.map((bytes) => Buffer.from(bytes))
  }

  static async encode(volume: Buffer, shape: StripeShape): Promise<TestStripe> {
    const { unitBytes, blockBytes, ...layout } = shape
    const codec = RonomonCodec.open(shape, unitBytes)
    const geometry = new StripeGeometry({ ...layout, datBytes: volume.length })
    const disk = new MemDisk(new Prng(1))
    disk.put('/a/3.dat', volume)
    await using dat = await disk.open('/a/3.dat', 'read')
    const sinks = Array.from({ length: geometry.shardCount }, () => new MemorySink())
    const source = { dat, geometry, codec }
    const shards = await encodeShards(source, sinks, { blockBytes }, SIGNAL)
    const checksums = { blockBytes, runId: '1', shards }
    const bytes = sinks.map((sink) => Buffer.concat(sink.pieces))
    return new TestStripe(volume, geometry, codec, checksums, bytes)
  }

  get shardCount(): number {
    return this.geometry.shardCount
  }

  get readBytes(): number {
    return this.reads.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  reader(parts: Partial<StripeReaderParts> = {}): StripeReader {
    const { geometry, codec, checksums, clock, pool } = this
    return new StripeReader({
      geometry,
      codec: () => codec,
      checksums,
      sources: {
        local: (shard) => (this.here.has(shard) ? this.#source(shard) : undefined),
        remote: (shard) => (this.here.has(shard) ? undefined : this.#source(shard)),
      },
      onBad: (shard, block) => this.bad.push({ shard, block }),
      onRebuilt: () => {
        this.rebuiltCount++
      },
      clock,
      pool,
      ...parts,
    })
  }

  /** Flips a bit of a shard. */
  corrupt(shard: number, at: number): void {
    const bytes = this.shards[shard]
    if (bytes !== undefined) bytes[at] = (bytes[at] ?? 0) ^ 0x10
  }

  /** Flips a bit where a byte of the volume lies. */
  corruptAt(datOffset: number): void {
    for (const { shard, shardOffset } of this.geometry.intervals(datOffset, 1)) {
      this.corrupt(shard, shardOffset)
    }
  }

  /** The data shard that a byte of the volume lies in. */
  shardAt(datOffset: number): number {
    for (const { shard } of this.geometry.intervals(datOffset, 1)) return shard
    throw new Error(`byte ${datOffset} is in no shard`)
  }

  blockAt(datOffset: number): number {
    for (const { shardOffset } of this.geometry.intervals(datOffset, 1)) {
      return Math.floor(shardOffset / this.checksums.blockBytes)
    }
    throw new Error(`byte ${datOffset} is in no shard`)
  }

  forget(): void {
    this.reads.length = 0
    this.bad.length = 0
  }

  #source(shard: number): SlicedSource | undefined {
    if (this.faults.get(shard) === 'missing') return undefined
    return memorySource(
      shard,
      async () => {
        const fault = this.faults.get(shard)
        // It does not even hear that nobody waits any more.
        if (fault === 'hanging') await new Promise(() => undefined)
        if (fault === 'throwing') throw new StoreError('UNAVAILABLE', `shard ${shard} is down`)
        await new Promise((resolve) => setImmediate(resolve))
        return this.shards[shard] ?? Buffer.alloc(0)
      },
      this.reads,
    )
  }
}

/** A shard that is where `bytesOf` says, when it is read. */
export function memorySource(
  shard: number,
  bytesOf: () => Promise<Buffer>,
  reads: ShardRead[] = [],
): SlicedSource {
  const readSlices = async (into: Buffer, slices: ShardSlices): Promise<void> => {
    reads.push({ shard, at: slices.at, bytes: into.length })
    const bytes = await bytesOf()
    gatherSlices(bytes.subarray(slices.at), slices, into)
  }
  return {
    shard,
    read: async (into, at) => {
      const { length } = into
      await readSlices(into, { at, lengthBytes: length, count: 1, strideBytes: length })
    },
    readSlices,
  }
}

class MemorySink implements ShardSink {
  readonly pieces: Buffer[] = []

  async write(bytes: Buffer): Promise<void> {
    this.pieces.push(Buffer.from(bytes))
  }
}
