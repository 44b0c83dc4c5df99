import { describe, expect, test } from 'vitest'
import type { StoreError } from '../../src/base/store-error.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SortedStore } from '../support/sorted-store.ts'
import { never, openTestNamespace, TestNamespace } from '../support/test-namespace.ts'

const FULL = { code: 'QUOTA_EXCEEDED' }

describe('what a bucket uses', () => {
  test('is all versions, markers and parts, before and after a restart', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const usage = () => opened.namespace.bucketUsage(bucket, never)
    expect(await usage()).toEqual({ bytes: 0, objects: 0 })
    const first = await opened.put(bucket, 'a', { sizeBytes: 100 })
    await opened.put(bucket, 'a', { sizeBytes: 10 })
    await opened.delete(bucket, 'a')
    const upload = await opened.upload(bucket, 'b')
    await opened.namespace.putPart({ ...upload, part: opened.newPart(1) }, never)
    expect(await usage()).toEqual({ bytes: 115, objects: 3 })
    opened.reopen()
    expect(await usage()).toEqual({ bytes: 115, objects: 3 })
    await opened.delete(bucket, 'a', first.id)
    await opened.namespace.abortUpload(upload, never)
    expect(await usage()).toEqual({ bytes: 10, objects: 2 })
    opened.reopen()
    expect(await usage()).toEqual({ bytes: 10, objects: 2 })
  })

  test('is counted once, and then kept up with', async () => {
    const opened = new TestNamespace(new SortedStore())
    const bucket = await opened.bucket()
    for (let index = 0; index < 50; index++) await opened.put(bucket, `k${index}`)
    await Promise.all([1, 2, 3].map(() => opened.namespace.bucketUsage(bucket, never)))
    expect(opened.store.rowsRead).toBe(50)
    await opened.put(bucket, 'x')
    const usage = await opened.namespace.bucketUsage(bucket, never)
    expect([usage.objects, opened.store.rowsRead, opened.store.scansOpen]).toEqual([51, 50, 0])
  })

  test('is not lost to others when the first who asked gives up', async () => {
    const opened = new TestNamespace(new SortedStore())
    const bucket = await opened.bucket()
    for (let index = 0; index < 20; index++) await opened.put(bucket, `k${index}`)
    const abort = new AbortController()
    const first = opened.namespace.bucketUsage(bucket, abort.signal).catch(() => undefined)
    for (let turn = 0; turn < 15; turn++) await undefined
    const second = opened.namespace.bucketUsage(bucket, never)
    abort.abort()
    await first
    expect(await second).toEqual({ bytes: 100, objects: 20 })
  })

  test('of a bucket that is deleted meanwhile is BUCKET_NOT_FOUND', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const deleting = opened.namespace.deleteBucket(bucket, never)
    const counting = opened.namespace.bucketUsage(bucket, never)
    await deleting
    await expect(counting).rejects.toMatchObject({ code: 'BUCKET_NOT_FOUND' })
  })

  test.each(seeds(50))('equals a recount, whatever changes meanwhile (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const opened = new TestNamespace(new SortedStore())
    const bucket = await opened.bucket(prng.pick(['off', 'enabled', 'suspended'] as const))
    const upload = await opened.upload(bucket, 'u')
    const change = (): Promise<unknown> => {
      const key = `k${prng.below(5)}`
      switch (prng.below(4)) {
        case 0:
          return opened.delete(bucket, key, prng.chance(0.5) ? 'null' : undefined)
        case 1:
          return opened.namespace.putPart(
            { ...upload, part: opened.newPart(prng.between(1, 4)) },
            never,
          )
        default:
          return opened.put(bucket, key, { sizeBytes: prng.below(100) })
      }
    }
    const running: Promise<unknown>[] = []
    for (let count = 0; count < 60; count++) {
      running.push(change())
      if (count % 20 === 10) running.push(opened.namespace.bucketUsage(bucket, never))
      for (let turns = prng.below(10); turns > 0; turns--) await undefined
    }
    await Promise.all(running)
    const kept = await opened.namespace.bucketUsage(bucket, never)
    opened.reopen()
    expect(kept).toEqual(await opened.namespace.bucketUsage(bucket, never))
  })
})

describe('a quota', () => {
  test.each([
    [{ bytesMax: 15, objectsMax: undefined }, 3],
    [{ bytesMax: 14, objectsMax: undefined }, 2],
    [{ bytesMax: undefined, objectsMax: 2 }, 2],
    [{ bytesMax: 0, objectsMax: undefined }, 0],
    [{ bytesMax: undefined, objectsMax: 0 }, 0],
    [{ bytesMax: undefined, objectsMax: undefined }, 5],
  ])('of %o has room for %d objects of 5 bytes', async (quota, count) => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    await opened.namespace.changeBucket(bucket, { quota }, never)
    for (let index = 0; index < 5; index++) {
      const result = await opened.put(bucket, `k${index}`).then(
        () => 'done',
        (error: StoreError) => error.code,
      )
      expect(result).toBe(index < count ? 'done' : 'QUOTA_EXCEEDED')
    }
    expect((await opened.namespace.bucketUsage(bucket, never)).objects).toBe(count)
  })

  test('counts parts as bytes, and stops neither deletes nor what takes no room', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const quota = { bytesMax: 5, objectsMax: undefined }
    await opened.namespace.changeBucket(bucket, { quota }, never)
    const upload = await opened.upload(bucket, 'a')
    const part = opened.newPart(1)
    await opened.namespace.putPart({ ...upload, part }, never)
    const more = opened.namespace.putPart({ ...upload, part: opened.newPart(2) }, never)
    await expect(more).rejects.toMatchObject(FULL)
    await expect(opened.put(bucket, 'b')).rejects.toMatchObject(FULL)
    await opened.put(bucket, 'empty', { fileIds: [] })
    const request = { ...upload, parts: [part], etag: 'd'.repeat(32), checksum: undefined }
    await opened.namespace.completeUpload(request, never)
    await opened.delete(bucket, 'a')
    await opened.put(bucket, 'b')
  })

  test('does not stop a repetition, which takes no more room', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const quota = { bytesMax: 10, objectsMax: 1 }
    await opened.namespace.changeBucket(bucket, { quota }, never)
    const upload = await opened.upload(bucket, 'u')
    const part = opened.newPart(1)
    const partDone = await opened.namespace.putPart({ ...upload, part }, never)
    const version = opened.newVersion()
    const done = await opened.namespace.putObject({ bucket, key: 'a', version }, never)
    expect(await opened.namespace.putObject({ bucket, key: 'a', version }, never)).toEqual(done)
    expect(await opened.namespace.putPart({ ...upload, part }, never)).toEqual(partDone)
    await expect(opened.put(bucket, 'b')).rejects.toMatchObject(FULL)
  })
})
