import { createHash } from 'node:crypto'
import { crc32 } from '@node-rs/crc32'
import { createCRC64 } from 'hash-wasm'
import { assert } from '../../../base/assert.ts'
import { crc32c } from '../../../base/crc32c.ts'
import { hashBytes } from '../../one-shot-hash.ts'
import { CHECKSUM_ALGORITHMS, type ChecksumAlgorithm } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'

/** The bytes of each sum, which S3 writes big-endian in base64. */
export const CHECKSUM_BYTES = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  SHA1: 20,
  SHA256: 32,
} as const satisfies Record<ChecksumAlgorithm, number>

/** One sum in the making. Many may be in the making at once. */
export interface Checksum {
  update(bytes: Uint8Array): void
  /** Big-endian. To be called once, and last. */
  digest(): Buffer
}

/** The polynomial of CRC-64/NVME in reversed bit order. Source: NVMe NVM command set, 5.2.1.3.4. */
const CRC64_NVME_POLYNOMIAL = '9a6c9329ac4bc9b5'

/**
 * The one instance in this thread, compiled when this module is loaded, so that nobody can come
 * before it is ready. It holds a stream's state only inside one synchronous call: between calls
 * each stream keeps its own 12 bytes of it.
 */
const crc64 = await createCRC64(CRC64_NVME_POLYNOMIAL)
const crc64Start = crc64.init().save()

export function createChecksum(algorithm: ChecksumAlgorithm): Checksum {
  switch (algorithm) {
    case 'CRC32':
      return new Crc32Checksum(crc32)
    case 'CRC32C':
      return new Crc32Checksum(crc32c)
    case 'CRC64NVME':
      return new Crc64Checksum()
    case 'SHA1':
      return new HashChecksum('sha1')
    case 'SHA256':
      return new HashChecksum('sha256')
  }
}

/** The sum of bytes that are all there: faster than `createChecksum` where they are few. */
export function checksumOf(algorithm: ChecksumAlgorithm, bytes: Uint8Array): Buffer {
  switch (algorithm) {
    case 'CRC32':
      return bytesOfCrc32(crc32(bytes))
    case 'CRC32C':
      return bytesOfCrc32(crc32c(bytes))
    case 'CRC64NVME':
      return bufferOver(crc64.init().update(bytes).digest('binary'))
    case 'SHA1':
      return hashBytes('sha1', bytes)
    case 'SHA256':
      return hashBytes('sha256', bytes)
  }
}

const HEADER_NAMES: ReadonlyMap<ChecksumAlgorithm, string> = new Map(
  CHECKSUM_ALGORITHMS.map((algorithm) => [algorithm, `x-amz-checksum-${algorithm.toLowerCase()}`]),
)

/** The header, and the trailer, that carries a sum of this algorithm; lower case. */
export function checksumHeaderName(algorithm: ChecksumAlgorithm): string {
  const name = HEADER_NAMES.get(algorithm)
  assert(name !== undefined, `the checksum algorithm ${algorithm}`)
  return name
}

/** Of a name as clients write it, in any case. */
export function findChecksumAlgorithm(name: string): ChecksumAlgorithm | undefined {
  const upper = name.trim().toUpperCase()
  return CHECKSUM_ALGORITHMS.find((algorithm) => algorithm === upper)
}

/**
 * @param place what the message calls the place where the value stood.
 * @throws {S3Error} InvalidRequest: not the base64 of as many bytes as the sum has.
 */
export function parseChecksumValue(
  algorithm: ChecksumAlgorithm,
  base64: string,
  place = 'header',
): Buffer {
  const bytes = decodeBase64(base64, CHECKSUM_BYTES[algorithm])
  if (bytes !== undefined) return bytes
  const name = checksumHeaderName(algorithm)
  throw new S3Error('InvalidRequest', `Value for ${name} ${place} is invalid.`)
}

/** Undefined: not the one way in which base64 writes exactly `bytesCount` bytes. */
export function decodeBase64(text: string, bytesCount: number): Buffer | undefined {
  // First the length: Node would decode any text, and pass over what is no base64.
  if (text.length !== Math.ceil(bytesCount / 3) * 4) return undefined
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === bytesCount && bytes.toString('base64') === text ? bytes : undefined
}

class Crc32Checksum implements Checksum {
  readonly #continueCrc: (bytes: Uint8Array, previous: number) => number
  #crc = 0

  constructor(continueCrc: (bytes: Uint8Array, previous: number) => number) {
    this.#continueCrc = continueCrc
  }

  update(bytes: Uint8Array): void {
    this.#crc = this.#continueCrc(bytes, this.#crc)
  }

  digest(): Buffer {
    return bytesOfCrc32(this.#crc)
  }
}

class Crc64Checksum implements Checksum {
  #state = crc64Start

  update(bytes: Uint8Array): void {
    this.#state = crc64.load(this.#state).update(bytes).save()
  }

  digest(): Buffer {
    return bufferOver(crc64.load(this.#state).digest('binary'))
  }
}

class HashChecksum implements Checksum {
  readonly #hash

  constructor(name: 'sha1' | 'sha256') {
    this.#hash = createHash(name)
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes)
  }

  digest(): Buffer {
    return this.#hash.digest()
  }
}

function bytesOfCrc32(crc: number): Buffer {
  assert(crc >= 0, 'a CRC is unsigned')
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(crc)
  return bytes
}

function bufferOver(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
