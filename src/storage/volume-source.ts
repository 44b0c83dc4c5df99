import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ChecksumSidecar } from '../format/checksum-sidecar.ts'
import type { OffsetBytes } from '../format/index-entry.ts'
import type { NeedleVersion } from '../format/needle.ts'
import { type SuperBlock, superBlockBytes } from '../format/super-block.ts'
import type { Disk, DiskFile } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { IndexSnapshot } from './index-snapshot.ts'
import { readSidecar, readSuperBlock } from './recovery.ts'
import { readVolumeInfo } from './volume-open.ts'
import type { VolumePaths } from './volume-paths.ts'

interface SourceParts {
  readonly paths: VolumePaths
  readonly dat: DiskFile
  readonly datBytes: number
  readonly superBlock: SuperBlock
  readonly offsetBytes: OffsetBytes
  readonly idx: DiskFile | undefined
  readonly idxBytes: number
  readonly rows: IndexSnapshot | undefined
  readonly sidecar: ChecksumSidecar | undefined
  readonly sidecarProblem: string | undefined
  readonly isSwitchPending: boolean
}

/**
 * The files of a volume, opened to be looked at: nothing is written, mended or locked. A server may
 * be using them; then the end of the files may be a write in flight.
 */
export class VolumeSource implements AsyncDisposable {
  readonly paths: VolumePaths
  readonly dat: DiskFile
  readonly datBytes: number
  readonly superBlock: SuperBlock
  readonly offsetBytes: OffsetBytes
  /** Undefined when there is none. */
  readonly idx: DiskFile | undefined
  readonly idxBytes: number
  /** Undefined when there is no index that belongs to this `.dat`. */
  readonly rows: IndexSnapshot | undefined
  readonly sidecar: ChecksumSidecar | undefined
  /** Why a `.sum` that is there cannot be used. */
  readonly sidecarProblem: string | undefined
  /** A vacuum or a replacement was interrupted between its commit and the last of its renames. */
  readonly isSwitchPending: boolean
  readonly #owned: DisposeStack

  private constructor(parts: SourceParts, owned: DisposeStack) {
    this.paths = parts.paths
    this.dat = parts.dat
    this.datBytes = parts.datBytes
    this.superBlock = parts.superBlock
    this.offsetBytes = parts.offsetBytes
    this.idx = parts.idx
    this.idxBytes = parts.idxBytes
    this.rows = parts.rows
    this.sidecar = parts.sidecar
    this.sidecarProblem = parts.sidecarProblem
    this.isSwitchPending = parts.isSwitchPending
    this.#owned = owned
  }

  /**
   * @throws {StoreError} PATH_NOT_FOUND, SUPER_BLOCK_CORRUPT, VERSION_UNSUPPORTED,
   * VOLUME_INFO_CORRUPT, DISK_FAILED. The message names the file.
   */
  static async open(disk: Disk, paths: VolumePaths): Promise<VolumeSource> {
    await using opening = new DisposeStack()
    const dat = opening.use(await disk.open(paths.dat, 'read'))
    const datBytes = await dat.sizeBytes()
    const superBlock = await named(paths.dat, readSuperBlock(dat, datBytes))
    if (datBytes > LIMITS.volumeSizeMax.value) {
      throw new StoreError('VERSION_UNSUPPORTED', `${paths.dat} is larger than 32 GiB`)
    }
    const info = await named(paths.vif, readVolumeInfo(disk, paths))
    if (info.files.length > 0) {
      throw new StoreError('VERSION_UNSUPPORTED', `the data of ${paths.base} is in a remote tier`)
    }
    const offsetBytes: OffsetBytes = info.bytesOffset === 5 ? 5 : 4
    const isSwitchPending =
      (await disk.stat(paths.commitMarker)) !== undefined ||
      (await disk.stat(paths.replacement.commitMarker)) !== undefined
    const hasSidecar = (await disk.stat(paths.sum)) !== undefined
    const { sidecar, problem } = await readSidecar(disk, paths, superBlock)
    const idx = await openIfThere(disk, paths.idx)
    if (idx !== undefined) opening.use(idx)
    const idxBytes = (await idx?.sizeBytes()) ?? 0
    // Half-way through a switch the index may be that of the next generation.
    const isUsable = idx !== undefined && !isSwitchPending
    const rows = isUsable ? await IndexSnapshot.load(idx, idxBytes, offsetBytes) : undefined
    const files = { paths, dat, datBytes, superBlock, offsetBytes, idx, idxBytes, rows }
    const sidecarProblem = hasSidecar && sidecar === undefined ? problem : undefined
    return new VolumeSource({ ...files, sidecar, sidecarProblem, isSwitchPending }, opening.move())
  }

  get version(): NeedleVersion {
    return this.superBlock.version
  }

  /** Where the first record starts. */
  get firstBytes(): number {
    return superBlockBytes(this.superBlock)
  }

  /** Bytes of `.dat` that are known to have been durable. */
  get watermarkBytes(): number {
    return this.sidecar?.watermarkBytes ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

async function openIfThere(disk: Disk, path: string): Promise<DiskFile | undefined> {
  try {
    return await disk.open(path, 'read')
  } catch (error) {
    if (isStoreError(error, 'PATH_NOT_FOUND')) return undefined
    throw error
  }
}

/** Decoders do not know which file their bytes come from; people want to. */
async function named<Result>(path: string, running: Promise<Result>): Promise<Result> {
  try {
    return await running
  } catch (error) {
    if (!isStoreError(error) || error.message.includes(path)) throw error
    throw new StoreError(error.code, `${path}: ${error.message}`, { cause: error })
  }
}
