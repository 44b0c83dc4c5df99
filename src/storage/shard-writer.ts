import { crc32c } from '../base/crc32c.ts'
import { StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import type { ShardSink } from '../erasure/encode-shards.ts'
import type { ShardChecksum } from '../format/shard-checksums.ts'
import { type Disk, type DiskFile, writeFully } from '../runtime/disk.ts'
import type { SpaceGuard } from './volume-options.ts'

/** What is not on the disk yet when a file is whole, so that the last sync is a short one. */
const UNSYNCED_MAX_BYTES = 32 * MIB

/** One sync at a time: each of them keeps a thread of the pool, and others read and write too. */
export class SyncLine {
  #last: Promise<void> = Promise.resolve()

  /** @throws {StoreError} DISK_FAILED. */
  sync(file: DiskFile): Promise<void> {
    const run = (): Promise<void> => file.datasync()
    this.#last = this.#last.then(run, run)
    return this.#last
  }
}

interface WriterParts {
  readonly disk: Disk
  readonly space: SpaceGuard
  readonly syncs: SyncLine
}

/** Writes a new shard from its first byte to its last, and makes it durable on the way. */
export class ShardWriter implements ShardSink, AsyncDisposable {
  readonly #parts: WriterParts
  readonly #file: DiskFile
  #writtenBytes = 0
  #unsyncedBytes = 0
  #syncing: Promise<void> = Promise.resolve()

  private constructor(parts: WriterParts, file: DiskFile) {
    this.#parts = parts
    this.#file = file
  }

  /** What is at `path` is overwritten. @throws {StoreError} DISK_FAILED. */
  static async create(parts: WriterParts, path: string): Promise<ShardWriter> {
    const file = await parts.disk.open(path, 'create')
    try {
      await file.truncate(0)
    } catch (error) {
      await file.close()
      throw error
    }
    return new ShardWriter(parts, file)
  }

  get writtenBytes(): number {
    return this.#writtenBytes
  }

  /** @throws {StoreError} DISK_FULL, DISK_FAILED; also that of an earlier sync. */
  async write(bytes: Buffer): Promise<void> {
    const { space } = this.#parts
    const refusal = space.refusePut(bytes.length)
    if (refusal !== undefined) throw refusal
    await writeFully(this.#file, [bytes], this.#writtenBytes)
    space.onAppended(bytes.length)
    this.#writtenBytes += bytes.length
    this.#unsyncedBytes += bytes.length
    if (this.#unsyncedBytes < UNSYNCED_MAX_BYTES) return
    // The one before: so writing goes on meanwhile, and never gets far ahead of the disk.
    await this.#syncing
    this.#unsyncedBytes = 0
    this.#syncing = this.#parts.syncs.sync(this.#file)
    this.#syncing.catch(() => 'it is awaited with the next one')
  }

  /** Its bytes survive a power cut when this returns; its name may not. */
  async finish(): Promise<void> {
    await this.#syncing
    await this.#parts.syncs.sync(this.#file)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#syncing.catch(() => 'whoever wrote was told, or gave up')
    await this.#file.close()
  }
}

/** Lets only those bytes of a shard through that its checksums expect. */
export class VerifyingSink implements ShardSink {
  readonly #target: ShardSink
  readonly #expected: ShardChecksum
  readonly #blockBytes: number
  #passedBytes = 0
  #crc = 0

  constructor(target: ShardSink, expected: ShardChecksum, blockBytes: number) {
    this.#target = target
    this.#expected = expected
    this.#blockBytes = blockBytes
  }

  /** @throws {StoreError} SHARD_CORRUPT: more than the shard has, or a block that is not its. */
  async write(bytes: Buffer): Promise<void> {
    const { coveredBytes } = this.#expected
    for (let at = 0; at < bytes.length; ) {
      const room = this.#blockBytes - (this.#passedBytes % this.#blockBytes)
      const piece = bytes.subarray(at, at + room)
      this.#crc = crc32c(piece, this.#crc)
      this.#passedBytes += piece.length
      at += piece.length
      if (this.#passedBytes > coveredBytes) throw this.#corrupt(`it goes on behind its end`)
      const isBlockEnd = piece.length === room || this.#passedBytes === coveredBytes
      if (isBlockEnd) this.#checkBlock()
    }
    await this.#target.write(bytes)
  }

  /** @throws {StoreError} SHARD_CORRUPT: something is missing. */
  checkWhole(): void {
    if (this.#passedBytes === this.#expected.coveredBytes) return
    throw this.#corrupt(`it ends at byte ${this.#passedBytes}`)
  }

  #checkBlock(): void {
    const block = Math.ceil(this.#passedBytes / this.#blockBytes) - 1
    if (this.#crc !== this.#expected.blockCrcs[block]) {
      throw this.#corrupt(`block ${block} does not match its checksum`)
    }
    this.#crc = 0
  }

  #corrupt(why: string): StoreError {
    return new StoreError('SHARD_CORRUPT', `shard ${this.#expected.shard}: ${why}`)
  }
}
