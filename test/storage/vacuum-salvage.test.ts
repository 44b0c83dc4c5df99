import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/base/units.ts'
import { NEEDLE_DATA_AT } from '../../src/format/needle.ts'
import { Prng, seeds } from '../support/prng.ts'
import {
  cookieOf,
  expectCode,
  PATHS,
  SIGNAL,
  settle,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const BROKEN = ['NEEDLE_CORRUPT', 'VOLUME_DAMAGED', 'INDEX_CORRUPT'] as const

type Needles = Map<number, Buffer | string | undefined>

function placeOf(test: TestVolume, id: number): number {
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  expect(test.volume.entries.lookup(toId(id), location)).toBe(true)
  return location.offsetBytes
}

function flip(test: TestVolume, at: number): void {
  test.disk.flipBit(PATHS.dat, at, 5)
  test.disk.evictCaches()
}

/** Needles 1 to 9; 2 and 7 deleted, 3 overwritten, 5 empty; the places of what is garbage. */
async function fill(test: TestVolume): Promise<{ needles: Needles; garbage: number[] }> {
  const needles: Needles = new Map()
  const garbage: number[] = []
  for (let id = 1; id <= 9; id++) {
    await test.put(id, id === 5 ? '' : `needle ${id}`)
    needles.set(id, id === 5 ? '' : `needle ${id}`)
  }
  for (const id of [2, 7]) {
    garbage.push(placeOf(test, id), test.volume.stats.datBytes)
    await test.delete(id)
    needles.set(id, undefined)
  }
  garbage.push(placeOf(test, 3))
  await test.put(3, 'three')
  needles.set(3, 'three')
  return { needles, garbage }
}

async function expectSound(test: TestVolume, needles: Needles): Promise<void> {
  await test.expectNeedles(needles)
  for await (const { findings } of test.volume.scrub({}, SIGNAL)) expect(findings).toEqual([])
  await test.reopen()
  await test.expectNeedles(needles)
  expect(test.volume.state).toBe('writable')
}

describe('a vacuum that skips damage', () => {
  test('of a sound volume keeps what lives, and what was deleted stays deleted', async () => {
    for (const tombstones of ['keep', 'drop'] as const) {
      await using test = await TestVolume.create()
      const { needles } = await fill(test)
      const result = await test.volume.vacuum({ skipsDamage: true, tombstones }, SIGNAL)
      expect(result.needles).toBe(7)
      expect(test.volume.entries.entryCount).toBe(tombstones === 'keep' ? 9 : 7)
      await expectSound(test, needles)
      // The index alone must not be what keeps them deleted.
      await test.close()
      await test.disk.unlink(PATHS.idx)
      await test.disk.unlink(PATHS.sum)
      await test.open()
      await test.expectNeedles(needles)
      expect(test.volume.entries.entryCount).toBe(tombstones === 'keep' ? 9 : 7)
    }
  })

  test('leaves out every wrong byte that no live needle needs', async () => {
    await using probe = await TestVolume.create()
    const { garbage } = await fill(probe)
    for (const start of garbage) {
      for (let at = start; at < start + 32; at++) {
        await using test = await TestVolume.create({ findings: BROKEN })
        const { needles } = await fill(test)
        flip(test, at)
        const tombstones = at % 2 === 0 ? 'keep' : 'drop'
        await test.volume.vacuum({ skipsDamage: true, tombstones }, SIGNAL)
        await expectSound(test, needles)
        expect((await test.check()).findings).toEqual([])
      }
    }
  })

  test('of a volume whose corrupt needle was healed, header and all, makes it whole', async () => {
    for (const at of [1, 9, 12, 13, 14, 15, NEEDLE_DATA_AT]) {
      await using test = await TestVolume.create()
      const { needles } = await fill(test)
      flip(test, placeOf(test, 4) + at)
      const input = { id: toId(4), cookie: cookieOf(4), attributes: {}, isHeal: true }
      await test.volume.put({ ...input, data: Buffer.from('needle 4') }, SIGNAL)
      // Without the option a broken chain stops it.
      if (at >= 12 && at < 16) await expectCode(test.volume.vacuum({}, SIGNAL), 'VOLUME_DAMAGED')
      await test.volume.vacuum({ skipsDamage: true }, SIGNAL)
      await expectSound(test, needles)
    }
  })

  test('changes nothing when a live needle cannot be read', async () => {
    for (const at of [5, 9, 13, 15, NEEDLE_DATA_AT]) {
      await using test = await TestVolume.create({ findings: BROKEN })
      await fill(test)
      flip(test, placeOf(test, 4) + at)
      const before = test.file('dat')
      await expectCode(test.volume.vacuum({ skipsDamage: true }, SIGNAL), 'NEEDLE_CORRUPT')
      expect(test.file('dat').equals(before)).toBe(true)
      expect((await test.read(6))?.toString()).toBe('needle 6')
    }
  })

  test('keeps the cookies of what was deleted, where they can be read', async () => {
    await using test = await TestVolume.create()
    await fill(test)
    await test.volume.vacuum({ skipsDamage: true, tombstones: 'keep' }, SIGNAL)
    const wrong = { id: toId(2), cookie: 5, data: Buffer.from('x'), attributes: {} }
    await expectCode(test.volume.put(wrong, SIGNAL), 'COOKIE_MISMATCH')
    await test.put(2, 'with its own')
    expect((await test.read(2))?.toString()).toBe('with its own')
  })

  test('writes .vif anew where it was altered', async () => {
    await using test = await TestVolume.create()
    await fill(test)
    await test.volume.setReplication({ otherDataCenters: 0, otherRacks: 1, otherServers: 0 })
    const before = test.file('vif')
    test.disk.flipBit(PATHS.vif, 30, 2)
    await test.volume.vacuum({ skipsDamage: true }, SIGNAL)
    expect(test.file('vif').equals(before)).toBe(true)
  })

  // Goal: writes, deletes and vacuum in any order lose and revive nothing.
  // Method: the writes come at each call of the vacuum in turn.
  test('while needles are put, overwritten and deleted loses and revives none', async () => {
    for (let call = 1; ; call++) {
      await using test = await TestVolume.create({ seed: call })
      const { needles, garbage } = await fill(test)
      // The checksum of the last garbage record, and the header of the first: the chain is broken.
      flip(test, (garbage[0] ?? 0) + 14)
      const writes: Promise<unknown>[] = []
      let left = call
      test.hooks.before = () => {
        if (--left !== 0) return
        writes.push(test.put(10, 'new'), test.put(1, 'overwritten'), test.delete(4))
        writes.push(test.delete(6), test.put(6, 'again'), test.put(2, 'back'))
        writes.push(test.put(11, 'short'), test.delete(11))
      }
      const tombstones = call % 2 === 0 ? 'keep' : 'drop'
      await test.volume.vacuum({ skipsDamage: true, tombstones }, SIGNAL)
      test.hooks.before = undefined
      await Promise.all(writes)
      if (left <= 0) {
        needles.set(10, 'new').set(1, 'overwritten').set(4, undefined)
        needles.set(6, 'again').set(2, 'back').set(11, undefined)
      }
      await test.expectNeedles(needles)
      await test.killAndOpen()
      await test.expectNeedles(needles)
      if (left > 0) {
        expect(call).toBeGreaterThan(20)
        return
      }
    }
  })

  test('with the power lost at any call leaves the old files or the new ones', async () => {
    for (let call = 1; ; call++) {
      await using test = await TestVolume.create({ seed: call, findings: BROKEN })
      const { needles, garbage } = await fill(test)
      await test.reopen()
      flip(test, (garbage[0] ?? 0) + NEEDLE_DATA_AT)
      test.disk.cutPowerAfter(call)
      await test.volume.vacuum({ skipsDamage: true }, SIGNAL).catch(() => 'cut')
      await settle()
      const isThrough = !test.disk.isPowerOff
      test.disk.restart()
      await test.open()
      await test.expectNeedles(needles)
      if (isThrough) return
    }
  })

  test.each(seeds(20))('of large volumes with damage in garbage (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    await using test = await TestVolume.create({ seed })
    const needles: Needles = new Map()
    const garbage: [start: number, end: number][] = []
    const retire = (id: number): void => {
      const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
      if (!test.volume.entries.lookup(toId(id), location) || location.isDeleted) return
      garbage.push([location.offsetBytes, location.offsetBytes + 28 + location.sizeBytes])
    }
    for (let step = 0; step < 300; step++) {
      const id = prng.between(1, 100)
      retire(id)
      const isPut = prng.chance(0.8)
      const data = prng.bytes(prng.pick([9, 10, 1000, 9 + prng.below(60_000)]))
      if (isPut) await test.put(id, data)
      else await test.delete(id)
      needles.set(id, isPut ? data : undefined)
    }
    for (let count = 0; count < 20; count++) {
      const [start, end] = prng.pick(garbage)
      flip(test, prng.between(start, end - 1))
    }
    const tombstones = prng.chance(0.5) ? 'keep' : 'drop'
    await test.volume.vacuum({ skipsDamage: true, tombstones }, SIGNAL)
    await expectSound(test, needles)
  })
})

describe('the pace of a vacuum', () => {
  test('is asked after each window with the time it took, but never while writers wait', async () => {
    for (const skipsDamage of [false, true]) {
      await using test = await TestVolume.create()
      const prng = new Prng(3)
      for (let id = 1; id <= 40; id++) await test.put(id, prng.bytes(MIB))
      let worked = 0
      let rests = 0
      test.hooks.before = ({ kind }) => (kind === 'read' ? test.clock.advance(2) : undefined)
      const pace = async (workMs: number): Promise<void> => {
        worked += workMs
        rests++
        await test.clock.advance(1000)
        // Were writers held up by the rest, this would never return.
        await test.put(100 + rests, 'meanwhile')
      }
      await test.volume.vacuum({ pace, skipsDamage }, SIGNAL)
      test.hooks.before = undefined
      // 40 MiB in windows of 4 MiB, twice.
      expect(rests).toBeGreaterThanOrEqual(18)
      expect(worked).toBeGreaterThan(30)
      expect(worked).toBeLessThan(1000)
      expect(test.volume.stats.liveNeedles).toBe(40 + rests)
    }
  })

  test('ends the vacuum by what it throws; nothing was changed', async () => {
    await using test = await TestVolume.create()
    const { needles } = await fill(test)
    const prng = new Prng(3)
    for (let id = 20; id <= 30; id++) {
      const data = prng.bytes(MIB)
      await test.put(id, data)
      needles.set(id, data)
    }
    const pace = async (): Promise<void> => {
      throw new Error('enough')
    }
    await expect(test.volume.vacuum({ pace }, SIGNAL)).rejects.toThrow('enough')
    await test.expectNeedles(needles)
    expect(test.volume.stats.compactionRevision).toBe(0)
  })
})
