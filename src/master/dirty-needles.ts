import { hex8, type NeedleId, needleId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type { DirtyNeedle } from '../net/jobs-api.ts'
import type { DirtyKind, DirtyRecord } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { BrokenLinks } from './broken-links.ts'
import { corruptRow, decodeRow, encodeRow, endOf } from './master-rows.ts'
import { volumeOfKey } from './volume-rows.ts'

/**
 * Needles that may differ between the copies of their volume. Rows of the metadata store, the ids
 * in ten digits and in sixteen hex digits:
 *
 *     master/dirty/0000000007/00000000000001a4   {kind: "put" | "delete" | "check", recordedAtMs}
 */
export const DIRTY_PREFIX = 'master/dirty/'

export interface DirtyNeedlesParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly links: Pick<BrokenLinks, 'note'>
  /** Of what was deleted nothing needs to be made equal. */
  readonly isDeleted: (volumeId: VolumeId) => boolean
}

interface Entry {
  readonly kind: DirtyKind
  readonly recordedAtMs: number
}

/** A delete wins over a put, and both over a suspicion. */
const RANKS: Readonly<Record<DirtyKind, number>> = { check: 0, put: 1, delete: 2 }

/** Rows of one commit, when a volume is forgotten. */
const DELETES_AT_ONCE = 10_000

/**
 * The durable list of needles to make equal. What is in memory is on disk, or on its way there: a
 * record whose commit failed stays in memory, where it does no harm, and its caller is told.
 */
export class DirtyNeedles {
  readonly #parts: DirtyNeedlesParts
  /** By the hex digits of the needle id. A volume is here while it has any. */
  readonly #volumes = new Map<VolumeId, Map<string, Entry>>()
  #count = 0

  private constructor(parts: DirtyNeedlesParts) {
    this.#parts = parts
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(parts: DirtyNeedlesParts, signal: AbortSignal): Promise<DirtyNeedles> {
    const dirty = new DirtyNeedles(parts)
    const range = { gte: DIRTY_PREFIX, lt: endOf(DIRTY_PREFIX) }
    for await (const { key, value } of parts.store.scan(range, signal)) {
      const volumeId = volumeOfKey(key, DIRTY_PREFIX)
      const digits = key.slice(key.lastIndexOf('/') + 1)
      if (!/^[0-9a-f]{16}$/.test(digits)) throw corruptRow(key)
      dirty.#put(volumeId, digits, decodeEntry(key, value))
    }
    return dirty
  }

  get count(): number {
    return this.#count
  }

  get volumeIds(): Iterable<VolumeId> {
    return this.#volumes.keys()
  }

  countOf(volumeId: VolumeId): number {
    return this.#volumes.get(volumeId)?.size ?? 0
  }

  /**
   * Durable when it returns. Servers that could not be reached are remembered as such, too.
   *
   * @throws {StoreError} REQUEST_INVALID: too many at once. OVERLOADED: too many in all; nothing of
   * it is recorded. The errors of the store.
   */
  async record(records: readonly DirtyRecord[], signal: AbortSignal): Promise<void> {
    const { store, clock, links, isDeleted } = this.#parts
    const atOnceMax = LIMITS.dirtyRecordsMax.value
    if (records.length > atOnceMax) {
      const message = `${records.length} records: at most ${atOnceMax} at once`
      throw new StoreError('REQUEST_INVALID', message)
    }
    for (const { reportedBy, unreached } of records) links.note(reportedBy, unreached)
    const wanted = records.filter(({ volumeId }) => !isDeleted(volumeId))
    if (this.#count + wanted.length > LIMITS.dirtyNeedlesMax.value) {
      const message = `${this.#count} needles differ between copies already`
      throw new StoreError('OVERLOADED', message)
    }
    const nowMs = clock.nowMs()
    const rows = new Map<string, MetadataRow>()
    for (const { volumeId, needleId: id, kind } of wanted) {
      const digits = digitsOf(id)
      const before = this.#volumes.get(volumeId)?.get(digits)
      const entry = merge(before, { kind, recordedAtMs: nowMs })
      this.#put(volumeId, digits, entry)
      const key = dirtyKey(volumeId, digits)
      rows.set(key, { key, value: encodeRow({ ...entry }) })
    }
    if (rows.size > 0) await store.commit({ puts: [...rows.values()] }, signal)
  }

  /** At most `LIMITS.dirtyListMax`, in the order of ids, those above `after` only. */
  async list(
    request: { readonly volumeId: VolumeId; readonly after: NeedleId | undefined },
    signal: AbortSignal,
  ): Promise<DirtyNeedle[]> {
    const { volumeId, after } = request
    if (this.countOf(volumeId) === 0) return []
    const prefix = dirtyKey(volumeId, '')
    const range = {
      // The first key above that of `after`.
      gte: after === undefined ? prefix : `${prefix}${digitsOf(after)}\0`,
      lt: endOf(prefix),
      limit: LIMITS.dirtyListMax.value,
    }
    const found: DirtyNeedle[] = []
    for await (const { key, value } of this.#parts.store.scan(range, signal)) {
      const digits = key.slice(prefix.length)
      const id = needleId(
        Number.parseInt(digits.slice(0, 8), 16),
        Number.parseInt(digits.slice(8), 16),
      )
      found.push({ needleId: id, ...decodeEntry(key, value) })
    }
    return found
  }

  /** Durable when it returns. Records made later than those given are kept. */
  async resolve(
    volumeId: VolumeId,
    needles: readonly DirtyNeedle[],
    signal: AbortSignal,
  ): Promise<void> {
    const removed = new Map<string, Entry>()
    for (const { needleId: id, recordedAtMs } of needles) {
      const digits = digitsOf(id)
      const entry = this.#volumes.get(volumeId)?.get(digits)
      if (entry === undefined || entry.recordedAtMs > recordedAtMs) continue
      removed.set(digits, entry)
      this.#remove(volumeId, digits)
    }
    if (removed.size === 0) return
    const deletes = Array.from(removed.keys(), (digits) => dirtyKey(volumeId, digits))
    try {
      await this.#parts.store.commit({ deletes }, signal)
    } catch (error) {
      for (const [digits, entry] of removed) {
        if (this.#volumes.get(volumeId)?.has(digits) !== true) this.#put(volumeId, digits, entry)
      }
      throw error
    }
  }

  /** The volume was deleted, durably: what differed in it does not matter any more. */
  async forgetVolume(volumeId: VolumeId, signal: AbortSignal): Promise<void> {
    const digits = [...(this.#volumes.get(volumeId)?.keys() ?? [])]
    for (let at = 0; at < digits.length; at += DELETES_AT_ONCE) {
      const some = digits.slice(at, at + DELETES_AT_ONCE)
      for (const each of some) this.#remove(volumeId, each)
      const deletes = some.map((each) => dirtyKey(volumeId, each))
      await this.#parts.store.commit({ deletes }, signal)
    }
  }

  #put(volumeId: VolumeId, digits: string, entry: Entry): void {
    let needles = this.#volumes.get(volumeId)
    if (needles === undefined) {
      needles = new Map()
      this.#volumes.set(volumeId, needles)
    }
    if (!needles.has(digits)) this.#count++
    needles.set(digits, entry)
  }

  #remove(volumeId: VolumeId, digits: string): void {
    const needles = this.#volumes.get(volumeId)
    if (needles?.delete(digits) !== true) return
    this.#count--
    if (needles.size === 0) this.#volumes.delete(volumeId)
  }
}

/**
 * Two records of one needle become one. A delete keeps its time, up to a millisecond, since what
 * was put under the id after it may stay; but it must be told from the record that was there.
 */
function merge(before: Entry | undefined, record: Entry): Entry {
  if (before === undefined) return record
  const recordedAtMs = Math.max(record.recordedAtMs, before.recordedAtMs + 1)
  if (RANKS[record.kind] >= RANKS[before.kind]) return { kind: record.kind, recordedAtMs }
  if (before.kind === 'delete') return { kind: 'delete', recordedAtMs: before.recordedAtMs + 1 }
  return { kind: before.kind, recordedAtMs }
}

function dirtyKey(volumeId: VolumeId, digits: string): string {
  return `${DIRTY_PREFIX}${volumeId.toString().padStart(10, '0')}/${digits}`
}

function digitsOf(id: NeedleId): string {
  return hex8(id.hi) + hex8(id.lo)
}

function decodeEntry(key: string, row: Uint8Array): Entry {
  const { kind, recordedAtMs } = decodeRow(key, row)
  const isKind = kind === 'put' || kind === 'delete' || kind === 'check'
  if (!isKind || typeof recordedAtMs !== 'number') throw corruptRow(key)
  return { kind, recordedAtMs }
}
