import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ShardChecksum } from '../format/shard-checksums.ts'
import { cancelledError } from '../runtime/abort.ts'
import { allEnded } from '../runtime/all-ended.ts'
import type { ShardSink } from './encode-shards.ts'
import type { ErasureCodec } from './erasure-codec.ts'
import { ShardStrip } from './shard-strips.ts'

/** A shard that can be read, here or on another server. */
export interface ShardSource {
  readonly shard: number
  /** Fills `into` with the bytes from `at` on. */
  read(into: Buffer, at: number, signal: AbortSignal): Promise<void>
}

export interface ShardSet {
  readonly codec: ErasureCodec
  readonly shardBytes: number
  readonly blockBytes: number
  /** Of all shards, in their order. */
  readonly checksums: readonly ShardChecksum[]
}

/**
 * Makes shards from the others, block by block. Each block is made from k that match their
 * checksums, whichever shards they are of; what comes out has to match as well before a sink gets
 * it. The cheapest sources come first in `sources`: of the rest only what is missing is read.
 *
 * @throws {StoreError} SHARDS_LOST: of some block fewer than k are good. CANCELLED; what sinks
 * throw.
 */
export async function rebuildShards(
  set: ShardSet,
  sources: readonly ShardSource[],
  sinks: ReadonlyMap<number, ShardSink>,
  options: { readonly rest?: (() => Promise<void>) | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { codec, shardBytes, blockBytes } = set
  const whole = ShardStrip.allocate(codec, Math.min(blockBytes, shardBytes))
  const wanted = [...sinks.keys()]
  for (let at = 0; at < shardBytes; at += blockBytes) {
    if (signal.aborted) throw cancelledError(signal, 'while making shards anew')
    const strip = whole.ofBytes(Math.min(blockBytes, shardBytes - at))
    const usable = sources.filter(({ shard }) => !sinks.has(shard))
    const present = await readGood(set, usable, strip, at, signal)
    await strip.rebuild(present, wanted)
    for (const shard of wanted) {
      if (isGood(set, shard, at, strip.of(shard))) continue
      throw new StoreError(
        'SHARDS_LOST',
        `block ${at / blockBytes} of shard ${shard} came out wrong`,
      )
    }
    const writes = [...sinks].map(([shard, sink]) => sink.write(strip.of(shard)))
    await allEnded(writes)
    await options.rest?.()
  }
}

/** Which shards of the strip are read and good: k of them. */
async function readGood(
  set: ShardSet,
  sources: readonly ShardSource[],
  strip: ShardStrip,
  at: number,
  signal: AbortSignal,
): Promise<number[]> {
  const { dataShards } = set.codec
  const present: number[] = []
  const waiting = [...sources]
  while (present.length < dataShards) {
    const some = waiting.splice(0, dataShards - present.length)
    if (some.length === 0) {
      const why = `${present.length} of ${dataShards} shards are good at byte ${at}`
      throw new StoreError('SHARDS_LOST', why)
    }
    const read = some.map(async (source) => {
      const { shard } = source
      return (await readBlock(set, source, strip.of(shard), at, signal)) ? [shard] : []
    })
    present.push(...(await allEnded(read)).flat())
  }
  return present
}

/** False: it cannot be read now, or is not what was written. */
async function readBlock(
  set: ShardSet,
  source: ShardSource,
  into: Buffer,
  at: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await source.read(into, at, signal)
  } catch (error) {
    if (!isStoreError(error) || error.code === 'CANCELLED') throw error
    return false
  }
  return isGood(set, source.shard, at, into)
}

function isGood(
  { checksums, blockBytes }: ShardSet,
  shard: number,
  at: number,
  bytes: Buffer,
): boolean {
  const expected = checksums[shard]?.blockCrcs[at / blockBytes]
  assert(expected !== undefined, `a checksum of shard ${shard} at byte ${at}`)
  return crc32c(bytes) === expected
}
