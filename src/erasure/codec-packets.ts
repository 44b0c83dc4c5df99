import { type ErasureCodec, newColumn, type ShardColumn, unitOf } from './erasure-codec.ts'
import { gatherSlices } from './shard-slices.ts'

/**
 * How a codec works on a unit: it is cut into blocks of `count` packets of `bytes` each. What lies
 * at one place of all packets of a block depends on nothing but the same place in the blocks of the
 * other shards, so it can be made without the rest of the unit.
 */
export interface CodecPackets {
  readonly count: number
  readonly bytes: number
}

/** Of codes over GF(2^w), for every w there is. */
const COUNTS = [1, 2, 4, 8] as const
/** The least that can be coded: a unit is a multiple of it. */
const PROBE_BYTES = 8

/**
 * Finds out how a codec cuts its unit, by coding: it says so nowhere, and it depends on the number
 * of shards. What is found holds for arbitrary bytes; at worst a packet is the whole unit.
 */
export async function findPackets(codec: ErasureCodec): Promise<CodecPackets> {
  const column = newColumn(codec)
  fillUnevenly(column.data)
  await codec.encode(column)
  for (const count of COUNTS) {
    for (let bytes = codec.unitBytes / count; bytes * count >= PROBE_BYTES; bytes /= 2) {
      if (!Number.isInteger(bytes)) break
      if (await holds(codec, column, { count, bytes })) return { count, bytes }
    }
  }
  return { count: 1, bytes: codec.unitBytes }
}

/** Whether a slice of the packets gives the same parity alone as within the unit. */
async function holds(
  codec: ErasureCodec,
  column: ShardColumn,
  packets: CodecPackets,
): Promise<boolean> {
  const { count, bytes } = packets
  const lengthBytes = Math.min(bytes, PROBE_BYTES)
  const slice = codec.ofUnit(count * lengthBytes)
  const small = newColumn(slice)
  const shards = codec.dataShards + codec.parityShards
  const gather = (shard: number, into: Buffer): void => {
    // The last bytes of the packets of the last block.
    const span = unitOf(codec, column, shard).subarray(
      codec.unitBytes - (count - 1) * bytes - lengthBytes,
    )
    gatherSlices(span, { count, lengthBytes, strideBytes: bytes }, into)
  }
  for (let shard = 0; shard < codec.dataShards; shard++) gather(shard, unitOf(slice, small, shard))
  await slice.encode(small)
  const expected = Buffer.alloc(slice.unitBytes)
  for (let shard = codec.dataShards; shard < shards; shard++) {
    gather(shard, expected)
    if (!expected.equals(unitOf(slice, small, shard))) return false
  }
  return true
}

/** Bytes without a period that a packet could have. */
function fillUnevenly(bytes: Buffer): void {
  let state = 0x9e3779b9
  for (let at = 0; at < bytes.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[at] = state >>> 24
  }
}
