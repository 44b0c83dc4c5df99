import type { Random } from '../../../runtime/random.ts'
import {
  NOTIFICATION_KINDS,
  type NotificationKind,
  type NotificationTarget,
} from '../bucket-settings.ts'
import { webhookOfArn } from '../events/webhook.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { S3Error } from '../s3-error.ts'
import { malformed, parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, textElements, xmlDocument, xmlElement } from '../xml/xml-writer.ts'
import { randomId } from './random-id.ts'

/** As S3 allows them. */
const TARGETS_MAX = 100
const ID_LENGTH_MAX = 255
const FILTER_LENGTH_MAX = 1024

/** Each kind of target that S3 knows: the element of one, and the element of its ARN. */
const KINDS: Readonly<Record<NotificationKind, string>> = {
  TopicConfiguration: 'Topic',
  QueueConfiguration: 'Queue',
  CloudFunctionConfiguration: 'CloudFunction',
}

const ARN = /^arn:[^:\s]+:[^:\s]+:[^:\s]*:[^:\s]*:\S+$/

/** Source: the S3 user guide, "Supported event types for SQS, SNS, and Lambda". */
const EVENTS: ReadonlySet<string> = new Set(
  [
    'ObjectCreated:*',
    'ObjectCreated:Put',
    'ObjectCreated:Post',
    'ObjectCreated:Copy',
    'ObjectCreated:CompleteMultipartUpload',
    'ObjectRemoved:*',
    'ObjectRemoved:Delete',
    'ObjectRemoved:DeleteMarkerCreated',
    'ObjectRestore:*',
    'ObjectRestore:Post',
    'ObjectRestore:Completed',
    'ObjectRestore:Delete',
    'ReducedRedundancyLostObject',
    'Replication:*',
    'Replication:OperationFailedReplication',
    'Replication:OperationNotTracked',
    'Replication:OperationMissedThreshold',
    'Replication:OperationReplicatedAfterThreshold',
    'LifecycleExpiration:*',
    'LifecycleExpiration:Delete',
    'LifecycleExpiration:DeleteMarkerCreated',
    'LifecycleTransition',
    'IntelligentTiering',
    'ObjectTagging:*',
    'ObjectTagging:Put',
    'ObjectTagging:Delete',
    'ObjectAcl:Put',
  ].map((name) => `s3:${name}`),
)

/**
 * `NotificationConfiguration`: topics, queues and functions alike are targets named by an ARN.
 * Whether there is such a target is found by `checkNotificationTargets`. One without an id is given
 * one.
 *
 * @throws {S3Error} MalformedXML: also a target without an event. InvalidArgument: an event that
 * is none, an ARN that is none, a filter by something else, an id that is too long or there twice,
 * or more than 100 targets. NotImplemented: EventBridge.
 */
export function readNotificationConfiguration(
  body: Uint8Array,
  random: Random,
): readonly NotificationTarget[] {
  const root = parseXml(body, 'NotificationConfiguration')
  root.only(...NOTIFICATION_KINDS, 'EventBridgeConfiguration')
  if (root.child('EventBridgeConfiguration') !== undefined) {
    throw new S3Error('NotImplemented', 'Notifications to EventBridge are not implemented.')
  }
  if (root.elements.length > TARGETS_MAX) throw invalid(`More than ${TARGETS_MAX} targets`)
  const targets = root.elements.map((element) => readTarget(element, random))
  const ids = new Set(targets.map((target) => target.id))
  if (ids.size < targets.length) throw invalid('Each configuration must have its own Id')
  return targets
}

function readTarget(element: XmlElement, random: Random): NotificationTarget {
  const kind = NOTIFICATION_KINDS.find((name) => name === element.name) ?? 'QueueConfiguration'
  const arnName = KINDS[kind]
  element.only('Id', arnName, 'Event', 'Filter')
  const id = element.text('Id') ?? ''
  if (id.length > ID_LENGTH_MAX) throw invalid(`An Id is longer than ${ID_LENGTH_MAX}`)
  const arn = element.requiredText(arnName).trim()
  if (!ARN.test(arn)) throw invalidArgument('The ARN is not well formed', arnName, arn)
  const events = element.children('Event').map((event) => event.content.trim())
  if (events.length === 0) throw malformed(`${element.name} without an Event`)
  const unknown = events.find((event) => !EVENTS.has(event))
  if (unknown !== undefined) {
    throw invalidArgument('The event is not supported for notifications', 'Event', unknown)
  }
  const { prefix, suffix } = readFilter(element.child('Filter'))
  const target = { id: id === '' ? randomId(random) : id, arn, events, prefix, suffix }
  return kind === kindOfArn(arn) ? target : { ...target, kind }
}

/**
 * @throws {S3Error} InvalidArgument: an ARN of no webhook that there is; or two of the targets want
 * the same event of the same key.
 */
export function checkNotificationTargets(
  targets: readonly NotificationTarget[],
  webhooks: ReadonlySet<string>,
): void {
  for (const { arn } of targets) {
    const name = webhookOfArn(arn)
    if (name !== undefined && webhooks.has(name)) continue
    const message = 'Unable to validate the following destination configurations'
    throw invalidArgument(message, 'Arn', arn)
  }
  for (const [index, target] of targets.entries()) {
    if (!targets.slice(0, index).some((other) => overlaps(target, other))) continue
    throw invalid(
      'Configurations overlap. Configurations on the same bucket cannot share a common event type.',
    )
  }
}

/** There may be a key and an event that both want. Source: the S3 user guide, "Overlapping". */
function overlaps(one: NotificationTarget, other: NotificationTarget): boolean {
  const isShared = one.events.some((event) => other.events.some((each) => isCommon(event, each)))
  const [prefix, longerPrefix] = byLength(one.prefix, other.prefix)
  const [suffix, longerSuffix] = byLength(one.suffix, other.suffix)
  return isShared && longerPrefix.startsWith(prefix) && longerSuffix.endsWith(suffix)
}

function isCommon(one: string, other: string): boolean {
  const all = (event: string) => event.replace(/\*$/, '')
  if (one.endsWith('*')) return other.startsWith(all(one)) || all(one).startsWith(all(other))
  return other.endsWith('*') ? one.startsWith(all(other)) : one === other
}

function byLength(one: string, other: string): readonly [string, string] {
  return one.length <= other.length ? [one, other] : [other, one]
}

function readFilter(filter: XmlElement | undefined): { prefix: string; suffix: string } {
  filter?.only('S3Key')
  const key = filter?.child('S3Key')
  key?.only('FilterRule')
  const values = new Map<string, string>()
  for (const rule of key?.elements ?? []) {
    rule.only('Name', 'Value')
    const name = rule.requiredText('Name').trim().toLowerCase()
    const value = rule.requiredText('Value')
    if (name !== 'prefix' && name !== 'suffix') {
      throw invalid('filter rule name must be either prefix or suffix')
    }
    if (values.has(name)) throw invalid(`Cannot specify more than one ${name} rule in a filter.`)
    if (value.length > FILTER_LENGTH_MAX) {
      throw invalid(`Size of filter rule value cannot exceed ${FILTER_LENGTH_MAX} bytes`)
    }
    values.set(name, value)
  }
  return { prefix: values.get('prefix') ?? '', suffix: values.get('suffix') ?? '' }
}

function invalid(message: string): S3Error {
  return new S3Error('InvalidArgument', message)
}

export function writeNotificationConfiguration(targets: readonly NotificationTarget[]): string {
  return xmlDocument('NotificationConfiguration', targets.map(writeTarget).join(''))
}

function writeTarget(target: NotificationTarget): string {
  const kind = target.kind ?? kindOfArn(target.arn)
  const rules = `${writeRule('prefix', target.prefix)}${writeRule('suffix', target.suffix)}`
  const content = [
    textElement('Id', target.id),
    textElement(KINDS[kind], target.arn),
    textElements('Event', target.events),
    rules === '' ? '' : xmlElement('Filter', xmlElement('S3Key', rules)),
  ]
  return xmlElement(kind, content.join(''))
}

function writeRule(name: 'prefix' | 'suffix', value: string): string {
  if (value === '') return ''
  return xmlElement('FilterRule', `${textElement('Name', name)}${textElement('Value', value)}`)
}

function kindOfArn(arn: string): NotificationKind {
  switch (arn.split(':')[2]) {
    case 'sns':
      return 'TopicConfiguration'
    case 'lambda':
      return 'CloudFunctionConfiguration'
    default:
      return 'QueueConfiguration'
  }
}
