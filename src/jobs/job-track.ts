import type { JobKind, JobProgress } from '../net/jobs-api.ts'
import type { JobContext, JobPhase } from './job.ts'

/** How far a job is, as people see it. */
export class JobTrack<Kind extends JobKind> {
  done = 0
  /** 0: not known. */
  total = 0
  unit: JobProgress['unit']
  #phase = ''
  readonly #context: JobContext

  constructor(context: JobContext, unit: JobProgress['unit']) {
    this.#context = context
    this.unit = unit
  }

  get hasBegun(): boolean {
    return this.#phase !== ''
  }

  get progress(): JobProgress {
    return { phase: this.#phase, done: this.done, total: this.total, unit: this.unit }
  }

  /** To be called when what `phase` names is done and lasting. */
  async reach(phase: JobPhase<Kind>): Promise<void> {
    this.#phase = phase
    await this.#context.reached(phase)
  }

  /** For the first step of whoever runs the job. */
  async begin(phase: JobPhase<Kind>): Promise<void> {
    if (!this.hasBegun) await this.reach(phase)
  }

  measure(unit: JobProgress['unit'], done: number, total: number): void {
    this.unit = unit
    this.done = done
    this.total = total
  }
}
