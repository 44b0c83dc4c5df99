import { type NeedleId, needleId, type VolumeId } from '../base/ids.ts'
import {
  formatReplicaPlacement,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../base/replica-placement.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'

/**
 * Values from the wire. Protocol buffers give every field its type, and nothing else: each reader
 * here throws a `StoreError` for a value that means nothing. A server lets it go to the caller; a
 * client says `fromPeer`, because then it is the peer that failed.
 */

/** @throws {StoreError} PEER_FAILED: `convert` found nonsense in what `peer` sent. */
export function fromPeer<Wire, Value>(
  peer: string,
  wire: Wire,
  convert: (wire: Wire) => Value,
): Value {
  try {
    return convert(wire)
  } catch (cause) {
    if (!isStoreError(cause)) throw cause
    throw new StoreError('PEER_FAILED', `${peer} sent nonsense: ${cause.message}`, { cause })
  }
}

/** @throws {StoreError} REQUEST_INVALID: the message or field is missing. */
export function present<Value>(value: Value | null | undefined, what: string): Value {
  if (value === null || value === undefined) throw invalid(`${what} is missing`)
  return value
}

/** @throws {StoreError} REQUEST_INVALID: 2^53 or more, which a number cannot hold exactly. */
export function wireNumber(value: number, what: string): number {
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`${what} cannot be ${value}`)
  return value
}

/** @throws {StoreError} REQUEST_INVALID: negative, or no number. */
export function wireRatio(value: number, what: string): number {
  if (Number.isNaN(value) || value < 0) throw invalid(`${what} cannot be ${value}`)
  return value
}

/** @throws {StoreError} REQUEST_INVALID: negative, without end, or no number. */
export function wirePoliteness(value: number): number {
  if (!Number.isFinite(value)) throw invalid(`a politeness cannot be ${value}`)
  return wireRatio(value, 'a politeness')
}

/** @throws {StoreError} REQUEST_INVALID: more than `max`. */
export function wireAtMost<Item>(
  items: readonly Item[],
  max: number,
  what: string,
): readonly Item[] {
  if (items.length > max) throw invalid(`${items.length} ${what} at once, ${max} may be`)
  return items
}

/** @throws {StoreError} REQUEST_INVALID: 0, which names no volume. */
export function wireVolumeId(value: number): VolumeId {
  if (!Number.isInteger(value) || value <= 0 || value > 0xffff_ffff) {
    throw invalid(`${value} is not a volume id`)
  }
  return value as VolumeId
}

/** @throws {StoreError} REQUEST_INVALID: not 1 to 16 hex digits. */
export function wireNeedleId(text: string): NeedleId {
  if (!/^[0-9a-f]{1,16}$/i.test(text)) throw invalid(`${quote(text)} is not a needle id`)
  const digits = text.padStart(16, '0')
  return needleId(Number.parseInt(digits.slice(0, 8), 16), Number.parseInt(digits.slice(8), 16))
}

/** Empty: there is none. */
export function placementToWire(replication: ReplicaPlacement | undefined): string {
  return replication === undefined ? '' : formatReplicaPlacement(replication)
}

/** @throws {StoreError} REPLICA_PLACEMENT_INVALID */
export function wirePlacement(text: string): ReplicaPlacement | undefined {
  return text === '' ? undefined : parseReplicaPlacement(text)
}

/** @throws {StoreError} REQUEST_INVALID: none of `words`. */
export function wireWord<Word extends string>(
  text: string,
  words: readonly Word[],
  what: string,
): Word {
  const found = words.find((word) => word === text)
  if (found === undefined) throw invalid(`${what} cannot be ${quote(text)}`)
  return found
}

/** @throws {StoreError} REQUEST_INVALID: not decimal digits, or above 64 bits. Empty is 0. */
export function wireNanoseconds(text: string): bigint {
  if (text === '') return 0n
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : -1n
  if (value < 0n || value >= 1n << 64n) throw invalid(`${quote(text)} is not a time`)
  return value
}

/** Empty: it is not known. @throws {StoreError} REQUEST_INVALID: not 16 hex digits. */
export function digestFromWire(text: string): string {
  if (!/^(?:[0-9a-f]{16})?$/.test(text)) throw invalid('a digest of another length')
  return text
}

export function invalid(message: string): StoreError {
  return new StoreError('REQUEST_INVALID', message)
}
