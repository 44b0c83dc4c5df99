import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signedHeaders, TestS3, type TestUser } from '../../../support/test-s3.ts'
import { BucketScene, codeOf, patternBytes, RawTalk, textOf } from './s3-scene.ts'

const MIB = 1024 * 1024

let s3: TestS3
let bucket: BucketScene
let host: string

beforeAll(async () => {
  s3 = await TestS3.open()
  bucket = await BucketScene.make(s3)
  host = new URL(s3.url).host
  await bucket.put('there', 'hello')
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const UNSIGNED = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }

function sign(
  method: string,
  path: string,
  more: Readonly<Record<string, string>> = {},
  user: TestUser = s3.owner,
): Promise<Record<string, string>> {
  const headers = { host, ...more }
  return signedHeaders(user, { method, path, headers, bytes: Buffer.alloc(0) })
}

describe('Expect: 100-continue', () => {
  const EXPECTING = { expect: '100-continue', 'content-length': '5', ...UNSIGNED }

  test('is answered by 100, then by 200; the connection stays', async () => {
    const path = bucket.path('expected')
    using talk = await RawTalk.open(s3)
    for (let time = 1; time <= 2; time++) {
      talk.sendHead('PUT', path, await sign('PUT', path, EXPECTING))
      const before = await talk.answers(2 * time - 1)
      expect(before.at(-1)?.status).toBe(100)
      talk.send(`hell${time}`)
      const after = await talk.answers(2 * time)
      expect(after.at(-1)?.status).toBe(200)
      expect(await bucket.get('expected')).toMatchObject({ text: `hell${time}` })
    }
  })

  test.each([
    ['a bucket that is not there', '/no-such-bucket/a', 404, 'NoSuchBucket', {}],
    ['a bad signature', undefined, 403, 'SignatureDoesNotMatch', { 'content-length': '6' }],
    ['a condition', '', 412, 'PreconditionFailed', { 'if-none-match': '*' }],
    ['an MD5 that is none', undefined, 400, 'InvalidDigest', { 'content-md5': 'x' }],
    ['metadata', undefined, 400, 'MetadataTooLarge', { 'x-amz-meta-a': 'x'.repeat(2048) }],
  ] as const)('with %s no body is asked for', async (what, wanted, status, code, more) => {
    const path = wanted === '' ? bucket.path('there') : (wanted ?? bucket.path('new'))
    const isSpoilt = what === 'a bad signature'
    const headers = await sign('PUT', path, { ...EXPECTING, ...(isSpoilt ? {} : more) })
    using talk = await RawTalk.open(s3)
    talk.sendHead('PUT', path, isSpoilt ? flipSignature(headers) : headers)
    const answers = await talk.answers(1)
    expect(answers.map((answer) => [answer.status, codeOf(answer)])).toEqual([[status, code]])
    // Whether the body comes now nobody can know: nothing else can follow on this connection.
    expect(answers[0]?.headers.connection).toBe('close')
    await talk.closed()
  })

  test('of somebody who may not, or of nobody', async () => {
    const path = bucket.path('new')
    for (const headers of [
      await sign('PUT', path, EXPECTING, s3.other),
      { host, expect: '100-continue', 'content-length': '5' },
    ]) {
      using talk = await RawTalk.open(s3)
      talk.sendHead('PUT', path, headers)
      const answers = await talk.answers(1)
      expect(answers.map((answer) => [answer.status, codeOf(answer)])).toEqual([
        [403, 'AccessDenied'],
      ])
    }
  })

  test('a large body that turns out wrong is answered all the same', async () => {
    const path = bucket.path('wrong')
    const bytes = patternBytes(3 * MIB)
    const more = { ...EXPECTING, 'content-length': `${bytes.length}` }
    const chunked = {
      ...more,
      'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      'x-amz-decoded-content-length': '3000000',
    }
    using talk = await RawTalk.open(s3)
    talk.sendHead('PUT', path, await sign('PUT', path, chunked))
    expect((await talk.answers(1))[0]?.status).toBe(100)
    talk.send(bytes)
    const answers = await talk.answers(2)
    expect(answers.map((answer) => answer.status)).toEqual([100, 400])
    const good = bucket.path('there')
    talk.sendHead('GET', good, await sign('GET', good))
    expect((await talk.answers(3))[2]).toMatchObject({ status: 200, body: Buffer.from('hello') })
  })

  test.each(['200', '100-Continue', '', 'nonsense', '100-continue, 200'])(
    'Expect: %s is no reason to refuse',
    async (expectation) => {
      const path = bucket.path('expects')
      const headers = await sign('PUT', path, { ...UNSIGNED, 'content-length': '5' })
      using talk = await RawTalk.open(s3)
      talk.sendHead('PUT', path, { ...headers, expect: expectation })
      talk.send('hello')
      const answers = await talk.answers(expectation.startsWith('100') ? 2 : 1)
      expect(answers.at(-1)?.status).toBe(200)
      expect(await bucket.get('expects')).toMatchObject({ text: 'hello' })
    },
  )
})

function flipSignature(headers: Readonly<Record<string, string>>): Record<string, string> {
  const { authorization = '' } = headers
  const last = authorization.endsWith('0') ? '1' : '0'
  return { ...headers, authorization: authorization.slice(0, -1) + last }
}

describe('one connection', () => {
  test('takes errors and successes in turn', async () => {
    using talk = await RawTalk.open(s3)
    const steps = [
      ['GET', bucket.path('there'), 200],
      ['GET', bucket.path('nothing'), 404],
      ['GET', '/no-such-bucket', 404],
      ['PATCH', bucket.path('there'), 405],
      ['DELETE', bucket.path('nothing'), 204],
      ['GET', bucket.path('there'), 200],
    ] as const
    for (const [at, [method, path, status]] of steps.entries()) {
      talk.sendHead(method, path, await sign(method, path))
      const answers = await talk.answers(at + 1)
      expect([method, path, answers[at]?.status]).toEqual([method, path, status])
    }
  })

  test('takes several requests before the first is answered, and answers in order', async () => {
    using talk = await RawTalk.open(s3)
    const paths = ['there', 'nothing', 'there', 'nothing'].map((key) => bucket.path(key))
    for (const path of paths) talk.sendHead('GET', path, await sign('GET', path))
    const answers = await talk.answers(4)
    expect(answers.map(({ status }) => status)).toEqual([200, 404, 200, 404])
  })

  test('HEAD has no body, whatever it says', async () => {
    using talk = await RawTalk.open(s3)
    const heads = [
      [bucket.path('there'), 200],
      [bucket.path('nothing'), 404],
      ['/no-such-bucket', 404],
      [`/${bucket.name}`, 200],
      [bucket.path('there', '?versionId=x'), 400],
      [bucket.path('%'), 404],
    ] as const
    for (const [path] of heads) talk.sendHead('HEAD', path, await sign('HEAD', path))
    const answers = await talk.answers(heads.length, true)
    expect(answers.map(({ status }) => status)).toEqual(heads.map(([, status]) => status))
    expect(talk.text).not.toContain('<')
  })

  test('a body that a GET or a refused PUT has is passed over', async () => {
    using talk = await RawTalk.open(s3)
    const there = bucket.path('there')
    const body = patternBytes(200_000)
    const more = { ...UNSIGNED, 'content-length': String(body.length) }
    talk.sendHead('GET', there, await sign('GET', there, more))
    talk.send(body)
    expect((await talk.answers(1))[0]?.status).toBe(200)
    talk.sendHead('PUT', there, { host, 'content-length': String(body.length) })
    talk.send(body)
    expect((await talk.answers(2))[1]?.status).toBe(403)
    talk.sendHead('GET', there, await sign('GET', there))
    expect((await talk.answers(3))[2]?.status).toBe(200)
  })

  test('Connection: close is obeyed', async () => {
    using talk = await RawTalk.open(s3)
    const path = bucket.path('there')
    talk.sendHead('GET', path, { ...(await sign('GET', path)), connection: 'close' })
    await talk.closed()
    expect((await talk.answers(1))[0]?.status).toBe(200)
  })

  test('HTTP/1.0 is answered and closed', async () => {
    using talk = await RawTalk.open(s3)
    talk.send('GET / HTTP/1.0\r\n\r\n')
    await talk.closed()
    expect(talk.text).toMatch(/^HTTP\/1\.1 403 /)
  })
})

describe('what is no proper request', () => {
  test.each([
    ['a negative Content-Length', 'PUT /b/a HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n'],
    ['an empty Content-Length', 'PUT /b/a HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n'],
    ['a Content-Length of letters', 'PUT /b/a HTTP/1.1\r\nHost: h\r\nContent-Length: a\r\n\r\n'],
    [
      'two lengths',
      'PUT /b/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na',
    ],
    [
      'a length and chunks',
      'PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n',
    ],
    ['raw UTF-8 in the path', 'GET /b/\xc3\xbc HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['a space in the path', 'GET /b/a b HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['a header without a colon', 'GET /b/a HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n'],
    ['a space before the colon', 'GET /b/a HTTP/1.1\r\nHost : h\r\n\r\n'],
    ['a NUL in a header', 'GET /b/a HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n'],
    ['another protocol', 'SSH-2.0-OpenSSH_9.0\r\n\r\n'],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['a method of letters that is none', 'NONSENSE /b/a HTTP/1.1\r\nHost: h\r\n\r\n'],
  ])('%s is 400 in XML, with a request id, and the end', async (_, bytes) => {
    using talk = await RawTalk.open(s3)
    talk.send(bytes)
    await talk.closed()
    const [answer] = await talk.answers(1)
    expect(answer?.status).toBe(400)
    const id = answer?.headers['x-amz-request-id']
    expect(id).toMatch(/^[0-9A-F]{16}$/)
    expect(answer?.headers['content-type']).toBe('application/xml')
    expect(answer && codeOf(answer)).toBe('InvalidRequest')
    expect(textOf(answer?.body.toString() ?? '', 'RequestId')).toBe(id)
  })

  test.each([
    ['no host', 'GET /b/a HTTP/1.1\r\n\r\n'],
    [
      'an unknown transfer encoding',
      'PUT /b/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n',
    ],
  ])('%s ends the connection before anything happens', async (_, bytes) => {
    using talk = await RawTalk.open(s3)
    talk.send(bytes)
    await talk.closed()
    for (const { status } of await talk.answers(1)) expect(status).toBe(400)
  })

  test('headers of more than 16 KiB are 431, just below they are taken', async () => {
    const path = bucket.path('there')
    const fits = await sign('GET', path)
    using first = await RawTalk.open(s3)
    first.sendHead('GET', path, { ...fits, 'x-other': 'x'.repeat(14_000) })
    expect((await first.answers(1))[0]?.status).toBe(200)
    using second = await RawTalk.open(s3)
    second.sendHead('GET', path, { ...fits, 'x-other': 'x'.repeat(17_000) })
    const [answer] = await second.answers(1)
    expect(answer?.status).toBe(431)
    expect(answer && codeOf(answer)).toBe('InvalidRequest')
  })

  test('a body in broken chunks of HTTP is refused, and nothing stored', async () => {
    const path = bucket.path('broken')
    const headers = await sign('PUT', path, { ...UNSIGNED, 'transfer-encoding': 'chunked' })
    using talk = await RawTalk.open(s3)
    talk.sendHead('PUT', path, headers)
    talk.send('5\r\nhello\r\nzz\r\nnonsense')
    await talk.closed()
    expect(await bucket.head('broken')).toMatchObject({ status: 404 })
    expect(await bucket.get('there')).toMatchObject({ status: 200 })
  })
})

describe('paths are never resolved', () => {
  test.each([
    ['//', 404],
    ['//there', 404],
    ['///', 404],
    ['/./x', 404],
    ['/../x', 404],
    ['/.', 404],
    ['/..', 404],
  ])('%s is %d', async (path, status) => {
    const answer = await s3.raw({ path, as: s3.root })
    expect([answer.status, answer.code]).toEqual([status, 'NoSuchBucket'])
  })

  test('a bucket is not found behind two slashes, nor by going up from another', async () => {
    const other = await BucketScene.make(s3)
    await other.put('secret', 'x')
    for (const path of [
      `//${other.name}/secret`,
      `/${bucket.name}/../${other.name}/secret`,
      `/./${other.name}/secret`,
    ]) {
      expect(await s3.raw({ path, as: s3.root })).toMatchObject({ status: 404 })
    }
  })

  test.each(['*', 'there', 'ftp://host/path'])('a target like %s is refused', async (target) => {
    using talk = await RawTalk.open(s3)
    talk.send(`OPTIONS ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    const [answer] = await talk.answers(1)
    expect(answer?.status).toBe(400)
    expect(answer?.headers['x-amz-request-id']).toBeDefined()
  })
})

describe('methods', () => {
  test.each([
    ['PATCH', 405],
    ['TRACE', 405],
    ['PROPFIND', 405],
    ['LOCK', 405],
    ['MKCOL', 405],
    ['POST', 405],
  ])('%s of an object is %d', async (method, status) => {
    const answer = await bucket.request(method, 'there')
    expect([answer.status, answer.code]).toEqual([status, 'MethodNotAllowed'])
    expect(await bucket.get('there')).toMatchObject({ text: 'hello' })
  })

  test('OPTIONS without a rule is 403, without an origin 400', async () => {
    const headers = { origin: 'https://example.com', 'access-control-request-method': 'GET' }
    const path = bucket.path('there')
    expect(await s3.raw({ method: 'OPTIONS', path, headers })).toMatchObject({ status: 403 })
    expect(await s3.raw({ method: 'OPTIONS', path })).toMatchObject({ status: 400 })
  })

  test('methods in small letters are other methods', async () => {
    using talk = await RawTalk.open(s3)
    talk.send(`get / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    expect((await talk.answers(1))[0]?.status).toBe(400)
  })
})

describe('every answer', () => {
  const REQUESTS = [
    ['GET', '/', 403],
    ['GET', '/no-such-bucket', 404],
    ['GET', '/no-such-bucket/a?b=c', 404],
    ['PUT', '/Bad_Name', 403],
    ['GET', '/%ff', 400],
    ['PATCH', '/x', 405],
    ['GET', '/a/%3Ckey%3E', 404],
    ['OPTIONS', '/x', 400],
  ] as const

  test.each(REQUESTS)('to a bad %s %s says who it is about', async (method, path, status) => {
    const answer = await s3.raw({ method, path })
    expect(answer.status).toBe(status)
    const { headers, text } = answer
    expect(headers['content-type']).toBe('application/xml')
    expect(headers['x-amz-request-id']).toMatch(/^[0-9A-F]{16}$/)
    expect(text.startsWith('<?xml version="1.0" encoding="UTF-8"?>')).toBe(true)
    expect(textOf(text, 'Code')).toMatch(/^[A-Za-z]+$/)
    expect(textOf(text, 'Message')).toMatch(/./)
    expect(textOf(text, 'Resource')).toBe(path.split('?')[0])
    expect(textOf(text, 'RequestId')).toBe(headers['x-amz-request-id'])
  })

  test('has an id of its own, a date and a server', async () => {
    const ids = new Set<string>()
    for (const key of ['there', 'nothing', 'there']) {
      const { headers } = await bucket.get(key)
      expect(headers['date']).toMatch(/^\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$/)
      expect(headers['server']).toBe('Hayloft')
      ids.add(headers['x-amz-request-id'] ?? '')
    }
    expect(ids.size).toBe(3)
    expect(ids.has('')).toBe(false)
  })

  test('to a wrong signature shows what was signed, never the secret', async () => {
    const path = bucket.path('there')
    const headers = flipSignature(await sign('GET', path))
    const answer = await s3.raw({ path, headers })
    expect(answer).toMatchObject({ status: 403, code: 'SignatureDoesNotMatch' })
    expect(answer.text).not.toContain(s3.owner.secretAccessKey)
    expect(textOf(answer.text, 'StringToSign')).toContain('AWS4-HMAC-SHA256')
  })
})
