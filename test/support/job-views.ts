import { volumeId } from '../../src/base/ids.ts'
import type { ClusterHealth, JobView } from '../../src/net/jobs-api.ts'

/** A job that waits, for tests of what is shown of jobs. */
export function makeJob(change: Partial<JobView> = {}): JobView {
  return {
    id: 1,
    kind: 'replica-repair',
    target: { volumeId: volumeId(7) },
    reason: 'a copy is lost',
    state: 'waiting',
    risk: 5,
    queue: 'dc1',
    progress: { phase: '', done: 0, total: 0, unit: 'bytes' },
    attempts: 0,
    createdAtMs: 1000,
    startedAtMs: 0,
    endedAtMs: 0,
    notBeforeMs: 0,
    worker: '',
    error: '',
    summary: '',
    ...change,
  }
}

/** A cluster where all is well. */
export function makeHealth(change: Partial<ClusterHealth> = {}): ClusterHealth {
  return {
    color: 'green',
    isFullyRedundant: true,
    isWarming: false,
    nodesUp: 3,
    nodesKnown: 3,
    volumesBelow: 0,
    objectsBelow: 0,
    bytesBelow: 0,
    volumesUnavailable: 0,
    objectsUnavailable: 0,
    dirtyNeedles: 0,
    belowSinceMs: 0,
    estimatedEndMs: 0,
    repairBytesPerS: 0,
    jobsRunning: 0,
    jobsWaiting: 0,
    jobsFailing: 0,
    doing: [],
    repairTimes: { count: 0, p50Ms: 0, p95Ms: 0, lastMs: 0 },
    scrubAgeMaxMs: 0,
    unscrubbedBytes: 0,
    alerts: [],
    ...change,
  }
}
