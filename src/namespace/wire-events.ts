import { LIMITS } from '../base/limits.ts'
import {
  decodeEvent,
  EVENT_CAUSES,
  type EventCause,
  type EventLane,
  encodeEvent,
  isEventId,
  type ObjectEvent,
} from './event-record.ts'
import type {
  ClaimEventsRequest,
  ClaimedEvents,
  ListEventsRequest,
  RemoveEventsRequest,
} from './namespace-api.ts'
import { atMost, invalid, maybe, oneOf, pageLimit, pageText, present } from './wire-checks.ts'
import { bucketIdOf } from './wire-records.ts'

/** Messages of namespace.proto about events as the loader shows them, and back. */

export interface WireCause {
  readonly kind: string
  readonly requesterId: string
  readonly sourceAddress: string
  readonly requestId: string
}

export interface WireCaused {
  readonly cause?: WireCause | null | undefined
}

export interface WireLane {
  readonly target: string
  readonly bucketId: number
}

export interface WireClaimEvents {
  readonly claimant: string
  readonly targets: readonly string[]
}

export interface WireClaimedEvents {
  readonly lanes: readonly WireLane[]
  readonly unclaimed: readonly WireLane[]
}

export interface WireListEvents {
  readonly lane: WireLane | null
  readonly limit: number
}

export interface WireEvents {
  readonly events: readonly { readonly id: string; readonly row: Uint8Array }[]
}

export interface WireRemoveEvents {
  readonly lane: WireLane | null
  readonly ids: readonly string[]
  readonly outcome: string
}

/** Of webhooks, each named when a gateway is started. */
const TARGETS_MAX = 1000
const OUTCOMES = ['delivered', 'givenUp'] as const

export function causeToWire(cause: EventCause | undefined): WireCause | null {
  return cause === undefined ? null : { ...cause }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function causeFromWire(wire: WireCause | null | undefined): EventCause | undefined {
  return maybe(wire, ({ kind, requesterId, requestId, sourceAddress }) => ({
    kind: oneOf(kind, EVENT_CAUSES, 'the cause of an event'),
    requesterId: pageText(requesterId),
    sourceAddress: pageText(sourceAddress),
    requestId: pageText(requestId),
  }))
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function laneFromWire(wire: WireLane | null): EventLane {
  const { bucketId, target } = present(wire, 'a lane')
  if (target === '') throw invalid('the target of a lane is missing')
  return { target: pageText(target), bucketId: bucketIdOf(bucketId) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function claimEventsFromWire({ claimant, targets }: WireClaimEvents): ClaimEventsRequest {
  if (claimant === '') throw invalid('the name of a claimant is missing')
  return { claimant, targets: atMost(targets, TARGETS_MAX, 'targets') }
}

export function claimedToWire({ lanes, unclaimed }: ClaimedEvents): WireClaimedEvents {
  return { lanes, unclaimed }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function claimedFromWire({ lanes, unclaimed }: WireClaimedEvents): ClaimedEvents {
  return { lanes: lanes.map(laneFromWire), unclaimed: unclaimed.map(laneFromWire) }
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function listEventsFromWire({ lane, limit }: WireListEvents): ListEventsRequest {
  return { lane: laneFromWire(lane), limit: pageLimit(limit) }
}

export function eventsToWire(events: readonly ObjectEvent[]): WireEvents {
  return { events: events.map((event) => ({ id: event.id, row: encodeEvent(event) })) }
}

/** @throws {StoreError} REQUEST_INVALID; METADATA_CORRUPT: a row. */
export function eventsFromWire({ events }: WireEvents): readonly ObjectEvent[] {
  return events.map(({ id, row }) => decodeEvent(idOf(id), row))
}

/** @throws {StoreError} REQUEST_INVALID, NAME_INVALID. */
export function removeEventsFromWire(wire: WireRemoveEvents): RemoveEventsRequest {
  const ids = atMost(wire.ids, LIMITS.eventsPerPageMax.value, 'events')
  return {
    lane: laneFromWire(wire.lane),
    ids: ids.map(idOf),
    outcome: oneOf(wire.outcome, OUTCOMES, 'what became of events'),
  }
}

function idOf(text: string): string {
  if (!isEventId(text)) throw invalid('the id of an event is no such')
  return text
}
