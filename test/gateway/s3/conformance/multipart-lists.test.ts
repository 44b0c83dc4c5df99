import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  paginateListParts,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, commonPrefixesOf, md5Hex, textOf, textsOf } from './s3-scene.ts'
import { ask, etagOfParts, UploadScene } from './upload-scene.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

describe('a list of parts', () => {
  const numbers = [1, 2, 3, 10, 200, 9999, 10_000]
  let upload: UploadScene

  beforeAll(async () => {
    const scene = await BucketScene.make(s3)
    upload = await UploadScene.begin(scene, 'parts & more', {
      'x-amz-storage-class': 'STANDARD_IA',
    })
    for (const number of numbers.toReversed()) await upload.put(number, `part ${number}`)
  })

  test('says what it is of, whose it is, and its bounds', async () => {
    const { status, text } = await upload.list()
    expect(status).toBe(200)
    const names = ['Bucket', 'Key', 'UploadId', 'StorageClass', 'PartNumberMarker', 'MaxParts']
    expect(names.map((name) => textOf(text, name))).toEqual([
      upload.scene.name,
      'parts & more',
      upload.id,
      'STANDARD_IA',
      '0',
      '1000',
    ])
    const { canonicalId } = s3.owner
    expect(textsOf(text, 'ID')).toEqual([canonicalId, canonicalId])
    expect(textOf(text, 'IsTruncated')).toBe('false')
    expect(textOf(text, 'ChecksumAlgorithm')).toBeUndefined()
  })

  test('has number, size, ETag and time of each, in the order of their numbers', async () => {
    const { text } = await upload.list()
    const bodies = numbers.map((number) => `part ${number}`)
    expect(textsOf(text, 'PartNumber')).toEqual(numbers.map(String))
    expect(textsOf(text, 'Size')).toEqual(bodies.map(({ length }) => String(length)))
    expect(textsOf(text, 'ETag')).toEqual(bodies.map((body) => `"${md5Hex(body)}"`))
    for (const time of textsOf(text, 'LastModified')) {
      expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    }
  })

  test.each([1, 2, 3, 6, 7, 8])('goes on from page to page of %d parts', async (size) => {
    const seen: string[] = []
    let marker = '0'
    for (let page = 0; page <= numbers.length; page++) {
      const { text } = await upload.list(`&max-parts=${size}&part-number-marker=${marker}`)
      expect(textOf(text, 'PartNumberMarker')).toBe(marker)
      expect(textOf(text, 'MaxParts')).toBe(String(size))
      const found = textsOf(text, 'PartNumber')
      seen.push(...found)
      const next = textOf(text, 'NextPartNumberMarker')
      if (textOf(text, 'IsTruncated') === 'false') {
        expect(next).toBeUndefined()
        break
      }
      expect(found).toHaveLength(size)
      expect(next).toBe(found.at(-1))
      marker = next ?? ''
    }
    expect(seen).toEqual(numbers.map(String))
  })

  test.each([
    ['&part-number-marker=', numbers, '1000', 'false'],
    ['&part-number-marker=3', [10, 200, 9999, 10_000], '1000', 'false'],
    ['&part-number-marker=4', [10, 200, 9999, 10_000], '1000', 'false'],
    ['&part-number-marker=9999', [10_000], '1000', 'false'],
    ['&part-number-marker=10000', [], '1000', 'false'],
    ['&part-number-marker=20000', [], '1000', 'false'],
    ['&max-parts=0', [], '0', 'false'],
    ['&max-parts=', numbers, '1000', 'false'],
    ['&max-parts=1000', numbers, '1000', 'false'],
    ['&max-parts=1001', numbers, '1000', 'false'],
    ['&max-parts=2147483647', numbers, '1000', 'false'],
    ['&max-parts=2', [1, 2], '2', 'true'],
  ] as const)('with %s has parts %j', async (query, found, size, isTruncated) => {
    const { text } = await upload.list(query)
    expect(textsOf(text, 'PartNumber')).toEqual(found.map(String))
    expect(textOf(text, 'MaxParts')).toBe(size)
    expect(textOf(text, 'IsTruncated')).toBe(isTruncated)
  })

  test.each([
    '&max-parts=-1',
    '&max-parts=abc',
    '&max-parts=1.5',
    '&max-parts=2147483648',
    '&part-number-marker=-1',
    '&part-number-marker=abc',
    '&part-number-marker=2147483648',
  ])('with %s is refused', async (query) => {
    expect(await upload.list(query)).toMatchObject({ status: 400, code: 'InvalidArgument' })
  })

  test.each([
    ['CRC32', undefined, 'COMPOSITE', 8],
    ['CRC32', 'FULL_OBJECT', 'FULL_OBJECT', 8],
    ['CRC64NVME', undefined, 'FULL_OBJECT', 12],
    ['SHA256', 'COMPOSITE', 'COMPOSITE', 44],
  ] as const)('of an upload with %s, asked for %s', async (algorithm, asked, type, length) => {
    const one = await UploadScene.begin(upload.scene, 'sums', {
      'x-amz-checksum-algorithm': algorithm,
      ...(asked && { 'x-amz-checksum-type': asked }),
    })
    await one.put(1, 'x')
    const { text } = await one.list()
    expect(textOf(text, 'ChecksumAlgorithm')).toBe(algorithm)
    expect(textOf(text, 'ChecksumType')).toBe(type)
    expect(textOf(text, `Checksum${algorithm}`)).toHaveLength(length)
  })

  test('of an upload without parts is empty', async () => {
    const one = await UploadScene.begin(upload.scene, 'none')
    const { text } = await one.list()
    expect([textOf(text, 'IsTruncated'), textsOf(text, 'Part')]).toEqual(['false', []])
  })
})

describe('a list of uploads', () => {
  const keys = ['a', 'a', 'b', 'd/1', 'd/2', 'd/e/3', 'f g&', 'z+ü']
  let scene: BucketScene
  let ids: readonly string[]

  const list = async (query = '') => (await scene.bucket('GET', `?uploads${query}`)).text

  beforeAll(async () => {
    scene = await BucketScene.make(s3)
    const uploads = []
    for (const key of keys) uploads.push(await UploadScene.begin(scene, key))
    // Those of one key are listed in the order of their ids.
    const [first = '', second = '', ...rest] = uploads.map(({ id }) => id)
    ids = [...[first, second].sort(), ...rest]
  })

  test('has all that have begun, in the order of their keys', async () => {
    const text = await list()
    expect(textsOf(text, 'Key')).toEqual(keys)
    expect(textsOf(text, 'UploadId')).toEqual(ids)
    expect(textsOf(text, 'StorageClass')).toEqual(keys.map(() => 'STANDARD'))
    expect(textsOf(text, 'Initiated')).toHaveLength(keys.length)
    expect(new Set(textsOf(text, 'ID'))).toEqual(new Set([s3.owner.canonicalId]))
    const names = ['Bucket', 'MaxUploads', 'IsTruncated', 'Prefix', 'KeyMarker']
    const values = [scene.name, '1000', 'false', '', '']
    expect(names.map((name) => textOf(text, name))).toEqual(values)
  })

  test.each([
    ['&prefix=d', ['d/1', 'd/2', 'd/e/3'], []],
    ['&prefix=d/', ['d/1', 'd/2', 'd/e/3'], []],
    ['&prefix=d/e', ['d/e/3'], []],
    ['&prefix=nothing', [], []],
    ['&prefix=f%20g%26', ['f g&'], []],
    ['&delimiter=/', ['a', 'a', 'b', 'f g&', 'z+ü'], ['d/']],
    ['&prefix=d/&delimiter=/', ['d/1', 'd/2'], ['d/e/']],
    ['&prefix=d&delimiter=/', [], ['d/']],
    ['&prefix=d/&delimiter=e', ['d/1', 'd/2'], ['d/e']],
    ['&delimiter=', keys, []],
    ['&key-marker=a', ['b', 'd/1', 'd/2', 'd/e/3', 'f g&', 'z+ü'], []],
    ['&key-marker=c', ['d/1', 'd/2', 'd/e/3', 'f g&', 'z+ü'], []],
    ['&key-marker=d/2&prefix=d', ['d/e/3'], []],
    ['&key-marker=d/&delimiter=/', ['f g&', 'z+ü'], []],
    ['&key-marker=zz', [], []],
    ['&upload-id-marker=ffff', keys, []],
    ['&max-uploads=0', [], []],
    ['&max-uploads=2000', keys, []],
  ])('with %s has keys %j and common prefixes %j', async (query, found, prefixes) => {
    const text = await list(query)
    expect(textsOf(text, 'Key')).toEqual(found)
    expect(commonPrefixesOf(text)).toEqual(prefixes)
    expect(textOf(text, 'IsTruncated')).toBe('false')
  })

  test.each([1, 2, 3, 7, 8])('goes on from page to page of %d uploads', async (size) => {
    const seen: string[] = []
    let markers = ''
    for (let page = 0; page <= keys.length; page++) {
      const text = await list(`&max-uploads=${size}${markers}`)
      seen.push(...textsOf(text, 'UploadId'))
      if (textOf(text, 'IsTruncated') === 'false') break
      expect(textsOf(text, 'Key')).toHaveLength(size)
      const key = encodeURIComponent(textOf(text, 'NextKeyMarker') ?? '')
      markers = `&key-marker=${key}&upload-id-marker=${textOf(text, 'NextUploadIdMarker')}`
    }
    expect(seen).toEqual(ids)
  })

  test.each([1, 2, 4])('goes on over common prefixes in pages of %d', async (size) => {
    const seen: string[] = []
    let markers = ''
    for (let page = 0; page <= keys.length; page++) {
      const text = await list(`&delimiter=/&max-uploads=${size}${markers}`)
      seen.push(...textsOf(text, 'Key'), ...commonPrefixesOf(text))
      if (textOf(text, 'IsTruncated') === 'false') break
      const key = encodeURIComponent(textOf(text, 'NextKeyMarker') ?? '')
      markers = `&key-marker=${key}&upload-id-marker=${textOf(text, 'NextUploadIdMarker') ?? ''}`
    }
    expect(seen.sort()).toEqual(['a', 'a', 'b', 'd/', 'f g&', 'z+ü'])
  })

  test('goes on among the uploads of one key', async () => {
    const text = await list(`&key-marker=a&upload-id-marker=${ids[0]}`)
    expect(textsOf(text, 'UploadId')).toEqual(ids.slice(1))
  })

  test('URL-encodes keys, prefixes and markers if it is asked to', async () => {
    const text = await list('&encoding-type=url&prefix=&key-marker=d/e/3')
    expect(textsOf(text, 'Key')).toEqual(['f%20g%26', 'z%2B%C3%BC'])
    expect(textOf(text, 'EncodingType')).toBe('url')
    expect(textOf(text, 'KeyMarker')).toBe('d/e/3')
    const grouped = await list('&encoding-type=url&delimiter=%20&prefix=f')
    expect(commonPrefixesOf(grouped)).toEqual(['f%20'])
    expect(textOf(grouped, 'Delimiter')).toBe('%20')
  })

  test.each([
    ['&max-uploads=-1', 'InvalidArgument'],
    ['&max-uploads=many', 'InvalidArgument'],
    ['&max-uploads=2147483648', 'InvalidArgument'],
    ['&encoding-type=base64', 'InvalidArgument'],
  ])('with %s is refused', async (query, code) => {
    expect(await scene.bucket('GET', `?uploads${query}`)).toMatchObject({ status: 400, code })
  })

  test('is for nobody else', async () => {
    for (const as of [s3.other, undefined]) {
      const answer = await scene.bucket('GET', '?uploads', { as })
      expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    }
  })

  test('leaves out what was completed or aborted', async () => {
    const own = await BucketScene.make(s3)
    const done = await UploadScene.begin(own, 'done')
    const gone = await UploadScene.begin(own, 'gone')
    const left = await UploadScene.begin(own, 'left')
    await done.complete([await done.put(1, 'x')])
    await gone.abort()
    const { text } = await own.bucket('GET', '?uploads')
    expect(textsOf(text, 'UploadId')).toEqual([left.id])
  })

  test('says how sums are made, where that was chosen', async () => {
    const own = await BucketScene.make(s3)
    await UploadScene.begin(own, 'a', { 'x-amz-checksum-algorithm': 'SHA1' })
    await UploadScene.begin(own, 'b')
    const { text } = await own.bucket('GET', '?uploads')
    expect(textsOf(text, 'ChecksumAlgorithm')).toEqual(['SHA1'])
    expect(textsOf(text, 'ChecksumType')).toEqual(['COMPOSITE'])
  })

  test('keeps no bucket from being deleted: it goes with it', async () => {
    const own = await BucketScene.make(s3)
    const upload = await UploadScene.begin(own, 'a')
    await upload.put(1, 'x')
    expect(await own.bucket('DELETE')).toMatchObject({ status: 204 })
    expect(await upload.list()).toMatchObject({ status: 404, code: 'NoSuchBucket' })
    expect(await upload.part(2, 'x')).toMatchObject({ status: 404, code: 'NoSuchBucket' })
    // A new bucket of the same name is another one.
    expect(await own.bucket('PUT')).toMatchObject({ status: 200 })
    expect(await upload.list()).toMatchObject({ status: 404, code: 'NoSuchUpload' })
    const { text } = await own.bucket('GET', '?uploads')
    expect(textsOf(text, 'UploadId')).toEqual([])
  })

  test('stays while an object keeps its bucket', async () => {
    const own = await BucketScene.make(s3)
    const upload = await UploadScene.begin(own, 'a')
    await own.put('b', 'x')
    expect(await own.bucket('DELETE')).toMatchObject({ status: 409, code: 'BucketNotEmpty' })
    expect(await upload.list()).toMatchObject({ status: 200 })
  })
})

describe('an upload of a user who may only put objects', () => {
  let scene: BucketScene
  let theirs: BucketScene
  const list = async () => (await scene.bucket('GET', '?uploads')).text

  beforeAll(async () => {
    scene = await BucketScene.make(s3)
    theirs = new BucketScene(s3, scene.name, s3.other)
    const Resource = `arn:aws:s3:::${scene.name}/*`
    const statement = { Effect: 'Allow', Principal: '*', Action: 's3:PutObject', Resource }
    const body = JSON.stringify({ Version: '2012-10-17', Statement: [statement] })
    expect(await scene.bucket('PUT', '?policy', { body })).toMatchObject({ status: 204 })
  })

  test('says who began it and who will own the object', async () => {
    const upload = await UploadScene.begin(theirs, 'k')
    for (const text of [(await upload.list()).text, await list()]) {
      const [initiator = '', owner = ''] = ['Initiator', 'Owner'].map((name) => {
        return new RegExp(`<${name}>(.*?)</${name}>`, 's').exec(text)?.[1] ?? ''
      })
      expect(textOf(initiator, 'ID')).toBe(s3.other.canonicalId)
      expect(textOf(owner, 'ID')).toBe(s3.owner.canonicalId)
    }
    expect(await upload.abort()).toMatchObject({ status: 204 })
  })

  test('becomes an object of the owner of the bucket', async () => {
    const upload = await UploadScene.begin(theirs, 'k')
    const part = await upload.put(1, 'x')
    expect(await upload.complete([part])).toMatchObject({ status: 200 })
    expect(await theirs.get('k')).toMatchObject({ status: 403 })
    expect(await scene.get('k')).toMatchObject({ text: 'x' })
  })

  test('is for them to list and abort, as is none of others', async () => {
    const own = await UploadScene.begin(theirs, 'own')
    await own.put(1, 'x')
    expect(textsOf((await own.list()).text, 'PartNumber')).toEqual(['1'])
    const { id } = await UploadScene.begin(scene, 'not-own')
    const denied = { status: 403, code: 'AccessDenied' }
    expect(await ask(theirs, 'GET', 'not-own', `?uploadId=${id}`)).toMatchObject(denied)
    expect(await ask(theirs, 'DELETE', 'not-own', `?uploadId=${id}`)).toMatchObject(denied)
    expect(await theirs.bucket('GET', '?uploads')).toMatchObject(denied)
    expect(await own.abort()).toMatchObject({ status: 204 })
  })

  test('that nobody began who has a name is for nobody but the owner', async () => {
    const nobody = { as: undefined }
    const begun = await ask(scene, 'POST', 'anonymous', '?uploads', nobody)
    expect(begun).toMatchObject({ status: 200 })
    const query = `?uploadId=${textOf(begun.text, 'UploadId')}`
    for (const as of [undefined, s3.other]) {
      expect(await ask(scene, 'DELETE', 'anonymous', query, { as })).toMatchObject({ status: 403 })
    }
    expect(await ask(scene, 'DELETE', 'anonymous', query)).toMatchObject({ status: 204 })
  })
})

test('the SDK finds its way through uploads and parts, page by page', async () => {
  const { sdk } = s3.owner
  const { name: Bucket } = await BucketScene.make(s3)
  await sdk.send(new PutObjectCommand({ Bucket, Key: 'ü +&source', Body: '0123456789' }))
  const target = { Bucket, Key: 'ü +&/key' }
  const { UploadId } = await sdk.send(new CreateMultipartUploadCommand(target))
  const ref = { ...target, UploadId }
  await sdk.send(new UploadPartCommand({ ...ref, PartNumber: 2, Body: 'sent' }))
  for (const PartNumber of [5, 7]) {
    const copied = await sdk.send(
      new UploadPartCopyCommand({
        ...ref,
        PartNumber,
        CopySource: encodeURIComponent(`${Bucket}/ü +&source`),
        CopySourceRange: `bytes=0-${PartNumber - 1}`,
      }),
    )
    expect(copied.CopyPartResult?.ETag).toBe(`"${md5Hex('0123456789'.slice(0, PartNumber))}"`)
  }
  const numbers = []
  for await (const page of paginateListParts({ client: sdk, pageSize: 1 }, ref)) {
    numbers.push(...(page.Parts ?? []).map(({ PartNumber, Size }) => [PartNumber, Size]))
  }
  expect(numbers).toEqual([
    [2, 4],
    [5, 5],
    [7, 7],
  ])
  const listed = await sdk.send(new ListMultipartUploadsCommand({ Bucket, Prefix: 'ü +&' }))
  expect(listed.Uploads).toMatchObject([{ Key: target.Key, UploadId }])
  const part = { PartNumber: 7, ETag: md5Hex('0123456') }
  const MultipartUpload = { Parts: [part] }
  const done = await sdk.send(new CompleteMultipartUploadCommand({ ...ref, MultipartUpload }))
  expect(done).toMatchObject({ ...target, ETag: etagOfParts(['0123456']) })
  const got = await sdk.send(new GetObjectCommand({ ...target, PartNumber: 1 }))
  expect([got.PartsCount, await got.Body?.transformToString()]).toEqual([1, '0123456'])
  const aborted = sdk.send(new AbortMultipartUploadCommand(ref))
  await expect(aborted).rejects.toMatchObject({ name: 'NoSuchUpload' })
})
