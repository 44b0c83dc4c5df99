import { crc32c } from '../base/crc32c.ts'
import { compareNeedleIds, type NeedleId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { EcIndex } from '../erasure/ec-index.ts'
import type { ShardSink } from '../erasure/encode-shards.ts'
import type { ErasureCodec } from '../erasure/erasure-codec.ts'
import type { ShardSlices } from '../erasure/shard-slices.ts'
import type { StripeGeometry } from '../erasure/stripe-geometry.ts'
import { encodeEcJournal } from '../format/ec-journal.ts'
import { recordBytes } from '../format/needle.ts'
import { encodeShardChecksums, type ShardChecksums } from '../format/shard-checksums.ts'
import { SUPER_BLOCK_BYTES } from '../format/super-block.ts'
import { readFully, replaceFile, unlinkIfThere, writeFully } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { IdDigest } from './id-digest.ts'
import { ShardFile } from './shard-file.ts'
import { ShardJournal } from './shard-journal.ts'
import { type ShardPaths, shardDraftPath, shardPath } from './shard-paths.ts'
import { encodeShardRun, geometryOf, openCodec, type ShardRun } from './shard-run.ts'
import type { FoundShardSet } from './shard-set-files.ts'
import { ShardWriter, SyncLine, VerifyingSink } from './shard-writer.ts'
import type { VolumeParts } from './volume-options.ts'

/** One block of a shard, of the size that one checksum covers. */
export interface BlockOfShard {
  readonly shard: number
  readonly block: number
}

export interface ShardSetStats {
  /** Of the whole volume, less what was deleted since it was coded. */
  readonly liveNeedles: number
  readonly liveBytes: number
  readonly garbageBytes: number
  readonly journalBytes: number
  /** The same for two journals with the same ids; 16 hex digits. */
  readonly journalDigest: string
  /** When it was coded, or a needle was deleted last since it was opened. */
  readonly modifiedAtS: number
  /** Since it was opened. */
  readonly requestCount: number
}

/**
 * Shards of one run of the encoder in one directory, with the whole index of the volume, a journal
 * of what was deleted since, and the checksums of all shards.
 *
 * Invariants: a shard that is here was whole when it came, and durable; an id is deleted in the
 * index only when it is durable in the journal; after a failed sync nothing is deleted any more.
 */
export class ShardSet implements AsyncDisposable {
  readonly run: ShardRun
  readonly geometry: StripeGeometry
  readonly index: EcIndex
  readonly checksums: ShardChecksums
  readonly paths: ShardPaths
  readonly #parts: VolumeParts
  readonly #journal: ShardJournal
  readonly #files = new Map<number, ShardFile>()
  /** Shards that come or go just now: nobody else may make or remove them meanwhile. */
  readonly #underWay = new Map<number, Promise<void>>()
  readonly #bad = new Map<number, Set<number>>()
  /** Blocks written anew whose sync failed: reads may show what the disk does not have. */
  readonly #unsynced = new Map<number, Set<number>>()
  readonly #digest = new IdDigest()
  #codec: ErasureCodec | undefined
  #liveNeedles = 0
  #liveBytes = 0
  #modifiedAtS: number
  #requestCount = 0
  #isClosed = false

  private constructor(
    parts: VolumeParts,
    paths: ShardPaths,
    found: Pick<FoundShardSet, 'run' | 'index' | 'checksums'>,
    opened: { readonly journal: ShardJournal; readonly ids: readonly NeedleId[] },
  ) {
    this.#parts = parts
    this.paths = paths
    this.run = found.run
    this.geometry = geometryOf(found.run)
    this.checksums = found.checksums
    this.index = found.index
    this.#journal = opened.journal
    this.#modifiedAtS = found.run.encodedAtS
    for (const { sizeBytes } of this.index.live()) {
      this.#liveNeedles++
      this.#liveBytes += recordBytes(sizeBytes, found.run.version)
    }
    for (const id of opened.ids) this.#applyDelete(id)
  }

  /**
   * Opens a set that is in its directory, with the shards that have their full length.
   *
   * @throws {StoreError} PATH_NOT_FOUND: it has no journal. DISK_FULL, DISK_FAILED.
   */
  static async open(
    parts: VolumeParts,
    paths: ShardPaths,
    found: FoundShardSet,
  ): Promise<ShardSet> {
    await using opening = new DisposeStack()
    const opened = await ShardJournal.open({ ...parts, paths })
    const set = opening.use(new ShardSet(parts, paths, found, opened))
    for (const { shard, sizeBytes } of found.shards) {
      if (shard >= set.geometry.shardCount || sizeBytes !== set.geometry.shardBytes) {
        parts.logger.error('shards.wrong_length', { path: shardPath(paths, shard), sizeBytes })
        continue
      }
      await set.#open(shard)
    }
    opening.move()
    return set
  }

  get directory(): string {
    return this.paths.directory
  }

  /** Ascending. */
  get shards(): readonly number[] {
    return [...this.#files.keys()].sort((a, b) => a - b)
  }

  has(shard: number): boolean {
    return this.#files.has(shard)
  }

  /** Ascending: those of the shards here that have bad blocks. */
  get badShards(): readonly number[] {
    return [...this.#bad.keys()].sort((a, b) => a - b)
  }

  badBlocks(): readonly BlockOfShard[] {
    return this.badShards.flatMap((shard) =>
      Array.from(this.#bad.get(shard) ?? [], (block) => ({ shard, block })),
    )
  }

  /** Until it is found to be good, or the end of the process. */
  noteBad(shard: number, block: number): void {
    if (!this.has(shard)) return
    const blocks = this.#bad.get(shard)
    if (blocks === undefined) this.#bad.set(shard, new Set([block]))
    else blocks.add(block)
  }

  /** Why nothing can be deleted in it any more; undefined: it can. */
  get failure(): StoreError | undefined {
    return this.#journal.failure
  }

  get stats(): ShardSetStats {
    return {
      liveNeedles: this.#liveNeedles,
      liveBytes: this.#liveBytes,
      garbageBytes: Math.max(0, this.run.datBytes - SUPER_BLOCK_BYTES - this.#liveBytes),
      journalBytes: this.#journal.endBytes,
      journalDigest: this.#digest.value,
      modifiedAtS: this.#modifiedAtS,
      requestCount: this.#requestCount,
    }
  }

  /** One more request was served from it. */
  noteRequest(): void {
    this.#requestCount++
  }

  /** @throws {StoreError} CODEC_UNAVAILABLE. */
  codec(): ErasureCodec {
    this.#codec ??= openCodec(this.run)
    return this.#codec
  }

  /**
   * Fills `into` with the bytes of a shard from `at` on. What is read is not verified.
   *
   * @throws {StoreError} SHARD_NOT_FOUND; RANGE_INVALID: not all of it is within the shard.
   * DISK_FAILED, CLOSED.
   */
  async read(shard: number, into: Buffer, at: number): Promise<void> {
    await this.#fileOf(shard).read(into, at)
  }

  /** As `read`, for slices, one after the other. */
  async readSlices(shard: number, into: Buffer, slices: ShardSlices): Promise<void> {
    await this.#fileOf(shard).readSlices(into, slices)
  }

  /**
   * Survives a power cut when it returns. Also ids that are not in the index: they may be in the
   * volume of another run.
   *
   * @throws {StoreError} VOLUME_FAILED: a sync failed, now or before. DISK_FULL, DISK_FAILED,
   * OVERLOADED, CLOSED.
   */
  async deleteNeedles(ids: readonly NeedleId[]): Promise<void> {
    const fresh = uniqueIds(ids).filter((id) => !this.index.hasDeleted(id))
    if (fresh.length === 0) return
    await this.#journal.append(fresh)
    for (const id of fresh) this.#applyDelete(id)
    this.#modifiedAtS = Math.floor(this.#parts.clock.nowMs() / 1000)
  }

  /** What was deleted since the volume was coded, each once. */
  journal(): readonly NeedleId[] {
    return this.index.deletedIds()
  }

  /** All files but the shards, as they should be. */
  async encodedFiles(): Promise<Readonly<Record<'ecx' | 'ecj' | 'vif' | 'ecsum', Buffer>>> {
    return {
      ecx: this.index.rows,
      ecj: encodeEcJournal(this.journal()),
      vif: encodeShardRun(this.run),
      ecsum: encodeShardChecksums(this.checksums),
    }
  }

  /**
   * Takes in a shard that `fill` writes from its first byte to its last. It is here, whole and
   * durable, when this returns; if it fails, nothing of it is.
   *
   * @throws {StoreError} SHARD_CORRUPT: it is not what its checksums say. VOLUME_EXISTS: it is here
   * already. VOLUME_BUSY: it is about to be. DISK_FULL, DISK_FAILED, CLOSED; what `fill` throws.
   */
  async addShard(shard: number, fill: (sink: ShardSink) => Promise<void>): Promise<void> {
    await this.#change(shard, async () => {
      if (this.has(shard)) {
        throw new StoreError('VOLUME_EXISTS', `shard ${shard} is in ${this.directory}`)
      }
      try {
        await this.#writeDraft(shard, fill)
        await this.#publish(shard)
      } catch (error) {
        await this.#discard(shard)
        throw error
      }
    })
  }

  /**
   * Removes a shard; it stays gone, also after a power cut. One that is not here is no error.
   *
   * @throws {StoreError} VOLUME_BUSY: it is just being made. DISK_FAILED, CLOSED.
   */
  async removeShard(shard: number): Promise<void> {
    await this.#change(shard, async () => {
      const file = this.#files.get(shard)
      this.#files.delete(shard)
      this.#bad.delete(shard)
      this.#unsynced.delete(shard)
      await unlinkIfThere(this.#parts.disk, shardPath(this.paths, shard))
      await this.#parts.disk.syncDirectory(this.directory)
      await file?.close()
    })
  }

  /**
   * Writes a block anew where it is. A power cut meanwhile leaves it bad, as it was, or good.
   *
   * @throws {StoreError} SHARD_CORRUPT: these are not its bytes; nothing was written.
   * SHARD_NOT_FOUND, RANGE_INVALID, DISK_FAILED, CLOSED.
   */
  async replaceBlock(shard: number, block: number, bytes: Buffer): Promise<void> {
    const { file } = this.#fileOf(shard)
    const { offset, length, crc } = this.#blockOf(shard, block)
    if (bytes.length !== length || crc32c(bytes) !== crc) {
      throw new StoreError('SHARD_CORRUPT', `these are not the bytes of block ${block}`)
    }
    const unsynced = this.#unsynced.get(shard) ?? new Set()
    this.#unsynced.set(shard, unsynced.add(block))
    await writeFully(file, [bytes], offset)
    await file.datasync()
    unsynced.delete(block)
    this.#noteGood(shard, block)
  }

  /**
   * Whether a block is what it was when the shard was made; what is found is noted. `scratch` has
   * room for a block. A block that cannot be read is a bad one.
   *
   * @throws {StoreError} SHARD_NOT_FOUND, RANGE_INVALID, CLOSED.
   */
  async verifyBlock(shard: number, block: number, scratch: Buffer): Promise<boolean> {
    const { offset, length, crc } = this.#blockOf(shard, block)
    try {
      await this.read(shard, scratch.subarray(0, length), offset)
    } catch (error) {
      if (!isStoreError(error, 'DISK_FAILED')) throw error
      this.noteBad(shard, block)
      return false
    }
    const isDurable = this.#unsynced.get(shard)?.has(block) !== true
    const isGood = isDurable && crc32c(scratch.subarray(0, length)) === crc
    if (isGood) this.#noteGood(shard, block)
    else this.noteBad(shard, block)
    return isGood
  }

  /** What of the files beside the shards is not on the disk as it should be, in words. */
  async findDamage(): Promise<readonly string[]> {
    const { ecx, vif, ecsum } = await this.encodedFiles()
    const damage: string[] = []
    for (const [name, bytes] of Object.entries({ ecx, vif, ecsum })) {
      if (!(await this.#isOnDisk(`${this.paths.base}.${name}`, bytes))) {
        damage.push(`.${name} was altered`)
      }
    }
    const journal = await this.#journal.findDamage(this.journal())
    return journal === undefined ? damage : [...damage, journal]
  }

  /**
   * Writes `.ecx`, `.ecsum` and `.vif` anew where they are damaged.
   *
   * @throws {StoreError} DISK_FULL, DISK_FAILED.
   */
  async renewFiles(): Promise<void> {
    const { ecx, vif, ecsum } = await this.encodedFiles()
    for (const [name, bytes] of Object.entries({ ecx, ecsum, vif })) {
      const path = `${this.paths.base}.${name}`
      if (!(await this.#isOnDisk(path, bytes))) await replaceFile(this.#parts.disk, path, bytes)
    }
  }

  /** Waits for what is under way, then closes the files. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay.values())
    for (const file of this.#files.values()) await file.close()
    await this.#journal.close()
  }

  #applyDelete(id: NeedleId): void {
    if (this.index.hasDeleted(id)) return
    const entry = this.index.find(id)
    this.index.delete(id)
    this.#digest.add(id)
    if (entry === undefined || entry.isDeleted) return
    this.#liveNeedles--
    this.#liveBytes -= recordBytes(entry.sizeBytes, this.run.version)
  }

  async #change(shard: number, change: () => Promise<void>): Promise<void> {
    if (this.#isClosed) throw new StoreError('CLOSED', `${this.directory} is closed`)
    this.#checkShard(shard)
    if (this.#underWay.has(shard)) {
      throw new StoreError('VOLUME_BUSY', `shard ${shard} of ${this.directory} is being changed`)
    }
    const changing = change()
    this.#underWay.set(shard, changing)
    try {
      await changing
    } finally {
      this.#underWay.delete(shard)
    }
  }

  async #writeDraft(shard: number, fill: (sink: ShardSink) => Promise<void>): Promise<void> {
    const expected = this.checksums.shards[shard]
    if (expected === undefined) throw noSuchShard(shard)
    const parts = { ...this.#parts, syncs: new SyncLine() }
    await using writer = await ShardWriter.create(parts, shardDraftPath(this.paths, shard))
    const sink = new VerifyingSink(writer, expected, this.checksums.blockBytes)
    await fill(sink)
    sink.checkWhole()
    await writer.finish()
  }

  async #publish(shard: number): Promise<void> {
    const { disk } = this.#parts
    const path = shardPath(this.paths, shard)
    await disk.rename(shardDraftPath(this.paths, shard), path)
    await disk.syncDirectory(this.directory)
    await this.#open(shard)
    this.#bad.delete(shard)
  }

  async #open(shard: number): Promise<void> {
    const file = await this.#parts.disk.open(shardPath(this.paths, shard), 'write')
    this.#files.set(shard, new ShardFile(this.#parts, file, this.geometry.shardBytes))
  }

  /** What cannot be removed now is removed by the next start; the failure itself matters more. */
  async #discard(shard: number): Promise<void> {
    const { disk, logger } = this.#parts
    try {
      await unlinkIfThere(disk, shardDraftPath(this.paths, shard))
      await unlinkIfThere(disk, shardPath(this.paths, shard))
      await disk.syncDirectory(this.directory)
    } catch (error) {
      logger.warn('shards.draft_left', { directory: this.directory, shard, error: String(error) })
    }
  }

  async #isOnDisk(path: string, bytes: Buffer): Promise<boolean> {
    try {
      await using file = await this.#parts.disk.open(path, 'read')
      if ((await file.sizeBytes()) !== bytes.length) return false
      return (await readFully(file, bytes.length, 0)).equals(bytes)
    } catch (error) {
      if (!isStoreError(error, 'PATH_NOT_FOUND', 'DISK_FAILED')) throw error
      return false
    }
  }

  #noteGood(shard: number, block: number): void {
    const blocks = this.#bad.get(shard)
    blocks?.delete(block)
    if (blocks?.size === 0) this.#bad.delete(shard)
  }

  /** @throws {StoreError} SHARD_NOT_FOUND, RANGE_INVALID. */
  #blockOf(
    shard: number,
    block: number,
  ): { readonly offset: number; readonly length: number; readonly crc: number } {
    this.#checkShard(shard)
    const { blockBytes } = this.checksums
    const crc = this.checksums.shards[shard]?.blockCrcs[block]
    if (crc === undefined) throw new StoreError('RANGE_INVALID', `shards have no block ${block}`)
    const offset = block * blockBytes
    return { offset, length: Math.min(blockBytes, this.geometry.shardBytes - offset), crc }
  }

  #fileOf(shard: number): ShardFile {
    const file = this.#files.get(shard)
    if (file === undefined) {
      throw new StoreError('SHARD_NOT_FOUND', `shard ${shard} is not in ${this.directory}`)
    }
    return file
  }

  #checkShard(shard: number): void {
    const isShard = Number.isInteger(shard) && shard >= 0 && shard < this.geometry.shardCount
    if (!isShard) throw noSuchShard(shard)
  }
}

function uniqueIds(ids: readonly NeedleId[]): readonly NeedleId[] {
  if (ids.length < 2) return ids
  const sorted = [...ids].sort(compareNeedleIds)
  return sorted.filter((id, index) => {
    const before = sorted[index - 1]
    return before === undefined || compareNeedleIds(before, id) !== 0
  })
}

function noSuchShard(shard: number): StoreError {
  return new StoreError('SHARD_NOT_FOUND', `there is no shard ${shard}`)
}
