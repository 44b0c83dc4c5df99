import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  DeleteObjectTaggingCommand,
  type Event,
  GetBucketNotificationConfigurationCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type QueueConfiguration,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { createPresignedPost } from '@aws-sdk/s3-presigned-post'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { type SentRecord, WebhookServer } from '../../../support/webhook-server.ts'
import { makeBucket } from './access-cases.ts'

const NEVER = new AbortController().signal
const HOOK = 'arn:hayloft:sqs::hook:webhook'
const OTHER = 'arn:hayloft:sqs::other:webhook'
const SOON = { timeout: 20_000, interval: 50 }
const DAY_MS = 50

let s3: TestS3
let webhook: WebhookServer
let other: WebhookServer

beforeAll(async () => {
  webhook = await WebhookServer.open()
  other = await WebhookServer.open()
  const webhooks = [
    { name: 'hook', url: webhook.url },
    { name: 'other', url: other.url },
  ]
  s3 = await TestS3.open({ s3Options: { webhooks, dayMs: DAY_MS } })
})

afterAll(async () => {
  await s3?.[Symbol.asyncDispose]()
  await webhook?.[Symbol.asyncDispose]()
  await other?.[Symbol.asyncDispose]()
})

const EVERYTHING: Event[] = [
  's3:ObjectCreated:*',
  's3:ObjectRemoved:*',
  's3:ObjectTagging:*',
  's3:ObjectAcl:Put',
  's3:LifecycleExpiration:*',
  's3:LifecycleTransition',
]

async function ask(
  Bucket: string,
  configurations: readonly Partial<QueueConfiguration>[] = [{}],
): Promise<void> {
  const QueueConfigurations = configurations.map((each) => {
    return { Id: 'all', QueueArn: HOOK, Events: EVERYTHING, ...each }
  })
  const NotificationConfiguration = { QueueConfigurations }
  const input = { Bucket, NotificationConfiguration }
  await s3.owner.sdk.send(new PutBucketNotificationConfigurationCommand(input))
}

async function newBucket(isVersioned = false): Promise<string> {
  const Bucket = await makeBucket(s3)
  const VersioningConfiguration = { Status: 'Enabled' } as const
  if (isVersioned) {
    await s3.owner.sdk.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }))
  }
  return Bucket
}

async function put(Bucket: string, Key: string, Body = 'body') {
  return await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key, Body }))
}

/** All of a bucket so far, in order. */
function sentOf(bucket: string, at = webhook): SentRecord[] {
  return at.records.filter(({ s3: { bucket: sent } }) => sent.name === bucket)
}

/** Names and keys of a bucket's events, once there are so many and none is waiting. */
async function told(bucket: string, count: number, at = webhook): Promise<string[]> {
  await vi.waitFor(() => expect(sentOf(bucket, at).length).toBeGreaterThanOrEqual(count), SOON)
  const found = await s3.server.namespace.findBucket(bucket, NEVER)
  const lane = { target: at === webhook ? HOOK : OTHER, bucketId: found?.id ?? 0 }
  const left = async () => await s3.server.namespace.listEvents({ lane, limit: 100 }, NEVER)
  await vi.waitFor(async () => expect(await left()).toEqual([]), SOON)
  return sentOf(bucket, at).map(({ eventName, s3: { object } }) => `${eventName} ${object.key}`)
}

describe('an event is sent of', () => {
  test('a put, with all that S3 tells', async () => {
    const Bucket = await newBucket()
    await ask(Bucket)
    const { $metadata, ETag } = await put(Bucket, 'red flower/ü.txt')
    expect(await told(Bucket, 1)).toEqual(['ObjectCreated:Put red+flower/%C3%BC.txt'])
    expect(sentOf(Bucket)[0]).toMatchObject({
      eventVersion: '2.1',
      eventSource: 'aws:s3',
      awsRegion: 'us-east-1',
      eventTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      userIdentity: { principalId: s3.owner.canonicalId },
      requestParameters: { sourceIPAddress: expect.stringContaining('127.0.0.1') },
      responseElements: { 'x-amz-request-id': $metadata.requestId },
      s3: {
        s3SchemaVersion: '1.0',
        configurationId: 'all',
        bucket: {
          ownerIdentity: { principalId: s3.owner.canonicalId },
          arn: `arn:aws:s3:::${Bucket}`,
        },
        object: {
          size: 4,
          eTag: ETag?.replaceAll('"', ''),
          sequencer: expect.stringMatching(/^[0-9A-F]{14}$/),
        },
      },
    })
    expect(sentOf(Bucket)[0]?.s3.object.versionId).toBeUndefined()
  })

  test('a form', async () => {
    const Bucket = await newBucket()
    await ask(Bucket)
    const client = s3.owner.sdk
    const { fields, url } = await createPresignedPost(client, { Bucket, Key: 'form' })
    const form = new FormData()
    for (const [name, value] of Object.entries(fields)) form.append(name, value)
    form.append('file', new Blob(['12345']), 'a.txt')
    const answer = await fetch(url, { method: 'POST', body: form })
    expect(answer.status).toBe(204)
    expect(await told(Bucket, 1)).toEqual(['ObjectCreated:Post form'])
    expect(sentOf(Bucket)[0]?.s3.object.size).toBe(5)
    expect(sentOf(Bucket)[0]?.responseElements['x-amz-request-id']).toBe(
      answer.headers.get('x-amz-request-id'),
    )
  })

  test('a copy', async () => {
    const Bucket = await newBucket()
    await put(Bucket, 'source')
    await ask(Bucket)
    const CopySource = `${Bucket}/source`
    await s3.owner.sdk.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource }))
    expect(await told(Bucket, 1)).toEqual(['ObjectCreated:Copy copy'])
  })

  test('a multipart upload, when it is complete', async () => {
    const Bucket = await newBucket()
    await ask(Bucket)
    const at = { Bucket, Key: 'parts' }
    const { UploadId } = await s3.owner.sdk.send(new CreateMultipartUploadCommand(at))
    const part = { ...at, UploadId, PartNumber: 1, Body: '1234567' }
    const { ETag } = await s3.owner.sdk.send(new UploadPartCommand(part))
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    const completed = await s3.owner.sdk.send(
      new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload }),
    )
    expect(await told(Bucket, 1)).toEqual(['ObjectCreated:CompleteMultipartUpload parts'])
    const eTag = completed.ETag?.replaceAll('"', '')
    expect(sentOf(Bucket)[0]?.s3.object).toMatchObject({ size: 7, eTag })
  })

  test('deletes, of what was there', async () => {
    const Bucket = await newBucket()
    for (const key of ['a', 'b', 'c']) await put(Bucket, key)
    await ask(Bucket)
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))
    const Delete = { Objects: [{ Key: 'b' }, { Key: 'c' }, { Key: 'nothing' }] }
    await s3.owner.sdk.send(new DeleteObjectsCommand({ Bucket, Delete }))
    const all = await told(Bucket, 3)
    expect(all[0]).toBe('ObjectRemoved:Delete a')
    expect(all.slice(1).sort()).toEqual(['ObjectRemoved:Delete b', 'ObjectRemoved:Delete c'])
    expect(Object.keys(sentOf(Bucket)[0]?.s3.object ?? {})).toEqual(['key', 'sequencer'])
  })

  test('a marker, and of versions deleted by their ids, in order', async () => {
    const Bucket = await newBucket(true)
    await ask(Bucket)
    const { VersionId } = await put(Bucket, 'a')
    const Key = 'a'
    const marker = await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key }))
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key, VersionId }))
    const gone = { Bucket, Key, VersionId: marker.VersionId }
    await s3.owner.sdk.send(new DeleteObjectCommand(gone))
    expect(await told(Bucket, 4)).toEqual([
      'ObjectCreated:Put a',
      'ObjectRemoved:DeleteMarkerCreated a',
      'ObjectRemoved:Delete a',
      'ObjectRemoved:Delete a',
    ])
    const objects = sentOf(Bucket).map(({ s3: { object } }) => object)
    const ids = [VersionId, marker.VersionId, VersionId, marker.VersionId]
    expect(objects.map(({ versionId }) => versionId)).toEqual(ids)
    const sequencers = objects.map(({ sequencer }) => sequencer)
    expect([...new Set(sequencers)].sort()).toEqual(sequencers)
  })

  test('tags and access control lists', async () => {
    const headers = { 'x-amz-object-ownership': 'ObjectWriter' }
    const Bucket = await makeBucket(s3, { headers })
    await put(Bucket, 'a')
    await ask(Bucket)
    const at = { Bucket, Key: 'a' }
    const Tagging = { TagSet: [{ Key: 'k', Value: 'v' }] }
    await s3.owner.sdk.send(new PutObjectTaggingCommand({ ...at, Tagging }))
    await s3.owner.sdk.send(new DeleteObjectTaggingCommand(at))
    await s3.owner.sdk.send(new PutObjectAclCommand({ ...at, ACL: 'private' }))
    expect(await told(Bucket, 3)).toEqual([
      'ObjectTagging:Put a',
      'ObjectTagging:Delete a',
      'ObjectAcl:Put a',
    ])
  })

  test.each([
    [false, ['LifecycleExpiration:Delete a']],
    [
      true,
      [
        'LifecycleExpiration:DeleteMarkerCreated a',
        'LifecycleExpiration:Delete a',
        // The marker, once nothing lies below it.
        'LifecycleExpiration:Delete a',
      ],
    ],
  ])('what lifecycle rules delete, with versions: %s', async (isVersioned, expected) => {
    const Bucket = await newBucket(isVersioned)
    await put(Bucket, 'a')
    await ask(Bucket)
    const rule: LifecycleRule = {
      Status: 'Enabled',
      Filter: { Prefix: '' },
      Expiration: { Days: 1 },
      NoncurrentVersionExpiration: { NoncurrentDays: 1 },
    }
    const LifecycleConfiguration = { Rules: [rule] }
    const input = { Bucket, LifecycleConfiguration }
    await s3.owner.sdk.send(new PutBucketLifecycleConfigurationCommand(input))
    expect(await told(Bucket, expected.length)).toEqual(expected)
    const [first] = sentOf(Bucket)
    expect(first?.userIdentity.principalId).toBe('s3.amazonaws.com')
    expect(first?.requestParameters.sourceIPAddress).toBe('s3.amazonaws.com')
  })
})

describe('settings', () => {
  test('say by prefix, suffix and event who hears of what', async () => {
    const Bucket = await newBucket()
    const filter = (Prefix: string, Suffix: string) => {
      const FilterRules = [
        { Name: 'prefix' as const, Value: Prefix },
        { Name: 'suffix' as const, Value: Suffix },
      ]
      return { Key: { FilterRules } }
    }
    await ask(Bucket, [
      { Id: 'jpg', Events: ['s3:ObjectCreated:*'], Filter: filter('in/', '.jpg') },
      { Id: 'png', Events: ['s3:ObjectCreated:*'], Filter: filter('in/', '.png') },
      { Id: 'gone', QueueArn: OTHER, Events: ['s3:ObjectRemoved:Delete'] },
    ])
    for (const key of ['in/a.jpg', 'in/a.png', 'in/a.txt', 'out/a.jpg']) await put(Bucket, key)
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'in/a.txt' }))
    expect(await told(Bucket, 2)).toEqual([
      'ObjectCreated:Put in/a.jpg',
      'ObjectCreated:Put in/a.png',
    ])
    const ids = sentOf(Bucket).map(({ s3: { configurationId } }) => configurationId)
    expect(ids).toEqual(['jpg', 'png'])
    expect(await told(Bucket, 1, other)).toEqual(['ObjectRemoved:Delete in/a.txt'])
  })

  test('are shown as they were put, topics and functions too', async () => {
    const Bucket = await newBucket()
    const FilterRules = [{ Name: 'prefix' as const, Value: 'a b/' }]
    const Events = ['s3:ObjectCreated:Put' as const]
    const NotificationConfiguration = {
      QueueConfigurations: [{ Id: 'q', QueueArn: HOOK, Events, Filter: { Key: { FilterRules } } }],
      TopicConfigurations: [{ Id: 't', TopicArn: OTHER, Events: ['s3:ObjectRemoved:*' as const] }],
      LambdaFunctionConfigurations: [
        { Id: 'f', LambdaFunctionArn: HOOK, Events: ['s3:ObjectTagging:Put' as const] },
      ],
    }
    const input = { Bucket, NotificationConfiguration }
    await s3.owner.sdk.send(new PutBucketNotificationConfigurationCommand(input))
    const shown = await s3.owner.sdk.send(new GetBucketNotificationConfigurationCommand({ Bucket }))
    const { $metadata: _, ...rest } = shown
    expect(rest).toEqual(NotificationConfiguration)
  })

  test('that are taken away end events, also those of a bucket made anew', async () => {
    const Bucket = await newBucket()
    await ask(Bucket)
    await put(Bucket, 'a')
    await s3.owner.sdk.send(
      new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration: {} }),
    )
    await put(Bucket, 'b')
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'b' }))
    expect(await told(Bucket, 1)).toEqual(['ObjectCreated:Put a'])
    await s3.owner.sdk.send(new DeleteBucketCommand({ Bucket }))
  })

  test.each([
    ['an ARN of no webhook', [{ QueueArn: 'arn:hayloft:sqs::nobody:webhook' }], 'InvalidArgument'],
    ['an ARN of a queue', [{ QueueArn: 'arn:aws:sqs:us-east-1:1:q' }], 'InvalidArgument'],
    ['an unknown event', [{ Events: ['s3:ObjectEaten' as Event] }], 'InvalidArgument'],
    ['two that overlap', [{ Id: 'a' }, { Id: 'b', QueueArn: OTHER }], 'InvalidArgument'],
    [
      'two with one Id',
      [{ Events: ['s3:ObjectCreated:*' as Event] }, { Events: ['s3:ObjectRemoved:*' as Event] }],
      'InvalidArgument',
    ],
  ])('with %s are refused, and those before stay', async (_, configurations, name) => {
    const Bucket = await newBucket()
    await ask(Bucket)
    await expect(ask(Bucket, configurations)).rejects.toMatchObject({
      name,
      $metadata: { httpStatusCode: 400 },
    })
    const shown = await s3.owner.sdk.send(new GetBucketNotificationConfigurationCommand({ Bucket }))
    expect(shown.QueueConfigurations).toMatchObject([{ Id: 'all', QueueArn: HOOK }])
  })
})

test('a webhook that is away hears of all when it is back, in order', async () => {
  const Bucket = await newBucket()
  webhook.answer = () => 'cut'
  await ask(Bucket)
  for (const key of ['a', 'b', 'c']) await put(Bucket, key)
  await vi.waitFor(() => expect(sentOf(Bucket).length).toBeGreaterThan(0), SOON)
  webhook.records.length = 0
  webhook.answer = () => 200
  const all = ['a', 'b', 'c'].map((key) => `ObjectCreated:Put ${key}`)
  expect(await told(Bucket, 3)).toEqual(all)
})
