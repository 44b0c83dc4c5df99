import { assert } from '../base/assert.ts'
import { crc32c, maskCrc32c } from '../base/crc32c.ts'
import type { NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import {
  decodeAttributes,
  encodeAttributes,
  NEEDLE_FLAG,
  type NeedleAttributes,
  saySameAttributes,
} from './needle-attributes.ts'

/**
 * A needle record: one file inside `.dat`. Big-endian. Version 3, the one Hayloft writes:
 *
 *     0            4           12         16         20
 *     | cookie u32 | id u64    | Size u32 | dataSize | data | attributes |
 *     | crc u32 | ns u64 | padding |       '------------ Size ----------'
 *
 * `crc` is the CRC-32C of `data` alone, raw (new) or masked (files from before 2022); `ns` is the
 * time of the append, strictly increasing within a volume. Padding is 1 to 8 bytes, never 0, up to
 * a multiple of 8. Version 2 has no `ns`; version 1 has neither `ns`, `dataSize` nor attributes. A
 * record with Size 0 is a tombstone (or an empty file written by another system: only the index
 * can tell, see docs/FORMAT.md).
 *
 * Source: SeaweedFS needle format, versions 1 to 3.
 */
export type NeedleVersion = 1 | 2 | 3

export const NEEDLE_HEADER_BYTES = 16
export const NEEDLE_DATA_SIZE_BYTES = 4
/** Where `data` starts in a version 2 or 3 record. */
export const NEEDLE_DATA_AT = NEEDLE_HEADER_BYTES + NEEDLE_DATA_SIZE_BYTES
export const NEEDLE_CHECKSUM_BYTES = 4
export const NEEDLE_TIMESTAMP_BYTES = 8
export const NEEDLE_ALIGN_BYTES = 8
/** Length of a version 3 tombstone record. */
export const TOMBSTONE_BYTES = 32

export interface NeedleHeader {
  readonly cookie: number
  readonly id: NeedleId
  /** The Size field: bytes between header and checksum. */
  readonly sizeBytes: number
}

/** Whole length of a record on disk, padding included. */
export function recordBytes(sizeBytes: number, version: NeedleVersion): number {
  const unpadded =
    NEEDLE_HEADER_BYTES +
    sizeBytes +
    NEEDLE_CHECKSUM_BYTES +
    (version === 3 ? NEEDLE_TIMESTAMP_BYTES : 0)
  return unpadded + NEEDLE_ALIGN_BYTES - (unpadded % NEEDLE_ALIGN_BYTES)
}

/** A needle made ready to append: everything but its place and its time. */
export interface PreparedNeedle {
  readonly id: NeedleId
  readonly cookie: number
  readonly data: Uint8Array
  /** Length of the data; `data` is empty when it is copied from elsewhere (a spooled upload). */
  readonly dataBytes: number
  readonly attributes: Buffer
  /** Raw CRC-32C of the data. */
  readonly checksum: number
  readonly sizeBytes: number
  readonly recordBytes: number
}

export interface NeedleInput {
  readonly id: NeedleId
  readonly cookie: number
  readonly data: Uint8Array
  readonly attributes: NeedleAttributes
  /** Raw CRC-32C of the data, from whoever has computed it while the data arrived. */
  readonly checksum?: number | undefined
}

/**
 * Checks a needle against the format's limits and computes its checksum, unless that is known.
 *
 * @throws {StoreError} NEEDLE_TOO_LARGE: the body would not fit the Size field. NEEDLE_INVALID:
 * name, mime or pairs too long, or a time outside 40 bits.
 */
export function prepareNeedle(input: NeedleInput): PreparedNeedle {
  return prepareSpooledNeedle({
    ...input,
    dataBytes: input.data.length,
    checksum: input.checksum ?? crc32c(input.data),
  })
}

/** As `prepareNeedle`, for data whose length and checksum are known but which lies elsewhere. */
export function prepareSpooledNeedle(
  input: NeedleInput & { readonly dataBytes: number; readonly checksum: number },
): PreparedNeedle {
  const { id, cookie, data, dataBytes, checksum } = input
  if (dataBytes > LIMITS.needleDataMax.value) {
    throw new StoreError(
      'NEEDLE_TOO_LARGE',
      `needle data of ${dataBytes} bytes is over the limit of ${LIMITS.needleDataMax.value}`,
    )
  }
  const attributes = encodeAttributes(input.attributes)
  const sizeBytes = NEEDLE_DATA_SIZE_BYTES + dataBytes + attributes.length
  return {
    id,
    cookie,
    data,
    dataBytes,
    attributes,
    checksum,
    sizeBytes,
    recordBytes: recordBytes(sizeBytes, 3),
  }
}

/**
 * Writes header and data size (20 bytes) of a version 3 record. Returns the position after them.
 */
export function encodeNeedleHead(needle: PreparedNeedle, target: Buffer, at: number): number {
  assert(at + NEEDLE_DATA_AT <= target.length, 'needle head overruns its buffer')
  encodeHeader(needle, needle.sizeBytes, target, at)
  return target.writeUInt32BE(needle.dataBytes, at + NEEDLE_HEADER_BYTES)
}

export function needleTailBytes(needle: PreparedNeedle): number {
  return needle.recordBytes - NEEDLE_DATA_AT - needle.dataBytes
}

/** Writes what follows the data of a version 3 record. Returns the position after the padding. */
export function encodeNeedleTail(
  needle: PreparedNeedle,
  appendAt: { readonly hi: number; readonly lo: number },
  target: Buffer,
  at: number,
): number {
  const end = at + needleTailBytes(needle)
  assert(end <= target.length, 'needle tail overruns its buffer')
  let next = at
  target.set(needle.attributes, next)
  next += needle.attributes.length
  next = target.writeUInt32BE(needle.checksum, next)
  next = target.writeUInt32BE(appendAt.hi, next)
  next = target.writeUInt32BE(appendAt.lo, next)
  encodePadding(needle.sizeBytes, target, next, end)
  return end
}

/**
 * Writes a version 3 tombstone: the deletion of an id. `checksum` is the deleted needle's stored
 * checksum, so that a tombstone names the content it removed. Returns the position after it.
 */
export function encodeTombstone(
  deleted: { readonly id: NeedleId; readonly cookie: number; readonly checksum: number },
  appendAt: { readonly hi: number; readonly lo: number },
  target: Buffer,
  at: number,
): number {
  assert(at + TOMBSTONE_BYTES <= target.length, 'tombstone overruns its buffer')
  encodeHeader(deleted, 0, target, at)
  let next = target.writeUInt32BE(deleted.checksum, at + NEEDLE_HEADER_BYTES)
  next = target.writeUInt32BE(appendAt.hi, next)
  next = target.writeUInt32BE(appendAt.lo, next)
  encodePadding(0, target, next, at + TOMBSTONE_BYTES)
  return at + TOMBSTONE_BYTES
}

/** @throws {StoreError} NEEDLE_CORRUPT: fewer than 16 bytes left, or a negative Size. */
export function decodeNeedleHeader(source: Buffer, at: number): NeedleHeader {
  if (at + NEEDLE_HEADER_BYTES > source.length) {
    throw new StoreError('NEEDLE_CORRUPT', `needle header at byte ${at} is cut short`)
  }
  const sizeBytes = source.readInt32BE(at + 12)
  if (sizeBytes < 0) {
    throw new StoreError('NEEDLE_CORRUPT', `size ${sizeBytes} in the needle header at byte ${at}`)
  }
  return {
    cookie: source.readUInt32BE(at),
    id: { hi: source.readUInt32BE(at + 4), lo: source.readUInt32BE(at + 8) },
    sizeBytes,
  }
}

const GZIP_MAGIC = [0x1f, 0x8b] as const
const JSON_BEGIN = '{'.charCodeAt(0)

/**
 * A decoded record: views into the buffer it was decoded from. Only the data is cut out at once;
 * everything else is read from the record when asked for, because this is made for every read.
 */
export class Needle {
  readonly sizeBytes: number
  readonly version: NeedleVersion
  /** The data as stored (compressed when the flag says so); a view, not a copy. */
  readonly data: Buffer
  readonly #view: DataView
  readonly #at: number

  /** @internal Use `decodeNeedle`. */
  constructor(view: DataView, at: number, sizeBytes: number, version: NeedleVersion, data: Buffer) {
    this.#view = view
    this.#at = at
    this.sizeBytes = sizeBytes
    this.version = version
    this.data = data
  }

  get cookie(): number {
    return this.#view.getUint32(this.#at)
  }

  get id(): NeedleId {
    return { hi: this.#view.getUint32(this.#at + 4), lo: this.#view.getUint32(this.#at + 8) }
  }

  hasId(id: NeedleId): boolean {
    const at = this.#at + 4
    return this.#view.getUint32(at + 4) === id.lo && this.#view.getUint32(at) === id.hi
  }

  /** The checksum as stored: raw or masked. */
  get checksum(): number {
    return this.#view.getUint32(this.#bodyEnd)
  }

  /** Whether the needle has a time to live of its own; cheaper than decoding the attributes. */
  get mayExpire(): boolean {
    return (this.#flags & NEEDLE_FLAG.ttl) !== 0
  }

  /** Whether the data is what was put: neither compressed nor a manifest of chunks. */
  get isPlain(): boolean {
    return (this.#flags & (NEEDLE_FLAG.compressed | NEEDLE_FLAG.chunkManifest)) === 0
  }

  /**
   * The flags say of the data what it does not look like, or do not say what it looks like. Mostly
   * that is how it was stored; but the checksum covers the data alone, and a flag that is wrong
   * would make nonsense of it.
   */
  get isDoubtful(): boolean {
    const flags = this.#flags
    const { data } = this
    const isPacked = (flags & NEEDLE_FLAG.compressed) !== 0
    const looksPacked = data[0] === GZIP_MAGIC[0] && data[1] === GZIP_MAGIC[1]
    const isManifest = (flags & NEEDLE_FLAG.chunkManifest) !== 0
    return isPacked !== looksPacked || (isManifest && !isPacked && data[0] !== JSON_BEGIN)
  }

  /** @throws {StoreError} NEEDLE_CORRUPT: the attributes overrun the body. */
  attributes(): NeedleAttributes {
    return decodeAttributes(this.#bytes, this.#attributesAt, this.#bodyEnd)
  }

  /** Whether encoded attributes say the same, last-modified aside. */
  hasSameAttributes(attributes: Buffer): boolean {
    const own = this.#bytes.subarray(this.#attributesAt, this.#bodyEnd)
    return saySameAttributes(own, attributes)
  }

  /** Time of the append in ns since 1970; undefined before version 3. */
  appendAtNs(): bigint | undefined {
    if (this.version !== 3) return undefined
    return this.#view.getBigUint64(this.#bodyEnd + NEEDLE_CHECKSUM_BYTES)
  }

  /** The same needle in memory of its own: it does not change, and holds no more than it needs. */
  copy(): Needle {
    const length = recordBytes(this.sizeBytes, this.version)
    const bytes = Buffer.allocUnsafeSlow(length)
    this.#bytes.copy(bytes, 0, this.#at, this.#at + length)
    const dataAt = this.#attributesAt - this.#at - this.data.length
    const data = bytes.subarray(dataAt, dataAt + this.data.length)
    return new Needle(viewOf(bytes), 0, this.sizeBytes, this.version, data)
  }

  get #bytes(): Buffer {
    const { buffer, byteOffset, byteLength } = this.#view
    return Buffer.from(buffer, byteOffset, byteLength)
  }

  get #bodyEnd(): number {
    return this.#at + NEEDLE_HEADER_BYTES + this.sizeBytes
  }

  /** Zero: none is set, or the needle has no attributes. */
  get #flags(): number {
    const flagsAt = this.#attributesAt
    return flagsAt < this.#bodyEnd ? this.#view.getUint8(flagsAt) : 0
  }

  get #attributesAt(): number {
    const hasDataSize = this.version !== 1 && this.sizeBytes > 0
    return this.#at + (hasDataSize ? NEEDLE_DATA_AT : NEEDLE_HEADER_BYTES) + this.data.length
  }
}

/**
 * Decodes the record at `at`, which must lie wholly in `source` below `sourceEnd`. A caller that
 * decodes many records of one buffer keeps the `view` of it and hands it in.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: the record is cut short, its sizes contradict each other, or
 * its data does not match its checksum.
 */
export function decodeNeedle(
  source: Buffer,
  at: number,
  version: NeedleVersion,
  sourceEnd: number = source.length,
  view: DataView = viewOf(source),
): Needle {
  const bodyAt = at + NEEDLE_HEADER_BYTES
  const sizeBytes = bodyAt <= sourceEnd ? view.getUint32(bodyAt - 4) : 0
  const end = at + recordBytes(sizeBytes, version)
  if (end > sourceEnd) {
    throw new StoreError(
      'NEEDLE_CORRUPT',
      `the needle record at byte ${at} needs ${end - at} bytes, ${sourceEnd - at} are there`,
    )
  }
  const dataAt = version === 1 || sizeBytes === 0 ? bodyAt : bodyAt + NEEDLE_DATA_SIZE_BYTES
  const dataEnd = dataAt + dataBytesOf(view, bodyAt, sizeBytes, version)
  const data = source.subarray(dataAt, dataEnd)
  const needle = new Needle(view, at, sizeBytes, version, data)
  if (sizeBytes > 0 && !matchesChecksum(crc32c(needle.data), needle.checksum)) {
    throw new StoreError('NEEDLE_CORRUPT', `checksum mismatch in the needle record at byte ${at}`)
  }
  return needle
}

/** A stored checksum may be raw, or masked as files from before June 2022 have it. */
export function matchesChecksum(computed: number, stored: number): boolean {
  return computed === stored || maskCrc32c(computed) === stored
}

export interface DataExtent {
  readonly dataAt: number
  readonly dataEnd: number
}

/** A view of the same bytes; its multi-byte reads are several times faster than a Buffer's. */
export function viewOf(source: Buffer): DataView {
  return new DataView(source.buffer, source.byteOffset, source.length)
}

/**
 * Where the data of a record lies, relative to the same buffer.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: the data size is larger than the body.
 */
export function dataExtent(
  source: DataView,
  bodyAt: number,
  sizeBytes: number,
  version: NeedleVersion,
): DataExtent {
  const dataAt = version === 1 || sizeBytes === 0 ? bodyAt : bodyAt + NEEDLE_DATA_SIZE_BYTES
  return { dataAt, dataEnd: dataAt + dataBytesOf(source, bodyAt, sizeBytes, version) }
}

function dataBytesOf(
  source: DataView,
  bodyAt: number,
  sizeBytes: number,
  version: NeedleVersion,
): number {
  if (version === 1 || sizeBytes === 0) return sizeBytes
  const dataBytes = sizeBytes < NEEDLE_DATA_SIZE_BYTES ? -1 : source.getUint32(bodyAt)
  if (dataBytes < 0 || NEEDLE_DATA_SIZE_BYTES + dataBytes > sizeBytes) {
    throw new StoreError('NEEDLE_CORRUPT', `data size ${dataBytes} in a body of ${sizeBytes} bytes`)
  }
  return dataBytes
}

function encodeHeader(
  needle: { readonly id: NeedleId; readonly cookie: number },
  sizeBytes: number,
  target: Buffer,
  at: number,
): void {
  target.writeUInt32BE(needle.cookie, at)
  target.writeUInt32BE(needle.id.hi, at + 4)
  target.writeUInt32BE(needle.id.lo, at + 8)
  target.writeUInt32BE(sizeBytes, at + 12)
}

/** Readers ignore padding; these are the bytes the format's own server leaves there. */
function encodePadding(sizeBytes: number, target: Buffer, at: number, end: number): void {
  target.fill(0, at, end)
  for (let index = 0; index < 4 && at + index < end; index++) {
    target[at + index] = (sizeBytes >>> (24 - 8 * index)) & 0xff
  }
}
