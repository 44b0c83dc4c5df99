import { StoreError } from '../base/store-error.ts'
import { type Disk, readFile, replaceFile, unlinkIfThere } from '../runtime/disk.ts'
import type { VolumePaths } from './volume-paths.ts'

/** Other programs mark their copies too, with something else. */
const MARK = Buffer.from('an unfinished copy of a volume\n')

/**
 * Makes room for a copy of a volume. Until `finishDraft` its files are marked unfinished, and no
 * start serves them. What an earlier, interrupted copy left is removed.
 *
 * @throws {StoreError} VOLUME_EXISTS: there are files of this name that are no unfinished copy.
 */
export async function beginDraft(disk: Disk, paths: VolumePaths): Promise<void> {
  if ((await disk.stat(paths.note)) !== undefined) await discardDraft(disk, paths)
  const { dat, idx, sum, vif, failed, commitMarker } = paths
  for (const path of [dat, idx, sum, vif, failed, commitMarker]) {
    if ((await disk.stat(path)) === undefined) continue
    throw new StoreError('VOLUME_EXISTS', `${path} is there already`)
  }
  await replaceFile(disk, paths.note, MARK)
}

/** The copy is whole and its bytes are durable: from here on, also after a power cut, it counts. */
export async function finishDraft(disk: Disk, paths: VolumePaths): Promise<void> {
  // Their names first, or a power cut could leave a volume without some of its files.
  await disk.syncDirectory(paths.directory)
  await disk.unlink(paths.note)
  await disk.syncDirectory(paths.directory)
}

/** Removes an unfinished copy; the mark goes last, because it says that there is more. */
export async function discardDraft(disk: Disk, paths: VolumePaths): Promise<void> {
  for (const path of [paths.idx, paths.sum, paths.vif, paths.dat]) await unlinkIfThere(disk, path)
  await disk.syncDirectory(paths.directory)
  await unlinkIfThere(disk, paths.note)
  await disk.syncDirectory(paths.directory)
}

/** As `discardDraft`, if the mark is ours: what another program has begun is left alone. */
export async function discardOurDraft(disk: Disk, paths: VolumePaths): Promise<void> {
  const found = await disk.stat(paths.note)
  if (found?.sizeBytes !== MARK.length || found.isDirectory) return
  const mark = await readFile(disk, paths.note, MARK.length)
  if (mark.equals(MARK)) await discardDraft(disk, paths)
}
