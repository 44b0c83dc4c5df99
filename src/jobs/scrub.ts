import type { NeedleId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import type { ScrubProgress, VolumeExtent } from '../net/volume-api.ts'
import { chunksOf, nameNeedles } from './heal.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { JobTrack } from './job-track.ts'
import { applyFixes } from './needle-fixes.ts'
import { judgeByReading } from './reconcile.ts'
import { readScrubCursor, type ScrubbedCopy, type ScrubCursor } from './scrub-cursor.ts'
import { StripeScrub } from './stripe-scrub.ts'
import { stripeOf, surveyShards } from './stripe-survey.ts'
import { type LiveCopy, type Survey, surveyVolume } from './survey.ts'
import { isSameExtent, VolumeWork, volumeOf } from './volume-work.ts'

const FROM_START: VolumeExtent = { datBytes: 0, compactionRevision: 0 }

/**
 * Reads every byte of every copy of a volume. What is wrong in one copy is brought there from
 * another, and the files of that copy are written anew; copies that turn out to differ although
 * nothing was written are compared needle by needle by a job of its own. Of an erasure-coded volume
 * every shard is read.
 */
export class Scrub implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'scrub'>
  readonly #stripe: StripeScrub
  #at: ScrubCursor
  #unhealed: NeedleId[] = []
  /** Copies with needles that could not be healed. */
  readonly #unhealedIds = new Set<string>()

  constructor(context: JobContext) {
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'bytes')
    this.#stripe = new StripeScrub(this.#work, this.#track)
    this.#at = readScrubCursor(context.lease.cursor)
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify(this.#at)
  }

  get summary(): string {
    const { done } = this.#at
    const damageCount = done.reduce((sum, copy) => sum + copy.damageCount, 0)
    return `${done.length} copies read, ${damageCount} damages found`
  }

  /** The server rests while it reads. */
  get isPaced(): boolean {
    return true
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    const survey = await surveyVolume(this.#work, signal)
    await this.#track.begin('planned')
    if (survey === undefined || survey.facts.isDeleted) return 'done'
    if (survey.facts.stripe !== undefined) return await this.#readStripe(signal)
    const isDone = ({ directoryId }: LiveCopy) =>
      this.#at.done.some((copy) => copy.directoryId === directoryId)
    const open = survey.good.filter((copy) => !isDone(copy))
    // The one begun by whoever had the job before comes first.
    const begun = open.find(({ directoryId }) => directoryId === this.#at.directoryId)
    const copy = begun ?? open[0]
    if (copy === undefined) return await this.#end(survey, signal)
    if (begun === undefined) this.#begin(copy)
    await this.#read(survey, copy, signal)
    await this.#renew(copy, signal)
    await this.#note(copy, signal)
    return 'busy'
  }

  async #readStripe(signal: AbortSignal): Promise<StepResult> {
    const survey = await surveyShards(this.#work, [], signal)
    const stripe = survey && stripeOf(survey)
    if (stripe === undefined) return 'busy' // It has just been decoded: look again.
    const next = await this.#stripe.step(stripe, this.#at, signal)
    if (next !== undefined) {
      this.#at = next
      return 'busy'
    }
    this.#stripe.throwIfUnhealed(this.#at, (at) => {
      this.#at = at
    })
    return 'done'
  }

  #begin({ directoryId }: LiveCopy): void {
    const { done } = this.#at
    this.#at = { done, directoryId, from: FROM_START, damageCount: 0, contentDigest: '' }
  }

  /** To the end, healing what it finds before it goes on: the cursor never runs ahead of that. */
  async #read(survey: Survey, copy: LiveCopy, signal: AbortSignal): Promise<void> {
    const { volumeId, politeness } = this.#work
    const { from } = this.#at
    const scrub = this.#work.at(copy.location).scrubVolume({ volumeId, from, politeness }, signal)
    for await (const progress of scrub) {
      await this.#heal(survey, copy, progress, signal)
      const { at, findings, contentDigest, totalBytes } = progress
      const damageCount = this.#at.damageCount + findings.length
      this.#at = { ...this.#at, from: at, damageCount, contentDigest }
      this.#track.measure('bytes', at.datBytes, totalBytes)
    }
    await this.#track.reach('read')
  }

  async #heal(
    survey: Survey,
    copy: LiveCopy,
    { findings }: ScrubProgress,
    signal: AbortSignal,
  ): Promise<void> {
    const needles = findings.filter(({ kind }) => kind === 'needle')
    for (const { kind, offsetBytes, message } of findings) {
      const { url } = copy.location
      const { volumeId } = this.#work
      const fields = { volumeId, url, kind, offsetBytes, message }
      this.#context.logger.warn('job.damage_found', fields)
    }
    if (needles.length === 0) return
    const { away, facts } = survey
    if (away.length > 0 && facts.dirtyCount > 0) {
      // The one that is away may have a newer needle, which must not look like the older one.
      const why = `volume ${facts.volumeId} has dirty needles that are to be settled first`
      throw new StoreError('UNAVAILABLE', why)
    }
    const copies = [...survey.good, ...survey.bad].map((other) => {
      return { location: other.location, isTruth: true, isWritable: other === copy }
    })
    for (const chunk of chunksOf(needles.map(({ needleId }) => needleId))) {
      const fixes = await judgeByReading(this.#work, copies, chunk, signal)
      const { corrupt, unsettled } = await applyFixes(this.#work, copies, fixes, signal)
      if (corrupt.length + unsettled.length === 0) continue
      this.#unhealed.push(...corrupt, ...unsettled)
      this.#unhealedIds.add(copy.directoryId)
    }
    await this.#track.reach('healed')
  }

  /** Healed needles leave the damaged ones behind as garbage: a vacuum leaves none. */
  async #renew({ location, directoryId }: LiveCopy, signal: AbortSignal): Promise<void> {
    if (this.#at.damageCount === 0) return
    const { command, politeness } = this.#work
    const vacuum = { ...command, politeness, skipsDamage: true, dropsTombstones: false }
    try {
      for await (const _progress of this.#work.at(location).vacuumVolume(vacuum, signal)) {
        // To its end: the answer is that it comes.
      }
      await this.#track.reach('renewed')
    } catch (error) {
      // A needle that is good nowhere. It stays as it is, and is reported below.
      if (!isStoreError(error, 'NEEDLE_CORRUPT')) throw error
      this.#unhealedIds.add(directoryId)
    }
  }

  async #note(copy: LiveCopy, signal: AbortSignal): Promise<void> {
    const { directoryId } = copy
    const { from, damageCount, contentDigest, done } = this.#at
    const { volumeId } = this.#work
    const note = { volumeId, directoryId, bytes: from.datBytes, damageCount }
    await this.#context.jobs.noteScrub(note, signal)
    const scrubbed: ScrubbedCopy = { directoryId, extent: from, damageCount, contentDigest }
    this.#at = { ...this.#at, done: [...done, scrubbed], directoryId: '', from: FROM_START }
    await this.#track.reach('noted')
  }

  async #end({ good }: Survey, signal: AbortSignal): Promise<StepResult> {
    if (this.#doDiffer(good)) {
      const { volumeId } = this.#work
      const reason = `copies of volume ${volumeId} differ although nothing was written`
      const request = {
        kind: 'replica-repair',
        target: { volumeId, isDeep: true },
        reason,
      } as const
      await this.#context.jobs.runJob(request, signal)
    }
    if (this.#unhealedIds.size === 0) return 'done'
    // The next attempt reads those again: what was out of reach may be back.
    const done = this.#at.done.filter(({ directoryId }) => !this.#unhealedIds.has(directoryId))
    this.#at = { ...this.#at, done }
    const why = `volume ${this.#work.volumeId} has needles that are good in no copy`
    throw new StoreError('NEEDLE_CORRUPT', `${why}: ${nameNeedles(this.#unhealed)}`)
  }

  /** Of copies that were read whole, and that nobody changed since. */
  #doDiffer(good: readonly LiveCopy[]): boolean {
    const digests = this.#at.done.flatMap(({ directoryId, extent, damageCount, contentDigest }) => {
      const copy = good.find((other) => other.directoryId === directoryId)
      if (copy === undefined || damageCount > 0 || contentDigest === '') return []
      return isSameExtent(copy.report, extent) ? [contentDigest] : []
    })
    return new Set(digests).size > 1
  }
}
