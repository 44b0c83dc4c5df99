import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { MIB } from '../../src/base/units.ts'
import { NEEDLE_DATA_AT } from '../../src/format/needle.ts'
import type { NeedleAttributes } from '../../src/format/needle-attributes.ts'
import type { VolumePaths } from '../../src/storage/volume-paths.ts'
import { Prng } from '../support/prng.ts'
import {
  cookieOf,
  expectCode,
  inPieces,
  PATHS,
  SIGNAL,
  settle,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const prng = new Prng(1)
const BROKEN = ['NEEDLE_CORRUPT', 'VOLUME_DAMAGED', 'INDEX_CORRUPT'] as const

function heal(test: TestVolume, id: number, data: string | Buffer, more: Healing = {}) {
  const { cookie = cookieOf(id), attributes = {} } = more
  const input = { id: toId(id), cookie, data: Buffer.from(data), attributes }
  return test.volume.put({ ...input, isHeal: true }, SIGNAL)
}

interface Healing {
  readonly cookie?: number
  readonly attributes?: NeedleAttributes
}

function placeOf(test: TestVolume, id: number): number {
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  expect(test.volume.entries.lookup(toId(id), location)).toBe(true)
  return location.offsetBytes
}

function stat(test: TestVolume, id: number) {
  return test.volume.statNeedle(toId(id), SIGNAL)
}

function flip(test: TestVolume, at: number, path: keyof VolumePaths = 'dat'): void {
  test.disk.flipBit(String(PATHS[path]), at, 3)
  test.disk.evictCaches()
}

describe('a put that heals', () => {
  test('stores what was missing, and goes over corrupt data, headers and other cookies', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    for (let id = 1; id <= 4; id++) await test.put(id, `needle ${id}`)
    flip(test, placeOf(test, 1) + NEEDLE_DATA_AT)
    flip(test, placeOf(test, 2) + 9)
    await heal(test, 3, 'three', { cookie: 77 })
    for (const id of [1, 2, 5]) {
      expect(await heal(test, id, `needle ${id}`)).toMatchObject({ isUnchanged: false })
      expect((await test.read(id))?.toString()).toBe(`needle ${id}`)
    }
    const found = await test.volume.read({ id: toId(3), cookie: 77 })
    expect('data' in found && found.data.toString()).toBe('three')
    await expectCode(test.read(3), 'COOKIE_MISMATCH')
    expect(test.volume.stats.liveNeedles).toBe(5)
  })

  test('leaves alone what is the same but for its times, also in a volume with a TTL', async () => {
    const ttl = { count: 5, unit: 'week' } as const
    for (const superBlock of [{}, { ttl }]) {
      await using test = await TestVolume.create({ superBlock })
      const attributes = { name: 'a.txt', pairs: { x: '1', a: '2' }, lastModifiedS: 1_704_067_100 }
      await test.put(1, 'same', attributes)
      const { datBytes } = test.volume.stats
      const later = { ...attributes, pairs: { a: '2', x: '1' }, lastModifiedS: 1_704_067_150 }
      const checksum = crc32c(Buffer.from('same'))
      expect(await heal(test, 1, 'same', { attributes: later })).toEqual({
        checksum,
        dataBytes: 4,
        isUnchanged: true,
      })
      expect(test.volume.stats.datBytes).toBe(datBytes)
      const others: Healing[] = [
        { attributes: { ...attributes, name: 'b.txt' } },
        { attributes: { ...attributes, mime: 'text/plain' } },
        { attributes: { ...attributes, isCompressed: true } },
        { attributes, cookie: 5 },
      ]
      for (const other of others) {
        expect(await heal(test, 1, 'same', other)).toMatchObject({ isUnchanged: false })
      }
    }
  })

  test('never goes over a deletion, also one of the same batch or kept by a vacuum', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.put(2, 'two')
    await test.delete(1)
    await expectCode(heal(test, 1, 'one'), 'NEEDLE_NOT_FOUND')
    const deleting = test.delete(2)
    await expectCode(heal(test, 2, 'two'), 'NEEDLE_NOT_FOUND')
    await deleting
    await test.volume.vacuum({ tombstones: 'keep' }, SIGNAL)
    for (const id of [1, 2]) await expectCode(heal(test, id, 'x'), 'NEEDLE_NOT_FOUND')
    await test.reopen()
    for (const id of [1, 2]) await expectCode(heal(test, id, 'x'), 'NEEDLE_NOT_FOUND')
    // Somebody who puts the id anew may do so, as before.
    await test.put(1, 'anew')
    await test.expectNeedles(new Map([[1, 'anew']]))
  })

  test('works as a stream, in memory and through a spool file', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    const large = prng.bytes(9 * MIB)
    await test.put(1, large)
    await test.put(2, 'two')
    flip(test, placeOf(test, 1) + 5 * MIB)
    flip(test, placeOf(test, 2) + NEEDLE_DATA_AT)
    for (const [id, data] of [
      [1, large],
      [2, Buffer.from('two')],
    ] as const) {
      expect(await stat(test, id)).toMatchObject({ state: 'corrupt' })
      const input = { id: toId(id), cookie: cookieOf(id), attributes: {}, isHeal: true }
      await test.volume.putStream(input, inPieces(data, MIB), SIGNAL)
      expect((await test.read(id))?.equals(data)).toBe(true)
    }
    await test.delete(1)
    const input = { id: toId(1), cookie: cookieOf(1), attributes: {}, isHeal: true }
    const healing = test.volume.putStream(input, inPieces(large, MIB), SIGNAL)
    await expectCode(healing, 'NEEDLE_NOT_FOUND')
  })

  test('is taken by a full volume, and by a sealed one, which stays sealed', async () => {
    await using test = await TestVolume.create({
      sizeMaxBytes: 2800,
      findings: BROKEN,
    })
    for (let id = 1; id <= 20; id++) await test.put(id, prng.bytes(100))
    await test.delete(3)
    await expectCode(test.put(21, 'more'), 'VOLUME_FULL')
    await heal(test, 21, 'missing')
    await test.volume.seal()
    flip(test, placeOf(test, 5) + NEEDLE_DATA_AT)
    await Promise.all([heal(test, 5, 'five'), heal(test, 22, 'missing too'), test.delete(6)])
    await expectCode(heal(test, 3, 'back'), 'NEEDLE_NOT_FOUND')
    await expectCode(test.put(23, 'more'), 'VOLUME_SEALED')
    const check = async () => {
      expect(test.volume.state).toBe('sealed')
      expect((await test.read(5))?.toString()).toBe('five')
      expect((await test.read(22))?.toString()).toBe('missing too')
      expect(await test.read(6)).toBeUndefined()
      expect(test.volume.stats.liveNeedles).toBe(20)
    }
    await check()
    await test.killAndOpen()
    await check()
    await heal(test, 5, 'fifth')
    await test.volume.vacuum({ skipsDamage: true }, SIGNAL)
    expect((await test.read(5))?.toString()).toBe('fifth')
    expect(test.volume.state).toBe('sealed')
  })

  test('while the volume is being sealed holds, whenever it comes', async () => {
    for (let call = 1; ; call++) {
      await using test = await TestVolume.create({ seed: call })
      for (let id = 1; id <= 5; id++) await test.put(id, `needle ${id}`)
      let healing: Promise<unknown> | undefined
      let left = call
      test.hooks.before = () => {
        if (--left === 0) healing = heal(test, 9, 'nine')
      }
      await test.volume.seal()
      test.hooks.before = undefined
      if (healing === undefined) {
        expect(call).toBeGreaterThan(5)
        return
      }
      await healing
      await settle()
      expect((await test.read(9))?.toString()).toBe('nine')
      await test.reopen()
      expect((await test.read(9))?.toString()).toBe('nine')
    }
  })

  test('is counted with the other requests', async () => {
    await using test = await TestVolume.create()
    const before = test.volume.stats.requestCount
    await heal(test, 1, 'one')
    await test.put(2, 'two')
    await test.delete(2)
    test.volume.readWarm({ id: toId(1), cookie: undefined })
    await test.volume.read({ id: toId(1), cookie: undefined })
    expect(test.volume.stats.requestCount - before).toBe(5)
  })
})

describe('a needle that is looked at', () => {
  test('says what it has, small and large, raw checksum, cookie and stamp', async () => {
    await using test = await TestVolume.create()
    const large = prng.bytes(9 * MIB)
    await test.put(1, 'one', { name: 'one.txt' })
    await test.put(2, large, { name: 'one.txt' })
    await test.put(3, 'one', { name: 'other.txt', lastModifiedS: 5 })
    const [one, two, three] = [await stat(test, 1), await stat(test, 2), await stat(test, 3)]
    expect(one).toMatchObject({
      needleId: toId(1),
      state: 'live',
      cookie: cookieOf(1),
      checksum: crc32c(Buffer.from('one')),
      dataBytes: 3,
    })
    expect(two).toMatchObject({ state: 'live', checksum: crc32c(large), dataBytes: 9 * MIB })
    expect(two.attributesHash).toBe(one.attributesHash)
    expect(three.attributesHash).not.toBe(one.attributesHash)
    expect(two.appendAtNs).toBeGreaterThan(one.appendAtNs)
    expect(three.appendAtNs).toBeGreaterThan(two.appendAtNs)
  })

  test('is absent, deleted or corrupt, and absent once its time is over', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    const ttl = { count: 1, unit: 'minute' } as const
    await test.put(1, 'one')
    await test.put(2, 'two', { ttl })
    await test.put(3, 'three')
    await test.put(4, 'four')
    await test.delete(1)
    flip(test, placeOf(test, 3) + NEEDLE_DATA_AT)
    flip(test, placeOf(test, 4) + 7)
    const states = async () =>
      Promise.all([1, 2, 3, 4, 5].map(async (id) => (await stat(test, id)).state))
    expect(await states()).toEqual(['deleted', 'live', 'corrupt', 'corrupt', 'absent'])
    await test.clock.advance(61_000)
    expect(await states()).toEqual(['deleted', 'absent', 'corrupt', 'corrupt', 'absent'])
    const nothing = { cookie: 0, checksum: 0, dataBytes: 0, attributesHash: 0, appendAtNs: 0n }
    expect(await stat(test, 3)).toEqual({ needleId: toId(3), state: 'corrupt', ...nothing })
  })
})
