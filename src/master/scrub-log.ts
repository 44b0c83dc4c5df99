import { crc32c } from '../base/crc32c.ts'
import type { VolumeId } from '../base/ids.ts'
import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type { ScrubNote, VolumeFacts } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { queueOf, RISK } from './assess.ts'
import type { QueueRequest } from './job-record.ts'
import { decodeFields, numberOf, SCRUB_PREFIX } from './job-rows.ts'
import { corruptRow, encodeRow, endOf } from './master-rows.ts'
import { volumeOfKey } from './volume-rows.ts'

export interface ScrubLogParts {
  readonly store: MetadataStore
  readonly clock: Clock
}

/** When a copy was checked, all by the wall clock. */
interface ScrubRecord {
  readonly seenAtMs: number
  /** 0: never. */
  readonly checkedAtMs: number
  readonly damageCount: number
}

export interface ScrubFigures {
  /** Age of the oldest check of a copy; of one never checked, its own. */
  readonly ageMaxMs: number
  readonly ageP95Ms: number
  /** Bytes of copies that were never checked. */
  readonly unscrubbedBytes: number
}

/** The rest of the time is for the checks themselves, which wait for their turn and rest often. */
const DUE_SHARE = 0.8
const ROWS_AT_ONCE = 1000

/**
 * When each copy was read and checked last, durably, and likewise all shards that one directory has
 * of a coded volume. Those that were never checked have their first turn at some moment of the
 * first round, each at another one, so that not all come at once.
 */
export class ScrubLog {
  readonly #parts: ScrubLogParts
  readonly #everyMs: number
  readonly #records = new Map<VolumeId, Map<string, ScrubRecord>>()
  /** When damage was last found in a directory. */
  readonly #damagedAtMs = new Map<string, number>()

  private constructor(parts: ScrubLogParts, options: { readonly everyMs: number }) {
    this.#parts = parts
    this.#everyMs = options.everyMs
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(
    parts: ScrubLogParts,
    options: { readonly everyMs: number },
    signal: AbortSignal,
  ): Promise<ScrubLog> {
    const log = new ScrubLog(parts, options)
    const range = { gte: SCRUB_PREFIX, lt: endOf(SCRUB_PREFIX) }
    for await (const { key, value } of parts.store.scan(range, signal)) {
      const fields = decodeFields(key, value)
      const number = (name: keyof ScrubRecord) => numberOf(key, fields, name)
      const directoryId = key.slice(SCRUB_PREFIX.length + 11)
      if (directoryId === '') throw corruptRow(key)
      const record = {
        seenAtMs: number('seenAtMs'),
        checkedAtMs: number('checkedAtMs'),
        damageCount: number('damageCount'),
      }
      log.#put(volumeOfKey(key, SCRUB_PREFIX), directoryId, record)
    }
    return log
  }

  /** Durable when it returns. */
  async note(note: ScrubNote, signal: AbortSignal): Promise<void> {
    const { volumeId, directoryId, damageCount } = note
    const nowMs = this.#parts.clock.nowMs()
    const seenAtMs = this.#records.get(volumeId)?.get(directoryId)?.seenAtMs ?? nowMs
    const record = { seenAtMs, checkedAtMs: nowMs, damageCount }
    await this.#parts.store.commit({ puts: [rowOf(volumeId, directoryId, record)] }, signal)
    this.#put(volumeId, directoryId, record)
  }

  /**
   * These are the volumes there are: takes down copies that are new, and forgets those that are
   * gone. Durable when it returns.
   */
  async sync(all: readonly VolumeFacts[], signal: AbortSignal): Promise<void> {
    const puts: MetadataRow[] = []
    const deletes: string[] = []
    const nowMs = this.#parts.clock.nowMs()
    const known = new Set<VolumeId>()
    for (const facts of all) {
      const { volumeId, isDeleted } = facts
      if (isDeleted) continue
      known.add(volumeId)
      const before = this.#records.get(volumeId)
      const places = scrubPlaces(facts)
      const now = new Set(places.map(({ directoryId }) => directoryId))
      for (const { directoryId, isNamed } of places) {
        if (!isNamed || before?.has(directoryId) === true) continue
        const record = { seenAtMs: nowMs, checkedAtMs: 0, damageCount: 0 }
        puts.push(rowOf(volumeId, directoryId, record))
        this.#put(volumeId, directoryId, record)
      }
      for (const directoryId of [...(before?.keys() ?? [])]) {
        if (now.has(directoryId)) continue
        deletes.push(keyOf(volumeId, directoryId))
        before?.delete(directoryId)
      }
    }
    for (const [volumeId, records] of this.#records) {
      if (known.has(volumeId)) continue
      for (const directoryId of records.keys()) deletes.push(keyOf(volumeId, directoryId))
      this.#records.delete(volumeId)
    }
    await this.#commit(puts, deletes, signal)
  }

  /** Undefined: every copy was checked lately enough. */
  dueOf(facts: VolumeFacts): QueueRequest | undefined {
    const nowMs = this.#parts.clock.nowMs()
    const roundMs = this.#everyMs * DUE_SHARE
    let isDue = false
    let isUrgent = false
    for (const { directoryId, isUp, isReported } of scrubPlaces(facts)) {
      const record = this.#records.get(facts.volumeId)?.get(directoryId)
      if (record === undefined || !isUp || !isReported) continue
      const { seenAtMs, checkedAtMs } = record
      const damagedAtMs = this.#damagedAtMs.get(directoryId) ?? 0
      if (Math.max(seenAtMs, checkedAtMs) < damagedAtMs) isUrgent = true
      const dueAtMs =
        checkedAtMs > 0 ? checkedAtMs + roundMs : seenAtMs + turnOf(facts, directoryId) * roundMs
      if (nowMs >= dueAtMs) isDue = true
    }
    if (!isDue && !isUrgent) return undefined
    return {
      kind: 'scrub',
      target: { volumeId: facts.volumeId },
      reason: isUrgent ? 'damage was found on a disk that it is on' : 'it is time again',
      risk: isUrgent ? RISK.damagedDisk : RISK.scrub,
      queue: queueOf(facts),
      isAsked: false,
    }
  }

  figures(all: Iterable<VolumeFacts>): ScrubFigures {
    const nowMs = this.#parts.clock.nowMs()
    const agesMs: number[] = []
    let unscrubbedBytes = 0
    for (const facts of all) {
      if (facts.isDeleted) continue
      for (const { directoryId, bytes } of scrubPlaces(facts)) {
        const record = this.#records.get(facts.volumeId)?.get(directoryId)
        const checkedAtMs = record?.checkedAtMs ?? 0
        if (checkedAtMs === 0) unscrubbedBytes += bytes
        if (record === undefined) continue
        agesMs.push(Math.max(0, nowMs - (checkedAtMs === 0 ? record.seenAtMs : checkedAtMs)))
      }
    }
    agesMs.sort((a, b) => a - b)
    const at = Math.max(0, Math.ceil(agesMs.length * 0.95) - 1)
    return { ageMaxMs: agesMs.at(-1) ?? 0, ageP95Ms: agesMs[at] ?? 0, unscrubbedBytes }
  }

  #put(volumeId: VolumeId, directoryId: string, record: ScrubRecord): void {
    const records = this.#records.get(volumeId) ?? new Map<string, ScrubRecord>()
    this.#records.set(volumeId, records)
    records.set(directoryId, record)
    if (record.damageCount === 0) return
    const before = this.#damagedAtMs.get(directoryId) ?? 0
    this.#damagedAtMs.set(directoryId, Math.max(before, record.checkedAtMs))
  }

  async #commit(puts: MetadataRow[], deletes: string[], signal: AbortSignal): Promise<void> {
    const { store } = this.#parts
    for (let at = 0; at < Math.max(puts.length, deletes.length); at += ROWS_AT_ONCE) {
      const end = at + ROWS_AT_ONCE
      const batch = { puts: puts.slice(at, end), deletes: deletes.slice(at, end) }
      await store.commit(batch, signal)
    }
  }
}

/** A directory with a copy that counts, or with shards that do. */
interface ScrubPlace {
  readonly directoryId: string
  readonly isUp: boolean
  readonly isReported: boolean
  /** One that was just made has not said in which directory it lies. */
  readonly isNamed: boolean
  readonly bytes: number
}

function scrubPlaces({ members, stripe }: VolumeFacts): ScrubPlace[] {
  const copies = members.map(({ directoryId, isUp, report }) => ({
    directoryId,
    isUp,
    isReported: report !== undefined,
    isNamed: report !== undefined && report.directoryId !== '',
    bytes: report?.datBytes ?? 0,
  }))
  const places = new Map<string, ScrubPlace>()
  for (const { directoryId, isUp, report } of stripe?.shards ?? []) {
    if (directoryId === '') continue
    const { isReported = false, bytes = 0 } = places.get(directoryId) ?? {}
    places.set(directoryId, {
      directoryId,
      isUp,
      isReported: isReported || report !== undefined,
      isNamed: isReported || report !== undefined,
      bytes: bytes + (report?.shardBytes ?? 0),
    })
  }
  return [...copies, ...places.values()]
}

/** From 0 to 1, the same for one copy always. */
function turnOf({ volumeId }: VolumeFacts, directoryId: string): number {
  return crc32c(Buffer.from(`${volumeId} ${directoryId}`)) / 2 ** 32
}

function rowOf(volumeId: VolumeId, directoryId: string, record: ScrubRecord): MetadataRow {
  return { key: keyOf(volumeId, directoryId), value: encodeRow({ ...record }) }
}

function keyOf(volumeId: VolumeId, directoryId: string): string {
  return `${SCRUB_PREFIX}${volumeId.toString().padStart(10, '0')}/${directoryId}`
}
