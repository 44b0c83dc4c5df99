import { LRUCache } from 'lru-cache'
import { formatNeedleId, type NeedleId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { DirtyKind, DirtyRecord, MasterApi } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Tally } from '../runtime/metrics.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { runHop } from './hop.ts'
import { Wakeup } from './wakeup.ts'

export interface DirtyRecordsParts {
  readonly master: Pick<MasterApi, 'recordDirty'>
  readonly clock: Clock
  readonly logger: Logger
  readonly ownUrl: () => string
  readonly counts: Readonly<Record<DirtyKind, Tally>>
}

/** A needle that may differ between the copies of its volume, as far as this server knows. */
export interface DirtyNote {
  readonly volumeId: VolumeId
  readonly needleId: NeedleId
  readonly kind: DirtyKind
  readonly unreached: readonly string[]
}

interface Waiting {
  readonly record: DirtyRecord
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** What comes together in so short a time is told together. */
const GATHER_MS = 500
const RETRY_FIRST_MS = 1_000
const RETRY_MAX_MS = 30_000
/** A bad needle that is read again and again is not told again and again. */
const TOLD_MS = 60_000
const TOLD_MAX = 10_000

/**
 * Tells the master which needles are to be made equal again. Records of one turn of the event loop,
 * and those that come while the master is being told, share one message. What could not be told is
 * told later, as far as there is room: whoever needed it to be durable has been told of the
 * failure.
 */
export class DirtyRecords implements AsyncDisposable {
  readonly #parts: DirtyRecordsParts
  readonly #stop = new AbortController()
  readonly #wakeup: Wakeup
  #queue: Waiting[] = []
  #isTelling = false
  readonly #later = new Map<string, DirtyRecord>()
  readonly #told = new LRUCache<string, number>({ max: TOLD_MAX })
  readonly #working: Promise<void>

  constructor(parts: DirtyRecordsParts) {
    this.#parts = parts
    this.#wakeup = new Wakeup(parts.clock)
    this.#working = this.#work()
  }

  /** Records that wait to be told later. */
  get laterCount(): number {
    return this.#later.size
  }

  /**
   * Durable when it returns.
   *
   * @throws {StoreError} as `MasterApi.recordDirty`; TIMEOUT: the master took too long; OVERLOADED;
   * CANCELLED: this server is closing.
   */
  async record(note: DirtyNote): Promise<void> {
    const record = { ...note, reportedBy: this.#parts.ownUrl() }
    try {
      await new Promise<void>((resolve, reject) => {
        if (this.#stop.signal.aborted) return reject(closing())
        if (this.#queue.length >= LIMITS.dirtyRecordsKept.value) return reject(tooMany())
        this.#queue.push({ record, resolve, reject })
        if (!this.#isTelling) void this.#tellAll()
      })
    } catch (error) {
      this.#keep(record)
      throw error
    }
  }

  /** Soon, and without a promise. The same needle is not told again within a minute. */
  recordLater(note: DirtyNote): void {
    const toldMs = this.#told.get(keyOf(note))
    const nowMs = this.#parts.clock.monotonicMs()
    if (toldMs !== undefined && nowMs - toldMs < TOLD_MS) return
    this.#keep({ ...note, reportedBy: this.#parts.ownUrl() })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    for (const { reject } of this.#queue.splice(0)) reject(closing())
    await this.#working
  }

  #keep(record: DirtyRecord): void {
    const key = keyOf(record)
    if (this.#later.size >= LIMITS.dirtyRecordsKept.value && !this.#later.has(key)) return
    this.#later.set(key, record)
    this.#wakeup.wake()
  }

  async #tellAll(): Promise<void> {
    this.#isTelling = true
    await yieldTurn()
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, LIMITS.dirtyRecordsMax.value)
      try {
        await this.#tell(batch.map(({ record }) => record))
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#isTelling = false
  }

  async #tell(records: readonly DirtyRecord[]): Promise<void> {
    const { master, counts, clock } = this.#parts
    const outer = this.#stop.signal
    const request = { ms: LIMITS.dirtyRecordMs.value, outer, what: 'telling the master' }
    await runHop(clock, request, ({ signal }) => master.recordDirty(records, signal))
    const nowMs = clock.monotonicMs()
    for (const record of records) {
      counts[record.kind].add(1)
      this.#told.set(keyOf(record), nowMs)
      // One that was kept for later meanwhile says the same.
      this.#later.delete(keyOf(record))
    }
  }

  async #work(): Promise<void> {
    const { clock, logger } = this.#parts
    const { signal } = this.#stop
    let delayMs = RETRY_FIRST_MS
    while (!signal.aborted) {
      if (this.#later.size === 0) await this.#wakeup.sleep(RETRY_MAX_MS, signal)
      await this.#wakeup.pause(GATHER_MS, signal)
      if (signal.aborted || this.#later.size === 0) continue
      const records = [...this.#later.values()].slice(0, LIMITS.dirtyRecordsMax.value)
      try {
        await this.#tell(records)
        delayMs = RETRY_FIRST_MS
      } catch (error) {
        if (!isStoreError(error)) logger.error('dirty.record_failed', { error })
        else logger.debug('dirty.record_refused', { error: error.message })
        await clock.sleep(delayMs, signal).catch(() => 'the loop ends')
        delayMs = Math.min(delayMs * 2, RETRY_MAX_MS)
      }
    }
  }
}

/** A needle is in it once for each kind: the master knows which of them goes before the others. */
function keyOf({ volumeId, needleId, kind }: DirtyNote): string {
  return `${volumeId},${formatNeedleId(needleId)},${kind}`
}

function closing(): StoreError {
  return new StoreError('CANCELLED', 'the server is closing')
}

function tooMany(): StoreError {
  return new StoreError('OVERLOADED', 'too many needles wait to be recorded with the master')
}
