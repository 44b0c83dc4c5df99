import { assert } from '../base/assert.ts'
import { isStoreError } from '../base/store-error.ts'
import { JOB_KINDS, type JobKind, type JobLease, type JobsApi } from '../net/jobs-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectAccess } from './heal-files.ts'
import type { CreateJob, JobPhase } from './job.ts'
import { JobRun } from './job-run.ts'

export interface WorkerParts {
  readonly jobs: JobsApi
  readonly connect: ConnectVolume
  /** Undefined: jobs of the kind `heal` fail. */
  readonly objects?: ObjectAccess | undefined
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** How jobs come to be; by default those of this folder. */
  readonly createJob?: CreateJob | undefined
  /** Awaited wherever a job reaches a phase. */
  readonly onPhase?: ((kind: JobKind, phase: JobPhase, jobId: number) => Promise<void>) | undefined
}

export interface WorkerOptions {
  /** Unique among the workers alive. */
  readonly name: string
  /** Data centre whose jobs come first; empty: none. */
  readonly queue: string
  /** Empty: all. */
  readonly kinds: readonly JobKind[]
  /** Jobs at a time, beside those that wait for others. */
  readonly width: number
}

const POLL_FIRST_MS = 250
const POLL_MAX_MS = 2_000
const TAKE_DEADLINE_MS = 10_000

/** These wait for moves, and must not keep their worker from running them. */
const WAITING_KINDS: readonly JobKind[] = ['rebalance', 'evacuate']
/** So many of them at a time; while there are, only jobs of other kinds are taken. */
const WAITING_MAX = 8

/**
 * Takes jobs from the master and runs them, `width` at a time. A job that only waits for others
 * leaves its place to them meanwhile. Disposed, it gives all jobs back as they are.
 */
export class Worker implements AsyncDisposable {
  readonly #parts: WorkerParts
  readonly #options: WorkerOptions
  readonly #stop = new AbortController()
  readonly #runs = new Map<JobRun, Promise<void>>()
  #idleCount = 0
  #wake: () => void = () => {}
  #taking: Promise<void> = Promise.resolve()

  private constructor(parts: WorkerParts, options: WorkerOptions) {
    assert(options.width > 0, 'a worker without places for jobs')
    this.#parts = parts
    this.#options = options
  }

  static start(parts: WorkerParts, options: WorkerOptions): Worker {
    const worker = new Worker(parts, options)
    worker.#taking = worker.#takeAll()
    return worker
  }

  /** Jobs that are being run, waiting ones included. */
  get runningCount(): number {
    return this.#runs.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    for (const run of this.#runs.keys()) run.close()
    await this.#taking
    await Promise.all(this.#runs.values())
  }

  async #takeAll(): Promise<void> {
    const { signal } = this.#stop
    let pauseMs = POLL_FIRST_MS
    while (!signal.aborted) {
      if (this.#runs.size - this.#idleCount >= this.#options.width) {
        await this.#pause(POLL_MAX_MS)
        continue
      }
      const sinceMs = this.#parts.clock.monotonicMs()
      const lease = await this.#take()
      if (lease !== undefined) {
        this.#start(lease, sinceMs)
        pauseMs = POLL_FIRST_MS
        continue
      }
      await this.#pause(this.#jitter(pauseMs))
      pauseMs = Math.min(pauseMs * 2, POLL_MAX_MS)
    }
  }

  async #take(): Promise<JobLease | undefined> {
    const { jobs, clock, logger } = this.#parts
    const { name: worker, queue } = this.#options
    const kinds = this.#kinds()
    if (kinds === undefined) return undefined
    using deadline = deadlineAlso(clock, this.#stop.signal)
    try {
      return await jobs.takeJob({ worker, queue, kinds }, deadline.signal)
    } catch (error) {
      if (!isStoreError(error)) logger.error('worker.take_failed', { error })
      else logger.debug('worker.take_refused', { error: error.message })
      return undefined
    }
  }

  /** Undefined: nothing that this worker could run now. */
  #kinds(): readonly JobKind[] | undefined {
    const { kinds } = this.#options
    if (this.#idleCount < WAITING_MAX) return kinds
    const wanted = (kinds.length === 0 ? JOB_KINDS : kinds).filter(
      (kind) => !WAITING_KINDS.includes(kind),
    )
    return wanted.length === 0 ? undefined : wanted
  }

  #start(lease: JobLease, sinceMs: number): void {
    const onIdle = (isIdle: boolean) => {
      this.#idleCount += isIdle ? 1 : -1
      if (isIdle) this.#wake()
    }
    let isIdle = false
    const run = new JobRun(this.#parts, {
      lease,
      sinceMs,
      onIdle: (idle) => {
        if (idle !== isIdle) onIdle(idle)
        isIdle = idle
      },
    })
    const running = run.run().finally(() => {
      if (isIdle) onIdle(false)
      this.#runs.delete(run)
      this.#wake()
    })
    this.#runs.set(run, running)
    if (this.#stop.signal.aborted) run.close()
  }

  /** Ends early when a place becomes free. */
  async #pause(ms: number): Promise<void> {
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    using _stopping = onAbort(this.#stop.signal, () => woken.abort())
    if (this.#stop.signal.aborted) return
    await this.#parts.clock.sleep(ms, woken.signal).catch(() => 'woken')
    this.#wake = () => {}
  }

  /** Many workers must not ask at the same moment. */
  #jitter(ms: number): number {
    return ms * (0.5 + this.#parts.random.u32() / 2 ** 33)
  }
}

function deadlineAlso(clock: Clock, signal: AbortSignal): Disposable & { signal: AbortSignal } {
  const own = new AbortController()
  const timer = clock.after(TAKE_DEADLINE_MS, () => own.abort())
  const stopping = onAbort(signal, () => own.abort(signal.reason))
  return {
    signal: own.signal,
    [Symbol.dispose]: () => {
      timer[Symbol.dispose]()
      stopping[Symbol.dispose]()
    },
  }
}
