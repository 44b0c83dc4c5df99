import { dirname } from 'node:path'
import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { parseReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { encodeSuperBlock, type SuperBlock } from '../format/super-block.ts'
import { decodeVolumeInfo, emptyVolumeInfo, type VolumeInfo } from '../format/volume-info.ts'
import { type Disk, readFile, unlinkIfThere, writeFully } from '../runtime/disk.ts'
import type { Generation } from './generation.ts'
import { type RecoveryReport, recoverGeneration } from './recovery.ts'
import { finishInterruptedVacuum } from './vacuum-switch.ts'
import type { LoadedVolumeInfo } from './volume-info-file.ts'
import type { VolumePaths } from './volume-paths.ts'
import { finishInterruptedReplacement } from './volume-replace.ts'

const FAILED_MARKER_MAX_BYTES = 4096

export interface OpenedFiles {
  readonly generation: Generation
  readonly report: RecoveryReport
  readonly info: LoadedVolumeInfo
  /** What the sync failure of an earlier run left behind. */
  readonly failure: string | undefined
}

/**
 * Opens the files of a volume, first finishing whatever was interrupted.
 *
 * @throws {StoreError} PATH_NOT_FOUND, SUPER_BLOCK_CORRUPT, VERSION_UNSUPPORTED,
 * VOLUME_INFO_CORRUPT, DISK_FAILED.
 */
export async function openVolumeFiles(
  disk: Disk,
  paths: VolumePaths,
  options: { readonly isSynced: boolean },
): Promise<OpenedFiles> {
  await finishInterruptedReplacement(disk, paths)
  await finishInterruptedVacuum(disk, paths)
  const loaded = await loadVolumeInfo(disk, paths)
  const { files, bytesOffset } = loaded.info
  if (files.length > 0) {
    throw new StoreError('VERSION_UNSUPPORTED', `the data of ${paths.base} is in a remote tier`)
  }
  const failure = await readFailedMarker(disk, paths)
  const { generation, report } = await recoverGeneration(disk, paths, {
    isSynced: options.isSynced,
    offsetBytes: bytesOffset === 5 ? 5 : 4,
  })
  return { generation, report, info: loaded, failure }
}

/**
 * Makes the `.dat` file of a new volume. When this returns the volume survives a power cut; until
 * then there is no file by its name, so a start never meets half a super block.
 *
 * @throws {StoreError} VOLUME_EXISTS, DISK_FULL, DISK_FAILED, DIRECTORY_UNUSABLE.
 */
export async function createVolumeFiles(
  disk: Disk,
  paths: VolumePaths,
  superBlock: SuperBlock,
): Promise<void> {
  // Files beside a lost `.dat` may save something yet, and a new volume must not take them for its
  // own.
  const { dat, idx, sum, vif, failed, commitMarker, note } = paths
  for (const path of [dat, idx, sum, vif, failed, commitMarker, note]) {
    if ((await disk.stat(path)) === undefined) continue
    throw new StoreError('VOLUME_EXISTS', `${path} is there already`)
  }
  const draft = `${paths.dat}.tmp`
  {
    await using file = await disk.open(draft, 'create')
    await file.truncate(0)
    await writeFully(file, [encodeSuperBlock(superBlock)], 0)
    await file.datasync()
  }
  await disk.rename(draft, paths.dat)
  await disk.syncDirectory(dirname(paths.dat))
}

/** After a failed creation: as far as the disk lets us, the name is free for another try. */
export async function discardNewFiles(disk: Disk, paths: VolumePaths): Promise<void> {
  try {
    for (const path of [`${paths.dat}.tmp`, paths.sum, paths.idx, paths.dat]) {
      await unlinkIfThere(disk, path)
    }
    await disk.syncDirectory(paths.directory)
  } catch (error) {
    // The failure of the creation is what the caller hears of.
    if (!isStoreError(error)) throw error
  }
}

/** An absent `.vif` says nothing, like an empty one. @throws {StoreError} VOLUME_INFO_CORRUPT. */
export async function readVolumeInfo(disk: Disk, paths: VolumePaths): Promise<VolumeInfo> {
  return (await loadVolumeInfo(disk, paths)).info
}

async function loadVolumeInfo(disk: Disk, paths: VolumePaths): Promise<LoadedVolumeInfo> {
  const { sizeBytes = 0 } = (await disk.stat(paths.vif)) ?? {}
  if (sizeBytes > LIMITS.volumeInfoMax.value) {
    throw new StoreError('VOLUME_INFO_CORRUPT', `${paths.vif} has ${sizeBytes} bytes`)
  }
  try {
    const bytes = await readFile(disk, paths.vif, LIMITS.volumeInfoMax.value)
    const info = decodeVolumeInfo(bytes.toString('utf8')) ?? emptyVolumeInfo()
    // Checked here, so that a bad one is met when the volume is opened.
    if (info.replication !== '') parseReplicaPlacement(info.replication)
    return { info, crc: crc32c(bytes) }
  } catch (error) {
    if (isStoreError(error, 'PATH_NOT_FOUND')) return { info: emptyVolumeInfo(), crc: undefined }
    if (!isStoreError(error, 'REPLICA_PLACEMENT_INVALID')) throw error
    throw new StoreError('VOLUME_INFO_CORRUPT', `${paths.vif}: ${error.message}`, { cause: error })
  }
}

async function readFailedMarker(disk: Disk, paths: VolumePaths): Promise<string | undefined> {
  try {
    return (await readFile(disk, paths.failed, FAILED_MARKER_MAX_BYTES)).toString('utf8').trim()
  } catch (error) {
    if (isStoreError(error, 'PATH_NOT_FOUND')) return undefined
    throw error
  }
}
