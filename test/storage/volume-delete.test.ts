import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/base/units.ts'
import { TOMBSTONE_BYTES } from '../../src/format/needle.ts'
import { Prng } from '../support/prng.ts'
import { expectCode, SIGNAL, TestVolume, toId } from '../support/test-volume.ts'

const prng = new Prng(1)

describe('delete', () => {
  test('takes a needle away, for good, and says how many bytes became garbage', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.put(2, 'two')
    const { liveBytes, datBytes } = test.volume.stats
    const result = await test.delete(1)
    expect(result).toEqual({ wasLive: true, freedBytes: liveBytes / 2 })
    expect(test.volume.stats.datBytes).toBe(datBytes + TOMBSTONE_BYTES)
    await test.expectNeedles(
      new Map([
        [1, undefined],
        [2, 'two'],
      ]),
    )
    await test.reopen()
    await test.expectNeedles(
      new Map([
        [1, undefined],
        [2, 'two'],
      ]),
    )
  })

  test('again, or of an id never seen, writes nothing', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.delete(1)
    const before = test.volume.stats
    expect(await test.delete(1)).toEqual({ wasLive: false, freedBytes: 0 })
    expect(await test.delete(99)).toEqual({ wasLive: false, freedBytes: 0 })
    expect(test.volume.stats).toEqual({ ...before, requestCount: expect.any(Number) })
  })

  test('of a large needle, an empty one and a corrupt one works', async () => {
    await using test = await TestVolume.create()
    await test.put(1, prng.bytes(9 * MIB))
    await test.put(2, '')
    await Promise.all([test.delete(1), test.delete(2)])
    await test.expectNeedles(
      new Map([
        [1, undefined],
        [2, undefined],
      ]),
    )
  })

  test('readDeleted shows it until a vacuum, also after a restart', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'kept for a while')
    await test.delete(1)
    expect((await test.read(1, true))?.toString()).toBe('kept for a while')
    await test.reopen()
    expect((await test.read(1, true))?.toString()).toBe('kept for a while')
    expect(await test.read(1)).toBeUndefined()
    await test.volume.vacuum({}, SIGNAL)
    expect(await test.read(1, true)).toBeUndefined()
  })

  test('readDeleted finds nothing where only a kept tombstone is left', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'gone')
    await test.delete(1)
    await test.volume.vacuum({ tombstones: 'keep' }, SIGNAL)
    expect(await test.read(1, true)).toBeUndefined()
    await test.reopen()
    expect(await test.read(1, true)).toBeUndefined()
    expect(await test.delete(1)).toEqual({ wasLive: false, freedBytes: 0 })
  })
})

describe('an empty needle', () => {
  test('is a needle: it has attributes, survives restart and vacuum, and can be deleted', async () => {
    await using test = await TestVolume.create()
    await test.put(1, '', { name: 'empty.txt' })
    await test.reopen()
    await test.volume.vacuum({}, SIGNAL)
    await test.reopen()
    await test.expectNeedles(new Map([[1, '']]))
    expect(await test.attributesOf(1)).toMatchObject({ name: 'empty.txt' })
    expect(await test.put(1, '', { name: 'empty.txt' })).toMatchObject({ isUnchanged: true })
    await test.delete(1)
    await test.expectNeedles(new Map([[1, undefined]]))
  })
})

describe('time to live', () => {
  const TTL = { count: 3, unit: 'minute' } as const
  const MS = 180_000

  test('of the volume: readable 1 ms before its end, gone at it', async () => {
    await using test = await TestVolume.create({ superBlock: { ttl: TTL } })
    await test.put(1, 'soon gone')
    await test.put(2, prng.bytes(9 * MIB))
    expect((await test.attributesOf(1)).ttl).toEqual(TTL)
    await test.clock.advance(MS - 1)
    expect((await test.read(1))?.toString()).toBe('soon gone')
    expect((await test.read(2))?.length).toBe(9 * MIB)
    await test.clock.advance(1)
    expect(await test.read(1)).toBeUndefined()
    expect(await test.read(2)).toBeUndefined()
  })

  test('of the needle: only that one goes, also when read warm, in part or deleted', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'soon gone', { ttl: TTL })
    await test.put(2, 'stays')
    await test.put(3, prng.bytes(9 * MIB), { ttl: TTL })
    await test.clock.advance(MS - 1)
    expect((await test.read(1))?.toString()).toBe('soon gone')
    await test.clock.advance(1)
    expect(await test.read(1)).toBeUndefined()
    expect(await test.read(3)).toBeUndefined()
    expect((await test.read(2))?.toString()).toBe('stays')
    const warm = () => test.volume.readWarm({ id: toId(1), cookie: undefined })
    expect(warm).toThrow(expect.objectContaining({ code: 'NEEDLE_NOT_FOUND' }))
    const range = test.volume.readRange(
      { id: toId(3), cookie: undefined },
      { start: 0, end: 1 },
      SIGNAL,
    )
    await expectCode(range.next(), 'NEEDLE_NOT_FOUND')
  })

  test('counts from last-modified, and a longer one of the needle goes before the volume’s', async () => {
    await using test = await TestVolume.create({ superBlock: { ttl: TTL } })
    const lastModifiedS = test.clock.nowMs() / 1000 - 179
    await test.put(1, 'old', { lastModifiedS })
    await test.put(2, 'long', { ttl: { count: 1, unit: 'hour' } })
    expect((await test.read(1))?.toString()).toBe('old')
    await test.clock.advance(1000)
    expect(await test.read(1)).toBeUndefined()
    await test.clock.advance(MS)
    expect((await test.read(2))?.toString()).toBe('long')
  })
})
