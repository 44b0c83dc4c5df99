import { assert } from './assert.ts'
import { quote, StoreError } from './store-error.ts'

const UINT32_MAX = 0xffff_ffff
const TWO_32 = 2 ** 32

/** Names a volume within a cluster: 1 to 2^32 - 1. */
export type VolumeId = number & { readonly brand: 'VolumeId' }

/** Chosen at random with every needle, so that file ids cannot be guessed. 32 bits. */
export type Cookie = number & { readonly brand: 'Cookie' }

/**
 * Names a needle: 64 bits, as two unsigned 32-bit halves. Numbers are exact only to 2^53 and a
 * BigInt costs an allocation for every needle read.
 */
export interface NeedleId {
  readonly hi: number
  readonly lo: number
}

export function volumeId(value: number): VolumeId {
  assert(isUint32(value) && value > 0, `volume id ${value}`)
  return value as VolumeId
}

/** @throws {StoreError} FILE_ID_INVALID: not a decimal number from 1 to 2^32 - 1. */
export function parseVolumeId(text: string): VolumeId {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : 0
  if (value === 0 || value > UINT32_MAX) {
    throw new StoreError('FILE_ID_INVALID', `${quote(text)} is not a volume id`)
  }
  return value as VolumeId
}

export function cookie(value: number): Cookie {
  // Checked first: building the message costs more than all the rest, and ids are made all the
  // time.
  if (!isUint32(value)) assert(false, `cookie ${value}`)
  return value as Cookie
}

export function needleId(hi: number, lo: number): NeedleId {
  if (!isUint32(hi) || !isUint32(lo)) assert(false, `needle id ${hi}:${lo}`)
  return { hi, lo }
}

export function needleIdFromNumber(value: number): NeedleId {
  if (!Number.isSafeInteger(value) || value < 0) assert(false, `needle id ${value}`)
  return { hi: Math.floor(value / TWO_32), lo: value >>> 0 }
}

export function needleIdFromBigInt(value: bigint): NeedleId {
  assert(value >= 0n && value < 1n << 64n, `needle id ${value}`)
  return { hi: Number(value >> 32n), lo: Number(value & 0xffff_ffffn) }
}

export function needleIdToBigInt(id: NeedleId): bigint {
  return (BigInt(id.hi) << 32n) | BigInt(id.lo)
}

/** Negative, zero or positive, as `sort` wants it; order of the unsigned 64-bit values. */
export function compareNeedleIds(a: NeedleId, b: NeedleId): number {
  return a.hi === b.hi ? a.lo - b.lo : a.hi - b.hi
}

/** Lower-case hex, two digits a byte, leading zero bytes left out (but id 0 is `00`). */
export function formatNeedleId(id: NeedleId): string {
  const digits = id.hi === 0 ? id.lo.toString(16) : id.hi.toString(16) + hex8(id.lo)
  return digits.length % 2 === 0 ? digits : `0${digits}`
}

/** @throws {StoreError} FILE_ID_INVALID: the sum does not fit 64 bits. */
export function addToNeedleId(id: NeedleId, count: number): NeedleId {
  assert(Number.isSafeInteger(count) && count >= 0, `cannot add ${count} to a needle id`)
  const lo = id.lo + (count % TWO_32)
  const hi = id.hi + Math.floor(count / TWO_32) + (lo >= TWO_32 ? 1 : 0)
  if (hi > UINT32_MAX) {
    throw new StoreError('FILE_ID_INVALID', `needle id ${formatNeedleId(id)} + ${count} overflows`)
  }
  return { hi, lo: lo >>> 0 }
}

/** Eight lower-case hex digits. */
export function hex8(value: number): string {
  return value.toString(16).padStart(8, '0')
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= UINT32_MAX
}
