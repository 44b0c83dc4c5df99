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
  type Attempt,
  type AttemptTools,
  GARBAGE_AUTHORIZATIONS,
  openAttempts,
  type SigningForm,
  STREAMING_LITERALS,
  signedAttempts,
} from './refused-attempts.ts'
import {
  type PlainRequest,
  signV2Header,
  signV2Query,
  signV4Header,
  signV4Query,
} from './signed-requests.ts'

let s3: TestS3
let tools: AttemptTools
let scene: Scene

beforeAll(async () => {
  s3 = await TestS3.open()
  ;({ scene, tools } = await openAttempts(s3))
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const FORMS: readonly SigningForm[] = [
  ['v4-header', signV4Header],
  ['v4-query', signV4Query],
]
const V2_FORMS: readonly SigningForm[] = [
  ['v2-header', signV2Header],
  ['v2-query', signV2Query],
]

function attemptsOf(name: string, plain: PlainRequest): readonly Attempt[] {
  const { host } = tools
  return [
    ...signedAttempts(FORMS, name, plain, tools),
    ...V2_FORMS.map(([form, sign]) => ({
      title: `${form}: Version 2 while it is off`,
      request: sign(host, s3.owner, plain),
      codes: ['InvalidRequest'],
    })),
    ...anonymousAttempts(plain),
    ...garbageAttempts(plain),
    ...mixedAttempts(plain),
  ]
}

function anonymousAttempts(plain: PlainRequest): Attempt[] {
  const { headers } = plain
  const literals = STREAMING_LITERALS.map((literal) => ({
    title: `anonymous with ${literal}`,
    request: { ...plain, headers: { ...headers, 'x-amz-content-sha256': literal } },
    codes: ['AccessDenied', 'InvalidRequest'],
  }))
  const isList = plain.path.endsWith('?delete')
  return [
    ...literals,
    ...(isList ? [] : [{ title: 'anonymous', request: plain, codes: ['AccessDenied'] }]),
  ]
}

function garbageAttempts(plain: PlainRequest): Attempt[] {
  const codes = [
    'AccessDenied',
    'AuthorizationHeaderMalformed',
    'InvalidArgument',
    'InvalidRequest',
    'MissingSecurityHeader',
    'NotImplemented',
  ]
  return GARBAGE_AUTHORIZATIONS.map((authorization) => ({
    title: `Authorization: ${authorization}`,
    request: { ...plain, headers: { ...plain.headers, authorization } },
    codes,
  }))
}

function mixedAttempts(plain: PlainRequest): Attempt[] {
  const { host } = tools
  const byHeader = signV4Header(host, s3.owner, plain)
  const byQuery = signV4Query(host, s3.owner, plain)
  const { 'x-amz-content-sha256': _omitted, ...withoutHash } = byHeader.headers ?? {}
  const withLiteral = STREAMING_LITERALS.map((payload) => ({
    title: `by query with ${payload} added afterwards`,
    request: { ...byQuery, headers: { ...byQuery.headers, 'x-amz-content-sha256': payload } },
    codes: ['AccessDenied'],
  }))
  return [
    {
      title: 'signed in header and query',
      request: { ...byQuery, headers: byHeader.headers ?? {} },
      codes: ['InvalidArgument'],
    },
    {
      title: 'without x-amz-content-sha256',
      request: { ...byHeader, headers: withoutHash },
      codes: ['MissingSecurityHeader'],
    },
    {
      title: 'a query without its signature',
      request: { ...byQuery, path: byQuery.path.replace(/&X-Amz-Signature=.*/, '') },
      codes: ['AuthorizationQueryParametersError'],
    },
    {
      title: 'a query whose names are in lower case',
      request: { ...byQuery, path: byQuery.path.replaceAll('X-Amz-', 'x-amz-') },
      codes: ['AuthorizationQueryParametersError'],
    },
    ...withLiteral,
  ]
}

async function refusalOf({ codes, request, title }: Attempt): Promise<string[]> {
  const answer = await s3.raw(request)
  const isHead = request.method === 'HEAD'
  const isRefused = isHead
    ? answer.status >= 400 && answer.status < 502 && answer.text === ''
    : codes.includes(answer.code ?? '')
  return isRefused ? [] : [`${title}: ${answer.status} ${answer.code ?? answer.text.slice(0, 80)}`]
}

describe('every operation', () => {
  test('has a case here, and no case is of none', () => {
    const names = S3_OPERATIONS.map(({ name }) => name)
    expect(Object.keys(OPERATION_CASES).sort()).toEqual([...new Set(names)].sort())
    expect(new Set(names).size).toBe(names.length)
  })

  test.each(S3_OPERATIONS)(
    '$name is refused to who may not, whatever the form',
    async (operation) => {
      const { method, name } = operation
      const before = await stateOf(s3, scene)
      const attempts = attemptsOf(name, requestOf(name, method, scene))
      expect(attempts.length).toBeGreaterThan(50)
      const failures: string[] = []
      for (const attempt of attempts) failures.push(...(await refusalOf(attempt)))
      expect(failures).toEqual([])
      expect(await stateOf(s3, scene)).toEqual(before)
    },
  )

  test.each(S3_OPERATIONS)(
    '$name is done for its owner, signed in the header',
    async (operation) => {
      const { method, name } = operation
      const own = await openScene(s3)
      const request = signV4Header(tools.host, s3.owner, requestOf(name, method, own))
      expect(outcomeOf(await s3.raw(request))).toBe(OPERATION_CASES[name]?.answer)
    },
  )

  test.each(S3_OPERATIONS)(
    '$name is done for its owner, signed in the query',
    async (operation) => {
      const { method, name } = operation
      const own = await openScene(s3)
      const request = signV4Query(tools.host, s3.owner, requestOf(name, method, own))
      expect(outcomeOf(await s3.raw(request))).toBe(OPERATION_CASES[name]?.answer)
    },
  )

  const unchunked = S3_OPERATIONS.filter(({ takesChunks }) => takesChunks !== true)
  test.each(unchunked)('$name takes no chunks, even from its owner', async ({ method, name }) => {
    const before = await stateOf(s3, scene)
    for (const payload of STREAMING_LITERALS) {
      const plain = requestOf(name, method, scene)
      const answer = await s3.raw(signV4Header(tools.host, s3.owner, plain, { payload }))
      if (method === 'HEAD') expect(answer.status).toBe(400)
      else expect(answer.code).toBe('InvalidRequest')
    }
    expect(await stateOf(s3, scene)).toEqual(before)
  })

  const withBody = S3_OPERATIONS.filter(({ name }) => OPERATION_CASES[name]?.body !== undefined)
  test.each(withBody)('$name is not done with another body than was signed', async (operation) => {
    const { method, name } = operation
    const before = await stateOf(s3, scene)
    const signed = signV4Header(tools.host, s3.owner, requestOf(name, method, scene))
    const answer = await s3.raw({ ...signed, body: `${OPERATION_CASES[name]?.body} ` })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    if (OPERATION_CASES[name]?.answer !== 'NotImplemented') {
      expect(['XAmzContentSHA256Mismatch', 'BadDigest']).toContain(answer.code)
    }
    expect(await stateOf(s3, scene)).toEqual(before)
  })
})
