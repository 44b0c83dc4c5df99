import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import { rebuildShards, type ShardSource } from '../../src/erasure/rebuild-shards.ts'
import { decodeNeedle, prepareNeedle, recordBytes } from '../../src/format/needle.ts'
import { type EncodeRun, encodeVolumeHere } from '../../src/storage/encode-volume.ts'
import type { ShardSet } from '../../src/storage/shard-set.ts'
import { encodeHere, expectSound, SMALL_RUN, shardOf } from '../support/coded-store.ts'
import { Prng, seeds } from '../support/prng.ts'
import { flipped, smallVolume } from '../support/small-volume.ts'
import { TestStore, vid } from '../support/test-store.ts'
import { expectCode, SIGNAL, toId } from '../support/test-volume.ts'

const ROW_BYTES = SMALL_RUN.dataShards * SMALL_RUN.largeBlockBytes

/** What the data shards say the volume was. */
async function datOf(set: ShardSet): Promise<Buffer> {
  const { datBytes } = set.run
  const dat = Buffer.alloc(datBytes)
  for (const { shard, shardOffset, datOffset, bytes } of set.geometry.intervals(0, datBytes)) {
    await set.read(shard, dat.subarray(datOffset, datOffset + bytes), shardOffset)
  }
  return dat
}

/** Expects the index to have exactly these needles, and their records where it says. */
function expectNeedles(set: ShardSet, dat: Buffer, needles: ReadonlyMap<number, string>): void {
  const found = new Map<number, string>()
  for (const { id, offsetBytes } of set.index.live()) {
    found.set(id.lo, decodeNeedle(dat, offsetBytes, 3).data.toString())
  }
  expect(found).toEqual(needles)
  expect([...found.keys()]).toEqual([...found.keys()].sort((a, b) => a - b))
  expect(set.stats).toMatchObject({ liveNeedles: needles.size })
}

/** A volume 7 of exactly so many bytes, a multiple of 8: one needle fills it. */
async function makeVolume(test: TestStore, datBytes: number): Promise<void> {
  await test.open()
  const volume = await test.createVolume(7)
  const attributes = { lastModifiedS: 1 }
  for (let length = datBytes; length >= 0; length--) {
    const needle = { id: toId(1), cookie: 1, data: Buffer.alloc(length, 'x'), attributes }
    if (prepareNeedle(needle).recordBytes !== datBytes - 8) continue
    await volume.put(needle, SIGNAL)
    break
  }
  expect(volume.extent.datBytes).toBe(datBytes)
}

/** Expects that of the run nothing is there, now and after a restart. */
async function expectNothing(test: TestStore): Promise<void> {
  expect(test.store.shardSets(vid(7))).toEqual([])
  expect((await test.names('/a')).filter((name) => name.includes('.ec'))).toEqual([])
}

describe('the shards of a volume that is here', () => {
  const row = ROW_BYTES
  test.each([
    8,
    56,
    256,
    264,
    760,
    768,
    776,
    row - 8,
    row,
    row + 8,
    row + 768,
    2 * row - 8,
    2 * row,
    2 * row + 8,
    3 * row + 1024,
    5 * row + 1000,
  ])('are those of its %d bytes, and it comes back from any three of five', async (datBytes) => {
    await using test = new TestStore()
    await makeVolume(test, datBytes)
    const { sets, extent } = await encodeHere(test.store, 7)
    const [set] = sets
    if (set === undefined) return expect.unreachable()
    expect(sets).toEqual(test.store.shardSets(vid(7)))
    expect(extent).toEqual({ datBytes, compactionRevision: 0 })
    expect([...set.shards]).toEqual([0, 1, 2, 3, 4])
    expect((await datOf(set)).equals(test.disk.contents('/a/7.dat'))).toBe(true)
    await expectSound(set)
    const shards = await Promise.all(set.shards.map((shard) => shardOf(set, shard)))
    for (let first = 0; first < 5; first++) {
      for (let second = first + 1; second < 5; second++) {
        expect(await rebuilt(set, shards, [first, second])).toEqual([shards[first], shards[second]])
      }
    }
  })

  test('are ten and four of the format when nothing else is said', async () => {
    await using test = new TestStore()
    await makeVolume(test, 3 * MIB + 8)
    const usual = { dataShards: 10, parityShards: 4, largeBlockBytes: 1024 * MIB }
    const run = { ...usual, smallBlockBytes: MIB, runId: '1700000000000000000' }
    const { sets } = await encodeHere(test.store, 7, run)
    const [set] = sets
    expect(set?.run).toMatchObject({ ...run, codecUnitBytes: 128 * 1024, encodedAtS: 1.7e9 })
    expect(set?.shards).toHaveLength(14)
    expect(set?.geometry.shardBytes).toBe(MIB)
    if (set !== undefined)
      expect((await datOf(set)).equals(test.disk.contents('/a/7.dat'))).toBe(true)
  })

  test('may be those of a sealed volume; it serves on, and takes deletes', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(7)
    for (const needle of [3, 1, 2]) await test.put(7, needle, `needle ${needle}`)
    await test.volume(7).seal()
    const { sets } = await encodeHere(test.store, 7)
    await test.volume(7).delete({ id: toId(2), cookie: 1 }, SIGNAL)
    expect(await test.read(7, 3)).toBe('needle 3')
    const needles = [1, 2, 3].map((needle) => [needle, `needle ${needle}`] as const)
    const [set] = sets
    if (set !== undefined) expectNeedles(set, await datOf(set), new Map(needles))
  })
})

// Goal: a run holds one moment of the volume. Method: random puts and deletes, then the encoder
// with more of them at the same time; its index is that of the records it coded.
test.each(seeds(60))('writes while it is coded are in it whole or not (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  await using test = new TestStore(['/a'], { seed })
  await test.open()
  await test.createVolume(7)
  const write = async (): Promise<void> => {
    const needle = prng.between(1, 20)
    if (prng.chance(0.3)) await test.volume(7).delete({ id: toId(needle), cookie: 1 }, SIGNAL)
    else await test.put(7, needle, `${prng.u32()}`.repeat(prng.between(1, 60)))
  }
  for (let count = prng.below(60); count > 0; count--) await write()
  if (prng.chance(0.3)) await test.volume(7).vacuum({}, SIGNAL)
  let isWriting = true
  const writing = (async () => {
    while (isWriting) await write()
  })()
  const { sets, extent } = await encodeHere(test.store, 7)
  isWriting = false
  await writing
  const [set] = sets
  if (set === undefined) return expect.unreachable()
  const dat = test.disk.contents('/a/7.dat').subarray(0, extent.datBytes)
  expect((await datOf(set)).equals(dat)).toBe(true)
  expectNeedles(set, dat, replay(dat))
  await expectSound(set)
})

/** What lives after all records of a volume. */
function replay(dat: Buffer): Map<number, string> {
  const needles = new Map<number, string>()
  for (let at = 8; at < dat.length; ) {
    const needle = decodeNeedle(dat, at, 3)
    if (needle.sizeBytes === 0) needles.delete(needle.id.lo)
    else needles.set(needle.id.lo, needle.data.toString())
    at += recordBytes(needle.sizeBytes, 3)
  }
  return needles
}

/** The shards `lost`, made from the others. */
async function rebuilt(
  set: ShardSet,
  shards: readonly Buffer[],
  lost: readonly number[],
): Promise<Buffer[]> {
  const { shardBytes } = set.geometry
  const { blockBytes, shards: checksums } = set.checksums
  const sources = shards.flatMap((bytes, shard): ShardSource[] => {
    const read = async (into: Buffer, at: number) => void bytes.copy(into, 0, at, at + into.length)
    return lost.includes(shard) ? [] : [{ shard, read }]
  })
  const pieces = new Map(lost.map((shard) => [shard, [] as Buffer[]]))
  const sinks = new Map(
    lost.map((shard) => {
      const write = async (bytes: Buffer) => void pieces.get(shard)?.push(Buffer.from(bytes))
      return [shard, { write }]
    }),
  )
  const stripe = { codec: set.codec(), shardBytes, blockBytes, checksums }
  await rebuildShards(stripe, sources, sinks, {}, SIGNAL)
  return lost.map((shard) => Buffer.concat(pieces.get(shard) ?? []))
}

describe('a volume that is not what was written', () => {
  test.each(seeds(100))('is never coded: one flipped bit of it (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    await using test = new TestStore()
    const datBytes = 8 * prng.between(6, 900)
    await makeVolume(test, datBytes)
    const at = prng.below(datBytes)
    const bit = prng.below(8)
    test.disk.flipBit('/a/7.dat', at, bit)
    await expectCode(encodeHere(test.store, 7), 'VOLUME_DAMAGED')
    await expectNothing(test)
    test.disk.flipBit('/a/7.dat', at, bit)
    await encodeHere(test.store, 7)
  })

  test('is not coded when any of its checksum blocks is wrong, however blocks lie', async () => {
    await using test = new TestStore()
    await makeVolume(test, 3 * MIB + 4096)
    for (const run of [
      { ...SMALL_RUN, largeBlockBytes: MIB, smallBlockBytes: 64 * 1024 },
      { ...SMALL_RUN, largeBlockBytes: 2 * MIB, smallBlockBytes: 2 * MIB },
    ]) {
      for (const at of [0, MIB - 1, MIB, 3 * MIB - 1, 3 * MIB, 3 * MIB + 4095]) {
        test.disk.flipBit('/a/7.dat', at, 3)
        await expectCode(encodeHere(test.store, 7, run), 'VOLUME_DAMAGED')
        test.disk.flipBit('/a/7.dat', at, 3)
      }
    }
    await encodeHere(test.store, 7)
  })

  test('was corrupt before it had checksums: its own say so, of what still lives', async () => {
    const { files } = await smallVolume()
    const inNeedle1 = files.dat.indexOf('needle 1')
    await using test = new TestStore()
    test.disk.put('/a/7.dat', flipped(files.dat, inNeedle1, 1))
    test.disk.put('/a/7.idx', files.idx)
    await test.open()
    expect(test.volume(7).recovery.corruptNeedles).toBe(1)
    await expectCode(encodeHere(test.store, 7), 'VOLUME_DAMAGED')
    await expectNothing(test)
    await test.store.removeVolume(vid(7))
    await using other = new TestStore()
    other.disk.put('/a/7.dat', flipped(files.dat, files.dat.indexOf('needle 4'), 1))
    other.disk.put('/a/7.idx', files.idx)
    await other.open()
    expect(other.volume(7).recovery.corruptNeedles).toBe(1)
    const { sets } = await encodeHere(other.store, 7)
    expect(sets[0]?.index.find(toId(4))).toBeUndefined()
    await other.store.removeVolume(vid(7))
  })

  test('and is failed or damaged is not begun with', async () => {
    await using test = new TestStore()
    await makeVolume(test, 4096)
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(test.put(7, 2, 'lost'), 'VOLUME_FAILED')
    await expectCode(encodeHere(test.store, 7), 'VOLUME_FAILED')
    await test.store.removeVolume(vid(7))
    await expectCode(encodeHere(test.store, 7), 'VOLUME_NOT_FOUND')
  })

  test('or has wide index rows is VERSION_UNSUPPORTED', async () => {
    const { files } = await smallVolume()
    await using test = new TestStore()
    test.disk.put('/a/7.dat', files.dat)
    test.disk.put('/a/7.vif', Buffer.from('{"version": 3, "bytesOffset": 5}'))
    await test.open()
    await expectCode(encodeHere(test.store, 7), 'VERSION_UNSUPPORTED')
    await test.store.removeVolume(vid(7))
  })
})

describe('a run', () => {
  test('whose shards are all here is not made again, also without the volume', async () => {
    await using test = new TestStore()
    await makeVolume(test, 4096)
    const first = await encodeHere(test.store, 7)
    await test.store.removeVolume(vid(7))
    expect(await encodeHere(test.store, 7)).toEqual(first)
    await test.close()
    await test.open()
    const again = await encodeHere(test.store, 7)
    expect(again.extent).toEqual(first.extent)
    expect(again.sets[0]?.shards).toHaveLength(5)
    await again.sets[0]?.removeShard(3)
    await expectCode(encodeHere(test.store, 7), 'VOLUME_NOT_FOUND')
  })

  test('of which only some shards are here is VOLUME_EXISTS', async () => {
    await using test = new TestStore()
    await makeVolume(test, 4096)
    const { sets } = await encodeHere(test.store, 7)
    await sets[0]?.removeShard(3)
    await expectCode(encodeHere(test.store, 7), 'VOLUME_EXISTS')
  })

  test('and another one of the volume lie side by side', async () => {
    await using test = new TestStore()
    await makeVolume(test, 4096)
    await encodeHere(test.store, 7)
    const other: EncodeRun = { ...SMALL_RUN, runId: '1700000000000000002', parityShards: 1 }
    await encodeHere(test.store, 7, other)
    await test.close()
    await test.open()
    expect(test.store.shardSets(vid(7)).map(({ run }) => run.runId)).toEqual([
      SMALL_RUN.runId,
      other.runId,
    ])
    expect(test.store.shardSet(vid(7), other.runId)[0]?.shards).toHaveLength(4)
    for (const set of test.store.shardSets(vid(7))) await expectSound(set)
  })

  test.each([
    [{ smallBlockBytes: 32 }, 'REQUEST_INVALID'],
    [{ largeBlockBytes: 1000 }, 'REQUEST_INVALID'],
    [{ dataShards: 0 }, 'REQUEST_INVALID'],
    [{ runId: '../7' }, 'REQUEST_INVALID'],
    [{ codecUnitBytes: 4 }, 'CODEC_UNAVAILABLE'],
  ] as const)('that cannot be made is refused: %o', async (wrong, code) => {
    await using test = new TestStore()
    await makeVolume(test, 4096)
    await expectCode(encodeHere(test.store, 7, { ...SMALL_RUN, ...wrong }), code)
    await expectNothing(test)
  })
})

describe('when it cannot be finished', () => {
  test('no room for all shards is said before a byte is written', async () => {
    await using test = new TestStore(['/a'], { space: { reserveBytes: 0, ballastBytes: 0 } })
    await makeVolume(test, 6 * ROW_BYTES)
    test.disk.capacityBytes = 6 * ROW_BYTES + MIB + 6 * ROW_BYTES
    await test.store.locations[0]?.space.refresh()
    test.hooks.calls = []
    await expectCode(encodeHere(test.store, 7), 'DISK_FULL')
    expect(test.hooks.calls.filter(({ path }) => path.includes('.ec'))).toEqual([])
    test.disk.capacityBytes += 5 * ROW_BYTES
    await encodeHere(test.store, 7)
  })

  test.each([
    ['EIO', 'datasync'],
    ['EIO', 'writev'],
    ['ENOSPC', 'writev'],
    ['EIO', 'create'],
    ['EIO', 'rename'],
    ['EIO', 'syncDirectory'],
    ['EIO', 'read'],
  ] as const)('%s of each %s leaves nothing, and the next try works', async (code, kind) => {
    let failedCount = 0
    for (let nth = 1, struck = true; struck; nth++) {
      await using test = new TestStore()
      await makeVolume(test, 4096)
      test.disk.failCall(nth, code, [kind])
      const failure = await encodeHere(test.store, 7).then(
        () => undefined,
        (error: unknown) => error,
      )
      struck = test.disk.armedFaults === 0
      if (failure !== undefined) await expectNothing(test)
      await test.close()
      test.disk.killProcess()
      await test.open()
      if (failure === undefined) {
        // It was another one: a row that waits to be written to .idx goes on waiting.
        for (const set of test.store.shardSets(vid(7))) await expectSound(set)
        continue
      }
      expect(failure).toMatchObject({ code: code === 'EIO' ? 'DISK_FAILED' : 'DISK_FULL' })
      failedCount++
      await expectNothing(test)
      const { sets } = await encodeHere(test.store, 7)
      for (const set of sets) await expectSound(set)
    }
    expect(failedCount).toBeGreaterThan(0)
  })

  test('given up half-way it leaves nothing', async () => {
    await using test = new TestStore()
    await makeVolume(test, 3 * MIB)
    const stopping = new AbortController()
    const run = { ...SMALL_RUN, dataShards: 1, largeBlockBytes: MIB, smallBlockBytes: MIB }
    test.hooks.before = ({ kind, path }) => {
      if (kind === 'writev' && path.endsWith('.ec00')) stopping.abort()
    }
    await expectCode(encodeHere(test.store, 7, run, stopping.signal), 'CANCELLED')
    await expectNothing(test)
  })

  test('the volume being closed meanwhile leaves nothing', async () => {
    await using test = new TestStore()
    await makeVolume(test, 3 * MIB)
    const run = { ...SMALL_RUN, dataShards: 1, largeBlockBytes: MIB, smallBlockBytes: MIB }
    let removing: Promise<void> | undefined
    test.hooks.before = ({ kind, path }) => {
      if (kind === 'writev' && path.endsWith('.ec00')) removing ??= test.store.removeVolume(vid(7))
    }
    await expectCode(encodeHere(test.store, 7, run), 'CLOSED')
    await removing
    await expectNothing(test)
  })

  test('what a sink waits for is waited for: a slow disk makes the same shards', async () => {
    await using test = new TestStore()
    await makeVolume(test, 5 * ROW_BYTES)
    test.hooks.writeMaxBytes = 100
    const { sets } = await encodeHere(test.store, 7)
    test.hooks.writeMaxBytes = Number.POSITIVE_INFINITY
    for (const set of sets) {
      expect((await datOf(set)).equals(test.disk.contents('/a/7.dat'))).toBe(true)
      await expectSound(set)
    }
  })
})

test('progress goes to the end, and what it rests for is waited for', async () => {
  await using test = new TestStore()
  await makeVolume(test, 4 * MIB + 4096)
  const told: number[] = []
  let rests = 0
  const run = { ...SMALL_RUN, largeBlockBytes: MIB, smallBlockBytes: 256 * 1024 }
  await encodeVolumeHere(test.store, vid(7), {
    run,
    rest: async () => {
      rests++
    },
    onProgress: (doneBytes, totalBytes) => {
      expect(totalBytes).toBe(4 * MIB + 4096)
      told.push(doneBytes)
    },
    signal: SIGNAL,
  })
  expect(told).toEqual([3 * MIB, 4 * MIB + 4096])
  expect(rests).toBe(2)
  const failing = encodeVolumeHere(test.store, vid(7), {
    run: { ...run, runId: '5' },
    rest: () => Promise.reject(new StoreError('CANCELLED', 'no more')),
    signal: SIGNAL,
  })
  await expectCode(failing, 'CANCELLED')
})
