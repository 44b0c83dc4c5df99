import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { formatBytes } from '../base/units.ts'
import type { JobKind, JobProgress, JobTarget, JobView } from '../net/jobs-api.ts'
import { formatDuration, formatTime } from './durations.ts'
import { table } from './status-report.ts'

const HEADINGS = ['ID', 'KIND', 'TARGET', 'STATE', 'PROGRESS', 'WORKER', 'AGE', 'WHY'] as const

/** A line for each job, in the order given. */
export function jobTable(jobs: readonly JobView[], nowMs: number): readonly string[] {
  if (jobs.length === 0) return ['no jobs']
  const rows = jobs.map((job) => [
    String(job.id),
    job.kind,
    describeTarget(job.kind, job.target),
    job.state,
    describeProgress(job.progress),
    job.worker === '' ? '-' : job.worker,
    formatDuration((job.endedAtMs === 0 ? nowMs : job.endedAtMs) - job.createdAtMs),
    whyText(job, nowMs),
  ])
  return table([HEADINGS, ...rows], HEADINGS.length)
}

/** A job in one line, as it is now. */
export function jobLine(job: JobView): string {
  const { id, kind, target, state, worker, progress, error, summary, attempts } = job
  const name = `job ${id} ${kind} ${describeTarget(kind, target)}`.trimEnd()
  if (state === 'done') return `${name}: done${summary === '' ? '' : `: ${summary}`}`
  if (state === 'failed') return `${name}: failed: ${error}`
  if (state === 'running') return `${name}: running on ${worker}: ${describeProgress(progress)}`
  const tried = attempts > 0 && error !== '' ? ` after attempt ${attempts}: ${error}` : ''
  return `${name}: ${state}${tried}`
}

/** The same for programs: a replication in digits and a scheme as text, as everywhere else. */
export function jobDocument(job: JobView): string {
  const { replication, erasure, ...target } = job.target
  const digits = replication === undefined ? undefined : formatReplicaPlacement(replication)
  const scheme = erasure === undefined ? undefined : formatErasureScheme(erasure)
  return JSON.stringify({ ...job, target: { ...target, replication: digits, erasure: scheme } })
}

/** What a job is about, in words; empty for one about the whole cluster. */
export function describeTarget(kind: JobKind, target: JobTarget): string {
  const { volumeId, node, toNode, collection, replication, isDeep, acceptNode, erasure } = target
  if (kind === 'set-replication') {
    const wanted = replication === undefined ? '' : ` to ${formatReplicaPlacement(replication)}`
    const whole = collection === undefined || collection === '' ? 'no collection' : collection
    return `${whole}${wanted}`
  }
  return [
    volumeId === undefined ? '' : `volume ${volumeId}`,
    node === undefined ? '' : volumeId === undefined ? node : `from ${node}`,
    toNode === undefined ? '' : `to ${toNode}`,
    isDeep === true ? 'deep' : '',
    acceptNode === undefined ? '' : `accepting ${acceptNode}`,
    erasure === undefined ? '' : `as ${formatErasureScheme(erasure)}`,
  ]
    .filter((part) => part !== '')
    .join(' ')
}

/** `copied, 1.2 GiB of 30 GiB`; `-` before it has begun. */
export function describeProgress({ phase, done, total, unit }: JobProgress): string {
  const amount = (count: number): string =>
    unit === 'bytes' ? formatBytes(count) : `${count} ${unit}`
  const size = unit === 'bytes' ? formatBytes(done) : String(done)
  const sum = total > 0 ? `${size} of ${amount(total)}` : done > 0 ? amount(done) : ''
  const text = [phase, sum].filter((part) => part !== '').join(', ')
  return text === '' ? '-' : text
}

function whyText(job: JobView, nowMs: number): string {
  const { state, reason, error, summary, notBeforeMs } = job
  if (state === 'done') return summary === '' ? reason : summary
  if (error === '') return reason
  const isDelayed = state === 'waiting' && notBeforeMs > nowMs
  const again = isDelayed ? ` (again at ${formatTime(notBeforeMs)})` : ''
  return `${error}${again}`
}
