import { formatErasureScheme, parseErasureScheme } from '../base/erasure-scheme.ts'
import { parseVolumeId } from '../base/ids.ts'
import { formatReplicaPlacement, parseReplicaPlacement } from '../base/replica-placement.ts'
import {
  JOB_KINDS,
  type JobCounts,
  type JobKind,
  type JobOrder,
  type JobProgress,
  type JobState,
  type JobTarget,
} from '../net/jobs-api.ts'
import { corruptRow, encodeRow } from './master-rows.ts'

/**
 * What the master keeps of jobs. A version byte, then JSON:
 *
 *     master/jobs/{id, 12 digits}              a job, until so many others have ended after it
 *     master/incidents/{volume, 10 digits}     {sinceMs, bytes, needsCopy}: below redundancy now
 *     master/repairs/{number, 12 digits}       {volumeId, endedMs, tookMs, bytes}: full again
 *     master/scrubs/{volume, 10 digits}/{dir}  {seenAtMs, checkedAtMs, damageCount}
 */
export const JOB_PREFIX = 'master/jobs/'
export const INCIDENT_PREFIX = 'master/incidents/'
export const REPAIR_PREFIX = 'master/repairs/'
export const SCRUB_PREFIX = 'master/scrubs/'

/** A job as it is kept. */
export interface JobRecord {
  readonly id: number
  readonly kind: JobKind
  readonly target: JobTarget
  readonly reason: string
  /** By an operator or another job, not by the scheduler. */
  isAsked: boolean
  state: JobState
  /** What was asked of it while it ran; `resume` is never kept. */
  order: JobOrder | undefined
  risk: number
  queue: string
  progress: JobProgress
  cursor: string
  attempts: number
  /** Attempts that failed or went silent since it last got any further. */
  failures: number
  readonly createdAtMs: number
  startedAtMs: number
  endedAtMs: number
  notBeforeMs: number
  worker: string
  token: string
  error: string
  summary: string
  counts: JobCounts | undefined
}

const ROW_VERSION = 1
const JOB_STATES: readonly string[] = [
  'waiting',
  'running',
  'paused',
  'done',
  'failed',
  'cancelled',
] satisfies readonly JobState[]

export function jobKey(id: number): string {
  return JOB_PREFIX + id.toString().padStart(12, '0')
}

export function encodeJob(job: JobRecord): Uint8Array {
  const { replication, erasure } = job.target
  const target = {
    ...job.target,
    ...(replication === undefined ? {} : { replication: formatReplicaPlacement(replication) }),
    ...(erasure === undefined ? {} : { erasure: formatErasureScheme(erasure) }),
  }
  return encodeRow({ ...job, target })
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeJob(key: string, row: Uint8Array): JobRecord {
  const fields = decodeFields(key, row)
  const text = (name: string): string => {
    const value = fields[name] ?? ''
    if (typeof value !== 'string') throw corruptRow(key)
    return value
  }
  const number = (name: string) => numberOf(key, fields, name)
  const kind = JOB_KINDS.find((known) => known === fields['kind'])
  const state = text('state')
  const order = text('order')
  if (kind === undefined || !JOB_STATES.includes(state)) throw corruptRow(key)
  return {
    id: number('id'),
    kind,
    target: decodeTarget(key, fields['target']),
    reason: text('reason'),
    isAsked: fields['isAsked'] === true,
    state: state as JobState,
    order: order === 'pause' || order === 'cancel' ? order : undefined,
    risk: number('risk'),
    queue: text('queue'),
    progress: decodeProgress(key, fields['progress']),
    cursor: text('cursor'),
    attempts: number('attempts'),
    failures: number('failures'),
    createdAtMs: number('createdAtMs'),
    startedAtMs: number('startedAtMs'),
    endedAtMs: number('endedAtMs'),
    notBeforeMs: number('notBeforeMs'),
    worker: text('worker'),
    token: text('token'),
    error: text('error'),
    summary: text('summary'),
    counts: decodeCounts(key, fields['counts']),
  }
}

function decodeTarget(key: string, value: unknown): JobTarget {
  const fields = fieldsOf(key, value)
  const { volumeId: id, node, toNode, collection, replication, isDeep, acceptNode } = fields
  const { erasure } = fields
  const texts = [node, toNode, collection, replication, acceptNode, erasure]
  if (texts.some((text) => text !== undefined && typeof text !== 'string')) throw corruptRow(key)
  try {
    return {
      ...(id === undefined ? {} : { volumeId: parseVolumeId(String(id)) }),
      ...(node === undefined ? {} : { node: String(node) }),
      ...(toNode === undefined ? {} : { toNode: String(toNode) }),
      ...(collection === undefined ? {} : { collection: String(collection) }),
      ...(replication === undefined
        ? {}
        : { replication: parseReplicaPlacement(String(replication)) }),
      ...(isDeep === undefined ? {} : { isDeep: isDeep === true }),
      ...(acceptNode === undefined ? {} : { acceptNode: String(acceptNode) }),
      ...(erasure === undefined ? {} : { erasure: parseErasureScheme(String(erasure)) }),
    }
  } catch (cause) {
    throw corruptRow(key, cause)
  }
}

function decodeProgress(key: string, value: unknown): JobProgress {
  const fields = fieldsOf(key, value)
  const { phase, unit } = fields
  if (typeof phase !== 'string') throw corruptRow(key)
  if (unit !== 'bytes' && unit !== 'needles' && unit !== 'volumes') throw corruptRow(key)
  const done = numberOf(key, fields, 'done')
  return { phase, done, total: numberOf(key, fields, 'total'), unit }
}

function decodeCounts(key: string, value: unknown): JobCounts | undefined {
  if (value === undefined) return undefined
  const fields = fieldsOf(key, value)
  return Object.fromEntries(Object.keys(fields).map((name) => [name, numberOf(key, fields, name)]))
}

export type RowFields = Readonly<Record<string, unknown>>

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeFields(key: string, row: Uint8Array): RowFields {
  if (row[0] !== ROW_VERSION) throw corruptRow(key)
  try {
    return fieldsOf(key, JSON.parse(Buffer.from(row.subarray(1)).toString()))
  } catch (cause) {
    throw corruptRow(key, cause)
  }
}

/** @throws {StoreError} METADATA_CORRUPT */
export function numberOf(key: string, fields: RowFields, name: string): number {
  const value = fields[name]
  if (typeof value !== 'number' || !Number.isFinite(value)) throw corruptRow(key)
  return value
}

function fieldsOf(key: string, value: unknown): RowFields {
  if (typeof value !== 'object' || value === null) throw corruptRow(key)
  return value as RowFields
}
