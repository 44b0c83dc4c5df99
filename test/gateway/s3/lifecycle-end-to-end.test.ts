import { createHash } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  type LifecycleRule,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { isStoreError } from '../../../src/base/store-error.ts'
import { NO_ATTRIBUTES } from '../../../src/namespace/object-version.ts'
import { newVersionId } from '../../../src/namespace/version-id.ts'
import { systemClock } from '../../../src/runtime/clock.ts'
import { cryptoRandom } from '../../../src/runtime/random.ts'
import { TestS3 } from '../../support/test-s3.ts'

const NEVER = new AbortController().signal
/** What is a day old is done by the next pass, and there is one each second. */
const DAY_MS = 50
const SOON = { timeout: 20_000, interval: 100 }
/** A pass each second, of which every 24th looks for what is to be recoded. */
const A_DAY = { timeout: 60_000, interval: 200 }

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open({
    volumeServers: 6,
    s3Options: { codedPolicy: 'ec:4+2', dayMs: DAY_MS },
  })
}, 60_000)

afterAll(async () => {
  await s3?.[Symbol.asyncDispose]()
})

async function newBucket(isVersioned = false): Promise<string> {
  const Bucket = s3.newBucketName()
  await s3.owner.sdk.send(new CreateBucketCommand({ Bucket }))
  const VersioningConfiguration = { Status: 'Enabled' } as const
  if (isVersioned) {
    await s3.owner.sdk.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }))
  }
  return Bucket
}

async function setRule(Bucket: string, rule: Partial<LifecycleRule>): Promise<void> {
  const Rules: LifecycleRule[] = [{ Status: 'Enabled', Filter: { Prefix: '' }, ...rule }]
  const LifecycleConfiguration = { Rules }
  const command = new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration })
  await s3.owner.sdk.send(command)
}

async function read(Bucket: string, Key: string): Promise<Buffer> {
  const { Body } = await s3.owner.sdk.send(new GetObjectCommand({ Bucket, Key }))
  return Buffer.from((await Body?.transformToByteArray()) ?? [])
}

async function fileIdsOf(name: string, key: string): Promise<readonly string[]> {
  const bucket = await s3.server.namespace.findBucket(name, NEVER)
  if (bucket === undefined) throw new Error(`no bucket ${name}`)
  const version = await s3.server.namespace.findObject({ bucket, key }, NEVER)
  return version?.parts.map(({ fileId }) => fileId) ?? []
}

async function isGone(fileId: string): Promise<boolean> {
  try {
    await s3.server.client.stat(fileId)
    return false
  } catch (error) {
    return isStoreError(error, 'NEEDLE_NOT_FOUND')
  }
}

function bytesOf(size: number, seed: number): Buffer {
  return Buffer.alloc(size, Buffer.from(`${seed} some bytes that differ ${seed * 7919}`))
}

describe('lifecycle rules through S3', () => {
  test('move an object to shards while it is read, and delete the copies afterwards', async () => {
    const Bucket = await newBucket()
    const data = new Map([
      ['empty', Buffer.alloc(0)],
      ['small', bytesOf(10, 1)],
      ['large', bytesOf(9_000_000, 2)],
    ])
    const before = new Map<string, readonly string[]>()
    for (const [Key, Body] of data) {
      await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key, Body }))
      before.set(Key, await fileIdsOf(Bucket, Key))
    }
    const head = new HeadObjectCommand({ Bucket, Key: 'large' })
    const { ETag, LastModified, StorageClass } = await s3.owner.sdk.send(head)
    expect(StorageClass).toBeUndefined()
    await setRule(Bucket, { Transitions: [{ Days: 1, StorageClass: 'STANDARD_IA' }] })
    let reads = 0
    for (let isMoved = false; !isMoved; reads++) {
      expect((await read(Bucket, 'large')).equals(data.get('large') ?? Buffer.alloc(0))).toBe(true)
      const classes = [...data.keys()].map(async (Key) => {
        return (await s3.owner.sdk.send(new HeadObjectCommand({ Bucket, Key }))).StorageClass
      })
      isMoved = (await Promise.all(classes)).every((found) => found === 'STANDARD_IA')
    }
    expect(reads).toBeGreaterThan(0)
    const after = await s3.owner.sdk.send(head)
    expect(after).toMatchObject({ ETag, LastModified, ContentLength: 9_000_000 })
    for (const [Key, Body] of data) expect((await read(Bucket, Key)).equals(Body)).toBe(true)
    const [large = ''] = await fileIdsOf(Bucket, 'large')
    expect(await s3.server.client.stat(large)).toMatchObject({ erasure: '4+2' })
    // Slow readers of what is large may still be at it for up to an hour.
    const { fileIds: dropped } = await s3.server.namespace.listDropped(
      { after: '', limit: 1000 },
      NEVER,
    )
    for (const fileId of before.get('large') ?? []) expect(dropped).toContain(fileId)
    for (const fileId of before.get('small') ?? []) {
      await vi.waitFor(async () => expect(await isGone(fileId)).toBe(true), {
        timeout: 60_000,
        interval: 500,
      })
    }
    for (const [Key, Body] of data) expect((await read(Bucket, Key)).equals(Body)).toBe(true)
  }, 120_000)

  test('move an object of several parts, which can still be read one by one', async () => {
    const Bucket = await newBucket()
    const Key = 'parts'
    const bodies = [bytesOf(5 * 1024 * 1024, 3), bytesOf(1000, 4)]
    const ChecksumAlgorithm = 'CRC32'
    const { UploadId } = await s3.owner.sdk.send(
      new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm }),
    )
    const Parts = []
    for (const [index, Body] of bodies.entries()) {
      const part = {
        Bucket,
        Key,
        UploadId,
        PartNumber: index + 1,
        Body,
        ChecksumAlgorithm,
      } as const
      const { ChecksumCRC32, ETag } = await s3.owner.sdk.send(new UploadPartCommand(part))
      Parts.push({ PartNumber: index + 1, ETag, ChecksumCRC32 })
    }
    const complete = { Bucket, Key, UploadId, MultipartUpload: { Parts } }
    await s3.owner.sdk.send(new CompleteMultipartUploadCommand(complete))
    await setRule(Bucket, { Transitions: [{ Days: 1, StorageClass: 'GLACIER_IR' }] })
    await vi.waitFor(async () => {
      const found = await s3.owner.sdk.send(new HeadObjectCommand({ Bucket, Key }))
      expect(found.StorageClass).toBe('GLACIER_IR')
    }, SOON)
    expect((await read(Bucket, Key)).equals(Buffer.concat(bodies))).toBe(true)
    const one = await s3.owner.sdk.send(new GetObjectCommand({ Bucket, Key, PartNumber: 2 }))
    const second = Buffer.from((await one.Body?.transformToByteArray()) ?? [])
    expect(bodies[1]?.equals(second)).toBe(true)
    const fileIds = await fileIdsOf(Bucket, Key)
    expect(fileIds).toHaveLength(2)
    for (const fileId of fileIds) {
      expect(await s3.server.client.stat(fileId)).toMatchObject({ erasure: '4+2' })
    }
  }, 60_000)

  test('delete current objects under a prefix, and nothing else', async () => {
    const Bucket = await newBucket()
    for (const Key of ['logs/a', 'logs/b', 'keep']) {
      await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
    }
    await setRule(Bucket, { Filter: { Prefix: 'logs/' }, Expiration: { Days: 1 } })
    await vi.waitFor(async () => {
      const { Versions } = await s3.owner.sdk.send(new ListObjectVersionsCommand({ Bucket }))
      expect(Versions?.map(({ Key }) => Key)).toEqual(['keep'])
    }, SOON)
    expect((await read(Bucket, 'keep')).toString()).toBe('keep')
  }, 60_000)

  test('of a versioned bucket leave nothing in the end, marker included', async () => {
    const Bucket = await newBucket(true)
    for (const Body of ['1', '2']) {
      await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key: 'a', Body }))
    }
    await setRule(Bucket, {
      Expiration: { Days: 1 },
      NoncurrentVersionExpiration: { NoncurrentDays: 1 },
    })
    await vi.waitFor(async () => {
      const { DeleteMarkers = [], Versions = [] } = await s3.owner.sdk.send(
        new ListObjectVersionsCommand({ Bucket }),
      )
      expect([Versions, DeleteMarkers]).toEqual([[], []])
    }, SOON)
  }, 60_000)

  test('give up uploads', async () => {
    const Bucket = await newBucket()
    const upload = { Bucket, Key: 'a' }
    const { UploadId } = await s3.owner.sdk.send(new CreateMultipartUploadCommand(upload))
    const part = { ...upload, UploadId, PartNumber: 1, Body: 'part' }
    await s3.owner.sdk.send(new UploadPartCommand(part))
    await setRule(Bucket, { AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 } })
    await vi.waitFor(async () => {
      const { Uploads } = await s3.owner.sdk.send(new ListMultipartUploadsCommand({ Bucket }))
      expect(Uploads).toBeUndefined()
    }, SOON)
    const abort = new AbortMultipartUploadCommand({ ...upload, UploadId })
    await expect(s3.owner.sdk.send(abort)).rejects.toMatchObject({ name: 'NoSuchUpload' })
  }, 60_000)
})

test('a gateway that is told not to does nothing of what rules say', async () => {
  await using quiet = await TestS3.open({ s3Options: { dayMs: 1, runsLifecycle: false } })
  const Bucket = quiet.newBucketName()
  const { sdk } = quiet.owner
  await sdk.send(new CreateBucketCommand({ Bucket }))
  await sdk.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'a' }))
  const rule = { Status: 'Enabled', Filter: { Prefix: '' }, Expiration: { Days: 1 } } as const
  const LifecycleConfiguration = { Rules: [rule] }
  await sdk.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration }))
  // More than two passes would take.
  await systemClock.sleep(2500, NEVER)
  await sdk.send(new HeadObjectCommand({ Bucket, Key: 'a' }))
}, 30_000)

test('an object of a coded class that lies in copies is given shards, and they are deleted', async () => {
  await using six = await TestS3.open({ volumeServers: 6, s3Options: { dayMs: DAY_MS } })
  const { client, namespace } = six.server
  const Bucket = six.newBucketName()
  await six.owner.sdk.send(new CreateBucketCommand({ Bucket }))
  const bucket = await namespace.findBucket(Bucket, NEVER)
  if (bucket === undefined) throw new Error(`no bucket ${Bucket}`)
  // As a gateway stored it while the cluster was smaller.
  const data = bytesOf(10_000, 1)
  const { fileId } = await client.put(data, { collection: 's3' })
  const version = {
    ...NO_ATTRIBUTES,
    id: newVersionId(cryptoRandom, systemClock.nowMs()),
    sizeBytes: data.length,
    etag: createHash('md5').update(data).digest('hex'),
    checksum: undefined,
    storageClass: 'STANDARD_IA' as const,
    parts: [{ fileId, sizeBytes: data.length }],
    ownerId: undefined,
  }
  await namespace.putObject({ bucket, key: 'small-days', version }, NEVER)
  const place = { Bucket, Key: 'small-days' }
  await vi.waitFor(async () => {
    const found = await namespace.findObject({ bucket, key: 'small-days' }, NEVER)
    const [part] = found?.parts ?? []
    expect(part?.fileId).not.toBe(fileId)
    expect(await client.stat(part?.fileId ?? '')).toMatchObject({ erasure: '4+2' })
  }, A_DAY)
  const { Body, StorageClass } = await six.owner.sdk.send(new GetObjectCommand(place))
  expect(StorageClass).toBe('STANDARD_IA')
  expect(Buffer.from((await Body?.transformToByteArray()) ?? []).equals(data)).toBe(true)
  const isDeleted = async () => {
    const failed = await client.stat(fileId).catch((error: unknown) => error)
    expect(isStoreError(failed, 'NEEDLE_NOT_FOUND')).toBe(true)
  }
  await vi.waitFor(isDeleted, { timeout: 60_000, interval: 500 })
}, 120_000)
