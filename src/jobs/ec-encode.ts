import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { ttlToMs } from '../base/ttl.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { areSame, digestsOf, doAgree } from './agreement.ts'
import { removeStrayShards } from './drop-shards.ts'
import { Freeze } from './freeze.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asCount, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import { asLeftCopy, type LeftCopy, removeLeftCopy } from './left-copies.ts'
import { NewRun } from './new-run.ts'
import { journalEverywhere } from './shard-journals.ts'
import { holdersOf, isWhole, type StripeSurvey, stripeOf, surveyShards } from './stripe-survey.ts'
import { awaitReported, commitStripe, type StripePlan } from './stripe-switch.ts'
import { type Survey, surveyVolume } from './survey.ts'
import { CONFLICTS_MAX, finishDeadline, VolumeWork, volumeOf } from './volume-work.ts'

/** A sealed volume is seldom written to: more runs in vain mean that something is wrong. */
const RUNS_MAX = 3
const QUIET_ROUNDS_MAX = 5

/**
 * Puts shards in the place of the copies of a volume: seal, encode beside one of them, spread, read
 * back, hold the deletes back, let the shards count, remove the copies. Until they count, the
 * copies are as they were, but sealed.
 */
export class EcEncode implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'ec-encode'>
  readonly #run: NewRun
  readonly #schemeText: string
  /** Of the copies when one of them was coded. */
  #setVersion: number
  /** Copies that the shards have taken the place of. */
  #left: readonly LeftCopy[]
  #isPaced = false
  #conflictCount = 0
  #runCount = 0
  #summary = 'nothing to do'

  constructor(context: JobContext) {
    const { target } = context.lease.job
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(target))
    this.#track = new JobTrack(context, 'bytes')
    const { erasure: scheme } = target
    if (scheme === undefined) {
      throw new StoreError('REQUEST_INVALID', 'the job does not say how many shards there are')
    }
    this.#schemeText = formatErasureScheme(scheme)
    const cursor = readCursor(context.lease.cursor)
    const onBytes = (done: number, total: number) => this.#track.measure('bytes', done, total)
    this.#run = new NewRun(this.#work, { scheme, cursor: cursor['run'], onBytes })
    this.#setVersion = asCount(cursor['setVersion']) ?? 0
    const left = cursor['left']
    this.#left = Array.isArray(left) ? left.flatMap((copy) => asLeftCopy(copy) ?? []) : []
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    const setVersion = this.#setVersion
    return JSON.stringify({ run: this.#run.cursor, setVersion, left: this.#left })
  }

  get summary(): string {
    return this.#summary
  }

  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    this.#isPaced = false
    const survey = await surveyVolume(this.#work, signal)
    await this.#track.begin('planned')
    if (survey === undefined || survey.facts.isDeleted) return 'done'
    const { stripe } = survey.facts
    if (stripe !== undefined && stripe.runId === this.#run.runId) return await this.#finishLater()
    if (stripe !== undefined) {
      this.#summary = 'the volume is erasure-coded already'
      return 'done'
    }
    this.#left = []
    try {
      return await this.#nextStep(survey, signal)
    } catch (error) {
      // Somebody else changed what counts: look again.
      const isConflict = isStoreError(error, 'METADATA_CONFLICT')
      if (isConflict && ++this.#conflictCount <= CONFLICTS_MAX) return 'busy'
      const isInVain = isStoreError(error, 'VOLUME_CHANGED') && !this.#run.isEncoded
      if (isInVain && ++this.#runCount < RUNS_MAX) return 'busy'
      throw error
    }
  }

  async #nextStep(survey: Survey, signal: AbortSignal): Promise<StepResult> {
    throwIfUnfit(survey)
    if (this.#run.isEncoded && !this.#isOfThis(survey)) this.#run.forget()
    if (!this.#run.isEncoded) return await this.#encode(survey, signal)
    this.#isPaced = true
    if (!this.#run.isSpread) {
      await this.#run.spread(signal)
      await this.#track.reach('spread')
      return 'busy'
    }
    if (!this.#run.isVerified) {
      await this.#run.verify(signal)
      await this.#track.reach('verified')
      return 'busy'
    }
    return await this.#switch(survey, signal)
  }

  /** The copy that was coded is a member still, and as it was or longer. */
  #isOfThis({ good, facts }: Survey): boolean {
    const { encoder, extent } = this.#run
    // Otherwise another copy may have come in its place.
    if (facts.setVersion !== this.#setVersion) return false
    const copy = good.find(({ location }) => location.url === encoder?.url)
    if (copy === undefined || extent === undefined) return false
    const { compactionRevision, datBytes } = copy.report
    return compactionRevision === extent.compactionRevision && datBytes >= extent.datBytes
  }

  async #encode({ good, facts }: Survey, signal: AbortSignal): Promise<StepResult> {
    const { volumeId } = this.#work
    const locations = good.map(({ location }) => location)
    if (!(await doAgree(this.#work, locations, signal))) {
      const why = `the copies of volume ${volumeId} differ, and have to be made equal first`
      throw new StoreError('VOLUME_DAMAGED', why)
    }
    // A run is named by a moment in which nothing is put any more.
    for (const location of locations) {
      await this.#work.at(location).sealVolume(this.#work.command, signal)
    }
    await this.#track.reach('sealed')
    // What earlier attempts left is in nobody's way but that of the space it takes.
    await this.#removeSurplus(signal)
    this.#setVersion = facts.setVersion
    await this.#run.encode(this.#rotated(locations), signal)
    this.#isPaced = true
    await this.#track.reach('encoded')
    return 'busy'
  }

  /** Another one first with every attempt. */
  #rotated(locations: readonly NodeLocation[]): readonly NodeLocation[] {
    const { attempts } = this.#context.lease.job
    const first = Math.max(0, attempts - 1) % (locations.length || 1)
    return [...locations.slice(first), ...locations.slice(0, first)]
  }

  async #switch(survey: Survey, signal: AbortSignal): Promise<StepResult> {
    // The bulk of it while deletes still go on.
    await this.#run.catchUp(signal)
    await awaitReported(this.#work, await this.#run.plan(signal), signal)
    const locations = survey.good.map(({ location }) => location)
    await using freeze = await Freeze.open(this.#work, locations, signal)
    await this.#track.reach('frozen')
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      await this.#run.catchUp(signal)
      if (round === 0) await this.#track.reach('caught-up')
      await this.#throwIfUnequal(locations, signal)
      const plan = await this.#run.plan(signal)
      // Only what was compared while nothing was written may be relied on.
      if (!(await freeze.renew(signal))) continue
      await this.#commit(survey, plan, { freeze, signal })
      await this.#finish()
      await freeze.thaw()
      await this.#track.reach('thawed')
      return 'done'
    }
    throw new StoreError('VOLUME_BUSY', `volume ${this.#work.volumeId} is written to all the time`)
  }

  async #throwIfUnequal(locations: readonly NodeLocation[], signal: AbortSignal): Promise<void> {
    const { volumeId } = this.#work
    const facts = await this.#work.facts(signal)
    if (facts === undefined || facts.dirtyCount > 0) throw dirty(volumeId)
    if (areSame(await digestsOf(this.#work, locations, signal))) return
    throw new StoreError('VOLUME_DAMAGED', `the copies of volume ${volumeId} differ`)
  }

  async #commit(
    { facts, good }: Survey,
    plan: StripePlan,
    { freeze, signal }: { readonly freeze: Freeze; readonly signal: AbortSignal },
  ): Promise<void> {
    // Whoever goes on after a crash has to know from where on the copies may have more.
    this.#left = good.map(({ location, directoryId }) => {
      const { datBytes, compactionRevision } = freeze.extentAt(location.url)
      return { location, directoryId, extent: { datBytes, compactionRevision } }
    })
    await this.#context.save(signal)
    await commitStripe(this.#work, facts, plan, signal)
    await this.#track.reach('switched')
  }

  async #finishLater(): Promise<StepResult> {
    await this.#finish()
    await this.#track.reach('thawed')
    return 'done'
  }

  /**
   * Removes the copies, and shards that do not count. Whoever is told to stop here finishes all the
   * same: only the time is limited.
   *
   * @throws {StoreError} UNAVAILABLE: not every shard is there; the copies stay until they are.
   */
  async #finish(): Promise<void> {
    this.#summary = `erasure-coded as ${this.#schemeText}`
    using deadline = finishDeadline(this.#context.clock)
    const { signal } = deadline
    const stripe = await this.#wholeStripe(signal)
    if (stripe === undefined) return
    const servers = holdersOf(stripe.good)
    const { runId } = stripe.stripe
    for (const copy of this.#left) {
      const journal = (needleIds: LeftDeletes) =>
        journalEverywhere(this.#work, { servers, runId, needleIds }, signal)
      await removeLeftCopy(this.#work, copy, journal, signal)
    }
    this.#left = []
    await this.#removeSurplus(signal)
    await this.#track.reach('removed')
  }

  /** Undefined: another job has put something else in its place by now. */
  async #wholeStripe(signal: AbortSignal): Promise<StripeSurvey | undefined> {
    const survey = await surveyShards(this.#work, this.#run.servers, signal)
    const stripe = survey && stripeOf(survey)
    if (stripe === undefined || stripe.stripe.runId !== this.#run.runId) return undefined
    if (isWhole(stripe)) return stripe
    const why = `not every shard of volume ${this.#work.volumeId} is there`
    throw new StoreError('UNAVAILABLE', `${why}: its copies are kept until they are`)
  }

  async #removeSurplus(signal: AbortSignal): Promise<void> {
    const survey = await surveyShards(this.#work, this.#run.servers, signal)
    if (survey !== undefined) await removeStrayShards(this.#work, survey.found, signal)
  }
}

type LeftDeletes = Parameters<Parameters<typeof removeLeftCopy>[2]>[0]

/** @throws {StoreError} what has to be done about it before it is coded. */
function throwIfUnfit({ facts, good, bad, away, lost, wantedCount }: Survey): void {
  const { volumeId, ttl, dirtyCount } = facts
  const what = `volume ${volumeId}`
  if (ttlToMs(ttl) > 0) throw new StoreError('REQUEST_INVALID', `${what} has a time to live`)
  if (away.length > 0) throw new StoreError('UNAVAILABLE', `a copy of ${what} is out of reach`)
  if (bad.length + lost.length > 0 || good.length < wantedCount) {
    throw new StoreError('VOLUME_DAMAGED', `${what} does not have all its copies`)
  }
  if (dirtyCount > 0) throw dirty(volumeId)
}

function dirty(volumeId: number): StoreError {
  return new StoreError('VOLUME_BUSY', `volume ${volumeId} has needles that are to be settled`)
}
