import { parseReplicaPlacement } from '../base/replica-placement.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { parseTtl } from '../base/ttl.ts'
import type { AssignRequest, GrowRequest } from '../net/master-api.ts'

const COUNT_DIGITS_MAX = 15

/**
 * What `/dir/assign` and `/submit` are asked for. `disk`, `preallocate`, `memoryMapMaxSizeMb` and
 * `writableVolumeCount` ask for what there is nothing of here: numbers are checked, all ignored.
 *
 * @throws {StoreError} REQUEST_INVALID, TTL_INVALID, REPLICA_PLACEMENT_INVALID.
 */
export function readAssignRequest(query: URLSearchParams): AssignRequest {
  for (const ignored of ['preallocate', 'memoryMapMaxSizeMb', 'writableVolumeCount']) {
    readNumber(query, ignored, 0)
  }
  return {
    ...readPlacement(query),
    count: readCount(query, 1),
    excludedVolumeIds: [],
    dataBytes: readNumber(query, 'dataSize', 0),
    key: '',
  }
}

/** @throws {StoreError} As `readAssignRequest`; REQUEST_INVALID also without a count. */
export function readGrowRequest(query: URLSearchParams): GrowRequest {
  return { ...readPlacement(query), count: readCount(query, undefined) }
}

/** @throws {StoreError} REQUEST_INVALID: no number from 0 to 1. */
export function readShare(query: URLSearchParams, name: string, otherwise: number): number {
  const text = query.get(name) ?? ''
  if (text === '') return otherwise
  const share = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN
  if (share >= 0 && share <= 1) return share
  throw new StoreError('REQUEST_INVALID', `${name} ${quote(text)} is not a number from 0 to 1`)
}

/** As the dialect's clients write it: `1`, `t`, `true`, `yes`. */
export function readFlag(query: URLSearchParams, name: string): boolean {
  return /^(?:1|t|true|y|yes)$/i.test(query.get(name) ?? '')
}

function readPlacement(query: URLSearchParams) {
  const replication = query.get('replication') ?? ''
  return {
    collection: query.get('collection') ?? '',
    replication: replication === '' ? undefined : parseReplicaPlacement(replication),
    ttl: parseTtl(query.get('ttl') ?? ''),
    dataCenter: query.get('dataCenter') ?? '',
    rack: query.get('rack') ?? '',
    node: query.get('dataNode') ?? '',
  }
}

function readCount(query: URLSearchParams, otherwise: number | undefined): number {
  const count = readNumber(query, 'count', otherwise)
  if (count > 0) return count
  throw new StoreError('REQUEST_INVALID', 'count 0: at least one is needed')
}

function readNumber(query: URLSearchParams, name: string, otherwise: number | undefined): number {
  const text = query.get(name) ?? ''
  if (text === '' && otherwise !== undefined) return otherwise
  if (/^\d+$/.test(text) && text.length <= COUNT_DIGITS_MAX) return Number(text)
  throw new StoreError('REQUEST_INVALID', `${name} ${quote(text)} is not a number`)
}
