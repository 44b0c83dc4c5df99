import { describe, expect, test } from 'vitest'
import type { MetadataRow, MetadataScan, MetadataStore } from '../../src/metadata/metadata-store.ts'
import { Prng } from '../support/prng.ts'

/** An empty store, and how to close what is behind it; `reopen` only where rows outlive it. */
export interface StoreUnderTest extends AsyncDisposable {
  readonly store: MetadataStore
}

export type OpenStore = () => Promise<StoreUnderTest>

const never = new AbortController().signal

/** In the order of their UTF-8 bytes. By code units the last two would be the other way round. */
const ORDERED_KEYS = [
  '\0',
  ' ',
  '0',
  '00',
  'A',
  'a',
  'a\0',
  'a/',
  'a/b',
  'aa',
  'é',
  '日',
  '\uffff',
  '\u{1f600}',
]

export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text))
}

export function put(...texts: string[]): MetadataRow[] {
  return texts.map((key) => ({ key, value: bytes(`of ${key}`) }))
}

export async function keysOf(store: MetadataStore, range: MetadataScan = {}): Promise<string[]> {
  const keys: string[] = []
  for await (const row of store.scan(range, never)) keys.push(row.key)
  return keys
}

/** What every `MetadataStore` must do. */
export function testMetadataStore(name: string, open: OpenStore): void {
  describe(`${name} as a MetadataStore`, () => {
    testRows(open)
    testScans(open)
    testConditions(open)
    testModel(open)
    testLifetime(open)
  })
}

function testRows(open: OpenStore): void {
  test('an empty store has no rows', async () => {
    await using opened = await open()
    expect(await opened.store.get('a', never)).toBeUndefined()
    expect(await opened.store.getMany(['a', 'b'], never)).toEqual([undefined, undefined])
    expect(await keysOf(opened.store)).toEqual([])
  })

  test.each([0, 1, 255, 4096, 300_000])('a value of %d bytes comes back', async (length) => {
    await using opened = await open()
    const value = new Uint8Array(length).map((_, index) => index * 7)
    await opened.store.commit({ puts: [{ key: 'a', value }] }, never)
    expect(Buffer.from((await opened.store.get('a', never)) ?? [])).toEqual(Buffer.from(value))
  })

  test('a batch puts and deletes together; a missing key is deleted without complaint', async () => {
    await using opened = await open()
    const { store } = opened
    await store.commit({ puts: put('a', 'b') }, never)
    await store.commit({ puts: put('c'), deletes: ['a', 'nothing'] }, never)
    expect(await keysOf(store)).toEqual(['b', 'c'])
  })

  test('getMany answers in the order of the keys, repeated ones too', async () => {
    await using opened = await open()
    await opened.store.commit({ puts: put('a', 'b') }, never)
    const values = await opened.store.getMany(['b', 'x', 'a', 'b'], never)
    expect(values.map((value) => value && Buffer.from(value).toString())).toEqual([
      'of b',
      undefined,
      'of a',
      'of b',
    ])
  })

  test('a later commit wins, also among those that wait together', async () => {
    await using opened = await open()
    const values = Array.from({ length: 50 }, (_, index) => bytes(String(index)))
    await Promise.all(
      values.map((value) => opened.store.commit({ puts: [{ key: 'a', value }] }, never)),
    )
    expect(Buffer.from((await opened.store.get('a', never)) ?? []).toString()).toBe('49')
  })
}

function testScans(open: OpenStore): void {
  test('rows come in the order of the UTF-8 bytes of their keys', async () => {
    await using opened = await open()
    await opened.store.commit({ puts: put(...ORDERED_KEYS.toReversed()) }, never)
    expect(await keysOf(opened.store)).toEqual(ORDERED_KEYS)
    expect(await keysOf(opened.store, { reverse: true })).toEqual(ORDERED_KEYS.toReversed())
  })

  test.each<[string, MetadataScan, string[]]>([
    ['from a key on', { gte: 'b' }, ['b', 'c', 'd']],
    ['below a key', { lt: 'c' }, ['a', 'b']],
    ['between two', { gte: 'b', lt: 'd' }, ['b', 'c']],
    ['between keys that are not there', { gte: 'aa', lt: 'cc' }, ['b', 'c']],
    ['nothing between a key and itself', { gte: 'b', lt: 'b' }, []],
    ['nothing the wrong way round', { gte: 'c', lt: 'b' }, []],
    ['the first two', { limit: 2 }, ['a', 'b']],
    ['none at all', { limit: 0 }, []],
    ['the last two', { limit: 2, reverse: true }, ['d', 'c']],
    ['the last below a key', { lt: 'c', limit: 1, reverse: true }, ['b']],
  ])('scans %s', async (_, range, expected) => {
    await using opened = await open()
    await opened.store.commit({ puts: put('a', 'b', 'c', 'd') }, never)
    expect(await keysOf(opened.store, range)).toEqual(expected)
  })

  test('a scan shows 2,500 rows as of its first step, whatever is committed meanwhile', async () => {
    await using opened = await open()
    const keys = Array.from({ length: 2500 }, (_, index) => `k${String(index).padStart(5, '0')}`)
    await opened.store.commit({ puts: put(...keys) }, never)
    const seen: string[] = []
    for await (const row of opened.store.scan({}, never)) {
      if (seen.length === 0) {
        await opened.store.commit({ puts: put('k99999'), deletes: ['k02400'] }, never)
      }
      seen.push(row.key)
    }
    expect(seen).toEqual(keys)
  })

  test('a scan can be left early, and ends when its signal aborts', async () => {
    await using opened = await open()
    await opened.store.commit({ puts: put('a', 'b', 'c') }, never)
    for await (const _row of opened.store.scan({}, never)) break
    const aborting = new AbortController()
    const scan = async () => {
      for await (const _row of opened.store.scan({}, aborting.signal)) aborting.abort()
    }
    await expect(scan()).rejects.toMatchObject({ code: 'CANCELLED' })
  })
}

function testConditions(open: OpenStore): void {
  test.each([
    ['absent, and it is there', 'a', undefined],
    ['another value', 'a', 'other'],
    ['a beginning of the value', 'a', 'of'],
    ['a value, and there is none', 'b', 'of b'],
    ['an empty value, and there is none', 'b', ''],
  ])('nothing changes when a condition fails: %s', async (_, key, text) => {
    await using opened = await open()
    const { store } = opened
    await store.commit({ puts: put('a') }, never)
    const value = text === undefined ? undefined : bytes(text)
    const conditions = [
      { key: 'a', value: bytes('of a') },
      { key, value },
    ]
    const commit = store.commit({ puts: put('c'), deletes: ['a'], conditions }, never)
    await expect(commit).rejects.toMatchObject({ code: 'METADATA_CONFLICT' })
    expect(await keysOf(store)).toEqual(['a'])
  })

  test('a commit happens when all its conditions hold', async () => {
    await using opened = await open()
    await opened.store.commit({ puts: put('a') }, never)
    const conditions = [
      { key: 'a', value: bytes('of a') },
      { key: 'b', value: undefined },
    ]
    await opened.store.commit({ puts: put('b'), deletes: ['a'], conditions }, never)
    expect(await keysOf(opened.store)).toEqual(['b'])
  })

  test('of 20 commits at once that want a key absent, the first one wins', async () => {
    await using opened = await open()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) =>
        opened.store.commit(
          {
            puts: [{ key: 'a', value: bytes(String(index)) }],
            conditions: [{ key: 'a', value: undefined }],
          },
          never,
        ),
      ),
    )
    expect(outcomes.map(({ status }) => status === 'fulfilled').indexOf(true)).toBe(0)
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(Buffer.from((await opened.store.get('a', never)) ?? []).toString()).toBe('0')
  })

  test('a condition sees what was committed right before it, and a loser changes nothing', async () => {
    await using opened = await open()
    const { store } = opened
    const absent = (key: string) => ({ conditions: [{ key, value: undefined }] })
    const outcomes = await Promise.allSettled([
      store.commit({ puts: put('a'), ...absent('a') }, never),
      store.commit({ puts: put('lost'), deletes: ['a'], ...absent('a') }, never),
      store.commit({ deletes: ['a'], conditions: [{ key: 'a', value: bytes('of a') }] }, never),
      store.commit({ puts: put('b'), ...absent('a') }, never),
      store.commit({ puts: put('c'), ...absent('lost') }, never),
    ])
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
      'fulfilled',
    ])
    expect(await keysOf(store)).toEqual(['b', 'c'])
  })

  test('40 writers that each add 1 ten times, by condition, count to 400', async () => {
    await using opened = await open()
    const { store } = opened
    const addOne = async (): Promise<void> => {
      const before = await store.get('n', never)
      const value = bytes(String(Number(Buffer.from(before ?? []).toString()) + 1))
      try {
        await store.commit(
          { puts: [{ key: 'n', value }], conditions: [{ key: 'n', value: before }] },
          never,
        )
      } catch {
        await addOne()
      }
    }
    const writers = Array.from({ length: 40 }, async () => {
      for (let round = 0; round < 10; round++) await addOne()
    })
    await Promise.all(writers)
    expect(Buffer.from((await store.get('n', never)) ?? []).toString()).toBe('400')
  })
}

function testModel(open: OpenStore): void {
  // Goal: commits in flight together do what they would do one after the other.
  // Method: random batches against a Map, a few at a time; compare outcomes and rows.
  test.each([1, 2, 3, 4, 5])('agrees with a map (seed %d)', async (seed) => {
    await using opened = await open()
    const prng = new Prng(seed)
    const model = new Map<string, string>()
    for (let round = 0; round < 40; round++) {
      const expected: boolean[] = []
      const commits: Promise<void>[] = []
      for (let count = prng.below(8) + 1; count > 0; count--) {
        const batch = randomBatch(prng, model)
        expected.push(batch.holds)
        if (batch.holds) {
          for (const row of batch.puts) model.set(row.key, Buffer.from(row.value).toString())
          for (const key of batch.deletes) model.delete(key)
        }
        commits.push(opened.store.commit(batch, never))
      }
      const outcomes = await Promise.allSettled(commits)
      expect(outcomes.map(({ status }) => status === 'fulfilled')).toEqual(expected)
    }
    const rows = new Map<string, string>()
    for await (const { key, value } of opened.store.scan({}, never)) {
      rows.set(key, Buffer.from(value).toString())
    }
    expect(rows).toEqual(new Map([...model].sort(([a], [b]) => (a < b ? -1 : 1))))
  })
}

function randomBatch(prng: Prng, model: ReadonlyMap<string, string>) {
  const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const put = keys[prng.below(4)] ?? 'a'
  const deleted = keys[4 + prng.below(4)] ?? 'e'
  const asked = keys[prng.below(keys.length)] ?? 'a'
  const actual = model.get(asked)
  const guess = prng.below(3) === 0 ? 'nothing like it' : actual
  return {
    puts: [{ key: put, value: bytes(String(prng.below(1000))) }],
    deletes: [deleted],
    conditions: [{ key: asked, value: guess === undefined ? undefined : bytes(guess) }],
    holds: guess === actual,
  }
}

function testLifetime(open: OpenStore): void {
  test('an aborted signal refuses every call, and nothing is changed', async () => {
    await using opened = await open()
    const { store } = opened
    const aborted = AbortSignal.abort()
    const cancelled = { code: 'CANCELLED' }
    await expect(store.get('a', aborted)).rejects.toMatchObject(cancelled)
    await expect(store.getMany(['a'], aborted)).rejects.toMatchObject(cancelled)
    await expect(store.commit({ puts: put('a') }, aborted)).rejects.toMatchObject(cancelled)
    expect(await keysOf(store)).toEqual([])
  })

  test('a closed store answers CLOSED; closing twice is harmless', async () => {
    await using opened = await open()
    const { store } = opened
    await store[Symbol.asyncDispose]()
    await store[Symbol.asyncDispose]()
    const closed = { code: 'CLOSED' }
    await expect(store.get('a', never)).rejects.toMatchObject(closed)
    await expect(store.commit({ puts: put('a') }, never)).rejects.toMatchObject(closed)
    await expect(keysOf(store)).rejects.toMatchObject(closed)
  })

  test('commits under way are done before the store is closed', async () => {
    await using opened = await open()
    const commits = Array.from({ length: 10 }, (_, index) =>
      opened.store.commit({ puts: put(`k${index}`) }, never),
    )
    await opened.store[Symbol.asyncDispose]()
    await expect(Promise.all(commits)).resolves.toHaveLength(10)
  })

  test('a key that is empty, too long or not proper text is a bug of the caller', async () => {
    await using opened = await open()
    for (const key of ['', '\ud800', 'x'.repeat(4097)]) {
      await expect(opened.store.get(key, never)).rejects.toThrow(/key/)
      await expect(opened.store.commit({ puts: put(key) }, never)).rejects.toThrow(/key/)
    }
    expect(await opened.store.get('x'.repeat(4096), never)).toBeUndefined()
  })
}
