import { describe, expect, test } from 'vitest'
import { needleIdFromBigInt, needleIdToBigInt, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { BrokenLinks } from '../../src/master/broken-links.ts'
import { DirtyNeedles } from '../../src/master/dirty-needles.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { DirtyKind, DirtyRecord } from '../../src/net/master-api.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { NO_SIGNAL } from '../support/test-master.ts'

const ID = volumeId(7)

async function open(store = new MemoryStore(), clock = new SimClock()) {
  const links = new BrokenLinks(clock)
  const parts = { store, clock, links, isDeleted: () => false }
  const dirty = await DirtyNeedles.open(parts, NO_SIGNAL)
  return { dirty, store, clock, links }
}

function record(needle: bigint, kind: DirtyKind = 'put', volume = ID): DirtyRecord {
  const needleId = needleIdFromBigInt(needle)
  return { volumeId: volume, needleId, kind, reportedBy: 'a:1', unreached: [] }
}

async function all(dirty: DirtyNeedles, volume = ID) {
  return await dirty.list({ volumeId: volume, after: undefined }, NO_SIGNAL)
}

describe('a dirty needle', () => {
  test('is listed in the order of ids, above a given one, also after a restart', async () => {
    const { dirty, store } = await open()
    const ids = [2n ** 64n - 1n, 5n, 2n ** 32n, 0n, 17n]
    await dirty.record(
      ids.map((id) => record(id)),
      NO_SIGNAL,
    )
    await dirty.record([record(1n, 'put', volumeId(70))], NO_SIGNAL)
    for (const each of [dirty, (await open(store)).dirty]) {
      const listed = (await all(each)).map(({ needleId }) => needleIdToBigInt(needleId))
      expect(listed).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)))
      const after = needleIdFromBigInt(17n)
      const rest = await each.list({ volumeId: ID, after }, NO_SIGNAL)
      expect(rest.map(({ needleId }) => needleIdToBigInt(needleId))).toEqual([
        2n ** 32n,
        2n ** 64n - 1n,
      ])
      expect([each.count, each.countOf(ID), each.countOf(volumeId(8))]).toEqual([6, 5, 0])
    }
  })

  test.each([
    ['check', 'put', 'put'],
    ['put', 'check', 'put'],
    ['put', 'delete', 'delete'],
    ['delete', 'put', 'delete'],
    ['delete', 'check', 'delete'],
    ['check', 'delete', 'delete'],
  ] as const)('that is a %s and then a %s is a %s, told from the first', async (a, b, both) => {
    const { dirty, store, clock } = await open()
    await dirty.record([record(1n, a)], NO_SIGNAL)
    const first = await all(dirty)
    await clock.advance(1000)
    await dirty.record([record(1n, b)], NO_SIGNAL)
    expect(dirty.count).toBe(1)
    expect((await all(dirty)).map(({ kind }) => kind)).toEqual([both])
    await dirty.resolve(ID, first, NO_SIGNAL)
    expect(dirty.count).toBe(1)
    const second = await all((await open(store)).dirty)
    expect(second.map(({ kind }) => kind)).toEqual([both])
    await dirty.resolve(ID, second, NO_SIGNAL)
    expect([dirty.count, (await open(store)).dirty.count]).toEqual([0, 0])
  })

  test('that was deleted keeps the time of the delete when a put of its id fails later', async () => {
    const { dirty, clock } = await open()
    const deletedAtMs = clock.nowMs()
    await dirty.record([record(1n, 'delete')], NO_SIGNAL)
    await clock.advance(10_000)
    await dirty.record([record(1n, 'put')], NO_SIGNAL)
    const [found] = await all(dirty)
    expect(found?.recordedAtMs).toBe(deletedAtMs + 1)
    await clock.advance(10_000)
    await dirty.record([record(1n, 'delete')], NO_SIGNAL)
    expect((await all(dirty))[0]?.recordedAtMs).toBe(deletedAtMs + 20_000)
  })

  test('whose record could not be written is not forgotten, and its caller is told', async () => {
    const { dirty, store } = await open()
    const commit = store.commit.bind(store)
    store.commit = () => Promise.reject(new StoreError('DISK_FULL', 'no room'))
    await expect(dirty.record([record(1n)], NO_SIGNAL)).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(dirty.countOf(ID)).toBe(1)
    store.commit = commit
    await dirty.record([record(1n)], NO_SIGNAL)
    store.commit = () => Promise.reject(new StoreError('DISK_FULL', 'no room'))
    await expect(dirty.resolve(ID, await all(dirty), NO_SIGNAL)).rejects.toThrow()
    expect(dirty.countOf(ID)).toBe(1)
  })

  test(`is one of at most ${LIMITS.dirtyRecordsMax.value} at once`, async () => {
    const { dirty } = await open()
    const many = Array.from({ length: LIMITS.dirtyRecordsMax.value + 1 }, (_, at) =>
      record(BigInt(at)),
    )
    await expect(dirty.record(many, NO_SIGNAL)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    await dirty.record(many.slice(1), NO_SIGNAL)
    expect(dirty.count).toBe(LIMITS.dirtyRecordsMax.value)
    expect(await all(dirty)).toHaveLength(LIMITS.dirtyListMax.value)
  })

  test('of a volume that was deleted is forgotten with it', async () => {
    const { dirty, store } = await open()
    await dirty.record([record(1n), record(2n), record(3n, 'put', volumeId(8))], NO_SIGNAL)
    await dirty.forgetVolume(ID, NO_SIGNAL)
    expect([dirty.count, (await open(store)).dirty.count]).toEqual([1, 1])
  })

  // Goal: what is in memory is what is stored, and both are what a map of sets says. Method: random
  // records and resolutions, some of old lists, at once; reopen and compare.
  test.each(seeds(30))(
    'is there until the last record of it is resolved (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      const { dirty, store, clock } = await open()
      const old: Awaited<ReturnType<typeof all>>[] = []
      const recordedLast = new Map<bigint, number>()
      for (let step = 0; step < 100; step++) {
        await clock.advance(prng.below(3))
        const id = BigInt(prng.below(10))
        if (prng.chance(0.5)) {
          const kind = prng.pick(['put', 'delete', 'check'] as const)
          await dirty.record([record(id, kind)], NO_SIGNAL)
          const entry = (await all(dirty)).find(({ needleId }) => needleId.lo === Number(id))
          recordedLast.set(id, entry?.recordedAtMs ?? expect.fail())
        } else if (prng.chance(0.5) || old.length === 0) {
          old.push(await all(dirty))
        } else {
          const list = prng.pick(old)
          await dirty.resolve(ID, list, NO_SIGNAL)
          for (const { needleId, recordedAtMs } of list) {
            const last = recordedLast.get(BigInt(needleId.lo))
            if (last !== undefined && last <= recordedAtMs) recordedLast.delete(BigInt(needleId.lo))
          }
        }
        expect(dirty.count).toBe(recordedLast.size)
      }
      const again = await open(store)
      expect(await all(again.dirty)).toEqual(await all(dirty))
      expect(again.dirty.count).toBe(recordedLast.size)
    },
  )
})

describe('a broken link', () => {
  test('holds in both directions for a minute after the last report', async () => {
    const { dirty, links, clock } = await open()
    const cut = { ...record(1n), reportedBy: 'a:1', unreached: ['b:1', 'c:1', 'a:1'] }
    await dirty.record([cut], NO_SIGNAL)
    expect(links.count).toBe(2)
    expect([links.isCut('a:1', 'b:1'), links.isCut('b:1', 'a:1')]).toEqual([true, true])
    expect([links.isCut('b:1', 'c:1'), links.isAnyCut(['b:1', 'c:1'])]).toEqual([false, false])
    expect(links.isAnyCut(['b:1', 'x:1', 'a:1'])).toBe(true)
    await clock.advance(59_999)
    links.note('a:1', ['b:1'])
    await clock.advance(1)
    expect(links.list().map(({ to }) => to)).toEqual(['b:1'])
    await clock.advance(60_000)
    expect(links.count).toBe(0)
  })

  test('is whole when one of its ends has joined anew', async () => {
    const { links } = await open()
    links.note('a:1', ['b:1', 'c:1'])
    links.note('b:1', ['c:1'])
    links.onJoined('b:1')
    expect(links.list().map(({ from, to }) => `${from} ${to}`)).toEqual(['a:1 c:1'])
  })

  test('is one of a bounded number', async () => {
    const { links } = await open()
    const max = LIMITS.brokenLinksMax.value
    links.note(
      'a:1',
      Array.from({ length: max + 1 }, (_, index) => `s${index}:1`),
    )
    expect([links.count, links.isCut('a:1', 's0:1')]).toEqual([max, false])
  })
})
