import { crc32c } from '../base/crc32c.ts'
import { type ErasureScheme, isErasureScheme } from '../base/erasure-scheme.ts'
import { hex8, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import {
  formatReplicaPlacement,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { GIB, MIB } from '../base/units.ts'
import type { ErasureCodec } from '../erasure/erasure-codec.ts'
import { RONOMON_CODEC_ID, RonomonCodec } from '../erasure/ronomon-codec.ts'
import { StripeGeometry } from '../erasure/stripe-geometry.ts'
import type { VolumeName } from '../format/file-names.ts'
import type { NeedleVersion } from '../format/needle.ts'
import {
  decodeVolumeInfo,
  type EcShardConfig,
  emptyVolumeInfo,
  encodeVolumeInfo,
  type VolumeInfo,
} from '../format/volume-info.ts'
import { parseRunId } from './shard-paths.ts'

export const LARGE_BLOCK_BYTES = GIB
export const SMALL_BLOCK_BYTES = MIB

const NS_PER_S = 1_000_000_000n

/** What one run of the encoder made, as the `.vif` beside its shards says. */
export interface ShardRun extends ErasureScheme {
  readonly volumeId: VolumeId
  readonly collection: string
  /** Decimal digits: nanoseconds of the wall clock when it began. */
  readonly runId: string
  readonly replication: ReplicaPlacement
  /** Of the records in the volume. */
  readonly version: NeedleVersion
  /** Of the `.dat` that was coded. */
  readonly datBytes: number
  readonly compactionRevision: number
  readonly largeBlockBytes: number
  readonly smallBlockBytes: number
  readonly codec: string
  readonly codecUnitBytes: number
  readonly encodedAtS: number
  /** CRC-32C of the whole `.ecx`, which never changes. */
  readonly indexCrc: number
}

export function geometryOf(run: ShardRun): StripeGeometry {
  return new StripeGeometry(run)
}

/** @throws {StoreError} CODEC_UNAVAILABLE. */
export function openCodec(run: ShardRun): ErasureCodec {
  if (run.codec === RONOMON_CODEC_ID) return RonomonCodec.open(run, run.codecUnitBytes)
  throw new StoreError('CODEC_UNAVAILABLE', `the shards were made by the codec ${run.codec}`)
}

export function encodedAtSOf(runId: string): number {
  return Number(BigInt(runId) / NS_PER_S)
}

/** The `.vif` of a run. It has a checksum of its own: nothing else tells a flipped bit in it. */
export function encodeShardRun(run: ShardRun): Buffer {
  const info = infoOf(run, {})
  return Buffer.from(encodeVolumeInfo(infoOf(run, { crc: hex8(crcOf(info)) })))
}

/**
 * What `encodeShardRun` wrote.
 *
 * @throws {StoreError} VOLUME_INFO_CORRUPT: something else, or altered since.
 */
export function decodeShardRun(name: VolumeName, bytes: Buffer): ShardRun {
  const info = decodeVolumeInfo(bytes.toString('utf8'))
  const config = info?.ecShardConfig
  if (info === undefined || config === undefined) throw corrupt('it is not that of shards')
  const { crc, ...unknown } = config.unknown ?? {}
  if (crc !== hex8(crcOf({ ...info, ecShardConfig: { ...config, unknown } }))) {
    throw corrupt('it was altered')
  }
  const { dataShards, parityShards, encodeTsNs, codec = '', codecUnit = 0 } = config
  const { collection, volumeId } = name
  const run: ShardRun = {
    volumeId,
    collection,
    dataShards,
    parityShards,
    runId: encodeTsNs,
    replication: placementOf(info.replication),
    version: info.version as NeedleVersion,
    datBytes: info.datFileSize,
    compactionRevision: numberOf(unknown, 'compactionRevision', 0),
    largeBlockBytes: numberOf(unknown, 'largeBlock', LARGE_BLOCK_BYTES),
    smallBlockBytes: numberOf(unknown, 'smallBlock', SMALL_BLOCK_BYTES),
    codec,
    codecUnitBytes: codecUnit,
    encodedAtS: encodedAtSOf(encodeTsNs),
    indexCrc: numberOf(unknown, 'indexCrc', 0),
  }
  const problem = whyImpossible(run)
  if (problem !== undefined) throw corrupt(problem)
  return run
}

/** What a geometry or codec cannot be made of. Undefined: nothing. */
export function whyImpossible(run: ShardRun): string | undefined {
  const { largeBlockBytes, smallBlockBytes, codecUnitBytes, datBytes } = run
  if (!isErasureScheme(run)) return `${run.dataShards}+${run.parityShards} shards`
  if (![1, 2, 3].includes(run.version)) return `version ${run.version}`
  if (datBytes < 1 || datBytes > LIMITS.volumeSizeMax.value) return `a volume of ${datBytes} bytes`
  for (const bytes of [largeBlockBytes, smallBlockBytes, codecUnitBytes]) {
    if (!Number.isSafeInteger(bytes) || bytes < 1) return `a block of ${bytes} bytes`
  }
  const isFitting =
    largeBlockBytes % smallBlockBytes === 0 && smallBlockBytes % codecUnitBytes === 0
  if (isFitting) return undefined
  return `blocks of ${largeBlockBytes} and ${smallBlockBytes} bytes with units of ${codecUnitBytes}`
}

function infoOf(run: ShardRun, crc: { readonly crc?: string }): VolumeInfo {
  const { dataShards, parityShards, runId, codec, codecUnitBytes } = run
  const { largeBlockBytes, smallBlockBytes } = run
  const ecShardConfig: EcShardConfig = {
    dataShards,
    parityShards,
    encodeTsNs: parseRunId(runId),
    codec,
    codecUnit: codecUnitBytes,
    unknown: {
      ...(largeBlockBytes === LARGE_BLOCK_BYTES ? {} : { largeBlock: `${largeBlockBytes}` }),
      ...(smallBlockBytes === SMALL_BLOCK_BYTES ? {} : { smallBlock: `${smallBlockBytes}` }),
      compactionRevision: `${run.compactionRevision}`,
      indexCrc: `${run.indexCrc}`,
      ...crc,
    },
  }
  return {
    ...emptyVolumeInfo(),
    version: run.version,
    replication: formatReplicaPlacement(run.replication),
    datFileSize: run.datBytes,
    readOnly: true,
    ecShardConfig,
  }
}

function crcOf(info: VolumeInfo): number {
  return crc32c(Buffer.from(encodeVolumeInfo(info)))
}

function numberOf(
  members: Readonly<Record<string, unknown>>,
  name: string,
  absent: number,
): number {
  const text = members[name] ?? `${absent}`
  if (typeof text === 'string' && /^\d{1,15}$/.test(text)) return Number(text)
  throw corrupt(`${name} is not a number`)
}

function placementOf(text: string): ReplicaPlacement {
  try {
    return parseReplicaPlacement(text)
  } catch (error) {
    if (!isStoreError(error)) throw error
    throw corrupt(error.message)
  }
}

function corrupt(what: string): StoreError {
  return new StoreError('VOLUME_INFO_CORRUPT', `damaged .vif of shards: ${what}`)
}
