import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { WriteCondition } from '../../src/namespace/namespace-api.ts'
import { ETAG, failsWith, never, openTestNamespace } from '../support/test-namespace.ts'

const KEYS = ['.', '..', '/', 'a//b', 'a/../b', '\n', '\uffff', 'x'.repeat(1024), 'é'.repeat(512)]
const BAD_KEYS = ['', '\0', 'a\0b', '\ud800', 'x'.repeat(1025), `x${'é'.repeat(512)}`]
const OTHER_ETAG = 'f'.repeat(32)

/** Long keys are cut in titles. */
function labelled(keys: readonly string[]): [string, string][] {
  return keys.map((key) => [`${JSON.stringify(key.slice(0, 8))} of ${key.length} units`, key])
}

describe('putting and finding', () => {
  test.each(labelled(KEYS))('the key %s has what was put', async (_, key) => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const put = await opened.put(bucket, key, { contentType: 'text/plain', metadata: { a: 'b' } })
    expect(put).toMatchObject({ isNull: true, isMarker: false, modifiedAtMs: opened.clock.nowMs() })
    expect(await opened.find(bucket, key)).toEqual(put)
    expect(await opened.find(bucket, key, 'null')).toEqual(put)
    opened.reopen()
    expect(await opened.find(bucket, key)).toEqual(put)
    expect(await opened.find(bucket, `${key.slice(1)}z`)).toBeUndefined()
  })

  test.each(labelled(BAD_KEYS))('the key %s is NAME_INVALID everywhere', async (_, key) => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const { namespace } = opened
    const upload = { bucket, key, uploadId: opened.newId() }
    const calls = [
      opened.put(bucket, key),
      opened.find(bucket, key),
      opened.find(bucket, key, 'null'),
      opened.delete(bucket, key),
      opened.delete(bucket, key, 'null'),
      namespace.changeObject({ bucket, key, change: {} }, never),
      opened.upload(bucket, key),
      namespace.findUpload(upload, never),
      namespace.putPart({ ...upload, part: opened.newPart(1) }, never),
      namespace.listParts({ ...upload, after: 0, limit: 1 }, never),
      namespace.completeUpload({ ...upload, parts: [], etag: '', checksum: undefined }, never),
      namespace.abortUpload(upload, never),
    ]
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'NAME_INVALID' })
    expect(await opened.store.keys()).toEqual(['bucket-ids', 'buckets/one'])
  })

  test('a version whose id is none is REQUEST_INVALID', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    for (const id of ['', 'null', 'x'.repeat(32)]) {
      await expect(opened.put(bucket, 'a', { id })).rejects.toMatchObject({
        code: 'REQUEST_INVALID',
      })
    }
  })

  test('without versioning the old file is dropped, and deleted 10 s later', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    await opened.put(bucket, 'a', { fileIds: ['3,01aaaaaaaa', '3,02aaaaaaaa'] })
    await opened.put(bucket, 'a', { fileIds: ['3,03aaaaaaaa'] })
    expect(await opened.store.dropped()).toEqual(['3,01aaaaaaaa', '3,02aaaaaaaa'])
    const due = (opened.clock.nowMs() + 10_000).toString(16).padStart(12, '0')
    expect(await opened.store.keys('name-intents/')).toContain(`name-intents/${due}/3,01aaaaaaaa`)
    expect(await opened.delete(bucket, 'a')).toEqual({ isMarker: false, versionId: undefined })
    expect(await opened.store.dropped()).toHaveLength(3)
    expect(await opened.find(bucket, 'a')).toBeUndefined()
    expect(await opened.store.keys('objects/')).toEqual([])
  })

  test('deleting what is not there is no error, and changes nothing', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    expect(await opened.delete(bucket, 'a')).toEqual({ isMarker: false, versionId: undefined })
    for (const versionId of ['null', 'no id', opened.newId()]) {
      expect(await opened.delete(bucket, 'a', versionId)).toEqual({ isMarker: false, versionId })
    }
    expect(await opened.store.keys()).toEqual(['bucket-ids', 'buckets/one'])
  })

  test('only the version of a sequence number is deleted; what changed meanwhile stays', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const first = await opened.put(bucket, 'a')
    const second = await opened.put(bucket, 'a')
    expect(second.seq).toBeGreaterThan(first.seq)
    const remove = (seq: number, versionId?: string) =>
      opened.namespace.deleteObject({ bucket, key: 'a', seq, versionId }, never)
    await remove(first.seq)
    await remove(first.seq, 'null')
    expect(await opened.find(bucket, 'a')).toEqual(second)
    await remove(second.seq, 'null')
    expect(await opened.find(bucket, 'a')).toBeUndefined()
    await remove(second.seq)
  })

  test('sequence numbers grow although the clock goes back', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const first = await opened.put(bucket, 'a')
    opened.clock.jumpWallClock(-3_600_000)
    const second = await opened.put(bucket, 'a')
    expect(second.seq).toBe(first.seq + 1)
    expect(await opened.versions(bucket, 'a')).toEqual([second.id, first.id])
    for (const { id } of [first, second]) {
      expect(await opened.find(bucket, 'a', id)).toMatchObject({ id })
    }
  })
})

test('a file may be named by any of its texts', async () => {
  const opened = openTestNamespace()
  const bucket = await opened.bucket()
  const put = await opened.put(bucket, 'a', { fileIds: ['3,0001AAAAAAAA'] })
  expect(put.parts).toEqual([{ fileId: '3,01aaaaaaaa', sizeBytes: 5 }])
  const parts = [{ fileId: '3,00001aaaaaaaa', sizeBytes: 5 }]
  const change = { moved: { parts, storageClass: 'STANDARD' as const } }
  await opened.namespace.changeObject({ bucket, key: 'a', change }, never)
  const upload = await opened.upload(bucket, 'b')
  for (const fileId of ['3,02aaaaaaaa', '3,0002aaaaaaaa']) {
    await opened.namespace.putPart({ ...upload, part: opened.newPart(1, fileId) }, never)
  }
  expect(await opened.store.dropped()).toEqual([])
  await expect(opened.put(bucket, 'a', { fileIds: ['x'] })).rejects.toMatchObject({
    code: 'FILE_ID_INVALID',
  })
})

describe('conditions', () => {
  test.each<[string, boolean, WriteCondition, string]>([
    ['ifMatch of its ETag', true, { ifMatch: [ETAG] }, 'done'],
    ['ifMatch of one of several', true, { ifMatch: [OTHER_ETAG, ETAG] }, 'done'],
    ['ifMatch of any', true, { ifMatch: ['*'] }, 'done'],
    ['ifMatch of another', true, { ifMatch: [OTHER_ETAG] }, 'PRECONDITION_FAILED'],
    ['ifMatch of no ETag', true, { ifMatch: [] }, 'PRECONDITION_FAILED'],
    ['ifMatch of nothing', false, { ifMatch: [ETAG] }, 'OBJECT_NOT_FOUND'],
    ['ifMatch of any of nothing', false, { ifMatch: ['*'] }, 'OBJECT_NOT_FOUND'],
    ['ifNoneMatch of any', true, { ifNoneMatch: ['*'] }, 'PRECONDITION_FAILED'],
    ['ifNoneMatch of its ETag', true, { ifNoneMatch: [ETAG] }, 'PRECONDITION_FAILED'],
    ['ifNoneMatch of another', true, { ifNoneMatch: [OTHER_ETAG] }, 'done'],
    ['ifNoneMatch of nothing', false, { ifNoneMatch: ['*'] }, 'done'],
  ])('%s (there is an object: %o): %o, %s', async (_, isThere, condition, expected) => {
    for (const versioning of ['off', 'enabled', 'suspended'] as const) {
      const opened = openTestNamespace()
      const bucket = await opened.bucket(versioning)
      if (isThere) await opened.put(bucket, 'a')
      else if (versioning !== 'off') await opened.delete(bucket, 'a')
      const version = opened.newVersion()
      const upload = await opened.upload(bucket, 'a')
      const target = { bucket, key: 'a', condition }
      const calls = [
        () => opened.namespace.putObject({ ...target, version }, never),
        () =>
          opened.namespace.completeUpload(
            { ...upload, ...target, parts: [], etag: ETAG, checksum: undefined },
            never,
          ),
        () => opened.namespace.deleteObject(target, never),
      ]
      for (const call of expected === 'done' ? calls.slice(0, 1) : calls) {
        const result = await call().then(
          () => 'done',
          (error: StoreError) => error.code,
        )
        expect(result).toBe(expected)
      }
      const found = await opened.namespace.findUpload(upload, never)
      expect(found?.uploadId).toBe(upload.uploadId)
    }
  })

  test('of 20 puts at once that want none to be there one succeeds', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const condition = { ifNoneMatch: ['*'] }
    const put = () =>
      opened.namespace.putObject(
        { bucket, key: 'a', version: opened.newVersion(), condition },
        never,
      )
    const results = await Promise.allSettled(Array.from({ length: 20 }, put))
    const failed = results.filter(({ status }) => status === 'rejected')
    expect(failed).toHaveLength(19)
    for (const result of failed) {
      expect(result).toMatchObject({ reason: { code: 'PRECONDITION_FAILED' } })
    }
    expect(await opened.store.dropped()).toEqual([])
  })
})

describe('the same put again', () => {
  test.each(['off', 'enabled', 'suspended'] as const)(
    'changes nothing, also with a condition and after a restart (versioning %s)',
    async (versioning) => {
      const opened = openTestNamespace()
      const bucket = await opened.bucket(versioning)
      const version = opened.newVersion()
      const request = { bucket, key: 'a', version, condition: { ifNoneMatch: ['*'] } }
      opened.store.afterCommit = failsWith(new StoreError('DISK_FAILED', 'unknown'))
      const first = opened.namespace.putObject(request, never)
      await expect(first).rejects.toMatchObject({ code: 'DISK_FAILED' })
      const again = await opened.namespace.putObject(request, never)
      opened.reopen()
      expect(await opened.namespace.putObject(request, never)).toEqual(again)
      expect(await opened.store.dropped()).toEqual([])
      expect(await opened.namespace.bucketUsage(bucket, never)).toEqual({ bytes: 5, objects: 1 })
    },
  )

  test('does not come to the top again when another version hides it', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const version = opened.newVersion()
    const first = await opened.namespace.putObject({ bucket, key: 'a', version }, never)
    await opened.clock.advance(50_000)
    const second = await opened.put(bucket, 'a')
    expect(await opened.namespace.putObject({ bucket, key: 'a', version }, never)).toEqual(first)
    expect(await opened.versions(bucket, 'a')).toEqual([second.id, first.id])
    await opened.delete(bucket, 'a')
    expect(await opened.namespace.putObject({ bucket, key: 'a', version }, never)).toEqual(first)
    expect(await opened.find(bucket, 'a')).toMatchObject({ isMarker: true })
  })

  test('is REQUEST_INVALID once its file is to be deleted, and nothing names that again', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const version = opened.newVersion()
    await opened.namespace.putObject({ bucket, key: 'a', version }, never)
    const second = await opened.put(bucket, 'a')
    const again = opened.namespace.putObject({ bucket, key: 'a', version }, never)
    await expect(again).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(await opened.find(bucket, 'a')).toEqual(second)
    expect(await opened.store.dropped()).toHaveLength(1)
  })
})

describe('changing an object', () => {
  test('changes what it names, and nothing else', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const put = await opened.put(bucket, 'a', { acl: 'x', tags: [{ key: 'k', value: 'v' }] })
    const change = (value: object) =>
      opened.namespace.changeObject({ bucket, key: 'a', change: value }, never)
    await opened.clock.advance(5000)
    expect(await change({ tags: [] })).toEqual({ ...put, tags: [] })
    expect(await change({ acl: '' })).toEqual({ ...put, tags: [], acl: undefined })
    const isLegalHold = true
    const expected = { ...put, tags: [], acl: undefined, isLegalHold }
    expect(await change({ isLegalHold })).toEqual(expected)
    expect(await change({})).toEqual(expected)
    expect(await opened.find(bucket, 'a')).toEqual(expected)
  })

  test('what is not there, hidden by a marker or another version is OBJECT_NOT_FOUND', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const notFound = { code: 'OBJECT_NOT_FOUND' }
    const change = { tags: [] }
    const { namespace } = opened
    const target = { bucket, key: 'a', change }
    await expect(namespace.changeObject(target, never)).rejects.toMatchObject(notFound)
    const { id } = await opened.put(bucket, 'a')
    const other = namespace.changeObject({ ...target, id: opened.newId() }, never)
    await expect(other).rejects.toMatchObject(notFound)
    const { versionId } = await opened.delete(bucket, 'a')
    await expect(namespace.changeObject(target, never)).rejects.toMatchObject(notFound)
    const marker = namespace.changeObject({ ...target, versionId }, never)
    await expect(marker).rejects.toMatchObject(notFound)
    expect(await namespace.changeObject({ ...target, versionId: id }, never)).toMatchObject({ id })
  })

  test('bytes that moved drop the files they left, and those only', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const put = await opened.put(bucket, 'a', { fileIds: ['3,01aaaaaaaa', '3,02aaaaaaaa'] })
    const parts = [
      { fileId: '3,02aaaaaaaa', sizeBytes: 5 },
      { fileId: '4,03aaaaaaaa', sizeBytes: 5 },
    ]
    const change = { moved: { parts, storageClass: 'GLACIER_IR' as const } }
    const move = () =>
      opened.namespace.changeObject({ bucket, key: 'a', change, id: put.id }, never)
    expect(await move()).toEqual({ ...put, ...change.moved })
    expect(await opened.store.dropped()).toEqual(['3,01aaaaaaaa'])
    await move()
    expect(await opened.store.dropped()).toEqual(['3,01aaaaaaaa'])
    const back = { moved: { parts: put.parts, storageClass: 'STANDARD' as const } }
    const moving = opened.namespace.changeObject({ bucket, key: 'a', change: back }, never)
    await expect(moving).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(await opened.namespace.bucketUsage(bucket, never)).toEqual({ bytes: 10, objects: 1 })
  })
})

describe('reads', () => {
  test('of an object ask the store once, and again after each change', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    await opened.put(bucket, 'a')
    opened.reopen()
    await Promise.all([opened.find(bucket, 'a'), opened.find(bucket, 'a')])
    const asked = opened.store.getCount
    await opened.find(bucket, 'a')
    expect(opened.store.getCount).toBe(asked)
    const { namespace } = opened
    const tags = [{ key: 'k', value: 'v' }]
    await namespace.changeObject({ bucket, key: 'a', change: { tags } }, never)
    expect((await opened.find(bucket, 'a'))?.tags).toEqual(tags)
    const second = await opened.put(bucket, 'a')
    expect(await opened.find(bucket, 'a')).toEqual(second)
    await opened.delete(bucket, 'a')
    expect(await opened.find(bucket, 'a')).toBeUndefined()
  })

  test('that a change overtook leave nothing old behind', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    await opened.put(bucket, 'a')
    opened.reopen()
    await opened.namespace.findBucket('one', never)
    // The read looks, then the put is done, then the read is answered.
    const reading = opened.find(bucket, 'a')
    const [, second] = await Promise.all([reading, opened.put(bucket, 'a')])
    expect(await opened.find(bucket, 'a')).toEqual(second)
  })

  test('that begin while a change is on its way are not kept', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const first = await opened.put(bucket, 'a')
    await opened.find(bucket, 'a')
    opened.store.beforeCommit = async () => {
      expect(await opened.find(bucket, 'a')).toEqual(first)
    }
    // The commit has happened, and is not yet known to have.
    const seen: unknown[] = []
    opened.store.afterCommit = async () => {
      seen.push(await opened.find(bucket, 'a'))
    }
    const second = await opened.put(bucket, 'a')
    expect(seen).toEqual([second])
  })

  test('of what failed and happened later never stay old', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const first = await opened.put(bucket, 'a')
    const version = opened.newVersion()
    const rows = openTestNamespace()
    const second = await rows.namespace
      .createBucket({ ...bucket }, never)
      .then((other) => rows.namespace.putObject({ bucket: other, key: 'a', version }, never))
    const value = await rows.store.get('objects/00000001/a', never)
    opened.store.beforeCommit = failsWith(new StoreError('DISK_FULL', 'full'))
    const putting = opened.namespace.putObject({ bucket, key: 'a', version }, never)
    await expect(putting).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(await opened.find(bucket, 'a')).toEqual(first)
    const puts = [{ key: 'objects/00000001/a', value: value ?? Buffer.of() }]
    opened.store.beforeCommit = () => opened.store.commit({ puts }, never)
    await opened.put(bucket, 'b')
    expect(await opened.find(bucket, 'a')).toEqual(second)
  })

  test('of a corrupt row are METADATA_CORRUPT', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const key = 'objects/00000001/a'
    await opened.store.commit({ puts: [{ key, value: Uint8Array.of(9) }] }, never)
    const corrupt = { code: 'METADATA_CORRUPT' }
    await expect(opened.find(bucket, 'a')).rejects.toMatchObject(corrupt)
    await expect(opened.put(bucket, 'a')).rejects.toMatchObject(corrupt)
    const nullRow = { key: 'nulls/00000001/b', value: Uint8Array.of(1, 2) }
    await opened.store.commit({ puts: [nullRow] }, never)
    await expect(opened.find(bucket, 'b', 'null')).rejects.toMatchObject(corrupt)
    const usage = opened.namespace.bucketUsage(bucket, never)
    await expect(usage).rejects.toMatchObject(corrupt)
  })
})

test('4,096 changes of one key wait at most; one more is OVERLOADED', async () => {
  const opened = openTestNamespace()
  const bucket = await opened.bucket()
  const abort = new AbortController()
  let release: () => void = () => undefined
  opened.store.beforeCommit = () =>
    new Promise((resolve) => {
      release = resolve
    })
  const first = opened.put(bucket, 'a')
  await new Promise((resolve) => setImmediate(resolve))
  const deletes = Array.from({ length: 4096 }, () =>
    opened.namespace.deleteObject({ bucket, key: 'a' }, abort.signal).catch(() => undefined),
  )
  await new Promise((resolve) => setImmediate(resolve))
  await expect(opened.put(bucket, 'a')).rejects.toMatchObject({ code: 'OVERLOADED' })
  await opened.put(bucket, 'b')
  abort.abort()
  release()
  await Promise.all([first, ...deletes])
  expect(await opened.find(bucket, 'a')).toBeDefined()
})
