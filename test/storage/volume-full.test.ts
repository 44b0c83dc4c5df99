import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { KIB, MIB } from '../../src/base/units.ts'
import type { SpaceGuard } from '../../src/storage/volume-options.ts'
import { Prng } from '../support/prng.ts'
import {
  DIRECTORY,
  expectCode,
  gather,
  PATHS,
  SIGNAL,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const prng = new Prng(1)

/** What the closing check finds in a failed volume, whose last records have no index rows. */
const FAILED = ['VOLUME_FAILED', 'TAIL_TORN', 'INDEX_CORRUPT'] as const

/** From now on the disk has exactly this much room. */
async function leaveRoom(test: TestVolume, bytes: number): Promise<void> {
  const { totalBytes, freeBytes } = await test.disk.space(DIRECTORY)
  test.disk.capacityBytes = totalBytes - freeBytes + bytes
}

/** Held space that can be given up once. */
class HeldSpace implements SpaceGuard {
  test: TestVolume | undefined
  asked = 0
  heldBytes: number
  failure: Error | undefined

  constructor(heldBytes: number) {
    this.heldBytes = heldBytes
  }

  refusePut(): undefined {}

  onAppended(): void {}

  async makeRoom(): Promise<boolean> {
    this.asked++
    if (this.failure !== undefined) throw this.failure
    if (this.test === undefined || this.heldBytes === 0) return false
    this.test.disk.capacityBytes += this.heldBytes
    this.heldBytes = 0
    return true
  }
}

describe('a volume at its size limit', () => {
  test('takes puts until it has reached it, then VOLUME_FULL; deletes, reads, vacuum go on', async () => {
    await using test = await TestVolume.create({ sizeMaxBytes: 1000 })
    await test.put(1, prng.bytes(900))
    await test.put(2, prng.bytes(900))
    expect(test.volume.stats.datBytes).toBeGreaterThan(1000)
    await expectCode(test.put(3, 'x'), 'VOLUME_FULL')
    await expectCode(test.put(1, 'x'), 'VOLUME_FULL')
    expect((await test.read(1))?.length).toBe(900)
    expect(await test.delete(1)).toMatchObject({ wasLive: true })
    await test.volume.vacuum({}, SIGNAL)
    await test.put(3, 'x')
    expect(test.volume.stats.liveNeedles).toBe(2)
  })

  test('can be sealed', async () => {
    await using test = await TestVolume.create({ sizeMaxBytes: 8 })
    await expectCode(test.put(1, 'x'), 'VOLUME_FULL')
    await test.volume.seal()
    expect(test.volume.state).toBe('sealed')
  })
})

describe('short writes', () => {
  test.each([1, 7, 512])('of at most %d bytes are gone on with', async (writeMaxBytes) => {
    await using test = await TestVolume.create()
    const needles = new Map([1, 2, 3].map((id) => [id, prng.bytes(300 * id)]))
    test.hooks.writeMaxBytes = writeMaxBytes
    await Promise.all([...needles].map(([id, data]) => test.put(id, data)))
    await test.reopen()
    await test.expectNeedles(needles)
  })

  test('of at most 100 KiB are gone on with in batches written off the thread', async () => {
    await using test = await TestVolume.create()
    test.hooks.writeMaxBytes = 100 * KIB
    const needles = new Map([1, 2, 3].map((id) => [id, prng.bytes(id * 4 * MIB)]))
    await Promise.all([...needles].map(([id, data]) => test.put(id, data)))
    await test.expectNeedles(needles)
  })
})

describe('a full disk', () => {
  // 300 KiB are written through the thread pool, 9 MiB as a large needle.
  test.each([500, 300 * KIB, 9 * MIB])(
    'fails a put of %d bytes with DISK_FULL, cuts it back, and heals with the space',
    async (size) => {
      await using test = await TestVolume.create()
      await test.put(1, 'old')
      const { datBytes } = test.volume.stats
      for (const room of [0, 1, 100, 499]) {
        await leaveRoom(test, room)
        await expectCode(test.put(1, prng.bytes(size)), 'DISK_FULL')
        await expectCode(test.put(2, prng.bytes(size)), 'DISK_FULL')
        expect(test.file('dat').length).toBe(datBytes)
        await test.expectNeedles(
          new Map([
            [1, 'old'],
            [2, undefined],
          ]),
        )
      }
      expect(test.volume.state).toBe('writable')
      test.disk.capacityBytes = 2 ** 30
      const data = prng.bytes(size)
      await test.put(2, data)
      await test.reopen()
      await test.expectNeedles(
        new Map<number, Buffer | string>([
          [1, 'old'],
          [2, data],
        ]),
      )
    },
  )

  test('a power cut after DISK_FULL does not bring the put back', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      await using test = await TestVolume.create({ seed })
      await test.put(1, 'old')
      await leaveRoom(test, 300)
      await expectCode(test.put(2, prng.bytes(500)), 'DISK_FULL')
      test.disk.restart()
      await test.open()
      await test.expectNeedles(
        new Map([
          [1, 'old'],
          [2, undefined],
        ]),
      )
    }
  })

  test('deletes without asking for held space while 32 bytes are free', async () => {
    const space = new HeldSpace(MIB)
    await using test = await TestVolume.create({ space })
    space.test = test
    await test.put(1, 'one')
    await test.put(2, 'two')
    await leaveRoom(test, 32)
    const outcomes = await Promise.allSettled([test.put(3, prng.bytes(500)), test.delete(1)])
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'fulfilled'])
    expect(space.asked).toBe(0)
    await test.expectNeedles(
      new Map([
        [1, undefined],
        [2, 'two'],
        [3, undefined],
      ]),
    )
    test.disk.capacityBytes = 2 ** 30
  })

  test('deletes with held space when nothing is free, alone or beside puts', async () => {
    for (const isBesidePut of [false, true]) {
      const space = new HeldSpace(MIB)
      await using test = await TestVolume.create({ space })
      space.test = test
      await test.put(1, 'one')
      await leaveRoom(test, 0)
      const put = isBesidePut ? test.put(2, prng.bytes(2 * MIB)) : Promise.reject(new Error())
      const outcomes = await Promise.allSettled([put, test.delete(1)])
      expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'fulfilled'])
      expect(space.asked).toBe(1)
      await test.reopen()
      await test.expectNeedles(
        new Map([
          [1, undefined],
          [2, undefined],
        ]),
      )
    }
  })

  test('fails a delete with DISK_FULL when no space is held, and the needle stays', async () => {
    const space = new HeldSpace(0)
    await using test = await TestVolume.create({ space })
    await test.put(1, 'one')
    await leaveRoom(test, 0)
    await expectCode(test.delete(1), 'DISK_FULL')
    await test.expectNeedles(new Map([[1, 'one']]))
    test.disk.capacityBytes = 2 ** 30
    expect(await test.delete(1)).toMatchObject({ wasLive: true })
  })

  test('whose held space cannot be given up still answers every write', async () => {
    const space = new HeldSpace(0)
    await using test = await TestVolume.create({ space })
    await test.put(1, 'one')
    await leaveRoom(test, 0)
    space.failure = new StoreError('DISK_FAILED', 'the ballast cannot be opened')
    await expectCode(test.delete(1), 'DISK_FULL')
    const both = [test.put(2, 'two'), test.delete(1)]
    for (const write of both) await expectCode(write, 'DISK_FULL')
    test.disk.capacityBytes = 2 ** 30
    await test.put(3, 'three')
    await test.expectNeedles(
      new Map([
        [1, 'one'],
        [3, 'three'],
      ]),
    )
  })

  test('keeps index rows waiting; they are written when there is room again', async () => {
    await using test = await TestVolume.create()
    test.hooks.before = ({ kind, path }) => {
      if (kind === 'writev' && path === PATHS.idx) throw new StoreError('DISK_FULL', 'no room')
    }
    for (let round = 0; round < 3; round++) {
      const ids = Array.from({ length: 1024 }, (_, index) => round * 1024 + index)
      await Promise.all(ids.map((id) => test.put(id, 'x')))
    }
    expect(test.file('idx').length).toBe(0)
    test.hooks.before = undefined
    await test.put(1, 'y')
    await test.reopen()
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 0, indexRebuilt: undefined })
    expect(test.volume.stats.liveNeedles).toBe(3072)
    expect(test.file('idx').length).toBe(3073 * 16)
  })
})

describe('a write that fails with EIO', () => {
  test.each([500, 300 * KIB, 9 * MIB])(
    'of %d bytes leaves the old needle, and the next put works',
    async (size) => {
      for (let call = 1; call <= 3; call++) {
        await using test = await TestVolume.create({ seed: call })
        await test.put(1, 'old')
        const { datBytes } = test.volume.stats
        test.disk.failCall(size < MIB ? 1 : call * 3, 'EIO', ['writev'])
        await expectCode(test.put(1, prng.bytes(size)), 'DISK_FAILED')
        expect(test.file('dat').length).toBe(datBytes)
        await test.expectNeedles(new Map([[1, 'old']]))
        expect(test.volume.state).toBe('writable')
        await test.put(1, 'new')
        await test.reopen()
        await test.expectNeedles(new Map([[1, 'new']]))
      }
    },
  )

  test('keeps the checksum of the block right: ranges read on, .sum agrees after a restart', async () => {
    await using test = await TestVolume.create()
    const body = prng.bytes(9 * MIB)
    await test.put(1, body)
    test.disk.failCall(4, 'EIO', ['writev'])
    await expectCode(test.put(2, body), 'DISK_FAILED')
    const range = { start: body.length - 10, end: body.length }
    const read = () =>
      gather(test.volume.readRange({ id: toId(1), cookie: undefined }, range, SIGNAL))
    expect(await read()).toEqual(body.subarray(-10))
    await test.put(3, 'more')
    await test.reopen()
    expect(await read()).toEqual(body.subarray(-10))
  })

  test('that cannot be cut back fails the volume: what lies there is unknown', async () => {
    await using test = await TestVolume.create({ findings: FAILED })
    await test.put(1, 'old')
    test.disk.failCall(1, 'EIO', ['writev'])
    test.disk.failCall(1, 'EIO', ['truncate'])
    await expectCode(test.put(2, 'new'), 'VOLUME_FAILED')
    expect(test.volume.state).toBe('failed')
    await test.expectNeedles(
      new Map([
        [1, 'old'],
        [2, undefined],
      ]),
    )
    await expectCode(test.delete(1), 'VOLUME_FAILED')
  })
})
