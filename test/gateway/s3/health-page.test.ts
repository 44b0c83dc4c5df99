import { CreateBucketCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { StoreError } from '../../../src/base/store-error.ts'
import { HealthPage } from '../../../src/gateway/s3/health-page.ts'
import type { Bucket } from '../../../src/namespace/bucket-record.ts'
import type { NamespaceApi } from '../../../src/namespace/namespace-api.ts'
import type { Logger } from '../../../src/runtime/logger.ts'
import { SimClock } from '../../support/sim-clock.ts'
import { TestS3 } from '../../support/test-s3.ts'

const PATH = '/_hayloft/health'

describe('the health page of a gateway', () => {
  let s3: TestS3

  beforeAll(async () => {
    s3 = await TestS3.open({ s3Options: { domains: ['s3.test'] } })
  })

  afterAll(async () => {
    await s3[Symbol.asyncDispose]()
  })

  test('is there for anybody without a key, by GET and HEAD', async () => {
    const answer = await s3.raw({ path: PATH })
    expect([answer.status, answer.text]).toEqual([200, 'ok\n'])
    expect(answer.headers['cache-control']).toBe('no-store')
    const head = await s3.raw({ method: 'HEAD', path: PATH })
    expect([head.status, head.text]).toEqual([200, ''])
  })

  test.each([
    ['PUT', PATH],
    ['POST', PATH],
    ['DELETE', PATH],
    ['GET', '/_hayloft/health/'],
    ['GET', '/_hayloft/Health'],
    ['GET', '/_hayloft'],
    ['GET', '/_hayloft/%68ealth'],
  ])('%s %s is a request like any other, and not allowed', async (method, path) => {
    expect((await s3.raw({ method, path })).status).toBeGreaterThanOrEqual(403)
    const signed = await s3.raw({ method, path, as: s3.owner })
    expect([404, 405, 400]).toContain(signed.status)
  })

  test('hides no object of a bucket in the host name, and no bucket can take its place', async () => {
    await s3.owner.sdk.send(new CreateBucketCommand({ Bucket: 'bucket' }))
    const Key = '_hayloft/health'
    await s3.owner.sdk.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: 'mine' }))
    const headers = { host: 'bucket.s3.test' }
    expect((await s3.raw({ path: PATH, headers, as: s3.owner })).text).toBe('mine')
    expect((await s3.raw({ path: PATH, headers })).status).toBe(403)
    expect((await s3.raw({ path: PATH, headers: { host: 's3.test' } })).text).toBe('ok\n')
    const made = await s3.raw({ method: 'PUT', path: '/_hayloft', as: s3.root })
    expect(made.code).toBe('InvalidBucketName')
  })
})

function openPage(listBuckets: () => Promise<readonly Bucket[]>) {
  const clock = new SimClock()
  const events: string[] = []
  const log = (event: string) => events.push(event)
  const logger: Logger = { debug: log, info: log, warn: log, error: log }
  let asked = 0
  const namespace = {
    listBuckets: () => {
      asked++
      return listBuckets()
    },
  } as unknown as NamespaceApi
  const closing = new AbortController().signal
  const page = new HealthPage({ namespace, clock, logger, closing })
  return { clock, events, page, askedCount: () => asked }
}

describe('when the namespace', () => {
  const unavailable = new StoreError('UNAVAILABLE', 'master 10.0.0.1 is away')

  test('fails it is ServiceUnavailable, and is well again when that is', async () => {
    let isThere = false
    const { clock, events, page } = openPage(async () => {
      if (isThere) return []
      throw unavailable
    })
    for (let times = 0; times < 3; times++) {
      await expect(page.answer()).rejects.toMatchObject({ code: 'ServiceUnavailable', status: 503 })
      await clock.advance(1000)
    }
    isThere = true
    expect(await page.answer()).toMatchObject({ status: 200 })
    // Each change once, not each question.
    expect(events).toEqual(['s3.namespace_unreachable', 's3.namespace_reachable'])
  })

  test('does not answer within 1.5 s it is ServiceUnavailable', async () => {
    const { clock, page } = openPage(() => new Promise(() => undefined))
    const answer = expect(page.answer()).rejects.toMatchObject({ status: 503 })
    await clock.advance(1500)
    await answer
  })

  test('is asked once a second, however many want to know', async () => {
    const { askedCount, clock, page } = openPage(async () => [])
    await Promise.all(Array.from({ length: 100 }, () => page.answer()))
    await clock.advance(999)
    await page.answer()
    expect(askedCount()).toBe(1)
    await clock.advance(1)
    await page.answer()
    expect(askedCount()).toBe(2)
  })
})
