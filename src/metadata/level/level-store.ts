import { ClassicLevel } from 'classic-level'
import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'
import { KIB } from '../../base/units.ts'
import { cancelledError } from '../../runtime/abort.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Disk } from '../../runtime/disk.ts'
import type { Logger } from '../../runtime/logger.ts'
import { checkBatch, checkKey } from '../batch-check.ts'
import type { MetadataBatch, MetadataRow, MetadataScan, MetadataStore } from '../metadata-store.ts'
import { CommitQueue, type GroupWrite } from './commit-queue.ts'
import { levelError } from './level-errors.ts'
import { LevelScan } from './level-scan.ts'
import { QuickReads } from './quick-reads.ts'

export interface LevelStoreParts {
  readonly clock: Clock
  readonly disk: Disk
  readonly logger: Logger
}

/** Read in one trip to the database thread; its own default is 16 KiB, some hundred rows. */
const SCAN_BYTES = 256 * KIB

type Database = ClassicLevel<string, Uint8Array>

/**
 * A `MetadataStore` on LevelDB, in a directory of its own that no other process can open meanwhile.
 *
 * After a failed write nothing more is written before the database was opened anew: LevelDB would
 * append behind a record that is only half there, and find neither of them when it reads its log
 * again. When the disk was full, that happens by itself once there is room; reads go on meanwhile.
 * After any other failure the process has to be started anew.
 */
export class LevelStore implements MetadataStore {
  readonly #database: Database
  readonly #disk: Disk
  readonly #directory: string
  readonly #commits: CommitQueue
  readonly #quick: QuickReads
  /** A group of commits is being written: several reads in a row might see half of it. */
  #isWriting = false
  #closing: Promise<void> | undefined
  /** Settles when the database is open again; never rejects. */
  #renewing: Promise<void> | undefined

  private constructor(database: Database, parts: LevelStoreParts, directory: string) {
    const { clock, disk, logger } = parts
    this.#quick = new QuickReads(clock)
    this.#database = database
    this.#disk = disk
    this.#directory = directory
    this.#commits = new CommitQueue(
      {
        read: (keys) => this.#read(keys),
        write: (group) => this.#write(group),
        renew: () => this.#renew(),
      },
      logger,
    )
  }

  /**
   * Makes the directory if it is missing.
   *
   * @throws {StoreError} DIRECTORY_LOCKED: another process has it open, or this one. DISK_FULL,
   * DISK_FAILED, DIRECTORY_UNUSABLE. METADATA_CORRUPT: its files are damaged.
   */
  static async open(
    parts: LevelStoreParts,
    config: { readonly directory: string },
    signal: AbortSignal,
  ): Promise<LevelStore> {
    const { directory } = config
    if (signal.aborted) throw cancelledError(signal, `before opening ${directory}`)
    await parts.disk.createDirectory(directory)
    const database: Database = new ClassicLevel(directory, {
      keyEncoding: 'utf8',
      valueEncoding: 'view',
    })
    try {
      await database.open()
    } catch (error) {
      throw levelError('opening', directory, error)
    }
    return new LevelStore(database, parts, directory)
  }

  /** Commits that wait for their turn. */
  get queuedCount(): number {
    return this.#commits.queuedCount
  }

  async get(key: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    checkKey(key)
    this.#checkUsable(signal)
    if (this.#renewing !== undefined) await this.#usable(signal)
    try {
      const [row] = await this.#read([key])
      return row
    } catch (error) {
      throw levelError('reading', this.#directory, error)
    }
  }

  async getMany(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (Uint8Array | undefined)[]> {
    for (const key of keys) checkKey(key)
    this.#checkUsable(signal)
    if (this.#renewing !== undefined) await this.#usable(signal)
    try {
      return await this.#read(keys)
    } catch (error) {
      throw levelError('reading', this.#directory, error)
    }
  }

  scan(range: MetadataScan, signal: AbortSignal): AsyncIterable<MetadataRow> {
    const open = async () => {
      await this.#usable(signal)
      return this.#database.iterator({
        ...(range.gte === undefined ? {} : { gte: range.gte }),
        ...(range.lt === undefined ? {} : { lt: range.lt }),
        limit: range.limit ?? -1,
        reverse: range.reverse ?? false,
        highWaterMarkBytes: SCAN_BYTES,
      })
    }
    const onError = (error: unknown) => levelError('scanning', this.#directory, error)
    return { [Symbol.asyncIterator]: () => new LevelScan(open, onError, signal) }
  }

  async commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    checkBatch(batch)
    this.#checkUsable(signal)
    await this.#commits.add(batch, signal)
  }

  /** Waits for the commits under way and in line. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#commits.close()
    try {
      await this.#database.close()
    } catch (error) {
      throw levelError('closing', this.#directory, error)
    }
  }

  async #read(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    const database = this.#database
    const isOneMoment = keys.length === 1 || !this.#isWriting
    const quick = isOneMoment
      ? this.#quick.tryRead(keys, (key) => database.getSync(key))
      : undefined
    return quick ?? (await database.getMany([...keys]))
  }

  async #write(group: GroupWrite): Promise<void> {
    const operations = Array.from(group, ([key, value]) =>
      value === undefined
        ? ({ type: 'del', key } as const)
        : ({ type: 'put', key, value } as const),
    )
    this.#isWriting = true
    try {
      await this.#database.batch(operations, { sync: true })
    } catch (error) {
      throw levelError('writing', this.#directory, error)
    } finally {
      this.#isWriting = false
    }
  }

  async #renew(): Promise<void> {
    const { freeBytes } = await this.#disk.space(this.#directory)
    if (freeBytes < LIMITS.metadataRenewBytes.value) {
      const message = `${freeBytes} bytes are free for ${this.#directory}: too few to go on writing`
      throw new StoreError('DISK_FULL', message)
    }
    const renewing = this.#reopen()
    this.#renewing = renewing.catch(() => undefined)
    try {
      await renewing
    } finally {
      this.#renewing = undefined
    }
  }

  async #reopen(): Promise<void> {
    try {
      await this.#database.close()
      await this.#database.open()
    } catch (error) {
      throw levelError('reopening', this.#directory, error)
    }
  }

  async #usable(signal: AbortSignal): Promise<void> {
    this.#checkUsable(signal)
    if (this.#renewing === undefined) return
    await this.#renewing
    this.#checkUsable(signal)
  }

  #checkUsable(signal: AbortSignal): void {
    if (this.#closing !== undefined) {
      throw new StoreError('CLOSED', `the store in ${this.#directory} was closed`)
    }
    if (signal.aborted) throw cancelledError(signal, 'before using the store')
  }
}
