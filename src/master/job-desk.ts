import type { NeedleId, VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { HealPlan } from '../net/heal-facts.ts'
import type {
  ChooseTargetRequest,
  ClusterHealth,
  DirtyNeedle,
  DurabilityReport,
  JobAdvice,
  JobEnd,
  JobKind,
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
} from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  ChooseShardsRequest,
  ShardMove,
  ShardPlace,
  StripeChange,
} from '../net/stripe-facts.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { RISK_BELOW } from './assess.ts'
import { checkLeader } from './check-leader.ts'
import type { DirtyNeedles } from './dirty-needles.ts'
import { durabilityReport } from './durability-report.ts'
import type { HealDesk } from './heal-desk.ts'
import type { Health } from './health.ts'
import type { Incidents } from './incidents.ts'
import { leaseMsOf } from './job-leases.ts'
import type { JobQueue } from './job-queue.ts'
import type { JobRequests } from './job-requests.ts'
import type { Membership } from './membership.ts'
import type { NextMoves } from './next-moves.ts'
import type { RepairRate } from './repair-rate.ts'
import type { RepairView } from './repair-view.ts'
import type { ScrubLog } from './scrub-log.ts'
import type { Surveyor } from './surveyor.ts'
import type { VolumeSets } from './volume-sets.ts'

export interface JobDeskParts {
  readonly coordinator: Pick<Coordinator, 'isLeader' | 'leader' | 'epoch'>
  readonly warmUp: { readonly isWarming: boolean; check(): void }
  readonly queue: JobQueue
  readonly requests: JobRequests
  readonly sets: VolumeSets
  readonly dirty: Pick<DirtyNeedles, 'list' | 'resolve'>
  readonly membership: Pick<Membership, 'forgetNode' | 'setDraining'>
  readonly view: RepairView
  readonly surveyor: Surveyor
  readonly moves: NextMoves
  readonly scrubs: ScrubLog
  readonly incidents: Incidents
  readonly rate: RepairRate
  readonly health: Health
  readonly heal: HealDesk
  readonly workers: WorkersSeen
  readonly clock: Clock
  readonly logger: Logger
}

export interface JobDeskOptions {
  readonly leaseMs: number
  readonly politeness: number
  readonly delayMs: number
  readonly scrubEveryMs: number
}

const COPYING_KINDS: readonly JobKind[] = ['replica-repair', 'move', 'ec-repair', 'ec-balance']

/** When a worker asked for a job the last time. */
export class WorkersSeen {
  readonly #clock: Clock
  #askedAtMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#askedAtMs = clock.monotonicMs()
  }

  /** Or since the start, as long as none has. */
  get silentMs(): number {
    return this.#clock.monotonicMs() - this.#askedAtMs
  }

  note(): void {
    this.#askedAtMs = this.#clock.monotonicMs()
  }
}

/** Where workers and operators turn to. Nothing is answered by a master that does not lead. */
export class JobDesk implements JobsApi {
  readonly #parts: JobDeskParts
  readonly #options: JobDeskOptions

  constructor(parts: JobDeskParts, options: JobDeskOptions) {
    this.#parts = parts
    this.#options = options
  }

  async runJob(request: JobRequest, signal: AbortSignal): Promise<JobView> {
    this.#checkLeader()
    const { heal, requests, queue, membership } = this.#parts
    const checked = requests.check(request)
    const { kind, target } = checked
    // First: what is put on the server from now on would have to be moved away again.
    if (kind === 'evacuate') await membership.setDraining(target.node ?? '', true, signal)
    // So that all of it is made anew without waiting for the server.
    if (kind === 'heal' && target.node !== undefined) heal.giveUp(target.node)
    if (kind === 'set-replication') await requests.settle(target, signal)
    this.#checkLeader()
    return await queue.add(checked, signal)
  }

  async listJobs(request: ListJobsRequest): Promise<readonly JobView[]> {
    this.#checkLeader()
    return this.#parts.queue.list(request)
  }

  async orderJob(jobId: number, order: JobOrder, signal: AbortSignal): Promise<JobView> {
    this.#checkLeader()
    const { queue, membership } = this.#parts
    const job = await queue.order(jobId, order, signal)
    if (job.kind === 'evacuate' && order === 'cancel') {
      await membership.setDraining(job.target.node ?? '', false, signal)
    }
    return job
  }

  async *watchJobs(signal: AbortSignal): AsyncGenerator<JobView> {
    this.#checkLeader()
    yield* this.#parts.queue.watch(signal)
  }

  async takeJob(request: TakeJobRequest, signal: AbortSignal): Promise<JobLease | undefined> {
    this.#checkLeader()
    const { workers, warmUp, queue, coordinator } = this.#parts
    workers.note()
    if (warmUp.isWarming) return undefined
    const taken = await queue.take(request, signal)
    if (taken === undefined) return undefined
    const { job, token } = taken
    const isRepair = job.kind === 'replica-repair' || job.kind === 'ec-repair'
    const isUrgent = (isRepair || job.kind === 'heal') && job.risk >= RISK_BELOW
    // A pass of the healer begins where the last one ended.
    const isFirst = job.kind === 'heal' && taken.cursor === ''
    return {
      job,
      token,
      cursor: isFirst ? this.#parts.heal.cursor : taken.cursor,
      validMs: leaseMsOf(job.kind, this.#options.leaseMs),
      epoch: coordinator.epoch,
      politeness: isUrgent ? 0 : this.#options.politeness,
    }
  }

  async reportJob(report: JobReport): Promise<JobAdvice> {
    this.#checkLeader()
    const { queue, workers } = this.#parts
    workers.note()
    this.#noteBytes(report)
    return queue.report(report)
  }

  async endJob(end: JobEnd): Promise<void> {
    this.#checkLeader()
    const { heal, queue } = this.#parts
    const job = queue.check(end.jobId, end.token)
    this.#noteBytes(end)
    await queue.end(end)
    await heal.onEnded(job, end)
  }

  async volumeFacts(volumeId: VolumeId): Promise<VolumeFacts> {
    this.#checkReady()
    const facts = this.#parts.view.facts(volumeId)
    if (facts !== undefined) return facts
    throw new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not known`)
  }

  async listVolumes(collection: string | undefined): Promise<readonly VolumeId[]> {
    this.#checkReady()
    const { sets } = this.#parts
    const ids = [...sets.volumeIds].filter((id) => sets.record(id) !== undefined)
    const found =
      collection === undefined ? ids : ids.filter((id) => sets.collectionOf(id) === collection)
    return found.sort((a, b) => a - b)
  }

  async chooseTarget(request: ChooseTargetRequest): Promise<NodeLocation> {
    return this.#parts.moves.target(await this.volumeFacts(request.volumeId), request)
  }

  async changeMembers(change: MembersChange, signal: AbortSignal): Promise<VolumeFacts> {
    this.#checkReady()
    const { queue, sets, logger } = this.#parts
    queue.check(change.jobId, change.token)
    const facts = await sets.changeMembers(change, signal)
    const { jobId, volumeId, add, removeDirectoryIds } = change
    const added = add.map(({ url }) => url)
    logger.info('jobs.members_changed', { jobId, volumeId, added, removed: removeDirectoryIds })
    return facts
  }

  async changeStripe(change: StripeChange, signal: AbortSignal): Promise<VolumeFacts> {
    this.#checkReady()
    const { queue, sets, logger } = this.#parts
    queue.check(change.jobId, change.token)
    const facts = await sets.changeStripe(change, signal)
    const { jobId, volumeId, runId, shards } = change
    const places = shards.map(({ shard, url }) => `${shard}@${url}`)
    logger.info('jobs.stripe_changed', { jobId, volumeId, runId, shards: places })
    return facts
  }

  async chooseShards(request: ChooseShardsRequest): Promise<readonly ShardPlace[]> {
    await this.volumeFacts(request.volumeId)
    return this.#parts.moves.shards(request)
  }

  async nextShardMove(volumeId: VolumeId): Promise<ShardMove | undefined> {
    return this.#parts.moves.shardMove(await this.volumeFacts(volumeId))
  }

  async listDirty(
    request: { readonly volumeId: VolumeId; readonly after: NeedleId | undefined },
    signal: AbortSignal,
  ): Promise<readonly DirtyNeedle[]> {
    this.#checkLeader()
    return await this.#parts.dirty.list(request, signal)
  }

  async resolveDirty(
    volumeId: VolumeId,
    needles: readonly DirtyNeedle[],
    signal: AbortSignal,
  ): Promise<void> {
    this.#checkLeader()
    await this.#parts.dirty.resolve(volumeId, needles, signal)
  }

  async noteVacuum(note: VacuumNote, signal: AbortSignal): Promise<void> {
    this.#checkReady()
    await this.#parts.sets.noteVacuum(note, signal)
  }

  async noteScrub(note: ScrubNote, signal: AbortSignal): Promise<void> {
    this.#checkReady()
    const { scrubs, logger } = this.#parts
    await scrubs.note(note, signal)
    if (note.damageCount > 0) logger.error('jobs.damage_found', { ...note })
  }

  async healPlan(request: { readonly jobId: number; readonly token: string }): Promise<HealPlan> {
    this.#checkReady()
    const { heal, queue } = this.#parts
    return heal.plan(queue.check(request.jobId, request.token))
  }

  async forgetVolume(
    request: { readonly jobId: number; readonly token: string; readonly volumeId: VolumeId },
    signal: AbortSignal,
  ): Promise<void> {
    this.#checkReady()
    const { heal, queue, sets, logger } = this.#parts
    const { jobId, token, volumeId } = request
    if (queue.check(jobId, token).kind === 'heal') heal.checkForget(volumeId)
    await sets.forgetVolume(volumeId, signal)
    logger.info('jobs.volume_forgotten', { jobId, volumeId })
  }

  async setReplication(
    volumeId: VolumeId,
    replication: ReplicaPlacement,
    signal: AbortSignal,
  ): Promise<void> {
    this.#checkReady()
    await this.#parts.sets.setReplication(volumeId, replication, signal)
  }

  async nextMove(request: {
    readonly kind: 'rebalance' | 'evacuate'
    readonly node: string
  }): Promise<NextMove | undefined> {
    this.#checkReady()
    const { moves, view } = this.#parts
    const { kind, node } = request
    if (kind === 'rebalance') return moves.rebalance(view.allFacts())
    if (!view.nodes().some(({ location }) => location.url === node)) {
      throw new StoreError('NODE_NOT_FOUND', `no volume server ${quote(node)} is known`)
    }
    return moves.evacuate(view.allFacts(), node)
  }

  async forgetNode(url: string, signal: AbortSignal): Promise<void> {
    this.#checkReady()
    await this.#parts.membership.forgetNode(url, signal)
  }

  async health(): Promise<ClusterHealth> {
    this.#checkLeader()
    const { surveyor, health } = this.#parts
    return health.report(await surveyor.take())
  }

  async durability(): Promise<DurabilityReport> {
    this.#checkReady()
    const { surveyor, incidents, scrubs, clock } = this.#parts
    const { delayMs, scrubEveryMs } = this.#options
    const survey = await surveyor.take()
    return durabilityReport({
      survey,
      times: incidents.times,
      scrub: scrubs.figures(survey.facts),
      belowSinceMs: ({ volumeId }) => incidents.sinceMsOf(volumeId),
      nowMs: clock.nowMs(),
      delayMs,
      scrubEveryMs,
    })
  }

  /** Of jobs that make copies or shards; what is done over again after a failure counts again. */
  #noteBytes({ jobId, token, progress }: JobReport): void {
    const { queue, rate } = this.#parts
    const before = queue.check(jobId, token)
    if (!COPYING_KINDS.includes(before.kind) || progress.unit !== 'bytes') return
    const isSame = before.progress.unit === 'bytes' && before.progress.done <= progress.done
    rate.add(isSame ? progress.done - before.progress.done : progress.done)
  }

  #checkLeader(): void {
    checkLeader(this.#parts.coordinator)
  }

  /** Before the servers known from before are back nobody can tell what there is. */
  #checkReady(): void {
    this.#checkLeader()
    this.#parts.warmUp.check()
  }
}
