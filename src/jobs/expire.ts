import { StoreError } from '../base/store-error.ts'
import { ttlToMs } from '../base/ttl.ts'
import type { JobProgress, VolumeFacts } from '../net/jobs-api.ts'
import { removeCopies } from './drop-copies.ts'
import { removeAllShards } from './drop-shards.ts'
import { Freeze } from './freeze.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { JobTrack } from './job-track.ts'
import { setsOfRun, stripeOf, surveyShards } from './stripe-survey.ts'
import { type LiveCopy, type Survey, surveyVolume } from './survey.ts'
import { VolumeWork, volumeOf } from './volume-work.ts'

/** Of the time to live, on top: clocks of servers differ, and nobody waits for the space. */
const MARGIN = 0.1

/** Removes a volume whose needles have all outlived their time, on every server. */
export class Expire implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'expire'>
  #removedCount = 0
  #shardCount = 0

  constructor(context: JobContext) {
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'volumes')
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  /** The cluster itself says all. */
  get cursor(): string {
    return ''
  }

  get summary(): string {
    if (this.#shardCount > 0) return `${this.#shardCount} shards removed`
    return this.#removedCount > 0 ? `${this.#removedCount} copies removed` : 'nothing has expired'
  }

  get isPaced(): boolean {
    return false
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    const survey = await surveyVolume(this.#work, signal)
    await this.#track.begin('planned')
    if (survey === undefined) return 'done'
    if (survey.facts.isDeleted) {
      return await this.#remove([...survey.good, ...survey.bad, ...survey.strays], signal)
    }
    if (survey.facts.stripe !== undefined) return await this.#expireStripe(signal)
    if (ttlToMs(survey.facts.ttl) === 0) return 'done'
    if (survey.away.length > 0) {
      const urls = survey.away.map(({ location }) => location.url).join(', ')
      throw new StoreError('UNAVAILABLE', `${urls}: nobody knows what was written there last`)
    }
    return await this.#expire(survey, signal)
  }

  async #expire(survey: Survey, signal: AbortSignal): Promise<StepResult> {
    const { good, facts } = survey
    // Whoever comes just now waits, and finds the volume gone, or writable as before.
    const locations = good.map(({ location }) => location)
    await using freeze = await Freeze.open(this.#work, locations, signal)
    const fresh = await surveyVolume(this.#work, signal)
    if (fresh === undefined || fresh.facts.setVersion !== facts.setVersion) return 'busy'
    if (!this.#hasExpired(fresh)) return 'done'
    await this.#forget(signal)
    const result = await this.#remove([...fresh.good, ...fresh.bad, ...fresh.strays], signal)
    await freeze.thaw()
    return result
  }

  /** Nobody wrote to it since it was coded: what was deleted since is all that has changed. */
  async #expireStripe(signal: AbortSignal): Promise<StepResult> {
    const survey = await surveyShards(this.#work, [], signal)
    const stripe = survey && stripeOf(survey)
    if (stripe === undefined) return 'busy'
    const { facts, away, stripe: run } = stripe
    if (away.length > 0) throw new StoreError('UNAVAILABLE', 'shards are out of reach')
    const sets = setsOfRun(stripe)
    if (ttlToMs(facts.ttl) === 0 || sets.length === 0) return 'done'
    const modifiedAtS = Math.max(...sets.map(({ report }) => report.modifiedAtS))
    if (!this.#isOver(modifiedAtS, facts)) return 'done'
    const { logger } = this.#context
    logger.info('job.stripe_expired', { volumeId: facts.volumeId, runId: run.runId })
    await this.#forget(signal)
    return await this.#remove([], signal)
  }

  #hasExpired({ good, bad, facts }: Survey): boolean {
    const copies = [...good, ...bad]
    if (copies.length === 0) return false
    return this.#isOver(Math.max(...copies.map(({ report }) => report.modifiedAtS)), facts)
  }

  #isOver(modifiedAtS: number, { ttl }: VolumeFacts): boolean {
    const dueMs = modifiedAtS * 1000 + ttlToMs(ttl) * (1 + MARGIN)
    return this.#context.clock.nowMs() > dueMs
  }

  async #forget(signal: AbortSignal): Promise<void> {
    const { jobs, lease } = this.#context
    const { volumeId } = this.#work
    await jobs.forgetVolume({ jobId: lease.job.id, token: lease.token, volumeId }, signal)
    await this.#track.reach('forgotten')
  }

  async #remove(copies: readonly LiveCopy[], signal: AbortSignal): Promise<StepResult> {
    this.#removedCount += await removeCopies(this.#work, copies, signal)
    this.#shardCount += await removeAllShards(this.#work, signal)
    if (this.#removedCount + this.#shardCount === 0) return 'done'
    this.#track.measure('volumes', 1, 1)
    await this.#track.reach('removed')
    return 'done'
  }
}
