import type { VolumeExtent } from '../net/volume-api.ts'
import { asCount, asExtent, asFields, asText, readCursor } from './job-cursor.ts'

/** A copy that was read to its end. */
export interface ScrubbedCopy {
  readonly directoryId: string
  readonly extent: VolumeExtent
  readonly damageCount: number
  /** Empty: it was not read in one go. */
  readonly contentDigest: string
}

export interface ScrubCursor {
  readonly done: readonly ScrubbedCopy[]
  /** The copy that is being read; empty: none. */
  readonly directoryId: string
  readonly from: VolumeExtent
  readonly damageCount: number
  readonly contentDigest: string
}

/** What cannot be read is read again from the disks. */
export function readScrubCursor(cursor: string): ScrubCursor {
  const fields = readCursor(cursor)
  const { done } = fields
  return {
    done: Array.isArray(done) ? done.flatMap((copy) => asScrubbed(copy) ?? []) : [],
    directoryId: asText(fields['directoryId']) ?? '',
    from: asExtent(fields['from']) ?? { datBytes: 0, compactionRevision: 0 },
    damageCount: asCount(fields['damageCount']) ?? 0,
    contentDigest: '',
  }
}

function asScrubbed(value: unknown): ScrubbedCopy | undefined {
  const fields = asFields(value)
  const directoryId = asText(fields?.['directoryId'])
  const extent = asExtent(fields?.['extent'])
  const damageCount = asCount(fields?.['damageCount'])
  const contentDigest = asText(fields?.['contentDigest'])
  if (directoryId === undefined || extent === undefined) return undefined
  if (damageCount === undefined || contentDigest === undefined) return undefined
  return { directoryId, extent, damageCount, contentDigest }
}
