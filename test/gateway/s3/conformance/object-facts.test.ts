import { GetObjectAttributesCommand, GetObjectTaggingCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { compositeOf, sumOf } from './checksum-oracles.ts'
import { BucketScene, md5Hex, textOf, textsOf } from './s3-scene.ts'
import { ask, bigPart, etagOfParts, UploadScene } from './upload-scene.ts'

type Headers = Readonly<Record<string, string>>

const ENABLED = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
const UNKNOWN_ID = '0'.repeat(32)

let s3: TestS3
let scene: BucketScene
let versioned: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  scene = await BucketScene.make(s3)
  versioned = await BucketScene.make(s3)
  await versioned.bucket('PUT', '?versioning', { body: ENABLED })
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

function tagging(tags: readonly (readonly [key: string, value: string])[]): string {
  const all = tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`)
  return `<Tagging><TagSet>${all.join('')}</TagSet></Tagging>`
}

function numbered(count: number) {
  return Array.from({ length: count }, (_, at) => [`key-${at}`, `value ${at}`] as const)
}

async function tagsOf(key: string, query = '', of = scene): Promise<string[][]> {
  const { text } = await ask(of, 'GET', key, `?tagging${query}`)
  const values = textsOf(text, 'Value')
  return textsOf(text, 'Key').map((name, at) => [name, values[at] ?? ''])
}

describe('the tags of an object', () => {
  test.each([0, 1, 10])('are set as a whole: %d of them', async (count) => {
    await scene.put('tags', 'x', { 'x-amz-tagging': 'before=1' })
    const body = tagging(numbered(count))
    expect(await ask(scene, 'PUT', 'tags', '?tagging', { body })).toMatchObject({ status: 200 })
    expect(await tagsOf('tags')).toEqual(numbered(count))
    const shown = (await scene.head('tags')).headers['x-amz-tagging-count']
    expect(shown).toBe(count === 0 ? undefined : String(count))
  })

  test.each([
    ['the longest', [['k'.repeat(128), 'v'.repeat(256)]]],
    ['no value', [['k', '']]],
    ['letters of all tongues', [['Größe', '大きい']]],
    ['signs', [['a b+c-d=e._:/@', 'a b+c-d=e._:/@']]],
    ['digits', [['0123', '007']]],
  ] as const)('may have %s', async (_, tags) => {
    await scene.put('tags')
    const body = tagging(tags)
    expect(await ask(scene, 'PUT', 'tags', '?tagging', { body })).toMatchObject({ status: 200 })
    expect(await tagsOf('tags')).toEqual(tags)
  })

  test.each([
    ['11 of them', tagging(numbered(11)), 'InvalidTag'],
    [
      'a key twice',
      tagging([
        ['a', '1'],
        ['a', '2'],
      ]),
      'InvalidTag',
    ],
    ['an empty key', tagging([['', '1']]), 'InvalidTag'],
    ['a key of 129', tagging([['k'.repeat(129), '']]), 'InvalidTag'],
    ['a value of 257', tagging([['k', 'v'.repeat(257)]]), 'InvalidTag'],
    ['a key of the system', tagging([['aws:a', '1']]), 'InvalidTag'],
    ['a key with signs', tagging([['a*b', '1']]), 'InvalidTag'],
    ['a value with a line break', tagging([['a', '1\n2']]), 'InvalidTag'],
    ['no set', '<Tagging/>', 'MalformedXML'],
    ['no value', '<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>', 'MalformedXML'],
    ['no key', '<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>', 'MalformedXML'],
    ['something else', '<Tagging><TagSet><Tog/></TagSet></Tagging>', 'MalformedXML'],
    ['no body', '', 'MalformedXML'],
    ['no XML', 'a=1', 'MalformedXML'],
  ])('cannot be set with %s', async (_, body, code) => {
    await scene.put('refused', 'x', { 'x-amz-tagging': 'before=1' })
    const answer = await ask(scene, 'PUT', 'refused', '?tagging', { body })
    expect(answer).toMatchObject({ status: 400, code })
    expect(await tagsOf('refused')).toEqual([['before', '1']])
  })

  test('are taken away', async () => {
    await scene.put('tags', 'x', { 'x-amz-tagging': 'a=1' })
    for (let time = 0; time < 2; time++) {
      const answer = await ask(scene, 'DELETE', 'tags', '?tagging')
      expect(answer).toMatchObject({ status: 204, text: '' })
      expect(await tagsOf('tags')).toEqual([])
    }
    expect(await scene.get('tags')).toMatchObject({ text: 'x' })
  })

  test.each([
    ['a=1', [['a', '1']]],
    [
      'a=1&b=2',
      [
        ['a', '1'],
        ['b', '2'],
      ],
    ],
    ['a', [['a', '']]],
    ['a=', [['a', '']]],
    ['', []],
    ['a+b=c%20d', [['a b', 'c d']]],
    ['a%2Bb=%3D%26', 'InvalidTag'],
    ['a%2Bb=%3D', [['a+b', '=']]],
    ['a=b=c', [['a', 'b=c']]],
    ['Gr%C3%B6%C3%9Fe=%E5%A4%A7', [['Größe', '大']]],
    ['a=%', 'InvalidArgument'],
    ['a=%FF', 'InvalidArgument'],
    ['=1', 'InvalidTag'],
    ['a=1&a=2', 'InvalidTag'],
    ['AWS:a=1', 'InvalidTag'],
  ] as const)('in the header "%s" are %j', async (header, expected) => {
    const headers = { 'x-amz-tagging': header }
    const put = await scene.request('PUT', 'header', { body: 'x', headers })
    if (typeof expected === 'string') {
      expect(put).toMatchObject({ status: 400, code: expected })
    } else {
      expect(put).toMatchObject({ status: 200 })
      expect(await tagsOf('header')).toEqual(expected)
    }
  })

  test('are of one version', async () => {
    const first = (await versioned.put('k', '1')).headers['x-amz-version-id'] ?? ''
    const second = (await versioned.put('k', '2')).headers['x-amz-version-id'] ?? ''
    const set = (query: string, tag: string) =>
      ask(versioned, 'PUT', 'k', `?tagging${query}`, { body: tagging([[tag, '1']]) })
    const headers = (id: string) => ({ status: 200, headers: { 'x-amz-version-id': id } })
    expect(await set(`&versionId=${first}`, 'old')).toMatchObject(headers(first))
    expect(await set('', 'new')).toMatchObject(headers(second))
    expect(await tagsOf('k', `&versionId=${first}`, versioned)).toEqual([['old', '1']])
    expect(await tagsOf('k', '', versioned)).toEqual([['new', '1']])
    const gone = await ask(versioned, 'DELETE', 'k', `?tagging&versionId=${first}`)
    expect(gone).toMatchObject({ status: 204, headers: { 'x-amz-version-id': first } })
    expect(await tagsOf('k', `&versionId=${first}`, versioned)).toEqual([])
    expect(await tagsOf('k', '', versioned)).toEqual([['new', '1']])
  })

  const body = tagging([['a', '1']])
  const methods = [
    ['GET', ''],
    ['PUT', body],
    ['DELETE', ''],
  ] as const

  test.each(methods)('%s of what is not there is refused', async (method, sent) => {
    const at = (key: string, query = '') =>
      ask(versioned, method, key, `?tagging${query}`, { body: sent })
    expect(await at('absent')).toMatchObject({ status: 404, code: 'NoSuchKey' })
    const unknown = await at('absent', `&versionId=${UNKNOWN_ID}`)
    expect(unknown).toMatchObject({ status: 404, code: 'NoSuchVersion' })
    expect(await at('absent', '&versionId=1')).toMatchObject({ code: 'InvalidArgument' })
    await versioned.put('marked')
    const deleted = await versioned.request('DELETE', 'marked')
    const marker = deleted.headers['x-amz-version-id']
    expect(await at('marked')).toMatchObject({ status: 404, code: 'NoSuchKey' })
    expect(await at('marked', `&versionId=${marker}`)).toMatchObject({
      status: 405,
      code: 'MethodNotAllowed',
      headers: { 'x-amz-delete-marker': 'true' },
    })
  })

  test.each(methods)('%s is for nobody else', async (method, sent) => {
    await scene.put('private')
    for (const as of [s3.other, undefined]) {
      const answer = await ask(scene, method, 'private', '?tagging', { as, body: sent })
      expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    }
  })

  test('go when the object is put again, and come with the SDK', async () => {
    await scene.put('again', 'x', { 'x-amz-tagging': 'a=1' })
    const command = new GetObjectTaggingCommand({ Bucket: scene.name, Key: 'again' })
    expect((await s3.owner.sdk.send(command)).TagSet).toEqual([{ Key: 'a', Value: '1' }])
    await scene.put('again', 'y')
    expect(await tagsOf('again')).toEqual([])
  })
})

describe('the attributes of an object', () => {
  const NAMES = ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'] as const
  const combinations = Array.from({ length: 2 ** NAMES.length - 1 }, (_, at) =>
    NAMES.filter((__, bit) => (((at + 1) >> bit) & 1) === 1),
  )

  const attributes = (key: string, names: string, headers: Headers = {}, query = '', of = scene) =>
    ask(of, 'GET', key, `?attributes${query}`, {
      headers: { 'x-amz-object-attributes': names, ...headers },
    })

  /** Names of the elements right below the root. */
  function elementsOf(xml: string): string[] {
    const [, inner = ''] = /<GetObjectAttributesResponse[^>]*>(.*)<\/GetObj/s.exec(xml) ?? []
    const found = inner.matchAll(/<(\w+)>.*?<\/\1>/gs)
    return Array.from(found, ([, name = '']) => name)
  }

  beforeAll(async () => {
    await scene.put('plain', 'hello', { 'x-amz-storage-class': 'STANDARD_IA' })
    const upload = await UploadScene.begin(scene, 'single', { 'x-amz-checksum-algorithm': 'SHA1' })
    await upload.complete([await upload.put(1, 'hello')])
  })

  test.each(combinations.map((names) => [names.join(',')]))('asked for are %s', async (names) => {
    const { headers, status, text } = await attributes('plain', names)
    expect(status).toBe(200)
    expect(headers['last-modified']).toMatch(/GMT$/)
    const isNoPart = (name: string) => name !== 'ObjectParts'
    expect(elementsOf(text)).toEqual(names.split(',').filter(isNoPart))
    const multipart = elementsOf((await attributes('single', names)).text)
    expect(multipart).toEqual(names.split(','))
  })

  test('have the ETag without quotes, size, class and checksum', async () => {
    const { text } = await attributes('plain', NAMES.join(', '))
    const values = ['ETag', 'ObjectSize', 'StorageClass', 'ChecksumCRC64NVME', 'ChecksumType']
    expect(values.map((name) => textOf(text, name))).toEqual([
      md5Hex('hello'),
      '5',
      'STANDARD_IA',
      sumOf('CRC64NVME', 'hello'),
      'FULL_OBJECT',
    ])
  })

  test.each([
    ['', 'InvalidArgument'],
    ['ETag,', 'InvalidArgument'],
    ['etag', 'InvalidArgument'],
    ['ETag,Owner', 'InvalidArgument'],
  ])('asked for as "%s" are refused', async (names, code) => {
    expect(await attributes('plain', names)).toMatchObject({ status: 400, code })
  })

  test('without a word which ones are refused', async () => {
    const answer = await ask(scene, 'GET', 'plain', '?attributes')
    expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
  })

  test('of what is not there are refused', async () => {
    expect(await attributes('absent', 'ETag')).toMatchObject({ status: 404, code: 'NoSuchKey' })
    const unknown = await attributes('plain', 'ETag', {}, `&versionId=${UNKNOWN_ID}`)
    expect(unknown).toMatchObject({ status: 404, code: 'NoSuchVersion' })
  })

  test('are of one version, and of no marker', async () => {
    const first = (await versioned.put('attributes', 'one')).headers['x-amz-version-id'] ?? ''
    await versioned.put('attributes', 'three')
    const of = (query: string) => attributes('attributes', 'ObjectSize', {}, query, versioned)
    const old = await of(`&versionId=${first}`)
    expect(old.headers['x-amz-version-id']).toBe(first)
    expect(textOf(old.text, 'ObjectSize')).toBe('3')
    expect(textOf((await of('')).text, 'ObjectSize')).toBe('5')
    const deleted = await versioned.request('DELETE', 'attributes')
    const marker = deleted.headers['x-amz-version-id']
    expect(await of('')).toMatchObject({
      status: 404,
      code: 'NoSuchKey',
      headers: { 'x-amz-delete-marker': 'true' },
    })
    expect(await of(`&versionId=${marker}`)).toMatchObject({
      status: 405,
      code: 'MethodNotAllowed',
    })
  })

  test('are for nobody else', async () => {
    for (const as of [s3.other, undefined]) {
      const headers = { 'x-amz-object-attributes': 'ETag' }
      const answer = await ask(scene, 'GET', 'plain', '?attributes', { as, headers })
      expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    }
  })

  describe('in three parts', () => {
    const bodies = [bigPart(1), bigPart(2), Buffer.from('the end')] as const

    beforeAll(async () => {
      const upload = await UploadScene.begin(scene, 'three', {
        'x-amz-checksum-algorithm': 'SHA256',
      })
      const parts = []
      for (const [at, body] of bodies.entries()) parts.push(await upload.put(at + 1, body))
      expect(await upload.complete(parts)).toMatchObject({ status: 200 })
    })

    test('say each', async () => {
      const { text } = await attributes('three', 'ObjectParts,Checksum,ETag,ObjectSize')
      expect(textOf(text, 'ETag')).toBe(etagOfParts(bodies).replaceAll('"', ''))
      expect(textOf(text, 'PartsCount')).toBe('3')
      expect(textsOf(text, 'PartNumber')).toEqual(['1', '2', '3'])
      expect(textsOf(text, 'Size')).toEqual(bodies.map(({ length }) => String(length)))
      expect(textsOf(text, 'ChecksumSHA256')).toEqual([
        compositeOf('SHA256', bodies),
        ...bodies.map((body) => sumOf('SHA256', body)),
      ])
      expect(textOf(text, 'ChecksumType')).toBe('COMPOSITE')
      const sizeBytes = bodies.reduce((sum, { length }) => sum + length, 0)
      expect(textOf(text, 'ObjectSize')).toBe(String(sizeBytes))
    })

    test.each([
      [undefined, undefined, ['1', '2', '3'], 'false', '1000'],
      ['2', undefined, ['1', '2'], 'true', '2'],
      ['3', undefined, ['1', '2', '3'], 'false', '3'],
      ['1', '0', ['1'], 'true', '1'],
      ['1', '1', ['2'], 'true', '1'],
      ['1', '2', ['3'], 'false', '1'],
      ['1', '3', [], 'false', '1'],
      ['5000', '1', ['2', '3'], 'false', '1000'],
      [undefined, '9999', [], 'false', '1000'],
      ['0', undefined, [], 'false', '0'],
    ] as const)(
      'in pages of %s after %s are %j',
      async (max, marker, numbers, isTruncated, size) => {
        const { text } = await attributes('three', 'ObjectParts', {
          ...(max && { 'x-amz-max-parts': max }),
          ...(marker && { 'x-amz-part-number-marker': marker }),
        })
        expect(textsOf(text, 'PartNumber')).toEqual(numbers)
        expect(textOf(text, 'IsTruncated')).toBe(isTruncated)
        expect(textOf(text, 'MaxParts')).toBe(size)
        expect(textOf(text, 'PartNumberMarker')).toBe(marker ?? '0')
        if (isTruncated === 'true') {
          expect(textOf(text, 'NextPartNumberMarker')).toBe(numbers.at(-1))
        }
      },
    )

    test.each([
      { 'x-amz-max-parts': '-1' },
      { 'x-amz-max-parts': 'all' },
      { 'x-amz-part-number-marker': '1.5' },
      { 'x-amz-part-number-marker': '' },
    ])('with %o are refused', async (headers) => {
      const answer = await attributes('three', 'ObjectParts', headers as Headers)
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    })

    test('come with the SDK', async () => {
      const command = new GetObjectAttributesCommand({
        Bucket: scene.name,
        Key: 'three',
        ObjectAttributes: [...NAMES],
        MaxParts: 2,
      })
      const { ObjectParts, ObjectSize, StorageClass } = await s3.owner.sdk.send(command)
      expect(ObjectParts).toMatchObject({ TotalPartsCount: 3, IsTruncated: true, MaxParts: 2 })
      expect(ObjectParts?.Parts?.map(({ PartNumber }) => PartNumber)).toEqual([1, 2])
      expect([ObjectSize, StorageClass]).toEqual([2 * bodies[0].length + 7, 'STANDARD'])
    })
  })
})

describe('the storage class of an object', () => {
  test.each([
    ['STANDARD', undefined],
    ['STANDARD_IA', 'STANDARD_IA'],
    ['GLACIER_IR', 'GLACIER_IR'],
    ['REDUCED_REDUNDANCY', 'REDUCED_REDUNDANCY'],
    ['ONEZONE_IA', 'ONEZONE_IA'],
    ['INTELLIGENT_TIERING', 'INTELLIGENT_TIERING'],
    ['', undefined],
  ])('"%s" is shown as %s', async (storageClass, shown) => {
    const headers = { 'x-amz-storage-class': storageClass }
    await scene.put('class', 'hello', headers)
    expect(await scene.get('class')).toMatchObject({ text: 'hello' })
    expect((await scene.head('class')).headers['x-amz-storage-class']).toBe(shown)
    const { text } = await scene.bucket('GET', '?list-type=2&prefix=class')
    expect(textsOf(text, 'StorageClass')).toEqual([shown ?? 'STANDARD'])
    const upload = await UploadScene.begin(scene, 'class', headers)
    await upload.complete([await upload.put(1, 'parts')])
    expect((await scene.head('class')).headers['x-amz-storage-class']).toBe(shown)
  })

  test.each([
    'standard',
    'COLD',
    'DEEP_ARCHIVE',
    'GLACIER',
    'EXPRESS_ONEZONE',
    'OUTPOSTS',
    'SNOW',
    'STANDARD,STANDARD',
  ])('%s is refused', async (storageClass) => {
    const headers = { 'x-amz-storage-class': storageClass }
    const answer = await scene.request('PUT', 'bad-class', { body: 'x', headers })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidStorageClass' })
    expect(textOf(answer.text, 'StorageClassRequested')).toBe(storageClass)
    expect(await scene.get('bad-class')).toMatchObject({ code: 'NoSuchKey' })
  })
})
