import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawAnswer, signedHeaders, TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, md5Hex, textOf, textsOf } from './s3-scene.ts'
import { ask, UploadScene } from './upload-scene.ts'

type Headers = Readonly<Record<string, string>>

const ENABLED = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
const ETAG = `"${md5Hex('hello')}"`
const PAST = 'Sat, 01 Jan 2000 00:00:00 GMT'
const FUTURE = 'Fri, 01 Jan 2100 00:00:00 GMT'

let s3: TestS3
let scene: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  scene = await BucketScene.make(s3)
  await scene.put('source', 'hello', {
    'content-type': 'text/x-source',
    'cache-control': 'no-store',
    'x-amz-meta-color': 'blue',
    'x-amz-tagging': 'a=1&b=2',
    'x-amz-website-redirect-location': '/there',
  })
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

function copy(key: string, source: string, headers: Headers = {}, to = scene): Promise<RawAnswer> {
  return to.request('PUT', key, { headers: { 'x-amz-copy-source': source, ...headers } })
}

function sourcePath(key = 'source'): string {
  return scene.path(key)
}

async function tagsOf(key: string): Promise<string[]> {
  return textsOf((await ask(scene, 'GET', key, '?tagging')).text, 'Key')
}

describe('a copy', () => {
  test('has the bytes, the metadata and the tags of its source, and a time of its own', async () => {
    const answer = await copy('plain', sourcePath())
    expect(answer).toMatchObject({ status: 200 })
    expect(textOf(answer.text, 'ETag')).toBe(ETAG)
    expect(textOf(answer.text, 'LastModified')).toMatch(/^\d{4}-.*\.\d{3}Z$/)
    expect(answer.headers['x-amz-version-id']).toBeUndefined()
    expect(answer.headers['x-amz-copy-source-version-id']).toBeUndefined()
    const { headers, text } = await scene.get('plain')
    expect(text).toBe('hello')
    expect(headers).toMatchObject({
      etag: ETAG,
      'content-type': 'text/x-source',
      'cache-control': 'no-store',
      'x-amz-meta-color': 'blue',
      'x-amz-tagging-count': '2',
    })
    expect(await tagsOf('plain')).toEqual(['a', 'b'])
  })

  test('has no redirect but its own', async () => {
    await copy('redirect', sourcePath())
    const name = 'x-amz-website-redirect-location'
    expect((await scene.head('redirect')).headers[name]).toBeUndefined()
    await copy('redirect', sourcePath(), { [name]: '/here' })
    expect((await scene.head('redirect')).headers).toMatchObject({
      [name]: '/here',
      'cache-control': 'no-store',
    })
  })

  const given = { 'content-type': 'text/x-copy', 'x-amz-meta-size': 'large' }

  test.each([
    ['nothing', given, 'text/x-source', ['x-amz-meta-color']],
    [
      'COPY',
      { ...given, 'x-amz-metadata-directive': 'COPY' },
      'text/x-source',
      ['x-amz-meta-color'],
    ],
    [
      'REPLACE',
      { ...given, 'x-amz-metadata-directive': 'REPLACE' },
      'text/x-copy',
      ['x-amz-meta-size'],
    ],
    ['REPLACE alone', { 'x-amz-metadata-directive': 'REPLACE' }, 'binary/octet-stream', []],
  ] as const)('told %s of metadata', async (_, headers, type, names) => {
    await copy('directive', sourcePath(), headers)
    const head = await scene.head('directive')
    expect(head.headers['content-type']).toBe(type)
    const found = Object.keys(head.headers).filter((name) => name.startsWith('x-amz-meta-'))
    expect(found).toEqual(names)
    expect(head.headers['cache-control']).toBe(type === 'text/x-source' ? 'no-store' : undefined)
  })

  test.each([
    ['nothing', {}, ['a', 'b']],
    ['COPY', { 'x-amz-tagging-directive': 'COPY' }, ['a', 'b']],
    ['REPLACE', { 'x-amz-tagging-directive': 'REPLACE', 'x-amz-tagging': 'c=3' }, ['c']],
    ['REPLACE alone', { 'x-amz-tagging-directive': 'REPLACE' }, []],
    ['to replace metadata', { 'x-amz-metadata-directive': 'REPLACE' }, ['a', 'b']],
  ] as const)('told %s of tags', async (_, headers, names) => {
    await copy('tags', sourcePath(), headers)
    expect(await tagsOf('tags')).toEqual(names)
  })

  test.each([
    [
      'a metadata directive nobody knows',
      { 'x-amz-metadata-directive': 'MERGE' },
      'InvalidArgument',
    ],
    ['a tagging directive nobody knows', { 'x-amz-tagging-directive': 'copy' }, 'InvalidArgument'],
    ['a storage class nobody knows', { 'x-amz-storage-class': 'ATTIC' }, 'InvalidStorageClass'],
    ['a checksum nobody knows', { 'x-amz-checksum-algorithm': 'CRC16' }, 'InvalidRequest'],
    [
      'a key of tags twice',
      { 'x-amz-tagging-directive': 'REPLACE', 'x-amz-tagging': 'c=3&c=4' },
      'InvalidTag',
    ],
    ['a hold without locks', { 'x-amz-object-lock-legal-hold': 'ON' }, 'InvalidRequest'],
    ['a public list', { 'x-amz-acl': 'public-read' }, 'AccessControlListNotSupported'],
    [
      'too much metadata',
      { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-a': 'x'.repeat(2048) },
      'MetadataTooLarge',
    ],
    [
      'a redirect to nowhere',
      { 'x-amz-website-redirect-location': 'x' },
      'InvalidRedirectLocation',
    ],
  ] as const)('with %s is refused', async (_, headers, code) => {
    expect(await copy('refused', sourcePath(), headers)).toMatchObject({ status: 400, code })
    expect(await scene.get('refused')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('of a key that is too long for one is refused', async () => {
    const answer = await copy('refused', sourcePath('k'.repeat(1025)))
    expect(answer).toMatchObject({ status: 400, code: 'KeyTooLongError' })
  })

  test('of nothing but a key in another bucket goes there', async () => {
    const there = await BucketScene.make(s3)
    expect(await copy('there', sourcePath(), {}, there)).toMatchObject({ status: 200 })
    expect(await there.get('there')).toMatchObject({ text: 'hello' })
    expect(await scene.get('there')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('of an object of no bytes has none', async () => {
    await scene.put('empty')
    expect(await copy('empty-copy', sourcePath('empty'))).toMatchObject({ status: 200 })
    expect(await scene.get('empty-copy')).toMatchObject({ status: 200, text: '' })
  })

  test('of an object made of parts is one of a single piece', async () => {
    const upload = await UploadScene.begin(scene, 'parts', { 'x-amz-checksum-algorithm': 'SHA1' })
    await upload.complete([await upload.put(1, 'hello')])
    const answer = await copy('of-parts', sourcePath('parts'))
    expect(textOf(answer.text, 'ETag')).toBe(ETAG)
    expect(textOf(answer.text, 'ChecksumType')).toBe('FULL_OBJECT')
    expect(textOf(answer.text, 'ChecksumSHA1')).toBe('qvTGHdzF6KLavt4PO0gs2a6pQ00=')
  })

  test.each(['STANDARD', 'STANDARD_IA', 'GLACIER_IR'])('may change to %s', async (storageClass) => {
    await copy('class', sourcePath(), { 'x-amz-storage-class': storageClass })
    const { headers, text } = await scene.get('class')
    const shown = storageClass === 'STANDARD' ? undefined : storageClass
    expect([text, headers['x-amz-storage-class']]).toEqual(['hello', shown])
    // The class is not copied along.
    await copy('class-2', sourcePath('class'))
    expect((await scene.head('class-2')).headers['x-amz-storage-class']).toBeUndefined()
  })
})

describe('a copy of an object to itself', () => {
  test.each([
    ['unchanged', {}],
    ['told to copy the metadata', { 'x-amz-metadata-directive': 'COPY' }],
    ['with other metadata, but not told to replace it', { 'x-amz-meta-a': 'b' }],
    ['of the class it has', { 'x-amz-storage-class': 'STANDARD' }],
  ])('%s is refused', async (_, headers) => {
    await scene.put('self', 'hello')
    expect(await copy('self', sourcePath('self'), headers)).toMatchObject({
      status: 400,
      code: 'InvalidRequest',
    })
  })

  test.each([
    ['other metadata', { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-a': 'b' }],
    ['another class', { 'x-amz-storage-class': 'STANDARD_IA' }],
    ['a redirect', { 'x-amz-website-redirect-location': '/here' }],
    ['another checksum', { 'x-amz-checksum-algorithm': 'SHA256' }],
  ])('with %s changes it', async (_, headers) => {
    await scene.put('self', 'hello', { 'x-amz-meta-old': 'yes' })
    expect(await copy('self', sourcePath('self'), headers)).toMatchObject({ status: 200 })
    const head = await scene.head('self')
    const { 'x-amz-metadata-directive': isReplaced, ...shown } = headers as Headers
    const { 'x-amz-checksum-algorithm': __, ...rest } = shown
    expect(head.headers).toMatchObject(rest)
    expect(head.headers['x-amz-meta-old']).toBe(isReplaced === undefined ? 'yes' : undefined)
    expect(await scene.get('self')).toMatchObject({ text: 'hello' })
  })

  test('as an old version makes that the newest', async () => {
    const own = await BucketScene.make(s3)
    await own.bucket('PUT', '?versioning', { body: ENABLED })
    const old = (await own.put('k', 'old')).headers['x-amz-version-id']
    await own.put('k', 'new')
    const answer = await copy('k', `${own.path('k')}?versionId=${old}`, {}, own)
    expect(answer).toMatchObject({
      status: 200,
      headers: { 'x-amz-copy-source-version-id': old },
    })
    expect(answer.headers['x-amz-version-id']).not.toBe(old)
    expect(await own.get('k')).toMatchObject({ text: 'old' })
  })
})

describe('a source', () => {
  const keys = ['a b', 'a+b', 'a%b', 'a%20b', 'ü/ö', 'a&b=c', 'a?b', 'a?versionId=b', '🐘', 'a//b']

  test.each([...keys, '../up', 'a/../b', './.'])('may have the key "%s"', async (key) => {
    await scene.put(key, `bytes of ${key}`)
    expect(await copy('named', sourcePath(key))).toMatchObject({ status: 200 })
    expect(await scene.get('named')).toMatchObject({ text: `bytes of ${key}` })
    const bare = sourcePath(key).slice(1)
    expect(await copy('named', bare)).toMatchObject({ status: 200 })
    const whole = encodeURIComponent(`${scene.name}/${key}`)
    expect(await copy('named', whole)).toMatchObject({ status: 200 })
    expect(await scene.get('named')).toMatchObject({ text: `bytes of ${key}` })
  })

  test('may have its key in UTF-8 as it is, and a plus sign is one', async () => {
    await scene.put('ü+ö', 'umlauts')
    const source = `/${scene.name}/ü+ö`
    const path = scene.path('named')
    const request = { method: 'PUT', path, bytes: Buffer.alloc(0) }
    const named = { host: new URL(s3.url).host, 'x-amz-copy-source': source }
    const signed = await signedHeaders(s3.owner, { ...request, headers: named })
    // On the wire each character of a header stands for a byte.
    const sent = { 'x-amz-copy-source': Buffer.from(source).toString('latin1') }
    const answer = await s3.raw({ method: 'PUT', path, headers: { ...signed, ...sent } })
    expect(answer).toMatchObject({ status: 200 })
    expect(await scene.get('named')).toMatchObject({ text: 'umlauts' })
  })

  test.each([
    ['nothing', '', 400, 'InvalidArgument'],
    ['a slash', '/', 400, 'InvalidArgument'],
    ['a bucket', '/BUCKET', 400, 'InvalidArgument'],
    ['a bucket and a slash', '/BUCKET/', 400, 'InvalidArgument'],
    ['no bucket', '//source', 400, 'InvalidArgument'],
    ['half an escape', '/BUCKET/source%2', 400, 'InvalidArgument'],
    ['an escape that is no UTF-8', '/BUCKET/%ff', 400, 'InvalidArgument'],
    ['a key that is not there', '/BUCKET/absent', 404, 'NoSuchKey'],
    ['a bucket that is not there', '/no-such-bucket/source', 404, 'NoSuchBucket'],
    [
      'a version that is not there',
      `/BUCKET/source?versionId=${'0'.repeat(32)}`,
      404,
      'NoSuchVersion',
    ],
    ['a version that can be none', '/BUCKET/source?versionId=1', 400, 'InvalidArgument'],
    ['an empty version', '/BUCKET/source?versionId=', 400, 'InvalidArgument'],
    ['a key with a NUL', '/BUCKET/a%00b', 400, 'InvalidArgument'],
    ['the version null', '/BUCKET/source?versionId=null', 200, undefined],
  ] as const)('that is %s is answered', async (_, source, status, code) => {
    const answer = await copy('bad-source', source.replace('BUCKET', scene.name))
    expect(answer).toMatchObject({ status, code })
  })

  test.each([
    ['a delete marker that is the newest', '', 404, 'NoSuchKey'],
    ['a delete marker by its id', 'marker', 400, 'InvalidRequest'],
    ['the version below it', 'version', 200, undefined],
  ] as const)('that is %s is answered', async (_, kind, status, code) => {
    const own = await BucketScene.make(s3)
    await own.bucket('PUT', '?versioning', { body: ENABLED })
    const version = (await own.put('k', 'below')).headers['x-amz-version-id']
    const marker = (await own.request('DELETE', 'k')).headers['x-amz-version-id']
    const id = kind === 'marker' ? marker : version
    const answer = await copy('k2', own.path('k', kind === '' ? '' : `?versionId=${id}`), {}, own)
    expect(answer).toMatchObject({ status, code })
    if (status === 200) expect(await own.get('k2')).toMatchObject({ text: 'below' })
  })

  test('is read as it is authorized: dots cross into no other bucket', async () => {
    const theirs = await BucketScene.make(s3, s3.other)
    await theirs.put('secret', 'theirs')
    const { name } = theirs
    for (const source of [
      `/${scene.name}/../${name}/secret`,
      `/${scene.name}/%2e%2e/${name}/secret`,
      `/${scene.name}%2f..%2f${name}%2fsecret`,
      `/${scene.name}/./../${name}/secret`,
      `/${scene.name}/..%5c${name}/secret`,
      `/${scene.name}//${name}/secret`,
    ]) {
      const answer = await copy('stolen', source)
      expect([source, answer.status, answer.code]).toEqual([source, 404, 'NoSuchKey'])
    }
    for (const source of [`/../${name}/secret`, `/./${name}/secret`, `..%2f${name}%2fsecret`]) {
      const { code } = await copy('stolen', source)
      expect(['InvalidArgument', 'NoSuchBucket', 'InvalidBucketName']).toContain(code)
    }
    for (const source of [`/${name}/secret`, `/${name}%2Fsecret`, `${name}/secret`]) {
      expect(await copy('stolen', source)).toMatchObject({ status: 403, code: 'AccessDenied' })
    }
    expect(await scene.get('stolen')).toMatchObject({ code: 'NoSuchKey' })
  })
})

describe('who may copy', () => {
  test('is who may read the source and write the target', async () => {
    const theirs = await BucketScene.make(s3, s3.other)
    const denied = { status: 403, code: 'AccessDenied' }
    expect(await copy('k', sourcePath(), {}, theirs)).toMatchObject(denied)
    expect(await copy('k', sourcePath('absent'), {}, theirs)).toMatchObject(denied)
    const into = { 'x-amz-copy-source': theirs.path('k') }
    await theirs.put('k', 'theirs')
    expect(await scene.request('PUT', 'k', { as: s3.other, headers: into })).toMatchObject(denied)
    expect(await scene.request('PUT', 'k', { as: undefined, headers: into })).toMatchObject(denied)
    const root = new BucketScene(s3, scene.name, s3.root)
    expect(await copy('k', theirs.path('k'), {}, root)).toMatchObject({ status: 200 })
  })

  test('needs a right to the tags, if they come along', async () => {
    const own = await BucketScene.make(s3)
    await own.put('tagged', 'hello', { 'x-amz-tagging': 'a=secret' })
    await own.put('untagged', 'hello')
    const allow = async (...actions: readonly string[]) => {
      const Resource = `arn:aws:s3:::${own.name}/*`
      const statement = { Effect: 'Allow', Principal: '*', Action: actions, Resource }
      const body = JSON.stringify({ Version: '2012-10-17', Statement: [statement] })
      expect(await own.bucket('PUT', '?policy', { body })).toMatchObject({ status: 204 })
    }
    const theirs = await BucketScene.make(s3, s3.other)
    await allow('s3:GetObject')
    expect(await copy('k', own.path('untagged'), {}, theirs)).toMatchObject({ status: 200 })
    expect(await copy('k', own.path('tagged'), {}, theirs)).toMatchObject({ code: 'AccessDenied' })
    const replaced = { 'x-amz-tagging-directive': 'REPLACE' }
    expect(await copy('k', own.path('tagged'), replaced, theirs)).toMatchObject({ status: 200 })
    await allow('s3:GetObject', 's3:GetObjectTagging')
    expect(await copy('k', own.path('tagged'), {}, theirs)).toMatchObject({ status: 200 })
  })

  test.each([
    ['x-amz-source-expected-bucket-owner', 'the source'],
    ['x-amz-expected-bucket-owner', 'the target'],
  ])('can say whose it must be: %s', async (name) => {
    const right = { [name]: s3.owner.canonicalId }
    expect(await copy('expected', sourcePath(), right)).toMatchObject({ status: 200 })
    const wrong = { [name]: s3.other.canonicalId }
    expect(await copy('expected', sourcePath(), wrong)).toMatchObject({ code: 'AccessDenied' })
  })
})

const CONDITIONS = [
  [{ 'if-match': ETAG }, 200],
  [{ 'if-match': ETAG.replaceAll('"', '') }, 200],
  [{ 'if-match': '*' }, 200],
  [{ 'if-match': '"other"' }, 412],
  [{ 'if-match': `"other", ${ETAG}` }, 200],
  [{ 'if-none-match': ETAG }, 412],
  [{ 'if-none-match': '"other"' }, 200],
  [{ 'if-none-match': '*' }, 412],
  [{ 'if-modified-since': PAST }, 200],
  [{ 'if-modified-since': FUTURE }, 412],
  [{ 'if-unmodified-since': PAST }, 412],
  [{ 'if-unmodified-since': FUTURE }, 200],
  [{ 'if-unmodified-since': 'yesterday' }, 400],
  [{ 'if-match': ETAG, 'if-unmodified-since': PAST }, 200],
  [{ 'if-match': '"other"', 'if-unmodified-since': FUTURE }, 412],
  [{ 'if-none-match': ETAG, 'if-modified-since': PAST }, 412],
  [{ 'if-none-match': '"other"', 'if-modified-since': FUTURE }, 200],
  [{ 'if-match': ETAG, 'if-none-match': ETAG }, 412],
] as const

function sourceConditions(conditions: Headers): Headers {
  const named = Object.entries(conditions).map(([name, value]) => [
    `x-amz-copy-source-${name}`,
    value,
  ])
  return Object.fromEntries(named)
}

const CODES: Readonly<Record<number, string>> = {
  400: 'InvalidArgument',
  412: 'PreconditionFailed',
}

describe('a condition', () => {
  test.each(CONDITIONS)('of the source of a copy: %o gives %d', async (conditions, status) => {
    const answer = await copy('conditional', sourcePath(), sourceConditions(conditions))
    expect(answer).toMatchObject({ status, code: CODES[status] })
  })

  test.each(CONDITIONS)('of the source of a part: %o gives %d', async (conditions, status) => {
    const upload = await UploadScene.begin(scene, 'conditional-part')
    const headers = { 'x-amz-copy-source': sourcePath(), ...sourceConditions(conditions) }
    const answer = await upload.part(1, '', { headers })
    expect(answer).toMatchObject({ status, code: CODES[status] })
  })

  test.each([
    ['there', { 'if-none-match': '*' }, 412, 'PreconditionFailed'],
    ['free', { 'if-none-match': '*' }, 200, undefined],
    ['there', { 'if-match': `"${md5Hex('old')}"` }, 200, undefined],
    ['there', { 'if-match': '"other"' }, 412, 'PreconditionFailed'],
    ['free', { 'if-match': '"other"' }, 404, 'NoSuchKey'],
  ] as const)('of a target that is %s: %o gives %d', async (kind, headers, status, code) => {
    const key = `target/${JSON.stringify(headers)}${kind}`
    if (kind === 'there') await scene.put(key, 'old')
    expect(await copy(key, sourcePath(), headers)).toMatchObject({ status, code })
    const left = kind === 'there' ? 'old' : undefined
    const text = status === 200 ? 'hello' : left
    if (text !== undefined) expect(await scene.get(key)).toMatchObject({ text })
  })
})

describe('a copied part', () => {
  const bytes = '0123456789'
  let upload: UploadScene

  beforeAll(async () => {
    await scene.put('digits', bytes)
    upload = await UploadScene.begin(scene, 'copied-parts')
  })

  const part = (source: string, headers: Headers = {}, number: number | string = 1) =>
    upload.part(number, '', { headers: { 'x-amz-copy-source': source, ...headers } })

  test.each([
    [undefined, bytes],
    ['bytes=0-9', bytes],
    ['bytes=0-0', '0'],
    ['bytes=9-9', '9'],
    ['bytes=3-6', '3456'],
  ])('of %s has the bytes %s', async (range, expected) => {
    const headers = range === undefined ? {} : { 'x-amz-copy-source-range': range }
    const answer = await part(sourcePath('digits'), headers)
    expect(answer).toMatchObject({ status: 200 })
    expect(answer.text).toContain('<CopyPartResult')
    expect(textOf(answer.text, 'ETag')).toBe(`"${md5Hex(expected)}"`)
    expect(textOf(answer.text, 'LastModified')).toMatch(/Z$/)
    const { text } = await upload.list()
    expect(textOf(text, 'Size')).toBe(String(expected.length))
  })

  test.each([
    ['bytes=0-10', 416, 'InvalidRange'],
    ['bytes=10-10', 416, 'InvalidRange'],
    ['bytes=5-100', 416, 'InvalidRange'],
    ['bytes=5-', 400, 'InvalidArgument'],
    ['bytes=-5', 400, 'InvalidArgument'],
    ['bytes=6-5', 400, 'InvalidArgument'],
    ['bytes=0', 400, 'InvalidArgument'],
    ['0-5', 400, 'InvalidArgument'],
    ['bytes=a-b', 400, 'InvalidArgument'],
    ['bytes=0-2,3-5', 400, 'InvalidArgument'],
    ['', 400, 'InvalidArgument'],
  ])('of the range "%s" is answered with %d %s', async (range, status, code) => {
    const answer = await part(sourcePath('digits'), { 'x-amz-copy-source-range': range })
    expect(answer).toMatchObject({ status, code })
  })

  test.each([
    ['0', 400, 'InvalidArgument'],
    ['10001', 400, 'InvalidArgument'],
    ['10000', 200, undefined],
  ])('of number %s is answered with %d %s', async (number, status, code) => {
    expect(await part(sourcePath('digits'), {}, number)).toMatchObject({ status, code })
  })

  test.each([
    ['/BUCKET/absent', 404, 'NoSuchKey'],
    ['/no-such-bucket/k', 404, 'NoSuchBucket'],
    ['/BUCKET', 400, 'InvalidArgument'],
    [`/BUCKET/digits?versionId=${'0'.repeat(32)}`, 404, 'NoSuchVersion'],
    ['/BUCKET/../OTHER/secret', 404, 'NoSuchKey'],
    ['/OTHER/secret', 403, 'AccessDenied'],
    ['/OTHER%2Fsecret', 403, 'AccessDenied'],
  ] as const)('of %s is answered with %d %s', async (source, status, code) => {
    const theirs = await BucketScene.make(s3, s3.other)
    await theirs.put('secret', 'theirs')
    const named = source.replace('BUCKET', scene.name).replace('OTHER', theirs.name)
    expect(await part(named)).toMatchObject({ status, code })
  })

  test('of a version has its bytes and names it', async () => {
    const own = await BucketScene.make(s3)
    await own.bucket('PUT', '?versioning', { body: ENABLED })
    const old = (await own.put('k', 'old')).headers['x-amz-version-id']
    const newest = (await own.put('k', 'newest')).headers['x-amz-version-id']
    const first = await part(`${own.path('k')}?versionId=${old}`)
    expect(first.headers['x-amz-copy-source-version-id']).toBe(old)
    expect(textOf(first.text, 'ETag')).toBe(`"${md5Hex('old')}"`)
    const second = await part(own.path('k'))
    expect(second.headers['x-amz-copy-source-version-id']).toBe(newest)
  })

  test('of an upload that is not there is refused', async () => {
    const query = `?partNumber=1&uploadId=${'0'.repeat(32)}`
    const headers = { 'x-amz-copy-source': sourcePath() }
    const answer = await ask(scene, 'PUT', 'copied-parts', query, { headers })
    expect(answer).toMatchObject({ status: 404, code: 'NoSuchUpload' })
  })

  test('makes an object', async () => {
    const own = await UploadScene.begin(scene, 'of-copies')
    const headers = {
      'x-amz-copy-source': sourcePath('digits'),
      'x-amz-copy-source-range': 'bytes=2-4',
    }
    const { text } = await own.part(1, '', { headers })
    await own.complete([{ partNumber: 1, etag: textOf(text, 'ETag') ?? '' }])
    expect(await scene.get('of-copies')).toMatchObject({ text: '234' })
  })
})

describe('an object of more than 5 GiB', () => {
  const GIB = 1024 ** 3

  /** Bytes that are not there: only the namespace has been told of them. */
  async function pretend(key: string, sizeBytes: number): Promise<void> {
    const { namespace } = s3.server
    const signal = new AbortController().signal
    await scene.put('few', 'few bytes')
    const found = await namespace.findBucket(scene.name, signal)
    const bucket = { name: scene.name, id: found?.id ?? 0 }
    const few = await namespace.findObject({ bucket, key: 'few' }, signal)
    if (few === undefined) throw new Error('the object is there')
    const { isMarker: _, isNull: __, modifiedAtMs: ___, seq: ____, ...rest } = few
    const parts = few.parts.map((part) => ({ ...part, sizeBytes }))
    const version = { ...rest, id: 'a'.repeat(32), sizeBytes, parts }
    await namespace.putObject({ bucket, key, version }, signal)
  }

  test('is not copied in one piece, whole or as a part', async () => {
    await pretend('huge', 5 * GIB + 1)
    const source = sourcePath('huge')
    const refused = { status: 400, code: 'InvalidRequest' }
    expect(await copy('huge-copy', source)).toMatchObject(refused)
    const upload = await UploadScene.begin(scene, 'huge-copy')
    const part = (range: Headers) =>
      upload.part(1, '', { headers: { 'x-amz-copy-source': source, ...range } })
    expect(await part({})).toMatchObject(refused)
    const whole = { 'x-amz-copy-source-range': `bytes=0-${5 * GIB}` }
    expect(await part(whole)).toMatchObject(refused)
    // The size of the source is no obstacle to a part of it.
    const small = { 'x-amz-copy-source-range': 'bytes=0-8' }
    const answer = await part(small)
    expect([answer.status, textOf(answer.text, 'ETag')]).toEqual([200, `"${md5Hex('few bytes')}"`])
  })
})
