import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import {
  decodeNeedle,
  decodeNeedleHeader,
  NEEDLE_CHECKSUM_BYTES,
  NEEDLE_HEADER_BYTES,
  type NeedleHeader,
  recordBytes,
  TOMBSTONE_BYTES,
} from '../format/needle.ts'
import { readFully } from '../runtime/disk.ts'
import type { Generation } from './generation.ts'
import type { NeedleLocation } from './needle-map.ts'
import { cookieMismatch } from './needle-reader.ts'
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
