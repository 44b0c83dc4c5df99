import type { Bucket } from './bucket-record.ts'
import { isObject } from './row-bytes.ts'

/** Who wants to hear of what: an entry of the document `notification` of a bucket. */
export interface EventRule {
  readonly id: string
  /** The target. */
  readonly arn: string
  /** Like `s3:ObjectCreated:*`. */
  readonly events: readonly string[]
  /** Of keys; empty: any. */
  readonly prefix: string
  readonly suffix: string
}

/** In the key of a row, with all its characters escaped, it must leave room for the rest. */
const ARN_LENGTH_MAX = 256
const NONE: readonly EventRule[] = []

const known = new WeakMap<Bucket, readonly EventRule[]>()

/**
 * What a bucket's settings ask for. Gateways write and check them; what they cannot have written
 * asks for nothing, as a change is not to fail because of it.
 */
export function eventRulesOf(bucket: Bucket): readonly EventRule[] {
  const { notification } = bucket.documents
  if (notification === undefined) return NONE
  // The same value stands for a bucket until it is changed: it is read once.
  const before = known.get(bucket)
  if (before !== undefined) return before
  const rules = readRules(notification)
  known.set(bucket, rules)
  return rules
}

/** `name` like `ObjectCreated:Put`. */
export function isAskedFor(rule: EventRule, name: string, key: string): boolean {
  const { events, prefix, suffix } = rule
  if (!key.startsWith(prefix) || !key.endsWith(suffix)) return false
  return events.some((pattern) => matchesEvent(pattern, name))
}

/** `s3:ObjectCreated:*` has everything that begins so. */
export function matchesEvent(pattern: string, name: string): boolean {
  const event = `s3:${name}`
  return pattern.endsWith(':*') ? event.startsWith(pattern.slice(0, -1)) : pattern === event
}

function readRules(text: string): readonly EventRule[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return NONE
  }
  return Array.isArray(value) ? value.filter(isRule) : NONE
}

function isRule(value: unknown): value is EventRule {
  if (!isObject(value)) return false
  const { arn, events, id, prefix, suffix } = value
  return (
    [arn, id, prefix, suffix].every((text) => typeof text === 'string') &&
    String(arn).length <= ARN_LENGTH_MAX &&
    Array.isArray(events) &&
    events.every((event) => typeof event === 'string')
  )
}
