import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { decodeAt, isOfThisServer, isStillThere, type MadeCopy } from './decode-at.ts'
import { removeCopies } from './drop-copies.ts'
import { removeStrayShards } from './drop-shards.ts'
import { Freeze } from './freeze.ts'
import { chunksOf } from './heal.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asCount, asLocation, asText, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import { asLeftCopy, type LeftCopy, removeLeftCopy, removeStrayCopy } from './left-copies.ts'
import { asLeftRun, closeRun, type LeftRun } from './left-run.ts'
import { NewRun } from './new-run.ts'
import { groupPlaces } from './shard-commands.ts'
import { journalEverywhere, listJournals, uniteJournals } from './shard-journals.ts'
import {
  holdersOf,
  isWhole,
  type LiveShards,
  type ShardSurvey,
  type StripeSurvey,
  setsOfRun,
  stripeOf,
  surveyShards,
} from './stripe-survey.ts'
import { awaitReported, commitStripe, schemeOf } from './stripe-switch.ts'
import { surveyVolume } from './survey.ts'
import { CONFLICTS_MAX, finishDeadline, VolumeWork, volumeOf } from './volume-work.ts'

const QUIET_ROUNDS_MAX = 5

/**
 * Gives back the space of deleted needles: what lives is decoded at one server, encoded anew, and
 * spread; then the new run counts instead of the old one. A volume in which nothing lives is
 * forgotten: it takes no more puts, so nothing can come to it any more.
 */
export class EcVacuum implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'ec-vacuum'>
  #run: NewRun | undefined
  readonly #runCursor: unknown
  /** Where the living are decoded; without a directory it is not known to be done. */
  #decoder: NodeLocation | undefined
  #decodedId: string
  #leftRun: LeftRun | undefined
  #leftCopy: LeftCopy | undefined
  #freedBytes: number
  #isPaced = false
  #conflictCount = 0
  #summary = 'nothing to do'

  constructor(context: JobContext) {
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'bytes')
    const cursor = readCursor(context.lease.cursor)
    this.#runCursor = cursor['run']
    this.#decoder = asLocation(cursor['decoder'])
    this.#decodedId = asText(cursor['decodedId']) ?? ''
    this.#leftRun = asLeftRun(cursor['leftRun'])
    this.#leftCopy = asLeftCopy(cursor['leftCopy'])
    this.#freedBytes = asCount(cursor['freedBytes']) ?? 0
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify({
      run: this.#run?.cursor ?? this.#runCursor,
      decoder: this.#decoder,
      decodedId: this.#decodedId,
      leftRun: this.#leftRun,
      leftCopy: this.#leftCopy,
      freedBytes: this.#freedBytes,
    })
  }

  get summary(): string {
    return this.#summary
  }

  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    this.#isPaced = false
    const survey = await surveyShards(this.#work, this.#run?.servers ?? [], signal)
    await this.#track.begin('planned')
    if (survey === undefined) return 'done'
    if (survey.facts.isDeleted) return await this.#removeAll(survey, signal)
    const stripe = stripeOf(survey)
    if (stripe === undefined) {
      this.#summary = 'the volume is not erasure-coded'
      return 'done'
    }
    const run = this.#runOf(stripe)
    if (stripe.stripe.runId === run.runId) return await this.#finishLater(run)
    this.#leftRun = undefined
    this.#leftCopy = undefined
    try {
      return await this.#nextStep(run, stripe, signal)
    } catch (error) {
      // Somebody else changed what counts: look again.
      const isConflict = isStoreError(error, 'METADATA_CONFLICT')
      if (isConflict && ++this.#conflictCount <= CONFLICTS_MAX) return 'busy'
      throw error
    }
  }

  #runOf({ stripe }: StripeSurvey): NewRun {
    const onBytes = (done: number, total: number) => this.#track.measure('bytes', done, total)
    const options = { scheme: schemeOf(stripe), cursor: this.#runCursor, onBytes }
    this.#run ??= new NewRun(this.#work, options)
    return this.#run
  }

  async #nextStep(run: NewRun, survey: StripeSurvey, signal: AbortSignal): Promise<StepResult> {
    this.#throwIfUnfit(survey)
    if (isEmpty(survey)) return await this.#forget(survey, signal)
    this.#isPaced = true
    const decoded = await this.#decoded(signal)
    if (decoded === undefined) {
      run.forget()
      await this.#decode(survey, signal)
      return 'busy'
    }
    if (!run.isEncoded || run.encoder?.url !== decoded.location.url) {
      await run.encode([decoded.location], signal)
      await this.#track.reach('encoded')
    } else if (!run.isSpread) {
      await run.spread(signal)
      await this.#track.reach('spread')
    } else if (!run.isVerified) {
      await run.verify(signal)
      await this.#track.reach('verified')
    } else {
      return await this.#switch({ run, survey, decoded }, signal)
    }
    return 'busy'
  }

  /** @throws {StoreError} its repair comes first. */
  #throwIfUnfit(survey: StripeSurvey): void {
    const { volumeId, dirtyCount } = survey.facts
    if (!isWhole(survey)) {
      throw new StoreError('SHARDS_LOST', `shards of volume ${volumeId} have to be repaired first`)
    }
    if (dirtyCount === 0) return
    throw new StoreError('VOLUME_BUSY', `volume ${volumeId} has needles that are to be settled`)
  }

  async #decoded(signal: AbortSignal): Promise<MadeCopy | undefined> {
    if (this.#decoder === undefined || this.#decodedId === '') return undefined
    const copy = { location: this.#decoder, directoryId: this.#decodedId }
    return (await isStillThere(this.#work, copy, signal)) ? copy : undefined
  }

  async #decode(survey: StripeSurvey, signal: AbortSignal): Promise<void> {
    await this.#clear(survey, signal)
    // What one of them knows is enough then to leave out all that is deleted.
    const throwRefused = (_: NodeLocation, error: StoreError) => {
      throw error
    }
    const unite = { sets: setsOfRun(survey), onRefused: throwRefused }
    await uniteJournals(this.#work, unite, signal)
    const { attempts } = this.#context.lease.job
    const holders = groupPlaces(survey.good).sort((a, b) => b.shards.length - a.shards.length)
    const first = Math.max(0, attempts - 1) % holders.length
    let failure: unknown
    for (const { location } of [...holders.slice(first), ...holders.slice(0, first)]) {
      this.#decoder = location
      this.#decodedId = ''
      // Whoever comes next has to know whose the copy is that lies there.
      await this.#context.save(signal)
      try {
        const onBytes = (done: number, total: number) => this.#track.measure('bytes', done, total)
        const request = { survey, location, livingOnly: true, onBytes }
        const copy = await decodeAt(this.#work, request, signal)
        await this.#work.at(location).sealVolume(this.#work.command, signal)
        this.#decodedId = copy.directoryId
        await this.#track.reach('decoded')
        return
      } catch (error) {
        if (!isOfThisServer(error)) throw error
        failure = error
      }
    }
    throw failure
  }

  /** What earlier attempts left; deletes that only such a copy knows of are kept. */
  async #clear(survey: StripeSurvey, signal: AbortSignal): Promise<void> {
    const { runId } = survey.stripe
    const servers = holdersOf(survey.good)
    const copies = await surveyVolume(this.#work, signal)
    for (const copy of copies?.strays ?? []) {
      const journal = this.#journal(servers, runId, signal)
      await removeStrayCopy(this.#work, copy, { runId }, journal, signal)
    }
    await removeStrayShards(this.#work, survey.found, signal)
  }

  async #switch(
    parts: { readonly run: NewRun; readonly survey: StripeSurvey; readonly decoded: MadeCopy },
    signal: AbortSignal,
  ): Promise<StepResult> {
    const { run, survey, decoded } = parts
    const seen = new Set<string>()
    const holders = holdersOf(survey.good)
    // The bulk of it while deletes still go on.
    await this.#deleteIn(decoded, setsOfRun(survey), seen, signal)
    await run.catchUp(signal)
    await awaitReported(this.#work, await run.plan(signal), signal)
    const frozen = holdersOf([...survey.good, decoded])
    await using freeze = await Freeze.open(this.#work, frozen, signal)
    await this.#track.reach('frozen')
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      const fresh = await this.#wholeRun(survey.stripe.runId, holders, signal)
      await this.#deleteIn(decoded, setsOfRun(fresh), seen, signal)
      await run.catchUp(signal)
      if (round === 0) await this.#track.reach('caught-up')
      const plan = await run.plan(signal)
      // Only what was compared while nothing was deleted may be relied on.
      if (!(await freeze.renew(signal))) continue
      this.#noteLeft({ run, survey: fresh, decoded }, seen)
      await this.#context.save(signal)
      await commitStripe(this.#work, survey.facts, plan, signal)
      await this.#track.reach('switched')
      await this.#finish(run)
      await freeze.thaw()
      await this.#track.reach('thawed')
      return 'done'
    }
    const why = `needles of volume ${this.#work.volumeId} are deleted without a pause`
    throw new StoreError('VOLUME_BUSY', why)
  }

  /** @throws {StoreError} it is not as it was when this began. */
  async #wholeRun(
    runId: string,
    holders: readonly NodeLocation[],
    signal: AbortSignal,
  ): Promise<StripeSurvey> {
    const survey = await surveyShards(this.#work, holders, signal)
    const stripe = survey && stripeOf(survey)
    if (stripe === undefined || stripe.stripe.runId !== runId) {
      throw new StoreError('METADATA_CONFLICT', 'another run counts by now')
    }
    this.#throwIfUnfit(stripe)
    return stripe
  }

  /** What is in the journals is deleted in the decoded copy; the new run learns it from there. */
  async #deleteIn(
    { location }: MadeCopy,
    sets: StripeSurvey['found'],
    seen: Set<string>,
    signal: AbortSignal,
  ): Promise<void> {
    for await (const page of listJournals(this.#work, sets, seen, signal)) {
      for (const needleIds of chunksOf(page)) {
        const command = { ...this.#work.command, needleIds }
        await this.#work.at(location).deleteNeedles(command, signal)
      }
    }
  }

  /** Whoever goes on after a crash has to know what of the old state is known to the new one. */
  #noteLeft(
    parts: { readonly run: NewRun; readonly survey: StripeSurvey; readonly decoded: MadeCopy },
    seen: ReadonlySet<string>,
  ): void {
    const { run, survey, decoded } = parts
    const { runId, shards } = survey.stripe
    const sets = setsOfRun(survey)
    const current = sets.map(({ report }) => `${runId} ${report.journalDigest}`)
    const isCurrent = (name: string) => current.includes(name)
    this.#leftRun = { runId, servers: holdersOf(sets), seen: [...seen].filter(isCurrent) }
    const { extent } = run
    this.#leftCopy = extent === undefined ? undefined : { ...decoded, extent }
    this.#freedBytes = (sets[0]?.report.shardBytes ?? 0) * shards.length
  }

  async #finishLater(run: NewRun): Promise<StepResult> {
    await this.#finish(run)
    await this.#track.reach('thawed')
    return 'done'
  }

  /**
   * Removes the old run and the decoded copy. Whoever is told to stop here finishes all the same:
   * only the time is limited.
   *
   * @throws {StoreError} UNAVAILABLE: not every new shard is there; all is kept until they are.
   */
  async #finish(run: NewRun): Promise<void> {
    using deadline = finishDeadline(this.#context.clock)
    const { signal } = deadline
    const also = [...run.servers, ...(this.#leftRun?.servers ?? [])]
    const survey = await surveyShards(this.#work, also, signal)
    const stripe = survey && stripeOf(survey)
    if (stripe === undefined || stripe.stripe.runId !== run.runId) return
    if (!isWhole(stripe)) {
      const why = `not every shard of volume ${this.#work.volumeId} is there`
      throw new StoreError('UNAVAILABLE', `${why}: what was there before is kept until they are`)
    }
    const { runId } = stripe.stripe
    const journal = this.#journal(holdersOf(stripe.good), runId, signal)
    if (this.#leftCopy !== undefined) {
      await removeLeftCopy(this.#work, this.#leftCopy, journal, signal)
    }
    const remove = async (isMeant: (set: LiveShards) => boolean) => {
      await removeStrayShards(this.#work, stripe.found.filter(isMeant), signal)
    }
    if (this.#leftRun === undefined) await remove(() => true)
    else await closeRun(this.#work, this.#leftRun, { tell: journal, whileFrozen: remove }, signal)
    const shardBytes = setsOfRun(stripe)[0]?.report.shardBytes ?? 0
    const freedBytes = Math.max(0, this.#freedBytes - shardBytes * stripe.stripe.shards.length)
    this.#summary = `${freedBytes} bytes freed`
    await this.#track.reach('removed')
  }

  /** Nothing lives in it, as every server says while deletes are held back. */
  async #forget(survey: StripeSurvey, signal: AbortSignal): Promise<StepResult> {
    const holders = holdersOf(survey.good)
    await using freeze = await Freeze.open(this.#work, holders, signal)
    const fresh = await this.#wholeRun(survey.stripe.runId, holders, signal)
    if (!isEmpty(fresh) || fresh.facts.setVersion !== survey.facts.setVersion) return 'busy'
    const { jobs, lease } = this.#context
    const { volumeId } = this.#work
    await jobs.forgetVolume({ jobId: lease.job.id, token: lease.token, volumeId }, signal)
    await this.#track.reach('switched')
    await this.#removeAll(fresh, signal)
    await freeze.thaw()
    return 'done'
  }

  async #removeAll({ found }: ShardSurvey, signal: AbortSignal): Promise<StepResult> {
    this.#summary = 'nothing lived in the volume: it is forgotten'
    const copies = await surveyVolume(this.#work, signal)
    if (copies !== undefined) await removeCopies(this.#work, copies.strays, signal)
    await removeStrayShards(this.#work, found, signal)
    await this.#track.reach('removed')
    return 'done'
  }

  #journal(servers: readonly NodeLocation[], runId: string, signal: AbortSignal) {
    return (needleIds: Parameters<typeof journalEverywhere>[1]['needleIds']) =>
      journalEverywhere(this.#work, { servers, runId, needleIds }, signal)
  }
}

/** As every server with shards has it. */
function isEmpty(survey: StripeSurvey): boolean {
  const sets = setsOfRun(survey)
  return sets.length > 0 && sets.every(({ report }) => report.liveNeedles === 0)
}
