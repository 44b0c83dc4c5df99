import {
  type ErasureScheme,
  formatErasureScheme,
  parseErasureScheme,
} from '../base/erasure-scheme.ts'
import {
  formatReplicaPlacement,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { NodeLocation, WritePolicy } from '../net/master-api.ts'

/**
 * What the master itself keeps in its metadata store. A version byte, then JSON:
 *
 *     master/nodes/{url}           {lastHeardMs, location?}
 *     master/draining/{url}        {sinceMs}
 *     master/collections/{name}    {replication?: "001", writePolicy?: "best-effort",
 *                                   erasure?: "10+4" | "off", createdAtMs}
 *     master/volumes/{id}          see `volume-rows.ts`
 *     master/heal                  see `heal-desk.ts`
 *     master/dirty/{id}/{needle}   see `dirty-needles.ts`
 */
export const NODE_PREFIX = 'master/nodes/'
export const DRAINING_PREFIX = 'master/draining/'
export const COLLECTION_PREFIX = 'master/collections/'

export interface NodeRow {
  readonly lastHeardMs: number
  /** Undefined: written by a version that did not keep it. */
  readonly location: NodeLocation | undefined
}

export interface CollectionRecord {
  /** Undefined: the cluster's. */
  readonly replication: ReplicaPlacement | undefined
  readonly writePolicy: WritePolicy
  /** Undefined: as the cluster says. */
  readonly erasure?: ErasureScheme | 'off' | undefined
  readonly createdAtMs: number
}

const ROW_VERSION = 1

/** The first key that is above all keys with this prefix, which ends in a slash. */
export function endOf(prefix: string): string {
  return `${prefix.slice(0, -1)}0`
}

export function encodeNode({ lastHeardMs, location }: NodeRow): Uint8Array {
  return encodeRow({ lastHeardMs, location })
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeNode(key: string, row: Uint8Array): NodeRow {
  const { lastHeardMs, location } = decodeRow(key, row)
  if (typeof lastHeardMs !== 'number' || !Number.isFinite(lastHeardMs)) throw corruptRow(key)
  return { lastHeardMs, location: decodeLocation(location) }
}

export function encodeDraining(sinceMs: number): Uint8Array {
  return encodeRow({ sinceMs })
}

export function encodeCollection(record: CollectionRecord): Uint8Array {
  const { replication, writePolicy, erasure, createdAtMs } = record
  return encodeRow({
    replication: replication && formatReplicaPlacement(replication),
    writePolicy: writePolicy === 'all' ? undefined : writePolicy,
    erasure: typeof erasure === 'object' ? formatErasureScheme(erasure) : erasure,
    createdAtMs,
  })
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeCollection(key: string, row: Uint8Array): CollectionRecord {
  const { replication, writePolicy = 'all', erasure, createdAtMs } = decodeRow(key, row)
  if (typeof createdAtMs !== 'number') throw corruptRow(key)
  if (writePolicy !== 'all' && writePolicy !== 'best-effort') throw corruptRow(key)
  return {
    replication: replication === undefined ? undefined : decodeReplication(key, replication),
    writePolicy,
    ...(erasure === undefined ? {} : { erasure: decodeErasure(key, erasure) }),
    createdAtMs,
  }
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeReplication(key: string, text: unknown): ReplicaPlacement {
  try {
    return parseReplicaPlacement(String(text))
  } catch (cause) {
    throw corruptRow(key, cause)
  }
}

/** @throws {StoreError} METADATA_CORRUPT */
function decodeErasure(key: string, text: unknown): ErasureScheme | 'off' {
  try {
    return text === 'off' ? 'off' : parseErasureScheme(String(text))
  } catch (cause) {
    throw corruptRow(key, cause)
  }
}

/** Fields that are undefined are left out. */
export function encodeRow(fields: Readonly<Record<string, unknown>>): Uint8Array {
  return Buffer.concat([Buffer.of(ROW_VERSION), Buffer.from(JSON.stringify(fields))])
}

/** Fields are of whatever type JSON says: each reader checks its own. */
export interface RowFields {
  readonly lastHeardMs?: unknown
  readonly location?: unknown
  readonly collection?: unknown
  readonly replication?: unknown
  readonly writePolicy?: unknown
  readonly ttl?: unknown
  readonly members?: unknown
  readonly stripe?: unknown
  readonly erasure?: unknown
  readonly setVersion?: unknown
  readonly kind?: unknown
  readonly recordedAtMs?: unknown
  readonly createdAtMs?: unknown
  readonly deletedAtMs?: unknown
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeRow(key: string, row: Uint8Array): RowFields {
  if (row[0] !== ROW_VERSION) throw corruptRow(key)
  try {
    const fields: unknown = JSON.parse(Buffer.from(row.subarray(1)).toString())
    if (typeof fields === 'object' && fields !== null) return fields
  } catch (cause) {
    throw corruptRow(key, cause)
  }
  throw corruptRow(key)
}

export function corruptRow(key: string, cause?: unknown): StoreError {
  return new StoreError('METADATA_CORRUPT', `the row ${key} cannot be read`, { cause })
}

/** A help for people and for placement: one that cannot be read is as good as none. */
function decodeLocation(value: unknown): NodeLocation | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const fields: Partial<Record<keyof NodeLocation, unknown>> = value
  const { url, publicUrl, grpcAddress, dataCenter, rack } = fields
  const isText = (text: unknown): text is string => typeof text === 'string'
  if (!isText(url) || !isText(publicUrl) || !isText(grpcAddress)) return undefined
  if (!isText(dataCenter) || !isText(rack)) return undefined
  return { url, publicUrl, grpcAddress, dataCenter, rack }
}
