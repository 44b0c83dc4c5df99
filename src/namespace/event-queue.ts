import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Bucket } from './bucket-record.ts'
import type { EventFacts } from './event-facts.ts'
import {
  decodeEvent,
  EVENT_KEYS_END,
  EVENT_KEYS_START,
  type EventCause,
  type EventLane,
  encodeEvent,
  eventId,
  eventKey,
  isEventId,
  laneKey,
  type ObjectEvent,
  parseEventKey,
} from './event-record.ts'
import { eventRulesOf, isAskedFor } from './event-rules.ts'
import type {
  ClaimEventsRequest,
  ClaimedEvents,
  ListEventsRequest,
  RemoveEventsRequest,
} from './namespace-api.ts'
import { checkLimit } from './page.ts'
import type { Plan, RowChanges, RowCommits } from './row-changes.ts'

export interface EventQueueParts {
  readonly store: MetadataStore
  readonly commits: RowCommits
  readonly newChanges: () => RowChanges
  readonly clock: Clock
  readonly logger: Logger
}

/** Since the start of the process. */
export interface EventCounts {
  readonly pending: number
  readonly delivered: number
  readonly givenUp: number
  /** Not written at all: too many were waiting. */
  readonly dropped: number
}

/** Of events that wait for one target, of one bucket. */
interface Lane {
  readonly lane: EventLane
  count: number
  /** Events that came since the start: whoever counts rows can tell that some came meanwhile. */
  addedCount: number
  claimant: string
  claimEndsMs: number
}

const US_PER_MS = 1000
/** Whoever delivers asks every second; one that is silent so long has ended. */
const CLAIM_MS = 10_000
/** Between two lines of the log about lanes that are full. */
const DROP_LOG_MS = 60_000
/** Where rows go that cannot be read: reported once, and kept for whoever repairs. */
const UNREADABLE_PREFIX = 'unreadable/'

/**
 * Events that wait for their delivery, as rows.
 *
 * - The row of an event is part of the batch with the change it tells of: there is one exactly if
 *   the change was made, whatever crashes.
 * - Ids grow, so within a lane rows lie in the order of the changes of each key.
 * - Lanes are claimed by whoever delivers, for a short time and in memory only: after a restart two
 *   may deliver the same event, and no event is lost.
 * - A lane that is full takes no more events; changes go on without them, counted and logged.
 *
 * What is in memory is read from the rows when it is first needed.
 */
export class EventQueue {
  readonly #parts: EventQueueParts
  readonly #lanes = new Map<string, Lane>()
  #loaded: Promise<void> | undefined
  #lastSeq = 0
  #droppedLoggedAtMs = Number.NEGATIVE_INFINITY
  readonly #counts = { delivered: 0, givenUp: 0, dropped: 0 }

  constructor(parts: EventQueueParts) {
    this.#parts = parts
    parts.commits.onDoubt(() => {
      this.#loaded = undefined
    })
  }

  get counts(): EventCounts {
    let pending = 0
    for (const { count } of this.#lanes.values()) pending += count
    return { pending, ...this.#counts }
  }

  /**
   * Adds to a change the events that its bucket's settings ask for. Called while the key is held,
   * so that events of one key get their ids in the order of its changes.
   */
  async tell(
    changes: RowChanges,
    bucket: Bucket,
    cause: EventCause,
    { key, name, version, versionId }: EventFacts,
    signal: AbortSignal,
  ): Promise<void> {
    const asked = eventRulesOf(bucket).filter((rule) => isAskedFor(rule, name, key))
    if (asked.length === 0) return
    await this.#load(signal)
    const nowMs = this.#parts.clock.nowMs()
    const isTransition = name === 'LifecycleTransition'
    for (const rule of asked) {
      const lane = { target: rule.arn, bucketId: bucket.id }
      if (this.#isFull(lane)) continue
      this.#lastSeq = Math.max(this.#lastSeq + 1, nowMs * US_PER_MS, version?.seq ?? 0)
      const event: ObjectEvent = {
        id: eventId(this.#lastSeq),
        name,
        timeMs: nowMs,
        configurationId: rule.id,
        bucketName: bucket.name,
        bucketOwnerId: bucket.ownerId,
        key,
        versionId: bucket.versioning === 'off' ? undefined : versionId,
        sizeBytes: version?.sizeBytes,
        etag: version?.etag,
        storageClass: isTransition ? version?.storageClass : undefined,
        requesterId: cause.requesterId,
        sourceAddress: cause.sourceAddress,
        requestId: cause.requestId,
      }
      changes.putEvent(lane, eventKey(lane, event.id), encodeEvent(event))
    }
  }

  /** The change with this event was made. */
  added(lane: EventLane): void {
    const known = this.#lane(lane)
    known.count++
    known.addedCount++
  }

  /** Lanes with events, as far as nobody else has claimed them. */
  async claim(request: ClaimEventsRequest, signal: AbortSignal): Promise<ClaimedEvents> {
    await this.#load(signal)
    const nowMs = this.#parts.clock.monotonicMs()
    const targets = new Set(request.targets)
    const lanes: EventLane[] = []
    const unclaimed: EventLane[] = []
    for (const known of this.#lanes.values()) {
      if (known.claimEndsMs > nowMs && known.claimant !== request.claimant) continue
      const isOurs = targets.has(known.lane.target)
      const list = isOurs ? lanes : unclaimed
      if (list.length >= LIMITS.eventLanesMax.value) continue
      list.push(known.lane)
      if (!isOurs) continue
      known.claimant = request.claimant
      known.claimEndsMs = nowMs + CLAIM_MS
    }
    return { lanes, unclaimed }
  }

  /** The first ones of a lane, in order. */
  async list(request: ListEventsRequest, signal: AbortSignal): Promise<readonly ObjectEvent[]> {
    const { lane, limit } = request
    checkLimit(limit)
    await this.#load(signal)
    const start = laneKey(lane)
    const known = this.#lanes.get(start)
    const addedBefore = known?.addedCount
    const rows: MetadataRow[] = []
    const range = { gte: `${start}/`, lt: `${start}0`, limit }
    for await (const row of this.#parts.store.scan(range, signal)) rows.push(row)
    const events: ObjectEvent[] = []
    for (const row of rows) {
      const event = readEvent(row)
      if (event === undefined) await this.#setAside(row, signal)
      else events.push(event)
    }
    // All there is: what was counted wrong, as after a change in doubt, is set right.
    if (known !== undefined && rows.length < limit && known.addedCount === addedBefore) {
      known.count = events.length
      if (events.length === 0) this.#lanes.delete(start)
    }
    return events
  }

  /** Those that are gone already are no matter. @throws {StoreError} REQUEST_INVALID: an id. */
  async remove(request: RemoveEventsRequest, signal: AbortSignal): Promise<void> {
    const { ids, lane, outcome } = request
    for (const id of ids) {
      if (!isEventId(id)) throw new StoreError('REQUEST_INVALID', `${id} is no id of an event`)
    }
    if (ids.length > LIMITS.eventsPerPageMax.value) {
      throw new StoreError('REQUEST_INVALID', `${ids.length} events at once`)
    }
    const keys = [...new Set(ids)].map((id) => eventKey(lane, id))
    const plan = async (): Promise<Plan<number>> => {
      const values = await this.#parts.store.getMany(keys, signal)
      const changes = this.#parts.newChanges()
      let count = 0
      for (const [index, key] of keys.entries()) {
        const value = values[index]
        if (value === undefined) continue
        changes.expect(key, value)
        changes.delete(key)
        count++
      }
      return count === 0 ? { result: 0 } : { result: count, changes }
    }
    const { result: count } = await this.#parts.commits.commit(plan, signal)
    this.#counts[outcome] += count
    const known = this.#lanes.get(laneKey(lane))
    if (known !== undefined) known.count = Math.max(0, known.count - count)
  }

  #lane(lane: EventLane): Lane {
    const key = laneKey(lane)
    const known = this.#lanes.get(key)
    if (known !== undefined) return known
    const made = { lane, count: 0, addedCount: 0, claimant: '', claimEndsMs: 0 }
    this.#lanes.set(key, made)
    return made
  }

  #isFull(lane: EventLane): boolean {
    const { count } = this.#lanes.get(laneKey(lane)) ?? { count: 0 }
    if (count < LIMITS.eventsPendingMax.value) return false
    const { clock, logger } = this.#parts
    this.#counts.dropped++
    const nowMs = clock.monotonicMs()
    if (nowMs - this.#droppedLoggedAtMs >= DROP_LOG_MS) {
      this.#droppedLoggedAtMs = nowMs
      logger.error('names.events_dropped', { ...lane, pending: count, ...this.#counts })
    }
    return true
  }

  /** Counts what waits, once. @throws {StoreError} The errors of the store. */
  async #load(signal: AbortSignal): Promise<void> {
    if (this.#loaded === undefined) {
      const loading = this.#countRows()
      this.#loaded = loading
      // Whoever asks gets the error; the next one counts anew.
      loading.catch(() => {
        if (this.#loaded === loading) this.#loaded = undefined
      })
    }
    await this.#loaded
    if (signal.aborted) throw cancelledError(signal, 'before asking for events')
  }

  async #countRows(): Promise<void> {
    // One count serves all who ask meanwhile: no caller's signal may end it.
    const { signal } = new AbortController()
    await this.#parts.commits.settle(signal)
    const counts = new Map<string, { readonly lane: EventLane; count: number }>()
    const range = { gte: EVENT_KEYS_START, lt: EVENT_KEYS_END }
    for await (const { key } of this.#parts.store.scan(range, signal)) {
      const parsed = parseEventKey(key)
      if (parsed === undefined) continue
      const { id, lane } = parsed
      const text = laneKey(lane)
      const counted = counts.get(text) ?? { lane, count: 0 }
      counted.count++
      counts.set(text, counted)
      this.#lastSeq = Math.max(this.#lastSeq, Number.parseInt(id, 16))
    }
    for (const { count, lane } of counts.values()) {
      const known = this.#lane(lane)
      known.count = Math.max(known.count, count)
    }
  }

  async #setAside({ key, value }: MetadataRow, signal: AbortSignal): Promise<void> {
    this.#parts.logger.error('names.event_unreadable', { key })
    const puts = [{ key: UNREADABLE_PREFIX + key, value }]
    await this.#parts.store.commit({ puts, deletes: [key] }, signal)
  }
}

function readEvent({ key, value }: MetadataRow): ObjectEvent | undefined {
  const parsed = parseEventKey(key)
  try {
    return parsed && decodeEvent(parsed.id, value)
  } catch (error) {
    if (isStoreError(error, 'METADATA_CORRUPT')) return undefined
    throw error
  }
}
