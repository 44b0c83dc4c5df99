import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { StoreError } from '../base/store-error.ts'
import { KIB, MIB } from '../base/units.ts'

/** Where each field of a `.sum` file starts. */
export const CHECKSUM_SIDECAR_AT = {
  magic: 0,
  formatVersion: 8,
  blockBytes: 12,
  watermarkBytes: 16,
  idxBytes: 24,
  idxCrc: 32,
  compactionRevision: 36,
  flags: 38,
  lastAppendAtNs: 40,
  blockCount: 48,
  blockCrcs: 52,
} as const

export const CHECKSUM_SIDECAR_MAGIC = 'HAYSUM\r\n'
export const CHECKSUM_SIDECAR_VERSION = 1
export const CHECKSUM_SIDECAR_FLAG = { clean: 0x0001, sealed: 0x0002 } as const
export const CHECKSUM_BLOCK_MIN_BYTES = 4 * KIB
export const CHECKSUM_BLOCK_MAX_BYTES = 64 * MIB

const AT = CHECKSUM_SIDECAR_AT
const CRC_BYTES = 4
const FLAGS_KNOWN = CHECKSUM_SIDECAR_FLAG.clean | CHECKSUM_SIDECAR_FLAG.sealed

/**
 * The `.sum` file beside a volume: what `.dat` and `.idx` held when they were last known to be on
 * disk. Big-endian.
 *
 *      0   magic 'HAYSUM\r\n'
 *      8   format version u32, 1
 *     12   block size u32, bytes; a power of two from 4 KiB to 64 MiB
 *     16   watermark u64: bytes of .dat covered
 *     24   idx length u64: bytes of .idx covered
 *     32   CRC-32C u32 of those bytes of .idx
 *     36   compaction revision u16 of the .dat it belongs to
 *     38   flags u16: 1 clean, 2 sealed; no others
 *     40   appendAtNs u64 of the last covered record
 *     48   block count u32, watermark / block size rounded up
 *     52   block count times CRC-32C u32; the last covers the partial block up to the watermark
 *     ..   CRC-32C u32 of everything before
 *
 * The carriage return and line feed of the magic show a transfer in text mode.
 */
export interface ChecksumSidecar {
  readonly blockBytes: number
  /** Bytes of `.dat` that were durable when this was written: what is missing below is damage. */
  readonly watermarkBytes: number
  readonly idxBytes: number
  readonly idxCrc: number
  readonly compactionRevision: number
  /** Closed or sealed in order: nothing lay behind the watermark. */
  readonly isClean: boolean
  readonly isSealed: boolean
  readonly lastAppendAtNs: bigint
  readonly blockCrcs: Uint32Array
}

/** Length of a `.sum` file that covers `watermarkBytes`. */
export function checksumSidecarBytes(watermarkBytes: number, blockBytes: number): number {
  return AT.blockCrcs + Math.ceil(watermarkBytes / blockBytes) * CRC_BYTES + CRC_BYTES
}

export function encodeChecksumSidecar(sidecar: ChecksumSidecar): Buffer {
  const { blockBytes, watermarkBytes, blockCrcs } = sidecar
  assert(isBlockSize(blockBytes), `checksum block of ${blockBytes} bytes`)
  assert(Number.isSafeInteger(watermarkBytes) && watermarkBytes >= 0, 'watermark')
  assert(Number.isSafeInteger(sidecar.idxBytes) && sidecar.idxBytes >= 0, 'idx length')
  assert(
    blockCrcs.length === Math.ceil(watermarkBytes / blockBytes),
    `${blockCrcs.length} block checksums for ${watermarkBytes} bytes`,
  )
  const target = Buffer.alloc(checksumSidecarBytes(watermarkBytes, blockBytes))
  target.write(CHECKSUM_SIDECAR_MAGIC, AT.magic, 'latin1')
  target.writeUInt32BE(CHECKSUM_SIDECAR_VERSION, AT.formatVersion)
  target.writeUInt32BE(blockBytes, AT.blockBytes)
  target.writeBigUInt64BE(BigInt(watermarkBytes), AT.watermarkBytes)
  target.writeBigUInt64BE(BigInt(sidecar.idxBytes), AT.idxBytes)
  target.writeUInt32BE(sidecar.idxCrc, AT.idxCrc)
  target.writeUInt16BE(sidecar.compactionRevision, AT.compactionRevision)
  target.writeUInt16BE(encodeFlags(sidecar), AT.flags)
  target.writeBigUInt64BE(sidecar.lastAppendAtNs, AT.lastAppendAtNs)
  target.writeUInt32BE(blockCrcs.length, AT.blockCount)
  let at: number = AT.blockCrcs
  for (const crc of blockCrcs) at = target.writeUInt32BE(crc, at)
  target.writeUInt32BE(crc32c(target.subarray(0, at)), at)
  return target
}

/**
 * Reads a whole `.sum` file.
 *
 * @throws {StoreError} SIDECAR_CORRUPT: not such a file, another format version, cut short, bytes
 * left over, or a checksum or field that contradicts the rest.
 */
export function decodeChecksumSidecar(source: Buffer): ChecksumSidecar {
  checkFrame(source)
  const blockBytes = source.readUInt32BE(AT.blockBytes)
  const watermarkBytes = readSafe(source, AT.watermarkBytes, 'watermark')
  const blockCount = source.readUInt32BE(AT.blockCount)
  const flags = source.readUInt16BE(AT.flags)
  if (!isBlockSize(blockBytes)) throw corrupt(`block size ${blockBytes}`)
  if ((flags & ~FLAGS_KNOWN) !== 0) throw corrupt(`flags ${flags}`)
  if (blockCount !== Math.ceil(watermarkBytes / blockBytes)) {
    throw corrupt(`${blockCount} blocks for ${watermarkBytes} bytes`)
  }
  // The file's own length bounds the count before anything is allocated for it.
  if (source.length !== checksumSidecarBytes(watermarkBytes, blockBytes)) {
    throw corrupt(`${source.length} bytes for ${blockCount} blocks`)
  }
  const blockCrcs = new Uint32Array(blockCount)
  for (let index = 0; index < blockCount; index++) {
    blockCrcs[index] = source.readUInt32BE(AT.blockCrcs + index * CRC_BYTES)
  }
  return {
    blockBytes,
    watermarkBytes,
    idxBytes: readSafe(source, AT.idxBytes, 'idx length'),
    idxCrc: source.readUInt32BE(AT.idxCrc),
    compactionRevision: source.readUInt16BE(AT.compactionRevision),
    isClean: (flags & CHECKSUM_SIDECAR_FLAG.clean) !== 0,
    isSealed: (flags & CHECKSUM_SIDECAR_FLAG.sealed) !== 0,
    lastAppendAtNs: source.readBigUInt64BE(AT.lastAppendAtNs),
    blockCrcs,
  }
}

/** Magic, version and the checksum over all: after this every field is as it was written. */
function checkFrame(source: Buffer): void {
  const crcAt = source.length - CRC_BYTES
  if (crcAt < AT.blockCrcs) throw corrupt(`${source.length} bytes are too few`)
  const magic = source.toString('latin1', AT.magic, AT.formatVersion)
  if (magic !== CHECKSUM_SIDECAR_MAGIC) throw corrupt('it does not begin with HAYSUM')
  const version = source.readUInt32BE(AT.formatVersion)
  if (version !== CHECKSUM_SIDECAR_VERSION) throw corrupt(`format version ${version}`)
  if (crc32c(source.subarray(0, crcAt)) !== source.readUInt32BE(crcAt)) {
    throw corrupt('its own checksum does not match')
  }
}

function encodeFlags(sidecar: ChecksumSidecar): number {
  return (
    (sidecar.isClean ? CHECKSUM_SIDECAR_FLAG.clean : 0) |
    (sidecar.isSealed ? CHECKSUM_SIDECAR_FLAG.sealed : 0)
  )
}

function isBlockSize(bytes: number): boolean {
  return (
    bytes >= CHECKSUM_BLOCK_MIN_BYTES &&
    bytes <= CHECKSUM_BLOCK_MAX_BYTES &&
    Number.isInteger(Math.log2(bytes))
  )
}

function readSafe(source: Buffer, at: number, what: string): number {
  const value = source.readBigUInt64BE(at)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt(`${what} ${value}`)
  return Number(value)
}

function corrupt(what: string): StoreError {
  return new StoreError('SIDECAR_CORRUPT', `damaged checksum file: ${what}`)
}
