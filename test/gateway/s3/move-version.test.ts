import { beforeEach, describe, expect, test } from 'vitest'
import { type ErrorCode, StoreError } from '../../../src/base/store-error.ts'
import { checksumOf } from '../../../src/gateway/s3/body/checksum.ts'
import type { Bucket } from '../../../src/namespace/bucket-record.ts'
import type { ObjectVersion } from '../../../src/namespace/object-version.ts'
import { DAY, LifecycleScene, moving, NEVER, type PutFields, rule } from './lifecycle-scene.ts'

let scene: LifecycleScene
let bucket: Bucket

beforeEach(async () => {
  scene = new LifecycleScene()
  bucket = await scene.bucket('photos', [moving(1, 'STANDARD_IA'), moving(5, 'GLACIER_IR')])
})

function sumOf(text: string): string {
  return checksumOf('CRC32', Buffer.from(text)).toString('base64')
}

/** An object of parts, each a file. */
async function putParts(
  texts: readonly string[],
  type: 'COMPOSITE' | 'FULL_OBJECT',
): Promise<ObjectVersion> {
  const parts = []
  for (const text of texts) {
    const { fileId, sizeBytes } = await scene.files.put(text)
    parts.push({ fileId, sizeBytes, checksum: sumOf(text) })
  }
  const whole = sumOf(texts.join(''))
  const value = type === 'FULL_OBJECT' ? whole : `${whole}-${texts.length}`
  return await scene.put(bucket, 'a', {
    parts,
    sizeBytes: texts.join('').length,
    etag: `${'0'.repeat(32)}-${texts.length}`,
    checksum: { algorithm: 'CRC32', type, value },
  })
}

async function current(): Promise<ObjectVersion> {
  const found = await scene.find(bucket, 'a')
  if (found === undefined) throw new Error('the object is gone')
  return found
}

describe('a transition', () => {
  test('copies the bytes into the coded policy; all else stays as it was', async () => {
    const fields = { tags: [{ key: 'k', value: 'v' }], metadata: { m: '1' }, contentType: 'a/b' }
    const old = await scene.put(bucket, 'a', { data: 'some bytes, and more', ...fields })
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ transitioned: 1, failed: 0 })
    const moved = await current()
    expect(moved).toEqual({ ...old, storageClass: 'STANDARD_IA', parts: moved.parts })
    expect(moved.parts[0]?.fileId).not.toBe(old.parts[0]?.fileId)
    expect(await scene.read(moved)).toBe('some bytes, and more')
    const options = scene.files.options.get(moved.parts[0]?.fileId ?? '')
    expect(options).toMatchObject({ policy: 'ec:4+2', collection: 's3-coded' })
    expect(options?.pairs).toMatchObject({ 'S3-Bucket': 'photos', 'S3-Key': 'a' })
    expect(await scene.pass()).toMatchObject({ transitioned: 0, overtaken: 0, failed: 0 })
  })

  test.each(['COMPOSITE', 'FULL_OBJECT'] as const)(
    'keeps the parts of a %s checksum',
    async (type) => {
      const old = await putParts(['first part', '', 'second'], type)
      await scene.clock.advance(DAY)
      expect(await scene.pass()).toMatchObject({ transitioned: 1, failed: 0 })
      const moved = await current()
      const kept = ({ parts }: ObjectVersion) =>
        parts.map(({ checksum, sizeBytes }) => ({ checksum, sizeBytes }))
      expect(kept(moved)).toEqual(kept(old))
      expect(moved.checksum).toEqual(old.checksum)
      expect(await scene.read(moved)).toBe('first partsecond')
    },
  )

  test('to a colder coded class leaves the bytes where they are', async () => {
    await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    await scene.pass()
    const { parts } = await current()
    await scene.clock.advance(4 * DAY)
    expect(await scene.pass()).toMatchObject({ transitioned: 1, failed: 0 })
    expect(await current()).toMatchObject({ storageClass: 'GLACIER_IR', parts })
    await scene.clock.advance(9 * DAY)
    expect(await scene.pass()).toMatchObject({ transitioned: 0 })
  })

  test('of a document leaves the bytes where its strategy put them', async () => {
    const document = { strategy: 'replication' } as const
    const old = await scene.put(bucket, 'a', { document })
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ transitioned: 1, failed: 0 })
    expect(await current()).toEqual({ ...old, storageClass: 'STANDARD_IA' })
  })

  test('between two classes of copies leaves the bytes, and needs no servers', async () => {
    bucket = await scene.bucket('tiered', [moving(1, 'INTELLIGENT_TIERING')])
    const old = await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    scene.policy = undefined
    expect(await scene.pass()).toMatchObject({ transitioned: 1, waiting: 0, failed: 0 })
    expect(await current()).toEqual({ ...old, storageClass: 'INTELLIGENT_TIERING' })
    expect(await scene.pass()).toMatchObject({ transitioned: 0 })
  })

  test.each(['REDUCED_REDUNDANCY', 'INTELLIGENT_TIERING'] as const)(
    'from %s to a coded class copies the bytes',
    async (storageClass) => {
      const old = await scene.put(bucket, 'a', { storageClass })
      await scene.clock.advance(DAY)
      expect(await scene.pass()).toMatchObject({ transitioned: 1, failed: 0 })
      const moved = await current()
      expect(moved.storageClass).toBe('STANDARD_IA')
      expect(moved.parts[0]?.fileId).not.toBe(old.parts[0]?.fileId)
      expect(await scene.read(moved)).toBe('data of a')
    },
  )

  test('of an object without bytes copies nothing', async () => {
    const { parts } = await scene.put(bucket, 'a', { data: '' })
    await scene.clock.advance(DAY)
    expect(await scene.pass()).toMatchObject({ transitioned: 1, failed: 0 })
    expect(await current()).toMatchObject({ storageClass: 'STANDARD_IA', parts })
  })

  test('waits for servers enough, and comes when they are there', async () => {
    const old = await scene.put(bucket, 'a')
    await scene.clock.advance(DAY)
    scene.policy = undefined
    expect(await scene.pass()).toMatchObject({ transitioned: 0, waiting: 1, failed: 0 })
    expect(await current()).toEqual(old)
    scene.policy = 'ec:4+2'
    expect(await scene.pass()).toMatchObject({ transitioned: 1, waiting: 0 })
  })

  test('of a noncurrent version moves that, and not the current one', async () => {
    const transition = {
      noncurrentDays: 1,
      newerVersionsKept: undefined,
      storageClass: 'GLACIER_IR',
    }
    const rules = [rule({ noncurrentTransitions: [transition] })]
    bucket = await scene.bucket('versioned', rules, { versioning: 'enabled' })
    const old = await scene.put(bucket, 'a', { data: 'old' })
    await scene.put(bucket, 'a', { data: 'new' })
    await scene.namespace.deleteObject({ bucket, key: 'b' }, NEVER)
    await scene.namespace.deleteObject({ bucket, key: 'b' }, NEVER)
    await scene.clock.advance(DAY)
    // The marker of `b` that another one replaced has nothing to be moved.
    expect(await scene.pass()).toMatchObject({ transitioned: 1, overtaken: 0, failed: 0 })
    expect(await scene.find(bucket, 'a', old.id)).toMatchObject({ storageClass: 'GLACIER_IR' })
    expect(await scene.read(await scene.find(bucket, 'a', old.id))).toBe('old')
    expect(await current()).toMatchObject({ storageClass: 'STANDARD' })
  })
})

describe('bytes that are not what was stored', () => {
  const value = checksumOf('CRC64NVME', Buffer.from('good bytes')).toString('base64')
  test.each<[string, PutFields]>([
    ['by a checksum of all', { checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value } }],
    ['by the ETag', { checksum: undefined }],
  ])('are found out %s, and not moved', async (_, fields) => {
    const old = await scene.put(bucket, 'a', { data: 'good bytes', ...fields })
    const fileId = old.parts[0]?.fileId ?? ''
    scene.files.files.set(fileId, Buffer.from('good bites'))
    await expectNotMoved(old)
    scene.files.files.set(fileId, Buffer.from('good byte'))
    await expectNotMoved(old)
  })

  test.each(['COMPOSITE', 'FULL_OBJECT'] as const)(
    'in the last part of a %s checksum leave nothing of the copies',
    async (type) => {
      const old = await putParts(['first part', 'second'], type)
      scene.files.files.set(old.parts[1]?.fileId ?? '', Buffer.from('sec0nd'))
      await expectNotMoved(old)
    },
  )

  test('in the copy are found out before the switch', async () => {
    const old = await scene.put(bucket, 'a', { data: 'good bytes' })
    scene.files.onPut = (fileId) => {
      scene.files.files.set(fileId, Buffer.from('good bites'))
    }
    await expectNotMoved(old)
  })

  async function expectNotMoved(old: ObjectVersion): Promise<void> {
    await scene.clock.advance(DAY)
    const fileIds = [...scene.files.files.keys()]
    expect(await scene.pass()).toMatchObject({ transitioned: 0, failed: 1 })
    expect(scene.events.at(-1)).toMatchObject({ fields: { error: { code: 'NEEDLE_CORRUPT' } } })
    expect(await current()).toEqual(old)
    expect([...scene.files.files.keys()]).toEqual(fileIds)
  }
})

describe('what happens between the copy and the switch', () => {
  let old: ObjectVersion

  beforeEach(async () => {
    old = await scene.put(bucket, 'a', { data: 'old bytes' })
    await scene.clock.advance(DAY)
  })

  test.each<ErrorCode>(['TIMEOUT', 'UNAVAILABLE', 'PEER_FAILED', 'CLOSED', 'DISK_FULL'])(
    'a process that ends, or a switch that fails with %s, leaves old bytes and orphans',
    async (code) => {
      scene.hooks.changeObject = async () => {
        throw new StoreError(code, 'test')
      }
      expect(await scene.pass()).toMatchObject({ transitioned: 0, failed: 1 })
      expect(await current()).toEqual(old)
      // The switch may have happened: the copy must not be touched.
      expect(scene.files.files.size).toBe(2)
      scene.hooks.changeObject = undefined
      expect(await scene.pass()).toMatchObject({ transitioned: 1 })
      expect(await scene.read(await current())).toBe('old bytes')
    },
  )

  test('an object put anew stays, and the copy goes', async () => {
    scene.hooks.changeObject = async () => {
      await scene.put(bucket, 'a', { data: 'new bytes' })
    }
    expect(await scene.pass()).toMatchObject({ transitioned: 0, overtaken: 1, failed: 0 })
    expect(await scene.read(await current())).toBe('new bytes')
    expect(scene.files.files.size).toBe(2)
  })

  test('an object that is deleted stays so, and the copy goes', async () => {
    scene.hooks.changeObject = async () => {
      await scene.namespace.deleteObject({ bucket, key: 'a' }, NEVER)
    }
    expect(await scene.pass()).toMatchObject({ transitioned: 0, overtaken: 1 })
    expect(await scene.find(bucket, 'a')).toBeUndefined()
    expect(scene.files.files.size).toBe(1)
  })

  test('tags that are changed stay changed', async () => {
    const tags = [{ key: 'k', value: 'new' }]
    scene.hooks.changeObject = async () => {
      await scene.namespace.changeObject({ bucket, key: 'a', change: { tags } }, NEVER)
    }
    expect(await scene.pass()).toMatchObject({ transitioned: 1 })
    expect(await current()).toMatchObject({ tags, storageClass: 'STANDARD_IA' })
  })

  test('of two that copied it one succeeds, and the copy of the other goes', async () => {
    scene.hooks.changeObject = async () => {
      scene.hooks.changeObject = undefined
      expect(await scene.pass()).toMatchObject({ transitioned: 1 })
    }
    expect(await scene.pass()).toMatchObject({ transitioned: 0, overtaken: 1, failed: 0 })
    expect(await scene.read(await current())).toBe('old bytes')
    expect([...scene.files.files.keys()]).toHaveLength(2)
  })

  test('a switch that is repeated finds that it happened', async () => {
    await scene.pass()
    const moved = await current()
    const from = old.parts.map(({ fileId }) => fileId)
    const change = { moved: { parts: moved.parts, storageClass: 'STANDARD_IA' as const, from } }
    const request = { bucket, key: 'a', id: old.id, change }
    expect(await scene.namespace.changeObject(request, NEVER)).toEqual(moved)
    const other = { moved: { ...change.moved, storageClass: 'GLACIER_IR' as const } }
    await expect(
      scene.namespace.changeObject({ ...request, change: other }, NEVER),
    ).rejects.toMatchObject({ code: 'PRECONDITION_FAILED' })
  })

  test('a version that was moved since it was listed is not copied again', async () => {
    scene.hooks.findObject = async () => {
      scene.hooks.findObject = undefined
      expect(await scene.pass()).toMatchObject({ transitioned: 1 })
    }
    expect(await scene.pass()).toMatchObject({ transitioned: 0, overtaken: 1 })
    expect(scene.files.files.size).toBe(2)
  })

  test.each([
    [20, 1, 2],
    [20.001, 0, 1],
  ])(
    'a copy that took %d hours is named %d times: it may be collected',
    async (hours, moved, files) => {
      scene.files.onPut = async () => {
        await scene.clock.advance(hours * 3_600_000)
      }
      expect(await scene.pass()).toMatchObject({ transitioned: moved, failed: 1 - moved })
      expect(await scene.read(await current())).toBe('old bytes')
      expect(scene.files.files.size).toBe(files)
    },
  )

  test('a cluster without room keeps it as it is', async () => {
    scene.files.onPut = () => {
      throw new StoreError('PLACEMENT_IMPOSSIBLE', 'test')
    }
    expect(await scene.pass()).toMatchObject({ transitioned: 0, waiting: 1, failed: 0 })
    expect(await current()).toEqual(old)
  })
})

describe('a version of a coded class that lies in copies', () => {
  const storageClass = 'STANDARD_IA' as const

  test('is given shards by the first pass, also without rules', async () => {
    bucket = await scene.bucket('plain', [])
    const old = await scene.put(bucket, 'a', { data: 'kept as copies', storageClass })
    expect(await scene.pass()).toMatchObject({ recoded: 1, versions: 0, failed: 0 })
    const moved = await current()
    expect(moved).toEqual({ ...old, parts: moved.parts })
    expect(moved.parts[0]?.fileId).not.toBe(old.parts[0]?.fileId)
    expect(await scene.read(moved)).toBe('kept as copies')
    const options = scene.files.options.get(moved.parts[0]?.fileId ?? '')
    expect(options).toMatchObject({ policy: 'ec:4+2', collection: 's3-coded' })
    const { fileIds } = await scene.namespace.listDropped({ after: '', limit: 10 }, NEVER)
    expect(fileIds).toEqual(old.parts.map(({ fileId }) => fileId))
    expect(await scene.pass()).toMatchObject({ recoded: 0, failed: 0 })
  })

  test('and in several parts keeps them', async () => {
    const parts = []
    for (const text of ['first part', '', 'second']) {
      parts.push({ ...(await scene.files.put(text)), checksum: sumOf(text) })
    }
    bucket = await scene.bucket('plain', [])
    await scene.put(bucket, 'a', {
      parts,
      storageClass,
      sizeBytes: 16,
      etag: `${'0'.repeat(32)}-3`,
      checksum: { algorithm: 'CRC32', type: 'COMPOSITE', value: `${sumOf('x')}-3` },
    })
    expect(await scene.pass()).toMatchObject({ recoded: 1, failed: 0 })
    const moved = await current()
    expect(moved.parts.map(({ sizeBytes }) => sizeBytes)).toEqual([10, 0, 6])
    expect(await scene.read(moved)).toBe('first partsecond')
  })

  test('and is not the newest is given shards too', async () => {
    bucket = await scene.bucket('versioned', [], { versioning: 'enabled' })
    const old = await scene.put(bucket, 'a', { data: 'old', storageClass })
    await scene.put(bucket, 'a', { data: 'new' })
    await scene.namespace.deleteObject({ bucket, key: 'a' }, NEVER)
    expect(await scene.pass()).toMatchObject({ recoded: 1, failed: 0 })
    const moved = await scene.find(bucket, 'a', old.id)
    expect(moved?.parts).not.toEqual(old.parts)
    expect(await scene.read(moved)).toBe('old')
  })

  test('waits while there are too few servers', async () => {
    bucket = await scene.bucket('plain', [])
    const old = await scene.put(bucket, 'a', { storageClass })
    scene.policy = undefined
    expect(await scene.pass()).toMatchObject({ recoded: 0, waiting: 0, failed: 0 })
    expect(await current()).toEqual(old)
  })

  test('is looked for once in 24 passes of a runner', async () => {
    bucket = await scene.bucket('plain', [])
    const runner = scene.newRunner()
    const recoded: number[] = []
    for (let count = 0; count < 50; count++) {
      await scene.put(bucket, `${count}`, { storageClass })
      recoded.push((await scene.pass(runner)).recoded)
    }
    expect(recoded).toEqual(Array.from({ length: 50 }, (_, at) => [1, 24, 24][at / 24] ?? 0))
  })

  test.each([
    ['of a class of copies', { storageClass: 'REDUCED_REDUNDANCY' }],
    ['without bytes', { storageClass, data: '' }],
  ] as const)('%s is left alone', async (_, fields) => {
    bucket = await scene.bucket('plain', [])
    const old = await scene.put(bucket, 'a', fields)
    expect(await scene.pass()).toMatchObject({ recoded: 0, failed: 0 })
    expect(await current()).toEqual(old)
  })

  test('and was given shards by another gateway meanwhile is overtaken', async () => {
    bucket = await scene.bucket('plain', [])
    await scene.put(bucket, 'a', { storageClass })
    let isFirst = true
    scene.hooks.findObject = async () => {
      if (!isFirst) return
      isFirst = false
      expect(await scene.pass()).toMatchObject({ recoded: 1 })
    }
    expect(await scene.pass()).toMatchObject({ recoded: 0, overtaken: 1, failed: 0 })
    expect(await scene.read(await current())).toBe('data of a')
  })

  test('whose bytes are damaged stays, and is a failure', async () => {
    bucket = await scene.bucket('plain', [])
    const old = await scene.put(bucket, 'a', { storageClass })
    scene.files.files.set(old.parts[0]?.fileId ?? '', Buffer.from('data of b'))
    expect(await scene.pass()).toMatchObject({ recoded: 0, failed: 1 })
    expect(await current()).toEqual(old)
    expect(scene.files.files.size).toBe(1)
  })
})
