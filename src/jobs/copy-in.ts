import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { CopyProgress, VolumeExtent } from '../net/volume-api.ts'
import { areSame, digestsOf } from './agreement.ts'
import { Freeze } from './freeze.ts'
import { asExtent, asFields, asLocation, asText } from './job-cursor.ts'
import type { FixOutcome } from './needle-fixes.ts'
import type { MergeCopy } from './needle-verdict.ts'
import { isAgreed, reconcile } from './reconcile.ts'
import { dirtyDeletes } from './settle-dirty.ts'
import { isBad, type LiveCopy, type Survey } from './survey.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** A copy that does not count yet, and what of its source it has. */
export interface IncomingCopy {
  readonly target: NodeLocation
  readonly directoryId: string
  readonly source: NodeLocation
  readonly sourceExtent: VolumeExtent
}

export function asIncoming(value: unknown): IncomingCopy | undefined {
  const fields = asFields(value)
  const target = asLocation(fields?.['target'])
  const directoryId = asText(fields?.['directoryId'])
  const source = asLocation(fields?.['source'])
  const sourceExtent = asExtent(fields?.['sourceExtent'])
  if (target === undefined || directoryId === undefined) return undefined
  if (source === undefined || sourceExtent === undefined) return undefined
  return { target, directoryId, source, sourceExtent }
}

/** A source that fails with one of these may be read needle by needle. */
const UNREADABLE: readonly ErrorCode[] = [
  'PEER_FAILED',
  'NEEDLE_CORRUPT',
  'INDEX_CORRUPT',
  'SIDECAR_CORRUPT',
  'SUPER_BLOCK_CORRUPT',
  'VOLUME_DAMAGED',
  'VOLUME_FAILED',
  'DISK_FAILED',
]

export function isUnreadable(error: unknown): error is StoreError {
  return isStoreError(error, ...UNREADABLE)
}

/**
 * A copy of the files of one of `sources`, the first from which the target gets them whole.
 *
 * @throws {StoreError} the target cannot take it; else why the last source could not be copied, one
 * that is unreadable before one that is out of reach.
 */
export async function copyFiles(
  work: VolumeWork,
  request: {
    readonly facts: VolumeFacts
    readonly target: NodeLocation
    readonly sources: readonly NodeLocation[]
    readonly replacesBad: boolean
    readonly onProgress: (progress: CopyProgress) => void
  },
  signal: AbortSignal,
): Promise<IncomingCopy> {
  const { facts, target, replacesBad } = request
  let failure: StoreError | undefined
  for (const source of request.sources) {
    try {
      const { collection } = facts
      const { politeness, command } = work
      const copy = { ...command, collection, source, politeness, replacesBad }
      for await (const progress of work.at(target).copyVolume(copy, signal)) {
        request.onProgress(progress)
        const { isDone, sourceExtent, directoryId } = progress
        if (isDone && sourceExtent !== undefined) {
          return { target, directoryId, source, sourceExtent }
        }
      }
      throw new StoreError('PEER_FAILED', `${target.url} ended a copy without saying it is done`)
    } catch (error) {
      if (!isOutOfReach(error) && !isUnreadable(error)) throw error
      if (failure === undefined || isOutOfReach(failure)) failure = error
    }
  }
  throw failure ?? new StoreError('UNAVAILABLE', 'there is no copy to copy from')
}

/**
 * Makes room for a copy on a server that has one which does not count. True: it is bad, and goes
 * when the new one is complete. A healthy one would be in the way, and goes at once.
 */
export async function clearPlace(
  work: VolumeWork,
  { strays }: Survey,
  target: NodeLocation,
  signal: AbortSignal,
): Promise<boolean> {
  const stray = strays.find(({ location }) => location.url === target.url)
  if (stray === undefined) return false
  if (isBad(stray.report)) return true
  const { datBytes, compactionRevision } = stray.report
  await work.deleteCopy(target, { datBytes, compactionRevision }, signal)
  return false
}

/**
 * A copy made needle by needle in a new, empty volume, for sources whose files cannot be copied
 * whole: it has what any member has good.
 */
export async function copyNeedles(
  work: VolumeWork,
  request: {
    readonly survey: Survey
    readonly target: NodeLocation
    readonly onCompared: (needleCount: number) => void
  },
  signal: AbortSignal,
): Promise<IncomingCopy> {
  const { survey, target } = request
  const { collection, replication, ttl } = survey.facts
  const allocate = { ...work.command, collection, replication, ttl }
  await work.at(target).allocateVolume(allocate, signal)
  const { directoryId } = await work.at(target).volumeStatus(work.volumeId, signal)
  const source = survey.good[0] ?? survey.bad[0]
  if (source === undefined) throw new StoreError('UNAVAILABLE', 'there is no copy to copy from')
  const empty = { target, directoryId, source: source.location }
  const options = { isDeep: false, onCompared: request.onCompared }
  return (await fillIn(work, { survey, copy: empty, ...options }, signal)).copy
}

/**
 * Makes a copy that does not count equal to those that do. It has then of its source whatever was
 * there when this began.
 *
 * @throws {StoreError} VOLUME_CHANGED: a tombstone there is in the way; only a new copy helps.
 */
export async function fillIn(
  work: VolumeWork,
  request: {
    readonly survey: Survey
    readonly copy: Omit<IncomingCopy, 'sourceExtent'>
    readonly isDeep: boolean
    readonly onCompared?: ((needleCount: number) => void) | undefined
  },
  signal: AbortSignal,
): Promise<{ readonly copy: IncomingCopy; readonly outcome: FixOutcome }> {
  const { survey, copy } = request
  const { datBytes, compactionRevision } = await extentOf(work, copy.source, signal)
  const { target } = copy
  const truths = truthsOf(survey).filter(({ location }) => location.url !== target.url)
  const copies = [...truths, { location: target, isTruth: false, isWritable: true }]
  const ignored = await dirtyDeletes(work, signal)
  const outcome = await reconcile(work, copies, { ...request, ignored }, signal)
  if (outcome.blocked.length > 0) {
    const why = `the copy at ${target.url} has deleted what lives elsewhere`
    throw new StoreError('VOLUME_CHANGED', `${why}; it has to be made anew`)
  }
  return { copy: { ...copy, sourceExtent: { datBytes, compactionRevision } }, outcome }
}

/** The members as they are, good and bad, to be read and not to be changed. */
function truthsOf(survey: Survey): MergeCopy[] {
  const readable = [...survey.good, ...survey.bad]
  return readable.map(({ location }) => ({ location, isTruth: true, isWritable: false }))
}

/** So many rounds of catching up before the writes are held back for the last one. */
const CATCH_UP_ROUNDS_MAX = 10
/** A round that brought so few is worth no other. */
const CATCH_UP_RECORDS_FEW = 100
const COMPARE_ROUNDS_MAX = 5

export type SettlePhase = 'frozen' | 'caught-up' | 'compared'

/**
 * Brings a copy up to what its source is now, holds back the writes to every member, and lets
 * `whileFrozen` make the copy count once both are equal. The writes go on when it returns.
 *
 * @throws {StoreError} VOLUME_CHANGED: the copy cannot be made equal, make a new one.
 */
export async function settleCopy<Result>(
  work: VolumeWork,
  request: {
    readonly survey: Survey
    readonly incoming: IncomingCopy
    readonly reach: (phase: SettlePhase) => Promise<void>
    readonly whileFrozen: (freeze: Freeze, incoming: IncomingCopy) => Promise<Result>
  },
  signal: AbortSignal,
): Promise<Result> {
  const { survey, reach } = request
  let { incoming } = request
  for (let round = 0; round < CATCH_UP_ROUNDS_MAX; round++) {
    const { copy, recordCount } = await catchUp(work, survey, incoming, signal)
    incoming = copy
    if (recordCount <= CATCH_UP_RECORDS_FEW) break
  }
  const writable = survey.good.filter(({ location }) => location.url !== incoming.target.url)
  const locations = writable.map(({ location }) => location)
  await using freeze = await Freeze.open(work, locations, signal)
  await reach('frozen')
  for (let round = 0; round < COMPARE_ROUNDS_MAX; round++) {
    incoming = (await catchUp(work, survey, incoming, signal)).copy
    if (round === 0) await reach('caught-up')
    const isEqual = await isLikeSource(work, survey, incoming, signal)
    if (!(await isHealthy(work, incoming, signal))) {
      const why = `the copy at ${incoming.target.url} has gone bad before it counted`
      throw new StoreError('VOLUME_CHANGED', why)
    }
    // Only what was compared while nothing was written may be relied on.
    const wasQuiet = await freeze.renew(signal)
    if (!isEqual || !wasQuiet) continue
    await reach('compared')
    return await request.whileFrozen(freeze, incoming)
  }
  const why = `the copy at ${incoming.target.url} does not become equal to its source`
  throw new StoreError('VOLUME_CHANGED', why)
}

/** Carries over what came since; all of it again when the source has renewed its files. */
async function catchUp(
  work: VolumeWork,
  survey: Survey,
  copy: IncomingCopy,
  signal: AbortSignal,
): Promise<{ readonly copy: IncomingCopy; readonly recordCount: number }> {
  const isGood = survey.good.some(({ location }) => location.url === copy.source.url)
  // A bad one takes no writes: there is nothing to catch up with.
  if (!isGood) return { copy, recordCount: 0 }
  const { source, sourceExtent } = copy
  try {
    const command = { ...work.command, source, sourceExtent }
    const answer = await work.at(copy.target).catchUpVolume(command, signal)
    const caughtUp = { ...copy, sourceExtent: answer.sourceExtent }
    return { copy: caughtUp, recordCount: answer.recordCount }
  } catch (error) {
    if (!isStoreError(error, 'VOLUME_CHANGED')) throw error
    // Deep: a needle that was put again meanwhile may have its old size.
    const filled = await fillIn(work, { survey, copy, isDeep: true }, signal)
    return { copy: filled.copy, recordCount: 0 }
  }
}

/** By digest; if they differ, needle by needle, which also mends what is mendable. */
async function isLikeSource(
  work: VolumeWork,
  survey: Survey,
  copy: IncomingCopy,
  signal: AbortSignal,
): Promise<boolean> {
  if (areSame(await digestsOf(work, [copy.source, copy.target], signal))) return true
  // It may have what its source lacks and another member has. What is good nowhere it cannot have.
  return isAgreed((await fillIn(work, { survey, copy, isDeep: false }, signal)).outcome)
}

/** The copy is where it was made, and can be read and written. */
export async function isHealthy(
  work: VolumeWork,
  { target, directoryId }: IncomingCopy,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const report = await work.at(target).volumeStatus(work.volumeId, signal)
    return report.directoryId === directoryId && !isBad(report)
  } catch (error) {
    if (isStoreError(error, 'VOLUME_NOT_FOUND')) return false
    throw error
  }
}

async function extentOf(
  work: VolumeWork,
  location: NodeLocation,
  signal: AbortSignal,
): Promise<VolumeExtent> {
  return await work.at(location).volumeStatus(work.volumeId, signal)
}

/** Nearest first: the same rack, then the same data centre. */
export function nearestFirst(
  copies: readonly LiveCopy[],
  target: NodeLocation,
): readonly NodeLocation[] {
  const distance = ({ dataCenter, rack }: NodeLocation) => {
    if (dataCenter !== target.dataCenter) return 2
    return rack === target.rack ? 0 : 1
  }
  const locations = copies.map(({ location }) => location)
  return locations.toSorted((a, b) => distance(a) - distance(b))
}
