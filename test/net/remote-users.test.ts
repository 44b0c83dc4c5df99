import { describe, expect, test } from 'vitest'
import { ERROR_CODES, type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import { RemoteUsers } from '../../src/net/remote-users.ts'
import { usersService } from '../../src/net/serve-users.ts'
import type { UsersApi } from '../../src/net/users-api.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { FakeUsers, KEY, PLAIN_USER, USER } from '../support/fake-users-api.ts'
import { openServedMasters } from '../support/served-masters.ts'
import { expectCode, SIGNAL } from '../support/test-volume.ts'

function open(count = 1, options: { readonly isStranger?: boolean } = {}) {
  const make = () => new FakeUsers()
  return openServedMasters({ make, serve: usersService, connect: RemoteUsers.open }, count, options)
}

type Call = readonly [name: string, call: (api: UsersApi) => Promise<unknown>]

/** Every call, with everything that can be said in it. */
const CALLS: readonly Call[] = [
  [
    'add',
    (api) => {
      const { name, displayName, email, policy } = USER
      return api.add({ name, displayName, email, policy }, SIGNAL)
    },
  ],
  [
    'add',
    (api) => {
      const none = { displayName: undefined, email: undefined, policy: undefined }
      return api.add({ name: 'a', ...none }, SIGNAL)
    },
  ],
  ['get', (api) => api.get('bob', SIGNAL)],
  ['list', (api) => api.list(SIGNAL)],
  ['remove', (api) => api.remove('bob', SIGNAL)],
  ['setPolicy', (api) => api.setPolicy('bob', '{"Statement":[{}]}', SIGNAL)],
  ['setPolicy', (api) => api.setPolicy('bob', undefined, SIGNAL)],
  [
    'addKey',
    (api) => api.addKey({ userName: 'a', accessKeyId: 'KEY', secret: KEY.secret }, SIGNAL),
  ],
  [
    'addKey',
    (api) => api.addKey({ userName: 'a', accessKeyId: undefined, secret: undefined }, SIGNAL),
  ],
  ['listKeys', (api) => api.listKeys('bob', SIGNAL)],
  ['removeKey', (api) => api.removeKey('KEY', SIGNAL)],
  ['setKeyEnabled', (api) => api.setKeyEnabled('KEY', true, SIGNAL)],
  ['setKeyEnabled', (api) => api.setKeyEnabled('KEY', false, SIGNAL)],
  ['findKey', (api) => api.findKey('KEY', SIGNAL)],
  ['findByCanonicalId', (api) => api.findByCanonicalId('cd'.repeat(32), SIGNAL)],
  ['findByEmail', (api) => api.findByEmail('Bob@example.com', SIGNAL)],
]

/** One for each method. */
const METHODS: readonly Call[] = [...new Map(CALLS)]

/** What must not happen twice. */
const ONCE = ['add', 'addKey', 'remove', 'removeKey']

describe('users over gRPC', () => {
  test.each(CALLS)('%s asks and answers as in this process', async (name, call) => {
    await using fixture = await open()
    const local = new FakeUsers()
    expect(await call(fixture.remote)).toEqual(await call(local))
    expect(fixture.api.calls).toEqual([name])
    expect(fixture.api.requests).toEqual(local.requests)
  })

  test('finds nothing where there is nothing, and what has little in it', async () => {
    await using fixture = await open()
    const { api: users, remote } = fixture
    users.found = undefined
    expect(await remote.findKey('KEY', SIGNAL)).toBeUndefined()
    expect(await remote.findByEmail('a@b', SIGNAL)).toBeUndefined()
    expect(await remote.findByCanonicalId('cd'.repeat(32), SIGNAL)).toBeUndefined()
    users.found = PLAIN_USER
    const found = { accessKeyId: 'KEY', secret: KEY.secret, user: PLAIN_USER }
    expect(await remote.findKey('KEY', SIGNAL)).toEqual(found)
  })

  test.each([0, 1, 100, 101, 250])('lists %i users in their order', async (count) => {
    await using fixture = await open()
    fixture.api.userCount = count
    const listed = await fixture.remote.list(SIGNAL)
    expect(listed.map(({ name }) => name)).toEqual(
      Array.from({ length: count }, (_, at) => `u${at}`),
    )
  })

  test.each(METHODS)('%s is refused without the cluster secret, and not done', async (_, call) => {
    await using fixture = await open(1, { isStranger: true })
    await expectCode(call(fixture.remote), 'UNAUTHENTICATED')
    expect(fixture.api.calls).toEqual([])
  })

  test('fails every call with the code of the master', async () => {
    await using fixture = await open()
    fixture.api.beforeCall = async () => {
      throw new StoreError('USER_EXISTS', 'it is there')
    }
    for (const [, call] of METHODS) await expectCode(call(fixture.remote), 'USER_EXISTS')
    expect(fixture.api.calls).toEqual(METHODS.map(([name]) => name))
  })

  test.each(
    Object.keys(ERROR_CODES).filter((code) => /^(?:USER|ACCESS)_/.test(code)) as ErrorCode[],
  )('a call that fails with %s is not sent again', async (code) => {
    await using fixture = await open()
    fixture.api.beforeCall = async () => {
      throw new StoreError(code, 'no')
    }
    await expectCode(fixture.remote.get('a', SIGNAL), code)
    expect(fixture.api.calls).toEqual(['get'])
  })

  test('a user that makes no sense is the peer failing', async () => {
    await using fixture = await open()
    fixture.api.found = { ...USER, canonicalId: 'short' }
    await expectCode(fixture.remote.findKey('KEY', SIGNAL), 'PEER_FAILED')
  })
})

describe('several masters', () => {
  test.each(METHODS)('%s finds the one that leads, and does it once', async (name, call) => {
    await using fixture = await open(3)
    fixture.lead(2)
    await call(fixture.remote)
    expect(fixture.served[2]?.api.calls).toEqual([name])
  })

  test.each(METHODS)(
    '%s whose answer is lost is sent again if that is safe',
    async (name, call) => {
      const isOnce = ONCE.includes(name)
      await using fixture = await open(2)
      const [first, second] = fixture.served
      fixture.api.beforeCall = async () => first?.server.destroy()
      if (isOnce) await expectCode(call(fixture.remote), 'UNAVAILABLE')
      else await call(fixture.remote)
      expect(first?.api.calls).toEqual([name])
      expect(second?.api.calls).toEqual(isOnce ? [] : [name])
    },
  )

  test('no address at all is CONFIG_INVALID, closed is CLOSED', async () => {
    const parts = { logger: silentLogger, clock: systemClock, random: cryptoRandom }
    await expectCode(RemoteUsers.open(parts, { addresses: [], timeoutMs: 1 }), 'CONFIG_INVALID')
    await using fixture = await open()
    await fixture.remote[Symbol.asyncDispose]()
    await expectCode(fixture.remote.get('a', SIGNAL), 'CLOSED')
  })
})
