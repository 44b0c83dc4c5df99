import aws4 from 'aws4'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawAnswer, signedHeaders, TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, keyPath } from './s3-scene.ts'

let s3: TestS3
let bucket: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  bucket = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

/** Signs one path and sends another, or the same. */
async function send(signedPath: string, path: string, method = 'GET'): Promise<RawAnswer> {
  const headers = await signedHeaders(s3.owner, {
    method,
    path: `/${bucket.name}/${signedPath}`,
    headers: { host: new URL(s3.url).host },
    bytes: Buffer.alloc(0),
  })
  return await s3.raw({ method, path: `/${bucket.name}/${path}`, headers })
}

/** What aws4 makes of the path, in the header or in the query. */
async function sendByAws4(path: string, signQuery: boolean): Promise<RawAnswer> {
  const { host } = new URL(s3.url)
  const whole = `/${bucket.name}/${path}`
  const { headers, path: signed } = aws4.sign(
    {
      method: 'GET',
      service: 's3',
      region: 'us-east-1',
      host,
      path: whole,
      signQuery,
      headers: {},
    },
    { accessKeyId: s3.owner.accessKeyId, secretAccessKey: s3.owner.secretAccessKey },
  )
  const text = Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)])
  return await s3.raw({ path: signed ?? whole, headers: Object.fromEntries(text) })
}

describe('a path is verified', () => {
  test.each([
    ['a%2Fb', 'a/b'],
    ['a%2fb', 'a/b'],
    ['a%2F%2Fb', 'a//b'],
    ['a%2F..%2Fb', 'a/../b'],
    ['a%7Eb', 'a~b'],
    ['a%7eb', 'a~b'],
    ['a~b', 'a~b'],
    ['%61%2D%5F%2E', 'a-_.'],
    ['a%2Bb', 'a+b'],
    ['a%2bb', 'a+b'],
    ['a+b', 'a+b'],
    ['a%20b', 'a b'],
    ["a!'()*b", "a!'()*b"],
    ['a%21%27%28%29%2Ab', "a!'()*b"],
    ['a$&=:@,;b', 'a$&=:@,;b'],
    ['100%2525', '100%25'],
    ['%C3%BC', '\u00fc'],
    ['%c3%bc', '\u00fc'],
  ])('%s, signed as it is sent or as S3 says', async (path, key) => {
    await bucket.put(key, `data of ${key}`)
    const found = { status: 200, text: `data of ${key}` }
    expect(await send(path, path)).toMatchObject(found)
    expect(await send(keyPath(key), path)).toMatchObject(found)
    // To aws4 a bare plus is a space, and so another key.
    if (path.includes('+')) return
    expect(await sendByAws4(path, false)).toMatchObject(found)
    expect(await sendByAws4(path, true)).toMatchObject(found)
  })

  test('when it is written to, too', async () => {
    expect(await send('w%2Fx%7Ey%2B', 'w%2Fx%7Ey%2B', 'PUT')).toMatchObject({ status: 200 })
    expect(await bucket.get('w/x~y+')).toMatchObject({ status: 200, text: '' })
  })
})

describe('a signature', () => {
  test.each([
    ['a%2Fb', 'a%2Fc'],
    ['a/b', 'a%252Fb'],
    ['a%252Fb', 'a%2Fb'],
    ['a%20b', 'a+b'],
    ['a+b', 'a%20b'],
    ['a/../b', 'b'],
    ['b', 'a/../b'],
    ['a//b', 'a/b'],
    ['A', 'a'],
    ['%C3%BC', 'u%CC%88'],
  ])('of %s is none of %s, which is another object', async (signed, sent) => {
    const answer = await send(signed, sent, 'PUT')
    expect(answer).toMatchObject({ status: 403, code: 'SignatureDoesNotMatch' })
  })
})
