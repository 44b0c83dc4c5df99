import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type FileId, parseFileId } from '../../src/base/file-id.ts'
import { formatNeedleId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { type ClusterNeedles, openNeedleAccess } from '../../src/cli/needle-access.ts'
import { filesOf, ObjectVolumes } from '../../src/gateway/named-needles.ts'
import { checkNamespace } from '../../src/gateway/namespace-check.ts'
import {
  collectOrphans,
  ORPHANS_OVERTAKEN,
  type OrphanOptions,
  type OrphanParts,
} from '../../src/gateway/orphan-collector.ts'
import { OrphanLedger } from '../../src/gateway/orphan-ledger.ts'
import { putOptions } from '../../src/gateway/stored-bytes.ts'
import { isNamed } from '../../src/gateway/unnamed-needles.ts'
import type { NamespaceApi } from '../../src/namespace/namespace-api.ts'
import { ownerPairs } from '../../src/namespace/needle-pairs.ts'
import { NO_ATTRIBUTES } from '../../src/namespace/object-version.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { makeCliContext, runCli } from '../support/cli-run.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { TestS3 } from '../support/test-s3.ts'

const MIB = 1024 * 1024
const SIGNAL = new AbortController().signal
const REAL_TIME = { isRealTime: true }
/** Everything may be collected at once. */
const AT_ONCE = { minAgeMs: 0, minAgeFloorMs: 0, passGapMs: 0 }
const USUAL: OrphanOptions = { ...AT_ONCE, seen: {}, isDryRun: false, isForced: false }

let s3: TestS3
let access: ClusterNeedles
let reach: string[]
/** Keys of every object of the bucket `kept`, with what is in it. */
const kept = new Map<string, Buffer>()

beforeAll(async () => {
  s3 = await TestS3.open()
  const { masterGrpcAddress, masterUrl, secretFile } = s3.server
  const grpc = masterGrpcAddress.slice(masterGrpcAddress.lastIndexOf(':') + 1)
  const master = `${masterUrl.slice('http://'.length)}.${grpc}`
  reach = ['--master', master, '--secret-file', secretFile]
  const context = makeCliContext(undefined as never, REAL_TIME)
  const { NodeDisk } = await import('../../src/runtime/node-disk.ts')
  access = await openNeedleAccess({ ...context, disk: new NodeDisk() }, { master, secretFile })
  await fill()
}, 60_000)

afterAll(async () => {
  await access?.[Symbol.asyncDispose]()
  await s3?.[Symbol.asyncDispose]()
})

async function fill(): Promise<void> {
  const { sdk } = s3.root
  const Bucket = 'kept'
  await sdk.send(new CreateBucketCommand({ Bucket }))
  for (let n = 0; n < 30; n++) kept.set(`small-${n}`, Buffer.from(`object ${n}`))
  kept.set('chunked', Buffer.alloc(20 * MIB, 'c'))
  kept.set('empty', Buffer.alloc(0))
  for (const [Key, Body] of kept) await sdk.send(new PutObjectCommand({ Bucket, Key, Body }))
  const upload = { Bucket, Key: 'parts' }
  const { UploadId } = await sdk.send(new CreateMultipartUploadCommand(upload))
  const pieces = [Buffer.alloc(9 * MIB, 'p'), Buffer.from('end')]
  const Parts = []
  for (const [index, Body] of pieces.entries()) {
    const part = { ...upload, UploadId, PartNumber: index + 1, Body }
    Parts.push({ PartNumber: index + 1, ETag: (await sdk.send(new UploadPartCommand(part))).ETag })
  }
  const MultipartUpload = { Parts }
  await sdk.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload }))
  kept.set('parts', Buffer.concat(pieces))
}

/** Every object is there, byte for byte. */
async function expectKept(): Promise<void> {
  for (const [Key, data] of kept) {
    const { Body } = await s3.root.sdk.send(new GetObjectCommand({ Bucket: 'kept', Key }))
    const got = Buffer.from((await Body?.transformToByteArray()) ?? [])
    expect(got.equals(data), Key).toBe(true)
  }
}

/** What a gateway leaves behind that dies between the last byte and the row. */
async function leaveOrphan(key: string, data: Buffer | string, bucket = 'kept') {
  const version = newVersionId(cryptoRandom, systemClock.nowMs())
  const options = putOptions({ bucket, key, version }, 'STANDARD', undefined, SIGNAL)
  const { fileId } = await s3.server.client.put(data, options)
  // Rows that are older than an orphan would be taken for those of a backup.
  await s3.root.sdk.send(new PutObjectCommand({ Bucket: 'kept', Key: 'newest', Body: 'x' }))
  return { fileId, version, sizeBytes: Buffer.byteLength(data) }
}

async function exists(fileId: string): Promise<boolean> {
  return await s3.server.client.stat(fileId).then(
    () => true,
    () => false,
  )
}

async function isLeft(fileIds: readonly string[]): Promise<readonly boolean[]> {
  return await Promise.all(fileIds.map(exists))
}

/** The same namespace, but something happens after the first call of a method has answered. */
function withHook(
  name: 'listVersions' | 'listUploads' | 'findObject',
  after: () => Promise<void>,
): NamespaceApi {
  let isDone = false
  const { namespace } = access
  return new Proxy<NamespaceApi>(namespace, {
    get: (target, property) => {
      const method: unknown = Reflect.get(target, property)
      if (typeof method !== 'function') return method
      return async (...args: unknown[]) => {
        const answer: unknown = await method.apply(target, args)
        if (property === name && !isDone) {
          isDone = true
          await after()
        }
        return answer
      }
    },
  })
}

async function nameIt(key: string, orphan: Awaited<ReturnType<typeof leaveOrphan>>) {
  const bucket = await s3.server.namespace.findBucket('kept', SIGNAL)
  if (bucket === undefined) throw new Error('no bucket')
  const { fileId, sizeBytes, version: id } = orphan
  const version = {
    ...NO_ATTRIBUTES,
    id,
    sizeBytes,
    etag: '0'.repeat(32),
    storageClass: 'STANDARD' as const,
    checksum: undefined,
    ownerId: undefined,
    parts: [{ fileId, sizeBytes }],
  }
  await s3.server.namespace.putObject({ bucket, key, version }, SIGNAL)
}

/** Nothing is left of other tests. */
beforeEach(async () => {
  const first = await collectOrphans(access, { ...USUAL, isForced: true }, SIGNAL)
  if (first.orphans === 0) return
  await collectOrphans(access, { ...USUAL, isForced: true, seen: first.seen }, SIGNAL)
})

describe('an orphan', () => {
  test('is deleted by the second pass, with all of its chunks; objects stay', async () => {
    const small = await leaveOrphan('lost', 'an orphan')
    const large = await leaveOrphan('lost-too', Buffer.alloc(17 * MIB, 'x'))
    const first = await collectOrphans(access, USUAL, SIGNAL)
    expect(first).toMatchObject({ orphans: 5, deleted: 0, refusal: undefined })
    expect(await isLeft([small.fileId, large.fileId])).toEqual([true, true])
    const second = await collectOrphans(access, { ...USUAL, seen: first.seen }, SIGNAL)
    expect(second).toMatchObject({ orphans: 5, deleted: 5, seen: {} })
    expect(await isLeft([small.fileId, large.fileId])).toEqual([false, false])
    await expectKept()
    const third = await collectOrphans(access, USUAL, SIGNAL)
    expect(third).toMatchObject({ orphans: 0, foreignNeedles: 0 })
  })

  test.each([
    [3_599_999, 0],
    [3_600_000, 1],
    [3_700_000, 1],
  ])('first seen %d ms ago: %d is deleted', async (agoMs, count) => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    const nowMs = systemClock.nowMs()
    const clock = { ...systemClock, nowMs: () => nowMs }
    const options = { ...USUAL, passGapMs: undefined, seen: { [fileId]: nowMs - agoMs } }
    const report = await collectOrphans({ ...access, clock }, options, SIGNAL)
    expect(report.deleted).toBe(count)
    expect(await exists(fileId)).toBe(count === 0)
    expect(report.seen).toEqual(count === 0 ? { [fileId]: nowMs - agoMs } : {})
  })

  test('stays while it is younger than the age', async () => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    const options = { ...USUAL, minAgeMs: 60_000, seen: { [fileId]: 1 } }
    const report = await collectOrphans(access, options, SIGNAL)
    expect(report).toMatchObject({ orphans: 0, deleted: 0 })
    expect(report.youngNeedles).toBeGreaterThan(0)
    expect(await exists(fileId)).toBe(true)
  })

  test('may not be collected below an hour', async () => {
    const options = { ...USUAL, minAgeFloorMs: undefined, minAgeMs: 3_599_999 }
    await expect(collectOrphans(access, options, SIGNAL)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
  })

  test('stays in a dry run, which counts it', async () => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    const options = { ...USUAL, isDryRun: true, seen: { [fileId]: 1 } }
    const report = await collectOrphans(access, options, SIGNAL)
    expect(report).toMatchObject({ deleted: 1, deletedBytes: 9, seen: { [fileId]: 1 } })
    expect(await exists(fileId)).toBe(true)
  })

  test('of no gateway stays, whatever its age', async () => {
    const { fileId } = await s3.server.client.put('foreign', { collection: 's3' })
    const report = await collectOrphans(access, { ...USUAL, seen: { [fileId]: 1 } }, SIGNAL)
    expect(report).toMatchObject({ orphans: 0, foreignNeedles: 1, deleted: 0 })
    expect(await exists(fileId)).toBe(true)
    await s3.server.client.delete(fileId)
  })

  test('of a bucket that is not there is one too', async () => {
    const { fileId } = await leaveOrphan('lost', 'an orphan', 'no-such-bucket')
    const report = await collectOrphans(access, { ...USUAL, seen: { [fileId]: 1 } }, SIGNAL)
    expect(report).toMatchObject({ orphans: 1, deleted: 1 })
  })
})

describe('a volume of another gateway', () => {
  test.each(['objects', 'objects-coded', 'documents', 'documents-coded', 'files'])(
    'is looked at as well: %s',
    async (collection) => {
      const version = newVersionId(cryptoRandom, systemClock.nowMs())
      const pairs = ownerPairs({ bucket: collection, key: 'lost', version })
      const { fileId } = await s3.server.client.put('an orphan', { collection, pairs })
      await s3.root.sdk.send(new PutObjectCommand({ Bucket: 'kept', Key: 'newest', Body: 'x' }))
      const options = { bucket: undefined, graceMs: 0, problemsMax: 10 }
      expect(await checkNamespace(access, options, SIGNAL)).toMatchObject({
        unnamedNeedles: 1,
        problems: [{ kind: 'unnamed', fileId }],
      })
      const report = await collectOrphans(access, { ...USUAL, seen: { [fileId]: 1 } }, SIGNAL)
      expect(report).toMatchObject({ orphans: 1, deleted: 1 })
      expect(await exists(fileId)).toBe(false)
    },
  )

  test('of nobody is not', async () => {
    const version = newVersionId(cryptoRandom, systemClock.nowMs())
    const pairs = ownerPairs({ bucket: 'kept', key: 'lost', version })
    const { fileId } = await s3.server.client.put('mine', { collection: 's3-mine', pairs })
    const report = await collectOrphans(access, { ...USUAL, seen: { [fileId]: 1 } }, SIGNAL)
    expect(report).toMatchObject({ orphans: 0, deleted: 0 })
    expect(await exists(fileId)).toBe(true)
  })
})

/**
 * A document whose cold fields, in chunks, were stored for a version that has no row any more, and
 * what a crash left behind of that version.
 */
async function writeDocument(key: string) {
  const { client, namespace } = s3.server
  const bucket = (await namespace.findBucket('kept', SIGNAL)) ?? expect.fail('no bucket')
  const putFile = (version: string, data: string) => {
    const pairs = ownerPairs({ bucket: bucket.name, key, version })
    const options = { collection: 'documents', pairs, chunkPairs: pairs, chunkBytes: 1024 }
    return client.put(data, options)
  }
  const first = newVersionId(cryptoRandom, systemClock.nowMs())
  const cold = await putFile(first, 'cold'.repeat(1000))
  const lost = await putFile(first, 'left behind')
  let sharesWith: string | undefined
  for (const id of [first, newVersionId(cryptoRandom, systemClock.nowMs())]) {
    const hot = await putFile(id, `hot of ${id}`)
    const version = {
      ...NO_ATTRIBUTES,
      id,
      sizeBytes: hot.sizeBytes + cold.sizeBytes,
      etag: '0'.repeat(32),
      storageClass: 'STANDARD' as const,
      checksum: undefined,
      ownerId: undefined,
      document: { strategy: 'field_hybrid' as const },
      parts: [hot, cold].map(({ fileId, sizeBytes }) => ({ fileId, sizeBytes })),
    }
    await namespace.putObject({ bucket, key, version, sharesWith }, SIGNAL)
    sharesWith = id
  }
  return { bucket, first, cold: cold.fileId, lost: lost.fileId }
}

describe('files that a document took over', () => {
  test('are named, with what is behind them; others of the old version are not', async () => {
    const { bucket, cold, first, lost } = await writeDocument('document')
    // Keys that come after it have versions of their own.
    await leaveOrphan('document-2', 'x')
    const volumes = await ObjectVolumes.open(access, SIGNAL)
    const version = await access.namespace.findObject({ bucket, key: 'document' }, SIGNAL)
    const files = filesOf(bucket, 'document', version ?? expect.fail('no document'))
    const found = await volumes.find(files, SIGNAL)
    const behind = found.flatMap((file) => file.behind)
    expect(behind).toHaveLength(4)
    const owner = { bucket: 'kept', key: 'document', version: first }
    const isFileNamed = (fileId: FileId, key = 'document') => {
      const needle = { dataBytes: 0, checksum: 0, generation: undefined, bornAtMs: 0 }
      const whose = { ...owner, key }
      return isNamed({ ...access, volumes }, { ...needle, fileId, owner: whose }, SIGNAL)
    }
    for (const fileId of [parseFileId(cold), ...behind]) {
      expect(await isFileNamed(fileId)).toBe(true)
      expect(await isFileNamed(fileId, 'doc')).toBe(false)
    }
    expect(await isFileNamed(parseFileId(lost))).toBe(false)
  })

  test('stay when a pass did not see the row', async () => {
    const { cold, lost } = await writeDocument('document')
    await s3.root.sdk.send(new PutObjectCommand({ Bucket: 'kept', Key: 'newest', Body: 'x' }))
    const isBlind = new Proxy<NamespaceApi>(access.namespace, {
      get: (target, property) => {
        const method: unknown = Reflect.get(target, property)
        if (typeof method !== 'function') return method
        if (property !== 'listVersions') return method.bind(target)
        return async (...args: Parameters<NamespaceApi['listVersions']>) => {
          const page = await target.listVersions(...args)
          if (args[0].prefix !== '') return page
          return { ...page, versions: page.versions.filter(({ key }) => key !== 'document') }
        }
      },
    })
    const first = await collectOrphans({ ...access, namespace: isBlind }, USUAL, SIGNAL)
    const seen = { ...first.seen, [cold]: 1 }
    await collectOrphans({ ...access, namespace: isBlind }, { ...USUAL, seen }, SIGNAL)
    expect(await isLeft([cold, lost])).toEqual([true, false])
    const { client } = s3.server
    expect((await client.get(cold)).data.toString()).toBe('cold'.repeat(1000))
  })
})

describe('what gets a name while a pass is under way', () => {
  test.each(['listUploads', 'listVersions', 'findObject'] as const)(
    'after %s stays',
    async (method) => {
      const key = `racing-${method}`
      const orphan = await leaveOrphan(key, 'in time')
      const namespace = withHook(method, () => nameIt(key, orphan))
      const seen = { [orphan.fileId]: 1 }
      const report = await collectOrphans({ ...access, namespace }, { ...USUAL, seen }, SIGNAL)
      expect(report.deleted).toBe(0)
      expect(await exists(orphan.fileId)).toBe(true)
      const got = new GetObjectCommand({ Bucket: 'kept', Key: key })
      const { Body } = await s3.root.sdk.send(got)
      expect(await Body?.transformToString()).toBe('in time')
    },
  )

  test('parts of an upload that goes on stay, also when it is completed', async () => {
    const { sdk } = s3.root
    const upload = { Bucket: 'kept', Key: 'going-on' }
    const { UploadId } = await sdk.send(new CreateMultipartUploadCommand(upload))
    const Body = Buffer.alloc(9 * MIB, 'q')
    const part = { ...upload, UploadId, PartNumber: 1, Body }
    const { ETag } = await sdk.send(new UploadPartCommand(part))
    const complete = async (): Promise<void> => {
      const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
      await sdk.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload }))
    }
    for (const namespace of [access.namespace, withHook('listUploads', complete)]) {
      const first = await collectOrphans({ ...access, namespace }, USUAL, SIGNAL)
      expect(first.orphans).toBe(0)
    }
    kept.set('going-on', Body)
    await expectKept()
  })
})

describe('the pass stops, and deletes nothing,', () => {
  test('when 11 of some 50 needles look like orphans; not when it is forced', async () => {
    const orphans = []
    for (let n = 0; n < 11; n++) orphans.push((await leaveOrphan(`lost-${n}`, 'x')).fileId)
    // They may lie on several volumes: then none of these has many.
    for (let n = 11; n < 100; n++) orphans.push((await leaveOrphan(`lost-${n}`, 'x')).fileId)
    const seen = Object.fromEntries(orphans.map((fileId) => [fileId, 1]))
    const report = await collectOrphans(access, { ...USUAL, seen }, SIGNAL)
    expect(report).toMatchObject({ orphans: 100, deleted: 0 })
    expect(report.refusal).toMatch(/needles of volume \d+ look like orphans: above 1 %/)
    expect(await isLeft(orphans)).not.toContain(false)
    const forced = await collectOrphans(access, { ...USUAL, seen, isForced: true }, SIGNAL)
    expect(forced).toMatchObject({ deleted: 100, refusal: undefined })
    await expectKept()
  })

  test('when the rows are older than what they lack', async () => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    // As if the namespace came from a backup: what it has is an hour older than what it lacks.
    const isOld = new Proxy<NamespaceApi>(access.namespace, {
      get: (target, property) => {
        const method: unknown = Reflect.get(target, property)
        if (typeof method !== 'function') return method
        if (property !== 'listVersions') return method.bind(target)
        return async (...args: Parameters<NamespaceApi['listVersions']>) => {
          const page = await target.listVersions(...args)
          const versions = page.versions.map((listed) => {
            const modifiedAtMs = listed.version.modifiedAtMs - 3_600_000
            return { ...listed, version: { ...listed.version, modifiedAtMs } }
          })
          return { ...page, versions }
        }
      },
    })
    const options = { ...USUAL, seen: { [fileId]: 1 } }
    const report = await collectOrphans({ ...access, namespace: isOld }, options, SIGNAL)
    expect(report).toMatchObject({ deleted: 0 })
    expect(report.refusal).toContain('an old backup?')
    expect(await exists(fileId)).toBe(true)
  })
})

/** A client whose metadata says something else than that of the cluster. */
function clientWith(changed: Partial<OrphanParts['client']>): OrphanParts['client'] {
  const { client } = access
  return {
    putNamed: (name, data, options) => client.putNamed(name, data, options),
    resolveNamed: (name, options) => client.resolveNamed(name, options),
    get: (fileId, options) => client.get(fileId, options),
    ...changed,
  }
}

async function generationNow(): Promise<number> {
  return (await new OrphanLedger(access.client).read(SIGNAL)).generation
}

describe('the generation of the namespace', () => {
  test('is one higher after each pass that was completed, and only then', async () => {
    const before = await generationNow()
    await collectOrphans(access, USUAL, SIGNAL)
    await collectOrphans(access, { ...USUAL, seen: undefined }, SIGNAL)
    expect(await generationNow()).toBe(before + 2)
    await collectOrphans(access, { ...USUAL, isDryRun: true }, SIGNAL)
    expect(await generationNow()).toBe(before + 2)
    const report = await collectOrphans(access, USUAL, SIGNAL)
    expect(report).toMatchObject({ foreignNeedles: 0 })
  })

  // What a backup knows of the ledger: a page that is gone, a page of before, or none.
  test.each([
    ['a page that is gone', 'gone'],
    ['a page of a lower generation', 'lower'],
    ['no page', 'none'],
  ])('is too low in a backup that has %s: nothing is deleted, also by force', async (_, what) => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    await collectOrphans(access, USUAL, SIGNAL)
    await collectOrphans(access, USUAL, SIGNAL)
    const before = await generationNow()
    const old = JSON.stringify({ generation: before - 2, begunAtMs: 0, seen: { [fileId]: 1 } })
    const page = await access.client.put(old, { collection: 's3' })
    const { client } = access
    if (what === 'gone') await client.delete(page.fileId)
    const entry = { name: '', fileId: page.fileId, sizeBytes: 0, modifiedAtMs: 0 }
    let named: typeof entry | undefined = what === 'none' ? undefined : entry
    const restored = clientWith({
      resolveNamed: async () => {
        if (named === undefined) throw new StoreError('NAME_NOT_FOUND', 'not in the backup')
        return named
      },
      putNamed: async (_name, data, options) => {
        const put = await client.put(data, options)
        named = { ...entry, fileId: put.fileId }
        return put
      },
    })
    const seen = { [fileId]: 1 }
    for (const isForced of [false, true, true]) {
      const options = { ...USUAL, seen, isForced }
      const report = await collectOrphans({ ...access, client: restored }, options, SIGNAL)
      expect(report).toMatchObject({ deleted: 0, refusal: expect.stringContaining('old backup?') })
    }
    expect(await exists(fileId)).toBe(true)
    // Only an operator says that the rows are to stay; then the orphan is one like any other.
    const told = { ...USUAL, seen, isRestored: true }
    const accepted = await collectOrphans({ ...access, client: restored }, told, SIGNAL)
    expect(accepted).toMatchObject({ deleted: 0, refusal: undefined, seen: {} })
    expect(await exists(fileId)).toBe(true)
    const isForced = true
    const options = { ...USUAL, seen, isForced }
    const report = await collectOrphans({ ...access, client: restored }, options, SIGNAL)
    expect(report.refusal).toBeUndefined()
    expect(await exists(fileId)).toBe(false)
    // Pages of the world that was simulated would be too new for the real one.
    await collectOrphans(access, { ...USUAL, isRestored: true }, SIGNAL)
    await client.delete(page.fileId)
  })

  test('is not too low when a pass ended at any step of writing it down', async () => {
    for (let failing = 1; failing <= 2; failing++) {
      let writes = 0
      const client = clientWith({
        putNamed: async (name, data, options) => {
          if (++writes !== failing) return await access.client.putNamed(name, data, options)
          // The page is on a volume, and nothing names it.
          await access.client.put(data, options)
          throw new StoreError('UNAVAILABLE', 'the process ended')
        },
      })
      const ending = collectOrphans({ ...access, client }, USUAL, SIGNAL)
      await expect(ending).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    }
    const next = await collectOrphans(access, USUAL, SIGNAL)
    // Pages that were left behind are orphans.
    expect(next).toMatchObject({ refusal: undefined, orphans: 2 })
    const last = await collectOrphans(access, { ...USUAL, seen: next.seen }, SIGNAL)
    expect(last).toMatchObject({ refusal: undefined, deleted: 2 })
  })

  test('tells a pass that another one began meanwhile: it deletes nothing', async () => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    const seen = { [fileId]: 1 }
    const namespace = withHook('listVersions', async () => {
      await collectOrphans(access, USUAL, SIGNAL)
    })
    const report = await collectOrphans({ ...access, namespace }, { ...USUAL, seen }, SIGNAL)
    expect(report).toMatchObject({ deleted: 0, refusal: ORPHANS_OVERTAKEN, seen })
    expect(await exists(fileId)).toBe(true)
  })

  test('comes with what automatic passes saw, which a pass with a list of its own keeps', async () => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    await collectOrphans(access, { ...USUAL, seen: undefined }, SIGNAL)
    await collectOrphans(access, USUAL, SIGNAL)
    const { seen } = await new OrphanLedger(access.client).read(SIGNAL)
    expect(Object.keys(seen)).toEqual([fileId])
    const report = await collectOrphans(access, { ...USUAL, seen: undefined }, SIGNAL)
    expect(report).toMatchObject({ deleted: 1, refusal: undefined })
    expect(await exists(fileId)).toBe(false)
  })
})

describe('the delete of an orphan', () => {
  test('leaves its bytes to be read as deleted ones, until a vacuum', async () => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    await collectOrphans(access, { ...USUAL, seen: { [fileId]: 1 } }, SIGNAL)
    expect(await exists(fileId)).toBe(false)
    const id = parseFileId(fileId)
    const volumes = await ObjectVolumes.open(access, SIGNAL)
    const [holder] = volumes.holdersOf(id.volumeId)
    const readToken = access.tokens.read(id)
    const request = { fileId: id, range: undefined, readDeleted: true, readToken }
    await using content = await holder?.read(request, SIGNAL)
    const pieces: Uint8Array[] = []
    for await (const piece of content?.data ?? []) pieces.push(piece)
    expect(Buffer.concat(pieces).toString()).toBe('an orphan')
  })

  test.each([
    ['checksum', { checksum: 1 }],
    ['length', { dataBytes: 8 }],
    ['cookie', { cookie: 5 }],
    ['state', { state: 'deleted' as const }],
  ])('is not done when its %s is not what was judged', async (_, changed) => {
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    const wanted = formatNeedleId(parseFileId(fileId).needleId)
    let looks = 0
    const connect: typeof access.connect = (location) => {
      const api = access.connect(location)
      return new Proxy(api, {
        get: (target, property) => {
          const method: unknown = Reflect.get(target, property)
          if (typeof method !== 'function') return method
          if (property !== 'statNeedles') return method.bind(target)
          return async (...args: Parameters<typeof api.statNeedles>) => {
            const stats = await target.statNeedles(...args)
            const isOfOrphan = stats.some(({ needleId }) => formatNeedleId(needleId) === wanted)
            // It is looked at when it is judged, and once more before it is deleted.
            if (!isOfOrphan || ++looks < 2) return stats
            return stats.map((stat) => ({ ...stat, ...changed }))
          }
        },
      })
    }
    const report = await collectOrphans(
      { ...access, connect },
      { ...USUAL, seen: { [fileId]: 1 } },
      SIGNAL,
    )
    expect(report.deleted).toBe(0)
    expect(await exists(fileId)).toBe(true)
  })
})

describe('the check', () => {
  const options = { bucket: undefined, graceMs: 0, problemsMax: 10 }

  test('finds nothing wrong where nothing is', async () => {
    const report = await checkNamespace(access, options, SIGNAL)
    expect(report).toMatchObject({ lostFiles: 0, unnamedNeedles: 0, problems: [] })
    expect(report.namedFiles).toBeGreaterThan(33)
    const { exitCode, out } = await runCli(['namespace', 'check', ...reach], undefined, REAL_TIME)
    expect([exitCode, out]).toEqual([0, expect.stringContaining('of them 0 not all there')])
  })

  test('finds rows without their bytes, and needles without a row', async () => {
    const bucket = await s3.server.namespace.findBucket('kept', SIGNAL)
    if (bucket === undefined) throw new Error('no bucket')
    const put = (Key: string, Body: Buffer | string) =>
      s3.root.sdk.send(new PutObjectCommand({ Bucket: 'kept', Key, Body }))
    const fileOf = async (key: string): Promise<string> => {
      const version = await s3.server.namespace.findObject({ bucket, key }, SIGNAL)
      return version?.parts[0]?.fileId ?? ''
    }
    await put('whole-lost', 'x')
    await put('chunk-lost', Buffer.alloc(17 * MIB, 'y'))
    const whole = await fileOf('whole-lost')
    const top = await fileOf('chunk-lost')
    const { fileId: orphan } = await leaveOrphan('nobody', 'an orphan')
    await s3.server.client.delete(whole)
    const list = await s3.server.client.get(top, { range: { start: 0, end: 1 } })
    expect(list.isChunked).toBe(true)
    // Its list of chunks goes: nobody knows which they were, so they are nobody's to delete.
    await s3.server.client.delete(top, { isSingleNeedle: true })
    const report = await checkNamespace(access, options, SIGNAL)
    expect(report).toMatchObject({ lostFiles: 2, unnamedNeedles: 1 })
    const told = report.problems.map(({ fileId, kind }) => [kind, fileId])
    expect(told).toEqual(
      expect.arrayContaining([
        ['lost', whole],
        ['lost', top],
        ['unnamed', orphan],
      ]),
    )
    const seen = Object.fromEntries(told.map(([, fileId]) => [fileId, 1]))
    const isForced = true
    const collected = await collectOrphans(access, { ...USUAL, isForced, seen }, SIGNAL)
    expect(collected).toMatchObject({ orphans: 1, deleted: 1 })
    const args = ['namespace', 'check', '--bucket', 'kept', '--json', ...reach]
    const { exitCode, out } = await runCli(args, undefined, REAL_TIME)
    expect([exitCode, JSON.parse(out)]).toEqual([
      1,
      expect.objectContaining({ lostFiles: 2, unnamedNeedles: 0 }),
    ])
    for (const Key of ['whole-lost', 'chunk-lost']) await put(Key, 'whole again')
    const healed = await checkNamespace(access, { ...options, bucket: 'kept' }, SIGNAL)
    expect(healed.lostFiles).toBe(0)
  })

  test('of a bucket that is not there finds nothing', async () => {
    const report = await checkNamespace(access, { ...options, bucket: 'none-such' }, SIGNAL)
    expect(report).toMatchObject({ namedFiles: 0, lostFiles: 0 })
  })
})

describe('hayloft namespace collect-orphans', () => {
  test('keeps what it saw in a file, and takes nothing younger than an hour', async () => {
    await using temp = await openTempDirectory()
    const state = join(temp.path, 'orphans.json')
    const { fileId } = await leaveOrphan('lost', 'an orphan')
    const args = ['namespace', 'collect-orphans', '--state', state, '--min-age', '1h', ...reach]
    const run = await runCli(args, undefined, REAL_TIME)
    expect([run.exitCode, run.err, run.out]).toEqual([0, '', expect.stringContaining('deleted  0')])
    expect(JSON.parse(await readFile(state, 'utf8'))).toEqual({})
    expect(await exists(fileId)).toBe(true)
  })

  test.each([
    ['[]', '--min-age', '1h'],
    ['no JSON', '--min-age', '1h'],
    ['{"3,01637037d6":"x"}', '--min-age', '1h'],
    ['{}', '--min-age', '59min'],
  ])('refuses the state %s with %s %s', async (text, ...flags) => {
    await using temp = await openTempDirectory()
    const state = join(temp.path, 'orphans.json')
    await writeFile(state, text)
    const args = ['namespace', 'collect-orphans', '--state', state, ...flags, ...reach]
    const { err, exitCode } = await runCli(args, undefined, REAL_TIME)
    expect([exitCode, err]).toEqual([2, expect.stringContaining('CONFIG_INVALID')])
    expect(await readFile(state, 'utf8')).toBe(text)
  })
})
