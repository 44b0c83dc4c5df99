import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { allEnded } from '../runtime/all-ended.ts'
import { type ErasureCodec, newColumn, type ShardColumn, unitOf } from './erasure-codec.ts'

/** One is filled or emptied while the codec works on another. */
const COLUMNS_AT_ONCE = 2

/**
 * The same run of bytes of every shard, as much as one checksum covers: what is read, coded and
 * written at once. `bytes` is a multiple of the codec's unit, and less at the end of the shards.
 */
export class ShardStrip {
  /** In the order of the shards. */
  readonly shards: readonly Buffer[]
  readonly #codec: ErasureCodec
  readonly #columns: readonly ShardColumn[]
  readonly #whole: readonly Buffer[]

  private constructor(
    codec: ErasureCodec,
    columns: readonly ShardColumn[],
    whole: readonly Buffer[],
    bytes: number,
  ) {
    assert(bytes % codec.unitBytes === 0, `${bytes} bytes are no whole units`)
    this.#codec = codec
    this.#columns = columns
    this.#whole = whole
    this.shards = whole.map((buffer) => buffer.subarray(0, bytes))
  }

  static allocate(codec: ErasureCodec, bytesMax: number): ShardStrip {
    const count = codec.dataShards + codec.parityShards
    const whole = Array.from({ length: count }, () => Buffer.allocUnsafeSlow(bytesMax))
    const columns = Array.from({ length: COLUMNS_AT_ONCE }, () => newColumn(codec))
    return new ShardStrip(codec, columns, whole, bytesMax)
  }

  /** The same memory, for another number of bytes. */
  ofBytes(bytes: number): ShardStrip {
    return new ShardStrip(this.#codec, this.#columns, this.#whole, bytes)
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
    await this.#eachColumn(data, parity, (column) => this.#codec.encode(column))
  }

  /** Makes the shards `wanted` from those `present`, of which there must be k. */
  async rebuild(present: readonly number[], wanted: readonly number[]): Promise<void> {
    await this.#eachColumn(present, wanted, (column) =>
      this.#codec.rebuild(column, present, wanted),
    )
  }

  async #eachColumn(
    from: readonly number[],
    to: readonly number[],
    code: (column: ShardColumn) => Promise<void>,
  ): Promise<void> {
    const { unitBytes } = this.#codec
    const bytes = this.shards[0]?.length ?? 0
    const codeSome = async (column: ShardColumn, first: number): Promise<void> => {
      for (let at = first * unitBytes; at < bytes; at += COLUMNS_AT_ONCE * unitBytes) {
        for (const shard of from) {
          this.of(shard).copy(unitOf(this.#codec, column, shard), 0, at, at + unitBytes)
        }
        await code(column)
        for (const shard of to) unitOf(this.#codec, column, shard).copy(this.of(shard), at)
      }
    }
    await allEnded(this.#columns.map(codeSome))
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index)
}
