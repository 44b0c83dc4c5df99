import {
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawAnswer, TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, md5Hex, textOf, textsOf } from './s3-scene.ts'
import { ask, UploadScene } from './upload-scene.ts'

type Status = 'Enabled' | 'Suspended'

const ID = /^[0-9a-f]{32}$/
const UNKNOWN_ID = '0'.repeat(32)

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

async function setVersioning(scene: BucketScene, status: Status): Promise<void> {
  const body = `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`
  expect(await scene.bucket('PUT', '?versioning', { body })).toMatchObject({ status: 200 })
}

async function versionedBucket(...statuses: readonly Status[]): Promise<BucketScene> {
  const scene = await BucketScene.make(s3)
  for (const status of statuses) await setVersioning(scene, status)
  return scene
}

async function putVersion(scene: BucketScene, key: string, body: string): Promise<string> {
  return (await scene.put(key, body)).headers['x-amz-version-id'] ?? ''
}

function deleteKey(scene: BucketScene, key: string, versionId?: string): Promise<RawAnswer> {
  return ask(scene, 'DELETE', key, versionId === undefined ? '' : `?versionId=${versionId}`)
}

/** The entries of a list of versions: `key id`, then `*` if it is the latest, `-` if a marker. */
async function listed(scene: BucketScene, query = ''): Promise<string[]> {
  const { text } = await scene.bucket('GET', `?versions${query}`)
  const entries = text.matchAll(/<(Version|DeleteMarker)>(.*?)<\/\1>/gs)
  return Array.from(entries, ([, kind, entry = '']) => {
    const latest = textOf(entry, 'IsLatest') === 'true' ? '*' : ''
    const marker = kind === 'DeleteMarker' ? '-' : ''
    return `${textOf(entry, 'Key')} ${textOf(entry, 'VersionId')}${latest}${marker}`
  })
}

describe('the versioning of a bucket', () => {
  const statusOf = async (scene: BucketScene) =>
    textOf((await scene.bucket('GET', '?versioning')).text, 'Status')

  test.each([
    [[], undefined],
    [['Enabled'], 'Enabled'],
    [['Suspended'], 'Suspended'],
    [['Enabled', 'Suspended'], 'Suspended'],
    [['Enabled', 'Suspended', 'Enabled'], 'Enabled'],
    [['Suspended', 'Suspended'], 'Suspended'],
  ] as const)('after %j is %s', async (statuses, expected) => {
    expect(await statusOf(await versionedBucket(...statuses))).toBe(expected)
  })

  test.each([
    ['no status', '<VersioningConfiguration/>', 'IllegalVersioningConfigurationException'],
    ['a status nobody knows', status('Off'), 'MalformedXML'],
    ['a status in small letters', status('enabled'), 'MalformedXML'],
    ['no body', '', 'MalformedXML'],
    ['another document', '<Tagging/>', 'MalformedXML'],
  ])('cannot be set with %s', async (_, body, code) => {
    const scene = await BucketScene.make(s3)
    expect(await scene.bucket('PUT', '?versioning', { body })).toMatchObject({ status: 400, code })
    expect(await statusOf(scene)).toBeUndefined()
  })

  test('is for nobody else', async () => {
    const scene = await BucketScene.make(s3)
    for (const as of [s3.other, undefined]) {
      const set = await scene.bucket('PUT', '?versioning', { as, body: status('Enabled') })
      expect(set).toMatchObject({ status: 403, code: 'AccessDenied' })
      expect(await scene.bucket('GET', '?versioning', { as })).toMatchObject({ status: 403 })
    }
  })

  function status(text: string): string {
    return `<VersioningConfiguration><Status>${text}</Status></VersioningConfiguration>`
  }
})

describe('without versioning', () => {
  test('answers have no version ids, and an object is replaced and deleted for good', async () => {
    const scene = await BucketScene.make(s3)
    for (const body of ['one', 'two']) {
      expect((await scene.put('k', body)).headers['x-amz-version-id']).toBeUndefined()
    }
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await scene.request(method, 'k')
      expect(headers['x-amz-version-id']).toBeUndefined()
    }
    expect(await listed(scene)).toEqual(['k null*'])
    const gone = await deleteKey(scene, 'k')
    expect(gone).toMatchObject({ status: 204 })
    expect(gone.headers['x-amz-version-id']).toBeUndefined()
    expect(gone.headers['x-amz-delete-marker']).toBeUndefined()
    expect(await listed(scene)).toEqual([])
  })

  test('the one version there is has the name null', async () => {
    const scene = await BucketScene.make(s3)
    await scene.put('k', 'one')
    expect(await ask(scene, 'GET', 'k', '?versionId=null')).toMatchObject({ text: 'one' })
    expect(await ask(scene, 'GET', 'k', `?versionId=${UNKNOWN_ID}`)).toMatchObject({
      status: 404,
      code: 'NoSuchVersion',
    })
    expect(await deleteKey(scene, 'k', 'null')).toMatchObject({ status: 204 })
    expect(await scene.get('k')).toMatchObject({ status: 404, code: 'NoSuchKey' })
  })

  test('a key that is not there can be deleted', async () => {
    const scene = await BucketScene.make(s3)
    expect(await deleteKey(scene, 'absent')).toMatchObject({ status: 204 })
    expect(await deleteKey(scene, 'absent', UNKNOWN_ID)).toMatchObject({ status: 204 })
  })
})

describe('with versioning', () => {
  let scene: BucketScene

  beforeAll(async () => {
    scene = await versionedBucket('Enabled')
  })

  test('every put makes a version, and each stays', async () => {
    const bodies = ['one', 'two', 'three']
    const ids: string[] = []
    for (const body of bodies) ids.push(await putVersion(scene, 'puts', body))
    expect(ids.every((id) => ID.test(id))).toBe(true)
    expect(new Set(ids).size).toBe(3)
    for (const [index, body] of bodies.entries()) {
      const id = ids[index] ?? ''
      for (const method of ['GET', 'HEAD']) {
        const answer = await ask(scene, method, 'puts', `?versionId=${id}`)
        expect(answer).toMatchObject({
          status: 200,
          headers: { 'x-amz-version-id': id, etag: `"${md5Hex(body)}"` },
        })
      }
    }
    expect((await scene.get('puts')).headers['x-amz-version-id']).toBe(ids[2])
    const [one = '', two = '', three = ''] = ids
    expect(await listed(scene, '&prefix=puts')).toEqual([
      `puts ${three}*`,
      `puts ${two}`,
      `puts ${one}`,
    ])
  })

  test('a delete hides the object behind a marker', async () => {
    const id = await putVersion(scene, 'hidden', 'body')
    const answer = await deleteKey(scene, 'hidden')
    const marker = answer.headers['x-amz-version-id'] ?? ''
    expect(answer).toMatchObject({ status: 204, headers: { 'x-amz-delete-marker': 'true' } })
    expect(marker).toMatch(ID)
    for (const method of ['GET', 'HEAD']) {
      expect(await scene.request(method, 'hidden')).toMatchObject({
        status: 404,
        headers: { 'x-amz-delete-marker': 'true', 'x-amz-version-id': marker },
      })
      const named = await ask(scene, method, 'hidden', `?versionId=${marker}`)
      expect(named).toMatchObject({
        status: 405,
        headers: {
          'x-amz-delete-marker': 'true',
          'x-amz-version-id': marker,
          allow: 'DELETE',
        },
      })
      expect(named.headers['last-modified']).toBeDefined()
    }
    expect(await scene.get('hidden')).toMatchObject({ code: 'NoSuchKey' })
    const below = await ask(scene, 'GET', 'hidden', `?versionId=${id}`)
    expect(below).toMatchObject({ status: 200, text: 'body' })
    expect(below.headers['x-amz-delete-marker']).toBeUndefined()
    expect(await listed(scene, '&prefix=hidden')).toEqual([`hidden ${marker}*-`, `hidden ${id}`])
    const { text } = await scene.bucket('GET', '?prefix=hidden')
    expect(textsOf(text, 'Key')).toEqual([])
  })

  test('deleting the marker brings the object back', async () => {
    const id = await putVersion(scene, 'back', 'body')
    const marker = (await deleteKey(scene, 'back')).headers['x-amz-version-id'] ?? ''
    expect(await deleteKey(scene, 'back', marker)).toMatchObject({
      status: 204,
      headers: { 'x-amz-delete-marker': 'true', 'x-amz-version-id': marker },
    })
    expect(await scene.get('back')).toMatchObject({
      text: 'body',
      headers: { 'x-amz-version-id': id },
    })
    expect(await listed(scene, '&prefix=back')).toEqual([`back ${id}*`])
  })

  test('of two markers each hides, and an absent key can have one', async () => {
    const first = (await deleteKey(scene, 'absent')).headers['x-amz-version-id'] ?? ''
    const second = (await deleteKey(scene, 'absent')).headers['x-amz-version-id'] ?? ''
    expect(await listed(scene, '&prefix=absent')).toEqual([
      `absent ${second}*-`,
      `absent ${first}-`,
    ])
    await deleteKey(scene, 'absent', second)
    const got = await scene.get('absent')
    expect(got).toMatchObject({ status: 404, headers: { 'x-amz-version-id': first } })
    await deleteKey(scene, 'absent', first)
    const nothing = await scene.get('absent')
    expect(nothing).toMatchObject({ status: 404, code: 'NoSuchKey' })
    expect(nothing.headers['x-amz-delete-marker']).toBeUndefined()
  })

  test.each([
    [0, ['two', 'one']],
    [1, ['three', 'one']],
    [2, ['three', 'two']],
  ])('version %d from the top can go alone', async (place, left) => {
    const key = `alone/${place}`
    const ids: string[] = []
    for (const body of ['one', 'two', 'three']) ids.unshift(await putVersion(scene, key, body))
    const id = ids[place] ?? ''
    const answer = await deleteKey(scene, key, id)
    expect(answer).toMatchObject({ status: 204, headers: { 'x-amz-version-id': id } })
    expect(answer.headers['x-amz-delete-marker']).toBeUndefined()
    expect(await ask(scene, 'GET', key, `?versionId=${id}`)).toMatchObject({
      status: 404,
      code: 'NoSuchVersion',
    })
    expect(await scene.get(key)).toMatchObject({ text: left[0] })
    const rest = ids.filter((each) => each !== id)
    expect(await listed(scene, `&prefix=${key}`)).toEqual([
      `${key} ${rest[0]}*`,
      `${key} ${rest[1]}`,
    ])
  })

  test.each([
    ['GET', UNKNOWN_ID, 404],
    ['HEAD', UNKNOWN_ID, 404],
    ['GET', 'null', 404],
    ['GET', '', 400],
    ['GET', 'abc', 400],
    ['GET', 'NULL', 400],
    ['GET', `${UNKNOWN_ID}0`, 400],
    ['GET', UNKNOWN_ID.replace(/^0/, 'g'), 400],
    ['HEAD', 'abc', 400],
    ['DELETE', UNKNOWN_ID, 204],
    ['DELETE', 'null', 204],
    ['DELETE', 'abc', 400],
  ])('%s of the version "%s" that is not there gives %d', async (method, id, status) => {
    await scene.put('there', 'x')
    const answer = await ask(scene, method, 'there', `?versionId=${id}`)
    expect(answer.status).toBe(status)
    if (method === 'GET') {
      expect(answer.code).toBe(status === 404 ? 'NoSuchVersion' : 'InvalidArgument')
    }
    expect(await scene.get('there')).toMatchObject({ status: 200 })
  })

  test('a version is only of its own key', async () => {
    const id = await putVersion(scene, 'own', 'x')
    await scene.put('not-own', 'y')
    expect(await ask(scene, 'GET', 'not-own', `?versionId=${id}`)).toMatchObject({
      code: 'NoSuchVersion',
    })
    await deleteKey(scene, 'not-own', id)
    expect(await ask(scene, 'GET', 'own', `?versionId=${id}`)).toMatchObject({ text: 'x' })
  })

  test('an upload in parts and a copy make versions as well', async () => {
    await scene.put('many', 'put')
    const upload = await UploadScene.begin(scene, 'many')
    const done = await upload.complete([await upload.put(1, 'parts')])
    const headers = { 'x-amz-copy-source': scene.path('many'), 'x-amz-meta-a': 'b' }
    const replaced = { ...headers, 'x-amz-metadata-directive': 'REPLACE' }
    const copied = await scene.request('PUT', 'many', { headers: replaced })
    const ids = [copied, done].map((answer) => answer.headers['x-amz-version-id'])
    expect(copied.headers['x-amz-copy-source-version-id']).toBe(ids[1])
    expect((await listed(scene, '&prefix=many')).slice(0, 2)).toEqual([
      `many ${ids[0]}*`,
      `many ${ids[1]}`,
    ])
    expect(await listed(scene, '&prefix=many')).toHaveLength(3)
  })

  test('a bucket with a marker alone is not empty', async () => {
    const own = await versionedBucket('Enabled')
    const marker = (await deleteKey(own, 'k')).headers['x-amz-version-id'] ?? ''
    expect(await own.bucket('DELETE')).toMatchObject({ status: 409, code: 'BucketNotEmpty' })
    await deleteKey(own, 'k', marker)
    expect(await own.bucket('DELETE')).toMatchObject({ status: 204 })
  })

  test('who may delete objects may not delete versions', async () => {
    const own = await versionedBucket('Enabled')
    const id = await putVersion(own, 'k', 'x')
    const Resource = `arn:aws:s3:::${own.name}/*`
    const statement = { Effect: 'Allow', Principal: '*', Action: 's3:DeleteObject', Resource }
    const body = JSON.stringify({ Version: '2012-10-17', Statement: [statement] })
    await own.bucket('PUT', '?policy', { body })
    const as = s3.other
    expect(await ask(own, 'DELETE', 'k', `?versionId=${id}`, { as })).toMatchObject({
      status: 403,
      code: 'AccessDenied',
    })
    expect(await ask(own, 'DELETE', 'k', '', { as })).toMatchObject({ status: 204 })
    expect(await ask(own, 'GET', 'k', `?versionId=${id}`)).toMatchObject({ text: 'x' })
  })
})

describe('DeleteObjects', () => {
  const toDelete = (entries: readonly (readonly [key: string, versionId?: string])[]) =>
    `<Delete>${entries
      .map(([key, id]) => {
        const version = id === undefined ? '' : `<VersionId>${id}</VersionId>`
        return `<Object><Key>${key}</Key>${version}</Object>`
      })
      .join('')}</Delete>`

  test('deletes versions, markers and objects in one request', async () => {
    const scene = await versionedBucket('Enabled')
    const old = await putVersion(scene, 'a', 'old')
    const newest = await putVersion(scene, 'a', 'new')
    const hidden = await putVersion(scene, 'b', 'hidden')
    const marker = (await deleteKey(scene, 'b')).headers['x-amz-version-id'] ?? ''
    await scene.put('c', 'x')
    const body = toDelete([['a', old], ['b', marker], ['c'], ['d', UNKNOWN_ID], ['e', 'no-id']])
    const { status, text } = await scene.bucket('POST', '?delete', { body })
    expect(status).toBe(200)
    const found = new Map<string | undefined, string>()
    for (const [, entry = ''] of text.matchAll(/<Deleted>(.*?)<\/Deleted>/gs)) {
      found.set(textOf(entry, 'Key'), entry)
    }
    expect([...found.keys()].sort()).toEqual(['a', 'b', 'c', 'd'])
    const of = (key: string, name: string) => textOf(found.get(key) ?? '', name)
    expect([of('a', 'VersionId'), of('a', 'DeleteMarker')]).toEqual([old, undefined])
    const ofMarker = ['VersionId', 'DeleteMarker', 'DeleteMarkerVersionId']
    expect(ofMarker.map((name) => of('b', name))).toEqual([marker, 'true', marker])
    expect([of('c', 'VersionId'), of('c', 'DeleteMarker')]).toEqual([undefined, 'true'])
    const made = of('c', 'DeleteMarkerVersionId')
    expect(made).toMatch(ID)
    const [, error = ''] = /<Error>(.*?)<\/Error>/s.exec(text) ?? []
    expect([textOf(error, 'Key'), textOf(error, 'Code')]).toEqual(['e', 'InvalidArgument'])
    expect(await scene.get('b')).toMatchObject({ text: 'hidden' })
    const left = await listed(scene)
    expect(left.slice(0, 3)).toEqual([`a ${newest}*`, `b ${hidden}*`, `c ${made}*-`])
    expect(left).toHaveLength(4)
  })
})

describe('with versioning suspended', () => {
  test('a put replaces the version null and no other', async () => {
    const scene = await versionedBucket('Enabled')
    const id = await putVersion(scene, 'k', 'kept')
    await setVersioning(scene, 'Suspended')
    for (const body of ['one', 'two']) {
      expect((await scene.put('k', body)).headers['x-amz-version-id']).toBe('null')
    }
    expect(await listed(scene)).toEqual(['k null*', `k ${id}`])
    expect(await ask(scene, 'GET', 'k', '?versionId=null')).toMatchObject({ text: 'two' })
    expect(await ask(scene, 'GET', 'k', `?versionId=${id}`)).toMatchObject({ text: 'kept' })
    expect((await scene.get('k')).headers['x-amz-version-id']).toBe('null')
  })

  test('what was there before versioning is the version null, wherever it lies', async () => {
    const scene = await BucketScene.make(s3)
    await scene.put('k', 'first')
    await setVersioning(scene, 'Enabled')
    const id = await putVersion(scene, 'k', 'second')
    expect(await listed(scene)).toEqual([`k ${id}*`, 'k null'])
    expect(await ask(scene, 'GET', 'k', '?versionId=null')).toMatchObject({ text: 'first' })
    await setVersioning(scene, 'Suspended')
    await scene.put('k', 'third')
    expect(await listed(scene)).toEqual(['k null*', `k ${id}`])
    expect(await ask(scene, 'GET', 'k', '?versionId=null')).toMatchObject({ text: 'third' })
    await setVersioning(scene, 'Enabled')
    const last = await putVersion(scene, 'k', 'fourth')
    expect(await listed(scene)).toEqual([`k ${last}*`, 'k null', `k ${id}`])
    expect(await deleteKey(scene, 'k', 'null')).toMatchObject({
      status: 204,
      headers: { 'x-amz-version-id': 'null' },
    })
    expect(await listed(scene)).toEqual([`k ${last}*`, `k ${id}`])
  })

  test('a delete takes the version null away and leaves a marker of that name', async () => {
    const scene = await versionedBucket('Enabled')
    const id = await putVersion(scene, 'k', 'kept')
    await setVersioning(scene, 'Suspended')
    await scene.put('k', 'gone')
    const answer = await deleteKey(scene, 'k')
    expect(answer).toMatchObject({
      status: 204,
      headers: { 'x-amz-delete-marker': 'true', 'x-amz-version-id': 'null' },
    })
    expect(await listed(scene)).toEqual(['k null*-', `k ${id}`])
    expect(await deleteKey(scene, 'k')).toMatchObject({ status: 204 })
    expect(await listed(scene)).toEqual(['k null*-', `k ${id}`])
    expect(await ask(scene, 'GET', 'k', '?versionId=null')).toMatchObject({ status: 405 })
    expect(await deleteKey(scene, 'k', 'null')).toMatchObject({
      headers: { 'x-amz-delete-marker': 'true', 'x-amz-version-id': 'null' },
    })
    expect(await scene.get('k')).toMatchObject({ text: 'kept' })
    await deleteKey(scene, 'k')
    await scene.put('k', 'again')
    expect(await listed(scene)).toEqual(['k null*', `k ${id}`])
  })

  test('an object that had only the version null is gone behind its marker', async () => {
    const scene = await versionedBucket('Suspended')
    await scene.put('k', 'x')
    await deleteKey(scene, 'k')
    expect(await listed(scene)).toEqual(['k null*-'])
    await deleteKey(scene, 'k', 'null')
    expect(await listed(scene)).toEqual([])
  })

  test('markers made before stay', async () => {
    const scene = await versionedBucket('Enabled')
    const id = await putVersion(scene, 'k', 'x')
    const marker = (await deleteKey(scene, 'k')).headers['x-amz-version-id'] ?? ''
    await setVersioning(scene, 'Suspended')
    await scene.put('k', 'null one')
    expect(await listed(scene)).toEqual(['k null*', `k ${marker}-`, `k ${id}`])
    await deleteKey(scene, 'k', 'null')
    expect(await scene.get('k')).toMatchObject({ status: 404 })
    expect(await listed(scene)).toEqual([`k ${marker}*-`, `k ${id}`])
  })

  test('an upload in parts and a copy are the version null', async () => {
    const scene = await versionedBucket('Suspended')
    const upload = await UploadScene.begin(scene, 'k')
    const part = await upload.put(1, 'x')
    for (let time = 0; time < 2; time++) {
      const done = await upload.complete([part])
      expect(done).toMatchObject({ status: 200, headers: { 'x-amz-version-id': 'null' } })
    }
    const headers = { 'x-amz-copy-source': scene.path('k'), 'x-amz-storage-class': 'STANDARD_IA' }
    const copied = await scene.request('PUT', 'k', { headers })
    expect(copied).toMatchObject({
      headers: { 'x-amz-version-id': 'null', 'x-amz-copy-source-version-id': 'null' },
    })
    expect(await listed(scene)).toEqual(['k null*'])
  })

  test('conditions ask about what is seen', async () => {
    const scene = await versionedBucket('Enabled')
    await scene.put('k', 'x')
    await deleteKey(scene, 'k')
    const absent = { 'if-none-match': '*' }
    expect(await scene.request('PUT', 'k', { headers: absent, body: 'y' })).toMatchObject({
      status: 200,
    })
    expect(await scene.request('PUT', 'k', { headers: absent, body: 'z' })).toMatchObject({
      status: 412,
    })
    await deleteKey(scene, 'k')
    const matching = { 'if-match': `"${md5Hex('y')}"` }
    expect(await scene.request('PUT', 'k', { headers: matching, body: 'z' })).toMatchObject({
      status: 404,
      code: 'NoSuchKey',
    })
  })
})

describe('a list of versions', () => {
  let scene: BucketScene
  let all: readonly string[]

  beforeAll(async () => {
    scene = await versionedBucket('Enabled')
    const entries: string[] = []
    for (const key of ['a', 'b/1', 'b/2', 'c']) {
      const ids = []
      for (const body of ['1', '2', '3']) ids.unshift(await putVersion(scene, key, body))
      const marker = (await deleteKey(scene, key)).headers['x-amz-version-id']
      entries.push(`${key} ${marker}*-`, ...ids.map((id) => `${key} ${id}`))
    }
    all = entries
  })

  test('goes by key, then from the newest to the oldest', async () => {
    expect(await listed(scene)).toEqual(all)
  })

  test.each([1, 2, 3, 5, 15, 16, 17])('goes on from page to page of %d', async (size) => {
    const seen: string[] = []
    let markers = ''
    for (let page = 0; page <= all.length; page++) {
      const query = `&max-keys=${size}${markers}`
      const { text } = await scene.bucket('GET', `?versions${query}`)
      seen.push(...(await listed(scene, query)))
      if (textOf(text, 'IsTruncated') === 'false') break
      const next = ['NextKeyMarker', 'NextVersionIdMarker'].map((name) => textOf(text, name) ?? '')
      const [key = '', id = ''] = next.map(encodeURIComponent)
      markers = `&key-marker=${key}&version-id-marker=${id}`
    }
    expect(seen).toEqual(all)
  })

  test('goes on behind a version that a client names by its id alone', async () => {
    const [, id = ''] = (all[5] ?? '').split(' ')
    const [key] = (all[5] ?? '').split(' ')
    const rest = await listed(
      scene,
      `&key-marker=${key}&version-id-marker=${id.replace(/\W/g, '')}`,
    )
    expect(rest).toEqual(all.slice(6))
  })

  test.each([
    ['&prefix=b/', 4, 12],
    ['&prefix=c', 12, 16],
    ['&key-marker=b/1', 8, 16],
    ['&key-marker=c', 16, 16],
  ])('with %s has entries %d to %d', async (query, from, to) => {
    expect(await listed(scene, query)).toEqual(all.slice(from, to))
  })

  test('has common prefixes, and they count', async () => {
    const { text } = await scene.bucket('GET', '?versions&delimiter=/')
    expect(textsOf(text, 'Prefix')).toEqual(['', 'b/'])
    expect(await listed(scene, '&delimiter=/')).toEqual([...all.slice(0, 4), ...all.slice(12)])
    const page = await scene.bucket('GET', '?versions&delimiter=/&max-keys=5')
    expect(textOf(page.text, 'IsTruncated')).toBe('true')
    expect(textsOf(page.text, 'Prefix')).toEqual(['', 'b/'])
  })
})

describe('at once', () => {
  test('ten puts of a key make ten versions, of which one is the latest', async () => {
    const scene = await versionedBucket('Enabled')
    const bodies = Array.from({ length: 10 }, (_, at) => `body ${at}`)
    const ids = await Promise.all(bodies.map((body) => putVersion(scene, 'k', body)))
    expect(new Set(ids).size).toBe(10)
    const entries = await listed(scene)
    expect(entries.map((entry) => entry.replace('*', '')).sort()).toEqual(
      ids.map((id) => `k ${id}`).sort(),
    )
    expect(entries.filter((entry) => entry.endsWith('*'))).toEqual(entries.slice(0, 1))
    const { headers, text } = await scene.get('k')
    expect(entries[0]).toBe(`k ${headers['x-amz-version-id']}*`)
    expect(text).toBe(bodies[ids.indexOf(headers['x-amz-version-id'] ?? '')])
  })

  test('puts and deletes where versioning is suspended leave one version null', async () => {
    const scene = await versionedBucket('Suspended')
    const works = Array.from({ length: 10 }, (_, at) =>
      at % 2 === 0 ? scene.put('k', `body ${at}`) : deleteKey(scene, 'k'),
    )
    await Promise.all(works)
    expect(await listed(scene)).toHaveLength(1)
    expect((await listed(scene))[0]).toMatch(/^k null\*-?$/)
  })
})

test('the SDK finds its way through versions and markers', async () => {
  const { sdk } = s3.owner
  const { name: Bucket } = await BucketScene.make(s3)
  const VersioningConfiguration = { Status: 'Enabled' } as const
  await sdk.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }))
  const target = { Bucket, Key: 'ü &<k>' }
  const { VersionId } = await sdk.send(new PutObjectCommand({ ...target, Body: 'first' }))
  await sdk.send(new PutObjectCommand({ ...target, Body: 'second' }))
  const deleted = await sdk.send(new DeleteObjectCommand(target))
  expect(deleted).toMatchObject({ DeleteMarker: true })
  await expect(sdk.send(new GetObjectCommand(target))).rejects.toMatchObject({ name: 'NoSuchKey' })
  const old = await sdk.send(new GetObjectCommand({ ...target, VersionId }))
  expect(await old.Body?.transformToString()).toBe('first')
  const list = await sdk.send(new ListObjectVersionsCommand({ Bucket }))
  expect(list.Versions?.map(({ Key, IsLatest }) => [Key, IsLatest])).toEqual([
    [target.Key, false],
    [target.Key, false],
  ])
  expect(list.DeleteMarkers).toMatchObject([{ IsLatest: true, VersionId: deleted.VersionId }])
  const all = [...(list.Versions ?? []), ...(list.DeleteMarkers ?? [])]
  const Objects = all.map(({ Key, VersionId: id }) => ({ Key, VersionId: id }))
  const gone = await sdk.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }))
  expect([gone.Deleted?.length, gone.Errors]).toEqual([3, undefined])
  await sdk.send(new DeleteBucketCommand({ Bucket }))
})
