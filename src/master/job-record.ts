import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { LIMITS } from '../base/limits.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import type { JobRequest, JobState, JobView } from '../net/jobs-api.ts'
import type { JobRecord } from './job-rows.ts'

export interface QueueRequest extends JobRequest {
  /** Higher goes first. */
  readonly risk: number
  /** Data centre. */
  readonly queue: string
  /** By an operator or another job, not by the scheduler. */
  readonly isAsked: boolean
}

export type JobSubject = Pick<JobRequest, 'kind' | 'target'>

/** The same text for the same work. */
export function subjectKey({ kind, target }: JobSubject): string {
  const { volumeId, node, toNode, collection, replication, isDeep, acceptNode, erasure } = target
  const placement = replication === undefined ? undefined : formatReplicaPlacement(replication)
  const scheme = erasure === undefined ? undefined : formatErasureScheme(erasure)
  const parts = [volumeId, node, toNode, collection, placement, isDeep === true, acceptNode, scheme]
  return `${kind} ${JSON.stringify(parts)}`
}

export function newJob(id: number, request: QueueRequest, createdAtMs: number): JobRecord {
  const { kind, target, reason, risk, queue, isAsked } = request
  return {
    id,
    kind,
    target,
    reason,
    state: 'waiting',
    order: undefined,
    risk,
    queue,
    isAsked,
    progress: { phase: '', done: 0, total: 0, unit: 'volumes' },
    cursor: '',
    attempts: 0,
    failures: 0,
    createdAtMs,
    startedAtMs: 0,
    endedAtMs: 0,
    notBeforeMs: 0,
    worker: '',
    token: '',
    error: '',
    summary: '',
    counts: undefined,
  }
}

export function hasEnded({ state }: Pick<JobRecord, 'state'>): boolean {
  return state === 'done' || state === 'failed' || state === 'cancelled'
}

/** What was ordered while it ran takes effect when it is let go. */
export function afterOrder({ order }: JobRecord): JobState | undefined {
  if (order === undefined || order === 'resume') return undefined
  return order === 'pause' ? 'paused' : 'cancelled'
}

export function viewOf(job: JobRecord): JobView {
  const {
    order: _order,
    cursor: _cursor,
    failures: _failures,
    token: _token,
    isAsked: _isAsked,
    counts,
    ...view
  } = job
  return counts === undefined ? view : { ...view, counts }
}

/** Of the healer, of those that have ended. */
const HEALS_KEPT = 20

/**
 * Which of the jobs that have ended, in the order of their end, are to be forgotten. Those of the
 * healer, which are many, must not push out all others. Never the newest of all: its number must
 * not be given out again after a restart.
 */
export function surplusJobs(ended: ReadonlyMap<number, JobRecord>, lastId: number): number[] {
  const surplus = ended.size - LIMITS.endedJobsKept.value
  const heals = [...ended.values()].filter(({ kind }) => kind === 'heal').map(({ id }) => id)
  const gone = new Set(heals.slice(0, Math.max(0, heals.length - HEALS_KEPT)))
  for (const jobId of ended.keys()) {
    if (gone.size >= surplus) break
    if (jobId !== lastId) gone.add(jobId)
  }
  gone.delete(lastId)
  return [...gone]
}
