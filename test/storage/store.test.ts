import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { KIB, MIB } from '../../src/base/units.ts'
import type { DiskLocation } from '../../src/storage/disk-location.ts'
import { STORE_OPTIONS, TestStore, vid } from '../support/test-store.ts'
import { expectCode, PLAIN_SUPER_BLOCK, SIGNAL, settle, toId } from '../support/test-volume.ts'

function onlyLocation(test: TestStore): DiskLocation {
  const [location] = test.store.locations
  if (location === undefined) throw new Error('there is no location')
  return location
}

/** The disk has exactly this much room, and the store has noticed. */
async function leaveRoom(test: TestStore, bytes: number): Promise<void> {
  const { totalBytes, freeBytes } = await test.disk.space('/a')
  test.disk.capacityBytes = totalBytes - freeBytes + bytes
  await onlyLocation(test).space.refresh()
}

describe('volumes of a store', () => {
  test('are made, found, written, read, and there after a restart', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    await test.createVolume(2, 'photos')
    await test.put(1, 5, 'one')
    await test.put(2, 5, 'two')
    expect(await test.names('/a')).toContain('photos_2.dat')
    test.disk.restart()
    test.forget()
    await test.open()
    expect([await test.read(1, 5), await test.read(2, 5)]).toEqual(['one', 'two'])
    expect(test.store.get(vid(2)).collection).toBe('photos')
    expect(test.store.find(vid(3))).toBeUndefined()
    expect(() => test.store.get(vid(3))).toThrow(
      expect.objectContaining({ code: 'VOLUME_NOT_FOUND' }),
    )
  })

  test('of an id that is there, in any collection, are VOLUME_EXISTS', async () => {
    await using test = new TestStore(['/a', '/b'])
    await test.open()
    await test.createVolume(1)
    await expectCode(test.createVolume(1), 'VOLUME_EXISTS')
    await expectCode(test.createVolume(1, 'photos'), 'VOLUME_EXISTS')
  })

  test('being made when the store closes are made whole first; later ones are CLOSED', async () => {
    await using test = new TestStore()
    const store = await test.open()
    const making = test.createVolume(1)
    const closing = test.close()
    await expectCode(
      store.createVolume({ collection: '', volumeId: vid(2) }, PLAIN_SUPER_BLOCK),
      'CLOSED',
    )
    await Promise.all([making, closing])
    expect(await test.names('/a')).not.toContain('2.dat')
    await test.open()
    await test.put(1, 5, 'one')
  })

  test('asked for twice at once are made once', async () => {
    await using test = new TestStore(['/a', '/b'])
    await test.open()
    const outcomes = await Promise.allSettled([
      test.createVolume(1),
      test.createVolume(1, 'photos'),
    ])
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    await test.put(1, 5, 'one')
    await test.close()
    await test.open()
    expect(test.store.quarantine).toEqual([])
    expect(await test.read(1, 5)).toBe('one')
  })

  test('come to lie in the directory with the most room', async () => {
    await using test = new TestStore(['/a', '/b', '/c'])
    const rooms: Record<string, number> = { '/a': 5, '/b': 9, '/c': 7 }
    test.hooks.before = ({ kind, path }) => {
      if (kind !== 'space') return
      test.hooks.spaceIs = { totalBytes: 100 * MIB, freeBytes: (rooms[path] ?? 0) * MIB }
    }
    await test.open()
    expect((await test.createVolume(1)).paths.directory).toBe('/b')
    rooms['/b'] = 2
    for (const { space } of test.store.locations) await space.refresh()
    expect((await test.createVolume(2)).paths.directory).toBe('/c')
    for (const name of Object.keys(rooms)) rooms[name] = 0.5
    for (const { space } of test.store.locations) await space.refresh()
    await expectCode(test.createVolume(3), 'DISK_FULL')
  })

  test('whose making fails at any call leave nothing that bars another try', async () => {
    for (const code of ['EIO', 'ENOSPC'] as const) {
      for (let call = 1; ; call++) {
        await using test = new TestStore(['/a'], { seed: call })
        await test.open()
        test.disk.failCall(call, code)
        const isMade = await test.createVolume(1).then(
          () => true,
          () => false,
        )
        if (test.disk.armedFaults > 0) break
        if (!isMade) await test.createVolume(1)
        await test.put(1, 5, 'one')
        await test.close()
        await test.open()
        expect(await test.read(1, 5), `${code} ${call}`).toBe('one')
      }
    }
  })

  test('sealed come back sealed, in their packed form, with deletes going on', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    const ids = Array.from({ length: 3000 }, (_, index) => index + 1)
    await Promise.all(ids.map((id) => test.put(1, id, `needle ${id}`)))
    const hashedBytes = test.volume(1).stats.indexMemoryBytes
    await test.volume(1).seal()
    expect(test.volume(1).stats.indexMemoryBytes).toBeLessThan(hashedBytes)
    await test.volume(1).delete({ id: toId(1), cookie: 1 }, SIGNAL)
    await test.close()
    await test.open()
    expect(test.volume(1).stats).toMatchObject({ state: 'sealed', liveNeedles: 2999 })
    expect(test.volume(1).stats.indexMemoryBytes).toBeLessThan(hashedBytes)
    for (const id of ids.slice(1)) expect(await test.read(1, id)).toBe(`needle ${id}`)
    await expectCode(test.read(1, 1), 'NEEDLE_NOT_FOUND')
  })
})

describe('removing a volume', () => {
  test('takes all its files and nothing else; its id is free again', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    await test.createVolume(2)
    await test.put(1, 5, 'one')
    await test.put(2, 5, 'two')
    await test.volume(1).seal()
    await test.store.removeVolume(vid(1))
    const names = (await test.names('/a')).filter((name) => name.startsWith('1.'))
    expect(names).toEqual([])
    await expectCode(test.store.removeVolume(vid(1)), 'VOLUME_NOT_FOUND')
    await test.createVolume(1)
    await expectCode(test.read(1, 5), 'NEEDLE_NOT_FOUND')
    expect(await test.read(2, 5)).toBe('two')
  })

  test('with power lost at each call leaves it whole or gone, for good once it returned', async () => {
    for (let call = 1; ; call++) {
      let isThrough = true
      for (let seed = 1; seed <= 8; seed++) {
        await using test = new TestStore(['/a'], { seed: seed * 100 + call })
        await test.open()
        await test.createVolume(1)
        await test.put(1, 5, 'one')
        await test.put(1, 6, 'deleted')
        await test.volume(1).delete({ id: toId(6), cookie: 1 }, SIGNAL)
        test.disk.cutPowerAfter(call)
        const isRemoved = await test.store.removeVolume(vid(1)).then(
          () => true,
          () => false,
        )
        await settle()
        if (test.disk.isPowerOff) isThrough = false
        test.disk.restart()
        test.forget()
        await test.open()
        expect(test.store.quarantine).toEqual([])
        if (test.store.find(vid(1)) !== undefined) {
          expect(isRemoved).toBe(false)
          expect(await test.read(1, 5)).toBe('one')
          await expectCode(test.read(1, 6), 'NEEDLE_NOT_FOUND')
        } else await test.createVolume(1)
      }
      if (isThrough) {
        expect(call).toBeGreaterThan(4)
        return
      }
    }
  })

  test('whose vacuum stopped half-way does not come back', async () => {
    for (const [kind, count] of [
      ['rename', 2],
      ['rename', 3],
      ['syncDirectory', 2],
      ['syncDirectory', 3],
    ] as const) {
      await using test = new TestStore()
      await test.open()
      await test.createVolume(1)
      await test.put(1, 5, 'one')
      test.disk.failCall(count, 'EIO', [kind])
      await test
        .volume(1)
        .vacuum({}, SIGNAL)
        .catch(() => 'failed')
      await settle()
      await test.store.removeVolume(vid(1))
      await test.close()
      await test.open()
      expect(test.store.find(vid(1)), `${kind} ${count}`).toBeUndefined()
      expect((await test.names('/a')).filter((name) => name.startsWith('1.'))).toEqual([])
    }
  })
})

describe('a disk that fills up', () => {
  const { reserveBytes = 0 } = STORE_OPTIONS.space

  test('below its reserve takes no puts and no volumes; reads, deletes and vacuum go on', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    await test.put(1, 5, 'one')
    await test.put(1, 6, 'two')
    await leaveRoom(test, (reserveBytes ?? 0) - 1)
    await expectCode(test.put(1, 7, 'three'), 'DISK_FULL')
    await expectCode(test.createVolume(2), 'DISK_FULL')
    expect(await test.read(1, 5)).toBe('one')
    await test.volume(1).delete({ id: toId(5), cookie: 1 }, SIGNAL)
    await test.volume(1).vacuum({}, SIGNAL)
    expect(await test.read(1, 6)).toBe('two')
    await leaveRoom(test, (reserveBytes ?? 0) + MIB)
    await test.put(1, 7, 'three')
  })

  test('is noticed by what is appended, and again by asking after a second', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    await leaveRoom(test, (reserveBytes ?? 0) + 1000)
    await test.put(1, 5, 'x'.repeat(900))
    await expectCode(test.put(1, 6, 'x'.repeat(900)), 'DISK_FULL')
    test.disk.capacityBytes = 2 ** 30
    await expectCode(test.put(1, 6, 'x'.repeat(900)), 'DISK_FULL')
    await test.clock.advance(LIMITS.diskSpaceMs.value + 1)
    // This one asks, without waiting for the answer.
    await test.put(1, 6, 'x'.repeat(900)).catch(() => 'not yet')
    await settle()
    await test.put(1, 6, 'x'.repeat(900))
  })

  test('to the last byte gives up its ballast for deletes, and holds it again later', async () => {
    await using test = new TestStore()
    await test.open()
    const ballastBytes = STORE_OPTIONS.space.ballastBytes
    expect(test.disk.contents('/a/ballast').length).toBe(ballastBytes)
    await test.createVolume(1)
    for (let id = 1; id <= 20; id++) await test.put(1, id, 'one')
    await leaveRoom(test, 0)
    for (let id = 1; id <= 20; id++) {
      await test.volume(1).delete({ id: toId(id), cookie: 1 }, SIGNAL)
    }
    expect(test.disk.contents('/a/ballast').length).toBe(0)
    await leaveRoom(test, (reserveBytes ?? 0) + 3 * ballastBytes)
    expect(test.disk.contents('/a/ballast').length).toBe(ballastBytes)
    expect(test.volume(1).stats.liveNeedles).toBe(0)
  })

  test('while its ballast is being written keeps no half of it', async () => {
    for (let writes = 0; writes < 3; writes++) {
      const space = { reserveBytes: MIB, ballastBytes: 3 * MIB }
      await using test = new TestStore(['/a'], { space })
      let left = writes
      test.hooks.before = ({ kind, path }) => {
        if (kind !== 'writev' || path !== '/a/ballast' || left-- > 0) return
        test.disk.capacityBytes = 100 * KIB
      }
      await test.open()
      test.hooks.before = undefined
      expect(test.disk.contents('/a/ballast').length).toBe(0)
    }
  })

  test('before its start opens all the same and serves reads and deletes', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    await test.put(1, 5, 'one')
    await test.close()
    const { totalBytes, freeBytes } = await test.disk.space('/a')
    test.disk.capacityBytes = totalBytes - freeBytes
    await test.open()
    expect(test.store.quarantine).toEqual([])
    expect(await test.read(1, 5)).toBe('one')
    await test.volume(1).delete({ id: toId(5), cookie: 1 }, SIGNAL)
    test.disk.capacityBytes = 2 ** 30
  })
})
