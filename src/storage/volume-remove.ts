import { type Disk, unlinkIfThere } from '../runtime/disk.ts'
import type { VolumePaths } from './volume-paths.ts'

/**
 * Removes the files of a closed volume. One rename decides: a power cut before it leaves the volume
 * whole, with its seal and its marks; after it the next start finishes what is left to do.
 *
 * @throws {StoreError} PATH_NOT_FOUND: there is no `.dat`. DISK_FAILED.
 */
export async function removeVolumeFiles(disk: Disk, paths: VolumePaths): Promise<void> {
  await disk.rename(paths.dat, paths.removed)
  await disk.syncDirectory(paths.directory)
  await finishRemoval(disk, paths)
}

/** Removes what an interrupted removal left. `.removed` goes last: it says that there is more. */
export async function finishRemoval(disk: Disk, paths: VolumePaths): Promise<void> {
  // The commit markers first: with one the volume would come back.
  const { commitMarker, nextDat, nextIdx, nextSum, failed, sum, idx, vif, replacement } = paths
  await unlinkIfThere(disk, replacement.commitMarker)
  for (const path of [commitMarker, nextDat, nextIdx, nextSum, failed, sum, idx, vif]) {
    await unlinkIfThere(disk, path)
  }
  for (const path of Object.values(replacement)) await unlinkIfThere(disk, path)
  await disk.syncDirectory(paths.directory)
  await disk.unlink(paths.removed)
  await disk.syncDirectory(paths.directory)
}
