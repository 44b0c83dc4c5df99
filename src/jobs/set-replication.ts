import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asCount, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import { surveyVolume } from './survey.ts'
import { VolumeWork } from './volume-work.ts'

/**
 * What all volumes of a collection shall have from now on: the master's rows, then the copies
 * themselves. Copies that are away are told by the repair that they need anyway.
 */
export class SetReplication implements Job {
  readonly #context: JobContext
  readonly #track: JobTrack<'set-replication'>
  readonly #collection: string
  readonly #replication: ReplicaPlacement
  /** Volumes up to this one have it. */
  #lastId: number
  #toldCount: number

  constructor(context: JobContext) {
    const { collection, replication } = context.lease.job.target
    if (collection === undefined || replication === undefined) {
      throw new StoreError('REQUEST_INVALID', 'the job names no collection or no replication')
    }
    this.#context = context
    this.#collection = collection
    this.#replication = replication
    this.#track = new JobTrack(context, 'volumes')
    const cursor = readCursor(context.lease.cursor)
    this.#lastId = asCount(cursor['lastId']) ?? 0
    this.#toldCount = asCount(cursor['toldCount']) ?? 0
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify({ lastId: this.#lastId, toldCount: this.#toldCount })
  }

  get summary(): string {
    return `${this.#toldCount} volumes have ${formatReplicaPlacement(this.#replication)}`
  }

  get isPaced(): boolean {
    return false
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    await this.#track.begin('planned')
    const { jobs } = this.#context
    const all = await jobs.listVolumes(this.#collection, signal)
    const volumeId = all.find((id) => id > this.#lastId)
    this.#track.measure('volumes', this.#toldCount, all.length)
    if (volumeId === undefined) return 'done'
    const work = new VolumeWork(this.#context, volumeId)
    await this.#set(work, signal)
    this.#lastId = volumeId
    this.#toldCount++
    return 'busy'
  }

  async #set(work: VolumeWork, signal: AbortSignal): Promise<void> {
    const { jobs } = this.#context
    const replication = this.#replication
    const wanted = formatReplicaPlacement(replication)
    const survey = await surveyVolume(work, signal)
    if (survey === undefined || survey.facts.isDeleted) return
    if (formatReplicaPlacement(survey.facts.replication) !== wanted) {
      await jobs.setReplication(work.volumeId, replication, signal)
      await this.#track.reach('recorded')
    }
    let toldCount = 0
    for (const { location, report } of [...survey.good, ...survey.bad]) {
      if (formatReplicaPlacement(report.replication) === wanted) continue
      try {
        await work.at(location).setVolumeReplication({ ...work.command, replication }, signal)
        toldCount++
      } catch (error) {
        if (!isStoreError(error)) throw error
        if (error.code === 'CANCELLED' || error.code === 'EPOCH_STALE') throw error
        // The master's row counts; the repair of this copy tells it again.
        const { url } = location
        const { volumeId } = work
        this.#context.logger.warn('job.not_told', { volumeId, url, error: error.message })
      }
    }
    if (toldCount > 0) await this.#track.reach('told')
  }
}
