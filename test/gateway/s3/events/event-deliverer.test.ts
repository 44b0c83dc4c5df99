import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { StoreError } from '../../../../src/base/store-error.ts'
import { EventDeliverer } from '../../../../src/gateway/s3/events/event-deliverer.ts'
import { type Webhook, webhookArn } from '../../../../src/gateway/s3/events/webhook.ts'
import type { Bucket } from '../../../../src/namespace/bucket-record.ts'
import type { NamespaceApi } from '../../../../src/namespace/namespace-api.ts'
import { type Logger, silentLogger } from '../../../../src/runtime/logger.ts'
import { never, openTestNamespace, type TestNamespace } from '../../../support/test-namespace.ts'
import { WebhookServer } from '../../../support/webhook-server.ts'

const DAY_MS = 86_400_000
const CAUSE = {
  kind: 'ObjectCreated:Put',
  requesterId: 'u',
  sourceAddress: '10.0.0.1',
  requestId: 'ABCD',
} as const

let opened: TestNamespace
let webhook: WebhookServer
let logged: { readonly event: string; readonly fields: Record<string, unknown> }[]
const running: EventDeliverer[] = []

beforeEach(async () => {
  opened = openTestNamespace()
  webhook = await WebhookServer.open()
  logged = []
})

afterEach(async () => {
  for (const each of running.splice(0)) await each[Symbol.asyncDispose]()
  await webhook[Symbol.asyncDispose]()
})

function start(
  webhooks: readonly Webhook[] = [{ name: 'hook', url: webhook.url }],
  namespace: Pick<NamespaceApi, 'claimEvents' | 'listEvents' | 'removeEvents'> = opened.namespace,
): EventDeliverer {
  const note = (event: string, fields: Record<string, unknown> = {}) => {
    logged.push({ event, fields })
  }
  const logger: Logger = { ...silentLogger, info: note, warn: note, error: note }
  const { clock, random } = opened
  const parts = { namespace, clock, random, logger }
  const deliverer = new EventDeliverer(parts, { webhooks, region: 'us-east-1' })
  running.push(deliverer)
  deliverer.start()
  return deliverer
}

async function bucketTo(name: string, ...hooks: readonly string[]): Promise<Bucket> {
  const made = await opened.bucket('off', name)
  const events = ['s3:ObjectCreated:*']
  const rules = hooks.map((hook) => {
    return { id: hook, arn: webhookArn(hook), events, prefix: `${hook}/`, suffix: '' }
  })
  const documents = { notification: JSON.stringify(rules) }
  return await opened.namespace.changeBucket(made, { documents }, never)
}

async function put(bucket: Bucket, ...keys: readonly string[]): Promise<void> {
  for (const key of keys) {
    const version = opened.newVersion()
    await opened.namespace.putObject({ bucket, key, version, cause: CAUSE }, never)
  }
}

/** Lets time pass, second by second, and real HTTP take its time in between. */
async function passUntil(isDone: () => boolean, secondsMax = 60): Promise<void> {
  for (let second = 0; second <= secondsMax; second++) {
    for (let turn = 0; turn < 20 && !isDone(); turn++) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    if (isDone()) return
    await opened.clock.advance(1000)
  }
  expect.fail(`not done: ${webhook.told.join(', ')}`)
}

function pending(): number {
  return opened.namespace.eventCounts.pending
}

function names(): string[] {
  return logged.map(({ event }) => event)
}

describe('a deliverer', () => {
  test('posts events in order, and removes them', async () => {
    const bucket = await bucketTo('one', 'hook')
    const keys = Array.from({ length: 150 }, (_, at) => `hook/${at}`)
    await put(bucket, ...keys)
    start()
    await passUntil(() => webhook.records.length === 150 && pending() === 0)
    expect(webhook.told).toEqual(keys.map((key) => `ObjectCreated:Put ${key}`))
    expect(new Set(webhook.paths)).toEqual(new Set(['POST /hook']))
    expect(webhook.headers[0]).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'Hayloft',
    })
    expect(await opened.store.keys('events/')).toEqual([])
    expect(opened.namespace.eventCounts).toMatchObject({ delivered: 150, givenUp: 0 })
  })

  test('sends user and password of the URL as a header, and its query', async () => {
    const bucket = await bucketTo('one', 'hook')
    await put(bucket, 'hook/a')
    const url = `http://me:p%40ss@127.0.0.1:${webhook.port}/x?key=secret`
    start([{ name: 'hook', url }])
    await passUntil(() => pending() === 0)
    expect(webhook.paths).toEqual(['POST /x?key=secret'])
    const { authorization } = webhook.headers[0] ?? {}
    expect(authorization).toBe(`Basic ${Buffer.from('me:p@ss').toString('base64')}`)
  })

  test.each([
    ['500', 500],
    ['404', 404],
    ['a redirect, which is not followed', 307],
    ['a connection that is cut', 'cut'],
  ] as const)('tries again after %s, and the next event waits behind it', async (_, answer) => {
    const bucket = await bucketTo('one', 'hook')
    await put(bucket, 'hook/a', 'hook/b')
    let failures = 3
    webhook.answer = () => (failures-- > 0 ? answer : 200)
    start()
    await passUntil(() => pending() === 0)
    const keys = webhook.records.map(({ s3 }) => s3.object.key)
    expect(keys).toEqual(['hook/a', 'hook/a', 'hook/a', 'hook/a', 'hook/b'])
    const waits = logged.flatMap(({ event, fields }) =>
      event === 's3.webhook_failed' ? [fields['waitMs']] : [],
    )
    expect(waits).toEqual([1000, 2000, 4000])
    expect(names().at(-1)).toBe('s3.webhook_recovered')
    expect(new Set(webhook.paths)).toEqual(new Set(['POST /hook']))
  })

  test('tries again when there was no answer for 10 s', async () => {
    const bucket = await bucketTo('one', 'hook')
    await put(bucket, 'hook/a')
    let failures = 1
    webhook.answer = () => (failures-- > 0 ? 'silence' : 204)
    start()
    await passUntil(() => webhook.records.length === 1)
    await opened.clock.advance(9000)
    expect(names()).not.toContain('s3.webhook_failed')
    await passUntil(() => pending() === 0)
    expect(webhook.told).toEqual(['ObjectCreated:Put hook/a', 'ObjectCreated:Put hook/a'])
    expect(logged.find(({ event }) => event === 's3.webhook_failed')?.fields).toMatchObject({
      error: { code: 'TIMEOUT' },
    })
  })

  test('says in no line of the log what URL a webhook has', async () => {
    const bucket = await bucketTo('one', 'hook')
    await put(bucket, 'hook/a')
    webhook.answer = () => 500
    const url = `http://me:hunter2@127.0.0.1:${webhook.port}/path?key=hunter3`
    start([{ name: 'hook', url }])
    await passUntil(() => names().includes('s3.webhook_failed'))
    await webhook[Symbol.asyncDispose]()
    await passUntil(() => names().filter((name) => name === 's3.webhook_failed').length > 2)
    const errors = logged.map(({ fields }) => String((fields['error'] as Error | undefined)?.stack))
    expect(JSON.stringify(logged) + errors.join('')).not.toMatch(/hunter|\/path/)
    webhook = await WebhookServer.open()
  })

  test('gives an event up that fails at the age of a day, and goes on with the next', async () => {
    const bucket = await bucketTo('one', 'hook')
    await put(bucket, 'hook/a')
    webhook.answer = ({ s3 }) => (s3.object.key === 'hook/a' ? 500 : 200)
    start()
    await passUntil(() => webhook.records.length === 2)
    await put(bucket, 'hook/b')
    opened.clock.jumpWallClock(DAY_MS)
    await passUntil(() => pending() === 0)
    expect(webhook.told.slice(-2)).toEqual(['ObjectCreated:Put hook/a', 'ObjectCreated:Put hook/b'])
    expect(opened.namespace.eventCounts).toMatchObject({ delivered: 1, givenUp: 1 })
    expect(logged.find(({ event }) => event === 's3.event_given_up')?.fields).toMatchObject({
      webhook: 'hook',
      bucket: 'one',
      key: 'hook/a',
    })
  })

  test('goes on with other lanes while a webhook is away', async () => {
    const bucket = await bucketTo('one', 'hook', 'dead')
    const url = 'http://127.0.0.1:1/'
    await put(bucket, 'dead/a', 'hook/a')
    start([
      { name: 'hook', url: webhook.url },
      { name: 'dead', url },
    ])
    await passUntil(() => webhook.records.length === 1 && pending() === 1)
    await put(bucket, 'dead/b', 'hook/b')
    await passUntil(() => webhook.records.length === 2 && pending() === 2)
    expect(webhook.told).toEqual(['ObjectCreated:Put hook/a', 'ObjectCreated:Put hook/b'])
  })

  test('loses nothing when it ends at any event, and another goes on', async () => {
    const bucket = await bucketTo('one', 'hook')
    const keys = Array.from({ length: 40 }, (_, at) => `hook/${at}`)
    await put(bucket, ...keys)
    for (const count of [3, 17, 10]) {
      let left = count
      webhook.answer = () => (left-- > 0 ? 200 : 'silence')
      const first = start()
      const seen = webhook.records.length
      await passUntil(() => webhook.records.length === seen + count + 1)
      await first[Symbol.asyncDispose]()
      // As when the process ends: claims are forgotten with it.
      opened.reopen()
    }
    webhook.answer = () => 200
    start()
    await opened.clock.advance(11_000)
    await passUntil(() => pending() === 0 && new Set(webhook.told).size === 40)
    const firsts = [...new Set(webhook.told)]
    expect(firsts).toEqual(keys.map((key) => `ObjectCreated:Put ${key}`))
  })

  test('delivers again what it could not remove', async () => {
    const bucket = await bucketTo('one', 'hook')
    await put(bucket, 'hook/a')
    let failures = 1
    const { namespace } = opened
    start(undefined, {
      claimEvents: (request, signal) => namespace.claimEvents(request, signal),
      listEvents: (request, signal) => namespace.listEvents(request, signal),
      removeEvents: async (request, signal) => {
        if (failures-- > 0) throw new StoreError('UNAVAILABLE', 'no master')
        await namespace.removeEvents(request, signal)
      },
    })
    await passUntil(() => pending() === 0)
    expect(webhook.told).toEqual(['ObjectCreated:Put hook/a', 'ObjectCreated:Put hook/a'])
    expect(names()).toEqual(['s3.events_unread'])
  })

  test('delivers nothing while it cannot claim, and says so once', async () => {
    const bucket = await bucketTo('one', 'hook')
    await put(bucket, 'hook/a')
    let isAway = true
    const { namespace } = opened
    start(undefined, {
      claimEvents: async (request, signal) => {
        if (isAway) throw new StoreError('UNAVAILABLE', 'no master')
        return await namespace.claimEvents(request, signal)
      },
      listEvents: (request, signal) => namespace.listEvents(request, signal),
      removeEvents: (request, signal) => namespace.removeEvents(request, signal),
    })
    for (let second = 0; second < 5; second++) await opened.clock.advance(1000)
    expect(names()).toEqual(['s3.events_halted'])
    isAway = false
    await passUntil(() => pending() === 0 && webhook.records.length === 1)
    expect(names()).toEqual(['s3.events_halted', 's3.events_resumed'])
  })

  test('beside another leaves each event to one of the two', async () => {
    const buckets: Bucket[] = []
    for (const name of ['one', 'two', 'three']) buckets.push(await bucketTo(name, 'hook'))
    start()
    start()
    for (let round = 0; round < 5; round++) {
      for (const bucket of buckets) await put(bucket, `hook/${round}`)
      await opened.clock.advance(1000)
    }
    await passUntil(() => pending() === 0)
    const keys = webhook.records.map(({ s3 }) => `${s3.bucket.name}/${s3.object.key}`)
    expect(keys).toHaveLength(15)
    expect(new Set(keys).size).toBe(15)
  })

  test('drops what waited a day for a webhook that nobody has', async () => {
    const bucket = await bucketTo('one', 'gone')
    await put(bucket, 'gone/a')
    opened.clock.jumpWallClock(DAY_MS)
    await put(bucket, 'gone/b')
    start()
    await passUntil(() => pending() === 1)
    const lane = { target: webhookArn('gone'), bucketId: bucket.id }
    const left = await opened.namespace.listEvents({ lane, limit: 10 }, never)
    expect(left.map(({ key }) => key)).toEqual(['gone/b'])
    expect(names()).toEqual(['s3.events_unclaimed'])
    expect(webhook.records).toEqual([])
  })
})
