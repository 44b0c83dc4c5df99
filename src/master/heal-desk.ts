import type { VolumeId } from '../base/ids.ts'
import { copyCount, type ReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import { HEAL_COUNTS, type HealCount, type HealPlan } from '../net/heal-facts.ts'
import type { JobEnd, JobView, VolumeFacts } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { RISK } from './assess.ts'
import type { JobQueue } from './job-queue.ts'
import { decodeFields } from './job-rows.ts'
import { corruptRow, encodeRow } from './master-rows.ts'
import type { Membership } from './membership.ts'
import type { RepairView } from './repair-view.ts'
import { isCodedCollection, isLostShardVolume } from './shard-volumes.ts'

/** As the last pass left it, for the next: `{cursor}`. */
const HEAL_KEY = 'master/heal'

const SUBJECT = { kind: 'heal', target: {} } as const

const NEVER = new AbortController().signal

/** Totals since this master was started. */
export type HealTotals = Readonly<Record<HealCount | 'passes', number>>

export interface HealDeskParts {
  readonly store: MetadataStore
  readonly coordinator: Pick<Coordinator, 'isLeader'>
  readonly warmUp: { readonly isWarming: boolean }
  readonly view: RepairView
  readonly queue: Pick<JobQueue, 'add' | 'find' | 'list'>
  readonly membership: Pick<Membership, 'giveUp'>
  /** Objects wait for the healer: writes that were given up, or objects that lack something. */
  readonly hasObjectsToHeal: (signal: AbortSignal) => Promise<boolean>
  readonly clock: Clock
  readonly logger: Logger
}

export interface HealDeskOptions {
  /** From the end of a pass to the next; 0: only when somebody asks for one. */
  readonly healEveryMs: number
}

/**
 * Queues passes of the healer, tells them which volumes are lost, and counts what they did. There
 * is one pass at a time: whoever has its lease is the one healer of the cluster. Where it is in its
 * round over all files is kept from pass to pass, durably.
 */
export class HealDesk {
  readonly #parts: HealDeskParts
  readonly #everyMs: number
  readonly #totals: Record<HealCount | 'passes', number>
  #cursor: string
  /** Volumes with copies on a server that somebody gave up, as they were then, by its url. */
  readonly #givenUp = new Map<string, ReadonlySet<VolumeId>>()
  /** By the monotonic clock. */
  #dueAtMs = Number.NEGATIVE_INFINITY
  /** Why a pass was asked for that is not queued yet. */
  #requested: string | undefined

  private constructor(parts: HealDeskParts, options: HealDeskOptions, cursor: string) {
    this.#parts = parts
    this.#everyMs = options.healEveryMs
    this.#cursor = cursor
    const zeros = ['passes', ...HEAL_COUNTS].map((name) => [name, 0])
    this.#totals = Object.fromEntries(zeros)
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(
    parts: HealDeskParts,
    options: HealDeskOptions,
    signal: AbortSignal,
  ): Promise<HealDesk> {
    const row = await parts.store.get(HEAL_KEY, signal)
    const cursor = row === undefined ? '' : decodeFields(HEAL_KEY, row)['cursor']
    if (typeof cursor !== 'string') throw corruptRow(HEAL_KEY)
    return new HealDesk(parts, options, cursor)
  }

  get totals(): HealTotals {
    return this.#totals
  }

  /** Where the last pass ended, as it said itself. */
  get cursor(): string {
    return this.#cursor
  }

  /**
   * A pass is to begin now: if one waits, that is it; if one runs, another follows it. Never
   * rejects.
   */
  request(reason: string): void {
    this.#requested = reason
    void this.#addRequested(NEVER)
  }

  /**
   * What the server held is to be made anew now, without waiting for it to come back: if it is
   * down, all of it counts as lost.
   *
   * @throws {StoreError} NODE_NOT_FOUND.
   */
  giveUp(node: string): void {
    const { membership, queue, view } = this.#parts
    membership.giveUp(node)
    const isNew = queue.find({ kind: 'heal', target: { node } }) === undefined
    const volumeIds = new Set(isNew ? [] : this.#givenUp.get(node))
    for (const facts of view.allFacts()) {
      if (!facts.isDeleted && hasLostCopy(facts, node)) volumeIds.add(facts.volumeId)
    }
    this.#givenUp.set(node, volumeIds)
  }

  /** Queues a pass when one is due and there is something for it to do. */
  async turn(signal: AbortSignal): Promise<void> {
    const { clock, queue } = this.#parts
    if (this.#requested !== undefined) await this.#addRequested(signal)
    if (this.#everyMs === 0 || clock.monotonicMs() < this.#dueAtMs) return
    if (queue.find(SUBJECT) !== undefined || !this.#isInCharge()) return
    const { hasCoded, hasLost } = this.#look()
    this.#dueAtMs = clock.monotonicMs() + this.#everyMs
    if (!hasCoded && !(await this.#parts.hasObjectsToHeal(signal))) return
    const reason = hasLost ? 'shards are lost' : 'objects are looked after'
    await this.#add(reason, hasLost ? RISK.fewCopies : RISK.heal, signal)
  }

  /** Durable when it returns, unless the store failed: then a later pass begins its round anew. */
  async onEnded({ kind, target }: Pick<JobView, 'kind' | 'target'>, end: JobEnd): Promise<void> {
    if (kind !== 'heal') return
    const { clock, logger, store } = this.#parts
    if (end.outcome === 'done') {
      this.#totals.passes++
      for (const name of HEAL_COUNTS) this.#totals[name] += end.counts?.[name] ?? 0
      if (target.node !== undefined) this.#givenUp.delete(target.node)
      else this.#dueAtMs = clock.monotonicMs() + this.#everyMs
      if (end.cursor !== this.#cursor) {
        this.#cursor = end.cursor
        const puts = [{ key: HEAL_KEY, value: encodeRow({ cursor: end.cursor }) }]
        await store.commit({ puts }, NEVER).catch((error: unknown) => {
          logger.error('heal.cursor_not_kept', { error })
        })
      }
    }
    if (this.#requested !== undefined) await this.#addRequested(NEVER)
  }

  /** As of now; what was on the server of the job counts, if it is down, as lost. */
  plan({ target: { node } }: Pick<JobView, 'target'>): HealPlan {
    const { clock, view } = this.#parts
    const codedVolumeIds: VolumeId[] = []
    const lost: VolumeFacts[] = []
    const repairVolumeIds: VolumeId[] = []
    const replications: Record<string, ReplicaPlacement> = {}
    const moving = this.#movingVolumes()
    // A master before this one may have been asked.
    if (node !== undefined && !this.#givenUp.has(node)) this.giveUp(node)
    // So much is gone that it must be the network: nothing is made anew unless somebody says so.
    const isHeldBack = node === undefined && (view.isMassGone() || this.#isRecovering())
    for (const facts of view.allFacts()) {
      const { collection, isDeleted, replication, volumeId } = facts
      if (isDeleted) continue
      const isCoded = isCodedCollection(collection)
      if (isCoded) {
        codedVolumeIds.push(volumeId)
      } else {
        const most = replications[collection]
        const isMore = most === undefined || copyCount(replication) > copyCount(most)
        if (isMore) replications[collection] = replication
      }
      if (!isHeldBack && isLostShardVolume(facts)) lost.push(facts)
      const isAbout = isCoded || (node !== undefined && this.#givenUp.get(node)?.has(volumeId))
      const isBusy = moving.has(volumeId) || this.#isBeingRepaired(volumeId)
      const isLeft = isAbout && (isBusy || hasLostCopy(facts, node))
      if (isLeft) repairVolumeIds.push(volumeId)
    }
    const lostVolumeIds = lost.map(({ volumeId }) => volumeId)
    const lostSinceMs = this.#lostSinceMs(lost, clock.nowMs())
    const left = new Set(repairVolumeIds)
    const givenUp = [...(this.#givenUp.get(node ?? '') ?? [])]
    const repairedVolumeIds = givenUp.filter((id) => !left.has(id))
    const volumes = { codedVolumeIds, lostVolumeIds, repairVolumeIds, repairedVolumeIds }
    return { ...volumes, lostSinceMs, replications }
  }

  /** @throws {StoreError} REQUEST_INVALID: it is no volume with shards, or somebody has it. */
  checkForget(volumeId: VolumeId): void {
    const facts = this.#parts.view.facts(volumeId)
    if (facts !== undefined && (facts.isDeleted || isLostShardVolume(facts))) return
    throw new StoreError('REQUEST_INVALID', `volume ${volumeId} is not one whose shards are lost`)
  }

  async #addRequested(signal: AbortSignal): Promise<void> {
    const { logger, queue } = this.#parts
    const reason = this.#requested
    if (reason === undefined || !this.#isInCharge()) return
    const found = queue.find(SUBJECT)
    // When that ends, this is tried again.
    if (found?.state === 'running') return
    this.#requested = undefined
    if (found !== undefined) return
    try {
      await this.#add(reason, RISK.heal, signal)
    } catch (error) {
      if (signal.aborted) return
      this.#requested ??= reason
      logger.warn('heal.not_queued', { error })
    }
  }

  async #add(reason: string, risk: number, signal: AbortSignal): Promise<void> {
    const request = { ...SUBJECT, reason, risk, queue: '', isAsked: false }
    await this.#parts.queue.add(request, signal)
  }

  #isInCharge(): boolean {
    return this.#parts.coordinator.isLeader() && !this.#parts.warmUp.isWarming
  }

  /**
   * A repair compares copies after it made them: what is put anew under an old id meanwhile, as the
   * list of shards of a file is, it may take for what is missing.
   */
  #isBeingRepaired(volumeId: VolumeId): boolean {
    const job = this.#parts.queue.find({ kind: 'replica-repair', target: { volumeId } })
    if (job === undefined) return false
    return job.state === 'running' || (job.state === 'waiting' && job.risk >= RISK.differs)
  }

  #movingVolumes(): ReadonlySet<VolumeId> {
    const moves = this.#parts.queue.list({ kind: 'move', withEnded: false })
    const running = moves.filter(({ state }) => state === 'running')
    return new Set(running.flatMap(({ target }) => target.volumeId ?? []))
  }

  /** A job about a server is to do it, and to count it. */
  #isRecovering(): boolean {
    for (const node of this.#givenUp.keys()) {
      if (this.#parts.queue.find({ kind: 'heal', target: { node } }) !== undefined) return true
      this.#givenUp.delete(node)
    }
    return false
  }

  #look(): { readonly hasCoded: boolean; readonly hasLost: boolean } {
    let hasCoded = false
    for (const facts of this.#parts.view.allFacts()) {
      if (facts.isDeleted || !isCodedCollection(facts.collection)) continue
      hasCoded = true
      if (isLostShardVolume(facts)) return { hasCoded, hasLost: true }
    }
    return { hasCoded, hasLost: false }
  }

  /** By the wall clock: from then on nobody wrote to any of them. 0: none is lost. */
  #lostSinceMs(lost: readonly VolumeFacts[], nowMs: number): number {
    if (lost.length === 0) return 0
    const downForMs = new Map<string, number>()
    for (const { location, downForMs: ms } of this.#parts.view.nodes()) {
      downForMs.set(location.url, ms)
    }
    const members = lost.flatMap(({ members }) => members)
    const forMs = members.map(({ location }) => downForMs.get(location.url) ?? 0)
    return nowMs - Math.floor(Math.min(...forMs))
  }
}

/** Of the server, or of any; there are others that a new one can be made from. */
function hasLostCopy({ members }: VolumeFacts, node: string | undefined): boolean {
  const isGood = members.some(({ isLost, isUp, report }) => isUp && !isLost && report !== undefined)
  const isIt = (url: string) => node === undefined || url === node
  return isGood && members.some(({ isLost, location }) => isLost && isIt(location.url))
}
