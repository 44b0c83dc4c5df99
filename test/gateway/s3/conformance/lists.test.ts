import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, commonPrefixesOf, md5Hex, textOf, textsOf } from './s3-scene.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const TREE = [
  'a',
  'a/1',
  'a/2/x',
  'a/2/y',
  'asdf',
  'b--1',
  'b--2/c',
  'b-1',
  'boo/bar',
  'boo/baz/xyzzy',
  'cquux/thud',
  'cquux/bla',
  'd/',
  'd//e',
  'ü/1',
  'ü/2',
  '\uffee',
  '🎉/1',
  '🎉',
] as const

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** What S3 says a list has: keys, and what they have in common up to the delimiter. */
function modelOf(keys: readonly string[], prefix: string, delimiter: string) {
  const found = keys.filter((key) => key.startsWith(prefix))
  const commonOf = (key: string): string | undefined => {
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    return at < 0 ? undefined : key.slice(0, at + delimiter.length)
  }
  return {
    keys: found.filter((key) => commonOf(key) === undefined).sort(byBytes),
    prefixes: [...new Set(found.flatMap((key) => commonOf(key) ?? []))].sort(byBytes),
  }
}

const FORMS = ['v1', 'v2', 'versions'] as const
type Form = (typeof FORMS)[number]

const FORM_QUERY: Readonly<Record<Form, string>> = {
  v1: '?x=1',
  v2: '?list-type=2',
  versions: '?versions',
}

interface Listed {
  readonly keys: string[]
  readonly prefixes: string[]
}

/** Page after page as a client does it; each page has to keep to its size. */
async function listAll(
  bucket: BucketScene,
  form: Form,
  parameters: Readonly<Record<string, string>>,
  pageMax = 1000,
): Promise<Listed> {
  const keys: string[] = []
  const prefixes: string[] = []
  let place: Record<string, string> = {}
  for (let page = 0; page < 2000; page++) {
    const pairs = Object.entries({ ...parameters, ...place, 'max-keys': String(pageMax) })
    const rest = pairs.map(([name, value]) => `&${name}=${encodeURIComponent(value)}`).join('')
    const { status, text } = await bucket.bucket('GET', FORM_QUERY[form] + rest)
    expect(status).toBe(200)
    const pageKeys = textsOf(text, 'Key')
    const pagePrefixes = commonPrefixesOf(text)
    expect(pageKeys.length + pagePrefixes.length).toBeLessThanOrEqual(pageMax)
    keys.push(...pageKeys)
    prefixes.push(...pagePrefixes)
    const isTruncated = textOf(text, 'IsTruncated')
    if (isTruncated === 'false') {
      expect(textOf(text, 'NextContinuationToken')).toBeUndefined()
      expect(textOf(text, 'NextMarker')).toBeUndefined()
      expect(textOf(text, 'NextKeyMarker')).toBeUndefined()
      return { keys, prefixes }
    }
    expect(isTruncated).toBe('true')
    expect(pageKeys.length + pagePrefixes.length).toBe(pageMax)
    place = nextPlace(form, text, pageKeys)
  }
  throw new Error('the list has no end')
}

function nextPlace(form: Form, text: string, keys: readonly string[]): Record<string, string> {
  switch (form) {
    case 'v1':
      return { marker: textOf(text, 'NextMarker') ?? keys.at(-1) ?? '' }
    case 'v2':
      return { 'continuation-token': textOf(text, 'NextContinuationToken') ?? '' }
    case 'versions': {
      const id = textOf(text, 'NextVersionIdMarker')
      const key = textOf(text, 'NextKeyMarker') ?? ''
      return { 'key-marker': key, ...(id !== undefined && { 'version-id-marker': id }) }
    }
  }
}

describe.each(FORMS)('lists of the form %s', (form) => {
  let bucket: BucketScene

  beforeAll(async () => {
    bucket = await BucketScene.make(s3)
    await bucket.putAll(TREE)
  })

  const CASES = [
    '',
    'a',
    'a/',
    'a/2/',
    'b',
    'boo/',
    'd/',
    'ü',
    'ü/',
    '🎉',
    'nothing',
    '\uffee',
  ].flatMap((prefix) => ['', '/', '--', 'a', '//', '🎉'].map((delimiter) => [prefix, delimiter]))

  test.each(CASES)('prefix "%s" and delimiter "%s"', async (prefix = '', delimiter = '') => {
    const model = modelOf(TREE, prefix, delimiter)
    for (const pageMax of [1, 3, 1000]) {
      const found = await listAll(bucket, form, { prefix, delimiter }, pageMax)
      expect(found).toEqual(model)
    }
  })

  test.each([
    ['0', 0],
    ['1', 1],
    ['999', 999],
    ['1000', 1000],
    ['1001', 1000],
    ['2147483647', 1000],
    ['', 1000],
  ])('max-keys=%s is taken for %d', async (text, count) => {
    const answer = await bucket.bucket('GET', `${FORM_QUERY[form]}&max-keys=${text}`)
    expect(answer.status).toBe(200)
    expect(textOf(answer.text, 'MaxKeys')).toBe(String(count))
    expect(textsOf(answer.text, 'Key')).toHaveLength(Math.min(count, TREE.length))
    expect(textOf(answer.text, 'IsTruncated')).toBe(String(count === 1))
  })

  test.each(['-1', 'abc', '1.5', '0x10', '1e3', ' 1', '2147483648', '99999999999999999999'])(
    'max-keys=%s is refused',
    async (text) => {
      const query = `${FORM_QUERY[form]}&max-keys=${encodeURIComponent(text)}`
      const answer = await bucket.bucket('GET', query)
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
      expect(textOf(answer.text, 'ArgumentName')).toBe('max-keys')
    },
  )

  test('says what it was asked for', async () => {
    const query = `${FORM_QUERY[form]}&prefix=a%2F&delimiter=%2F`
    const { headers, text } = await bucket.bucket('GET', query)
    expect(headers['content-type']).toBe('application/xml')
    expect(text.startsWith('<?xml version="1.0" encoding="UTF-8"?>')).toBe(true)
    expect(textOf(text, 'Name')).toBe(bucket.name)
    expect(textOf(text, 'Prefix')).toBe('a/')
    expect(textOf(text, 'Delimiter')).toBe('/')
    expect(textOf(text, 'EncodingType')).toBeUndefined()
  })

  test('encoding-type=url encodes prefix and delimiter, anything else is refused', async () => {
    const query = `${FORM_QUERY[form]}&encoding-type=url`
    const { text } = await bucket.bucket('GET', `${query}&prefix=%C3%BC%2F&delimiter=%2B`)
    expect(textOf(text, 'Prefix')).toBe('%C3%BC/')
    expect(textOf(text, 'Delimiter')).toBe('%2B')
    expect(textsOf(text, 'Key')).toEqual(['%C3%BC/1', '%C3%BC/2'])
    expect(textOf(text, 'EncodingType')).toBe('url')
    const common = await bucket.bucket('GET', `${query}&delimiter=%2F`)
    expect(commonPrefixesOf(common.text)).toContain('%F0%9F%8E%89/')
    const other = await bucket.bucket('GET', `${FORM_QUERY[form]}&encoding-type=base64`)
    expect(other).toMatchObject({ status: 400, code: 'InvalidArgument' })
  })

  test('an object is shown with its size, ETag and time', async () => {
    const one = await BucketScene.make(s3)
    await one.put('key', 'hello')
    const { text } = await one.bucket('GET', FORM_QUERY[form])
    expect(textOf(text, 'ETag')).toBe(`"${md5Hex('hello')}"`)
    expect(textOf(text, 'Size')).toBe('5')
    expect(textOf(text, 'StorageClass')).toBe('STANDARD')
    expect(textOf(text, 'LastModified')).toMatch(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/)
  })

  test('an empty bucket, one that is not there, and one of another', async () => {
    const empty = await BucketScene.make(s3)
    const list = await empty.bucket('GET', FORM_QUERY[form])
    expect(list.status).toBe(200)
    expect(textOf(list.text, 'IsTruncated')).toBe('false')
    expect(await empty.bucket('GET', FORM_QUERY[form], { as: s3.other })).toMatchObject({
      code: 'AccessDenied',
    })
    const path = `/no-such-bucket${FORM_QUERY[form]}`
    expect(await s3.raw({ path, as: s3.owner })).toMatchObject({ code: 'NoSuchBucket' })
  })
})

describe('more than a thousand keys', () => {
  test('come in pages of a thousand, with all forms', async () => {
    const bucket = await BucketScene.make(s3)
    const keys = Array.from({ length: 1005 }, (_, at) => `key-${String(at).padStart(4, '0')}`)
    await bucket.putAll(keys)
    for (const form of FORMS) {
      const first = await bucket.bucket('GET', FORM_QUERY[form])
      expect(textsOf(first.text, 'Key')).toEqual(keys.slice(0, 1000))
      expect(textOf(first.text, 'IsTruncated')).toBe('true')
      expect((await listAll(bucket, form, {})).keys).toEqual(keys)
      const common = await listAll(bucket, form, { delimiter: '-' })
      expect(common).toEqual({ keys: [], prefixes: ['key-'] })
    }
  })
})

describe('ListObjects', () => {
  let bucket: BucketScene

  beforeAll(async () => {
    bucket = await BucketScene.make(s3)
    await bucket.putAll(['bar', 'baz', 'foo', 'quxx'])
  })

  test.each([
    ['', ['bar', 'baz', 'foo', 'quxx']],
    ['bar', ['baz', 'foo', 'quxx']],
    ['b', ['bar', 'baz', 'foo', 'quxx']],
    ['blah', ['foo', 'quxx']],
    ['quxx', []],
    ['zzz', []],
    ['\n', ['bar', 'baz', 'foo', 'quxx']],
    ['a\0b', ['bar', 'baz', 'foo', 'quxx']],
    ['🎉', []],
  ])('marker %j is followed by %j', async (marker, keys) => {
    const { text } = await bucket.bucket('GET', `?marker=${encodeURIComponent(marker)}`)
    expect(textsOf(text, 'Key')).toEqual(keys)
    expect(textOf(text, 'Marker')).toBe(marker)
  })

  test('NextMarker comes with a delimiter only, and owners always', async () => {
    const plain = await bucket.bucket('GET', '?max-keys=1')
    expect(textOf(plain.text, 'NextMarker')).toBeUndefined()
    expect(textOf(plain.text, 'ID')).toBe(s3.owner.canonicalId)
    const delimited = await bucket.bucket('GET', '?max-keys=1&delimiter=/')
    expect(textOf(delimited.text, 'NextMarker')).toBe('bar')
  })

  test('a marker within a common prefix, and one that is the prefix', async () => {
    const tree = await BucketScene.make(s3)
    await tree.putAll(['a/1', 'a/2', 'b'])
    const within = await tree.bucket('GET', '?delimiter=/&marker=a%2F')
    expect(commonPrefixesOf(within.text)).toEqual([])
    expect(textsOf(within.text, 'Key')).toEqual(['b'])
    const before = await tree.bucket('GET', '?delimiter=/&marker=a')
    expect(commonPrefixesOf(before.text)).toEqual(['a/'])
  })
})

describe('ListObjectsV2', () => {
  let bucket: BucketScene

  beforeAll(async () => {
    bucket = await BucketScene.make(s3)
    await bucket.putAll(['bar', 'baz', 'foo', 'quxx'])
  })

  const list = (query: string) => bucket.bucket('GET', `?list-type=2${query}`)

  test.each([
    ['', ['bar', 'baz', 'foo', 'quxx']],
    ['bar', ['baz', 'foo', 'quxx']],
    ['blah', ['foo', 'quxx']],
    ['zzz', []],
  ])('start-after %j is followed by %j', async (startAfter, keys) => {
    const { text } = await list(`&start-after=${startAfter}`)
    expect(textsOf(text, 'Key')).toEqual(keys)
    expect(textOf(text, 'StartAfter')).toBe(startAfter)
    expect(textOf(text, 'KeyCount')).toBe(String(keys.length))
  })

  test('start-after before the prefix is legal, behind it nothing follows', async () => {
    expect(textsOf((await list('&prefix=f&start-after=a')).text, 'Key')).toEqual(['foo'])
    expect(textsOf((await list('&prefix=f&start-after=z')).text, 'Key')).toEqual([])
  })

  test('a token goes before start-after', async () => {
    const first = await list('&max-keys=2&start-after=bar')
    expect(textsOf(first.text, 'Key')).toEqual(['baz', 'foo'])
    const token = textOf(first.text, 'NextContinuationToken') ?? ''
    const second = await list(
      `&max-keys=2&start-after=bar&continuation-token=${encodeURIComponent(token)}`,
    )
    expect(textsOf(second.text, 'Key')).toEqual(['quxx'])
    expect(textOf(second.text, 'ContinuationToken')).toBe(token)
    expect(textOf(second.text, 'StartAfter')).toBe('bar')
  })

  test('KeyCount counts common prefixes', async () => {
    const { text } = await list('&delimiter=a')
    expect(textOf(text, 'KeyCount')).toBe('3')
    expect(commonPrefixesOf(text)).toEqual(['ba'])
  })

  test('owners come only if they are asked for', async () => {
    expect((await list('')).text).not.toContain('<Owner>')
    expect((await list('&fetch-owner=false')).text).not.toContain('<Owner>')
    const { text } = await list('&fetch-owner=true')
    expect(textsOf(text, 'ID')).toEqual(Array(4).fill(s3.owner.canonicalId))
    expect(textsOf(text, 'DisplayName')).toEqual(Array(4).fill('owner'))
  })

  test.each(['', 'x', 'no token!', '\u0000', 'AA', '%%%'])(
    'the token %j is refused',
    async (token) => {
      const answer = await list(`&continuation-token=${encodeURIComponent(token)}`)
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    },
  )

  test('there is no other list-type', async () => {
    for (const type of ['3', '1', 'abc']) {
      const answer = await bucket.bucket('GET', `?list-type=${type}`)
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    }
  })
})

describe('ListObjectVersions', () => {
  test('shows versions and markers, the newest first, however small the pages', async () => {
    const bucket = await BucketScene.make(s3)
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await bucket.put('a', 'null')
    expect(await bucket.bucket('PUT', '?versioning', { body })).toMatchObject({ status: 200 })
    for (const text of ['1', '2']) await bucket.put('a', text)
    await bucket.put('b', '1')
    await bucket.request('DELETE', 'b')
    await bucket.put('c/1', '1')
    const whole = await bucket.bucket('GET', '?versions')
    expect(textsOf(whole.text, 'Key')).toEqual(['a', 'a', 'a', 'b', 'b', 'c/1'])
    const latest = ['true', 'false', 'false', 'true', 'false', 'true']
    expect(textsOf(whole.text, 'IsLatest')).toEqual(latest)
    expect(whole.text.match(/<DeleteMarker>/g)).toHaveLength(1)
    const ids = textsOf(whole.text, 'VersionId')
    expect(ids[2]).toBe('null')
    expect(new Set(ids).size).toBe(6)
    for (const pageMax of [1, 2, 5, 6]) {
      const { keys } = await listAll(bucket, 'versions', {}, pageMax)
      expect(keys).toEqual(['a', 'a', 'a', 'b', 'b', 'c/1'])
    }
    const common = await listAll(bucket, 'versions', { delimiter: '/' }, 1)
    expect(common).toEqual({ keys: ['a', 'a', 'a', 'b', 'b'], prefixes: ['c/'] })
    const query = `?versions&key-marker=a&version-id-marker=${ids[0]}`
    expect(textsOf((await bucket.bucket('GET', query)).text, 'VersionId')).toEqual(ids.slice(1))
    const behind = await bucket.bucket('GET', '?versions&key-marker=a')
    expect(textsOf(behind.text, 'Key')).toEqual(['b', 'b', 'c/1'])
    const plain = await bucket.bucket('GET')
    expect(textsOf(plain.text, 'Key')).toEqual(['a', 'c/1'])
  })

  test('a version marker needs a key marker, and must be one', async () => {
    const bucket = await BucketScene.make(s3)
    await bucket.put('a')
    for (const query of ['&version-id-marker=null', '&key-marker=a&version-id-marker=x']) {
      const answer = await bucket.bucket('GET', `?versions${query}`)
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    }
  })
})
