import { beforeEach, describe, expect, test } from 'vitest'
import { StoreError } from '../../../src/base/store-error.ts'
import type { LifecycleRule } from '../../../src/gateway/s3/bucket-settings.ts'
import { newVersionId } from '../../../src/namespace/version-id.ts'
import {
  DAY,
  expiring,
  forgetting,
  LifecycleScene,
  moving,
  NEVER,
  rule,
} from './lifecycle-scene.ts'

let scene: LifecycleScene

beforeEach(() => {
  scene = new LifecycleScene()
})

const VERSIONED = { versioning: 'enabled' } as const
const NOTHING_DONE = {
  expired: 0,
  deletedVersions: 0,
  deletedMarkers: 0,
  transitioned: 0,
  recoded: 0,
  abortedUploads: 0,
  locked: 0,
  waiting: 0,
  overtaken: 0,
  failed: 0,
}

describe('a pass', () => {
  test('deletes what is a day old, not what is a millisecond younger', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)])
    const old = await scene.put(bucket, 'old')
    await scene.clock.advance(1)
    await scene.put(bucket, 'young')
    await scene.clock.advance(DAY - 1)
    expect(await scene.pass()).toEqual({
      ...NOTHING_DONE,
      buckets: 1,
      versions: 2,
      uploads: 0,
      expired: 1,
    })
    expect(await scene.find(bucket, 'old')).toBeUndefined()
    expect(await scene.find(bucket, 'young')).toBeDefined()
    const put = { bucket, key: 'old', version: { ...old, id: newVersionId(scene.prng, 1) } }
    // Its file waits to be deleted: nothing may name it any more.
    await expect(scene.namespace.putObject(put, NEVER)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
  })

  test('hides what is due behind a marker where there are versions, once', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)], VERSIONED)
    const { id } = await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ expired: 1 })
    expect(await scene.versions(bucket)).toEqual(['a marker', `a ${id}`])
    await scene.clock.advance(10 * DAY)
    expect(await scene.pass()).toMatchObject({ ...NOTHING_DONE, versions: 2 })
  })

  test.each<[string, LifecycleRule[]]>([
    ['a disabled rule', [{ ...expiring(1), isEnabled: false }]],
    ['a rule for another prefix', [expiring(1, 'logs/')]],
    ['a rule for uploads', [rule({ abortUploadsAfterDays: 1 })]],
    ['no rule', []],
  ])('leaves objects alone that %s is about', async (_, rules) => {
    const bucket = await scene.bucket('photos', rules)
    await scene.put(bucket, 'a')
    await scene.clock.advance(9 * DAY)
    expect(await scene.pass()).toMatchObject(NOTHING_DONE)
    expect(await scene.find(bucket, 'a')).toBeDefined()
  })

  test('looks only at keys that rules are about', async () => {
    const rules = [expiring(1, 'logs/2024/'), expiring(1, 'logs/2023/')]
    const bucket = await scene.bucket('photos', rules)
    for (const key of ['a', 'logs/2023/a', 'logs/2024/a', 'logs/2022', 'z']) {
      await scene.put(bucket, key)
    }
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ versions: 3, expired: 2 })
    expect(await scene.versions(bucket)).toHaveLength(3)
  })

  test.each<[string, number | undefined, number]>([
    ['all noncurrent versions', undefined, 4],
    ['all but the newest noncurrent one', 1, 3],
    ['all but the 4 newest noncurrent ones', 4, 0],
  ])('deletes %s', async (_, kept, deleted) => {
    const bucket = await scene.bucket('photos', [forgetting(1, kept)], VERSIONED)
    const ids: string[] = []
    for (let count = 0; count < 5; count++) ids.unshift((await scene.put(bucket, 'a')).id)
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ versions: 5, deletedVersions: deleted })
    expect(await scene.versions(bucket)).toEqual(ids.slice(0, 5 - deleted).map((id) => `a ${id}`))
  })

  test('counts the versions of a key over several pages', async () => {
    const bucket = await scene.bucket('photos', [forgetting(1, 300)], VERSIONED)
    for (let count = 0; count < 310; count++) await scene.put(bucket, 'a')
    await scene.put(bucket, 'b')
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ versions: 311, deletedVersions: 9 })
    expect(await scene.versions(bucket)).toHaveLength(302)
  })

  test('removes a marker once it hides nothing', async () => {
    const marker = { days: undefined, dateMs: undefined, isExpiredMarkerDeleted: true }
    const rules = [rule({ expiration: marker }), forgetting(1)]
    const bucket = await scene.bucket('photos', rules, VERSIONED)
    await scene.put(bucket, 'a')
    await scene.namespace.deleteObject({ bucket, key: 'a' }, NEVER)
    expect(await scene.pass()).toMatchObject(NOTHING_DONE)
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ deletedVersions: 1, deletedMarkers: 0 })
    expect(await scene.pass()).toMatchObject({ deletedVersions: 0, deletedMarkers: 1 })
    expect(await scene.versions(bucket)).toEqual([])
  })

  test('gives up uploads that take longer than a rule lets them', async () => {
    const bucket = await scene.bucket('photos', [rule({ abortUploadsAfterDays: 2 })])
    const uploadIds: string[] = []
    for (const key of ['a', 'b']) {
      const uploadId = newVersionId(scene.prng, scene.clock.nowMs())
      const upload = { ...NO_UPLOAD, key, uploadId }
      await scene.namespace.createUpload({ bucket, upload }, NEVER)
      uploadIds.push(uploadId)
      await scene.clock.advance(DAY)
    }
    expect(await scene.pass()).toMatchObject({ uploads: 2, abortedUploads: 1, versions: 0 })
    const [first = '', second = ''] = uploadIds
    const find = (key: string, uploadId: string) =>
      scene.namespace.findUpload({ bucket, key, uploadId }, NEVER)
    expect(await find('a', first)).toBeUndefined()
    expect(await find('b', second)).toBeDefined()
  })

  test('goes through 600 objects in several pages, and rests between them', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)])
    for (let index = 0; index < 600; index++) await scene.put(bucket, `key ${index}`)
    await scene.clock.advance(DAY)
    const startMs = scene.clock.monotonicMs()
    expect(await scene.pass()).toMatchObject({ versions: 600, expired: 600 })
    expect(scene.clock.monotonicMs() - startMs).toBe(20)
    expect(await scene.versions(bucket)).toEqual([])
  })

  test('stops at the next page when the rules are taken away', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)])
    for (let index = 0; index < 600; index++) await scene.put(bucket, `key ${index}`)
    await scene.clock.advance(DAY)
    scene.hooks.listVersions = async () => {
      scene.hooks.listVersions = undefined
      await scene.namespace.changeBucket(bucket, { documents: { lifecycle: '' } }, NEVER)
    }
    expect(await scene.pass()).toMatchObject({ versions: 250, expired: 250 })
  })

  test('is not held up by a bucket whose rules cannot be read', async () => {
    const broken = await scene.bucket('broken', [expiring(1)])
    await scene.namespace.changeBucket(broken, { documents: { lifecycle: '{' } }, NEVER)
    await scene.put(await scene.bucket('photos', [expiring(1)]), 'a')
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ expired: 1, failed: 1 })
    expect(scene.events).toMatchObject([
      { event: 's3.lifecycle_failed', fields: { bucket: 'broken' } },
    ])
  })

  test('goes on after a change that fails, and makes it the next time', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)])
    for (const key of ['a', 'b', 'c']) await scene.put(bucket, key)
    await scene.clock.advance(DAY)
    scene.hooks.deleteObject = async (request) => {
      if ((request as { key: string }).key === 'b') throw new StoreError('UNAVAILABLE', 'test')
    }
    expect(await scene.pass()).toMatchObject({ expired: 2, failed: 1 })
    scene.hooks.deleteObject = undefined
    expect(await scene.pass()).toMatchObject({ versions: 1, expired: 1, failed: 0 })
  })
})

describe('locked versions', () => {
  const untilMs = Date.UTC(2030, 0, 1)
  test.each([
    ['a legal hold', { isLegalHold: true }],
    ['GOVERNANCE', { retention: { mode: 'GOVERNANCE', untilMs } as const }],
    ['COMPLIANCE', { retention: { mode: 'COMPLIANCE', untilMs } as const }],
  ])('under %s stay, and are counted', async (_, lock) => {
    const change = { ...VERSIONED, isLockEnabled: true } as const
    const bucket = await scene.bucket('photos', [forgetting(1)], change)
    const { id } = await scene.put(bucket, 'a', lock)
    await scene.put(bucket, 'a')
    await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ locked: 1, deletedVersions: 1, failed: 0 })
    expect(await scene.versions(bucket)).toContain(`a ${id}`)
  })

  test('can be hidden: the marker deletes nothing', async () => {
    const change = { ...VERSIONED, isLockEnabled: true } as const
    const bucket = await scene.bucket('photos', [expiring(1)], change)
    await scene.put(bucket, 'a', { isLegalHold: true })
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ expired: 1, locked: 0 })
    expect(await scene.versions(bucket)).toHaveLength(2)
  })
})

describe('what others do between the look and the change', () => {
  test('an object that was put anew stays', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)])
    await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    scene.hooks.deleteObject = async () => {
      await scene.put(bucket, 'a', { data: 'new' })
    }
    await scene.pass()
    expect(await scene.read(await scene.find(bucket, 'a'))).toBe('new')
  })

  test('a version put above another is not hidden', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)], VERSIONED)
    const old = await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    let young = ''
    scene.hooks.deleteObject = async () => {
      young = (await scene.put(bucket, 'a')).id
    }
    await scene.pass()
    expect(await scene.versions(bucket)).toEqual([`a ${young}`, `a ${old.id}`])
  })

  test('a noncurrent version that became the newest again stays', async () => {
    const bucket = await scene.bucket('photos', [forgetting(1)], VERSIONED)
    const old = await scene.put(bucket, 'a')
    const young = await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    scene.hooks.deleteObject = async () => {
      const target = { bucket, key: 'a', versionId: young.id }
      await scene.namespace.deleteObject(target, NEVER)
    }
    await scene.pass()
    expect(await scene.versions(bucket)).toEqual([`a ${old.id}`])
  })

  test('an upload that is completed stays an object', async () => {
    const bucket = await scene.bucket('photos', [rule({ abortUploadsAfterDays: 1 })])
    const uploadId = newVersionId(scene.prng, scene.clock.nowMs())
    await scene.namespace.createUpload(
      { bucket, upload: { ...NO_UPLOAD, key: 'a', uploadId } },
      NEVER,
    )
    const ref = { bucket, key: 'a', uploadId }
    const { fileId, sizeBytes } = await scene.files.put('part')
    const part = { partNumber: 1, fileId, sizeBytes, md5: '0'.repeat(32), checksum: undefined }
    await scene.namespace.putPart({ ...ref, part }, NEVER)
    await scene.clock.advance(DAY)
    scene.hooks.abortUpload = async () => {
      const parts = [{ partNumber: 1, fileId }]
      const request = { ...ref, parts, etag: `${'0'.repeat(32)}-1`, checksum: undefined }
      await scene.namespace.completeUpload(request, NEVER)
    }
    expect(await scene.pass()).toMatchObject({ abortedUploads: 0, overtaken: 1, failed: 0 })
    expect(await scene.read(await scene.find(bucket, 'a'))).toBe('part')
  })

  test('a bucket made anew under the same name is not touched', async () => {
    const bucket = await scene.bucket('photos', [expiring(1)])
    await scene.clock.advance(DAY)
    scene.hooks.findBucket = async () => {
      scene.hooks.findBucket = undefined
      await scene.namespace.deleteBucket(bucket, NEVER)
      await scene.put(await scene.bucket('photos', [expiring(0)]), 'a')
    }
    expect(await scene.pass()).toMatchObject({ ...NOTHING_DONE, versions: 0 })
  })
})

describe('a runner', () => {
  test('makes a pass 24 times a day, each with a line in the log, until it is disposed', async () => {
    await scene.bucket('photos', [expiring(1)])
    const runner = scene.newRunner(24 * 3_600_000)
    runner.start()
    await scene.clock.advance(60_000)
    expect(scene.events).toHaveLength(1)
    expect(scene.events).toMatchObject([
      { event: 's3.lifecycle_pass', fields: { buckets: 1, expired: 0, tookMs: 0 } },
    ])
    await scene.clock.advance(3 * 3_600_000)
    expect(scene.events).toHaveLength(4)
    await runner[Symbol.asyncDispose]()
    await scene.clock.advance(9 * 3_600_000)
    expect(scene.events).toHaveLength(4)
    expect(scene.clock.timerCount).toBe(0)
  })

  test('with days of a millisecond makes one each second', async () => {
    await scene.bucket('photos', [expiring(1)])
    await using runner = scene.newRunner(1)
    runner.start()
    await scene.clock.advance(10_000)
    expect(scene.events.length).toBeGreaterThanOrEqual(9)
    expect(scene.events.length).toBeLessThanOrEqual(10)
  })

  test('goes on after a pass that fails', async () => {
    await scene.bucket('photos', [expiring(1)])
    scene.hooks.listBuckets = async () => {
      scene.hooks.listBuckets = undefined
      throw new StoreError('UNAVAILABLE', 'no master (test)')
    }
    await using runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(2000)
    const events = scene.events.map(({ event }) => event)
    expect(events.slice(0, 2)).toEqual(['s3.lifecycle_halted', 's3.lifecycle_pass'])
  })

  test('that is disposed in the middle of a pass ends with the change under way', async () => {
    const bucket = await scene.bucket('photos', [moving(1, 'STANDARD_IA')])
    for (let index = 0; index < 10; index++) await scene.put(bucket, `key ${index}`)
    await scene.clock.advance(DAY)
    const runner = scene.newRunner()
    let disposal: Promise<void> | undefined
    scene.files.onPut = () => {
      disposal ??= runner[Symbol.asyncDispose]()
    }
    runner.start()
    await scene.clock.advance(2000)
    await disposal
    const isMoved = async (index: number) =>
      (await scene.find(bucket, `key ${index}`))?.storageClass === 'STANDARD_IA'
    expect(disposal).toBeDefined()
    expect(await isMoved(5)).toBe(false)
  })
})

const NO_UPLOAD = {
  contentType: undefined,
  headers: {},
  metadata: {},
  tags: [],
  acl: undefined,
  retention: undefined,
  isLegalHold: false,
  storageClass: 'STANDARD',
  ownerId: undefined,
  checksumAlgorithm: undefined,
  checksumType: undefined,
} as const
