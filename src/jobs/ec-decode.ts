import type { NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress, VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { areSame, digestsOf } from './agreement.ts'
import { copyFiles } from './copy-in.ts'
import { decodeAt, isOfThisServer, isStillThere, type MadeCopy } from './decode-at.ts'
import { isComplete } from './drop-copies.ts'
import { removeStrayShards } from './drop-shards.ts'
import { Freeze } from './freeze.ts'
import { chunksOf } from './heal.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asFields, asLocation, asText, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import { removeStrayCopy } from './left-copies.ts'
import { asLeftRun, closeRun, type LeftRun } from './left-run.ts'
import { unmetCount } from './placement-fit.ts'
import { reconcile } from './reconcile.ts'
import { journalEverywhere, listJournals } from './shard-journals.ts'
import {
  askForShards,
  holdersOf,
  type LiveShards,
  type StripeSurvey,
  stripeOf,
  surveyShards,
} from './stripe-survey.ts'
import { surveyVolume } from './survey.ts'
import { CONFLICTS_MAX, finishDeadline, isOutOfReach, VolumeWork, volumeOf } from './volume-work.ts'

const QUIET_ROUNDS_MAX = 5
/** So many servers may turn out to be of no use before the attempt fails. */
const TARGETS_FAILED_MAX = 5

/**
 * Puts copies in the place of the shards of a volume: decode one, copy it as often as its
 * replication wants, hold the deletes back, let the copies count, remove the shards.
 */
export class EcDecode implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'ec-decode'>
  /** Where the copies shall be; what lies there of the volume is ours. */
  #targets: readonly NodeLocation[]
  /** Those that are made; the first was decoded. */
  #copies: readonly MadeCopy[]
  #left: LeftRun | undefined
  readonly #failedUrls: string[] = []
  #isPaced = false
  #conflictCount = 0
  #summary = 'nothing to do'

  constructor(context: JobContext) {
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'bytes')
    const cursor = readCursor(context.lease.cursor)
    const { targets, copies } = cursor
    this.#targets = Array.isArray(targets) ? targets.flatMap((one) => asLocation(one) ?? []) : []
    this.#copies = Array.isArray(copies) ? copies.flatMap((one) => asMade(one) ?? []) : []
    this.#left = asLeftRun(cursor['left'])
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify({ targets: this.#targets, copies: this.#copies, left: this.#left })
  }

  get summary(): string {
    return this.#summary
  }

  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    this.#isPaced = false
    const survey = await surveyShards(this.#work, this.#left?.servers ?? [], signal)
    await this.#track.begin('planned')
    if (survey === undefined || survey.facts.isDeleted) return 'done'
    const stripe = stripeOf(survey)
    if (stripe === undefined) {
      if (this.#left !== undefined) return await this.#finishLater()
      this.#summary = 'the volume is not erasure-coded'
      return 'done'
    }
    this.#left = undefined
    try {
      return await this.#nextStep(stripe, signal)
    } catch (error) {
      // Somebody else changed what counts: look again.
      const isConflict = isStoreError(error, 'METADATA_CONFLICT')
      if (isConflict && ++this.#conflictCount <= CONFLICTS_MAX) return 'busy'
      throw error
    }
  }

  async #nextStep(survey: StripeSurvey, signal: AbortSignal): Promise<StepResult> {
    throwIfUnfit(survey)
    this.#isPaced = true
    const wantedCount = copyCount(survey.facts.replication)
    if (this.#targets.length !== wantedCount) return await this.#plan(survey, signal)
    await this.#forgetLost(signal)
    const target = this.#targets.find(({ url }) => {
      return !this.#copies.some(({ location }) => location.url === url)
    })
    if (target === undefined) return await this.#switch(survey, signal)
    try {
      await this.#make(survey, target, signal)
    } catch (error) {
      if (!isOfThisServer(error)) throw error
      this.#failedUrls.push(target.url)
      if (this.#failedUrls.length > TARGETS_FAILED_MAX) throw error
      this.#targets = this.#targets.filter(({ url }) => url !== target.url)
    }
    return 'busy'
  }

  /** Where the copies shall be, beside those that are made. */
  async #plan(survey: StripeSurvey, signal: AbortSignal): Promise<StepResult> {
    const { facts } = survey
    if (this.#copies.length === 0) await this.#clear(survey, signal)
    const made = this.#copies.map(({ location }) => location)
    const targets = made.slice(0, copyCount(facts.replication))
    while (targets.length < copyCount(facts.replication)) {
      targets.push(await this.#chooseTarget(facts, targets, signal))
    }
    this.#targets = targets
    // Whoever comes next has to know whose the copies are that lie there.
    await this.#context.save(signal)
    return 'busy'
  }

  /** One that brings the placement nearer, if there is any. */
  async #chooseTarget(
    { volumeId, replication }: VolumeFacts,
    chosen: readonly NodeLocation[],
    signal: AbortSignal,
  ): Promise<NodeLocation> {
    const { jobs } = this.#context
    const before = unmetCount(chosen, replication)
    const excluded = [...chosen.map(({ url }) => url), ...this.#failedUrls]
    let first: NodeLocation | undefined
    while (excluded.length <= LIMITS.nodesMax.value) {
      try {
        const request = { volumeId, replaces: '', excluded: [...excluded] }
        const target = await jobs.chooseTarget(request, signal)
        if (unmetCount([...chosen, target], replication) < before) return target
        first ??= target
        excluded.push(target.url)
      } catch (error) {
        const isFull = isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')
        if (!isFull || first === undefined) throw error
        break
      }
    }
    if (first !== undefined) return first
    throw new StoreError('PLACEMENT_IMPOSSIBLE', `no server takes a copy of volume ${volumeId}`)
  }

  /** What earlier attempts left; deletes that only such a copy knows of are kept. */
  async #clear(survey: StripeSurvey, signal: AbortSignal): Promise<void> {
    const { runId } = survey.stripe
    const servers = holdersOf([...survey.good, ...survey.bad])
    const copies = await surveyVolume(this.#work, signal)
    for (const copy of copies?.strays ?? []) {
      const journal = (needleIds: readonly NeedleId[]) =>
        journalEverywhere(this.#work, { servers, runId, needleIds }, signal)
      await removeStrayCopy(this.#work, copy, { runId }, journal, signal)
    }
  }

  async #forgetLost(signal: AbortSignal): Promise<void> {
    const isThere = await Promise.all(
      this.#copies.map((copy) => isStillThere(this.#work, copy, signal)),
    )
    this.#copies = this.#copies.filter((_, index) => isThere[index] === true)
  }

  async #make(survey: StripeSurvey, target: NodeLocation, signal: AbortSignal): Promise<void> {
    const onBytes = (done: number, total: number) => this.#track.measure('bytes', done, total)
    if (this.#copies.length === 0) {
      const request = { survey, location: target, livingOnly: false, onBytes }
      const copy = await decodeAt(this.#work, request, signal)
      await this.#work.at(target).sealVolume(this.#work.command, signal)
      this.#copies = [copy]
      await this.#track.reach('decoded')
    } else {
      // An earlier worker may have died before it could tell that it is there.
      await this.#work.deleteCopy(target, undefined, signal)
      const sources = this.#copies.map(({ location }) => location)
      const onProgress = (progress: { copiedBytes: number; totalBytes: number }) =>
        onBytes(progress.copiedBytes, progress.totalBytes)
      const { facts } = survey
      const request = { facts, target, sources, replacesBad: false, onProgress }
      const { directoryId } = await copyFiles(this.#work, request, signal)
      this.#copies = [...this.#copies, { location: target, directoryId }]
    }
    if (this.#copies.length === this.#targets.length) await this.#track.reach('copied')
  }

  async #switch(survey: StripeSurvey, signal: AbortSignal): Promise<StepResult> {
    const { runId } = survey.stripe
    const places = [...survey.good, ...survey.bad]
    const holders = holdersOf(places)
    const seen = new Set<string>()
    // The bulk of it while deletes still go on.
    await this.#deleteInAll(await this.#setsAt(holders, runId, signal), seen, signal)
    await using freeze = await Freeze.open(
      this.#work,
      holdersOf([...places, ...this.#copies]),
      signal,
    )
    await this.#track.reach('frozen')
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      const sets = await this.#setsAt(holders, runId, signal)
      await this.#deleteInAll(sets, seen, signal)
      if (round === 0) await this.#track.reach('caught-up')
      const isEqual = await this.#areEqual(signal)
      // Only what was compared while nothing was deleted may be relied on.
      const wasQuiet = await freeze.renew(signal)
      if (!isEqual || !wasQuiet) continue
      this.#left = { runId, servers: holders, seen: [...seen] }
      await this.#context.save(signal)
      await this.#commit(survey.facts, signal)
      await this.#track.reach('switched')
      await this.#finish()
      await freeze.thaw()
      await this.#track.reach('thawed')
      return 'done'
    }
    const why = `the copies of volume ${this.#work.volumeId} do not become equal`
    throw new StoreError('VOLUME_BUSY', why)
  }

  async #setsAt(holders: readonly NodeLocation[], runId: string, signal: AbortSignal) {
    const sets = await askForShards(this.#work, holders, signal)
    const ofRun = sets.filter(({ report }) => report.runId === runId)
    const silent = holders.find(({ url }) => !ofRun.some(({ location }) => location.url === url))
    if (silent === undefined) return ofRun
    throw new StoreError('UNAVAILABLE', `${silent.url} does not tell of its shards any more`)
  }

  async #deleteInAll(
    sets: StripeSurvey['found'],
    seen: Set<string>,
    signal: AbortSignal,
  ): Promise<void> {
    const locations = this.#copies.map(({ location }) => location)
    for await (const page of listJournals(this.#work, sets, seen, signal)) {
      await this.#deleteAt(locations, page, signal)
    }
  }

  async #deleteAt(
    locations: readonly NodeLocation[],
    page: readonly NeedleId[],
    signal: AbortSignal,
  ): Promise<void> {
    for (const needleIds of chunksOf(page)) {
      const command = { ...this.#work.command, needleIds }
      await Promise.all(
        locations.map((location) => this.#work.at(location).deleteNeedles(command, signal)),
      )
    }
  }

  /** False: they were not, and have been made so: look again. */
  async #areEqual(signal: AbortSignal): Promise<boolean> {
    const locations = this.#copies.map(({ location }) => location)
    if (areSame(await digestsOf(this.#work, locations, signal))) return true
    // A delete has reached one of them that the shards do not know of.
    const copies = locations.map((location) => ({ location, isTruth: true, isWritable: true }))
    await reconcile(this.#work, copies, { isDeep: false, ignored: new Set() }, signal)
    return false
  }

  /** If the answer is lost the master is asked what counts. */
  async #commit(facts: VolumeFacts, signal: AbortSignal): Promise<void> {
    const now = await this.#work.facts(signal)
    if (now === undefined || now.dirtyCount > 0) throw dirty(facts.volumeId)
    const add = this.#copies.map(({ location, directoryId }) => {
      return { url: location.url, directoryId }
    })
    try {
      await this.#work.changeMembers(facts, { add, removeDirectoryIds: [] }, signal)
    } catch (error) {
      if (!isOutOfReach(error)) throw error
      const after = await this.#work.facts(signal)
      const isMember = (id: string) => after?.members.some((one) => one.directoryId === id) === true
      const isDone = after?.stripe === undefined && add.every((one) => isMember(one.directoryId))
      if (!isDone) throw error
    }
  }

  async #finishLater(): Promise<StepResult> {
    await this.#finish()
    await this.#track.reach('thawed')
    return 'done'
  }

  /**
   * Removes the shards. Whoever is told to stop here finishes all the same: only the time is
   * limited.
   *
   * @throws {StoreError} UNAVAILABLE: not every copy is there; the shards stay until they are.
   */
  async #finish(): Promise<void> {
    using deadline = finishDeadline(this.#context.clock)
    const { signal } = deadline
    const left = this.#left
    const copies = await surveyVolume(this.#work, signal)
    if (copies === undefined || left === undefined || copies.facts.stripe !== undefined) return
    this.#summary = `decoded, ${copies.good.length} copies`
    if (!isComplete(copies)) {
      const why = `not every copy of volume ${this.#work.volumeId} is there`
      throw new StoreError('UNAVAILABLE', `${why}: its shards are kept until they are`)
    }
    const members = copies.good.map(({ location }) => location)
    const tell = (needleIds: readonly NeedleId[]) => this.#deleteAt(members, needleIds, signal)
    const whileFrozen = async (isClosed: (set: LiveShards) => boolean) => {
      const survey = await surveyShards(this.#work, left.servers, signal)
      const found = (survey?.found ?? []).filter(isClosed)
      await removeStrayShards(this.#work, found, signal)
    }
    await closeRun(this.#work, left, { tell, whileFrozen }, signal)
    await this.#track.reach('removed')
  }
}

/** @throws {StoreError} its repair comes first. */
function throwIfUnfit({ facts, stripe, good, bad, away }: StripeSurvey): void {
  const { volumeId, dirtyCount } = facts
  if (away.length > 0) {
    const why = `shards of volume ${volumeId} are out of reach, and may know of deletes`
    throw new StoreError('UNAVAILABLE', why)
  }
  if (dirtyCount > 0) throw dirty(volumeId)
  if (good.length + bad.length >= stripe.dataShards) return
  throw new StoreError('SHARDS_LOST', `too few shards of volume ${volumeId} are left`)
}

function dirty(volumeId: number): StoreError {
  return new StoreError('VOLUME_BUSY', `volume ${volumeId} has needles that are to be settled`)
}

function asMade(value: unknown): MadeCopy | undefined {
  const fields = asFields(value)
  const location = asLocation(fields?.['location'])
  const directoryId = asText(fields?.['directoryId'])
  return location === undefined || directoryId === undefined ? undefined : { location, directoryId }
}
