import { hex8, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type {
  JobAdvice,
  JobEnd,
  JobKind,
  JobOrder,
  JobReport,
  JobRequest,
  JobState,
  JobView,
  ListJobsRequest,
  TakeJobRequest,
} from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { RISK_BELOW } from './assess.ts'
import { chooseJob } from './job-choice.ts'
import { JobLeases, leaseMsOf } from './job-leases.ts'
import {
  afterOrder,
  hasEnded,
  type JobSubject,
  newJob,
  type QueueRequest,
  subjectKey,
  surplusJobs,
  viewOf,
} from './job-record.ts'
import { decodeJob, JOB_PREFIX, type JobRecord } from './job-rows.ts'
import { JobSaver } from './job-saver.ts'
import { JobWatchers } from './job-watchers.ts'
import { endOf } from './master-rows.ts'

export interface JobQueueParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Ends the watches: the master is closing. */
  readonly closing: AbortSignal
  /** What nobody else may touch while the job runs, as of now. See `volumeLock`, `diskLock`. */
  readonly locksOf: (job: JobRequest) => readonly string[]
  /** It has to wait, unless somebody asked for it. */
  readonly isHeldBack: (job: JobRequest) => boolean
}

/** A job that is a worker's now, until it is silent for too long. */
export interface TakenJob {
  readonly job: JobView
  readonly token: string
  readonly cursor: string
}

interface EndedNote {
  readonly jobId: number
  readonly state: JobState
  /** By the monotonic clock. */
  readonly atMs: number
}

/** Attempts after which a job is given up. */
const FAILURES_MAX = 10
const BACKOFF_FIRST_MS = 1000
const BACKOFF_MAX_MS = 300_000

/** An attempt that ran for so long before it failed shows that the job can get on. */
const CALM_MS = 600_000

const REPAIR_KINDS = ['replica-repair', 'ec-repair'] as const

/** Progress is kept this often: what is lost of it is done again. */
const SAVE_EVERY_MS = 5000

/**
 * The jobs there are, durably. A job runs for one worker at a time: the one with the token, as long
 * as it reports at least every `leaseMs`. What a worker may do on the strength of a token ends with
 * it; the next one goes on from the last cursor that was kept.
 *
 * That a job was queued, taken, ordered about or ended is durable before it is answered; how far it
 * got, some seconds later. A new process goes on with the leases of the one before it.
 */
export class JobQueue implements AsyncDisposable {
  readonly #parts: JobQueueParts
  readonly #leaseMs: number
  readonly #watchers: JobWatchers
  readonly #saver: JobSaver
  readonly #leases = new JobLeases()
  /** Those that have not ended, in the order they were queued. */
  readonly #jobs = new Map<number, JobRecord>()
  /** In the order they ended. */
  readonly #ended = new Map<number, JobRecord>()
  readonly #bySubject = new Map<string, number>()
  readonly #endedBySubject = new Map<string, EndedNote>()
  readonly #adding = new Map<string, Promise<JobView>>()
  /** By the monotonic clock: not before then. */
  readonly #notBefore = new Map<number, number>()
  #lastId = 0

  private constructor(parts: JobQueueParts, options: { readonly leaseMs: number }) {
    this.#parts = parts
    this.#leaseMs = options.leaseMs
    this.#watchers = new JobWatchers(parts.closing)
    this.#saver = new JobSaver({
      ...parts,
      jobOf: (jobId) => this.#jobs.get(jobId) ?? this.#ended.get(jobId),
      surplus: () => surplusJobs(this.#ended, this.#lastId),
      onForgotten: (jobId) => this.#forget(jobId),
    })
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(
    parts: JobQueueParts,
    options: { readonly leaseMs: number },
    signal: AbortSignal,
  ): Promise<JobQueue> {
    const queue = new JobQueue(parts, options)
    const ended: JobRecord[] = []
    const range = { gte: JOB_PREFIX, lt: endOf(JOB_PREFIX) }
    for await (const { key, value } of parts.store.scan(range, signal)) {
      const job = decodeJob(key, value)
      queue.#lastId = Math.max(queue.#lastId, job.id)
      if (hasEnded(job)) ended.push(job)
      else queue.#load(job)
    }
    const { clock } = parts
    for (const job of ended.sort((a, b) => a.endedAtMs - b.endedAtMs || a.id - b.id)) {
      queue.#ended.set(job.id, job)
      const agoMs = Math.max(0, clock.nowMs() - job.endedAtMs)
      queue.#noteEnded(job, clock.monotonicMs() - agoMs)
    }
    return queue
  }

  get counts(): Readonly<Record<'running' | 'waiting' | 'paused' | 'failing', number>> {
    const counts = { running: 0, waiting: 0, paused: 0, failing: 0 }
    for (const { state, failures } of this.#jobs.values()) {
      if (state === 'running' || state === 'waiting' || state === 'paused') counts[state]++
      if (failures > 0) counts.failing++
    }
    return counts
  }

  /** Those that have not ended and failed at least so often in a row, the riskiest first. */
  failing(failuresMin: number): JobView[] {
    const failing = [...this.#jobs.values()].filter(({ failures }) => failures >= failuresMin)
    return failing.sort((a, b) => b.risk - a.risk || a.id - b.id).map(viewOf)
  }

  /**
   * Durable when it returns. One of the same kind and target that has not ended is answered
   * instead; it is as risky as the riskier of the two from now on.
   *
   * @throws {StoreError} OVERLOADED: there are too many. The errors of the store.
   */
  async add(request: QueueRequest, signal: AbortSignal): Promise<JobView> {
    const key = subjectKey(request)
    const found = this.#jobs.get(this.#bySubject.get(key) ?? 0)
    if (found !== undefined) {
      found.risk = Math.max(found.risk, request.risk)
      if (request.isAsked && !found.isAsked) {
        found.isAsked = true
        this.#saver.saveSoon(found.id)
      }
      return viewOf(found)
    }
    const running = this.#adding.get(key) ?? this.#add(key, request, signal)
    this.#adding.set(key, running)
    try {
      return await running
    } finally {
      if (this.#adding.get(key) === running) this.#adding.delete(key)
    }
  }

  /** The one of this kind and target that has not ended. */
  find(subject: JobSubject): JobView | undefined {
    const found = this.#jobs.get(this.#bySubject.get(subjectKey(subject)) ?? 0)
    return found === undefined ? undefined : viewOf(found)
  }

  /** How long ago the last one of this kind and target ended, and how; undefined: not lately. */
  lastEnded(subject: JobSubject): { readonly state: JobState; readonly agoMs: number } | undefined {
    const note = this.#endedBySubject.get(subjectKey(subject))
    if (note === undefined) return undefined
    return { state: note.state, agoMs: this.#parts.clock.monotonicMs() - note.atMs }
  }

  get(jobId: number): JobView | undefined {
    const job = this.#jobs.get(jobId) ?? this.#ended.get(jobId)
    return job === undefined ? undefined : viewOf(job)
  }

  /** In the order they were queued. */
  list({ kind, withEnded }: ListJobsRequest): readonly JobView[] {
    this.expire()
    const all = [...this.#jobs.values(), ...(withEnded ? this.#ended.values() : [])]
    return all
      .filter((job) => kind === undefined || job.kind === kind)
      .sort((a, b) => a.id - b.id)
      .map(viewOf)
  }

  watch(signal: AbortSignal): AsyncIterable<JobView> {
    return this.#watchers.watch(this.#jobs.keys(), (jobId) => this.get(jobId), signal)
  }

  /** How much is lost if it waits, as of now. */
  setRisk(jobId: number, risk: number): void {
    const job = this.#jobs.get(jobId)
    if (job !== undefined) job.risk = risk
  }

  /** A running job holds it. */
  isLocked(lock: string): boolean {
    return this.#leases.isLocked(lock)
  }

  /** @throws {StoreError} The errors of the store: nobody has the job then. CANCELLED. */
  async take(request: TakeJobRequest, signal: AbortSignal): Promise<TakenJob | undefined> {
    this.expire()
    const { clock } = this.#parts
    const nowMs = clock.monotonicMs()
    const job = chooseJob(this.#jobs.values(), request, (each) => this.#isReady(each, nowMs))
    if (job === undefined) return undefined
    const token = this.#newToken()
    const before = { startedAtMs: job.startedAtMs, worker: job.worker }
    job.state = 'running'
    job.worker = request.worker
    job.token = token
    job.attempts++
    if (job.startedAtMs === 0) job.startedAtMs = clock.nowMs()
    // The time counts from when it is written: before that nobody knows of the lease.
    const lease = this.#grant(job, Number.POSITIVE_INFINITY)
    try {
      await this.#saver.commit(job, signal)
      if (signal.aborted) throw new StoreError('CANCELLED', 'whoever asked for a job has gone')
    } catch (error) {
      Object.assign(job, before)
      job.attempts--
      this.#letGo(job, afterOrder(job) ?? 'waiting')
      this.#saver.saveSoon(job.id)
      throw error
    }
    lease.validUntilMs = clock.monotonicMs() + leaseMsOf(job.kind, this.#leaseMs)
    this.#watchers.onChanged(job.id)
    return { job: viewOf(job), token, cursor: job.cursor }
  }

  /** The job, if the token is its own and still good. @throws {StoreError} JOB_LEASE_LOST. */
  check(jobId: number, token: string): JobView {
    return viewOf(this.#owned(jobId, token))
  }

  /** @throws {StoreError} JOB_LEASE_LOST; REQUEST_INVALID: the cursor is too long. */
  report(report: JobReport): JobAdvice {
    const job = this.#owned(report.jobId, report.token)
    noteProgress(job, report)
    const nowMs = this.#parts.clock.monotonicMs()
    const lease = this.#leases.get(job.id)
    if (lease !== undefined) lease.validUntilMs = nowMs + leaseMsOf(job.kind, this.#leaseMs)
    if (this.#saver.sinceSavedMs(job.id) >= SAVE_EVERY_MS) this.#saver.saveSoon(job.id)
    this.#watchers.onChanged(job.id)
    if (job.order === 'pause' || job.order === 'cancel') return job.order
    return this.#isOvertaken(job, nowMs) ? 'make-way' : 'go-on'
  }

  /**
   * What it came to; durable when it returns, unless the store has failed: then it is kept later,
   * or the next process finds the job undone, and has it done once more.
   *
   * @throws {StoreError} JOB_LEASE_LOST; REQUEST_INVALID: the cursor is too long.
   */
  async end(end: JobEnd): Promise<void> {
    const job = this.#owned(end.jobId, end.token)
    noteProgress(job, end)
    if (end.outcome === 'done') {
      job.error = ''
      job.summary = end.summary
      job.counts = end.counts
      this.#letGo(job, 'done')
    } else if (end.outcome === 'failed') {
      this.#fail(job, end.error, 'backs off')
    } else {
      this.#letGo(job, afterOrder(job) ?? 'waiting')
    }
    await this.#saver.saveNow(job.id)
  }

  /** @throws {StoreError} JOB_NOT_FOUND; REQUEST_INVALID: it has ended. Errors of the store. */
  async order(jobId: number, order: JobOrder, signal: AbortSignal): Promise<JobView> {
    this.expire()
    const job = this.#jobs.get(jobId)
    if (job === undefined) {
      const ended = this.#ended.get(jobId)
      if (ended === undefined) throw new StoreError('JOB_NOT_FOUND', `there is no job ${jobId}`)
      throw new StoreError('REQUEST_INVALID', `job ${jobId} has ended: it is ${ended.state}`)
    }
    if (job.state === 'running') await this.#orderRunning(job, order, signal)
    else if (order === 'resume') await this.#resume(job, signal)
    else await this.#stop(job, order === 'pause' ? 'paused' : 'cancelled', signal)
    this.#watchers.onChanged(jobId)
    return viewOf(job)
  }

  /** Takes back the jobs of workers that have been silent for too long. */
  expire(): void {
    for (const jobId of this.#leases.expired(this.#parts.clock.monotonicMs())) {
      const job = this.#jobs.get(jobId)
      if (job === undefined) continue
      const { worker } = job
      this.#parts.logger.warn('jobs.lease_lost', { jobId, worker })
      this.#fail(job, `JOB_LEASE_LOST: the worker ${worker} went silent`, 'goes on at once')
      this.#saver.saveSoon(jobId)
    }
  }

  /** Keeps what is not kept yet. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const jobId of this.#leases.jobIds) this.#saver.saveSoon(jobId)
    await this.#saver.drain()
  }

  async #add(key: string, request: QueueRequest, signal: AbortSignal): Promise<JobView> {
    const jobsMax = LIMITS.jobsQueuedMax.value
    if (this.#jobs.size + this.#adding.size >= jobsMax) {
      throw new StoreError('OVERLOADED', `${jobsMax} jobs are queued already`)
    }
    this.#lastId++
    const job = newJob(this.#lastId, request, this.#parts.clock.nowMs())
    await this.#saver.commit(job, signal)
    this.#jobs.set(job.id, job)
    this.#bySubject.set(key, job.id)
    this.#watchers.onChanged(job.id)
    const { id: jobId, kind, target, reason } = job
    this.#parts.logger.info('jobs.queued', { jobId, kind, target, reason })
    return viewOf(job)
  }

  /** As a process before left it. */
  #load(job: JobRecord): void {
    const { clock } = this.#parts
    this.#jobs.set(job.id, job)
    this.#bySubject.set(subjectKey(job), job.id)
    // The wall clock may have been set meanwhile: no job waits for longer than it ever would.
    const waitMs = Math.min(BACKOFF_MAX_MS, Math.max(0, job.notBeforeMs - clock.nowMs()))
    if (waitMs > 0) this.#notBefore.set(job.id, clock.monotonicMs() + waitMs)
    const leaseMs = leaseMsOf(job.kind, this.#leaseMs)
    if (job.state === 'running') this.#grant(job, clock.monotonicMs() + leaseMs)
  }

  #grant(job: JobRecord, validUntilMs: number) {
    const locks = this.#parts.locksOf(job)
    const sinceMs = this.#parts.clock.monotonicMs()
    return this.#leases.grant(job.id, { validUntilMs, sinceMs, locks })
  }

  #isReady(job: JobRecord, nowMs: number): boolean {
    if ((this.#notBefore.get(job.id) ?? nowMs) > nowMs) return false
    if (!job.isAsked && this.#parts.isHeldBack(job)) return false
    if (this.#isOvertaken(job, nowMs)) return false
    return !this.#parts.locksOf(job).some((lock) => this.#leases.isLocked(lock))
  }

  /**
   * A repair of the same volume is due: what is missing does not wait for a chore; nor does what
   * a server held wait for the usual pass of the healer.
   */
  #isOvertaken({ kind, target: { node, volumeId } }: JobRecord, nowMs: number): boolean {
    if (kind === 'heal') return node === undefined && this.#isRecoveryDue(nowMs)
    const isRepair = REPAIR_KINDS.some((each) => each === kind)
    if (isRepair || volumeId === undefined) return false
    return REPAIR_KINDS.some((each) => this.#isRepairDue(each, volumeId, nowMs))
  }

  #isRecoveryDue(nowMs: number): boolean {
    for (const { id, kind, state, target } of this.#jobs.values()) {
      if (kind !== 'heal' || state !== 'waiting' || target.node === undefined) continue
      if ((this.#notBefore.get(id) ?? nowMs) <= nowMs) return true
    }
    return false
  }

  #isRepairDue(kind: JobKind, volumeId: VolumeId, nowMs: number): boolean {
    const key = subjectKey({ kind, target: { volumeId } })
    const repair = this.#jobs.get(this.#bySubject.get(key) ?? 0)
    if (repair?.state !== 'waiting' || repair.risk < RISK_BELOW) return false
    if ((this.#notBefore.get(repair.id) ?? nowMs) > nowMs) return false
    return repair.isAsked || !this.#parts.isHeldBack(repair)
  }

  #owned(jobId: number, token: string): JobRecord {
    this.expire()
    const job = this.#jobs.get(jobId)
    if (job?.state === 'running' && job.token === token) return job
    throw new StoreError('JOB_LEASE_LOST', `job ${jobId} is not this worker's any more`)
  }

  /** The attempt came to nothing. */
  #fail(job: JobRecord, error: string, next: 'backs off' | 'goes on at once'): void {
    const { clock, logger } = this.#parts
    const sinceMs = this.#leases.get(job.id)?.sinceMs ?? 0
    if (clock.monotonicMs() - sinceMs >= CALM_MS) job.failures = 0
    job.failures++
    job.error = error
    const isOver = job.failures >= FAILURES_MAX
    this.#letGo(job, afterOrder(job) ?? (isOver ? 'failed' : 'waiting'))
    if (job.state === 'failed') logger.error('jobs.given_up', { jobId: job.id, error })
    if (job.state !== 'waiting' || next === 'goes on at once') return
    const waitMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (job.failures - 1))
    this.#notBefore.set(job.id, clock.monotonicMs() + waitMs)
    job.notBeforeMs = clock.nowMs() + waitMs
  }

  /** It is no worker's any more. */
  #letGo(job: JobRecord, state: JobState): void {
    this.#leases.release(job.id)
    job.token = ''
    job.order = undefined
    job.state = state
    this.#notBefore.delete(job.id)
    job.notBeforeMs = 0
    if (hasEnded(job)) this.#bury(job)
    this.#watchers.onChanged(job.id)
  }

  #bury(job: JobRecord): void {
    const { clock } = this.#parts
    job.endedAtMs = clock.nowMs()
    job.cursor = ''
    this.#jobs.delete(job.id)
    this.#ended.set(job.id, job)
    const key = subjectKey(job)
    if (this.#bySubject.get(key) === job.id) this.#bySubject.delete(key)
    this.#noteEnded(job, clock.monotonicMs())
  }

  #noteEnded(job: JobRecord, atMs: number): void {
    this.#endedBySubject.set(subjectKey(job), { jobId: job.id, state: job.state, atMs })
  }

  async #orderRunning(job: JobRecord, order: JobOrder, signal: AbortSignal): Promise<void> {
    const before = job.order
    job.order = order === 'resume' ? undefined : order
    try {
      await this.#saver.commit(job, signal)
    } catch (error) {
      if (job.state === 'running') job.order = before
      throw error
    }
  }

  async #resume(job: JobRecord, signal: AbortSignal): Promise<void> {
    await this.#saver.commit({ ...job, state: 'waiting', notBeforeMs: 0 }, signal)
    if (job.state === 'paused' || job.state === 'waiting') this.#letGo(job, 'waiting')
    else this.#saver.saveSoon(job.id) // Taken or cancelled meanwhile: the row must say so.
  }

  async #stop(job: JobRecord, state: 'paused' | 'cancelled', signal: AbortSignal): Promise<void> {
    const before = job.state
    job.state = 'paused' // Nobody may take it while this is written.
    try {
      const endedAtMs = state === 'cancelled' ? this.#parts.clock.nowMs() : 0
      await this.#saver.commit({ ...job, state, endedAtMs }, signal)
    } catch (error) {
      if (this.#jobs.has(job.id)) job.state = before
      throw error
    }
    // Resumed meanwhile, it may even run again; or another order has ended it.
    const now = this.#jobs.get(job.id)?.state ?? 'running'
    if (now !== 'running') this.#letGo(job, state)
    else this.#saver.saveSoon(job.id)
  }

  #forget(jobId: number): void {
    const job = this.#ended.get(jobId)
    if (job === undefined) return
    this.#ended.delete(jobId)
    const key = subjectKey(job)
    if (this.#endedBySubject.get(key)?.jobId === jobId) this.#endedBySubject.delete(key)
  }

  #newToken(): string {
    const { random } = this.#parts
    return hex8(random.u32()) + hex8(random.u32()) + hex8(random.u32()) + hex8(random.u32())
  }
}

function noteProgress(job: JobRecord, { progress, cursor }: JobReport): void {
  const cursorMax = LIMITS.jobCursorMax.value
  if (Buffer.byteLength(cursor) > cursorMax) {
    throw new StoreError('REQUEST_INVALID', `a cursor of more than ${cursorMax} bytes`)
  }
  job.progress = progress
  job.cursor = cursor
}
