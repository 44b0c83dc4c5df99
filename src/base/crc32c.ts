import { crc32c as nativeCrc32c } from '@node-rs/crc32'

const MASK_DELTA = 0xa282_ead8

/** CRC-32C of `bytes` as an unsigned number. `previous` continues the checksum of earlier bytes. */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  return nativeCrc32c(bytes, previous)
}

/**
 * The masked form of a CRC, found in needles written before June 2022: rotated right by 15 bits,
 * plus a constant.
 */
export function maskCrc32c(raw: number): number {
  return (((raw >>> 15) | (raw << 17)) + MASK_DELTA) >>> 0
}
