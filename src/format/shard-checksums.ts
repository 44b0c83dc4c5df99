import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'

/** Where each field of an `.ecsum` file starts. */
export const SHARD_CHECKSUMS_AT = {
  magic: 0,
  formatVersion: 4,
  payloadBytes: 6,
  payloadCrc: 10,
  payload: 14,
} as const

export const SHARD_CHECKSUMS_VERSION = 1
export const SHARD_BLOCK_MIN_BYTES = MIB
export const SHARD_BLOCK_MAX_BYTES = 64 * MIB

const AT = SHARD_CHECKSUMS_AT
const MAGIC = 'ECSU'
const CRC_BYTES = 4
const SHARDS_MAX = 32
const ALGORITHM_CRC32C = 1

const FIELD = { algorithm: 1, blockBytes: 2, shards: 5, runId: 6 } as const
const SHARD_FIELD = { shard: 1, coveredBytes: 2, blockCrcs: 3 } as const

const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

export interface ShardChecksum {
  readonly shard: number
  /** Bytes of the shard that have checksums: all of them. */
  readonly coveredBytes: number
  /** CRC-32C of each block; the last may be shorter. */
  readonly blockCrcs: Uint32Array
}

/**
 * The `.ecsum` file beside the shards of a volume: what each block of each shard was when it was
 * made, so that a shard can be told to be bad without the others. The head is big-endian:
 *
 *      0   magic 'ECSU'
 *      4   format version u16, 1
 *      6   length of the payload u32, bytes
 *     10   CRC-32C u32 of the payload
 *     14   the payload, a protobuf message:
 *            1 algorithm (1: CRC-32C)   2 block size, a power of two from 1 to 64 MiB
 *            5 a message for each shard: 1 number, 2 bytes covered, 3 the checksums of its blocks,
 *              u32, little-endian, one after the other
 *            6 which run of the encoder made the shards
 *
 * Fields of the payload that are not known are passed over. Source: SeaweedFS bitrot sidecars.
 */
export interface ShardChecksums {
  readonly blockBytes: number
  /** Names one run of the encoder, like `EcShardConfig.encodeTsNs`. */
  readonly runId: string
  /** In the order of their numbers. */
  readonly shards: readonly ShardChecksum[]
}

export function encodeShardChecksums({ blockBytes, runId, shards }: ShardChecksums): Buffer {
  assert(isBlockSize(blockBytes), `shard block of ${blockBytes} bytes`)
  const payload = new MessageWriter()
  payload.number(FIELD.algorithm, ALGORITHM_CRC32C)
  payload.number(FIELD.blockBytes, blockBytes)
  for (const { shard, coveredBytes, blockCrcs } of shards) {
    assert(shard >= 0 && shard < SHARDS_MAX, `shard ${shard}`)
    assert(blockCrcs.length === Math.ceil(coveredBytes / blockBytes), 'one checksum a block')
    const message = new MessageWriter()
    message.number(SHARD_FIELD.shard, shard)
    message.number(SHARD_FIELD.coveredBytes, coveredBytes)
    const crcs = Buffer.alloc(blockCrcs.length * CRC_BYTES)
    let at = 0
    for (const crc of blockCrcs) at = crcs.writeUInt32LE(crc, at)
    message.bytes(SHARD_FIELD.blockCrcs, crcs)
    payload.bytes(FIELD.shards, message.finish())
  }
  payload.bytes(FIELD.runId, Buffer.from(runId, 'utf8'))
  const body = payload.finish()
  const head = Buffer.alloc(AT.payload)
  head.write(MAGIC, AT.magic, 'latin1')
  head.writeUInt16BE(SHARD_CHECKSUMS_VERSION, AT.formatVersion)
  head.writeUInt32BE(body.length, AT.payloadBytes)
  head.writeUInt32BE(crc32c(body), AT.payloadCrc)
  return Buffer.concat([head, body])
}

/**
 * Reads a whole `.ecsum` file.
 *
 * @throws {StoreError} SIDECAR_CORRUPT: not such a file, another format version or algorithm, cut
 * short, bytes left over, or a checksum or field that contradicts the rest.
 */
export function decodeShardChecksums(source: Buffer): ShardChecksums {
  checkFrame(source)
  let algorithm = 0
  let blockBytes = 0
  let runId = ''
  const messages: Buffer[] = []
  for (const { field, value } of fieldsOf(source.subarray(AT.payload))) {
    if (field === FIELD.algorithm) algorithm = asNumber(value)
    else if (field === FIELD.blockBytes) blockBytes = asNumber(value)
    else if (field === FIELD.shards) messages.push(asBytes(value))
    else if (field === FIELD.runId) runId = asBytes(value).toString('utf8')
  }
  if (algorithm !== ALGORITHM_CRC32C) throw corrupt(`algorithm ${algorithm}`)
  if (!isBlockSize(blockBytes)) throw corrupt(`block size ${blockBytes}`)
  const shards = messages.map((message) => decodeShard(message, blockBytes))
  shards.forEach(({ shard }, index) => {
    if (shard <= (shards[index - 1]?.shard ?? -1)) throw corrupt(`shard ${shard} comes again`)
  })
  return { blockBytes, runId, shards }
}

function decodeShard(source: Buffer, blockBytes: number): ShardChecksum {
  let shard = 0
  let coveredBytes = 0
  let crcs = Buffer.alloc(0)
  for (const { field, value } of fieldsOf(source)) {
    if (field === SHARD_FIELD.shard) shard = asNumber(value)
    else if (field === SHARD_FIELD.coveredBytes) coveredBytes = asNumber(value)
    else if (field === SHARD_FIELD.blockCrcs) crcs = Buffer.from(asBytes(value))
  }
  if (shard >= SHARDS_MAX) throw corrupt(`shard ${shard}`)
  if (crcs.length !== Math.ceil(coveredBytes / blockBytes) * CRC_BYTES) {
    throw corrupt(`${crcs.length} bytes of checksums for ${coveredBytes} bytes of shard ${shard}`)
  }
  const blockCrcs = new Uint32Array(crcs.length / CRC_BYTES)
  blockCrcs.forEach((_, index) => {
    blockCrcs[index] = crcs.readUInt32LE(index * CRC_BYTES)
  })
  return { shard, coveredBytes, blockCrcs }
}

function checkFrame(source: Buffer): void {
  if (source.length < AT.payload) throw corrupt(`${source.length} bytes are too few`)
  if (source.toString('latin1', AT.magic, AT.formatVersion) !== MAGIC) {
    throw corrupt('it does not begin with ECSU')
  }
  const version = source.readUInt16BE(AT.formatVersion)
  if (version !== SHARD_CHECKSUMS_VERSION) throw corrupt(`format version ${version}`)
  const payloadBytes = source.readUInt32BE(AT.payloadBytes)
  if (source.length !== AT.payload + payloadBytes) {
    throw corrupt(`${source.length} bytes with a payload of ${payloadBytes}`)
  }
  if (crc32c(source.subarray(AT.payload)) !== source.readUInt32BE(AT.payloadCrc)) {
    throw corrupt('its own checksum does not match')
  }
}

/** One protobuf message, field by field. A default value is left out, as everywhere. */
class MessageWriter {
  readonly #parts: Buffer[] = []

  number(field: number, value: number): void {
    if (value !== 0) this.#parts.push(varint(field * 8 + VARINT), varint(value))
  }

  bytes(field: number, value: Buffer): void {
    this.#parts.push(varint(field * 8 + BYTES), varint(value.length), value)
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

function varint(value: number): Buffer {
  assert(Number.isSafeInteger(value) && value >= 0, `number ${value}`)
  const bytes: number[] = []
  let left = value
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) + 128)
  return Buffer.from([...bytes, left])
}

interface Field {
  readonly field: number
  readonly value: number | Buffer
}

function* fieldsOf(source: Buffer): Generator<Field> {
  let at = 0
  const next = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = source[at++]
      if (byte === undefined) throw corrupt('a field is cut short')
      value += (byte % 128) * scale
      if (!Number.isSafeInteger(value)) throw corrupt('a number is too large')
      if (byte < 128) return value
    }
  }
  const take = (length: number): Buffer => {
    if (length > source.length - at) throw corrupt('a field is cut short')
    at += length
    return source.subarray(at - length, at)
  }
  while (at < source.length) {
    const tag = next()
    const field = Math.floor(tag / 8)
    const kind = tag % 8
    if (kind === VARINT) yield { field, value: next() }
    else if (kind === BYTES) yield { field, value: take(next()) }
    else if (kind === FIXED32) yield { field, value: take(4) }
    else if (kind === FIXED64) yield { field, value: take(8) }
    else throw corrupt(`a field of kind ${kind}`)
  }
}

function asNumber(value: number | Buffer): number {
  if (typeof value === 'number') return value
  throw corrupt('bytes where a number should be')
}

function asBytes(value: number | Buffer): Buffer {
  if (typeof value !== 'number') return value
  throw corrupt('a number where bytes should be')
}

function isBlockSize(bytes: number): boolean {
  const isInRange = bytes >= SHARD_BLOCK_MIN_BYTES && bytes <= SHARD_BLOCK_MAX_BYTES
  return isInRange && Number.isInteger(Math.log2(bytes))
}

function corrupt(what: string): StoreError {
  return new StoreError('SIDECAR_CORRUPT', `damaged checksum file of shards: ${what}`)
}
