import { INDEX_TOMBSTONE_SIZE } from '../format/index-entry.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import type { NeedleLocation, NeedleMap } from './needle-map.ts'
import { type WalkedRecord, walkRecords } from './record-walk.ts'
import type { VolumeSource } from './volume-source.ts'

/**
 * Which needles of a volume live, and where: from `.dat`, whatever state the index is in. The index
 * only adds what `.dat` cannot say: which records of Size 0 are empty files, and deletions
 * without a tombstone.
 *
 * @throws {StoreError} DISK_FAILED, CANCELLED.
 */
export async function findLiveNeedles(
  source: VolumeSource,
  signal: AbortSignal,
): Promise<NeedleMap> {
  const { version, rows } = source
  const expectedCount = rows?.rowCount ?? 0
  const map = new HashNeedleMap({ version, expectedCount })
  for await (const step of walkRecords(source, {}, signal)) {
    if (step.kind === 'record') applyRecord(map, step)
  }
  deleteUnplaced(map, source)
  return map
}

export function applyRecord(map: NeedleMap, step: WalkedRecord): void {
  const { header, offsetBytes } = step.record
  if (step.meaning === 'delete') map.delete(header.id, offsetBytes)
  else map.put(header.id, offsetBytes, header.sizeBytes)
}

/** True for the record that is the current state of its needle. */
export function isLiveRecord(
  map: NeedleMap,
  step: WalkedRecord,
  location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false },
): boolean {
  if (step.meaning === 'delete' || !map.lookup(step.record.header.id, location)) return false
  return !location.isDeleted && location.offsetBytes === step.record.offsetBytes
}

/**
 * Applies deletions that only the index knows, unless it knows of a later put. Returns how many
 * needles they deleted.
 */
export function deleteUnplaced(map: NeedleMap, source: VolumeSource): number {
  const { rows, version } = source
  if (rows === undefined || rows.placedCount === rows.rowCount) return 0
  const indexed = rows.replay(version)
  const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  let deleted = 0
  for (const { id, sizeBytes } of rows.unplaced()) {
    if (sizeBytes !== INDEX_TOMBSTONE_SIZE) continue
    if (indexed.lookup(id, location) && location.isDeleted && map.delete(id, 0)) deleted++
  }
  return deleted
}
