import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { type ErasureScheme, shardCountOf } from '../base/erasure-scheme.ts'
import { StoreError } from '../base/store-error.ts'
import { shardBytesOf } from '../base/stripe-size.ts'
import {
  type ManifestErasure,
  type ManifestStripe,
  type StripeShard,
  storedBytesOf,
} from '../format/manifest-erasure.ts'
import type { ErasureCodec, ShardColumn } from './erasure-codec.ts'
import { RONOMON_CODEC_ID, RonomonCodec } from './ronomon-codec.ts'

/** What new stripes are made with. */
export const OBJECT_CODEC_ID = RONOMON_CODEC_ID

const WORD_BYTES = 8

/** One stripe of an erasure-coded file, with all that is needed to make its shards anew. */
export interface ObjectStripe extends ManifestStripe {
  readonly scheme: ErasureScheme
  readonly codec: string
  readonly index: number
  /** Where its bytes stand in the file. */
  readonly offsetBytes: number
}

/** A shard as it is to be stored; empty: it is not. */
export interface EncodedShard {
  readonly data: Uint8Array
  readonly checksum: number
}

export interface EncodedStripe {
  readonly sizeBytes: number
  readonly shardBytes: number
  /** Data first, then parity. */
  readonly shards: readonly EncodedShard[]
}

export function* stripesOf(erasure: ManifestErasure): Generator<ObjectStripe, void, undefined> {
  const { codec, scheme, stripes } = erasure
  let offsetBytes = 0
  for (const [index, stripe] of stripes.entries()) {
    yield { ...stripe, scheme, codec, index, offsetBytes }
    offsetBytes += stripe.sizeBytes
  }
}

/**
 * Makes the shards of a stripe. `bytes` must not change before the shards are stored: where they
 * fit, the data shards are parts of them.
 *
 * @throws {StoreError} CODEC_UNAVAILABLE.
 */
export async function encodeStripe(
  bytes: Uint8Array,
  scheme: ErasureScheme,
): Promise<EncodedStripe> {
  assert(bytes.length > 0, 'a stripe without bytes')
  const shardBytes = shardBytesOf(bytes.length, scheme)
  const codec = codecOf({ codec: OBJECT_CODEC_ID, scheme, shardBytes })
  const data = padded(bytes, scheme.dataShards * shardBytes)
  const parity = Buffer.allocUnsafeSlow(scheme.parityShards * shardBytes)
  await codec.encode({ data, parity })
  const sizes = { sizeBytes: bytes.length, shardBytes }
  const shards = Array.from({ length: shardCountOf(scheme) }, (_, index): EncodedShard => {
    const isData = index < scheme.dataShards
    const at = shardBytes * (isData ? index : index - scheme.dataShards)
    const length = isData ? storedBytesOf(sizes, index) : shardBytes
    const shard = (isData ? data : parity).subarray(at, at + length)
    return { data: shard, checksum: crc32c(shard) }
  })
  return { ...sizes, shards }
}

/** Shards of one stripe on their way back: from any k of them come all. */
export class StripeColumn {
  readonly #stripe: ObjectStripe
  readonly #codec: ErasureCodec
  readonly #column: ShardColumn
  readonly #good = new Set<number>()

  /** @throws {StoreError} CODEC_UNAVAILABLE. */
  constructor(stripe: ObjectStripe) {
    const { scheme, shardBytes } = stripe
    this.#stripe = stripe
    this.#codec = codecOf(stripe)
    this.#column = {
      data: Buffer.allocUnsafeSlow(scheme.dataShards * shardBytes),
      parity: Buffer.allocUnsafeSlow(scheme.parityShards * shardBytes),
    }
    for (const [shard, { storedBytes }] of stripe.shards.entries()) {
      this.#unit(shard).fill(0, storedBytes)
      if (storedBytes === 0) this.#good.add(shard)
    }
  }

  get isEnough(): boolean {
    return this.#good.size >= this.#stripe.scheme.dataShards
  }

  get goodCount(): number {
    return this.#good.size
  }

  has(shard: number): boolean {
    return this.#good.has(shard)
  }

  /** Takes what was read of a shard and has matched its checksum. */
  add(shard: number, pieces: readonly Uint8Array[]): void {
    let at = 0
    for (const piece of pieces) {
      this.#unit(shard).set(piece, at)
      at += piece.length
    }
    assert(at === this.#shard(shard).storedBytes, `${at} bytes of shard ${shard}`)
    this.#good.add(shard)
  }

  /**
   * Makes those of `wanted` that were not added; enough others must have been.
   *
   * @throws {StoreError} SHARDS_LOST: what comes out is not what was stored.
   */
  async rebuild(wanted: readonly number[]): Promise<void> {
    assert(this.isEnough, `${this.#good.size} shards are too few`)
    const missing = wanted.filter((shard) => !this.#good.has(shard))
    await this.#codec.rebuild(this.#column, [...this.#good], missing)
    for (const shard of missing) {
      if (crc32c(this.stored(shard)) !== this.#shard(shard).checksum) {
        const why = `shard ${shard} of stripe ${this.#stripe.index} came out wrong`
        throw new StoreError('SHARDS_LOST', why)
      }
    }
  }

  /** The bytes of a shard that is here, as they are stored. */
  stored(shard: number): Buffer {
    return this.#unit(shard).subarray(0, this.#shard(shard).storedBytes)
  }

  #unit(shard: number): Buffer {
    const { scheme, shardBytes } = this.#stripe
    const { data, parity } = this.#column
    const isData = shard < scheme.dataShards
    const at = shardBytes * (isData ? shard : shard - scheme.dataShards)
    return (isData ? data : parity).subarray(at, at + shardBytes)
  }

  #shard(index: number): StripeShard {
    const shard = this.#stripe.shards[index]
    assert(shard !== undefined, `shard ${index} of a stripe`)
    return shard
  }
}

/** Whether these are the bytes of a whole shard, as they were stored. */
export function isStoredShard(shard: StripeShard, pieces: readonly Uint8Array[]): boolean {
  let bytes = 0
  let crc = 0
  for (const piece of pieces) {
    bytes += piece.length
    crc = crc32c(piece, crc)
  }
  return bytes === shard.storedBytes && crc === shard.checksum
}

function codecOf(stripe: Pick<ObjectStripe, 'codec' | 'scheme' | 'shardBytes'>): ErasureCodec {
  const { codec, scheme, shardBytes } = stripe
  if (codec === RONOMON_CODEC_ID) return RonomonCodec.open(scheme, shardBytes)
  throw new StoreError('CODEC_UNAVAILABLE', `the file was coded by ${codec}`)
}

function padded(bytes: Uint8Array, length: number): Buffer {
  if (bytes.length === length && bytes.byteOffset % WORD_BYTES === 0) {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }
  const copy = Buffer.allocUnsafeSlow(length)
  copy.set(bytes)
  copy.fill(0, bytes.length)
  return copy
}
