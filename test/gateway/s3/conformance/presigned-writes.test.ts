import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { sumOf } from './checksum-oracles.ts'
import { BucketScene, md5Hex, textOf } from './s3-scene.ts'
import { completionOf, etagOfParts, UploadScene } from './upload-scene.ts'

let s3: TestS3
let scene: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  scene = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

/** Whoever has the URL sends it, with headers and keys of no user. */
async function send(method: string, signed: Promise<string>, body = '') {
  const url = new URL(await signed)
  return await s3.raw({ method, path: `${url.pathname}${url.search}`, body })
}

describe('a URL that the SDK signed', () => {
  test('uploads an object in parts, from the first request to the last', async () => {
    const target = { Bucket: scene.name, Key: 'a b/ü+' }
    const said = {
      Metadata: { color: 'blue' },
      Tagging: 'a=1',
      StorageClass: 'STANDARD_IA',
    } as const
    const begun = await send(
      'POST',
      getSignedUrl(s3.owner.sdk, new CreateMultipartUploadCommand({ ...target, ...said })),
    )
    expect(begun).toMatchObject({ status: 200 })
    const ref = { ...target, UploadId: textOf(begun.text, 'UploadId') ?? '' }
    const part = await send(
      'PUT',
      getSignedUrl(s3.owner.sdk, new UploadPartCommand({ ...ref, PartNumber: 1 })),
      'hello',
    )
    expect(part).toMatchObject({ status: 200, headers: { etag: `"${md5Hex('hello')}"` } })
    const parts = completionOf([{ partNumber: 1, etag: part.headers['etag'] ?? '' }])
    const done = await send(
      'POST',
      getSignedUrl(s3.owner.sdk, new CompleteMultipartUploadCommand(ref)),
      parts,
    )
    expect([done.status, textOf(done.text, 'ETag')]).toEqual([200, etagOfParts(['hello'])])
    expect(await scene.get(target.Key)).toMatchObject({
      text: 'hello',
      headers: {
        'x-amz-meta-color': 'blue',
        'x-amz-tagging-count': '1',
        'x-amz-storage-class': 'STANDARD_IA',
      },
    })
  })

  test('copies an object, and a part', async () => {
    await scene.put('source', '0123456789', { 'x-amz-meta-old': 'yes' })
    const CopySource = `${scene.name}/source`
    const target = { Bucket: scene.name, Key: 'copy' }
    const replaced = { MetadataDirective: 'REPLACE', Metadata: { fresh: 'yes' } } as const
    const copied = await send(
      'PUT',
      getSignedUrl(s3.owner.sdk, new CopyObjectCommand({ ...target, CopySource, ...replaced })),
    )
    expect(copied).toMatchObject({ status: 200 })
    const { headers, text } = await scene.get('copy')
    expect([text, headers['x-amz-meta-fresh'], headers['x-amz-meta-old']]).toEqual([
      '0123456789',
      'yes',
      undefined,
    ])
    const upload = await UploadScene.begin(scene, 'parts')
    const ref = { Bucket: scene.name, Key: 'parts', UploadId: upload.id, PartNumber: 1 }
    const range = { CopySource, CopySourceRange: 'bytes=2-4' }
    const part = await send(
      'PUT',
      getSignedUrl(s3.owner.sdk, new UploadPartCopyCommand({ ...ref, ...range })),
    )
    expect([part.status, textOf(part.text, 'ETag')]).toEqual([200, `"${md5Hex('234')}"`])
  })

  test('puts an object that is retained and has a checksum', async () => {
    const { sdk } = s3.owner
    const name = s3.newBucketName()
    const made = { 'x-amz-bucket-object-lock-enabled': 'true' }
    await s3.raw({ method: 'PUT', path: `/${name}`, headers: made, as: s3.owner })
    const until = new Date(Date.now() + 86_400_000)
    const command = (sum: string) =>
      new PutObjectCommand({
        Bucket: name,
        Key: 'k',
        ChecksumSHA256: sum,
        ObjectLockMode: 'GOVERNANCE',
        ObjectLockRetainUntilDate: until,
      })
    const right = await send(
      'PUT',
      getSignedUrl(s3.owner.sdk, command(sumOf('SHA256', 'hello'))),
      'hello',
    )
    expect(right).toMatchObject({ status: 200 })
    const wrong = await send(
      'PUT',
      getSignedUrl(s3.owner.sdk, command(sumOf('SHA256', 'hello'))),
      'another',
    )
    expect(wrong).toMatchObject({ status: 400, code: 'BadDigest' })
    const VersionId = right.headers['x-amz-version-id'] ?? ''
    const remove = { Bucket: name, Key: 'k', VersionId }
    const denied = { status: 403, code: 'AccessDenied' }
    expect(
      await send('DELETE', getSignedUrl(s3.owner.sdk, new DeleteObjectCommand(remove))),
    ).toMatchObject(denied)
    const bypass = { ...remove, BypassGovernanceRetention: true }
    expect(
      await send('DELETE', getSignedUrl(s3.owner.sdk, new DeleteObjectCommand(bypass))),
    ).toMatchObject({ status: 204 })
    await expect(sdk.send(new GetObjectCommand(remove))).rejects.toMatchObject({
      name: 'NoSuchVersion',
    })
  })

  test('says no more than what was signed', async () => {
    await scene.put('source')
    const command = new PutObjectCommand({ Bucket: scene.name, Key: 'plain' })
    const url = new URL(await getSignedUrl(s3.owner.sdk, command, { expiresIn: 60 }))
    const path = `${url.pathname}${url.search}`
    const added = `${path}&x-amz-copy-source=${encodeURIComponent(`${scene.name}/source`)}`
    expect(await s3.raw({ method: 'PUT', path: added })).toMatchObject({
      status: 403,
      code: 'SignatureDoesNotMatch',
    })
    const headers = { 'x-amz-copy-source': `${scene.name}/source` }
    expect(await s3.raw({ method: 'PUT', path, headers })).toMatchObject({ status: 403 })
    expect(await scene.get('plain')).toMatchObject({ code: 'NoSuchKey' })
  })
})
