import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { KeyedMutex } from '../runtime/keyed-mutex.ts'
import type { Logger } from '../runtime/logger.ts'
import { endOf } from './master-rows.ts'
import {
  decodeVolume,
  encodeVolume,
  VOLUME_PREFIX,
  type VolumeRecord,
  volumeKey,
  volumeOfKey,
} from './volume-rows.ts'

export interface VolumeRecordsParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: Logger
}

/** What was learnt from heartbeats waits so long for more of it, and is written with it. */
const SAVE_DELAY_MS = 1000
const SAVE_RETRY_MS = 10_000
const ROWS_PER_COMMIT = 1000

const NO_SIGNAL = new AbortController().signal

/**
 * The rows of volumes, all in memory. Decisions are durable before they count (`change`); what can
 * be learnt again from the next heartbeat counts at once and is written soon after (`putSoon`).
 */
export class VolumeRecords implements AsyncDisposable {
  readonly #parts: VolumeRecordsParts
  readonly #records = new Map<VolumeId, VolumeRecord>()
  /** Of volumes that were deleted, those deleted first in front. */
  readonly #tombstones = new Set<VolumeId>()
  /** What is stored of these is not what is in memory. */
  readonly #unsaved = new Set<VolumeId>()
  readonly #locks = new KeyedMutex<VolumeId>({ waitersMax: LIMITS.volumeChangersMax.value })
  #timer: Disposable | undefined
  #saving: Promise<void> | undefined
  #isClosed = false

  private constructor(parts: VolumeRecordsParts) {
    this.#parts = parts
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(parts: VolumeRecordsParts, signal: AbortSignal): Promise<VolumeRecords> {
    const records = new VolumeRecords(parts)
    const deleted: { readonly id: VolumeId; readonly deletedAtMs: number }[] = []
    const range = { gte: VOLUME_PREFIX, lt: endOf(VOLUME_PREFIX) }
    for await (const { key, value } of parts.store.scan(range, signal)) {
      const id = volumeOfKey(key)
      const record = decodeVolume(key, value)
      records.#records.set(id, record)
      if (record.deletedAtMs > 0) deleted.push({ id, deletedAtMs: record.deletedAtMs })
    }
    deleted.sort((a, b) => a.deletedAtMs - b.deletedAtMs)
    for (const { id } of deleted) records.#tombstones.add(id)
    return records
  }

  /** Those of deleted volumes as well. */
  get ids(): Iterable<VolumeId> {
    return this.#records.keys()
  }

  get(id: VolumeId): VolumeRecord | undefined {
    return this.#records.get(id)
  }

  /** Counts at once; a crash within the next seconds may lose it. */
  putSoon(id: VolumeId, record: VolumeRecord): void {
    this.#set(id, record)
    this.#saveLater(id)
  }

  /**
   * Alters the records of these volumes: all of it or nothing, durable before it counts. `alter`
   * runs again when something was learnt meanwhile, and must come to the same decision; what it
   * throws the first time changes nothing.
   *
   * @throws {StoreError} OVERLOADED; the errors of the store; CANCELLED: nothing was changed.
   */
  async change(
    ids: readonly VolumeId[],
    alter: (record: VolumeRecord | undefined, id: VolumeId) => VolumeRecord,
    signal: AbortSignal,
  ): Promise<void> {
    await using locks = new DisposeStack()
    // In one order, so that two calls never wait for each other.
    for (const id of [...ids].sort((a, b) => a - b)) {
      locks.use(await this.#locks.acquire(id, signal))
    }
    const changes = ids.map((id) => {
      const before = this.#records.get(id)
      return { id, before, after: alter(before, id) }
    })
    const puts = changes.map(({ id, after }) => ({
      key: volumeKey(id),
      value: encodeVolume(after),
    }))
    try {
      if (puts.length > 0) await this.#parts.store.commit({ puts }, signal)
    } catch (error) {
      // Nobody knows what is on disk now: what was there before is written again.
      if (!isStoreError(error, 'CANCELLED')) for (const id of ids) this.#saveLater(id)
      throw error
    }
    for (const { id, before, after } of changes) {
      const latest = this.#records.get(id)
      this.#set(id, latest === before ? after : alter(latest, id))
      if (latest !== before) this.#saveLater(id)
    }
  }

  /** Writes what was learnt and not written. A failure is logged, and tried again later. */
  async save(): Promise<void> {
    await this.#saving
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = undefined
    })
    await this.#saving
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return
    this.#timer?.[Symbol.dispose]()
    await this.save()
    this.#isClosed = true
    this.#timer?.[Symbol.dispose]()
  }

  #set(id: VolumeId, record: VolumeRecord): void {
    this.#records.set(id, record)
    if (record.deletedAtMs === 0) return
    this.#tombstones.add(id)
    for (const oldest of this.#tombstones) {
      if (this.#tombstones.size <= LIMITS.deletedVolumesKept.value) return
      this.#tombstones.delete(oldest)
      this.#records.delete(oldest)
      this.#saveLater(oldest)
    }
  }

  #saveLater(id: VolumeId, delayMs = SAVE_DELAY_MS): void {
    this.#unsaved.add(id)
    if (this.#isClosed) return
    this.#timer ??= this.#parts.clock.after(delayMs, () => {
      this.#timer = undefined
      void this.save()
    })
  }

  async #saveAll(): Promise<void> {
    // One that is being changed is written by that; if that fails, it is here again.
    const ids = [...this.#unsaved].filter((id) => !this.#locks.isHeld(id))
    for (let at = 0; at < ids.length; at += ROWS_PER_COMMIT) {
      const some = ids.slice(at, at + ROWS_PER_COMMIT).filter((id) => !this.#locks.isHeld(id))
      if (!(await this.#saveSome(some))) return
    }
    for (const id of this.#unsaved) {
      this.#saveLater(id)
      return
    }
  }

  async #saveSome(ids: readonly VolumeId[]): Promise<boolean> {
    const puts: { readonly key: string; readonly value: Uint8Array }[] = []
    const deletes: string[] = []
    for (const id of ids) {
      this.#unsaved.delete(id)
      const record = this.#records.get(id)
      if (record === undefined) deletes.push(volumeKey(id))
      else puts.push({ key: volumeKey(id), value: encodeVolume(record) })
    }
    try {
      if (ids.length > 0) await this.#parts.store.commit({ puts, deletes }, NO_SIGNAL)
      return true
    } catch (error) {
      this.#parts.logger.error('master.volume_rows_not_written', { count: ids.length, error })
      for (const id of ids) this.#saveLater(id, SAVE_RETRY_MS)
      return false
    }
  }
}
