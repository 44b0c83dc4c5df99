import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import type { ShardChecksum } from '../format/shard-checksums.ts'
import { cancelledError } from '../runtime/abort.ts'
import { allEnded } from '../runtime/all-ended.ts'
import type { DiskFile } from '../runtime/disk.ts'
import type { ErasureCodec } from './erasure-codec.ts'
import { ShardStrip } from './shard-strips.ts'
import type { StripeGeometry } from './stripe-geometry.ts'

/** Takes the bytes of one shard, from its first to its last. */
export interface ShardSink {
  /** The bytes are somebody else's again when it returns. */
  write(bytes: Buffer): Promise<void>
}

export interface EncodeOptions {
  /** Of each checksum, and what is in memory at once of each shard, twice. */
  readonly blockBytes: number
  /** Awaited after each strip. */
  readonly rest?: (() => Promise<void>) | undefined
  /** Sees every byte of the volume once, in no particular order; what it throws ends the work. */
  readonly onRead?: ((bytes: Buffer, datOffset: number) => void) | undefined
  /** Told after each strip how much of the volume it held. */
  readonly onProgress?: ((datBytes: number) => void) | undefined
}

/** The `.dat` that is coded. */
export type EncodeSource = Pick<DiskFile, 'read'>

/**
 * Makes all shards of a volume, strip by strip: while one is written the next is read and coded.
 * Returns the checksums of what the sinks were given, in the order of the shards.
 *
 * @throws {StoreError} VOLUME_CHANGED: `.dat` is shorter than the geometry says. DISK_FAILED,
 * CANCELLED; what the sinks throw.
 */
export async function encodeShards(
  source: {
    readonly dat: EncodeSource
    readonly geometry: StripeGeometry
    readonly codec: ErasureCodec
  },
  sinks: readonly ShardSink[],
  options: EncodeOptions,
  signal: AbortSignal,
): Promise<ShardChecksum[]> {
  const { geometry, codec } = source
  const { shardBytes, shardCount } = geometry
  const { blockBytes } = options
  assert(sinks.length === shardCount, `${sinks.length} sinks for ${shardCount} shards`)
  const blockCount = Math.ceil(shardBytes / blockBytes)
  const crcs = sinks.map(() => new Uint32Array(blockCount))
  const stripBytes = Math.min(blockBytes, shardBytes)
  const strips = [ShardStrip.allocate(codec, stripBytes), ShardStrip.allocate(codec, stripBytes)]
  let writing: Promise<unknown> = Promise.resolve()
  try {
    for (let block = 0; block < blockCount; block++) {
      if (signal.aborted) throw cancelledError(signal, 'while making shards')
      const at = block * blockBytes
      const strip = strips[block % 2]?.ofBytes(Math.min(blockBytes, shardBytes - at))
      assert(strip !== undefined, 'two strips take turns')
      const readBytes = await readDataShards(source, strip, at, options)
      await strip.encode()
      crcs.forEach((each, shard) => {
        each[block] = strip.crcOf(shard)
      })
      await writing
      writing = allEnded(sinks.map((sink, shard) => sink.write(strip.of(shard))))
      writing.catch(() => 'it is awaited before the next strip')
      options.onProgress?.(readBytes)
      await options.rest?.()
    }
  } finally {
    // Nobody writes any more when this ends, however it ends.
    await writing
  }
  return crcs.map((blockCrcs, shard) => ({ shard, coveredBytes: shardBytes, blockCrcs }))
}

/** What of each data shard belongs into the strip. Returns how many bytes of the volume it is. */
async function readDataShards(
  source: { readonly dat: EncodeSource; readonly geometry: StripeGeometry },
  strip: ShardStrip,
  at: number,
  options: EncodeOptions,
): Promise<number> {
  const { dataShards } = source.geometry.layout
  const reads = Array.from({ length: dataShards }, (_, shard) =>
    readDataShard(source, { shard, bytes: strip.of(shard), at }, options),
  )
  const readBytes = await allEnded(reads)
  return readBytes.reduce((total, bytes) => total + bytes, 0)
}

/** Zeros behind the end of the volume. */
async function readDataShard(
  { dat, geometry }: { readonly dat: EncodeSource; readonly geometry: StripeGeometry },
  into: { readonly shard: number; readonly bytes: Buffer; readonly at: number },
  { onRead }: EncodeOptions,
): Promise<number> {
  const { shard, bytes, at } = into
  let filled = 0
  let readBytes = 0
  for (const run of geometry.datRuns(shard, at, bytes.length)) {
    const from = run.shardOffset - at
    const got = await dat.read(bytes, from, run.bytes, run.datOffset)
    if (got < run.bytes) {
      throw new StoreError('VOLUME_CHANGED', `.dat ends at byte ${run.datOffset + got}`)
    }
    filled = from + run.bytes
    readBytes += run.bytes
    onRead?.(bytes.subarray(from, filled), run.datOffset)
  }
  bytes.fill(0, filled)
  return readBytes
}
