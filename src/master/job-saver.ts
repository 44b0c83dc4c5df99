import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { encodeJob, type JobRecord, jobKey } from './job-rows.ts'

export interface JobSaverParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: Logger
  /** Undefined: it is not known any more. */
  readonly jobOf: (jobId: number) => JobRecord | undefined
  /** Jobs whose rows are to go, as of now. */
  readonly surplus: () => readonly number[]
  readonly onForgotten: (jobId: number) => void
}

const ROWS_AT_ONCE_MAX = 1000
const NEVER = new AbortController().signal

/** Writes the rows of jobs: at once where it must be durable, else together, soon. */
export class JobSaver {
  readonly #parts: JobSaverParts
  readonly #savedAtMs = new Map<number, number>()
  readonly #unsaved = new Set<number>()
  #saving: Promise<void> | undefined

  constructor(parts: JobSaverParts) {
    this.#parts = parts
  }

  /** Durable when it returns. Of rows written at the same time the last one asked for stays. */
  async commit(job: JobRecord, signal: AbortSignal): Promise<void> {
    const value = encodeJob(job)
    this.#savedAtMs.set(job.id, this.#parts.clock.monotonicMs())
    await this.#parts.store.commit({ puts: [{ key: jobKey(job.id), value }] }, signal)
  }

  sinceSavedMs(jobId: number): number {
    const savedAtMs = this.#savedAtMs.get(jobId) ?? Number.NEGATIVE_INFINITY
    return this.#parts.clock.monotonicMs() - savedAtMs
  }

  saveSoon(jobId: number): void {
    this.#unsaved.add(jobId)
    void this.#save()
  }

  /** Durable when it returns, unless the store failed: then with the next change. Never rejects. */
  async saveNow(jobId: number): Promise<void> {
    this.#unsaved.add(jobId)
    await this.#save()
    // The one under way may have failed with rows from before this one.
    if (this.#unsaved.has(jobId)) await this.#save()
  }

  async drain(): Promise<void> {
    await this.#saving
    if (this.#unsaved.size > 0) await this.#save()
  }

  #save(): Promise<void> {
    this.#saving ??= this.#saveUnsaved()
    return this.#saving
  }

  async #saveUnsaved(): Promise<void> {
    await undefined // What happens in the same turn goes together; and `#saving` is set.
    try {
      while (this.#unsaved.size > 0) await this.#saveSome()
    } catch (error) {
      this.#parts.logger.error('jobs.not_saved', { error })
    } finally {
      // In the same turn as the last look at what is unsaved: later ones begin a new save.
      this.#saving = undefined
    }
  }

  async #saveSome(): Promise<void> {
    const { store, clock, jobOf, surplus, onForgotten } = this.#parts
    const jobIds = [...this.#unsaved].slice(0, ROWS_AT_ONCE_MAX)
    const forgotten = surplus()
    const gone = new Set(forgotten)
    const puts: MetadataRow[] = []
    for (const jobId of jobIds) {
      this.#unsaved.delete(jobId)
      const job = gone.has(jobId) ? undefined : jobOf(jobId)
      if (job === undefined) continue
      puts.push({ key: jobKey(jobId), value: encodeJob(job) })
      this.#savedAtMs.set(jobId, clock.monotonicMs())
    }
    try {
      await store.commit({ puts, deletes: forgotten.map(jobKey) }, NEVER)
    } catch (error) {
      for (const jobId of jobIds) this.#unsaved.add(jobId)
      throw error
    }
    for (const jobId of forgotten) {
      this.#savedAtMs.delete(jobId)
      onForgotten(jobId)
    }
  }
}
