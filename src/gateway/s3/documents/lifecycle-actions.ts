import { TRANSITION_CLASSES } from '../access/lifecycle.ts'
import type {
  LifecycleExpiration,
  LifecycleRule,
  LifecycleTransition,
  NoncurrentExpiration,
  NoncurrentTransition,
} from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { malformed, type XmlElement } from '../xml/xml-reader.ts'
import { iso8601, textElement, xmlElement } from '../xml/xml-writer.ts'

export type LifecycleActions = Pick<
  LifecycleRule,
  | 'expiration'
  | 'transitions'
  | 'noncurrentExpiration'
  | 'noncurrentTransitions'
  | 'abortUploadsAfterDays'
>

/** Numbers of days are 32-bit integers in S3's schema. */
const INT32 = { min: -(2 ** 31), max: 2 ** 31 - 1 }
const DAY_MS = 86_400_000

/** What a rule does. The errors are those of `readLifecycleConfiguration`. */
export function readLifecycleActions(rule: XmlElement): LifecycleActions {
  const expiration = rule.child('Expiration')
  const noncurrentExpiration = rule.child('NoncurrentVersionExpiration')
  const abortion = rule.child('AbortIncompleteMultipartUpload')
  const transitions = rule.children('Transition')
  const noncurrentTransitions = rule.children('NoncurrentVersionTransition')
  const single = [expiration, noncurrentExpiration, abortion]
  if (
    single.every((action) => action === undefined) &&
    transitions.length + noncurrentTransitions.length === 0
  ) {
    throw new S3Error('InvalidRequest', 'At least one action needs to be specified in a rule')
  }
  const actions = {
    expiration: expiration && readExpiration(expiration),
    transitions: transitions.map(readTransition),
    noncurrentExpiration: noncurrentExpiration && readNoncurrentExpiration(noncurrentExpiration),
    noncurrentTransitions: noncurrentTransitions.map(readNoncurrentTransition),
    abortUploadsAfterDays: abortion && readAbortion(abortion),
  }
  checkClasses(actions.transitions)
  checkClasses(actions.noncurrentTransitions)
  checkOrder(actions)
  return actions
}

function readExpiration(element: XmlElement): LifecycleExpiration {
  element.only('Days', 'Date', 'ExpiredObjectDeleteMarker')
  if (element.elements.length !== 1) {
    throw malformed('an Expiration needs one of Days, Date and ExpiredObjectDeleteMarker')
  }
  return {
    days: readDays(element, 'Days', 1),
    dateMs: readDate(element),
    isExpiredMarkerDeleted: element.boolean('ExpiredObjectDeleteMarker') ?? false,
  }
}

function readTransition(element: XmlElement): LifecycleTransition {
  element.only('Days', 'Date', 'StorageClass')
  const days = readDays(element, 'Days', 0)
  const dateMs = readDate(element)
  if ((days === undefined) === (dateMs === undefined)) {
    throw malformed('a Transition needs exactly one of Days and Date')
  }
  return { days, dateMs, storageClass: readStorageClass(element) }
}

function readNoncurrentExpiration(element: XmlElement): NoncurrentExpiration {
  element.only('NoncurrentDays', 'NewerNoncurrentVersions')
  return {
    noncurrentDays: readNoncurrentDays(element, 1),
    newerVersionsKept: readDays(element, 'NewerNoncurrentVersions', 1),
  }
}

function readNoncurrentTransition(element: XmlElement): NoncurrentTransition {
  element.only('NoncurrentDays', 'NewerNoncurrentVersions', 'StorageClass')
  return {
    noncurrentDays: readNoncurrentDays(element, 0),
    newerVersionsKept: readDays(element, 'NewerNoncurrentVersions', 1),
    storageClass: readStorageClass(element),
  }
}

function readAbortion(element: XmlElement): number {
  element.only('DaysAfterInitiation')
  const days = readDays(element, 'DaysAfterInitiation', 1)
  if (days === undefined) throw malformed('DaysAfterInitiation is missing')
  return days
}

function readNoncurrentDays(element: XmlElement, min: number): number {
  const days = readDays(element, 'NoncurrentDays', min)
  if (days === undefined) throw malformed(`NoncurrentDays is missing in ${element.name}`)
  return days
}

/** At least `min`, or else it is an argument that is invalid, not the document. */
function readDays(element: XmlElement, name: string, min: number): number | undefined {
  const days = element.integer(name, INT32)
  if (days === undefined || days >= min) return days
  const what = min === 1 ? 'a positive integer' : 'nonnegative'
  const message = `'${name}' for ${element.name} action must be ${what}`
  throw new S3Error('InvalidArgument', message)
}

function readDate(element: XmlElement): number | undefined {
  const dateMs = element.timeMs('Date')
  if (dateMs === undefined || dateMs % DAY_MS === 0) return dateMs
  throw new S3Error('InvalidArgument', "'Date' must be at midnight GMT")
}

function readStorageClass(element: XmlElement): string {
  const text = element.requiredText('StorageClass')
  const storageClass = TRANSITION_CLASSES.find((candidate) => candidate === text)
  if (storageClass !== undefined) return storageClass
  const fields = { StorageClassRequested: text }
  throw new S3Error('InvalidStorageClass', undefined, { fields })
}

function checkClasses(transitions: readonly { readonly storageClass: string }[]): void {
  const classes = new Set(transitions.map((transition) => transition.storageClass))
  if (classes.size === transitions.length) return
  throw new S3Error(
    'InvalidRequest',
    "'StorageClass' must be different for all transitions in same 'Rule'",
  )
}

/** What is to expire must have had time in the class it moves to. */
function checkOrder(actions: LifecycleActions): void {
  const { expiration, transitions } = actions
  const dated = [expiration, ...transitions].filter((action) => action?.dateMs !== undefined)
  const counted = [expiration, ...transitions].filter((action) => action?.days !== undefined)
  if (dated.length > 0 && counted.length > 0) {
    const message = "Found mixed 'Date' and 'Days' based Expiration and Transition actions"
    throw new S3Error('InvalidRequest', message)
  }
  const daysMax = Math.max(-1, ...transitions.map((transition) => transition.days ?? -1))
  const dateMsMax = Math.max(-1, ...transitions.map((transition) => transition.dateMs ?? -1))
  if ((expiration?.days ?? Infinity) <= daysMax || (expiration?.dateMs ?? Infinity) <= dateMsMax) {
    const message = 'The Expiration action must come after each Transition action'
    throw new S3Error('InvalidArgument', message)
  }
  const noncurrentDays = actions.noncurrentTransitions.map((one) => one.noncurrentDays)
  const expiresAfterDays = actions.noncurrentExpiration?.noncurrentDays ?? Infinity
  if (expiresAfterDays <= Math.max(-1, ...noncurrentDays)) {
    const message = 'NoncurrentVersionExpiration must come after NoncurrentVersionTransition'
    throw new S3Error('InvalidArgument', message)
  }
}

export function writeExpiration(expiration: LifecycleExpiration | undefined): string {
  if (expiration === undefined) return ''
  const { days, dateMs, isExpiredMarkerDeleted } = expiration
  const hasTime = days !== undefined || dateMs !== undefined
  const marker = textElement('ExpiredObjectDeleteMarker', isExpiredMarkerDeleted)
  return xmlElement('Expiration', hasTime ? writeTime(expiration) : marker)
}

export function writeTransition(transition: LifecycleTransition): string {
  const storageClass = textElement('StorageClass', transition.storageClass)
  return xmlElement('Transition', `${writeTime(transition)}${storageClass}`)
}

export function writeNoncurrentExpiration(expiration: NoncurrentExpiration | undefined): string {
  if (expiration === undefined) return ''
  return xmlElement('NoncurrentVersionExpiration', writeNoncurrentTime(expiration))
}

export function writeNoncurrentTransition(transition: NoncurrentTransition): string {
  const storageClass = textElement('StorageClass', transition.storageClass)
  return xmlElement(
    'NoncurrentVersionTransition',
    `${writeNoncurrentTime(transition)}${storageClass}`,
  )
}

export function writeAbortion(afterDays: number | undefined): string {
  if (afterDays === undefined) return ''
  const days = textElement('DaysAfterInitiation', afterDays)
  return xmlElement('AbortIncompleteMultipartUpload', days)
}

function writeTime(when: Pick<LifecycleTransition, 'days' | 'dateMs'>): string {
  const date = when.dateMs === undefined ? undefined : iso8601(when.dateMs)
  return `${textElement('Days', when.days)}${textElement('Date', date)}`
}

function writeNoncurrentTime(when: NoncurrentExpiration): string {
  const days = textElement('NoncurrentDays', when.noncurrentDays)
  return `${days}${textElement('NewerNoncurrentVersions', when.newerVersionsKept)}`
}
