import { GetBucketCorsCommand, PutBucketCorsCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawAnswer, TestS3 } from '../../../support/test-s3.ts'
import { makeBucket, put } from './access-cases.ts'

let s3: TestS3
let bucket: string

beforeAll(async () => {
  s3 = await TestS3.open()
  bucket = await bucketWith(
    rule({ origins: ['http://one.test'], methods: ['GET', 'PUT'], headers: ['x-amz-*'], age: 60 }),
    rule({
      origins: ['https://*.two.test'],
      methods: ['POST'],
      headers: ['*'],
      exposed: ['ETag', 'x-amz-request-id'],
    }),
    rule({ origins: ['*'], methods: ['HEAD'] }),
    rule({ origins: ['http://one.test'], methods: ['DELETE'], headers: ['Content-Type'] }),
  )
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

interface Rule {
  readonly origins: readonly string[]
  readonly methods: readonly string[]
  readonly headers?: readonly string[]
  readonly exposed?: readonly string[]
  readonly age?: number
}

function rule({ age, exposed = [], headers = [], methods, origins }: Rule): string {
  const elements = (name: string, values: readonly (string | number)[]) =>
    values.map((value) => `<${name}>${value}</${name}>`).join('')
  const content = [
    elements('AllowedOrigin', origins),
    elements('AllowedMethod', methods),
    elements('AllowedHeader', headers),
    elements('ExposeHeader', exposed),
    elements('MaxAgeSeconds', age === undefined ? [] : [age]),
  ]
  return `<CORSRule>${content.join('')}</CORSRule>`
}

async function bucketWith(...rules: readonly string[]): Promise<string> {
  const name = await makeBucket(s3)
  await put(s3, `/${name}?cors`, `<CORSConfiguration>${rules.join('')}</CORSConfiguration>`)
  await put(s3, `/${name}/k`, 'data', { headers: { 'x-amz-acl': 'public-read' } })
  return name
}

function preflight(
  origin: string | undefined,
  method: string | undefined,
  headers?: string,
  path = `/${bucket}/k`,
): Promise<RawAnswer> {
  return s3.raw({
    method: 'OPTIONS',
    path,
    headers: {
      ...(origin !== undefined && { origin }),
      ...(method !== undefined && { 'access-control-request-method': method }),
      ...(headers !== undefined && { 'access-control-request-headers': headers }),
    },
  })
}

describe('a preflight', () => {
  const allowed: readonly (readonly [string, string, string | undefined, string])[] = [
    ['http://one.test', 'GET', undefined, 'GET, PUT'],
    ['http://one.test', 'PUT', 'x-amz-meta-a', 'GET, PUT'],
    ['http://one.test', 'PUT', 'X-AMZ-Meta-A, x-amz-date', 'GET, PUT'],
    ['http://one.test', 'DELETE', 'content-type', 'DELETE'],
    ['http://one.test', 'HEAD', undefined, 'HEAD'],
    ['https://a.two.test', 'POST', 'anything, at-all', 'POST'],
    ['https://a.b.two.test', 'POST', undefined, 'POST'],
    ['http://elsewhere.test', 'HEAD', undefined, 'HEAD'],
    ['null', 'HEAD', undefined, 'HEAD'],
  ]
  test.each(allowed)(
    'from %s for %s with %s is allowed',
    async (origin, method, headers, methods) => {
      const answer = await preflight(origin, method, headers)
      expect(answer).toMatchObject({ status: 200, text: '' })
      const all = method === 'HEAD'
      expect(answer.headers).toMatchObject({
        'access-control-allow-origin': all ? '*' : origin,
        'access-control-allow-methods': methods,
        vary: 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method',
      })
      expect(answer.headers['access-control-allow-credentials']).toBe(all ? undefined : 'true')
      const asked = headers?.toLowerCase()
      expect(answer.headers['access-control-allow-headers']).toBe(asked)
      const age = methods === 'GET, PUT' ? '60' : undefined
      expect(answer.headers['access-control-max-age']).toBe(age)
      const exposed = methods === 'POST' ? 'ETag, x-amz-request-id' : undefined
      expect(answer.headers['access-control-expose-headers']).toBe(exposed)
    },
  )

  const refused: readonly (readonly [string, string, string | undefined])[] = [
    ['http://two.test', 'GET', undefined],
    ['http://one.test', 'POST', undefined],
    ['HTTP://ONE.TEST', 'GET', undefined],
    ['http://one.test.evil', 'GET', undefined],
    ['http://one.test:8080', 'GET', undefined],
    ['https://two.test', 'POST', undefined],
    ['http://a.two.test', 'POST', undefined],
    ['https://a.two.test.evil', 'POST', undefined],
    ['http://one.test', 'GET', 'content-type'],
    ['http://one.test', 'DELETE', 'content-type, x-amz-date'],
    ['http://elsewhere.test', 'HEAD', 'x-amz-date'],
    ['http://one.test', 'get', undefined],
    ['http://one.test', 'PATCH', undefined],
    ['', 'GET', undefined],
    ['https://a.two.test', 'POST', 'a b'],
  ]
  test.each(refused)('from %s for %s with %s is refused', async (origin, method, headers) => {
    const answer = await preflight(origin, method, headers)
    expect(answer).toMatchObject({ status: 403, code: 'AccessForbidden' })
    expect(answer.headers['access-control-allow-origin']).toBeUndefined()
  })

  test.each([
    [undefined, 'GET'],
    ['http://one.test', undefined],
    [undefined, undefined],
  ])('with the origin %s and the method %s is no preflight', async (origin, method) => {
    expect(await preflight(origin, method)).toMatchObject({ status: 400, code: 'InvalidRequest' })
  })

  test('needs no signature, and reaches buckets and what is not there', async () => {
    for (const path of [`/${bucket}`, `/${bucket}/`, `/${bucket}/none`, `/${bucket}?list-type=2`]) {
      expect(await preflight('http://one.test', 'GET', undefined, path)).toMatchObject({
        status: 200,
      })
    }
  })

  test('of a bucket without rules, of none, and of the service is refused', async () => {
    const plain = await makeBucket(s3)
    for (const path of [`/${plain}/k`, '/no-such-bucket/k', '/']) {
      const answer = await preflight('http://one.test', 'GET', undefined, path)
      expect(answer).toMatchObject({ status: 403, code: 'AccessForbidden' })
    }
  })

  test('follows the rules as they are changed', async () => {
    const name = await bucketWith(rule({ origins: ['http://a.test'], methods: ['GET'] }))
    const path = `/${name}/k`
    expect(await preflight('http://a.test', 'GET', undefined, path)).toMatchObject({ status: 200 })
    const other = rule({ origins: ['http://b.test'], methods: ['GET'] })
    await put(s3, `/${name}?cors`, `<CORSConfiguration>${other}</CORSConfiguration>`)
    expect(await preflight('http://a.test', 'GET', undefined, path)).toMatchObject({ status: 403 })
    expect(await preflight('http://b.test', 'GET', undefined, path)).toMatchObject({ status: 200 })
    await s3.raw({ method: 'DELETE', path: `/${name}?cors`, as: s3.owner })
    expect(await preflight('http://b.test', 'GET', undefined, path)).toMatchObject({ status: 403 })
  })
})

describe('a request of a page of another origin', () => {
  const from = (origin: string, request: Parameters<TestS3['raw']>[0]) =>
    s3.raw({ ...request, headers: { ...request.headers, origin } })

  const rows: readonly (readonly [string, string, string, number])[] = [
    ['is told so when it succeeds', 'GET', 'k', 200],
    ['is told so when nothing is there', 'GET', 'none', 404],
    ['is told so when it is refused', 'PUT', 'new', 403],
  ]
  test.each(rows)('%s', async (_title, method, key, status) => {
    const as = status === 404 ? s3.owner : undefined
    const answer = await from('http://one.test', { method, path: `/${bucket}/${key}`, as })
    expect(answer.status).toBe(status)
    expect(answer.headers).toMatchObject({
      'access-control-allow-origin': 'http://one.test',
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET, PUT',
    })
    expect(answer.headers['vary']).toContain('Origin')
  })

  test.each([
    ['a wrong signature', { authorization: 'AWS a:b' }],
    ['a condition that holds', { 'if-none-match': '*' }],
    ['a range out of reach', { range: 'bytes=100-' }],
  ])('is told so with %s', async (_title, headers) => {
    const answer = await from('http://one.test', { path: `/${bucket}/k`, headers })
    expect(answer.headers['access-control-allow-origin']).toBe('http://one.test')
    expect(answer.status).toBeGreaterThanOrEqual(300)
  })

  test.each([
    ['http://two.test', 'GET'],
    ['http://one.test', 'POST'],
  ])('from %s with %s gets no leave, but its answer', async (origin, method) => {
    const answer = await from(origin, { method, path: `/${bucket}/k`, as: s3.owner })
    expect(answer.headers['access-control-allow-origin']).toBeUndefined()
    expect(answer.headers['vary']).toContain('Origin')
  })

  test('exposes what a rule says', async () => {
    const path = `/${bucket}/exposed?uploads`
    const { headers } = await from('https://x.two.test', { method: 'POST', path, as: s3.owner })
    expect(headers['access-control-expose-headers']).toBe('ETag, x-amz-request-id')
  })

  test('without an origin says nothing, and varies where there are rules', async () => {
    const plain = await s3.raw({ path: `/${bucket}/k` })
    expect(plain.headers['access-control-allow-origin']).toBeUndefined()
    const without = await makeBucket(s3)
    const answer = await from('http://one.test', { path: `/${without}`, as: s3.owner })
    expect(answer.headers['access-control-allow-origin']).toBeUndefined()
    expect(answer.headers['vary']).toBeUndefined()
  })

  test('gives a line feed of its origin no chance', async () => {
    const any = await bucketWith(rule({ origins: ['http://*'], methods: ['GET'] }))
    const answer = await from('http://a, b', { path: `/${any}/k` })
    expect(answer.status).toBe(200)
    expect(answer.headers['access-control-allow-origin']).toBe('http://a, b')
  })
})

describe('the rules', () => {
  test('of the SDK come back as they were', async () => {
    const Bucket = await makeBucket(s3)
    const CORSRules = [
      {
        ID: 'first',
        AllowedHeaders: ['*'],
        AllowedMethods: ['PUT', 'POST', 'DELETE', 'GET', 'HEAD'],
        AllowedOrigins: ['http://a.test', 'https://*.b.test'],
        ExposeHeaders: ['ETag'],
        MaxAgeSeconds: 3000,
      },
      { AllowedMethods: ['GET'], AllowedOrigins: ['*'] },
    ]
    const { sdk } = s3.owner
    await sdk.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }))
    const found = await sdk.send(new GetBucketCorsCommand({ Bucket }))
    expect(found.CORSRules).toMatchObject(CORSRules)
  })

  const good = rule({ origins: ['*'], methods: ['GET'] })
  const rows: readonly (readonly [string, string, string])[] = [
    ['none', '<CORSConfiguration/>', 'MalformedXML'],
    ['no XML', 'x', 'MalformedXML'],
    ['no body', '', 'MalformedXML'],
    ['another root', `<Cors>${good}</Cors>`, 'MalformedXML'],
    ['an unknown element', '<CORSConfiguration><Rule/></CORSConfiguration>', 'MalformedXML'],
    ['no origin', wrap(rule({ origins: [], methods: ['GET'] })), 'MalformedXML'],
    ['no method', wrap(rule({ origins: ['*'], methods: [] })), 'MalformedXML'],
    ['an unknown method', wrap(rule({ origins: ['*'], methods: ['OPTIONS'] })), 'InvalidRequest'],
    ['a method in lower case', wrap(rule({ origins: ['*'], methods: ['get'] })), 'InvalidRequest'],
    [
      'an origin of two stars',
      wrap(rule({ origins: ['*.*'], methods: ['GET'] })),
      'InvalidRequest',
    ],
    [
      'a header of two stars',
      wrap(rule({ origins: ['*'], methods: ['GET'], headers: ['*-*'] })),
      'InvalidRequest',
    ],
    [
      'a star to expose',
      wrap(rule({ origins: ['*'], methods: ['GET'], exposed: ['*'] })),
      'InvalidRequest',
    ],
    ['a negative age', wrap(rule({ origins: ['*'], methods: ['GET'], age: -1 })), 'MalformedXML'],
    ['101 rules', wrap(good.repeat(101)), 'InvalidRequest'],
    ['an entity', `<!DOCTYPE a [<!ENTITY b "c">]>${wrap(good)}`, 'MalformedXML'],
  ]
  test.each(rows)('with %s are refused', async (_title, body, code) => {
    const name = await makeBucket(s3)
    const answer = await s3.raw({ method: 'PUT', path: `/${name}?cors`, body, as: s3.owner })
    expect(answer).toMatchObject({ status: 400, code })
    const found = await s3.raw({ path: `/${name}?cors`, as: s3.owner })
    expect(found).toMatchObject({ status: 404, code: 'NoSuchCORSConfiguration' })
  })

  test('may be 100', async () => {
    const name = await makeBucket(s3)
    await put(s3, `/${name}?cors`, wrap(good.repeat(100)))
    const { text } = await s3.raw({ path: `/${name}?cors`, as: s3.owner })
    expect(text.match(/<CORSRule>/g)).toHaveLength(100)
  })
})

function wrap(rules: string): string {
  return `<CORSConfiguration>${rules}</CORSConfiguration>`
}
