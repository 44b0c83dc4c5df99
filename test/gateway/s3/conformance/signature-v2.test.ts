import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { S3_OPERATIONS } from '../../../../src/gateway/s3/operations.ts'
import { TestS3 } from '../../../support/test-s3.ts'
import {
  OPERATION_CASES,
  openScene,
  outcomeOf,
  requestOf,
  type Scene,
  stateOf,
} from './operation-cases.ts'
import {
  type AttemptTools,
  openAttempts,
  type SigningForm,
  signedAttempts,
} from './refused-attempts.ts'
import { signV2Header, signV2Query, signV4Header, signV4Query } from './signed-requests.ts'

let s3: TestS3
let tools: AttemptTools
let scene: Scene

beforeAll(async () => {
  s3 = await TestS3.open({ s3Options: { isV2Allowed: true } })
  ;({ scene, tools } = await openAttempts(s3))
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const FORMS: readonly SigningForm[] = [
  ['v2-header', signV2Header],
  ['v2-query', signV2Query],
]

describe('Signature Version 2, where it is on', () => {
  test.each(S3_OPERATIONS)('$name is refused to who may not', async ({ method, name }) => {
    const before = await stateOf(s3, scene)
    const failures: string[] = []
    const attempts = signedAttempts(FORMS, name, requestOf(name, method, scene), tools)
    expect(attempts.length).toBeGreaterThan(20)
    for (const { codes, request, title } of attempts) {
      const { code, status } = await s3.raw(request)
      const isRefused = method === 'HEAD' ? status === 403 : codes.includes(code ?? '')
      if (!isRefused) failures.push(`${title}: ${status} ${code}`)
    }
    expect(failures).toEqual([])
    expect(await stateOf(s3, scene)).toEqual(before)
  })

  test.each(S3_OPERATIONS)('$name is done for its owner', async ({ method, name }) => {
    for (const [, sign] of FORMS) {
      const own = await openScene(s3)
      const request = sign(tools.host, s3.owner, requestOf(name, method, own))
      expect(outcomeOf(await s3.raw(request))).toBe(OPERATION_CASES[name]?.answer)
    }
  })

  test('leaves Version 4 as it was', async () => {
    const plain = requestOf('GetObject', 'GET', scene)
    for (const sign of [signV4Header, signV4Query]) {
      expect(await s3.raw(sign(tools.host, s3.owner, plain))).toMatchObject({ status: 200 })
    }
  })

  test.each([
    ['response-content-type=text/html', 'SignatureDoesNotMatch'],
    ['response-content-disposition=attachment', 'SignatureDoesNotMatch'],
    ['partNumber=1', 'SignatureDoesNotMatch'],
    ['torrent', 'SignatureDoesNotMatch'],
    ['x-amz-acl=public-read', 'SignatureDoesNotMatch'],
    ['X-Amz-Meta-A=b', 'SignatureDoesNotMatch'],
    ['X-Amz-Signature=0', 'InvalidArgument'],
  ])('a presigned URL with %s added is refused: %s', async (parameter, code) => {
    const { path } = signV2Query(tools.host, s3.owner, requestOf('GetObject', 'GET', scene))
    expect(await s3.raw({ path: `${path}&${parameter}` })).toMatchObject({ code })
  })

  test('a presigned URL with something added that means nothing is still good', async () => {
    const { path } = signV2Query(tools.host, s3.owner, requestOf('GetObject', 'GET', scene))
    expect(await s3.raw({ path: `${path}&from=mail` })).toMatchObject({ status: 200 })
  })

  test.each([
    ['AWSAccessKeyId', 'AccessDenied'],
    ['Signature', 'AccessDenied'],
    ['Expires', 'AccessDenied'],
  ])('a presigned URL without %s is refused: %s', async (name, code) => {
    const { path } = signV2Query(tools.host, s3.owner, requestOf('GetObject', 'GET', scene))
    const without = path.replace(new RegExp(`${name}=[^&]*&?`), '')
    expect(without).not.toBe(path)
    expect(await s3.raw({ path: without })).toMatchObject({ code })
  })

  test('botocore moves the headers it signs into the query: they count as headers', async () => {
    const path = `/${scene.bucket}/hoisted`
    const expires = String(Math.floor(Date.now() / 1000) + 60)
    const hoisted = { 'content-type': 'text/x-boto', 'x-amz-meta-color': 'green' }
    const signed = signV2Query(
      tools.host,
      s3.owner,
      { method: 'PUT', path, headers: hoisted },
      { expires },
    )
    const parameters = Object.entries(hoisted)
      .map(([name, value]) => `&${name}=${encodeURIComponent(value)}`)
      .join('')
    const put = { method: 'PUT', path: `${signed.path}${parameters}`, body: 'boto' }
    expect(await s3.raw(put)).toMatchObject({ status: 200 })
    const got = await s3.raw({ path, as: s3.owner })
    expect(got).toMatchObject({ status: 200, text: 'boto' })
    expect(got.headers).toMatchObject({ 'x-amz-meta-color': 'green' })
    const tampered = { ...put, path: put.path.replace('green', 'red') }
    expect(await s3.raw(tampered)).toMatchObject({ code: 'SignatureDoesNotMatch' })
  })

  test.each([['AWS x'], ['AWS x:'], ['AWS :y'], ['AWS x:y z'], ['AWS x y:z']])(
    'Authorization: %s is malformed',
    async (authorization) => {
      const date = new Date().toUTCString()
      const answer = await s3.raw({ path: '/', headers: { authorization, date } })
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    },
  )

  test('a request without a date is refused', async () => {
    const { headers } = signV2Header(tools.host, s3.owner, { method: 'GET', path: '/' })
    const { date: _omitted, ...others } = headers ?? {}
    expect(await s3.raw({ path: '/', headers: others })).toMatchObject({ code: 'AccessDenied' })
  })
})
