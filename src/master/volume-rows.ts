import { type ErasureScheme, isErasureScheme, shardCountOf } from '../base/erasure-scheme.ts'
import { type VolumeId, volumeId } from '../base/ids.ts'
import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, parseTtl, type Ttl } from '../base/ttl.ts'
import { corruptRow, decodeReplication, decodeRow, encodeRow } from './master-rows.ts'

/**
 * Which copies of a volume count, or which shards. Rows of the metadata store, the id in ten
 * digits:
 *
 *     master/volumes/0000000007   {collection, replication: "001", ttl, setVersion,
 *                                  members: [{directoryId, url, compactionRevision}]}
 *                                 {..., members: [], stripe: {runId, dataShards, parityShards,
 *                                  shards: [{shard, directoryId, url}]}} once it is coded
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

/** A shard that counts, named by the directory it lies in. */
export interface StripeMember {
  readonly shard: number
  /** Empty: nobody has reported it since there was a record of the stripe. */
  readonly directoryId: string
  /** Of the server that served the directory last; empty: there never was one. */
  readonly url: string
}

/** The run of the encoder that counts. */
export interface StripeRecord extends ErasureScheme {
  readonly runId: string
  /** One for each shard, in their order. */
  readonly shards: readonly StripeMember[]
}

export interface VolumeRecord {
  readonly collection: string
  /** As it shall be. */
  readonly replication: ReplicaPlacement
  readonly ttl: Ttl
  /** Goes up with every change of the members, or of the stripe. */
  readonly setVersion: number
  /** Never empty unless the volume is coded, or was deleted. */
  readonly members: readonly VolumeMember[]
  /** Of a coded volume, which has no members. */
  readonly stripe?: StripeRecord | undefined
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
  const { collection, replication, ttl, setVersion, members, stripe, deletedAtMs } = record
  return encodeRow({
    collection,
    replication: formatReplicaPlacement(replication),
    ttl: formatTtl(ttl),
    setVersion,
    members,
    stripe,
    deletedAtMs: deletedAtMs === 0 ? undefined : deletedAtMs,
  })
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeVolume(key: string, row: Uint8Array): VolumeRecord {
  const fields = decodeRow(key, row)
  const { collection, replication, ttl, setVersion, members, deletedAtMs = 0 } = fields
  const isWhole =
    typeof collection === 'string' &&
    typeof setVersion === 'number' &&
    typeof deletedAtMs === 'number' &&
    Array.isArray(members)
  if (!isWhole) throw corruptRow(key)
  const stripe = fields.stripe === undefined ? undefined : decodeStripe(key, fields.stripe)
  // Either copies count or shards do; nothing at all only of what was deleted.
  const isNothing = members.length === 0 && stripe === undefined
  const isBoth = members.length > 0 && stripe !== undefined
  if (isBoth || (isNothing && deletedAtMs === 0)) throw corruptRow(key)
  return {
    collection,
    replication: decodeReplication(key, replication),
    ttl: decodeTtl(key, ttl),
    setVersion,
    members: members.map((member: unknown) => decodeMember(key, member)),
    ...(stripe === undefined ? {} : { stripe }),
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

function decodeStripe(key: string, value: unknown): StripeRecord {
  if (typeof value !== 'object' || value === null) throw corruptRow(key)
  const fields: Partial<Record<keyof StripeRecord, unknown>> = value
  const { runId, dataShards, parityShards, shards } = fields
  if (typeof runId !== 'string' || !/^\d{1,20}$/.test(runId)) throw corruptRow(key)
  if (typeof dataShards !== 'number' || typeof parityShards !== 'number') throw corruptRow(key)
  const scheme = { dataShards, parityShards }
  if (!isErasureScheme(scheme) || !Array.isArray(shards)) throw corruptRow(key)
  if (shards.length !== shardCountOf(scheme)) throw corruptRow(key)
  const decoded = shards.map((shard: unknown, index) => decodeShard(key, shard, index))
  return { runId, ...scheme, shards: decoded }
}

function decodeShard(key: string, value: unknown, index: number): StripeMember {
  if (typeof value !== 'object' || value === null) throw corruptRow(key)
  const fields: Partial<Record<keyof StripeMember, unknown>> = value
  const { shard, directoryId, url } = fields
  if (shard !== index) throw corruptRow(key)
  if (typeof directoryId !== 'string' || typeof url !== 'string') throw corruptRow(key)
  return { shard, directoryId, url }
}

function decodeTtl(key: string, text: unknown): Ttl {
  try {
    return parseTtl(String(text))
  } catch (cause) {
    throw corruptRow(key, cause)
  }
}
