import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { moveVersion } from '../../src/gateway/s3/move-version.ts'
import { ownerPairs, versionPairs } from '../../src/namespace/needle-pairs.ts'
import { NO_ATTRIBUTES, type ObjectVersion } from '../../src/namespace/object-version.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { type RunningServer, startServer } from '../../src/server/start-server.ts'
import { runCli } from '../support/cli-run.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const MIB = 1024 * 1024
const SIGNAL = new AbortController().signal
const KEY = { accessKeyId: 'ROOTKEYOFTESTS', secretAccessKey: 'a-secret-of-tests-only' }
const SERVERS = 6

async function start(dir: string): Promise<RunningServer> {
  return await startServer({
    dir,
    port: 0,
    grpcPort: 0,
    volumePort: 0,
    volumeServers: SERVERS,
    volumeSize: '64MiB',
    durability: 'none',
    rootAccessKey: KEY.accessKeyId,
    rootSecretKey: KEY.secretAccessKey,
    repair: { workers: 0 },
    s3: { host: '127.0.0.1', port: 0 },
  })
}

function sdkOf(server: RunningServer): S3Client {
  const credentials = KEY
  const endpoint = server.s3Url ?? ''
  return new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials })
}

function bytes(seed: number, sizeBytes: number): Buffer {
  const prng = new Prng(seed)
  const data = Buffer.alloc(sizeBytes)
  for (let at = 0; at + 4 <= sizeBytes; at += 4) data.writeUInt32LE(prng.u32(), at)
  return data
}

const volumesOf = (dir: string) =>
  Array.from({ length: SERVERS }, (_item, index) => join(dir, `volume-${index + 1}`))

async function upload(sdk: S3Client, Bucket: string, Key: string, parts: readonly Buffer[]) {
  const more = { ContentType: 'video/mp4', Metadata: { how: 'in parts' } }
  const { UploadId } = await sdk.send(new CreateMultipartUploadCommand({ Bucket, Key, ...more }))
  const Parts = []
  for (const [index, Body] of parts.entries()) {
    const PartNumber = index + 1
    const part = { Bucket, Key, UploadId, PartNumber }
    // What was uploaded first is replaced, and must not come back.
    await sdk.send(new UploadPartCommand({ ...part, Body: 'to be replaced' }))
    const { ETag } = await sdk.send(new UploadPartCommand({ ...part, Body }))
    Parts.push({ PartNumber, ETag })
  }
  const MultipartUpload = { Parts }
  await sdk.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }))
}

async function fill(sdk: S3Client): Promise<void> {
  await sdk.send(new CreateBucketCommand({ Bucket: 'plain' }))
  await sdk.send(new CreateBucketCommand({ Bucket: 'versioned' }))
  const put = (Bucket: string, Key: string, Body: Buffer | string, more = {}) =>
    sdk.send(new PutObjectCommand({ Bucket, Key, Body, ...more }))
  const told = {
    ContentType: 'text/plain; charset=utf-8',
    CacheControl: 'max-age=60',
    Metadata: { colour: 'blue', 'with-text': 'a "quoted" one' },
    Tagging: 'a=1&b=zwei',
  }
  await put('plain', 'empty', '')
  await put('plain', 'small/ä b', 'hello', told)
  await put('plain', 'overwritten', 'old')
  await put('plain', 'overwritten', 'new')
  await put('plain', 'deleted', 'gone')
  await put('plain', 'streamed', bytes(1, 2 * MIB), told)
  await put('plain', 'chunked', bytes(2, 20 * MIB), told)
  await put('plain', 'coded-small', bytes(3, 1000), { StorageClass: 'STANDARD_IA' })
  await put('plain', 'coded-large', bytes(4, 12 * MIB), { ...told, StorageClass: 'STANDARD_IA' })
  await sdk.send(
    new CopyObjectCommand({ Bucket: 'plain', Key: 'copy', CopySource: 'plain/chunked' }),
  )
  await upload(sdk, 'plain', 'parts', [bytes(5, 9 * MIB), bytes(6, 5 * MIB), bytes(7, 10)])
  await upload(sdk, 'plain', 'parts-moved', [bytes(8, 5 * MIB), bytes(9, 100)])
  await put('plain', 'moved', bytes(10, 100_000), told)
  await put('versioned', 'k', 'before versioning')
  const VersioningConfiguration = { Status: 'Enabled' as const }
  const versioning = { Bucket: 'versioned', VersioningConfiguration }
  await sdk.send(new PutBucketVersioningCommand(versioning))
  for (let n = 0; n < 5; n++)
    await put('versioned', 'k', `version ${n}`, { Metadata: { n: `${n}` } })
  await put('versioned', 'other', 'one')
  await sdk.send(new DeleteObjectCommand({ Bucket: 'plain', Key: 'deleted' }))
}

async function moveToCold({ client, namespace }: RunningServer): Promise<void> {
  const bucket = await namespace.findBucket('plain', SIGNAL)
  if (bucket === undefined) throw new Error('no bucket')
  const codedPolicy = async () => 'ec:4+2'
  for (const key of ['moved', 'parts-moved']) {
    const version = await namespace.findObject({ bucket, key }, SIGNAL)
    if (version === undefined) throw new Error(`no ${key}`)
    const parts = { namespace, client, codedPolicy, clock: systemClock, logger: silentLogger }
    const target = { bucket, key, version, storageClass: 'GLACIER_IR' } as const
    expect(await moveVersion(parts, target, SIGNAL)).toBe('moved')
  }
}

/** A document of two files, of which the second write took the cold one over. */
async function writeDocument({ client, namespace }: RunningServer) {
  const owned = { name: 'documents', ownerId: 'ab'.repeat(32), isLockEnabled: false, documents: {} }
  const bucket = await namespace.createBucket(owned, SIGNAL)
  const document = { strategy: 'field_hybrid', coldSha256: 'cd'.repeat(32) } as const
  let before: ObjectVersion | undefined
  for (const hot of ['{"like_count":1}', '{"like_count":12}']) {
    const id = newVersionId(cryptoRandom, systemClock.nowMs())
    const owner = ownerPairs({ bucket: bucket.name, key: 'd', version: id })
    const coded = { collection: 'documents-coded', policy: 'ec:4+2' }
    const cold =
      before?.parts[1] ??
      (await client.put(bytes(11, 900_000), { pairs: owner, chunkPairs: owner, ...coded }))
    const sizeBytes = hot.length + cold.sizeBytes
    const facts = {
      ...NO_ATTRIBUTES,
      contentType: 'application/json',
      sizeBytes,
      etag: '0'.repeat(32),
      checksum: undefined,
      storageClass: 'STANDARD' as const,
      ownerId: undefined,
      document,
    }
    const told = { ...facts, isNull: true, isRecord: false }
    const parts = [null, [cold.fileId, cold.sizeBytes]] as const
    const pairs = { ...owner, ...versionPairs({ ...told, parts }) }
    const { fileId } = await client.put(hot, { pairs, collection: 'documents' })
    const files = [{ fileId, sizeBytes: hot.length }, cold]
    const version = {
      ...facts,
      id,
      parts: files.map(({ fileId, sizeBytes }) => ({ fileId, sizeBytes })),
    }
    const sharesWith = before?.id
    before = await namespace.putObject({ bucket, key: 'd', version, sharesWith }, SIGNAL)
  }
  return before
}

async function findDocument({ namespace }: RunningServer): Promise<ObjectVersion | undefined> {
  const bucket = await namespace.findBucket('documents', SIGNAL)
  return bucket && (await namespace.findObject({ bucket, key: 'd' }, SIGNAL))
}

/** Everything that a client can see, apart from seconds in `LastModified`. */
async function view(sdk: S3Client): Promise<Record<string, unknown>> {
  const seen: Record<string, unknown> = {}
  for (const Bucket of ['plain', 'versioned']) {
    const { Versions = [] } = await sdk.send(new ListObjectVersionsCommand({ Bucket }))
    for (const [
      order,
      { Key, VersionId, IsLatest, ETag, Size, StorageClass },
    ] of Versions.entries()) {
      const got = await sdk.send(new GetObjectCommand({ Bucket, Key, VersionId }))
      const { TagSet } = await sdk.send(new GetObjectTaggingCommand({ Bucket, Key, VersionId }))
      const body = Buffer.from((await got.Body?.transformToByteArray()) ?? [])
      const { CacheControl, ContentType, Metadata, ChecksumCRC32 } = got
      const told = { CacheControl, ContentType, Metadata, ChecksumCRC32, TagSet }
      const listed = { order, IsLatest, ETag, Size, StorageClass }
      const digest = Buffer.from(await crypto.subtle.digest('SHA-256', body)).toString('hex')
      seen[`${Bucket}/${Key}/${VersionId}`] = { ...listed, ...told, digest, length: body.length }
    }
  }
  return seen
}

test('metadata made anew from volumes serves every object and version as before', async () => {
  await using temp = await openTempDirectory()
  const dir = join(temp.path, 'data')
  let before: Record<string, unknown>
  let document: ObjectVersion | undefined
  {
    await using server = await start(dir)
    const sdk = sdkOf(server)
    await fill(sdk)
    await moveToCold(server)
    document = await writeDocument(server)
    before = await view(sdk)
    expect(Object.keys(before)).toHaveLength(18)
    // What lost its name is deleted 10 s later: until then it would come back. The two parts that
    // were copied elsewhere are large enough to live an hour: a rebuild knows that they are old.
    const page = { after: '', limit: 1000 }
    const leftCount = async () => (await server.namespace.listDropped(page, SIGNAL)).fileIds.length
    while ((await leftCount()) > 2) await new Promise((resolve) => setTimeout(resolve, 200))
    expect(await leftCount()).toBe(2)
    sdk.destroy()
    const elsewhere = join(temp.path, 'elsewhere')
    const early = ['namespace', 'rebuild', '--into', elsewhere, '--volumes', ...volumesOf(dir)]
    const refused = await runCli(early, undefined, { isRealTime: true })
    expect([refused.exitCode, refused.err]).toEqual([
      2,
      expect.stringContaining('DIRECTORY_LOCKED'),
    ])
  }
  const master = join(dir, 'master')
  await rename(join(master, 'metadata'), join(temp.path, 'lost'))
  const command = ['namespace', 'rebuild', '--into', master, '--volumes', ...volumesOf(dir)]
  const { err, exitCode, out } = await runCli(command, undefined, { isRealTime: true })
  expect([exitCode, out], err).toEqual([
    0,
    expect.stringContaining('versioned: 7 versions, versioning enabled'),
  ])
  expect(out).toContain('plain: 11 versions, versioning off')
  expect(out).toContain('documents: 1 versions, versioning off')
  const again = await runCli(command, undefined, { isRealTime: true })
  expect([again.exitCode, again.err]).toEqual([2, expect.stringContaining('TARGET_EXISTS')])
  await using server = await start(dir)
  const sdk = sdkOf(server)
  expect(await view(sdk)).toEqual(before)
  // When the needle was appended, not when the row was made; and it counts as written once.
  const { history, modifiedAtMs: _, seq: __, ...lasting } = document ?? expect.fail('no document')
  expect(history).toMatchObject({ writeCount: 2 })
  const found = await findDocument(server)
  expect(found).toMatchObject(lasting)
  expect(found?.history).toBeUndefined()
  const address = server.masterUrl.slice('http://'.length)
  const grpc = server.masterGrpcAddress.slice(server.masterGrpcAddress.lastIndexOf(':') + 1)
  const reach = ['--master', `${address}.${grpc}`, '--secret-file', server.secretFile]
  const check = await runCli(
    ['namespace', 'check', '--json', '--grace', '0s', ...reach],
    undefined,
    {
      isRealTime: true,
    },
  )
  expect(JSON.parse(check.out)).toMatchObject({
    // 16 versions of one file, two uploads of 3 and 2 parts with a record each, and a document.
    namedFiles: 25,
    lostFiles: 0,
    // Nothing but the old rows knew that these two were to be deleted.
    unnamedNeedles: 2,
    problems: [1, 2].map(() => ({
      kind: 'unnamed',
      message: expect.stringContaining('of plain/parts-moved'),
    })),
  })
  await sdk.send(new PutObjectCommand({ Bucket: 'plain', Key: 'new', Body: 'after' }))
  const put = await sdk.send(new GetObjectCommand({ Bucket: 'plain', Key: 'new' }))
  expect(await put.Body?.transformToString()).toBe('after')
  sdk.destroy()
}, 120_000)
