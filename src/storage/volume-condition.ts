import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { FailureMark } from './failure-mark.ts'
import type { Generation } from './generation.ts'
import type { RecoveryReport } from './recovery.ts'
import { damaged, failedBefore, sealed, wideOffsets } from './volume-errors.ts'
import type { VolumeOptions, VolumeParts, VolumeState } from './volume-options.ts'
import type { VolumePaths } from './volume-paths.ts'

/** Start offsets stay below 32 GiB, with room for the batch under way. */
const DAT_END_MAX_BYTES = LIMITS.volumeSizeMax.value - 4 * LIMITS.batchBytesMax.value

interface ConditionParts extends Pick<VolumeParts, 'disk' | 'logger' | 'space'> {
  readonly paths: VolumePaths
  readonly generation: () => Generation
}

/** What opening found out about a volume. */
interface FoundCondition {
  readonly report: RecoveryReport
  readonly isSealed: boolean
  /** What the sync failure of an earlier run left behind. */
  readonly failure: string | undefined
}

/**
 * What may be done with a volume: whether it takes writes, and why not. Invariant: after a failed
 * sync it takes none until a vacuum has put other files in the place of these.
 */
export class VolumeCondition {
  isSealed: boolean
  readonly #parts: ConditionParts
  readonly #options: VolumeOptions
  readonly #report: RecoveryReport
  readonly #mark: FailureMark
  #failure: StoreError | undefined
  /** The switch of a vacuum stopped half-way: its files wait for the next start. */
  #isHalfSwitched = false
  /** The volume is about to be gone: nothing is acknowledged any more. */
  #leaving: StoreError | undefined

  constructor(parts: ConditionParts, options: VolumeOptions, found: FoundCondition) {
    this.#parts = parts
    this.#options = options
    this.#report = found.report
    this.#mark = new FailureMark(parts)
    this.isSealed = found.isSealed
    if (found.failure !== undefined) this.#failure = failedBefore(parts.paths, found.failure)
  }

  get state(): Exclude<VolumeState, 'closed'> {
    if (this.#failure !== undefined) return 'failed'
    if (this.#report.damage !== undefined) return 'damaged'
    const { version, log } = this.#parts.generation()
    if (version !== 3 || log.isReadOnly) return 'read-only'
    return this.isSealed ? 'sealed' : 'writable'
  }

  /** Why it is failed or damaged. */
  get reason(): string | undefined {
    return this.#failure?.message ?? this.#report.damage
  }

  get failure(): StoreError | undefined {
    return this.#failure
  }

  /** Why nothing may be written at all. */
  refuseWrite(): StoreError | undefined {
    const { paths } = this.#parts
    if (this.#leaving !== undefined) return this.#leaving
    if (this.#failure !== undefined) return this.#failure
    const { damage } = this.#report
    if (damage !== undefined) return damaged(paths, damage)
    const { log, version, endBytes } = this.#parts.generation()
    if (log.isReadOnly) return wideOffsets(paths)
    if (version !== 3) return sealed(paths, 'has an old format; a vacuum makes it writable')
    if (endBytes < DAT_END_MAX_BYTES) return undefined
    return new StoreError('VOLUME_FULL', `${paths.dat} cannot grow any more`)
  }

  /** @throws {StoreError} what `refuseWrite` says. */
  checkWritable(): void {
    const refusal = this.refuseWrite()
    if (refusal !== undefined) throw refusal
  }

  /** Why a record of this many bytes may not be put; what heals may also when all else is over. */
  refusePut(recordBytes: number, isHeal: boolean): StoreError | undefined {
    const { paths, space } = this.#parts
    if (this.isSealed && !isHeal) return sealed(paths, 'is sealed')
    const { endBytes } = this.#parts.generation()
    const isOver = !isHeal && endBytes >= this.#options.sizeMaxBytes
    const isFull = isOver || endBytes + recordBytes > DAT_END_MAX_BYTES
    if (!isFull) return space.refusePut(recordBytes)
    return new StoreError('VOLUME_FULL', `${paths.dat} has reached ${endBytes} bytes`)
  }

  /** Why it cannot be vacuumed; a failed volume can, and is whole afterwards. */
  refuseVacuum(): StoreError | undefined {
    const { paths } = this.#parts
    const { damage } = this.#report
    if (damage !== undefined) return damaged(paths, damage)
    if (this.#parts.generation().log.isReadOnly) return wideOffsets(paths)
    return this.#isHalfSwitched ? this.#failure : undefined
  }

  onSyncFailed(error: unknown): StoreError {
    const { paths, logger } = this.#parts
    this.#failure ??= new StoreError(
      'VOLUME_FAILED',
      `${paths.base}: what the disk holds is unknown since ${String(error)}`,
      { cause: error },
    )
    logger.error('volume.failed', { volume: paths.base, error: String(error) })
    this.#mark.write(error)
    return this.#failure
  }

  onSwitchFailed(error: unknown): StoreError {
    this.#isHalfSwitched = true
    return this.onSyncFailed(error)
  }

  /** A vacuum has put files in place that were synced and read back. */
  onRenewed(): void {
    this.#failure = undefined
  }

  /** From now on every write is refused with `error`. */
  leave(error: StoreError): void {
    this.#leaving = error
  }

  /** Resolves when nothing is being noted on the disk any more. */
  settled(): Promise<void> {
    return this.#mark.settled()
  }
}
