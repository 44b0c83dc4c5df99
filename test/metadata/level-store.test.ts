import { expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { CommitQueue, type GroupWrite } from '../../src/metadata/level/commit-queue.ts'
import { levelError } from '../../src/metadata/level/level-errors.ts'
import { LevelStore } from '../../src/metadata/level/level-store.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { bytes, keysOf, put, testMetadataStore } from '../conformance/metadata-store.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const never = new AbortController().signal

function openLevel(directory: string): Promise<LevelStore> {
  return LevelStore.open(
    { clock: systemClock, disk: new NodeDisk(), logger: silentLogger },
    { directory },
    never,
  )
}

testMetadataStore('LevelStore', async () => {
  const directory = await openTempDirectory()
  const store = await openLevel(directory.path)
  return {
    store,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    },
  }
})

test('rows are there after the store was opened anew, in a directory it made itself', async () => {
  await using directory = await openTempDirectory()
  const path = `${directory.path}/new/one`
  {
    await using store = await openLevel(path)
    await store.commit({ puts: put('a', 'é') }, never)
  }
  await using reopened = await openLevel(path)
  expect(await keysOf(reopened)).toEqual(['a', 'é'])
})

test('a directory that is open already is DIRECTORY_LOCKED', async () => {
  await using directory = await openTempDirectory()
  await using _store = await openLevel(directory.path)
  await expect(openLevel(directory.path)).rejects.toMatchObject({ code: 'DIRECTORY_LOCKED' })
})

test('a damaged manifest is METADATA_CORRUPT or DISK_FAILED, not an empty store', async () => {
  await using directory = await openTempDirectory()
  {
    await using store = await openLevel(directory.path)
    await store.commit({ puts: put('a') }, never)
  }
  await using file = await new NodeDisk().open(`${directory.path}/CURRENT`, 'write')
  await file.truncate(3)
  await expect(openLevel(directory.path)).rejects.toMatchObject({
    code: expect.stringMatching(/^(METADATA_CORRUPT|DISK_FAILED)$/),
  })
})

test.each([
  ['LEVEL_LOCKED', '', 'DIRECTORY_LOCKED'],
  ['LEVEL_CORRUPTION', '', 'METADATA_CORRUPT'],
  ['LEVEL_IO_ERROR', 'IO error: /x: No space left on device', 'DISK_FULL'],
  ['LEVEL_IO_ERROR', 'IO error: /x: Input/output error', 'DISK_FAILED'],
  ['LEVEL_IO_ERROR', 'IO error: /x: Permission denied', 'DIRECTORY_UNUSABLE'],
  ['LEVEL_DATABASE_NOT_OPEN', '', 'CLOSED'],
  ['LEVEL_ITERATOR_NOT_OPEN', '', 'CLOSED'],
  ['LEVEL_SOMETHING_NEW', '', 'DISK_FAILED'],
])('%s %o of the database is %s', (levelCode, message, code) => {
  const error = Object.assign(new Error(message), { code: levelCode })
  expect(levelError('doing', '/d', error).code).toBe(code)
})

test('a cause says why the database is not open', () => {
  const cause = Object.assign(new Error('IO error: No space left on device'), {
    code: 'LEVEL_IO_ERROR',
  })
  const error = Object.assign(new Error('not open', { cause }), { code: 'LEVEL_DATABASE_NOT_OPEN' })
  expect(levelError('opening', '/d', error).code).toBe('DISK_FULL')
})

/** A target whose writes end when the test says so. */
function heldTarget() {
  const groups: GroupWrite[] = []
  const ends: ((error?: Error) => void)[] = []
  return {
    groups,
    /** Ends the write under way, which must have begun. */
    async end(error?: Error) {
      const finish = ends.shift() ?? expect.fail('no write is under way')
      finish(error)
      await turn()
    },
    renewal: new StoreError('DISK_FULL', 'still full') as StoreError | undefined,
    async renew() {
      if (this.renewal !== undefined) throw this.renewal
    },
    read: async (keys: readonly string[]) => keys.map(() => undefined),
    write: (group: GroupWrite) =>
      new Promise<void>((resolve, reject) => {
        groups.push(group)
        ends.push((error) => (error === undefined ? resolve() : reject(error)))
      }),
  }
}

async function turn(): Promise<void> {
  for (let count = 0; count < 3; count++) await new Promise((resolve) => setImmediate(resolve))
}

test('100 commits of one turn are one write; 50 that come meanwhile are the next', async () => {
  const target = heldTarget()
  const queue = new CommitQueue(target, silentLogger)
  const add = (key: string) => queue.add({ puts: put(key) }, never)
  const first = Array.from({ length: 100 }, (_, index) => add(`a${index}`))
  await turn()
  const second = Array.from({ length: 50 }, (_, index) => add(`b${index}`))
  expect(queue.queuedCount).toBe(50)
  expect(target.groups.map((group) => group.size)).toEqual([100])
  await target.end()
  await Promise.all(first)
  expect(target.groups.map((group) => group.size)).toEqual([100, 50])
  await target.end()
  await Promise.all(second)
})

test('a group has at most 1,024 commits and about 4 MiB', async () => {
  const target = heldTarget()
  const queue = new CommitQueue(target, silentLogger)
  const small = Array.from({ length: 1025 }, (_, index) =>
    queue.add({ puts: put(`a${index}`) }, never),
  )
  const value = new Uint8Array(3 * 2 ** 20)
  const large = ['x', 'y'].map((key) => queue.add({ puts: [{ key, value }] }, never))
  await turn()
  for (let count = 0; count < 3; count++) await target.end()
  await Promise.all([...small, ...large])
  expect(target.groups.map((group) => group.size)).toEqual([1024, 2, 1])
})

test('16,384 commits wait; one more is OVERLOADED, and nothing of it is written', async () => {
  const target = heldTarget()
  const queue = new CommitQueue(target, silentLogger)
  const blocker = queue.add({ puts: put('blocker') }, never)
  await turn()
  const waiting = Array.from({ length: 16_384 }, () => queue.add({ puts: put('a') }, never))
  await expect(queue.add({ puts: put('late') }, never)).rejects.toMatchObject({
    code: 'OVERLOADED',
  })
  while (queue.queuedCount > 0) await target.end()
  await target.end()
  await Promise.all([blocker, ...waiting])
  expect(target.groups.some((group) => group.has('late'))).toBe(false)
})

test('64 MiB of values wait; one byte more is OVERLOADED', async () => {
  const target = heldTarget()
  const queue = new CommitQueue(target, silentLogger)
  const value = new Uint8Array(64 * 2 ** 20 - 1)
  const waiting = queue.add({ puts: [{ key: 'a', value }] }, never)
  await expect(queue.add({ deletes: ['b'] }, never)).rejects.toMatchObject({ code: 'OVERLOADED' })
  await turn()
  await target.end()
  await waiting
})

test('a commit is cancelled while it waits, and no longer once its turn has come', async () => {
  const target = heldTarget()
  const queue = new CommitQueue(target, silentLogger)
  const early = new AbortController()
  const late = new AbortController()
  const written = queue.add({ puts: put('written') }, early.signal)
  await turn()
  early.abort()
  const cancelled = queue.add({ puts: put('cancelled') }, late.signal)
  late.abort()
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
  await target.end()
  await written
  await queue.close()
  expect(target.groups.map((group) => [...group.keys()])).toEqual([['written']])
})

test.each(['DISK_FAILED', 'METADATA_CORRUPT'] as const)(
  'after %s nothing more is written: who waited and who comes later fails',
  async (code) => {
    const target = heldTarget()
    target.renewal = undefined
    const queue = new CommitQueue(target, silentLogger)
    const first = queue.add({ puts: put('a') }, never)
    await turn()
    const waiting = queue.add({ puts: put('b') }, never)
    const settled = Promise.allSettled([first, waiting])
    await target.end(new StoreError(code, 'broken'))
    for (const outcome of await settled) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code } })
    }
    await expect(queue.add({ puts: put('c') }, never)).rejects.toMatchObject({ code })
    expect(target.groups).toHaveLength(1)
  },
)

test('after DISK_FULL commits fail until the target could be renewed, and then go on', async () => {
  const target = heldTarget()
  const queue = new CommitQueue(target, silentLogger)
  const first = queue.add({ puts: put('a') }, never).catch((error: StoreError) => error.code)
  await turn()
  await target.end(new StoreError('DISK_FULL', 'no room'))
  expect(await first).toBe('DISK_FULL')
  await expect(queue.add({ puts: put('b') }, never)).rejects.toMatchObject({ code: 'DISK_FULL' })
  expect(target.groups).toHaveLength(1)
  target.renewal = undefined
  const later = queue.add({ puts: put('c') }, never)
  await turn()
  await target.end()
  await later
  expect(target.groups.map((group) => [...group.keys()])).toEqual([['a'], ['c']])
})

test('a conflict with a commit of the same group is not reported before that one is written', async () => {
  const target = heldTarget()
  const queue = new CommitQueue(target, silentLogger)
  const winner = queue.add({ puts: put('a') }, never)
  const loser = queue.add(
    { puts: put('b'), conditions: [{ key: 'a', value: bytes('else') }] },
    never,
  )
  let isReported = false
  const reported = loser.catch((error: StoreError) => {
    isReported = true
    return error.code
  })
  await turn()
  expect(isReported).toBe(false)
  await target.end()
  await winner
  expect(await reported).toBe('METADATA_CONFLICT')
})
