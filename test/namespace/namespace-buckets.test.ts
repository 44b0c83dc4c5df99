import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { BucketRef } from '../../src/namespace/namespace-api.ts'
import { failsWith, never, openTestNamespace } from '../support/test-namespace.ts'

const NOT_FOUND = { code: 'BUCKET_NOT_FOUND' }
const LIST = { ownerId: undefined, prefix: '', after: '', limit: 100 }

describe('a bucket', () => {
  test('is found as it was made, also after a restart', async () => {
    const opened = openTestNamespace()
    const request = { name: 'one', ownerId: 'o', isLockEnabled: false, documents: { acl: 'x' } }
    const made = await opened.namespace.createBucket(request, never)
    expect(made).toEqual({
      ...request,
      id: 1,
      createdAtMs: opened.clock.nowMs(),
      versioning: 'off',
      quota: { bytesMax: undefined, objectsMax: undefined },
    })
    expect(await opened.namespace.findBucket('one', never)).toEqual(made)
    opened.reopen()
    expect(await opened.namespace.findBucket('one', never)).toEqual(made)
    expect(await opened.namespace.findBucket('two', never)).toBeUndefined()
    expect(await opened.namespace.findBucket('No Name\0\ud800', never)).toBeUndefined()
  })

  test('with locks has versioning enabled from the beginning', async () => {
    const opened = openTestNamespace()
    expect(await opened.bucket('off', 'one', true)).toMatchObject({
      isLockEnabled: true,
      versioning: 'enabled',
    })
  })

  test('cannot be made twice, nor with a name that is none', async () => {
    const opened = openTestNamespace()
    await opened.bucket()
    await expect(opened.bucket()).rejects.toMatchObject({ code: 'BUCKET_EXISTS' })
    await expect(opened.bucket('off', 'No')).rejects.toMatchObject({ code: 'NAME_INVALID' })
  })

  test('made anew under the same name is another one, which has nothing', async () => {
    const opened = openTestNamespace()
    const first = await opened.bucket()
    await opened.namespace.deleteBucket(first, never)
    const second = await opened.bucket()
    expect(second.id).not.toBe(first.id)
    await expect(opened.put(first, 'a')).rejects.toMatchObject(NOT_FOUND)
    await expect(opened.find(first, 'a')).rejects.toMatchObject(NOT_FOUND)
    await expect(opened.namespace.deleteBucket(first, never)).rejects.toMatchObject(NOT_FOUND)
    await opened.put(second, 'a')
  })

  test('100 made at once all get ids of their own', async () => {
    const opened = openTestNamespace()
    const names = Array.from({ length: 100 }, (_, index) => `bucket-${index}`)
    const buckets = await Promise.all(names.map((name) => opened.bucket('off', name)))
    expect(new Set(buckets.map(({ id }) => id)).size).toBe(100)
  })

  test('of two made at once under one name one fails with BUCKET_EXISTS', async () => {
    const opened = openTestNamespace()
    const results = await Promise.allSettled([opened.bucket(), opened.bucket()])
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const failed = results.find(({ status }) => status === 'rejected')
    expect(failed).toMatchObject({ reason: { code: 'BUCKET_EXISTS' } })
  })
})

describe('changing a bucket', () => {
  test('leaves what is left out, and empty text removes a document', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const change = { documents: { policy: 'p', cors: 'c' } }
    await opened.namespace.changeBucket(bucket, change, never)
    const quota = { bytesMax: 5, objectsMax: undefined }
    await opened.namespace.changeBucket(bucket, { quota }, never)
    await opened.namespace.changeBucket(bucket, { documents: { cors: '' } }, never)
    const changed = await opened.namespace.changeBucket(bucket, { versioning: 'suspended' }, never)
    const expected = { ...bucket, documents: { policy: 'p' }, quota, versioning: 'suspended' }
    expect(changed).toEqual(expected)
    expect(await opened.namespace.findBucket('one', never)).toEqual(expected)
    opened.reopen()
    expect(await opened.namespace.findBucket('one', never)).toEqual(expected)
  })

  test('locks need enabled versioning, which then stays', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const invalid = { code: 'REQUEST_INVALID' }
    const { namespace } = opened
    const isLockEnabled = true
    await expect(namespace.changeBucket(bucket, { isLockEnabled }, never)).rejects.toMatchObject(
      invalid,
    )
    await namespace.changeBucket(bucket, { isLockEnabled, versioning: 'enabled' }, never)
    const suspend = namespace.changeBucket(bucket, { versioning: 'suspended' }, never)
    await expect(suspend).rejects.toMatchObject(invalid)
    expect(await namespace.findBucket('one', never)).toMatchObject({ versioning: 'enabled' })
  })
})

describe('deleting a bucket', () => {
  test('is BUCKET_NOT_EMPTY with an object, a version or a marker', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const isRefused = async () => {
      const deleting = opened.namespace.deleteBucket(bucket, never)
      await expect(deleting).rejects.toMatchObject({ code: 'BUCKET_NOT_EMPTY' })
    }
    const { id } = await opened.put(bucket, 'a')
    await isRefused()
    const { versionId } = await opened.delete(bucket, 'a')
    await opened.delete(bucket, 'a', id)
    expect(await opened.versions(bucket, 'a')).toEqual([`-${versionId}`])
    await isRefused()
    await opened.delete(bucket, 'a', versionId)
    await opened.namespace.deleteBucket(bucket, never)
    expect(await opened.namespace.findBucket('one', never)).toBeUndefined()
    expect(await opened.store.keys('buckets/')).toEqual([])
  })

  test('ends uploads that are open, and deletes their parts', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const files: string[] = []
    for (const key of ['a', 'b', 'b']) {
      const upload = await opened.upload(bucket, key)
      for (const partNumber of [1, 2]) {
        const part = opened.newPart(partNumber)
        files.push((await opened.namespace.putPart({ ...upload, part }, never)).fileId)
      }
    }
    await opened.namespace.deleteBucket(bucket, never)
    expect(await opened.namespace.findBucket('one', never)).toBeUndefined()
    for (const kind of ['buckets/', 'uploads/', 'parts/']) {
      expect(await opened.store.keys(kind)).toEqual([])
    }
    expect((await opened.store.dropped()).sort()).toEqual(files.sort())
  })

  test('ends no upload while there is an object', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const upload = await opened.upload(bucket, 'a')
    await opened.put(bucket, 'b')
    const deleting = opened.namespace.deleteBucket(bucket, never)
    await expect(deleting).rejects.toMatchObject({ code: 'BUCKET_NOT_EMPTY' })
    expect(await opened.namespace.findUpload(upload, never)).toBeDefined()
  })

  test('ends 250 uploads in 3 changes; failed after 100 it has the others', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    for (let count = 0; count < 250; count++) {
      const upload = await opened.upload(bucket, `key ${count}`)
      await opened.namespace.putPart({ ...upload, part: opened.newPart(1) }, never)
    }
    const { bytes } = await opened.namespace.bucketUsage(bucket, never)
    opened.store.afterCommit = async () => {
      opened.store.beforeCommit = failsWith(new StoreError('OVERLOADED', 'full'))
    }
    const failed = opened.namespace.deleteBucket(bucket, never)
    await expect(failed).rejects.toMatchObject({ code: 'OVERLOADED' })
    expect(await opened.store.keys('uploads/')).toHaveLength(150)
    expect(await opened.store.keys('parts/')).toHaveLength(150)
    expect(await opened.store.dropped()).toHaveLength(100)
    const left = await opened.namespace.bucketUsage(bucket, never)
    expect(left).toEqual({ bytes: (bytes / 250) * 150, objects: 0 })
    await opened.namespace.deleteBucket(bucket, never)
    expect(await opened.store.keys('parts/')).toEqual([])
    expect(await opened.store.dropped()).toHaveLength(250)
    expect(await opened.namespace.findBucket('one', never)).toBeUndefined()
  })

  test.each(seedsOf(20))(
    'leaves no part that was put at the same time (%d turns)',
    async (turns) => {
      const opened = openTestNamespace()
      const bucket = await opened.bucket()
      const upload = await opened.upload(bucket, 'a')
      const part = opened.newPart(1)
      const putting = opened.namespace.putPart({ ...upload, part }, never).then(
        () => [part.fileId],
        () => [],
      )
      for (let turn = 0; turn < turns; turn++) await undefined
      await opened.namespace.deleteBucket(bucket, never)
      expect(await opened.store.dropped()).toEqual(await putting)
      expect(await opened.store.keys('parts/')).toEqual([])
    },
  )

  test.each(seedsOf(20))(
    'never leaves an object that was put at the same time (%d turns)',
    async (turns) => {
      const opened = openTestNamespace()
      const bucket = await opened.bucket()
      const putting = opened.put(bucket, 'a').then(
        () => 'done',
        (error: StoreError) => error.code,
      )
      for (let turn = 0; turn < turns; turn++) await undefined
      const deleting = opened.namespace.deleteBucket(bucket, never).then(
        () => 'done',
        (error: StoreError) => error.code,
      )
      const results = [await putting, await deleting]
      expect([
        ['done', 'BUCKET_NOT_EMPTY'],
        ['BUCKET_NOT_FOUND', 'done'],
      ]).toContainEqual(results)
      const isGone = results[1] === 'done'
      expect(await opened.store.keys('objects/')).toHaveLength(isGone ? 0 : 1)
    },
  )

  test('that fails and happens later lets no put into the bucket', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const failure = new StoreError('DISK_FULL', 'full')
    opened.store.beforeCommit = failsWith(failure)
    const deleting = opened.namespace.deleteBucket(bucket, never)
    await expect(deleting).rejects.toMatchObject({ code: 'DISK_FULL' })
    // What was in doubt is found to have happened with the next commit.
    opened.store.beforeCommit = () => removeBucketRow(opened, bucket)
    await expect(opened.put(bucket, 'a')).rejects.toMatchObject(NOT_FOUND)
    expect(await opened.store.keys('objects/')).toEqual([])
  })
})

describe('a list of buckets', () => {
  test.each([
    ['all', LIST, ['aa-1', 'aa-2', 'bb-1', 'bb-2']],
    ['of an owner', { ...LIST, ownerId: 'o' }, ['aa-1', 'aa-2', 'bb-1', 'bb-2']],
    ['of an owner who has none', { ...LIST, ownerId: 'p' }, []],
    ['with a prefix', { ...LIST, prefix: 'bb' }, ['bb-1', 'bb-2']],
    ['after a name', { ...LIST, after: 'aa-2' }, ['bb-1', 'bb-2']],
    ['after a name below the prefix', { ...LIST, prefix: 'bb', after: 'aa' }, ['bb-1', 'bb-2']],
    ['after a name within the prefix', { ...LIST, prefix: 'bb', after: 'bb-1' }, ['bb-2']],
    ['after a name above the prefix', { ...LIST, prefix: 'aa', after: 'b' }, []],
    ['at most one', { ...LIST, limit: 1 }, ['aa-1']],
    ['at most one of the rest', { ...LIST, limit: 1, after: 'aa-1' }, ['aa-2']],
    ['after text that is no name', { ...LIST, after: '\ud800' }, []],
  ])('%s', async (_, request, names) => {
    const opened = openTestNamespace()
    for (const name of ['bb-2', 'aa-1', 'bb-1', 'aa-2']) await opened.bucket('off', name)
    const buckets = await opened.namespace.listBuckets(request, never)
    expect(buckets.map(({ name }) => name)).toEqual(names)
  })

  test.each([0, 10_001, 1.5, -1, Number.NaN])('of at most %d is REQUEST_INVALID', async (limit) => {
    const listing = openTestNamespace().namespace.listBuckets({ ...LIST, limit }, never)
    await expect(listing).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })
})

test('every method is BUCKET_NOT_FOUND in a bucket that is not there', async () => {
  const opened = openTestNamespace()
  const { namespace } = opened
  const bucket: BucketRef = { name: 'one', id: 1 }
  const upload = { bucket, key: 'a', uploadId: opened.newId() }
  const page = { bucket, prefix: '', delimiter: '', after: '', limit: 1 }
  const version = opened.newVersion()
  const calls = [
    namespace.changeBucket(bucket, {}, never),
    namespace.deleteBucket(bucket, never),
    namespace.bucketUsage(bucket, never),
    namespace.putObject({ bucket, key: 'a', version }, never),
    namespace.findObject({ bucket, key: 'a' }, never),
    namespace.findObject({ bucket, key: 'a', versionId: 'null' }, never),
    namespace.deleteObject({ bucket, key: 'a' }, never),
    namespace.changeObject({ bucket, key: 'a', change: {} }, never),
    namespace.listObjects(page, never),
    namespace.listVersions({ ...page, afterVersionId: undefined }, never),
    namespace.listVersions({ ...page, after: 'a', afterVersionId: 'null' }, never),
    namespace.listUploads({ ...page, afterUploadId: undefined }, never),
    namespace.findUpload(upload, never),
    namespace.putPart({ ...upload, part: opened.newPart(1) }, never),
    namespace.listParts({ ...upload, after: 0, limit: 1 }, never),
    namespace.completeUpload({ ...upload, parts: [], etag: '', checksum: undefined }, never),
    namespace.abortUpload(upload, never),
  ]
  for (const call of calls) await expect(call).rejects.toMatchObject(NOT_FOUND)
})

test('changes with an aborted signal are CANCELLED, and change nothing', async () => {
  const opened = openTestNamespace()
  const bucket = await opened.bucket()
  const aborted = AbortSignal.abort()
  const cancelled = { code: 'CANCELLED' }
  const { namespace } = opened
  const version = opened.newVersion()
  const calls = [
    namespace.createBucket({ ...bucket, name: 'two' }, aborted),
    namespace.deleteBucket(bucket, aborted),
    namespace.putObject({ bucket, key: 'a', version }, aborted),
    namespace.deleteObject({ bucket, key: 'a' }, aborted),
    namespace.bucketUsage(bucket, aborted),
  ]
  for (const call of calls) await expect(call).rejects.toMatchObject(cancelled)
  expect(await opened.store.keys()).toEqual(['bucket-ids', 'buckets/one'])
})

function seedsOf(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

function removeBucketRow(
  { store }: ReturnType<typeof openTestNamespace>,
  { name }: BucketRef,
): Promise<void> {
  return store.commit({ deletes: [`buckets/${name}`] }, never)
}
