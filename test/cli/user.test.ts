import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { type RunningServer, startServer } from '../../src/server/start-server.ts'
import { type CliRun, runCli } from '../support/cli-run.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

let temp: Awaited<ReturnType<typeof openTempDirectory>>
let server: RunningServer
let master: string

beforeAll(async () => {
  temp = await openTempDirectory()
  server = await startServer({
    dir: join(temp.path, 'data'),
    port: 0,
    volumePort: 0,
    rootAccessKey: 'ROOT-GIVEN',
    rootSecretKey: 'a-given-secret',
  })
  const port = server.masterGrpcAddress.slice(server.masterGrpcAddress.lastIndexOf(':') + 1)
  master = `${server.masterUrl.replace('http://', '')}.${port}`
})

afterAll(async () => {
  await server?.close()
  await temp[Symbol.asyncDispose]()
})

/** Against the cluster of this file, whose secret it knows. */
function user(...args: readonly string[]): Promise<CliRun> {
  const env = { HAYLOFT_MASTER: master, HAYLOFT_SECRET_FILE: server.secretFile }
  // One of chance for all of them would make the same keys again.
  const seed = cryptoRandom.u32()
  return runCli(['user', ...args], new NodeDisk(), { isRealTime: true, env, seed })
}

async function policyFile(text: string): Promise<string> {
  const path = join(temp.path, 'policy.json')
  await writeFile(path, text)
  return path
}

/** What a gateway takes. */
const POLICY = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: 's3:GetObject', Resource: 'arn:aws:s3:::photos/*' }],
})

const ONCE = 'hayloft: the secret key is not shown again\n'
const MISSING = { exitCode: 2, out: '', err: expect.stringMatching(/^hayloft: USER_NOT_FOUND: /) }

describe('hayloft user', () => {
  test('add shows the user with its first key, once', async () => {
    const added = await user('add', 'alice', '--email', 'Alice@Example.com')
    expect(added).toMatchObject({ exitCode: 0, err: ONCE })
    const pattern =
      /^user {10}alice\n.*[0-9a-f]{64}\naccess key {4}(HL\w{18})\nsecret key {4}([\w-]{40})\n$/
    expect(added.out).toMatch(pattern)
    const [, accessKey = '', secret = ''] = pattern.exec(added.out) ?? []
    const show = await user('show', 'alice')
    expect(show).toMatchObject({ exitCode: 0, err: '' })
    expect(show.out).toMatch(/^email +alice@example\.com$/m)
    expect(show.out).toMatch(/^root +no$/m)
    expect(show.out).toMatch(/^policy +-$/m)
    expect(show.out).toContain(`access key    ${accessKey}\n`)
    for (const args of [['show', 'alice'], ['list'], ['key', 'list', 'alice']]) {
      for (const flags of [[], ['--json']]) {
        expect((await user(...args, ...flags)).out).not.toContain(secret)
      }
    }
    const again = await user('add', 'alice')
    expect(again).toMatchObject({ exitCode: 2, out: '' })
    expect(again.err).toMatch(/^hayloft: USER_EXISTS: /)
  })

  test('add --json tells programs all of it', async () => {
    const path = await policyFile(POLICY)
    const flags = ['--display-name', 'Bob B.', '--policy-file', path, '--json']
    const added = await user('add', 'bob', ...flags)
    expect(added).toMatchObject({ exitCode: 0, err: '' })
    expect(JSON.parse(added.out)).toEqual({
      name: 'bob',
      displayName: 'Bob B.',
      canonicalId: expect.stringMatching(/^[0-9a-f]{64}$/),
      isRoot: false,
      policy: POLICY,
      createdAtMs: expect.any(Number),
      accessKeyId: expect.stringMatching(/^HL/),
      secretAccessKey: expect.stringMatching(/^[\w-]{40}$/),
    })
  })

  test('list has root and all others, by name', async () => {
    await user('add', 'carol')
    const { out } = await user('list')
    expect(out).toMatch(/^USER +DISPLAY NAME +EMAIL +POLICY +CREATED\n/)
    expect(out).toMatch(/^carol +carol +- +- +\d{4}-\d\d-\d\dT.*Z\n/m)
    expect(out).toMatch(/^root +root +- +root +\d{4}-/m)
    const documents = (await user('list', '--json')).out.trim().split('\n')
    const names: string[] = documents.map((line) => JSON.parse(line).name)
    expect(names).toEqual(names.toSorted())
    expect(names).toEqual(expect.arrayContaining(['carol', 'root']))
  })

  test('rm deletes a user, and neither root nor nobody', async () => {
    await user('add', 'dave')
    expect(await user('rm', 'dave')).toEqual({ exitCode: 0, out: 'deleted user dave\n', err: '' })
    expect(await user('rm', 'dave')).toEqual(MISSING)
    expect(await user('show', 'dave')).toEqual(MISSING)
    expect((await user('rm', 'root')).err).toMatch(/^hayloft: REQUEST_INVALID: the root user /)
  })

  test('policy set and rm change what show says', async () => {
    await user('add', 'erin')
    const text = `${POLICY}\n`
    const set = await user('policy', 'set', 'erin', await policyFile(text))
    expect(set).toEqual({ exitCode: 0, out: 'erin: another policy from now on\n', err: '' })
    expect((await user('show', 'erin')).out).toMatch(/^policy\n\{.*s3:GetObject.*\}\n$/m)
    expect(JSON.parse((await user('show', 'erin', '--json')).out)).toMatchObject({ policy: text })
    expect((await user('list')).out).toMatch(/^erin +erin +- +yes /m)
    const bad = await user('policy', 'set', 'erin', await policyFile('no JSON'))
    expect(bad.err).toMatch(/^hayloft: REQUEST_INVALID: /)
    const empty = await user('policy', 'set', 'erin', await policyFile('{"Statement":[]}'))
    expect(empty.err).toMatch(/^hayloft: REQUEST_INVALID: the policy cannot be used: /)
    const none = await user('policy', 'set', 'erin', join(temp.path, 'none.json'))
    expect(none.err).toMatch(/^hayloft: PATH_NOT_FOUND: /)
    const removed = await user('policy', 'rm', 'erin')
    expect(removed).toEqual({ exitCode: 0, out: 'erin: no policy from now on\n', err: '' })
    expect((await user('show', 'erin')).out).toMatch(/^policy +-$/m)
    expect(await user('policy', 'rm', 'nobody')).toEqual(MISSING)
  })

  test('asks for the cluster secret', async () => {
    const env = { HAYLOFT_MASTER: master }
    const options = { isRealTime: true, env }
    const refused = await runCli(['user', 'list'], new NodeDisk(), options)
    expect(refused).toMatchObject({ exitCode: 2, out: '' })
    expect(refused.err).toMatch(/^hayloft: UNAUTHENTICATED: /)
  })
})

describe('hayloft user key', () => {
  test('add gives one more, and takes one that is given', async () => {
    await user('add', 'kim')
    const added = await user('key', 'add', 'kim')
    expect(added).toMatchObject({ exitCode: 0, err: ONCE })
    expect(added.out).toMatch(/^user {8}kim\naccess key {2}HL\w{18}\nsecret key {2}[\w-]{40}\n$/)
    const given = ['--access-key', 'KIM-1', '--secret-key', 'kims-own-secret']
    const document = JSON.parse((await user('key', 'add', 'kim', ...given, '--json')).out)
    expect(document).toMatchObject({ accessKeyId: 'KIM-1', secretAccessKey: 'kims-own-secret' })
    const again = await user('key', 'add', 'root', ...given)
    expect(again.err).toMatch(/^hayloft: ACCESS_KEY_EXISTS: /)
    const keys = (await user('key', 'list', 'kim', '--json')).out.trim().split('\n')
    expect(keys).toHaveLength(3)
    expect(JSON.parse(keys[2] ?? '')).toMatchObject({ accessKeyId: 'KIM-1', isEnabled: true })
    expect(await user('key', 'add', 'nobody')).toEqual(MISSING)
  })

  test('disable, enable and rm say what they did, and list shows it', async () => {
    await user('add', 'lee')
    await user('key', 'add', 'lee', '--access-key', 'LEE', '--secret-key', 'lees-own-secret')
    expect((await user('key', 'disable', 'LEE')).out).toBe('LEE: disabled from now on\n')
    const list = await user('key', 'list', 'lee')
    expect(list.out).toMatch(/^ACCESS KEY +STATE +CREATED\nHL\w{18} +enabled .*\nLEE +disabled /)
    expect((await user('show', 'lee')).out).toMatch(/^access key +LEE \(disabled\)$/m)
    expect((await user('key', 'enable', 'LEE')).out).toBe('LEE: enabled from now on\n')
    expect((await user('key', 'list', 'lee')).out).toMatch(/^LEE +enabled /m)
    expect((await user('key', 'rm', 'LEE')).out).toBe('deleted access key LEE\n')
    expect((await user('key', 'list', 'lee')).out).not.toContain('LEE')
    for (const order of ['disable', 'enable', 'rm']) {
      const { exitCode, err } = await user('key', order, 'LEE')
      expect([exitCode, err]).toEqual([
        2,
        expect.stringMatching(/^hayloft: ACCESS_KEY_NOT_FOUND: /),
      ])
    }
  })

  test('list root has the key of the first start, which is in a file, and the given one', async () => {
    const text = await readFile(join(temp.path, 'data/master/s3-root.json'), 'utf8')
    const { accessKeyId } = JSON.parse(text)
    const { out } = await user('key', 'list', 'root')
    const lines = out.trim().split('\n')
    expect(lines[1]).toMatch(new RegExp(`^${accessKeyId} +enabled `))
    expect(lines[2]).toMatch(/^ROOT-GIVEN +enabled /)
    expect(lines).toHaveLength(3)
  })
})
