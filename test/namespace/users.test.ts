import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { ROOT_USER } from '../../src/namespace/users.ts'
import { Prng } from '../support/prng.ts'
import { openTestUsers, SEAL_KEY, TestUsersStore } from '../support/test-users.ts'
import { expectCode } from '../support/test-volume.ts'

const never = new AbortController().signal
const OTHER_KEY = Buffer.alloc(32, 8)
const SECRET = 'not-a-random-secret'
/** `user-keys/KEY` with this secret, sealed with 32 bytes of 7. */
const GOLDEN_ROW = [
  '01417b22757365724e616d65223a22616c696365222c226372656174656441744d73223a31373034',
  '3036373230303030302c226973456e61626c6564223a747275657d302dc5308f4829a76e24cca33d',
  'f01467721946f91f624662acf45b44ea97a30daa0df23f2b8dc808ac3208d8b31fb59c7a',
]

async function rowsOf(store: MemoryStore): Promise<Map<string, Buffer>> {
  const rows = new Map<string, Buffer>()
  for await (const { key, value } of store.scan({}, never)) rows.set(key, Buffer.from(value))
  return rows
}

function failing(code: 'DISK_FAILED' | 'METADATA_CONFLICT'): () => Promise<void> {
  return async () => {
    throw new StoreError(code, 'as the test wants it')
  }
}

describe('users', () => {
  test('one is found by name, canonical id and address, also after a restart', async () => {
    const { users, store, clock } = await openTestUsers()
    const request = { name: 'alice', displayName: 'Alice Ä.', email: 'Alice@Example.com' }
    const alice = await users.add({ ...request, policy: '{}' }, never)
    expect(alice).toEqual({
      name: 'alice',
      canonicalId: expect.stringMatching(/^[0-9a-f]{64}$/),
      displayName: 'Alice Ä.',
      email: 'alice@example.com',
      isRoot: false,
      policy: '{}',
      createdAtMs: clock.nowMs(),
    })
    for (const { users: each } of [{ users }, await openTestUsers({ store })]) {
      expect(await each.get('alice', never)).toEqual(alice)
      expect(await each.list(never)).toEqual([alice])
      expect(await each.findByCanonicalId(alice.canonicalId, never)).toEqual(alice)
      expect(await each.findByEmail('ALICE@example.com', never)).toEqual(alice)
      expect(await each.has('alice', never)).toBe(true)
    }
  })

  test('what is left out is the name, no address and no policy', async () => {
    const { users } = await openTestUsers()
    const bob = await users.add({ name: 'bob' }, never)
    expect(bob).toMatchObject({ displayName: 'bob', email: undefined, policy: undefined })
    expect(await users.get('bob', never)).toEqual(bob)
  })

  test('nobody is found where nobody is', async () => {
    const { users } = await openTestUsers()
    await expectCode(users.get('bob', never), 'USER_NOT_FOUND')
    await expectCode(users.remove('bob', never), 'USER_NOT_FOUND')
    await expectCode(users.setPolicy('bob', '{}', never), 'USER_NOT_FOUND')
    await expectCode(users.addKey({ userName: 'bob' }, never), 'USER_NOT_FOUND')
    await expectCode(users.listKeys('bob', never), 'USER_NOT_FOUND')
    expect(await users.has('bob', never)).toBe(false)
    expect(await users.findByCanonicalId('ab'.repeat(32), never)).toBeUndefined()
    expect(await users.findByCanonicalId('../root', never)).toBeUndefined()
    expect(await users.findByEmail('a@b', never)).toBeUndefined()
    await expectCode(users.findByEmail('nobody', never), 'REQUEST_INVALID')
    expect(await users.list(never)).toEqual([])
  })

  test('are listed by name, and rows of keys are no users', async () => {
    const { users } = await openTestUsers()
    for (const name of ['b', 'Z', 'a', 'b.1', '0', 'b-1']) {
      await users.add({ name, email: `${name}@x` }, never)
      await users.addKey({ userName: name }, never)
    }
    const names = (await users.list(never)).map(({ name }) => name)
    expect(names).toEqual(['0', 'Z', 'a', 'b', 'b-1', 'b.1'])
  })

  test.each([
    ['a', true],
    ['A.b_c@d+e=f,g-9', true],
    ['x'.repeat(64), true],
    ['x'.repeat(65), false],
    ['', false],
    ['a b', false],
    ['a/b', false],
    ['ä', false],
    ['a\n', false],
  ])('a user named %j: %s', async (name, isGood) => {
    const { users, store } = await openTestUsers()
    if (isGood) await users.add({ name }, never)
    else await expectCode(users.add({ name }, never), 'REQUEST_INVALID')
    expect((await rowsOf(store)).size).toBe(isGood ? 2 : 0)
  })

  test.each([
    [{ email: 'a@b' }, true],
    [{ email: `${'x'.repeat(64)}@${'y'.repeat(189)}` }, true],
    [{ email: `${'x'.repeat(65)}@b` }, false],
    [{ email: `a@${'y'.repeat(190)}` }, false],
    [{ email: 'a' }, false],
    [{ email: 'a@b@c' }, false],
    [{ email: 'a b@c' }, false],
    [{ email: '' }, false],
    [{ displayName: 'é'.repeat(128) }, true],
    [{ displayName: 'x'.repeat(129) }, false],
    [{ displayName: '' }, false],
    [{ displayName: 'a\nb' }, false],
    [{ displayName: '\ud800' }, false],
    [{ policy: 'x'.repeat(20_480) }, true],
    [{ policy: 'é'.repeat(10_241) }, false],
  ])('one with %j: %s', async (more, isGood) => {
    const { users, store } = await openTestUsers()
    const adding = users.add({ name: 'a', ...more }, never)
    if (isGood) expect(await users.get((await adding).name, never)).toMatchObject(more)
    else await expectCode(adding, 'REQUEST_INVALID')
    if (!isGood) expect((await rowsOf(store)).size).toBe(0)
  })

  test('a policy is whatever the one who knows policies takes', async () => {
    const checkPolicy = (policy: string) => {
      if (policy !== 'good') throw new StoreError('REQUEST_INVALID', 'bad')
    }
    const { users } = await openTestUsers({ checkPolicy })
    await expectCode(users.add({ name: 'a', policy: 'bad' }, never), 'REQUEST_INVALID')
    expect(await users.has('a', never)).toBe(false)
    await users.add({ name: 'a' }, never)
    await expectCode(users.setPolicy('a', 'bad', never), 'REQUEST_INVALID')
    expect(await users.setPolicy('a', 'good', never)).toMatchObject({ policy: 'good' })
    expect(await users.get('a', never)).toMatchObject({ policy: 'good' })
    expect(await users.setPolicy('a', undefined, never)).toMatchObject({ policy: undefined })
    expect(await users.get('a', never)).toMatchObject({ policy: undefined })
  })

  test('a name and an address belong to one of them, also of ten at once', async () => {
    const { users, store } = await openTestUsers()
    await users.add({ name: 'a', email: 'a@b' }, never)
    await expectCode(users.add({ name: 'a' }, never), 'USER_EXISTS')
    await expectCode(users.add({ name: 'b', email: 'A@B' }, never), 'USER_EXISTS')
    const names = Array.from({ length: 10 }, (_, index) => `u${index}`)
    const adding = names.map((name) => users.add({ name, email: 'u@b' }, never))
    const results = await Promise.allSettled(adding)
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(
      [...(await rowsOf(store)).keys()].filter((key) => key.startsWith('users/')),
    ).toHaveLength(2)
  })

  test('the 5001st is refused', async () => {
    const { users, store } = await openTestUsers()
    await users.add({ name: 'a' }, never)
    const [row] = [...(await rowsOf(store)).entries()].filter(([key]) => key === 'users/a')
    const value = row?.[1] ?? Buffer.alloc(0)
    const puts = Array.from({ length: 4998 }, (_, index) => ({ key: `users/b${index}`, value }))
    await store.commit({ puts }, never)
    await users.add({ name: 'c' }, never)
    await expectCode(users.add({ name: 'd' }, never), 'REQUEST_INVALID')
  })

  test('one that is removed leaves no row, and a new one of its name is another', async () => {
    const { users, store } = await openTestUsers()
    const old = await users.add({ name: 'a', email: 'a@b' }, never)
    const { accessKeyId } = await users.addKey({ userName: 'a' }, never)
    await users.addKey({ userName: 'a' }, never)
    expect(await users.findKey(accessKeyId)).toBeDefined()
    await users.remove('a', never)
    expect([...(await rowsOf(store)).keys()]).toEqual([])
    expect(await users.findKey(accessKeyId)).toBeUndefined()
    expect(await users.findByCanonicalId(old.canonicalId, never)).toBeUndefined()
    expect(await users.findByEmail('a@b', never)).toBeUndefined()
    const anew = await users.add({ name: 'a', email: 'a@b' }, never)
    expect(anew.canonicalId).not.toBe(old.canonicalId)
    expect(await users.findKey(accessKeyId)).toBeUndefined()
    expect(await users.listKeys('a', never)).toEqual([])
  })

  test('root has its first key with itself, and cannot be removed or made twice', async () => {
    const { users } = await openTestUsers()
    const root = await users.addRoot({ accessKeyId: 'FIRST', secret: SECRET }, never)
    expect(root).toMatchObject({ name: ROOT_USER, isRoot: true })
    const found = { accessKeyId: 'FIRST', secret: SECRET, user: root }
    expect(await users.findKey('FIRST')).toEqual(found)
    await expectCode(users.remove(ROOT_USER, never), 'REQUEST_INVALID')
    await expectCode(users.addRoot({}, never), 'USER_EXISTS')
    await expectCode(users.add({ name: ROOT_USER }, never), 'USER_EXISTS')
    expect(await users.findKey('FIRST')).toEqual(found)
  })

  test('nothing changes where rows must not be changed; what is there is found', async () => {
    let isLeader = true
    const checkWritable = () => {
      if (!isLeader) throw new StoreError('NOT_LEADER', 'no')
    }
    const { users, store } = await openTestUsers({ checkWritable })
    await users.add({ name: 'a' }, never)
    const { accessKeyId } = await users.addKey({ userName: 'a' }, never)
    const before = await rowsOf(store)
    isLeader = false
    await expectCode(users.add({ name: 'b' }, never), 'NOT_LEADER')
    await expectCode(users.remove('a', never), 'NOT_LEADER')
    await expectCode(users.setPolicy('a', '{}', never), 'NOT_LEADER')
    await expectCode(users.addKey({ userName: 'a' }, never), 'NOT_LEADER')
    await expectCode(users.removeKey(accessKeyId, never), 'NOT_LEADER')
    await expectCode(users.setKeyEnabled(accessKeyId, false, never), 'NOT_LEADER')
    expect(await rowsOf(store)).toEqual(before)
    expect(await users.findKey(accessKeyId)).toMatchObject({ user: { name: 'a' } })
  })
})

describe('access keys', () => {
  async function openWithAlice(options: Parameters<typeof openTestUsers>[0] = {}) {
    const opened = await openTestUsers(options)
    return { ...opened, alice: await opened.users.add({ name: 'alice' }, never) }
  }

  test('random ones have 20 and 40 characters, and are found with their user', async () => {
    const { users, alice, clock } = await openWithAlice()
    const key = await users.addKey({ userName: 'alice' }, never)
    expect(key).toEqual({
      accessKeyId: expect.stringMatching(/^HL[A-Z2-7]{18}$/),
      secret: expect.stringMatching(/^[A-Za-z0-9_-]{40}$/),
      userName: 'alice',
      createdAtMs: clock.nowMs(),
      isEnabled: true,
    })
    const { accessKeyId, secret } = key
    expect(await users.findKey(accessKeyId)).toEqual({ accessKeyId, secret, user: alice })
    const { secret: _, ...view } = key
    expect(await users.listKeys('alice', never)).toEqual([view])
  })

  test.each([
    ['abc', 'x'.repeat(8), true],
    ['A-z_9', '!"#$%&/()=~', true],
    ['x'.repeat(128), 'x'.repeat(128), true],
    ['ab', SECRET, false],
    ['x'.repeat(129), SECRET, false],
    ['a/b', SECRET, false],
    ['abc\n', SECRET, false],
    ['abc', 'x'.repeat(7), false],
    ['abc', 'x'.repeat(129), false],
    ['abc', 'with a blank', false],
    ['abc', 'não-ascii', false],
  ])('a given key %j with the secret %j: %s', async (accessKeyId, secret, isGood) => {
    const { users } = await openWithAlice()
    const adding = users.addKey({ userName: 'alice', accessKeyId, secret }, never)
    if (isGood) {
      expect(await adding).toMatchObject({ accessKeyId, secret })
      expect(await users.findKey(accessKeyId)).toMatchObject({ secret })
    } else {
      await expectCode(adding, 'REQUEST_INVALID')
      await expect(adding).rejects.not.toThrow(secret)
      expect(await users.findKey(accessKeyId)).toBeUndefined()
    }
  })

  test('a given one that is there already is refused, whosever it is', async () => {
    const { users } = await openWithAlice()
    await users.add({ name: 'bob' }, never)
    await users.addKey({ userName: 'alice', accessKeyId: 'KEY', secret: SECRET }, never)
    for (const userName of ['alice', 'bob']) {
      await expectCode(users.addKey({ userName, accessKeyId: 'KEY' }, never), 'ACCESS_KEY_EXISTS')
    }
    expect(await users.findKey('KEY')).toMatchObject({ secret: SECRET, user: { name: 'alice' } })
  })

  test('a random one that is there already is drawn again', async () => {
    const { users, store } = await openWithAlice()
    const { accessKeyId } = await users.addKey({ userName: 'alice' }, never)
    // As the chance of the first opening goes, so goes that of the second.
    const again = await openTestUsers({ store: new TestUsersStore() })
    await again.users.add({ name: 'alice' }, never)
    for (const [key, value] of await rowsOf(store)) {
      if (key.startsWith('user-keys/')) await again.store.commit({ puts: [{ key, value }] }, never)
    }
    const drawn = await again.users.addKey({ userName: 'alice' }, never)
    expect(drawn.accessKeyId).not.toBe(accessKeyId)
    expect(await again.users.findKey(drawn.accessKeyId)).toMatchObject({ secret: drawn.secret })
  })

  test('a user has 100 at most', async () => {
    const { users } = await openWithAlice()
    for (let count = 0; count < 100; count++) await users.addKey({ userName: 'alice' }, never)
    await expectCode(users.addKey({ userName: 'alice' }, never), 'REQUEST_INVALID')
    const keys = await users.listKeys('alice', never)
    expect(keys).toHaveLength(100)
    await users.removeKey(keys[50]?.accessKeyId ?? '', never)
    await users.addKey({ userName: 'alice' }, never)
  })

  test('one that is switched off or removed opens nothing from then on', async () => {
    const { users } = await openWithAlice()
    const { accessKeyId } = await users.addKey({ userName: 'alice' }, never)
    const found = await users.findKey(accessKeyId)
    await users.setKeyEnabled(accessKeyId, false, never)
    expect(await users.findKey(accessKeyId)).toBeUndefined()
    expect(await users.listKeys('alice', never)).toMatchObject([{ accessKeyId, isEnabled: false }])
    await users.setKeyEnabled(accessKeyId, true, never)
    expect(await users.findKey(accessKeyId)).toEqual(found)
    await users.removeKey(accessKeyId, never)
    expect(await users.findKey(accessKeyId)).toBeUndefined()
    expect(await users.listKeys('alice', never)).toEqual([])
    await expectCode(users.removeKey(accessKeyId, never), 'ACCESS_KEY_NOT_FOUND')
    await expectCode(users.setKeyEnabled(accessKeyId, true, never), 'ACCESS_KEY_NOT_FOUND')
  })

  test('names that no key can have are found to be none without a read', async () => {
    const { users, store } = await openWithAlice()
    store.getCount = 0
    for (const text of ['', 'ab', '../alice', 'x'.repeat(129), 'a\u0000b']) {
      expect(await users.findKey(text)).toBeUndefined()
    }
    expect(store.getCount).toBe(0)
  })

  test('the second read asks no store; ten at once ask once', async () => {
    const { users, store } = await openWithAlice()
    const { accessKeyId } = await users.addKey({ userName: 'alice' }, never)
    store.getCount = 0
    await Promise.all(Array.from({ length: 10 }, () => users.findKey(accessKeyId)))
    expect(store.getCount).toBe(2)
    await users.findKey(accessKeyId)
    expect(store.getCount).toBe(2)
  })

  test('another policy of its user is seen with the next read', async () => {
    const { users } = await openWithAlice()
    const { accessKeyId } = await users.addKey({ userName: 'alice' }, never)
    expect((await users.findKey(accessKeyId))?.user.policy).toBeUndefined()
    await users.setPolicy('alice', '{"a":1}', never)
    expect((await users.findKey(accessKeyId))?.user.policy).toBe('{"a":1}')
  })

  test('a read that a change overtakes leaves nothing old behind', async () => {
    const { users, store } = await openWithAlice()
    const { accessKeyId } = await users.addKey({ userName: 'alice' }, never)
    for (let turns = 0; turns < 12; turns++) {
      await users.setKeyEnabled(accessKeyId, true, never)
      // The change ends while the read is at one of its awaits, a later one each time.
      const changing = users.setKeyEnabled(accessKeyId, false, never)
      for (let turn = 0; turn < turns; turn++) await undefined
      const reading = users.findKey(accessKeyId)
      await changing
      expect(await users.findKey(accessKeyId)).toBeUndefined()
      await reading
      expect(await users.findKey(accessKeyId)).toBeUndefined()
    }
    expect((await rowsOf(store)).size).toBe(3)
  })

  test('of an operator is there and switched on, with the secret that was given', async () => {
    const { users, store } = await openWithAlice()
    const given = { accessKeyId: 'GIVEN', secret: SECRET, userName: 'alice' }
    await users.ensureKey(given, never)
    expect(await users.findKey('GIVEN')).toMatchObject({ secret: SECRET })
    const rows = await rowsOf(store)
    await users.ensureKey(given, never)
    expect(await rowsOf(store)).toEqual(rows)
    await users.setKeyEnabled('GIVEN', false, never)
    await users.ensureKey(given, never)
    expect(await users.findKey('GIVEN')).toMatchObject({ secret: SECRET })
    await users.ensureKey({ ...given, secret: 'another-one' }, never)
    expect(await users.findKey('GIVEN')).toMatchObject({ secret: 'another-one' })
    expect(await users.listKeys('alice', never)).toHaveLength(1)
    await users.add({ name: 'bob' }, never)
    await expectCode(users.ensureKey({ ...given, userName: 'bob' }, never), 'ACCESS_KEY_EXISTS')
  })
})

describe('secrets at rest', () => {
  const ROW = 'user-keys/KEY'

  async function openWithKey() {
    const opened = await openTestUsers()
    await opened.users.add({ name: 'alice' }, never)
    const key = { userName: 'alice', accessKeyId: 'KEY', secret: SECRET }
    await opened.users.addKey(key, never)
    const row = (await rowsOf(opened.store)).get(ROW) ?? Buffer.alloc(0)
    return { ...opened, row }
  }

  test('are in no row, and two seals of one are not the same', async () => {
    const { users, store, row } = await openWithKey()
    await users.setKeyEnabled('KEY', true, never)
    const rows = await rowsOf(store)
    expect(rows.get(ROW)).not.toEqual(row)
    for (const [key, value] of rows) {
      expect(`${key} ${value.includes(SECRET)}`).toBe(`${key} false`)
    }
  })

  test('a row with any bit changed, or cut at any byte, is METADATA_CORRUPT', async () => {
    const { store, row } = await openWithKey()
    const changed = [
      ...Array.from({ length: row.length * 8 }, (_, bit) => {
        const copy = Buffer.from(row)
        copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        return copy
      }),
      ...Array.from({ length: row.length }, (_, at) => row.subarray(0, at)),
      Buffer.concat([row, Buffer.of(0)]),
    ]
    for (const value of changed) {
      await store.commit({ puts: [{ key: ROW, value }] }, never)
      const { users, logged } = await openTestUsers({ store })
      await expectCode(users.findKey('KEY'), 'METADATA_CORRUPT')
      expect(logged).toEqual(['users.keys_unreadable'])
    }
    expect(changed.length).toBeGreaterThan(700)
  })

  test('a row that the first release wrote is read', async () => {
    const { store } = await openWithKey()
    const value = Buffer.from(GOLDEN_ROW.join(''), 'hex')
    await store.commit({ puts: [{ key: ROW, value }] }, never)
    const { users } = await openTestUsers({ store })
    expect(await users.findKey('KEY')).toMatchObject({ secret: SECRET })
  })

  test('a row that was moved to another key is METADATA_CORRUPT', async () => {
    const { users, store, row } = await openWithKey()
    await users.addKey({ userName: 'alice', accessKeyId: 'NEW', secret: 'a-new-secret' }, never)
    await store.commit({ puts: [{ key: 'user-keys/NEW', value: row }] }, never)
    await expectCode(users.findKey('NEW'), 'METADATA_CORRUPT')
    expect(await users.findKey('KEY')).toMatchObject({ secret: SECRET })
  })

  test.each([
    ['no version', Buffer.of(9)],
    ['no JSON', Buffer.from('\u0001{')],
    ['a list', Buffer.from('\u0001[]')],
    ['nothing in it', Buffer.from('\u0001{}')],
    ['no bytes', Buffer.alloc(0)],
  ])('a row of a user with %s is METADATA_CORRUPT, and lets nobody in', async (_, value) => {
    const { users, store } = await openWithKey()
    await store.commit({ puts: [{ key: 'users/alice', value }] }, never)
    await expectCode(users.findKey('KEY'), 'METADATA_CORRUPT')
    await expectCode(users.get('alice', never), 'METADATA_CORRUPT')
    await expectCode(users.list(never), 'METADATA_CORRUPT')
  })

  test('a key whose user does not list it is none', async () => {
    const { users, store } = await openWithKey()
    const rows = await rowsOf(store)
    await users.removeKey('KEY', never)
    const value = rows.get(ROW) ?? Buffer.alloc(0)
    await store.commit({ puts: [{ key: ROW, value }] }, never)
    expect(await users.findKey('KEY')).toBeUndefined()
  })

  test('are not read with another s3.key, which says so; new ones are', async () => {
    const { store } = await openWithKey()
    const other = await openTestUsers({ store, secrets: [OTHER_KEY], random: new Prng(2) })
    const { users } = other
    expect(other.logged).toEqual(['users.keys_unreadable'])
    await expectCode(users.findKey('KEY'), 'METADATA_CORRUPT')
    await expectCode(users.setKeyEnabled('KEY', false, never), 'METADATA_CORRUPT')
    expect(await users.listKeys('alice', never)).toMatchObject([{ accessKeyId: 'KEY' }])
    const { accessKeyId } = await users.addKey({ userName: 'alice' }, never)
    expect(await users.findKey(accessKeyId)).toMatchObject({ user: { name: 'alice' } })
    await users.ensureKey({ accessKeyId: 'KEY', secret: 'given-again', userName: 'alice' }, never)
    expect(await users.findKey('KEY')).toMatchObject({ secret: 'given-again' })
    await users.removeKey('KEY', never)
    expect(await users.findKey('KEY')).toBeUndefined()
  })

  test('are sealed anew with the last key, and then need the first no more', async () => {
    const { users: first, store } = await openWithKey()
    await first.addKey({ userName: 'alice', accessKeyId: 'OFF', secret: SECRET }, never)
    await first.setKeyEnabled('OFF', false, never)
    const rotated = await openTestUsers({ store, secrets: [SEAL_KEY, OTHER_KEY] })
    expect(rotated.logged).toEqual(['users.keys_resealed'])
    expect(await rotated.users.findKey('KEY')).toMatchObject({ secret: SECRET })
    const after = await openTestUsers({ store, secrets: [OTHER_KEY] })
    expect(after.logged).toEqual([])
    expect(await after.users.findKey('KEY')).toMatchObject({ secret: SECRET })
    expect(await after.users.findKey('OFF')).toBeUndefined()
    await after.users.setKeyEnabled('OFF', true, never)
    expect(await after.users.findKey('OFF')).toMatchObject({ secret: SECRET })
  })

  test('need a key, and no two that cannot be told apart', async () => {
    await expectCode(openTestUsers({ secrets: [] }), 'CONFIG_INVALID')
    await expectCode(openTestUsers({ secrets: [SEAL_KEY, SEAL_KEY] }), 'CONFIG_INVALID')
  })
})

describe('commits that fail', () => {
  async function openWithKey() {
    const opened = await openTestUsers()
    const { users } = opened
    await users.add({ name: 'alice' }, never)
    await users.addKey({ userName: 'alice', accessKeyId: 'KEY', secret: SECRET }, never)
    await users.findKey('KEY')
    return opened
  }

  type Change = (users: Awaited<ReturnType<typeof openWithKey>>['users']) => Promise<unknown>

  const CHANGES: readonly [string, Change][] = [
    ['add', (users) => users.add({ name: 'bob', email: 'b@c' }, never)],
    ['remove', (users) => users.remove('alice', never)],
    ['setPolicy', (users) => users.setPolicy('alice', '{}', never)],
    ['addKey', (users) => users.addKey({ userName: 'alice', accessKeyId: 'NEW' }, never)],
    ['removeKey', (users) => users.removeKey('KEY', never)],
    ['setKeyEnabled', (users) => users.setKeyEnabled('KEY', false, never)],
  ]

  test.each(CHANGES)('%s that did not happen leaves every row', async (_, change) => {
    const { users, store } = await openWithKey()
    const before = await rowsOf(store)
    const found = await users.findKey('KEY')
    store.beforeCommit = failing('DISK_FAILED')
    await expectCode(change(users), 'DISK_FAILED')
    expect(await rowsOf(store)).toEqual(before)
    expect(await users.findKey('KEY')).toEqual(found)
  })

  test.each(CHANGES)('%s that happened all the same is seen', async (_, change) => {
    const { users, store } = await openWithKey()
    store.afterCommit = failing('DISK_FAILED')
    await expectCode(change(users), 'DISK_FAILED')
    store.afterCommit = async () => undefined
    // What another process makes of the rows, which kept nothing in memory.
    const { users: fresh } = await openTestUsers({ store })
    expect(await users.findKey('KEY')).toEqual(await fresh.findKey('KEY'))
    expect(await users.findKey('NEW')).toEqual(await fresh.findKey('NEW'))
    expect(await users.list(never)).toEqual(await fresh.list(never))
  })

  test.each(CHANGES)('%s that others get ahead of seven times is done', async (_, change) => {
    const { users, store } = await openWithKey()
    const before = await rowsOf(store)
    let failures = 7
    store.beforeCommit = async () => {
      if (failures-- > 0) await failing('METADATA_CONFLICT')()
    }
    await change(users)
    expect(await rowsOf(store)).not.toEqual(before)
  })

  test.each(CHANGES)('%s that others always get ahead of is OVERLOADED', async (_, change) => {
    const { users, store } = await openWithKey()
    const before = await rowsOf(store)
    store.beforeCommit = failing('METADATA_CONFLICT')
    await expectCode(change(users), 'OVERLOADED')
    expect(await rowsOf(store)).toEqual(before)
  })

  test('a user that another process adds meanwhile is not written over', async () => {
    const { users, store } = await openWithKey()
    const other = await openTestUsers({ store, random: new Prng(2) })
    let theirs: unknown
    store.beforeCommit = async () => {
      store.beforeCommit = async () => undefined
      theirs = await other.users.add({ name: 'bob' }, never)
    }
    await expectCode(users.add({ name: 'bob' }, never), 'USER_EXISTS')
    expect(await users.get('bob', never)).toEqual(theirs)
  })

  test('a key added while its user is removed is not left behind', async () => {
    const { users, store } = await openWithKey()
    const other = await openTestUsers({ store })
    store.beforeCommit = async () => {
      store.beforeCommit = async () => undefined
      await other.users.remove('alice', never)
    }
    await expectCode(users.addKey({ userName: 'alice' }, never), 'USER_NOT_FOUND')
    expect((await rowsOf(store)).size).toBe(0)
  })
})

// Goal: what is found is what was last changed, whatever failed in between, and no row is orphaned.
// Method: random changes on four users and six keys, with commits that fail before or after they
// happen; what is found is compared with what a process finds that has nothing in memory. Replay:
// the seed in the title.
test.each(Array.from({ length: 40 }, (_, seed) => seed + 1))(
  'random changes and failures end in what the rows say (seed %i)',
  async (seed) => {
    const prng = new Prng(seed)
    const { users, store } = await openTestUsers({ random: prng })
    const names = ['a', 'b', 'c', 'd']
    const ids = ['K-0', 'K-1', 'K-2', 'K-3', 'K-4', 'K-5']
    for (let step = 0; step < 60; step++) {
      const fate = prng.below(6)
      if (fate === 0) store.beforeCommit = failing('DISK_FAILED')
      if (fate === 1) store.afterCommit = failing('DISK_FAILED')
      const name = names[prng.below(names.length)] ?? ''
      const id = ids[prng.below(ids.length)] ?? ''
      const run = [
        () => users.add({ name }, never),
        () => users.remove(name, never),
        () => users.addKey({ userName: name, accessKeyId: id, secret: `secret-${step}` }, never),
        () => users.removeKey(id, never),
        () => users.setKeyEnabled(id, prng.below(2) === 0, never),
        () => users.setPolicy(name, `${step}`, never),
      ][prng.below(6)]
      const error: unknown = await run?.().then(
        () => undefined,
        (failure: unknown) => failure,
      )
      if (error !== undefined) expect(error).toBeInstanceOf(StoreError)
      store.beforeCommit = async () => undefined
      store.afterCommit = async () => undefined
      const { users: fresh } = await openTestUsers({ store })
      for (const each of ids) {
        expect(await users.findKey(each)).toEqual(await fresh.findKey(each))
      }
    }
    const rows = await rowsOf(store)
    const listed = await users.list(never)
    const keys = (await Promise.all(listed.map(({ name }) => users.listKeys(name, never)))).flat()
    for (const { accessKeyId, userName, isEnabled } of keys) {
      const found = await users.findKey(accessKeyId)
      expect(found?.user.name).toBe(isEnabled ? userName : undefined)
    }
    expect([...rows.keys()].toSorted()).toEqual(
      [
        ...listed.flatMap(({ name, canonicalId }) => [`users/${name}`, `user-ids/${canonicalId}`]),
        ...keys.map(({ accessKeyId }) => `user-keys/${accessKeyId}`),
      ].toSorted(),
    )
  },
)
