import type { NeedleId } from '../base/ids.ts'
import { isStoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { TailRecord, VolumeExtent } from '../net/volume-api.ts'
import { isUnreadable } from './copy-in.ts'
import { asExtent, asFields, asLocation, asText } from './job-cursor.ts'
import type { LiveCopy } from './survey.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** A copy that does not count any more, and up to where its deletes are known elsewhere. */
export interface LeftCopy {
  readonly location: NodeLocation
  readonly directoryId: string
  readonly extent: VolumeExtent
}

/** What was appended to a copy behind some extent. */
export interface CopyTail {
  readonly deleted: readonly NeedleId[]
  readonly putCount: number
  readonly extent: VolumeExtent
}

/** Deletes by whoever does not know of the switch yet stop within seconds. */
const ROUNDS_MAX = 10
/** By so much the clocks of two servers may differ. */
const CLOCK_SKEW_NS = 5_000_000_000n

export function asLeftCopy(value: unknown): LeftCopy | undefined {
  const fields = asFields(value)
  const location = asLocation(fields?.['location'])
  const directoryId = asText(fields?.['directoryId'])
  const extent = asExtent(fields?.['extent'])
  if (location === undefined || directoryId === undefined || extent === undefined) return undefined
  return { location, directoryId, extent }
}

/** @throws {StoreError} VOLUME_CHANGED: it was vacuumed since. */
export async function readTail(
  work: VolumeWork,
  location: NodeLocation,
  after: VolumeExtent,
  signal: AbortSignal,
): Promise<CopyTail> {
  const { volumeId } = work
  const request = { volumeId, sinceNs: 0n, after }
  return await sumUp(work.at(location).tailVolume(request, signal), after)
}

/**
 * Removes a copy that does not count. Deletes that came after `copy.extent` are given to `journal`
 * first. One that is out of reach, or that somebody else has put there, stays.
 *
 * @throws {StoreError} VOLUME_CHANGED: it is written to without an end. What `journal` throws.
 */
export async function removeLeftCopy(
  work: VolumeWork,
  copy: LeftCopy,
  journal: (needleIds: readonly NeedleId[]) => Promise<void>,
  signal: AbortSignal,
): Promise<boolean> {
  const { location, directoryId } = copy
  let { extent } = copy
  for (let round = 0; ; round++) {
    try {
      const report = await work.at(location).volumeStatus(work.volumeId, signal)
      if (report.directoryId !== directoryId) return false
      await work.deleteCopy(location, extent, signal)
      return true
    } catch (error) {
      if (isStoreError(error, 'VOLUME_NOT_FOUND')) return false
      if (isOutOfReach(error)) return warnKept(work, location, error.message)
      if (!isStoreError(error, 'VOLUME_CHANGED') || round >= ROUNDS_MAX) throw error
      const tail = await readTail(work, location, extent, signal)
      await journal(tail.deleted)
      extent = tail.extent
    }
  }
}

/**
 * Removes a copy of which nobody remembers how far its deletes are known: those since the volume
 * was coded are given to `journal` first.
 */
export async function removeStrayCopy(
  work: VolumeWork,
  { location, directoryId, report }: LiveCopy,
  codedAs: { readonly runId: string },
  journal: (needleIds: readonly NeedleId[]) => Promise<void>,
  signal: AbortSignal,
): Promise<boolean> {
  const { volumeId, context } = work
  const { datBytes, compactionRevision } = report
  const extent = { datBytes, compactionRevision }
  try {
    // A run is named by the moment it began, after which nothing was put any more.
    const sinceNs = BigInt(codedAs.runId) - CLOCK_SKEW_NS
    const tail = work.at(location).tailVolume({ volumeId, sinceNs }, signal)
    await journal((await sumUp(tail, extent)).deleted)
  } catch (error) {
    if (isOutOfReach(error)) return warnKept(work, location, error.message)
    if (isStoreError(error, 'VOLUME_NOT_FOUND')) return false
    if (!isUnreadable(error)) throw error
    // What cannot be read is of no use to anybody, and takes no deletes.
    const { url } = location
    context.logger.warn('job.bad_copy', { volumeId, urls: [url], error: error.message })
  }
  return await removeLeftCopy(work, { location, directoryId, extent }, journal, signal)
}

function warnKept({ volumeId, context }: VolumeWork, { url }: NodeLocation, error: string): false {
  context.logger.warn('job.copy_kept', { volumeId, url, error })
  return false
}

async function sumUp(tail: AsyncIterable<TailRecord>, after: VolumeExtent): Promise<CopyTail> {
  const deleted: NeedleId[] = []
  let putCount = 0
  let { datBytes } = after
  for await (const { fileId, isTombstone, endBytes } of tail) {
    if (isTombstone) deleted.push(fileId.needleId)
    else putCount++
    datBytes = endBytes
  }
  return { deleted, putCount, extent: { ...after, datBytes } }
}
