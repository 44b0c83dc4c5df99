import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  CreateBucketCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { S3_KEY_ENV, sdkOf } from '../support/s3-endpoint.ts'
import { freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { WebhookServer } from '../support/webhook-server.ts'

const Bucket = 'watched'
const Events = ['s3:ObjectCreated:*' as const]
const DELIVERED_MS_MAX = 60_000

async function waitUntil(isDone: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + DELIVERED_MS_MAX
  while (!isDone() && Date.now() < deadlineMs) await sleep(50)
  expect(isDone()).toBe(true)
}

test('events outlive a kill -9 of hayloft server, and a webhook that was away all the while', async () => {
  await using temp = await openTempDirectory()
  const [master = 0, volume = 0, s3 = 0, hook = 0] = await freePorts(4)
  const ports = ['--port', `${master}`, '--volume-port', `${volume}`, '--s3-port', `${s3}`]
  const webhook = `hook=http://me:hunter2@127.0.0.1:${hook}/events?token=hunter3`
  await using server = await ServerProcess.start({
    args: ['server', '--dir', join(temp.path, 'data'), ...ports, '--s3-webhook', webhook],
    env: S3_KEY_ENV,
    readyUrl: `http://127.0.0.1:${volume}/readyz`,
  })
  const sdk = sdkOf(`http://127.0.0.1:${s3}`)
  await sdk.send(new CreateBucketCommand({ Bucket }))
  const QueueArn = 'arn:hayloft:sqs::hook:webhook'
  const NotificationConfiguration = { QueueConfigurations: [{ QueueArn, Events }] }
  await sdk.send(
    new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration }),
  )
  const keys = Array.from({ length: 20 }, (_, at) => `file-${at}`)
  for (const Key of keys) await sdk.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
  await waitUntil(() => server.said.includes('s3.webhook_failed'))
  await server.kill()
  await server.restart()
  await using receiver = await WebhookServer.open(hook)
  await waitUntil(() => new Set(receiver.told).size === keys.length)
  expect([...new Set(receiver.told)]).toEqual(keys.map((key) => `ObjectCreated:Put ${key}`))
  expect(new Set(receiver.paths)).toEqual(new Set(['POST /events?token=hunter3']))
  expect(await server.stop()).toBe(0)
  expect(server.said).not.toContain('hunter')
  sdk.destroy()
})
