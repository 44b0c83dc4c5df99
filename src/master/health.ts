import { formatBytes } from '../base/units.ts'
import type { Alert, AlertCode, ClusterHealth, JobView } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { isBelow, type VolumeAssessment } from './assess.ts'
import { schemeNameOf } from './assess-volume.ts'
import type { Incidents } from './incidents.ts'
import type { JobQueue } from './job-queue.ts'
import type { RepairRate } from './repair-rate.ts'
import type { RepairView } from './repair-view.ts'
import type { ScrubLog } from './scrub-log.ts'
import type { ClusterSurvey } from './surveyor.ts'

export interface HealthParts {
  readonly view: RepairView
  readonly queue: JobQueue
  readonly incidents: Incidents
  readonly scrubs: ScrubLog
  readonly rate: RepairRate
  readonly memberAlerts: { list(): readonly Alert[] }
  readonly warmUp: { readonly isWarming: boolean }
  /** Since a worker has asked for a job. */
  readonly workersSilentMs: () => number
  readonly clock: Clock
}

export interface HealthOptions {
  readonly delayMs: number
}

/** A worker that has nothing to do asks at least this often. */
const NO_WORKER_MS = 60_000

/** One that failed less often may get on the next time. */
const FAILING_MIN = 3

const DOING_MAX = 10
const ALERTS_PER_CODE_MAX = 10

type Finding = Pick<Alert, 'code' | 'message'>

/** Sums up how safe everything is, what is done about it, and what somebody has to look at. */
export class Health {
  readonly #parts: HealthParts
  readonly #options: HealthOptions
  /** When an alert was first seen, by its code and message. */
  #alertSince = new Map<string, number>()

  constructor(parts: HealthParts, options: HealthOptions) {
    this.#parts = parts
    this.#options = options
  }

  report(survey: ClusterSurvey): ClusterHealth {
    const { view, queue, incidents, scrubs, rate, warmUp, clock } = this.#parts
    const { isWarming } = warmUp
    const all = survey.assessments
    const below = all.filter(isBelow)
    const unavailable = all.filter(({ isUnavailable }) => isUnavailable)
    const isFullyRedundant = !isWarming && below.length === 0
    const bytesBelow = sum(below, ({ missingCount, datBytes }) => missingCount * datBytes)
    const alerts = this.#alerts(survey)
    const nodes = view.nodes()
    const { running, waiting, failing } = queue.counts
    const scrub = scrubs.figures(survey.facts)
    // While servers are still expected nobody can tell what is lost.
    const isRed = !isWarming && unavailable.length > 0
    return {
      color: isRed ? 'red' : isFullyRedundant && alerts.length === 0 ? 'green' : 'yellow',
      isFullyRedundant,
      isWarming,
      nodesUp: nodes.filter(({ isUp }) => isUp).length,
      nodesKnown: nodes.length,
      volumesBelow: below.length,
      objectsBelow: sum(below, objectsBelow),
      bytesBelow,
      volumesUnavailable: unavailable.length,
      objectsUnavailable: sum(unavailable, ({ liveNeedles }) => liveNeedles),
      dirtyNeedles: sum(all, ({ dirtyCount }) => dirtyCount),
      belowSinceMs: isFullyRedundant ? 0 : incidents.belowSinceMs,
      estimatedEndMs: this.#estimate(bytesBelow, clock.nowMs()),
      repairBytesPerS: rate.bytesPerS,
      jobsRunning: running,
      jobsWaiting: waiting,
      jobsFailing: failing,
      doing: this.#doing(survey, below),
      repairTimes: incidents.times,
      scrubAgeMaxMs: scrub.ageMaxMs,
      unscrubbedBytes: scrub.unscrubbedBytes,
      alerts,
    }
  }

  #estimate(bytesBelow: number, nowMs: number): number {
    const { bytesPerS } = this.#parts.rate
    if (bytesBelow === 0 || bytesPerS === 0) return 0
    const copied = sum(this.#running(), ({ kind, progress }) => {
      const isRepair = kind === 'replica-repair' || kind === 'ec-repair'
      return isRepair && progress.unit === 'bytes' ? progress.done : 0
    })
    return nowMs + Math.round((Math.max(0, bytesBelow - copied) / bytesPerS) * 1000)
  }

  #running(): JobView[] {
    const jobs = this.#parts.queue.list({ kind: undefined, withEnded: false })
    return jobs.filter(({ state }) => state === 'running').sort((a, b) => b.risk - a.risk)
  }

  #doing(survey: ClusterSurvey, below: readonly VolumeAssessment[]): string[] {
    const running = this.#running()
    const lines = running.slice(0, DOING_MAX).map(describeJob)
    if (running.length > DOING_MAX) lines.push(`and ${running.length - DOING_MAX} more jobs`)
    return below.length === 0 ? lines : [...lines, ...this.#whyWaiting(survey, below)]
  }

  /** What keeps the rest from being repaired just now. */
  #whyWaiting(survey: ClusterSurvey, below: readonly VolumeAssessment[]): string[] {
    const { view, warmUp, queue, clock } = this.#parts
    if (warmUp.isWarming) return ['waiting for volume servers after the start']
    const lines: string[] = []
    if (survey.isMassGone) lines.push('not copying while so many servers are down')
    const away = new Set(below.flatMap((assessment) => assessment.away))
    for (const { location, downForMs } of view.nodes()) {
      if (!away.has(location.url) || downForMs === 0 || lines.length >= DOING_MAX) continue
      const leftMs = this.#options.delayMs - downForMs
      const next = leftMs > 0 ? `; in ${inWords(leftMs)} what it has counts as lost` : ''
      lines.push(`waiting for ${location.url}, down for ${inWords(downForMs)}${next}`)
    }
    const { waiting } = queue.counts
    if (waiting > 0 && this.#hasNoWorker()) lines.push(`${waiting} jobs wait for a worker`)
    for (const job of queue.failing(1).slice(0, DOING_MAX - Math.min(DOING_MAX, lines.length))) {
      const waitMs = job.notBeforeMs - clock.nowMs()
      const next = job.state === 'waiting' && waitMs > 0 ? `; again in ${inWords(waitMs)}` : ''
      lines.push(`${nameJob(job)} failed: ${job.error}${next}`)
    }
    return lines
  }

  #hasNoWorker(): boolean {
    const { queue, workersSilentMs } = this.#parts
    return queue.counts.running === 0 && workersSilentMs() >= NO_WORKER_MS
  }

  #alerts(survey: ClusterSurvey): Alert[] {
    const nowMs = this.#parts.clock.nowMs()
    const before = this.#alertSince
    this.#alertSince = new Map()
    const alerts = [...this.#parts.memberAlerts.list()]
    for (const { code, message } of this.#findings(survey)) {
      const key = `${code} ${message}`
      const sinceMs = before.get(key) ?? nowMs
      this.#alertSince.set(key, sinceMs)
      alerts.push({ code, message, sinceMs })
    }
    return alerts
  }

  #findings(survey: ClusterSurvey): Finding[] {
    const { queue } = this.#parts
    const found = [...misplaced(survey)]
    const { waiting } = queue.counts
    if (waiting > 0 && this.#hasNoWorker()) {
      found.push({ code: 'NO_WORKER', message: 'jobs wait, and no worker asks for them' })
    }
    for (const job of queue.failing(FAILING_MIN).slice(0, ALERTS_PER_CODE_MAX)) {
      const isPlace = /^(?:PLACEMENT_IMPOSSIBLE|NO_WRITABLE_VOLUME)\b/.test(job.error)
      const code: AlertCode = isPlace ? 'PLACEMENT_UNMET' : 'JOB_FAILING'
      found.push({ code, message: `${nameJob(job)}: ${job.error}` })
    }
    return found
  }
}

/** Volumes with the same thing missing are told of together. */
function misplaced({ facts, assessments }: ClusterSurvey): Finding[] {
  const counts = new Map<string, number>()
  assessments.forEach(({ unmetPlacement }, index) => {
    const each = facts[index]
    if (unmetPlacement === undefined || each === undefined) return
    const message = `${schemeNameOf(each)}: ${unmetPlacement}`
    counts.set(message, (counts.get(message) ?? 0) + 1)
  })
  return [...counts.keys()]
    .slice(0, ALERTS_PER_CODE_MAX)
    .map((message) => ({ code: 'PLACEMENT_UNMET', message }))
}

/** Of one that is whole but for some needles, these. */
function objectsBelow({
  missingCount,
  differs,
  liveNeedles,
  dirtyCount,
}: VolumeAssessment): number {
  return missingCount > 0 || differs ? liveNeedles : Math.min(dirtyCount, liveNeedles)
}

function describeJob(job: JobView): string {
  const { phase, done, total, unit } = job.progress
  const amount = (count: number) => (unit === 'bytes' ? formatBytes(count) : `${count} ${unit}`)
  const share = total > 0 ? `${Math.floor((100 * done) / total)} % of ${amount(total)}` : ''
  const details = [phase, share, job.reason].filter((text) => text !== '')
  return `${nameJob(job)}: ${details.join(', ')}`
}

function nameJob({ kind, target }: JobView): string {
  if (target.volumeId !== undefined) return `${kind} of volume ${target.volumeId}`
  if (target.node !== undefined) return `${kind} of ${target.node}`
  if (target.collection !== undefined) return `${kind} of collection "${target.collection}"`
  return kind
}

const SECOND_MS = 1000
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000

function inWords(ms: number): string {
  if (ms >= 2 * HOUR_MS) return `${Math.round(ms / HOUR_MS)} h`
  if (ms >= 2 * MINUTE_MS) return `${Math.round(ms / MINUTE_MS)} min`
  return `${Math.max(1, Math.round(ms / SECOND_MS))} s`
}

function sum<Item>(items: readonly Item[], pick: (item: Item) => number): number {
  return items.reduce((total, item) => total + pick(item), 0)
}
