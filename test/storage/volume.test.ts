import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { KIB, MIB } from '../../src/base/units.ts'
import { NEEDLE_HEADER_BYTES } from '../../src/format/needle.ts'
import { Prng } from '../support/prng.ts'
import { cookieOf, expectCode, PATHS, SIGNAL, TestVolume, toId } from '../support/test-volume.ts'

const prng = new Prng(1)

/** What the closing check finds where a test flipped a bit. */
const ROT = ['VOLUME_DAMAGED', 'NEEDLE_CORRUPT', 'INDEX_CORRUPT'] as const

describe('put and read', () => {
  // 16 KiB: copied into the batch or not. 256 KiB: written on the thread or not. 8 MiB: a batch.
  const sizes = [16 * KIB, 256 * KIB, 8 * MIB].flatMap((size) => [size - 1, size, size + 1])
  test.each([0, 1, 511, 512, 513, 4095, 4096, 4097, ...sizes])(
    '%d bytes come back, at once and after a restart',
    async (size) => {
      await using test = await TestVolume.create()
      const data = prng.bytes(size)
      const result = await test.put(1, data)
      expect(result).toEqual({ checksum: crc32c(data), dataBytes: size, isUnchanged: false })
      expect((await test.read(1))?.equals(data)).toBe(true)
      await test.reopen()
      expect((await test.read(1))?.equals(data)).toBe(true)
    },
  )

  test('one batch of records around the copy limit of 16 KiB keeps each in its place', async () => {
    await using test = await TestVolume.create()
    const sizes = [0, 16 * KIB + 1, 1, 16 * KIB - 60, 16 * KIB - 30, 20 * KIB, 16 * KIB, 3]
    const needles = new Map(sizes.map((size, index) => [index + 1, prng.bytes(size)]))
    await Promise.all([...needles].map(([id, data]) => test.put(id, data)))
    await test.expectNeedles(needles)
    await test.reopen()
    await test.expectNeedles(needles)
  })

  test('all attributes come back, a pair called __proto__ among them', async () => {
    await using test = await TestVolume.create()
    const pairs = JSON.parse('{"__proto__":"p","constructor":"c","Seaweed-a":"ü"}')
    const attributes = {
      name: 'größe.txt',
      mime: 'text/plain',
      lastModifiedS: 1_700_000_000,
      ttl: { count: 200, unit: 'year' },
      pairs,
      isCompressed: true,
      isChunkManifest: true,
    } as const
    await test.put(1, 'data', attributes)
    await test.put(2, prng.bytes(9 * MIB), attributes)
    await test.reopen()
    for (const id of [1, 2]) {
      const found = await test.attributesOf(id)
      expect(found).toEqual({ ...attributes, pairs: expect.anything() })
      expect(Object.entries(found.pairs ?? {})).toEqual(Object.entries(pairs))
    }
  })

  test('the longest attributes come back: name and mime of 255 bytes, pairs of 65535', async () => {
    await using test = await TestVolume.create()
    const pairs = { a: 'x'.repeat(65_535 - 8) }
    const attributes = { name: 'n'.repeat(255), mime: 'm'.repeat(255), pairs }
    await test.put(1, 'data', attributes)
    expect(await test.attributesOf(1)).toMatchObject({ ...attributes, pairs: { a: pairs.a } })
    await expectCode(test.put(1, 'x', { name: 'n'.repeat(256) }), 'NEEDLE_INVALID')
    await expectCode(test.put(1, 'x', { mime: 'm'.repeat(256) }), 'NEEDLE_INVALID')
    await expectCode(test.put(1, 'x', { pairs: { a: `${pairs.a}x` } }), 'NEEDLE_INVALID')
    expect((await test.read(1))?.toString()).toBe('data')
  })

  test('a needle without a time of its own gets that of the clock', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'x')
    expect((await test.attributesOf(1)).lastModifiedS).toBe(test.clock.nowMs() / 1000)
  })

  test('the last of 50 overwrites is what is read; the others are garbage', async () => {
    await using test = await TestVolume.create()
    for (let count = 1; count <= 50; count++) await test.put(1, prng.bytes(count))
    await test.put(1, 'last')
    await test.expectNeedles(new Map([[1, 'last']]))
    const { datBytes, liveBytes, garbageBytes } = test.volume.stats
    expect(liveBytes + garbageBytes + 8).toBe(datBytes)
    await test.reopen()
    await test.expectNeedles(new Map([[1, 'last']]))
  })

  test('ids at the edges of 64 bits are told apart, in one batch too', async () => {
    await using test = await TestVolume.create()
    const ids = [0, 1, 2 ** 31, 2 ** 32 - 1].flatMap((lo) =>
      [0, 1, 2 ** 31, 2 ** 32 - 1].map((hi) => ({ hi, lo })),
    )
    const nameOf = (id: { hi: number; lo: number }) => Buffer.from(`${id.hi}/${id.lo}`)
    const put = (id: { hi: number; lo: number }) =>
      test.volume.put({ id, cookie: 5, data: nameOf(id), attributes: {} }, SIGNAL)
    await Promise.all(ids.map(put))
    await test.reopen()
    for (const id of ids) {
      const found = await test.volume.read({ id, cookie: 5 })
      expect(found).toMatchObject({ data: nameOf(id), id })
    }
  })
})

describe('an unchanged put', () => {
  test('of the same bytes and attributes writes nothing, whatever its time', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'same', { name: 'a', lastModifiedS: 1 })
    const before = test.volume.stats
    const again = await test.put(1, 'same', { name: 'a', lastModifiedS: 2 })
    expect(again).toEqual({
      checksum: crc32c(Buffer.from('same')),
      dataBytes: 4,
      isUnchanged: true,
    })
    expect(test.volume.stats).toEqual({ ...before, requestCount: expect.any(Number) })
  })

  test.each([
    ['other bytes', 'sane', { name: 'a', mime: 'b' }],
    ['another name', 'same', { name: 'b', mime: 'b' }],
    ['name and mime shifted by one', 'same', { name: '', mime: 'ab' }],
    ['another mime', 'same', { name: 'a', mime: 'c' }],
    ['pairs', 'same', { name: 'a', mime: 'b', pairs: { c: 'd' } }],
    ['a ttl', 'same', { name: 'a', mime: 'b', ttl: { count: 1, unit: 'day' } }],
    ['compression', 'same', { name: 'a', mime: 'b', isCompressed: true }],
  ] as const)('with %s is written', async (_what, data, attributes) => {
    await using test = await TestVolume.create()
    await test.put(1, 'same', { name: 'a', mime: 'b' })
    expect(await test.put(1, data, attributes)).toMatchObject({ isUnchanged: false })
    expect(await test.attributesOf(1)).toMatchObject(attributes.name === '' ? {} : attributes)
    expect((await test.read(1))?.toString()).toBe(data)
  })

  test('over a deleted needle is written: it lives again', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'same')
    await test.delete(1)
    expect(await test.put(1, 'same')).toMatchObject({ isUnchanged: false })
    await test.expectNeedles(new Map([[1, 'same']]))
  })

  test('over a needle with a flipped bit is written, and heals it', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, 'same')
    test.disk.flipBit(PATHS.dat, 8 + 20, 3)
    await expectCode(test.read(1), 'NEEDLE_CORRUPT')
    expect(await test.put(1, 'same')).toMatchObject({ isUnchanged: false })
    await test.expectNeedles(new Map([[1, 'same']]))
  })

  test('in a volume with a ttl is written: its time starts anew', async () => {
    await using test = await TestVolume.create({
      superBlock: { ttl: { count: 3, unit: 'minute' } },
    })
    await test.put(1, 'same')
    await test.clock.advance(120_000)
    expect(await test.put(1, 'same')).toMatchObject({ isUnchanged: false })
    await test.clock.advance(120_000)
    expect((await test.read(1))?.toString()).toBe('same')
  })

  test('of a needle with a ttl of its own is written: its time starts anew', async () => {
    await using test = await TestVolume.create()
    const ttl = { count: 3, unit: 'minute' } as const
    await test.put(1, 'same', { ttl })
    await test.clock.advance(240_000)
    expect(await test.read(1)).toBeUndefined()
    expect(await test.put(1, 'same', { ttl })).toMatchObject({ isUnchanged: false })
    expect((await test.read(1))?.toString()).toBe('same')
  })
})

describe('a wrong cookie', () => {
  test('on put, read and delete is COOKIE_MISMATCH and changes nothing', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'data')
    await test.put(2, prng.bytes(9 * MIB))
    const before = test.volume.stats
    for (const [id, size] of [
      [1, 4],
      [2, 9 * MIB],
    ] as const) {
      const wrong = { id: toId(id), cookie: cookieOf(id) ^ 1 }
      const put = { ...wrong, data: Buffer.alloc(size), attributes: {} }
      await expectCode(test.volume.put(put, SIGNAL), 'COOKIE_MISMATCH')
      await expectCode(test.volume.delete(wrong, SIGNAL), 'COOKIE_MISMATCH')
      await expectCode(test.volume.read(wrong), 'COOKIE_MISMATCH')
    }
    const warm = () => test.volume.readWarm({ id: toId(1), cookie: 0 })
    expect(warm).toThrow(expect.objectContaining({ code: 'COOKIE_MISMATCH' }))
    expect(test.volume.stats).toEqual({ ...before, requestCount: expect.any(Number) })
    expect((await test.read(1))?.toString()).toBe('data')
  })

  test('on a put over a deleted needle is refused until a vacuum has forgotten it', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'data')
    await test.delete(1)
    const put = { id: toId(1), cookie: 1, data: Buffer.from('new'), attributes: {} }
    await expectCode(test.volume.put(put, SIGNAL), 'COOKIE_MISMATCH')
    await test.volume.vacuum({}, SIGNAL)
    expect(await test.volume.put(put, SIGNAL)).toMatchObject({ isUnchanged: false })
  })

  test('is no matter where none is asked for', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'data')
    const request = { id: toId(1), cookie: undefined }
    expect(await test.volume.read(request)).toMatchObject({ cookie: cookieOf(1) })
    expect(await test.volume.delete(request, SIGNAL)).toMatchObject({ wasLive: true })
    // The tombstone carries the cookie of what it deleted.
    const tombstone = test.file('dat').subarray(-32)
    expect(tombstone.readUInt32BE(0)).toBe(cookieOf(1))
  })

  test('cannot be told when the stored header is unreadable: a put heals the needle', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, 'data')
    await test.put(2, 'more')
    test.disk.flipBit(PATHS.dat, 8 + NEEDLE_HEADER_BYTES - 4, 7)
    await expectCode(test.read(1), 'NEEDLE_CORRUPT')
    await test.put(1, 'new')
    await test.expectNeedles(
      new Map([
        [1, 'new'],
        [2, 'more'],
      ]),
    )
  })
})
