import { type Disk, renameIfThere, unlinkIfThere } from '../runtime/disk.ts'
import type { VolumePaths } from './volume-paths.ts'

/** Whether there is anything of the volume here, good or bad; an unfinished copy does not count. */
export async function hasVolumeFiles(disk: Disk, paths: VolumePaths): Promise<boolean> {
  if ((await disk.stat(paths.note)) !== undefined) return false
  const { dat, idx, sum, vif, failed, commitMarker, replacement } = paths
  for (const path of [dat, idx, sum, vif, failed, commitMarker, replacement.commitMarker]) {
    if ((await disk.stat(path)) !== undefined) return true
  }
  return false
}

/**
 * Makes room for a copy of a volume beside the bad one that it is to replace, which stays as it is.
 * The files of the copy go where the paths returned say.
 */
export async function beginReplacement(disk: Disk, paths: VolumePaths): Promise<VolumePaths> {
  await finishInterruptedReplacement(disk, paths)
  const { dat, idx, sum, vif } = paths.replacement
  return { ...paths, dat, idx, sum, vif }
}

/** The copy is whole and its bytes are durable; its names are when this returns. */
export async function prepareReplacement(disk: Disk, paths: VolumePaths): Promise<void> {
  const { idx, sum, vif } = paths.replacement
  // What the copy has not got is replaced by nothing: a file of the bad copy must not stay.
  for (const path of [idx, sum, vif]) {
    if ((await disk.stat(path)) !== undefined) continue
    await using empty = await disk.open(path, 'create')
    await empty.datasync()
  }
  await disk.syncDirectory(paths.directory)
}

/**
 * Puts the copy in the place of the bad one, which must be closed: the commit marker first, then
 * the renames. A power cut leaves one of the two, whole.
 *
 * @throws {StoreError} DISK_FULL, DISK_FAILED: the next start decides by what it finds.
 */
export async function commitReplacement(disk: Disk, paths: VolumePaths): Promise<void> {
  {
    await using marker = await disk.open(paths.replacement.commitMarker, 'create')
    await marker.datasync()
  }
  await disk.syncDirectory(paths.directory)
  await rollForward(disk, paths)
}

/** Removes an unfinished copy. */
export async function discardReplacement(disk: Disk, paths: VolumePaths): Promise<void> {
  const { dat, idx, sum, vif } = paths.replacement
  let removed = 0
  for (const path of [dat, idx, sum, vif]) {
    if ((await disk.stat(path)) === undefined) continue
    await disk.unlink(path)
    removed++
  }
  if (removed > 0) await disk.syncDirectory(paths.directory)
}

/** With a commit marker the copy takes the place of the bad one, without one it is removed. */
export async function finishInterruptedReplacement(disk: Disk, paths: VolumePaths): Promise<void> {
  const isCommitted = (await disk.stat(paths.replacement.commitMarker)) !== undefined
  if (isCommitted) await rollForward(disk, paths)
  else await discardReplacement(disk, paths)
}

async function rollForward(disk: Disk, paths: VolumePaths): Promise<void> {
  const { replacement, commitMarker, nextDat, nextIdx, nextSum, failed } = paths
  // A vacuum of the bad copy that was not finished must not be finished over the new one.
  for (const path of [commitMarker, nextDat, nextIdx, nextSum, failed]) {
    await unlinkIfThere(disk, path)
  }
  // Each was there when the marker was made, so one that is missing was moved already.
  await renameIfThere(disk, replacement.idx, paths.idx)
  await renameIfThere(disk, replacement.sum, paths.sum)
  await renameIfThere(disk, replacement.vif, paths.vif)
  await renameIfThere(disk, replacement.dat, paths.dat)
  await disk.syncDirectory(paths.directory)
  await unlinkIfThere(disk, replacement.commitMarker)
  await disk.syncDirectory(paths.directory)
}
