import { type ChecksumAlgorithm, GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checksumOf } from '../../../../src/gateway/s3/body/checksum.ts'
import { TestS3 } from '../../../support/test-s3.ts'
import {
  ALGORITHMS,
  type Algorithm,
  checksumHeader,
  compositeOf,
  sumOf,
} from './checksum-oracles.ts'
import { BucketScene, md5Hex, textOf } from './s3-scene.ts'
import { ask, bigPart, etagOfParts, UploadScene } from './upload-scene.ts'

const ENABLED = { 'x-amz-checksum-mode': 'ENABLED' }
const BODY = 'a part'

let s3: TestS3
let scene: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  scene = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const TYPES = [
  ['CRC32', undefined, 'COMPOSITE'],
  ['CRC32', 'COMPOSITE', 'COMPOSITE'],
  ['CRC32', 'FULL_OBJECT', 'FULL_OBJECT'],
  ['CRC32C', undefined, 'COMPOSITE'],
  ['CRC32C', 'COMPOSITE', 'COMPOSITE'],
  ['CRC32C', 'FULL_OBJECT', 'FULL_OBJECT'],
  ['CRC32C', 'full_object', 'FULL_OBJECT'],
  ['CRC64NVME', undefined, 'FULL_OBJECT'],
  ['CRC64NVME', 'FULL_OBJECT', 'FULL_OBJECT'],
  ['SHA1', undefined, 'COMPOSITE'],
  ['SHA1', 'COMPOSITE', 'COMPOSITE'],
  ['SHA256', undefined, 'COMPOSITE'],
  ['SHA256', 'composite', 'COMPOSITE'],
] as const

function begin(algorithm: Algorithm, type?: string): Promise<UploadScene> {
  return UploadScene.begin(scene, `sums/${algorithm}`, {
    'x-amz-checksum-algorithm': algorithm,
    ...(type !== undefined && { 'x-amz-checksum-type': type }),
  })
}

function wholeOf(algorithm: Algorithm, type: string, body = BODY): string {
  return type === 'COMPOSITE' ? compositeOf(algorithm, [body]) : sumOf(algorithm, body)
}

describe('an upload', () => {
  test.each(TYPES)('with %s, asked for %s, has one %s sum', async (algorithm, asked, type) => {
    const name = checksumHeader(algorithm)
    const headers = {
      'x-amz-checksum-algorithm': algorithm,
      ...(asked && { 'x-amz-checksum-type': asked }),
    }
    const begun = await ask(scene, 'POST', 'sums', '?uploads', { headers })
    expect(begun.headers).toMatchObject({
      'x-amz-checksum-algorithm': algorithm,
      'x-amz-checksum-type': type,
    })
    const upload = await begin(algorithm, asked)
    const part = await upload.put(1, BODY)
    const { status, text } = await upload.complete([part])
    const whole = wholeOf(algorithm, type)
    expect([status, textOf(text, `Checksum${algorithm}`)]).toEqual([200, whole])
    expect(textOf(text, 'ChecksumType')).toBe(type)
    for (const method of ['GET', 'HEAD']) {
      const answer = await scene.request(method, upload.key, { headers: ENABLED })
      expect(answer.headers).toMatchObject({ [name]: whole, 'x-amz-checksum-type': type })
      const quiet = await scene.request(method, upload.key)
      expect(quiet.headers[name]).toBeUndefined()
    }
    const range = await scene.get(upload.key, { ...ENABLED, range: 'bytes=0-1' })
    expect(range.headers[name]).toBeUndefined()
  })

  test.each([
    ['CRC64NVME', 'COMPOSITE'],
    ['SHA1', 'FULL_OBJECT'],
    ['SHA256', 'FULL_OBJECT'],
    ['CRC32', 'PARTIAL'],
    ['CRC32', ''],
    ['MD5', 'FULL_OBJECT'],
    ['', 'FULL_OBJECT'],
  ])('with "%s" cannot have the type "%s"', async (algorithm, type) => {
    const headers = { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type }
    const answer = await ask(scene, 'POST', 'sums', '?uploads', { headers })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
  })

  test('for which nobody chose has a CRC64NVME of the whole', async () => {
    const begun = await ask(scene, 'POST', 'default', '?uploads')
    expect(begun.headers['x-amz-checksum-algorithm']).toBeUndefined()
    const upload = await UploadScene.begin(scene, 'default')
    const { text } = await upload.complete([await upload.put(1, BODY)])
    expect(textOf(text, 'ChecksumCRC64NVME')).toBe(sumOf('CRC64NVME', BODY))
    expect(textOf(text, 'ChecksumType')).toBe('FULL_OBJECT')
  })
})

describe('a completion', () => {
  test.each(TYPES)('may say what the %s of its parts is, asked for %s', async (algorithm, type) => {
    const upload = await begin(algorithm, type)
    const part = await upload.put(1, BODY)
    const element = `Checksum${algorithm}`
    const named = (value: string) => [{ ...part, more: { [element]: value } }]
    const wrong = await upload.complete(named(sumOf(algorithm, 'another')))
    expect(wrong).toMatchObject({ status: 400, code: 'InvalidPart' })
    const right = await upload.complete(named(sumOf(algorithm, BODY)))
    expect(right).toMatchObject({ status: 200 })
  })

  test.each(TYPES)('may say what the %s of all is, asked for %s: %s', async (...row) => {
    const [algorithm, asked, type] = row
    const upload = await begin(algorithm, asked)
    const parts = [await upload.put(1, BODY)]
    const name = checksumHeader(algorithm)
    const wrong = await upload.complete(parts, { [name]: wholeOf(algorithm, type, 'another') })
    expect(wrong).toMatchObject({ status: 400, code: 'BadDigest' })
    const headers = { [name]: wholeOf(algorithm, type), 'x-amz-checksum-type': type }
    expect(await upload.complete(parts, headers)).toMatchObject({ status: 200 })
  })

  test.each([
    [
      'a sum of another algorithm',
      { 'x-amz-checksum-sha1': sumOf('SHA1', BODY) },
      'InvalidRequest',
    ],
    ['a sum that is none', { 'x-amz-checksum-crc32': 'AAAA' }, 'InvalidRequest'],
    ['another type', { 'x-amz-checksum-type': 'FULL_OBJECT' }, 'InvalidRequest'],
    ['a type nobody knows', { 'x-amz-checksum-type': 'HALF' }, 'InvalidRequest'],
    ['the size of less', { 'x-amz-mp-object-size': '5' }, 'InvalidRequest'],
    ['the size of more', { 'x-amz-mp-object-size': '7' }, 'InvalidRequest'],
    ['a size below 0', { 'x-amz-mp-object-size': '-1' }, 'InvalidRequest'],
    ['a size that is none', { 'x-amz-mp-object-size': 'six' }, 'InvalidRequest'],
    ['its size', { 'x-amz-mp-object-size': '6' }, undefined],
    ['its type', { 'x-amz-checksum-type': 'COMPOSITE' }, undefined],
    ['the algorithm of the SDK', { 'x-amz-sdk-checksum-algorithm': 'CRC32' }, undefined],
    ['the algorithm of the upload', { 'x-amz-checksum-algorithm': 'CRC32' }, undefined],
    [
      'the sum without the number of parts',
      { 'x-amz-checksum-crc32': compositeOf('CRC32', [BODY]).replace('-1', '') },
      undefined,
    ],
    [
      'the sum with another number of parts',
      { 'x-amz-checksum-crc32': compositeOf('CRC32', [BODY]).replace('-1', '-2') },
      'BadDigest',
    ],
  ] as const)('of a composite CRC32 that says %s: %o gives %s', async (_, headers, code) => {
    const upload = await begin('CRC32')
    const parts = [await upload.put(1, BODY)]
    expect(await upload.complete(parts, headers)).toMatchObject({
      status: code === undefined ? 200 : 400,
      code,
    })
    if (code !== undefined) expect(await upload.list()).toMatchObject({ status: 200 })
  })

  test('with a sum of a part in another algorithm is refused', async () => {
    const upload = await begin('CRC32')
    const part = await upload.put(1, BODY)
    const named = { ...part, more: { ChecksumSHA1: sumOf('SHA1', BODY) } }
    expect(await upload.complete([named])).toMatchObject({ status: 400, code: 'InvalidPart' })
  })

  test.each([
    ['COMPOSITE', 2, 'InvalidPartOrder'],
    ['COMPOSITE', 1, undefined],
    ['FULL_OBJECT', 2, undefined],
  ] as const)('of %s sums whose first part is %d gives %s', async (type, first, code) => {
    const upload = await begin('CRC32', type)
    const answer = await upload.complete([await upload.put(first, BODY)])
    expect(answer).toMatchObject({ status: code === undefined ? 200 : 400, code })
  })
})

describe('two parts', () => {
  const bodies = [bigPart(1), Buffer.from('the end')] as const
  const whole = Buffer.concat(bodies)
  // Too many bytes for sums bit by bit; those of small bodies were compared with them already.
  const sum = (algorithm: Algorithm, data: Buffer) => checksumOf(algorithm, data)
  const base64 = (algorithm: Algorithm, data: Buffer) => sum(algorithm, data).toString('base64')

  test.each([
    ['CRC32', 'COMPOSITE'],
    ['CRC32', 'FULL_OBJECT'],
    ['CRC32C', 'FULL_OBJECT'],
    ['CRC64NVME', 'FULL_OBJECT'],
    ['SHA256', 'COMPOSITE'],
  ] as const)('have one %s that is %s, and each its own', async (algorithm, type) => {
    const name = checksumHeader(algorithm)
    const upload = await begin(algorithm, type)
    const parts = [await upload.put(1, bodies[0]), await upload.put(2, bodies[1])]
    const sums = Buffer.concat(bodies.map((body) => sum(algorithm, body)))
    const expected =
      type === 'COMPOSITE' ? `${base64(algorithm, sums)}-2` : base64(algorithm, whole)
    const size = { 'x-amz-mp-object-size': String(whole.length) }
    const answer = await upload.complete(parts, { [name]: expected, ...size })
    expect(answer).toMatchObject({ status: 200 })
    const head = await scene.head(upload.key, ENABLED)
    expect(head.headers).toMatchObject({ [name]: expected, 'x-amz-checksum-type': type })
    for (const [index, body] of bodies.entries()) {
      const query = `?partNumber=${index + 1}`
      const part = await ask(scene, 'HEAD', upload.key, query, { headers: ENABLED })
      expect(part.headers[name]).toBe(base64(algorithm, body))
      const quiet = await ask(scene, 'HEAD', upload.key, query)
      expect(quiet.headers[name]).toBeUndefined()
    }
  })
})

describe('lib-storage', () => {
  const parts = [bigPart(1), Buffer.from('the end')]
  const body = Buffer.concat(parts)

  test.each([undefined, ...ALGORITHMS])(
    'uploads 5 MiB and a bit in parts with %s',
    async (algorithm) => {
      const sdk = s3.owner.sdk
      const Key = `lib/${algorithm}`
      const target = { Bucket: scene.name, Key }
      const upload = new Upload({
        client: sdk,
        params: {
          ...target,
          Body: body,
          ...(algorithm && { ChecksumAlgorithm: algorithm as ChecksumAlgorithm }),
        },
        partSize: bigPart(1).length,
      })
      expect(await upload.done()).toMatchObject({ ETag: etagOfParts(parts) })
      const head = await sdk.send(new HeadObjectCommand({ ...target, ChecksumMode: 'ENABLED' }))
      expect(head.ContentLength).toBe(body.length)
      if (algorithm !== undefined) expect(head[`Checksum${algorithm}`]).toBeDefined()
      const got = await sdk.send(new GetObjectCommand({ ...target, ChecksumMode: 'ENABLED' }))
      expect(md5Hex((await got.Body?.transformToByteArray()) ?? '')).toBe(md5Hex(body))
    },
  )
})
