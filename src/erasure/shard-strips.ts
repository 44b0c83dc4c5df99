import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { type ErasureCodec, newColumn, type ShardColumn, unitOf } from './erasure-codec.ts'

/**
 * The same run of bytes of every shard, as much as one checksum covers: what is read, coded and
 * written at once. `bytes` is a multiple of the codec's unit, and less at the end of the shards.
 */
export class ShardStrip {
  /** In the order of the shards. */
  readonly shards: readonly Buffer[]
  readonly #codec: ErasureCodec
  readonly #column: ShardColumn
  readonly #whole: readonly Buffer[]

  private constructor(
    codec: ErasureCodec,
    column: ShardColumn,
    whole: readonly Buffer[],
    bytes: number,
  ) {
    assert(bytes % codec.unitBytes === 0, `${bytes} bytes are no whole units`)
    this.#codec = codec
    this.#column = column
    this.#whole = whole
    this.shards = whole.map((buffer) => buffer.subarray(0, bytes))
  }

  static allocate(codec: ErasureCodec, bytesMax: number): ShardStrip {
    const count = codec.dataShards + codec.parityShards
    const whole = Array.from({ length: count }, () => Buffer.allocUnsafeSlow(bytesMax))
    return new ShardStrip(codec, newColumn(codec), whole, bytesMax)
  }

  /** The same memory, for another number of bytes. */
  ofBytes(bytes: number): ShardStrip {
    return new ShardStrip(this.#codec, this.#column, this.#whole, bytes)
  }

  of(shard: number): Buffer {
    const found = this.shards[shard]
    assert(found !== undefined, `shard ${shard}`)
    return found
  }

  crcOf(shard: number): number {
    return crc32c(this.of(shard))
  }

  /** Makes the parity shards. */
  async encode(): Promise<void> {
    const { dataShards, parityShards } = this.#codec
    const data = range(0, dataShards)
    const parity = range(dataShards, dataShards + parityShards)
    await this.#eachColumn(data, parity, () => this.#codec.encode(this.#column))
  }

  /** Makes the shards `wanted` from those `present`, of which there must be k. */
  async rebuild(present: readonly number[], wanted: readonly number[]): Promise<void> {
    await this.#eachColumn(present, wanted, () =>
      this.#codec.rebuild(this.#column, present, wanted),
    )
  }

  async #eachColumn(
    from: readonly number[],
    to: readonly number[],
    code: () => Promise<void>,
  ): Promise<void> {
    const { unitBytes } = this.#codec
    const bytes = this.shards[0]?.length ?? 0
    for (let at = 0; at < bytes; at += unitBytes) {
      for (const shard of from) {
        this.of(shard).copy(unitOf(this.#codec, this.#column, shard), 0, at, at + unitBytes)
      }
      await code()
      for (const shard of to) unitOf(this.#codec, this.#column, shard).copy(this.of(shard), at)
    }
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index)
}
