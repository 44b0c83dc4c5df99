import { StoreError } from '../base/store-error.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import { doAgree } from './agreement.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asCount, asFields, asText, asTexts, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import { type LiveCopy, type Survey, surveyVolume } from './survey.ts'
import { IS_CODED, VolumeWork, volumeOf } from './volume-work.ts'

/** A vacuum that was begun, in case whoever comes next finds it done. */
interface Begun {
  readonly directoryId: string
  readonly revisionBefore: number
  readonly dropsTombstones: boolean
}

/**
 * Gives back the space of deleted needles, copy after copy. Tombstones are kept unless every copy
 * has seen every delete; once one copy has dropped its tombstones, older states of the others must
 * not count any more, so all of them are written anew and noted.
 */
export class Vacuum implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'vacuum'>
  /** Directories whose copies are done. */
  readonly #doneIds: Set<string>
  #begun: Begun | undefined
  #freedBytes: number
  #isCoded = false

  constructor(context: JobContext) {
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(context.lease.job.target))
    this.#track = new JobTrack(context, 'bytes')
    const cursor = readCursor(context.lease.cursor)
    this.#doneIds = new Set(asTexts(cursor['doneIds']))
    this.#begun = asBegun(cursor['begun'])
    this.#freedBytes = asCount(cursor['freedBytes']) ?? 0
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    const doneIds = [...this.#doneIds]
    return JSON.stringify({ doneIds, begun: this.#begun, freedBytes: this.#freedBytes })
  }

  get summary(): string {
    if (this.#isCoded) return IS_CODED
    return `${this.#doneIds.size} copies, ${this.#freedBytes} bytes freed`
  }

  /** The server rests while it vacuums. */
  get isPaced(): boolean {
    return true
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    const survey = await surveyVolume(this.#work, signal)
    await this.#track.begin('planned')
    if (survey === undefined || survey.facts.isDeleted) return 'done'
    this.#isCoded = survey.facts.stripe !== undefined
    if (this.#isCoded) return 'done'
    const copies = survey.good.toSorted((a, b) => (a.location.url < b.location.url ? -1 : 1))
    const copy = copies.find(({ directoryId }) => !this.#doneIds.has(directoryId))
    if (copy === undefined) return this.#end(survey)
    if (await this.#isDoneAlready(copy, signal)) return 'busy'
    await this.#vacuum(survey, copy, signal)
    return 'busy'
  }

  /** By a worker that died before it could tell. */
  async #isDoneAlready({ directoryId, report }: LiveCopy, signal: AbortSignal): Promise<boolean> {
    const begun = this.#begun
    if (begun === undefined || begun.directoryId !== directoryId) return false
    if (report.compactionRevision === begun.revisionBefore) return false
    await this.#note(begun, report.compactionRevision, signal)
    return true
  }

  async #vacuum(survey: Survey, copy: LiveCopy, signal: AbortSignal): Promise<void> {
    const { directoryId, location, report } = copy
    const dropsTombstones = await this.#mayDrop(survey, signal)
    const revisionBefore = report.compactionRevision
    this.#begun = { directoryId, revisionBefore, dropsTombstones }
    await this.#context.save(signal)
    const { command, politeness } = this.#work
    const vacuum = { ...command, politeness, dropsTombstones, skipsDamage: false }
    const server = this.#work.at(location)
    for await (const { copiedBytes, totalBytes } of server.vacuumVolume(vacuum, signal)) {
      this.#track.measure('bytes', copiedBytes, totalBytes)
    }
    await this.#track.reach('vacuumed')
    const after = await server.volumeStatus(this.#work.volumeId, signal)
    this.#freedBytes += Math.max(0, report.datBytes - after.datBytes)
    await this.#note(this.#begun, after.compactionRevision, signal)
  }

  async #note(begun: Begun, compactionRevision: number, signal: AbortSignal): Promise<void> {
    const { directoryId, dropsTombstones } = begun
    const { volumeId } = this.#work
    if (dropsTombstones) {
      const note = { volumeId, directoryId, compactionRevision }
      await this.#context.jobs.noteVacuum(note, signal)
    }
    this.#doneIds.add(directoryId)
    this.#begun = undefined
    await this.#track.reach('noted')
  }

  /**
   * Every copy there is or may come back is up, and all have the same needles: then nobody has to
   * learn of a delete from here any more. A delete that reaches only some of them from now on is
   * recorded as dirty.
   */
  async #mayDrop(survey: Survey, signal: AbortSignal): Promise<boolean> {
    const { facts, good, bad, away, lost, wantedCount } = survey
    if (facts.dirtyCount > 0 || facts.strays.length > 0) return false
    if (good.length < wantedCount || bad.length + away.length + lost.length > 0) return false
    const locations = good.map(({ location }) => location)
    return await doAgree(this.#work, locations, signal)
  }

  #end({ away, bad, facts }: Survey): StepResult {
    const open = [...away, ...bad].filter(({ directoryId }) => !this.#doneIds.has(directoryId))
    const [first] = open
    if (first === undefined || this.#doneIds.size > 0) return 'done'
    const what = `the copy of volume ${facts.volumeId} at ${first.location.url}`
    throw new StoreError('UNAVAILABLE', `${what} cannot be vacuumed now`)
  }
}

function asBegun(value: unknown): Begun | undefined {
  const fields = asFields(value)
  const directoryId = asText(fields?.['directoryId'])
  const revisionBefore = asCount(fields?.['revisionBefore'])
  if (directoryId === undefined || revisionBefore === undefined) return undefined
  return { directoryId, revisionBefore, dropsTombstones: fields?.['dropsTombstones'] === true }
}
