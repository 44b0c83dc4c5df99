import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress, JobView, NextMove } from '../net/jobs-api.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asCount, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'

/** So many moves in a row may fail: then the rest will as well. */
const FAILURES_MAX = 3

/**
 * One move after another, as the master sees fit, until it has no more. The moves are jobs of their
 * own: they have their place in the queue, and keep other jobs away from their volume.
 */
export class QueuedMoves implements Job {
  readonly #context: JobContext
  readonly #track: JobTrack<'rebalance' | 'evacuate'>
  readonly #kind: 'rebalance' | 'evacuate'
  readonly #node: string
  #moveId: number | undefined
  #movedCount: number
  #failureCount: number

  constructor(context: JobContext, options: { readonly kind: 'rebalance' | 'evacuate' }) {
    this.#context = context
    this.#kind = options.kind
    this.#node = context.lease.job.target.node ?? ''
    this.#track = new JobTrack(context, 'volumes')
    const cursor = readCursor(context.lease.cursor)
    this.#moveId = asCount(cursor['moveId'])
    this.#movedCount = asCount(cursor['movedCount']) ?? 0
    this.#failureCount = 0
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify({ moveId: this.#moveId, movedCount: this.#movedCount })
  }

  get summary(): string {
    return `${this.#movedCount} volumes moved`
  }

  /** The moves rest for themselves. */
  get isPaced(): boolean {
    return true
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    await this.#track.begin('planned')
    this.#track.measure('volumes', this.#movedCount, 0)
    if (this.#moveId !== undefined) return await this.#await(this.#moveId, signal)
    const { jobs } = this.#context
    const move = await this.#next(signal)
    if (move === 'busy') return 'idle'
    if (move === undefined) return 'done'
    const target = { volumeId: move.volumeId, node: move.from.url, toNode: move.to.url }
    const why = this.#kind === 'evacuate' ? `${this.#node} is being emptied` : 'rebalance'
    const queued = await jobs.runJob({ kind: 'move', target, reason: why }, signal)
    this.#moveId = queued.id
    return 'idle'
  }

  /** `busy`: other jobs work on what is left. */
  async #next(signal: AbortSignal): Promise<NextMove | 'busy' | undefined> {
    try {
      const request = { kind: this.#kind, node: this.#node }
      return await this.#context.jobs.nextMove(request, signal)
    } catch (error) {
      if (isStoreError(error, 'VOLUME_BUSY')) return 'busy'
      throw error
    }
  }

  async #await(moveId: number, signal: AbortSignal): Promise<StepResult> {
    const move = await this.#find(moveId, signal)
    const { state } = move ?? { state: 'done' }
    if (state === 'waiting' || state === 'running' || state === 'paused') {
      this.#throwIfStuck(move)
      return 'idle'
    }
    this.#moveId = undefined
    if (state === 'done') {
      this.#failureCount = 0
      this.#movedCount++
      this.#track.measure('volumes', this.#movedCount, 0)
      await this.#track.reach('moved')
      return 'busy'
    }
    const why = `the move ${moveId} ended as ${state}: ${move?.error ?? ''}`
    if (++this.#failureCount >= FAILURES_MAX) throw new StoreError('UNAVAILABLE', why)
    this.#context.logger.warn('job.move_failed', { moveId, error: why })
    return 'busy'
  }

  /** The queue tries it again and again; there is no need to wait for all of that. */
  #throwIfStuck(move: JobView | undefined): void {
    if (move === undefined || move.error === '' || move.attempts <= FAILURES_MAX) return
    throw new StoreError('UNAVAILABLE', `the move ${move.id} keeps failing: ${move.error}`)
  }

  /** Undefined: it ended so long ago that it is forgotten. */
  async #find(moveId: number, signal: AbortSignal): Promise<JobView | undefined> {
    const request = { kind: 'move', withEnded: true } as const
    const views = await this.#context.jobs.listJobs(request, signal)
    return views.find(({ id }) => id === moveId)
  }
}
