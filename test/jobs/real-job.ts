import { StoreError } from '../../src/base/store-error.ts'
import { createJob } from '../../src/jobs/create-job.ts'
import type { Job, JobPhase } from '../../src/jobs/job.ts'
import type { JobKind, JobsApi, JobTarget } from '../../src/net/jobs-api.ts'
import type { ConnectVolume, VolumeApi } from '../../src/net/volume-api.ts'
import type { Clock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { viewOf } from './model-session.ts'

const STEPS_MAX = 100

export interface RealJobParts {
  readonly jobs: JobsApi
  readonly connect: ConnectVolume
  readonly clock: Clock
}

export interface RealJobRequest {
  readonly id?: number
  readonly attempts?: number
  readonly kind: JobKind
  readonly target: JobTarget
  /** As the last attempt left it. */
  readonly cursor: string
  /** The worker dies there. */
  readonly isDeadAt: (phase: JobPhase) => boolean
}

export interface RealJobResult {
  /** `killed`: its worker died. */
  readonly outcome: 'done' | 'failed' | 'killed'
  readonly error: unknown
  /** What the master knows for the next attempt. */
  readonly cursor: string
  readonly summary: string
}

/** One attempt at a job, by a worker that deals with real servers. */
export async function attemptJob(
  parts: RealJobParts,
  request: RealJobRequest,
): Promise<RealJobResult> {
  const { id = 1, attempts = 1, kind, target, isDeadAt } = request
  let { cursor } = request
  let isDead = false
  const check = (): void => {
    if (isDead) throw new StoreError('CANCELLED', 'the worker is dead')
  }
  const view = { ...viewOf(id, { kind, target, reason: '' }), attempts }
  const job = createJob({
    lease: { job: view, token: 't', validMs: 10_000, epoch: 1, cursor, politeness: 0 },
    jobs: guarded(parts.jobs, check),
    connect: (location) => guarded<VolumeApi>(parts.connect(location), check),
    clock: parts.clock,
    logger: silentLogger,
    reached: async (phase) => {
      isDead ||= isDeadAt(phase)
      check()
    },
    save: async () => {
      check()
      cursor = job.cursor
    },
  })
  try {
    await runToEnd(job)
    return { outcome: 'done', error: undefined, cursor: '', summary: job.summary }
  } catch (error) {
    const { summary } = job
    if (isDead) return { outcome: 'killed', error, cursor, summary }
    return { outcome: 'failed', error, cursor: job.cursor, summary }
  }
}

async function runToEnd(job: Job): Promise<void> {
  for (let count = 0; count < STEPS_MAX; count++) {
    if ((await job.step(SIGNAL)) === 'done') return
  }
  throw new Error(`the job does not end: ${JSON.stringify(job.progress)} ${job.cursor}`)
}

/** Every call is refused once `check` throws; what is under way goes on. */
function guarded<Api extends object>(api: Api, check: () => void): Api {
  return intercepted(api, (_name, call) => {
    check()
    return call()
  })
}

/** Every call goes through `pass`, those of the objects within as well. */
export function intercepted<Api extends object>(
  api: Api,
  pass: (name: string, call: () => unknown) => unknown,
): Api {
  return new Proxy(api, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member === 'object' && member !== null) return intercepted(member, pass)
      if (typeof member !== 'function') return member
      return (...values: unknown[]) => {
        return pass(String(name), () => Reflect.apply(member, target, values))
      }
    },
  })
}
