import { ChecksumAlgorithm, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { ALGORITHMS, type Algorithm, checksumHeader, sumOf } from './checksum-oracles.ts'
import { BucketScene, type ChunkedForm, chunkedRequest, textOf, textsOf } from './s3-scene.ts'
import { ask, UploadScene } from './upload-scene.ts'

const BODY = 'the quick brown fox'
const ENABLED = { 'x-amz-checksum-mode': 'ENABLED' }

let s3: TestS3
let scene: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  scene = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

function checksumsIn(headers: Readonly<Record<string, string>>): Record<string, string> {
  const found = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-checksum-'))
  return Object.fromEntries(found)
}

function shownAs(algorithm: Algorithm, body = BODY, type = 'FULL_OBJECT') {
  return { [checksumHeader(algorithm)]: sumOf(algorithm, body), 'x-amz-checksum-type': type }
}

test.each([
  ['CRC32', 'y/Q5Jg=='],
  ['CRC32C', '4waSgw=='],
  ['CRC64NVME', 'rosUhgp5mIg='],
] as const)('the %s of 123456789 is %s, as its definition says', (algorithm, sum) => {
  expect(sumOf(algorithm, '123456789')).toBe(sum)
})

describe.each(ALGORITHMS)('%s of an object', (algorithm) => {
  const name = checksumHeader(algorithm)
  const right = sumOf(algorithm, BODY)
  const wrong = sumOf(algorithm, 'another')

  test('in a header is checked, kept and told', async () => {
    const put = await scene.put('header', BODY, { [name]: right })
    expect(checksumsIn(put.headers)).toEqual(shownAs(algorithm))
    for (const method of ['GET', 'HEAD']) {
      const answer = await scene.request(method, 'header', { headers: ENABLED })
      expect(checksumsIn(answer.headers)).toEqual(shownAs(algorithm))
    }
  })

  test('is only told to who asks, and of all the bytes', async () => {
    await scene.put('asked', BODY, { [name]: right })
    for (const headers of [{}, { 'x-amz-checksum-mode': 'DISABLED' }]) {
      expect(checksumsIn((await scene.get('asked', headers)).headers)).toEqual({})
      expect(checksumsIn((await scene.head('asked', headers)).headers)).toEqual({})
    }
    const range = { ...ENABLED, range: 'bytes=0-3' }
    expect(checksumsIn((await scene.get('asked', range)).headers)).toEqual({})
    expect(checksumsIn((await scene.head('asked', range)).headers)).toEqual({})
  })

  test.each([
    ['wrong', wrong, 'BadDigest'],
    ['too short', right.slice(4), 'InvalidRequest'],
    ['too long', `${right}AAAA`, 'InvalidRequest'],
    ['no base64', '!'.repeat(right.length), 'InvalidRequest'],
    ['empty', '', 'InvalidRequest'],
  ])('in a header that is %s is refused, and nothing is stored', async (what, value, code) => {
    const key = `refused/${algorithm}/${what}`
    const answer = await scene.request('PUT', key, { body: BODY, headers: { [name]: value } })
    expect(answer).toMatchObject({ status: 400, code })
    expect(await scene.get(key)).toMatchObject({ code: 'NoSuchKey' })
  })

  test.each(['signed-trailer', 'unsigned-trailer'] as const)(
    'in the trailer of a body in %s chunks is checked, kept and told',
    async (form) => {
      const put = await chunked(form, 'trailer', { [name]: right })
      expect(put).toMatchObject({ status: 200 })
      expect(checksumsIn(put.headers)).toEqual(shownAs(algorithm))
      const got = await scene.get('trailer', ENABLED)
      expect([got.text, checksumsIn(got.headers)]).toEqual([BODY, shownAs(algorithm)])
      expect(got.headers['content-encoding']).toBeUndefined()
      const other = await chunked(form, 'bad-trailer', { [name]: wrong })
      expect(other).toMatchObject({ status: 400, code: 'BadDigest' })
      const bad = await chunked(form, 'bad-trailer', { [name]: 'AAAA' })
      expect(bad).toMatchObject({ status: 400, code: 'InvalidRequest' })
      expect(await scene.get('bad-trailer')).toMatchObject({ code: 'NoSuchKey' })
    },
  )

  test('is computed for a copy that asks for it', async () => {
    await scene.put('source', BODY)
    const headers = {
      'x-amz-copy-source': scene.path('source'),
      'x-amz-checksum-algorithm': algorithm,
    }
    const { status, text } = await scene.request('PUT', 'copy', { headers })
    expect([status, textOf(text, `Checksum${algorithm}`)]).toEqual([200, right])
    expect(textOf(text, 'ChecksumType')).toBe('FULL_OBJECT')
    expect(checksumsIn((await scene.head('copy', ENABLED)).headers)).toEqual(shownAs(algorithm))
  })

  test('stays that of a copy that asks for nothing', async () => {
    await scene.put('source', BODY, { [name]: right })
    const headers = { 'x-amz-copy-source': scene.path('source') }
    const { text } = await scene.request('PUT', 'copy', { headers })
    expect(textOf(text, `Checksum${algorithm}`)).toBe(right)
  })

  test('is named in lists', async () => {
    const own = await BucketScene.make(s3)
    await own.put('a', BODY, { [name]: right })
    for (const query of ['', '?list-type=2', '?versions']) {
      const { text } = await own.bucket('GET', query)
      expect(textsOf(text, 'ChecksumAlgorithm')).toEqual([algorithm])
      expect(textsOf(text, 'ChecksumType')).toEqual(['FULL_OBJECT'])
    }
  })

  test('goes through the SDK both ways', async () => {
    const Bucket = scene.name
    const sdk = s3.owner.sdk
    const put = await sdk.send(
      new PutObjectCommand({ Bucket, Key: 'sdk', Body: BODY, ChecksumAlgorithm: algorithm }),
    )
    expect(put).toMatchObject({ [`Checksum${algorithm}`]: right, ChecksumType: 'FULL_OBJECT' })
    const got = await sdk.send(
      new GetObjectCommand({ Bucket, Key: 'sdk', ChecksumMode: 'ENABLED' }),
    )
    expect(got).toMatchObject({ [`Checksum${algorithm}`]: right })
    expect(await got.Body?.transformToString()).toBe(BODY)
  })
})

describe('a checksum', () => {
  test('that nobody asks for is CRC64NVME', async () => {
    const put = await scene.put('unasked', BODY)
    expect(checksumsIn(put.headers)).toEqual(shownAs('CRC64NVME'))
    const got = await scene.get('unasked', ENABLED)
    expect(checksumsIn(got.headers)).toEqual(shownAs('CRC64NVME'))
  })

  test.each(ALGORITHMS)('%s of no bytes is checked as well', async (algorithm) => {
    const name = checksumHeader(algorithm)
    const right = { [name]: sumOf(algorithm, '') }
    expect(checksumsIn((await scene.put('nothing', '', right)).headers)).toEqual(
      shownAs(algorithm, ''),
    )
    const wrong = { [name]: sumOf(algorithm, 'x') }
    const answer = await scene.request('PUT', 'nothing', { headers: wrong })
    expect(answer).toMatchObject({ code: 'BadDigest' })
  })

  const crc32 = { 'x-amz-checksum-crc32': sumOf('CRC32', BODY) }
  const sha1 = { 'x-amz-checksum-sha1': sumOf('SHA1', BODY) }

  test.each([
    ['of two algorithms', { ...crc32, ...sha1 }],
    ['of an algorithm nobody knows', { 'x-amz-sdk-checksum-algorithm': 'CRC16', ...crc32 }],
    ['that is announced and does not come', { 'x-amz-sdk-checksum-algorithm': 'CRC32' }],
    [
      'of another algorithm than is announced',
      { 'x-amz-sdk-checksum-algorithm': 'SHA1', ...crc32 },
    ],
    ['of a kind of MD5 header', { 'x-amz-checksum-md5': 'XrY7u+Ae7tCTyyK7j1rNww==' }],
    ['of XXHash', { 'x-amz-checksum-xxhash64': 'AAAAAAAAAAA=' }],
    ['in a trailer of a body that has none', { 'x-amz-trailer': 'x-amz-checksum-crc32' }],
  ])('%s is refused', async (_, headers) => {
    const answer = await scene.request('PUT', 'refused', { body: BODY, headers })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
    expect(await scene.get('refused')).toMatchObject({ code: 'NoSuchKey' })
  })

  test.each([
    ['CRC32', crc32],
    ['crc32', crc32],
    ['SHA1', sha1],
  ])('announced as %s is taken', async (name, sum) => {
    await scene.put('announced', BODY, { 'x-amz-sdk-checksum-algorithm': name, ...sum })
  })

  test('in a header and a trailer is refused', async () => {
    const trailer = { 'x-amz-checksum-crc32': sumOf('CRC32', BODY) }
    const answer = await chunked('unsigned-trailer', 'both', trailer, sha1)
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
  })

  test('that does not come in the trailer that was announced is refused', async () => {
    const announced = { 'x-amz-trailer': 'x-amz-checksum-crc32' }
    const answer = await chunked('unsigned-trailer', 'absent', {}, announced)
    expect(answer).toMatchObject({ status: 400, code: 'MalformedTrailerError' })
    expect(await scene.get('absent')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('of another algorithm in the trailer than was announced is refused', async () => {
    const announced = { 'x-amz-trailer': 'x-amz-checksum-sha1' }
    const trailer = { 'x-amz-checksum-crc32': sumOf('CRC32', BODY) }
    const answer = await chunked('unsigned-trailer', 'other', trailer, announced)
    expect(answer).toMatchObject({ status: 400, code: 'MalformedTrailerError' })
  })

  test('goes with a Content-MD5, and both must be right', async () => {
    const md5 = Buffer.alloc(16).toString('base64')
    const headers = { ...crc32, 'content-md5': md5 }
    const answer = await scene.request('PUT', 'both', { body: BODY, headers })
    expect(answer).toMatchObject({ status: 400, code: 'BadDigest' })
  })

  test.each(['CRC16', 'MD5', ''])('of a copy cannot be "%s"', async (algorithm) => {
    await scene.put('source', BODY)
    const headers = {
      'x-amz-copy-source': scene.path('source'),
      'x-amz-checksum-algorithm': algorithm,
    }
    const answer = await scene.request('PUT', 'bad-copy', { headers })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
  })

  test('of each algorithm that the SDK offers is taken or refused, never dropped', async () => {
    const Bucket = scene.name
    for (const algorithm of Object.values(ChecksumAlgorithm)) {
      const command = { Bucket, Key: 'offered', Body: BODY, ChecksumAlgorithm: algorithm }
      const sent = s3.owner.sdk.send(new PutObjectCommand(command))
      const isOurs = ALGORITHMS.some((each) => each === algorithm)
      if (isOurs) expect(await sent).toMatchObject({ ChecksumType: 'FULL_OBJECT' })
      else await expect(sent).rejects.toThrow()
    }
  })

  test('of a document that sets something is checked', async () => {
    const body = '<Tagging><TagSet></TagSet></Tagging>'
    await scene.put('document', BODY)
    for (const algorithm of ALGORITHMS) {
      const name = checksumHeader(algorithm)
      const answers = [sumOf(algorithm, body), sumOf(algorithm, 'x')].map((sum) =>
        ask(scene, 'PUT', 'document', '?tagging', { body, headers: { [name]: sum } }),
      )
      expect((await Promise.all(answers)).map(({ code, status }) => [status, code])).toEqual([
        [200, undefined],
        [400, 'BadDigest'],
      ])
    }
  })
})

describe.each(ALGORITHMS)('%s of a part', (algorithm) => {
  const name = checksumHeader(algorithm)
  const begin = () => UploadScene.begin(scene, 'part', { 'x-amz-checksum-algorithm': algorithm })

  test('is checked, told and listed', async () => {
    const upload = await begin()
    const right = sumOf(algorithm, BODY)
    const answer = await upload.part(1, BODY, { headers: { [name]: right } })
    expect([answer.status, answer.headers[name]]).toEqual([200, right])
    const wrong = await upload.part(2, BODY, { headers: { [name]: sumOf(algorithm, 'x') } })
    expect(wrong).toMatchObject({ status: 400, code: 'BadDigest' })
    const { text } = await upload.list()
    expect(textsOf(text, `Checksum${algorithm}`)).toEqual([right])
  })

  test.each(['signed-trailer', 'unsigned-trailer'] as const)(
    'in the trailer of %s chunks is checked and told',
    async (form) => {
      const { id } = await begin()
      const query = `?partNumber=3&uploadId=${id}`
      const right = sumOf(algorithm, BODY)
      const answer = await chunked(form, 'part', { [name]: right }, {}, query)
      expect([answer.status, answer.headers[name]]).toEqual([200, right])
      const wrong = { [name]: sumOf(algorithm, 'x') }
      const refused = await chunked(form, 'part', wrong, {}, query)
      expect(refused).toMatchObject({ status: 400, code: 'BadDigest' })
    },
  )

  test('is computed if the client says none', async () => {
    const upload = await begin()
    const answer = await upload.part(1, BODY)
    expect(answer.headers[name]).toBe(sumOf(algorithm, BODY))
  })

  test('is told of a copied part', async () => {
    await scene.put('source', BODY)
    const upload = await begin()
    const headers = { 'x-amz-copy-source': scene.path('source') }
    const { text } = await upload.part(1, '', { headers })
    expect(textOf(text, `Checksum${algorithm}`)).toBe(sumOf(algorithm, BODY))
  })

  test('is refused if the upload has another algorithm', async () => {
    const upload = await begin()
    const other = algorithm === 'SHA1' ? 'CRC32' : 'SHA1'
    const headers = { [checksumHeader(other)]: sumOf(other, BODY) }
    const answer = await upload.part(1, BODY, { headers })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
  })

  test('is checked even if nobody chose an algorithm for the upload', async () => {
    const upload = await UploadScene.begin(scene, 'part')
    const right = { [name]: sumOf(algorithm, BODY) }
    expect(await upload.part(1, BODY, { headers: right })).toMatchObject({ status: 200 })
    const wrong = { [name]: sumOf(algorithm, 'x') }
    expect(await upload.part(1, BODY, { headers: wrong })).toMatchObject({ code: 'BadDigest' })
  })
})

async function chunked(
  form: ChunkedForm,
  key: string,
  trailers: Readonly<Record<string, string>>,
  more: Readonly<Record<string, string>> = {},
  query = '',
) {
  const path = scene.path(key, query)
  const bytes = Buffer.from(BODY)
  const { headers, wire } = await chunkedRequest(s3, {
    path,
    as: s3.owner,
    form,
    chunks: [bytes],
    trailers,
    headers: more,
  })
  return await s3.raw({ method: 'PUT', path, headers, body: wire })
}
