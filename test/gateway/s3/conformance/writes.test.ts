import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, keyPath, md5Base64, md5Hex, textOf, textsOf } from './s3-scene.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const OLD = `"${md5Hex('old')}"`
const OTHER = `"${md5Hex('other')}"`
const PAST = 'Thu, 01 Jan 1998 00:00:00 GMT'
const FUTURE = 'Fri, 01 Jan 2100 00:00:00 GMT'

/** Headers, then what becomes of a write where there is `old`, and where there is nothing. */
const CONDITIONS = [
  [{ 'if-none-match': '*' }, 412, 200],
  [{ 'if-none-match': OLD }, 412, 200],
  [{ 'if-none-match': md5Hex('old') }, 412, 200],
  [{ 'if-none-match': `W/${OLD}` }, 412, 200],
  [{ 'if-none-match': OTHER }, 200, 200],
  [{ 'if-none-match': `${OTHER}, ${OLD}` }, 412, 200],
  [{ 'if-match': OLD }, 200, 404],
  [{ 'if-match': md5Hex('old') }, 200, 404],
  [{ 'if-match': OTHER }, 412, 404],
  [{ 'if-match': `${OTHER}, ${OLD}` }, 200, 404],
  [{ 'if-match': '*' }, 200, 404],
  [{ 'if-match': OLD, 'if-none-match': OTHER }, 200, 404],
  [{ 'if-match': OLD, 'if-none-match': '*' }, 412, 404],
  [{ 'if-match': '*', 'if-none-match': '*' }, 412, 404],
  // Times are for reads: a write does not look at them.
  [{ 'if-modified-since': FUTURE, 'if-unmodified-since': PAST }, 200, 200],
] as const

const CODES: Readonly<Record<number, string>> = { 404: 'NoSuchKey', 412: 'PreconditionFailed' }

describe('a conditional put', () => {
  test.each(CONDITIONS)('with %j is %d over an object, %d without', async (headers, over, none) => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('there', 'old')
    for (const [key, status] of [
      ['there', over],
      ['new', none],
    ] as const) {
      const answer = await bucket.request('PUT', key, { body: 'new', headers })
      expect([answer.status, answer.code]).toEqual([status, CODES[status]])
      const before = key === 'there' ? 'old' : undefined
      const after = await bucket.get(key)
      expect(after.status === 404 ? undefined : after.text).toBe(status === 200 ? 'new' : before)
    }
  })

  test.each(CONDITIONS)('a copy with %j is %d, and %d', async (headers, over, none) => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('there', 'old')
    await bucket.put('source', 'new')
    const source = { 'x-amz-copy-source': keyPath(`${bucket.name}/source`) }
    for (const [key, status] of [
      ['there', over],
      ['new', none],
    ] as const) {
      const answer = await bucket.request('PUT', key, { headers: { ...headers, ...source } })
      expect([key, answer.status, answer.code]).toEqual([key, status, CODES[status]])
    }
  })

  test.each(CONDITIONS)('a completed upload with %j is %d, and %d', async (headers, over, none) => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('there', 'old')
    for (const [key, status] of [
      ['there', over],
      ['new', none],
    ] as const) {
      const answer = await upload(bucket, key, headers)
      expect([key, answer.status, answer.code]).toEqual([key, status, CODES[status]])
    }
  })

  test('with a delete marker on top there is nothing to match', async () => {
    const bucket = await BucketScene.make(s3)
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await bucket.bucket('PUT', '?versioning', { body })
    await bucket.put('key', 'old')
    await bucket.request('DELETE', 'key')
    const match = await bucket.request('PUT', 'key', { headers: { 'if-match': OLD } })
    expect(match).toMatchObject({ status: 404, code: 'NoSuchKey' })
    await bucket.put('key', 'new', { 'if-none-match': '*' })
  })

  test('of ten writers at once with If-None-Match: * exactly one wins', async () => {
    const bucket = await BucketScene.make(s3)
    for (let round = 0; round < 3; round++) {
      const key = `round-${round}`
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, at) =>
          bucket.request('PUT', key, { body: `by ${at}`, headers: { 'if-none-match': '*' } }),
        ),
      )
      const winners = answers.flatMap(({ status }, at) => (status === 200 ? [at] : []))
      expect(winners).toHaveLength(1)
      for (const { code, status } of answers) {
        if (status !== 200)
          expect(['PreconditionFailed', 'ConditionalRequestConflict']).toContain(code)
      }
      expect((await bucket.get(key)).text).toBe(`by ${winners[0]}`)
    }
  })

  test('of ten writers at once with the same If-Match exactly one wins', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('key', 'old')
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, at) =>
        bucket.request('PUT', 'key', { body: `by ${at}`, headers: { 'if-match': OLD } }),
      ),
    )
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })

  test('of a put, a copy and an upload at once exactly one wins', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('source', 'copy')
    const headers = { 'if-none-match': '*' }
    const source = { 'x-amz-copy-source': keyPath(`${bucket.name}/source`) }
    const answers = await Promise.all([
      bucket.request('PUT', 'key', { body: 'put', headers }),
      bucket.request('PUT', 'key', { headers: { ...headers, ...source } }),
      upload(bucket, 'key', headers),
    ])
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })
})

async function upload(bucket: BucketScene, key: string, headers: Readonly<Record<string, string>>) {
  const as = bucket.user
  const begun = await bucket.s3.raw({ method: 'POST', path: bucket.path(key, '?uploads'), as })
  const id = textOf(begun.text, 'UploadId') ?? ''
  const part = bucket.path(key, `?partNumber=1&uploadId=${id}`)
  const { headers: stored } = await bucket.s3.raw({ method: 'PUT', path: part, as, body: 'part' })
  const body =
    '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>' +
    `<ETag>${stored['etag']}</ETag></Part></CompleteMultipartUpload>`
  const path = bucket.path(key, `?uploadId=${id}`)
  return await bucket.s3.raw({ method: 'POST', path, as, body, headers })
}

describe('a put and the end of its bucket', () => {
  test('at the same time: one of them fails, and no object is in no bucket', async () => {
    for (let round = 0; round < 10; round++) {
      const bucket = await BucketScene.make(s3)
      const [put, removed] = await Promise.all([
        bucket.request('PUT', 'key', { body: 'x' }),
        bucket.bucket('DELETE'),
      ])
      const isGone = removed.status === 204
      expect([put.status, removed.status]).toEqual(isGone ? [404, 204] : [200, 409])
      expect((await bucket.get('key')).code).toBe(isGone ? 'NoSuchBucket' : undefined)
    }
  })
})

describe('a conditional delete', () => {
  test.each([
    [{ 'if-match': OLD }, 204],
    [{ 'if-match': '*' }, 204],
    [{ 'if-match': OTHER }, 412],
  ])('with %j is %d', async (headers, status) => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('key', 'old')
    expect(await bucket.request('DELETE', 'key', { headers })).toMatchObject({ status })
    expect((await bucket.head('key')).status).toBe(status === 204 ? 404 : 200)
  })

  test('of what is not there', async () => {
    const bucket = await BucketScene.make(s3)
    const headers = { 'if-match': OLD }
    expect(await bucket.request('DELETE', 'key', { headers })).toMatchObject({
      status: 404,
      code: 'NoSuchKey',
    })
  })

  test.each(['x-amz-if-match-size', 'x-amz-if-match-last-modified-time'])(
    '%s is not implemented, so nothing is deleted',
    async (name) => {
      const bucket = await BucketScene.make(s3)
      await bucket.put('key', 'old')
      const headers = { [name]: '3' }
      expect(await bucket.request('DELETE', 'key', { headers })).toMatchObject({
        status: 501,
        code: 'NotImplemented',
      })
      expect(await bucket.head('key')).toMatchObject({ status: 200 })
    },
  )
})

interface ToDelete {
  readonly key: string
  readonly more?: string
}

function deleteDocument(objects: readonly ToDelete[], isQuiet = false): string {
  const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  const listed = objects.map(
    ({ key, more = '' }) => `<Object><Key>${escaped(key)}</Key>${more}</Object>`,
  )
  const quiet = isQuiet ? '<Quiet>true</Quiet>' : ''
  const xmlns = 'http://s3.amazonaws.com/doc/2006-03-01/'
  return `<Delete xmlns="${xmlns}">${listed.join('')}${quiet}</Delete>`
}

function deleteAll(bucket: BucketScene, body: string, headers: Record<string, string> = {}) {
  const md5 = { 'content-md5': md5Base64(body) }
  return bucket.bucket('POST', '?delete', { body, headers: { ...md5, ...headers } })
}

describe('DeleteObjects', () => {
  test('deletes what is there and what is not, and says so', async () => {
    const bucket = await BucketScene.make(s3)
    const keys = ['a', 'a/../b', '<&>', ' ', 'ü', 'not there']
    await bucket.putAll([...keys.slice(0, -1), 'kept'])
    const answer = await deleteAll(bucket, deleteDocument(keys.map((key) => ({ key }))))
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/xml')
    expect(textsOf(answer.text, 'Key').sort()).toEqual([...keys].sort())
    expect(answer.text).not.toContain('<Error>')
    expect(textsOf((await bucket.bucket('GET')).text, 'Key')).toEqual(['kept'])
  })

  test('quietly it says what failed alone', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.putAll(['a', 'b'])
    const more = '<ETag>"0"</ETag>'
    const answer = await deleteAll(bucket, deleteDocument([{ key: 'a' }, { key: 'b', more }], true))
    expect(answer.status).toBe(200)
    expect(answer.text).not.toContain('<Deleted>')
    expect(textsOf(answer.text, 'Key')).toEqual(['b'])
    expect(textOf(answer.text, 'Code')).toBe('PreconditionFailed')
    expect(textsOf((await bucket.bucket('GET')).text, 'Key')).toEqual(['b'])
  })

  test('a thousand keys in one request', async () => {
    const bucket = await BucketScene.make(s3)
    const keys = Array.from({ length: 1000 }, (_, at) => `key-${at}`)
    await bucket.putAll([...keys.slice(0, 300), 'kept'])
    const answer = await deleteAll(bucket, deleteDocument(keys.map((key) => ({ key }))))
    expect(answer.status).toBe(200)
    expect(textsOf(answer.text, 'Key')).toHaveLength(1000)
    expect(textsOf((await bucket.bucket('GET')).text, 'Key')).toEqual(['kept'])
  })

  test('each key is judged for itself', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.putAll(['mine', 'open'])
    const Statement = [
      {
        Effect: 'Allow',
        Principal: '*',
        Action: 's3:DeleteObject',
        Resource: `arn:aws:s3:::${bucket.name}/open`,
      },
    ]
    const policy = JSON.stringify({ Version: '2012-10-17', Statement })
    await bucket.bucket('PUT', '?policy', { body: policy })
    const body = deleteDocument([{ key: 'mine' }, { key: 'open' }])
    const headers = { 'content-md5': md5Base64(body) }
    for (const as of [s3.other, undefined]) {
      await bucket.put('open')
      const answer = await bucket.bucket('POST', '?delete', { as, body, headers })
      expect(answer.status).toBe(200)
      expect(answer.text).toContain('<Deleted><Key>open</Key></Deleted>')
      expect(answer.text).toContain('<Error><Key>mine</Key><Code>AccessDenied</Code>')
    }
    expect(textsOf((await bucket.bucket('GET')).text, 'Key')).toEqual(['mine'])
  })

  test('keys and versions that can be none are errors of theirs', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('a')
    const answer = await deleteAll(
      bucket,
      deleteDocument([
        { key: 'a' },
        { key: 'x'.repeat(1025) },
        { key: 'b', more: '<VersionId>x</VersionId>' },
        { key: 'c', more: '<Size>3</Size>' },
        { key: 'd', more: '<LastModifiedTime>Sat, 21 Nov 2026 00:00:00 GMT</LastModifiedTime>' },
      ]),
    )
    expect(answer.status).toBe(200)
    expect(textsOf(answer.text, 'Code').sort()).toEqual([
      'InvalidArgument',
      'KeyTooLongError',
      'NotImplemented',
      'NotImplemented',
    ])
    expect(answer.text).toContain('<Deleted><Key>a</Key></Deleted>')
  })

  test('with versioning each key gets a marker, and versions go for good', async () => {
    const bucket = await BucketScene.make(s3)
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await bucket.bucket('PUT', '?versioning', { body })
    const put = await bucket.put('a')
    const marked = await deleteAll(bucket, deleteDocument([{ key: 'a' }]))
    expect(textOf(marked.text, 'DeleteMarker')).toBe('true')
    const markerId = textOf(marked.text, 'DeleteMarkerVersionId') ?? ''
    const versionId = put.headers['x-amz-version-id'] ?? ''
    const both = [versionId, markerId].map((id) => {
      return { key: 'a', more: `<VersionId>${id}</VersionId>` }
    })
    const gone = await deleteAll(bucket, deleteDocument(both))
    expect(textsOf(gone.text, 'VersionId').sort()).toEqual([versionId, markerId].sort())
    expect((await bucket.bucket('GET', '?versions')).text).not.toContain('<Version>')
    expect(await bucket.bucket('DELETE')).toMatchObject({ status: 204 })
  })

  test.each([
    ['1001 keys', deleteDocument(Array.from({ length: 1001 }, (_, at) => ({ key: `${at}` })))],
    ['no key', deleteDocument([])],
    ['an empty key', deleteDocument([{ key: '' }])],
    ['no XML', 'garbage'],
    ['nothing', ''],
    ['another element', '<Other/>'],
    ['an end that is missing', '<Delete><Object><Key>a</Key></Object>'],
    ['an entity', '<!DOCTYPE a [<!ENTITY b "c">]><Delete><Object><Key>&b;</Key></Object></Delete>'],
    ['an object without a key', '<Delete><Object/></Delete>'],
    ['two keys in one object', '<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>'],
  ])('a document with %s is MalformedXML, and nothing is deleted', async (_, body) => {
    const bucket = await BucketScene.make(s3)
    await bucket.putAll(['a', 'b', '0'])
    const answer = await deleteAll(bucket, body)
    expect([answer.status, answer.code]).toEqual([400, 'MalformedXML'])
    expect(textsOf((await bucket.bucket('GET')).text, 'Key')).toEqual(['0', 'a', 'b'])
  })

  test('the body has to be what its sums say', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('a')
    const body = deleteDocument([{ key: 'a' }])
    const unsigned = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }
    const wrong = [
      [{ 'content-md5': md5Base64('other') }, 'BadDigest'],
      [{ 'content-md5': 'x' }, 'InvalidDigest'],
      [{ 'x-amz-checksum-crc32': 'AAAAAA==' }, 'BadDigest'],
      [{ 'x-amz-content-sha256': '0'.repeat(64) }, 'XAmzContentSHA256Mismatch'],
    ] as const
    for (const [headers, code] of wrong) {
      const answer = await bucket.bucket('POST', '?delete', { body, headers })
      expect([answer.status, answer.code]).toEqual([400, code])
    }
    const bare = await bucket.bucket('POST', '?delete', { body, headers: unsigned })
    expect(bare).toMatchObject({ status: 400, code: 'InvalidRequest' })
    expect(await bucket.head('a')).toMatchObject({ status: 200 })
    const right = { ...unsigned, 'content-md5': md5Base64(body) }
    expect(await bucket.bucket('POST', '?delete', { body, headers: right })).toMatchObject({
      status: 200,
    })
    expect(await bucket.head('a')).toMatchObject({ status: 404 })
  })

  test('a document of more than 4 MiB is refused', async () => {
    const bucket = await BucketScene.make(s3)
    const answer = await deleteAll(bucket, ' '.repeat(4 * 1024 * 1024 + 1))
    expect(answer).toMatchObject({ status: 400, code: 'MaxMessageLengthExceeded' })
  })

  test('of a bucket that is not there', async () => {
    const body = deleteDocument([{ key: 'a' }])
    const path = '/no-such-bucket?delete'
    expect(await s3.raw({ method: 'POST', path, as: s3.owner, body })).toMatchObject({
      status: 404,
      code: 'NoSuchBucket',
    })
  })
})
