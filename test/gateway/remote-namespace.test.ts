import { describe, expect, test } from 'vitest'
import { ERROR_CODES, type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import { RemoteNamespace } from '../../src/gateway/remote-namespace.ts'
import { namespaceService } from '../../src/master/serve-namespace.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { Namespace } from '../../src/namespace/namespace.ts'
import type { NamespaceApi, ObjectChange } from '../../src/namespace/namespace-api.ts'
import { GrpcServer } from '../../src/net/grpc-server.ts'
import { masterService } from '../../src/net/serve-master.ts'
import { type Clock, systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { FakeMaster } from '../support/fake-master-api.ts'
import {
  BUCKET,
  CAUSE,
  EVENT,
  EVENT_LANE,
  FakeNamespace,
  NEW_VERSION,
  PART,
  UPLOAD,
  VERSION,
} from '../support/fake-namespace-api.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

const SECRET = Buffer.alloc(32, 1)
const NAMING_MS = 8000

/** Pauses between tries cost nothing here, and time passes when a test says so. */
class HastyClock implements Clock {
  passedMs = 0
  /** How long the 8 s take here in which files may be named. */
  namingMs = NAMING_MS

  nowMs(): number {
    return systemClock.nowMs()
  }

  monotonicMs(): number {
    return this.passedMs
  }

  async sleep(): Promise<void> {
    await settle(2)
  }

  after(ms: number, run: () => void): Disposable {
    return systemClock.after(ms === NAMING_MS ? this.namingMs : ms, run)
  }
}

interface Served {
  readonly namespace: FakeNamespace
  readonly master: FakeMaster
  readonly server: GrpcServer
}

async function serve(namespace: NamespaceApi, master: FakeMaster): Promise<GrpcServer> {
  const parts = { logger: silentLogger, clock: systemClock, secret: SECRET }
  const services = [masterService(master), namespaceService(namespace)]
  return await GrpcServer.open(parts, { host: '127.0.0.1', port: 0, services })
}

async function connect(
  servers: readonly GrpcServer[],
  clock: Clock,
  secret: Buffer | undefined = SECRET,
): Promise<RemoteNamespace> {
  const addresses = servers.map(({ address }) => `127.0.0.1:${address.port}`)
  return await RemoteNamespace.open(
    { logger: silentLogger, clock, random: cryptoRandom },
    { addresses, secret, timeoutMs: 5000 },
  )
}

async function open(count = 1) {
  const served: Served[] = []
  for (let index = 0; index < count; index++) {
    const [namespace, master] = [new FakeNamespace(), new FakeMaster()]
    served.push({ namespace, master, server: await serve(namespace, master) })
  }
  const clock = new HastyClock()
  const remote = await connect(
    served.map(({ server }) => server),
    clock,
  )
  return {
    served,
    clock,
    remote,
    namespace: served[0]?.namespace ?? new FakeNamespace(),
    lead(leader: number) {
      for (const [index, { namespace, master }] of served.entries()) {
        namespace.isLeader = index === leader
        master.isLeader = index === leader
      }
    },
    async [Symbol.asyncDispose]() {
      await remote[Symbol.asyncDispose]()
      for (const { server } of served) await server.close(0)
    },
  }
}

type Call = readonly [name: string, call: (api: NamespaceApi) => Promise<unknown>]

const REF = { name: 'photos', id: 2 ** 32 - 1 }
const KEY = { bucket: REF, key: 'a/ü' }
const UPLOAD_REF = { ...KEY, uploadId: UPLOAD.uploadId }
const CONDITION = { ifMatch: ['*'], ifNoneMatch: ['0'.repeat(32), 'x'] }
const LISTING = { bucket: REF, prefix: 'ä', delimiter: '/', after: 'ä/b', limit: 10_000 }
const PLAIN_LISTING = { bucket: REF, prefix: '', delimiter: '', after: '', limit: 1 }
const { startedAtMs: _, ...NEW_UPLOAD } = UPLOAD
const { modifiedAtMs: __, ...NEW_PART } = PART
const { parts, storageClass } = VERSION
const change = (value: ObjectChange) => (api: NamespaceApi) =>
  api.changeObject({ ...KEY, change: value }, SIGNAL)

const BUCKET_CALLS: readonly Call[] = [
  [
    'createBucket',
    (api) => {
      const { documents, name, ownerId } = BUCKET
      return api.createBucket({ name, ownerId, documents, isLockEnabled: true }, SIGNAL)
    },
  ],
  ['findBucket', (api) => api.findBucket('photos', SIGNAL)],
  [
    'listBuckets',
    (api) => {
      const page = { prefix: 'p', after: 'pa', limit: 10_000 }
      return api.listBuckets({ ownerId: BUCKET.ownerId, ...page }, SIGNAL)
    },
  ],
  [
    'listBuckets',
    (api) => api.listBuckets({ ownerId: undefined, prefix: '', after: '', limit: 1 }, SIGNAL),
  ],
  ['changeBucket', (api) => api.changeBucket(REF, {}, SIGNAL)],
  [
    'changeBucket',
    (api) => {
      const quota = { bytesMax: 0, objectsMax: undefined }
      const documents = { policy: '', lifecycle: '[]' }
      const value = { versioning: 'suspended', documents, quota, isLockEnabled: true } as const
      return api.changeBucket(REF, value, SIGNAL)
    },
  ],
  ['deleteBucket', (api) => api.deleteBucket(REF, SIGNAL)],
  ['bucketUsage', (api) => api.bucketUsage(REF, SIGNAL)],
]

const OBJECT_CALLS: readonly Call[] = [
  ['putObject', (api) => api.putObject({ ...KEY, version: NEW_VERSION }, SIGNAL)],
  [
    'putObject',
    (api) => api.putObject({ ...KEY, version: NEW_VERSION, condition: CONDITION }, SIGNAL),
  ],
  [
    'putObject',
    (api) => {
      const condition = { ifMatch: [] }
      const plain = { ...NEW_VERSION, checksum: undefined, ownerId: undefined, parts: [] }
      return api.putObject({ ...KEY, version: plain, condition }, SIGNAL)
    },
  ],
  ['findObject', (api) => api.findObject(KEY, SIGNAL)],
  ['findObject', (api) => api.findObject({ ...KEY, versionId: '' }, SIGNAL)],
  ['findObject', (api) => api.findObject({ ...KEY, versionId: 'null' }, SIGNAL)],
  [
    'deleteObject',
    (api) => {
      const only = { versionId: VERSION.id, bypassesGovernance: true, seq: 0, isNoncurrent: true }
      return api.deleteObject({ ...KEY, ...only, condition: CONDITION }, SIGNAL)
    },
  ],
  [
    'deleteObject',
    (api) => api.deleteObject({ ...KEY, bypassesGovernance: false, isNoncurrent: false }, SIGNAL),
  ],
  [
    'changeObject',
    (api) => {
      const value = { tags: [], acl: '', retention: { value: undefined }, isLegalHold: false }
      const only = { versionId: 'null', id: VERSION.id, bypassesGovernance: true }
      return api.changeObject({ ...KEY, ...only, change: value }, SIGNAL)
    },
  ],
  [
    'changeObject',
    (api) => {
      const value = { mode: 'COMPLIANCE', untilMs: 2 ** 42 } as const
      const tags = [{ key: '', value: 'ä' }]
      const moved = { parts, storageClass, from: [PART.fileId] }
      const all = { tags, acl: '{}', retention: { value }, moved }
      return api.changeObject({ ...KEY, change: all, bypassesGovernance: false }, SIGNAL)
    },
  ],
  ['listObjects', (api) => api.listObjects(LISTING, SIGNAL)],
  ['listObjects', (api) => api.listObjects(PLAIN_LISTING, SIGNAL)],
  [
    'searchObjects',
    (api) => {
      const pattern = { kind: 'glob' as const, text: '*.jp?g' }
      const request = { bucket: REF, prefix: 'u/', pattern, after: 'u/a', limit: 7 }
      return api.searchObjects(request, SIGNAL)
    },
  ],
  ['listVersions', (api) => api.listVersions({ ...LISTING, afterVersionId: 'null' }, SIGNAL)],
  [
    'listVersions',
    (api) => api.listVersions({ ...PLAIN_LISTING, afterVersionId: undefined }, SIGNAL),
  ],
]

const UPLOAD_CALLS: readonly Call[] = [
  ['createUpload', (api) => api.createUpload({ bucket: REF, upload: NEW_UPLOAD }, SIGNAL)],
  ['findUpload', (api) => api.findUpload(UPLOAD_REF, SIGNAL)],
  ['putPart', (api) => api.putPart({ ...UPLOAD_REF, part: NEW_PART }, SIGNAL)],
  [
    'putPart',
    (api) => api.putPart({ ...UPLOAD_REF, part: { ...NEW_PART, checksum: undefined } }, SIGNAL),
  ],
  ['listParts', (api) => api.listParts({ ...UPLOAD_REF, after: 10_000, limit: 10_000 }, SIGNAL)],
  [
    'completeUpload',
    (api) => {
      const listed = [3, 10_000].map((partNumber) => ({ partNumber, fileId: PART.fileId }))
      const { checksum, etag } = VERSION
      const record = { recordFileId: '5,03637037d6' }
      const request = { ...UPLOAD_REF, ...record, parts: listed, etag, checksum }
      return api.completeUpload({ ...request, condition: CONDITION }, SIGNAL)
    },
  ],
  [
    'completeUpload',
    (api) => {
      const { etag } = VERSION
      return api.completeUpload({ ...UPLOAD_REF, parts: [], etag, checksum: undefined }, SIGNAL)
    },
  ],
  ['abortUpload', (api) => api.abortUpload(UPLOAD_REF, SIGNAL)],
  ['listUploads', (api) => api.listUploads({ ...LISTING, afterUploadId: UPLOAD.uploadId }, SIGNAL)],
  ['listUploads', (api) => api.listUploads({ ...PLAIN_LISTING, afterUploadId: undefined }, SIGNAL)],
]

const EVENT_CALLS: readonly Call[] = [
  ['putObject', (api) => api.putObject({ ...KEY, version: NEW_VERSION, cause: CAUSE }, SIGNAL)],
  [
    'deleteObject',
    (api) => {
      const plain = { bypassesGovernance: false, isNoncurrent: false }
      return api.deleteObject({ ...KEY, ...plain, cause: CAUSE }, SIGNAL)
    },
  ],
  ['claimEvents', (api) => api.claimEvents({ claimant: 'me', targets: ['a', 'b'] }, SIGNAL)],
  ['listEvents', (api) => api.listEvents({ lane: EVENT_LANE, limit: 64 }, SIGNAL)],
  [
    'removeEvents',
    (api) => {
      const request = { lane: EVENT_LANE, ids: [EVENT.id], outcome: 'givenUp' } as const
      return api.removeEvents(request, SIGNAL)
    },
  ],
]

/** Every call, with everything that can be said in it. */
const CALLS: readonly Call[] = [
  ...BUCKET_CALLS,
  ...OBJECT_CALLS,
  ...UPLOAD_CALLS,
  ['listDropped', (api) => api.listDropped({ after: 'name-intents/', limit: 10_000 }, SIGNAL)],
  ...EVENT_CALLS,
]

/** One for each method. */
const METHODS: readonly Call[] = [...new Map(CALLS)]

describe('a namespace over gRPC', () => {
  test.each(CALLS)('%s asks and answers as in this process', async (name, call) => {
    await using fixture = await open()
    const local = new FakeNamespace()
    expect(await call(fixture.remote)).toEqual(await call(local))
    expect(fixture.namespace.calls).toEqual([name])
    expect(fixture.namespace.requests).toEqual(local.requests)
  })

  test('finds nothing where there is nothing, and empty pages', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    namespace.found = undefined
    namespace.isEmpty = true
    namespace.count = 0
    expect(await remote.findBucket('photos', SIGNAL)).toBeUndefined()
    expect(await remote.findObject(KEY, SIGNAL)).toBeUndefined()
    expect(await remote.findUpload(UPLOAD_REF, SIGNAL)).toBeUndefined()
    const deleted = await remote.deleteObject(KEY, SIGNAL)
    expect(deleted).toEqual({ isMarker: true, versionId: undefined })
    const all = { ownerId: undefined, prefix: '', after: '', limit: 1 }
    expect(await remote.listBuckets(all, SIGNAL)).toEqual([])
    expect(await remote.listParts({ ...UPLOAD_REF, after: 0, limit: 1 }, SIGNAL)).toEqual([])
    const uploads = await remote.listUploads({ ...LISTING, afterUploadId: undefined }, SIGNAL)
    expect(uploads).toEqual({ uploads: [], commonPrefixes: [], next: undefined })
    const objects = await remote.listObjects(LISTING, SIGNAL)
    expect(objects).toEqual({ objects: [], commonPrefixes: ['p/'], next: undefined })
  })

  test('a page of 10,000 versions of 8 KB, 80 MB in all, comes in its order', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    namespace.count = 10_000
    namespace.version = { ...VERSION, acl: 'x'.repeat(8000) }
    const page = await remote.listVersions({ ...LISTING, afterVersionId: undefined }, SIGNAL)
    expect(page.versions.map(({ version }) => version.seq)).toEqual(
      Array.from({ length: 10_000 }, (_item, at) => at),
    )
    expect(page.versions.at(-1)?.version.acl).toHaveLength(8000)
    expect(page).toMatchObject({ commonPrefixes: ['p/'], next: { after: 'k9' } })
  })

  test.each(['listBuckets', 'listObjects', 'listParts', 'listUploads', 'searchObjects'])(
    '%s gives 10,000 entries, too',
    async (name) => {
      await using fixture = await open()
      fixture.namespace.count = 10_000
      const [, call] = METHODS.find(([each]) => each === name) ?? expect.fail(name)
      const local = new FakeNamespace()
      local.count = 10_000
      expect(await call(fixture.remote)).toEqual(await call(local))
    },
  )

  test('nothing is done for whoever does not know the cluster secret', async () => {
    await using fixture = await open()
    const servers = fixture.served.map(({ server }) => server)
    await using stranger = await RemoteNamespace.open(
      { logger: silentLogger, clock: fixture.clock, random: cryptoRandom },
      { addresses: servers.map(({ address }) => `127.0.0.1:${address.port}`), timeoutMs: 5000 },
    )
    for (const [, call] of METHODS) await expectCode(call(stranger), 'UNAUTHENTICATED')
    expect(fixture.namespace.calls).toEqual([])
    expect(METHODS).toHaveLength(24)
  })

  test.each([
    'BUCKET_EXISTS',
    'BUCKET_NOT_FOUND',
    'BUCKET_NOT_EMPTY',
    'OBJECT_NOT_FOUND',
    'OBJECT_LOCKED',
    'UPLOAD_NOT_FOUND',
    'PART_INVALID',
    'PRECONDITION_FAILED',
    'QUOTA_EXCEEDED',
    'METADATA_CORRUPT',
  ] as const satisfies readonly ErrorCode[])(
    'every call fails with %s as the master does, and is not sent again',
    async (code) => {
      expect(Object.keys(ERROR_CODES)).toContain(code)
      await using fixture = await open()
      fixture.namespace.beforeCall = async () => {
        throw new StoreError(code, 'no')
      }
      for (const [, call] of METHODS) await expectCode(call(fixture.remote), code)
      expect(fixture.namespace.calls).toEqual(METHODS.map(([name]) => name))
    },
  )

  test('parts after any number are those after 10,000 at most', async () => {
    await using fixture = await open()
    for (const after of [10_001, 2 ** 32, Number.POSITIVE_INFINITY]) {
      await fixture.remote.listParts({ ...UPLOAD_REF, after, limit: 1 }, SIGNAL)
    }
    const asked = { ...UPLOAD_REF, after: 10_000, limit: 1 }
    expect(fixture.namespace.requests).toEqual([asked, asked, asked])
  })

  test('what makes no sense is refused by the master, and nothing is done', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    const wrong = { ...LISTING, limit: 10_001 }
    await expectCode(remote.listObjects(wrong, SIGNAL), 'REQUEST_INVALID')
    await expectCode(remote.findObject({ ...KEY, key: 'a\0b' }, SIGNAL), 'NAME_INVALID')
    await expectCode(remote.bucketUsage({ name: 'photos', id: 0 }, SIGNAL), 'REQUEST_INVALID')
    const marker = { ...NEW_VERSION, parts: [{ fileId: 'x', sizeBytes: 1 }] }
    await expectCode(remote.putObject({ ...KEY, version: marker }, SIGNAL), 'FILE_ID_INVALID')
    expect(namespace.calls).toEqual([])
  })

  test('an answer that makes no sense is the peer failing', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    namespace.found = { ...BUCKET, ownerId: 'alice' }
    await expectCode(remote.findBucket('photos', SIGNAL), 'PEER_FAILED')
    const checksum = { algorithm: 'CRC32', type: 'FULL_OBJECT', value: 'not base64' } as const
    namespace.version = { ...VERSION, checksum }
    await expectCode(remote.findObject(KEY, SIGNAL), 'PEER_FAILED')
    await expectCode(remote.listObjects(LISTING, SIGNAL), 'PEER_FAILED')
  })
})

/** What must not happen twice, and what may although it looks the same. */
const DELETES: readonly (readonly [title: string, isOnce: boolean, only: object])[] = [
  ['of the newest version', true, {}],
  ['of the version null', true, { versionId: 'null' }],
  ['of a version by its id', false, { versionId: VERSION.id }],
  ['of the newest version, of this sequence number', false, { seq: 5 }],
  ['of the version null, of this sequence number', false, { versionId: 'null', seq: 5 }],
]
const ONCE = ['abortUpload', 'createBucket', 'deleteBucket']
const REPEATS: readonly (readonly [string, boolean, Call[1]])[] = [
  ...METHODS.filter(([name]) => name !== 'deleteObject').map(
    ([name, call]) => [name, ONCE.includes(name), call] as const,
  ),
  ...DELETES.map(
    ([title, isOnce, only]) =>
      [
        `deleteObject ${title}`,
        isOnce,
        (api: NamespaceApi) => api.deleteObject({ ...KEY, ...only }, SIGNAL),
      ] as const,
  ),
]

describe('several masters', () => {
  test.each(METHODS)('%s finds the one that leads, and does it once', async (name, call) => {
    await using fixture = await open(3)
    fixture.lead(2)
    await call(fixture.remote)
    expect(fixture.served[2]?.namespace.calls).toEqual([name])
  })

  test.each(REPEATS)(
    '%s whose answer is lost is sent again unless it is done once only (%s)',
    async (title, isOnce, call) => {
      const [name] = title.split(' ')
      await using fixture = await open(2)
      const [first, second] = fixture.served
      fixture.namespace.beforeCall = async () => first?.server.destroy()
      if (isOnce) await expectCode(call(fixture.remote), 'UNAVAILABLE')
      else await call(fixture.remote)
      expect(first?.namespace.calls).toEqual([name])
      expect(second?.namespace.calls).toEqual(isOnce ? [] : [name])
    },
  )

  test.each([
    ['putObject', OBJECT_CALLS[0]?.[1]],
    ['putPart', UPLOAD_CALLS[2]?.[1]],
    ['changeObject', change({ moved: { parts, storageClass } })],
  ] as const)('%s is not sent again after 8 s, when its files may be gone', async (name, call) => {
    await using fixture = await open()
    fixture.clock.namingMs = 50
    fixture.namespace.beforeCall = () => new Promise(() => undefined)
    await expectCode(call?.(fixture.remote) ?? Promise.resolve(), 'TIMEOUT')
    expect(fixture.namespace.calls).toEqual([name])
  })

  test('a change of tags may take longer', async () => {
    await using fixture = await open()
    fixture.clock.namingMs = 20
    fixture.namespace.beforeCall = () => systemClock.sleep(60, SIGNAL)
    await change({ tags: [] })(fixture.remote)
    await expectCode(change({ moved: { parts, storageClass } })(fixture.remote), 'TIMEOUT')
  })

  test('a put is given up when its caller gives up', async () => {
    await using fixture = await open()
    const controller = new AbortController()
    fixture.namespace.beforeCall = () => new Promise(() => controller.abort())
    const put = fixture.remote.putObject({ ...KEY, version: NEW_VERSION }, controller.signal)
    await expectCode(put, 'CANCELLED')
    const late = fixture.remote.putObject({ ...KEY, version: NEW_VERSION }, controller.signal)
    await expectCode(late, 'CANCELLED')
    expect(fixture.namespace.calls).toEqual(['putObject'])
  })

  test('no address at all is CONFIG_INVALID, closed is CLOSED', async () => {
    await expectCode(connect([], systemClock), 'CONFIG_INVALID')
    await using fixture = await open()
    await fixture.remote[Symbol.asyncDispose]()
    await expectCode(fixture.remote.findBucket('photos', SIGNAL), 'CLOSED')
  })
})

describe('buckets that are known', () => {
  const find = (api: NamespaceApi, name = 'photos') => api.findBucket(name, SIGNAL)
  const usage = (api: NamespaceApi) => api.bucketUsage(REF, SIGNAL)

  test('are asked for once in 2 s', async () => {
    await using fixture = await open()
    const { clock, namespace, remote } = fixture
    expect(await find(remote)).toEqual(BUCKET)
    clock.passedMs = 1999
    expect(await find(remote)).toEqual(BUCKET)
    expect(namespace.calls).toEqual(['findBucket'])
    namespace.found = { ...BUCKET, documents: {} }
    clock.passedMs = 2000
    expect(await find(remote)).toEqual(namespace.found)
    expect(namespace.calls).toEqual(['findBucket', 'findBucket'])
    clock.passedMs = 4000
    namespace.found = undefined
    expect(await find(remote)).toBeUndefined()
  })

  test('are as old as the question, however long the answer took', async () => {
    await using fixture = await open()
    const { clock, namespace, remote } = fixture
    namespace.beforeCall = async () => {
      clock.passedMs += 2000
    }
    await find(remote)
    await find(remote)
    expect(namespace.calls).toEqual(['findBucket', 'findBucket'])
  })

  test('are asked for once by 100 at the same time, and one of them may give up', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    const controller = new AbortController()
    namespace.beforeCall = async () => {
      controller.abort()
      await settle(20)
    }
    const gone = remote.findBucket('photos', controller.signal)
    const all = Array.from({ length: 100 }, () => find(remote))
    await expectCode(gone, 'CANCELLED')
    expect(await Promise.all(all)).toEqual(all.map(() => BUCKET))
    expect(namespace.calls).toEqual(['findBucket'])
  })

  test('that are not there, or whose name no bucket can have, are not kept', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    namespace.found = undefined
    expect(await find(remote)).toBeUndefined()
    namespace.found = BUCKET
    expect(await find(remote)).toEqual(BUCKET)
    expect(await find(remote, 'No Bucket')).toBeUndefined()
    expect(namespace.calls).toEqual(['findBucket', 'findBucket'])
  })

  test('are not answered from before when no master answers', async () => {
    await using fixture = await open()
    const { clock, namespace, remote } = fixture
    await find(remote)
    namespace.beforeCall = async () => {
      throw new StoreError('METADATA_CORRUPT', 'no')
    }
    clock.passedMs = 2000
    await expectCode(find(remote), 'METADATA_CORRUPT')
  })

  test.each(BUCKET_CALLS.filter(([name]) => /^(?:create|change|delete)/.test(name)))(
    'are asked for anew after %s, even if that failed',
    async (name, call) => {
      await using fixture = await open()
      const { namespace, remote } = fixture
      await find(remote)
      await call(remote)
      await find(remote)
      expect(namespace.calls).toEqual(['findBucket', name, 'findBucket'])
      namespace.beforeCall = async (called) => {
        if (called === name) throw new StoreError('DISK_FULL', 'no')
      }
      await expectCode(call(remote), 'DISK_FULL')
      namespace.calls.length = 0
      await find(remote)
      expect(namespace.calls).toEqual(['findBucket'])
    },
  )

  test('that were read during a change are not kept after it', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    let answer = () => {}
    namespace.beforeCall = (name) =>
      name === 'findBucket' ? new Promise((resolve) => (answer = resolve)) : Promise.resolve()
    const before = find(remote)
    while (namespace.calls.length === 0) await settle(1)
    namespace.found = { ...BUCKET, documents: {} }
    await remote.changeBucket(REF, { documents: { policy: '' } }, SIGNAL)
    answer()
    expect(await before).toEqual(BUCKET)
    namespace.beforeCall = async () => undefined
    expect(await find(remote)).toEqual(namespace.found)
  })

  test('are asked for anew when any call finds that the bucket is gone', async () => {
    await using fixture = await open()
    const { namespace, remote } = fixture
    const calls = new Map([...OBJECT_CALLS, ...UPLOAD_CALLS, ['bucketUsage', usage]] as const)
    for (const [name, call] of calls) {
      await find(remote)
      namespace.beforeCall = async (called) => {
        if (called === name) throw new StoreError('BUCKET_NOT_FOUND', 'no')
      }
      await expectCode(call(remote), 'BUCKET_NOT_FOUND')
      namespace.found = { ...BUCKET, createdAtMs: namespace.calls.length }
      expect(await find(remote), name).toEqual(namespace.found)
    }
  })
})

describe('a namespace of its own behind it', () => {
  async function openReal() {
    const store = new MemoryStore()
    const parts = { store, clock: systemClock, random: cryptoRandom }
    const namespace = new Namespace(parts, { deleteDelayMs: 10_000 })
    const server = await serve(namespace, new FakeMaster())
    const remote = await connect([server], systemClock)
    return {
      namespace,
      remote,
      async [Symbol.asyncDispose]() {
        await remote[Symbol.asyncDispose]()
        await server.close(0)
      },
    }
  }
  const { name, ownerId } = BUCKET
  const made = { name, ownerId, isLockEnabled: false, documents: {} }
  const version = { ...NEW_VERSION, retention: undefined, isLegalHold: false }

  test('keeps objects, versions and uploads as it does in this process', async () => {
    await using real = await openReal()
    const { namespace, remote } = real
    const bucket = await remote.createBucket(made, SIGNAL)
    expect(await namespace.findBucket(name, SIGNAL)).toEqual(bucket)
    await expectCode(remote.createBucket(made, SIGNAL), 'BUCKET_EXISTS')
    await remote.changeBucket(bucket, { versioning: 'enabled' }, SIGNAL)
    const put = await remote.putObject({ bucket, key: 'a/b', version }, SIGNAL)
    expect(put).toMatchObject({ id: version.id, isNull: false })
    expect(await remote.putObject({ bucket, key: 'a/b', version }, SIGNAL)).toEqual(put)
    expect(await remote.deleteObject({ bucket, key: 'a/b' }, SIGNAL)).toMatchObject({
      isMarker: true,
    })
    const all = { bucket, prefix: '', delimiter: '', after: '', afterVersionId: undefined }
    const page = await remote.listVersions({ ...all, limit: 10 }, SIGNAL)
    expect(page).toEqual(await namespace.listVersions({ ...all, limit: 10 }, SIGNAL))
    expect(page.versions.map(({ version: { isMarker } }) => isMarker)).toEqual([true, false])
    const first = await remote.listVersions({ ...all, limit: 1 }, SIGNAL)
    const rest = { ...all, limit: 1, ...first.next }
    expect((await remote.listVersions(rest, SIGNAL)).versions[0]?.version).toEqual(put)
    expect(await remote.bucketUsage(bucket, SIGNAL)).toMatchObject({ objects: 2 })
    await expectCode(remote.deleteBucket(bucket, SIGNAL), 'BUCKET_NOT_EMPTY')
  })

  test('completes an upload once, however often it is told to', async () => {
    await using real = await openReal()
    const { remote } = real
    const bucket = await remote.createBucket(made, SIGNAL)
    const upload = { bucket, key: UPLOAD.key, uploadId: UPLOAD.uploadId }
    await remote.createUpload({ bucket, upload: NEW_UPLOAD }, SIGNAL)
    expect(await remote.createUpload({ bucket, upload: NEW_UPLOAD }, SIGNAL)).toMatchObject({
      uploadId: UPLOAD.uploadId,
    })
    for (const partNumber of [1, 2]) {
      const part = { ...NEW_PART, partNumber, fileId: `3,0${partNumber}637037d6` }
      await remote.putPart({ ...upload, part }, SIGNAL)
    }
    const listed = await remote.listParts({ ...upload, after: 0, limit: 10 }, SIGNAL)
    expect(listed.map(({ partNumber }) => partNumber)).toEqual([1, 2])
    const etag = `${'0'.repeat(32)}-2`
    const request = { ...upload, parts: listed, etag, checksum: undefined }
    const completed = await remote.completeUpload(request, SIGNAL)
    expect(await remote.completeUpload(request, SIGNAL)).toEqual(completed)
    expect(await remote.findUpload(upload, SIGNAL)).toBeUndefined()
    await expectCode(remote.abortUpload(upload, SIGNAL), 'UPLOAD_NOT_FOUND')
    await remote.deleteObject({ bucket, key: UPLOAD.key }, SIGNAL)
    await remote.deleteBucket(bucket, SIGNAL)
    expect(await remote.findBucket(name, SIGNAL)).toBeUndefined()
    await expectCode(remote.putObject({ bucket, key: 'a', version }, SIGNAL), 'BUCKET_NOT_FOUND')
  })
})
