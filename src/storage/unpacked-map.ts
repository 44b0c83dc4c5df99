import type { NeedleVersion } from '../format/needle.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import type { NeedleEntries } from './needle-map.ts'

const ENTRIES_PER_TURN = 8_192

/** A map with the same entries into which needles can be put. Nothing must be changed meanwhile. */
export async function unpackEntries(
  source: NeedleEntries,
  options: { readonly version: NeedleVersion; readonly yieldTurn: () => Promise<void> },
): Promise<HashNeedleMap> {
  const { version, yieldTurn } = options
  const map = new HashNeedleMap({ version, expectedCount: source.entryCount })
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = source.visitSome(cursor, ENTRIES_PER_TURN, (hi, lo, at, sizeBytes, isDeleted) => {
      const id = { hi, lo }
      // What was deleted keeps the place and size it had.
      if (!isDeleted || sizeBytes > 0) map.put(id, at, sizeBytes)
      if (isDeleted) map.delete(id, at)
    })
    await yieldTurn()
  }
  return map
}
