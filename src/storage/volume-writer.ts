import { formatNeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import { BatchBuffer } from './batch-buffer.ts'
import type { Generation } from './generation.ts'
import { appendLargeNeedle, writeAt } from './large-append.ts'
import type { NeedleLocation } from './needle-map.ts'
import type { BatchEntry, PendingDelete, PendingPut, PendingWrite } from './pending-write.ts'
import { checkDelete, checkHeal, checkPutOverStored } from './write-check.ts'

/** The least that a disk writes in one piece. */
const SECTOR_BYTES = 512
/** Records begin at multiples of 8, so a header lies across two sectors by halves, if at all. */
const HALF_HEADER_BYTES = 8

/** What the writer asks of the volume it writes for. */
export interface WriterHost {
  generation(): Generation
  /** Why a record of this many bytes may not be put; undefined when it may. */
  refusePut(recordBytes: number, isHeal: boolean): StoreError | undefined
  /** Makes a map of it that takes needles, for one that heals a sealed volume. */
  unpack(): Promise<void>
  /** Why nothing may be written at all. */
  refuseWrite(): StoreError | undefined
  /** A sync failed: what the disk holds is unknown from here on. */
  onSyncFailed(error: unknown): StoreError
  /** Rows could not be written to `.idx`; they wait, and `.dat` has all they say. */
  readonly onIndexUnwritten: (error: unknown) => void
  onAppended(recordBytes: number): void
  /** Frees some held space on a full disk; false when there is none. */
  makeRoom(): Promise<boolean>
}

export interface WriterOptions {
  /** Sync before acknowledging. */
  readonly isSynced: boolean
}

/**
 * The one writer of a volume: group commit. Writes wait in a line; whatever waits when the disk is
 * free becomes one batch: one write, one sync, then all of it is published and answered. While the
 * disk works the next batch collects, so load makes the batches and no timer is needed.
 *
 *     submit ──> line ──(turn ends)──> check ──> writev ──> fdatasync ──> map, .idx row ──> answer
 *                 '── bounded: OVERLOADED      '── fails: cut back      '── fails: volume fails
 */
export class VolumeWriter {
  readonly #host: WriterHost
  readonly #clock: Clock
  readonly #options: WriterOptions
  readonly #buffer = new BatchBuffer()
  #line: PendingWrite[] = []
  #lineBytes = 0
  #between: (() => Promise<void>)[] = []
  #batchCount = 0
  #isRunning = false
  #wasStep = false

  constructor(parts: { readonly host: WriterHost; readonly clock: Clock }, options: WriterOptions) {
    this.#host = parts.host
    this.#clock = parts.clock
    this.#options = options
  }

  get counts(): { readonly queueDepth: number; readonly batchCount: number } {
    return { queueDepth: this.#line.length, batchCount: this.#batchCount }
  }

  submit(write: PendingWrite): void {
    if (this.#line.length >= LIMITS.queuedWritesMax.value) {
      write.reject(new StoreError('OVERLOADED', `${this.#line.length} writes wait already`))
      return
    }
    const bytes = write.kind === 'put' ? write.needle.data.length : 0
    // One write alone is let in whatever its size, or it could never be.
    const isTooMuch = this.#lineBytes + bytes > LIMITS.queuedWriteBytesMax.value
    if (bytes > 0 && this.#lineBytes > 0 && isTooMuch) {
      write.reject(new StoreError('OVERLOADED', `${this.#lineBytes} bytes wait already`))
      return
    }
    this.#lineBytes += bytes
    this.#line.push(write)
    this.#wake()
  }

  /** Runs `step` between two batches: nothing is written meanwhile. */
  between<Result>(step: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#between.push(() => step().then(resolve, reject))
      this.#wake()
    })
  }

  /** When this resolves, every write submitted before has been answered. */
  async drain(): Promise<void> {
    while (this.#line.length > 0) await this.between(async () => undefined)
    await this.between(async () => undefined)
  }

  #wake(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    // At the end of the turn: everything this turn submits shares one batch.
    setImmediate(() => void this.#run())
  }

  async #run(): Promise<void> {
    // By turns: neither steps nor writes may keep the others waiting for ever.
    const isStepTurn = this.#line.length === 0 || !this.#wasStep
    const step = isStepTurn ? this.#between.shift() : undefined
    this.#wasStep = step !== undefined
    if (step !== undefined) await step()
    else await this.#runBatch()
    this.#isRunning = false
    if (this.#line.length > 0 || this.#between.length > 0) this.#wake()
  }

  async #runBatch(): Promise<void> {
    const writes = this.#takeWrites()
    let batch: BatchEntry[] = []
    try {
      const forming = this.#formBatch(writes)
      batch = Array.isArray(forming) ? forming : await forming
      if (batch.length > 0) await this.#commit(batch)
    } catch (error) {
      if (isStoreError(error, 'DISK_FULL')) await this.#deleteOnFullDisk(batch)
      // Settled promises ignore this: only writes without an answer get the error.
      for (const write of writes) write.reject(error)
    }
  }

  /** A full disk still deletes: without the puts of its batch, and with the space kept for it. */
  async #deleteOnFullDisk(batch: readonly BatchEntry[]): Promise<void> {
    const deletes = batch.filter((entry) => entry.kind === 'delete')
    if (deletes.length === 0) return
    try {
      if (deletes.length === batch.length) await this.#makeRoom()
      await this.#commit(deletes)
    } catch (error) {
      if (isStoreError(error, 'DISK_FULL') && (await this.#makeRoom())) {
        await this.#commit(deletes).catch(() => 'the writes get the first error')
      }
    }
  }

  /** Without the room the writes fail as they would have anyway. */
  async #makeRoom(): Promise<boolean> {
    return this.#host.makeRoom().catch(() => false)
  }

  /**
   * Takes from the line what may share a batch. Two writes to one id may not: the second is
   * checked against what the first leaves. Ids are told apart by their low half, which is enough.
   */
  #takeWrites(): PendingWrite[] {
    const taken: PendingWrite[] = []
    const left: PendingWrite[] = []
    const ids = new Set<number>()
    let bytes = 0
    let isFull = false
    for (const write of this.#line) {
      const size = write.kind === 'put' ? write.needle.recordBytes : 0
      const isLarge = size > LIMITS.batchBytesMax.value
      isFull ||= taken.length === LIMITS.batchNeedlesMax.value || (isLarge && taken.length > 0)
      isFull ||= bytes + size > LIMITS.batchBytesMax.value && taken.length > 0
      if (isFull || ids.has(write.id.lo)) left.push(write)
      else taken.push(write)
      ids.add(write.id.lo)
      bytes += size
      isFull ||= isLarge
    }
    this.#line = left
    for (const write of taken) if (write.kind === 'put') this.#lineBytes -= write.needle.data.length
    return taken
  }

  /** Checks each write; without a known id among them this needs no disk and no waiting. */
  #formBatch(writes: readonly PendingWrite[]): BatchEntry[] | Promise<BatchEntry[]> {
    const batch: BatchEntry[] = []
    const checks: Promise<BatchEntry | undefined>[] = []
    for (const write of writes) {
      const entry = this.#check(write)
      if (entry instanceof Promise) checks.push(entry.catch((error) => refuse(write, error)))
      else if (entry !== undefined) batch.push(entry)
    }
    if (checks.length === 0) return batch
    return Promise.all(checks).then((entries) => {
      for (const entry of entries) if (entry !== undefined) batch.push(entry)
      return batch
    })
  }

  #check(write: PendingWrite): BatchEntry | undefined | Promise<BatchEntry | undefined> {
    const refusal = write.signal.aborted
      ? new StoreError('CANCELLED', `the write of needle ${formatNeedleId(write.id)} was cancelled`)
      : this.#host.refuseWrite()
    if (refusal !== undefined) {
      write.reject(refusal)
      return undefined
    }
    const generation = this.#host.generation()
    const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
    const isKnown = generation.map.lookup(write.id, location)
    if (write.kind === 'delete') return this.#checkDelete(generation, write, isKnown, location)
    return this.#checkPut(generation, write, isKnown, location)
  }

  #checkPut(
    generation: Generation,
    put: PendingPut,
    isKnown: boolean,
    location: NeedleLocation,
  ): BatchEntry | undefined | Promise<BatchEntry | undefined> {
    const { recordBytes } = put.needle
    const refusal = this.#host.refusePut(recordBytes, put.isHeal)
    if (refusal !== undefined) {
      put.reject(refusal)
      return undefined
    }
    if (put.isHeal) return this.#checkHeal(generation, put, isKnown ? location : undefined)
    if (isKnown) return checkPutOverStored(generation, put, location)
    return { kind: 'put', write: put, recordBytes }
  }

  async #checkHeal(
    generation: Generation,
    put: PendingPut,
    location: NeedleLocation | undefined,
  ): Promise<BatchEntry | undefined> {
    const entry = await checkHeal(generation, put, location)
    if (entry !== undefined) await this.#host.unpack()
    return entry
  }

  #checkDelete(
    generation: Generation,
    write: PendingDelete,
    isKnown: boolean,
    location: NeedleLocation,
  ): undefined | Promise<BatchEntry | undefined> {
    if (isKnown && !location.isDeleted) return checkDelete(generation, write, location)
    write.resolve({ wasLive: false, freedBytes: 0 })
    return undefined
  }

  async #commit(batch: readonly BatchEntry[]): Promise<void> {
    const generation = this.#host.generation()
    const startBytes = generation.endBytes
    const mark = generation.checksums.mark()
    generation.clock.advanceTo(this.#clock.nowMs())
    try {
      await this.#write(generation, batch)
      await this.#sync(generation)
    } catch (error) {
      generation.checksums.rollBack(mark)
      await this.#cutBack(generation, startBytes)
      throw error
    }
    this.#publish(generation, batch, startBytes)
    if (generation.log.isFull) await generation.log.flush().catch(this.#host.onIndexUnwritten)
  }

  async #write(generation: Generation, batch: readonly BatchEntry[]): Promise<void> {
    const first = batch[0]
    if (first?.kind === 'put' && first.recordBytes > LIMITS.batchBytesMax.value) {
      await appendLargeNeedle(generation, first.write, () => this.#sync(generation))
      return
    }
    const { buffers, totalBytes } = this.#buffer.encode(batch, generation.clock)
    await this.#syncHalfHeader(generation, buffers)
    const writing = writeAt(generation.dat, buffers, totalBytes, generation.endBytes)
    // Meanwhile: what is written through the thread pool takes as long. A failure is rolled back.
    for (const buffer of buffers) generation.checksums.extend(buffer)
    await writing
  }

  /**
   * A disk writes sectors in any order, and no checksum covers a header. Where the first one of a
   * batch lies across two sectors, a power cut might keep its second half alone: a put or a
   * deletion of another id that looks whole. So there the first half goes ahead. One batch in 64
   * pays for it.
   */
  async #syncHalfHeader(generation: Generation, buffers: readonly Uint8Array[]): Promise<void> {
    const { endBytes, dat } = generation
    const [first] = buffers
    const isAcross = endBytes % SECTOR_BYTES === SECTOR_BYTES - HALF_HEADER_BYTES
    if (!isAcross || !this.#options.isSynced || first === undefined) return
    await writeAt(dat, [first.subarray(0, HALF_HEADER_BYTES)], HALF_HEADER_BYTES, endBytes)
    await this.#sync(generation)
  }

  /**
   * Takes back what a failed write left behind the last acknowledged record. Synced, or a power cut
   * could bring back a put after its failure was answered, even after a delete found nothing there.
   */
  async #cutBack(generation: Generation, startBytes: number): Promise<void> {
    // After a failed sync the file is left as it is, for whoever examines it.
    if (this.#host.refuseWrite() !== undefined) return
    try {
      await generation.dat.truncate(startBytes)
      await generation.dat.datasync()
    } catch (error) {
      throw this.#host.onSyncFailed(error)
    }
  }

  async #sync(generation: Generation): Promise<void> {
    if (!this.#options.isSynced) return
    try {
      await generation.dat.datasync()
    } catch (error) {
      // Never tried again: the system may have dropped the pages and call the next sync a success.
      throw this.#host.onSyncFailed(error)
    }
  }

  #publish(generation: Generation, batch: readonly BatchEntry[], startBytes: number): void {
    const { map, log } = generation
    this.#batchCount++
    let at = startBytes
    for (const entry of batch) {
      const { write } = entry
      if (entry.kind === 'put') {
        const { sizeBytes } = entry.write.needle
        map.put(write.id, at, sizeBytes)
        log.put(write.id, at, sizeBytes)
      } else {
        map.delete(write.id, at)
        log.delete(write.id, at)
      }
      at += entry.recordBytes
    }
    generation.warm.warm(startBytes, at)
    generation.endBytes = at
    this.#host.onAppended(at - startBytes)
    for (const entry of batch) answer(entry)
  }
}

/** What cannot be read concerns the write to that needle alone, not the batch. */
function refuse(write: PendingWrite, error: unknown): undefined {
  write.reject(error)
}

function answer(entry: BatchEntry): void {
  if (entry.kind === 'delete') {
    entry.write.resolve({ wasLive: true, freedBytes: entry.freedBytes })
    return
  }
  const { checksum, dataBytes } = entry.write.needle
  entry.write.resolve({ checksum, dataBytes, isUnchanged: false })
}
