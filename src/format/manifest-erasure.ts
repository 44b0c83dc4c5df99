import { assert } from '../base/assert.ts'
import {
  type ErasureScheme,
  formatErasureScheme,
  parseErasureScheme,
  shardCountOf,
} from '../base/erasure-scheme.ts'
import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import { hex8 } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ManifestChunk } from './chunk-manifest.ts'

/** What the shards of a stripe are kept apart by; with the last two never more than m in one. */
export const SHARD_SPREADS = ['servers', 'racks', 'data-centers'] as const

export type ShardSpread = (typeof SHARD_SPREADS)[number]

/** One needle of a stripe. */
export interface StripeShard {
  /** Undefined: no byte of the file is in it, and it is not stored. */
  readonly fileId: FileId | undefined
  /** A data shard is stored without the zeros behind the end of the file. */
  readonly storedBytes: number
  /** CRC-32C of what is stored. */
  readonly checksum: number
}

/** So many bytes of the file, in the order of the file. */
export interface ManifestStripe {
  readonly sizeBytes: number
  /** Of every shard, zeros included, and the unit of the codec: other units make other parity. */
  readonly shardBytes: number
  /** Data first, then parity. */
  readonly shards: readonly StripeShard[]
}

/**
 * The member `erasure` of the chunk manifest of an erasure-coded file. JSON:
 *
 *     "erasure":{"scheme":"4+2","codec":"ronomon-cauchy","stripes":[
 *       {"size":800000,"shardSize":200000,"crcs":["9a71bb4c",… 4+2 of them],
 *        "parity":["7,01637037d6","8,02a4b1c3d5"]}]}
 *
 * A stripe is the next `size` bytes of the file, cut into k data shards of `shardSize` bytes, with
 * zeros behind the last byte. A data shard with any bytes of the file is the next chunk of the
 * manifest, without the zeros; others are not stored. `crcs` are the CRC-32C of all shards as they
 * are stored, `parity` the file ids of the parity shards. `spread` is left out when it is
 * `servers`.
 */
export interface ManifestErasure {
  readonly scheme: ErasureScheme
  /** What made the parity; what one codec made is nothing to another. */
  readonly codec: string
  readonly spread: ShardSpread
  readonly stripes: readonly ManifestStripe[]
}

/** The codec works on words of so many bytes. */
const WORD_BYTES = 8
const CODEC_NAME_MAX = 64

/** Bytes that a data shard of such a stripe is stored with. */
export function storedBytesOf(
  { sizeBytes, shardBytes }: Pick<ManifestStripe, 'sizeBytes' | 'shardBytes'>,
  dataShard: number,
): number {
  return Math.min(shardBytes, Math.max(0, sizeBytes - dataShard * shardBytes))
}

/** As the value of the member; `chunks` are those of the manifest. */
export function encodeManifestErasure(
  { scheme, codec, spread, stripes }: ManifestErasure,
  chunks: readonly ManifestChunk[],
): object {
  const stored = stripes.flatMap(({ shards }) => shards.slice(0, scheme.dataShards))
  const ids = stored.flatMap(({ fileId }) => (fileId === undefined ? [] : [formatFileId(fileId)]))
  const isSame = chunks.every((chunk, index) => formatFileId(chunk.fileId) === ids[index])
  assert(isSame && ids.length === chunks.length, 'the chunks are the data shards')
  return {
    scheme: formatErasureScheme(scheme),
    codec,
    ...(spread === 'servers' ? {} : { spread }),
    stripes: stripes.map((stripe) => encodeStripe(stripe, scheme)),
  }
}

/** @throws {StoreError} MANIFEST_CORRUPT. */
export function decodeManifestErasure(
  value: unknown,
  chunks: readonly ManifestChunk[],
): ManifestErasure {
  if (!isObject(value)) throw corrupt('not a JSON object')
  const { codec, scheme, spread = 'servers', stripes } = value
  if (typeof codec !== 'string' || codec.length > CODEC_NAME_MAX) throw corrupt('no codec')
  if (typeof scheme !== 'string') throw corrupt('no scheme')
  if (!isSpread(spread)) throw corrupt('an unknown spread')
  if (!Array.isArray(stripes)) throw corrupt('the stripes are not a list')
  const decodedScheme = orCorrupt(() => parseErasureScheme(scheme))
  const rest = chunks.values()
  const decoded = stripes.map((stripe: unknown) => decodeStripe(stripe, decodedScheme, rest))
  if (rest.next().done !== true) throw corrupt('chunks beside those of the stripes')
  return { scheme: decodedScheme, codec, spread, stripes: decoded }
}

function encodeStripe({ shardBytes, shards, sizeBytes }: ManifestStripe, scheme: ErasureScheme) {
  assert(shards.length === shardCountOf(scheme), `${shards.length} shards of a stripe`)
  const parity = shards.slice(scheme.dataShards).map(({ fileId }) => {
    assert(fileId !== undefined, 'a parity shard is always stored')
    return formatFileId(fileId)
  })
  const crcs = shards.map(({ checksum }) => hex8(checksum))
  return { size: sizeBytes, shardSize: shardBytes, crcs, parity }
}

function decodeStripe(
  value: unknown,
  { dataShards, parityShards }: ErasureScheme,
  chunks: Iterator<ManifestChunk>,
): ManifestStripe {
  if (!isObject(value)) throw corrupt('a stripe is not a JSON object')
  const { crcs, parity, shardSize: shardBytes, size: sizeBytes } = value
  if (!isShardSize(shardBytes, dataShards)) throw corrupt('a stripe without a sound shard size')
  if (!isCount(sizeBytes) || sizeBytes > dataShards * shardBytes) {
    throw corrupt('a stripe has more bytes than its shards, or none')
  }
  if (!isTextList(crcs, dataShards + parityShards) || !isTextList(parity, parityShards)) {
    throw corrupt('a stripe without file ids or checksums')
  }
  const sizes = { sizeBytes, shardBytes }
  const shards = crcs.map((crc, index): StripeShard => {
    if (!/^[0-9a-f]{8}$/.test(crc)) throw corrupt(`a checksum of shard ${index} is none`)
    const checksum = Number.parseInt(crc, 16)
    if (index >= dataShards) {
      const fileId = orCorrupt(() => parseFileId(parity[index - dataShards] ?? ''))
      return { fileId, storedBytes: shardBytes, checksum }
    }
    const storedBytes = storedBytesOf(sizes, index)
    if (storedBytes === 0) return { fileId: undefined, storedBytes, checksum }
    const chunk = chunks.next()
    if (chunk.done === true || chunk.value.sizeBytes !== storedBytes) {
      throw corrupt('the chunks are not the data shards')
    }
    return { fileId: chunk.value.fileId, storedBytes, checksum }
  })
  return { ...sizes, shards }
}

/** Whoever reads a stripe holds all of it in memory. */
function isShardSize(value: unknown, dataShards: number): value is number {
  if (!isCount(value) || value % WORD_BYTES !== 0) return false
  return value * dataShards <= LIMITS.chunkBytesMax.value
}

function isSpread(value: unknown): value is ShardSpread {
  return SHARD_SPREADS.some((spread) => spread === value)
}

function isTextList(value: unknown, length: number): value is string[] {
  if (!Array.isArray(value) || value.length !== length) return false
  return value.every((item: unknown) => typeof item === 'string')
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function orCorrupt<Value>(parse: () => Value): Value {
  try {
    return parse()
  } catch (cause) {
    if (!isStoreError(cause)) throw cause
    throw new StoreError('MANIFEST_CORRUPT', `the chunk manifest: erasure: ${cause.message}`, {
      cause,
    })
  }
}

function corrupt(why: string): StoreError {
  return new StoreError('MANIFEST_CORRUPT', `the chunk manifest: erasure: ${why}`)
}
