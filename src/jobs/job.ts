import type { JobCounts, JobKind, JobLease, JobProgress, JobsApi } from '../net/jobs-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { ObjectAccess } from './heal-files.ts'

/**
 * The moments between which something lasting happens, in the order in which a job passes them; a
 * job may pass some several times, or leave out what its volume does not need. A worker that dies
 * at any of them leaves the old state or the new one, and whoever takes the job next goes on.
 */
export const JOB_PHASES = {
  'replica-repair': [
    'planned',
    'copied',
    'frozen',
    'caught-up',
    'compared',
    'joined',
    'thawed',
    'reconciled',
    'healed',
    'resolved',
    'left',
    'removed',
  ],
  move: ['planned', 'copied', 'frozen', 'caught-up', 'compared', 'switched', 'removed', 'thawed'],
  rebalance: ['planned', 'moved'],
  evacuate: ['planned', 'moved'],
  vacuum: ['planned', 'vacuumed', 'noted'],
  scrub: ['planned', 'read', 'healed', 'renewed', 'noted'],
  expire: ['planned', 'forgotten', 'removed'],
  'set-replication': ['planned', 'recorded', 'told'],
  'ec-encode': [
    'planned',
    'sealed',
    'encoded',
    'spread',
    'verified',
    'frozen',
    'caught-up',
    'switched',
    'removed',
    'thawed',
  ],
  'ec-repair': [
    'planned',
    'journaled',
    'rebuilt',
    'frozen',
    'joined',
    'thawed',
    'healed',
    'resolved',
    'removed',
  ],
  'ec-balance': ['planned', 'copied', 'frozen', 'switched', 'thawed', 'removed'],
  'ec-vacuum': [
    'planned',
    'decoded',
    'encoded',
    'spread',
    'verified',
    'frozen',
    'caught-up',
    'switched',
    'removed',
    'thawed',
  ],
  'ec-decode': [
    'planned',
    'decoded',
    'copied',
    'frozen',
    'caught-up',
    'switched',
    'removed',
    'thawed',
  ],
  heal: ['planned', 'undone', 'completed', 'repaired', 'rebuilt', 'forgotten', 'verified'],
} as const satisfies Readonly<Record<JobKind, readonly string[]>>

export type JobPhase<Kind extends JobKind = JobKind> = (typeof JOB_PHASES)[Kind][number]

/**
 * `busy`: call again. `idle`: nothing can be done until other jobs have been; call again after a
 * pause, in which the worker may run those others.
 */
export type StepResult = 'busy' | 'idle' | 'done'

/**
 * A chore in steps. Every step may be the last one that is called, and may be repeated by another
 * worker that knows only the cursor: what it finds done it does not do again.
 */
export interface Job {
  /**
   * @throws {StoreError} the attempt has failed; the queue decides about another one. CANCELLED
   * when `signal` aborts: let go of everything at once.
   */
  step(signal: AbortSignal): Promise<StepResult>

  readonly progress: JobProgress

  /** All that a new worker needs to go on, beside what the cluster itself says. */
  readonly cursor: string

  /** For people, once it is done: what was done. */
  readonly summary: string

  /** The same in numbers; undefined: it counts nothing. */
  readonly counts?: JobCounts | undefined

  /** The last step kept to the lease's politeness by itself: no further rest is due for it. */
  readonly isPaced: boolean
}

/** What a job works with. */
export interface JobContext {
  readonly lease: JobLease
  readonly jobs: JobsApi
  readonly connect: ConnectVolume
  /** Objects and their bytes; undefined: this worker cannot heal them. */
  readonly objects?: ObjectAccess | undefined
  readonly clock: Clock
  readonly logger: Logger
  /**
   * A phase has been reached: what it names is done, and lasting. Awaited, so that tests can stop
   * a worker exactly there.
   */
  readonly reached: (phase: JobPhase) => Promise<void>
  /**
   * Returns once the master has the cursor as it is now: before a change that a new worker could
   * not understand without it. @throws {StoreError} as `JobsApi.reportJob`.
   */
  readonly save: (signal: AbortSignal) => Promise<void>
}

export type CreateJob = (context: JobContext) => Job
