import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { MIB } from '../../src/base/units.ts'
import { CodedLargeNeedle, readCodedNeedle } from '../../src/erasure/coded-needles.ts'
import { EcIndex } from '../../src/erasure/ec-index.ts'
import { RebuildPool } from '../../src/erasure/rebuild-pool.ts'
import { RONOMON_UNIT_BYTES } from '../../src/erasure/ronomon-codec.ts'
import type { StripeReader } from '../../src/erasure/stripe-reader.ts'
import { encodeIndexEntry, INDEX_ENTRY_BYTES } from '../../src/format/index-entry.ts'
import {
  decodeNeedleHeader,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  type Needle,
  type NeedleVersion,
  recordBytes,
} from '../../src/format/needle.ts'
import type { NeedleAttributes } from '../../src/format/needle-attributes.ts'
import { encodeSuperBlock, type SuperBlock } from '../../src/format/super-block.ts'
import { encodeNeedle } from '../support/needle-bytes.ts'
import { Prng, seeds } from '../support/prng.ts'
import { type StripeShape, shapeOf, TestStripe } from '../support/test-stripe.ts'
import {
  cookieOf,
  expectCode,
  gather,
  PLAIN_SUPER_BLOCK,
  SIGNAL,
  toId,
} from '../support/test-volume.ts'

interface Stored {
  readonly id: number
  readonly data: Buffer
  readonly attributes: NeedleAttributes
}

interface Place {
  readonly offsetBytes: number
  readonly sizeBytes: number
}

const WHOLE_MAX = 8 * MIB

/** A record as each version of the format has it. */
function recordOf({ id, data, attributes }: Stored, version: NeedleVersion): Buffer {
  const input = { id: toId(id), cookie: cookieOf(id), data, attributes }
  const record = encodeNeedle(input, BigInt(id))
  if (version === 3) return record
  const { sizeBytes } = decodeNeedleHeader(record, 0)
  const bodyBytes = version === 2 ? sizeBytes : data.length
  const older = Buffer.alloc(recordBytes(bodyBytes, version))
  const body = version === 2 ? record.subarray(NEEDLE_HEADER_BYTES) : data
  record.copy(older, 0, 0, NEEDLE_HEADER_BYTES)
  older.writeUInt32BE(bodyBytes, NEEDLE_HEADER_BYTES - 4)
  body.copy(older, NEEDLE_HEADER_BYTES, 0, bodyBytes)
  older.writeUInt32BE(crc32c(data), NEEDLE_HEADER_BYTES + bodyBytes)
  return older
}

/** A coded volume with these needles. */
class TestNeedles {
  readonly stripe: TestStripe
  readonly index: EcIndex
  readonly places: ReadonlyMap<number, Place>
  reader: StripeReader

  private constructor(stripe: TestStripe, index: EcIndex, places: ReadonlyMap<number, Place>) {
    this.stripe = stripe
    this.index = index
    this.places = places
    this.reader = stripe.reader()
  }

  static async encode(
    needles: readonly Stored[],
    shape: StripeShape = shapeOf(4, 2),
    superBlock: Partial<SuperBlock> = {},
  ): Promise<TestNeedles> {
    const head = encodeSuperBlock({ ...PLAIN_SUPER_BLOCK, ...superBlock })
    const records: Buffer[] = [head]
    const rows = Buffer.alloc(needles.length * INDEX_ENTRY_BYTES)
    const places = new Map<number, Place>()
    let at = head.length
    for (const [row, needle] of needles.entries()) {
      const record = recordOf(needle, superBlock.version ?? 3)
      const place = { offsetBytes: at, sizeBytes: record.readUInt32BE(NEEDLE_HEADER_BYTES - 4) }
      encodeIndexEntry({ id: toId(needle.id), ...place }, rows, row * INDEX_ENTRY_BYTES)
      places.set(needle.id, place)
      records.push(record)
      at += record.length
    }
    const stripe = await TestStripe.encode(Buffer.concat(records), shape)
    return new TestNeedles(stripe, new EcIndex(rows, []), places)
  }

  /** Knows nothing of what was read before. */
  renew(): void {
    this.stripe.forget()
    this.stripe.pool = new RebuildPool()
    this.reader = this.stripe.reader()
  }

  offsetOf(id: number): number {
    return this.places.get(id)?.offsetBytes ?? Number.NaN
  }

  find(
    id: number,
    cookie = cookieOf(id),
    wholeMax = WHOLE_MAX,
  ): Promise<Needle | CodedLargeNeedle> {
    return readCodedNeedle(this.reader, this.index, { id: toId(id), cookie }, wholeMax, SIGNAL)
  }

  async whole(id: number): Promise<Needle> {
    const found = await this.find(id)
    if (found instanceof CodedLargeNeedle) throw new Error(`needle ${id} is large`)
    return found
  }

  async large(id: number): Promise<CodedLargeNeedle> {
    const found = await this.find(id, cookieOf(id), 0)
    if (found instanceof CodedLargeNeedle) return found
    throw new Error(`needle ${id} is not large`)
  }
}

function plain(id: number, data: Buffer): Stored {
  return { id, data, attributes: { name: `n${id}`, mime: 'text/x', lastModifiedS: 1000 + id } }
}

function someNeedles(prng: Prng, count: number, bytesMax: number): Stored[] {
  return Array.from({ length: count }, (_, index) => {
    return plain(index + 1, prng.bytes(prng.below(bytesMax)))
  })
}

describe('needles of a coded volume', () => {
  // Goal: each needle is what was stored, whole and streamed, wherever its record lies and whatever
  // as many shards as parity makes good have become. Method: needles of none to several rows, in
  // every version of the format, with random faults.
  test.each(seeds(60))('are what was stored (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const version = prng.pick([1, 2, 3, 3] as const)
    const shape = prng.pick([shapeOf(2, 1), shapeOf(4, 2), shapeOf(6, 3), shapeOf(10, 4)])
    const stored = someNeedles(prng, 30, prng.pick([40, 300, 3000]))
    const test = await TestNeedles.encode(stored, shape, { version })
    const { stripe } = test
    const broken = prng.shuffle(stripe.shards.map((_, shard) => shard))
    for (const shard of broken.slice(0, prng.below(shape.parityShards + 1))) {
      if (prng.chance(0.5)) stripe.faults.set(shard, prng.pick(['missing', 'throwing'] as const))
      else for (let at = 0; at < stripe.geometry.shardBytes; at += 40) stripe.corrupt(shard, at)
    }
    for (const { id, data, attributes } of prng.shuffle(stored)) {
      const needle = await test.whole(id)
      expect([id, needle.data.equals(data)]).toEqual([id, true])
      expect(needle.cookie).toBe(cookieOf(id))
      const isStreamed = prng.chance(0.3)
      if (!isStreamed) continue
      const large = await test.large(id)
      expect((await gather(large.read(SIGNAL))).equals(data)).toBe(true)
      const { dataBytes, cookie, checksum } = large
      expect({ dataBytes, cookie, checksum }).toEqual({
        dataBytes: data.length,
        cookie: cookieOf(id),
        checksum: crc32c(data),
      })
      if (version === 1) continue
      expect(large.attributes).toMatchObject(attributes)
      const start = prng.below(data.length + 1)
      const end = start + prng.below(data.length - start + 1)
      const range = await gather(large.readRange({ start, end }, SIGNAL))
      expect(range.equals(data.subarray(start, end))).toBe(true)
    }
  })

  test.each([1, 2, 63, 64, 65, 127, 128, 129, 511, 512, 513, 2000])(
    'that begin %d bytes into the volume are read',
    async (beforeBytes) => {
      const prng = new Prng(beforeBytes)
      const stored = [plain(1, prng.bytes(beforeBytes)), plain(2, prng.bytes(1500))]
      const test = await TestNeedles.encode(stored)
      for (let lost = 0; lost < 4; lost++) {
        test.renew()
        test.stripe.faults.clear()
        test.stripe.faults.set(lost, 'missing')
        for (const { id, data } of stored) {
          expect((await test.whole(id)).data.equals(data)).toBe(true)
        }
      }
    },
  )

  test('that are not there, or deleted, are NEEDLE_NOT_FOUND without a read', async () => {
    const test = await TestNeedles.encode([
      plain(1, Buffer.from('one')),
      plain(2, Buffer.from('2')),
    ])
    test.index.delete(toId(1))
    await expectCode(test.find(1), 'NEEDLE_NOT_FOUND')
    await expectCode(test.find(3), 'NEEDLE_NOT_FOUND')
    expect(test.stripe.reads).toEqual([])
    expect((await test.whole(2)).data.toString()).toBe('2')
  })

  test('with another cookie are COOKIE_MISMATCH; guessing on does not read whole blocks', async () => {
    const test = await TestNeedles.encode([plain(1, Buffer.from('one'))])
    for (const wholeMax of [WHOLE_MAX, 0]) {
      await expectCode(test.find(1, cookieOf(1) + 1, wholeMax), 'COOKIE_MISMATCH')
    }
    test.stripe.forget()
    await expectCode(test.find(1, cookieOf(1) + 1), 'COOKIE_MISMATCH')
    const length = recordBytes(test.places.get(1)?.sizeBytes ?? 0, 3)
    expect(test.stripe.reads.map(({ bytes }) => bytes)).toEqual([length])
    const request = { id: toId(1), cookie: undefined }
    const needle = await readCodedNeedle(test.reader, test.index, request, WHOLE_MAX, SIGNAL)
    expect(needle.cookie).toBe(cookieOf(1))
  })

  test('are gone when their time is over: their own, or that of the volume', async () => {
    const nowS = Date.UTC(2024, 0, 1) / 1000
    const hour = { count: 1, unit: 'hour' } as const
    const day = { count: 1, unit: 'day' } as const
    const stored: Stored[] = [
      { id: 1, data: Buffer.from('short'), attributes: { lastModifiedS: nowS, ttl: hour } },
      { id: 2, data: Buffer.from('long'), attributes: { lastModifiedS: nowS } },
    ]
    const test = await TestNeedles.encode(stored, shapeOf(4, 2), { ttl: day })
    expect((await test.whole(1)).data.toString()).toBe('short')
    await test.stripe.clock.advance(3600_000)
    for (const wholeMax of [WHOLE_MAX, 0]) {
      await expectCode(test.find(1, cookieOf(1), wholeMax), 'NEEDLE_NOT_FOUND')
    }
    expect((await test.whole(2)).data.toString()).toBe('long')
    await test.stripe.clock.advance(23 * 3600_000)
    await expectCode(test.find(2), 'NEEDLE_NOT_FOUND')
  })

  test('that the index places behind the end are NEEDLE_CORRUPT', async () => {
    const test = await TestNeedles.encode([plain(1, Buffer.from('one'))])
    const entry = {
      id: toId(1),
      offsetBytes: test.offsetOf(1) + 8,
      sizeBytes: 30,
      isDeleted: false,
    }
    const find = () => entry
    const request = { id: toId(1), cookie: 1 }
    const reading = readCodedNeedle(test.reader, { find }, request, WHOLE_MAX, SIGNAL)
    await expectCode(reading, 'NEEDLE_CORRUPT')
  })

  test('that were corrupt when they were coded are NEEDLE_CORRUPT, and no shard is to blame', async () => {
    const needle = plain(1, Buffer.from('some data'))
    const record = recordOf(needle, 3)
    record[NEEDLE_DATA_AT] = 0
    const head = encodeSuperBlock(PLAIN_SUPER_BLOCK)
    const stripe = await TestStripe.encode(Buffer.concat([head, record]), shapeOf(4, 2))
    const entry = { id: toId(1), offsetBytes: head.length, sizeBytes: record.readUInt32BE(12) }
    const find = () => ({ ...entry, isDeleted: false })
    const request = { id: toId(1), cookie: cookieOf(1) }
    for (const wholeMax of [WHOLE_MAX, 0]) {
      const reading = readCodedNeedle(stripe.reader(), { find }, request, wholeMax, SIGNAL)
      const whole = async (): Promise<unknown> => {
        const found = await reading
        return found instanceof CodedLargeNeedle ? await gather(found.read(SIGNAL)) : found
      }
      await expectCode(whole(), 'NEEDLE_CORRUPT')
    }
    expect(stripe.bad).toEqual([])
  })
})

describe('a flipped bit', () => {
  // Goal: whatever bit of a record is flipped where it lies, the needle read is the one stored.
  // What no checksum of the record covers and no reader can doubt, a letter of its name for one, is
  // the same as in other volumes: only a scrub finds it.
  test('of a record changes no data and no cookie, and is reported', async () => {
    const gzip = Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5])
    const stored: Stored[] = [
      // The super block is read verified: in its block nothing would be left to find.
      plain(1, Buffer.alloc(600)),
      { id: 2, data: Buffer.from('some data'), attributes: { lastModifiedS: 5 } },
      { id: 3, data: gzip, attributes: { isCompressed: true, lastModifiedS: 5 } },
    ]
    const test = await TestNeedles.encode(stored)
    const unnoticed = new Set<string>()
    for (const { id, data, attributes } of stored.slice(1)) {
      const at = test.offsetOf(id)
      const { sizeBytes } = test.places.get(id) ?? { sizeBytes: 0 }
      // What follows is a time and padding, and says nothing of the needle.
      for (let byte = 0; byte < NEEDLE_HEADER_BYTES + sizeBytes + 4; byte++) {
        for (let bit = 0; bit < 8; bit++) {
          test.renew()
          flip(test.stripe, at + byte, bit)
          const needle = await test.whole(id)
          expect([byte, bit, needle.data.equals(data)]).toEqual([byte, bit, true])
          expect([byte, bit, needle.cookie]).toEqual([byte, bit, cookieOf(id)])
          const { isCompressed = false } = attributes
          const found = needle.attributes()
          expect([byte, bit, found.isCompressed]).toEqual([byte, bit, isCompressed])
          const isIn = byte - NEEDLE_DATA_AT - data.length
          if (test.stripe.bad.length === 0) unnoticed.add(`${id}: ${isIn}`)
          else {
            const shard = test.stripe.shardAt(at + byte)
            expect(test.stripe.bad).toEqual([{ shard, block: test.stripe.blockAt(at + byte) }])
          }
          flip(test.stripe, at + byte, bit)
        }
      }
    }
    // Flags that say nothing here, and the time of the last change; both behind the data.
    for (const place of unnoticed) expect(place).toMatch(/^\d: [0-7]$/)
  })

  test('in flags that contradict the data is looked into once, not at each read', async () => {
    const gzip = Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5])
    // It was uploaded like that: a file that is compressed itself.
    const test = await TestNeedles.encode([{ id: 1, data: gzip, attributes: { name: 'a.gz' } }])
    expect((await test.whole(1)).attributes().isCompressed).toBe(false)
    test.stripe.forget()
    expect((await test.whole(1)).data.equals(gzip)).toBe(true)
    expect(test.stripe.reads).toHaveLength(1)
  })

  test('in a shard that stands in for a lost one is found by the needle', async () => {
    const test = await TestNeedles.encode([plain(1, Buffer.alloc(600, 7))])
    test.stripe.faults.set(0, 'missing')
    for (let at = 0; at < 256; at++) test.stripe.corrupt(2, at)
    for (let reads = 0; reads < 2; reads++) {
      expect((await test.whole(1)).data.equals(Buffer.alloc(600, 7))).toBe(true)
    }
    expect(test.stripe.bad).toEqual([{ shard: 2, block: 0 }])
  })

  test('in too many shards is SHARDS_LOST', async () => {
    const test = await TestNeedles.encode([plain(1, Buffer.alloc(600, 7))])
    for (const shard of [0, 2, 4]) {
      for (let at = 30; at < 256; at++) test.stripe.corrupt(shard, at)
    }
    await expectCode(test.find(1), 'SHARDS_LOST')
    const large = test.large(1).then((found) => gather(found.read(SIGNAL)))
    await expectCode(large, 'SHARDS_LOST')
  })
})

describe('a large needle of a coded volume', () => {
  const sizes = { unitBytes: RONOMON_UNIT_BYTES, blockBytes: MIB, smallBlockBytes: MIB }
  const shape = shapeOf(4, 2, { ...sizes, largeBlockBytes: 1024 * MIB })

  test('is streamed block by block, and a range reads only its blocks', async () => {
    const data = new Prng(5).bytes(9 * MIB)
    const test = await TestNeedles.encode([plain(1, Buffer.from('x')), plain(2, data)], shape)
    const found = await test.find(2, cookieOf(2), 8 * MIB)
    if (!(found instanceof CodedLargeNeedle)) throw new Error('it is not large')
    expect((await gather(found.read(SIGNAL))).equals(data)).toBe(true)
    const dataAt = test.offsetOf(2) + NEEDLE_DATA_AT
    const cases: [start: number, end: number, blocks: number][] = [
      [0, 1, 1],
      [3 * MIB - dataAt, 3 * MIB - dataAt + 1, 1],
      [3 * MIB - dataAt - 1, 3 * MIB - dataAt + 1, 2],
      [3 * MIB - dataAt, 5 * MIB - dataAt, 2],
      [data.length - 5, data.length, 1],
      [7, 7, 0],
    ]
    for (const [start, end, blocks] of cases) {
      test.stripe.forget()
      const bytes = await gather(found.readRange({ start, end }, SIGNAL))
      expect(bytes.equals(data.subarray(start, end))).toBe(true)
      expect([start, test.stripe.readBytes]).toEqual([start, blocks * MIB])
    }
    await expectCode(
      gather(found.readRange({ start: 1, end: 9 * MIB + 1 }, SIGNAL)),
      'RANGE_INVALID',
    )
  })

  test('comes whole with shards lost and blocks bad', async () => {
    const data = new Prng(6).bytes(9 * MIB)
    const test = await TestNeedles.encode([plain(1, data)], shape)
    test.stripe.faults.set(1, 'missing')
    test.stripe.corruptAt(test.offsetOf(1) + 4 * MIB)
    test.stripe.corruptAt(test.offsetOf(1) + 8 * MIB)
    const large = await test.large(1)
    expect((await gather(large.read(SIGNAL))).equals(data)).toBe(true)
    expect(test.stripe.bad.length).toBeGreaterThanOrEqual(2)
    const range = { start: 4 * MIB, end: 6 * MIB }
    const bytes = await gather(large.readRange(range, SIGNAL))
    expect(bytes.equals(data.subarray(range.start, range.end))).toBe(true)
  })

  test('whose reader goes away reads no further', async () => {
    const test = await TestNeedles.encode([plain(1, new Prng(7).bytes(9 * MIB))], shape)
    using large = await test.large(1)
    const ending = new AbortController()
    test.stripe.forget()
    await expectCode(
      (async () => {
        for await (const piece of large.read(ending.signal)) {
          expect(piece.length).toBeGreaterThan(0)
          ending.abort()
        }
      })(),
      'CANCELLED',
    )
    expect(test.stripe.reads.length).toBeLessThanOrEqual(2)
    expect(test.stripe.clock.timerCount).toBe(0)
  })

  test('on a shard that hangs goes on after a short time', async () => {
    const data = new Prng(8).bytes(3 * MIB)
    const test = await TestNeedles.encode([plain(1, data)], shape)
    await test.reader.superBlock(SIGNAL)
    test.stripe.faults.set(1, 'hanging')
    const reading = test.large(1).then((large) => gather(large.read(SIGNAL)))
    let isDone = false
    const onEnd = (): void => {
      isDone = true
    }
    reading.then(onEnd, onEnd)
    const { clock } = test.stripe
    while (!isDone) {
      await clock.advance(10)
      // The codec works in real time, on threads of its own.
      await sleep(1)
    }
    expect((await reading).equals(data)).toBe(true)
  })
})

function flip(stripe: TestStripe, datOffset: number, bit: number): void {
  for (const { shard, shardOffset } of stripe.geometry.intervals(datOffset, 1)) {
    const bytes = stripe.shards[shard]
    if (bytes !== undefined) bytes[shardOffset] = (bytes[shardOffset] ?? 0) ^ (1 << bit)
  }
}
