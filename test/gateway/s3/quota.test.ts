import { createHmac } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BucketQuota } from '../../../src/namespace/bucket-record.ts'
import type { BucketUsage } from '../../../src/namespace/namespace-api.ts'
import { TestS3 } from '../../support/test-s3.ts'

const NEVER = new AbortController().signal
const REFUSED = { name: 'QuotaExceeded', $metadata: { httpStatusCode: 403 } }

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3?.[Symbol.asyncDispose]()
})

/** A bucket that has an object `a` of 10 bytes already. */
async function newBucket(quota: Partial<BucketQuota>, isVersioned = false): Promise<string> {
  const Bucket = s3.newBucketName()
  await s3.owner.sdk.send(new CreateBucketCommand({ Bucket }))
  if (isVersioned) {
    const VersioningConfiguration = { Status: 'Enabled' } as const
    await s3.owner.sdk.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }))
  }
  await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key: 'a', Body: '0123456789' }))
  await setQuota(Bucket, quota)
  return Bucket
}

async function bucketOf(name: string) {
  const bucket = await s3.server.namespace.findBucket(name, NEVER)
  if (bucket === undefined) throw new Error(`no bucket ${name}`)
  return bucket
}

async function setQuota(name: string, quota: Partial<BucketQuota>): Promise<void> {
  const all = { bytesMax: undefined, objectsMax: undefined, ...quota }
  await s3.server.namespace.changeBucket(await bucketOf(name), { quota: all }, NEVER)
}

async function usageOf(name: string): Promise<BucketUsage> {
  return await s3.server.namespace.bucketUsage(await bucketOf(name), NEVER)
}

function put(Bucket: string, Key: string, size: number) {
  return s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key, Body: Buffer.alloc(size, 'x') }))
}

describe('PutObject', () => {
  test('may fill a bucket to its last byte, and nothing above', async () => {
    const Bucket = await newBucket({ bytesMax: 20 })
    await expect(put(Bucket, 'b', 11)).rejects.toMatchObject(REFUSED)
    expect(await usageOf(Bucket)).toEqual({ bytes: 10, objects: 1 })
    await put(Bucket, 'b', 10)
    await expect(put(Bucket, 'c', 1)).rejects.toMatchObject(REFUSED)
    await put(Bucket, 'empty', 0)
    expect(await usageOf(Bucket)).toEqual({ bytes: 20, objects: 3 })
  })

  test('is refused above the number of objects, whatever their size', async () => {
    const Bucket = await newBucket({ objectsMax: 2 })
    await put(Bucket, 'b', 5)
    await expect(put(Bucket, 'c', 0)).rejects.toMatchObject(REFUSED)
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'b' }))
    await put(Bucket, 'c', 0)
  })

  test('in the place of another counts only what it has more', async () => {
    const Bucket = await newBucket({ bytesMax: 12, objectsMax: 1 })
    await put(Bucket, 'a', 12)
    await expect(put(Bucket, 'a', 13)).rejects.toMatchObject(REFUSED)
    await put(Bucket, 'a', 3)
    expect(await usageOf(Bucket)).toEqual({ bytes: 3, objects: 1 })
  })

  test('counts versions that are hidden as well', async () => {
    const Bucket = await newBucket({ bytesMax: 25 }, true)
    await put(Bucket, 'a', 10)
    await expect(put(Bucket, 'a', 10)).rejects.toMatchObject(REFUSED)
    // What is deleted by a marker is still there.
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))
    await expect(put(Bucket, 'a', 10)).rejects.toMatchObject(REFUSED)
  })

  test('leaves what was there when it is refused, and nothing of its own', async () => {
    const Bucket = await newBucket({ bytesMax: 10 })
    await expect(put(Bucket, 'a', 1000)).rejects.toMatchObject(REFUSED)
    const { Body } = await s3.owner.sdk.send(new GetObjectCommand({ Bucket, Key: 'a' }))
    expect(await Body?.transformToString()).toBe('0123456789')
    expect(await usageOf(Bucket)).toEqual({ bytes: 10, objects: 1 })
  })

  test('goes on once the quota is larger, or there is none', async () => {
    const Bucket = await newBucket({ bytesMax: 10 })
    await expect(put(Bucket, 'b', 1)).rejects.toMatchObject(REFUSED)
    await setQuota(Bucket, { bytesMax: 11 })
    await put(Bucket, 'b', 1)
    await setQuota(Bucket, {})
    await put(Bucket, 'c', 100)
  })

  test('is refused in a bucket that has more than its quota already; deletes are not', async () => {
    const Bucket = await newBucket({ bytesMax: 1 })
    await expect(put(Bucket, 'b', 1)).rejects.toMatchObject(REFUSED)
    await s3.owner.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))
    await put(Bucket, 'b', 1)
  })
})

describe('CopyObject', () => {
  test.each<[Partial<BucketQuota>]>([[{ bytesMax: 19 }], [{ objectsMax: 1 }]])(
    'is refused with a quota of %j',
    async (quota) => {
      const Bucket = await newBucket(quota)
      const copy = new CopyObjectCommand({ Bucket, Key: 'b', CopySource: `${Bucket}/a` })
      await expect(s3.owner.sdk.send(copy)).rejects.toMatchObject(REFUSED)
      await setQuota(Bucket, { bytesMax: 20, objectsMax: 2 })
      await s3.owner.sdk.send(copy)
    },
  )
})

describe('a multipart upload', () => {
  test('has its parts counted when they come, until they are gone', async () => {
    const Bucket = await newBucket({ bytesMax: 30 })
    const at = { Bucket, Key: 'b' }
    const { UploadId } = await s3.owner.sdk.send(new CreateMultipartUploadCommand(at))
    const part = (PartNumber: number, size: number) =>
      new UploadPartCommand({ ...at, UploadId, PartNumber, Body: Buffer.alloc(size, 'y') })
    await s3.owner.sdk.send(part(1, 20))
    await expect(s3.owner.sdk.send(part(2, 1))).rejects.toMatchObject(REFUSED)
    await expect(put(Bucket, 'c', 1)).rejects.toMatchObject(REFUSED)
    const source = { ...at, UploadId, PartNumber: 2, CopySource: `${Bucket}/a` }
    await expect(s3.owner.sdk.send(new UploadPartCopyCommand(source))).rejects.toMatchObject(
      REFUSED,
    )
    await s3.owner.sdk.send(new AbortMultipartUploadCommand({ ...at, UploadId }))
    await put(Bucket, 'c', 20)
  })

  test('that fits is completed without being counted twice', async () => {
    const Bucket = await newBucket({ bytesMax: 30 })
    const at = { Bucket, Key: 'b' }
    const { UploadId } = await s3.owner.sdk.send(new CreateMultipartUploadCommand(at))
    const part = { ...at, UploadId, PartNumber: 1, Body: Buffer.alloc(20, 'y') }
    const { ETag } = await s3.owner.sdk.send(new UploadPartCommand(part))
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    const complete = new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload })
    await s3.owner.sdk.send(complete)
    expect(await usageOf(Bucket)).toEqual({ bytes: 30, objects: 2 })
  })

  test('is not completed above the number of objects, and can be when there is room', async () => {
    const Bucket = await newBucket({ objectsMax: 1 })
    const at = { Bucket, Key: 'b' }
    const { UploadId } = await s3.owner.sdk.send(new CreateMultipartUploadCommand(at))
    const part = { ...at, UploadId, PartNumber: 1, Body: 'part' }
    const { ETag } = await s3.owner.sdk.send(new UploadPartCommand(part))
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    const complete = { ...at, UploadId, MultipartUpload }
    await expect(
      s3.owner.sdk.send(new CompleteMultipartUploadCommand(complete)),
    ).rejects.toMatchObject(REFUSED)
    await setQuota(Bucket, { objectsMax: 2 })
    await s3.owner.sdk.send(new CompleteMultipartUploadCommand(complete))
    expect(await usageOf(Bucket)).toEqual({ bytes: 14, objects: 2 })
  })
})

describe('POST of a form', () => {
  test.each([
    [10, 204, undefined],
    [11, 403, 'QuotaExceeded'],
  ])('of %d bytes where 10 are left is %d', async (size, status, code) => {
    const Bucket = await newBucket({ bytesMax: 20 })
    const answer = await postForm(Bucket, 'b', Buffer.alloc(size, 'z'))
    expect(answer).toMatchObject({ status, code })
    expect((await usageOf(Bucket)).objects).toBe(code === undefined ? 2 : 1)
  })
})

function postForm(bucket: string, key: string, data: Buffer) {
  const { accessKeyId, secretAccessKey } = s3.owner
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const day = date.slice(0, 8)
  const credential = `${accessKeyId}/${day}/us-east-1/s3/aws4_request`
  const expiration = new Date(Date.now() + 60_000).toISOString()
  const fields = {
    key,
    'x-amz-algorithm': 'AWS4-HMAC-SHA256',
    'x-amz-credential': credential,
    'x-amz-date': date,
  }
  const conditions = [
    { bucket },
    ...Object.entries(fields).map(([name, value]) => ({ [name]: value })),
  ]
  const policy = Buffer.from(JSON.stringify({ expiration, conditions })).toString('base64')
  const hmac = (secret: string | Buffer, text: string) =>
    createHmac('sha256', secret).update(text).digest()
  const signingKey = [day, 'us-east-1', 's3', 'aws4_request'].reduce<Buffer>(
    (secret, text) => hmac(secret, text),
    Buffer.from(`AWS4${secretAccessKey}`),
  )
  const signature = hmac(signingKey, policy).toString('hex')
  const form = Object.entries({ ...fields, policy, 'x-amz-signature': signature }).map(
    ([name, value]) =>
      `--edge\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  )
  const file = '--edge\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
  const body = Buffer.concat([
    Buffer.from(form.join('') + file),
    data,
    Buffer.from('\r\n--edge--\r\n'),
  ])
  const headers = { 'content-type': 'multipart/form-data; boundary=edge' }
  return s3.raw({ method: 'POST', path: `/${bucket}`, headers, body })
}
