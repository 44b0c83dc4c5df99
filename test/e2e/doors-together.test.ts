import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { DoorProcess } from '../support/door-processes.ts'
import { type AccessKey, FilesCli, type FilesRun, runHayloft } from '../support/files-cli.ts'
import { jsonOf, viaFetch } from '../support/http-clients.ts'
import { S3_KEY } from '../support/s3-endpoint.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const MIB = 2 ** 20
const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

let owned: DisposeStack
let directory: string
let door: DoorProcess
let s3: S3Client

beforeAll(async () => {
  await using opening = new DisposeStack()
  directory = opening.use(await openTempDirectory()).path
  door = opening.use(await DoorProcess.ofServer(directory, { volumeServers: 6 }))
  s3 = door.sdk()
  opening.defer(async () => s3.destroy())
  owned = opening.move()
})

afterAll(async () => {
  await owned?.[Symbol.asyncDispose]()
})

function sha256(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex')
}

async function putS3(Bucket: string, Key: string, Body: Buffer | string): Promise<void> {
  await s3.send(new PutObjectCommand({ Bucket, Key, Body, ContentType: 'text/x-s3' }))
}

async function readS3(Bucket: string, Key: string): Promise<Buffer> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }))
  return Buffer.from((await Body?.transformToByteArray()) ?? [])
}

async function keysOfS3(Bucket: string): Promise<readonly (string | undefined)[]> {
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket }))
  return Contents.map(({ Key }) => Key)
}

async function ask(path: string, method = 'GET'): Promise<{ status: number; body: Buffer }> {
  const { body, status } = await viaFetch(door.restUrl + path, { method })
  return { status, body }
}

async function upload(key: string, data: Buffer | string): Promise<void> {
  const form = { field: 'file', name: 'f', type: 'text/x-form', data }
  const answer = await viaFetch(`${door.restUrl}/objects/${key}`, { form })
  expect(answer.status).toBe(200)
}

async function write(key: string, strategy: string, value: object): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const url = `${door.restUrl}/write?key=${key}&strategy=${strategy}`
  const answer = await viaFetch(url, { headers, body: JSON.stringify(value) })
  expect(answer.status).toBe(200)
}

describe('one object, seen through several doors', () => {
  test('an object uploaded as a form is that object in S3', async () => {
    await upload('docs/a.txt', 'uploaded')
    expect((await readS3('objects', 'docs/a.txt')).toString()).toBe('uploaded')
    const head = await s3.send(
      new HeadObjectCommand({ Bucket: 'objects', Key: 'docs/a.txt', ChecksumMode: 'ENABLED' }),
    )
    const md5 = createHash('md5').update('uploaded').digest('hex')
    expect(head).toMatchObject({
      ContentType: 'text/x-form',
      ContentLength: 8,
      ETag: `"${md5}"`,
      ChecksumSHA256: createHash('sha256').update('uploaded').digest('base64'),
    })
    expect(await keysOfS3('objects')).toContain('docs/a.txt')
    await s3.send(new DeleteObjectCommand({ Bucket: 'objects', Key: 'docs/a.txt' }))
    expect((await ask('/objects/docs/a.txt')).status).toBe(404)
  })

  test('what S3 puts into the bucket objects is read, described, listed and deleted', async () => {
    await putS3('objects', 's3/b.txt', 'put')
    const read = await viaFetch(`${door.restUrl}/objects/s3/b.txt`)
    expect([read.status, read.body.toString()]).toEqual([200, 'put'])
    expect(read.headers.get('content-type')).toBe('text/x-s3')
    expect(jsonOf(await viaFetch(`${door.restUrl}/objects/s3/b.txt/info`))).toEqual({
      key: 's3/b.txt',
      size: 3,
      content_type: 'text/x-s3',
      created_at: expect.stringMatching(ISO_TIME),
      updated_at: expect.stringMatching(ISO_TIME),
      version: 1,
      checksum: sha256('put'),
    })
    const listed = await viaFetch(`${door.restUrl}/objects?prefix=s3/`)
    expect(jsonOf(listed)).toEqual({ objects: ['s3/b.txt'], count: 1 })
    // Each door counts the writes of the other.
    await upload('s3/b.txt', 'uploaded over it')
    await putS3('objects', 's3/b.txt', 'put again')
    const info = jsonOf(await viaFetch(`${door.restUrl}/objects/s3/b.txt/info`))
    expect(info).toMatchObject({ version: 3, size: 9, checksum: sha256('put again') })
    expect((await ask('/objects/s3/b.txt', 'DELETE')).status).toBe(200)
    expect(await keysOfS3('objects')).not.toContain('s3/b.txt')
  })

  test('an S3 upload in several parts is one object, ranges over their border included', async () => {
    const data = Buffer.alloc(11 * MIB, 'parts of an upload ')
    const params = { Bucket: 'objects', Key: 'large', Body: data }
    await new Upload({ client: s3, params, partSize: 5 * MIB }).done()
    const read = await ask('/objects/large')
    expect([read.status, sha256(read.body)]).toEqual([200, sha256(data)])
    const headers = { range: `bytes=${5 * MIB - 10}-${5 * MIB + 9}` }
    const part = await viaFetch(`${door.restUrl}/objects/large`, { headers })
    expect(part.status).toBe(206)
    expect(part.body).toEqual(data.subarray(5 * MIB - 10, 5 * MIB + 10))
    const info = jsonOf(await viaFetch(`${door.restUrl}/objects/large/info`))
    expect(info).toMatchObject({ size: data.length, version: 1, checksum: sha256(data) })
    await ask('/objects/large', 'DELETE')
  })

  test.each(['replication', 'ec', 'field_hybrid'])(
    'a document by %s is valid JSON in S3',
    async (strategy) => {
      const key = `doc-${strategy}`
      const value = { title: 'Größe', like_count: 3, nested: { list: [1, null, 'x'.repeat(500)] } }
      await write(key, strategy, value)
      const text = await readS3('documents', key)
      expect(JSON.parse(text.toString())).toEqual(value)
      const head = await s3.send(new HeadObjectCommand({ Bucket: 'documents', Key: key }))
      expect(head).toMatchObject({ ContentType: 'application/json', ContentLength: text.length })
      expect((await ask(`/read/${key}`)).body).toEqual(text)
      await write(key, strategy, { ...value, like_count: 4 })
      expect(JSON.parse((await readS3('documents', key)).toString())).toEqual({
        ...value,
        like_count: 4,
      })
      await s3.send(new DeleteObjectCommand({ Bucket: 'documents', Key: key }))
      expect((await ask(`/read/${key}`)).status).toBe(404)
      expect(jsonOf(await viaFetch(`${door.restUrl}/storage_usage`))).toMatchObject({
        total_system_size: 0,
        documents: 0,
      })
    },
  )

  test('a document that S3 puts is read as it is, and can be updated by fields', async () => {
    const text = '{"a": 1,\n "like_count": 2}'
    await putS3('documents', 'from-s3', text)
    const read = await ask('/read/from-s3')
    expect([read.status, read.body.toString()]).toEqual([200, text])
    await write('from-s3', 'field_hybrid', { a: 1, like_count: 3 })
    expect(JSON.parse((await readS3('documents', 'from-s3')).toString())).toEqual({
      a: 1,
      like_count: 3,
    })
    expect((await ask('/delete/from-s3', 'DELETE')).status).toBe(200)
    expect(await keysOfS3('documents')).toEqual([])
  })

  test('what S3 puts as a document and is no JSON is an error that says so', async () => {
    await putS3('documents', 'no-json', 'plain text')
    const { body, status } = await ask('/read/no-json')
    expect(status).toBe(422)
    expect(JSON.parse(body.toString())).toMatchObject({ code: expect.any(String) })
    expect((await ask('/delete/no-json', 'DELETE')).status).toBe(200)
  })
})

describe('files of a user, by the command line', () => {
  let key: AccessKey
  let alice: FilesCli
  let root: FilesCli

  beforeAll(async () => {
    const secret = join(directory, 'data', 'master', 'cluster.secret')
    const master = ['--master', door.masterAddress, '--secret-file', secret]
    const added = await runHayloft(['user', 'add', 'alice', '--json', ...master])
    expect([added.exitCode, added.err]).toEqual([0, ''])
    key = JSON.parse(added.out.toString())
    alice = new FilesCli(door.filesAddress, key)
    root = new FilesCli(door.filesAddress, S3_KEY)
  })

  const infoOf = async (cli: FilesCli, ...args: string[]): Promise<Record<string, unknown>> =>
    JSON.parse((await cli.done(['info', '--json', ...args])).toString())

  function expectFailure({ err, exitCode, out }: FilesRun, code: string): void {
    expect([exitCode, out.toString()]).toEqual([2, ''])
    expect(err).toContain(code)
  }

  test('are uploaded, described, listed, found, updated, downloaded and removed', async () => {
    const path = join(directory, 'report.txt')
    await writeFile(path, 'first edition')
    expect((await alice.done(['upload', path])).toString()).toBe('report.txt\n')
    const first = await infoOf(alice, 'report.txt')
    expect(first).toEqual({
      user: 'alice',
      name: 'report.txt',
      sizeBytes: 13,
      contentType: 'text/plain',
      createdAt: expect.stringMatching(ISO_TIME),
      modifiedAt: expect.stringMatching(ISO_TIME),
      version: 1,
      sha256: sha256('first edition'),
      etag: createHash('md5').update('first edition').digest('hex'),
      chunkCount: 1,
    })
    await writeFile(path, 'second edition')
    await alice.done(['update', path])
    expect(await infoOf(alice, 'report.txt')).toMatchObject({
      version: 2,
      createdAt: first['createdAt'],
      sha256: sha256('second edition'),
    })
    const copy = join(directory, 'copy.txt')
    await alice.done(['download', 'report.txt', '-o', copy])
    expect(await readFile(copy, 'utf8')).toBe('second edition')
    const range = await alice.done(['download', 'report.txt', '--range', '7-', '-o', '-'])
    expect(range.toString()).toBe('edition')
    expect((await alice.done(['ls'])).toString()).toBe('report.txt\n')
    expect((await alice.done(['search', 'PORT'])).toString()).toBe('report.txt\n')
    expect((await alice.done(['search', '*.txt'])).toString()).toBe('report.txt\n')
    expect((await alice.done(['search', '*.pdf'])).toString()).toBe('')
    expect((await alice.done(['rm', 'report.txt'])).toString()).toBe('deleted report.txt\n')
    expect((await alice.done(['ls'])).toString()).toBe('')
  })

  test('fail with a code and exit code 2, and change nothing', async () => {
    await alice.done(['upload', '-', '--name', 'kept'], 'kept')
    expectFailure(await alice.run(['info', 'nope']), 'OBJECT_NOT_FOUND')
    expectFailure(await alice.run(['download', 'nope', '-o', '-']), 'OBJECT_NOT_FOUND')
    expectFailure(await alice.run(['rm', 'nope']), 'OBJECT_NOT_FOUND')
    expectFailure(await alice.run(['update', '-', '--name', 'nope'], 'x'), 'OBJECT_NOT_FOUND')
    expectFailure(await alice.run(['upload', '-', '--name', 'kept'], 'other'), 'TARGET_EXISTS')
    expectFailure(await alice.run(['ls', '--user', 'root']), 'ACCESS_DENIED')
    expectFailure(await alice.run(['search', 'k', '--all']), 'ACCESS_DENIED')
    const stranger = new FilesCli(door.filesAddress, { ...key, secretAccessKey: 'not-hers' })
    expectFailure(await stranger.run(['ls']), 'UNAUTHENTICATED')
    expect((await alice.done(['ls'])).toString()).toBe('kept\n')
    expect((await alice.done(['download', 'kept', '-o', '-'])).toString()).toBe('kept')
    const found = await root.done(['search', 'ke', '--all'])
    expect(found.toString()).toBe('alice/kept\n')
    await root.done(['rm', 'kept', '--user', 'alice'])
  })

  test('are objects of S3, in several chunks too, and the other way round', async () => {
    const data = Buffer.alloc(17 * MIB, 'a long file ')
    await alice.done(['upload', '-', '--name', 'long/file.bin'], data)
    expect(await infoOf(alice, 'long/file.bin')).toMatchObject({
      chunkCount: 3,
      sizeBytes: data.length,
      sha256: sha256(data),
    })
    expect(sha256(await readS3('files', 'alice/long/file.bin'))).toBe(sha256(data))
    expect(await keysOfS3('files')).toEqual(['alice/long/file.bin'])
    await putS3('files', 'alice/from-s3.txt', 'put')
    expect((await alice.done(['ls'])).toString()).toBe('from-s3.txt\nlong/file.bin\n')
    expect((await alice.done(['download', 'from-s3.txt', '-o', '-'])).toString()).toBe('put')
    expect((await alice.done(['search', 'FROM'])).toString()).toBe('from-s3.txt\n')
    expect(await infoOf(alice, 'from-s3.txt')).toMatchObject({
      sizeBytes: 3,
      contentType: 'text/x-s3',
    })
    await alice.done(['update', '-', '--name', 'from-s3.txt'], 'updated')
    expect((await readS3('files', 'alice/from-s3.txt')).toString()).toBe('updated')
    await s3.send(new DeleteObjectCommand({ Bucket: 'files', Key: 'alice/from-s3.txt' }))
    await alice.done(['rm', 'long/file.bin'])
    expect(await keysOfS3('files')).toEqual([])
  })
})
