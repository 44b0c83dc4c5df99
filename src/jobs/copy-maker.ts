import { isStoreError, StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import {
  clearPlace,
  copyFiles,
  copyNeedles,
  fillIn,
  type IncomingCopy,
  isUnreadable,
  nearestFirst,
} from './copy-in.ts'
import type { JobTrack } from './job-track.ts'
import { unmetCount } from './placement-fit.ts'
import { isBad, type LiveCopy, type Survey } from './survey.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** So many servers are tried as the place of a new copy before the attempt fails. */
const TARGETS_MAX = 3

/** A copy that was left may lack, or have too many, so many needles or this share of all. */
const APART_COUNT_MAX = 100
const APART_SHARE_MAX = 0.05

/**
 * Gets a copy for a volume that lacks one: what an earlier worker left, if it can be used, else a
 * new one on a server of the master's choice, else one in the place of a copy that is of no use.
 */
export class CopyMaker {
  readonly #work: VolumeWork
  readonly #track: JobTrack<'replica-repair'>

  constructor(work: VolumeWork, track: JobTrack<'replica-repair'>) {
    this.#work = work
    this.#track = track
  }

  /**
   * Undefined: the members had to change first, look again.
   *
   * @throws {StoreError} PLACEMENT_IMPOSSIBLE, NO_WRITABLE_VOLUME; why no copy could be made.
   */
  async make(survey: Survey, signal: AbortSignal): Promise<IncomingCopy | undefined> {
    return (await this.#useStray(survey, signal)) ?? (await this.#makeNew(survey, signal))
  }

  /** What a worker left that died before it could tell. Nothing in it is believed unread. */
  async #useStray(survey: Survey, signal: AbortSignal): Promise<IncomingCopy | undefined> {
    const [source] = this.#sourcesOf(survey)
    if (source === undefined || survey.good.length === 0) return undefined
    for (const stray of survey.strays) {
      if (isBad(stray.report) || !isNearlyWhole(stray, source)) continue
      if (!this.#isWellPlaced(survey, stray)) continue
      const { directoryId, location: target } = stray
      try {
        const copy = { target, directoryId, source: source.location }
        return (await fillIn(this.#work, { survey, copy, isDeep: true }, signal)).copy
      } catch (error) {
        // It cannot be used: a new copy is made, here or elsewhere.
        if (!isStoreError(error, 'VOLUME_CHANGED') && !isOutOfReach(error)) throw error
      }
    }
    return undefined
  }

  #isWellPlaced({ good, away, facts }: Survey, stray: LiveCopy): boolean {
    const others = [...good, ...away].map(({ location }) => location)
    if (others.some(({ url }) => url === stray.location.url)) return false
    const { replication } = facts
    const before = unmetCount(others, replication)
    return unmetCount([...others, stray.location], replication) < before
  }

  async #makeNew(survey: Survey, signal: AbortSignal): Promise<IncomingCopy | undefined> {
    const excluded: string[] = []
    let failure: StoreError | undefined
    for (let round = 0; round < TARGETS_MAX; round++) {
      const target = await this.#chooseTarget(survey, excluded, failure, signal)
      if (await this.#letLeave(survey, target, signal)) return undefined
      try {
        return await this.#makeAt(survey, target, signal)
      } catch (error) {
        const isOfThisServer =
          isOutOfReach(error) || isUnreadable(error) || isStoreError(error, 'DISK_FULL')
        if (!isOfThisServer) throw error
        failure = error
        excluded.push(target.url)
      }
    }
    throw failure ?? new StoreError('UNAVAILABLE', 'no server took the copy')
  }

  /**
   * A new copy may come into the very directory of a member that is lost or bad, and would be taken
   * for that member before it has everything: so that one leaves first.
   */
  async #letLeave(survey: Survey, target: NodeLocation, signal: AbortSignal): Promise<boolean> {
    const { facts, lost, bad, good } = survey
    const useless = good.length > 0 ? [...lost, ...bad] : lost
    const before = useless.filter(({ location }) => location.url === target.url)
    if (before.length === 0) return false
    const removeDirectoryIds = before.map(({ directoryId }) => directoryId)
    await this.#work.changeMembers(facts, { add: [], removeDirectoryIds }, signal)
    await this.#track.reach('left')
    return true
  }

  async #chooseTarget(
    survey: Survey,
    excluded: readonly string[],
    failure: StoreError | undefined,
    signal: AbortSignal,
  ): Promise<NodeLocation> {
    const { jobs } = this.#work.context
    const { volumeId } = this.#work
    const replaces = (survey.lost[0] ?? survey.bad[0])?.directoryId ?? ''
    try {
      return await jobs.chooseTarget({ volumeId, replaces, excluded }, signal)
    } catch (error) {
      if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')) throw error
      // No other server fits: a place where a copy of no use lies is left, if there is a good one.
      const useless = survey.good.length > 0 ? [...survey.strays, ...survey.bad] : []
      const place = useless.find(({ location }) => !excluded.includes(location.url))
      if (place === undefined) throw failure ?? error
      return place.location
    }
  }

  async #makeAt(survey: Survey, target: NodeLocation, signal: AbortSignal): Promise<IncomingCopy> {
    const { facts } = survey
    const track = this.#track
    const sources = nearestFirst(this.#sourcesOf(survey), target)
    const onProgress = (progress: { copiedBytes: number; totalBytes: number }) =>
      track.measure('bytes', progress.copiedBytes, progress.totalBytes)
    const request = { facts, target, sources, onProgress }
    const replacesBad = await clearPlace(this.#work, survey, target, signal)
    try {
      return await copyFiles(this.#work, { ...request, replacesBad }, signal)
    } catch (error) {
      if (isStoreError(error, 'VOLUME_EXISTS') && !this.#isMember(survey, target)) {
        // Something of it lies there that the server could not open.
        return await copyFiles(this.#work, { ...request, replacesBad: true }, signal)
      }
      if (!isUnreadable(error) || replacesBad) throw error
    }
    // No source can be copied as a whole. What is good in any of them can.
    const onCompared = (count: number) => track.measure('needles', count, 0)
    return await copyNeedles(this.#work, { survey, target, onCompared }, signal)
  }

  #isMember({ good, bad, away }: Survey, { url }: NodeLocation): boolean {
    return [...good, ...bad, ...away].some(({ location }) => location.url === url)
  }

  /** Another one first with every attempt, in case a server cannot be reached from the target. */
  #sourcesOf({ good, bad }: Survey): readonly LiveCopy[] {
    const sources = good.length > 0 ? good : bad
    const first = Math.max(0, this.#work.context.lease.job.attempts - 1) % (sources.length || 1)
    return [...sources.slice(first), ...sources.slice(0, first)]
  }
}

/** Comparing every byte is only worth it if little has to be mended. */
function isNearlyWhole(stray: LiveCopy, source: LiveCopy): boolean {
  const { liveNeedles } = source.report
  const apart = Math.abs(stray.report.liveNeedles - liveNeedles)
  return apart <= Math.max(APART_COUNT_MAX, liveNeedles * APART_SHARE_MAX)
}
