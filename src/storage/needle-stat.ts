import { crc32c } from '../base/crc32c.ts'
import { type Cookie, cookie, type NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import {
  decodeNeedle,
  NEEDLE_CHECKSUM_BYTES,
  NEEDLE_HEADER_BYTES,
  NEEDLE_TIMESTAMP_BYTES,
  recordBytes,
} from '../format/needle.ts'
import type { NeedleAttributes } from '../format/needle-attributes.ts'
import { checkIdentity, expiresAtMs } from '../format/needle-checks.ts'
import { readFully } from '../runtime/disk.ts'
import { attributesHash } from './attributes-hash.ts'
import type { Generation } from './generation.ts'
import type { NeedleLocation } from './needle-map.ts'

/**
 * `absent`: never here, or its time is over. `corrupt`: the index has it, and what it points at is
 * not that needle, whole.
 */
export type NeedleState = 'live' | 'deleted' | 'absent' | 'corrupt'

/** A needle as it is on the disk. All but the first two are 0 unless it is live. */
export interface NeedleStat {
  readonly needleId: NeedleId
  readonly state: NeedleState
  readonly cookie: Cookie
  /** CRC-32C of the data, raw. */
  readonly checksum: number
  readonly dataBytes: number
  /** Of what the needle knows beside its data; see `attributesHash`. */
  readonly attributesHash: number
  /** When it was appended to this copy; 0: not known. */
  readonly appendAtNs: bigint
}

/** What is read and compared of a needle that is whole. */
interface Found {
  readonly cookie: number
  readonly checksum: number
  readonly dataBytes: number
  readonly attributes: NeedleAttributes
  readonly appendAtNs: bigint
}

/**
 * Reads a needle to its end and checks it, however large it is.
 *
 * @throws {StoreError} DISK_FAILED, CANCELLED.
 */
export async function statNeedle(
  generation: Generation,
  request: { readonly id: NeedleId; readonly nowMs: number },
  signal: AbortSignal,
): Promise<NeedleStat> {
  const { id, nowMs } = request
  const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  if (!generation.map.lookup(id, location)) return without(id, 'absent')
  if (location.isDeleted) return without(id, 'deleted')
  using _held = generation.retain()
  try {
    const isSmall = recordBytes(location.sizeBytes, generation.version) <= LIMITS.wholeReadMax.value
    const found = isSmall
      ? await readWhole(generation, id, location)
      : await readPieces(generation, id, location, signal)
    const { ttl } = generation.superBlock
    const { attributes, ...rest } = found
    const expiresMs = expiresAtMs(attributes, ttl)
    if (expiresMs !== undefined && expiresMs <= nowMs) return without(id, 'absent')
    const hash = attributesHash(attributes, ttl)
    return {
      ...rest,
      needleId: id,
      state: 'live',
      cookie: cookie(found.cookie),
      attributesHash: hash,
    }
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_CORRUPT')) return without(id, 'corrupt')
    throw error
  }
}

function without(needleId: NeedleId, state: NeedleState): NeedleStat {
  const nothing = { checksum: 0, dataBytes: 0, attributesHash: 0, appendAtNs: 0n }
  return { needleId, state, cookie: cookie(0), ...nothing }
}

async function readWhole(
  generation: Generation,
  id: NeedleId,
  location: NeedleLocation,
): Promise<Found> {
  const { dat, version } = generation
  const length = recordBytes(location.sizeBytes, version)
  const needle = decodeNeedle(await readFully(dat, length, location.offsetBytes), 0, version)
  checkIdentity(needle, { id, cookie: undefined }, location)
  return {
    cookie: needle.cookie,
    checksum: crc32c(needle.data),
    dataBytes: needle.data.length,
    attributes: needle.attributes(),
    appendAtNs: needle.appendAtNs() ?? 0n,
  }
}

async function readPieces(
  generation: Generation,
  id: NeedleId,
  location: NeedleLocation,
  signal: AbortSignal,
): Promise<Found> {
  using large = await generation.openLarge({ id, cookie: undefined }, location)
  let checksum = 0
  for await (const piece of large.read(signal)) checksum = crc32c(piece, checksum)
  const { cookie: found, dataBytes, attributes } = large
  return {
    cookie: found,
    checksum,
    dataBytes,
    attributes,
    appendAtNs: await stampOf(generation, location),
  }
}

async function stampOf(generation: Generation, location: NeedleLocation): Promise<bigint> {
  if (generation.version !== 3) return 0n
  const { offsetBytes, sizeBytes } = location
  const at = offsetBytes + NEEDLE_HEADER_BYTES + sizeBytes + NEEDLE_CHECKSUM_BYTES
  return (await readFully(generation.dat, NEEDLE_TIMESTAMP_BYTES, at)).readBigUInt64BE(0)
}
