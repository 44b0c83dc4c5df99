import type { CodecPackets } from './codec-packets.ts'
import type { ShardSlices } from './shard-slices.ts'

/** Little beside what a request costs: larger ones would bring along what nobody asked for. */
const GRAIN_BYTES = 1024

/**
 * The smallest parts of a shard that are made on their own: some of each packet of the codec, or
 * packets that cannot be divided so.
 */
export class Grains {
  readonly bytes: number
  readonly #packets: CodecPackets

  constructor(packets: CodecPackets) {
    this.#packets = packets
    this.bytes = packets.bytes % GRAIN_BYTES === 0 ? GRAIN_BYTES : packets.bytes
  }

  /** What has to be read of other shards, and is made, for a run of bytes of a shard. */
  *slices(range: { readonly at: number; readonly bytes: number }): Generator<ShardSlices> {
    const { count, bytes: strideBytes } = this.#packets
    const blockBytes = count * strideBytes
    const end = range.at + range.bytes
    for (let block = range.at - (range.at % blockBytes); block < end; block += blockBytes) {
      const from = this.#floor(Math.max(range.at, block)) - block
      const to = this.#floor(Math.min(end, block + blockBytes) + this.bytes - 1) - block
      const isInOne = Math.floor(from / strideBytes) === Math.floor((to - 1) / strideBytes)
      // Over the border of packets it is both ends of them: nearly all, and that is rare.
      const lengthBytes = isInOne ? to - from : strideBytes
      const at = block + (isInOne ? from % strideBytes : 0)
      yield { at, lengthBytes, count, strideBytes }
    }
  }

  /** The grains of slices that were made, each memory of its own, by where it lies in the shard. */
  *of(slices: ShardSlices, made: Buffer): Generator<readonly [at: number, grain: Buffer]> {
    const { at, lengthBytes, count, strideBytes } = slices
    for (let slice = 0; slice < count; slice++) {
      for (let within = 0; within < lengthBytes; within += this.bytes) {
        const grain = Buffer.allocUnsafeSlow(this.bytes)
        made.copy(grain, 0, slice * lengthBytes + within)
        yield [at + slice * strideBytes + within, grain]
      }
    }
  }

  /** A run of bytes put together; undefined: a grain of it is not there. */
  join(
    range: { readonly at: number; readonly bytes: number },
    grainAt: (at: number) => Buffer | undefined,
  ): Buffer | undefined {
    const first = this.#floor(range.at)
    const end = range.at + range.bytes
    const grains: Buffer[] = []
    for (let at = first; at < end; at += this.bytes) {
      const grain = grainAt(at)
      if (grain === undefined) return undefined
      grains.push(grain)
    }
    const bytes = Buffer.allocUnsafe(range.bytes)
    for (const [index, grain] of grains.entries()) {
      const at = first + index * this.bytes
      grain.copy(bytes, Math.max(at - range.at, 0), Math.max(range.at - at, 0))
    }
    return bytes
  }

  #floor(at: number): number {
    return at - (at % this.bytes)
  }
}
