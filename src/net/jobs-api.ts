import type { ErasureScheme } from '../base/erasure-scheme.ts'
import type { NeedleId, VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import type { Ttl } from '../base/ttl.ts'
import type { HealPlan } from './heal-facts.ts'
import type { DirtyKind, NodeLocation, VolumeReport, WritePolicy } from './master-api.ts'
import type {
  ChooseShardsRequest,
  ShardMove,
  ShardPlace,
  StrayShards,
  StripeChange,
  StripeFacts,
} from './stripe-facts.ts'

/** In the order in which `hayloft job run` lists them. */
export const JOB_KINDS = [
  'replica-repair',
  'move',
  'rebalance',
  'evacuate',
  'vacuum',
  'scrub',
  'expire',
  'set-replication',
  'ec-encode',
  'ec-repair',
  'ec-balance',
  'ec-vacuum',
  'ec-decode',
  'heal',
] as const

export type JobKind = (typeof JOB_KINDS)[number]

/** `running`: a worker holds a lease on it. `waiting`: also after a lease that ran out. */
export type JobState = 'waiting' | 'running' | 'paused' | 'done' | 'failed' | 'cancelled'

/** What a job is about. What its kind does not need is left out. */
export interface JobTarget {
  /** replica-repair, move, vacuum, scrub, expire, and all of erasure coding. */
  readonly volumeId?: VolumeId | undefined
  /**
   * evacuate: the server to empty. move: where the copy is. heal: what it held is made anew at
   * once; without it only what is lost.
   */
  readonly node?: string | undefined
  /** move: where it shall be; without it the master chooses. */
  readonly toNode?: string | undefined
  /** set-replication. */
  readonly collection?: string | undefined
  readonly replication?: ReplicaPlacement | undefined
  /** replica-repair: compare the bytes of every needle, not only ids and sizes. */
  readonly isDeep?: boolean | undefined
  /**
   * replica-repair: url of a server whose copy counts from now on although it was left out, since
   * no other can be reached any more. An operator's decision: what was deleted may be in it.
   */
  readonly acceptNode?: string | undefined
  /** ec-encode; without it as its collection says, or the cluster. */
  readonly erasure?: ErasureScheme | undefined
}

export interface JobRequest {
  readonly kind: JobKind
  readonly target: JobTarget
  /** For people: why. */
  readonly reason: string
}

/** How often a job did what, by names of its own; of `heal` those of `HEAL_COUNTS`. */
export type JobCounts = Readonly<Record<string, number>>

export interface JobProgress {
  /** A name from `JOB_PHASES`; empty before the first. */
  readonly phase: string
  readonly done: number
  /** 0: not known. */
  readonly total: number
  readonly unit: 'bytes' | 'needles' | 'volumes'
}

export interface JobView extends JobRequest {
  /** Ascending in the order they were queued. */
  readonly id: number
  readonly state: JobState
  /** Higher goes first: how much is lost if it waits. */
  readonly risk: number
  /** Data centre of what it is about: workers of that data centre take it first. */
  readonly queue: string
  readonly progress: JobProgress
  /** Times a worker began it. */
  readonly attempts: number
  readonly createdAtMs: number
  /** 0: not yet. */
  readonly startedAtMs: number
  readonly endedAtMs: number
  /** Not before then: it failed, and is tried again. 0: now. */
  readonly notBeforeMs: number
  /** Who runs it, or ran it last. */
  readonly worker: string
  /** What the last attempt failed with, with its code; empty: none did. */
  readonly error: string
  /** What it did, in words, once it is done. */
  readonly summary: string
  /** The same in numbers; undefined: it counts nothing. */
  readonly counts?: JobCounts | undefined
}

export interface ListJobsRequest {
  /** Undefined: all. */
  readonly kind?: JobKind | undefined
  /** Also those that have ended: the last `LIMITS.endedJobsKept` of them. */
  readonly withEnded: boolean
}

export type JobOrder = 'pause' | 'resume' | 'cancel'

export interface TakeJobRequest {
  /** Names the worker for people, and is unique among those alive. */
  readonly worker: string
  /** Jobs of this data centre first; empty: of the longest queue. */
  readonly queue: string
  /** Empty: all. */
  readonly kinds: readonly JobKind[]
}

/** The right to run a job, for `validMs` from now and as long again after each report. */
export interface JobLease {
  readonly job: JobView
  readonly token: string
  readonly validMs: number
  /** Of the leader that gave the lease, for commands to volume servers. */
  readonly epoch: number
  /** As the job left it with its last report; empty at first. */
  readonly cursor: string
  /** For each millisecond of work, rest so many. */
  readonly politeness: number
}

export interface JobReport {
  readonly jobId: number
  readonly token: string
  readonly progress: JobProgress
  /** At most `LIMITS.jobCursorMax` bytes; kept durably from time to time, and at the end. */
  readonly cursor: string
}

/**
 * What the worker does next. After all but `go-on` it ends the job as `released`; `make-way` lets a
 * repair of the same volume begin.
 */
export type JobAdvice = 'go-on' | 'pause' | 'cancel' | 'make-way'

export interface JobEnd extends JobReport {
  /** `released`: neither done nor failed; whoever takes it next goes on. */
  readonly outcome: 'done' | 'failed' | 'released'
  /** Code and message; empty unless it failed. */
  readonly error: string
  readonly summary: string
  readonly counts?: JobCounts | undefined
}

/** One copy of a volume, as the server that has it reported it last. */
export interface VolumeCopyFacts {
  readonly location: NodeLocation
  /** Undefined: the server says it does not have it (any more), or never reported it. */
  readonly report: VolumeReport | undefined
  /** The server can be reached. */
  readonly isUp: boolean
  /** The directory it lies in: names the copy, wherever that directory is served. */
  readonly directoryId: string
  /**
   * Gone for good, as far as anybody can know: its server is up without it, was away for longer
   * than the repair delay, or was declared lost.
   */
  readonly isLost: boolean
}

/** A needle that may differ between the copies of its volume. */
export interface DirtyNeedle {
  readonly needleId: NeedleId
  readonly kind: DirtyKind
  readonly recordedAtMs: number
}

/** What the master knows of one volume: durably which copies count, the rest from heartbeats. */
export interface VolumeFacts {
  readonly volumeId: VolumeId
  readonly collection: string
  /** As it shall be: the copies themselves may still say otherwise. */
  readonly replication: ReplicaPlacement
  readonly ttl: Ttl
  readonly writePolicy: WritePolicy
  /** Goes up with every change of the members. */
  readonly setVersion: number
  /** The copies that count, those out of reach and lost ones included. */
  readonly members: readonly VolumeCopyFacts[]
  /** Copies that do not: late returns, unfinished moves. Never read from, nothing merged from. */
  readonly strays: readonly VolumeCopyFacts[]
  /** The volume was deleted; whatever copies turn up are strays to be removed. */
  readonly isDeleted: boolean
  readonly dirtyCount: number
  /** Of an erasure-coded volume, which has no members. */
  readonly stripe?: StripeFacts | undefined
  /** Shards that do not count: of other runs, or surplus ones. Never read from. */
  readonly strayShards?: readonly StrayShards[] | undefined
}

export interface ChooseTargetRequest {
  readonly volumeId: VolumeId
  /** `directoryId` of a member that the new copy will replace; empty: it comes in addition. */
  readonly replaces: string
  /** Servers that must not be chosen, beside those that have a copy. */
  readonly excluded: readonly string[]
}

/** A change of which copies of a volume count; all of it or nothing, durable. */
export interface MembersChange {
  readonly jobId: number
  readonly token: string
  readonly volumeId: VolumeId
  /** As read with the facts the decision rests on. */
  readonly setVersion: number
  readonly add: readonly { readonly url: string; readonly directoryId: string }[]
  readonly removeDirectoryIds: readonly string[]
}

/** After a vacuum that dropped tombstones: an older generation of the copy does not count. */
export interface VacuumNote {
  readonly volumeId: VolumeId
  readonly directoryId: string
  readonly compactionRevision: number
}

export interface ScrubNote {
  readonly volumeId: VolumeId
  readonly directoryId: string
  readonly bytes: number
  /** Needles and blocks that were wrong, healed since or not. */
  readonly damageCount: number
}

export interface NextMove {
  readonly volumeId: VolumeId
  readonly from: NodeLocation
  readonly to: NodeLocation
}

export type HealthColor = 'green' | 'yellow' | 'red'

export const ALERT_CODES = [
  'MASS_DISAPPEARANCE',
  'DIRECTORY_FOREIGN',
  'DIRECTORY_TWICE',
  'COPY_OUTDATED',
  'NODE_FLAPPING',
  'LINK_BROKEN',
  'PLACEMENT_UNMET',
  'DISK_FULL',
  'EPOCH_BEHIND',
  'NO_WORKER',
  'JOB_FAILING',
] as const

export type AlertCode = (typeof ALERT_CODES)[number]

export interface Alert {
  readonly code: AlertCode
  readonly message: string
  readonly sinceMs: number
}

export interface RepairTimes {
  /** Repairs measured: from the moment redundancy was lost until it was back. */
  readonly count: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly lastMs: number
}

/** The one answer to "is everything safe?". */
export interface ClusterHealth {
  /** Yellow: below full redundancy, or an alert. Red: some objects cannot be read now. */
  readonly color: HealthColor
  readonly isFullyRedundant: boolean
  readonly isWarming: boolean
  readonly nodesUp: number
  readonly nodesKnown: number
  readonly volumesBelow: number
  readonly objectsBelow: number
  /** Bytes of `.dat` that are to be copied until redundancy is full. */
  readonly bytesBelow: number
  readonly volumesUnavailable: number
  readonly objectsUnavailable: number
  readonly dirtyNeedles: number
  /** When redundancy was lost; 0: it is full. */
  readonly belowSinceMs: number
  /** When it will be back at the present speed; 0: full now, or not known. */
  readonly estimatedEndMs: number
  readonly repairBytesPerS: number
  readonly jobsRunning: number
  readonly jobsWaiting: number
  readonly jobsFailing: number
  /** In words, the riskiest first: what is being done, or why nothing is. */
  readonly doing: readonly string[]
  readonly repairTimes: RepairTimes
  /** Age of the oldest complete check of a copy; of one never checked, its age. */
  readonly scrubAgeMaxMs: number
  readonly unscrubbedBytes: number
  readonly alerts: readonly Alert[]
}

/** What RELIABILITY asks of a durability report, for one way of storing. */
export interface DurabilityScheme {
  /** Like `replication 110`. */
  readonly scheme: string
  readonly volumes: number
  readonly objects: number
  /** Servers (failure domains) of the worst volume, and how many of them may fail. */
  readonly domainsWorst: number
  readonly toleranceWorst: number
  readonly afr: number
  readonly isAfrAssumed: boolean
  readonly mttrP50Ms: number
  readonly mttrP95Ms: number
  readonly isMttrAssumed: boolean
  /** Independent failures only; a volume with `toleranceWorst` 0 counts too. */
  readonly nines: number
  /** As `nines`, with damage that nobody has noticed between two scrubs. */
  readonly ninesWithLatentDamage: number
  readonly objectsLostPerYear: number
  readonly volumesBelow: number
  readonly belowOldestMs: number
}

export interface DurabilityReport {
  readonly schemes: readonly DurabilityScheme[]
  readonly scrubAgeP95Ms: number
  readonly unscrubbedBytes: number
  /** Assumed chance a year of an event that takes more servers than any scheme tolerates. */
  readonly correlatedPerYear: number
  /** No scheme is worth more nines than this. */
  readonly ninesCap: number
  readonly convention: string
}

/**
 * Jobs, the facts they work from, and the health of it all. The leading master implements it;
 * `RemoteJobs` reaches it over gRPC. Every method rejects with a `StoreError`, among them
 * NOT_LEADER, CANCELLED when `signal` aborts, UNAVAILABLE and TIMEOUT when the master is remote.
 */
export interface JobsApi {
  /**
   * Queues a job; durable when it returns. One of the same kind and target that has not ended is
   * answered instead of a second one.
   *
   * @throws {StoreError} REQUEST_INVALID: the target lacks what the kind needs. VOLUME_NOT_FOUND,
   * NODE_NOT_FOUND, COLLECTION_NOT_FOUND, PLACEMENT_IMPOSSIBLE, OVERLOADED.
   */
  runJob(request: JobRequest, signal: AbortSignal): Promise<JobView>

  listJobs(request: ListJobsRequest, signal: AbortSignal): Promise<readonly JobView[]>

  /** @throws {StoreError} JOB_NOT_FOUND; REQUEST_INVALID: it has ended. */
  orderJob(jobId: number, order: JobOrder, signal: AbortSignal): Promise<JobView>

  /** All jobs that have not ended, then each change. Ends with OVERLOADED for a slow watcher. */
  watchJobs(signal: AbortSignal): AsyncIterable<JobView>

  /** The riskiest job of the worker's queue, else of the longest one; undefined: nothing to do. */
  takeJob(request: TakeJobRequest, signal: AbortSignal): Promise<JobLease | undefined>

  /** @throws {StoreError} JOB_LEASE_LOST: stop at once, another worker may have it. */
  reportJob(report: JobReport, signal: AbortSignal): Promise<JobAdvice>

  /** @throws {StoreError} JOB_LEASE_LOST. */
  endJob(end: JobEnd, signal: AbortSignal): Promise<void>

  /** @throws {StoreError} VOLUME_NOT_FOUND, WARMING_UP. */
  volumeFacts(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeFacts>

  /** Of a collection, or of all; in the order of their ids. */
  listVolumes(collection: string | undefined, signal: AbortSignal): Promise<readonly VolumeId[]>

  /** @throws {StoreError} PLACEMENT_IMPOSSIBLE, NO_WRITABLE_VOLUME: no server has room. */
  chooseTarget(request: ChooseTargetRequest, signal: AbortSignal): Promise<NodeLocation>

  /**
   * The members that are added to a coded volume count instead of its stripe.
   *
   * @throws {StoreError} JOB_LEASE_LOST; METADATA_CONFLICT: the members have changed since; look
   * again. REQUEST_INVALID: no member would be left, or two would be on one server.
   */
  changeMembers(change: MembersChange, signal: AbortSignal): Promise<VolumeFacts>

  /**
   * @throws {StoreError} JOB_LEASE_LOST; METADATA_CONFLICT: what counts has changed since, or a new
   * shard is not reported; look again. REQUEST_INVALID: not one of each shard.
   */
  changeStripe(change: StripeChange, signal: AbortSignal): Promise<VolumeFacts>

  /**
   * A place for each shard that is wanted, spread over as many data centres, racks, servers and
   * disks as there are; several on one server if there is no other way.
   *
   * @throws {StoreError} NO_WRITABLE_VOLUME: no server has room.
   */
  chooseShards(request: ChooseShardsRequest, signal: AbortSignal): Promise<readonly ShardPlace[]>

  /** Undefined: the layout is as good as it can be. @throws {StoreError} VOLUME_NOT_FOUND. */
  nextShardMove(volumeId: VolumeId, signal: AbortSignal): Promise<ShardMove | undefined>

  /** At most `LIMITS.dirtyListMax`, in the order of ids, those above `after` only. */
  listDirty(
    request: { readonly volumeId: VolumeId; readonly after: NeedleId | undefined },
    signal: AbortSignal,
  ): Promise<readonly DirtyNeedle[]>

  /** They are the same on every member now. Records made later than those given are kept. */
  resolveDirty(
    volumeId: VolumeId,
    needles: readonly DirtyNeedle[],
    signal: AbortSignal,
  ): Promise<void>

  noteVacuum(note: VacuumNote, signal: AbortSignal): Promise<void>

  noteScrub(note: ScrubNote, signal: AbortSignal): Promise<void>

  /** For `heal`. @throws {StoreError} JOB_LEASE_LOST, WARMING_UP. */
  healPlan(
    request: { readonly jobId: number; readonly token: string },
    signal: AbortSignal,
  ): Promise<HealPlan>

  /**
   * Every copy of it is gone: should one turn up again, it is removed. Durable. For `heal` only one
   * with shards that nobody has.
   *
   * @throws {StoreError} JOB_LEASE_LOST; REQUEST_INVALID: somebody has it, or it has no shards.
   */
  forgetVolume(
    request: { readonly jobId: number; readonly token: string; readonly volumeId: VolumeId },
    signal: AbortSignal,
  ): Promise<void>

  /** What the volume shall have from now on; durable. Copies come and go by replica-repair. */
  setReplication(
    volumeId: VolumeId,
    replication: ReplicaPlacement,
    signal: AbortSignal,
  ): Promise<void>

  /** For `rebalance` and `evacuate`; undefined: nothing is left to move. */
  nextMove(
    request: { readonly kind: 'rebalance' | 'evacuate'; readonly node: string },
    signal: AbortSignal,
  ): Promise<NextMove | undefined>

  /**
   * The server will not come back: its copies are lost from now on.
   *
   * @throws {StoreError} NODE_NOT_FOUND; REQUEST_INVALID: it is up.
   */
  forgetNode(url: string, signal: AbortSignal): Promise<void>

  health(signal: AbortSignal): Promise<ClusterHealth>

  durability(signal: AbortSignal): Promise<DurabilityReport>
}
