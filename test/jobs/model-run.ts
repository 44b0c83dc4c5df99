import { createJob } from '../../src/jobs/create-job.ts'
import type { JobPhase } from '../../src/jobs/job.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import type { ModelCluster } from './model-cluster.ts'
import { ModelJobs, ModelSession, viewOf } from './model-session.ts'

const STEPS_MAX = 300

export interface RunOptions {
  readonly kind: JobKind
  readonly target: JobTarget
  /** Changes the session before anything is called: hooks, faults. */
  readonly prepare?: (session: ModelSession) => void
  readonly onPhase?: (phase: JobPhase, session: ModelSession) => void
  /** Called when the job waits for others. */
  readonly onIdle?: () => Promise<void>
}

export interface RunResult {
  /** `killed`: its worker died. */
  readonly outcome: 'done' | 'failed' | 'killed'
  readonly error: unknown
  readonly summary: string
}

/** A job over several attempts, each by a worker of its own that knows what the master knows. */
export class ModelJob {
  readonly #cluster: ModelCluster
  readonly id: number
  /** As the master has it: what was saved, or what the last report brought. */
  cursor = ''
  attempts = 0
  #latestCursor = ''

  constructor(cluster: ModelCluster, kind: JobKind, target: JobTarget, queuedId?: number) {
    this.#cluster = cluster
    this.id = queuedId ?? cluster.jobs.size + 1
    cluster.jobs.set(this.id, viewOf(this.id, { kind, target, reason: '' }))
  }

  /** The last report before it died came through after all. */
  keepLatest(): void {
    this.cursor = this.#latestCursor
  }

  async attempt(options: RunOptions): Promise<RunResult> {
    const cluster = this.#cluster
    const session = new ModelSession(cluster)
    options.prepare?.(session)
    this.attempts++
    const { kind, target } = options
    const request = { kind, target, reason: '' }
    const view = { ...viewOf(this.id, request), attempts: this.attempts }
    const jobs = new ModelJobs(session)
    const context = {
      lease: {
        job: view,
        token: 't',
        validMs: 10_000,
        epoch: 1,
        cursor: this.cursor,
        politeness: 0,
      },
      jobs,
      connect: session.connect,
      clock: cluster.clock,
      logger: silentLogger,
      reached: async (phase: JobPhase) => {
        options.onPhase?.(phase, session)
        session.check()
      },
      save: async () => {
        await jobs.reportJob()
        this.cursor = job.cursor
      },
    }
    const job = createJob(context)
    const { signal } = new AbortController()
    try {
      for (let count = 0; count < STEPS_MAX; count++) {
        const result = await job.step(signal)
        this.#latestCursor = job.cursor
        if (result === 'idle') await options.onIdle?.()
        if (result !== 'done') continue
        cluster.jobs.set(this.id, { ...view, state: 'done', endedAtMs: 1 })
        return { outcome: 'done', error: undefined, summary: job.summary }
      }
      throw new Error(`the job does not end: ${JSON.stringify(job.progress)} ${job.cursor}`)
    } catch (error) {
      this.#latestCursor = job.cursor
      if (session.isDead) return { outcome: 'killed', error, summary: '' }
      this.cursor = job.cursor
      return { outcome: 'failed', error, summary: job.summary }
    }
  }
}

/** What other workers do: the moves that wait. */
export async function runQueuedMoves(cluster: ModelCluster): Promise<void> {
  for (const { id, kind, target, endedAtMs } of [...cluster.jobs.values()]) {
    if (kind !== 'move' || endedAtMs !== 0) continue
    await new ModelJob(cluster, kind, target, id).attempt({ kind, target })
  }
}

/** To its end, or the error it fails with. */
export async function runModelJob(
  cluster: ModelCluster,
  kind: JobKind,
  target: JobTarget,
  options: Partial<RunOptions> = {},
): Promise<RunResult> {
  return await new ModelJob(cluster, kind, target).attempt({ kind, target, ...options })
}
