import { createReadStream } from 'node:fs'
import {
  cp,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import {
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { createPresignedPost } from '@aws-sdk/s3-presigned-post'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { type BucketItem, CopyDestinationOptions, CopySourceOptions } from 'minio'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeTree } from '../support/file-tree.ts'
import {
  mountIn,
  mountingUnsupported,
  skipLoudly,
  unmount,
  unmountForSure,
} from '../support/mounts.ts'
import { Prng } from '../support/prng.ts'
import { copyRealTree } from '../support/real-tree.ts'
import { S3_KEY, S3Endpoint } from '../support/s3-endpoint.ts'
import { findTools, S3Tools, toolMissing } from '../support/s3-tools.ts'
import { REPOSITORY } from '../support/source-files.ts'

// Goal: the clients that people have work with default settings; given are only the endpoint, a
// key, and path style where a client does not choose it for an address by itself.
// Method: real client programs against real processes; what they stored is compared byte for byte.

const MIB = 2 ** 20
/** More than any of these clients sends in one request. */
const LARGE_BYTES = 20 * MIB
const RESTIC_FILES = 2000
const SMALL_TREE_FILES = 20

/** At least one, so that a test says that there is none. */
const AWS_TOOLS = findTools('aws').length > 0 ? findTools('aws') : ['aws']

const large = new Prng(1).bytes(LARGE_BYTES)

const WAYS = [
  ['hayloft server', () => S3Endpoint.ofServer()],
  ['hayloft gateway before a master and volume servers', () => S3Endpoint.ofGateway()],
] as const

describe.each(WAYS)('%s', (way, start) => {
  let s3: S3Endpoint
  let tools: S3Tools
  /** A small tree with names that are hard, and a file of 20 MiB. */
  let tree: string
  let largeFile: string

  beforeAll(async () => {
    s3 = await start()
    tools = new S3Tools(s3.url, s3.directory)
    tree = join(s3.directory, 'tree')
    await mkdir(join(tree, 'names'), { recursive: true })
    await copyRealTree(tree, SMALL_TREE_FILES)
    const names = ['two words', 'ünïcödé 日本語', '%41+b&c', 'plain', "quote'"]
    for (const name of names) await writeFile(join(tree, 'names', name), `of ${name}`)
    await writeFile(join(tree, 'names', 'empty'), '')
    largeFile = join(s3.directory, 'large.bin')
    await writeFile(largeFile, large)
  })

  afterAll(async () => {
    await s3[Symbol.asyncDispose]()
  })

  describe('the AWS SDK for JavaScript', () => {
    const Bucket = 'of-the-sdk'
    let sdk: S3Client

    beforeAll(async () => {
      sdk = s3.sdk()
      await sdk.send(new CreateBucketCommand({ Bucket }))
    })

    afterAll(() => sdk.destroy())

    async function read(Key: string): Promise<Buffer> {
      const { Body } = await sdk.send(new GetObjectCommand({ Bucket, Key }))
      return Buffer.from((await Body?.transformToByteArray()) ?? [])
    }

    test('puts, heads, lists, gets and deletes a buffer, a string and nothing', async () => {
      const bodies = { 'a b/ü+%': large.subarray(0, 3 * MIB), text: 'hello', nothing: '' }
      for (const [Key, Body] of Object.entries(bodies)) {
        await sdk.send(new PutObjectCommand({ Bucket, Key, Body, Metadata: { of: 'tests' } }))
        expect((await read(Key)).equals(Buffer.from(Body)), Key).toBe(true)
        const head = await sdk.send(new HeadObjectCommand({ Bucket, Key }))
        expect(head).toMatchObject({ ContentLength: Body.length, Metadata: { of: 'tests' } })
      }
      const { Contents } = await sdk.send(new ListObjectsV2Command({ Bucket }))
      expect(Contents?.map(({ Key }) => Key)).toEqual(['a b/ü+%', 'nothing', 'text'])
      const Objects = Object.keys(bodies).map((Key) => ({ Key }))
      await sdk.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }))
      expect(await sdk.send(new ListObjectsV2Command({ Bucket }))).toMatchObject({ KeyCount: 0 })
    })

    test('puts a stream whose length it knows', async () => {
      const Body = createReadStream(largeFile)
      await sdk.send(new PutObjectCommand({ Bucket, Key: 's', Body, ContentLength: LARGE_BYTES }))
      expect((await read('s')).equals(large)).toBe(true)
    })

    test('uploads 20 MiB from a stream of unknown length in parts', async () => {
      const Body = Readable.from([large.subarray(0, 7 * MIB), large.subarray(7 * MIB)])
      const { ETag } = await new Upload({ client: sdk, params: { Bucket, Key: 'm', Body } }).done()
      expect(ETag).toMatch(/^"[0-9a-f]{32}-4"$/)
      expect((await read('m')).equals(large)).toBe(true)
    })

    test('signs URLs for a put and a get that anybody can use, and a form', async () => {
      const put = await getSignedUrl(sdk, new PutObjectCommand({ Bucket, Key: 'signed' }))
      const body = large.subarray(0, 70_000)
      expect((await fetch(put, { method: 'PUT', body })).status).toBe(200)
      const get = await getSignedUrl(sdk, new GetObjectCommand({ Bucket, Key: 'signed' }))
      const answer = await fetch(get)
      expect(Buffer.from(await answer.arrayBuffer()).equals(body)).toBe(true)
      expect((await fetch(get.replace(/X-Amz-Signature=../, '$&00'))).status).toBe(403)

      const Conditions = [
        ['content-length-range', 1, 1000] as ['content-length-range', number, number],
      ]
      const { fields, url } = await createPresignedPost(sdk, { Bucket, Key: 'form', Conditions })
      expect((await postForm(url, fields, 'x'.repeat(1000))).status).toBe(204)
      expect((await read('form')).toString()).toBe('x'.repeat(1000))
      const tooLong = await postForm(url, fields, 'x'.repeat(1001))
      expect([tooLong.status, await tooLong.text()]).toEqual([
        400,
        expect.stringContaining('<Code>EntityTooLarge</Code>'),
      ])
    })
  })

  describe('minio for JavaScript', () => {
    const bucket = 'of-minio'

    beforeAll(async () => {
      await s3.minio().makeBucket(bucket)
    })

    test('puts, stats, gets, copies, lists and removes', async () => {
      const minio = s3.minio()
      expect(await minio.bucketExists(bucket)).toBe(true)
      const body = large.subarray(0, 100_000)
      await minio.putObject(bucket, 'a/b c', body, body.length, { 'X-Amz-Meta-Of': 'tests' })
      const stat = await minio.statObject(bucket, 'a/b c')
      expect(stat).toMatchObject({ size: body.length, metaData: { of: 'tests' } })
      const source = new CopySourceOptions({ Bucket: bucket, Object: 'a/b c' })
      await minio.copyObject(source, new CopyDestinationOptions({ Bucket: bucket, Object: 'copy' }))
      expect((await readAll(await minio.getObject(bucket, 'copy'))).equals(body)).toBe(true)
      const listed = await listAll(minio.listObjectsV2(bucket, '', true))
      expect(listed.map(({ name, size }) => [name, size])).toEqual([
        ['a/b c', body.length],
        ['copy', body.length],
      ])
      const level = await listAll(minio.listObjectsV2(bucket, '', false))
      expect(level).toMatchObject([{ name: 'copy' }, { prefix: 'a/' }])
      await minio.removeObject(bucket, 'copy')
      await minio.removeObjects(bucket, ['a/b c', 'never was'])
      expect(await listAll(minio.listObjectsV2(bucket, '', true))).toEqual([])
    })

    test('puts a file of 20 MiB in parts, and signs URLs', async () => {
      const minio = s3.minio()
      // Parts of its default, 64 MiB, would make this one request.
      minio.partSize = 5 * MIB
      await minio.fPutObject(bucket, 'large', largeFile)
      const copy = join(s3.directory, 'of-minio.bin')
      await minio.fGetObject(bucket, 'large', copy)
      expect((await readFile(copy)).equals(large)).toBe(true)
      const put = await minio.presignedPutObject(bucket, 'signed', 60)
      expect((await fetch(put, { method: 'PUT', body: 'hello' })).status).toBe(200)
      const answer = await fetch(await minio.presignedGetObject(bucket, 'signed', 60))
      expect(await answer.text()).toBe('hello')
    })
  })

  test('rclone copies, checks, syncs, lists and deletes', async () => {
    if (skipLoudly('rclone', toolMissing('rclone'))) return
    const at = 'hayloft:of-rclone'
    const local = join(s3.directory, 'for-rclone')
    await cp(tree, local, { recursive: true })
    await cp(largeFile, join(local, 'large'))
    await tools.rclone('copy', local, at)
    expect(await tools.rclone('check', local, at)).toMatch(/ 0 differences found/)
    await rm(join(local, 'names/plain'))
    await writeFile(join(local, 'names/two words'), 'changed')
    await tools.rclone('sync', local, at)
    expect(await tools.rclone('check', '--download', local, at)).toMatch(/ 0 differences found/)
    const listed = await tools.rclone('lsl', at)
    expect(listed).toMatch(/^ *20971520 .* large$/m)
    expect(listed).not.toContain('names/plain')
    await tools.rclone('delete', at)
    expect(await tools.rclone('lsl', at)).not.toContain('large')
  })

  // The rest takes longer, and asks nothing else of a gateway.
  if (way !== 'hayloft server') return

  test('README: S3 in two minutes, as it is written but for ports and what installs the command', async () => {
    if (skipLoudly('the AWS CLI', toolMissing('aws'))) return
    const readme = await readFile(`${REPOSITORY}README.md`, 'utf8')
    const [, section = ''] = /^## S3 in two minutes\n(.*?)^## /ms.exec(readme) ?? []
    const blocks = Array.from(section.matchAll(/^```(?:sh|js)\n(.*?)^```/gms), ([, text = '']) =>
      text
        .replaceAll('http://127.0.0.1:8333', s3.url)
        .replaceAll('npx hayloft', `${process.execPath} ${REPOSITORY}dist/cli/main.js`),
    )
    const [first = '', script = '', last = ''] = blocks
    await writeFile(join(s3.directory, 'try-s3.mjs'), script)
    await symlink(`${REPOSITORY}node_modules`, join(s3.directory, 'node_modules'))
    const shell = `set -e; export HAYLOFT_MASTER=${s3.masterAddress}\n${first}\n${last}`
    const said = await tools.run('bash', ['-c', shell], s3.directory)
    expect(said).toMatch(/make_bucket: photos\n/)
    expect(said).toMatch(/ 6 2026\/hello\.txt\n(?:.*\n)*?hello\n(?:.*\n)*?hello again\n/)
    expect(said).toMatch(/\naccess key +HL[A-Z0-9]+\n/)
  })

  // Several versions may be installed, which send different things by default.
  test.each(AWS_TOOLS.map((path, index) => [path, `of-aws-${index}`] as const))(
    '%s makes a bucket, copies 20 MiB in parts, syncs, lists, tags, signs and removes',
    async (path, bucket) => {
      if (skipLoudly('the AWS CLI', toolMissing('aws'))) return
      const aws = (...args: string[]) => tools.aws(path, ...args)
      const api = async (command: string, ...args: string[]) =>
        JSON.parse((await aws('s3api', command, '--bucket', bucket, ...args)) || '{}')
      const at = `s3://${bucket}`
      await aws('s3', 'mb', at)
      const sync = ['s3', 'sync', '--no-follow-symlinks', tree, `${at}/tree`]
      // They spend most of their time on starting: some side by side.
      await Promise.all([aws('s3', 'cp', '--quiet', largeFile, `${at}/large`), aws(...sync)])
      const copy = join(s3.directory, `${bucket}.bin`)
      const names = `${at}/tree/names`
      const [head, , listed, url, unchanged] = await Promise.all([
        api('head-object', '--key', 'large'),
        aws('s3', 'cp', '--quiet', `${at}/large`, copy),
        aws('s3', 'ls', '--recursive', `${names}/`),
        aws('s3', 'presign', `${names}/plain`),
        aws(...sync),
      ])
      expect((await readFile(copy)).equals(large)).toBe(true)
      expect(head).toMatchObject({ ContentLength: LARGE_BYTES })
      expect(head).toMatchObject({ ETag: expect.stringMatching(/^"[0-9a-f]{32}-3"$/) })
      expect(listed).toContain(' tree/names/ünïcödé 日本語\n')
      await expectPresigned(url)
      expect(unchanged).toBe('')
      await Promise.all([
        aws('s3', 'rm', '--recursive', '--quiet', `${at}/tree`),
        api('put-object-tagging', '--key', 'large', '--tagging', 'TagSet=[{Key=a,Value=b c}]'),
      ])
      const [tags, list, location] = await Promise.all([
        api('get-object-tagging', '--key', 'large'),
        api('list-objects-v2'),
        api('get-bucket-location'),
      ])
      expect(tags).toMatchObject({ TagSet: [{ Key: 'a', Value: 'b c' }] })
      expect(list.Contents).toMatchObject([{ Key: 'large', Size: LARGE_BYTES }])
      expect(location).toEqual({ LocationConstraint: null })
    },
  )

  test('s3cmd makes a bucket, puts 20 MiB in parts, syncs, lists and deletes', async () => {
    if (skipLoudly('s3cmd', toolMissing('s3cmd'))) return
    const at = 's3://of-s3cmd'
    await tools.s3cmd('mb', at)
    await tools.s3cmd('put', largeFile, `${at}/large`)
    expect(await tools.s3cmd('info', `${at}/large`)).toMatch(/File size: 20971520\n/)
    const copy = join(s3.directory, 'of-s3cmd.bin')
    await tools.s3cmd('get', `${at}/large`, copy)
    expect((await readFile(copy)).equals(large)).toBe(true)
    await tools.s3cmd('sync', `${tree}/`, `${at}/tree/`)
    expect(await tools.s3cmd('sync', '--dry-run', `${tree}/`, `${at}/tree/`)).not.toContain(
      'upload:',
    )
    expect(await tools.s3cmd('ls', `${at}/tree/names/`)).toContain('/tree/names/ünïcödé 日本語\n')
    const back = join(s3.directory, 'of-s3cmd')
    await mkdir(back)
    await tools.s3cmd('sync', `${at}/tree/`, `${back}/`)
    await expectSameContents(back, tree)
    await tools.s3cmd('del', '--recursive', `${at}/tree/`)
    expect(await tools.s3cmd('ls', '--recursive', at)).toMatch(/^[^\n]* s3:\/\/of-s3cmd\/large\n$/)
  })

  test(`restic backs up ${RESTIC_FILES} files, checks and restores them`, async () => {
    if (skipLoudly('restic', toolMissing('restic'))) return
    const restic = (cwd: string | undefined, ...args: string[]) =>
      tools.restic('of-restic', ['--quiet', ...args], cwd)
    const files = join(s3.directory, 'for-restic')
    await mkdir(files)
    expect(await copyRealTree(files, RESTIC_FILES)).toBe(RESTIC_FILES)
    await restic(undefined, 'init')
    await restic(files, 'backup', '.')
    await restic(undefined, 'check', '--read-data')
    const back = join(s3.directory, 'of-restic')
    await restic(undefined, 'restore', 'latest', '--target', back)
    const [found, expected] = [await describeTree(back), await describeTree(files)]
    expect([...expected].filter(([path, what]) => found.get(path) !== what)).toEqual([])
    expect(found.size).toBe(expected.size)
  })

  test('s3fs mounts a bucket: files are copied in, read back, moved and removed', async () => {
    if (skipLoudly('s3fs', toolMissing('s3fs') ?? mountingUnsupported(['mount.fuse']))) return
    if (skipLoudly('s3fs', await fuseUnusable())) return
    const sdk = s3.sdk()
    await sdk.send(new CreateBucketCommand({ Bucket: 'of-s3fs' }))
    sdk.destroy()
    const keys = join(s3.directory, 'keys-of-s3fs')
    const { accessKeyId, secretAccessKey } = S3_KEY
    await writeFile(keys, `${accessKeyId}:${secretAccessKey}`, { mode: 0o600 })
    const options = `passwd_file=${keys},url=${s3.url},use_path_request_style`
    const mount = () => mountIn(s3.directory, '-t', 'fuse.s3fs', 'of-s3fs', '-o', options)
    const mounted = await mount()
    try {
      await cp(tree, join(mounted, 'tree'), { recursive: true })
      await cp(largeFile, join(mounted, 'large'))
      expect(await readdir(mounted)).toEqual(['large', 'tree'])
      // Mounted anew, nothing comes from a cache.
      await unmount(mounted)
      await mount()
      await expectSameContents(join(mounted, 'tree'), tree)
      await rename(join(mounted, 'large'), join(mounted, 'moved'))
      expect((await readFile(join(mounted, 'moved'))).equals(large)).toBe(true)
      await rm(join(mounted, 'tree'), { recursive: true })
      expect(await readdir(mounted)).toEqual(['moved'])
      await unmount(mounted)
    } finally {
      await unmountForSure(mounted)
    }
  })

  async function expectPresigned(url: string): Promise<void> {
    const answer = await fetch(url.trim())
    const text = await answer.text()
    // Old ones sign with Version 2, whatever the server says: it tells how to change that.
    if (url.includes('AWSAccessKeyId=')) expect(text).toContain("signature_version='s3v4'")
    else expect(text).toBe('of plain')
  }
})

async function fuseUnusable(): Promise<string | undefined> {
  try {
    await using _device = await open('/dev/fuse', 'r+')
    return undefined
  } catch (error) {
    return String(error)
  }
}

async function postForm(
  url: string,
  fields: Readonly<Record<string, string>>,
  text: string,
): Promise<Response> {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  form.append('file', new Blob([text]))
  return await fetch(url, { method: 'POST', body: form })
}

async function readAll(stream: Readable): Promise<Buffer> {
  return Buffer.concat(await stream.toArray())
}

async function listAll(stream: AsyncIterable<BucketItem>): Promise<BucketItem[]> {
  const items: BucketItem[] = []
  for await (const item of stream) items.push(item)
  return items
}

/** The same files with the same bytes; links, empty directories, modes and times are not kept. */
async function expectSameContents(found: string, expected: string): Promise<void> {
  expect(await contentsOf(found)).toEqual(await contentsOf(expected))
}

async function contentsOf(root: string): Promise<Record<string, string>> {
  const described = [...(await describeTree(root))]
  const files = described.filter(([, what]) => what.startsWith('file '))
  return Object.fromEntries(files.map(([path, what]) => [path, what.split(' ').at(-1) ?? '']))
}
