import { describe, expect, test } from 'vitest'
import {
  type AuthConfig,
  authenticate,
  type SignatureForm,
} from '../../../../src/gateway/s3/auth/authenticate.ts'
import type { AccessKey } from '../../../../src/gateway/s3/auth/identity.ts'
import {
  AUTH_CONFIG,
  clockAt,
  EXAMPLE_KEY,
  hmacSha1,
  keyRing,
  OTHER_KEY,
  type RequestSketch,
  s3Request,
  signWithSmithy,
} from '../../../support/s3-signing.ts'

const NOW = '2024-03-09T07:08:09Z'
const NOW_MS = Date.parse(NOW)
const parts = { keys: keyRing(EXAMPLE_KEY, OTHER_KEY), clock: clockAt(NOW) }

const SHA256 = '0123456789abcdef'.repeat(4)
const SIGNED_CHUNKS = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'
const SIGNED_TRAILER = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER'
const UNSIGNED_TRAILER = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'
const PAYLOADS = [SHA256, 'UNSIGNED-PAYLOAD', SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER]

function verify(sketch: RequestSketch, config: AuthConfig = AUTH_CONFIG) {
  return authenticate(s3Request(sketch), parts, config)
}

interface Signing {
  readonly key?: AccessKey
  readonly payload?: string
  /** When it was signed, from now. */
  readonly offsetMs?: number
  readonly region?: string
}

type Sign = (signing: Signing) => Promise<Required<RequestSketch>>

const V4_SKETCH = { method: 'PUT', host: 's3.amazonaws.com', path: '/bucket/key', query: {} }

function signedV4(expiresInS: number | undefined): Sign {
  return async ({ key = EXAMPLE_KEY, payload = 'UNSIGNED-PAYLOAD', offsetMs = 0, region }) => {
    const headers = { 'x-amz-content-sha256': payload, 'x-amz-acl': 'private' }
    const at = new Date(NOW_MS + offsetMs)
    return await signWithSmithy(
      { ...V4_SKETCH, headers },
      {
        key,
        at,
        ...(region === undefined ? {} : { region }),
        ...(expiresInS === undefined ? {} : { expiresInS }),
      },
    )
  }
}

const signedV2Header: Sign = async ({ key = EXAMPLE_KEY, payload, offsetMs = 0 }) => {
  const date = new Date(NOW_MS + offsetMs).toUTCString()
  const amz = payload === undefined ? '' : `x-amz-content-sha256:${payload}\n`
  const signature = hmacSha1(key.secret, `PUT\n\n\n${date}\n${amz}/bucket/key`)
  const headers: Record<string, string> = {
    Host: 's3.amazonaws.com',
    Date: date,
    Authorization: `AWS ${key.accessKeyId}:${signature}`,
  }
  if (payload !== undefined) headers['x-amz-content-sha256'] = payload
  return { method: 'PUT', url: '/bucket/key', headers }
}

const signedV2Query: Sign = async ({ key = EXAMPLE_KEY, payload, offsetMs = 0 }) => {
  const expires = Math.floor((NOW_MS + offsetMs) / 1000) + 60
  const amz = payload === undefined ? '' : `x-amz-content-sha256:${payload}\n`
  const signature = hmacSha1(key.secret, `PUT\n\n\n${expires}\n${amz}/bucket/key`)
  const query = `AWSAccessKeyId=${key.accessKeyId}&Signature=${encodeURIComponent(signature)}`
  const headers: Record<string, string> = { Host: 's3.amazonaws.com' }
  if (payload !== undefined) headers['x-amz-content-sha256'] = payload
  return { method: 'PUT', url: `/bucket/key?${query}&Expires=${expires}`, headers }
}

const SIGNERS: Readonly<Record<SignatureForm, Sign>> = {
  'v4-header': signedV4(undefined),
  'v4-query': signedV4(60),
  'v2-header': signedV2Header,
  'v2-query': signedV2Query,
}

const FORMS = Object.keys(SIGNERS) as SignatureForm[]
const V4_FORMS: readonly SignatureForm[] = ['v4-header', 'v4-query']
const V2_FORMS: readonly SignatureForm[] = ['v2-header', 'v2-query']

/** The sender knows the id of a key, and not its secret. */
const WRONG_SECRET: AccessKey = { ...EXAMPLE_KEY, secret: 'wrong' }
const UNKNOWN: AccessKey = { ...EXAMPLE_KEY, accessKeyId: 'AKIAUNKNOWN' }

const MISUSES: readonly (readonly [string, Signing, Partial<Record<SignatureForm, string>>])[] = [
  [
    'the wrong secret',
    { key: WRONG_SECRET },
    Object.fromEntries(FORMS.map((form) => [form, 'SignatureDoesNotMatch'])),
  ],
  [
    "another user's secret",
    { key: { ...EXAMPLE_KEY, secret: OTHER_KEY.secret } },
    Object.fromEntries(FORMS.map((form) => [form, 'SignatureDoesNotMatch'])),
  ],
  [
    'a key nobody has',
    { key: UNKNOWN },
    Object.fromEntries(FORMS.map((form) => [form, 'InvalidAccessKeyId'])),
  ],
  [
    'a date 16 minutes ago',
    { offsetMs: -960_000 },
    {
      'v4-header': 'RequestTimeTooSkewed',
      'v4-query': 'AccessDenied',
      'v2-header': 'RequestTimeTooSkewed',
      'v2-query': 'AccessDenied',
    },
  ],
  [
    'a date in 16 minutes',
    { offsetMs: 960_000 },
    {
      'v4-header': 'RequestTimeTooSkewed',
      'v4-query': 'AccessDenied',
      'v2-header': 'RequestTimeTooSkewed',
    },
  ],
  [
    'another region',
    { region: 'eu-west-1' },
    {
      'v4-header': 'AuthorizationHeaderMalformed',
      'v4-query': 'AuthorizationQueryParametersError',
    },
  ],
]

const MISUSE_ROWS = MISUSES.flatMap(([title, signing, codes]) =>
  Object.entries(codes).map(
    ([form, code]) => [form as SignatureForm, title, code, signing] as const,
  ),
)

describe('a request', () => {
  test.each(FORMS)("signed in the form %s is its user's", async (form) => {
    for (const key of [EXAMPLE_KEY, OTHER_KEY]) {
      const found = await verify(await SIGNERS[form]({ key }))
      expect(found).toEqual({ kind: 'user', key, form, payload: { kind: 'unsigned' } })
    }
  })

  test.each(MISUSE_ROWS)(
    'signed in the form %s with %s is refused: %s',
    async (form, _, code, signing) => {
      await expect(verify(await SIGNERS[form](signing))).rejects.toMatchObject({ code })
    },
  )

  test('without any signature is anonymous', async () => {
    expect(await verify({ url: '/bucket/key?x-amz-acl=private', headers: { Host: 'h' } })).toEqual({
      kind: 'anonymous',
      payload: { kind: 'unsigned' },
    })
  })

  test.each([['us-west-9'], ['auto']])(
    'may be signed for %s where no region is configured',
    async (region) => {
      const config = { ...AUTH_CONFIG, region: undefined }
      for (const form of V4_FORMS) {
        expect(await verify(await SIGNERS[form]({ region }), config)).toMatchObject({ form })
      }
    },
  )

  test('for another region is told which one is right', async () => {
    for (const form of V4_FORMS) {
      await expect(verify(await SIGNERS[form]({ region: 'eu-west-1' }))).rejects.toMatchObject({
        status: 400,
        fields: { Region: 'us-east-1' },
      })
    }
  })
})

describe('what its body is checked against', () => {
  const chunked = (isSigned: boolean, hasTrailer: boolean) => ({
    kind: 'chunked',
    signatures: isSigned ? expect.anything() : undefined,
    hasTrailer,
  })
  const expected = new Map<string, object>([
    [SHA256, { kind: 'signed', sha256: SHA256 }],
    ['UNSIGNED-PAYLOAD', { kind: 'unsigned' }],
    [SIGNED_CHUNKS, chunked(true, false)],
    [SIGNED_TRAILER, chunked(true, true)],
    [UNSIGNED_TRAILER, chunked(false, true)],
  ])
  const rows = V4_FORMS.flatMap((form) => PAYLOADS.map((payload) => [form, payload] as const))

  test.each(rows)('in the form %s with %s', async (form, payload) => {
    const found = await verify(await SIGNERS[form]({ payload }))
    expect(found).toMatchObject({ kind: 'user', form })
    expect(found.payload).toEqual(expected.get(payload))
  })

  test.each([SHA256, 'UNSIGNED-PAYLOAD', UNSIGNED_TRAILER])(
    'without V4, with %s',
    async (payload) => {
      const headers = { 'x-amz-content-sha256': payload }
      const anonymous = await verify({ method: 'PUT', url: '/b/k', headers })
      expect(anonymous).toEqual({ kind: 'anonymous', payload: expected.get(payload) })
      for (const form of V2_FORMS) {
        const found = await verify(await SIGNERS[form]({ payload }))
        expect(found).toMatchObject({ kind: 'user', form, payload: expected.get(payload) })
      }
    },
  )

  test.each([SIGNED_CHUNKS, SIGNED_TRAILER])(
    'without V4, with %s: AccessDenied',
    async (payload) => {
      const denied = { code: 'AccessDenied', status: 403 }
      const headers = { 'x-amz-content-sha256': payload }
      await expect(verify({ method: 'PUT', url: '/b/k', headers })).rejects.toMatchObject(denied)
      for (const form of V2_FORMS) {
        await expect(verify(await SIGNERS[form]({ payload }))).rejects.toMatchObject(denied)
      }
    },
  )

  test('must be said in the header by who signs in the header: MissingSecurityHeader', async () => {
    const signed = await SIGNERS['v4-header']({})
    const { 'x-amz-content-sha256': _payload, ...headers } = signed.headers
    await expect(verify({ ...signed, headers })).rejects.toMatchObject({
      code: 'MissingSecurityHeader',
      fields: { MissingHeaderName: 'x-amz-content-sha256' },
    })
  })

  test('is not signed in a presigned request that does not say, whatever the signer hashed', async () => {
    // Without the header this signer takes the hash of an empty body; S3 takes UNSIGNED-PAYLOAD.
    const options = { key: EXAMPLE_KEY, at: new Date(NOW_MS), expiresInS: 60 }
    const signed = await signWithSmithy({ ...V4_SKETCH, headers: {} }, options)
    await expect(verify(signed)).rejects.toMatchObject({ code: 'SignatureDoesNotMatch' })
  })

  test.each([
    ['v4-header', 'InvalidArgument'],
    ['v4-query', 'InvalidArgument'],
    ['v2-header', 'InvalidArgument'],
  ] as const)('in the form %s cannot be anything else: %s', async (form, code) => {
    const signed = await SIGNERS[form]({ payload: 'STREAMING-UNSIGNED-PAYLOAD' })
    await expect(verify(signed)).rejects.toMatchObject({ code })
  })
})

// Each of these let writes through without any check of the signature in another object store.
describe('a chunked body does not replace a signature', () => {
  const keys = [WRONG_SECRET, UNKNOWN, { ...EXAMPLE_KEY, secret: OTHER_KEY.secret }]
  const rows = FORMS.flatMap((form) =>
    PAYLOADS.flatMap((payload) => keys.map((key) => [form, payload, key] as const)),
  )

  test.each(rows)('in the form %s, with %s', async (form, payload, key) => {
    await expect(verify(await SIGNERS[form]({ key, payload }))).rejects.toMatchObject({
      code: expect.stringMatching(/^(?:SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied)$/),
      status: 403,
    })
  })

  test.each(PAYLOADS)(
    'added to a presigned request, as a header: %s is refused',
    async (payload) => {
      const signed = await SIGNERS['v4-query']({})
      const headers = { ...signed.headers, 'x-amz-content-sha256': payload }
      await expect(verify({ ...signed, headers })).rejects.toMatchObject({
        code: 'AccessDenied',
        fields: { HeadersNotSigned: 'x-amz-content-sha256' },
      })
    },
  )

  test.each(PAYLOADS)(
    'added to a presigned request, in the query: %s is refused',
    async (payload) => {
      const signed = await SIGNERS['v4-query']({})
      for (const name of ['X-Amz-Content-Sha256', 'x-amz-content-sha256']) {
        const [path = '', query = ''] = signed.url.split('?')
        const url = `${path}?${name}=${payload}&${query}`
        await expect(verify({ ...signed, url })).rejects.toMatchObject({
          code: 'SignatureDoesNotMatch',
        })
      }
    },
  )

  test('with the signature of another request of the same user', async () => {
    const [one, other] = await Promise.all([
      SIGNERS['v4-header']({ payload: UNSIGNED_TRAILER }),
      SIGNERS['v4-header']({ payload: SIGNED_CHUNKS }),
    ])
    const authorization = other.headers['authorization'] ?? ''
    const headers = { ...one.headers, authorization }
    await expect(verify({ ...one, headers })).rejects.toMatchObject({
      code: 'SignatureDoesNotMatch',
    })
  })
})

describe('all that steers S3 must be signed', () => {
  test.each(V4_FORMS)('in the form %s: a header x-amz-* that is not is refused', async (form) => {
    const signed = await SIGNERS[form]({})
    const headers = { ...signed.headers, 'X-Amz-Meta-Added': '1', 'Content-Type': 'text/plain' }
    await expect(verify({ ...signed, headers })).rejects.toMatchObject({
      code: 'AccessDenied',
      fields: { HeadersNotSigned: 'x-amz-meta-added' },
    })
  })

  test('a request of which host is not signed is refused', async () => {
    const signed = await SIGNERS['v4-header']({})
    const authorization = (signed.headers['authorization'] ?? '').replace('host;', '')
    expect(authorization).not.toBe(signed.headers['authorization'])
    const headers = { ...signed.headers, authorization }
    await expect(verify({ ...signed, headers })).rejects.toMatchObject({
      code: 'AccessDenied',
      fields: { HeadersNotSigned: 'host' },
    })
  })

  test.each(V4_FORMS)('in the form %s: headers of other names may be added', async (form) => {
    const signed = await SIGNERS[form]({})
    const headers = { ...signed.headers, 'User-Agent': 'x', Range: 'bytes=0-1', Via: 'proxy' }
    expect(await verify({ ...signed, headers })).toMatchObject({ kind: 'user', form })
  })

  test('a hoisted header is signed with the query', async () => {
    const signed = await SIGNERS['v4-query']({})
    expect(signed.url).toContain('x-amz-acl=private')
    const url = signed.url.replace('x-amz-acl=private', 'x-amz-acl=public-read')
    await expect(verify({ ...signed, url })).rejects.toMatchObject({
      code: 'SignatureDoesNotMatch',
    })
    await expect(verify({ ...signed, url: `${signed.url}&x-amz-acl=x` })).rejects.toMatchObject({
      code: 'SignatureDoesNotMatch',
    })
  })
})

describe('a request of a form that is not known', () => {
  test.each([
    ['', 'AccessDenied'],
    ['Bearer token', 'InvalidArgument'],
    ['Basic dXNlcjpwYXNz', 'InvalidArgument'],
    ['AWS4 HAHAHA', 'InvalidArgument'],
    ['AWS4-HMAC-SHA512 Credential=x', 'InvalidArgument'],
    ['aws4-hmac-sha256 Credential=x', 'InvalidArgument'],
    ['AWS4-HMAC-SHA256', 'AuthorizationHeaderMalformed'],
    ['AWS4-HMAC-SHA256 Credential=HAHAHA', 'AuthorizationHeaderMalformed'],
    ['AWS4-ECDSA-P256-SHA256 Credential=x', 'NotImplemented'],
  ])('with Authorization %j is refused: %s', async (authorization, code) => {
    const headers = { Authorization: authorization }
    await expect(verify({ headers })).rejects.toMatchObject({ code })
  })

  test.each([
    ['X-Amz-Algorithm=AWS4-HMAC-SHA256', 'AuthorizationQueryParametersError'],
    ['X-Amz-Credential=AKID', 'AuthorizationQueryParametersError'],
    ['X-Amz-Signature=0', 'AuthorizationQueryParametersError'],
    ['x-amz-signature=0', 'AuthorizationQueryParametersError'],
    ['X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256', 'NotImplemented'],
    ['AWSAccessKeyId=AKID', 'AccessDenied'],
    ['Signature=0', 'AccessDenied'],
    ['signature=0&awsaccesskeyid=AKID&expires=1', 'AccessDenied'],
  ])('with the query %s is refused: %s', async (query, code) => {
    await expect(verify({ url: `/bucket?${query}` })).rejects.toMatchObject({ code })
  })

  const pairs = FORMS.flatMap((one) =>
    FORMS.filter((other) => other.endsWith('query') && other !== one).map(
      (other) => [one, other] as const,
    ),
  )

  test.each(pairs)('that is both %s and %s, each good alone, is refused', async (one, other) => {
    const [first, second] = await Promise.all([SIGNERS[one]({}), SIGNERS[other]({})])
    const [, query = ''] = second.url.split('?')
    const url = `${first.url}${first.url.includes('?') ? '&' : '?'}${query}`
    await expect(verify({ ...first, url })).rejects.toMatchObject({
      code: 'InvalidArgument',
      message: expect.stringContaining('Only one auth mechanism allowed'),
    })
  })

  test('with two good Authorization headers is refused', async () => {
    const signed = await SIGNERS['v4-header']({})
    const headers = { ...signed.headers, AUTHORIZATION: signed.headers['authorization'] ?? '' }
    await expect(verify({ ...signed, headers })).rejects.toMatchObject({
      code: 'AuthorizationHeaderMalformed',
    })
  })
})

describe('Signature Version 2, switched off', () => {
  test.each(V2_FORMS)('in the form %s is refused with what to do about it', async (form) => {
    const config = { ...AUTH_CONFIG, isV2Allowed: false }
    await expect(verify(await SIGNERS[form]({}), config)).rejects.toMatchObject({
      code: 'InvalidRequest',
      status: 400,
      message: expect.stringContaining("signature_version='s3v4'"),
    })
  })
})

describe('the key of a request', () => {
  test('may be looked up with a promise', async () => {
    const keys = { findKey: (id: string) => Promise.resolve(keyRing(EXAMPLE_KEY).findKey(id)) }
    const request = s3Request(await SIGNERS['v4-header']({}))
    expect(await authenticate(request, { ...parts, keys }, AUTH_CONFIG)).toMatchObject({
      kind: 'user',
      key: EXAMPLE_KEY,
    })
  })

  test('that is not printable is not looked up, and not repeated in the answer', async () => {
    const url = '/?AWSAccessKeyId=%00%C3%A4&Signature=0&Expires=9999999999'
    await expect(verify({ url })).rejects.toMatchObject({ code: 'InvalidAccessKeyId', fields: {} })
  })

  test('is named in the answer where nobody has it', async () => {
    await expect(verify(await SIGNERS['v4-header']({ key: UNKNOWN }))).rejects.toMatchObject({
      status: 403,
      fields: { AWSAccessKeyId: 'AKIAUNKNOWN' },
    })
  })
})
