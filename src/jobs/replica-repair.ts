import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import { doAgree } from './agreement.ts'
import { asIncoming, type IncomingCopy, isHealthy, isUnreadable, settleCopy } from './copy-in.ts'
import { CopyMaker } from './copy-maker.ts'
import { isComplete, membersToDrop, removeCopies } from './drop-copies.ts'
import { removeAllShards } from './drop-shards.ts'
import { nameNeedles } from './heal.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import type { FixOutcome } from './needle-fixes.ts'
import type { MergeCopy } from './needle-verdict.ts'
import { isAgreed, type ReconcileOptions, reconcile } from './reconcile.ts'
import { RepairTally } from './repair-tally.ts'
import { dirtyDeletes, settleDirty } from './settle-dirty.ts'
import { type LiveCopy, type Survey, surveyVolume } from './survey.ts'
import { CONFLICTS_MAX, IS_CODED, isOutOfReach, VolumeWork, volumeOf } from './volume-work.ts'

/** Rounds of making the copies equal; each may be disturbed by writes. */
const RECONCILE_ROUNDS_MAX = 5

/**
 * Brings a volume back to what it shall be: as many copies as wanted, healthy and equal, and none
 * beside them. Every step looks at the volume anew and does the most urgent thing, so it does not
 * matter who did what before:
 *
 *     copies missing        copy → catch up → freeze → compare → join → thaw
 *     lost or bad members   leave the set, when all wanted copies are there
 *     dirty needles         made equal, their records taken back
 *     copies that differ    made equal needle by needle
 *     copies too many       leave the set; then all that do not count are removed
 */
export class ReplicaRepair implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'replica-repair'>
  readonly #maker: CopyMaker
  readonly #tally = new RepairTally()
  #incoming: IncomingCopy | undefined
  #isDeepDone: boolean
  #isPaced = false
  #isCoded = false
  #hasTold = false
  #hasMergedBad = false
  #noPlace: StoreError | undefined
  #conflictCount = 0
  #reconcileCount = 0

  constructor(context: JobContext) {
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'bytes')
    this.#maker = new CopyMaker(this.#work, this.#track)
    const cursor = readCursor(context.lease.cursor)
    this.#incoming = asIncoming(cursor['incoming'])
    this.#isDeepDone = cursor['isDeepDone'] === true
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify({ incoming: this.#incoming, isDeepDone: this.#isDeepDone })
  }

  get summary(): string {
    return this.#isCoded ? IS_CODED : this.#tally.summary
  }

  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    this.#isPaced = false
    const survey = await surveyVolume(this.#work, signal)
    await this.#track.begin('planned')
    if (survey === undefined) return 'done'
    try {
      return await this.#nextStep(survey, signal)
    } catch (error) {
      if (!isStoreError(error, 'METADATA_CONFLICT')) throw error
      // Somebody else changed the members: look again.
      if (++this.#conflictCount > CONFLICTS_MAX) throw error
      return 'busy'
    }
  }

  async #nextStep(survey: Survey, signal: AbortSignal): Promise<StepResult> {
    if (survey.facts.isDeleted) return await this.#removeDeleted(survey, signal)
    this.#isCoded = survey.facts.stripe !== undefined
    if (this.#isCoded) return 'done'
    if (await this.#accept(survey, signal)) return 'busy'
    await this.#tellReplication(survey, signal)
    await this.#mergeBad(survey, signal)
    if (await this.#addCopy(survey, signal)) return 'busy'
    if (await this.#dropUseless(survey, signal)) return 'busy'
    await this.#settleDirty(survey, survey.away.length === 0, signal)
    if (!(await this.#makeEqual(survey, signal))) return 'busy'
    this.#throwIfIncomplete(survey)
    if (survey.away.length > 0) return 'done'
    const surplus = membersToDrop(survey)
    if (surplus.length > 0) {
      await this.#leave(survey, surplus, signal)
      return 'busy'
    }
    await this.#removeStrays(survey, signal)
    return 'done'
  }

  /** The operator says that a copy counts which was left out, since no other can be reached. */
  async #accept({ facts, good, strays }: Survey, signal: AbortSignal): Promise<boolean> {
    const { acceptNode } = this.#context.lease.job.target
    if (acceptNode === undefined || acceptNode === '' || good.length > 0) return false
    const copy = strays.find(({ location }) => location.url === acceptNode)
    if (copy === undefined) {
      throw new StoreError('UNAVAILABLE', `${acceptNode} has no copy that could be accepted`)
    }
    const { directoryId } = copy
    const gone = facts.members.filter(
      (member) => member.location.url === acceptNode || member.directoryId === directoryId,
    )
    const removeDirectoryIds = gone.map((member) => member.directoryId)
    const add = [{ url: acceptNode, directoryId }]
    await this.#work.changeMembers(facts, { add, removeDirectoryIds }, signal)
    this.#tally.joinedCount++
    await this.#track.reach('joined')
    return true
  }

  /** A copy that was away when the replication was changed still says the old one of itself. */
  async #tellReplication({ facts, good }: Survey, signal: AbortSignal): Promise<void> {
    if (this.#hasTold) return
    const { replication } = facts
    const wanted = formatReplicaPlacement(replication)
    for (const { location, report } of good) {
      if (formatReplicaPlacement(report.replication) === wanted) continue
      const command = { ...this.#work.command, replication }
      await this.#work.at(location).setVolumeReplication(command, signal)
    }
    this.#hasTold = true
  }

  /** What only bad members have is brought to the good ones while it can still be read. */
  async #mergeBad({ good, bad }: Survey, signal: AbortSignal): Promise<void> {
    if (this.#hasMergedBad || bad.length === 0 || good.length === 0) return
    // All at once, since one may know of a delete that another does not know of.
    const isMerged = await this.#mergeFrom(good, bad, signal)
    if (!isMerged && bad.length > 1) {
      for (const copy of bad) await this.#mergeFrom(good, [copy], signal)
    }
    this.#hasMergedBad = true
    await this.#track.reach('reconciled')
  }

  /** False: one of them cannot be read. */
  async #mergeFrom(
    good: readonly LiveCopy[],
    bad: readonly LiveCopy[],
    signal: AbortSignal,
  ): Promise<boolean> {
    try {
      const copies = [...good.map(asMember), ...bad.map(asSource)]
      this.#tally.count(await this.#reconcile(copies, { isDeep: false }, signal))
      return true
    } catch (error) {
      if (!isUnreadable(error) && !isOutOfReach(error)) throw error
      const { volumeId } = this.#work
      const urls = bad.map(({ location }) => location.url)
      this.#context.logger.warn('job.bad_copy', { volumeId, urls, error: error.message })
      return false
    }
  }

  /** True: something was done towards a copy more. */
  async #addCopy(survey: Survey, signal: AbortSignal): Promise<boolean> {
    const { good, bad, away, wantedCount, facts } = survey
    if (this.#incoming !== undefined) return await this.#join(survey, this.#incoming, signal)
    if (good.length + away.length >= wantedCount) return false
    if (this.#noPlace !== undefined) return false
    if (good.length + bad.length === 0) {
      throw new StoreError('UNAVAILABLE', `no copy of volume ${facts.volumeId} can be reached`)
    }
    // Before the copies: a needle that was to be deleted must not be copied as if it were new.
    await this.#settleDirty(survey, false, signal)
    try {
      this.#incoming = await this.#maker.make(survey, signal)
    } catch (error) {
      if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')) throw error
      this.#noPlace = error
      if (good.length > 0) return false // The copies that are there are still seen to.
      await this.#renewInPlace(bad, signal)
    }
    this.#isPaced = true
    if (this.#incoming !== undefined) await this.#track.reach('copied')
    return true
  }

  /** The only copy there is, bad, and no room for another: its files are written anew. */
  async #renewInPlace(bad: readonly LiveCopy[], signal: AbortSignal): Promise<void> {
    const [copy] = bad
    if (copy === undefined) return
    const { politeness, command } = this.#work
    const vacuum = { ...command, politeness, skipsDamage: true, dropsTombstones: false }
    const progresses = this.#work.at(copy.location).vacuumVolume(vacuum, signal)
    for await (const { copiedBytes, totalBytes } of progresses) {
      this.#track.measure('bytes', copiedBytes, totalBytes)
    }
    await this.#track.reach('healed')
  }

  async #join(survey: Survey, incoming: IncomingCopy, signal: AbortSignal): Promise<boolean> {
    const { facts, good, bad, away, wantedCount } = survey
    // It may have joined already, just before an earlier worker died: it was equal then.
    const isMember = facts.members.some((member) => member.directoryId === incoming.directoryId)
    const isNeeded = !isMember && good.length + away.length < wantedCount
    const sources = good.length > 0 ? good : bad
    const hasSource = sources.some(({ location }) => location.url === incoming.source.url)
    if (isNeeded && hasSource && (await this.#isThere(incoming, signal))) {
      await this.#settle(survey, incoming, signal)
      await this.#track.reach('thawed')
    }
    this.#incoming = undefined
    return true
  }

  async #settle(survey: Survey, incoming: IncomingCopy, signal: AbortSignal): Promise<void> {
    const { facts, lost } = survey
    const { directoryId, target } = incoming
    const reach = (phase: 'frozen' | 'caught-up' | 'compared') => this.#track.reach(phase)
    const whileFrozen = async () => {
      // It takes the place of whatever was on its server before, else of one that is lost.
      const before = facts.members.filter(({ location }) => location.url === target.url)
      const replaced = before.length > 0 ? before : lost.slice(0, 1)
      const removeDirectoryIds = replaced.map((member) => member.directoryId)
      const add = [{ url: target.url, directoryId }]
      await this.#work.changeMembers(facts, { add, removeDirectoryIds }, signal)
      this.#tally.joinedCount++
      await this.#track.reach('joined')
    }
    try {
      await settleCopy(this.#work, { survey, incoming, reach, whileFrozen }, signal)
    } catch (error) {
      // A target that does not reach its source may reach another one.
      const isStuck = isOutOfReach(error) && survey.good.length > 1
      if (isStuck || isStoreError(error, 'VOLUME_CHANGED')) this.#incoming = undefined
      throw error
    }
  }

  /** A server that is out of reach is not waited for: another one may take a copy at once. */
  async #isThere(incoming: IncomingCopy, signal: AbortSignal): Promise<boolean> {
    try {
      return await isHealthy(this.#work, incoming, signal)
    } catch (error) {
      if (isOutOfReach(error)) return false
      throw error
    }
  }

  /** Lost and bad members; good ones that are too many go last, when all are equal. */
  async #dropUseless(survey: Survey, signal: AbortSignal): Promise<boolean> {
    if (survey.lost.length + survey.bad.length === 0) return false
    const ids = membersToDrop(survey)
    if (ids.length === 0) return false
    // A bad copy may have the only good one of a needle: as long as one is missing it stays.
    if (survey.lost.length === 0 && this.#tally.corruptNeedles.length > 0) return false
    await this.#leave(survey, ids, signal)
    return true
  }

  async #leave(survey: Survey, ids: readonly string[], signal: AbortSignal): Promise<void> {
    const change = { add: [], removeDirectoryIds: ids }
    await this.#work.changeMembers(survey.facts, change, signal)
    this.#tally.leftCount += ids.length
    await this.#track.reach('left')
  }

  async #settleDirty(survey: Survey, hasAll: boolean, signal: AbortSignal): Promise<void> {
    const { facts, good, bad, lost } = survey
    if (facts.dirtyCount === 0 || good.length === 0) return
    const copies = [...good.map(asMember), ...bad.map(asSource)]
    const resolves = hasAll && bad.length + lost.length === 0
    const onSettled = (count: number) => this.#track.measure('needles', count, facts.dirtyCount)
    const options = { hasAll, resolves, onSettled }
    const outcome = await settleDirty(this.#work, copies, options, signal)
    this.#tally.count(outcome)
    this.#tally.resolvedCount += outcome.resolvedCount
    if (outcome.healedCount + outcome.deletedCount > 0) await this.#track.reach('healed')
    if (outcome.resolvedCount > 0) await this.#track.reach('resolved')
  }

  /**
   * True: they were found equal, except for what no copy has good. Nothing is decided while a
   * member is away that may have newer needles, as the dirty ones tell.
   */
  async #makeEqual({ good, bad, away, facts }: Survey, signal: AbortSignal): Promise<boolean> {
    if (away.length > 0 && facts.dirtyCount > 0) return true
    const isDeep = this.#context.lease.job.target.isDeep === true && !this.#isDeepDone
    const locations = good.map(({ location }) => location)
    if (!isDeep && (await doAgree(this.#work, locations, signal))) return true
    if (++this.#reconcileCount > RECONCILE_ROUNDS_MAX) {
      const why = `the copies of volume ${this.#work.volumeId} do not become equal`
      throw new StoreError('REPLICATION_FAILED', why)
    }
    const copies = [...good.map(asMember), ...bad.map(asSource)]
    const onCompared = (count: number) => {
      this.#track.measure('needles', count, good[0]?.report.liveNeedles ?? 0)
    }
    const outcome = await this.#reconcile(copies, { isDeep, onCompared }, signal)
    this.#tally.count(outcome)
    if (isDeep) this.#isDeepDone = true
    await this.#track.reach('reconciled')
    return isAgreed(outcome)
  }

  async #reconcile(
    copies: readonly MergeCopy[],
    options: Omit<ReconcileOptions, 'ignored'>,
    signal: AbortSignal,
  ): Promise<FixOutcome> {
    const ignored = await dirtyDeletes(this.#work, signal)
    return await reconcile(this.#work, copies, { ...options, ignored }, signal)
  }

  /** Called when all has been done that could be done. */
  #throwIfIncomplete({ away, good }: Survey): void {
    const { volumeId } = this.#work
    const corrupt = this.#tally.corruptNeedles
    if (corrupt.length > 0) {
      const why = `volume ${volumeId}: no copy has these needles good: ${nameNeedles(corrupt)}`
      throw new StoreError('NEEDLE_CORRUPT', why)
    }
    if (this.#noPlace !== undefined) throw this.#noPlace
    if (good.length === 0)
      throw new StoreError('VOLUME_DAMAGED', `volume ${volumeId} has no good copy`)
    this.#tally.waitsFor(away)
    const silent = away.find(({ isUp }) => isUp)
    if (silent === undefined) return
    const why = `${silent.location.url} does not tell of its copy of volume ${volumeId}`
    throw new StoreError('UNAVAILABLE', why)
  }

  async #removeStrays(survey: Survey, signal: AbortSignal): Promise<void> {
    if (survey.strays.length === 0 || !isComplete(survey)) return
    if (await this.#isBeingMoved(signal)) return
    this.#tally.removedCount += await removeCopies(this.#work, survey.strays, signal)
    await this.#track.reach('removed')
  }

  /** Then a copy that does not count is its business: it may have to be looked through first. */
  async #isBeingMoved(signal: AbortSignal): Promise<boolean> {
    const moves = await this.#context.jobs.listJobs({ kind: 'move', withEnded: false }, signal)
    return moves.some(({ target }) => target.volumeId === this.#work.volumeId)
  }

  async #removeDeleted(survey: Survey, signal: AbortSignal): Promise<StepResult> {
    const copies = [...survey.good, ...survey.bad, ...survey.strays]
    const removedCount = await removeCopies(this.#work, copies, signal)
    const shardCount = await removeAllShards(this.#work, signal)
    this.#tally.removedCount += removedCount
    if (copies.length + shardCount > 0) await this.#track.reach('removed')
    return 'done'
  }
}

function asMember({ location }: LiveCopy): MergeCopy {
  return { location, isTruth: true, isWritable: true }
}

/** It can be read, and takes no writes. */
function asSource({ location }: LiveCopy): MergeCopy {
  return { location, isTruth: true, isWritable: false }
}
