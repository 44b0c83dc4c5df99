import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import type { HealPlan } from './heal-facts.ts'
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
} from './jobs-api.ts'
import type { NodeLocation } from './master-api.ts'
import {
  MasterChannels,
  type MasterChannelsConfig,
  type MasterChannelsParts,
} from './master-channels.ts'
import { JOBS_PROTO } from './proto-loading.ts'
import type { ChooseShardsRequest, ShardMove, ShardPlace, StripeChange } from './stripe-facts.ts'
import {
  chooseTargetToWire,
  dirtyNeedlesFromWire,
  dirtyNeedlesToWire,
  type ForgetVolumeRequest,
  factsFromWire,
  forgetVolumeToWire,
  type ListDirtyRequest,
  listDirtyToWire,
  membersChangeToWire,
  moveFromWire,
  type NextMoveRequest,
  scrubNoteToWire,
  vacuumNoteToWire,
  type WireDirtyNeedles,
  type WireFacts,
  type WireNextMove,
} from './wire-facts.ts'
import { type HealPlanRequest, healPlanFromWire, type WireHealPlan } from './wire-heal.ts'
import { durabilityFromWire, healthFromWire, type WireHealth } from './wire-health.ts'
import {
  adviceFromWire,
  endToWire,
  jobFromWire,
  jobRequestToWire,
  leaseFromWire,
  listJobsToWire,
  reportToWire,
  takeToWire,
  type WireJob,
  type WireJobs,
  type WireTaken,
} from './wire-jobs.ts'
import type { WireVolumeIds } from './wire-master.ts'
import { nodeFromWire, type WireNode } from './wire-node.ts'
import {
  chooseShardsToWire,
  placesFromWire,
  shardMoveFromWire,
  stripeChangeToWire,
  type WireNextShardMove,
  type WireShardPlaces,
} from './wire-stripes.ts'
import { wireVolumeId } from './wire-values.ts'

/**
 * The jobs of the masters of a cluster over gRPC, as if they were one; see `MasterChannels`. Taking
 * a job, ordering one about and forgetting a server are sent once, to a master that has just said
 * it is the leader; all else does no harm when it is sent again.
 */
export class RemoteJobs implements JobsApi, AsyncDisposable {
  readonly #channels: MasterChannels

  private constructor(channels: MasterChannels) {
    this.#channels = channels
  }

  /**
   * Connects when it is first used.
   *
   * @throws {StoreError} CONFIG_INVALID: no address, or `tls` cannot be used.
   */
  static async open(parts: MasterChannelsParts, config: MasterChannelsConfig): Promise<RemoteJobs> {
    return new RemoteJobs(new MasterChannels(parts, config, JOBS_PROTO))
  }

  runJob(request: JobRequest, signal: AbortSignal): Promise<JobView> {
    return this.#channels.call('RunJob', jobRequestToWire(request), toJob, { signal })
  }

  listJobs(request: ListJobsRequest, signal: AbortSignal): Promise<readonly JobView[]> {
    const convert = (wire: WireJobs) => wire.jobs.map(jobFromWire)
    return this.#channels.gather('ListJobs', listJobsToWire(request), convert, { signal })
  }

  orderJob(jobId: number, order: JobOrder, signal: AbortSignal): Promise<JobView> {
    const options = { signal, isOnce: true }
    return this.#channels.call('OrderJob', { jobId, order }, toJob, options)
  }

  watchJobs(signal: AbortSignal): AsyncIterable<JobView> {
    return this.#channels.stream('WatchJobs', {}, toJob, { signal })
  }

  takeJob(request: TakeJobRequest, signal: AbortSignal): Promise<JobLease | undefined> {
    const convert = ({ lease }: WireTaken) => (lease === null ? undefined : leaseFromWire(lease))
    const options = { signal, isOnce: true }
    return this.#channels.call('TakeJob', takeToWire(request), convert, options)
  }

  reportJob(report: JobReport, signal: AbortSignal): Promise<JobAdvice> {
    return this.#channels.call('ReportJob', reportToWire(report), adviceFromWire, { signal })
  }

  endJob(end: JobEnd, signal: AbortSignal): Promise<void> {
    return this.#channels.call('EndJob', endToWire(end), nothing, { signal })
  }

  volumeFacts(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeFacts> {
    return this.#channels.call('GetVolumeFacts', { volumeId }, toFacts, { signal })
  }

  listVolumes(collection: string | undefined, signal: AbortSignal): Promise<readonly VolumeId[]> {
    const convert = (wire: WireVolumeIds) => wire.volumeIds.map(wireVolumeId)
    return this.#channels.call('ListVolumes', { collection }, convert, { signal })
  }

  chooseTarget(request: ChooseTargetRequest, signal: AbortSignal): Promise<NodeLocation> {
    const convert = (wire: WireNode) => nodeFromWire(wire)
    const wire = chooseTargetToWire(request)
    return this.#channels.call('ChooseTarget', wire, convert, { signal })
  }

  changeMembers(change: MembersChange, signal: AbortSignal): Promise<VolumeFacts> {
    const wire = membersChangeToWire(change)
    return this.#channels.call('ChangeMembers', wire, toFacts, { signal })
  }

  changeStripe(change: StripeChange, signal: AbortSignal): Promise<VolumeFacts> {
    return this.#channels.call('ChangeStripe', stripeChangeToWire(change), toFacts, { signal })
  }

  chooseShards(request: ChooseShardsRequest, signal: AbortSignal): Promise<readonly ShardPlace[]> {
    const convert = ({ places }: WireShardPlaces) => placesFromWire(places, request)
    return this.#channels.call('ChooseShards', chooseShardsToWire(request), convert, { signal })
  }

  nextShardMove(volumeId: VolumeId, signal: AbortSignal): Promise<ShardMove | undefined> {
    const convert = ({ move }: WireNextShardMove) =>
      move === null ? undefined : shardMoveFromWire(move)
    return this.#channels.call('GetNextShardMove', { volumeId }, convert, { signal })
  }

  listDirty(request: ListDirtyRequest, signal: AbortSignal): Promise<readonly DirtyNeedle[]> {
    const convert = (wire: WireDirtyNeedles) => dirtyNeedlesFromWire(wire)
    return this.#channels.call('ListDirty', listDirtyToWire(request), convert, { signal })
  }

  /** Any number of them. */
  async resolveDirty(
    volumeId: VolumeId,
    needles: readonly DirtyNeedle[],
    signal: AbortSignal,
  ): Promise<void> {
    const countMax = LIMITS.dirtyListMax.value
    for (let at = 0; at < needles.length; at += countMax) {
      const part = dirtyNeedlesToWire(needles.slice(at, at + countMax))
      await this.#channels.call('ResolveDirty', { volumeId, ...part }, nothing, { signal })
    }
  }

  noteVacuum(note: VacuumNote, signal: AbortSignal): Promise<void> {
    return this.#channels.call('NoteVacuum', vacuumNoteToWire(note), nothing, { signal })
  }

  noteScrub(note: ScrubNote, signal: AbortSignal): Promise<void> {
    return this.#channels.call('NoteScrub', scrubNoteToWire(note), nothing, { signal })
  }

  healPlan(request: HealPlanRequest, signal: AbortSignal): Promise<HealPlan> {
    const convert = (wire: WireHealPlan) => healPlanFromWire(wire)
    const { jobId, token } = request
    return this.#channels.call('GetHealPlan', { jobId, token }, convert, { signal })
  }

  forgetVolume(request: ForgetVolumeRequest, signal: AbortSignal): Promise<void> {
    return this.#channels.call('ForgetVolume', forgetVolumeToWire(request), nothing, { signal })
  }

  setReplication(
    volumeId: VolumeId,
    replication: ReplicaPlacement,
    signal: AbortSignal,
  ): Promise<void> {
    const request = { volumeId, replication: formatReplicaPlacement(replication) }
    return this.#channels.call('SetReplication', request, nothing, { signal })
  }

  nextMove(request: NextMoveRequest, signal: AbortSignal): Promise<NextMove | undefined> {
    const convert = ({ move }: WireNextMove) => (move === null ? undefined : moveFromWire(move))
    const { kind, node } = request
    return this.#channels.call('GetNextMove', { kind, node }, convert, { signal })
  }

  forgetNode(url: string, signal: AbortSignal): Promise<void> {
    return this.#channels.call('ForgetNode', { url }, nothing, { signal, isOnce: true })
  }

  health(signal: AbortSignal): Promise<ClusterHealth> {
    const convert = (wire: WireHealth) => healthFromWire(wire)
    return this.#channels.call('GetHealth', {}, convert, { signal })
  }

  durability(signal: AbortSignal): Promise<DurabilityReport> {
    return this.#channels.call('GetDurability', {}, durabilityFromWire, { signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#channels[Symbol.asyncDispose]()
  }
}

function toJob(wire: WireJob): JobView {
  return jobFromWire(wire)
}

function toFacts(wire: WireFacts): VolumeFacts {
  return factsFromWire(wire)
}

function nothing(): void {}
