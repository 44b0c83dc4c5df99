import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { CompleteUploadRequest, UploadRef } from '../../src/namespace/namespace-api.ts'
import type { UploadedPart } from '../../src/namespace/upload-record.ts'
import { LateStore } from '../support/late-store.ts'
import {
  ETAG,
  failsWith,
  never,
  openTestNamespace,
  TestNamespace,
} from '../support/test-namespace.ts'

const GONE = { code: 'UPLOAD_NOT_FOUND' }

async function openUpload(versioning: 'off' | 'enabled' | 'suspended' = 'off') {
  const opened = openTestNamespace()
  const bucket = await opened.bucket(versioning)
  const upload = await opened.upload(bucket, 'a')
  return { opened, bucket, upload, namespace: opened.namespace }
}

async function putParts(opened: TestNamespace, upload: UploadRef, ...numbers: number[]) {
  const parts: UploadedPart[] = []
  for (const number of numbers) {
    parts.push(await opened.namespace.putPart({ ...upload, part: opened.newPart(number) }, never))
  }
  return parts
}

function completionOf(
  upload: UploadRef,
  parts: readonly Pick<UploadedPart, 'partNumber' | 'fileId'>[],
): CompleteUploadRequest {
  return { ...upload, parts, etag: `${ETAG}-${parts.length}`, checksum: undefined }
}

describe('an upload', () => {
  test('is found as it was begun; begun again it is the same', async () => {
    const { opened, bucket, upload, namespace } = await openUpload()
    const found = await namespace.findUpload(upload, never)
    expect(found).toMatchObject({ key: 'a', uploadId: upload.uploadId })
    expect(found?.startedAtMs).toBe(opened.clock.nowMs())
    await opened.clock.advance(5000)
    if (found === undefined) throw new Error('the upload is not there')
    expect(await namespace.createUpload({ bucket, upload: found }, never)).toEqual(found)
    expect(await namespace.findUpload({ ...upload, key: 'b' }, never)).toBeUndefined()
    expect(await namespace.findUpload({ ...upload, uploadId: 'x\0y' }, never)).toBeUndefined()
    const bad = namespace.createUpload({ bucket, upload: { ...found, uploadId: 'x' } }, never)
    await expect(bad).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('that is not there is UPLOAD_NOT_FOUND, whatever its id', async () => {
    const { opened, bucket, namespace } = await openUpload()
    for (const uploadId of ['', 'x', '\0', '\ud800', opened.newId()]) {
      const upload = { bucket, key: 'a', uploadId }
      const calls = [
        namespace.putPart({ ...upload, part: opened.newPart(1) }, never),
        namespace.listParts({ ...upload, after: 0, limit: 1 }, never),
        namespace.completeUpload(completionOf(upload, []), never),
        namespace.abortUpload(upload, never),
      ]
      for (const call of calls) await expect(call).rejects.toMatchObject(GONE)
    }
  })

  test.each([0, -1, 1.5, 10_001, Number.NaN])('part %d is REQUEST_INVALID', async (number) => {
    const { opened, upload, namespace } = await openUpload()
    const putting = namespace.putPart({ ...upload, part: opened.newPart(number) }, never)
    await expect(putting).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('lists its parts by their numbers, 1 to 10,000, in pages', async () => {
    const { opened, upload, namespace } = await openUpload()
    await putParts(opened, upload, 10_000, 2, 1, 10, 9)
    const list = async (after: number, limit: number) => {
      const parts = await namespace.listParts({ ...upload, after, limit }, never)
      return parts.map(({ partNumber }) => partNumber)
    }
    expect(await list(0, 10_000)).toEqual([1, 2, 9, 10, 10_000])
    expect(await list(0, 2)).toEqual([1, 2])
    expect(await list(2, 2)).toEqual([9, 10])
    expect(await list(9999, 1)).toEqual([10_000])
    for (const after of [10_000, 10_001, 99_999, 2 ** 40]) expect(await list(after, 1)).toEqual([])
    const pages: [number, number][] = [
      [0, 0],
      [0, 10_001],
      [0, 0.5],
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
    ]
    for (const [after, limit] of pages) {
      await expect(list(after, limit)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    }
  })

  test('a part put again takes the place of the old one, whose file is dropped', async () => {
    const { opened, upload, namespace } = await openUpload()
    const [first] = await putParts(opened, upload, 1)
    const [second] = await putParts(opened, upload, 1)
    expect(await namespace.listParts({ ...upload, after: 0, limit: 5 }, never)).toEqual([second])
    expect(await opened.store.dropped()).toEqual([first?.fileId])
    if (second === undefined) throw new Error('the part is not there')
    const { modifiedAtMs: _, ...part } = second
    await opened.clock.advance(10)
    expect(await namespace.putPart({ ...upload, part }, never)).toEqual(second)
    expect(await opened.store.dropped()).toHaveLength(1)
    const late = namespace.putPart(
      { ...upload, part: { ...part, fileId: first?.fileId ?? '' } },
      never,
    )
    await expect(late).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('of 20 parts put at once under one number one stays, the others are dropped', async () => {
    const { opened, bucket, upload, namespace } = await openUpload()
    const abort = Array.from({ length: 20 }, () => opened.newPart(1))
    // More than eight that always conflict with each other are too many; those were not put.
    const results = await Promise.allSettled(
      abort.map((part) => namespace.putPart({ ...upload, part }, never)),
    )
    const done = abort.filter((_, index) => results[index]?.status === 'fulfilled')
    const [left] = await namespace.listParts({ ...upload, after: 0, limit: 5 }, never)
    const dropped = await opened.store.dropped()
    expect([...dropped, left?.fileId].sort()).toEqual(done.map(({ fileId }) => fileId).sort())
    expect(await namespace.bucketUsage(bucket, never)).toEqual({ bytes: 5, objects: 0 })
  })

  test('aborted is gone with all its parts, whose files are dropped', async () => {
    const { opened, upload, namespace } = await openUpload()
    const parts = await putParts(opened, upload, 1, 2, 3)
    await namespace.abortUpload(upload, never)
    expect(await opened.store.dropped()).toEqual(parts.map(({ fileId }) => fileId))
    expect(await opened.store.keys('parts/')).toEqual([])
    expect(await namespace.findUpload(upload, never)).toBeUndefined()
    await expect(namespace.abortUpload(upload, never)).rejects.toMatchObject(GONE)
  })
})

describe('completing', () => {
  test('makes the parts that are named one object, and drops the others', async () => {
    const { opened, bucket, upload, namespace } = await openUpload('enabled')
    const [one, two, three] = await putParts(opened, upload, 1, 2, 3)
    if (!one || !two || !three) throw new Error('a part is not there')
    await opened.clock.advance(60_000)
    const done = await namespace.completeUpload(completionOf(upload, [one, three]), never)
    expect(done).toMatchObject({
      id: upload.uploadId,
      etag: `${ETAG}-2`,
      sizeBytes: 10,
      modifiedAtMs: opened.clock.nowMs(),
    })
    expect(done.parts.map(({ fileId }) => fileId)).toEqual([one.fileId, three.fileId])
    expect(await opened.store.dropped()).toEqual([two.fileId])
    expect(await opened.find(bucket, 'a')).toEqual(done)
    expect(await namespace.findUpload(upload, never)).toBeUndefined()
    expect(await opened.store.keys('parts/')).toEqual([])
    expect(await namespace.bucketUsage(bucket, never)).toEqual({ bytes: 10, objects: 1 })
    const putting = namespace.putPart({ ...upload, part: opened.newPart(4) }, never)
    await expect(putting).rejects.toMatchObject(GONE)
  })

  test('carries over what was said when the upload was begun, and the sums of parts', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const begun = await opened.upload(bucket, 'x')
    const found = await opened.namespace.findUpload(begun, never)
    if (found === undefined) throw new Error('the upload is not there')
    const upload = {
      ...found,
      key: 'a',
      contentType: 'text/plain',
      metadata: { a: 'b' },
      tags: [{ key: 'k', value: 'v' }],
      storageClass: 'GLACIER_IR' as const,
      ownerId: 'ab'.repeat(32),
      checksumAlgorithm: 'SHA256' as const,
      checksumType: 'COMPOSITE' as const,
    }
    await opened.namespace.createUpload({ bucket, upload }, never)
    const ref = { bucket, key: 'a', uploadId: upload.uploadId }
    const part = { ...opened.newPart(1), checksum: 'AQID' }
    await opened.namespace.putPart({ ...ref, part }, never)
    const checksum = { algorithm: 'SHA256', type: 'COMPOSITE', value: 'AQID-1' } as const
    const request = { ...completionOf(ref, [part]), checksum }
    const done = await opened.namespace.completeUpload(request, never)
    expect(done).toMatchObject({
      contentType: 'text/plain',
      metadata: { a: 'b' },
      tags: upload.tags,
      storageClass: 'GLACIER_IR',
      ownerId: upload.ownerId,
      checksum,
      parts: [{ fileId: part.fileId, sizeBytes: 5, checksum: 'AQID' }],
    })
    expect(await opened.find(bucket, 'a')).toEqual(done)
  })

  test.each<[string, (parts: readonly UploadedPart[]) => unknown[]]>([
    ['is not there', () => [{ partNumber: 9, fileId: '3,99aaaaaaaa' }]],
    ['was put again meanwhile', ([one]) => [{ ...one, fileId: '3,99aaaaaaaa' }]],
    ['has another number', ([one]) => [{ ...one, partNumber: 2 }]],
    ['is named twice', ([one]) => [one, one]],
  ])('with a part that %s is PART_INVALID, and changes nothing', async (_, choose) => {
    const { opened, upload, namespace } = await openUpload()
    const parts = await putParts(opened, upload, 1, 2)
    const before = await opened.store.keys()
    const chosen = choose(parts) as UploadedPart[]
    const completing = namespace.completeUpload(completionOf(upload, chosen), never)
    await expect(completing).rejects.toMatchObject({ code: 'PART_INVALID' })
    expect(await opened.store.keys()).toEqual(before)
  })

  test.each(['off', 'enabled', 'suspended'] as const)(
    'again gives the same version while that is there (versioning %s)',
    async (versioning) => {
      const { opened, bucket, upload, namespace } = await openUpload(versioning)
      const parts = await putParts(opened, upload, 1)
      const request = completionOf(upload, parts)
      opened.store.afterCommit = failsWith(new StoreError('DISK_FAILED', 'unknown'))
      const first = namespace.completeUpload(request, never)
      await expect(first).rejects.toMatchObject({ code: 'DISK_FAILED' })
      const again = await namespace.completeUpload(request, never)
      expect(again.id).toBe(upload.uploadId)
      opened.reopen()
      expect(await opened.namespace.completeUpload(request, never)).toEqual(again)
      expect(await opened.store.dropped()).toEqual([])
      const enabled = await opened.setVersioning(bucket, 'enabled')
      await opened.put(enabled, 'a')
      expect(await opened.namespace.completeUpload(request, never)).toEqual(again)
      await opened.delete(enabled, 'a')
      expect(await opened.namespace.completeUpload(request, never)).toEqual(again)
      await opened.delete(enabled, 'a', versioning === 'enabled' ? again.id : 'null')
      const late = opened.namespace.completeUpload(request, never)
      await expect(late).rejects.toMatchObject(GONE)
    },
  )

  test('replaces the object there was, whose file is dropped', async () => {
    const { opened, bucket, upload, namespace } = await openUpload()
    const before = await opened.put(bucket, 'a')
    const parts = await putParts(opened, upload, 1)
    await namespace.completeUpload(completionOf(upload, parts), never)
    expect(await opened.store.dropped()).toEqual(before.parts.map(({ fileId }) => fileId))
  })

  test('at once with a list of the parts: that has them, or the upload is not there', async () => {
    for (let turns = 0; turns < 60; turns++) {
      const { opened, upload, namespace } = await openUpload()
      const parts = await putParts(opened, upload, 1, 2)
      const completing = namespace.completeUpload(completionOf(upload, parts), never)
      for (let turn = 0; turn < turns; turn++) await undefined
      const listing = namespace.listParts({ ...upload, after: 0, limit: 5 }, never)
      const listed = await listing.catch((error: StoreError) => error.code)
      expect([parts, 'UPLOAD_NOT_FOUND']).toContainEqual(listed)
      await completing
    }
  })

  test('at once with other ends of the upload and new parts: nothing is left over', async () => {
    for (let turns = 0; turns < 25; turns++) {
      const { opened, bucket, upload, namespace } = await openUpload()
      const parts = await putParts(opened, upload, 1)
      const calls = [
        namespace.putPart({ ...upload, part: opened.newPart(2) }, never),
        namespace.completeUpload(completionOf(upload, parts), never),
        namespace.abortUpload(upload, never),
        namespace.putPart({ ...upload, part: opened.newPart(3) }, never),
        namespace.changeBucket(bucket, { documents: { acl: 'x' } }, never),
      ]
      const started = calls.map((call) => call.catch((error: StoreError) => error.code))
      for (let turn = 0; turn < turns; turn++) await undefined
      const last = namespace.deleteBucket(bucket, never).catch((error: StoreError) => error.code)
      await Promise.all([...started, last])
      expect(await opened.store.keys('parts/')).toEqual([])
      expect(await opened.store.keys('uploads/')).toEqual([])
    }
  })
})

test('an end in doubt that happens while parts are listed leaves no upload without them', async () => {
  const opened = new TestNamespace(new LateStore())
  const bucket = await opened.bucket()
  const { uploadId } = await opened.upload(bucket, 'k')
  const upload = { bucket, key: 'k', uploadId }
  await opened.namespace.putPart({ ...upload, part: opened.newPart(1) }, never)
  opened.store.isLate = true
  await expect(opened.namespace.abortUpload(upload, never)).rejects.toMatchObject({
    code: 'DISK_FULL',
  })
  const listing = opened.namespace.listParts({ ...upload, after: 0, limit: 10 }, never)
  await expect(listing).rejects.toMatchObject(GONE)
})
