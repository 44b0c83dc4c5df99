import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, md5Base64, md5Hex, signedBytes, textOf } from './s3-scene.ts'

let s3: TestS3
let bucket: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  bucket = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

/** Bytes of a header's value, as the client of these tests gives them: one character each. */
function utf8(text: string): string {
  return Buffer.from(text).toString('latin1')
}

describe('PutObject, GetObject and HeadObject', () => {
  test('say the same of an object', async () => {
    const put = await bucket.put('a', 'hello')
    const etag = `"${md5Hex('hello')}"`
    expect(put.text).toBe('')
    expect(put.headers).toMatchObject({ etag, 'content-length': '0' })
    expect(put.headers['x-amz-version-id']).toBeUndefined()
    const get = await bucket.get('a')
    const head = await bucket.head('a')
    expect(get.text).toBe('hello')
    expect(head.text).toBe('')
    for (const answer of [get, head]) {
      expect(answer.status).toBe(200)
      expect(answer.headers).toMatchObject({
        etag,
        'accept-ranges': 'bytes',
        'content-length': '5',
        'content-type': 'binary/octet-stream',
        'last-modified': expect.stringMatching(/^\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$/),
        'x-amz-request-id': expect.stringMatching(/^[0-9A-F]{16}$/),
      })
      expect(answer.headers['x-amz-version-id']).toBeUndefined()
      expect(answer.headers['x-amz-storage-class']).toBeUndefined()
      expect(answer.headers['x-amz-checksum-crc64nvme']).toBeUndefined()
    }
  })

  test('a second put replaces the first, and all that was said of it', async () => {
    await bucket.put('b', 'first', { 'x-amz-meta-a': '1', 'content-type': 'text/plain' })
    await bucket.put('b', '')
    const get = await bucket.get('b')
    expect(get).toMatchObject({ status: 200, text: '' })
    expect(get.headers['x-amz-meta-a']).toBeUndefined()
    expect(get.headers['content-type']).toBe('binary/octet-stream')
    expect(get.headers['content-length']).toBe('0')
  })

  test('what is not there is 404, and HEAD says no more', async () => {
    const get = await bucket.get('nothing')
    expect(get).toMatchObject({ status: 404, code: 'NoSuchKey' })
    expect(textOf(get.text, 'Key')).toBe('nothing')
    expect(await bucket.head('nothing')).toMatchObject({ status: 404, text: '' })
    expect(await s3.raw({ path: '/no-such-bucket/a', as: s3.owner })).toMatchObject({
      status: 404,
      code: 'NoSuchBucket',
    })
    const put = { method: 'PUT', path: '/no-such-bucket/a', as: s3.owner, body: 'a' }
    expect(await s3.raw(put)).toMatchObject({ status: 404, code: 'NoSuchBucket' })
  })

  test('who may not list a bucket does not learn what is in it', async () => {
    await bucket.put('secret')
    for (const key of ['secret', 'nothing']) {
      for (const method of ['GET', 'HEAD']) {
        expect(await bucket.request(method, key, { as: s3.other })).toMatchObject({ status: 403 })
        expect(await bucket.request(method, key, { as: undefined })).toMatchObject({ status: 403 })
      }
    }
  })

  test('an object deleted is gone, and to delete it again is 204 as well', async () => {
    await bucket.put('d')
    for (let time = 0; time < 2; time++) {
      const answer = await bucket.request('DELETE', 'd')
      expect(answer).toMatchObject({ status: 204, text: '' })
      expect(answer.headers['content-length']).toBeUndefined()
      expect(await bucket.get('d')).toMatchObject({ status: 404 })
    }
  })
})

describe('headers of the content', () => {
  test.each([
    ['cache-control', 'public, max-age=14400'],
    ['content-disposition', 'attachment; filename="a b.txt"'],
    ['content-encoding', 'gzip'],
    ['content-language', 'de, en'],
    ['content-type', 'text/html; charset=utf-8'],
    ['expires', 'Thu, 01 Dec 2044 16:00:00 GMT'],
    ['expires', '0'],
    ['x-amz-website-redirect-location', '/elsewhere'],
    ['x-amz-meta-plain', 'value'],
    ['x-amz-meta-empty', ''],
    ['x-amz-meta-with_under.dots', 'a=b&c'],
    ['x-amz-meta-mime', '=?UTF-8?B?4oSi?='],
    ['x-amz-meta-__proto__', 'harmless'],
    ['x-amz-meta-spaces', 'a  b'],
  ])('%s: %s comes back', async (name, value) => {
    await bucket.put('headers', 'x', { [name]: value })
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await bucket.request(method, 'headers')
      expect(headers[name]).toBe(value)
    }
  })

  test.each([
    ['http://example.com/x', 200],
    ['https://example.com/x', 200],
    ['/', 200],
    ['there', 400],
    ['ftp://example.com/x', 400],
    ['javascript:alert(1)', 400],
  ])('a redirect to %s answers %d', async (target, status) => {
    const headers = { 'x-amz-website-redirect-location': target }
    const answer = await bucket.request('PUT', 'redirect', { headers })
    const code = status === 200 ? undefined : 'InvalidRedirectLocation'
    expect(answer).toMatchObject({ status, code })
  })

  test.each([
    ['content-disposition', 'attachment; filename="grün.txt"'],
    ['x-amz-meta-utf8', 'Grüße, 世界 🎉'],
    ['x-amz-meta-accent', 'à'],
  ])('%s: %s comes back as the UTF-8 that was sent', async (name, value) => {
    const path = bucket.path('headers')
    const signed = await signedBytes(s3, s3.owner, {
      method: 'PUT',
      path,
      headers: { [name]: value },
    })
    expect(await s3.raw({ method: 'PUT', path, headers: signed })).toMatchObject({ status: 200 })
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await bucket.request(method, 'headers')
      expect(headers[name]).toBe(utf8(value))
    }
  })

  test('names of metadata come back in lower case', async () => {
    await bucket.put('capitals', 'x', { 'X-Amz-Meta-CamelCase': 'Value' })
    const { headers } = await bucket.get('capitals')
    expect(headers['x-amz-meta-camelcase']).toBe('Value')
  })

  test.each([
    ['aws-chunked', undefined],
    ['aws-chunked,gzip', 'gzip'],
    ['gzip, aws-chunked', 'gzip'],
    ['gzip, deflate', 'gzip, deflate'],
    ['', undefined],
  ])('of the content encoding "%s" %s is kept', async (sent, kept) => {
    await bucket.put('encoding', 'x', { 'content-encoding': sent })
    const { headers } = await bucket.get('encoding')
    expect(headers['content-encoding']).toBe(kept)
  })

  test.each([
    [2048, 200],
    [2049, 400],
  ])('%d bytes of metadata, names included, are %d', async (bytes, status) => {
    const name = 'x-amz-meta-a'
    const headers = { [name]: 'v'.repeat(1000), 'x-amz-meta-b': 'v'.repeat(bytes - 1002) }
    const answer = await bucket.request('PUT', 'metadata', { headers })
    expect(answer.status).toBe(status)
    expect(answer.code).toBe(status === 200 ? undefined : 'MetadataTooLarge')
  })

  test('metadata is counted in bytes, not characters', async () => {
    const path = bucket.path('metadata')
    const headers = { 'x-amz-meta-a': 'ü'.repeat(1024) }
    const signed = await signedBytes(s3, s3.owner, { method: 'PUT', path, headers })
    expect(await s3.raw({ method: 'PUT', path, headers: signed })).toMatchObject({
      code: 'MetadataTooLarge',
    })
  })
})

describe('response overrides', () => {
  const OVERRIDES = [
    ['response-cache-control', 'cache-control', 'no-cache'],
    ['response-content-disposition', 'content-disposition', 'attachment; filename="x y"'],
    ['response-content-encoding', 'content-encoding', 'gzip'],
    ['response-content-language', 'content-language', 'esperanto'],
    ['response-content-type', 'content-type', 'foo/bar'],
    ['response-expires', 'expires', '123'],
  ] as const

  test.each(OVERRIDES)('%s sets %s for GET and HEAD', async (parameter, name, value) => {
    await bucket.put('override', 'x', { [name]: 'other' })
    const query = `?${parameter}=${encodeURIComponent(value)}`
    for (const method of ['GET', 'HEAD']) {
      const path = bucket.path('override', query)
      const { headers, status } = await s3.raw({ method, path, as: s3.owner })
      expect([status, headers[name]]).toEqual([200, value])
    }
    expect((await bucket.get('override')).headers[name]).toBe('other')
  })

  test('text that is not ASCII is sent as UTF-8', async () => {
    await bucket.put('override')
    const path = bucket.path('override', '?response-content-disposition=gr%C3%BCn')
    const { headers } = await s3.raw({ path, as: s3.owner })
    expect(headers['content-disposition']).toBe(utf8('grün'))
  })

  test.each(['a%0D%0Ab:c', 'a%0Ab', '%00', '%7F'])('the value %s is refused', async (value) => {
    await bucket.put('override')
    const path = bucket.path('override', `?response-content-type=${value}`)
    expect(await s3.raw({ path, as: s3.owner })).toMatchObject({ code: 'InvalidArgument' })
  })

  test('strangers may not use them, even on what they may read', async () => {
    const open = await BucketScene.make(s3)
    const Statement = [
      {
        Effect: 'Allow',
        Principal: '*',
        Action: 's3:GetObject',
        Resource: `arn:aws:s3:::${open.name}/*`,
      },
    ]
    const body = JSON.stringify({ Version: '2012-10-17', Statement })
    expect(await open.bucket('PUT', '?policy', { body })).toMatchObject({ status: 204 })
    await open.put('public', 'x')
    const path = open.path('public')
    expect(await s3.raw({ path })).toMatchObject({ status: 200, text: 'x' })
    expect(await s3.raw({ path: `${path}?response-content-type=a/b` })).toMatchObject({
      status: 400,
      code: 'InvalidRequest',
    })
  })
})

describe('partNumber of an object in one piece', () => {
  test.each([
    ['1', 206, undefined],
    ['2', 416, 'InvalidPartNumber'],
    ['10000', 416, 'InvalidPartNumber'],
    ['0', 400, 'InvalidArgument'],
    ['10001', 400, 'InvalidArgument'],
    ['-1', 400, 'InvalidArgument'],
    ['abc', 400, 'InvalidArgument'],
    ['', 400, 'InvalidArgument'],
  ])('%s is %d', async (number, status, code) => {
    await bucket.put('parts', 'hello')
    const path = bucket.path('parts', `?partNumber=${number}`)
    const answer = await s3.raw({ path, as: s3.owner })
    expect([answer.status, answer.code]).toEqual([status, code])
    if (status === 206) {
      expect(answer.text).toBe('hello')
      expect(answer.headers['content-range']).toBe('bytes 0-4/5')
    }
    const head = await s3.raw({ method: 'HEAD', path, as: s3.owner })
    expect([head.status, head.text]).toEqual([status, ''])
  })

  test('not together with a range', async () => {
    await bucket.put('parts', 'hello')
    const path = bucket.path('parts', '?partNumber=1')
    const headers = { range: 'bytes=0-1' }
    expect(await s3.raw({ path, as: s3.owner, headers })).toMatchObject({ code: 'InvalidRequest' })
  })
})

describe('storage classes', () => {
  test.each(['STANDARD', 'STANDARD_IA', 'GLACIER_IR'])(
    '%s is kept, and shown unless it is STANDARD',
    async (storageClass) => {
      const answer = await bucket.request('PUT', 'class', {
        body: 'x',
        headers: { 'x-amz-storage-class': storageClass },
      })
      expect(answer.status).toBe(200)
      const { headers, text } = await bucket.get('class')
      expect(text).toBe('x')
      const shown = storageClass === 'STANDARD' ? undefined : storageClass
      expect(headers['x-amz-storage-class']).toBe(shown)
    },
  )

  test.each(['standard', 'COLD', 'STANDARD,STANDARD', 'DEEP_ARCHIVE', 'SNOW'])(
    '%s is none',
    async (storageClass) => {
      const headers = { 'x-amz-storage-class': storageClass }
      expect(await bucket.request('PUT', 'class', { headers })).toMatchObject({
        status: 400,
        code: 'InvalidStorageClass',
      })
    },
  )
})

describe('the tagging header', () => {
  test.each([
    ['a=1', 1],
    ['a=1&b=2', 2],
    ['a', 1],
    ['a=', 1],
    ['k%20ey=v%2Balue', 1],
    [Array.from({ length: 10 }, (_, at) => `k${at}=v`).join('&'), 10],
    [`${'k'.repeat(128)}=${'v'.repeat(256)}`, 1],
  ])('%s is %d tags', async (tagging, count) => {
    await bucket.put('tags', 'x', { 'x-amz-tagging': tagging })
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await bucket.request(method, 'tags')
      expect(headers['x-amz-tagging-count']).toBe(String(count))
    }
    const path = bucket.path('tags', '?tagging')
    const { text } = await s3.raw({ path, as: s3.owner })
    expect(text.match(/<Tag>/g)).toHaveLength(count)
  })

  test('without tags there is no count', async () => {
    await bucket.put('tags', 'x', { 'x-amz-tagging': '' })
    expect((await bucket.get('tags')).headers['x-amz-tagging-count']).toBeUndefined()
  })

  test.each([
    ['a=1&a=2', 'twice the same key'],
    [`${'k'.repeat(129)}=v`, 'a long key'],
    [`k=${'v'.repeat(257)}`, 'a long value'],
    [Array.from({ length: 11 }, (_, at) => `k${at}=v`).join('&'), 'eleven'],
    ['=v', 'no key'],
    ['aws:k=v', 'a reserved prefix'],
    ['%zz=v', 'no escape'],
  ])('%s is refused: %s', async (tagging) => {
    const headers = { 'x-amz-tagging': tagging }
    const answer = await bucket.request('PUT', 'untagged', { headers })
    expect(answer.status).toBe(400)
    expect(['InvalidTag', 'InvalidArgument', 'BadRequest']).toContain(answer.code)
    expect(await bucket.head('untagged')).toMatchObject({ status: 404 })
  })
})

describe('checksums', () => {
  const SUMS = [
    ['crc32', 'NhCmhg=='],
    ['crc32c', 'mnG7TA=='],
    ['sha1', 'qvTGHdzF6KLavt4PO0gs2a6pQ00='],
    ['sha256', 'LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ='],
  ] as const

  test.each(SUMS)('%s is checked, echoed, and shown when asked for', async (name, value) => {
    const header = `x-amz-checksum-${name}`
    const put = await bucket.put('sum', 'hello', { [header]: value })
    expect(put.headers).toMatchObject({ [header]: value, 'x-amz-checksum-type': 'FULL_OBJECT' })
    expect((await bucket.get('sum')).headers[header]).toBeUndefined()
    for (const method of ['GET', 'HEAD']) {
      const headers = { 'x-amz-checksum-mode': 'ENABLED' }
      const answer = await bucket.request(method, 'sum', { headers })
      expect(answer.headers).toMatchObject({ [header]: value })
      const ranged = await bucket.request(method, 'sum', {
        headers: { ...headers, range: 'bytes=0-1' },
      })
      expect(ranged.status).toBe(206)
      expect(ranged.headers[header]).toBeUndefined()
    }
  })

  test('without one CRC64NVME is kept', async () => {
    const put = await bucket.put('sum', '123456789')
    expect(put.headers['x-amz-checksum-crc64nvme']).toBe('rosUhgp5mIg=')
  })

  test.each([
    ['x-amz-checksum-crc32', 'AAAAAA==', 'BadDigest'],
    ['x-amz-checksum-crc32', 'AAAA', 'InvalidRequest'],
    ['x-amz-checksum-crc32', 'not base64', 'InvalidRequest'],
    ['x-amz-checksum-sha256', md5Base64('hello'), 'InvalidRequest'],
    ['x-amz-checksum-md5', md5Base64('hello'), 'InvalidRequest'],
    ['content-md5', md5Base64('other'), 'BadDigest'],
    ['content-md5', 'YWJj', 'InvalidDigest'],
    ['content-md5', '', 'InvalidDigest'],
    ['content-md5', 'no base64!', 'InvalidDigest'],
    ['x-amz-content-sha256', '0'.repeat(64), 'XAmzContentSHA256Mismatch'],
    ['x-amz-content-sha256', 'nonsense', 'InvalidArgument'],
    ['x-amz-sdk-checksum-algorithm', 'CRC32', 'InvalidRequest'],
    ['x-amz-decoded-content-length', 'abc', 'InvalidRequest'],
  ])('%s: %s is refused with %s, and nothing is stored', async (name, value, code) => {
    const headers = { [name]: value }
    const answer = await bucket.request('PUT', 'unsummed', { body: 'hello', headers })
    expect([answer.status, answer.code]).toEqual([400, code])
    expect(await bucket.head('unsummed')).toMatchObject({ status: 404 })
  })

  test('two checksums, or one that is not the announced one, are refused', async () => {
    const [[, crc32], [, crc32c]] = SUMS
    const both = { 'x-amz-checksum-crc32': crc32, 'x-amz-checksum-crc32c': crc32c }
    const other = { 'x-amz-checksum-crc32': crc32, 'x-amz-sdk-checksum-algorithm': 'SHA1' }
    for (const headers of [both, other]) {
      expect(await bucket.request('PUT', 'unsummed', { body: 'hello', headers })).toMatchObject({
        status: 400,
        code: 'InvalidRequest',
      })
    }
  })

  test('the right Content-MD5 is taken', async () => {
    await bucket.put('md5', 'hello', { 'content-md5': md5Base64('hello') })
    await bucket.put('md5', '', { 'content-md5': md5Base64('') })
  })
})

describe('encryption', () => {
  test('AES256 is taken, keys of others are not implemented', async () => {
    await bucket.put('sse', 'x', { 'x-amz-server-side-encryption': 'AES256' })
    for (const headers of [
      { 'x-amz-server-side-encryption': 'aws:kms' },
      { 'x-amz-server-side-encryption-customer-algorithm': 'AES256' },
    ]) {
      expect(await bucket.request('PUT', 'kms', { headers })).toMatchObject({
        status: 501,
        code: 'NotImplemented',
      })
    }
    expect(
      await bucket.request('PUT', 'kms', {
        headers: { 'x-amz-server-side-encryption': 'ROT13' },
      }),
    ).toMatchObject({ code: 'InvalidArgument' })
  })
})

describe('parameters that other operations have', () => {
  test.each(['versions', 'location', 'lifecycle', 'x-id=PutObject', 'unknown'])(
    'an object with ?%s is put and got like any other',
    async (query) => {
      const path = bucket.path('query', `?${query}`)
      expect(await s3.raw({ method: 'PUT', path, as: s3.owner, body: query })).toMatchObject({
        status: 200,
      })
      expect(await s3.raw({ path, as: s3.owner })).toMatchObject({ text: query })
    },
  )

  test.each([
    ['GET', 'torrent'],
    ['POST', 'restore'],
    ['POST', 'select'],
  ])('%s ?%s is not implemented', async (method, query) => {
    await bucket.put('query')
    const path = bucket.path('query', `?${query}`)
    expect(await s3.raw({ method, path, as: s3.owner })).toMatchObject({
      status: 501,
      code: 'NotImplemented',
    })
  })

  test('an empty version id, or one that can be none, is refused', async () => {
    await bucket.put('query')
    for (const id of ['', 'undefined', '../x']) {
      const path = bucket.path('query', `?versionId=${id}`)
      expect(await s3.raw({ path, as: s3.owner })).toMatchObject({ code: 'InvalidArgument' })
    }
    const none = bucket.path('query', `?versionId=${'0'.repeat(32)}`)
    expect(await s3.raw({ path: none, as: s3.owner })).toMatchObject({ code: 'NoSuchVersion' })
    const current = bucket.path('query', '?versionId=null')
    expect(await s3.raw({ path: current, as: s3.owner })).toMatchObject({ status: 200 })
  })
})
