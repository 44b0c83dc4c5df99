import { needleId, type VolumeId, volumeId } from '../../src/base/ids.ts'
import type { ReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { HealPlan } from '../../src/net/heal-facts.ts'
import type {
  ChooseTargetRequest,
  ClusterHealth,
  DirtyNeedle,
  DurabilityReport,
  JobAdvice,
  JobEnd,
  JobLease,
  JobOrder,
  JobReport,
  JobRequest,
  JobsApi,
  JobView,
  ListJobsRequest,
  MembersChange,
  NextMove,
  ScrubNote,
  TakeJobRequest,
  VacuumNote,
  VolumeFacts,
} from '../../src/net/jobs-api.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type {
  ChooseShardsRequest,
  ShardMove,
  ShardPlace,
  StripeChange,
  StripeFacts,
} from '../../src/net/stripe-facts.ts'
import { SHARD_REPORT } from './fake-shards.ts'
import { NODE, REPORT } from './fake-volume-api.ts'

/** The jobs of a master that knows one job and one volume, and does what a test tells it first. */
export class FakeJobs implements JobsApi {
  readonly calls: string[] = []
  /** What was asked, in the order of `calls`. */
  readonly requests: unknown[] = []
  isLeader = true
  /** How many jobs there are to list. */
  jobCount = 2
  lease: JobLease | undefined = LEASE
  move: NextMove | undefined = { volumeId: volumeId(7), from: NODE, to: { ...NODE, url: 'b:1' } }
  shardMove: ShardMove | undefined = {
    shard: 13,
    from: NODE,
    fromDirectoryId: 'd',
    to: { ...NODE, url: 'b:1' },
  }
  /** Awaited before every call. */
  beforeCall: (name: string, signal: AbortSignal) => Promise<void> = async () => {}

  async runJob(request: JobRequest, signal: AbortSignal): Promise<JobView> {
    await this.#begin('runJob', request, signal)
    return { ...JOB, ...request }
  }

  async listJobs(request: ListJobsRequest, signal: AbortSignal): Promise<readonly JobView[]> {
    await this.#begin('listJobs', request, signal)
    return Array.from({ length: this.jobCount }, (_, index) => ({ ...JOB, id: index + 1 }))
  }

  async orderJob(id: number, order: JobOrder, signal: AbortSignal): Promise<JobView> {
    await this.#begin('orderJob', { id, order }, signal)
    return { ...JOB, id, state: order === 'cancel' ? 'cancelled' : 'paused' }
  }

  async *watchJobs(signal: AbortSignal): AsyncGenerator<JobView> {
    await this.#begin('watchJobs', undefined, signal)
    for (let id = 1; ; id++) {
      await this.#begin('change', undefined, signal)
      yield { ...JOB, id }
    }
  }

  async takeJob(request: TakeJobRequest, signal: AbortSignal): Promise<JobLease | undefined> {
    await this.#begin('takeJob', request, signal)
    return this.lease
  }

  async reportJob(report: JobReport, signal: AbortSignal): Promise<JobAdvice> {
    await this.#begin('reportJob', report, signal)
    return 'go-on'
  }

  async endJob(end: JobEnd, signal: AbortSignal): Promise<void> {
    await this.#begin('endJob', end, signal)
  }

  async volumeFacts(id: VolumeId, signal: AbortSignal): Promise<VolumeFacts> {
    await this.#begin('volumeFacts', id, signal)
    return { ...FACTS, volumeId: id }
  }

  async listVolumes(collection: string | undefined, signal: AbortSignal) {
    await this.#begin('listVolumes', collection, signal)
    return [volumeId(1), volumeId(2 ** 32 - 1)]
  }

  async chooseTarget(request: ChooseTargetRequest, signal: AbortSignal): Promise<NodeLocation> {
    await this.#begin('chooseTarget', request, signal)
    return NODE
  }

  async changeMembers(change: MembersChange, signal: AbortSignal): Promise<VolumeFacts> {
    await this.#begin('changeMembers', change, signal)
    return { ...FACTS, setVersion: change.setVersion + 1 }
  }

  async changeStripe(change: StripeChange, signal: AbortSignal): Promise<VolumeFacts> {
    await this.#begin('changeStripe', change, signal)
    return { ...CODED_FACTS, setVersion: change.setVersion + 1 }
  }

  async chooseShards(
    request: ChooseShardsRequest,
    signal: AbortSignal,
  ): Promise<readonly ShardPlace[]> {
    await this.#begin('chooseShards', request, signal)
    return request.wanted.map((shard) => ({ shard, location: NODE }))
  }

  async nextShardMove(id: VolumeId, signal: AbortSignal): Promise<ShardMove | undefined> {
    await this.#begin('nextShardMove', id, signal)
    return this.shardMove
  }

  async listDirty(
    request: Parameters<JobsApi['listDirty']>[0],
    signal: AbortSignal,
  ): Promise<readonly DirtyNeedle[]> {
    await this.#begin('listDirty', request, signal)
    return DIRTY
  }

  async resolveDirty(
    id: VolumeId,
    needles: readonly DirtyNeedle[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#begin('resolveDirty', { id, needles }, signal)
  }

  async noteVacuum(note: VacuumNote, signal: AbortSignal): Promise<void> {
    await this.#begin('noteVacuum', note, signal)
  }

  async noteScrub(note: ScrubNote, signal: AbortSignal): Promise<void> {
    await this.#begin('noteScrub', note, signal)
  }

  async healPlan(
    request: Parameters<JobsApi['healPlan']>[0],
    signal: AbortSignal,
  ): Promise<HealPlan> {
    await this.#begin('healPlan', request, signal)
    return HEAL_PLAN
  }

  async forgetVolume(
    request: Parameters<JobsApi['forgetVolume']>[0],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#begin('forgetVolume', request, signal)
  }

  async setReplication(
    id: VolumeId,
    replication: ReplicaPlacement,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#begin('setReplication', { id, replication }, signal)
  }

  async nextMove(
    request: Parameters<JobsApi['nextMove']>[0],
    signal: AbortSignal,
  ): Promise<NextMove | undefined> {
    await this.#begin('nextMove', request, signal)
    return this.move
  }

  async forgetNode(url: string, signal: AbortSignal): Promise<void> {
    await this.#begin('forgetNode', url, signal)
  }

  async health(signal: AbortSignal): Promise<ClusterHealth> {
    await this.#begin('health', undefined, signal)
    return HEALTH
  }

  async durability(signal: AbortSignal): Promise<DurabilityReport> {
    await this.#begin('durability', undefined, signal)
    return DURABILITY
  }

  async #begin(name: string, request: unknown, signal: AbortSignal): Promise<void> {
    this.calls.push(name)
    this.requests.push(request)
    await this.beforeCall(name, signal)
    if (!this.isLeader) throw new StoreError('NOT_LEADER', 'somebody else is')
  }
}

export const JOB: JobView = {
  id: 2 ** 40,
  kind: 'replica-repair',
  target: { volumeId: volumeId(7), isDeep: true },
  reason: 'a server is gone',
  state: 'running',
  risk: 1.5,
  queue: 'dc1',
  progress: { phase: 'copied', done: 2 ** 35, total: 2 ** 36, unit: 'bytes' },
  attempts: 3,
  createdAtMs: 1_700_000_000_000,
  startedAtMs: 1_700_000_000_001,
  endedAtMs: 0,
  notBeforeMs: 1_700_000_000_002,
  worker: 'w1',
  error: 'UNAVAILABLE: not there',
  summary: '',
}

export const LEASE: JobLease = {
  job: JOB,
  token: 'token',
  validMs: 10_000,
  epoch: 4,
  cursor: '{"at":1}',
  politeness: 0.5,
}

export const DIRTY: readonly DirtyNeedle[] = [
  { needleId: needleId(0, 1), kind: 'put', recordedAtMs: 1_700_000_000_000 },
  { needleId: needleId(2 ** 32 - 1, 2 ** 32 - 1), kind: 'check', recordedAtMs: 0 },
]

export const HEAL_PLAN: HealPlan = {
  codedVolumeIds: [volumeId(7), volumeId(2 ** 32 - 1)],
  lostVolumeIds: [volumeId(7)],
  lostSinceMs: 1_700_000_000_000,
  replications: { documents: REPORT.replication },
  repairVolumeIds: [volumeId(3)],
  repairedVolumeIds: [volumeId(4)],
}

export const FACTS: VolumeFacts = {
  volumeId: volumeId(7),
  collection: 'pictures',
  replication: REPORT.replication,
  ttl: TTL_NONE,
  writePolicy: 'best-effort',
  setVersion: 2 ** 40,
  members: [
    { location: NODE, report: REPORT, isUp: true, directoryId: 'd', isLost: false },
    {
      location: { ...NODE, url: 'b:1' },
      report: undefined,
      isUp: false,
      directoryId: '',
      isLost: true,
    },
  ],
  strays: [{ location: NODE, report: REPORT, isUp: true, directoryId: 'e', isLost: false }],
  isDeleted: false,
  dirtyCount: 2,
}

/** Shard 1 is gone with its server, shard 2 was never heard of. */
export const STRIPE: StripeFacts = {
  dataShards: 2,
  parityShards: 1,
  runId: '1700000000000000001',
  shards: [0, 1, 2].map((shard) => ({
    shard,
    location: { ...NODE, url: `s${shard}:1` },
    directoryId: `d${shard}`,
    report:
      shard === 2
        ? undefined
        : { ...SHARD_REPORT, dataShards: 2, parityShards: 1, shards: [shard], badShards: [] },
    isUp: shard !== 1,
    isLost: shard === 1,
    isBad: shard === 0,
  })),
}

export const CODED_FACTS: VolumeFacts = {
  ...FACTS,
  members: [],
  strays: [],
  stripe: STRIPE,
  strayShards: [
    { location: NODE, directoryId: 'e', runId: '1', shards: [0, 2], isUp: true },
    { location: NODE, directoryId: 'f', runId: '2', shards: [], isUp: false },
  ],
}

export const HEALTH: ClusterHealth = {
  color: 'yellow',
  isFullyRedundant: false,
  isWarming: false,
  nodesUp: 5,
  nodesKnown: 6,
  volumesBelow: 10,
  objectsBelow: 2 ** 40,
  bytesBelow: 2 ** 45,
  volumesUnavailable: 1,
  objectsUnavailable: 2,
  dirtyNeedles: 3,
  belowSinceMs: 1_700_000_000_000,
  estimatedEndMs: 1_700_000_100_000,
  repairBytesPerS: 1e8 + 0.5,
  jobsRunning: 2,
  jobsWaiting: 8,
  jobsFailing: 1,
  doing: ['volume 7: one of two copies', 'volume 8'],
  repairTimes: { count: 3, p50Ms: 60_000, p95Ms: 90_000, lastMs: 70_000 },
  scrubAgeMaxMs: 86_400_000,
  unscrubbedBytes: 2 ** 41,
  alerts: [{ code: 'LINK_BROKEN', message: 'a to b', sinceMs: 1_700_000_000_000 }],
}

export const DURABILITY: DurabilityReport = {
  schemes: [
    {
      scheme: 'replication 110',
      volumes: 10,
      objects: 2 ** 40,
      domainsWorst: 3,
      toleranceWorst: 2,
      afr: 0.02,
      isAfrAssumed: true,
      mttrP50Ms: 1000.5,
      mttrP95Ms: 2000,
      isMttrAssumed: false,
      nines: 11.5,
      ninesWithLatentDamage: 9.25,
      objectsLostPerYear: 1e-9,
      volumesBelow: 1,
      belowOldestMs: 3000,
    },
  ],
  scrubAgeP95Ms: 86_400_000,
  unscrubbedBytes: 5,
  correlatedPerYear: 1e-4,
  ninesCap: 9,
  convention: 'objects lost a year',
}
