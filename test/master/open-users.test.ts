import { statSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readMasterConfig } from '../../src/master/config.ts'
import { MasterServer } from '../../src/master/master-server.ts'
import {
  type OpenUsersParts,
  openUsers,
  ROOT_KEY_FILE,
  type RootKey,
  USERS_KEY_FILE,
} from '../../src/master/open-users.ts'
import { RemoteUsers } from '../../src/net/remote-users.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { type Disk, readFile as readFrom } from '../../src/runtime/disk.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { TestUsersStore } from '../support/test-users.ts'
import { expectCode } from '../support/test-volume.ts'

const never = new AbortController().signal
const GIVEN: RootKey = { accessKeyId: 'GIVEN', secret: 'a-given-secret' }
const DIR = '/m'

interface World extends Partial<OpenUsersParts> {
  readonly rootKey?: RootKey
}

function makeWorld(random = new Prng(1)) {
  const disk = new MemDisk(random)
  const store = new TestUsersStore()
  const open = async ({ rootKey, ...more }: World = {}) => {
    const coordinator = { isLeader: () => true, leader: 'm:1' }
    const clock = new SimClock()
    const parts = { disk, clock, random, logger: silentLogger, store, coordinator, ...more }
    await parts.disk.createDirectory(DIR)
    return await openUsers(parts, { dir: DIR, rootKey }, never)
  }
  return { disk, store, open }
}

async function rootKeyIn(disk: Disk): Promise<RootKey> {
  const text = (await readFrom(disk, `${DIR}/${ROOT_KEY_FILE}`, 1024)).toString()
  const { accessKeyId, secretAccessKey } = JSON.parse(text)
  return { accessKeyId, secret: secretAccessKey }
}

describe('the users of a master', () => {
  test('begin with root, whose key is in a file; the next start makes nothing', async () => {
    const { disk, open } = makeWorld()
    const users = await open()
    const { accessKeyId, secret } = await rootKeyIn(disk)
    expect(accessKeyId).toMatch(/^HL[A-Z2-7]{18}$/)
    expect(await users.findKey(accessKeyId)).toMatchObject({ secret, user: { isRoot: true } })
    const again = await open()
    expect(await rootKeyIn(disk)).toEqual({ accessKeyId, secret })
    expect(await again.listKeys('root', never)).toHaveLength(1)
    expect(await again.findKey(accessKeyId)).toMatchObject({ secret })
  })

  test('need the file of the root key no more', async () => {
    const { disk, open } = makeWorld()
    await open()
    const { accessKeyId, secret } = await rootKeyIn(disk)
    await disk.unlink(`${DIR}/${ROOT_KEY_FILE}`)
    expect(await (await open()).findKey(accessKeyId)).toMatchObject({ secret })
    expect(await disk.stat(`${DIR}/${ROOT_KEY_FILE}`)).toBeUndefined()
  })

  test.each(seeds(60))(
    'have a root whose key is known after a power cut (seed %d)',
    async (seed) => {
      const { disk, open } = makeWorld(new Prng(seed))
      disk.cutPowerAfter(seed % 16)
      await open().catch(() => undefined)
      disk.restart()
      const users = await open()
      const { accessKeyId, secret } = await rootKeyIn(disk)
      expect(await users.findKey(accessKeyId)).toMatchObject({ secret, user: { name: 'root' } })
      expect(disk.openFiles).toBe(0)
    },
  )

  test('have a root whose key is known after a commit that failed', async () => {
    const { disk, store, open } = makeWorld()
    store.beforeCommit = async () => {
      throw new Error('no')
    }
    await expect(open()).rejects.toThrow('no')
    store.beforeCommit = async () => undefined
    const users = await open()
    const { accessKeyId, secret } = await rootKeyIn(disk)
    expect(await users.findKey(accessKeyId)).toMatchObject({ secret })
  })

  test('give root the key of the configuration beside its own, whenever it comes', async () => {
    const { disk, open } = makeWorld()
    const { accessKeyId } = GIVEN
    expect(await (await open()).findKey(accessKeyId)).toBeUndefined()
    const users = await open({ rootKey: GIVEN })
    expect(await users.findKey(accessKeyId)).toMatchObject(GIVEN)
    expect(await users.findKey((await rootKeyIn(disk)).accessKeyId)).toBeDefined()
    expect(await (await open()).findKey(accessKeyId)).toMatchObject(GIVEN)
    await users.setKeyEnabled(accessKeyId, false, never)
    const rootKey = { accessKeyId, secret: 'another-secret' }
    expect(await (await open({ rootKey })).findKey(accessKeyId)).toMatchObject(rootKey)
  })

  test('do not open with a root key that is another user', async () => {
    const { open } = makeWorld()
    const users = await open()
    await users.add({ name: 'bob' }, never)
    await users.addKey({ userName: 'bob', accessKeyId: GIVEN.accessKeyId }, never)
    await expectCode(open({ rootKey: GIVEN }), 'ACCESS_KEY_EXISTS')
  })

  test.each(['', 'abc', 'g'.repeat(64), `${'a'.repeat(64)}\n${'b'.repeat(63)}`])(
    'do not open with an s3.key of %j, which is not shown',
    async (content) => {
      const { disk, open } = makeWorld()
      disk.put(`${DIR}/${USERS_KEY_FILE}`, Buffer.from(content))
      const refused = open()
      await expectCode(refused, 'CONFIG_INVALID')
      if (content !== '') await expect(refused).rejects.not.toThrow(content)
    },
  )

  test('are sealed with the last line of s3.key; then the lines above are not needed', async () => {
    const { disk, open } = makeWorld()
    await open({ rootKey: GIVEN })
    const path = `${DIR}/${USERS_KEY_FILE}`
    const first = (await readFrom(disk, path, 1024)).toString()
    const second = `${'5a'.repeat(32)}\n`
    disk.put(path, Buffer.from(`${first}${second}`))
    expect(await (await open()).findKey('GIVEN')).toMatchObject(GIVEN)
    disk.put(path, Buffer.from(second))
    expect(await (await open()).findKey('GIVEN')).toMatchObject(GIVEN)
    disk.put(path, Buffer.from(first))
    await expectCode((await open()).findKey('GIVEN'), 'METADATA_CORRUPT')
  })

  test.each(['', '{', '[]', '"x"', 'null', '1'])('take no policy like %j', async (policy) => {
    const users = await makeWorld().open()
    await expectCode(users.setPolicy('root', policy, never), 'REQUEST_INVALID')
    await users.setPolicy('root', '{"Statement":[]}', never)
  })

  test('change nothing on a master that does not lead', async () => {
    const { open } = makeWorld()
    await open()
    const users = await open({ coordinator: { isLeader: () => false, leader: 'other:1' } })
    const refused = users.add({ name: 'a' }, never)
    await expectCode(refused, 'NOT_LEADER')
    await expect(refused).rejects.toThrow('other:1')
  })
})

test('a master server answers for them with the cluster secret only', async () => {
  await using directory = await openTempDirectory()
  const root = { rootAccessKey: 'GIVEN', rootSecretKey: 'a-given-secret' }
  const config = readMasterConfig({ dir: directory.path, port: 0, ...root })
  const parts = {
    disk: new NodeDisk(),
    clock: systemClock,
    random: cryptoRandom,
    logger: silentLogger,
  }
  let canonicalId: string
  {
    await using server = await MasterServer.open(parts, config, never)
    const { secret, location } = server
    const channel = { addresses: [location.grpcAddress], timeoutMs: 5000 }
    await using remote = await RemoteUsers.open(parts, { ...channel, secret })
    expect(await remote.findKey('GIVEN', never)).toEqual(await server.users.findKey('GIVEN', never))
    ;({ canonicalId } = await remote.add({ name: 'alice' }, never))
    expect(await server.users.list(never)).toMatchObject([{ name: 'alice' }, { name: 'root' }])
    await using stranger = await RemoteUsers.open(parts, channel)
    await expectCode(stranger.findKey('GIVEN', never), 'UNAUTHENTICATED')
    await expectCode(stranger.list(never), 'UNAUTHENTICATED')
  }
  for (const name of [USERS_KEY_FILE, ROOT_KEY_FILE]) {
    expect(statSync(join(directory.path, name)).mode & 0o777).toBe(0o600)
  }
  await writeFile(join(directory.path, ROOT_KEY_FILE), 'mine')
  await using server = await MasterServer.open(parts, config, never)
  expect(await server.users.get('alice', never)).toMatchObject({ canonicalId })
  expect(await readFile(join(directory.path, ROOT_KEY_FILE), 'utf8')).toBe('mine')
})
