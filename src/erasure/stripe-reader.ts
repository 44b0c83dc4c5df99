import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ShardChecksums } from '../format/shard-checksums.ts'
import {
  decodeSuperBlock,
  SUPER_BLOCK_AT,
  SUPER_BLOCK_BYTES,
  type SuperBlock,
} from '../format/super-block.ts'
import { AbortScope, orAborted } from '../runtime/abort-scope.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Attempt, hedged } from '../runtime/hedged.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { SharedRuns } from '../runtime/shared-runs.ts'
import { BlockMarks } from './block-marks.ts'
import type { ErasureCodec } from './erasure-codec.ts'
import { Grains } from './grains.ts'
import { readFirst } from './read-first.ts'
import type { RebuildPool } from './rebuild-pool.ts'
import type { ShardSource } from './rebuild-shards.ts'
import type { ShardSlices } from './shard-slices.ts'
import type { ShardInterval, StripeGeometry } from './stripe-geometry.ts'

/** A shard of which parts that lie apart can be read in one go. */
export interface SlicedSource extends ShardSource {
  /** Fills `into` with the slices, one after the other. */
  readSlices(into: Buffer, slices: ShardSlices, signal: AbortSignal): Promise<void>
}

/**
 * Where the shards are now; asked before each read. A source is read by several at once, and after
 * a read was aborted its next one may begin before that has ended.
 */
export interface StripeSources {
  /** Here; undefined: it is not. */
  local(shard: number): SlicedSource | undefined
  /** On another server; undefined: it is on none that answers. */
  remote(shard: number): SlicedSource | undefined
}

export interface StripeReaderParts {
  readonly geometry: StripeGeometry
  /** Called when something has to be made anew. @throws {StoreError} CODEC_UNAVAILABLE. */
  readonly codec: () => ErasureCodec
  /** Of all shards. */
  readonly checksums: ShardChecksums
  readonly sources: StripeSources
  /** A block of a shard is not what was coded. */
  readonly onBad: (shard: number, block: number) => void
  /** Bytes were made from other shards, because theirs could not be read, or not in time. */
  readonly onRebuilt?: (() => void) | undefined
  readonly clock: Clock
  readonly pool: RebuildPool
}

/** A run of bytes of one shard. */
interface ShardRange {
  readonly shard: number
  readonly at: number
  readonly bytes: number
}

interface Coding {
  readonly codec: ErasureCodec
  readonly grains: Grains
}

/**
 * Reads the bytes of a volume from its shards. Straight from the shard they lie in, wherever it is;
 * when that is gone, fails or is slow, made from the same bytes of k others.
 *
 * What was made lately is kept, verified or not: shards of one run never change, so it cannot grow
 * old. What was made from a bad shard cannot do harm either. Nobody trusts an unverified byte
 * without a check of his own, and whoever then comes for verified ones makes it be forgotten.
 */
export class StripeReader {
  readonly geometry: StripeGeometry
  readonly clock: Clock
  readonly #parts: StripeReaderParts
  readonly #crcs: readonly Uint32Array[]
  readonly #marks: BlockMarks
  readonly #rebuiltBlocks = new SharedRuns<Buffer>()
  readonly #rebuiltSlices = new SharedRuns<ReadonlyMap<number, Buffer>>()
  readonly #heads = new SharedRuns<SuperBlock>()
  readonly #prefix: string
  #superBlock: SuperBlock | undefined
  #coding: Coding | undefined

  /** @throws {StoreError} SIDECAR_CORRUPT: the checksums are not those of such shards. */
  constructor(parts: StripeReaderParts) {
    this.#parts = parts
    this.geometry = parts.geometry
    this.clock = parts.clock
    this.#crcs = crcsOf(parts.checksums, parts.geometry)
    this.#marks = new BlockMarks(parts.clock, this.#crcs[0]?.length ?? 0)
    this.#prefix = parts.pool.newPrefix()
  }

  /** Of the volume when it was coded. */
  get datBytes(): number {
    return this.geometry.layout.datBytes
  }

  /**
   * Bytes of the volume, as fast as they come. They may be wrong: whoever asks has a checksum of
   * his own, and asks for verified ones when that does not match.
   *
   * @throws {StoreError} RANGE_INVALID: not within the volume. SHARDS_LOST, CODEC_UNAVAILABLE,
   * OVERLOADED, CANCELLED.
   */
  read(datOffset: number, bytes: number, signal: AbortSignal): Promise<Buffer> {
    return this.#readAll(
      datOffset,
      bytes,
      (interval, ending) => this.#fast(interval, ending),
      signal,
    )
  }

  /**
   * Bytes of the volume from blocks that match their checksums, whatever has to be read for that.
   * Every bad block met on the way is reported.
   *
   * @throws {StoreError} as `read`.
   */
  readVerified(datOffset: number, bytes: number, signal: AbortSignal): Promise<Buffer> {
    const verified: ReadInterval = async ({ shard, shardOffset, bytes: wanted }, ending) => {
      const block = Math.floor(shardOffset / this.#blockBytes)
      const whole = await this.#verifiedBlock(shard, block, ending)
      const at = shardOffset - block * this.#blockBytes
      return whole.subarray(at, at + wanted)
    }
    return this.#readAll(datOffset, bytes, verified, signal)
  }

  /** How `readVerified` reads a run of bytes: pieces that lie in one block each, in their order. */
  *blocksOf(datOffset: number, bytes: number): Generator<ShardInterval> {
    this.#checkRange(datOffset, bytes)
    for (const interval of this.geometry.intervals(datOffset, bytes)) {
      for (let done = 0; done < interval.bytes; ) {
        const shardOffset = interval.shardOffset + done
        const leftBytes = this.#blockBytes - (shardOffset % this.#blockBytes)
        const length = Math.min(leftBytes, interval.bytes - done)
        yield { ...interval, shardOffset, datOffset: interval.datOffset + done, bytes: length }
        done += length
      }
    }
  }

  /**
   * Whether all of these bytes were read straight from their shards before, in blocks that matched.
   * That is believed from then on, also of `read`.
   */
  isSound(datOffset: number, bytes: number): boolean {
    for (const { shard, shardOffset } of this.blocksOf(datOffset, bytes)) {
      if (!this.#marks.isSound(shard, Math.floor(shardOffset / this.#blockBytes))) return false
    }
    return true
  }

  /** @throws {StoreError} SUPER_BLOCK_CORRUPT, VERSION_UNSUPPORTED: as coded. As `read`. */
  async superBlock(signal: AbortSignal): Promise<SuperBlock> {
    this.#superBlock ??= await this.#heads.join('', (ending) => this.#readHead(ending), signal)
    return this.#superBlock
  }

  async #readHead(signal: AbortSignal): Promise<SuperBlock> {
    const fixedBytes = Math.min(SUPER_BLOCK_BYTES, this.datBytes)
    const head = await this.readVerified(0, fixedBytes, signal)
    const isLonger = fixedBytes === SUPER_BLOCK_BYTES && head[SUPER_BLOCK_AT.version] !== 1
    const extraBytes = isLonger ? head.readUInt16BE(SUPER_BLOCK_AT.extraSize) : 0
    if (extraBytes === 0) return decodeSuperBlock(head)
    const wholeBytes = Math.min(fixedBytes + extraBytes, this.datBytes)
    return decodeSuperBlock(await this.readVerified(0, wholeBytes, signal))
  }

  async #readAll(
    datOffset: number,
    bytes: number,
    read: ReadInterval,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const intervals = [...this.blocksOf(datOffset, bytes)]
    const [only] = intervals
    if (only !== undefined && intervals.length === 1) return await read(only, signal)
    using scope = new AbortScope(signal)
    const readOne = async (interval: ShardInterval): Promise<Buffer> => {
      try {
        return await read(interval, scope.signal)
      } catch (error) {
        // The rest is of no use without it.
        scope[Symbol.dispose]()
        throw error
      }
    }
    const atOnce = LIMITS.stripeBlocksMax.value
    return Buffer.concat(await mapBounded(intervals, atOnce, readOne, scope.signal), bytes)
  }

  async #fast(interval: ShardInterval, signal: AbortSignal): Promise<Buffer> {
    const { shard, shardOffset: at, bytes } = interval
    const range = { shard, at, bytes }
    const rebuild: Attempt<Buffer> = (ending) => this.#rebuiltRange(range, ending)
    const { sources } = this.#parts
    const isBad = this.#marks.isBad(shard, Math.floor(at / this.#blockBytes))
    const isHere = sources.local(shard) !== undefined
    const isThere = isHere || sources.remote(shard) !== undefined
    if (isBad || !isThere) return await rebuild(signal)
    const kept = isHere ? undefined : this.#kept(range, 'any')
    if (kept !== undefined) return kept
    const read: Attempt<Buffer> = (ending) =>
      this.#readAny(shard, (source) => readRange(source, range, ending), ending)
    return await this.#unlessSlow(read, rebuild, signal)
  }

  async #verifiedBlock(shard: number, block: number, signal: AbortSignal): Promise<Buffer> {
    const at = block * this.#blockBytes
    const bytes = Math.min(this.#blockBytes, this.geometry.shardBytes - at)
    const range = { shard, at, bytes }
    const lingerMs = this.#forgetUnverified(block) ? LIMITS.shardSlowMs.value : 0
    const rebuild: Attempt<Buffer> = (ending) => this.#rebuiltBlock(range, lingerMs, ending)
    const { sources } = this.#parts
    const isThere = sources.local(shard) !== undefined || sources.remote(shard) !== undefined
    if (!isThere || this.#marks.isBad(shard, block)) return await rebuild(signal)
    return await this.#unlessSlow((ending) => this.#readBlock(range, ending), rebuild, signal)
  }

  #unlessSlow(
    first: Attempt<Buffer>,
    second: Attempt<Buffer>,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const { clock, pool } = this.#parts
    // When many make bytes anew already, being slow is no reason to make it more.
    const options = { clock, afterMs: LIMITS.shardSlowMs.value, hasRoom: () => pool.hasRoom }
    return hedged(first, second, options, signal)
  }

  /** From wherever the shard is. @throws {StoreError} SHARD_NOT_FOUND, SHARD_CORRUPT, … */
  async #readAny(
    shard: number,
    read: (source: SlicedSource) => Promise<Buffer>,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const { sources } = this.#parts
    const local = sources.local(shard)
    if (local !== undefined) {
      try {
        return await read(local)
      } catch (error) {
        if (!isStoreError(error) || signal.aborted) throw error
        const remote = sources.remote(shard)
        if (remote === undefined) throw error
        return await read(remote)
      }
    }
    const remote = sources.remote(shard)
    if (remote !== undefined) return await read(remote)
    throw new StoreError('SHARD_NOT_FOUND', `shard ${shard} is nowhere`)
  }

  /** A whole block that matches its checksum. */
  #readBlock(range: ShardRange, signal: AbortSignal): Promise<Buffer> {
    const { shard, at } = range
    const block = at / this.#blockBytes
    const read = async (source: SlicedSource): Promise<Buffer> => {
      const bytes = await readRange(source, range, signal)
      if (crc32c(bytes) === this.#crcs[shard]?.[block]) {
        this.#marks.noteSound(shard, block)
        return bytes
      }
      this.#marks.noteBad(shard, block)
      this.#parts.onBad(shard, block)
      const why = `block ${block} of shard ${shard} does not match its checksum`
      throw new StoreError('SHARD_CORRUPT', why)
    }
    return this.#readAny(shard, read, signal)
  }

  /** From no more of other shards than it takes; those who want the same share the work. */
  async #rebuiltRange(range: ShardRange, signal: AbortSignal): Promise<Buffer> {
    const kept = this.#kept(range, 'any')
    if (kept !== undefined) return kept
    const { shard } = range
    const { grains } = await this.#openCoding()
    const making = [...grains.slices(range)].map((slices) => {
      const key = `${shard}/${slices.at}+${slices.lengthBytes}`
      const start = (ending: AbortSignal) => this.#rebuildSlices(shard, slices, ending)
      return this.#rebuiltSlices.join(key, start, signal)
    })
    const made = new Map((await Promise.all(making)).flatMap((found) => [...found]))
    const bytes = grains.join(range, (at) => made.get(at))
    assert(bytes !== undefined, 'the slices cover the range')
    return bytes
  }

  /** The grains of some slices of a shard, by where they lie in it. */
  async #rebuildSlices(
    shard: number,
    slices: ShardSlices,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<number, Buffer>> {
    const { clock, pool, onRebuilt } = this.#parts
    const { codec, grains } = await this.#openCoding()
    using _slot = await pool.enter(signal)
    const block = Math.floor(slices.at / this.#blockBytes)
    const read = (other: number, ending: AbortSignal) =>
      this.#readAny(other, (source) => readSlices(source, slices, ending), ending)
    const others = this.#othersThan(shard, block)
    const options = { clock, lingerMs: 0, spareMs: LIMITS.shardSpareMs.value }
    const present = await readFirst(others, codec.dataShards, read, options, signal)
    const unit = codec.ofUnit(slices.count * slices.lengthBytes)
    const [made] = await pool.rebuild(unit, present, shard)
    assert(made !== undefined, 'one unit')
    this.#marks.noteUnverified(shard, block)
    const found = new Map(grains.of(slices, made))
    for (const [at, grain] of found) pool.keep(this.#grainKey(shard, at), grain)
    onRebuilt?.()
    return found
  }

  async #rebuiltBlock(range: ShardRange, lingerMs: number, signal: AbortSignal): Promise<Buffer> {
    const kept = this.#kept(range, 'verified')
    if (kept !== undefined) return kept
    const { shard, at } = range
    const key = `${shard}/${at}!${lingerMs}`
    const start = (ending: AbortSignal) => this.#rebuildBlock(range, lingerMs, ending)
    return await this.#rebuiltBlocks.join(key, start, signal)
  }

  async #rebuildBlock(range: ShardRange, lingerMs: number, signal: AbortSignal): Promise<Buffer> {
    const { shard, at } = range
    const { clock, pool, onRebuilt } = this.#parts
    const { codec } = await this.#openCoding()
    using _slot = await pool.enter(signal)
    const block = at / this.#blockBytes
    const read = (other: number, ending: AbortSignal) =>
      this.#readBlock({ ...range, shard: other }, ending)
    const others = this.#othersThan(shard, block)
    // Who looks for a culprit has to hear all of them.
    const options = { clock, lingerMs, spareMs: lingerMs > 0 ? 0 : LIMITS.shardSpareMs.value }
    const present = await readFirst(others, codec.dataShards, read, options, signal)
    const units = await pool.rebuild(codec, present, shard)
    const bytes = Buffer.concat(units)
    if (crc32c(bytes) !== this.#crcs[shard]?.[block]) {
      throw new StoreError('SHARDS_LOST', `block ${block} of shard ${shard} came out wrong`)
    }
    for (const [index, unit] of units.entries()) {
      pool.keep(this.#unitKey(shard, at + index * codec.unitBytes), unit)
    }
    onRebuilt?.()
    return bytes
  }

  /**
   * All others whose block is not known to be bad; when too few of them are left, all others. Those
   * that are here come first, the rest from the lost one on: each lost one burdens others.
   */
  #othersThan(shard: number, block: number): readonly number[] {
    const { shardCount, layout } = this.geometry
    const others = Array.from({ length: shardCount - 1 }, (_, at) => (shard + 1 + at) % shardCount)
    const good = others.filter((other) => !this.#marks.isBad(other, block))
    const usable = good.length < layout.dataShards ? others : good
    const isHere = (other: number): boolean => this.#parts.sources.local(other) !== undefined
    return [...usable.filter(isHere), ...usable.filter((other) => !isHere(other))]
  }

  /** A copy of what was made of a range lately: others use the same bytes. */
  #kept(range: ShardRange, which: 'any' | 'verified'): Buffer | undefined {
    // Without it nothing was made yet, and so far none is needed.
    if (this.#coding === undefined) return undefined
    const { pool } = this.#parts
    const { codec, grains } = this.#coding
    const { shard } = range
    return grains.join(range, (at) => {
      const unitAt = at - (at % codec.unitBytes)
      const unit = pool.kept(this.#unitKey(shard, unitAt))
      if (unit !== undefined) return unit.subarray(at - unitAt, at - unitAt + grains.bytes)
      return which === 'any' ? pool.kept(this.#grainKey(shard, at)) : undefined
    })
  }

  /** True: there were some, of whatever shard, and somebody did not trust what he read. */
  #forgetUnverified(block: number): boolean {
    if (!this.#marks.forgetUnverified(block) || this.#coding === undefined) return false
    const { grains } = this.#coding
    const end = Math.min((block + 1) * this.#blockBytes, this.geometry.shardBytes)
    for (let shard = 0; shard < this.geometry.layout.dataShards; shard++) {
      for (let at = block * this.#blockBytes; at < end; at += grains.bytes) {
        this.#parts.pool.forget(this.#grainKey(shard, at))
      }
    }
    return true
  }

  /** Of bytes that were not verified. */
  #grainKey(shard: number, at: number): string {
    return `${this.#prefix}/${shard}/${at}`
  }

  /** Of bytes in a block that matched its checksum. */
  #unitKey(shard: number, at: number): string {
    return `${this.#prefix}/${shard}/${at}!`
  }

  get #blockBytes(): number {
    return this.#parts.checksums.blockBytes
  }

  async #openCoding(): Promise<Coding> {
    if (this.#coding === undefined) {
      const codec = this.#checkCodec(this.#parts.codec())
      const grains = new Grains(await this.#parts.pool.packetsOf(codec))
      this.#coding ??= { codec, grains }
    }
    return this.#coding
  }

  /** What is coded at once must fit into what is verified at once, and into the shards. */
  #checkCodec(codec: ErasureCodec): ErasureCodec {
    const { unitBytes, dataShards, parityShards } = codec
    const { layout, shardBytes } = this.geometry
    assert(
      dataShards === layout.dataShards && parityShards === layout.parityShards,
      'the codec of this stripe',
    )
    if (shardBytes % unitBytes === 0 && this.#blockBytes % unitBytes === 0) return codec
    const why = `shards of ${shardBytes} bytes were not coded in units of ${unitBytes}`
    throw new StoreError('CODEC_UNAVAILABLE', why)
  }

  #checkRange(datOffset: number, bytes: number): void {
    const isWithin = datOffset >= 0 && bytes >= 0 && datOffset + bytes <= this.datBytes
    if (isWithin) return
    const what = `bytes ${datOffset} to ${datOffset + bytes}`
    throw new StoreError('RANGE_INVALID', `${what} of a volume of ${this.datBytes}`)
  }
}

type ReadInterval = (interval: ShardInterval, signal: AbortSignal) => Promise<Buffer>

function crcsOf(checksums: ShardChecksums, geometry: StripeGeometry): readonly Uint32Array[] {
  const { shardBytes, shardCount } = geometry
  const { shards } = checksums
  const isFitting =
    shards.length === shardCount &&
    shards.every(({ shard, coveredBytes }, index) => shard === index && coveredBytes === shardBytes)
  if (isFitting) return shards.map(({ blockCrcs }) => blockCrcs)
  const why = `they are not those of ${shardCount} shards of ${shardBytes} bytes`
  throw new StoreError('SIDECAR_CORRUPT', `the checksums of the shards: ${why}`)
}

async function readRange(
  source: SlicedSource,
  { at, bytes }: ShardRange,
  signal: AbortSignal,
): Promise<Buffer> {
  // Its own: a source that is given up may still write into it.
  const into = Buffer.allocUnsafe(bytes)
  await orAborted(source.read(into, at, signal), signal, 'while reading a shard')
  return into
}

async function readSlices(
  source: SlicedSource,
  slices: ShardSlices,
  signal: AbortSignal,
): Promise<Buffer> {
  const into = Buffer.allocUnsafe(slices.count * slices.lengthBytes)
  await orAborted(source.readSlices(into, slices, signal), signal, 'while reading a shard')
  return into
}
