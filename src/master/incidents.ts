import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type { RepairTimes } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { decodeFields, INCIDENT_PREFIX, numberOf, REPAIR_PREFIX } from './job-rows.ts'
import { encodeRow, endOf } from './master-rows.ts'
import { volumeOfKey } from './volume-rows.ts'

export interface IncidentsParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: Logger
}

/** A volume that is below redundancy now. */
export interface Shortfall {
  readonly volumeId: VolumeId
  /** By the wall clock: when the first of its copies was last known to be there. */
  readonly sinceMs: number
  readonly bytes: number
  /** It is not only waiting for a server to be back. */
  readonly needsCopy: boolean
}

interface Incident {
  readonly sinceMs: number
  readonly bytes: number
  readonly needsCopy: boolean
}

const ROWS_AT_ONCE = 1000

/**
 * Which volumes are below redundancy and since when, and how long it took until they were full
 * again; durably. Only what had to be copied counts as a repair: a server that was started anew
 * says nothing about how fast copies are made.
 */
export class Incidents {
  readonly #parts: IncidentsParts
  readonly #open = new Map<VolumeId, Incident>()
  /** How long repairs took, by their number, the oldest first. */
  readonly #repairs = new Map<number, number>()
  #lastNumber = 0

  private constructor(parts: IncidentsParts) {
    this.#parts = parts
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(parts: IncidentsParts, signal: AbortSignal): Promise<Incidents> {
    const incidents = new Incidents(parts)
    const open = { gte: INCIDENT_PREFIX, lt: endOf(INCIDENT_PREFIX) }
    for await (const { key, value } of parts.store.scan(open, signal)) {
      const fields = decodeFields(key, value)
      incidents.#open.set(volumeOfKey(key, INCIDENT_PREFIX), {
        sinceMs: numberOf(key, fields, 'sinceMs'),
        bytes: numberOf(key, fields, 'bytes'),
        needsCopy: fields['needsCopy'] === true,
      })
    }
    const repairs = { gte: REPAIR_PREFIX, lt: endOf(REPAIR_PREFIX) }
    for await (const { key, value } of parts.store.scan(repairs, signal)) {
      const fields = decodeFields(key, value)
      const number = Number(key.slice(REPAIR_PREFIX.length))
      incidents.#lastNumber = number
      incidents.#repairs.set(number, numberOf(key, fields, 'tookMs'))
    }
    return incidents
  }

  /** When redundancy was lost first, by the wall clock; 0: it is full. */
  get belowSinceMs(): number {
    let sinceMs = 0
    for (const incident of this.#open.values()) {
      if (sinceMs === 0 || incident.sinceMs < sinceMs) sinceMs = incident.sinceMs
    }
    return sinceMs
  }

  /** 0: it is not below. */
  sinceMsOf(id: VolumeId): number {
    return this.#open.get(id)?.sinceMs ?? 0
  }

  get times(): RepairTimes {
    const tookMs = [...this.#repairs.values()]
    const sorted = tookMs.toSorted((a, b) => a - b)
    const at = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
    const lastMs = tookMs.at(-1) ?? 0
    return { count: sorted.length, p50Ms: at(0.5), p95Ms: at(0.95), lastMs }
  }

  /**
   * These, and no others, are below now. Durable when it returns. A volume that is `gone` was not
   * repaired but deleted.
   */
  async observe(
    shortfalls: readonly Shortfall[],
    isGone: (id: VolumeId) => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const puts: MetadataRow[] = []
    const deletes: string[] = []
    const below = new Set<VolumeId>()
    for (const { volumeId: id, sinceMs, bytes, needsCopy } of shortfalls) {
      below.add(id)
      const before = this.#open.get(id)
      if (before !== undefined && (before.needsCopy || !needsCopy)) continue
      const incident = { sinceMs: before?.sinceMs ?? sinceMs, bytes, needsCopy }
      this.#open.set(id, incident)
      puts.push({ key: incidentKey(id), value: encodeRow(incident) })
    }
    for (const [id, incident] of this.#open) {
      if (below.has(id)) continue
      this.#open.delete(id)
      deletes.push(incidentKey(id))
      if (incident.needsCopy && !isGone(id)) puts.push(this.#close(id, incident))
    }
    const surplus = this.#repairs.size - LIMITS.repairTimesKept.value
    for (const number of [...this.#repairs.keys()].slice(0, Math.max(0, surplus))) {
      this.#repairs.delete(number)
      deletes.push(repairKey(number))
    }
    await this.#commit(puts, deletes, signal)
  }

  #close(id: VolumeId, { sinceMs, bytes }: Incident): MetadataRow {
    const endedMs = this.#parts.clock.nowMs()
    const tookMs = Math.max(0, endedMs - sinceMs)
    this.#lastNumber++
    this.#repairs.set(this.#lastNumber, tookMs)
    this.#parts.logger.info('repair.full_again', { volumeId: id, tookMs, bytes })
    const row = { volumeId: id, endedMs, tookMs, bytes }
    return { key: repairKey(this.#lastNumber), value: encodeRow(row) }
  }

  async #commit(puts: MetadataRow[], deletes: string[], signal: AbortSignal): Promise<void> {
    // A repair of this very batch may be surplus already.
    const gone = new Set(deletes)
    const kept = puts.filter(({ key }) => !gone.has(key))
    for (let at = 0; at < Math.max(kept.length, deletes.length); at += ROWS_AT_ONCE) {
      const end = at + ROWS_AT_ONCE
      const batch = { puts: kept.slice(at, end), deletes: deletes.slice(at, end) }
      await this.#parts.store.commit(batch, signal)
    }
  }
}

function incidentKey(id: VolumeId): string {
  return INCIDENT_PREFIX + id.toString().padStart(10, '0')
}

function repairKey(number: number): string {
  return REPAIR_PREFIX + number.toString().padStart(12, '0')
}
