import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobsApi, JobView } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'

export interface FollowParts {
  readonly jobs: JobsApi
  readonly clock: Clock
}

/** What ended while the stream of changes was down, or before it began, is found so. */
const POLL_MS = 2000
const AGAIN_MS = 1000
const LASTED_MS = 10_000
/** A master that starts again is back by then. */
const FAILURES_MAX = 30

export function hasEnded({ state }: JobView): boolean {
  return state === 'done' || state === 'failed' || state === 'cancelled'
}

/**
 * Shows every change of the jobs with these ids, until all of them have ended; returns them as they
 * ended. A master that goes away and comes back is waited for.
 *
 * @throws {StoreError} JOB_NOT_FOUND; CANCELLED: `signal`; what the master answered last, when it
 * stays away.
 */
export async function followToEnd(
  parts: FollowParts,
  jobIds: readonly number[],
  show: (job: JobView) => void,
  signal: AbortSignal,
): Promise<readonly JobView[]> {
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  const wanted = new Set(jobIds)
  const ended = new Map<number, JobView>()
  const take = (job: JobView): void => {
    if (!wanted.has(job.id) || ended.has(job.id)) return
    show(job)
    if (!hasEnded(job)) return
    ended.set(job.id, job)
    if (ended.size === wanted.size) over.abort()
  }
  const settled = await Promise.allSettled([
    endingAll(over, watchAll(parts, take, either)),
    endingAll(over, pollAll(parts, wanted, take, either)),
  ])
  if (ended.size === wanted.size) return jobIds.flatMap((id) => ended.get(id) ?? [])
  // The one that failed first ended the other by the signal.
  const errors = settled.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
  throw errors.find((error) => !isStoreError(error, 'CANCELLED')) ?? errors[0]
}

/** Shows every change of every job until `signal` aborts. @throws {StoreError} as above. */
export async function followAll(
  parts: FollowParts,
  show: (job: JobView) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    await watchAll(parts, show, signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

async function endingAll(over: AbortController, running: Promise<void>): Promise<void> {
  try {
    await running
  } finally {
    over.abort()
  }
}

async function watchAll(
  { jobs, clock }: FollowParts,
  take: (job: JobView) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; ; ) {
    const startMs = clock.monotonicMs()
    try {
      for await (const job of jobs.watchJobs(signal)) take(job)
    } catch (error) {
      // A stream that lasted was no failure to begin with.
      failures = clock.monotonicMs() - startMs > LASTED_MS ? 1 : failures + 1
      if (!mayComeBack(error) || failures > FAILURES_MAX) throw error
    }
    await clock.sleep(AGAIN_MS, signal)
  }
}

async function pollAll(
  { jobs, clock }: FollowParts,
  wanted: ReadonlySet<number>,
  take: (job: JobView) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; ; ) {
    try {
      const listed = await jobs.listJobs({ withEnded: true }, signal)
      failures = 0
      const known = new Set(listed.map(({ id }) => id))
      const missing = [...wanted].find((id) => !known.has(id))
      if (missing !== undefined) throw new StoreError('JOB_NOT_FOUND', `there is no job ${missing}`)
      for (const job of listed) if (hasEnded(job)) take(job)
    } catch (error) {
      failures++
      if (!mayComeBack(error) || failures > FAILURES_MAX) throw error
    }
    await clock.sleep(POLL_MS, signal)
  }
}

function mayComeBack(error: unknown): boolean {
  return isStoreError(error, 'UNAVAILABLE', 'TIMEOUT', 'NOT_LEADER', 'OVERLOADED', 'WARMING_UP')
}
