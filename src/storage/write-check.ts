import { formatNeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import {
  decodeNeedle,
  decodeNeedleHeader,
  NEEDLE_CHECKSUM_BYTES,
  NEEDLE_HEADER_BYTES,
  type NeedleHeader,
  recordBytes,
  TOMBSTONE_BYTES,
} from '../format/needle.ts'
import { decodeAttributes } from '../format/needle-attributes.ts'
import { cookieMismatch } from '../format/needle-checks.ts'
import { readFully } from '../runtime/disk.ts'
import { attributesHash } from './attributes-hash.ts'
import type { Generation } from './generation.ts'
import type { NeedleLocation } from './needle-map.ts'
import type { BatchEntry, PendingDelete, PendingPut } from './pending-write.ts'

/** What is stored under the id of a write: found once per write to an id that is known. */
interface Stored {
  readonly location: NeedleLocation
  /** Undefined when the record there is not readable as that needle. */
  readonly header: NeedleHeader | undefined
}

/**
 * Checks a put against what the volume holds under its id. Undefined: nothing is to be written,
 * the put has been answered.
 */
export async function checkPutOverStored(
  generation: Generation,
  put: PendingPut,
  location: NeedleLocation,
): Promise<BatchEntry | undefined> {
  const stored = await readStored(generation, put, location)
  const { header } = stored
  // A record that cannot be read has no cookie to compare; writing over it heals the needle.
  if (header !== undefined && header.cookie !== put.needle.cookie) {
    put.reject(cookieMismatch(put.id))
    return undefined
  }
  if (header !== undefined && (await isUnchanged(generation, put, location))) {
    const { checksum, dataBytes } = put.needle
    put.resolve({ checksum, dataBytes, isUnchanged: true })
    return undefined
  }
  return { kind: 'put', write: put, recordBytes: put.needle.recordBytes }
}

/**
 * As `checkPutOverStored`, for a needle from another copy; `location` is undefined when nothing is
 * known under its id. A deletion wins: whoever healed over it would bring back what was deleted.
 */
export async function checkHeal(
  generation: Generation,
  put: PendingPut,
  location: NeedleLocation | undefined,
): Promise<BatchEntry | undefined> {
  if (location?.isDeleted) {
    const why = `needle ${formatNeedleId(put.id)} was deleted here`
    put.reject(new StoreError('NEEDLE_NOT_FOUND', why))
    return undefined
  }
  if (location !== undefined && (await isHealed(generation, put, location))) {
    const { checksum, dataBytes } = put.needle
    put.resolve({ checksum, dataBytes, isUnchanged: true })
    return undefined
  }
  return { kind: 'put', write: put, recordBytes: put.needle.recordBytes }
}

/** As `checkPutOverStored`, for a delete of an id that is live. */
export async function checkDelete(
  generation: Generation,
  write: PendingDelete,
  location: NeedleLocation,
): Promise<BatchEntry | undefined> {
  const { header } = await readStored(generation, write, location)
  if (header !== undefined && write.cookie !== undefined && header.cookie !== write.cookie) {
    write.reject(cookieMismatch(write.id))
    return undefined
  }
  const checksumAt = location.offsetBytes + NEEDLE_HEADER_BYTES + location.sizeBytes
  const checksum = await readFully(generation.dat, NEEDLE_CHECKSUM_BYTES, checksumAt)
  return {
    kind: 'delete',
    write,
    recordBytes: TOMBSTONE_BYTES,
    cookie: header?.cookie ?? write.cookie ?? 0,
    checksum: checksum.length === NEEDLE_CHECKSUM_BYTES ? checksum.readUInt32BE(0) : 0,
    freedBytes: recordBytes(location.sizeBytes, generation.version),
  }
}

/** Whether the record there is that needle already, its cookie included; its times do not count. */
async function isHealed(
  generation: Generation,
  put: PendingPut,
  location: NeedleLocation,
): Promise<boolean> {
  const { needle } = put
  const length = recordBytes(location.sizeBytes, generation.version)
  // What is too large to be compared in one piece is written again.
  if (length > LIMITS.wholeReadMax.value || needle.dataBytes !== needle.data.length) return false
  try {
    const bytes = await readFully(generation.dat, length, location.offsetBytes)
    const old = decodeNeedle(bytes, 0, generation.version)
    const isThatNeedle =
      old.hasId(put.id) && old.cookie === needle.cookie && old.sizeBytes === location.sizeBytes
    if (!isThatNeedle || !old.data.equals(needle.data)) return false
    const { ttl } = generation.superBlock
    const wanted = decodeAttributes(needle.attributes, 0, needle.attributes.length)
    return attributesHash(old.attributes(), ttl) === attributesHash(wanted, ttl)
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_CORRUPT')) return false
    throw error
  }
}

async function readStored(
  generation: Generation,
  write: PendingPut | PendingDelete,
  location: NeedleLocation,
): Promise<Stored> {
  const bytes = await readFully(generation.dat, NEEDLE_HEADER_BYTES, location.offsetBytes)
  try {
    const header = decodeNeedleHeader(bytes, 0)
    const { hi, lo } = header.id
    const isThatNeedle = hi === write.id.hi && lo === write.id.lo
    return { location, header: isThatNeedle ? header : undefined }
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_CORRUPT')) return { location, header: undefined }
    throw error
  }
}

/**
 * Only the same bytes under the same attributes are no change; the time alone does not count,
 * except for a needle that lives for a limited time, whose time starts anew.
 */
async function isUnchanged(
  generation: Generation,
  put: PendingPut,
  location: NeedleLocation,
): Promise<boolean> {
  const { needle } = put
  if (location.isDeleted || location.sizeBytes !== needle.sizeBytes) return false
  if (generation.superBlock.ttl.count > 0 || needle.dataBytes !== needle.data.length) return false
  const length = recordBytes(location.sizeBytes, generation.version)
  if (length > LIMITS.wholeReadMax.value) return false
  try {
    const bytes = await readFully(generation.dat, length, location.offsetBytes)
    const old = decodeNeedle(bytes, 0, generation.version)
    if (old.mayExpire) return false
    return old.data.equals(needle.data) && old.hasSameAttributes(needle.attributes)
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_CORRUPT')) return false
    throw error
  }
}
