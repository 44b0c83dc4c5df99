import { type ErasureScheme, parseErasureScheme, shardCountOf } from '../../base/erasure-scheme.ts'
import { shardBytesOf, stripeBytesOf } from '../../base/stripe-size.ts'

/** Stripes of an erasure-coded file of so many bytes. */
export function stripeCountOf(sizeBytes: number, scheme: ErasureScheme): number {
  return Math.max(1, Math.ceil(sizeBytes / stripeBytesOf(scheme)))
}

/**
 * Shards of such a file. Those of a few bytes that are empty count, though no needle is stored for
 * them: there is nothing in them that could be lost.
 */
export function fileShardsOf(sizeBytes: number, scheme: ErasureScheme): number {
  return stripeCountOf(sizeBytes, scheme) * shardCountOf(scheme)
}

/** The same, with the scheme as text, like `4+2`. */
export function fileShardsBy(sizeBytes: number, scheme: string): number {
  return fileShardsOf(sizeBytes, parseErasureScheme(scheme))
}

/** Of all shards together: data shards are as long as they need to be, parity shards rounded up. */
export function codedBytesOf(sizeBytes: number, scheme: ErasureScheme): number {
  const stripeBytes = stripeBytesOf(scheme)
  const wholeCount = Math.floor(sizeBytes / stripeBytes)
  const parityBytes = (bytes: number) => scheme.parityShards * shardBytesOf(bytes, scheme)
  return sizeBytes + wholeCount * parityBytes(stripeBytes) + parityBytes(sizeBytes % stripeBytes)
}
