import {
  formatReplicaPlacement,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'

/**
 * What the master itself keeps in its metadata store. A version byte, then JSON:
 *
 *     master/nodes/{url}           {lastHeardMs}
 *     master/collections/{name}    {replication?: "001", createdAtMs}
 */
export const NODE_PREFIX = 'master/nodes/'
export const COLLECTION_PREFIX = 'master/collections/'

export interface CollectionRecord {
  /** Undefined: the cluster's. */
  readonly replication: ReplicaPlacement | undefined
  readonly createdAtMs: number
}

const ROW_VERSION = 1

/** The first key that is above all keys with this prefix, which ends in a slash. */
export function endOf(prefix: string): string {
  return `${prefix.slice(0, -1)}0`
}

export function encodeNode(lastHeardMs: number): Uint8Array {
  return encodeRow({ lastHeardMs })
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeNode(key: string, row: Uint8Array): number {
  const { lastHeardMs } = decodeRow(key, row)
  if (typeof lastHeardMs !== 'number' || !Number.isFinite(lastHeardMs)) throw corrupt(key)
  return lastHeardMs
}

export function encodeCollection(record: CollectionRecord): Uint8Array {
  const { replication, createdAtMs } = record
  if (replication === undefined) return encodeRow({ createdAtMs })
  return encodeRow({ replication: formatReplicaPlacement(replication), createdAtMs })
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeCollection(key: string, row: Uint8Array): CollectionRecord {
  const { replication, createdAtMs } = decodeRow(key, row)
  if (typeof createdAtMs !== 'number') throw corrupt(key)
  if (replication === undefined) return { replication: undefined, createdAtMs }
  try {
    return { replication: parseReplicaPlacement(String(replication)), createdAtMs }
  } catch (cause) {
    throw corrupt(key, cause)
  }
}

function encodeRow(fields: Readonly<Record<string, unknown>>): Uint8Array {
  return Buffer.concat([Buffer.of(ROW_VERSION), Buffer.from(JSON.stringify(fields))])
}

/** Fields are of whatever type JSON says: each reader checks its own. */
interface RowFields {
  readonly lastHeardMs?: unknown
  readonly replication?: unknown
  readonly createdAtMs?: unknown
}

function decodeRow(key: string, row: Uint8Array): RowFields {
  if (row[0] !== ROW_VERSION) throw corrupt(key)
  try {
    const fields: unknown = JSON.parse(Buffer.from(row.subarray(1)).toString())
    if (typeof fields === 'object' && fields !== null) return fields
  } catch (cause) {
    throw corrupt(key, cause)
  }
  throw corrupt(key)
}

function corrupt(key: string, cause?: unknown): StoreError {
  return new StoreError('METADATA_CORRUPT', `the row ${key} cannot be read`, { cause })
}
