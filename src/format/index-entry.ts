import { assert } from '../base/assert.ts'
import type { NeedleId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import { NEEDLE_ALIGN_BYTES } from './needle.ts'

/** Bytes of one row with 4-byte offsets, the form Hayloft writes. */
export const INDEX_ENTRY_BYTES = 16
/** Bytes of one row with 5-byte offsets ("large disk" volumes), read only. */
export const INDEX_ENTRY_WIDE_BYTES = 17
/** Size field of a row that records a deletion. */
export const INDEX_TOMBSTONE_SIZE = -1

export type OffsetBytes = 4 | 5

export interface IndexEntry {
  readonly id: NeedleId
  /** Where the record starts in `.dat`; for a deletion, where its tombstone starts (0: none). */
  readonly offsetBytes: number
  /** The needle header's Size field; negative for a deletion. */
  readonly sizeBytes: number
}

export function indexEntryBytes(offsetBytes: OffsetBytes): number {
  return offsetBytes === 4 ? INDEX_ENTRY_BYTES : INDEX_ENTRY_WIDE_BYTES
}

/** Replay rule of the index log: every row that is not a put is a deletion of its id. */
export function isPutEntry(entry: IndexEntry): boolean {
  return entry.offsetBytes !== 0 && entry.sizeBytes >= 0
}

/**
 * One `.idx` row: where a needle lives in its `.dat` file. Big-endian.
 *
 *     0           8              12            16
 *     | id u64    | offset u32   | size i32    |
 *
 * `offset` counts 8-byte units, so 32 bits reach 32 GiB. `size` -1 marks a deleted needle. The wide
 * form puts a fifth offset byte (the highest one) between offset and size.
 * Source: SeaweedFS volume index, 4-byte and 5-byte offset builds.
 */
export function encodeIndexEntry(entry: IndexEntry, target: Buffer, at: number): void {
  assert(at + INDEX_ENTRY_BYTES <= target.length, 'index row overruns its buffer')
  assert(entry.offsetBytes % NEEDLE_ALIGN_BYTES === 0, 'needle offset is not aligned')
  target.writeUInt32BE(entry.id.hi, at)
  target.writeUInt32BE(entry.id.lo, at + 4)
  target.writeUInt32BE(entry.offsetBytes / NEEDLE_ALIGN_BYTES, at + 8)
  target.writeInt32BE(entry.sizeBytes, at + 12)
}

/** @throws {StoreError} INDEX_CORRUPT: fewer bytes left than one row has. */
export function decodeIndexEntry(
  source: Buffer,
  at: number,
  offsetBytes: OffsetBytes = 4,
): IndexEntry {
  const rowBytes = indexEntryBytes(offsetBytes)
  if (at + rowBytes > source.length) {
    throw new StoreError('INDEX_CORRUPT', `index row at byte ${at} is cut short`)
  }
  const units =
    source.readUInt32BE(at + 8) + (offsetBytes === 5 ? source.readUInt8(at + 12) * 2 ** 32 : 0)
  return {
    id: { hi: source.readUInt32BE(at), lo: source.readUInt32BE(at + 4) },
    offsetBytes: units * NEEDLE_ALIGN_BYTES,
    sizeBytes: source.readInt32BE(at + rowBytes - 4),
  }
}
