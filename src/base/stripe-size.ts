import { type ErasureScheme, shardCountOf } from './erasure-scheme.ts'
import { LIMITS } from './limits.ts'

/**
 * The codec cuts a shard into eight packets and adds them up in words of eight bytes, much faster
 * when all packets begin at a word.
 */
const SHARD_ALIGN_BYTES = 64

/** Bytes of the file in a whole stripe; the last one may have fewer. */
export function stripeBytesOf(scheme: ErasureScheme): number {
  const { dataShards } = scheme
  const shardsBytes = LIMITS.objectStripeHeldBytes.value / shardCountOf(scheme)
  const shardBytes = Math.min(LIMITS.objectStripeBytes.value / dataShards, shardsBytes)
  return dataShards * SHARD_ALIGN_BYTES * Math.floor(shardBytes / SHARD_ALIGN_BYTES)
}

/** As short as can be for so many bytes of the file. */
export function shardBytesOf(sizeBytes: number, { dataShards }: ErasureScheme): number {
  const step = dataShards * SHARD_ALIGN_BYTES
  return SHARD_ALIGN_BYTES * Math.ceil(sizeBytes / step)
}
