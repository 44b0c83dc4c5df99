import { formatNeedleId, type NeedleId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import { type Ttl, ttlToMs } from '../base/ttl.ts'
import type { NeedleAttributes } from './needle-attributes.ts'

export interface NeedleRequest {
  readonly id: NeedleId
  /** Compared with the stored one; undefined skips the comparison (tools, replication). */
  readonly cookie: number | undefined
}

/** @throws {StoreError} RANGE_INVALID: not `0 <= start <= end <= dataBytes`. */
export function checkRange(
  range: { readonly start: number; readonly end: number },
  dataBytes: number,
): void {
  const { start, end } = range
  if (Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end) {
    if (end <= dataBytes) return
  }
  throw new StoreError('RANGE_INVALID', `bytes ${start} to ${end} of ${dataBytes}`)
}

/** When a needle stops being readable, in ms since 1970; undefined: never. */
export function expiresAtMs(attributes: NeedleAttributes, volumeTtl: Ttl): number | undefined {
  const ttlMs = ttlToMs(attributes.ttl ?? volumeTtl) || ttlToMs(volumeTtl)
  if (ttlMs === 0 || attributes.lastModifiedS === undefined) return undefined
  return attributes.lastModifiedS * 1000 + ttlMs
}

export function cookieMismatch(id: NeedleId): StoreError {
  const why = `the cookie does not belong to needle ${formatNeedleId(id)}`
  return new StoreError('COOKIE_MISMATCH', why)
}

export function notFound(id: NeedleId): StoreError {
  return new StoreError('NEEDLE_NOT_FOUND', `there is no needle ${formatNeedleId(id)}`)
}

export function expired(): StoreError {
  return new StoreError('NEEDLE_NOT_FOUND', 'the time of this needle is over')
}

/** What the index says cannot be read as that needle. */
export function corruptNeedle(id: NeedleId, why: string): StoreError {
  return new StoreError('NEEDLE_CORRUPT', `needle ${formatNeedleId(id)}: ${why}`)
}

/**
 * Makes sure that a record is the needle that was asked for.
 *
 * @throws {StoreError} NEEDLE_CORRUPT, COOKIE_MISMATCH.
 */
export function checkIdentity(
  found: { readonly id: NeedleId; readonly cookie: number; readonly sizeBytes: number },
  request: NeedleRequest,
  place: { readonly offsetBytes: number; readonly sizeBytes: number },
): void {
  const { id } = request
  if (found.id.hi !== id.hi || found.id.lo !== id.lo || found.sizeBytes !== place.sizeBytes) {
    throw corruptNeedle(id, `another record lies at byte ${place.offsetBytes}`)
  }
  if (request.cookie !== undefined && found.cookie !== request.cookie) {
    throw cookieMismatch(id)
  }
}
