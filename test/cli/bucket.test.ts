import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { NO_ATTRIBUTES } from '../../src/namespace/object-version.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { type RunningServer, startServer } from '../../src/server/start-server.ts'
import { type CliRun, runCli } from '../support/cli-run.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const NEVER = new AbortController().signal

let temp: Awaited<ReturnType<typeof openTempDirectory>>
let server: RunningServer
let master: string
let ownerId: string

beforeAll(async () => {
  temp = await openTempDirectory()
  const dir = join(temp.path, 'data')
  server = await startServer({ dir, port: 0, volumePort: 0, durability: 'none' })
  const port = server.masterGrpcAddress.slice(server.masterGrpcAddress.lastIndexOf(':') + 1)
  master = `${server.masterUrl.replace('http://', '')}.${port}`
  ownerId = (await server.users.add({ name: 'alice' }, NEVER)).canonicalId
  const made = { name: 'photos', ownerId, isLockEnabled: true, documents: { cors: '[]' } }
  const photos = await server.namespace.createBucket(made, NEVER)
  const stranger = { name: 'letters', ownerId: 'cd'.repeat(32), isLockEnabled: false }
  await server.namespace.createBucket({ ...stranger, documents: {} }, NEVER)
  const version = {
    ...NO_ATTRIBUTES,
    id: newVersionId(cryptoRandom, 1),
    sizeBytes: 3000,
    etag: '0'.repeat(32),
    storageClass: 'STANDARD' as const,
    checksum: undefined,
    parts: [{ fileId: '3,01637037d6', sizeBytes: 3000 }],
    ownerId: undefined,
  }
  await server.namespace.putObject({ bucket: photos, key: 'a', version }, NEVER)
})

afterAll(async () => {
  await server?.close()
  await temp[Symbol.asyncDispose]()
})

function bucket(...args: readonly string[]): Promise<CliRun> {
  const env = { HAYLOFT_MASTER: master, HAYLOFT_SECRET_FILE: server.secretFile }
  const seed = cryptoRandom.u32()
  return runCli(['bucket', ...args], new NodeDisk(), { isRealTime: true, env, seed })
}

describe('hayloft bucket', () => {
  test('list has the buckets of all users, with the names of those that there are', async () => {
    const run = await bucket('list')
    expect(run).toMatchObject({ exitCode: 0, err: '' })
    const [headings, ...rows] = run.out.trimEnd().split('\n')
    expect(headings).toMatch(/^BUCKET +VERSIONING +MAX SIZE +MAX OBJECTS +OWNER +CREATED$/)
    expect(rows).toHaveLength(2)
    expect(rows[0]).toMatch(new RegExp(`^letters +off +- +- +${'cd'.repeat(32)} +\\d{4}-`))
    expect(rows[1]).toMatch(/^photos +enabled +- +- +alice +\d{4}-.*Z$/)
  })

  test('list --json has one object a line', async () => {
    const lines = (await bucket('list', '--json')).out.trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { name: 'letters', versioning: 'off', settings: [], quota: {} },
      { name: 'photos', ownerId, isLockEnabled: true, settings: ['cors'] },
    ])
  })

  test('show has what a bucket holds', async () => {
    const run = await bucket('show', 'photos')
    expect(run).toMatchObject({ exitCode: 0, err: '' })
    for (const line of [
      /^bucket +photos$/m,
      new RegExp(`^owner +alice \\(${ownerId}\\)$`, 'm'),
      /^versioning +enabled$/m,
      /^object lock +yes$/m,
      /^settings +cors$/m,
      /^size +.*\(3000 bytes\)$/m,
      /^objects +1 \(all versions\)$/m,
      /^max size +-$/m,
      /^max objects +-$/m,
    ]) {
      expect(run.out).toMatch(line)
    }
    const json: unknown = JSON.parse((await bucket('show', 'photos', '--json')).out)
    expect(json).toMatchObject({ name: 'photos', usage: { bytes: 3000, objects: 1 } })
  })

  test('quota sets what is given, keeps what is not, and takes all away with --none', async () => {
    const quota = async () => {
      const shown: unknown = JSON.parse((await bucket('show', 'photos', '--json')).out)
      return (shown as { quota: unknown }).quota
    }
    expect((await bucket('quota', 'photos', '--bytes', '10GiB')).out).toBe(
      'photos: at most 10 GiB, any number of objects from now on\n',
    )
    expect(await quota()).toEqual({ bytesMax: 10 * 2 ** 30 })
    expect((await bucket('quota', 'photos', '--objects', '5')).out).toBe(
      'photos: at most 10 GiB, at most 5 objects from now on\n',
    )
    expect(await quota()).toEqual({ bytesMax: 10 * 2 ** 30, objectsMax: 5 })
    expect((await bucket('quota', 'photos', '--bytes', '0')).exitCode).toBe(0)
    expect(await quota()).toEqual({ bytesMax: 0, objectsMax: 5 })
    expect((await bucket('quota', 'photos', '--none')).out).toBe('photos: no quota from now on\n')
    expect(await quota()).toEqual({})
  })

  test.each([
    [['quota', 'photos'], 'CONFIG_INVALID'],
    [['quota', 'photos', '--none', '--objects', '1'], 'CONFIG_INVALID'],
    [['quota', 'photos', '--objects', '-1'], 'CONFIG_INVALID'],
    [['quota', 'photos', '--objects', 'many'], 'CONFIG_INVALID'],
    [['quota', 'photos', '--bytes', 'much'], 'CONFIG_INVALID'],
    [['quota', 'missing', '--none'], 'BUCKET_NOT_FOUND'],
    [['show', 'missing'], 'BUCKET_NOT_FOUND'],
    [['show', 'No Bucket'], 'BUCKET_NOT_FOUND'],
  ])('%j is %s', async (args, code) => {
    const run = await bucket(...args)
    expect(run).toMatchObject({ exitCode: 2, out: '' })
    expect(run.err).toMatch(new RegExp(`^hayloft: ${code}: `))
  })

  test('without the cluster secret is UNAUTHENTICATED', async () => {
    const env = { HAYLOFT_MASTER: master }
    const run = await runCli(['bucket', 'list'], new NodeDisk(), { isRealTime: true, env, seed: 1 })
    expect(run).toMatchObject({ exitCode: 2, out: '' })
    expect(run.err).toMatch(/^hayloft: UNAUTHENTICATED: /)
  })
})
