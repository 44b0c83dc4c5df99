import type { NeedleId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import {
  type Needle,
  type NeedleInput,
  prepareNeedle,
  prepareSpooledNeedle,
} from '../format/needle.ts'
import type { NeedleAttributes } from '../format/needle-attributes.ts'
import { checkRange, type NeedleRequest } from '../format/needle-checks.ts'
import type { SuperBlock } from '../format/super-block.ts'
import type { CodingSource } from './coding-source.ts'
import type { Generation, SharedGeneration } from './generation.ts'
import type { NeedleEntries } from './needle-map.ts'
import { LargeNeedle } from './needle-reader.ts'
import { type NeedleStat, statNeedle } from './needle-stat.ts'
import type { DeleteResult, PendingPut, PutResult } from './pending-write.ts'
import type { ReadBuffer } from './read-buffer.ts'
import type { RecoveryReport } from './recovery.ts'
import { logRecovery } from './recovery-log.ts'
import { type ScrubOptions, type ScrubStep, scrubVolume } from './scrub.ts'
import { listSorted, type NeedleSummary } from './sorted-entries.ts'
import { SpooledBody } from './spool.ts'
import type { VacuumOptions, VacuumResult } from './vacuum.ts'
import { VolumeCondition } from './volume-condition.ts'
import { busy } from './volume-errors.ts'
import { VolumeInfoFile } from './volume-info-file.ts'
import {
  createVolumeFiles,
  discardNewFiles,
  type OpenedFiles,
  openVolumeFiles,
} from './volume-open.ts'
import type {
  VolumeExtent,
  VolumeOptions,
  VolumeParts,
  VolumeState,
  VolumeStats,
} from './volume-options.ts'
import type { VolumePaths } from './volume-paths.ts'
import { type ReadRequest, VolumeReader } from './volume-reader.ts'
import type { VolumeSnapshot } from './volume-snapshot.ts'
import { VolumeUpkeep } from './volume-upkeep.ts'
import { VolumeWriter, type WriterHost } from './volume-writer.ts'

/** A needle from another copy: it goes over whatever is here, but never over a deletion. */
interface MayHeal {
  readonly isHeal?: boolean | undefined
}

/**
 * One volume: an append-only file of needles, and where each of them lies.
 *
 * Invariants: a put is readable only once it is as durable as the volume promises; what is read
 * matched its checksum; after a failed sync nothing is written to these files again; and a needle
 * deleted stays deleted.
 */
export class Volume implements AsyncDisposable {
  readonly paths: VolumePaths
  /** What opening found and mended. */
  readonly recovery: RecoveryReport
  readonly #parts: VolumeParts
  readonly #info: VolumeInfoFile
  readonly #condition: VolumeCondition
  readonly #writer: VolumeWriter
  readonly #upkeep: VolumeUpkeep
  readonly #reader: VolumeReader
  readonly #current: { generation: Generation }
  #closing: Promise<void> | undefined
  #spoolCount = 0
  #requestCount = 0

  private constructor(
    parts: VolumeParts,
    paths: VolumePaths,
    opened: OpenedFiles,
    options: VolumeOptions,
  ) {
    this.#parts = parts
    this.paths = paths
    const current = { generation: opened.generation }
    this.#current = current
    this.recovery = opened.report
    const info = new VolumeInfoFile({ ...parts, paths }, opened.info)
    const isSealed = info.info.readOnly || opened.report.wasSealed
    const generation = (): Generation => current.generation
    const found = { ...opened, isSealed }
    const condition = new VolumeCondition({ ...parts, paths, generation }, options, found)
    this.#info = info
    this.#condition = condition
    const isSynced = options.durability.mode === 'fsync'
    const writer = new VolumeWriter({ host: this.#writerHost(), clock: parts.clock }, { isSynced })
    this.#writer = writer
    this.#upkeep = new VolumeUpkeep({ ...parts, paths, info, condition, writer, current }, options)
    this.#reader = new VolumeReader(parts, paths.base)
  }

  /**
   * @throws {StoreError} PATH_NOT_FOUND, SUPER_BLOCK_CORRUPT, VERSION_UNSUPPORTED,
   * VOLUME_INFO_CORRUPT, DISK_FAILED.
   */
  static async open(
    parts: VolumeParts,
    paths: VolumePaths,
    options: VolumeOptions,
  ): Promise<Volume> {
    const isSynced = options.durability.mode === 'fsync'
    const opened = await openVolumeFiles(parts.disk, paths, { isSynced })
    const volume = new Volume(parts, paths, opened, options)
    logRecovery(parts.logger, paths.base, opened.report)
    const { hadSidecar, indexRebuilt, tailNeedles, damage } = opened.report
    const isNew = !hadSidecar || indexRebuilt !== undefined || tailNeedles > 0
    const isSound = damage === undefined && opened.failure === undefined
    await volume.#upkeep.settle({ isSound: isSound && !opened.generation.log.isReadOnly, isNew })
    return volume
  }

  /** @throws {StoreError} VOLUME_EXISTS, DISK_FULL, DISK_FAILED, DIRECTORY_UNUSABLE. */
  static async create(
    parts: VolumeParts,
    paths: VolumePaths,
    options: VolumeOptions & { readonly superBlock: SuperBlock },
  ): Promise<Volume> {
    try {
      await createVolumeFiles(parts.disk, paths, options.superBlock)
      return await Volume.open(parts, paths, options)
    } catch (error) {
      // Files that were there before are not ours.
      if (!isStoreError(error, 'VOLUME_EXISTS')) await discardNewFiles(parts.disk, paths)
      throw error
    }
  }

  get state(): VolumeState {
    return this.#closing !== undefined ? 'closed' : this.#condition.state
  }

  /** Failed or damaged: it takes no writes, and counts as lost where there is a better copy. */
  get isBad(): boolean {
    return this.state === 'failed' || this.state === 'damaged'
  }

  get extent(): VolumeExtent {
    const { endBytes, superBlock } = this.#generation
    return { datBytes: endBytes, compactionRevision: superBlock.compactionRevision }
  }

  get superBlock(): SuperBlock {
    return this.#generation.superBlock
  }

  /** To be walked in steps. A vacuum or a seal puts another map in its place. */
  get entries(): NeedleEntries {
    return this.#generation.map
  }

  /** `.vif` goes before the super block, which is never rewritten. */
  get replicaPlacement(): ReplicaPlacement {
    return this.#info.placement ?? this.superBlock.replicaPlacement
  }

  get stats(): VolumeStats {
    const generation = this.#generation
    return {
      state: this.state,
      reason: this.#condition.reason,
      liveNeedles: generation.map.liveCount,
      liveBytes: generation.map.liveBytes,
      garbageBytes: generation.garbageBytes,
      ...this.extent,
      indexMemoryBytes: generation.map.memoryBytes,
      modifiedAtS: Number(generation.clock.lastNs / 1_000_000_000n),
      highestNeedleId: generation.map.highestId,
      requestCount: this.#requestCount,
      ...this.#writer.counts,
    }
  }

  /** For a `VolumeView` in another thread; to be asked for again when that is stale. */
  share(): SharedGeneration {
    this.#checkOpen()
    return this.#generation.share(this.paths.dat)
  }

  /**
   * Stores a needle, in place of the one that has its id. When this returns it is durable as
   * `VolumeOptions.durability` says. The data must not change until then.
   *
   * One that heals goes over a needle that is corrupt or has another cookie too, and into a sealed
   * volume; what is the same already is left alone.
   *
   * @throws {StoreError} NEEDLE_TOO_LARGE, NEEDLE_INVALID, COOKIE_MISMATCH, VOLUME_FULL,
   * VOLUME_SEALED, VOLUME_FAILED, VOLUME_DAMAGED, DISK_FULL, DISK_FAILED, OVERLOADED, CANCELLED,
   * CLOSED; NEEDLE_NOT_FOUND: it heals a needle that was deleted here. After any of these but
   * VOLUME_FAILED the old needle is what it was.
   */
  async put(input: NeedleInput & MayHeal, signal: AbortSignal): Promise<PutResult> {
    this.#onRequest()
    const attributes = this.#withDefaults(input.attributes)
    const needle = prepareNeedle({ ...input, attributes })
    return this.#submitPut({ needle, spool: undefined, isHeal: input.isHeal ?? false }, signal)
  }

  /** As `put`, for a body of unknown length that is never held in memory whole. */
  async putStream(
    input: Omit<NeedleInput, 'data'> & MayHeal,
    source: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<PutResult> {
    this.#onRequest()
    const { isHeal = false } = input
    const refusal = this.#condition.refuseWrite() ?? this.#condition.refusePut(0, isHeal)
    if (refusal !== undefined) throw refusal
    const path = `${this.paths.base}.spool-${this.#spoolCount++}`
    await using body = await SpooledBody.collect(source, { disk: this.#parts.disk, path }, signal)
    // The body may have taken hours to arrive.
    this.#checkOpen()
    const attributes = this.#withDefaults(input.attributes)
    const { data, dataBytes, checksum } = body
    const needle = prepareSpooledNeedle({ ...input, data, dataBytes, checksum, attributes })
    return await this.#submitPut({ needle, spool: body.file, isHeal }, signal)
  }

  /**
   * Deletes a needle; durable when this returns. One that is not there is no error.
   *
   * @throws {StoreError} COOKIE_MISMATCH, VOLUME_FAILED, VOLUME_DAMAGED, DISK_FULL, OVERLOADED,
   * CANCELLED, CLOSED.
   */
  async delete(request: NeedleRequest, signal: AbortSignal): Promise<DeleteResult> {
    this.#onRequest()
    const { id, cookie } = request
    return new Promise((resolve, reject) => {
      this.#writer.submit({ kind: 'delete', id, cookie, signal, resolve, reject })
    })
  }

  /**
   * The needle, if reading it now will very likely not wait for a disk; undefined: use `read`. A
   * record that fits is read into `into`: what is returned holds until that is used again.
   *
   * @throws {StoreError} NEEDLE_NOT_FOUND, COOKIE_MISMATCH, NEEDLE_CORRUPT, CLOSED.
   */
  readWarm(request: ReadRequest, into?: ReadBuffer): Needle | undefined {
    let isAnswered = true
    try {
      const needle = this.#reader.readWarm(this.#generation, request, into)
      isAnswered = needle !== undefined
      return needle
    } finally {
      // Otherwise `read` answers, and counts it.
      if (isAnswered) this.#onRequest()
    }
  }

  /**
   * A needle of up to `request.wholeBytesMax` whole; a larger one to be streamed, and disposed of.
   *
   * @throws {StoreError} NEEDLE_NOT_FOUND: never stored, deleted, or its time is over.
   * COOKIE_MISMATCH, NEEDLE_CORRUPT, DISK_FAILED, CLOSED.
   */
  async read(request: ReadRequest): Promise<Needle | LargeNeedle> {
    this.#onRequest()
    return this.#reader.read(this.#generation, request)
  }

  /**
   * Bytes `start` up to `end` of a needle's data, in pieces.
   *
   * @throws {StoreError} as `read`; RANGE_INVALID, CANCELLED.
   */
  async *readRange(
    request: ReadRequest,
    range: { readonly start: number; readonly end: number },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    const found = await this.read(request)
    if (found instanceof LargeNeedle) {
      using large = found
      yield* large.readRange(range, signal)
      return
    }
    checkRange(range, found.data.length)
    yield found.data.subarray(range.start, range.end)
  }

  /**
   * The needle as it is on the disk, read to its end and checked for this answer, however large.
   *
   * @throws {StoreError} DISK_FAILED, CANCELLED, CLOSED.
   */
  async statNeedle(id: NeedleId, signal: AbortSignal): Promise<NeedleStat> {
    this.#checkOpen()
    return await statNeedle(this.#generation, { id, nowMs: this.#parts.clock.nowMs() }, signal)
  }

  /**
   * All needles the index knows, deleted ones included, ids ascending, in pages. What is put or
   * deleted meanwhile may or may not be shown so.
   *
   * @throws {StoreError} CANCELLED, CLOSED.
   */
  async *listNeedles(
    signal: AbortSignal,
  ): AsyncGenerator<readonly NeedleSummary[], void, undefined> {
    this.#checkOpen()
    const ending = AbortSignal.any([signal, this.#upkeep.ending])
    yield* listSorted(this.#generation.map, ending)
  }

  /**
   * Reads everything and compares it with all checksums there are; see `scrubVolume`.
   *
   * @throws {StoreError} DISK_FAILED, CANCELLED, CLOSED.
   */
  async *scrub(
    options: ScrubOptions,
    signal: AbortSignal,
  ): AsyncGenerator<ScrubStep, void, undefined> {
    this.#checkOpen()
    const ending = AbortSignal.any([signal, this.#upkeep.ending])
    yield* scrubVolume(this.#upkeep.host, options, ending)
  }

  /**
   * What the volume says of itself from now on. Survives a power cut when this returns, and is kept
   * by seals and vacuums.
   *
   * @throws {StoreError} DISK_FULL, DISK_FAILED, CLOSED.
   */
  async setReplication(placement: ReplicaPlacement): Promise<void> {
    this.#checkOpen()
    await this.#upkeep.setReplication(placement)
  }

  /**
   * Makes the volume final: no more puts, the smallest form in memory, `.sum` complete. Deletes go
   * on. Survives a power cut when this returns; sealing twice is harmless.
   *
   * @throws {StoreError} VOLUME_FAILED, VOLUME_DAMAGED, VOLUME_BUSY, DISK_FULL, DISK_FAILED.
   */
  async seal(): Promise<void> {
    this.#checkOpen()
    await this.#upkeep.seal()
  }

  /**
   * Gives back the space of what was deleted and overwritten, while reads and writes go on. See
   * `vacuumGeneration` for what it throws; VOLUME_BUSY when one is under way.
   */
  async vacuum(options: VacuumOptions, signal: AbortSignal): Promise<VacuumResult> {
    this.#checkOpen()
    return await this.#upkeep.vacuum(options, signal)
  }

  /** What the files hold now. See `VolumeSnapshot`, which is to be disposed of. */
  async snapshot(): Promise<VolumeSnapshot> {
    this.#checkOpen()
    return await this.#upkeep.snapshot()
  }

  /**
   * What the files hold now, with all that an encoder needs to know of it. To be disposed of.
   *
   * @throws {StoreError} VERSION_UNSUPPORTED: rows of its index are too wide. CLOSED.
   */
  async codingSource(): Promise<CodingSource> {
    this.#checkOpen()
    return await this.#upkeep.codingSource()
  }

  /** Writes `.sum` now, so that the next start has nothing to scan. */
  async checkpoint(): Promise<void> {
    this.#checkOpen()
    await this.#upkeep.checkpoint()
  }

  /**
   * Closes the volume unless `refuse` says why not, and then throws what it says. It is asked
   * between two batches: no write is acknowledged after it was, and those waiting get CLOSED.
   *
   * @throws {StoreError} CLOSED; VOLUME_BUSY: a vacuum is under way.
   */
  async closeUnless(refuse: () => StoreError | undefined): Promise<void> {
    this.#checkOpen()
    await this.#writer.between(async () => {
      this.#checkOpen()
      const refusal = this.#upkeep.isVacuuming ? busy(this.paths) : refuse()
      if (refusal !== undefined) throw refusal
      this.#condition.leave(this.#closedError())
      this.#closing = this.#close()
    })
    await this.#closing
  }

  /** Answers what was submitted, leaves the files complete and closes them. Twice is harmless. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#upkeep.close()
    await this.#generation[Symbol.asyncDispose]()
  }

  get #generation(): Generation {
    return this.#current.generation
  }

  #submitPut(
    put: Pick<PendingPut, 'needle' | 'spool' | 'isHeal'>,
    signal: AbortSignal,
  ): Promise<PutResult> {
    const { needle, spool, isHeal } = put
    const { id } = needle
    return new Promise((resolve, reject) => {
      this.#writer.submit({ kind: 'put', id, needle, spool, isHeal, signal, resolve, reject })
    })
  }

  #withDefaults(attributes: NeedleAttributes): NeedleAttributes {
    const { ttl } = this.superBlock
    return {
      ...attributes,
      lastModifiedS: attributes.lastModifiedS ?? Math.floor(this.#parts.clock.nowMs() / 1000),
      ttl: attributes.ttl ?? (ttl.count > 0 ? ttl : undefined),
    }
  }

  #onRequest(): void {
    this.#checkOpen()
    this.#requestCount++
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw this.#closedError()
  }

  #closedError(): StoreError {
    return new StoreError('CLOSED', `volume ${this.paths.base} is closed`)
  }

  #writerHost(): WriterHost {
    return {
      generation: () => this.#generation,
      refuseWrite: () => this.#condition.refuseWrite(),
      refusePut: (bytes, isHeal) => this.#condition.refusePut(bytes, isHeal),
      unpack: () => this.#upkeep.unpack(),
      onSyncFailed: (error) => this.#condition.onSyncFailed(error),
      onAppended: (bytes) => this.#upkeep.onAppended(bytes),
      makeRoom: () => this.#parts.space.makeRoom(),
      onIndexUnwritten: (error) => {
        const fields = { volume: this.paths.base, error: String(error) }
        this.#parts.logger.warn('volume.index_unwritten', fields)
      },
    }
  }
}
