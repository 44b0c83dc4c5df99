import type { Random } from '../../../runtime/random.ts'
import type { LifecycleFilter, LifecycleRule } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { malformed, parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, xmlDocument, xmlElement } from '../xml/xml-writer.ts'
import {
  type LifecycleActions,
  readLifecycleActions,
  writeAbortion,
  writeExpiration,
  writeNoncurrentExpiration,
  writeNoncurrentTransition,
  writeTransition,
} from './lifecycle-actions.ts'
import {
  checkLifecyclePrefix,
  readLifecycleFilter,
  writeLifecycleFilter,
} from './lifecycle-filter.ts'
import { randomId } from './random-id.ts'

/** As S3 allows them. */
const LIFECYCLE_RULES_MAX = 1000
const ID_LENGTH_MAX = 255

/**
 * `LifecycleConfiguration`: 1 … 1,000 rules. One without an id is given one.
 *
 * @throws {S3Error} MalformedXML. InvalidArgument: an id that is too long or there twice; days
 * that are not positive (for transitions: negative); a date that is not midnight; an expiration no
 * later than a transition. InvalidRequest: too many rules; a rule that does nothing, or that mixes
 * days and dates; a storage class twice; deleting expired markers, or aborting uploads, by tag or
 * size; what `readLifecycleFilter` says. InvalidStorageClass.
 */
export function readLifecycleConfiguration(
  body: Uint8Array,
  random: Random,
): readonly LifecycleRule[] {
  const root = parseXml(body, 'LifecycleConfiguration')
  root.only('Rule')
  const count = root.elements.length
  if (count === 0) throw malformed('no Rule')
  if (count > LIFECYCLE_RULES_MAX) {
    const message = `The number of lifecycle rules must not exceed ${LIFECYCLE_RULES_MAX}.`
    throw new S3Error('InvalidRequest', message)
  }
  const rules = root.elements.map((element) => readRule(element, random))
  if (new Set(rules.map((rule) => rule.id)).size < count) {
    const message = 'Rule ID must be unique. Found same ID for more than one rule'
    throw new S3Error('InvalidArgument', message)
  }
  return rules
}

function readRule(element: XmlElement, random: Random): LifecycleRule {
  element.only(
    'ID',
    'Prefix',
    'Filter',
    'Status',
    'Expiration',
    'Transition',
    'NoncurrentVersionExpiration',
    'NoncurrentVersionTransition',
    'AbortIncompleteMultipartUpload',
  )
  const id = element.text('ID') ?? ''
  if (id.length > ID_LENGTH_MAX) {
    const message = `ID length should not exceed allowed limit of ${ID_LENGTH_MAX}`
    throw new S3Error('InvalidArgument', message)
  }
  const isEnabled = element.requiredChoice('Status', ['Enabled', 'Disabled']) === 'Enabled'
  const { filter, isOldStyle } = readScope(element)
  const actions = readLifecycleActions(element)
  checkScope(element, filter)
  return { id: id === '' ? randomId(random) : id, isEnabled, filter, isOldStyle, ...actions }
}

function readScope(rule: XmlElement): Pick<LifecycleRule, 'filter' | 'isOldStyle'> {
  const filter = rule.child('Filter')
  const prefix = rule.text('Prefix')
  if ((filter === undefined) === (prefix === undefined)) {
    throw malformed('a Rule needs exactly one of Filter and Prefix')
  }
  if (filter !== undefined) return { filter: readLifecycleFilter(filter), isOldStyle: false }
  checkLifecyclePrefix(prefix ?? '')
  const everything = { tags: [], sizeAboveBytes: undefined, sizeBelowBytes: undefined }
  return { filter: { prefix: prefix ?? '', ...everything }, isOldStyle: true }
}

/** Delete markers and uploads have neither tags nor size: no rule can choose them by those. */
function checkScope(rule: XmlElement, filter: LifecycleFilter): void {
  const hasSize = filter.sizeAboveBytes !== undefined || filter.sizeBelowBytes !== undefined
  const what = filter.tags.length > 0 ? 'Tags' : hasSize ? 'Object Size' : undefined
  if (what === undefined) return
  const marker = 'ExpiredObjectDeleteMarker'
  const abortion = 'AbortIncompleteMultipartUpload'
  const hasMarker = rule.child('Expiration')?.child(marker) !== undefined
  const action = hasMarker ? marker : rule.child(abortion) === undefined ? undefined : abortion
  if (action === undefined) return
  throw new S3Error('InvalidRequest', `${action} cannot be specified with ${what}.`)
}

export function writeLifecycleConfiguration(rules: readonly LifecycleRule[]): string {
  return xmlDocument('LifecycleConfiguration', rules.map(writeRule).join(''))
}

function writeRule(rule: LifecycleRule): string {
  const content = [
    textElement('ID', rule.id),
    rule.isOldStyle
      ? textElement('Prefix', rule.filter.prefix ?? '')
      : writeLifecycleFilter(rule.filter),
    textElement('Status', rule.isEnabled ? 'Enabled' : 'Disabled'),
    ...writeActions(rule),
  ]
  return xmlElement('Rule', content.join(''))
}

function writeActions(actions: LifecycleActions): readonly string[] {
  return [
    writeExpiration(actions.expiration),
    ...actions.transitions.map(writeTransition),
    ...actions.noncurrentTransitions.map(writeNoncurrentTransition),
    writeNoncurrentExpiration(actions.noncurrentExpiration),
    writeAbortion(actions.abortUploadsAfterDays),
  ]
}
