import { describe, expect, test } from 'vitest'
import { authenticate } from '../../../../src/gateway/s3/auth/authenticate.ts'
import { effectiveHeader } from '../../../../src/gateway/s3/auth/hoisted-headers.ts'
import {
  AUTH_CONFIG,
  asBytes,
  clockAt,
  EXAMPLE_KEY,
  hmacSha1,
  keyRing,
  type RequestSketch,
  s3Request,
} from '../../../support/s3-signing.ts'

const { accessKeyId, secret } = EXAMPLE_KEY
const keys = keyRing(EXAMPLE_KEY)
const MISMATCH = { code: 'SignatureDoesNotMatch', status: 403 }

function verify(sketch: RequestSketch, iso: string) {
  return authenticate(s3Request(sketch), { keys, clock: clockAt(iso) }, AUTH_CONFIG)
}

interface Example {
  readonly date: string
  readonly method?: string
  readonly url: string
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly signature: string
}

// Source: Amazon S3 user guide, "Signing and authenticating REST requests" (Signature Version 2).
const EXAMPLES: readonly (readonly [string, Example])[] = [
  [
    'object GET',
    {
      date: 'Tue, 27 Mar 2007 19:36:42 +0000',
      url: '/photos/puppy.jpg',
      signature: 'bWq2s1WEIj+Ydj0vQ697zp+IXMU=',
    },
  ],
  [
    'object PUT',
    {
      date: 'Tue, 27 Mar 2007 21:15:45 +0000',
      method: 'PUT',
      url: '/photos/puppy.jpg',
      headers: { 'Content-Type': 'image/jpeg', 'Content-Length': '94328' },
      signature: 'MyyxeRY7whkBe+bq8fHCL/2kKUg=',
    },
  ],
  [
    'list',
    {
      date: 'Tue, 27 Mar 2007 19:42:41 +0000',
      url: '/?prefix=photos&max-keys=50&marker=puppy',
      signature: 'htDYFYduRNen8P9ZfE/s9SuKy0U=',
    },
  ],
  [
    'fetch of an ACL',
    {
      date: 'Tue, 27 Mar 2007 19:44:46 +0000',
      url: '/?acl',
      signature: 'c2WLPFtWHVgbEmeEG93a4cG37dM=',
    },
  ],
  [
    'upload with metadata, to a bucket with dots',
    {
      date: 'Tue, 27 Mar 2007 21:06:08 +0000',
      method: 'PUT',
      host: 'static.johnsmith.net.s3.amazonaws.com:8080',
      url: '/db-backup.dat.gz',
      headers: {
        'x-amz-acl': 'public-read',
        'content-type': 'application/x-download',
        'Content-MD5': '4gJE4saaMU4BqNR0kLY+lw==',
        'X-Amz-Meta-ReviewedBy': 'joe@johnsmith.net,jane@johnsmith.net',
        'X-Amz-Meta-FileChecksum': '0x02661779',
        'X-Amz-Meta-ChecksumAlgorithm': 'crc32',
        'Content-Disposition': 'attachment; filename=database.dat',
      },
      signature: 'ilyl83RwaSoYIEdixDQcA4OnAnc=',
    },
  ],
  [
    'list of all buckets',
    {
      date: 'Wed, 28 Mar 2007 01:29:59 +0000',
      host: 's3.amazonaws.com',
      url: '/',
      signature: 'qGdzdERIC03wnaRNKh6OqZehG9s=',
    },
  ],
  [
    'key with escapes, in path style',
    {
      date: 'Wed, 28 Mar 2007 01:49:49 +0000',
      host: 's3.amazonaws.com',
      url: '/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re',
      signature: 'DNEZGsoieTZ92F3bUfSPQcbGmlM=',
    },
  ],
]

describe('Signature Version 2 in the header', () => {
  test.each(EXAMPLES)("is good in AWS's example: %s", async (_, example) => {
    const { date, method = 'GET', url, host = 'johnsmith.s3.amazonaws.com', signature } = example
    const authorization = `AWS ${accessKeyId}:${signature}`
    const headers = { Host: host, Date: date, ...example.headers, Authorization: authorization }
    const iso = new Date(date).toISOString()
    expect(await verify({ method, url, headers }, iso)).toMatchObject({
      kind: 'user',
      key: EXAMPLE_KEY,
      form: 'v2-header',
      payload: { kind: 'unsigned' },
    })
    await expect(verify({ method: 'POST', url, headers }, iso)).rejects.toMatchObject(MISMATCH)
    await expect(
      verify({ method, url: `${url}${url.includes('?') ? '&' : '?'}policy`, headers }, iso),
    ).rejects.toMatchObject(MISMATCH)
  })

  const NOW = '2024-03-09T07:08:09Z'
  const DATE = 'Sat, 09 Mar 2024 07:08:09 GMT'

  function signed(text: string, sketch: RequestSketch, now = NOW) {
    const authorization = `AWS ${accessKeyId}:${hmacSha1(secret, text)}`
    return verify({ ...sketch, headers: { ...sketch.headers, Authorization: authorization } }, now)
  }

  test('has an empty line for the date if there is x-amz-date', async () => {
    const headers = { 'x-amz-date': DATE, Date: 'Bad Date' }
    const text = `GET\n\n\n\nx-amz-date:${DATE}\n/b/k`
    expect(await signed(text, { url: '/b/k', headers })).toMatchObject({ kind: 'user' })
  })

  test('covers sub-resources sorted, with their values decoded, and no other parameters', async () => {
    const url = '/b/k?uploadId=a%2Fb&prefix=x&partNumber=2&response-content-type=text%2Fplain%3B+a'
    const query = 'partNumber=2&response-content-type=text/plain; a&uploadId=a/b'
    const text = `GET\n\n\n${DATE}\n/b/k?${query}`
    expect(await signed(text, { url, headers: { Date: DATE } })).toMatchObject({ kind: 'user' })
  })

  test.each([
    ['delete', 'delete'],
    ['delete=', 'delete'],
    ['delete=', 'delete='],
  ])('of a query ?%s is good over %s', async (query, subResource) => {
    const text = `POST\n\n\n${DATE}\n/b?${subResource}`
    const sketch = { method: 'POST', url: `/b?${query}`, headers: { Date: DATE } }
    expect(await signed(text, sketch)).toMatchObject({ kind: 'user' })
  })

  test('covers UTF-8 metadata by its bytes', async () => {
    const text = `PUT\n\n\n${DATE}\nx-amz-meta-a:voilà\n/b/k`
    const headers = { Date: DATE, 'x-amz-meta-a': asBytes('voilà') }
    const sketch = { method: 'PUT', url: '/b/k', headers }
    expect(await signed(text, sketch)).toMatchObject({ kind: 'user' })
  })

  test.each([
    ['no header at all for the date', {}, 'AccessDenied'],
    ['a date that is none', { Date: 'Bad Date' }, 'AccessDenied'],
    [
      'a date 15 minutes and 1 s ago',
      { Date: 'Sat, 09 Mar 2024 06:53:08 GMT' },
      'RequestTimeTooSkewed',
    ],
    [
      'a date 15 minutes and 1 s ahead',
      { Date: 'Sat, 09 Mar 2024 07:23:10 GMT' },
      'RequestTimeTooSkewed',
    ],
  ])('with %s is refused', async (_, headers: Record<string, string>, code) => {
    const text = `GET\n\n\n${headers['Date'] ?? ''}\n/b/k`
    await expect(signed(text, { url: '/b/k', headers })).rejects.toMatchObject({
      code,
      status: 403,
    })
  })

  test.each(['AWS', 'AWS HAHAHA', 'AWS :', 'AWS id:', 'AWS :sig', 'AWS id:sig more', 'AWS a b:c'])(
    'as %j is refused: InvalidArgument',
    async (authorization) => {
      const headers = { Date: DATE, Authorization: authorization }
      await expect(verify({ headers }, NOW)).rejects.toMatchObject({ code: 'InvalidArgument' })
    },
  )
})

describe('Signature Version 2 in the query', () => {
  const NOW = '2007-03-29T03:40:20Z' // 1,175,139,620 seconds since 1970.
  const host = 'johnsmith.s3.amazonaws.com'

  function presigned(text: string, more = '', expires = '1175139620'): string {
    const signature = encodeURIComponent(hmacSha1(secret, text))
    return `?AWSAccessKeyId=${accessKeyId}&Signature=${signature}&Expires=${expires}${more}`
  }

  test("is good in AWS's example, until the second it expires", async () => {
    const query = `AWSAccessKeyId=${accessKeyId}&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D`
    const url = `/photos/puppy.jpg?${query}&Expires=1175139620`
    const sketch = { url, headers: { Host: host } }
    const good = { kind: 'user', form: 'v2-query' }
    expect(await verify(sketch, '2007-03-28T00:00:00Z')).toMatchObject(good)
    expect(await verify(sketch, NOW)).toMatchObject(good)
    await expect(verify(sketch, '2007-03-29T03:40:21Z')).rejects.toMatchObject({
      code: 'AccessDenied',
      message: 'Request has expired',
    })
  })

  test('covers the headers that botocore moved into the query', async () => {
    const text =
      'PUT\nmd5==\ntext/plain\n1175139620\nx-amz-acl:private\nx-amz-meta-a:voilà\n' +
      'x-amz-sdk-checksum-algorithm:CRC32\n/b/k'
    const more =
      '&x-amz-meta-a=voil%C3%A0&content-type=text%2Fplain&content-md5=md5%3D%3D' +
      '&x-amz-acl=private&x-amz-sdk-checksum-algorithm=CRC32'
    const sketch = { method: 'PUT', url: `/b/k${presigned(text, more)}` }
    expect(await verify(sketch, NOW)).toMatchObject({ kind: 'user', form: 'v2-query' })
    expect(effectiveHeader(s3Request(sketch), 'x-amz-acl')).toBe('private')
  })

  test.each([
    ['a sub-resource', '&retention'],
    ['a sub-resource with a value', '&versionId=1'],
    ['another name for the answer', '&response-content-disposition=attachment'],
    ['a hoisted header', '&x-amz-acl=public-read'],
    ['a hoisted header in capitals', '&X-Amz-Acl=public-read'],
    ['a content type', '&content-type=text/html'],
  ])('is refused with %s added to it', async (_, more) => {
    const text = 'PUT\n\n\n1175139620\n/b/k'
    const good = { method: 'PUT', url: `/b/k${presigned(text)}` }
    expect(await verify(good, NOW)).toMatchObject({ kind: 'user' })
    await expect(verify({ ...good, url: `${good.url}${more}` }, NOW)).rejects.toMatchObject(
      MISMATCH,
    )
  })

  test('is refused with a header added to it', async () => {
    const url = `/b/k${presigned('PUT\n\n\n1175139620\n/b/k')}`
    const headers = { 'x-amz-acl': 'public-read' }
    await expect(verify({ method: 'PUT', url, headers }, NOW)).rejects.toMatchObject(MISMATCH)
  })

  test.each(['', 'soon', '-1', '1175139620.5', '0x1', '9999999999999'])(
    'that expires at %j is refused with 403',
    async (expires) => {
      const url = `/b/k${presigned(`GET\n\n\n${expires}\n/b/k`, '', expires)}`
      await expect(verify({ url }, NOW)).rejects.toMatchObject({ code: 'AccessDenied' })
    },
  )

  test.each(['AWSAccessKeyId', 'Signature', 'Expires'])('without %s is refused', async (name) => {
    const query = presigned('GET\n\n\n1175139620\n/b/k').slice(1).split('&')
    const url = `/b/k?${query.filter((pair) => !pair.startsWith(name)).join('&')}`
    await expect(verify({ url }, NOW)).rejects.toMatchObject({ code: 'AccessDenied' })
  })
})
