import { formatErasureScheme, parseErasureScheme } from '../base/erasure-scheme.ts'
import { LIMITS } from '../base/limits.ts'
import {
  JOB_KINDS,
  type JobAdvice,
  type JobEnd,
  type JobKind,
  type JobLease,
  type JobOrder,
  type JobProgress,
  type JobReport,
  type JobRequest,
  type JobState,
  type JobTarget,
  type JobView,
  type ListJobsRequest,
  type TakeJobRequest,
} from './jobs-api.ts'
import { countsFromWire, countsToWire, type WireCounts } from './wire-heal.ts'
import {
  invalid,
  placementToWire,
  present,
  wireNumber,
  wirePlacement,
  wirePoliteness,
  wireVolumeId,
  wireWord,
} from './wire-values.ts'

/** Messages of jobs.proto about jobs, as the loader shows them, and back. */

export interface WireTarget {
  readonly volumeId: number
  readonly node: string
  readonly toNode: string
  readonly collection?: string | undefined
  readonly replication: string
  readonly isDeep: boolean
  readonly acceptNode: string
  readonly erasure: string
}

export interface WireJobRequest {
  readonly kind: string
  readonly target: WireTarget | null
  readonly reason: string
}

export interface WireProgress {
  readonly phase: string
  readonly done: number
  readonly total: number
  readonly unit: string
}

export interface WireJob extends WireJobRequest {
  readonly id: number
  readonly state: string
  readonly risk: number
  readonly queue: string
  readonly progress: WireProgress | null
  readonly attempts: number
  readonly createdAtMs: number
  readonly startedAtMs: number
  readonly endedAtMs: number
  readonly notBeforeMs: number
  readonly worker: string
  readonly error: string
  readonly summary: string
  readonly counts: WireCounts
}

export interface WireJobs {
  readonly jobs: readonly WireJob[]
}

export interface WireListJobs {
  readonly kind: string
  readonly withEnded: boolean
}

export interface WireOrder {
  readonly jobId: number
  readonly order: string
}

export interface WireTake {
  readonly worker: string
  readonly queue: string
  readonly kinds: readonly string[]
}

export interface WireLease {
  readonly job: WireJob | null
  readonly token: string
  readonly validMs: number
  readonly epoch: number
  readonly cursor: string
  readonly politeness: number
}

export interface WireTaken {
  readonly lease: WireLease | null
}

export interface WireReport {
  readonly jobId: number
  readonly token: string
  readonly progress: WireProgress | null
  readonly cursor: string
}

export interface WireEnd extends WireReport {
  readonly outcome: string
  readonly error: string
  readonly summary: string
  readonly counts: WireCounts
}

const STATES = [
  'waiting',
  'running',
  'paused',
  'done',
  'failed',
  'cancelled',
] as const satisfies readonly JobState[]
const UNITS = ['bytes', 'needles', 'volumes'] as const satisfies readonly JobProgress['unit'][]
const ORDERS = ['pause', 'resume', 'cancel'] as const satisfies readonly JobOrder[]
const ADVICES = ['go-on', 'pause', 'cancel', 'make-way'] as const satisfies readonly JobAdvice[]
const OUTCOMES = ['done', 'failed', 'released'] as const satisfies readonly JobEnd['outcome'][]

export function targetToWire(target: JobTarget): WireTarget {
  return {
    volumeId: target.volumeId ?? 0,
    node: target.node ?? '',
    toNode: target.toNode ?? '',
    collection: target.collection,
    replication: placementToWire(target.replication),
    isDeep: target.isDeep ?? false,
    acceptNode: target.acceptNode ?? '',
    erasure: target.erasure === undefined ? '' : formatErasureScheme(target.erasure),
  }
}

/**
 * What was not set is not there.
 *
 * @throws {StoreError} REQUEST_INVALID, or of the replication or the scheme.
 */
export function targetFromWire(wire: WireTarget | null): JobTarget {
  const target = present(wire, 'what a job is about')
  const { volumeId, node, toNode, collection, isDeep, acceptNode, erasure } = target
  const replication = wirePlacement(target.replication)
  return {
    ...(volumeId !== 0 && { volumeId: wireVolumeId(volumeId) }),
    ...(node !== '' && { node }),
    ...(toNode !== '' && { toNode }),
    ...(collection !== undefined && { collection }),
    ...(replication !== undefined && { replication }),
    ...(isDeep && { isDeep }),
    ...(acceptNode !== '' && { acceptNode }),
    ...(erasure !== '' && { erasure: parseErasureScheme(erasure) }),
  }
}

export function jobRequestToWire(request: JobRequest): WireJobRequest {
  return { kind: request.kind, target: targetToWire(request.target), reason: request.reason }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function jobRequestFromWire(wire: WireJobRequest): JobRequest {
  return {
    kind: jobKindFromWire(wire.kind),
    target: targetFromWire(wire.target),
    reason: wire.reason,
  }
}

export function progressToWire(progress: JobProgress): WireProgress {
  const { phase, done, total, unit } = progress
  return { phase, done, total, unit }
}

/** @throws {StoreError} REQUEST_INVALID */
export function progressFromWire(wire: WireProgress | null): JobProgress {
  const { phase, done, total, unit } = present(wire, 'the progress of a job')
  return {
    phase,
    done: wireNumber(done, 'what is done'),
    total: wireNumber(total, 'what there is to do'),
    unit: wireWord(unit, UNITS, 'the unit of a progress'),
  }
}

export function jobToWire(job: JobView): WireJob {
  return {
    ...jobRequestToWire(job),
    id: job.id,
    state: job.state,
    risk: job.risk,
    queue: job.queue,
    progress: progressToWire(job.progress),
    attempts: job.attempts,
    createdAtMs: job.createdAtMs,
    startedAtMs: job.startedAtMs,
    endedAtMs: job.endedAtMs,
    notBeforeMs: job.notBeforeMs,
    worker: job.worker,
    error: job.error,
    summary: job.summary,
    counts: countsToWire(job.counts),
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function jobFromWire(wire: WireJob): JobView {
  if (Number.isNaN(wire.risk)) throw invalid('a risk that is no number')
  const counts = countsFromWire(wire.counts)
  return {
    ...jobRequestFromWire(wire),
    id: wireNumber(wire.id, 'the number of a job'),
    state: wireWord(wire.state, STATES, 'the state of a job'),
    risk: wire.risk,
    queue: wire.queue,
    progress: progressFromWire(wire.progress),
    attempts: wire.attempts,
    createdAtMs: wireNumber(wire.createdAtMs, 'a time'),
    startedAtMs: wireNumber(wire.startedAtMs, 'a time'),
    endedAtMs: wireNumber(wire.endedAtMs, 'a time'),
    notBeforeMs: wireNumber(wire.notBeforeMs, 'a time'),
    worker: wire.worker,
    error: wire.error,
    summary: wire.summary,
    ...(counts !== undefined && { counts }),
  }
}

export function listJobsToWire(request: ListJobsRequest): WireListJobs {
  return { kind: request.kind ?? '', withEnded: request.withEnded }
}

/** @throws {StoreError} REQUEST_INVALID */
export function listJobsFromWire(wire: WireListJobs): ListJobsRequest {
  const { kind, withEnded } = wire
  return { kind: kind === '' ? undefined : jobKindFromWire(kind), withEnded }
}

/** @throws {StoreError} REQUEST_INVALID */
export function orderFromWire(wire: WireOrder): {
  readonly jobId: number
  readonly order: JobOrder
} {
  const order = wireWord(wire.order, ORDERS, 'an order')
  return { jobId: wireNumber(wire.jobId, 'the number of a job'), order }
}

export function takeToWire(request: TakeJobRequest): WireTake {
  return { worker: request.worker, queue: request.queue, kinds: request.kinds }
}

/** @throws {StoreError} REQUEST_INVALID */
export function takeFromWire(wire: WireTake): TakeJobRequest {
  const { worker, queue, kinds } = wire
  return { worker, queue, kinds: kinds.map(jobKindFromWire) }
}

export function leaseToWire(lease: JobLease): WireLease {
  const { token, validMs, epoch, cursor, politeness } = lease
  return { job: jobToWire(lease.job), token, validMs, epoch, cursor, politeness }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function leaseFromWire(wire: WireLease): JobLease {
  return {
    job: jobFromWire(present(wire.job, 'the job of a lease')),
    token: wire.token,
    validMs: wire.validMs,
    epoch: wireNumber(wire.epoch, 'an epoch'),
    cursor: wire.cursor,
    politeness: wirePoliteness(wire.politeness),
  }
}

export function reportToWire(report: JobReport): WireReport {
  const { jobId, token, progress, cursor } = report
  return { jobId, token, progress: progressToWire(progress), cursor }
}

/** @throws {StoreError} REQUEST_INVALID, also for a cursor above `LIMITS.jobCursorMax`. */
export function reportFromWire(wire: WireReport): JobReport {
  const { cursor, token } = wire
  const bytes = Buffer.byteLength(cursor)
  if (bytes > LIMITS.jobCursorMax.value) throw invalid(`a cursor of ${bytes} bytes`)
  const jobId = wireNumber(wire.jobId, 'the number of a job')
  return { jobId, token, progress: progressFromWire(wire.progress), cursor }
}

export function endToWire(end: JobEnd): WireEnd {
  const { outcome, error, summary } = end
  return { ...reportToWire(end), outcome, error, summary, counts: countsToWire(end.counts) }
}

/** @throws {StoreError} REQUEST_INVALID, also for a cursor above `LIMITS.jobCursorMax`. */
export function endFromWire(wire: WireEnd): JobEnd {
  const outcome = wireWord(wire.outcome, OUTCOMES, 'the outcome of a job')
  const { error, summary } = wire
  const counts = countsFromWire(wire.counts)
  return {
    ...reportFromWire(wire),
    outcome,
    error,
    summary,
    ...(counts !== undefined && { counts }),
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function adviceFromWire(wire: { readonly advice: string }): JobAdvice {
  return wireWord(wire.advice, ADVICES, 'an advice')
}

function jobKindFromWire(kind: string): JobKind {
  return wireWord(kind, JOB_KINDS, 'the kind of a job')
}
