import type { NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import {
  decodeEcJournal,
  type EcJournal,
  encodeEcBatch,
  encodeEcJournal,
} from '../format/ec-journal.ts'
import {
  type Disk,
  type DiskFile,
  readFully,
  replaceFile,
  unlinkIfThere,
  writeFully,
} from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { FailureMark } from './failure-mark.ts'
import type { ShardPaths } from './shard-paths.ts'
import type { SpaceGuard } from './volume-options.ts'

interface JournalParts {
  readonly disk: Disk
  readonly logger: Logger
  readonly space: SpaceGuard
  readonly paths: ShardPaths
}

interface Waiting {
  readonly ids: readonly NeedleId[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * The open `.ecj` of a shard set: needles deleted since the volume was coded. Whatever waits when
 * the disk is free is appended at once, with one sync for all.
 *
 * Invariants: every byte below the end is durable; what failed to be appended is cut off again,
 * durably, or nothing is appended any more.
 */
export class ShardJournal {
  readonly #parts: JournalParts
  readonly #file: DiskFile
  readonly #mark: FailureMark
  #endBytes: number
  #line: Waiting[] = []
  #running: Promise<void> | undefined
  #failure: StoreError | undefined
  #isClosed = false

  private constructor(parts: JournalParts, file: DiskFile, endBytes: number) {
    this.#parts = parts
    this.#file = file
    this.#endBytes = endBytes
    this.#mark = new FailureMark(parts)
  }

  /**
   * Reads the journal, and cuts a torn batch off its end. After a failed sync in an earlier run it
   * is written anew: what is read may be in the memory of the system only.
   *
   * @throws {StoreError} PATH_NOT_FOUND, DISK_FULL, DISK_FAILED; SIDECAR_CORRUPT: some of it is not
   * what was written, and may hide deletes.
   */
  static async open(
    parts: JournalParts,
  ): Promise<{ readonly journal: ShardJournal; readonly ids: readonly NeedleId[] }> {
    const { disk, paths } = parts
    if ((await disk.stat(paths.failed)) !== undefined) await renew(disk, paths)
    await adopt(disk, paths)
    const file = await disk.open(paths.ecj, 'write')
    try {
      const sizeBytes = await file.sizeBytes()
      const read = decodeEcJournal(await readFully(file, sizeBytes, 0))
      const { ids, wholeBytes, damagedAt } = read
      if (damagedAt !== undefined) {
        throw new StoreError('SIDECAR_CORRUPT', `${paths.ecj} is damaged at byte ${damagedAt}`)
      }
      if (wholeBytes < sizeBytes) await file.truncate(wholeBytes)
      // A process that died may have written entries and not synced them.
      if (sizeBytes > 0) await file.datasync()
      return { journal: new ShardJournal(parts, file, wholeBytes), ids }
    } catch (error) {
      await file.close()
      throw error
    }
  }

  get endBytes(): number {
    return this.#endBytes
  }

  /** Why nothing can be deleted any more. */
  get failure(): StoreError | undefined {
    return this.#failure
  }

  /**
   * Survives a power cut when it returns. If it fails it did not happen, unless the sync failed.
   *
   * @throws {StoreError} VOLUME_FAILED: a sync failed, now or before. DISK_FULL, DISK_FAILED,
   * OVERLOADED, CLOSED.
   */
  append(ids: readonly NeedleId[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw new StoreError('CLOSED', `${this.#file.path} is closed`)
      if (this.#line.length >= LIMITS.queuedWritesMax.value) {
        throw new StoreError('OVERLOADED', `${this.#line.length} deletes wait already`)
      }
      this.#line.push({ ids, resolve, reject })
      this.#running ??= this.#run()
    })
  }

  /** Why the file is not what was written; undefined: it is. @throws {StoreError} DISK_FAILED. */
  async findDamage(ids: readonly NeedleId[]): Promise<string | undefined> {
    const known = new Set(ids.map(({ hi, lo }) => `${hi}:${lo}`))
    const endBytes = this.#endBytes
    const read = decodeEcJournal(await readFully(this.#file, endBytes, 0))
    if (read.damagedAt !== undefined) return `.ecj was altered at byte ${read.damagedAt}`
    if (read.wholeBytes < endBytes) return `.ecj ends at byte ${read.wholeBytes}`
    const wrong = read.ids.find(({ hi, lo }) => !known.has(`${hi}:${lo}`))
    return wrong === undefined ? undefined : '.ecj was altered'
  }

  /** Answers what waits, and closes the file. Twice is harmless. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#running
    await this.#mark.settled()
    await this.#file.close()
  }

  async #run(): Promise<void> {
    // Whatever this turn has for it shares one sync.
    await yieldTurn()
    while (this.#line.length > 0) {
      const batch = this.#line
      this.#line = []
      await this.#commit(batch)
    }
    this.#running = undefined
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const bytes = encodeEcBatch(batch.flatMap(({ ids }) => ids))
    try {
      if (this.#failure !== undefined) throw this.#failure
      await this.#write(bytes)
      await this.#sync()
      this.#endBytes += bytes.length
      this.#parts.space.onAppended(bytes.length)
    } catch (error) {
      for (const { reject } of batch) reject(error)
      return
    }
    for (const { resolve } of batch) resolve()
  }

  async #write(bytes: Buffer): Promise<void> {
    try {
      await this.#writeWithRoom(bytes)
    } catch (error) {
      await this.#cutBack()
      throw error
    }
  }

  /** A full disk still deletes, with the space that is kept for it. */
  async #writeWithRoom(bytes: Buffer): Promise<void> {
    try {
      await writeFully(this.#file, [bytes], this.#endBytes)
    } catch (error) {
      const isFull = isStoreError(error, 'DISK_FULL')
      if (!isFull || !(await this.#parts.space.makeRoom().catch(() => false))) throw error
      await writeFully(this.#file, [bytes], this.#endBytes)
    }
  }

  /** Synced, or a deletion could come back after a power cut although it was said to fail. */
  async #cutBack(): Promise<void> {
    try {
      await this.#file.truncate(this.#endBytes)
      await this.#file.datasync()
    } catch (error) {
      throw this.#fail(error)
    }
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.datasync()
    } catch (error) {
      // Never tried again: the system may have dropped the pages and call the next sync a success.
      throw this.#fail(error)
    }
  }

  #fail(error: unknown): StoreError {
    const { logger, paths } = this.#parts
    this.#failure ??= new StoreError(
      'VOLUME_FAILED',
      `${paths.ecj}: what the disk holds is unknown since ${String(error)}`,
      { cause: error },
    )
    logger.error('shards.journal_failed', { journal: paths.ecj, error: String(error) })
    this.#mark.write(error)
    return this.#failure
  }
}

/** A journal of another system gets the checksums that ours have. */
async function adopt(disk: Disk, paths: ShardPaths): Promise<void> {
  const { isOurs, ids } = await readJournal(disk, paths)
  if (!isOurs) await replaceFile(disk, paths.ecj, encodeEcJournal(ids))
}

async function readJournal(disk: Disk, paths: ShardPaths): Promise<EcJournal> {
  await using file = await disk.open(paths.ecj, 'read')
  return decodeEcJournal(await readFully(file, await file.sizeBytes(), 0))
}

/** In a new file, which no failed sync has touched; then the mark can go. */
async function renew(disk: Disk, paths: ShardPaths): Promise<void> {
  const { ids, damagedAt } = await readJournal(disk, paths)
  // One that is damaged stays as it is: whoever opens it says so.
  if (damagedAt === undefined) await replaceFile(disk, paths.ecj, encodeEcJournal(ids))
  await unlinkIfThere(disk, paths.failed)
  await disk.syncDirectory(paths.directory)
}
