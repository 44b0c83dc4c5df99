import type { NeedleId } from '../base/ids.ts'
import { NEEDLE_DATA_AT, recordBytes } from '../format/needle.ts'
import type { NeedleStat } from '../net/volume-api.ts'
import type { NeedleLocation } from '../storage/needle-map.ts'
import type { Volume } from '../storage/volume.ts'
import { SoundBlocks } from './sound-blocks.ts'

/**
 * Needles as they are on the disk, in the order of `needleIds`, each read to its end and checked.
 * Where a block of the file is not what it was, the needles in it whose data is good are `live`,
 * but when they were appended is not known: among copies that differ the others are believed.
 *
 * @throws {StoreError} DISK_FAILED, CANCELLED, CLOSED.
 */
export async function statNeedles(
  volume: Volume,
  needleIds: readonly NeedleId[],
  signal: AbortSignal,
): Promise<NeedleStat[]> {
  using snapshot = await volume.snapshot()
  // In the same turn as the snapshot: nothing is written in between, and no vacuum takes over.
  const { entries } = volume
  const locations = needleIds.map((needleId) => {
    const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
    return entries.lookup(needleId, location) ? location : undefined
  })
  const blocks = new SoundBlocks(snapshot)
  const stats: NeedleStat[] = []
  for (const [index, needleId] of needleIds.entries()) {
    const location = locations[index]
    const stat = await volume.statNeedle(needleId, signal)
    const isSound =
      stat.state !== 'live' ||
      location === undefined ||
      (await isEnvelopeSound(blocks, stat, location, snapshot.version))
    stats.push(isSound ? stat : { ...stat, appendAtNs: 0n })
  }
  return stats
}

/** Whether two, of two copies, are one needle with the same bytes. */
export function isSameNeedle(a: NeedleStat, b: NeedleStat): boolean {
  return (
    a.state === b.state &&
    a.cookie === b.cookie &&
    a.checksum === b.checksum &&
    a.dataBytes === b.dataBytes &&
    a.attributesHash === b.attributesHash
  )
}

/** Header and attributes: what the checksum of the needle does not cover. */
async function isEnvelopeSound(
  blocks: SoundBlocks,
  { dataBytes }: NeedleStat,
  { offsetBytes, sizeBytes }: NeedleLocation,
  version: 1 | 2 | 3,
): Promise<boolean> {
  const length = recordBytes(sizeBytes, version)
  const dataAt = offsetBytes + NEEDLE_DATA_AT
  const endBytes = offsetBytes + length
  blocks.expect(length)
  return (
    (await blocks.isSound(offsetBytes, dataAt)) &&
    (await blocks.isSound(Math.min(dataAt + dataBytes, endBytes - 1), endBytes))
  )
}
