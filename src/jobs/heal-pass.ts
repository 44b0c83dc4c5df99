import { parseFileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { DirtyObject } from '../namespace/write-intents-api.ts'
import type { HealPlan } from '../net/heal-facts.ts'
import { jobError } from '../net/job-error.ts'
import type { JobCounts, JobProgress } from '../net/jobs-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { completeObject } from './heal-dirty.ts'
import { type HealedFile, healFile, type ObjectAccess } from './heal-files.ts'
import { HealState, healSummary } from './heal-state.ts'
import { type NamedFile, nextFiles } from './heal-walk.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { JobTrack } from './job-track.ts'

const PAGE = 100
/** What is being repaired or moved is asked anew for so many. */
const LOST_PAGE = 40
const DIRTY_PAGE = 20
const FILES_AT_ONCE = 8
const VERIFIED_AT_ONCE = 4

/** The queue tries a repair again and again; so often is waited for. */
const REPAIR_ATTEMPTS_MAX = 2

/** @throws {StoreError} REQUEST_INVALID: this worker has no way to objects. */
export function createHeal(context: JobContext): Job {
  const { objects } = context
  if (objects === undefined) {
    throw new StoreError('REQUEST_INVALID', 'this worker cannot heal objects')
  }
  return new HealPass(context, objects)
}

/**
 * One pass over what gateways left behind and what servers lost:
 *
 * - writes whose gateway has gone are undone: nobody was told of them;
 * - objects that were stored with fewer copies or shards than they are to have get the others;
 * - shards on volumes that nobody has any more are made anew elsewhere, and such a volume is given
 *   up when no object has anything on it;
 * - some further files are read, shard by shard, and what is wrong is made anew.
 *
 * About a server it does only the third, for all that was on it, after its copies were made
 * elsewhere by the repair of volumes. Every step may be repeated by another worker.
 */
export class HealPass implements Job {
  readonly #context: JobContext
  readonly #objects: ObjectAccess
  readonly #track: JobTrack<'heal'>
  readonly #state: HealState
  readonly #node: string | undefined
  #isPaced = true
  #after = ''
  /** Of volumes whose copies are being made elsewhere. */
  readonly #repairing = new Set<VolumeId>()
  #firstFailure: StoreError | undefined
  #verifiedFiles = 0
  #verifiedBytes = 0

  constructor(context: JobContext, objects: ObjectAccess) {
    this.#context = context
    this.#objects = objects
    this.#node = context.lease.job.target.node
    this.#track = new JobTrack(context, 'needles')
    this.#state = new HealState(context.lease.cursor)
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return this.#state.cursor
  }

  get counts(): JobCounts {
    return this.#state.counts
  }

  get summary(): string {
    const failure = this.#firstFailure
    const why = failure === undefined ? '' : `${failure.code}: ${failure.message}`
    return healSummary(this.#state.counts, why)
  }

  /** What is missing is made at once; only what is looked at in rotation rests. */
  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    await this.#track.begin('planned')
    this.#isPaced = this.#state.stage !== 'verify'
    switch (this.#state.stage) {
      case 'intents':
        return this.#node === undefined ? await this.#undoIntents(signal) : this.#goTo('copies')
      case 'dirty':
        return await this.#completeDirty(signal)
      case 'copies':
        return await this.#awaitCopies(signal)
      case 'lost':
        return await this.#healLost(signal)
      case 'verify':
        return await this.#verify(signal)
    }
  }

  #goTo(stage: HealState['stage']): StepResult {
    this.#state.stage = stage
    this.#after = ''
    return 'busy'
  }

  async #undoIntents(signal: AbortSignal): Promise<StepResult> {
    const { namespace } = this.#objects
    const { logger } = this.#context
    const page = await namespace.listIntents({ after: this.#after, limit: PAGE }, signal)
    let undoneCount = 0
    for (const { bucket, id, isOrphaned, key } of page.intents) {
      if (!isOrphaned) continue
      if (!(await namespace.undoIntent({ id, isOnlyIfOrphaned: true }, signal))) continue
      undoneCount++
      this.#count('intentsUndone')
      logger.info('heal.intent_undone', { id, bucket, key })
    }
    if (undoneCount > 0) await this.#track.reach('undone')
    if (page.next === undefined) return this.#goTo('dirty')
    this.#after = page.next
    return 'busy'
  }

  async #completeDirty(signal: AbortSignal): Promise<StepResult> {
    const { namespace } = this.#objects
    const page = await namespace.listDirty({ after: this.#after, limit: DIRTY_PAGE }, signal)
    if (page.objects.length > 0) {
      const plan = await this.#plan(signal)
      for (const object of page.objects) await this.#complete(object, plan, signal)
    }
    if (page.next === undefined) return this.#goTo('copies')
    this.#after = page.next
    return 'busy'
  }

  async #complete(object: DirtyObject, plan: HealPlan, signal: AbortSignal): Promise<void> {
    const { jobs, logger } = this.#context
    const { bucket, id, key } = object
    try {
      const parts = { ...this.#objects, jobs, plan }
      const done = await completeObject(parts, object, signal)
      this.#count('shardsMade', done.shardsMade)
      this.#count('corruptFound', done.corruptFound)
      this.#count('filesRewritten', done.rewritten)
      if (!done.isWhole) return
      await this.#objects.namespace.settleDirty(object, signal)
      if (done.isGone) return
      this.#count('objectsCompleted')
      const { rewritten, shardsMade } = done
      logger.info('heal.object_completed', { bucket: bucket.name, key, id, shardsMade, rewritten })
      await this.#track.reach('completed')
    } catch (error) {
      this.#fail(error, { bucket: bucket.name, key, id })
    }
  }

  /** Of the server the job is about: the repair of volumes does it, and is told to begin. */
  async #awaitCopies(signal: AbortSignal): Promise<StepResult> {
    if (this.#node === undefined) return this.#goTo('lost')
    const { jobs } = this.#context
    const plan = await this.#plan(signal)
    const { repairVolumeIds } = plan
    for (const volumeId of repairVolumeIds) {
      if (this.#repairing.has(volumeId)) continue
      const reason = `${this.#node} is given up`
      await jobs.runJob({ kind: 'replica-repair', target: { volumeId }, reason }, signal)
      this.#repairing.add(volumeId)
    }
    const left = new Set(repairVolumeIds)
    if (left.size === 0) return await this.#haveCopies(plan, signal)
    await this.#throwIfStuck(left, signal)
    return 'idle'
  }

  async #haveCopies(
    { codedVolumeIds, repairedVolumeIds }: HealPlan,
    signal: AbortSignal,
  ): Promise<StepResult> {
    const coded = new Set(codedVolumeIds)
    let objectCount = 0
    for (const volumeId of repairedVolumeIds) {
      // Lists of shards are no objects beside the shards.
      if (!coded.has(volumeId)) objectCount += await this.#needlesOf(volumeId, signal)
    }
    // Not added: an attempt before this one may have counted them.
    this.#state.setCount('copiesRepaired', repairedVolumeIds.length)
    this.#state.setCount('objectsCopied', objectCount)
    if (repairedVolumeIds.length > 0) await this.#track.reach('repaired')
    return this.#goTo('lost')
  }

  async #needlesOf(volumeId: VolumeId, signal: AbortSignal): Promise<number> {
    const { members } = await this.#context.jobs.volumeFacts(volumeId, signal)
    return Math.max(0, ...members.map(({ report }) => report?.liveNeedles ?? 0))
  }

  async #throwIfStuck(volumeIds: ReadonlySet<VolumeId>, signal: AbortSignal): Promise<void> {
    const request = { kind: 'replica-repair', withEnded: true } as const
    for (const job of await this.#context.jobs.listJobs(request, signal)) {
      const { attempts, error, state, target } = job
      if (target.volumeId === undefined || !volumeIds.has(target.volumeId)) continue
      const isStuck = state === 'failed' || (state === 'waiting' && attempts > REPAIR_ATTEMPTS_MAX)
      if (isStuck && error !== '') throw jobError(`volume ${target.volumeId}`, error)
    }
  }

  async #healLost(signal: AbortSignal): Promise<StepResult> {
    const { clock } = this.#context
    const plan = await this.#plan(signal)
    const state = this.#state
    const isAsked = this.#node !== undefined
    const nowMs = clock.nowMs()
    const isWaiting = !isAsked && state.isWaitingForCopies(plan, nowMs)
    const isLater = isWaiting || (!isAsked && state.isPausing(plan, nowMs))
    if (plan.lostVolumeIds.length === 0 || (isLater && !state.hasWalkBegun)) {
      state.endWalk()
      return this.#afterLost()
    }
    if (!state.hasWalkBegun) {
      state.beginWalk()
      state.hasOldWriters = await this.#hasOldWriters(plan, signal)
    }
    const lost: ReadonlySet<VolumeId> = new Set(plan.lostVolumeIds)
    const page = await this.#page(plan, state.lostPlace, LOST_PAGE, signal)
    const heal = (file: NamedFile) => this.#healIfLost(file, plan, lost, signal)
    const healed = await mapBounded(page.files, FILES_AT_ONCE, heal, signal)
    if (healed.includes(true)) await this.#track.reach('rebuilt')
    this.#track.done += page.files.length
    state.lostPlace = page.next
    if (page.next !== undefined) return 'busy'
    return await this.#endLost(plan, signal)
  }

  /** A write that began before the volumes were lost may name shards on them yet. */
  async #hasOldWriters({ lostSinceMs }: HealPlan, signal: AbortSignal): Promise<boolean> {
    for (let after = ''; ; ) {
      const { intents, next } = await this.#objects.namespace.listIntents(
        { after, limit: PAGE },
        signal,
      )
      if (intents.some(({ startedAtMs }) => startedAtMs <= lostSinceMs)) return true
      if (next === undefined) return false
      after = next
    }
  }

  /** True: shards of it were made anew. */
  async #healIfLost(
    file: NamedFile,
    { repairVolumeIds }: HealPlan,
    lost: ReadonlySet<VolumeId>,
    signal: AbortSignal,
  ): Promise<boolean> {
    let needed: readonly VolumeId[] | undefined
    try {
      needed = await this.#lostVolumesOf(file, lost, signal)
    } catch (error) {
      // It is not known where its shards are: it may have some on any of them.
      if (!isStoreError(error, 'NEEDLE_NOT_FOUND')) this.#state.needAll()
      this.#fail(error, { fileId: file.fileId, key: file.key })
      return false
    }
    if (needed.length === 0) return false
    if (repairVolumeIds.includes(parseFileId(file.fileId).volumeId)) {
      this.#state.need(needed)
      return false
    }
    const done = await this.#heal(file, signal)
    if (done.outcome === 'failed') this.#state.need(needed)
    if (done.outcome !== 'healed') return false
    this.#count('objectsHealed')
    return true
  }

  async #lostVolumesOf(
    { fileId }: NamedFile,
    lost: ReadonlySet<VolumeId>,
    signal: AbortSignal,
  ): Promise<readonly VolumeId[]> {
    const { volumeId } = parseFileId(fileId)
    // The list of its shards was there, in the only copy it had.
    if (lost.has(volumeId)) return [volumeId]
    const shards = await this.#objects.client.shardsOf(fileId, { signal })
    const volumeIds = (shards?.fileIds ?? []).map((text) => parseFileId(text).volumeId)
    return [...new Set(volumeIds)].filter((id) => lost.has(id))
  }

  async #endLost(plan: HealPlan, signal: AbortSignal): Promise<StepResult> {
    const { clock, jobs, lease, logger } = this.#context
    const state = this.#state
    const isWhole = !state.isAnyNeeded && !state.hasOldWriters
    state.noteWalk(plan, isWhole, clock.nowMs())
    const isGivenUp = (volumeId: VolumeId) => !state.hasOldWriters && !state.isNeeded(volumeId)
    for (const volumeId of plan.lostVolumeIds.filter(isGivenUp)) {
      const { id: jobId } = lease.job
      try {
        await jobs.forgetVolume({ jobId, token: lease.token, volumeId }, signal)
      } catch (error) {
        // Its server is back.
        if (!isStoreError(error, 'REQUEST_INVALID')) throw error
        logger.info('heal.volume_back', { volumeId })
        continue
      }
      this.#count('volumesForgotten')
      logger.info('heal.volume_forgotten', { volumeId })
      await this.#track.reach('forgotten')
    }
    state.endWalk()
    return this.#afterLost()
  }

  #afterLost(): StepResult {
    if (this.#node === undefined) return this.#goTo('verify')
    const failure = this.#firstFailure
    if (failure !== undefined) {
      this.#state.stage = 'intents'
      throw failure
    }
    return this.#end()
  }

  #end(): StepResult {
    this.#state.endPass()
    return 'done'
  }

  async #verify(signal: AbortSignal): Promise<StepResult> {
    const plan = await this.#plan(signal)
    if (plan.codedVolumeIds.length === 0) {
      this.#state.verifyPlace = undefined
      return this.#end()
    }
    const limit = LIMITS.healVerifyFilesMax.value - this.#verifiedFiles
    const page = await this.#page(plan, this.#state.verifyPlace, limit, signal)
    const verify = (file: NamedFile) => this.#verifyFile(file, signal)
    // While copies of the lists are made and compared, these are not to change.
    const busy = new Set(plan.repairVolumeIds)
    const files = page.files.filter(({ fileId }) => !busy.has(parseFileId(fileId).volumeId))
    const made = await mapBounded(files, VERIFIED_AT_ONCE, verify, signal)
    if (page.files.length > 0) await this.#track.reach('verified')
    if (made.includes(true)) await this.#track.reach('rebuilt')
    this.#state.verifyPlace = page.next
    // The next pass begins the next round.
    const isRoundOver = page.next === undefined
    return isRoundOver || this.#hasVerifiedEnough() ? this.#end() : 'busy'
  }

  #hasVerifiedEnough(): boolean {
    return (
      this.#verifiedFiles >= LIMITS.healVerifyFilesMax.value ||
      this.#verifiedBytes >= LIMITS.healVerifyBytesMax.value
    )
  }

  async #verifyFile(file: NamedFile, signal: AbortSignal): Promise<boolean> {
    this.#verifiedFiles++
    this.#verifiedBytes += file.sizeBytes
    const done = await this.#heal(file, signal)
    if (done.outcome !== 'healed') return false
    this.#count('filesVerified')
    if (done.shardsMade === 0) return false
    this.#count('objectsHealed')
    return true
  }

  async #heal(file: NamedFile, signal: AbortSignal): Promise<HealedFile> {
    const { jobs, logger } = this.#context
    const { bucket, fileId, key } = file
    const done = await healFile({ ...this.#objects, jobs }, file, signal)
    const what = { bucket: bucket.name, key, fileId }
    if (done.outcome === 'failed') this.#fail(done.error, what)
    if (done.outcome !== 'healed') return done
    const { corruptFound, isRewritten, shardsMade } = done
    this.#count('shardsMade', shardsMade)
    this.#count('corruptFound', corruptFound)
    if (isRewritten) this.#count('filesRewritten')
    if (corruptFound > 0) logger.error('heal.corrupt_found', { ...what, shards: corruptFound })
    if (shardsMade > 0) logger.info('heal.shards_made', { ...what, shards: shardsMade })
    return done
  }

  #page(
    plan: HealPlan,
    place: HealState['lostPlace'],
    limit: number,
    signal: AbortSignal,
  ): ReturnType<typeof nextFiles> {
    const coded = new Set(plan.codedVolumeIds)
    const isWanted = (volumeId: VolumeId) => coded.has(volumeId)
    return nextFiles(this.#objects.namespace, { place, limit, isWanted }, signal)
  }

  async #plan(signal: AbortSignal): Promise<HealPlan> {
    const { jobs, lease } = this.#context
    return await jobs.healPlan({ jobId: lease.job.id, token: lease.token }, signal)
  }

  #count(name: Parameters<HealState['count']>[0], amount = 1): void {
    this.#state.count(name, amount)
  }

  /** The others go on without it. @throws {StoreError} CANCELLED; what is a defect of ours. */
  #fail(error: unknown, what: Readonly<Record<string, unknown>>): void {
    if (!isStoreError(error) || error.code === 'CANCELLED') throw error
    this.#firstFailure ??= error
    this.#count('failures')
    this.#context.logger.warn('heal.failed', { ...what, error })
  }
}
