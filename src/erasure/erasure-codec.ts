import { assert } from '../base/assert.ts'

/**
 * One unit of every shard: the units of the data shards lie one after the other in `data`, those of
 * the parity shards in `parity`.
 */
export interface ShardColumn {
  readonly data: Buffer
  readonly parity: Buffer
}

/**
 * Reed-Solomon: k data shards and m parity shards, any k of which give all. What it does to a
 * column depends on nothing but that column.
 */
export interface ErasureCodec {
  /** Kept with the shards: what one codec made is nothing to another. */
  readonly id: string
  readonly dataShards: number
  readonly parityShards: number
  /** Bytes of each shard that are coded at once; a multiple of 8. Shards are whole units. */
  readonly unitBytes: number

  /** Makes the parity of a column. Its memory must not be touched meanwhile. */
  encode(column: ShardColumn): Promise<void>

  /**
   * Makes the units of the shards `wanted` from those `present`, at least k of them. All others may
   * hold anything, before and after.
   */
  rebuild(column: ShardColumn, present: readonly number[], wanted: readonly number[]): Promise<void>

  /** The same code in other units: a multiple of 8 bytes. What it makes may differ. */
  ofUnit(unitBytes: number): ErasureCodec
}

/** Memory for one column, of arbitrary content. */
export function newColumn(codec: ErasureCodec): ShardColumn {
  const { dataShards, parityShards, unitBytes } = codec
  return {
    data: Buffer.allocUnsafeSlow(dataShards * unitBytes),
    parity: Buffer.allocUnsafeSlow(parityShards * unitBytes),
  }
}

/** The unit of one shard in a column. */
export function unitOf(codec: ErasureCodec, column: ShardColumn, shard: number): Buffer {
  const { dataShards, parityShards, unitBytes } = codec
  assert(shard >= 0 && shard < dataShards + parityShards, `shard ${shard}`)
  const isData = shard < dataShards
  const at = (isData ? shard : shard - dataShards) * unitBytes
  return (isData ? column.data : column.parity).subarray(at, at + unitBytes)
}
