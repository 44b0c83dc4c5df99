import type { StoreError } from '../base/store-error.ts'
import { type Disk, renameIfThere, replaceFile, unlinkIfThere } from '../runtime/disk.ts'
import type { VolumePaths } from './volume-paths.ts'

interface SwitchHost {
  readonly disk: Disk
  readonly paths: VolumePaths
  onSwitchFailed(error: unknown): StoreError
}

/** Files of a vacuum that may be removed as long as there is no commit marker. */
export function vacuumDrafts(paths: VolumePaths): readonly string[] {
  const markerDraft = `${paths.commitMarker}.tmp`
  return [paths.nextDat, paths.nextIdx, paths.nextSum, `${paths.nextSum}.tmp`, markerDraft]
}

/** All that can fail harmlessly, for want of space above all: the drafts can still be removed. */
export async function prepareSwitch(
  disk: Disk,
  paths: VolumePaths,
  sidecar: Buffer,
): Promise<void> {
  await replaceFile(disk, paths.nextSum, sidecar)
  await using marker = await disk.open(`${paths.commitMarker}.tmp`, 'create')
  await marker.datasync()
}

/**
 * Puts the finished files of a vacuum in the place of the old ones: the commit marker first, then
 * the renames. The bytes and names of the drafts are durable already.
 *
 * @throws {StoreError} VOLUME_FAILED: it is unknown whether the marker is on disk, so nothing may
 * be written to the old files any more; the next start decides by what it finds.
 */
export async function switchGenerations(host: SwitchHost): Promise<void> {
  const { disk, paths } = host
  try {
    await disk.rename(`${paths.commitMarker}.tmp`, paths.commitMarker)
    await disk.syncDirectory(paths.directory)
    await rollForward(disk, paths)
  } catch (error) {
    throw host.onSwitchFailed(error)
  }
}

/**
 * Finishes or undoes a vacuum that was interrupted: with a commit marker the new files take their
 * place, without one they are removed. Nothing to do is the usual case.
 */
export async function finishInterruptedVacuum(disk: Disk, paths: VolumePaths): Promise<void> {
  if ((await disk.stat(paths.commitMarker)) !== undefined) {
    await rollForward(disk, paths)
    return
  }
  let removed = 0
  for (const path of vacuumDrafts(paths)) {
    if ((await disk.stat(path)) === undefined) continue
    await disk.unlink(path)
    removed++
  }
  if (removed > 0) await disk.syncDirectory(paths.directory)
}

async function rollForward(disk: Disk, paths: VolumePaths): Promise<void> {
  // `.dat` last: while it is the old one, a missing `.cpx` or `.cps` can only mean "moved already".
  await renameIfThere(disk, paths.nextIdx, paths.idx)
  await renameIfThere(disk, paths.nextSum, paths.sum)
  await renameIfThere(disk, paths.nextDat, paths.dat)
  await unlinkIfThere(disk, paths.failed)
  await disk.syncDirectory(paths.directory)
  await unlinkIfThere(disk, paths.commitMarker)
  await disk.syncDirectory(paths.directory)
}
