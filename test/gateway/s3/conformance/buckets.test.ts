import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, textOf, textsOf } from './s3-scene.ts'

const DOMAIN = 's3.hayloft.test'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open({ s3Options: { domains: [DOMAIN] } })
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

function configuration(location: string): string {
  return (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
    `<LocationConstraint>${location}</LocationConstraint></CreateBucketConfiguration>`
  )
}

describe('CreateBucket', () => {
  test.each(['abc', 'a.b.c', 'a-b', '0ab', 'ab0', '1.2.3', 'a--b', 'a.-b', '999', 'x'.repeat(63)])(
    'takes the name %s',
    async (name) => {
      const answer = await s3.raw({ method: 'PUT', path: `/${name}`, as: s3.owner })
      expect(answer).toMatchObject({ status: 200, text: '' })
      expect(answer.headers['location']).toBe(`/${name}`)
      expect(await s3.raw({ method: 'DELETE', path: `/${name}`, as: s3.owner })).toMatchObject({
        status: 204,
      })
    },
  )

  test.each([
    ['ab', 'too short'],
    ['x'.repeat(64), 'too long'],
    ['x'.repeat(300), 'much too long'],
    ['Abc', 'a capital'],
    ['a_b', 'an underscore'],
    ['-ab', 'begins with a hyphen'],
    ['ab-', 'ends in a hyphen'],
    ['.ab', 'begins with a dot'],
    ['ab.', 'ends in a dot'],
    ['a..b', 'two dots'],
    ['192.168.5.4', 'an IP address'],
    ['xn--abc', 'punycode'],
    ['abc-s3alias', 'an alias'],
    ['a%20b', 'a space'],
    ['%C3%BCber', 'no ASCII'],
    ['a%00b', 'a NUL'],
    ['..', 'dots'],
  ])('refuses the name %s: %s', async (name) => {
    const answer = await s3.raw({ method: 'PUT', path: `/${name}`, as: s3.owner })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidBucketName' })
  })

  test('again by its owner is 200 and leaves what is in it', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('kept', 'content')
    expect(await bucket.bucket('PUT')).toMatchObject({ status: 200 })
    expect(await bucket.bucket('PUT', '/')).toMatchObject({ status: 200 })
    expect(await bucket.get('kept')).toMatchObject({ text: 'content' })
  })

  test('again by its owner with object lock is refused: that it does not have', async () => {
    const bucket = await BucketScene.make(s3)
    const headers = { 'x-amz-bucket-object-lock-enabled': 'true' }
    expect(await bucket.bucket('PUT', '', { headers })).toMatchObject({
      status: 409,
      code: 'BucketAlreadyExists',
    })
  })

  test('by another is 409', async () => {
    const bucket = await BucketScene.make(s3)
    expect(await bucket.bucket('PUT', '', { as: s3.other })).toMatchObject({
      status: 409,
      code: 'BucketAlreadyExists',
    })
  })

  test('of strangers is refused', async () => {
    const path = `/${s3.newBucketName()}`
    expect(await s3.raw({ method: 'PUT', path })).toMatchObject({
      status: 403,
      code: 'AccessDenied',
    })
  })

  test.each(['', 'us-east-1', 'eu-central-1', 'EU'])(
    'takes the location "%s" where no region is set',
    async (location) => {
      const path = `/${s3.newBucketName()}`
      const body = configuration(location)
      expect(await s3.raw({ method: 'PUT', path, as: s3.owner, body })).toMatchObject({
        status: 200,
      })
    },
  )

  test.each([
    'garbage',
    '<CreateBucketConfiguration>',
    '<Other/>',
    '{"LocationConstraint":"EU"}',
    '<CreateBucketConfiguration><Unknown/></CreateBucketConfiguration>',
    '<!DOCTYPE a [<!ENTITY b "c">]><CreateBucketConfiguration/>',
  ])('refuses the body %s', async (body) => {
    const path = `/${s3.newBucketName()}`
    expect(await s3.raw({ method: 'PUT', path, as: s3.owner, body })).toMatchObject({
      status: 400,
      code: 'MalformedXML',
    })
    expect(await s3.raw({ method: 'HEAD', path, as: s3.owner })).toMatchObject({ status: 404 })
  })

  test('a PATCH of a bucket is 405', async () => {
    const bucket = await BucketScene.make(s3)
    expect(await bucket.bucket('PATCH')).toMatchObject({ status: 405, code: 'MethodNotAllowed' })
  })

  test.each(['', 'text/html', 'application/xml', 'multipart/mixed; boundary=x'])(
    'a POST of the type "%s" is 412, and says that a form is wanted',
    async (type) => {
      const bucket = await BucketScene.make(s3)
      const headers = type === '' ? {} : { 'content-type': type }
      for (const query of ['', '/', '?x-id=PostObject']) {
        const answer = await bucket.bucket('POST', query, { headers, body: 'a=b' })
        expect(answer).toMatchObject({ status: 412, code: 'PreconditionFailed' })
        const condition = 'Bucket POST must be of the enclosure-type multipart/form-data'
        expect(textOf(answer.text, 'Condition')).toBe(condition)
      }
    },
  )
})

describe('HeadBucket and GetBucketLocation', () => {
  test.each(['', '/'])('with "%s" at the end of the path', async (end) => {
    const bucket = await BucketScene.make(s3)
    const head = await bucket.bucket('HEAD', end)
    expect(head).toMatchObject({ status: 200, text: '' })
    expect(head.headers['x-amz-bucket-region']).toBe('us-east-1')
    const location = await bucket.bucket('GET', `${end}?location`)
    expect(location.status).toBe(200)
    expect(location.text).toContain('<LocationConstraint')
  })

  test('a bucket of another is 403, of nobody 404', async () => {
    const bucket = await BucketScene.make(s3)
    expect(await bucket.bucket('HEAD', '', { as: s3.other })).toMatchObject({
      status: 403,
      text: '',
    })
    expect(await bucket.bucket('HEAD', '', { as: undefined })).toMatchObject({ status: 403 })
    const path = '/no-such-bucket'
    expect(await s3.raw({ method: 'HEAD', path, as: s3.owner })).toMatchObject({
      status: 404,
      text: '',
    })
    expect(await s3.raw({ path: `${path}?location`, as: s3.owner })).toMatchObject({
      status: 404,
      code: 'NoSuchBucket',
    })
  })

  test.each(['Capital', 'ab', 'a_b', '%C3%BC'])('there is no bucket %s', async (name) => {
    const answer = await s3.raw({ path: `/${name}`, as: s3.owner })
    expect(answer.status).toBe(404)
    expect(answer.code).toBe('NoSuchBucket')
  })
})

describe('DeleteBucket', () => {
  test.each(['', '/'])('an empty one is gone, with "%s" at the end', async (end) => {
    const bucket = await BucketScene.make(s3)
    expect(await bucket.bucket('DELETE', end)).toMatchObject({ status: 204, text: '' })
    expect(await bucket.bucket('HEAD')).toMatchObject({ status: 404 })
    expect(await bucket.bucket('DELETE')).toMatchObject({ status: 404, code: 'NoSuchBucket' })
    expect(await bucket.request('PUT', 'a')).toMatchObject({ status: 404, code: 'NoSuchBucket' })
  })

  test('one with an object or a delete marker stays', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('a')
    const conflict = { status: 409, code: 'BucketNotEmpty' }
    expect(await bucket.bucket('DELETE')).toMatchObject(conflict)
    await bucket.request('DELETE', 'a')
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await bucket.bucket('PUT', '?versioning', { body })
    const marked = await bucket.request('DELETE', 'a')
    expect(await bucket.bucket('DELETE')).toMatchObject(conflict)
    const marker = bucket.path('a', `?versionId=${marked.headers['x-amz-version-id']}`)
    await s3.raw({ method: 'DELETE', path: marker, as: s3.owner })
    expect(await bucket.bucket('DELETE')).toMatchObject({ status: 204 })
  })

  test('of another is refused', async () => {
    const bucket = await BucketScene.make(s3)
    expect(await bucket.bucket('DELETE', '', { as: s3.other })).toMatchObject({
      status: 403,
      code: 'AccessDenied',
    })
  })

  test('made anew it has nothing of the old one', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('a', 'old')
    await bucket.request('DELETE', 'a')
    await bucket.bucket('DELETE')
    expect(await bucket.bucket('PUT', '', { as: s3.other })).toMatchObject({ status: 200 })
    expect(await bucket.get('a')).toMatchObject({ status: 403 })
    expect(await bucket.request('GET', 'a', { as: s3.other })).toMatchObject({
      code: 'NoSuchKey',
    })
  })
})

describe('ListBuckets', () => {
  test('shows a user its own, in order; root all; strangers none', async () => {
    const lister = await s3.addUser('lister')
    const names = ['list-c', 'list-a', 'list-b']
    for (const name of names) await s3.raw({ method: 'PUT', path: `/${name}`, as: lister })
    const own = await s3.raw({ path: '/', as: lister })
    expect(own.status).toBe(200)
    expect(own.headers['content-type']).toBe('application/xml')
    expect(textsOf(own.text, 'Name')).toEqual(['list-a', 'list-b', 'list-c'])
    expect(textOf(own.text, 'ID')).toBe(lister.canonicalId)
    expect(textOf(own.text, 'CreationDate')).toMatch(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/)
    const all = await s3.raw({ path: '/', as: s3.root })
    expect(textsOf(all.text, 'Name')).toEqual(expect.arrayContaining(names))
    expect(await s3.raw({ path: '/' })).toMatchObject({ status: 403, code: 'AccessDenied' })
  })

  test('pages of 1, 2, 3 and 4 of three buckets give them all once', async () => {
    const pager = await s3.addUser('pager')
    const names = ['page-1', 'page-2', 'page-3']
    for (const name of names) await s3.raw({ method: 'PUT', path: `/${name}`, as: pager })
    for (const count of [1, 2, 3, 4]) {
      const seen: string[] = []
      let token: string | undefined
      do {
        const rest = token === undefined ? '' : `&continuation-token=${encodeURIComponent(token)}`
        const page = await s3.raw({ path: `/?max-buckets=${count}${rest}`, as: pager })
        const found = textsOf(page.text, 'Name')
        expect(found.length).toBe(Math.min(count, names.length - seen.length))
        expect(textsOf(page.text, 'BucketRegion')).toHaveLength(found.length)
        seen.push(...found)
        token = textOf(page.text, 'ContinuationToken')
      } while (token !== undefined)
      expect(seen).toEqual(names)
    }
    const prefixed = await s3.raw({ path: '/?prefix=page-2', as: pager })
    expect(textsOf(prefixed.text, 'Name')).toEqual(['page-2'])
    expect(textOf(prefixed.text, 'Prefix')).toBe('page-2')
    const none = await s3.raw({ path: '/?prefix=nothing', as: pager })
    expect(textsOf(none.text, 'Name')).toEqual([])
  })

  test.each(['0', '-1', 'abc', '1.5', '99999999999'])(
    'max-buckets=%s is refused',
    async (count) => {
      const answer = await s3.raw({ path: `/?max-buckets=${count}`, as: s3.owner })
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    },
  )

  test.each(['PUT', 'POST', 'DELETE', 'HEAD'])('%s of the service is 405', async (method) => {
    expect(await s3.raw({ method, path: '/', as: s3.owner })).toMatchObject({ status: 405 })
  })
})

describe('sub-resources of a bucket', () => {
  test.each([
    ['acl', 200],
    ['versioning', 200],
    ['location', 200],
    ['uploads', 200],
    ['versions', 200],
    ['list-type=2', 200],
    ['notification', 200],
    ['accelerate', 200],
    ['logging', 200],
    ['requestPayment', 200],
    ['ownershipControls', 200],
    ['policyStatus', 404],
    ['cors', 404],
    ['lifecycle', 404],
    ['policy', 404],
    ['tagging', 404],
    ['website', 404],
    ['replication', 404],
    ['object-lock', 404],
    ['publicAccessBlock', 404],
    ['analytics', 501],
    ['inventory', 501],
    ['metrics', 501],
    ['intelligent-tiering', 501],
  ])('GET ?%s is %d with and without a slash before it, and with =', async (query, status) => {
    const bucket = await BucketScene.make(s3)
    const equals = query.includes('=') ? '' : '='
    for (const form of [`?${query}`, `/?${query}`, `?${query}${equals}`]) {
      const answer = await bucket.bucket('GET', form)
      expect([form, answer.status]).toEqual([form, status])
      if (status !== 200) expect(answer.code).toBeDefined()
      expect(await bucket.bucket('GET', form, { as: s3.other })).toMatchObject({
        status: status === 501 ? 501 : 403,
      })
    }
  })

  test('with an unknown parameter the bucket is listed', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('a')
    const answer = await bucket.bucket('GET', '?x-id=ListObjects&unknown=1')
    expect(textsOf(answer.text, 'Key')).toEqual(['a'])
  })
})

describe('x-amz-expected-bucket-owner', () => {
  test.each([
    ['HEAD', ''],
    ['GET', ''],
    ['GET', '?location'],
    ['GET', '?versioning'],
    ['GET', '?acl'],
    ['GET', '/key'],
    ['HEAD', '/key'],
    ['PUT', '/key'],
    ['DELETE', '/key'],
    ['DELETE', ''],
    ['GET', '/key?tagging'],
  ])('%s %s of a bucket of another than expected is 403', async (method, query) => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('key')
    const wrong = { 'x-amz-expected-bucket-owner': s3.other.canonicalId }
    expect(await bucket.bucket(method, query, { headers: wrong })).toMatchObject({ status: 403 })
    const right = { 'x-amz-expected-bucket-owner': s3.owner.canonicalId }
    const { status } = await bucket.bucket(method, query, { headers: right })
    expect(status).toBe(method === 'DELETE' ? (query === '' ? 409 : 204) : 200)
  })
})

describe('virtual-host style', () => {
  test.each([DOMAIN, `${DOMAIN}:8333`, DOMAIN.toUpperCase()])(
    'the bucket is in the host, before %s',
    async (domain) => {
      const bucket = await BucketScene.make(s3)
      const headers = { host: `${bucket.name}.${domain}` }
      const as = s3.owner
      for (const path of ['/key', '//a//b', '/.', '/a/../b']) {
        const put = await s3.raw({ method: 'PUT', path, headers, as, body: path })
        expect(put.status).toBe(200)
        expect(await s3.raw({ path, headers, as })).toMatchObject({ text: path })
      }
      const list = await s3.raw({ path: '/?list-type=2', headers, as })
      expect(textsOf(list.text, 'Key')).toEqual(['.', '/a//b', 'a/../b', 'key'])
      expect(await bucket.get('/a//b')).toMatchObject({ text: '//a//b' })
    },
  )

  test('names with dots, and making one', async () => {
    const headers = { host: `with.dots.${DOMAIN}` }
    const as = s3.owner
    expect(await s3.raw({ method: 'PUT', path: '/', headers, as })).toMatchObject({ status: 200 })
    expect(await s3.raw({ method: 'HEAD', path: '/with.dots', as })).toMatchObject({ status: 200 })
    expect(await s3.raw({ method: 'DELETE', path: '/', headers, as })).toMatchObject({
      status: 204,
    })
  })

  test('the domain itself is path style', async () => {
    const bucket = await BucketScene.make(s3)
    const headers = { host: DOMAIN }
    await bucket.put('key', 'x')
    expect(await s3.raw({ path: bucket.path('key'), headers, as: s3.owner })).toMatchObject({
      text: 'x',
    })
    const list = await s3.raw({ path: '/', headers, as: s3.owner })
    expect(list.text).toContain('ListAllMyBucketsResult')
  })
})
