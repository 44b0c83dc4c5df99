import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import { isObject } from './row-bytes.ts'

/** What somebody did, as far as whoever asks for it can say. */
export const EVENT_CAUSES = [
  'ObjectCreated:Put',
  'ObjectCreated:Post',
  'ObjectCreated:Copy',
  'ObjectCreated:CompleteMultipartUpload',
  'ObjectRemoved',
  'ObjectTagging:Put',
  'ObjectTagging:Delete',
  'ObjectAcl:Put',
  'LifecycleExpiration',
  'LifecycleTransition',
] as const
export type EventCauseKind = (typeof EVENT_CAUSES)[number]

/** Sent with a change of a bucket whose settings ask for events. */
export interface EventCause {
  readonly kind: EventCauseKind
  /** Canonical id of a user, or a word for whoever else it was. */
  readonly requesterId: string
  readonly sourceAddress: string
  readonly requestId: string
}

/** One change that was made, for one target that asked to hear of it. */
export interface ObjectEvent extends Omit<EventCause, 'kind'> {
  /** 14 hex digits that grow: of two events of one key the later one has the greater. */
  readonly id: string
  /** Like `ObjectCreated:Put`: as S3 names it, without `s3:`. */
  readonly name: string
  readonly timeMs: number
  /** Of the setting that asked for it. */
  readonly configurationId: string
  readonly bucketName: string
  readonly bucketOwnerId: string
  readonly key: string
  /** As clients know it. Undefined: the bucket never had versions. */
  readonly versionId: string | undefined
  /** Undefined, as the ETag: what was there is gone. */
  readonly sizeBytes: number | undefined
  readonly etag: string | undefined
  /** Where a transition went. */
  readonly storageClass: string | undefined
}

/** Events of one bucket for one target, which are delivered in order. */
export interface EventLane {
  /** As the bucket's settings name it. */
  readonly target: string
  readonly bucketId: number
}

const VERSION = 1
const PREFIX = 'events/'
const BUCKET_DIGITS = 8
const ID_DIGITS = 14
const ID_PATTERN = /^[0-9a-f]{14}$/
const KEY_PATTERN = /^events\/([^/]+)\/([0-9a-f]{8})\/([0-9a-f]{14})$/

/** All rows of events: `events/{target}/{bucket}/{id}`, the target as in a URL. */
export const EVENT_KEYS_START = PREFIX
export const EVENT_KEYS_END = 'events0'

export function isEventId(text: string): boolean {
  return ID_PATTERN.test(text)
}

/** Equal for equal lanes, and the beginning of the keys of its rows. */
export function laneKey({ bucketId, target }: EventLane): string {
  assert(Number.isInteger(bucketId) && bucketId > 0 && bucketId < 2 ** 32, `bucket id ${bucketId}`)
  const bucket = bucketId.toString(16).padStart(BUCKET_DIGITS, '0')
  return `${PREFIX}${encodeURIComponent(target)}/${bucket}`
}

export function eventKey(lane: EventLane, id: string): string {
  assert(isEventId(id), `the event id ${id}`)
  return `${laneKey(lane)}/${id}`
}

export function eventId(seq: number): string {
  assert(Number.isSafeInteger(seq) && seq >= 0, `sequence number ${seq}`)
  return seq.toString(16).padStart(ID_DIGITS, '0')
}

/** Undefined: it is no key of an event. */
export function parseEventKey(
  key: string,
): { readonly lane: EventLane; readonly id: string } | undefined {
  const [, target, bucket, id] = KEY_PATTERN.exec(key) ?? []
  if (target === undefined || bucket === undefined || id === undefined) return undefined
  const bucketId = Number.parseInt(bucket, 16)
  if (bucketId === 0) return undefined
  try {
    return { lane: { target: decodeURIComponent(target), bucketId }, id }
  } catch {
    return undefined // An escape that is none.
  }
}

/** The row of an event: v u8, then JSON without the id, which is in the key. */
export function encodeEvent({ id: _, ...rest }: ObjectEvent): Buffer {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(rest))])
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeEvent(id: string, bytes: Uint8Array): ObjectEvent {
  try {
    if (bytes[0] !== VERSION) throw new Error(`version ${bytes[0]}`)
    const value: unknown = JSON.parse(Buffer.from(bytes.subarray(1)).toString('utf8'))
    if (!isEvent(value)) throw new Error('a value makes no sense')
    const { etag, sizeBytes, storageClass, versionId } = value
    return { ...value, id, etag, sizeBytes, storageClass, versionId }
  } catch (cause) {
    throw new StoreError('METADATA_CORRUPT', `the event ${id} cannot be read`, { cause })
  }
}

const TEXTS = [
  'name',
  'configurationId',
  'bucketName',
  'bucketOwnerId',
  'key',
  'requesterId',
  'sourceAddress',
  'requestId',
] as const satisfies readonly (keyof ObjectEvent)[]
const MAYBE_TEXTS = ['etag', 'storageClass', 'versionId'] as const

function isEvent(value: unknown): value is Omit<ObjectEvent, 'id'> {
  if (!isObject(value)) return false
  const isCount = (number: unknown) => Number.isSafeInteger(number) && Number(number) >= 0
  const { sizeBytes, timeMs } = value
  return (
    TEXTS.every((name) => typeof value[name] === 'string') &&
    MAYBE_TEXTS.every((name) => value[name] === undefined || typeof value[name] === 'string') &&
    isCount(timeMs) &&
    (sizeBytes === undefined || isCount(sizeBytes))
  )
}
