import { MIB } from '../../src/base/units.ts'
import { Prng } from './prng.ts'
import { TestVolume, toId } from './test-volume.ts'

interface ScrubVolume {
  readonly files: Readonly<Record<string, Buffer>>
  /** Which live needle the byte belongs to; undefined: none. */
  ownerOf(at: number): number | undefined
}

/** A volume of some 24 MiB: needles of all sizes, one of 9 MiB, and garbage between them. */
export const MIB_BLOCK_VOLUME: ScrubVolume = await make()

async function make(): Promise<ScrubVolume> {
  const prng = new Prng(5)
  await using test = await TestVolume.create()
  const sizes = [10, 300, 4000, 70_000, 600_000, 2 * MIB]
  for (let id = 1; id <= 60; id++) {
    await test.put(id, prng.bytes(id === 30 ? 9 * MIB : prng.below(prng.pick(sizes)) + 1))
    if (prng.chance(0.2)) await test.delete(prng.between(1, id))
    if (prng.chance(0.2)) await test.put(prng.between(1, id), prng.bytes(prng.below(3000)))
  }
  const places: { id: number; start: number; end: number }[] = []
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  for (let id = 1; id <= 60; id++) {
    if (!test.volume.entries.lookup(toId(id), location) || location.isDeleted) continue
    const start = location.offsetBytes
    const unpadded = 16 + location.sizeBytes + 4 + 8
    places.push({ id, start, end: start + unpadded + 8 - (unpadded % 8) })
  }
  await test.close()
  return {
    files: { dat: test.file('dat'), idx: test.file('idx'), sum: test.file('sum') },
    ownerOf: (at) => places.find(({ start, end }) => start <= at && at < end)?.id,
  }
}
