import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import aws4 from 'aws4'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawAnswer, TestS3 } from '../../../support/test-s3.ts'
import { makeBucket, put } from './access-cases.ts'
import { type SigningOptions, sha256, signV4Query } from './signed-requests.ts'

let s3: TestS3
let bucket: string

beforeAll(async () => {
  s3 = await TestS3.open()
  bucket = await makeBucket(s3)
  await put(s3, `/${bucket}/k`, 'as it was')
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

function pathOf(url: string): string {
  return url.slice(new URL(url).origin.length)
}

async function fetchUrl(
  url: string,
  method = 'GET',
  body = '',
  headers: Readonly<Record<string, string>> = {},
): Promise<RawAnswer> {
  return await s3.raw({ method, path: pathOf(url), body, headers })
}

function presign(
  path: string,
  options: SigningOptions & { readonly method?: string } = {},
): string {
  const { method = 'GET', ...signing } = options
  return signV4Query(new URL(s3.url).host, s3.owner, { method, path }, signing).path
}

describe('URLs of the SDK', () => {
  test('put, show, head and delete an object', async () => {
    const Bucket = bucket
    const Key = 'sdk/a b+c&d=é.txt'
    const { sdk } = s3.owner
    const putUrl = await getSignedUrl(sdk, new PutObjectCommand({ Bucket, Key }))
    expect(await fetchUrl(putUrl, 'PUT', 'by url')).toMatchObject({ status: 200 })
    const getUrl = await getSignedUrl(sdk, new GetObjectCommand({ Bucket, Key }))
    expect(await fetchUrl(getUrl)).toMatchObject({ status: 200, text: 'by url' })
    const headUrl = await getSignedUrl(sdk, new HeadObjectCommand({ Bucket, Key }))
    const head = await fetchUrl(headUrl, 'HEAD')
    expect(head).toMatchObject({ status: 200, text: '' })
    expect(head.headers['content-length']).toBe('6')
    expect(await fetchUrl(getUrl, 'HEAD')).toMatchObject({ status: 403 })
    const deleteUrl = await getSignedUrl(sdk, new DeleteObjectCommand({ Bucket, Key }))
    expect(await fetchUrl(deleteUrl)).toMatchObject({ code: 'SignatureDoesNotMatch' })
    expect(await fetchUrl(deleteUrl, 'DELETE')).toMatchObject({ status: 204 })
    expect(await fetchUrl(getUrl)).toMatchObject({ code: 'NoSuchKey' })
  })

  test('carry the checksum of no body, which is no promise', async () => {
    const command = new PutObjectCommand({ Bucket: bucket, Key: 'placeholder' })
    const url = await getSignedUrl(s3.owner.sdk, command)
    expect(url).toContain('x-amz-checksum-crc32=AAAAAA%3D%3D')
    for (const body of ['some bytes', '', 'x'.repeat(2_000_000)]) {
      expect(await fetchUrl(url, 'PUT', body)).toMatchObject({ status: 200 })
      const { text } = await s3.raw({ path: `/${bucket}/placeholder`, as: s3.owner })
      expect(text).toBe(body)
    }
  })

  test('keep a checksum that was given', async () => {
    const body = 'checked'
    const ChecksumSHA256 = Buffer.from(sha256(body), 'hex').toString('base64')
    const command = new PutObjectCommand({ Bucket: bucket, Key: 'sum', ChecksumSHA256 })
    const url = await getSignedUrl(s3.owner.sdk, command)
    expect(await fetchUrl(url, 'PUT', 'changed')).toMatchObject({ code: 'BadDigest' })
    expect(await fetchUrl(url, 'PUT', body)).toMatchObject({ status: 200 })
  })

  test('carry metadata, lists, tags and classes in the query', async () => {
    const command = new PutObjectCommand({
      Bucket: bucket,
      Key: 'hoisted',
      ACL: 'public-read',
      Metadata: { color: 'green' },
      StorageClass: 'STANDARD',
      Tagging: 'team=blue',
    })
    const url = await getSignedUrl(s3.owner.sdk, command)
    expect(url).toContain('x-amz-meta-color=green')
    expect(await fetchUrl(url, 'PUT', 'hoisted')).toMatchObject({ status: 200 })
    const { headers, text } = await s3.raw({ path: `/${bucket}/hoisted` })
    expect(text).toBe('hoisted')
    expect(headers['x-amz-meta-color']).toBe('green')
    const tagging = await s3.raw({ path: `/${bucket}/hoisted?tagging`, as: s3.owner })
    expect(tagging.text).toContain('<Value>blue</Value>')
    for (const changed of [
      url.replace('public-read', 'private'),
      url.replace('green', 'red'),
      url.replace('team%3Dblue', 'team%3Dred'),
      url.replace('&x-amz-acl=public-read', ''),
      `${url}&x-amz-meta-more=1`,
    ]) {
      expect(changed).not.toBe(url)
      expect(await fetchUrl(changed, 'PUT', 'x')).toMatchObject({ code: 'SignatureDoesNotMatch' })
    }
  })

  test('may demand headers', async () => {
    const command = new PutObjectCommand({ Bucket: bucket, Key: 'type', ContentType: 'text/x-sdk' })
    const signableHeaders = new Set(['content-type'])
    const url = await getSignedUrl(s3.owner.sdk, command, { signableHeaders })
    expect(await fetchUrl(url, 'PUT', 'x')).toMatchObject({ code: 'SignatureDoesNotMatch' })
    const type = { 'content-type': 'text/x-sdk' }
    expect(await fetchUrl(url, 'PUT', 'x', type)).toMatchObject({ status: 200 })
    const { headers } = await s3.raw({ path: `/${bucket}/type`, as: s3.owner })
    expect(headers['content-type']).toBe('text/x-sdk')
  })

  test('override headers of the answer, and are signed with them', async () => {
    const command = new GetObjectCommand({
      Bucket: bucket,
      Key: 'k',
      ResponseContentType: 'text/x-override',
      ResponseContentDisposition: 'attachment; filename="a b.txt"',
    })
    const url = await getSignedUrl(s3.owner.sdk, command)
    expect((await fetchUrl(url)).headers).toMatchObject({
      'content-type': 'text/x-override',
      'content-disposition': 'attachment; filename="a b.txt"',
    })
    const changed = url.replace('x-override', 'html')
    expect(await fetchUrl(changed)).toMatchObject({ code: 'SignatureDoesNotMatch' })
  })

  test('take a range and conditions beside them', async () => {
    const command = new GetObjectCommand({ Bucket: bucket, Key: 'k' })
    const url = await getSignedUrl(s3.owner.sdk, command)
    const range = { range: 'bytes=0-1' }
    expect(await fetchUrl(url, 'GET', '', range)).toMatchObject({ status: 206, text: 'as' })
    expect(await fetchUrl(url, 'GET', '', { 'if-none-match': '*' })).toMatchObject({ status: 304 })
  })

  test('are for one part of an upload', async () => {
    const started = await s3.raw({ method: 'POST', path: `/${bucket}/up?uploads`, as: s3.owner })
    const [, UploadId = ''] = /<UploadId>(.*)<\/UploadId>/.exec(started.text) ?? []
    const where = { Bucket: bucket, Key: 'up', UploadId, PartNumber: 1 }
    const url = await getSignedUrl(s3.owner.sdk, new UploadPartCommand(where))
    expect(await fetchUrl(url, 'PUT', 'part')).toMatchObject({ status: 200 })
    const second = url.replace('partNumber=1', 'partNumber=2')
    expect(await fetchUrl(second, 'PUT', 'part')).toMatchObject({ code: 'SignatureDoesNotMatch' })
  })

  test('give another user no more than it has', async () => {
    const command = new GetObjectCommand({ Bucket: bucket, Key: 'k' })
    const url = await getSignedUrl(s3.other.sdk, command)
    expect(await fetchUrl(url)).toMatchObject({ status: 403, code: 'AccessDenied' })
  })
})

describe('how long a URL is good', () => {
  const ago = (seconds: number) => new Date(Date.now() - seconds * 1000)
  const rows: readonly (readonly [string, SigningOptions, number, string | undefined])[] = [
    ['1 s, from in a minute', { expiresS: 1, at: ago(-60) }, 200, undefined],
    ['a week', { expiresS: 604_800 }, 200, undefined],
    ['a week, six days ago', { expiresS: 604_800, at: ago(6 * 86_400) }, 200, undefined],
    ['a week, eight days ago', { expiresS: 604_800, at: ago(8 * 86_400) }, 403, 'AccessDenied'],
    ['a week and a second', { expiresS: 604_801 }, 403, 'AccessDenied'],
    ['0 s', { expiresS: 0 }, 403, 'AccessDenied'],
    ['-1 s', { expiresS: -1 }, 403, 'AccessDenied'],
    ['a minute, two minutes ago', { expiresS: 60, at: ago(120) }, 403, 'AccessDenied'],
    ['an hour, half an hour ago', { expiresS: 3600, at: ago(1800) }, 200, undefined],
    ['from in 10 minutes', { at: ago(-10 * 60) }, 200, undefined],
    ['from in 20 minutes', { at: ago(-20 * 60) }, 403, 'AccessDenied'],
    ['no number', { expiresS: 'x' }, 400, 'AuthorizationQueryParametersError'],
    ['a fraction', { expiresS: '1.5' }, 400, 'AuthorizationQueryParametersError'],
    ['nothing', { expiresS: '' }, 400, 'AuthorizationQueryParametersError'],
    ['a very large number', { expiresS: '9'.repeat(30) }, 400, 'AuthorizationQueryParametersError'],
  ]
  test.each(rows)('%s', async (_title, options, status, code) => {
    expect(await s3.raw({ path: presign(`/${bucket}/k`, options) })).toMatchObject({ status, code })
    const method = 'PUT'
    const path = presign(`/${bucket}/expiry`, { ...options, method })
    expect(await s3.raw({ method, path, body: 'x' })).toMatchObject({ status, code })
  })
})

describe('what a URL must have', () => {
  test.each(['Algorithm', 'Credential', 'Date', 'Expires', 'SignedHeaders', 'Signature'])(
    'without X-Amz-%s it is refused',
    async (name) => {
      const path = presign(`/${bucket}/k`).replace(new RegExp(`&?X-Amz-${name}=[^&]*`), '')
      const answer = await s3.raw({ path })
      expect(answer).toMatchObject({ status: 400, code: 'AuthorizationQueryParametersError' })
    },
  )

  const changes: readonly (readonly [string, RegExp, string, string])[] = [
    [
      'another algorithm',
      /AWS4-HMAC-SHA256/,
      'AWS4-HMAC-SHA1',
      'AuthorizationQueryParametersError',
    ],
    ['SigV4A', /AWS4-HMAC-SHA256/, 'AWS4-ECDSA-P256-SHA256', 'NotImplemented'],
    ['another service', /%2Fs3%2F/, '%2Fec2%2F', 'AuthorizationQueryParametersError'],
    [
      'another day of the scope',
      /(X-Amz-Credential=\w+%2F)\d{8}/,
      '$120200101',
      'AuthorizationQueryParametersError',
    ],
    ['another region', /us-east-1/, 'eu-west-1', 'SignatureDoesNotMatch'],
    ['another date', /(X-Amz-Date=\d{8}T)\d{6}/, '$1000000', 'SignatureDoesNotMatch|AccessDenied'],
    ['more time', /Expires=900/, 'Expires=901', 'SignatureDoesNotMatch'],
    ['no signed host', /SignedHeaders=host/, 'SignedHeaders=date', 'AccessDenied'],
    ['another signature', /Signature=./, 'Signature=z', 'SignatureDoesNotMatch'],
    ['a shorter signature', /(Signature=\w{10})\w*/, '$1', 'SignatureDoesNotMatch'],
    ['no signature', /(Signature=)\w*/, '$1', 'SignatureDoesNotMatch'],
    ['another key', /\/k\?/, '/other?', 'SignatureDoesNotMatch'],
    ['a parameter', /\?/, '?versionId=null&', 'SignatureDoesNotMatch'],
    ['a sub-resource', /\?/, '?acl&', 'SignatureDoesNotMatch'],
    ['a hoisted header', /\?/, '?x-amz-acl=public-read&', 'SignatureDoesNotMatch'],
    ['a second signature', /$/, '&X-Amz-Signature=0', 'AuthorizationQueryParametersError'],
    ['a second expiry', /$/, '&X-Amz-Expires=900', 'AuthorizationQueryParametersError'],
  ]
  test.each(changes)('%s is refused', async (_title, from, to, codes) => {
    const path = presign(`/${bucket}/k`)
    const changed = path.replace(from, to)
    expect(changed).not.toBe(path)
    expect(codes.split('|')).toContain((await s3.raw({ path: changed })).code)
  })

  test('a header of S3 that came along is refused', async () => {
    const path = presign(`/${bucket}/sent`, { method: 'PUT' })
    for (const name of ['x-amz-acl', 'x-amz-meta-a', 'x-amz-copy-source', 'X-Amz-Tagging']) {
      const answer = await s3.raw({
        method: 'PUT',
        path,
        headers: { [name]: 'private' },
        body: 'x',
      })
      expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    }
    expect(await s3.raw({ path: `/${bucket}/sent`, as: s3.owner })).toMatchObject({ status: 404 })
  })

  test.each([
    ['x-amz-meta-a=b%0D%0ASet-Cookie%3A%20c', 400],
    ['x-amz-meta-a=%00', 400],
    ['x-amz-meta-a%20b=c', 400],
    ['x-amz-meta-%0A=c', 400],
    ['x-amz-meta-a=%C3%A9', 200],
  ])('metadata in the query like %s answers %d', async (parameter, status) => {
    const method = 'PUT'
    const path = presign(`/${bucket}/meta?${parameter}`, { method })
    expect(await s3.raw({ method, path, body: 'x' })).toMatchObject({ status })
    const found = await s3.raw({ path: `/${bucket}/meta`, as: s3.owner })
    expect(found.status).toBe(status === 200 ? 200 : 404)
  })

  test('parameters that stand for headers mean nothing without a signature in the query', async () => {
    const request = {
      method: 'PUT',
      path: `/${bucket}/plain?x-amz-meta-a=b`,
      body: 'x',
      as: s3.owner,
    }
    expect(await s3.raw(request)).toMatchObject({ status: 200 })
    const { headers } = await s3.raw({ path: `/${bucket}/plain`, as: s3.owner })
    expect(headers['x-amz-meta-a']).toBeUndefined()
  })

  test('a body that was promised must come', async () => {
    const method = 'PUT'
    const path = presign(`/${bucket}/promised`, { method, payload: sha256('promised') })
    const other = await s3.raw({ method, path, body: 'other' })
    expect(other).toMatchObject({ status: 400, code: 'XAmzContentSHA256Mismatch' })
    expect(await s3.raw({ method, path, body: 'promised' })).toMatchObject({ status: 200 })
  })
})

describe('URLs of aws4', () => {
  test.each(['GET', 'HEAD', 'PUT', 'DELETE'])('%s', async (method) => {
    await put(s3, `/${bucket}/aws4`, 'aws4')
    const { host } = new URL(s3.url)
    const target = { host, method, path: `/${bucket}/aws4`, headers: {} }
    const request = { ...target, service: 's3', region: 'us-east-1', signQuery: true }
    const { path } = aws4.sign({ ...request }, s3.owner)
    const answer = await s3.raw({ method, path, body: method === 'PUT' ? 'new' : '' })
    expect(answer.status).toBe(method === 'DELETE' ? 204 : 200)
    const refused = aws4.sign({ ...request }, { ...s3.owner, secretAccessKey: 'x' })
    expect(await s3.raw({ method, path: refused.path })).toMatchObject({ status: 403 })
  })
})
