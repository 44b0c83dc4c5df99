import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { TTL_NONE, type Ttl, ttlFromBytes, ttlToBytes } from '../base/ttl.ts'

/**
 * The attributes of a needle: what follows the data in the body of a version 2 or 3 record. In this
 * order, each present when its flag is set:
 *
 *     | flags u8 | n u8, name | n u8, mime | last-modified u40 |
 *     | ttl count u8, unit u8 | n u16, pairs JSON |
 *
 * Source: SeaweedFS needle format, versions 2 and 3.
 */
export const NEEDLE_FLAG = {
  compressed: 0x01,
  name: 0x02,
  mime: 0x04,
  lastModified: 0x08,
  ttl: 0x10,
  pairs: 0x20,
  chunkManifest: 0x80,
} as const

const LAST_MODIFIED_BYTES = 5
const TTL_BYTES = 2

/** What a needle knows about itself beside its data. */
export interface NeedleAttributes {
  readonly name?: string | undefined
  readonly mime?: string | undefined
  readonly lastModifiedS?: number | undefined
  readonly ttl?: Ttl | undefined
  readonly pairs?: Readonly<Record<string, string>> | undefined
  /** The data is stored gzip-compressed. */
  readonly isCompressed?: boolean | undefined
  /** The data is a chunk manifest: a list of needles that make one large file. */
  readonly isChunkManifest?: boolean | undefined
}

/** @throws {StoreError} NEEDLE_CORRUPT: a length points past `end`, or pairs are no JSON object. */
export function decodeAttributes(source: Buffer, at: number, end: number): NeedleAttributes {
  if (at >= end) return {}
  const reader = new AttributeReader(source, at, end)
  const flags = reader.take(1).readUInt8(0)
  const has = (flag: number): boolean => (flags & flag) !== 0
  const name = has(NEEDLE_FLAG.name) ? reader.takeShort().toString('utf8') : undefined
  const mime = has(NEEDLE_FLAG.mime) ? reader.takeShort().toString('utf8') : undefined
  const lastModifiedS = has(NEEDLE_FLAG.lastModified)
    ? reader.take(LAST_MODIFIED_BYTES).readUIntBE(0, LAST_MODIFIED_BYTES)
    : undefined
  const ttl = has(NEEDLE_FLAG.ttl) ? decodeTtl(reader.take(TTL_BYTES)) : undefined
  const pairs = has(NEEDLE_FLAG.pairs) ? decodePairs(reader.takeLong()) : undefined
  return {
    name: name === '' ? undefined : name,
    mime: mime === '' ? undefined : mime,
    lastModifiedS,
    ttl,
    pairs,
    isCompressed: has(NEEDLE_FLAG.compressed),
    isChunkManifest: has(NEEDLE_FLAG.chunkManifest),
  }
}

/** Name, mime and last-modified are always written, even empty, as the format's own server does. */
export function encodeAttributes(attributes: NeedleAttributes): Buffer {
  const { name = '', mime = '' } = attributes
  const nameBytes = shortBytes(name, 'name', LIMITS.needleNameMax.value)
  const mimeBytes = shortBytes(mime, 'mime type', LIMITS.needleMimeMax.value)
  const ttl = attributes.ttl !== undefined && attributes.ttl.count > 0 ? attributes.ttl : undefined
  const pairs = encodePairs(attributes.pairs)
  const lastModifiedS = attributes.lastModifiedS ?? 0
  if (!(lastModifiedS >= 0 && lastModifiedS < 2 ** 40)) {
    throw new StoreError('NEEDLE_INVALID', `last-modified ${lastModifiedS} is outside 40 bits`)
  }
  const bytes = 1 + 1 + nameBytes + 1 + mimeBytes + LAST_MODIFIED_BYTES
  const target = Buffer.allocUnsafe(bytes + (ttl ? TTL_BYTES : 0) + (pairs ? 2 + pairs.length : 0))
  target[0] =
    NEEDLE_FLAG.name |
    NEEDLE_FLAG.mime |
    NEEDLE_FLAG.lastModified |
    (ttl ? NEEDLE_FLAG.ttl : 0) |
    (pairs ? NEEDLE_FLAG.pairs : 0) |
    (attributes.isCompressed ? NEEDLE_FLAG.compressed : 0) |
    (attributes.isChunkManifest ? NEEDLE_FLAG.chunkManifest : 0)
  let at = writeShort(name, nameBytes, target, 1)
  at = writeShort(mime, mimeBytes, target, at)
  at = target.writeUIntBE(Math.floor(lastModifiedS), at, LAST_MODIFIED_BYTES)
  if (ttl) {
    target.set(ttlToBytes(ttl), at)
    at += TTL_BYTES
  }
  if (pairs) target.set(pairs, target.writeUInt16BE(pairs.length, at))
  return target
}

/** Length in UTF-8, which must fit a byte. */
function shortBytes(text: string, what: string, bytesMax: number): number {
  if (text === '') return 0
  const bytes = Buffer.byteLength(text)
  if (bytes <= bytesMax) return bytes
  const why = `the ${what} has ${bytes} bytes, ${bytesMax} is the limit`
  throw new StoreError('NEEDLE_INVALID', why)
}

/** Length and text. Returns the position after them. */
function writeShort(text: string, bytes: number, target: Buffer, at: number): number {
  target[at] = bytes
  const start = at + 1
  if (bytes === text.length) {
    // ASCII, as almost all names: a call out of JavaScript costs more than this loop.
    for (let next = 0; next < bytes; next++) target[start + next] = text.charCodeAt(next)
  } else {
    target.write(text, start, 'utf8')
  }
  return start + bytes
}

function encodePairs(pairs: Readonly<Record<string, string>> | undefined): Buffer | undefined {
  if (pairs === undefined || Object.keys(pairs).length === 0) return undefined
  const bytes = Buffer.from(JSON.stringify(pairs), 'utf8')
  if (bytes.length > LIMITS.needlePairsMax.value) {
    throw new StoreError(
      'NEEDLE_INVALID',
      `the pairs take ${bytes.length} bytes, ${LIMITS.needlePairsMax.value} is the limit`,
    )
  }
  return bytes
}

function decodePairs(bytes: Buffer): Readonly<Record<string, string>> {
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new StoreError('NEEDLE_CORRUPT', 'the pairs of a needle are not JSON', { cause })
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new StoreError('NEEDLE_CORRUPT', 'the pairs of a needle are not a JSON object')
  }
  // No prototype: a pair may be called `__proto__` or `constructor`.
  const pairs: Record<string, string> = Object.create(null)
  for (const [key, value] of Object.entries(parsed)) {
    if (typeof value !== 'string') {
      throw new StoreError('NEEDLE_CORRUPT', 'a pair of a needle is not a string')
    }
    pairs[key] = value
  }
  return pairs
}

function decodeTtl(bytes: Buffer): Ttl {
  const [count = 0, unit = 0] = bytes
  try {
    return count === 0 ? TTL_NONE : ttlFromBytes(count, unit)
  } catch (cause) {
    throw new StoreError('NEEDLE_CORRUPT', `TTL unit ${unit} in a needle`, { cause })
  }
}

/** Where last-modified starts within attributes; their end when they have none. */
function lastModifiedAt(attributes: Buffer): number {
  const flags = attributes[0] ?? 0
  if ((flags & NEEDLE_FLAG.lastModified) === 0) return attributes.length
  let at = 1
  if ((flags & NEEDLE_FLAG.name) !== 0) at += 1 + (attributes[at] ?? 0)
  if ((flags & NEEDLE_FLAG.mime) !== 0) at += 1 + (attributes[at] ?? 0)
  return Math.min(at, attributes.length)
}

/** Whether two encoded attributes say the same, last-modified aside. */
export function saySameAttributes(a: Buffer, b: Buffer): boolean {
  if (a.length !== b.length || a[0] !== b[0]) return false
  const timeAt = lastModifiedAt(a)
  const timeEnd = timeAt + LAST_MODIFIED_BYTES
  return (
    a.subarray(0, timeAt).equals(b.subarray(0, timeAt)) &&
    a.subarray(timeEnd).equals(b.subarray(timeEnd))
  )
}

class AttributeReader {
  readonly #source: Buffer
  readonly #end: number
  #at: number

  constructor(source: Buffer, at: number, end: number) {
    this.#source = source
    this.#at = at
    this.#end = end
  }

  take(length: number): Buffer {
    const at = this.#at
    if (at + length > this.#end) {
      throw new StoreError('NEEDLE_CORRUPT', `attributes overrun the needle body at byte ${at}`)
    }
    this.#at += length
    return this.#source.subarray(at, at + length)
  }

  takeShort(): Buffer {
    return this.take(this.take(1).readUInt8(0))
  }

  takeLong(): Buffer {
    return this.take(this.take(2).readUInt16BE(0))
  }
}
