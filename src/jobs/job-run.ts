import { isStoreError, type StoreError } from '../base/store-error.ts'
import type { JobAdvice, JobEnd, JobLease } from '../net/jobs-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { createJob } from './create-job.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { deadlineOf } from './volume-work.ts'
import type { WorkerParts } from './worker.ts'

const REPORT_MS = 2_000
const IDLE_MS = 500
/** Longer rests would only make people wonder. */
const REST_MS_MAX = 10_000
const END_TRIES = 3
const END_PAUSE_MS = 500
const END_DEADLINE_MS = 3_000

/** Why a run ends before its job is done. */
type StopReason = 'pause' | 'cancel' | 'make-way' | 'closing' | 'lease-lost'

/** One lease, from the moment it was given to its end: steps, rests, and reports meanwhile. */
export class JobRun {
  readonly #parts: WorkerParts
  readonly #lease: JobLease
  readonly #stop = new AbortController()
  readonly #onIdle: (isIdle: boolean) => void
  #reason: StopReason | undefined
  #validUntilMs: number
  #job: Job | undefined

  /** `sinceMs`: by the monotonic clock, when the lease was asked for. */
  constructor(
    parts: WorkerParts,
    options: {
      readonly lease: JobLease
      readonly sinceMs: number
      readonly onIdle: (isIdle: boolean) => void
    },
  ) {
    this.#parts = parts
    this.#lease = options.lease
    this.#onIdle = options.onIdle
    this.#validUntilMs = options.sinceMs + options.lease.validMs
  }

  /** The job is given back as it is. */
  close(): void {
    this.#end('closing')
  }

  /** Never rejects: whatever happens is told to the master, or noticed by it. */
  async run(): Promise<void> {
    const { logger } = this.#parts
    const { id, kind } = this.#lease.job
    const reporting = this.#keepReporting()
    let end: Pick<JobEnd, 'outcome' | 'error'>
    try {
      await this.#work()
      end = { outcome: 'done', error: '' }
    } catch (error) {
      end = this.#outcomeOf(error)
      if (!isStoreError(error)) logger.error('job.crashed', { jobId: id, kind, error })
    }
    this.#stop.abort()
    await reporting
    const { outcome, error } = end
    const summary = this.#job?.summary ?? ''
    logger.info('job.ended', { jobId: id, kind, outcome, error, summary, reason: this.#reason })
    if (this.#reason !== 'lease-lost') await this.#tellEnd(end)
  }

  async #work(): Promise<void> {
    const { signal } = this.#stop
    const { clock } = this.#parts
    const create = this.#parts.createJob ?? createJob
    const job = create(this.#context())
    this.#job = job
    for (;;) {
      if (signal.aborted) throw cancelledError(signal, 'between two steps')
      const sinceMs = clock.monotonicMs()
      const result = await job.step(signal)
      if (result === 'done') return
      await this.#rest(job, result, clock.monotonicMs() - sinceMs)
    }
  }

  async #rest(job: Job, result: StepResult, workMs: number): Promise<void> {
    const { signal } = this.#stop
    const { clock } = this.#parts
    if (result === 'idle') {
      this.#onIdle(true)
      await clock.sleep(IDLE_MS, signal)
      this.#onIdle(false)
      return
    }
    const restMs = job.isPaced ? 0 : Math.min(workMs * this.#lease.politeness, REST_MS_MAX)
    if (restMs > 0) await clock.sleep(restMs, signal)
    else await yieldTurn()
  }

  #context(): JobContext {
    const { jobs, connect, objects, clock, logger, onPhase } = this.#parts
    const lease = this.#lease
    const { id, kind } = lease.job
    return {
      lease,
      jobs,
      connect,
      objects,
      clock,
      logger,
      reached: async (phase) => {
        logger.debug('job.phase', { jobId: id, kind, phase })
        await onPhase?.(kind, phase, id)
      },
      save: async (signal) => {
        await this.#report(signal)
      },
    }
  }

  /** Keeps the lease, and hears what the master wants of the job. */
  async #keepReporting(): Promise<void> {
    const { clock, logger } = this.#parts
    const { signal } = this.#stop
    const everyMs = Math.min(REPORT_MS, this.#lease.validMs / 4)
    while (!signal.aborted) {
      try {
        await clock.sleep(everyMs, signal)
        using deadline = deadlineOf(clock, this.#remainingMs())
        await this.#report(AbortSignal.any([signal, deadline.signal]))
      } catch (error) {
        if (signal.aborted) return
        if (isStoreError(error, 'JOB_LEASE_LOST')) return this.#end('lease-lost')
        logger.debug('job.report_failed', { jobId: this.#lease.job.id, error })
        // By our own clock: the master may have given the job to somebody else by then.
        if (this.#remainingMs() <= everyMs) return this.#end('lease-lost')
      }
    }
  }

  async #report(signal: AbortSignal): Promise<void> {
    const sentAtMs = this.#parts.clock.monotonicMs()
    const advice = await this.#parts.jobs.reportJob(this.#state(), signal)
    this.#validUntilMs = Math.max(this.#validUntilMs, sentAtMs + this.#lease.validMs)
    this.#obey(advice)
  }

  #obey(advice: JobAdvice): void {
    if (advice !== 'go-on') this.#end(advice)
  }

  #end(reason: StopReason): void {
    this.#reason ??= reason
    this.#stop.abort(reason)
  }

  #remainingMs(): number {
    return Math.max(0, this.#validUntilMs - this.#parts.clock.monotonicMs())
  }

  #state() {
    const { job, token } = this.#lease
    const progress = this.#job?.progress ?? job.progress
    const cursor = this.#job?.cursor ?? this.#lease.cursor
    return { jobId: job.id, token, progress, cursor }
  }

  #outcomeOf(error: unknown): Pick<JobEnd, 'outcome' | 'error'> {
    if (isStoreError(error, 'JOB_LEASE_LOST')) this.#end('lease-lost')
    if (this.#reason !== undefined) return { outcome: 'released', error: '' }
    if (isStoreError(error)) return { outcome: 'failed', error: describe(error) }
    const message = error instanceof Error ? error.message : String(error)
    return { outcome: 'failed', error: `a defect of ours: ${message}` }
  }

  /** If the master cannot be told, the lease runs out, and the job is taken up where it is. */
  async #tellEnd(end: Pick<JobEnd, 'outcome' | 'error'>): Promise<void> {
    const { clock, jobs, logger } = this.#parts
    const { counts, summary = '' } = this.#job ?? {}
    const what = { ...end, summary, ...(counts !== undefined && { counts }) }
    for (let tries = 1; tries <= END_TRIES && this.#remainingMs() > 0; tries++) {
      using deadline = deadlineOf(clock, END_DEADLINE_MS)
      const { signal } = deadline
      try {
        return await jobs.endJob({ ...this.#state(), ...what }, signal)
      } catch (error) {
        logger.warn('job.end_not_told', { jobId: this.#lease.job.id, error })
        if (isStoreError(error, 'JOB_LEASE_LOST')) return
        await clock.sleep(END_PAUSE_MS, signal).catch(() => 'the next try is due')
      }
    }
  }
}

function describe({ code, message }: StoreError): string {
  return `${code}: ${message}`
}
