import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/base/units.ts'
import { NEEDLE_DATA_AT } from '../../src/format/needle.ts'
import { BufferShelf } from '../../src/runtime/buffer-shelf.ts'
import { LargeNeedle } from '../../src/storage/needle-reader.ts'
import { Prng } from '../support/prng.ts'
import {
  cookieOf,
  expectCode,
  gather,
  PATHS,
  SIGNAL,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const body = new Prng(1).bytes(10 * MIB)
const REQUEST = { id: toId(1), cookie: cookieOf(1) }
/** The first needle follows the super block; its data follows 20 bytes of head. */
const DATA_AT = 8 + NEEDLE_DATA_AT
const ROT = ['VOLUME_DAMAGED', 'NEEDLE_CORRUPT', 'INDEX_CORRUPT'] as const

function rangeOf(test: TestVolume, start: number, end: number): Promise<Buffer> {
  return gather(test.volume.readRange(REQUEST, { start, end }, SIGNAL))
}

describe('a range', () => {
  test.each([1000, 10 * MIB])('of a needle of %d bytes is exactly what was asked', async (size) => {
    await using test = await TestVolume.create()
    await test.put(1, body.subarray(0, size))
    const edges = [0, 1, 511, size / 2, size - 1, size].map(Math.floor)
    const blocks = [MIB - DATA_AT, MIB - DATA_AT + 1, 2 * MIB - DATA_AT - 1, 2 * MIB]
    const places = [...edges, ...blocks].filter((place) => place <= size)
    for (const start of places) {
      for (const end of places.filter((place) => place >= start)) {
        expect((await rangeOf(test, start, end)).equals(body.subarray(start, end))).toBe(true)
      }
    }
  })

  test.each([0, 1000, 10 * MIB])('outside %d bytes is RANGE_INVALID', async (size) => {
    await using test = await TestVolume.create()
    await test.put(1, body.subarray(0, size))
    for (const [start, end] of [
      [0, size + 1],
      [size + 1, size + 1],
      [-1, 0],
      [1, 0],
      [0.5, 1],
      [0, Number.NaN],
    ] as const) {
      await expectCode(rangeOf(test, start, end), 'RANGE_INVALID')
    }
    expect((await rangeOf(test, 0, 0)).length).toBe(0)
  })

  test('of a large needle is served around a flipped byte in another block of 1 MiB', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, body)
    test.disk.flipBit(PATHS.dat, 5 * MIB + 17, 0)
    const [start, end] = [5 * MIB - DATA_AT, 6 * MIB - DATA_AT]
    expect((await rangeOf(test, 0, start)).equals(body.subarray(0, start))).toBe(true)
    expect((await rangeOf(test, end, body.length)).equals(body.subarray(end))).toBe(true)
    await expectCode(rangeOf(test, start, start + 1), 'NEEDLE_CORRUPT')
    await expectCode(rangeOf(test, end - 1, end), 'NEEDLE_CORRUPT')
  })

  test('of a large needle in the growing last block is right after every append', async () => {
    await using test = await TestVolume.create()
    await test.put(1, body)
    const tail = () => rangeOf(test, body.length - 100, body.length)
    for (let id = 2; id < 30; id++) {
      await test.put(id, body.subarray(0, 50 * KIB))
      expect((await tail()).equals(body.subarray(-100))).toBe(true)
      if (id % 10 === 0) await test.reopen()
    }
  })

  test('is CANCELLED between two blocks when its signal aborts', async () => {
    await using test = await TestVolume.create()
    await test.put(1, body)
    const aborting = new AbortController()
    const range = test.volume.readRange(REQUEST, { start: 0, end: body.length }, aborting.signal)
    expect((await range.next()).value?.length).toBe(MIB - DATA_AT)
    aborting.abort()
    await expectCode(range.next(), 'CANCELLED')
  })

  test('given up half-way leaves no file open', async () => {
    await using test = await TestVolume.create()
    await test.put(1, body)
    for await (const piece of test.volume.readRange(REQUEST, { start: 0, end: 5 * MIB }, SIGNAL)) {
      expect(piece.length).toBeGreaterThan(0)
      break
    }
  })
})

describe('damaged bytes', () => {
  test('each flipped bit of a record of 40 bytes of data is never returned as data', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    const data = body.subarray(0, 40)
    await test.put(1, data)
    const { datBytes } = test.volume.stats
    const attributesAt = DATA_AT + data.length
    let refused = 0
    for (let at = 8; at < datBytes; at++) {
      for (let bit = 0; bit < 8; bit++) {
        test.disk.flipBit(PATHS.dat, at, bit)
        const outcome = await test.read(1).catch((error: { code: string }) => error.code)
        test.disk.flipBit(PATHS.dat, at, bit)
        if (Buffer.isBuffer(outcome)) {
          expect(outcome.equals(data), `bit ${bit} of byte ${at}`).toBe(true)
          // Only what no checksum of the needle covers may go unnoticed.
          expect(at).toBeGreaterThanOrEqual(attributesAt)
        } else {
          expect(['NEEDLE_CORRUPT', 'COOKIE_MISMATCH']).toContain(outcome)
          refused++
        }
      }
    }
    expect(refused).toBeGreaterThanOrEqual((attributesAt - 8 + 4) * 8)
    expect((await test.read(1))?.equals(data)).toBe(true)
  })

  test('the last piece of a large needle is withheld when its checksum is wrong', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, body)
    for (const at of [DATA_AT, DATA_AT + 5 * MIB, DATA_AT + body.length - 1]) {
      test.disk.flipBit(PATHS.dat, at, 1)
      const found = await test.volume.read(REQUEST)
      if (!(found instanceof LargeNeedle)) throw new Error('10 MiB are not large')
      using large = found
      let gotBytes = 0
      const reading = async () => {
        for await (const piece of large.read(SIGNAL)) gotBytes += piece.length
      }
      await expectCode(reading(), 'NEEDLE_CORRUPT')
      expect(gotBytes).toBe(9 * MIB)
      test.disk.flipBit(PATHS.dat, at, 1)
    }
  })

  test('lent pieces of a large needle are its bytes, and come back to the shelf', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, body)
    const shelf = new BufferShelf(test, { sizeBytes: 256 * KIB, keptMax: 8 })
    const read = async (leaveAfter = Number.POSITIVE_INFINITY): Promise<number> => {
      const found = await test.volume.read(REQUEST)
      if (!(found instanceof LargeNeedle)) throw new Error('10 MiB are not large')
      using large = found
      let at = 0
      for await (const piece of large.lend(shelf, SIGNAL)) {
        const wanted = body.subarray(at, at + piece.bytes.length)
        expect(piece.bytes.equals(wanted), `at ${at}`).toBe(true)
        at += piece.bytes.length
        piece.release()
        if (at >= leaveAfter) break
      }
      return at
    }
    expect([await read(), shelf.freeCount]).toEqual([body.length, 2])
    // The piece read ahead is given back once the disk is done with it.
    expect([await read(MIB), shelf.freeCount]).toEqual([MIB, 2])
    test.disk.flipBit(PATHS.dat, DATA_AT + body.length - 1, 1)
    let lentBytes = 0
    using large = (await test.volume.read(REQUEST)) as LargeNeedle
    const reading = async () => {
      for await (const { bytes } of large.lend(shelf, SIGNAL)) lentBytes += bytes.length
    }
    await expectCode(reading(), 'NEEDLE_CORRUPT')
    expect(lentBytes).toBe(body.length - 256 * KIB)
  })

  test('a large needle with a damaged header, length or tail is NEEDLE_CORRUPT', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, body)
    for (const at of [8 + 5, 8 + 12, 8 + 16, DATA_AT + body.length + 2]) {
      test.disk.flipBit(PATHS.dat, at, 6)
      await expectCode(test.read(1), 'NEEDLE_CORRUPT')
      test.disk.flipBit(PATHS.dat, at, 6)
    }
    expect((await test.read(1))?.equals(body)).toBe(true)
  })

  test('one damaged needle keeps no other from being read', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    for (let id = 1; id <= 20; id++) await test.put(id, `needle ${id}`)
    test.disk.flipBit(PATHS.dat, DATA_AT + 3, 2)
    await expectCode(test.read(1), 'NEEDLE_CORRUPT')
    for (let id = 2; id <= 20; id++) expect((await test.read(id))?.toString()).toBe(`needle ${id}`)
  })

  test('a .dat cut short by others is NEEDLE_CORRUPT, for small and large needles', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, body)
    await test.put(2, 'small')
    test.disk.put(PATHS.dat, test.file('dat'))
    await test.killAndOpen()
    const file = await test.disk.open(PATHS.dat, 'write')
    await file.truncate(9 * MIB)
    await file.close()
    await expectCode(test.read(1), 'NEEDLE_CORRUPT')
    await expectCode(test.read(2), 'NEEDLE_CORRUPT')
  })
})

describe('a warm read', () => {
  test('serves what was just written without waiting; not more than 64 KiB, not after a restart', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'small')
    await test.put(2, body.subarray(0, 64 * KIB))
    const request = (id: number) => ({ id: toId(id), cookie: cookieOf(id) })
    expect(test.volume.readWarm(request(1))?.data.toString()).toBe('small')
    expect(test.volume.readWarm(request(2))).toBeUndefined()
    await test.reopen()
    expect(test.volume.readWarm(request(1))).toBeUndefined()
    await test.volume.read(request(1))
    expect(test.volume.readWarm(request(1))?.data.toString()).toBe('small')
  })

  test('that fails its checksum or finds nothing says so', async () => {
    await using test = await TestVolume.create({ findings: ROT })
    await test.put(1, 'small')
    test.disk.flipBit(PATHS.dat, DATA_AT, 0)
    const warm = (id: number) => () => test.volume.readWarm({ id: toId(id), cookie: undefined })
    expect(warm(1)).toThrow(expect.objectContaining({ code: 'NEEDLE_CORRUPT' }))
    expect(warm(2)).toThrow(expect.objectContaining({ code: 'NEEDLE_NOT_FOUND' }))
  })
})

test('a read that the disk fails is DISK_FAILED, and the next one works', async () => {
  await using test = await TestVolume.create()
  await test.put(1, 'data')
  test.disk.failCall(1, 'EIO', ['read'])
  await expectCode(test.volume.read(REQUEST), 'DISK_FAILED')
  expect((await test.read(1))?.toString()).toBe('data')
})
