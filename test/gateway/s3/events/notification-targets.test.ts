import { describe, expect, test } from 'vitest'
import {
  checkNotificationTargets,
  readNotificationConfiguration,
  writeNotificationConfiguration,
} from '../../../../src/gateway/s3/documents/notification.ts'
import {
  isWebhookName,
  isWebhookUrl,
  webhookArn,
  webhookOfArn,
} from '../../../../src/gateway/s3/events/webhook.ts'
import { S3Error } from '../../../../src/gateway/s3/s3-error.ts'
import { Prng } from '../../../support/prng.ts'

const WEBHOOKS: ReadonlySet<string> = new Set(['hook', 'other'])
const HOOK = webhookArn('hook')

interface Wanted {
  readonly arn?: string
  readonly events?: readonly string[]
  readonly prefix?: string
  readonly suffix?: string
}

function targetOf({ arn = HOOK, events = ['s3:ObjectCreated:*'], ...rest }: Wanted, at: number) {
  return { id: `${at}`, arn, events, prefix: rest.prefix ?? '', suffix: rest.suffix ?? '' }
}

/** The code it is refused with; undefined: it is taken. */
function codeOf(wanted: readonly Wanted[]): string | undefined {
  try {
    checkNotificationTargets(wanted.map(targetOf), WEBHOOKS)
    return undefined
  } catch (error) {
    return error instanceof S3Error ? error.code : expect.fail(String(error))
  }
}

describe('the target of a configuration', () => {
  test.each([
    [HOOK, undefined],
    [webhookArn('other'), undefined],
    [webhookArn('nobody'), 'InvalidArgument'],
    ['arn:hayloft:sqs:us-east-1:hook:webhook', 'InvalidArgument'],
    ['arn:hayloft:sqs::hook:webhook:more', 'InvalidArgument'],
    ['arn:hayloft:sns::hook:webhook', 'InvalidArgument'],
    ['arn:hayloft:sqs:::webhook', 'InvalidArgument'],
    ['arn:aws:sqs:us-east-1:123456789012:hook', 'InvalidArgument'],
    ['arn:hayloft:sqs::HOOK:webhook', 'InvalidArgument'],
  ])('%s: %s', (arn, code) => {
    expect(codeOf([{ arn }])).toBe(code)
    expect(codeOf([{ prefix: 'a/' }, { arn, prefix: 'b/' }])).toBe(code)
  })

  test('that is none is named in the error', () => {
    const arn = webhookArn('nobody')
    const check = () => checkNotificationTargets([targetOf({ arn }, 0)], WEBHOOKS)
    const message = 'Unable to validate the following destination configurations'
    const fields = { ArgumentName: 'Arn', ArgumentValue: arn }
    expect(check).toThrow(expect.objectContaining({ message, fields }))
  })
})

describe('two configurations of a bucket', () => {
  const [all, put, removed] = ['s3:ObjectCreated:*', 's3:ObjectCreated:Put', 's3:ObjectRemoved:*']
  test.each<[Wanted, Wanted, boolean]>([
    [{}, {}, true],
    [{}, { arn: webhookArn('other') }, true],
    [{ events: [all] }, { events: [put] }, true],
    [{ events: [put] }, { events: [all] }, true],
    [{ events: [put] }, { events: [put] }, true],
    [{ events: [put] }, { events: ['s3:ObjectCreated:Post'] }, false],
    [{ events: [all] }, { events: [removed] }, false],
    [{ events: [all] }, { events: [removed, put] }, true],
    [{ events: ['s3:LifecycleTransition'] }, { events: ['s3:LifecycleExpiration:*'] }, false],
    [{ prefix: 'a' }, { prefix: 'b' }, false],
    [{ prefix: 'a' }, { prefix: 'ab' }, true],
    [{ prefix: 'ab' }, { prefix: 'a' }, true],
    [{ prefix: 'ab' }, { prefix: 'ac' }, false],
    [{ prefix: 'a' }, {}, true],
    [{ suffix: '.jpg' }, { suffix: '.png' }, false],
    [{ suffix: '.jpg' }, { suffix: 'jpg' }, true],
    [{ suffix: 'jpg' }, { suffix: '.jpg' }, true],
    [{ prefix: 'a', suffix: '.jpg' }, { prefix: 'a', suffix: '.png' }, false],
    [{ prefix: 'a', suffix: '.jpg' }, { prefix: 'b', suffix: '.jpg' }, false],
    [{ prefix: 'a', suffix: '.jpg' }, { prefix: 'a/b', suffix: 'g' }, true],
    [{ prefix: 'a' }, { suffix: '.jpg' }, true],
  ])('%j and %j overlap: %s', (one, other, isRefused) => {
    expect(codeOf([one, other])).toBe(isRefused ? 'InvalidArgument' : undefined)
    expect(codeOf([other, one])).toBe(isRefused ? 'InvalidArgument' : undefined)
  })
})

test.each([
  ['TopicConfiguration', 'Topic'],
  ['QueueConfiguration', 'Queue'],
  ['CloudFunctionConfiguration', 'CloudFunction'],
])('a %s is shown as one again', (kind, element) => {
  const content =
    `<${kind}><Id>i</Id><${element}>${HOOK}</${element}>` +
    `<Event>s3:ObjectCreated:*</Event></${kind}>`
  const body = `<NotificationConfiguration>${content}</NotificationConfiguration>`
  const targets = readNotificationConfiguration(Buffer.from(body), new Prng(1))
  const kept: typeof targets = JSON.parse(JSON.stringify(targets))
  expect(writeNotificationConfiguration(kept)).toContain(content)
})

test.each([
  ['a', true],
  ['a-b_C9', true],
  ['a'.repeat(64), true],
  ['a'.repeat(65), false],
  ['', false],
  ['-a', false],
  ['a-', false],
  ['a:b', false],
  ['a/b', false],
  ['ä', false],
])('the name %s of a webhook is one: %s', (name, isOne) => {
  expect(isWebhookName(name)).toBe(isOne)
  expect(webhookOfArn(webhookArn(name))).toBe(isOne ? name : undefined)
})

test.each([
  ['http://127.0.0.1:1/a?b=c', true],
  ['https://user:pw@example.com', true],
  ['ftp://example.com', false],
  ['example.com', false],
  ['', false],
])('%s is the URL of one: %s', (url, isOne) => {
  expect(isWebhookUrl(url)).toBe(isOne)
})
