import type { VolumeId } from '../base/ids.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { NeedleLocation } from '../storage/needle-map.ts'
import type { Store } from '../storage/store.ts'

const DELETES_AT_ONCE = 32

/**
 * A copy that has just come here was made from what was known when it was begun: what the journals
 * here know to be deleted is deleted in it too, or it would be read again.
 *
 * @throws {StoreError} as `Volume.delete`; VOLUME_NOT_FOUND.
 */
export async function deleteJournaled(
  store: Store,
  volumeId: VolumeId,
  signal: AbortSignal,
): Promise<void> {
  const { volume } = store.get(volumeId)
  const place: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  for (const set of store.shardSets(volumeId)) {
    const live = set.journal().filter((id) => volume.entries.lookup(id, place) && !place.isDeleted)
    const deleteOne = (id: (typeof live)[number]) =>
      volume.delete({ id, cookie: undefined }, signal)
    await mapBounded(live, DELETES_AT_ONCE, deleteOne, signal)
  }
}
