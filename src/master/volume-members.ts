import { parseReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import { formatTtl, parseTtl, TTL_NONE, type Ttl } from '../base/ttl.ts'
import type { LayoutKey } from './layout-key.ts'
import type { VolumeCopy } from './topology.ts'
import { isSameOrLater, type VolumeMember, type VolumeRecord } from './volume-rows.ts'

/**
 * A copy may be so many generations ahead of what is kept of it: a quarter of the circle on which
 * they are compared, so that one which is vacuumed for years never seems to be an earlier one.
 */
const REVISIONS_KEPT = 0x4000

/** The copy's server is in reach, and says nothing bad of it. */
export function isHealthy({ node, report }: VolumeCopy): boolean {
  return node.state !== 'down' && report.state !== 'failed' && report.state !== 'damaged'
}

/** What a member is called in facts: its directory, or whichever its server will report first. */
export function nameOf({ directoryId, url }: VolumeMember): string {
  return directoryId === '' ? placeholderOf(url) : directoryId
}

/**
 * The member that a reported copy is. A copy of an earlier generation is none, and a copy whose
 * directory is not known yet, of either side, is the one of its server.
 */
export function findMember(
  { members }: Pick<VolumeRecord, 'members'>,
  { node, report }: VolumeCopy,
): VolumeMember | undefined {
  const { directoryId, compactionRevision } = report
  const { url } = node.location
  if (directoryId === '') return members.find((member) => member.url === url)
  const named = members.find((member) => member.directoryId === directoryId)
  if (named === undefined) {
    return members.find((member) => member.directoryId === '' && member.url === url)
  }
  return isSameOrLater(compactionRevision, named.compactionRevision) ? named : undefined
}

/** The directory is a member's, and the copy in it of an earlier generation than the member had. */
export function isOutdated({ members }: Pick<VolumeRecord, 'members'>, { report }: VolumeCopy) {
  const named = members.find((member) => member.directoryId === report.directoryId)
  if (named === undefined || named.directoryId === '') return false
  return !isSameOrLater(report.compactionRevision, named.compactionRevision)
}

/** What the report of a member's copy says anew about where it is; the same one if nothing. */
export function learnMember(member: VolumeMember, { node, report }: VolumeCopy): VolumeMember {
  const { directoryId } = report
  const { url } = node.location
  if (directoryId === '') return member
  const aheadBy = (report.compactionRevision - member.compactionRevision) & 0xffff
  const isFarAhead = aheadBy >= REVISIONS_KEPT
  if (member.directoryId === directoryId && member.url === url && !isFarAhead) return member
  const compactionRevision = isFarAhead ? report.compactionRevision : member.compactionRevision
  return { directoryId, url, compactionRevision }
}

/** As the copy is now: an earlier generation of it will not count. */
export function newMember({ node, report }: VolumeCopy): VolumeMember {
  const { directoryId, compactionRevision } = report
  return { directoryId, url: node.location.url, compactionRevision }
}

/** @throws {StoreError} METADATA_CONFLICT, REQUEST_INVALID: as `JobsApi.changeMembers`. */
export function alterMembers(
  record: VolumeRecord,
  change: {
    readonly setVersion: number
    readonly add: readonly VolumeMember[]
    readonly removeDirectoryIds: readonly string[]
  },
): VolumeRecord {
  const { setVersion, add, removeDirectoryIds } = change
  if (record.setVersion !== setVersion) {
    const message = `the members are at version ${record.setVersion}, not ${setVersion}`
    throw new StoreError('METADATA_CONFLICT', message)
  }
  const replaced = new Set([...removeDirectoryIds, ...add.map((member) => member.directoryId)])
  const kept = record.members.filter(
    // The name it had before it was reported stands for it still.
    (member) => !replaced.has(nameOf(member)) && !replaced.has(placeholderOf(member.url)),
  )
  const members = [...kept, ...add]
  if (members.length === 0) throw new StoreError('REQUEST_INVALID', 'no copy would be left')
  const { stripe: _stripe, ...rest } = record
  return { ...rest, members, setVersion: setVersion + 1 }
}

/** What is left of a deleted volume, known or not. */
export function tombstoneOf(
  volume: VolumeRecord | LayoutKey | undefined,
  deletedAtMs: number,
): VolumeRecord {
  const { collection, replication, ttl } = volume ?? {
    collection: '',
    replication: parseReplicaPlacement('000'),
    ttl: TTL_NONE,
  }
  const isDeleted = volume !== undefined && 'deletedAtMs' in volume && volume.deletedAtMs > 0
  const setVersion = volume !== undefined && 'setVersion' in volume ? volume.setVersion + 1 : 1
  return {
    collection,
    replication,
    ttl,
    setVersion,
    members: [],
    deletedAtMs: isDeleted ? volume.deletedAtMs : deletedAtMs,
  }
}

/** `60m` is `1h`: as a time to live is read back from its text. */
export function normalisedTtl(ttl: Ttl): Ttl {
  return parseTtl(formatTtl(ttl))
}

export function isSameTtl(a: Ttl, b: Ttl): boolean {
  const isEqual = a.count === b.count && a.unit === b.unit
  return isEqual || formatTtl(normalisedTtl(a)) === formatTtl(normalisedTtl(b))
}

function placeholderOf(url: string): string {
  return `?${url}`
}
