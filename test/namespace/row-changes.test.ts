import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { checkFilesKept, RowChanges, RowCommits } from '../../src/namespace/row-changes.ts'
import { failsWith, never, WatchedStore } from '../support/test-namespace.ts'

const FILE = '3,01aaaaaaaa'

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text))
}

describe('a batch put together', () => {
  test('has the last word of each key', () => {
    const changes = new RowChanges(0)
    changes.put('a', bytes('1'))
    changes.delete('a')
    changes.delete('b')
    changes.put('b', bytes('2'))
    changes.put('b', bytes('3'))
    changes.expect('c', undefined)
    changes.count(5, 1)
    changes.count(-7, 0)
    expect(changes.batch).toEqual({
      puts: [{ key: 'b', value: bytes('3') }],
      deletes: ['a'],
      conditions: [{ key: 'c', value: undefined }],
    })
    expect(changes.usage).toEqual({ bytes: -2, objects: 1 })
  })

  test('drops a file with an intent and a row that keeps it from being named again', async () => {
    const store = new WatchedStore()
    await checkFilesKept(store, [FILE], never)
    const changes = new RowChanges(255)
    changes.dropFile('3,0001AAAAAAAA', 0)
    changes.dropFile(FILE, 0)
    await store.commit(changes.batch, never)
    expect(await store.keys()).toEqual([`name-files/${FILE}`, `name-intents/0000000000ff/${FILE}`])
    await checkFilesKept(store, [], never)
    await checkFilesKept(store, ['3,02aaaaaaaa'], never)
    const checking = checkFilesKept(store, ['3,02aaaaaaaa', FILE], never)
    await expect(checking).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })
})

describe('committing a plan', () => {
  function planOf(key: string) {
    const changes = new RowChanges(0)
    changes.put(key, bytes('x'))
    return { result: key, changes }
  }

  test('without changes commits nothing', async () => {
    const store = new WatchedStore()
    store.beforeCommit = failsWith(new StoreError('DISK_FULL', 'full'))
    const commits = new RowCommits(store)
    expect(await commits.commit(async () => ({ result: 5 }), never)).toEqual({ result: 5 })
  })

  test('plans again after a conflict, 8 times at most, then it is OVERLOADED', async () => {
    const store = new WatchedStore()
    const commits = new RowCommits(store)
    let plans = 0
    const planAgainst = (conflicts: number) => async () => {
      plans++
      if (plans <= conflicts) {
        store.beforeCommit = failsWith(new StoreError('METADATA_CONFLICT', 'raced'))
      }
      return planOf('a')
    }
    expect((await commits.commit(planAgainst(7), never)).result).toBe('a')
    expect(plans).toBe(8)
    plans = 0
    const committing = commits.commit(planAgainst(8), never)
    await expect(committing).rejects.toMatchObject({ code: 'OVERLOADED' })
    expect([plans, commits.isInDoubt]).toEqual([8, false])
  })

  test('that fails with what the plan throws leaves no doubt', async () => {
    const commits = new RowCommits(new WatchedStore())
    const failing = commits.commit(() => Promise.reject(new StoreError('DISK_FULL', 'x')), never)
    await expect(failing).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(commits.isInDoubt).toBe(false)
  })

  test.each([
    ['METADATA_CONFLICT', false],
    ['OVERLOADED', false],
    ['CANCELLED', false],
    ['CLOSED', false],
    ['DISK_FULL', true],
    ['DISK_FAILED', true],
    ['METADATA_CORRUPT', true],
  ] as const)('that fails with %s leaves it in doubt: %o', async (code, isInDoubt) => {
    const store = new WatchedStore()
    const commits = new RowCommits(store)
    let doubts = 0
    commits.onDoubt(() => doubts++)
    store.beforeCommit = failsWith(new StoreError(code, 'failed'))
    await commits.commit(async () => planOf('a'), never).catch(() => undefined)
    expect([commits.isInDoubt, doubts]).toEqual([isInDoubt, isInDoubt ? 1 : 0])
  })

  test('while in doubt begins when another commit got through, not before', async () => {
    const store = new WatchedStore()
    const commits = new RowCommits(store)
    store.beforeCommit = failsWith(new StoreError('DISK_FULL', 'full'))
    await commits.commit(async () => planOf('a'), never).catch(() => undefined)
    store.beforeCommit = failsWith(new StoreError('DISK_FULL', 'still full'))
    let plans = 0
    const plan = async () => {
      plans++
      return planOf('b')
    }
    await expect(commits.commit(plan, never)).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect([plans, commits.isInDoubt]).toEqual([0, true])
    // The one that failed first is found to have happened now.
    store.beforeCommit = () => store.commit({ puts: [{ key: 'a', value: bytes('x') }] }, never)
    const seen: string[][] = []
    await commits.commit(async () => {
      seen.push(await store.keys())
      return planOf('b')
    }, never)
    expect([seen, commits.isInDoubt]).toEqual([[['a']], false])
    expect(await store.keys()).toEqual(['a', 'b'])
  })

  test('is in doubt again when another commit fails while the doubt is being settled', async () => {
    const store = new WatchedStore()
    const commits = new RowCommits(store)
    const fail = async (key: string) => {
      await commits.commit(async () => planOf(key), never).catch(() => undefined)
    }
    // Both are planned without a doubt; the second one fails while the first one is being settled.
    let failSecond: () => void = () => undefined
    let isBegun = false
    store.beforeCommit = () =>
      new Promise<void>((_, reject) => {
        isBegun = true
        failSecond = () => reject(new StoreError('DISK_FULL', 'full'))
      })
    const second = fail('b')
    while (!isBegun) await undefined
    store.beforeCommit = failsWith(new StoreError('DISK_FULL', 'full'))
    await fail('a')
    let settles = 0
    store.beforeCommit = async () => {
      settles++
      failSecond()
      await second
      store.beforeCommit = async () => {
        settles++
      }
    }
    await commits.settle(never)
    expect([settles, commits.isInDoubt]).toEqual([2, false])
  })
})
