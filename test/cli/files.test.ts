import { createHash } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { type RunningServer, startServer } from '../../src/server/start-server.ts'
import { type CliRun, type CliRunOptions, runCli } from '../support/cli-run.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { SIGNAL } from '../support/test-volume.ts'

let temp: Awaited<ReturnType<typeof openTempDirectory>>
let server: RunningServer
let keys: Record<string, { readonly accessKeyId: string; readonly secret: string }>
let here: string
let rooms = 0

beforeAll(async () => {
  temp = await openTempDirectory()
  server = await startServer({
    dir: join(temp.path, 'data'),
    port: 0,
    volumePort: 0,
    durability: 'none',
    volumeSize: '64MiB',
    repair: { workers: 0 },
    doors: { files: { host: '127.0.0.1', port: 0, chunkBytes: 65_536, cacheBytes: 1_000_000 } },
  })
  keys = {}
  for (const name of ['ada', 'bob']) {
    await server.users.add({ name }, SIGNAL)
    keys[name] = await server.users.addKey({ userName: name }, SIGNAL)
  }
})

afterAll(async () => {
  await server?.close()
  await temp[Symbol.asyncDispose]()
})

beforeEach(() => {
  rooms++
  here = join(temp.path, String(rooms))
})

function environment(name: string): Readonly<Record<string, string>> {
  const { accessKeyId = '', secret = '' } = keys[name] ?? {}
  const gateway = server.filesAddress ?? ''
  return { HAYLOFT_GATEWAY: gateway, HAYLOFT_ACCESS_KEY: accessKeyId, HAYLOFT_SECRET_KEY: secret }
}

function files(
  user: string,
  args: readonly string[],
  more: Partial<CliRunOptions> = {},
): Promise<CliRun> {
  const options = { isRealTime: true, seed: cryptoRandom.u32(), env: environment(user), ...more }
  return runCli(['files', ...args], new NodeDisk(), options)
}

/** The root user shows the key file of the server. */
function asRoot(...args: readonly string[]): Promise<CliRun> {
  const env = { HAYLOFT_GATEWAY: server.filesAddress ?? '', HAYLOFT_KEY_FILE: server.rootKeyFile }
  return files('', args, { env })
}

async function local(name: string, data: Uint8Array | string): Promise<string> {
  await new NodeDisk().createDirectory(here)
  const path = join(here, name)
  await writeFile(path, data)
  return path
}

const BIG = Buffer.alloc(3_000_000, 'every byte counts ')

describe('hayloft files', () => {
  test('upload, info, ls, download and rm of a large file', async () => {
    const path = await local('big.txt', BIG)
    const stored = await files('ada', ['upload', path])
    expect(stored).toEqual({ exitCode: 0, out: 'big.txt\n', err: '' })
    const info = await files('ada', ['info', 'big.txt', '--json'])
    const sha256 = createHash('sha256').update(BIG).digest('hex')
    expect(JSON.parse(info.out)).toMatchObject({
      user: 'ada',
      name: 'big.txt',
      sizeBytes: BIG.length,
      contentType: 'text/plain',
      version: 1,
      sha256,
      chunkCount: 46,
    })
    const shown = await files('ada', ['info', 'big.txt'])
    expect(shown.out).toContain(`sha256    ${sha256}\n`)
    expect((await files('ada', ['ls', 'big'])).out).toBe('big.txt\n')
    expect((await files('ada', ['ls', '-l', 'big'])).out).toMatch(/^3000000 \S+Z v1 big\.txt\n$/)
    const back = join(here, 'back.txt')
    const fetched = await files('ada', ['download', 'big.txt', '-o', back])
    expect(fetched).toEqual({ exitCode: 0, out: '', err: '' })
    expect((await readFile(back)).equals(BIG)).toBe(true)
    expect((await files('ada', ['rm', 'big.txt'])).out).toBe('deleted big.txt\n')
    const gone = await files('ada', ['info', 'big.txt'])
    expect(gone).toMatchObject({ exitCode: 2, err: expect.stringMatching(/^hayloft: OBJECT_NOT_/) })
  })

  test('several files at once, of which one is there already', async () => {
    const paths = []
    for (let at = 0; at < 6; at++) paths.push(await local(`m${at}.bin`, `content ${at}`))
    expect((await files('ada', ['upload', paths[3] ?? ''])).exitCode).toBe(0)
    const run = await files('ada', ['upload', ...paths])
    expect(run.exitCode).toBe(2)
    expect(run.out.trim().split('\n').toSorted()).toEqual([
      'm0.bin',
      'm1.bin',
      'm2.bin',
      'm4.bin',
      'm5.bin',
    ])
    expect(run.err).toMatch(/^hayloft: TARGET_EXISTS: .*m3\.bin: .*\n$/)
    const again = await files('ada', ['upload', '--overwrite', '--json', ...paths])
    expect(again.exitCode).toBe(0)
    const versions = again.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).version)
    expect(versions).toEqual([2, 2, 2, 2, 2, 2])
  })

  test('standard input and output, a range, and another name', async () => {
    const stored = await files('ada', ['upload', '-', '--name', 'from/stdin'], {
      input: '0123456789',
    })
    expect(stored).toEqual({ exitCode: 0, out: 'from/stdin\n', err: '' })
    expect((await files('ada', ['download', 'from/stdin', '-o', '-'])).out).toBe('0123456789')
    const range = ['download', 'from/stdin', '-o', '-', '--range', '2-4']
    expect((await files('ada', range)).out).toBe('234')
    const nameless = await files('ada', ['upload', '-'], { input: 'x' })
    expect(nameless).toMatchObject({ exitCode: 2, err: expect.stringMatching(/CONFIG_INVALID/) })
  })

  test('update gives new content to what is there, and makes nothing', async () => {
    const path = await local('doc.md', 'one')
    const early = await files('ada', ['update', path])
    expect(early).toMatchObject({ exitCode: 2, err: expect.stringMatching(/OBJECT_NOT_FOUND/) })
    await files('ada', ['upload', path])
    await writeFile(path, 'two')
    expect((await files('ada', ['update', path])).exitCode).toBe(0)
    expect((await files('ada', ['download', 'doc.md', '-o', '-'])).out).toBe('two')
  })

  test('search by part of a name and by pattern, of one user and of all', async () => {
    for (const user of ['ada', 'bob']) {
      const path = await local(`Trip-${user}.JPG`, user)
      await files(user, ['upload', path, '--name', `photos/Trip-${user}.JPG`])
    }
    expect((await files('ada', ['search', 'trip'])).out).toBe('photos/Trip-ada.JPG\n')
    expect((await files('ada', ['search', '*.jpg'])).out).toBe('photos/Trip-ada.JPG\n')
    expect((await files('ada', ['search', '--literal', '*.jpg'])).out).toBe('')
    const all = await asRoot('search', '--all', '--json', 'trip')
    const found = all.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(found.map(({ user, name }) => `${user}/${name}`)).toEqual([
      'ada/photos/Trip-ada.JPG',
      'bob/photos/Trip-bob.JPG',
    ])
    expect((await asRoot('search', '--all', '--limit', '1', 'trip')).out).toBe(
      'ada/photos/Trip-ada.JPG\n',
    )
    const denied = await files('ada', ['search', '--all', 'trip'])
    expect(denied).toMatchObject({ exitCode: 2, err: expect.stringMatching(/ACCESS_DENIED/) })
  })

  test('a download over a file that is there, or of none, changes nothing here', async () => {
    const path = await local('kept.txt', 'mine')
    await files('ada', ['upload', path, '--name', 'kept.txt'])
    const refused = await files('ada', ['download', 'kept.txt', '-o', path])
    expect(refused).toMatchObject({ exitCode: 2, err: expect.stringMatching(/TARGET_EXISTS/) })
    const missing = await files('ada', ['download', 'no-such', '-o', join(here, 'new.txt')])
    expect(missing).toMatchObject({ exitCode: 2, err: expect.stringMatching(/OBJECT_NOT_FOUND/) })
    expect(await readdir(here)).toEqual(['kept.txt'])
    await files('ada', ['download', 'kept.txt', '-o', path, '--overwrite'])
    expect((await stat(path)).size).toBe(4)
  })

  test.each([
    ['a wrong secret', { HAYLOFT_SECRET_KEY: 'not-the-secret' }, 'UNAUTHENTICATED'],
    [
      'no key at all',
      { HAYLOFT_ACCESS_KEY: undefined, HAYLOFT_SECRET_KEY: undefined },
      'CONFIG_IN',
    ],
    ['half a key', { HAYLOFT_SECRET_KEY: undefined }, 'CONFIG_INVALID'],
    ['an address that is none', { HAYLOFT_GATEWAY: 'http://x' }, 'CONFIG_INVALID'],
  ])('with %s says so', async (_, change, code) => {
    const env = { ...environment('ada'), ...change }
    const run = await files('ada', ['ls'], { env })
    expect(run).toMatchObject({ exitCode: 2, out: '' })
    expect(run.err).toMatch(new RegExp(`^hayloft: ${code}`))
    expect(run.err).not.toContain(keys['ada']?.secret)
  })

  test('of somebody else is denied, and for the root user is not', async () => {
    const path = await local('theirs.txt', 'x')
    const run = await files('ada', ['upload', path, '--user', 'bob'])
    expect(run).toMatchObject({ exitCode: 2, err: expect.stringMatching(/ACCESS_DENIED/) })
    expect((await asRoot('upload', path, '--user', 'bob')).exitCode).toBe(0)
    expect((await files('bob', ['ls', 'theirs'])).out).toBe('theirs.txt\n')
  })

  test('by a key that was switched off is UNAUTHENTICATED', async () => {
    const { accessKeyId = '' } = keys['bob'] ?? {}
    await server.users.setKeyEnabled(accessKeyId, false, SIGNAL)
    const run = await files('bob', ['ls'])
    expect(run).toMatchObject({ exitCode: 2, err: expect.stringMatching(/UNAUTHENTICATED/) })
    await server.users.setKeyEnabled(accessKeyId, true, SIGNAL)
    expect((await files('bob', ['ls'])).exitCode).toBe(0)
  })

  test.each(['a/..', 'a/', '.'])('a download of %s needs an --output', async (name) => {
    const run = await files('ada', ['download', name])
    expect(run).toMatchObject({ exitCode: 2, err: expect.stringMatching(/CONFIG_INVALID/) })
  })
})
