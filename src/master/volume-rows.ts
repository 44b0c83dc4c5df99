import { type VolumeId, volumeId } from '../base/ids.ts'
import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, parseTtl, type Ttl } from '../base/ttl.ts'
import { corruptRow, decodeReplication, decodeRow, encodeRow } from './master-rows.ts'

/**
 * Which copies of a volume count. Rows of the metadata store, the id in ten digits:
 *
 *     master/volumes/0000000007   {collection, replication: "001", ttl, setVersion,
 *                                  members: [{directoryId, url, compactionRevision}]}
 *                                 {..., deletedAtMs} once the volume was deleted
 */
export const VOLUME_PREFIX = 'master/volumes/'

/** A copy that counts, named by the directory it lies in, wherever that is served. */
export interface VolumeMember {
  /** Empty until the server at `url` has reported the copy for the first time. */
  readonly directoryId: string
  /** Of the server that served the directory last. */
  readonly url: string
  /** An earlier generation of the copy does not count; see `isSameOrLater`. */
  readonly compactionRevision: number
}

export interface VolumeRecord {
  readonly collection: string
  /** As it shall be. */
  readonly replication: ReplicaPlacement
  readonly ttl: Ttl
  /** Goes up with every change of the members. */
  readonly setVersion: number
  /** Never empty unless the volume was deleted. */
  readonly members: readonly VolumeMember[]
  /** 0: it was not. */
  readonly deletedAtMs: number
}

export function volumeKey(id: VolumeId): string {
  return VOLUME_PREFIX + id.toString().padStart(10, '0')
}

/** @throws {StoreError} METADATA_CORRUPT */
export function volumeOfKey(key: string, prefix = VOLUME_PREFIX): VolumeId {
  const digits = key.slice(prefix.length, prefix.length + 10)
  const value = /^\d{10}$/.test(digits) ? Number(digits) : 0
  if (value < 1 || value > 0xffff_ffff) throw corruptRow(key)
  return volumeId(value)
}

export function encodeVolume(record: VolumeRecord): Uint8Array {
  const { collection, replication, ttl, setVersion, members, deletedAtMs } = record
  return encodeRow({
    collection,
    replication: formatReplicaPlacement(replication),
    ttl: formatTtl(ttl),
    setVersion,
    members,
    deletedAtMs: deletedAtMs === 0 ? undefined : deletedAtMs,
  })
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeVolume(key: string, row: Uint8Array): VolumeRecord {
  const { collection, replication, ttl, setVersion, members, deletedAtMs = 0 } = decodeRow(key, row)
  const isWhole =
    typeof collection === 'string' &&
    typeof setVersion === 'number' &&
    typeof deletedAtMs === 'number' &&
    Array.isArray(members) &&
    (members.length > 0 || deletedAtMs > 0)
  if (!isWhole) throw corruptRow(key)
  return {
    collection,
    replication: decodeReplication(key, replication),
    ttl: decodeTtl(key, ttl),
    setVersion,
    members: members.map((member: unknown) => decodeMember(key, member)),
    deletedAtMs,
  }
}

/**
 * Revisions are counted in 16 bits and begin anew: later is what lies less than half of the circle
 * ahead.
 */
export function isSameOrLater(revision: number, than: number): boolean {
  return ((revision - than) & 0xffff) < 0x8000
}

function decodeMember(key: string, value: unknown): VolumeMember {
  if (typeof value !== 'object' || value === null) throw corruptRow(key)
  const fields: Partial<Record<keyof VolumeMember, unknown>> = value
  const { directoryId, url, compactionRevision } = fields
  if (typeof directoryId !== 'string' || typeof url !== 'string') throw corruptRow(key)
  if (typeof compactionRevision !== 'number') throw corruptRow(key)
  return { directoryId, url, compactionRevision }
}

function decodeTtl(key: string, text: unknown): Ttl {
  try {
    return parseTtl(String(text))
  } catch (cause) {
    throw corruptRow(key, cause)
  }
}
