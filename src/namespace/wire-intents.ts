import { LIMITS } from '../base/limits.ts'
import { parseObjectKey } from './row-keys.ts'
import { isVersionId } from './version-id.ts'
import { atMost, flagOf, invalid, pageLimit, pageText, textOf, wholeNumber } from './wire-checks.ts'
import { bucketRefFromWire, bucketRefToWire, type WireInBucket } from './wire-namespace.ts'
import type {
  DirtyObject,
  DirtyPage,
  IntentPage,
  ListIntentsRequest,
  PutIntentRequest,
  UndoIntentRequest,
} from './write-intents-api.ts'

/** Messages of namespace.proto about write intents as the loader shows them, and back. */

export interface WireSession {
  readonly session: string
}

export interface WirePutIntent {
  readonly id: string
  readonly session: string
  readonly bucket: string
  readonly key: string
  readonly fileIds: readonly string[]
  readonly isMore: boolean
}

export interface WireListIntents {
  readonly after: string
  readonly limit: number
}

export interface WireIntent {
  readonly id: string
  readonly session: string
  readonly bucket: string
  readonly key: string
  readonly fileCount: number
  readonly startedAtMs: number
  readonly isOrphaned: boolean
}

export interface WireIntents {
  readonly intents: readonly WireIntent[]
  readonly next: string
}

export interface WireUndoIntent {
  readonly id: string
  readonly isOnlyIfOrphaned: boolean
}

export interface WireDirtyObject extends WireInBucket {
  readonly key: string
  readonly id: string
}

export interface WireDirtyPage {
  readonly objects: readonly WireDirtyObject[]
  readonly next: string
}

export function putIntentToWire(request: PutIntentRequest): WirePutIntent {
  return { ...request }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function putIntentFromWire(wire: WirePutIntent): PutIntentRequest {
  return {
    id: intentId(wire.id),
    session: textOf(wire.session, 'a session'),
    bucket: textOf(wire.bucket, 'the name of a bucket'),
    key: parseObjectKey(wire.key),
    fileIds: atMost(wire.fileIds, LIMITS.intentFilesMax.value, 'files'),
    isMore: flagOf(wire.isMore, 'whether it is more'),
  }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listIntentsFromWire({ after, limit }: WireListIntents): ListIntentsRequest {
  return { after: pageText(after), limit: pageLimit(limit) }
}

export function intentPageToWire({ intents, next = '' }: IntentPage): WireIntents {
  return { intents, next }
}

/** @throws {StoreError} REQUEST_INVALID */
export function intentPageFromWire({ intents, next }: WireIntents): IntentPage {
  const read = intents.map((intent) => ({
    id: intentId(intent.id),
    session: intent.session,
    bucket: intent.bucket,
    key: intent.key,
    fileCount: wholeNumber(intent.fileCount, 'a number of files'),
    startedAtMs: wholeNumber(intent.startedAtMs, 'the start of an intent'),
    isOrphaned: flagOf(intent.isOrphaned, 'whether it is orphaned'),
  }))
  return { intents: read, next: next === '' ? undefined : next }
}

/** @throws {StoreError} REQUEST_INVALID */
export function undoIntentFromWire({ id, isOnlyIfOrphaned }: WireUndoIntent): UndoIntentRequest {
  return {
    id: intentId(id),
    isOnlyIfOrphaned: flagOf(isOnlyIfOrphaned, 'whether only orphans go'),
  }
}

export function dirtyObjectToWire({ bucket, id, key }: DirtyObject): WireDirtyObject {
  return { bucket: bucketRefToWire(bucket), key, id }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function dirtyObjectFromWire({ bucket, id, key }: WireDirtyObject): DirtyObject {
  return { bucket: bucketRefFromWire(bucket), key: parseObjectKey(key), id: intentId(id) }
}

export function dirtyPageToWire({ next = '', objects }: DirtyPage): WireDirtyPage {
  return { objects: objects.map(dirtyObjectToWire), next }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function dirtyPageFromWire({ next, objects }: WireDirtyPage): DirtyPage {
  return { objects: objects.map(dirtyObjectFromWire), next: next === '' ? undefined : next }
}

function intentId(value: unknown): string {
  if (typeof value === 'string' && isVersionId(value)) return value
  throw invalid('the id of a version is not 32 hex digits')
}
