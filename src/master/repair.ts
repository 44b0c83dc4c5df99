import type { VolumeId } from '../base/ids.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { ClusterHealth, JobRequest } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Cluster } from './cluster.ts'
import type { ErasureConfig, RepairConfig } from './config.ts'
import { ErasurePolicy } from './erasure-policy.ts'
import { HealDesk, type HealDeskParts } from './heal-desk.ts'
import { Health } from './health.ts'
import { Incidents } from './incidents.ts'
import { JobDesk, WorkersSeen } from './job-desk.ts'
import { diskLock, HEAL_LOCK, volumeLock } from './job-leases.ts'
import { JobQueue } from './job-queue.ts'
import { JobRequests } from './job-requests.ts'
import type { HeartbeatAge } from './master-metrics.ts'
import { MemberAlerts } from './member-alerts.ts'
import type { Membership } from './membership.ts'
import { NextMoves } from './next-moves.ts'
import { RepairRate } from './repair-rate.ts'
import { ClusterView, type RepairView } from './repair-view.ts'
import { Scheduler } from './scheduler.ts'
import { ScrubLog } from './scrub-log.ts'
import { Surveyor } from './surveyor.ts'

export interface RepairParts {
  readonly store: MetadataStore
  readonly coordinator: Coordinator
  readonly cluster: Cluster
  readonly membership: Membership
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** As `HealDeskParts`. */
  readonly hasObjectsToHeal: HealDeskParts['hasObjectsToHeal']
}

export interface RepairOptions {
  readonly repair: RepairConfig
  readonly erasure: ErasureConfig
  readonly volumeSizeMaxBytes: number
  readonly heartbeatMs: number
  /** Of ids that are given out. */
  readonly leaseMs: number
}

/** Everything that keeps volumes whole without being asked. */
export interface Repair {
  readonly desk: JobDesk
  readonly heal: Pick<HealDesk, 'request' | 'totals'>
  /** As of the last look at all volumes, for whoever only watches. */
  readonly lastHealth: () => ClusterHealth
  readonly heartbeatAges: () => readonly HeartbeatAge[]
}

/**
 * Reads the jobs there are, and begins to look for more. `opening` takes over what is to be closed.
 *
 * @throws {StoreError} METADATA_CORRUPT; the errors of the store.
 */
export async function openRepair(
  parts: RepairParts,
  options: RepairOptions,
  life: { readonly opening: DisposeStack; readonly closing: AbortSignal },
  signal: AbortSignal,
): Promise<Repair> {
  const { coordinator, cluster, membership, clock, random, logger } = parts
  const { repair, heartbeatMs, leaseMs } = options
  const { sets, collections, warmUp, state, links, dirty } = cluster
  const view = new ClusterView({ state, sets, membership, links })
  const { garbageThreshold } = repair
  const serverCount = () => view.shardServers('steady').length
  const policy = new ErasurePolicy({ collections, serverCount }, options)
  const surveyor = new Surveyor({ view, clock, policy }, { garbageThreshold, leaseMs })
  const queue = life.opening.use(
    await JobQueue.open(
      {
        ...parts,
        closing: life.closing,
        locksOf: (job) => locksOf(view, job),
        // As of the last look: this is asked of each job in the queue.
        isHeldBack: (job) => surveyor.latest.isMassGone && needsLost(view, job),
      },
      repair,
      signal,
    ),
  )
  const scrubs = await ScrubLog.open(parts, { everyMs: repair.scrubEveryMs }, signal)
  const incidents = await Incidents.open(parts, signal)
  const moves = new NextMoves(
    { view, random, busyTest: () => busyTest(queue) },
    { spread: repair.rebalanceSpread },
  )
  const shared = { coordinator, warmUp, view, surveyor, queue, incidents, scrubs, clock, logger }
  const workers = new WorkersSeen(clock)
  const rate = new RepairRate(clock)
  const memberAlerts = new MemberAlerts({ ...cluster, membership, clock })
  const workersSilentMs = () => workers.silentMs
  const health = new Health({ ...shared, rate, memberAlerts, workersSilentMs }, repair)
  const requests = new JobRequests({ view, sets, collections, policy, warmUp, random })
  const { hasObjectsToHeal } = parts
  const healParts = { ...shared, store: parts.store, membership, hasObjectsToHeal }
  const heal = await HealDesk.open(healParts, repair, signal)
  const desk = new JobDesk(
    { ...shared, heal, requests, sets, dirty, membership, moves, rate, health, workers },
    repair,
  )
  const scheduler = new Scheduler({ ...shared, moves, heal }, { ...repair, heartbeatMs })
  const running = scheduler.run(life.closing)
  life.opening.defer(() => running)
  return {
    desk,
    heal,
    lastHealth: () => health.report(surveyor.latest),
    heartbeatAges: () => heartbeatAges(view, clock.nowMs()),
  }
}

function heartbeatAges(view: RepairView, nowMs: number): HeartbeatAge[] {
  return view.nodes().map(({ location, lastHeardMs, downForMs }) => ({
    url: location.url,
    agoMs: lastHeardMs === 0 ? downForMs : Math.max(0, nowMs - lastHeardMs),
  }))
}

/** One job for each volume, one vacuum for each disk, and one healer. */
function locksOf(view: RepairView, { kind, target }: JobRequest): string[] {
  if (kind === 'heal') return [HEAL_LOCK]
  const { volumeId } = target
  if (volumeId === undefined) return []
  if (kind !== 'vacuum') return [volumeLock(volumeId)]
  const members = view.facts(volumeId)?.members ?? []
  return [volumeLock(volumeId), ...members.map(({ directoryId }) => diskLock(directoryId))]
}

/** It would make copies or shards for servers that are gone. */
function needsLost(view: RepairView, { kind, target }: JobRequest): boolean {
  const { volumeId } = target
  const isRepair = kind === 'replica-repair' || kind === 'ec-repair'
  if (!isRepair || volumeId === undefined) return false
  const { members = [], stripe } = view.facts(volumeId) ?? {}
  return [...members, ...(stripe?.shards ?? [])].some(({ isLost, isUp }) => isLost && !isUp)
}

function busyTest(queue: JobQueue): (volumeId: VolumeId) => boolean {
  const moves = queue.list({ kind: 'move', withEnded: false })
  const moving = new Set(moves.map(({ target }) => target.volumeId))
  return (volumeId) => moving.has(volumeId) || queue.isLocked(volumeLock(volumeId))
}
