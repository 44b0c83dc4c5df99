import { Incidents } from '../../src/master/incidents.ts'
import { volumeLock } from '../../src/master/job-leases.ts'
import { JobQueue } from '../../src/master/job-queue.ts'
import { NextMoves } from '../../src/master/next-moves.ts'
import { Scheduler } from '../../src/master/scheduler.ts'
import { ScrubLog } from '../../src/master/scrub-log.ts'
import { Surveyor } from '../../src/master/surveyor.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { JobRequest, JobView } from '../../src/net/jobs-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Prng } from './prng.ts'
import type { SimClock } from './sim-clock.ts'
import type { FakeRepairView } from './volume-facts.ts'

const NO_SIGNAL = new AbortController().signal

export const HEARTBEAT_MS = 5000
const SCRUB_EVERY_MS = 1e12

export interface TestSchedulerParts {
  readonly view: FakeRepairView
  readonly clock: SimClock
  readonly coordinator: { isLeader(): boolean }
}

/** A scheduler with a queue of its own, over a cluster that a test makes up. */
export class TestScheduler {
  readonly queue: JobQueue
  readonly scheduler: Scheduler
  readonly scrubs: ScrubLog
  readonly incidents: Incidents
  readonly surveyor: Surveyor
  readonly warmUp = { isWarming: false }

  private constructor(
    { view, clock, coordinator }: TestSchedulerParts,
    opened: { queue: JobQueue; scrubs: ScrubLog; incidents: Incidents },
  ) {
    this.queue = opened.queue
    this.scrubs = opened.scrubs
    this.incidents = opened.incidents
    const { queue, warmUp } = this
    this.surveyor = new Surveyor({ view, clock }, { garbageThreshold: 0.3, leaseMs: 60_000 })
    const busyTest = () => (id: number) =>
      queue.isLocked(`volume ${id}`) ||
      queue.list({ kind: 'move', withEnded: false }).some(({ target }) => target.volumeId === id)
    const moves = new NextMoves({ view, random: new Prng(1), busyTest }, { spread: 0.1 })
    const shared = { view, clock, coordinator, warmUp, ...opened, surveyor: this.surveyor }
    this.scheduler = new Scheduler(
      { ...shared, moves, logger: silentLogger },
      { checkMs: 1000, heartbeatMs: HEARTBEAT_MS },
    )
  }

  static async open(
    parts: TestSchedulerParts,
    options: { readonly store?: MemoryStore; readonly scrubEveryMs?: number } = {},
  ): Promise<TestScheduler> {
    const { clock } = parts
    const { store = new MemoryStore(), scrubEveryMs = SCRUB_EVERY_MS } = options
    const shared = { store, clock, random: new Prng(1), logger: silentLogger, closing: NO_SIGNAL }
    const locksOf = ({ target }: JobRequest) =>
      target.volumeId === undefined ? [] : [volumeLock(target.volumeId)]
    const queue = await JobQueue.open(
      { ...shared, locksOf, isHeldBack: () => false },
      { leaseMs: 10_000 },
      NO_SIGNAL,
    )
    const scrubs = await ScrubLog.open(shared, { everyMs: scrubEveryMs }, NO_SIGNAL)
    const incidents = await Incidents.open(shared, NO_SIGNAL)
    return new TestScheduler(parts, { queue, scrubs, incidents })
  }

  async turn(): Promise<void> {
    await this.scheduler.turn(NO_SIGNAL)
  }

  /** Like `replica-repair 7`, in the order of risk. */
  get waiting(): string[] {
    const jobs = this.queue.list({ kind: undefined, withEnded: false })
    return [...jobs].sort((a, b) => b.risk - a.risk || a.id - b.id).map(nameOf)
  }

  /** Takes the riskiest job and ends it. */
  async work(outcome: 'done' | 'failed' = 'done'): Promise<string> {
    const taken = await this.queue.take({ worker: 'w', queue: '', kinds: [] }, NO_SIGNAL)
    if (taken === undefined) return ''
    const { job, token } = taken
    const { progress } = job
    const report = { jobId: job.id, token, progress, cursor: '' }
    await this.queue.end({ ...report, outcome, error: 'UNAVAILABLE: no', summary: '' })
    return nameOf(job)
  }
}

function nameOf({ kind, target }: JobView): string {
  return [kind, target.volumeId ?? target.node].filter((part) => part !== undefined).join(' ')
}
