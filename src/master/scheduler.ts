import type { VolumeId } from '../base/ids.ts'
import { isStoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { JobKind, VolumeFacts } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { isBelow, RISK, RISK_BELOW, type VolumeAssessment } from './assess.ts'
import { isCoded, isWholeStripe } from './assess-stripe.ts'
import type { HealDesk } from './heal-desk.ts'
import type { Incidents, Shortfall } from './incidents.ts'
import { volumeLock } from './job-leases.ts'
import type { JobQueue } from './job-queue.ts'
import { type QueueRequest, subjectKey } from './job-record.ts'
import type { NextMoves } from './next-moves.ts'
import type { RepairView } from './repair-view.ts'
import type { ScrubLog } from './scrub-log.ts'
import type { ClusterSurvey, Surveyor } from './surveyor.ts'

export interface SchedulerParts {
  readonly coordinator: Pick<Coordinator, 'isLeader'>
  readonly warmUp: { readonly isWarming: boolean }
  readonly view: RepairView
  readonly surveyor: Surveyor
  readonly queue: JobQueue
  readonly incidents: Incidents
  readonly scrubs: ScrubLog
  readonly moves: NextMoves
  /** Undefined: nobody looks after objects. */
  readonly heal?: Pick<HealDesk, 'turn'> | undefined
  readonly clock: Clock
  readonly logger: Logger
}

export interface SchedulerOptions {
  readonly checkMs: number
  readonly heartbeatMs: number
}

/** What a job did shows in the heartbeats after it: before that it must not be queued again. */
const SETTLE_HEARTBEATS = 2

/** One that is still needed after it was done waits longer each time, up to this. */
const PAUSE_MAX_MS = 300_000
/** The same for what nobody misses: a vacuum that frees nothing, a scrub that cannot end. */
const PAUSE_QUIET_MAX_MS = 3_600_000
/** Somebody did not want it. */
const PAUSE_CANCELLED_MS = 600_000

/** Rows that are written at the same time share a sync. */
const ADDS_AT_ONCE = 64

/** Volumes in the wrong places that are looked at in one turn: each costs a look at all servers. */
const MISPLACED_PER_TURN = 100
const REBALANCE_TURNS = 6

/**
 * Sees what is to be done, and queues it: once for each volume and kind, the riskiest first. It
 * does nothing itself, and nothing at all unless this master leads and knows its servers: that is
 * asked anew before each job is queued, since a pause may have cost it the lead.
 */
export class Scheduler {
  readonly #parts: SchedulerParts
  readonly #options: SchedulerOptions
  /** How often each of these was queued although it had been done, by kind and target. */
  readonly #repeats = new Map<string, number>()
  /** Since when the digests of a volume's copies differ, by the monotonic clock. */
  readonly #differSince = new Map<VolumeId, number>()
  #turnCount = 0

  constructor(parts: SchedulerParts, options: SchedulerOptions) {
    this.#parts = parts
    this.#options = options
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#parts
    while (!signal.aborted) {
      try {
        await this.turn(signal)
      } catch (error) {
        if (!signal.aborted) logger.error('scheduler.turn_failed', { error })
      }
      await clock.sleep(this.#options.checkMs, signal).catch(() => undefined)
    }
  }

  /** One look at everything. */
  async turn(signal: AbortSignal): Promise<void> {
    if (!this.#isInCharge()) return
    const { surveyor, queue, scrubs, incidents } = this.#parts
    queue.expire()
    const survey = await surveyor.take()
    if (!this.#isInCharge()) return
    const known = new Set(survey.facts.filter((facts) => !facts.isDeleted).map(idOf))
    await incidents.observe(this.#shortfalls(survey), (id) => !known.has(id), signal)
    await scrubs.sync(survey.facts, signal)
    const wanted = [
      ...survey.assessments.flatMap((assessment) => this.#settled(assessment)),
      ...survey.facts.flatMap((facts) => scrubs.dueOf(facts) ?? []),
      ...this.#misplaced(survey),
      ...this.#shardMoves(survey),
      ...this.#evacuations(),
      ...this.#rebalance(survey),
    ].sort((a, b) => b.risk - a.risk)
    this.#forgetRepeats(wanted)
    const coding = this.#codingVolumes()
    const free = wanted.filter((request) => !isLeftToCoding(request, coding))
    await mapBounded(free, ADDS_AT_ONCE, (request) => this.#offer(request, signal), signal)
    await this.#parts.heal?.turn(signal)
    this.#turnCount++
  }

  #isInCharge(): boolean {
    return this.#parts.coordinator.isLeader() && !this.#parts.warmUp.isWarming
  }

  #shortfalls({ facts, assessments, isMassGone }: ClusterSurvey): Shortfall[] {
    const { clock, view } = this.#parts
    const nowMs = clock.nowMs()
    const lastHeard = new Map(view.nodes().map((node) => [node.location.url, node.lastHeardMs]))
    const found: Shortfall[] = []
    assessments.forEach((assessment, index) => {
      if (!isBelow(assessment)) return
      const { volumeId, missingCount, datBytes, needsCopy } = assessment
      const { members = [], stripe } = facts[index] ?? {}
      const heardMs = [...members, ...(stripe?.shards ?? [])]
        .filter(({ isUp }) => !isUp)
        .map(({ location }) => lastHeard.get(location.url) ?? 0)
      // A server is taken to be down some heartbeats after it went.
      const sinceMs = Math.min(nowMs, ...heardMs.filter((ms) => ms > 0))
      const needs = needsCopy && !isMassGone
      found.push({ volumeId, sinceMs, bytes: missingCount * datBytes, needsCopy: needs })
    })
    return found
  }

  /** Without what may be but two heartbeats of different age. */
  #settled(assessment: VolumeAssessment): readonly QueueRequest[] {
    const { volumeId, differs, jobs } = assessment
    const nowMs = this.#parts.clock.monotonicMs()
    if (!differs) {
      this.#differSince.delete(volumeId)
      return jobs
    }
    const sinceMs = this.#differSince.get(volumeId) ?? nowMs
    this.#differSince.set(volumeId, sinceMs)
    if (nowMs - sinceMs >= this.#settleMs) return jobs
    return jobs.filter(({ kind, risk }) => !isRepair(kind) || risk !== RISK.differs)
  }

  #misplaced({ facts, assessments }: ClusterSurvey): QueueRequest[] {
    const misplaced = facts.filter((each, index) => {
      return !isCoded(each) && assessments[index]?.unmetPlacement !== undefined
    })
    return this.#someOf(misplaced).flatMap((each) => this.#placementMove(each) ?? [])
  }

  /** Others with each turn. */
  #someOf<Item>(items: readonly Item[]): Item[] {
    if (items.length === 0) return []
    const start = (this.#turnCount * MISPLACED_PER_TURN) % items.length
    return [...new Set([...items, ...items].slice(start, start + MISPLACED_PER_TURN))]
  }

  /** Of whole stripes; those on servers that are to be emptied are looked at first. */
  #shardMoves({ facts }: ClusterSurvey): QueueRequest[] {
    const { view, moves } = this.#parts
    const whole = facts.filter(isCoded).filter(isWholeStripe)
    if (whole.length === 0) return []
    const nodes = view.nodes().filter(({ isDraining }) => isDraining)
    const draining = new Set(nodes.map(({ location }) => location.url))
    const leaving = whole.filter(({ stripe }) => {
      return stripe.shards.some(({ location }) => draining.has(location.url))
    })
    const some = new Set([...this.#someOf(leaving), ...this.#someOf(whole)])
    const moveOf = moves.shardPlanner()
    return [...some].flatMap((each) => {
      const move = moveOf(each)
      if (move === undefined) return []
      const { from, to } = move
      const isLeaving = draining.has(from.url)
      return {
        kind: 'ec-balance',
        target: { volumeId: each.volumeId },
        reason: isLeaving
          ? `${from.url}, which has shards of it, is being emptied`
          : 'its shards could be further apart',
        risk: isLeaving ? RISK.evacuate : RISK.placement,
        queue: to.dataCenter,
        isAsked: false,
      }
    })
  }

  /** Volumes that a job is to make shards of, or to make whole from them. */
  #codingVolumes(): Set<VolumeId> {
    const jobs = this.#parts.queue.list({ kind: undefined, withEnded: false })
    const coding = jobs.filter(({ kind }) => isCoding(kind))
    return new Set(coding.flatMap(({ target }) => target.volumeId ?? []))
  }

  #placementMove(facts: VolumeFacts): QueueRequest | undefined {
    const { moves } = this.#parts
    const move = moves.placement(facts)
    if (move === undefined) return undefined
    const { volumeId, from, to } = move
    return {
      kind: 'move',
      target: { volumeId, node: from.url },
      reason: 'its copies are not as far apart as they should be',
      risk: RISK.placement,
      queue: to.dataCenter,
      isAsked: false,
    }
  }

  /** Whatever is on a server that is to be emptied shall leave it, also what came since. */
  #evacuations(): QueueRequest[] {
    const draining = this.#parts.view.nodes().filter((node) => {
      return node.isDraining && node.isUp && node.hasMembers
    })
    return draining.map(({ location }) => ({
      kind: 'evacuate',
      target: { node: location.url },
      reason: 'it is to be emptied',
      risk: RISK.evacuate,
      queue: location.dataCenter,
      isAsked: false,
    }))
  }

  #rebalance({ facts, assessments }: ClusterSurvey): QueueRequest[] {
    if (this.#turnCount % REBALANCE_TURNS !== REBALANCE_TURNS - 1) return []
    // While copies are made nothing is moved about: servers are as full as they will be later.
    if (assessments.some(({ missingCount }) => missingCount > 0)) return []
    const move = this.#parts.moves.rebalance(facts)
    if (move === undefined) return []
    const reason = `${move.from.url} has more to hold than ${move.to.url}`
    const { rebalance: risk } = RISK
    return [{ kind: 'rebalance', target: {}, reason, risk, queue: '', isAsked: false }]
  }

  async #offer(request: QueueRequest, signal: AbortSignal): Promise<void> {
    if (!this.#isInCharge()) return
    const { queue } = this.#parts
    const found = queue.find(request) ?? this.#findDeep(request)
    if (found !== undefined) {
      queue.setRisk(found.id, request.risk)
      return
    }
    const { kind, target } = request
    const isLocked = target.volumeId !== undefined && queue.isLocked(volumeLock(target.volumeId))
    // What a running job leaves lying about meanwhile is its own.
    if (isLocked && isRepair(kind) && request.risk < RISK_BELOW) return
    if (this.#isPausing(request)) return
    const key = subjectKey(request)
    if (queue.lastEnded(request) !== undefined) {
      this.#repeats.set(key, (this.#repeats.get(key) ?? 0) + 1)
    }
    try {
      await queue.add(request, signal)
    } catch (error) {
      if (!isStoreError(error, 'OVERLOADED')) throw error
    }
  }

  /** A comparison of every byte does all that the ordinary one does. */
  #findDeep({ kind, target }: QueueRequest) {
    if (kind !== 'replica-repair') return undefined
    return this.#parts.queue.find({ kind, target: { ...target, isDeep: true } })
  }

  #isPausing(request: QueueRequest): boolean {
    const ended = this.#parts.queue.lastEnded(request)
    if (ended === undefined) return false
    if (ended.state === 'cancelled') return ended.agoMs < PAUSE_CANCELLED_MS
    const isQuiet = request.risk < RISK.surplus
    const maxMs = isQuiet ? PAUSE_QUIET_MAX_MS : PAUSE_MAX_MS
    const repeats = this.#repeats.get(subjectKey(request)) ?? 0
    const waitMs = ended.state === 'failed' ? maxMs : this.#settleMs * 2 ** repeats
    return ended.agoMs < Math.min(maxMs, waitMs)
  }

  get #settleMs(): number {
    return this.#options.heartbeatMs * SETTLE_HEARTBEATS
  }

  /** What is not needed now was done well the last time. */
  #forgetRepeats(wanted: readonly QueueRequest[]): void {
    const keys = new Set(wanted.map(subjectKey))
    for (const key of this.#repeats.keys()) if (!keys.has(key)) this.#repeats.delete(key)
  }
}

function idOf({ volumeId }: VolumeFacts): VolumeId {
  return volumeId
}

function isRepair(kind: JobKind): boolean {
  return kind === 'replica-repair' || kind === 'ec-repair'
}

function isCoding(kind: JobKind): boolean {
  return kind === 'ec-encode' || kind === 'ec-vacuum' || kind === 'ec-decode'
}

/**
 * What such a job has left lying about between two attempts is its own, and one that was asked for
 * with another scheme is enough.
 */
function isLeftToCoding({ kind, target, risk }: QueueRequest, coding: ReadonlySet<VolumeId>) {
  if (target.volumeId === undefined || !coding.has(target.volumeId)) return false
  return kind === 'ec-encode' || (isRepair(kind) && risk <= RISK.surplus)
}
