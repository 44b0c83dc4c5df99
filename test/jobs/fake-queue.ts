import { StoreError } from '../../src/base/store-error.ts'
import type {
  JobAdvice,
  JobEnd,
  JobKind,
  JobLease,
  JobReport,
  JobsApi,
  TakeJobRequest,
} from '../../src/net/jobs-api.ts'
import type { Clock } from '../../src/runtime/clock.ts'
import { viewOf } from './model-session.ts'

interface Queued {
  readonly id: number
  readonly kind: JobKind
  readonly politeness: number
  state: 'waiting' | 'running' | 'paused' | JobEnd['outcome']
  token: string
  cursor: string
  validUntilMs: number
  attempts: number
  error: string
  summary: string
}

/** A queue with leases, as workers see it, and orders that a test gives. */
export class FakeQueue {
  readonly jobs = new Map<number, Queued>()
  readonly taken: TakeJobRequest[] = []
  readonly reports: JobReport[] = []
  readonly ends: JobEnd[] = []
  readonly advice = new Map<number, JobAdvice>()
  validMs = 10_000
  /** Every call fails with UNAVAILABLE. */
  isDown = false
  readonly #clock: Clock
  #tokenCount = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(kind: JobKind, politeness = 0): number {
    const id = this.jobs.size + 1
    this.jobs.set(id, {
      id,
      kind,
      politeness,
      state: 'waiting',
      token: '',
      cursor: '',
      validUntilMs: 0,
      attempts: 0,
      error: '',
      summary: '',
    })
    return id
  }

  job(id: number): Queued {
    const job = this.jobs.get(id)
    if (job === undefined) throw new Error(`no job ${id}`)
    return job
  }

  /** Only what a worker calls by itself; jobs of tests need nothing else. */
  get api(): JobsApi {
    const calls = {
      takeJob: async (request: TakeJobRequest) => this.#take(request),
      reportJob: async (report: JobReport) => this.#report(report),
      endJob: async (end: JobEnd) => this.#end(end),
    }
    return new Proxy(calls, {
      get(target, name) {
        if (name in target) return Reflect.get(target, name)
        throw new Error(`${String(name)} was not expected`)
      },
    }) as unknown as JobsApi
  }

  #take(request: TakeJobRequest): JobLease | undefined {
    this.#refuseIfDown()
    this.taken.push(request)
    const nowMs = this.#clock.monotonicMs()
    for (const job of this.jobs.values()) {
      const isLapsed = job.state === 'running' && job.validUntilMs < nowMs
      const isFree = job.state === 'waiting' || job.state === 'released' || isLapsed
      const isWanted = request.kinds.length === 0 || request.kinds.includes(job.kind)
      if (!isFree || !isWanted) continue
      job.state = 'running'
      job.token = `t${++this.#tokenCount}`
      job.validUntilMs = nowMs + this.validMs
      job.attempts++
      const view = viewOf(job.id, { kind: job.kind, target: {}, reason: '' })
      const { token, cursor, politeness } = job
      return { job: view, token, validMs: this.validMs, epoch: 1, cursor, politeness }
    }
    return undefined
  }

  #report(report: JobReport): JobAdvice {
    this.#refuseIfDown()
    this.reports.push(report)
    const job = this.#leased(report)
    job.cursor = report.cursor
    job.validUntilMs = this.#clock.monotonicMs() + this.validMs
    return this.advice.get(report.jobId) ?? 'go-on'
  }

  #end(end: JobEnd): void {
    this.#refuseIfDown()
    const job = this.#leased(end)
    this.ends.push(end)
    job.cursor = end.cursor
    job.state = end.outcome
    job.error = end.error
    job.summary = end.summary
    if (this.advice.has(job.id)) job.state = 'paused'
  }

  #leased({ jobId, token }: JobReport): Queued {
    const job = this.job(jobId)
    const isLapsed = job.validUntilMs < this.#clock.monotonicMs()
    if (job.state !== 'running' || job.token !== token || isLapsed) {
      throw new StoreError('JOB_LEASE_LOST', 'it belongs to another one')
    }
    return job
  }

  #refuseIfDown(): void {
    if (this.isDown) throw new StoreError('UNAVAILABLE', 'the master is down')
  }
}
