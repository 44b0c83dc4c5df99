import type { LifecycleExpiration, LifecycleRule, StorageClass, Tag } from '../bucket-settings.ts'

/** What rules look at in everything that has data. */
interface VersionFacts {
  readonly key: string
  readonly tags: readonly Tag[]
  readonly sizeBytes: number
  readonly storageClass: string
}

export interface CurrentFacts extends VersionFacts {
  readonly kind: 'current'
  readonly createdAtMs: number
}

/** A version, or a marker, that another one has replaced. */
export interface NoncurrentFacts extends VersionFacts {
  readonly kind: 'noncurrent'
  readonly becameNoncurrentAtMs: number
  /** How many versions of the key are newer than this one, the current one not among them. */
  readonly newerNoncurrentVersions: number
}

/** A delete marker that is the current version. */
export interface MarkerFacts {
  readonly kind: 'marker'
  readonly key: string
  readonly createdAtMs: number
  /** Nothing is left that it hides. */
  readonly isOnlyVersion: boolean
}

export type LifecycleFacts = CurrentFacts | NoncurrentFacts | MarkerFacts

export type LifecycleAction =
  /** Delete the current version as a client would that names no version. */
  | 'expire'
  /** Delete a version for good that is not current. */
  | 'delete-version'
  /** Remove a marker that hides nothing. */
  | 'delete-marker'
  | { readonly transition: StorageClass }

/** The length of a day at which times are rounded as S3 does. */
export const LIFECYCLE_DAY_MS = 86_400_000

/** The latest time that a date of JavaScript can be. */
const DATE_MAX_MS = 8.64e15

/**
 * What is due for a version; undefined: nothing. To delete goes before a transition, and of two
 * transitions the one to the colder class; nothing gets warmer again.
 *
 * A number of days ends at the first midnight UTC that is not before it, if a day has 86,400,000
 * ms. With any other `dayMs` it ends exactly: so a test can have days of a second.
 * Source: the S3 user guide, "Lifecycle configuration elements".
 */
export function lifecycleActionFor(
  rules: readonly LifecycleRule[],
  facts: LifecycleFacts,
  nowMs: number,
  dayMs: number,
): LifecycleAction | undefined {
  const clock = { nowMs, dayMs }
  const enabled = rules.filter((rule) => rule.isEnabled)
  switch (facts.kind) {
    case 'marker':
      return enabled.some((rule) => isMarkerDue(rule, facts, clock)) ? 'delete-marker' : undefined
    case 'current':
      return actionForCurrent(
        enabled.filter((rule) => isForVersion(rule, facts)),
        facts,
        clock,
      )
    case 'noncurrent':
      return actionForNoncurrent(
        enabled.filter((rule) => isForVersion(rule, facts)),
        facts,
        clock,
      )
  }
}

interface RuleClock {
  readonly nowMs: number
  readonly dayMs: number
}

function actionForCurrent(
  rules: readonly LifecycleRule[],
  facts: CurrentFacts,
  clock: RuleClock,
): LifecycleAction | undefined {
  const { createdAtMs, storageClass } = facts
  if (rules.some((rule) => isPast(dueOf(rule.expiration, createdAtMs, clock), clock))) {
    return 'expire'
  }
  const classes = rules
    .flatMap((rule) => rule.transitions)
    .filter((transition) => isPast(dueOf(transition, createdAtMs, clock), clock))
    .map((transition) => transition.storageClass)
  return coldestBelow(classes, storageClass)
}

function actionForNoncurrent(
  rules: readonly LifecycleRule[],
  facts: NoncurrentFacts,
  clock: RuleClock,
): LifecycleAction | undefined {
  const isDue = (due: { noncurrentDays: number; newerVersionsKept: number | undefined }) =>
    facts.newerNoncurrentVersions >= (due.newerVersionsKept ?? 0) &&
    isPast(endOfDays(facts.becameNoncurrentAtMs, due.noncurrentDays, clock.dayMs), clock)
  if (rules.some(({ noncurrentExpiration: due }) => due !== undefined && isDue(due))) {
    return 'delete-version'
  }
  const classes = rules
    .flatMap((rule) => rule.noncurrentTransitions)
    .filter(isDue)
    .map((transition) => transition.storageClass)
  return coldestBelow(classes, facts.storageClass)
}

/** A marker has neither tags nor a size: rules that ask for them are not about it. */
function isMarkerDue(rule: LifecycleRule, facts: MarkerFacts, clock: RuleClock): boolean {
  const { expiration } = rule
  if (expiration === undefined || !facts.isOnlyVersion) return false
  if (!isForKeyOnly(rule, facts.key)) return false
  // A number of days is for markers too; a date is for objects.
  const days = { days: expiration.days, dateMs: undefined }
  return expiration.isExpiredMarkerDeleted || isPast(dueOf(days, facts.createdAtMs, clock), clock)
}

/** What rules can move objects to, the coldest last: those that are kept as copies come first. */
export const TRANSITION_CLASSES: readonly StorageClass[] = [
  'INTELLIGENT_TIERING',
  'STANDARD_IA',
  'ONEZONE_IA',
  'GLACIER_IR',
]

function coldestBelow(
  classes: readonly string[],
  present: string,
): { readonly transition: StorageClass } | undefined {
  const coldest = TRANSITION_CLASSES[Math.max(-1, ...classes.map(rankOf))]
  if (coldest === undefined || rankOf(coldest) <= rankOf(present)) return undefined
  return { transition: coldest }
}

/** -1 for a class that nothing is moved to. */
function rankOf(storageClass: string): number {
  const classes: readonly string[] = TRANSITION_CLASSES
  return classes.indexOf(storageClass)
}

function isForVersion(rule: LifecycleRule, facts: VersionFacts): boolean {
  const { prefix, tags, sizeAboveBytes, sizeBelowBytes } = rule.filter
  if (!facts.key.startsWith(prefix ?? '')) return false
  if (sizeAboveBytes !== undefined && facts.sizeBytes <= sizeAboveBytes) return false
  if (sizeBelowBytes !== undefined && facts.sizeBytes >= sizeBelowBytes) return false
  return tags.every((wanted) =>
    facts.tags.some((tag) => tag.key === wanted.key && tag.value === wanted.value),
  )
}

function isForKeyOnly(rule: LifecycleRule, key: string): boolean {
  const { prefix, tags, sizeAboveBytes, sizeBelowBytes } = rule.filter
  const isForAllData =
    tags.length === 0 && sizeAboveBytes === undefined && sizeBelowBytes === undefined
  return isForAllData && key.startsWith(prefix ?? '')
}

function isPast(dueMs: number | undefined, clock: RuleClock): boolean {
  return dueMs !== undefined && clock.nowMs >= dueMs
}

function dueOf(
  due: Pick<LifecycleExpiration, 'days' | 'dateMs'> | undefined,
  createdAtMs: number,
  clock: Pick<RuleClock, 'dayMs'>,
): number | undefined {
  if (due === undefined) return undefined
  if (due.days === undefined) return due.dateMs
  return endOfDays(createdAtMs, due.days, clock.dayMs)
}

function endOfDays(startMs: number, days: number, dayMs: number): number {
  const endMs = startMs + days * dayMs
  if (dayMs !== LIFECYCLE_DAY_MS) return endMs
  return Math.ceil(endMs / LIFECYCLE_DAY_MS) * LIFECYCLE_DAY_MS
}

/**
 * The value of `x-amz-expiration` for a current version: when the first rule will delete it, and
 * which one that is. Undefined: none will.
 */
export function expirationHeader(
  rules: readonly LifecycleRule[],
  facts: CurrentFacts,
  dayMs: number,
): string | undefined {
  const dues = rules
    .filter((rule) => rule.isEnabled && isForVersion(rule, facts))
    .flatMap(({ id, expiration }) => {
      const dueMs = dueOf(expiration, facts.createdAtMs, { dayMs })
      return dueMs === undefined || dueMs > DATE_MAX_MS ? [] : [{ id, dueMs }]
    })
  const first = dues.reduce<(typeof dues)[number] | undefined>(
    (earliest, due) => (earliest === undefined || due.dueMs < earliest.dueMs ? due : earliest),
    undefined,
  )
  if (first === undefined) return undefined
  const date = new Date(first.dueMs).toUTCString()
  return `expiry-date="${date}", rule-id="${encodeURIComponent(wellFormed(first.id))}"`
}

/** Half of a surrogate pair cannot be percent-encoded. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString()
}

export interface UploadFacts {
  readonly key: string
  readonly initiatedAtMs: number
}

/** When an upload that is not completed will be given up, and by which rule: `x-amz-abort-…`. */
export interface UploadExpiry {
  readonly ruleId: string
  readonly atMs: number
}

/** An upload has neither tags nor a size: rules that ask for them are not about it. */
export function uploadExpiryOf(
  rules: readonly LifecycleRule[],
  facts: UploadFacts,
  dayMs: number,
): UploadExpiry | undefined {
  let first: UploadExpiry | undefined
  for (const rule of rules) {
    const { id, isEnabled, abortUploadsAfterDays: days } = rule
    if (!isEnabled || days === undefined || !isForKeyOnly(rule, facts.key)) continue
    const atMs = endOfDays(facts.initiatedAtMs, days, dayMs)
    if (first === undefined || atMs < first.atMs) first = { ruleId: id, atMs }
  }
  return first
}

/** Whether an upload has gone on for longer than a rule lets it. */
export function isUploadExpired(
  rules: readonly LifecycleRule[],
  facts: UploadFacts,
  nowMs: number,
  dayMs: number,
): boolean {
  const expiry = uploadExpiryOf(rules, facts, dayMs)
  return expiry !== undefined && nowMs >= expiry.atMs
}
