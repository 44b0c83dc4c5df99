import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobKind, JobProgress } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ShardFacts } from '../net/stripe-facts.ts'
import { isComplete, removeCopies } from './drop-copies.ts'
import { removeStrayShards } from './drop-shards.ts'
import { EcTally } from './ec-tally.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { JobTrack } from './job-track.ts'
import { removeStrayCopy } from './left-copies.ts'
import { listDirty, settleShards } from './settle-shards.ts'
import { groupPlaces, healBlocks, verifyShards } from './shard-commands.ts'
import { journalEverywhere, uniteJournals } from './shard-journals.ts'
import { isBadHere, type MadeShard, ShardMaker } from './shard-maker.ts'
import {
  holdersOf,
  isWhole,
  type ShardSurvey,
  type StripeSurvey,
  setsOfRun,
  stripeOf,
  surveyShards,
} from './stripe-survey.ts'
import { movePlaces } from './stripe-switch.ts'
import { surveyVolume } from './survey.ts'
import { CONFLICTS_MAX, VolumeWork, volumeOf } from './volume-work.ts'

/** A shard that is bad again after so many rounds of healing is made anew elsewhere. */
const HEAL_ROUNDS_MAX = 3
/** What lies about of a volume is the business of these while they are queued. */
const OTHER_KINDS: readonly JobKind[] = ['ec-encode', 'ec-vacuum', 'ec-decode']

/**
 * Brings an erasure-coded volume back to what it shall be: every shard there and good, every server
 * that has one with the same deletes, and nothing beside them. Every step looks at the volume anew
 * and does the most urgent thing, so it does not matter who did what before:
 *
 *     journals that differ   united
 *     shards that are lost   taken back, or rebuilt → freeze → unite → join → thaw
 *     bad blocks             made anew of the other shards, in place
 *     dirty needles          deleted everywhere, or read, and their records taken back
 *     what does not count    removed
 */
export class EcRepair implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'ec-repair'>
  readonly #maker: ShardMaker
  readonly #tally = new EcTally()
  /** Shards that cannot be healed where they are, as of `placeKey`. */
  readonly #hopeless = new Set<string>()
  readonly #healRounds = new Map<string, number>()
  /** Servers all of whose shards were read: a needle was bad, and nobody knows where. */
  readonly #readUrls = new Set<string>()
  #checkedUpToMs = -1
  #noPlace: StoreError | undefined
  #conflictCount = 0
  #isPaced = false

  constructor(context: JobContext) {
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'bytes')
    const onBytes = (done: number, total: number) => this.#track.measure('bytes', done, total)
    this.#maker = new ShardMaker(this.#work, onBytes)
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  /** The cluster itself says all. */
  get cursor(): string {
    return ''
  }

  get summary(): string {
    return this.#tally.summary
  }

  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    this.#isPaced = false
    const survey = await surveyShards(this.#work, [], signal)
    await this.#track.begin('planned')
    if (survey === undefined) return 'done'
    try {
      if (survey.facts.isDeleted) return await this.#removeDeleted(survey, signal)
      const stripe = stripeOf(survey)
      if (stripe === undefined) return await this.#removeAbandoned(survey, signal)
      return await this.#nextStep(stripe, signal)
    } catch (error) {
      if (!isStoreError(error, 'METADATA_CONFLICT')) throw error
      // Somebody else changed what counts: look again.
      if (++this.#conflictCount > CONFLICTS_MAX) throw error
      return 'busy'
    }
  }

  async #nextStep(survey: StripeSurvey, signal: AbortSignal): Promise<StepResult> {
    // First: a delete that only one server knows of must not be lost with that server.
    const onRefused = (location: NodeLocation, error: StoreError) =>
      this.#giveUp(survey, { location, shards: undefined }, error)
    if (await uniteJournals(this.#work, { sets: setsOfRun(survey), onRefused }, signal)) {
      await this.#track.reach('journaled')
    }
    if (await this.#addShards(survey, signal)) return 'busy'
    if (await this.#heal(survey, signal)) return 'busy'
    if (!(await this.#settleDirty(survey, signal))) return 'busy'
    this.#throwIfIncomplete(survey)
    if (!isWhole(survey)) return 'done'
    if (await this.#spreadDoubles(survey, signal)) return 'busy'
    await this.#removeStrays(survey, signal)
    return 'done'
  }

  /** True: something was done towards a shard more. */
  async #addShards(survey: StripeSurvey, signal: AbortSignal): Promise<boolean> {
    const wanted = [...survey.lost, ...this.#hopelessOf(survey)]
    if (wanted.length === 0 || this.#noPlace !== undefined) return false
    this.#isPaced = true
    const taken = await this.#maker.takeBack(survey, wanted, signal)
    if (taken.length > 0) {
      await this.#join(survey, taken, signal)
      this.#tally.takenBackCount += taken.length
      return true
    }
    const made = await this.#make(survey, wanted, signal)
    if (made === undefined) return true
    await this.#track.reach('rebuilt')
    await this.#join(survey, made, signal)
    this.#tally.rebuiltCount += made.length
    return true
  }

  /** Undefined: there is no place for them, now or for long. */
  async #make(
    survey: StripeSurvey,
    wanted: readonly ShardFacts[],
    signal: AbortSignal,
  ): Promise<readonly MadeShard[] | undefined> {
    const avoided = this.#hopelessOf(survey).map(({ location }) => location.url)
    try {
      return await this.#maker.make(survey, { wanted, avoided }, signal)
    } catch (error) {
      if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')) throw error
      this.#noPlace = error // The shards that are there are still seen to.
      return undefined
    }
  }

  async #join(
    survey: StripeSurvey,
    moved: readonly MadeShard[],
    signal: AbortSignal,
  ): Promise<void> {
    const reach = (phase: 'frozen' | 'switched' | 'thawed') =>
      this.#track.reach(phase === 'switched' ? 'joined' : phase)
    await movePlaces(this.#work, { survey, moved, reach }, signal)
  }

  /** True: something was healed, or found to be worse than was known. */
  async #heal(survey: StripeSurvey, signal: AbortSignal): Promise<boolean> {
    const isSeenTo = (place: ShardFacts) => !this.#hopeless.has(placeKey(place))
    const known = groupPlaces(survey.bad.filter(isSeenTo))
    const unread = known.length > 0 ? [] : await this.#unread(survey, signal)
    let isChanged = false
    for (const { location, shards } of [...known, ...unread]) {
      this.#isPaced = true
      if (await this.#healAt(survey, location, shards, signal)) isChanged = true
      if (known.length === 0) this.#readUrls.add(location.url)
    }
    return isChanged || known.length > 0
  }

  /** Servers whose shards have to be read: some block is bad, and nobody knows which. */
  async #unread({ good, facts }: StripeSurvey, signal: AbortSignal) {
    if (facts.dirtyCount === 0) return []
    const groups = groupPlaces(good).filter(({ location }) => !this.#readUrls.has(location.url))
    if (groups.length === 0) return []
    const isFirst = this.#readUrls.size === 0
    let hasChecks = false
    for await (const page of listDirty(this.#work, signal)) {
      const checks = page.filter(({ kind }) => kind === 'check')
      for (const { recordedAtMs } of isFirst ? checks : []) {
        this.#checkedUpToMs = Math.max(this.#checkedUpToMs, recordedAtMs)
      }
      hasChecks ||= checks.length > 0
    }
    return hasChecks ? groups : []
  }

  /** True: some blocks were bad. */
  async #healAt(
    survey: StripeSurvey,
    location: NodeLocation,
    shards: readonly number[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const { runId } = survey.stripe
    const onProgress = (progress: { doneBytes: number; totalBytes: number }) =>
      this.#track.measure('bytes', progress.doneBytes, progress.totalBytes)
    try {
      const here = { location, runId, shards }
      const blocks = await verifyShards(this.#work, here, onProgress, signal)
      if (this.#isTooOften(location, shards)) {
        const why = 'its shards do not become good'
        throw new StoreError('SHARD_CORRUPT', why)
      }
      if (blocks.length === 0) return false
      const sources = [...survey.good, ...survey.bad]
      await healBlocks(this.#work, { location, runId }, { blocks, sources }, signal)
      this.#tally.healedCount += blocks.length
      await this.#track.reach('healed')
    } catch (error) {
      if (!isBadHere(error)) throw error
      this.#giveUp(survey, { location, shards }, error)
    }
    return true
  }

  #isTooOften(location: NodeLocation, shards: readonly number[]): boolean {
    const key = `${location.url} ${shards.join(' ')}`
    const rounds = (this.#healRounds.get(key) ?? 0) + 1
    this.#healRounds.set(key, rounds)
    return rounds > HEAL_ROUNDS_MAX
  }

  #hopelessOf({ good, bad }: StripeSurvey): readonly ShardFacts[] {
    return [...good, ...bad].filter((place) => this.#hopeless.has(placeKey(place)))
  }

  /** `shards` undefined: all that count there. */
  #giveUp(
    { stripe }: StripeSurvey,
    at: { readonly location: NodeLocation; readonly shards: readonly number[] | undefined },
    error: StoreError,
  ): void {
    const { url } = at.location
    const { shards } = at
    const { volumeId } = this.#work
    const fields = { volumeId, url, shards, error: error.message }
    this.#context.logger.warn('job.shards_hopeless', fields)
    for (const place of stripe.shards) {
      if (place.location.url !== url || shards?.includes(place.shard) === false) continue
      this.#hopeless.add(placeKey(place))
    }
  }

  /** False: a server refused, whose shards are to be made anew elsewhere. */
  async #settleDirty(survey: StripeSurvey, signal: AbortSignal): Promise<boolean> {
    const isSound = isWhole(survey)
    let isRefused = false
    const onRefused = (location: NodeLocation, error: StoreError) => {
      isRefused = true
      this.#giveUp(survey, { location, shards: undefined }, error)
    }
    const options = { resolves: isSound, checkedUpToMs: this.#checkedUpToMs, onRefused }
    const resolvedCount = await settleShards(this.#work, survey, options, signal)
    this.#tally.resolvedCount += resolvedCount
    if (resolvedCount > 0) await this.#track.reach('resolved')
    // If there is no place for them, that is what the attempt fails with.
    return !isRefused || this.#noPlace !== undefined
  }

  /** Called when all has been done that could be done. */
  #throwIfIncomplete({ away, lost, bad }: StripeSurvey): void {
    const { volumeId } = this.#work
    if (this.#noPlace !== undefined) throw this.#noPlace
    const [broken] = [...lost, ...bad]
    if (broken !== undefined) {
      const why = `shard ${broken.shard} of volume ${volumeId} cannot be made good`
      throw new StoreError('SHARDS_LOST', why)
    }
    this.#tally.waitsFor(holdersOf(away).map(({ url }) => url))
    const silent = away.find(({ isUp }) => isUp)
    if (silent === undefined) return
    const why = `${silent.location.url} does not tell of its shards of volume ${volumeId}`
    throw new StoreError('UNAVAILABLE', why)
  }

  /**
   * A server that has one shard in two directories cannot be told which of them to remove. True:
   * such shards count elsewhere now, so that both can go.
   */
  async #spreadDoubles(survey: StripeSurvey, signal: AbortSignal): Promise<boolean> {
    const sets = setsOfRun(survey)
    const wanted = survey.good.filter(({ shard, location }) => {
      const here = sets.filter(({ location: { url } }) => url === location.url)
      return here.filter(({ report }) => report.shards.includes(shard)).length > 1
    })
    if (wanted.length === 0 || this.#noPlace !== undefined) return false
    const avoided = wanted.map(({ location }) => location.url)
    try {
      const made = await this.#maker.make(survey, { wanted, avoided }, signal)
      await this.#track.reach('rebuilt')
      await this.#join(survey, made, signal)
      this.#tally.rebuiltCount += made.length
      return true
    } catch (error) {
      if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')) throw error
      this.#noPlace = error // There is no harm in them.
      return false
    }
  }

  async #removeStrays(survey: StripeSurvey, signal: AbortSignal): Promise<void> {
    const copies = await surveyVolume(this.#work, signal)
    const strayCopies = copies?.strays ?? []
    const hasShards = (survey.facts.strayShards ?? []).length > 0
    if (!hasShards && strayCopies.length === 0) return
    if (await this.#isWorkedOn(signal)) return
    const servers = holdersOf(survey.good)
    const { runId } = survey.stripe
    const journal = (needleIds: Parameters<typeof journalEverywhere>[1]['needleIds']) =>
      journalEverywhere(this.#work, { servers, runId, needleIds }, signal)
    let copiesRemoved = 0
    for (const copy of strayCopies) {
      const isGone = await removeStrayCopy(this.#work, copy, { runId }, journal, signal)
      if (isGone) copiesRemoved++
    }
    const shardsRemoved = await removeStrayShards(this.#work, survey.found, signal)
    this.#tally.copiesRemoved += copiesRemoved
    this.#tally.shardsRemoved += shardsRemoved
    if (copiesRemoved + shardsRemoved > 0) await this.#track.reach('removed')
  }

  /** Shards of a volume that is not erasure-coded: somebody gave up coding or decoding it. */
  async #removeAbandoned(survey: ShardSurvey, signal: AbortSignal): Promise<StepResult> {
    if (survey.found.length === 0 || (await this.#isWorkedOn(signal))) return 'done'
    const copies = await surveyVolume(this.#work, signal)
    // As long as a copy is missing, shards may be the last thing that somebody has.
    if (copies === undefined || !isComplete(copies)) return 'done'
    const removedCount = await removeStrayShards(this.#work, survey.found, signal)
    this.#tally.shardsRemoved += removedCount
    if (removedCount > 0) await this.#track.reach('removed')
    return 'done'
  }

  /** Then what does not count is the business of that job: it may have to be looked through. */
  async #isWorkedOn(signal: AbortSignal): Promise<boolean> {
    for (const kind of OTHER_KINDS) {
      const jobs = await this.#context.jobs.listJobs({ kind, withEnded: false }, signal)
      if (jobs.some(({ target }) => target.volumeId === this.#work.volumeId)) return true
    }
    return false
  }

  async #removeDeleted(survey: ShardSurvey, signal: AbortSignal): Promise<StepResult> {
    const copies = await surveyVolume(this.#work, signal)
    const all = [...(copies?.good ?? []), ...(copies?.bad ?? []), ...(copies?.strays ?? [])]
    const copiesRemoved = await removeCopies(this.#work, all, signal)
    const shardsRemoved = await removeStrayShards(this.#work, survey.found, signal)
    this.#tally.copiesRemoved += copiesRemoved
    this.#tally.shardsRemoved += shardsRemoved
    if (copiesRemoved + shardsRemoved > 0) await this.#track.reach('removed')
    return 'done'
  }
}

function placeKey({ shard, directoryId }: ShardFacts): string {
  return `${shard} ${directoryId}`
}
