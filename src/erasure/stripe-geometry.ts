import { assert } from '../base/assert.ts'

/** What decides where each byte of a volume lies in its shards. */
export interface StripeLayout {
  readonly dataShards: number
  readonly parityShards: number
  /** Of the volume when it was encoded, super block included. */
  readonly datBytes: number
  readonly largeBlockBytes: number
  readonly smallBlockBytes: number
}

/** A run of bytes of the volume that lies in one piece in one data shard. */
export interface ShardInterval {
  readonly shard: number
  readonly shardOffset: number
  readonly datOffset: number
  readonly bytes: number
}

/**
 * Where the bytes of `.dat` lie in the data shards, and back. With k data shards:
 *
 *     .dat     | large row 0            | large row 1  …  | small row 0     | small row 1  …
 *              | block 0 … block k - 1  |                 | block 0 … k - 1 |       … zeros
 *     shard i  | block i of each large row, one after the other | block i of each small row
 *
 * There are large rows while k large blocks are left of the volume, then small rows; the last one
 * is filled up with zeros. So all shards are equally long, and a multiple of the small block.
 *
 * Source: the erasure-coded volumes of SeaweedFS since October 2025. Before, a rest of exactly one
 * large row became small rows.
 */
export class StripeGeometry {
  readonly layout: StripeLayout
  readonly largeRows: number
  readonly smallRows: number
  /** Of each shard. */
  readonly shardBytes: number
  readonly #largeRowBytes: number
  readonly #smallRowBytes: number

  constructor(layout: StripeLayout) {
    const { dataShards, datBytes, largeBlockBytes, smallBlockBytes } = layout
    assert(dataShards > 0 && layout.parityShards > 0, 'a stripe has data and parity')
    assert(Number.isSafeInteger(datBytes) && datBytes >= 0, `a volume of ${datBytes} bytes`)
    assert(smallBlockBytes > 0 && largeBlockBytes % smallBlockBytes === 0, 'blocks that fit')
    this.layout = layout
    this.#largeRowBytes = dataShards * largeBlockBytes
    this.#smallRowBytes = dataShards * smallBlockBytes
    this.largeRows = Math.floor(datBytes / this.#largeRowBytes)
    const restBytes = datBytes - this.largeRows * this.#largeRowBytes
    this.smallRows = Math.ceil(restBytes / this.#smallRowBytes)
    this.shardBytes = this.largeRows * largeBlockBytes + this.smallRows * smallBlockBytes
  }

  get shardCount(): number {
    return this.layout.dataShards + this.layout.parityShards
  }

  /** The pieces of `bytes` bytes from `datOffset` on, in their order; all within the volume. */
  *intervals(datOffset: number, bytes: number): Generator<ShardInterval> {
    const end = datOffset + bytes
    assert(datOffset >= 0 && bytes >= 0 && end <= this.layout.datBytes, 'within the volume')
    for (let at = datOffset; at < end; ) {
      const { shard, shardOffset, leftBytes } = this.#locate(at)
      const length = Math.min(leftBytes, end - at)
      yield { shard, shardOffset, datOffset: at, bytes: length }
      at += length
    }
  }

  /**
   * Which bytes of the volume `bytes` bytes of a data shard are, in the order of the shard: less
   * where the rest is zeros behind the end of the volume.
   */
  *datRuns(shard: number, shardOffset: number, bytes: number): Generator<ShardInterval> {
    const end = shardOffset + bytes
    assert(shard < this.layout.dataShards && end <= this.shardBytes, 'within a data shard')
    for (let at = shardOffset; at < end; ) {
      const { datOffset, leftBytes } = this.#datOffsetOf(shard, at)
      const length = Math.min(leftBytes, end - at)
      const insideBytes = Math.min(length, this.layout.datBytes - datOffset)
      if (insideBytes > 0) yield { shard, shardOffset: at, datOffset, bytes: insideBytes }
      at += length
    }
  }

  /** `leftBytes`: from there to the end of its block. */
  #locate(datOffset: number): { shard: number; shardOffset: number; leftBytes: number } {
    const { dataShards, largeBlockBytes, smallBlockBytes } = this.layout
    const largeBytes = this.largeRows * this.#largeRowBytes
    const isLarge = datOffset < largeBytes
    const blockBytes = isLarge ? largeBlockBytes : smallBlockBytes
    const inRegion = isLarge ? datOffset : datOffset - largeBytes
    const regionAt = isLarge ? 0 : this.largeRows * largeBlockBytes
    const block = Math.floor(inRegion / blockBytes)
    const inBlock = inRegion - block * blockBytes
    const row = Math.floor(block / dataShards)
    const shardOffset = regionAt + row * blockBytes + inBlock
    return { shard: block % dataShards, shardOffset, leftBytes: blockBytes - inBlock }
  }

  #datOffsetOf(shard: number, shardOffset: number): { datOffset: number; leftBytes: number } {
    const { dataShards, largeBlockBytes, smallBlockBytes } = this.layout
    const largeShardBytes = this.largeRows * largeBlockBytes
    const isLarge = shardOffset < largeShardBytes
    const blockBytes = isLarge ? largeBlockBytes : smallBlockBytes
    const inRegion = isLarge ? shardOffset : shardOffset - largeShardBytes
    const regionAt = isLarge ? 0 : this.largeRows * this.#largeRowBytes
    const row = Math.floor(inRegion / blockBytes)
    const inBlock = inRegion - row * blockBytes
    const datOffset = regionAt + (row * dataShards + shard) * blockBytes + inBlock
    return { datOffset, leftBytes: blockBytes - inBlock }
  }
}
