import { crc32c } from '../base/crc32c.ts'
import type { NeedleId } from '../base/ids.ts'

export const EC_JOURNAL_ENTRY_BYTES = 8

/** What no needle has, and what follows it. */
const MARK = Buffer.from('ffffffffffffffff48415945', 'hex')
const MARK_BYTES = 2 * EC_JOURNAL_ENTRY_BYTES
const CRC_AT = MARK.length

/** A journal as it was read. */
export interface EcJournal {
  /** In their order; of a damaged batch none. */
  readonly ids: readonly NeedleId[]
  /** Where the next batch belongs. */
  readonly wholeBytes: number
  /** Where the first batch begins that does not match its checksum. */
  readonly damagedAt: number | undefined
  /** It has checksums. Nothing may be appended to one of another system before it has. */
  readonly isOurs: boolean
}

/**
 * Appended to an `.ecj` file at once, the needles deleted since the volume was coded. Big-endian,
 * nothing between the entries:
 *
 *     | id u64 | id u64 | … | ff ff ff ff ff ff ff ff | 'HAYE' | CRC-32C u32 of the ids before |
 *
 * The last sixteen bytes are two entries of ids that nobody has to other systems. A journal of ours
 * begins with them, over nothing. Source of the entries: SeaweedFS erasure-coded volumes.
 */
export function encodeEcBatch(ids: readonly NeedleId[]): Buffer {
  const idsBytes = ids.length * EC_JOURNAL_ENTRY_BYTES
  const batch = Buffer.allocUnsafe(idsBytes + MARK_BYTES)
  ids.forEach((id, index) => {
    batch.writeUInt32BE(id.hi, index * EC_JOURNAL_ENTRY_BYTES)
    batch.writeUInt32BE(id.lo, index * EC_JOURNAL_ENTRY_BYTES + 4)
  })
  MARK.copy(batch, idsBytes)
  batch.writeUInt32BE(crc32c(batch.subarray(0, idsBytes)), idsBytes + CRC_AT)
  return batch
}

/** A whole journal of ours. */
export function encodeEcJournal(ids: readonly NeedleId[]): Buffer {
  const first = encodeEcBatch([])
  return ids.length === 0 ? first : Buffer.concat([first, encodeEcBatch(ids)])
}

/**
 * What is behind the last checksum of a journal of ours was never whole, and is no delete. One of
 * another system has no checksums: there, all whole entries count.
 */
export function decodeEcJournal(source: Buffer): EcJournal {
  const ids: NeedleId[] = []
  let batchAt = 0
  let damagedAt: number | undefined
  for (let at = 0; at + MARK_BYTES <= source.length; at += EC_JOURNAL_ENTRY_BYTES) {
    if (MARK.compare(source, at, at + MARK.length) !== 0) continue
    const isSound = crc32c(source.subarray(batchAt, at)) === source.readUInt32BE(at + CRC_AT)
    if (isSound) addIds(ids, source, batchAt, at)
    else damagedAt ??= batchAt
    batchAt = at + MARK_BYTES
    at = batchAt - EC_JOURNAL_ENTRY_BYTES
  }
  if (batchAt > 0) return { ids, wholeBytes: batchAt, damagedAt, isOurs: true }
  const wholeBytes = source.length - (source.length % EC_JOURNAL_ENTRY_BYTES)
  addIds(ids, source, 0, wholeBytes)
  return { ids, wholeBytes, damagedAt, isOurs: false }
}

function addIds(ids: NeedleId[], source: Buffer, fromBytes: number, toBytes: number): void {
  for (let at = fromBytes; at < toBytes; at += EC_JOURNAL_ENTRY_BYTES) {
    ids.push({ hi: source.readUInt32BE(at), lo: source.readUInt32BE(at + 4) })
  }
}
