import { LIMITS } from '../../../base/limits.ts'
import { type EventLane, laneKey, type ObjectEvent } from '../../../namespace/event-record.ts'
import type { NamespaceApi } from '../../../namespace/namespace-api.ts'
import type { Clock } from '../../../runtime/clock.ts'
import type { Logger } from '../../../runtime/logger.ts'
import type { Random } from '../../../runtime/random.ts'
import { writeEventMessage } from './event-message.ts'
import { type Webhook, webhookArn } from './webhook.ts'
import { WebhookSender } from './webhook-sender.ts'

export interface EventDelivererParts {
  readonly namespace: Pick<NamespaceApi, 'claimEvents' | 'listEvents' | 'removeEvents'>
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface EventDelivererConfig {
  /** At least one. */
  readonly webhooks: readonly Webhook[]
  /** Named in every event. */
  readonly region: string
}

/** A lane that this deliverer has claimed. */
interface Served {
  readonly lane: EventLane
  readonly webhook: Webhook
  isRunning: boolean
  /** Tries of the event at its head that failed, one after the other. */
  failures: number
  pausedUntilMs: number
  lastTurnMs: number
}

/** How often it is asked whether there are events; a claim outlasts ten of these. */
const POLL_MS = 1000
const FIRST_RETRY_MS = 1000
/** A lane with more events than are delivered in this time lets others have their turn. */
const TURN_MS = 10_000
/** What was delivered is still removed when this is closed, if it can be done so soon. */
const CLOSE_MS = 2000
/** Events to targets that nobody knows any more are looked at so often. */
const UNCLAIMED_MS = 60_000

/**
 * Posts events to webhooks, in order within each lane, until each was taken.
 *
 * - An event is removed after its webhook answered 2xx, or after it was given up: one that failed
 *   at the age of `LIMITS.eventKeepMs`. Whatever ends in between, it is delivered again.
 * - Lanes wait for nothing but their own webhook. A try that fails makes its lane pause, longer
 *   each time.
 * - There may be any number of these: the namespace gives each lane to one at a time. One that
 *   could not renew its claims delivers nothing until it can.
 */
export class EventDeliverer implements AsyncDisposable {
  readonly #parts: EventDelivererParts
  readonly #region: string
  readonly #webhooks: ReadonlyMap<string, Webhook>
  readonly #claimant: string
  readonly #sender: WebhookSender
  readonly #closing = new AbortController()
  /** Aborts when even what is under way is not waited for. */
  readonly #ending = new AbortController()
  readonly #served = new Map<string, Served>()
  readonly #turns = new Set<Promise<void>>()
  #nextUnclaimedMs = 0
  #isHalted = false
  #running: Promise<void> | undefined

  constructor(parts: EventDelivererParts, { region, webhooks }: EventDelivererConfig) {
    this.#parts = parts
    this.#region = region
    this.#webhooks = new Map(webhooks.map((webhook) => [webhookArn(webhook.name), webhook]))
    const digits = () => parts.random.u32().toString(16).padStart(8, '0')
    this.#claimant = digits() + digits()
    this.#sender = new WebhookSender(parts)
  }

  start(): void {
    this.#running ??= this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    using _end = this.#parts.clock.after(CLOSE_MS, () => this.#ending.abort())
    await this.#running
    await Promise.all(this.#turns)
    await this.#sender[Symbol.asyncDispose]()
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#parts
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        await this.#poll(signal)
        if (this.#isHalted) logger.info('s3.events_resumed')
        this.#isHalted = false
      } catch (error) {
        if (signal.aborted) return
        if (!this.#isHalted) logger.warn('s3.events_halted', { error })
        this.#isHalted = true
        this.#keepOnly(new Set())
      }
      await clock.sleep(POLL_MS, signal).catch(() => undefined)
    }
  }

  async #poll(signal: AbortSignal): Promise<void> {
    const { clock, namespace } = this.#parts
    const request = { claimant: this.#claimant, targets: [...this.#webhooks.keys()] }
    const { lanes, unclaimed } = await namespace.claimEvents(request, signal)
    this.#keepOnly(new Set(lanes.map(laneKey)))
    for (const lane of lanes) this.#serve(lane)
    this.#startTurns(clock.monotonicMs())
    if (clock.monotonicMs() < this.#nextUnclaimedMs) return
    this.#nextUnclaimedMs = clock.monotonicMs() + UNCLAIMED_MS
    for (const lane of unclaimed) await this.#dropOld(lane, signal)
  }

  /** Others go on: what is under way of them ends before the next event. */
  #keepOnly(claimed: ReadonlySet<string>): void {
    for (const key of this.#served.keys()) if (!claimed.has(key)) this.#served.delete(key)
  }

  #serve(lane: EventLane): void {
    const key = laneKey(lane)
    const webhook = this.#webhooks.get(lane.target)
    if (webhook === undefined || this.#served.has(key)) return
    const idle = { isRunning: false, failures: 0, pausedUntilMs: 0, lastTurnMs: 0 }
    this.#served.set(key, { lane, webhook, ...idle })
  }

  /** Those that waited longest for their turn come first. */
  #startTurns(nowMs: number): void {
    const all = [...this.#served.values()]
    const free = LIMITS.eventLanesAtOnce.value - this.#turns.size
    const ready = all.filter((each) => !each.isRunning && each.pausedUntilMs <= nowMs)
    ready.sort((a, b) => a.lastTurnMs - b.lastTurnMs)
    for (const served of ready.slice(0, Math.max(0, free))) {
      served.lastTurnMs = nowMs
      const turn = this.#turn(served).finally(() => {
        served.isRunning = false
        this.#turns.delete(turn)
      })
      served.isRunning = true
      this.#turns.add(turn)
    }
  }

  /** Never fails. */
  async #turn(served: Served): Promise<void> {
    const { clock, logger, namespace } = this.#parts
    const { signal } = this.#closing
    const { lane, webhook } = served
    const limit = LIMITS.eventsPerPageMax.value
    const endMs = clock.monotonicMs() + TURN_MS
    try {
      while (clock.monotonicMs() < endMs && this.#isServed(served)) {
        const events = await namespace.listEvents({ lane, limit }, signal)
        const isDone = await this.#deliverAll(served, events)
        if (!isDone || events.length < limit) return
      }
    } catch (error) {
      if (signal.aborted) return
      served.pausedUntilMs = clock.monotonicMs() + FIRST_RETRY_MS
      logger.warn('s3.events_unread', { webhook: webhook.name, bucketId: lane.bucketId, error })
    }
  }

  #isServed(served: Served): boolean {
    return !this.#closing.signal.aborted && this.#served.get(laneKey(served.lane)) === served
  }

  /** In order, up to the first that fails: false, and the lane pauses. */
  async #deliverAll(served: Served, events: readonly ObjectEvent[]): Promise<boolean> {
    const delivered: string[] = []
    const givenUp: string[] = []
    try {
      for (const event of events) {
        if (!this.#isServed(served)) return false
        const error = await this.#post(served, event)
        if (error === undefined) delivered.push(event.id)
        else if (this.#isToBeGivenUp(served, event, error)) givenUp.push(event.id)
        else return false
      }
      return true
    } finally {
      await this.#remove(served.lane, delivered, 'delivered')
      await this.#remove(served.lane, givenUp, 'givenUp')
    }
  }

  /** What it failed with; undefined: it was taken. */
  async #post(served: Served, event: ObjectEvent): Promise<unknown> {
    const { webhook } = served
    const message = writeEventMessage(event, this.#region)
    try {
      await this.#sender.post(webhook, message, this.#closing.signal)
    } catch (error) {
      return error
    }
    if (served.failures > 0) {
      this.#parts.logger.info('s3.webhook_recovered', { webhook: webhook.name })
    }
    served.failures = 0
    return undefined
  }

  /** Otherwise the lane pauses, and it is tried again. */
  #isToBeGivenUp(served: Served, event: ObjectEvent, error: unknown): boolean {
    const { clock, logger } = this.#parts
    if (this.#closing.signal.aborted) return false
    const { bucketName: bucket, id, key, name } = event
    const about = { webhook: served.webhook.name, bucket, key, event: name, id }
    const ageMs = clock.nowMs() - event.timeMs
    if (ageMs >= LIMITS.eventKeepMs.value) {
      logger.error('s3.event_given_up', { ...about, ageMs, error })
      return true
    }
    served.failures++
    const waitMs = retryMs(served.failures)
    served.pausedUntilMs = clock.monotonicMs() + waitMs
    logger.warn('s3.webhook_failed', { ...about, tries: served.failures, waitMs, error })
    return false
  }

  /** No target will come back for what has waited so long. */
  async #dropOld(lane: EventLane, signal: AbortSignal): Promise<void> {
    const { clock, logger, namespace } = this.#parts
    const limit = LIMITS.eventsPerPageMax.value
    for (let isMore = true; isMore; ) {
      const events = await namespace.listEvents({ lane, limit }, signal)
      const isOld = ({ timeMs }: ObjectEvent) => clock.nowMs() - timeMs >= LIMITS.eventKeepMs.value
      const old = events.filter(isOld).map(({ id }) => id)
      if (old.length > 0) logger.error('s3.events_unclaimed', { ...lane, count: old.length })
      await this.#remove(lane, old, 'givenUp')
      isMore = old.length === limit
    }
  }

  async #remove(
    lane: EventLane,
    ids: readonly string[],
    outcome: 'delivered' | 'givenUp',
  ): Promise<void> {
    if (ids.length === 0) return
    await this.#parts.namespace.removeEvents({ lane, ids, outcome }, this.#ending.signal)
  }
}

function retryMs(failures: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 20), LIMITS.eventRetryMs.value)
}
