import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobProgress } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import {
  asIncoming,
  clearPlace,
  copyFiles,
  type IncomingCopy,
  isHealthy,
  settleCopy,
} from './copy-in.ts'
import type { Freeze } from './freeze.ts'
import type { Job, JobContext, StepResult } from './job.ts'
import { asFields, asText, readCursor } from './job-cursor.ts'
import { JobTrack } from './job-track.ts'
import { type LiveCopy, type Survey, surveyVolume } from './survey.ts'
import { CONFLICTS_MAX, finishDeadline, IS_CODED, VolumeWork, volumeOf } from './volume-work.ts'

/** The copy that was moved away from, and how far its successor has it. */
interface LeftCopy extends IncomingCopy {
  readonly sourceDirectoryId: string
}

/** Writes by whoever does not know of the move yet stop within seconds. */
const FINISH_ROUNDS_MAX = 10

/**
 * Takes one copy of a volume to another server while it is read and written: copy, catch up, hold
 * the writes back, compare, let the new copy count instead of the old one, remove the old one.
 */
export class Move implements Job {
  readonly #context: JobContext
  readonly #work: VolumeWork
  readonly #track: JobTrack<'move'>
  readonly #node: string
  #incoming: IncomingCopy | undefined
  #left: LeftCopy | undefined
  #isPaced = false
  #conflictCount = 0
  #summary = 'nothing to do'

  constructor(context: JobContext) {
    const { target } = context.lease.job
    this.#context = context
    this.#work = new VolumeWork(context, volumeOf(target))
    this.#track = new JobTrack(context, 'bytes')
    this.#node = target.node ?? ''
    if (this.#node === '') throw new StoreError('REQUEST_INVALID', 'the move names no server')
    const cursor = readCursor(context.lease.cursor)
    this.#incoming = asIncoming(cursor['incoming'])
    this.#left = asLeft(cursor['left'])
  }

  get progress(): JobProgress {
    return this.#track.progress
  }

  get cursor(): string {
    return JSON.stringify({ incoming: this.#incoming, left: this.#left })
  }

  get summary(): string {
    return this.#summary
  }

  get isPaced(): boolean {
    return this.#isPaced
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    this.#isPaced = false
    const survey = await surveyVolume(this.#work, signal)
    await this.#track.begin('planned')
    if (survey === undefined || survey.facts.isDeleted) return 'done'
    if (survey.facts.stripe !== undefined) {
      this.#summary = IS_CODED
      return 'done'
    }
    if (this.#hasSwitched(survey)) return await this.#finishLater()
    this.#left = undefined
    const isMember = survey.facts.members.some(({ location }) => location.url === this.#node)
    if (!isMember) return 'done'
    const source = this.#sourceOf(survey)
    if (this.#incoming !== undefined) return await this.#switch(survey, source, signal)
    this.#incoming = await this.#copy(survey, source, signal)
    this.#isPaced = true
    await this.#track.reach('copied')
    return 'busy'
  }

  #sourceOf({ good, bad, facts }: Survey): LiveCopy {
    const isHere = ({ location }: LiveCopy) => location.url === this.#node
    const source = good.find(isHere)
    if (source !== undefined) return source
    const what = `the copy of volume ${facts.volumeId} at ${this.#node}`
    // A copy that is bad or out of reach is not moved but replaced, which is another job.
    if (bad.some(isHere)) throw new StoreError('VOLUME_DAMAGED', `${what} has to be repaired first`)
    throw new StoreError('UNAVAILABLE', `${what} cannot be reached`)
  }

  async #copy(survey: Survey, source: LiveCopy, signal: AbortSignal): Promise<IncomingCopy> {
    const { facts } = survey
    const target = await this.#chooseTarget(survey, source, signal)
    const replacesBad = await clearPlace(this.#work, survey, target, signal)
    const sources = [source.location]
    const onProgress = (progress: { copiedBytes: number; totalBytes: number }) =>
      this.#track.measure('bytes', progress.copiedBytes, progress.totalBytes)
    const request = { facts, target, sources, onProgress }
    try {
      return await copyFiles(this.#work, { ...request, replacesBad }, signal)
    } catch (error) {
      const isThere = facts.members.some(({ location }) => location.url === target.url)
      if (!isStoreError(error, 'VOLUME_EXISTS') || isThere) throw error
      // Something of it lies there that the server could not open.
      return await copyFiles(this.#work, { ...request, replacesBad: true }, signal)
    }
  }

  async #chooseTarget(
    { strays }: Survey,
    source: LiveCopy,
    signal: AbortSignal,
  ): Promise<NodeLocation> {
    const { toNode = '' } = this.#context.lease.job.target
    try {
      return await this.#askForTarget(source, toNode, signal)
    } catch (error) {
      if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')) throw error
      // Its place may be taken by what an earlier attempt left there.
      const left = strays.find(({ location }) => toNode === '' || location.url === toNode)
      if (left === undefined) throw error
      return left.location
    }
  }

  /** The server that was asked for, if the master lets it have the copy at all. */
  async #askForTarget(
    source: LiveCopy,
    toNode: string,
    signal: AbortSignal,
  ): Promise<NodeLocation> {
    const { volumeId } = this.#work
    const replaces = source.directoryId
    const excluded = [this.#node]
    while (excluded.length <= LIMITS.nodesMax.value) {
      const request = { volumeId, replaces, excluded: [...excluded] }
      const target = await this.#context.jobs.chooseTarget(request, signal)
      if (toNode === '' || target.url === toNode) return target
      excluded.push(target.url)
    }
    throw new StoreError('PLACEMENT_IMPOSSIBLE', `${toNode} cannot take the copy`)
  }

  async #switch(survey: Survey, source: LiveCopy, signal: AbortSignal): Promise<StepResult> {
    const incoming = this.#incoming
    if (incoming === undefined || !(await this.#isUsable(incoming, source, signal))) {
      this.#incoming = undefined
      return 'busy'
    }
    const reach = (phase: 'frozen' | 'caught-up' | 'compared') => this.#track.reach(phase)
    const whileFrozen = async (freeze: Freeze, settled: IncomingCopy) => {
      const extent = freeze.extentAt(source.location.url)
      await this.#changeMembers(survey, { ...settled, sourceExtent: extent }, source, signal)
      await this.#finish()
    }
    try {
      await settleCopy(this.#work, { survey, incoming, reach, whileFrozen }, signal)
    } catch (error) {
      if (isStoreError(error, 'METADATA_CONFLICT') && ++this.#conflictCount <= CONFLICTS_MAX) {
        return 'busy' // Somebody else changed the members: look again.
      }
      if (isStoreError(error, 'VOLUME_CHANGED')) this.#incoming = undefined
      throw error
    }
    await this.#track.reach('thawed')
    return 'done'
  }

  /** It is still there, and a copy of what is to be moved. */
  async #isUsable(copy: IncomingCopy, source: LiveCopy, signal: AbortSignal): Promise<boolean> {
    if (copy.source.url !== source.location.url) return false
    return await isHealthy(this.#work, copy, signal)
  }

  async #changeMembers(
    { facts }: Survey,
    copy: IncomingCopy,
    source: LiveCopy,
    signal: AbortSignal,
  ): Promise<void> {
    // Whoever goes on after a crash has to know from where on the old copy may have more.
    this.#left = { ...copy, sourceDirectoryId: source.directoryId }
    await this.#context.save(signal)
    const add = [{ url: copy.target.url, directoryId: copy.directoryId }]
    const removeDirectoryIds = [source.directoryId]
    await this.#work.changeMembers(facts, { add, removeDirectoryIds }, signal)
    this.#incoming = undefined
    this.#summary = `moved from ${this.#node} to ${copy.target.url}`
    await this.#track.reach('switched')
  }

  /** By a worker before, which may not have come to removing the old copy. */
  #hasSwitched({ facts }: Survey): boolean {
    const left = this.#left
    if (left === undefined) return false
    const isMember = (id: string) => facts.members.some(({ directoryId }) => directoryId === id)
    return isMember(left.directoryId) && !isMember(left.sourceDirectoryId)
  }

  async #finishLater(): Promise<StepResult> {
    this.#summary = `moved from ${this.#node}`
    await this.#finish()
    await this.#track.reach('thawed')
    return 'done'
  }

  /**
   * Removes the old copy. Should it have been written to after the switch, by somebody who did not
   * know of it, the new copy gets that first. Whoever is told to stop here finishes all the same:
   * only the time is limited.
   *
   * @throws {StoreError} VOLUME_DAMAGED: the new copy is lost or bad already; the old one counts
   * again.
   */
  async #finish(): Promise<void> {
    using deadline = finishDeadline(this.#context.clock)
    const { signal } = deadline
    for (let round = 0; this.#left !== undefined; round++) {
      const left: LeftCopy = this.#left
      try {
        if (!(await isHealthy(this.#work, left, signal)))
          return await this.#switchBack(left, signal)
        await this.#remove(left, signal)
        this.#left = undefined
      } catch (error) {
        if (!isStoreError(error, 'VOLUME_CHANGED') || round >= FINISH_ROUNDS_MAX) throw error
        const { source, sourceExtent } = left
        const command = { ...this.#work.command, source, sourceExtent }
        const answer = await this.#work.at(left.target).catchUpVolume(command, signal)
        this.#left = { ...left, sourceExtent: answer.sourceExtent }
      }
    }
    await this.#track.reach('removed')
  }

  async #switchBack(left: LeftCopy, signal: AbortSignal): Promise<never> {
    const facts = await this.#work.facts(signal)
    const add = [{ url: left.source.url, directoryId: left.sourceDirectoryId }]
    const removeDirectoryIds = [left.directoryId]
    if (facts !== undefined) {
      await this.#work.changeMembers(facts, { add, removeDirectoryIds }, signal)
    }
    this.#left = undefined
    throw new StoreError('VOLUME_DAMAGED', `the new copy at ${left.target.url} went bad at once`)
  }

  async #remove(left: LeftCopy, signal: AbortSignal): Promise<void> {
    try {
      const { source, sourceDirectoryId } = left
      const report = await this.#work.at(source).volumeStatus(this.#work.volumeId, signal)
      // Another copy lies there by now: not ours to remove.
      if (report.directoryId !== sourceDirectoryId) return
      await this.#work.deleteCopy(source, left.sourceExtent, signal)
    } catch (error) {
      if (!isStoreError(error, 'VOLUME_NOT_FOUND')) throw error
    }
  }
}

function asLeft(value: unknown): LeftCopy | undefined {
  const incoming = asIncoming(value)
  const sourceDirectoryId = asText(asFields(value)?.['sourceDirectoryId'])
  if (incoming === undefined || sourceDirectoryId === undefined) return undefined
  return { ...incoming, sourceDirectoryId }
}
