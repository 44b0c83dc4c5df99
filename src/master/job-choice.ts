import type { JobKind } from '../net/jobs-api.ts'
import type { JobRecord } from './job-rows.ts'

export interface JobWish {
  /** Data centre whose jobs come first; empty: none does. */
  readonly queue: string
  /** Empty: all. */
  readonly kinds: readonly JobKind[]
}

/**
 * The riskiest job of the queue that was asked for; if that has none, of the one with the most
 * jobs. Among equals the oldest. A job of the healer is of every queue: it must not wait until all
 * others are empty.
 */
export function chooseJob(
  jobs: Iterable<JobRecord>,
  wish: JobWish,
  isReady: (job: JobRecord) => boolean,
): JobRecord | undefined {
  const kinds = new Set(wish.kinds)
  const queues = new Map<string, { count: number; best: JobRecord }>()
  let heal: JobRecord | undefined
  for (const job of jobs) {
    if (job.state !== 'waiting' || (kinds.size > 0 && !kinds.has(job.kind))) continue
    if (!isReady(job)) continue
    if (job.kind === 'heal') {
      if (heal === undefined || isBefore(job, heal)) heal = job
      continue
    }
    const queue = queues.get(job.queue)
    if (queue === undefined) {
      queues.set(job.queue, { count: 1, best: job })
    } else {
      queue.count++
      if (isBefore(job, queue.best)) queue.best = job
    }
  }
  const chosen = chooseFrom(queues, wish)
  if (heal === undefined || chosen === undefined) return heal ?? chosen
  return isBefore(heal, chosen) ? heal : chosen
}

function chooseFrom(
  queues: ReadonlyMap<string, { readonly count: number; readonly best: JobRecord }>,
  wish: JobWish,
): JobRecord | undefined {
  const own = wish.queue === '' ? undefined : queues.get(wish.queue)
  if (own !== undefined) return own.best
  let longest: { readonly count: number; readonly best: JobRecord } | undefined
  for (const queue of queues.values()) {
    const isLonger = longest === undefined || queue.count > longest.count
    const isAsLong = queue.count === longest?.count && isBefore(queue.best, longest.best)
    if (isLonger || isAsLong) longest = queue
  }
  return longest?.best
}

function isBefore(a: JobRecord, b: JobRecord): boolean {
  return a.risk === b.risk ? a.id < b.id : a.risk > b.risk
}
