import { isStoreError, StoreError } from '../base/store-error.ts'
import { jobError } from '../net/job-error.ts'
import type { JobsApi, JobView } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { RecoveryReport } from './objects/objects-config.ts'

export interface NodeRecoveryParts {
  readonly jobs: Pick<JobsApi, 'listJobs' | 'orderJob' | 'runJob'>
  readonly clock: Clock
}

const POLL_MS = 200
/** What a copy that is just being joined, or a server that is busy, may make fail. */
const FAILURES_MAX = 5
const AGAIN_MS = 1000

/**
 * Makes anew at once, elsewhere, all that a server held: copies of volumes, and shards of objects.
 * Returns when that is done. A server that is up keeps what it has: nothing is to be done then. One
 * that comes back later brings copies that do not count any more.
 *
 * When `signal` aborts the cluster goes on with it all the same.
 *
 * @throws {StoreError} NODE_NOT_FOUND: no volume server has this url. PLACEMENT_IMPOSSIBLE,
 * SHARDS_LOST and others: why it could not be done yet; it is tried again. CANCELLED: `signal`, or
 * somebody cancelled the job.
 */
export async function recoverNode(
  { clock, jobs }: NodeRecoveryParts,
  node: string,
  signal: AbortSignal,
): Promise<RecoveryReport> {
  const startedMs = clock.monotonicMs()
  const request = { kind: 'heal', target: { node }, reason: 'a recovery was asked for' } as const
  const queued = await jobs.runJob(request, signal)
  // It may wait for its turn since the last attempt failed.
  if (queued.notBeforeMs > 0) await jobs.orderJob(queued.id, 'resume', signal)
  const done = await untilEnded(jobs, clock, queued, signal)
  const counts = done.counts ?? {}
  const { copiesRepaired = 0, objectsCopied = 0, objectsHealed = 0, shardsMade = 0 } = counts
  return {
    node,
    objects: objectsCopied + objectsHealed,
    shards: shardsMade,
    replicas: copiesRepaired,
    durationMs: Math.round(clock.monotonicMs() - startedMs),
  }
}

/** @throws {StoreError} What the attempt failed with. */
async function untilEnded(
  jobs: NodeRecoveryParts['jobs'],
  clock: Clock,
  queued: JobView,
  signal: AbortSignal,
): Promise<JobView> {
  const what = `the recovery of ${queued.target.node}`
  let attempts = queued.attempts
  let failures = 0
  for (;;) {
    const views = await jobs.listJobs({ kind: 'heal', withEnded: true }, signal)
    const job = views.find(({ id }) => id === queued.id)
    if (job === undefined) throw new StoreError('JOB_NOT_FOUND', `${what} is not known any more`)
    if (job.state === 'done') return job
    if (job.state === 'cancelled') throw new StoreError('CANCELLED', `${what} was cancelled`)
    // A worker that died is none: another one goes on.
    const hasFailed = job.attempts > attempts && !job.error.startsWith('JOB_LEASE_LOST')
    const isAfter = job.state === 'failed' || (job.state === 'waiting' && hasFailed)
    if (isAfter && job.error !== '') {
      const error = jobError(what, job.error)
      if (job.state === 'failed' || !mayPass(error) || ++failures > FAILURES_MAX) throw error
      attempts = job.attempts
      await clock.sleep(AGAIN_MS, signal)
      await jobs.orderJob(job.id, 'resume', signal)
    }
    await clock.sleep(POLL_MS, signal)
  }
}

function mayPass(error: unknown): boolean {
  return isStoreError(error, 'REPLICATION_FAILED', 'VOLUME_BUSY', 'VOLUME_CHANGED', 'UNAVAILABLE')
}
