import { basename, dirname, join, resolve } from 'node:path'
import { StoreError } from '../base/store-error.ts'
import { parseVolumeFileName, type VolumeName } from '../format/file-names.ts'
import type { Disk } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { LOCK_FILE } from '../storage/disk-location.ts'
import { type VolumePaths, volumePaths } from '../storage/volume-paths.ts'
import { VolumeSource } from '../storage/volume-source.ts'

export interface VolumeArgument extends VolumeName {
  readonly directory: string
  readonly paths: VolumePaths
}

/**
 * The volumes that arguments name: a `.dat` file, its name without `.dat`, or a directory for all
 * volumes in it. Each once, sorted by directory, collection and id.
 *
 * @throws {StoreError} PATH_NOT_FOUND, NOT_A_VOLUME, DIRECTORY_UNUSABLE.
 */
export async function resolveVolumes(
  disk: Disk,
  args: readonly string[],
): Promise<VolumeArgument[]> {
  const found = new Map<string, VolumeArgument>()
  for (const path of args) {
    for (const volume of await resolveOne(disk, path)) {
      found.set(resolve(volume.paths.dat), volume)
    }
  }
  return [...found.values()].sort(compareVolumes)
}

/**
 * Takes the directories of the volumes for this process, until disposed. What cannot be read as a
 * volume is refused before even the lock file is made.
 *
 * @throws {StoreError} DIRECTORY_LOCKED, DIRECTORY_UNUSABLE; and as `VolumeSource.open`.
 */
export async function lockDirectories(
  disk: Disk,
  volumes: readonly VolumeArgument[],
): Promise<AsyncDisposable> {
  for (const { paths } of volumes) {
    await using _readable = await VolumeSource.open(disk, paths)
  }
  await using locking = new DisposeStack()
  for (const directory of new Set(volumes.map((volume) => resolve(volume.directory)))) {
    locking.use(await disk.lock(join(directory, LOCK_FILE)))
  }
  return locking.move()
}

async function resolveOne(disk: Disk, path: string): Promise<VolumeArgument[]> {
  const stat = await disk.stat(path)
  if (stat?.isDirectory === true) return listVolumes(disk, path)
  if (stat !== undefined) {
    const name = parseVolumeFileName(basename(path))
    if (name?.extension === 'dat') return [toArgument(dirname(path), name)]
    const why = name === undefined ? 'is not named like a volume' : 'is part of one'
    throw new StoreError('NOT_A_VOLUME', `${path} ${why}; name a file like 7.dat or photos_7.dat`)
  }
  const named = parseVolumeFileName(`${basename(path)}.dat`)
  if (named !== undefined && (await disk.stat(`${path}.dat`))?.isDirectory === false) {
    return [toArgument(dirname(path), named)]
  }
  throw new StoreError('PATH_NOT_FOUND', `${path} does not exist`)
}

async function listVolumes(disk: Disk, directory: string): Promise<VolumeArgument[]> {
  const volumes: VolumeArgument[] = []
  for (const { name, isDirectory } of await disk.list(directory)) {
    const parsed = parseVolumeFileName(name)
    if (isDirectory || parsed?.extension !== 'dat') continue
    volumes.push(toArgument(directory, parsed))
  }
  if (volumes.length > 0) return volumes
  throw new StoreError('NOT_A_VOLUME', `there is no volume in ${directory}`)
}

function toArgument(directory: string, name: VolumeName): VolumeArgument {
  const { collection, volumeId } = name
  return { directory, collection, volumeId, paths: volumePaths(directory, name) }
}

function compareVolumes(a: VolumeArgument, b: VolumeArgument): number {
  return (
    compareText(a.directory, b.directory) ||
    compareText(a.collection, b.collection) ||
    a.volumeId - b.volumeId
  )
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
