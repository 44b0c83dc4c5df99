import { assert } from './assert.ts'
import { quote, StoreError } from './store-error.ts'

/** How many copies a volume has beside the first, by distance. Three digits: `110`, `001`. */
export interface ReplicaPlacement {
  readonly otherDataCenters: number
  readonly otherRacks: number
  readonly otherServers: number
}

const BYTE_MAX = 255

/** @throws {StoreError} REPLICA_PLACEMENT_INVALID: not three digits, or above 255 as a number. */
export function parseReplicaPlacement(text: string): ReplicaPlacement {
  const value = /^\d{3}$/.test(text) ? Number(text) : -1
  if (value < 0 || value > BYTE_MAX) {
    throw new StoreError(
      'REPLICA_PLACEMENT_INVALID',
      `${quote(text)} is not a replica placement: three digits, at most ${BYTE_MAX}`,
    )
  }
  return replicaPlacementFromByte(value)
}

export function formatReplicaPlacement(placement: ReplicaPlacement): string {
  return replicaPlacementToByte(placement).toString().padStart(3, '0')
}

/** On disk the three digits are one byte, read as a decimal number. */
export function replicaPlacementToByte(placement: ReplicaPlacement): number {
  const { otherDataCenters, otherRacks, otherServers } = placement
  const digits = [otherDataCenters, otherRacks, otherServers]
  assert(
    digits.every((digit) => Number.isInteger(digit) && digit >= 0 && digit <= 9),
    `replica placement ${digits.join(':')}`,
  )
  const byte = otherDataCenters * 100 + otherRacks * 10 + otherServers
  assert(byte <= BYTE_MAX, `replica placement ${byte} does not fit a byte`)
  return byte
}

/** Every byte is a placement, so nothing read from disk can fail here. */
export function replicaPlacementFromByte(byte: number): ReplicaPlacement {
  assert(Number.isInteger(byte) && byte >= 0 && byte <= BYTE_MAX, `replica placement byte ${byte}`)
  return {
    otherDataCenters: Math.floor(byte / 100),
    otherRacks: Math.floor(byte / 10) % 10,
    otherServers: byte % 10,
  }
}

/** Copies of a volume in all, the first included. */
export function copyCount(placement: ReplicaPlacement): number {
  return placement.otherDataCenters + placement.otherRacks + placement.otherServers + 1
}
