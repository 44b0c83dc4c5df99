import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { MIB } from '../../src/base/units.ts'
import { decodeChecksumSidecar } from '../../src/format/checksum-sidecar.ts'
import { recordBytes, TOMBSTONE_BYTES } from '../../src/format/needle.ts'
import { LargeNeedle } from '../../src/storage/needle-reader.ts'
import { Prng } from '../support/prng.ts'
import {
  cookieOf,
  DIRECTORY,
  expectCode,
  gather,
  PATHS,
  SIGNAL,
  settle,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const prng = new Prng(1)
/** A needle without a name takes this much beside its data, before padding. */
const BODY_BYTES = 4 + 8

describe('vacuum', () => {
  test('takes the garbage, leaves what lives, and counts exactly', async () => {
    await using test = await TestVolume.create()
    const needles = new Map<number, Buffer | undefined>()
    for (let id = 1; id <= 100; id++) {
      await test.put(id, prng.bytes(100))
      needles.set(id, prng.bytes(id))
      await test.put(id, needles.get(id) ?? '')
    }
    for (let id = 1; id <= 50; id++) {
      await test.delete(id)
      needles.set(id, undefined)
    }
    const bytesBefore = test.volume.stats.datBytes
    let liveBytes = 0
    for (let id = 51; id <= 100; id++) liveBytes += recordBytes(BODY_BYTES + id, 3)
    const result = await test.volume.vacuum({}, SIGNAL)
    expect(result).toEqual({ bytesBefore, bytesAfter: 8 + liveBytes, needles: 50 })
    expect(test.volume.stats).toMatchObject({
      liveNeedles: 50,
      liveBytes,
      garbageBytes: 0,
      datBytes: 8 + liveBytes,
      compactionRevision: 1,
      state: 'writable',
    })
    expect(test.file('dat').length).toBe(8 + liveBytes)
    await test.expectNeedles(needles)
    await test.reopen()
    expect(test.volume.recovery).toMatchObject({ indexRebuilt: undefined, tailNeedles: 0 })
    await test.expectNeedles(needles)
  })

  test('of an empty volume, and twice in a row, changes nothing but the revision', async () => {
    await using test = await TestVolume.create()
    expect(await test.volume.vacuum({}, SIGNAL)).toEqual({
      bytesBefore: 8,
      bytesAfter: 8,
      needles: 0,
    })
    await test.put(1, 'one')
    const first = await test.volume.vacuum({}, SIGNAL)
    expect(await test.volume.vacuum({}, SIGNAL)).toEqual({
      ...first,
      bytesBefore: first.bytesAfter,
    })
    await test.expectNeedles(new Map([[1, 'one']]))
    expect(test.volume.stats.compactionRevision).toBe(3)
  })

  test('keeps attributes, cookies and stamps byte for byte, in the order of their appends', async () => {
    await using test = await TestVolume.create()
    await test.put(9, 'nine', { name: 'nine.txt', pairs: { a: 'b' } })
    await test.put(1, prng.bytes(9 * MIB), { mime: 'text/plain' })
    await test.put(5, 'five')
    const before = test.file('dat')
    await test.volume.vacuum({}, SIGNAL)
    const after = test.file('dat')
    // Only the revision in the super block differs.
    before.writeUInt16BE(1, 4)
    expect(after.equals(before)).toBe(true)
  })

  test('wraps the revision from 65535 to 0', async () => {
    await using test = await TestVolume.create({ superBlock: { compactionRevision: 65_535 } })
    await test.put(1, 'one')
    await test.put(1, 'uno')
    await test.volume.vacuum({}, SIGNAL)
    expect(test.volume.stats.compactionRevision).toBe(0)
    await test.reopen()
    expect(test.volume.recovery.indexRebuilt).toBeUndefined()
    await test.expectNeedles(new Map([[1, 'uno']]))
  })

  test('keeps extra bytes, placement and ttl of the super block', async () => {
    const superBlock = {
      extra: Buffer.from('extra!!!'),
      replicaPlacement: parseReplicaPlacement('012'),
      ttl: { count: 7, unit: 'year' },
    } as const
    await using test = await TestVolume.create({ superBlock })
    await test.put(1, 'one')
    await test.volume.vacuum({}, SIGNAL)
    expect(test.volume.superBlock).toMatchObject({ ...superBlock, compactionRevision: 1 })
    await test.reopen()
    expect(test.volume.superBlock).toMatchObject(superBlock)
    await test.expectNeedles(new Map([[1, 'one']]))
  })

  test('drops needles whose time is over, small and large, and counts the rest', async () => {
    await using test = await TestVolume.create()
    const ttl = { count: 3, unit: 'minute' } as const
    await test.put(1, 'soon gone', { ttl })
    await test.put(2, 'stays')
    await test.put(3, prng.bytes(5 * MIB), { ttl })
    await test.put(4, 'stays a little', { ttl: { count: 4, unit: 'minute' } })
    await test.clock.advance(180_000)
    const { needles } = await test.volume.vacuum({}, SIGNAL)
    expect([needles, test.volume.stats.datBytes < MIB]).toEqual([2, true])
    expect(await test.read(1, true)).toBeUndefined()
    expect((await test.read(4))?.toString()).toBe('stays a little')
  })

  test('of a sealed volume leaves it sealed, also after a restart; deletes go on', async () => {
    await using test = await TestVolume.create()
    for (let id = 1; id <= 10; id++) await test.put(id, `needle ${id}`)
    await test.volume.seal()
    await test.delete(1)
    await test.volume.vacuum({}, SIGNAL)
    expect(test.volume.state).toBe('sealed')
    await expectCode(test.put(11, 'x'), 'VOLUME_SEALED')
    await test.delete(2)
    expect(decodeChecksumSidecar(test.file('sum')).isSealed).toBe(true)
    await test.reopen()
    expect(test.volume.state).toBe('sealed')
    expect(test.volume.stats.liveNeedles).toBe(8)
  })

  test('gives stamps that go on increasing, though the clock stepped back', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.clock.advance(60_000)
    await test.put(2, 'two')
    const stampOf = async (id: number) => {
      const needle = await test.volume.read({ id: toId(id), cookie: undefined })
      return 'appendAtNs' in needle ? needle.appendAtNs() : undefined
    }
    const last = (await stampOf(2)) ?? 0n
    await test.delete(2)
    test.clock.jumpWallClock(-60_000)
    await test.volume.vacuum({ tombstones: 'drop' }, SIGNAL)
    await test.put(3, 'three')
    expect(await stampOf(3)).toBeGreaterThan(last)
  })
})

describe('tombstones in a vacuum', () => {
  async function vacuumed(placement: string, tombstones?: 'keep' | 'drop', vif?: string) {
    const superBlock = { replicaPlacement: parseReplicaPlacement(placement) }
    await using test = await TestVolume.create({ superBlock })
    if (vif !== undefined) {
      test.disk.put(PATHS.vif, Buffer.from(vif))
      await test.reopen()
    }
    await test.put(1, 'one')
    await test.put(2, 'two')
    await test.delete(2)
    await test.delete(1)
    await test.put(1, 'uno')
    await test.volume.vacuum(tombstones === undefined ? {} : { tombstones }, SIGNAL)
    const { liveBytes, datBytes } = test.volume.stats
    await test.expectNeedles(
      new Map([
        [1, 'uno'],
        [2, undefined],
      ]),
    )
    await test.killAndOpen()
    await test.expectNeedles(
      new Map([
        [1, 'uno'],
        [2, undefined],
      ]),
    )
    await test.close()
    await test.disk.unlink(PATHS.idx)
    await test.open()
    await test.expectNeedles(
      new Map([
        [1, 'uno'],
        [2, undefined],
      ]),
    )
    // Kept through the next vacuum as well.
    await test.volume.vacuum(tombstones === undefined ? {} : { tombstones }, SIGNAL)
    expect(test.volume.stats.datBytes).toBe(datBytes)
    return (datBytes - 8 - liveBytes) / TOMBSTONE_BYTES
  }

  test.each([
    ['000', undefined, 0],
    ['001', undefined, 1],
    ['100', undefined, 1],
    ['000', 'keep', 1],
    ['001', 'drop', 0],
  ] as const)('with placement %s and option %s: %d are kept', async (placement, option, kept) => {
    expect(await vacuumed(placement, option)).toBe(kept)
  })

  test('follow the placement in .vif where it has one', async () => {
    expect(await vacuumed('000', undefined, '{"replication":"001"}')).toBe(1)
    expect(await vacuumed('001', undefined, '{"replication":"000"}')).toBe(0)
  })
})

describe('reads during a vacuum', () => {
  test('that began on the old files finish on them', async () => {
    await using test = await TestVolume.create()
    const body = prng.bytes(9 * MIB)
    await test.put(1, body)
    await test.put(2, 'garbage')
    await test.delete(2)
    const found = await test.volume.read({ id: toId(1), cookie: cookieOf(1) })
    if (!(found instanceof LargeNeedle)) throw new Error('9 MiB are not large')
    const pieces = found.read(SIGNAL)
    const first = await pieces.next()
    const vacuum = test.volume.vacuum({}, SIGNAL)
    await settle(200)
    expect(test.volume.stats.compactionRevision).toBe(1)
    // New reads are served by the new files meanwhile.
    expect((await test.read(1))?.equals(body)).toBe(true)
    const rest = await gather(pieces)
    expect(Buffer.concat([first.value ?? Buffer.alloc(0), rest]).equals(body)).toBe(true)
    found[Symbol.dispose]()
    expect(await vacuum).toMatchObject({ needles: 1 })
  })
})

describe('a vacuum that does not run', () => {
  test('beside another is VOLUME_BUSY, and so is sealing', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    const first = test.volume.vacuum({}, SIGNAL)
    await expectCode(test.volume.vacuum({}, SIGNAL), 'VOLUME_BUSY')
    await expectCode(test.volume.seal(), 'VOLUME_BUSY')
    expect(await first).toMatchObject({ needles: 1 })
    expect(await test.volume.vacuum({}, SIGNAL)).toMatchObject({ needles: 1 })
  })

  test('for want of room is DISK_FULL before it begins; with the room it runs', async () => {
    await using test = await TestVolume.create()
    await test.put(1, prng.bytes(10_000))
    const before = await test.files()
    const used = 2 ** 40 - (await test.disk.space(DIRECTORY)).freeBytes
    test.disk.capacityBytes = used + 10_000
    test.hooks.calls = []
    await expectCode(test.volume.vacuum({}, SIGNAL), 'DISK_FULL')
    expect(test.hooks.count('open')).toBe(0)
    expect(await test.files()).toEqual(before)
    test.disk.capacityBytes = 2 ** 30
    await test.volume.vacuum({}, SIGNAL)
  })

  test('to its end because it was aborted, at any call, is CANCELLED; the drafts are gone', async () => {
    for (let call = 0; ; call++) {
      await using test = await TestVolume.create()
      for (let id = 1; id <= 5; id++) await test.put(id, prng.bytes(1000))
      await test.delete(1)
      const aborting = new AbortController()
      let left = call
      test.hooks.before = () => {
        if (left-- === 0) aborting.abort()
      }
      const outcome = await test.volume.vacuum({}, aborting.signal).then(
        () => 'done',
        (error: { code: string }) => error.code,
      )
      test.hooks.before = undefined
      const names = (await test.disk.list(DIRECTORY)).map((entry) => entry.name)
      expect(names.filter((name) => /\.cp/.test(name))).toEqual([])
      expect(test.volume.stats.liveNeedles).toBe(4)
      await test.put(6, 'goes on')
      if (left >= 0) {
        expect([outcome, call > 10]).toEqual(['done', true])
        return
      }
      expect(['done', 'CANCELLED']).toContain(outcome)
    }
  })

  test('because the volume closes is CANCELLED', async () => {
    await using test = await TestVolume.create()
    for (let id = 1; id <= 600; id++) await test.put(id, 'x')
    const vacuum = expectCode(test.volume.vacuum({}, SIGNAL), 'CANCELLED')
    await test.close()
    await vacuum
    await test.open()
    expect(test.volume.stats).toMatchObject({ liveNeedles: 600, compactionRevision: 0 })
  })
})
