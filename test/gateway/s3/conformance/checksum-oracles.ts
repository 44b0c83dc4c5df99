import { createHash } from 'node:crypto'

/** Sums written from their definitions, bit by bit, and not with the code under test. */

export const ALGORITHMS = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const
export type Algorithm = (typeof ALGORITHMS)[number]

const CRCS = {
  CRC32: { polynomial: 0xedb88320n, bits: 32n },
  CRC32C: { polynomial: 0x82f63b78n, bits: 32n },
  CRC64NVME: { polynomial: 0x9a6c9329ac4bc9b5n, bits: 64n },
} as const

/** Base64, big-endian. For small bodies. */
export function sumOf(algorithm: Algorithm, data: string | Uint8Array): string {
  const bytes = Buffer.from(data)
  if (algorithm === 'SHA1' || algorithm === 'SHA256') {
    return createHash(algorithm.toLowerCase()).update(bytes).digest('base64')
  }
  const { bits, polynomial } = CRCS[algorithm]
  const ones = (1n << bits) - 1n
  let crc = ones
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ polynomial : crc >> 1n
  }
  const hex = (crc ^ ones).toString(16).padStart(Number(bits / 4n), '0')
  return Buffer.from(hex, 'hex').toString('base64')
}

/** The sum of the sums, `-` and how many there are. */
export function compositeOf(
  algorithm: Algorithm,
  bodies: readonly (string | Uint8Array)[],
): string {
  const sums = bodies.map((body) => Buffer.from(sumOf(algorithm, body), 'base64'))
  return `${sumOf(algorithm, Buffer.concat(sums))}-${bodies.length}`
}

export function checksumHeader(algorithm: Algorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`
}
