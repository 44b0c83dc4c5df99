import { expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { RowCache } from '../../src/namespace/row-cache.ts'
import { RowChanges, RowCommits } from '../../src/namespace/row-changes.ts'
import { failsWith, never, WatchedStore } from '../support/test-namespace.ts'

interface Row {
  readonly text: string
}

function openCache(max = 10) {
  const store = new WatchedStore()
  const commits = new RowCommits(store)
  const cache = new RowCache<Row>({ commits }, { max })
  const loads: ((row: Row | undefined) => void)[] = []
  /** A load that ends when the test says so. */
  const load = () => new Promise<Row | undefined>((resolve) => loads.push(resolve))
  const fail = async () => {
    store.beforeCommit = failsWith(new StoreError('DISK_FULL', 'full'))
    await commits
      .commit(async () => ({ result: 0, changes: new RowChanges(0) }), never)
      .catch(() => undefined)
  }
  return { cache, commits, loads, load, fail }
}

const A = { text: 'a' }
const B = { text: 'b' }

test('one load serves all who ask meanwhile, and is kept', async () => {
  const { cache, load, loads } = openCache()
  const reads = [cache.get('k', load), cache.get('k', load)]
  expect(loads).toHaveLength(1)
  expect(cache.peek('k')).toBeUndefined()
  loads[0]?.(A)
  expect(await Promise.all(reads)).toEqual([A, A])
  expect(cache.peek('k')).toBe(A)
  expect(await cache.get('k', load)).toBe(A)
  expect(loads).toHaveLength(1)
})

test('what is not there is asked for each time', async () => {
  const { cache, load, loads } = openCache()
  for (let count = 1; count <= 3; count++) {
    const reading = cache.get('k', load)
    loads.at(-1)?.(undefined)
    expect(await reading).toBeUndefined()
    expect(loads).toHaveLength(count)
  }
})

test('a load that failed fails all who waited for it, and the next one asks again', async () => {
  const { cache, load, loads } = openCache()
  const failing = () => Promise.reject(new StoreError('DISK_FAILED', 'x'))
  const reads = [cache.get('k', failing), cache.get('k', load)]
  for (const reading of reads) {
    await expect(reading).rejects.toMatchObject({ code: 'DISK_FAILED' })
  }
  const reading = cache.get('k', load)
  loads[0]?.(A)
  expect(await reading).toBe(A)
})

test('a read that a change overtook is not kept', async () => {
  const { cache, load, loads } = openCache()
  const reading = cache.get('k', load)
  cache.change('k')[Symbol.dispose]()
  const later = cache.get('k', load)
  loads[1]?.(B)
  expect(await later).toBe(B)
  loads[0]?.(A)
  expect(await reading).toBe(A)
  expect(cache.peek('k')).toBe(B)
})

test('while a row changes nothing of it is kept or shared; other rows are', async () => {
  const { cache, load, loads } = openCache()
  cache.set('k', A)
  cache.set('other', A)
  const changing = cache.change('k')
  expect(cache.peek('k')).toBeUndefined()
  expect(cache.peek('other')).toBe(A)
  const reads = [cache.get('k', load), cache.get('k', load)]
  expect(loads).toHaveLength(2)
  loads[0]?.(A)
  loads[1]?.(B)
  expect(await Promise.all(reads)).toEqual([A, B])
  expect(cache.peek('k')).toBeUndefined()
  const last = cache.get('k', load)
  changing[Symbol.dispose]()
  loads[2]?.(A)
  await last
  expect(cache.peek('k')).toBeUndefined()
})

test('what is not sure is not kept, however long its read takes', async () => {
  const { cache, commits, load, loads, fail } = openCache()
  await fail()
  expect(commits.isInDoubt).toBe(true)
  cache.set('x', A)
  expect(cache.peek('x')).toBeUndefined()
  const reading = cache.get('k', load)
  await commits.settle(never)
  loads[0]?.(A)
  expect(await reading).toBe(A)
  expect(cache.peek('k')).toBeUndefined()
  cache.set('x', A)
  expect(cache.peek('x')).toBe(A)
})

test('of more rows than it holds, the one not asked for longest is forgotten', () => {
  const { cache } = openCache(2)
  cache.set('a', A)
  cache.set('b', B)
  cache.peek('a')
  cache.set('c', A)
  expect([cache.peek('a'), cache.peek('b'), cache.peek('c')]).toEqual([A, undefined, A])
})

test('a read begun in doubt serves nobody who asks after it', async () => {
  const { cache, commits, load, loads, fail } = openCache()
  await fail()
  const before = cache.get('k', load)
  // What failed is found to have happened: the row may be another one now.
  await commits.settle(never)
  const after = cache.get('k', load)
  loads[0]?.(A)
  loads[1]?.(B)
  expect(await Promise.all([before, after])).toEqual([A, B])
  expect(cache.peek('k')).toBe(B)
})
