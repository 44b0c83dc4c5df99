import type { NeedleId } from '../base/ids.ts'

export const EC_JOURNAL_ENTRY_BYTES = 8

/**
 * One entry of an `.ecj` file, the needles deleted since the volume was coded. Big-endian, nothing
 * between the entries; a part of one at the end is a torn append, and no deletion.
 *
 *     0           8
 *     | id u64    |
 *
 * Source: SeaweedFS erasure-coded volumes.
 */
export function encodeEcJournalEntry(id: NeedleId): Buffer {
  const entry = Buffer.allocUnsafe(EC_JOURNAL_ENTRY_BYTES)
  entry.writeUInt32BE(id.hi, 0)
  entry.writeUInt32BE(id.lo, 4)
  return entry
}

/** The whole entries of a journal, in their order. `wholeBytes`: where the next one belongs. */
export function decodeEcJournal(source: Buffer): {
  readonly ids: readonly NeedleId[]
  readonly wholeBytes: number
} {
  const wholeBytes = source.length - (source.length % EC_JOURNAL_ENTRY_BYTES)
  const ids: NeedleId[] = []
  for (let at = 0; at < wholeBytes; at += EC_JOURNAL_ENTRY_BYTES) {
    ids.push({ hi: source.readUInt32BE(at), lo: source.readUInt32BE(at + 4) })
  }
  return { ids, wholeBytes }
}
