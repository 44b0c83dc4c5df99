import { crc32c } from '../base/crc32c.ts'
import type { NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { MIB } from '../base/units.ts'
import { type DiskFile, readFully } from '../runtime/disk.ts'
import { locateWrongByte } from './crc-locate.ts'

/** Following a difference back through larger blocks would hold up the thread. */
const LOCATED_BLOCK_MAX_BYTES = 4 * MIB
/** Cookie: the only bytes of a header that nothing but the block checksum tells. */
const COOKIE_BYTES = 4

/** The checksums of all blocks of `.dat` up to `datBytes`, as they were when they were written. */
export interface KnownBlocks {
  readonly blockBytes: number
  readonly datBytes: number
  readonly crcs: Uint32Array
}

export interface BadBlock {
  readonly startBytes: number
  readonly endBytes: number
  /** Places where one wrong byte would explain it; empty: more than one byte is wrong. */
  readonly wrongAt: readonly number[]
}

/** A live needle, and which of its bytes have been compared with a checksum of their own. */
export interface LiveRecord {
  readonly id: NeedleId
  readonly offsetBytes: number
  readonly endBytes: number
  /** Header, data and checksum are in order: what is wrong can be around `dataEnd` only. */
  readonly isIntact: boolean
  /** From here to its end only the block checksum tells. */
  readonly dataEnd: number
}

/** Reads whole blocks and compares them. @throws {StoreError} DISK_FAILED. */
export async function findBadBlocks(
  dat: DiskFile,
  known: KnownBlocks,
  range: { readonly fromBytes: number; readonly toBytes: number },
): Promise<BadBlock[]> {
  const bad: BadBlock[] = []
  const { blockBytes, datBytes, crcs } = known
  for (let startBytes = range.fromBytes; startBytes < range.toBytes; startBytes += blockBytes) {
    const endBytes = Math.min(startBytes + blockBytes, datBytes)
    const expected = crcs[startBytes / blockBytes] ?? 0
    const { crc: actual, lengthBytes } = await crcOf(dat, startBytes, endBytes)
    const isWhole = lengthBytes === endBytes - startBytes
    if (isWhole && actual === expected) continue
    const isLocated = isWhole && lengthBytes <= LOCATED_BLOCK_MAX_BYTES
    const places = isLocated ? locateWrongByte({ lengthBytes, expected, actual }) : []
    bad.push({ startBytes, endBytes, wrongAt: places.map((place) => startBytes + place) })
  }
  return bad
}

async function crcOf(
  dat: DiskFile,
  startBytes: number,
  endBytes: number,
): Promise<{ readonly crc: number; readonly lengthBytes: number }> {
  let crc = 0
  let at = startBytes
  while (at < endBytes) {
    const piece = await readFully(dat, Math.min(LIMITS.streamPiece.value, endBytes - at), at)
    if (piece.length === 0) break
    crc = crc32c(piece, crc)
    at += piece.length
  }
  return { crc, lengthBytes: at - startBytes }
}

/** Who may be hurt by a bad block. */
export interface Suspects {
  /** Needles that were intact as far as their own checksum tells. */
  readonly needles: readonly LiveRecord[]
  /** Bytes that no live needle needs are wrong, or may be. */
  readonly isGarbageHit: boolean
}

/**
 * No checksum covers cookies, names and other attributes but that of the block, so a bad block
 * makes every needle in it a suspect, unless one wrong byte explains it: then only the needle that
 * has it is. Needles that are known to be corrupt are not named again.
 */
export function suspectsOf(block: BadBlock, records: readonly LiveRecord[]): Suspects {
  const inside = records.filter(
    ({ offsetBytes, endBytes }) => offsetBytes < block.endBytes && endBytes > block.startBytes,
  )
  const recordAt = (at: number): LiveRecord | undefined =>
    inside.find(({ offsetBytes, endBytes }) => offsetBytes <= at && at < endBytes)
  const places = block.wrongAt.filter((at) => mayBeWrong(recordAt(at), at))
  if (places.length === 0) {
    const needles = inside.filter(({ isIntact }) => isIntact)
    return { needles, isGarbageHit: inside.length === 0 }
  }
  const hit = new Set(places.map(recordAt))
  const needles = [...hit].filter((record) => record?.isIntact === true) as LiveRecord[]
  return { needles, isGarbageHit: hit.has(undefined) }
}

function mayBeWrong(record: LiveRecord | undefined, at: number): boolean {
  if (record === undefined || !record.isIntact) return true
  return at < record.offsetBytes + COOKIE_BYTES || at >= record.dataEnd
}
