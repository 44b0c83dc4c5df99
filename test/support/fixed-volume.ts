import { volumeId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { type FixOptions, type FixResult, fixVolume } from '../../src/storage/fix-volume.ts'
import { type VolumePaths, volumePaths } from '../../src/storage/volume-paths.ts'
import { golden } from './golden.ts'
import { MemDisk } from './mem-disk.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

/** Where the foreign volume lies on the simulated disk. */
export function fixPaths(): VolumePaths {
  return volumePaths('/v', { collection: '', volumeId: volumeId(1) })
}

export function fixOn(
  disk: MemDisk,
  paths: VolumePaths,
  options: Partial<FixOptions> = {},
): Promise<FixResult> {
  const volume = { durability: { mode: 'fsync' }, sizeMaxBytes: 2 ** 30 } as const
  const parts = { disk, clock: new SimClock(), logger: silentLogger }
  const { signal } = new AbortController()
  return fixVolume(parts, paths, { acceptDamage: false, volume, ...options }, signal)
}

/** The files of the foreign volume after `fix` has given it a `.sum`, by path. */
export async function fixedFixture(): Promise<Map<string, Buffer>> {
  const paths = fixPaths()
  const disk = new MemDisk(new Prng(1))
  disk.put(paths.dat, golden('seaweedfs/1.dat'))
  disk.put(paths.idx, golden('seaweedfs/1.idx'))
  await fixOn(disk, paths)
  return new Map([paths.dat, paths.idx, paths.sum].map((path) => [path, disk.contents(path)]))
}
