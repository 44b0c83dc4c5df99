import { describe, expect, test } from 'vitest'
import { type FileId, formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { MetadataBatch } from '../../src/metadata/metadata-store.ts'
import { encodeNamedFile, nameKey } from '../../src/namespace/named-file-record.ts'
import { NamedFiles } from '../../src/namespace/named-files.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const never = new AbortController().signal
const DELAY_MS = 10_000

/** Counts reads, and fails or interferes where a test says so. */
class WatchedStore extends MemoryStore {
  getCount = 0
  beforeCommit: () => Promise<void> = async () => undefined

  override async get(key: string, signal: AbortSignal) {
    this.getCount++
    return await super.get(key, signal)
  }

  override async commit(batch: MetadataBatch, signal: AbortSignal) {
    const before = this.beforeCommit
    this.beforeCommit = async () => undefined
    await before()
    await super.commit(batch, signal)
  }
}

interface Volumes {
  readonly deleted: string[]
  /** What `deleteFile` throws; undefined: nothing. */
  failure: StoreError | undefined
  runningMax: number
}

async function openNames(
  options: { store?: WatchedStore; clock?: SimClock; delayMs?: number } = {},
) {
  const { store = new WatchedStore(), clock = new SimClock(), delayMs = DELAY_MS } = options
  const volumes: Volumes = { deleted: [], failure: undefined, runningMax: 0 }
  let running = 0
  const deleteFile = async (fileId: FileId) => {
    running++
    volumes.runningMax = Math.max(volumes.runningMax, running)
    await undefined
    running--
    if (volumes.failure !== undefined) throw volumes.failure
    volumes.deleted.push(formatFileId(fileId))
  }
  const parts = { store, clock, logger: silentLogger, deleteFile }
  const names = await NamedFiles.open(parts, { deleteDelayMs: delayMs })
  return { names, store, clock, volumes, [Symbol.asyncDispose]: () => names[Symbol.asyncDispose]() }
}

/** Lets time pass in steps, and what is due be done in each: more of it than one step settles. */
async function pass(clock: SimClock, ms: number): Promise<void> {
  for (let leftMs = ms; leftMs > 0; leftMs -= 1000) {
    await clock.advance(Math.min(leftMs, 1000))
    await new Promise((resolve) => setImmediate(resolve))
  }
}

function fileOf(name: string, id: string) {
  return { name, fileId: parseFileId(id), dataBytes: 5 }
}

async function rowsOf(store: MemoryStore): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.scan({}, never)) keys.push(key)
  return keys
}

const A = '3,01aaaaaaaa'
const B = '3,02bbbbbbbb'
const C = '4,03cccccccc'

describe('linking and resolving', () => {
  test('a name means the file it was linked to, with its size and time', async () => {
    await using opened = await openNames()
    const { names, clock } = opened
    const linked = await names.link(fileOf('a/b', A), never)
    expect(linked).toEqual({ ...fileOf('a/b', A), modifiedAtMs: clock.nowMs() })
    expect(await names.resolve('a/b', never)).toEqual(linked)
  })

  test('it is known after a restart too', async () => {
    const store = new WatchedStore()
    {
      await using opened = await openNames({ store })
      await opened.names.link(fileOf('a', A), never)
    }
    await using opened = await openNames({ store })
    expect(formatFileId((await opened.names.resolve('a', never)).fileId)).toBe(A)
  })

  test('a name nobody linked is NAME_NOT_FOUND, a bad one NAME_INVALID', async () => {
    await using opened = await openNames()
    const { names } = opened
    await expect(names.resolve('a', never)).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
    await expect(names.unlink('a', never)).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
    const invalid = { code: 'NAME_INVALID' }
    await expect(names.resolve('a//b', never)).rejects.toMatchObject(invalid)
    await expect(names.unlink('..', never)).rejects.toMatchObject(invalid)
    await expect(names.link(fileOf('dir/x', A), never)).rejects.toMatchObject(invalid)
    expect(await rowsOf(opened.store)).toEqual([])
  })

  test('the second read of a name, and one right after a link, ask no store', async () => {
    await using opened = await openNames()
    const { names, store } = opened
    await names.link(fileOf('a', A), never)
    await names.resolve('a', never)
    expect(store.getCount).toBe(0)
    await using again = await openNames({ store })
    await Promise.all([again.names.resolve('a', never), again.names.resolve('a', never)])
    await again.names.resolve('a', never)
    expect(store.getCount).toBe(1)
  })

  test('a read that a change overtakes leaves nothing old in the cache', async () => {
    const store = new WatchedStore()
    const row = encodeNamedFile({ ...fileOf('a', A), modifiedAtMs: 0 })
    await store.commit({ puts: [{ key: nameKey('a'), value: row }] }, never)
    await using opened = await openNames({ store })
    const { names } = opened
    // The read is answered one turn later than it looked; the link is done at once behind it.
    const reading = names.resolve('a', never)
    await Promise.all([reading, names.link(fileOf('a', B), never)])
    expect(formatFileId((await names.resolve('a', never)).fileId)).toBe(B)
    const rereading = names.resolve('a', never)
    await names.unlink('a', never)
    await rereading
    await expect(names.resolve('a', never)).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  })

  test('a corrupt row is METADATA_CORRUPT', async () => {
    await using opened = await openNames()
    const value = Uint8Array.of(9)
    await opened.store.commit({ puts: [{ key: nameKey('a'), value }] }, never)
    await expect(opened.names.resolve('a', never)).rejects.toMatchObject({
      code: 'METADATA_CORRUPT',
    })
  })

  test('after closing, every call is CLOSED; closing twice is harmless', async () => {
    const { names } = await openNames()
    await names[Symbol.asyncDispose]()
    await names[Symbol.asyncDispose]()
    const closed = { code: 'CLOSED' }
    await expect(names.resolve('a', never)).rejects.toMatchObject(closed)
    await expect(names.link(fileOf('a', A), never)).rejects.toMatchObject(closed)
    await expect(names.unlink('a', never)).rejects.toMatchObject(closed)
    await expect(names.list({ prefix: '', after: '', limit: 1 }, never)).rejects.toMatchObject(
      closed,
    )
  })
})

describe('the file a name meant before', () => {
  test('is deleted 10 s after another took its place, and not before', async () => {
    await using opened = await openNames()
    const { names, clock, volumes } = opened
    await names.link(fileOf('a', A), never)
    await names.link(fileOf('a', B), never)
    await pass(clock, DELAY_MS - 1)
    expect(volumes.deleted).toEqual([])
    await pass(clock, 2000)
    expect(volumes.deleted).toEqual([A])
    expect(await rowsOf(opened.store)).toEqual([`name-files/${B}`, 'names/a'])
    expect(formatFileId((await names.resolve('a', never)).fileId)).toBe(B)
  })

  test('is deleted after an unlink, which says what it was', async () => {
    await using opened = await openNames()
    const { names, clock, volumes } = opened
    const linked = await names.link(fileOf('a', A), never)
    expect(await names.unlink('a', never)).toEqual(linked)
    await expect(names.resolve('a', never)).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
    await pass(clock, DELAY_MS + 2000)
    expect(volumes.deleted).toEqual([A])
    expect(await rowsOf(opened.store)).toEqual([])
  })

  test('is deleted after a restart, when the process ended before', async () => {
    const store = new WatchedStore()
    const clock = new SimClock()
    {
      await using opened = await openNames({ store, clock })
      await opened.names.link(fileOf('a', A), never)
      await opened.names.unlink('a', never)
    }
    await using opened = await openNames({ store, clock })
    await pass(clock, DELAY_MS + 2000)
    expect(opened.volumes.deleted).toEqual([A])
  })

  test('counts as deleted when its needle is gone', async () => {
    await using opened = await openNames()
    const { names, clock, volumes } = opened
    await names.link(fileOf('a', A), never)
    await names.unlink('a', never)
    volumes.failure = new StoreError('NEEDLE_NOT_FOUND', 'gone')
    await pass(clock, DELAY_MS + 2000)
    expect(names.deletesDone).toBe(1)
    expect(await rowsOf(opened.store)).toEqual([])
  })

  test('is tried again after 1, 2, 4 … s, at most 5 min, also across restarts', async () => {
    const store = new WatchedStore()
    const clock = new SimClock()
    const away = new StoreError('UNAVAILABLE', 'away')
    {
      await using opened = await openNames({ store, clock, delayMs: 0 })
      opened.volumes.failure = away
      await opened.names.link(fileOf('a', A), never)
      await opened.names.unlink('a', never)
      await pass(clock, 100_000)
      // Tries at about 1, 2, 4, 8, 16, 32, 64 s: each later by the wait and up to one look-out.
      expect(opened.names.deletesFailed).toBeGreaterThanOrEqual(6)
      expect(opened.names.deletesFailed).toBeLessThanOrEqual(8)
    }
    await using opened = await openNames({ store, clock, delayMs: 0 })
    opened.volumes.failure = away
    await pass(clock, 3_600_000)
    expect(opened.names.deletesFailed).toBeGreaterThanOrEqual(11)
    expect(opened.names.deletesFailed).toBeLessThanOrEqual(14)
    opened.volumes.failure = undefined
    await pass(clock, 302_000)
    expect(opened.volumes.deleted).toEqual([A])
    expect(await rowsOf(store)).toEqual([])
  })

  test('does not hold up others: 3,000 deletes, 16 at a time, beside one that fails', async () => {
    await using opened = await openNames({ delayMs: 0 })
    const { names, clock, volumes } = opened
    for (let index = 0; index < 3000; index++) {
      await names.link(fileOf(`n${index}`, `7,${(index + 1).toString(16)}00000000`), never)
      await names.unlink(`n${index}`, never)
    }
    await pass(clock, 60_000)
    expect(volumes.deleted).toHaveLength(3000)
    expect(new Set(volumes.deleted).size).toBe(3000)
    expect(volumes.runningMax).toBe(16)
  })

  test('an intent that cannot be read is set aside, and the others go on', async () => {
    await using opened = await openNames({ delayMs: 0 })
    const { names, store, clock, volumes } = opened
    const value = Uint8Array.of(77)
    await store.commit({ puts: [{ key: 'name-intents/000000000000/x', value }] }, never)
    await names.link(fileOf('a', A), never)
    await names.unlink('a', never)
    await pass(clock, 2000)
    expect(volumes.deleted).toEqual([A])
    expect(await rowsOf(store)).toEqual(['unreadable/name-intents/000000000000/x'])
  })

  test('the worker goes on after the store failed once', async () => {
    await using opened = await openNames({ delayMs: 0 })
    const { names, store, clock, volumes } = opened
    await names.link(fileOf('a', A), never)
    await names.unlink('a', never)
    store.beforeCommit = async () => {
      throw new StoreError('OVERLOADED', 'busy')
    }
    await pass(clock, 5000)
    expect(volumes.deleted).toEqual([A, A])
    expect(await rowsOf(store)).toEqual([])
  })
})

describe('who owns a file', () => {
  test('linking the same file to its name again changes nothing and deletes nothing', async () => {
    await using opened = await openNames()
    const { names, clock, volumes, store } = opened
    const linked = await names.link(fileOf('a', A), never)
    await pass(clock, 50)
    expect(await names.link(fileOf('a', A), never)).toEqual(linked)
    await pass(clock, DELAY_MS * 2)
    expect(volumes.deleted).toEqual([])
    expect(await rowsOf(store)).toEqual([`name-files/${A}`, 'names/a'])
  })

  test('a file of one name cannot be linked to another', async () => {
    await using opened = await openNames()
    const { names } = opened
    await names.link(fileOf('a', A), never)
    await names.link(fileOf('b', B), never)
    const refused = { code: 'REQUEST_INVALID' }
    await expect(names.link(fileOf('b', A), never)).rejects.toMatchObject(refused)
    await expect(names.link(fileOf('c', A), never)).rejects.toMatchObject(refused)
    expect(formatFileId((await names.resolve('b', never)).fileId)).toBe(B)
  })

  test('a file that is about to be deleted cannot be linked again, not even to its name', async () => {
    await using opened = await openNames()
    const { names, clock } = opened
    await names.link(fileOf('a', A), never)
    await names.link(fileOf('a', B), never)
    await names.unlink('a', never)
    const refused = { code: 'REQUEST_INVALID' }
    await pass(clock, DELAY_MS - 1)
    await expect(names.link(fileOf('a', A), never)).rejects.toMatchObject(refused)
    await expect(names.link(fileOf('a', B), never)).rejects.toMatchObject(refused)
    await expect(names.resolve('a', never)).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  })

  test('of two links at once both succeed; one file is meant, the other is deleted', async () => {
    await using opened = await openNames()
    const { names, clock, volumes } = opened
    await Promise.all([names.link(fileOf('a', A), never), names.link(fileOf('a', B), never)])
    const meant = formatFileId((await names.resolve('a', never)).fileId)
    await pass(clock, DELAY_MS + 2000)
    expect([...volumes.deleted, meant].sort()).toEqual([A, B])
  })

  test('a change behind its back is seen: the link is planned again', async () => {
    await using opened = await openNames()
    const { names, store, clock, volumes } = opened
    await names.link(fileOf('a', A), never)
    await using other = await openNames({ store, clock })
    store.beforeCommit = async () => {
      await other.names.link(fileOf('a', B), never)
    }
    await names.link(fileOf('a', C), never)
    await pass(clock, DELAY_MS + 2000)
    expect([...new Set([...volumes.deleted, ...other.volumes.deleted])].sort()).toEqual([A, B])
    expect(formatFileId((await names.resolve('a', never)).fileId)).toBe(C)
  })
})

describe('lists', () => {
  const NAMES = ['a', 'a/b', 'a/c', 'aa', 'b', 'é', '日', '\uffff', '\u{1f600}', '\u{10ffff}']

  async function openListed() {
    const opened = await openNames()
    for (const [index, name] of NAMES.toReversed().entries()) {
      await opened.names.link(fileOf(name, `9,${(index + 1).toString(16)}00000000`), never)
    }
    return opened
  }

  test.each<[string, string, string, number, readonly string[]]>([
    ['all, in the order of their bytes', '', '', 100, NAMES],
    ['the first three', '', '', 3, ['a', 'a/b', 'a/c']],
    ['the next two', '', 'a/c', 2, ['aa', 'b']],
    ['those after one that is not there', '', 'a/bb', 2, ['a/c', 'aa']],
    ['those with a prefix', 'a', '', 100, ['a', 'a/b', 'a/c', 'aa']],
    ['those with a prefix and a slash', 'a/', '', 100, ['a/b', 'a/c']],
    ['the rest of a prefix', 'a', 'a/c', 100, ['aa']],
    ['none after the prefix has passed', 'a', 'b', 100, []],
    ['a prefix from its beginning when after is below it', 'b', 'a', 100, ['b']],
    ['none after the last', '', '\u{10ffff}', 100, []],
    ['none of a prefix nothing has', 'zz', '', 100, []],
    ['a name that is the prefix', 'b', '', 100, ['b']],
    ['a prefix of the highest character', '\u{10ffff}', '', 100, ['\u{10ffff}']],
  ])('%s', async (_, prefix, after, limit, expected) => {
    await using opened = await openListed()
    const files = await opened.names.list({ prefix, after, limit }, never)
    expect(files.map(({ name }) => name)).toEqual(expected)
  })

  test.each([0, -1, 1.5, 10_001, Number.NaN])(
    'a page of %d names is REQUEST_INVALID',
    async (limit) => {
      await using opened = await openNames()
      const page = opened.names.list({ prefix: '', after: '', limit }, never)
      await expect(page).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    },
  )

  test('text that no name can have is REQUEST_INVALID', async () => {
    await using opened = await openNames()
    for (const text of ['\ud800', 'x'.repeat(1025)]) {
      const pages = [
        opened.names.list({ prefix: text, after: '', limit: 1 }, never),
        opened.names.list({ prefix: '', after: text, limit: 1 }, never),
      ]
      for (const page of pages)
        await expect(page).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    }
  })
})

// Goal: whatever is linked and unlinked at once, every file is in the end either meant by its name
// or deleted, exactly once. Method: random changes in flight together; drain; compare.
test.each([1, 2, 3, 4, 5])('no file is lost or left over (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  await using opened = await openNames()
  const { names, clock, volumes } = opened
  const linked: string[] = []
  for (let round = 0; round < 60; round++) {
    const changes: Promise<unknown>[] = []
    for (let count = prng.below(6) + 1; count > 0; count--) {
      const name = `n${prng.below(4)}`
      if (prng.below(4) === 0) {
        changes.push(names.unlink(name, never).catch(() => undefined))
      } else {
        const id = `5,${(linked.length + 1).toString(16)}00000000`
        linked.push(formatFileId(parseFileId(id)))
        changes.push(names.link(fileOf(name, id), never))
      }
      if (prng.below(3) === 0) changes.push(names.resolve(name, never).catch(() => undefined))
    }
    await Promise.all(changes)
    if (prng.below(5) === 0) await pass(clock, prng.below(20_000))
  }
  await pass(clock, DELAY_MS + 5000)
  const meant = await names.list({ prefix: '', after: '', limit: 100 }, never)
  const meantIds = meant.map(({ fileId }) => formatFileId(fileId))
  expect([...volumes.deleted, ...meantIds].sort()).toEqual(linked.sort())
  for (const file of meant) expect(await names.resolve(file.name, never)).toEqual(file)
})
