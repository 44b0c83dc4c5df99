import { StoreError } from '../base/store-error.ts'
import { ttlToMs } from '../base/ttl.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import { removeCopies } from './drop-copies.ts'
import { Freeze } from './freeze.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { JobTrack } from './job-track.ts'
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
    const { jobs, lease } = this.#context
    const { volumeId } = this.#work
    await jobs.forgetVolume({ jobId: lease.job.id, token: lease.token, volumeId }, signal)
    await this.#track.reach('forgotten')
    const result = await this.#remove([...fresh.good, ...fresh.bad, ...fresh.strays], signal)
    await freeze.thaw()
    return result
  }

  #hasExpired({ good, bad, facts }: Survey): boolean {
    const copies = [...good, ...bad]
    if (copies.length === 0) return false
    const modifiedAtMs = Math.max(...copies.map(({ report }) => report.modifiedAtS)) * 1000
    const dueMs = modifiedAtMs + ttlToMs(facts.ttl) * (1 + MARGIN)
    return this.#context.clock.nowMs() > dueMs
  }

  async #remove(copies: readonly LiveCopy[], signal: AbortSignal): Promise<StepResult> {
    if (copies.length === 0) return 'done'
    this.#removedCount += await removeCopies(this.#work, copies, signal)
    this.#track.measure('volumes', 1, 1)
    await this.#track.reach('removed')
    return 'done'
  }
}
