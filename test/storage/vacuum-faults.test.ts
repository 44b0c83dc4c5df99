import { describe, expect, test } from 'vitest'
import { Prng } from '../support/prng.ts'
import { DIRECTORY, expectCode, PATHS, SIGNAL, settle, TestVolume } from '../support/test-volume.ts'

const prng = new Prng(1)
const OLD_DATA = prng.bytes(700)

/** Needles 1 to 6, with 2 deleted and 3 overwritten; deletions must not come back. */
async function fill(test: TestVolume): Promise<Map<number, Buffer | string | undefined>> {
  for (let id = 1; id <= 6; id++) await test.put(id, OLD_DATA)
  await test.delete(2)
  await test.put(3, 'three')
  return new Map<number, Buffer | string | undefined>([
    [1, OLD_DATA],
    [2, undefined],
    [3, 'three'],
    [4, OLD_DATA],
    [5, OLD_DATA],
    [6, OLD_DATA],
  ])
}

async function drafts(test: TestVolume): Promise<string[]> {
  const names = (await test.disk.list(DIRECTORY)).map((entry) => entry.name)
  return names.filter((name) => /\.(?:cp|dat\.tmp|idx\.tmp)/.test(name))
}

/** Runs `step` with 1, 2, 3 … until it says that it has come through. */
async function untilThrough(
  step: (call: number) => Promise<boolean>,
  least: number,
): Promise<void> {
  for (let call = 1; ; call++) {
    if (await step(call)) {
      expect(call).toBeGreaterThan(least)
      return
    }
  }
}

describe('writes while a vacuum runs', () => {
  test('at each of its calls: put, overwrite, delete and put again all hold', async () => {
    await untilThrough(async (call) => {
      await using test = await TestVolume.create({ seed: call })
      const needles = await fill(test)
      const writes: Promise<unknown>[] = []
      let left = call
      test.hooks.before = () => {
        if (--left !== 0) return
        writes.push(test.put(7, 'new'), test.put(1, 'overwritten'), test.delete(4))
        writes.push(test.delete(5), test.put(5, 'again'), test.put(2, 'back'))
        writes.push(test.put(8, 'short'), test.delete(8))
      }
      await test.volume.vacuum({ tombstones: call % 2 === 0 ? 'keep' : 'drop' }, SIGNAL)
      const isThrough = left > 0
      test.hooks.before = undefined
      await Promise.all(writes)
      if (!isThrough) {
        needles.set(7, 'new').set(1, 'overwritten').set(4, undefined)
        needles.set(5, 'again').set(2, 'back').set(8, undefined)
      }
      await test.expectNeedles(needles)
      await test.killAndOpen()
      await test.expectNeedles(needles)
      await test.close()
      await test.disk.unlink(PATHS.idx)
      await test.disk.unlink(PATHS.sum)
      await test.open()
      await test.expectNeedles(needles)
      return isThrough
    }, 20)
  })

  test('of a needle that is over already do not fail it', async () => {
    await untilThrough(async (call) => {
      await using test = await TestVolume.create({ seed: call })
      await fill(test)
      const ttl = { count: 1, unit: 'minute' } as const
      const lastModifiedS = test.clock.nowMs() / 1000 - 3600
      const writes: Promise<unknown>[] = []
      let left = call
      test.hooks.before = () => {
        if (--left === 0) writes.push(test.put(1, 'over', { ttl, lastModifiedS }))
      }
      await test.volume.vacuum({}, SIGNAL)
      const isThrough = left > 0
      test.hooks.before = undefined
      await Promise.all(writes)
      expect(await test.read(1)).toEqual(isThrough ? OLD_DATA : undefined)
      return isThrough
    }, 20)
  })
})

describe('power lost during a vacuum', () => {
  test('at each call: the old files or the new ones, whole; nothing deleted returns', async () => {
    await untilThrough(async (call) => {
      let isThrough = false
      for (let seed = 1; seed <= 6; seed++) {
        await using test = await TestVolume.create({ seed: seed * 100 + call })
        const needles = await fill(test)
        if (seed % 2 === 0) await test.reopen()
        test.disk.cutPowerAfter(call)
        const outcome = await test.volume.vacuum({}, SIGNAL).then(
          () => 'done',
          () => 'failed',
        )
        await settle()
        isThrough = !test.disk.isPowerOff
        test.disk.restart()
        await test.open()
        expect(test.volume.state).toBe('writable')
        const { compactionRevision } = test.volume.stats
        expect(outcome === 'done' ? [1] : [0, 1]).toContain(compactionRevision)
        await test.expectNeedles(needles)
        expect(await drafts(test)).toEqual([])
        await test.put(7, 'goes on')
        await test.volume.vacuum({}, SIGNAL)
        await test.reopen()
        await test.expectNeedles(needles.set(7, 'goes on'))
      }
      return isThrough
    }, 12)
  })

  test('and lost again at each call of the start that finishes it', async () => {
    await untilThrough(async (call) => {
      let isThrough = true
      for (let first = 8; first <= 20; first++) {
        await using test = await TestVolume.create({ seed: first * 100 + call })
        const needles = await fill(test)
        test.disk.cutPowerAfter(first)
        await test.volume.vacuum({}, SIGNAL).catch(() => 'cut')
        await settle()
        test.disk.restart()
        test.disk.cutPowerAfter(call)
        await test.open().catch(() => 'cut')
        await settle()
        if (test.disk.isPowerOff) isThrough = false
        test.disk.restart()
        await test.open()
        await test.expectNeedles(needles)
      }
      return isThrough
    }, 3)
  })
})

describe('a failing call during a vacuum', () => {
  test.each(['EIO', 'ENOSPC'] as const)(
    '%s at each call loses nothing, then and later',
    async (code) => {
      await untilThrough(async (call) => {
        await using test = await TestVolume.create({ seed: call, findings: ['VOLUME_FAILED'] })
        const needles = await fill(test)
        test.disk.failCall(call, code)
        const outcome = await test.volume.vacuum({}, SIGNAL).then(
          () => 'done',
          (error: { code: string }) => error.code,
        )
        const isThrough = test.disk.armedFaults > 0
        if (isThrough) await test.killAndOpen()
        await test.expectNeedles(needles)
        if (test.volume.state === 'writable') {
          if (outcome !== 'done') expect(await drafts(test)).toEqual([])
          await test.put(7, 'goes on')
          needles.set(7, 'goes on')
        } else {
          expect(outcome).toBe('VOLUME_FAILED')
          await expectCode(test.put(7, 'x'), 'VOLUME_FAILED')
        }
        await settle()
        test.disk.restart()
        await test.open()
        await test.expectNeedles(needles)
        if (test.volume.state === 'failed') await test.volume.vacuum({}, SIGNAL)
        expect(test.volume.state).toBe('writable')
        await test.expectNeedles(needles)
        return isThrough
      }, 20)
    },
  )

  test('that stops the switch half-way bars another vacuum until the next start finishes it', async () => {
    for (const kinds of [['rename'], ['syncDirectory']] as const) {
      for (let call = 1; call <= 4; call++) {
        for (let cut = 1; cut <= 8; cut++) {
          await using test = await TestVolume.create({
            seed: call * 100 + cut,
            findings: ['VOLUME_FAILED'],
          })
          const needles = await fill(test)
          // The first rename and the first two directory syncs belong to the .cps file.
          test.disk.failCall(call + 1, 'EIO', kinds)
          const first = await test.volume
            .vacuum({}, SIGNAL)
            .catch((error: { code: string }) => error)
          if (test.volume.state === 'failed') {
            expect(first).toMatchObject({ code: 'VOLUME_FAILED' })
            test.disk.cutPowerAfter(cut)
            await test.volume.vacuum({}, SIGNAL).catch(() => 'refused')
          }
          await settle()
          test.disk.restart()
          await test.open()
          if (test.volume.state === 'failed') await test.volume.vacuum({}, SIGNAL)
          await test.expectNeedles(needles)
        }
      }
    }
  })

  test('that stops the switch half-way leaves no file open', async () => {
    await using test = await TestVolume.create()
    const needles = await fill(test)
    test.disk.failCall(2, 'EIO', ['rename'])
    await expectCode(test.volume.vacuum({}, SIGNAL), 'VOLUME_FAILED')
    await expectCode(test.volume.vacuum({}, SIGNAL), 'VOLUME_FAILED')
    await test.close()
    expect(test.disk.openFiles).toBe(0)
    await test.open()
    await test.expectNeedles(needles)
    if (test.volume.state === 'failed') await test.volume.vacuum({}, SIGNAL)
  })

  test('DISK_FULL in the middle leaves the volume as it was; with room it runs', async () => {
    for (let room = 0; room < 3200; room += 400) {
      await using test = await TestVolume.create()
      const needles = await fill(test)
      const before = await test.files()
      test.hooks.spaceIs = { totalBytes: 2 ** 30, freeBytes: 2 ** 30 }
      test.disk.capacityBytes = 2 ** 40 - (await test.disk.space(DIRECTORY)).freeBytes + room
      await expectCode(test.volume.vacuum({}, SIGNAL), 'DISK_FULL')
      expect(await test.files()).toEqual(before)
      await test.expectNeedles(needles)
      test.disk.capacityBytes = 2 ** 30
      await test.volume.vacuum({}, SIGNAL)
      await test.expectNeedles(needles)
    }
  })
})

describe('a copy that goes bad before the switch', () => {
  test('by any flipped bit is VACUUM_UNVERIFIED: the old files stay, the drafts are gone', async () => {
    const size = 8 + 4 * 736 + 56
    for (let at = 0; at < size; at += at < 60 ? 1 : 37) {
      await using test = await TestVolume.create()
      const needles = await fill(test)
      let isFlipped = false
      test.hooks.before = ({ kind, path }) => {
        // Written and about to be synced, before it is read back.
        if (isFlipped || kind !== 'datasync' || path !== PATHS.nextDat) return
        isFlipped = true
        test.disk.flipBit(PATHS.nextDat, at, at % 8)
      }
      await expectCode(test.volume.vacuum({}, SIGNAL), 'VACUUM_UNVERIFIED')
      expect(isFlipped).toBe(true)
      expect(await drafts(test)).toEqual([])
      await test.expectNeedles(needles)
      await test.put(7, 'goes on')
      await test.reopen()
      await test.expectNeedles(needles.set(7, 'goes on'))
    }
  })

  test('by losing its end is VACUUM_UNVERIFIED', async () => {
    await using test = await TestVolume.create()
    const needles = await fill(test)
    test.hooks.before = async ({ kind, path }) => {
      if (kind !== 'datasync' || path !== PATHS.nextDat) return
      await using file = await test.disk.open(path, 'write')
      await file.truncate(500)
    }
    await expectCode(test.volume.vacuum({}, SIGNAL), 'VACUUM_UNVERIFIED')
    await test.expectNeedles(needles)
  })
})

describe('a volume that cannot be copied', () => {
  const ROT = ['VOLUME_DAMAGED', 'NEEDLE_CORRUPT', 'INDEX_CORRUPT'] as const

  test('for a corrupt live needle is NEEDLE_CORRUPT and stays unchanged', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await fill(test)
    const before = await test.files()
    test.disk.flipBit(PATHS.dat, 8 + 20 + 100, 0)
    await expectCode(test.volume.vacuum({}, SIGNAL), 'NEEDLE_CORRUPT')
    test.disk.flipBit(PATHS.dat, 8 + 20 + 100, 0)
    expect(await test.files()).toEqual(before)
    test.disk.flipBit(PATHS.dat, 8 + 20 + 100, 0)
    // Writing over it, or deleting it, lets the next one through.
    await test.put(1, 'healed')
    await test.volume.vacuum({}, SIGNAL)
    expect((await test.read(1))?.toString()).toBe('healed')
  })

  test('for a corrupt dead needle is copied all the same', async () => {
    await using test = await TestVolume.create()
    const needles = await fill(test)
    test.disk.flipBit(PATHS.dat, 8 + 736 + 20 + 100, 0)
    await test.volume.vacuum({}, SIGNAL)
    await test.expectNeedles(needles)
  })

  test('for a broken length is VOLUME_DAMAGED and stays unchanged', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await fill(test)
    test.disk.flipBit(PATHS.dat, 8 + 12, 6)
    const before = await test.files()
    await expectCode(test.volume.vacuum({}, SIGNAL), 'VOLUME_DAMAGED')
    expect(await test.files()).toEqual(before)
    for (const id of [4, 5, 6]) expect(await test.read(id)).toEqual(OLD_DATA)
  })
})
