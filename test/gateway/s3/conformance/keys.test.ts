import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, keyPath, textOf, textsOf } from './s3-scene.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const KEYS = [
  'a/../b',
  'a/./b',
  '.',
  '..',
  './',
  '../',
  '../../etc/passwd',
  '/',
  '//',
  '/a',
  'a/',
  'a//b',
  'a///',
  ' ',
  '  ',
  'a b',
  ' a',
  'a ',
  '+',
  'a+b',
  '%',
  '%25',
  '%2F',
  'a%2Fb',
  'ü',
  'ü/ß',
  'é', // Two forms of one letter are two keys.
  'e\u0301',
  '世界',
  '🎉',
  '\ue000',
  '\uffff',
  '\ufffe',
  '\u0001',
  '\u001f',
  '\u007f',
  '\u0085',
  '\t',
  '\n',
  '\r\n',
  'a\rb',
  '\\',
  '"',
  "'",
  '<',
  '>',
  '&',
  '&amp;',
  ']]>',
  '<Key>x</Key>',
  '?',
  '?versionId=1',
  '#',
  ';',
  ':',
  '@',
  '!*()',
  '~',
  '=',
  'a=b&c=d',
  '$',
  ',',
  '|',
  '^',
  '`',
  '{}',
  '[]',
  '00123',
  '-1',
  'true',
  'null',
  'undefined',
  '__proto__',
  'constructor',
  'dir/assign',
  'metrics',
  '3,01637037d6',
  'favicon.ico',
  '\u200b',
  '\ufeff',
  '\u202egnp.exe',
  'x'.repeat(1024),
  'ü'.repeat(512),
  `${'a/'.repeat(511)}aa`,
] as const

describe('every key is a key of its own', () => {
  let bucket: BucketScene

  beforeAll(async () => {
    bucket = await BucketScene.make(s3)
    await bucket.putAll(KEYS)
  })

  test.each(KEYS)('%j is put, got, copied and found by HEAD', async (key) => {
    await bucket.put(key, `of ${key}`)
    expect(await bucket.get(key)).toMatchObject({ status: 200, text: `of ${key}` })
    const head = await bucket.head(key)
    expect(head.headers['content-length']).toBe(String(Buffer.byteLength(`of ${key}`)))
    const headers = { 'x-amz-copy-source': keyPath(`${bucket.name}/${key}`) }
    const copy = await bucket.request('PUT', 'copy', { headers })
    expect([copy.status, copy.code]).toEqual([200, undefined])
    expect(await bucket.get('copy')).toMatchObject({ text: `of ${key}` })
  })

  test.each(KEYS)('%j comes alone by its prefix, encoded and not', async (key) => {
    const prefix = encodeURIComponent(key)
    for (const encoding of ['', '&encoding-type=url']) {
      const query = `?list-type=2&prefix=${prefix}&max-keys=1${encoding}`
      const { text } = await bucket.bucket('GET', query)
      const [found = ''] = textsOf(text, 'Key')
      // Parsers of XML read a lone line feed as it is; encoded, nothing is left to them.
      expect(encoding === '' ? found : decodeURIComponent(found)).toBe(key)
    }
  })

  test('all are in the list, in the order of their bytes', async () => {
    await bucket.request('DELETE', 'copy')
    const sorted = [...KEYS].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const plain = await bucket.bucket('GET')
    expect(textsOf(plain.text, 'Key')).toEqual(sorted)
    const encoded = await bucket.bucket('GET', '?list-type=2&encoding-type=url')
    const keys = textsOf(encoded.text, 'Key')
    expect(keys.map(decodeURIComponent)).toEqual(sorted)
    for (const key of keys) expect(key).toMatch(/^[\w\-.~/%]*$/)
    expect(textOf(encoded.text, 'EncodingType')).toBe('url')
  })

  test('each second one is deleted, and no other with it', async () => {
    for (const key of KEYS.filter((_, at) => at % 2 === 0)) {
      expect(await bucket.request('DELETE', key)).toMatchObject({ status: 204 })
      expect(await bucket.head(key)).toMatchObject({ status: 404 })
    }
    const { text } = await bucket.bucket('GET')
    const kept = KEYS.filter((_, at) => at % 2 === 1)
    expect(textsOf(text, 'Key').sort()).toEqual([...kept].sort())
  })
})

describe('what can be no key', () => {
  test.each([
    ['x'.repeat(1025), 'KeyTooLongError'],
    ['%C3%BC'.repeat(513), 'KeyTooLongError'],
    ['x'.repeat(8000), 'KeyTooLongError'],
    ['a%00b', 'InvalidArgument'],
    ['%00', 'InvalidArgument'],
    ['%', 'InvalidURI'],
    ['%2', 'InvalidURI'],
    ['%zz', 'InvalidURI'],
    ['%ff', 'InvalidURI'],
    ['%C3', 'InvalidURI'],
    ['%C0%80', 'InvalidURI'],
    ['%ED%A0%80', 'InvalidURI'],
    ['%F4%90%80%80', 'InvalidURI'],
  ])('%.20s is %s', async (path, code) => {
    const bucket = await BucketScene.make(s3)
    for (const method of ['PUT', 'GET', 'HEAD', 'DELETE']) {
      // Nobody can sign what cannot be decoded: it is refused before that matters.
      const answer = await s3.raw({ method, path: `/${bucket.name}/${path}` })
      expect(answer.status).toBe(400)
      if (method !== 'HEAD') expect(answer.code).toBe(code)
    }
  })

  test.each(['a%', 'prefix=%ff', 'prefix=a&marker=%C3'])('nor a query: %s', async (query) => {
    const bucket = await BucketScene.make(s3)
    const answer = await s3.raw({ path: `/${bucket.name}?${query}` })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidURI' })
  })
})

describe('forms of one path', () => {
  test.each([
    ['a+b', 'a%2Bb'],
    ['a%7Eb', 'a~b'],
    ["a!'()*b", 'a%21%27%28%29%2Ab'],
    ['%c3%bc', '%C3%BC'],
    ['a:b@c', 'a%3Ab%40c'],
    ['a=b&c', 'a%3Db%26c'],
    ['%61', 'a'],
  ])('%s and %s are the same key', async (one, other) => {
    const bucket = await BucketScene.make(s3)
    const as = s3.owner
    const signed = { as, method: 'PUT', path: `/${bucket.name}/${other}`, body: one }
    expect(await s3.raw(signed)).toMatchObject({ status: 200 })
    const Statement = [
      {
        Effect: 'Allow',
        Principal: '*',
        Action: 's3:*',
        Resource: `arn:aws:s3:::${bucket.name}/*`,
      },
    ]
    const policy = JSON.stringify({ Version: '2012-10-17', Statement })
    expect(await bucket.bucket('PUT', '?policy', { body: policy })).toMatchObject({ status: 204 })
    expect(await s3.raw({ path: `/${bucket.name}/${one}` })).toMatchObject({ text: one })
  })
})
