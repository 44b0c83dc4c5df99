import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type { Bucket, Versioning } from '../../src/namespace/bucket-record.ts'
import {
  decodeEvent,
  type EventCause,
  type EventCauseKind,
  eventId,
  eventKey,
  laneKey,
  type ObjectEvent,
  parseEventKey,
} from '../../src/namespace/event-record.ts'
import {
  ETAG,
  failsWith,
  never,
  openTestNamespace,
  type TestNamespace,
} from '../support/test-namespace.ts'

const HOOK = 'arn:hayloft:sqs::hook:webhook'
const RULE = { id: 'r', arn: HOOK, events: ['s3:Object*'], prefix: '', suffix: '' }

function causeOf(kind: EventCauseKind): EventCause {
  return { kind, requesterId: 'u', sourceAddress: '10.0.0.1', requestId: 'ABCD' }
}

const PUT = causeOf('ObjectCreated:Put')
const REMOVE = causeOf('ObjectRemoved')

async function openBucket(
  opened: TestNamespace,
  versioning: Versioning = 'off',
  rules: readonly object[] = [{ ...RULE, events: ['s3:ObjectCreated:*', 's3:ObjectRemoved:*'] }],
): Promise<Bucket> {
  const made = await opened.bucket(versioning)
  const documents = { notification: JSON.stringify(rules) }
  return await opened.namespace.changeBucket(made, { documents }, never)
}

function put(opened: TestNamespace, bucket: Bucket, key: string, cause: EventCause | undefined) {
  const request = { bucket, key, version: opened.newVersion(), cause }
  return opened.namespace.putObject(request, never)
}

function remove(opened: TestNamespace, bucket: Bucket, key: string, versionId?: string) {
  return opened.namespace.deleteObject({ bucket, key, versionId, cause: REMOVE }, never)
}

function laneOf(bucket: Bucket) {
  return { target: HOOK, bucketId: bucket.id }
}

function events(opened: TestNamespace, bucket: Bucket, limit = 100) {
  return opened.namespace.listEvents({ lane: laneOf(bucket), limit }, never)
}

/** Names and keys, in order. */
async function told(opened: TestNamespace, bucket: Bucket): Promise<string[]> {
  return (await events(opened, bucket)).map(({ key, name }) => `${name} ${key}`)
}

function claim(opened: TestNamespace, claimant: string, targets: readonly string[] = [HOOK]) {
  return opened.namespace.claimEvents({ claimant, targets }, never)
}

describe('an event', () => {
  test('lies in the batch of the change it tells of', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    const batches: string[][] = []
    const { commit } = opened.store
    opened.store.commit = async (batch, signal) => {
      batches.push((batch.puts ?? []).map(({ key }) => key.split('/')[0] ?? ''))
      await commit.call(opened.store, batch, signal)
    }
    const stored = await put(opened, bucket, 'a', PUT)
    expect(batches).toEqual([['objects', 'events']])
    expect(await events(opened, bucket)).toEqual([
      {
        id: eventId(stored.seq),
        name: 'ObjectCreated:Put',
        timeMs: opened.clock.nowMs(),
        configurationId: 'r',
        bucketName: 'one',
        bucketOwnerId: 'o',
        key: 'a',
        versionId: undefined,
        sizeBytes: 5,
        etag: ETAG,
        storageClass: undefined,
        requesterId: 'u',
        sourceAddress: '10.0.0.1',
        requestId: 'ABCD',
      },
    ])
  })

  test('of a change that failed is not there, nor is one of a repetition', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    opened.store.beforeCommit = failsWith(new StoreError('OVERLOADED', 'too many'))
    await expect(put(opened, bucket, 'a', PUT)).rejects.toMatchObject({ code: 'OVERLOADED' })
    const condition = { ifMatch: ['0'] }
    const refused = { bucket, key: 'a', version: opened.newVersion(), condition, cause: PUT }
    const failing = opened.namespace.putObject(refused, never)
    await expect(failing).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' })
    expect(await told(opened, bucket)).toEqual([])
    const request = { bucket, key: 'a', version: opened.newVersion(), cause: PUT }
    await opened.namespace.putObject(request, never)
    await opened.namespace.putObject(request, never)
    expect(await told(opened, bucket)).toEqual(['ObjectCreated:Put a'])
  })

  test('of a change that failed and yet happened is found', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    opened.store.afterCommit = failsWith(new StoreError('DISK_FAILED', 'no answer'))
    await expect(put(opened, bucket, 'a', PUT)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect((await claim(opened, 'me')).lanes).toEqual([laneOf(bucket)])
    expect(await told(opened, bucket)).toEqual(['ObjectCreated:Put a'])
    expect(opened.namespace.eventCounts.pending).toBe(1)
  })

  test('is there after a restart, and later ones come behind it though the clock was put back', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    await put(opened, bucket, 'a', PUT)
    opened.clock.jumpWallClock(-3_600_000)
    opened.reopen()
    await remove(opened, bucket, 'a')
    expect(await told(opened, bucket)).toEqual(['ObjectCreated:Put a', 'ObjectRemoved:Delete a'])
    expect((await claim(opened, 'me')).lanes).toEqual([laneOf(bucket)])
    expect(opened.namespace.eventCounts.pending).toBe(2)
  })

  test.each([
    ['no cause', [RULE], undefined],
    ['no settings', undefined, PUT],
    ['settings that are no JSON', '{', PUT],
    ['settings that ask for nothing', [], PUT],
    ['an entry that makes no sense', [{ ...RULE, events: 's3:ObjectCreated:*' }], PUT],
    ['an ARN of 257 characters', [{ ...RULE, arn: 'a'.repeat(257) }], PUT],
  ])('is not written with %s', async (_, rules, cause) => {
    const opened = openTestNamespace()
    const made = await opened.bucket()
    const text = typeof rules === 'string' ? rules : JSON.stringify(rules)
    const documents = rules === undefined ? {} : { notification: text }
    const bucket = await opened.namespace.changeBucket(made, { documents }, never)
    await put(opened, bucket, 'a', cause)
    expect(await opened.store.keys('events/')).toEqual([])
  })

  test('costs a bucket without settings no read', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    await put(opened, bucket, 'a', undefined)
    const before = opened.store.getCount
    await put(opened, bucket, 'b', undefined)
    const plain = opened.store.getCount - before
    await put(opened, bucket, 'c', PUT)
    expect(opened.store.getCount - before - plain).toBe(plain)
  })
})

describe('what is told', () => {
  const cases: readonly (readonly [string, string, string, boolean])[] = [
    ['s3:ObjectCreated:*', '', 'a', true],
    ['s3:ObjectCreated:Put', '', 'a', true],
    ['s3:ObjectCreated:Post', '', 'a', false],
    ['s3:ObjectRemoved:*', '', 'a', false],
    ['s3:ObjectCreated:*', 'in/', 'in/a', true],
    ['s3:ObjectCreated:*', 'in/', 'in', false],
    ['s3:ObjectCreated:*', '|.jpg', 'a.jpg', true],
    ['s3:ObjectCreated:*', '|.jpg', 'a.jpg2', false],
    ['s3:ObjectCreated:*', 'in/|.jpg', 'in/a.jpg', true],
    ['s3:ObjectCreated:*', 'in/|.jpg', 'out/a.jpg', false],
  ]
  test.each(cases)('%s within "%s": of %s %s', async (event, filter, key, isTold) => {
    const opened = openTestNamespace()
    const [prefix = '', suffix = ''] = filter.split('|')
    const bucket = await openBucket(opened, 'off', [{ ...RULE, events: [event], prefix, suffix }])
    await put(opened, bucket, key, PUT)
    expect(await told(opened, bucket)).toEqual(isTold ? [`ObjectCreated:Put ${key}`] : [])
  })

  test.each<[Versioning, readonly string[]]>([
    ['off', ['ObjectRemoved:Delete undefined']],
    ['enabled', ['ObjectRemoved:DeleteMarkerCreated id', 'ObjectRemoved:Delete id']],
    ['suspended', ['ObjectRemoved:DeleteMarkerCreated null', 'ObjectRemoved:Delete null']],
  ])('of deletes with versioning %s', async (versioning, expected) => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened, versioning)
    await put(opened, bucket, 'a', undefined)
    const { versionId } = await remove(opened, bucket, 'a')
    // The marker itself, or nothing.
    await remove(opened, bucket, 'a', versionId)
    const found = await events(opened, bucket)
    const shown = found.map((each) => {
      const isId = each.versionId !== undefined && each.versionId === versionId
      return `${each.name} ${isId && versionId !== 'null' ? 'id' : each.versionId}`
    })
    expect(shown).toEqual(expected)
    for (const { etag, sizeBytes } of found)
      expect([etag, sizeBytes]).toEqual([undefined, undefined])
  })

  test('of a version moved to another class, its tags and its ACL', async () => {
    const opened = openTestNamespace()
    const wanted = ['s3:LifecycleTransition', 's3:ObjectTagging:*', 's3:ObjectAcl:Put']
    const bucket = await openBucket(opened, 'enabled', [{ ...RULE, events: wanted }])
    const { id, parts } = await put(opened, bucket, 'a', PUT)
    const moved = { parts, storageClass: 'STANDARD_IA' as const }
    const changes: readonly [EventCauseKind, object][] = [
      ['LifecycleTransition', { moved }],
      ['ObjectTagging:Put', { tags: [{ key: 'k', value: 'v' }] }],
      ['ObjectTagging:Delete', { tags: [] }],
      ['ObjectAcl:Put', { acl: '{}' }],
    ]
    for (const [kind, change] of changes) {
      const cause = causeOf(kind)
      await opened.namespace.changeObject({ bucket, key: 'a', change, cause }, never)
    }
    const found = await events(opened, bucket)
    expect(found.map(({ name }) => name)).toEqual(changes.map(([kind]) => kind))
    expect(found.map(({ storageClass }) => storageClass)).toEqual([
      'STANDARD_IA',
      undefined,
      undefined,
      undefined,
    ])
    expect(found.map(({ versionId }) => versionId)).toEqual([id, id, id, id])
  })

  test('of an upload, once, however often it is completed', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    const ref = await opened.upload(bucket, 'a')
    const part = opened.newPart(1)
    await opened.namespace.putPart({ ...ref, part }, never)
    const cause = causeOf('ObjectCreated:CompleteMultipartUpload')
    const etag = `${ETAG}-1`
    const request = { ...ref, parts: [part], etag, checksum: undefined, cause }
    await opened.namespace.completeUpload(request, never)
    await opened.namespace.completeUpload(request, never)
    expect(await told(opened, bucket)).toEqual(['ObjectCreated:CompleteMultipartUpload a'])
  })

  test('of one key at once, comes in the order of its changes', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened, 'enabled')
    const puts = Array.from({ length: 30 }, () => put(opened, bucket, 'a', PUT))
    const ids = (await Promise.all(puts)).sort((a, b) => a.seq - b.seq).map(({ id }) => id)
    expect((await events(opened, bucket)).map(({ versionId }) => versionId)).toEqual(ids)
  })
})

describe('a lane', () => {
  test('goes to one claimant, until that is silent for 10 s', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    expect(await claim(opened, 'one')).toEqual({ lanes: [], unclaimed: [] })
    await put(opened, bucket, 'a', PUT)
    const lanes = [laneOf(bucket)]
    expect(await claim(opened, 'one')).toEqual({ lanes, unclaimed: [] })
    expect(await claim(opened, 'two')).toEqual({ lanes: [], unclaimed: [] })
    await opened.clock.advance(9000)
    expect(await claim(opened, 'one')).toEqual({ lanes, unclaimed: [] })
    await opened.clock.advance(9999)
    expect(await claim(opened, 'two')).toEqual({ lanes: [], unclaimed: [] })
    await opened.clock.advance(1)
    expect(await claim(opened, 'two')).toEqual({ lanes, unclaimed: [] })
    expect(await claim(opened, 'one')).toEqual({ lanes: [], unclaimed: [] })
  })

  test('to a target that the claimant does not have is shown, not given', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    await put(opened, bucket, 'a', PUT)
    const lanes = [laneOf(bucket)]
    expect(await claim(opened, 'one', ['other'])).toEqual({ lanes: [], unclaimed: lanes })
    expect(await claim(opened, 'two')).toEqual({ lanes, unclaimed: [] })
    expect(await claim(opened, 'one', ['other'])).toEqual({ lanes: [], unclaimed: [] })
  })

  test('is forgotten once its events are removed, and comes back with the next', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    for (const key of ['a', 'b', 'c']) await put(opened, bucket, key, PUT)
    const [first, second, third] = (await events(opened, bucket)).map(({ id }) => id)
    const lane = laneOf(bucket)
    const drop = (ids: readonly (string | undefined)[], outcome: 'delivered' | 'givenUp') => {
      const known = ids.filter((id) => id !== undefined)
      return opened.namespace.removeEvents({ lane, ids: known, outcome }, never)
    }
    await drop([first, first], 'delivered')
    await drop([first, second], 'givenUp')
    expect(await told(opened, bucket)).toEqual(['ObjectCreated:Put c'])
    const counts = { delivered: 1, givenUp: 1, dropped: 0 }
    expect(opened.namespace.eventCounts).toEqual({ ...counts, pending: 1 })
    await drop([third], 'delivered')
    expect(await events(opened, bucket)).toEqual([])
    expect((await claim(opened, 'one')).lanes).toEqual([])
    await put(opened, bucket, 'd', PUT)
    expect((await claim(opened, 'one')).lanes).toEqual([lane])
  })

  test('gives its events in pages, each the first that are left', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    for (const key of ['a', 'b', 'c']) await put(opened, bucket, key, PUT)
    expect((await events(opened, bucket, 2)).map(({ key }) => key)).toEqual(['a', 'b'])
    await expect(events(opened, bucket, 0)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('stays when its bucket is deleted', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    await put(opened, bucket, 'a', PUT)
    await remove(opened, bucket, 'a')
    await opened.namespace.deleteBucket(bucket, never)
    expect(await told(opened, bucket)).toEqual(['ObjectCreated:Put a', 'ObjectRemoved:Delete a'])
  })

  test.each([
    ['an id that is none', ['0']],
    ['65 ids', Array.from({ length: 65 }, (_, at) => eventId(at))],
  ])('refuses to remove %s', async (_, ids) => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    const request = { lane: laneOf(bucket), ids, outcome: 'delivered' as const }
    const removing = opened.namespace.removeEvents(request, never)
    await expect(removing).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('sets a row aside that cannot be read, and goes on', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    const key = eventKey(laneOf(bucket), eventId(1))
    await opened.store.commit({ puts: [{ key, value: Buffer.of(1, 2) }] }, never)
    await put(opened, bucket, 'a', PUT)
    expect(await told(opened, bucket)).toEqual(['ObjectCreated:Put a'])
    expect(await opened.store.keys('unreadable/')).toEqual([`unreadable/${key}`])
  })

  test('with 100,000 events takes no more; changes go on, and another lane is not full', async () => {
    const opened = openTestNamespace()
    const bucket = await openBucket(opened)
    const other = { ...RULE, id: 's', arn: 'other', events: ['s3:ObjectCreated:*'] }
    const both = JSON.stringify([{ ...other, arn: HOOK }, other])
    const changed = await opened.namespace.changeBucket(
      bucket,
      { documents: { notification: both } },
      never,
    )
    const max = LIMITS.eventsPendingMax.value
    const puts = Array.from({ length: max }, (_, at) => {
      return { key: eventKey(laneOf(bucket), eventId(at + 1)), value: Buffer.of(0) }
    })
    await opened.store.commit({ puts }, never)
    await put(opened, changed, 'a', PUT)
    expect(opened.namespace.eventCounts).toMatchObject({ dropped: 1, pending: max + 1 })
    expect(await opened.find(bucket, 'a')).toBeDefined()
    const lane = { target: 'other', bucketId: bucket.id }
    const found = await opened.namespace.listEvents({ lane, limit: 10 }, never)
    expect(found.map(({ key }) => key)).toEqual(['a'])
  })
})

describe('the key of an event', () => {
  test.each(['a', HOOK, 'a/b', 'ü%', 'a b'])('holds the target %s and is read again', (target) => {
    const lane = { target, bucketId: 2 ** 32 - 1 }
    const key = eventKey(lane, eventId(Number.MAX_SAFE_INTEGER))
    expect(key.startsWith(`${laneKey(lane)}/`)).toBe(true)
    expect(parseEventKey(key)).toEqual({ lane, id: '1fffffffffffff' })
  })

  test.each([
    'events/a/00000001',
    'events/a/00000000/00000000000001',
    'events/%/00000001/00000000000001',
    'events//00000001/00000000000001',
    'objects/a/00000001/00000000000001',
  ])('is not %s', (key) => {
    expect(parseEventKey(key)).toBeUndefined()
  })
})

describe('the row of an event', () => {
  const sound: Omit<ObjectEvent, 'id'> = {
    name: 'n',
    timeMs: 1,
    configurationId: 'c',
    bucketName: 'b',
    bucketOwnerId: 'o',
    key: 'k',
    versionId: undefined,
    sizeBytes: undefined,
    etag: undefined,
    storageClass: undefined,
    requesterId: 'u',
    sourceAddress: 's',
    requestId: 'r',
  }
  const rowOf = (value: unknown, version = 1) =>
    Buffer.concat([Buffer.of(version), Buffer.from(JSON.stringify(value))])

  test('is read whole', () => {
    expect(decodeEvent(eventId(1), rowOf(sound))).toEqual({ ...sound, id: eventId(1) })
  })

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['another version', rowOf(sound, 2)],
    ['no JSON', Buffer.from('\u0001{')],
    ['a list', rowOf([])],
    ['null', rowOf(null)],
    ['no key', rowOf({ ...sound, key: undefined })],
    ['a negative time', rowOf({ ...sound, timeMs: -1 })],
    ['half a byte', rowOf({ ...sound, sizeBytes: 0.5 })],
    ['a number for an ETag', rowOf({ ...sound, etag: 1 })],
  ])('of %s cannot be read', (_, row) => {
    expect(() => decodeEvent(eventId(1), row)).toThrow(
      expect.objectContaining({ code: 'METADATA_CORRUPT' }),
    )
  })
})
