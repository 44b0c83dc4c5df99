import { LIMITS } from '../base/limits.ts'
import { parseReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import {
  type Needle,
  type NeedleInput,
  prepareNeedle,
  prepareSpooledNeedle,
} from '../format/needle.ts'
import type { NeedleAttributes } from '../format/needle-attributes.ts'
import type { SuperBlock } from '../format/super-block.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { Checkpointer, type CheckpointHost } from './checkpointer.ts'
import { FailureMark } from './failure-mark.ts'
import type { Generation, SharedGeneration } from './generation.ts'
import type { NeedleEntries } from './needle-map.ts'
import { checkRange, LargeNeedle, type NeedleRequest } from './needle-reader.ts'
import { PackedNeedleMap } from './packed-needle-map.ts'
import type { DeleteResult, PutResult } from './pending-write.ts'
import type { ReadBuffer } from './read-buffer.ts'
import type { RecoveryReport } from './recovery.ts'
import { logRecovery } from './recovery-log.ts'
import { SpooledBody } from './spool.ts'
import {
  checkVacuumSpace,
  type VacuumHost,
  type VacuumOptions,
  type VacuumResult,
  vacuumGeneration,
} from './vacuum.ts'
import { busy, damaged, failedBefore, sealed, wideOffsets } from './volume-errors.ts'
import {
  createVolumeFiles,
  discardNewFiles,
  markSealed,
  type OpenedFiles,
  openVolumeFiles,
} from './volume-open.ts'
import type { VolumeOptions, VolumeParts, VolumeState, VolumeStats } from './volume-options.ts'
import type { VolumePaths } from './volume-paths.ts'
import { type ReadRequest, VolumeReader } from './volume-reader.ts'
import { VolumeSnapshot } from './volume-snapshot.ts'
import { VolumeWriter, type WriterHost } from './volume-writer.ts'

/** Start offsets stay below 32 GiB, with room for the batch under way. */
const DAT_END_MAX_BYTES = LIMITS.volumeSizeMax.value - 4 * LIMITS.batchBytesMax.value

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
  readonly #options: VolumeOptions
  readonly #writer: VolumeWriter
  readonly #checkpointer: Checkpointer
  readonly #reader: VolumeReader
  #generation: Generation
  #info: OpenedFiles['info']
  #isSealed: boolean
  #failure: StoreError | undefined
  readonly #mark: FailureMark
  /** The switch of a vacuum stopped half-way: its files wait for the next start. */
  #isHalfSwitched = false
  #vacuuming: Promise<VacuumResult> | undefined
  readonly #stop = new AbortController()
  #closing: Promise<void> | undefined
  #spoolCount = 0
  #syncTimer: Disposable | undefined

  private constructor(
    parts: VolumeParts,
    paths: VolumePaths,
    opened: OpenedFiles,
    options: VolumeOptions,
  ) {
    this.#parts = parts
    this.paths = paths
    this.#options = options
    this.#generation = opened.generation
    this.#info = opened.info
    this.recovery = opened.report
    this.#isSealed = opened.info.readOnly || opened.report.wasSealed
    if (opened.failure !== undefined) this.#failure = failedBefore(paths, opened.failure)
    this.#writer = new VolumeWriter(
      { host: this.#writerHost(), clock: parts.clock },
      { isSynced: options.durability.mode === 'fsync' },
    )
    this.#mark = new FailureMark({ ...parts, paths })
    this.#reader = new VolumeReader(parts, paths.base)
    this.#checkpointer = new Checkpointer({ ...parts, paths, host: this.#fileHost() })
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
    if (volume.#isSealed) await volume.#pack()
    // What was just found out should not have to be found out again.
    const { hadSidecar, indexRebuilt, tailNeedles, damage } = opened.report
    const isNew = !hadSidecar || indexRebuilt !== undefined || tailNeedles > 0
    const isSound = damage === undefined && opened.failure === undefined
    const isOurs = isSound && !opened.generation.log.isReadOnly
    // A `.vif` that was lost or altered since says so again.
    if (isOurs && volume.#isSealed) volume.#info = await markSealed(parts.disk, paths, opened.info)
    if (isNew && isOurs) await volume.#checkpointOrWarn(false)
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
    if (this.#closing !== undefined) return 'closed'
    if (this.#failure !== undefined) return 'failed'
    if (this.recovery.damage !== undefined) return 'damaged'
    if (this.#generation.version !== 3 || this.#generation.log.isReadOnly) return 'read-only'
    return this.#isSealed ? 'sealed' : 'writable'
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
    const { replication } = this.#info
    if (replication === '') return this.superBlock.replicaPlacement
    return parseReplicaPlacement(replication)
  }

  get stats(): VolumeStats {
    const generation = this.#generation
    return {
      state: this.state,
      reason: this.#failure?.message ?? this.recovery.damage,
      liveNeedles: generation.map.liveCount,
      liveBytes: generation.map.liveBytes,
      garbageBytes: generation.garbageBytes,
      datBytes: generation.endBytes,
      indexMemoryBytes: generation.map.memoryBytes,
      compactionRevision: generation.superBlock.compactionRevision,
      modifiedAtS: Number(generation.clock.lastNs / 1_000_000_000n),
      highestNeedleId: generation.map.highestId,
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
   * @throws {StoreError} NEEDLE_TOO_LARGE, NEEDLE_INVALID, COOKIE_MISMATCH, VOLUME_FULL,
   * VOLUME_SEALED, VOLUME_FAILED, VOLUME_DAMAGED, DISK_FULL, DISK_FAILED, OVERLOADED, CANCELLED,
   * CLOSED. After any of these but VOLUME_FAILED the old needle is what it was.
   */
  async put(input: NeedleInput, signal: AbortSignal): Promise<PutResult> {
    this.#checkOpen()
    const attributes = this.#withDefaults(input.attributes)
    const needle = prepareNeedle({ ...input, attributes })
    return new Promise((resolve, reject) => {
      const { id } = needle
      this.#writer.submit({ kind: 'put', id, needle, spool: undefined, signal, resolve, reject })
    })
  }

  /** As `put`, for a body of unknown length that is never held in memory whole. */
  async putStream(
    input: Omit<NeedleInput, 'data'>,
    source: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<PutResult> {
    this.#checkOpen()
    const refusal = this.#refuseWrite() ?? this.#refusePut(0)
    if (refusal !== undefined) throw refusal
    const path = `${this.paths.base}.spool-${this.#spoolCount++}`
    await using body = await SpooledBody.collect(source, { disk: this.#parts.disk, path }, signal)
    // The body may have taken hours to arrive.
    this.#checkOpen()
    const attributes = this.#withDefaults(input.attributes)
    const { data, dataBytes, checksum } = body
    const needle = prepareSpooledNeedle({ ...input, data, dataBytes, checksum, attributes })
    return await new Promise<PutResult>((resolve, reject) => {
      const { id } = needle
      this.#writer.submit({ kind: 'put', id, needle, spool: body.file, signal, resolve, reject })
    })
  }

  /**
   * Deletes a needle; durable when this returns. One that is not there is no error.
   *
   * @throws {StoreError} COOKIE_MISMATCH, VOLUME_FAILED, VOLUME_DAMAGED, DISK_FULL, OVERLOADED,
   * CANCELLED, CLOSED.
   */
  async delete(request: NeedleRequest, signal: AbortSignal): Promise<DeleteResult> {
    this.#checkOpen()
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
    this.#checkOpen()
    return this.#reader.readWarm(this.#generation, request, into)
  }

  /**
   * A needle of up to `request.wholeBytesMax` whole; a larger one to be streamed, and disposed of.
   *
   * @throws {StoreError} NEEDLE_NOT_FOUND: never stored, deleted, or its time is over.
   * COOKIE_MISMATCH, NEEDLE_CORRUPT, DISK_FAILED, CLOSED.
   */
  async read(request: ReadRequest): Promise<Needle | LargeNeedle> {
    this.#checkOpen()
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
   * Makes the volume final: no more puts, the smallest form in memory, `.sum` complete. Deletes go
   * on. Survives a power cut when this returns; sealing twice is harmless.
   *
   * @throws {StoreError} VOLUME_FAILED, VOLUME_DAMAGED, VOLUME_BUSY, DISK_FULL, DISK_FAILED.
   */
  async seal(): Promise<void> {
    this.#checkOpen()
    if (this.#vacuuming !== undefined) throw busy(this.paths)
    this.#checkWritable()
    await this.#writer.between(async () => {
      this.#info = await markSealed(this.#parts.disk, this.paths, this.#info)
      this.#isSealed = true
    })
    await this.#checkpointer.run({ isClean: false })
    await this.#writer.between(() => this.#pack())
  }

  /**
   * Gives back the space of what was deleted and overwritten, while reads and writes go on. See
   * `vacuumGeneration` for what it throws; VOLUME_BUSY when one is under way.
   */
  async vacuum(options: VacuumOptions, signal: AbortSignal): Promise<VacuumResult> {
    this.#checkOpen()
    if (this.#vacuuming !== undefined) throw busy(this.paths)
    const { damage } = this.recovery
    if (damage !== undefined) throw damaged(this.paths, damage)
    if (this.#generation.log.isReadOnly) throw wideOffsets(this.paths)
    if (this.#isHalfSwitched && this.#failure !== undefined) throw this.#failure
    const running = this.#vacuum(options, AbortSignal.any([signal, this.#stop.signal]))
    this.#vacuuming = running
    try {
      return await running
    } finally {
      this.#vacuuming = undefined
    }
  }

  /** What the files hold now. See `VolumeSnapshot`, which is to be disposed of. */
  async snapshot(): Promise<VolumeSnapshot> {
    this.#checkOpen()
    return await this.#writer.between(() =>
      VolumeSnapshot.take(this.#generation, this.#info, this.#isSealed, this.#stop.signal),
    )
  }

  /** Writes `.sum` now, so that the next start has nothing to scan. */
  async checkpoint(): Promise<void> {
    this.#checkOpen()
    this.#checkWritable()
    await this.#checkpointer.run({ isClean: false })
  }

  /** Answers what was submitted, leaves the files complete and closes them. Twice is harmless. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#stop.abort()
    await this.#vacuuming?.catch(() => 'whoever asked for it is told')
    await this.#writer.drain()
    this.#checkpointer[Symbol.dispose]()
    this.#syncTimer?.[Symbol.dispose]()
    if (this.#refuseWrite() === undefined) await this.#checkpointOrWarn(true)
    await this.#mark.settled()
    await this.#generation[Symbol.asyncDispose]()
  }

  /** Without the checkpoint the next start has more to scan; nothing else is lost. */
  async #checkpointOrWarn(isClean: boolean): Promise<void> {
    try {
      await this.#checkpointer.run({ isClean })
    } catch (error) {
      const fields = { ...this.#name, error: String(error) }
      this.#parts.logger.warn('volume.checkpoint_failed', fields)
    }
  }

  async #vacuum(options: VacuumOptions, signal: AbortSignal): Promise<VacuumResult> {
    await checkVacuumSpace(this.#parts.disk, this.paths, this.#generation)
    // The switch removes the mark; it must not appear after that.
    await this.#mark.settled()
    const result = await vacuumGeneration(this.#fileHost(), options, signal)
    if (this.#isSealed) await this.#writer.between(() => this.#pack())
    return result
  }

  /** Only while nothing is written: a delete meanwhile would be lost. */
  async #pack(): Promise<void> {
    const { map, version } = this.#generation
    this.#generation.map = await PackedNeedleMap.build(map, { version, yieldTurn })
  }

  #withDefaults(attributes: NeedleAttributes): NeedleAttributes {
    const { ttl } = this.superBlock
    return {
      ...attributes,
      lastModifiedS: attributes.lastModifiedS ?? Math.floor(this.#parts.clock.nowMs() / 1000),
      ttl: attributes.ttl ?? (ttl.count > 0 ? ttl : undefined),
    }
  }

  #checkOpen(): void {
    if (this.#closing === undefined) return
    throw new StoreError('CLOSED', `volume ${this.paths.base} is closed`)
  }

  #checkWritable(): void {
    const refusal = this.#refuseWrite()
    if (refusal !== undefined) throw refusal
  }

  #refuseWrite(): StoreError | undefined {
    if (this.#failure !== undefined) return this.#failure
    const { damage } = this.recovery
    if (damage !== undefined) return damaged(this.paths, damage)
    if (this.#generation.log.isReadOnly) return wideOffsets(this.paths)
    const isOld = this.#generation.version !== 3
    if (isOld) return sealed(this.paths, 'has an old format; a vacuum makes it writable')
    if (this.#generation.endBytes < DAT_END_MAX_BYTES) return undefined
    return new StoreError('VOLUME_FULL', `${this.paths.dat} cannot grow any more`)
  }

  #refusePut(recordLength: number): StoreError | undefined {
    if (this.#isSealed) return sealed(this.paths, 'is sealed')
    const { endBytes } = this.#generation
    const isFull =
      endBytes >= this.#options.sizeMaxBytes || endBytes + recordLength > DAT_END_MAX_BYTES
    if (!isFull) return this.#parts.space.refusePut(recordLength)
    return new StoreError('VOLUME_FULL', `${this.paths.dat} has reached ${endBytes} bytes`)
  }

  #onSyncFailed(error: unknown): StoreError {
    this.#failure ??= new StoreError(
      'VOLUME_FAILED',
      `${this.paths.base}: what the disk holds is unknown since ${String(error)}`,
      { cause: error },
    )
    this.#parts.logger.error('volume.failed', { ...this.#name, error: String(error) })
    this.#mark.write(error)
    return this.#failure
  }

  #onSwitchFailed(error: unknown): StoreError {
    this.#isHalfSwitched = true
    return this.#onSyncFailed(error)
  }

  #onAppended(bytes: number): void {
    this.#checkpointer.onAppended(bytes)
    this.#parts.space.onAppended(bytes)
    const { durability } = this.#options
    if (durability.mode !== 'interval' || this.#syncTimer !== undefined) return
    this.#syncTimer = this.#parts.clock.after(durability.intervalMs, () => {
      this.#syncTimer = undefined
      const { dat } = this.#generation
      dat.datasync().catch((error: unknown) => this.#onSyncFailed(error))
    })
  }

  get #name(): { readonly volume: string } {
    return { volume: this.paths.base }
  }

  #writerHost(): WriterHost {
    return {
      generation: () => this.#generation,
      refuseWrite: () => this.#refuseWrite(),
      refusePut: (bytes) => this.#refusePut(bytes),
      onSyncFailed: (error) => this.#onSyncFailed(error),
      onAppended: (bytes) => this.#onAppended(bytes),
      makeRoom: () => this.#parts.space.makeRoom(),
      onIndexUnwritten: (error) => {
        this.#parts.logger.warn('volume.index_unwritten', { ...this.#name, error: String(error) })
      },
    }
  }

  /** The volume as checkpoints and vacuum see it. */
  #fileHost(): VacuumHost & CheckpointHost {
    return {
      disk: this.#parts.disk,
      logger: this.#parts.logger,
      paths: this.paths,
      isSealed: () => this.#isSealed,
      replicaPlacement: () => this.replicaPlacement,
      nowMs: () => this.#parts.clock.nowMs(),
      generation: () => this.#generation,
      between: (step) => this.#writer.between(step),
      hold: (step) => this.#checkpointer.hold(step),
      install: (next) => this.#install(next),
      onSwitchFailed: (error) => this.#onSwitchFailed(error),
      syncDat: (generation) => this.#syncDat(generation),
    }
  }

  #install(next: Generation): void {
    this.#generation.retire()
    this.#generation = next
    // The files the failed sync was about are gone, and these were synced and read back.
    this.#failure = undefined
  }

  async #syncDat(generation: Generation): Promise<void> {
    if (this.#options.durability.mode === 'fsync') return
    // After a failed sync a second one may succeed, and means nothing; also if it came meanwhile.
    if (this.#failure !== undefined) throw this.#failure
    try {
      await generation.dat.datasync()
    } catch (error) {
      throw this.#onSyncFailed(error)
    }
    if (this.#failure !== undefined) throw this.#failure
  }
}
