import {
  CreateBucketCommand,
  GetBucketNotificationConfigurationCommand,
  type NotificationConfiguration,
  PutBucketNotificationConfigurationCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../support/test-s3.ts'

let s3: TestS3
let Bucket: string

beforeAll(async () => {
  s3 = await TestS3.open()
  Bucket = s3.newBucketName()
  await s3.owner.sdk.send(new CreateBucketCommand({ Bucket }))
})

afterAll(async () => {
  await s3?.[Symbol.asyncDispose]()
})

async function set(NotificationConfiguration: NotificationConfiguration): Promise<void> {
  const input = { Bucket, NotificationConfiguration }
  await s3.owner.sdk.send(new PutBucketNotificationConfigurationCommand(input))
}

async function shown(): Promise<NotificationConfiguration> {
  const command = new GetBucketNotificationConfigurationCommand({ Bucket })
  const { $metadata: _, ...rest } = await s3.owner.sdk.send(command)
  return rest
}

const Events = ['s3:ObjectCreated:*'] as const

describe('a notification configuration', () => {
  test.each<[string, NotificationConfiguration]>([
    [
      'a webhook',
      { QueueConfigurations: [{ QueueArn: 'arn:hayloft:sqs::x:webhook', Events: [...Events] }] },
    ],
    [
      'a queue',
      { QueueConfigurations: [{ QueueArn: 'arn:aws:sqs:us-east-1:1:q', Events: [...Events] }] },
    ],
    [
      'a topic',
      { TopicConfigurations: [{ TopicArn: 'arn:aws:sns:us-east-1:1:t', Events: [...Events] }] },
    ],
    [
      'a function',
      {
        LambdaFunctionConfigurations: [
          { LambdaFunctionArn: 'arn:aws:lambda:us-east-1:1:function:f', Events: [...Events] },
        ],
      },
    ],
  ])('with %s is refused where there are no webhooks', async (_, configuration) => {
    await expect(set(configuration)).rejects.toMatchObject({
      name: 'InvalidArgument',
      message: 'Unable to validate the following destination configurations',
      $metadata: { httpStatusCode: 400 },
    })
    expect(await shown()).toEqual({})
  })

  test('without a target is taken', async () => {
    await set({})
    expect(await shown()).toEqual({})
  })
})
