import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import type { ShardMove } from '../net/stripe-facts.ts'
import { removeStrayShards } from './drop-shards.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asCount, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import { drain } from './shard-commands.ts'
import {
  askForShards,
  isWhole,
  type StripeSurvey,
  setsOfRun,
  stripeOf,
  surveyShards,
} from './stripe-survey.ts'
import { movePlaces } from './stripe-switch.ts'
import { CONFLICTS_MAX, VolumeWork, volumeOf } from './volume-work.ts'

/** Some for each shard there can be: a layout that needs more does not become better. */
const MOVES_MAX = 100

/** Moves shards of a volume to better places, one after the other, until there are none. */
export class EcBalance implements Job {
  readonly #work: VolumeWork
  readonly #track: JobTrack<'ec-balance'>
  #movedCount: number
  #isPaced = false
  #conflictCount = 0
  #why = ''

  constructor(context: JobContext) {
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'bytes')
    this.#movedCount = asCount(readCursor(context.lease.cursor)['movedCount']) ?? 0
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify({ movedCount: this.#movedCount })
  }

  get summary(): string {
    return this.#why === '' ? `${this.#movedCount} shards moved` : this.#why
  }

  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    this.#isPaced = false
    const survey = await surveyShards(this.#work, [], signal)
    await this.#track.begin('planned')
    const stripe = survey && stripeOf(survey)
    if (stripe === undefined) {
      this.#why = 'the volume is not erasure-coded'
      return 'done'
    }
    if (!isWhole(stripe)) {
      const why = `shards of volume ${this.#work.volumeId} have to be repaired first`
      throw new StoreError('SHARDS_LOST', why)
    }
    await this.#removeLeft(stripe, signal)
    const { volumeId, context } = this.#work
    const move = await context.jobs.nextShardMove(volumeId, signal)
    if (move === undefined || this.#movedCount >= MOVES_MAX) return 'done'
    this.#isPaced = true
    try {
      await this.#move(stripe, move, signal)
    } catch (error) {
      // Somebody else changed what counts: look again.
      const isConflict = isStoreError(error, 'METADATA_CONFLICT')
      if (!isConflict || ++this.#conflictCount > CONFLICTS_MAX) throw error
    }
    return 'busy'
  }

  async #move(stripe: StripeSurvey, move: ShardMove, signal: AbortSignal): Promise<void> {
    const { shard, from, to } = move
    const { runId } = stripe.stripe
    const { command, politeness } = this.#work
    const { collection } = stripe.facts
    const copy = { ...command, runId, collection, shards: [shard], source: from, politeness }
    const onProgress = (progress: { doneBytes: number; totalBytes: number }) =>
      this.#track.measure('bytes', progress.doneBytes, progress.totalBytes)
    await drain(this.#work.at(to).shards.copyShards(copy, signal), onProgress)
    await this.#track.reach('copied')
    const sets = await askForShards(this.#work, [to], signal)
    const set = sets.find(({ report }) => report.runId === runId && report.shards.includes(shard))
    if (set === undefined) {
      throw new StoreError('PEER_FAILED', `${to.url} does not have shard ${shard} it has copied`)
    }
    const { directoryId } = set.report
    const moved = [{ shard, url: to.url, directoryId, location: to }]
    const reach = (phase: 'frozen' | 'switched' | 'thawed') => this.#track.reach(phase)
    await movePlaces(this.#work, { survey: stripe, moved, reach }, signal)
    this.#movedCount++
  }

  /** What was moved away from, by this worker or one before. */
  async #removeLeft(stripe: StripeSurvey, signal: AbortSignal): Promise<void> {
    const removedCount = await removeStrayShards(this.#work, setsOfRun(stripe), signal)
    if (removedCount > 0) await this.#track.reach('removed')
  }
}
