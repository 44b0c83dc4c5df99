import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { formatBytes } from '../base/units.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Disk, writeFully } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import type { SpaceGuard } from './volume-options.ts'

export interface DiskSpaceOptions {
  /** Puts are refused while less than this is free; undefined: a share of the disk. */
  readonly reserveBytes: number | undefined
  /** Size of the ballast file. */
  readonly ballastBytes: number
}

interface DiskSpaceParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * Keeps part of a disk free for what must always work: deletes, and the vacuum that gives their
 * space back. Puts stop at the reserve. If something else fills the disk all the same, a ballast
 * file is given up so that tombstones find room; it is filled again when there is plenty.
 */
export class DiskSpaceGuard implements SpaceGuard {
  readonly #parts: DiskSpaceParts
  readonly #directory: string
  readonly #ballastPath: string
  readonly #options: DiskSpaceOptions
  #totalBytes = 0
  #freeBytes = 0
  #askedAtMs = 0
  #asking: Promise<void> | undefined
  #hasBallast = false

  private constructor(
    parts: DiskSpaceParts,
    paths: { readonly directory: string; readonly ballast: string },
    options: DiskSpaceOptions,
  ) {
    this.#parts = parts
    this.#directory = paths.directory
    this.#ballastPath = paths.ballast
    this.#options = options
  }

  static async open(
    parts: DiskSpaceParts,
    paths: { readonly directory: string; readonly ballast: string },
    options: DiskSpaceOptions,
  ): Promise<DiskSpaceGuard> {
    const guard = new DiskSpaceGuard(parts, paths, options)
    const ballast = await parts.disk.stat(paths.ballast)
    guard.#hasBallast = (ballast?.sizeBytes ?? 0) >= options.ballastBytes
    await guard.refresh()
    await guard.#fillBallast()
    return guard
  }

  get totalBytes(): number {
    return this.#totalBytes
  }

  /** As last asked, less what was appended since. */
  get freeBytes(): number {
    return this.#freeBytes
  }

  get reserveBytes(): number {
    const share = Math.floor(this.#totalBytes * LIMITS.diskReserveShare.value)
    return this.#options.reserveBytes ?? share
  }

  /** Asks the disk how much is free. */
  refresh(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  refusePut(recordBytes: number): StoreError | undefined {
    const { clock } = this.#parts
    if (clock.monotonicMs() - this.#askedAtMs > LIMITS.diskSpaceMs.value) {
      this.refresh().catch((error: unknown) => {
        const fields = { directory: this.#directory, error: String(error) }
        this.#parts.logger.warn('disk.space_unknown', fields)
      })
    }
    if (this.#freeBytes - recordBytes >= this.reserveBytes) return undefined
    const free = formatBytes(Math.max(0, this.#freeBytes))
    const reserve = formatBytes(this.reserveBytes)
    return new StoreError(
      'DISK_FULL',
      `${free} are free on the disk of ${this.#directory}, ${reserve} are kept for deletes`,
    )
  }

  onAppended(bytes: number): void {
    this.#freeBytes -= bytes
  }

  /** Truncates the ballast: its blocks are free at once. */
  async makeRoom(): Promise<boolean> {
    if (!this.#hasBallast) return false
    this.#hasBallast = false
    await this.#truncateBallast()
    this.#parts.logger.warn('disk.ballast_released', { directory: this.#directory })
    return true
  }

  async #ask(): Promise<void> {
    const { disk, clock } = this.#parts
    const { totalBytes, freeBytes } = await disk.space(this.#directory)
    this.#askedAtMs = clock.monotonicMs()
    this.#totalBytes = totalBytes
    this.#freeBytes = freeBytes
    if (!this.#hasBallast) await this.#fillBallast()
  }

  async #fillBallast(): Promise<void> {
    const { ballastBytes } = this.#options
    const needed = this.reserveBytes + 2 * ballastBytes
    if (this.#hasBallast || ballastBytes === 0 || this.#freeBytes < needed) return
    try {
      await using file = await this.#parts.disk.open(this.#ballastPath, 'create')
      // Written, not just sized: a hole would hold no space.
      const zeros = Buffer.alloc(Math.min(ballastBytes, LIMITS.streamPiece.value))
      for (let at = 0; at < ballastBytes; at += zeros.length) {
        await writeFully(file, [zeros.subarray(0, ballastBytes - at)], at)
      }
      this.#hasBallast = true
      this.#freeBytes -= ballastBytes
    } catch (error) {
      if (!isStoreError(error, 'DISK_FULL')) throw error
      // Half a ballast would only be in the way.
      await this.#truncateBallast()
    }
  }

  async #truncateBallast(): Promise<void> {
    await using file = await this.#parts.disk.open(this.#ballastPath, 'create')
    await file.truncate(0)
  }
}
