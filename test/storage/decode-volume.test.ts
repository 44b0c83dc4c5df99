import { describe, expect, test } from 'vitest'
import { compareNeedleIds, type NeedleId, needleId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { EcIndex } from '../../src/erasure/ec-index.ts'
import { encodeIndexEntry, INDEX_ENTRY_BYTES } from '../../src/format/index-entry.ts'
import { decodeNeedleHeader, TOMBSTONE_BYTES } from '../../src/format/needle.ts'
import { encodeSuperBlock } from '../../src/format/super-block.ts'
import { type DecodeOptions, fillFromStripe } from '../../src/storage/decode-volume.ts'
import { RecordScanner } from '../../src/storage/record-scanner.ts'
import type { Volume } from '../../src/storage/volume.ts'
import type { SpaceGuard } from '../../src/storage/volume-options.ts'
import { type VolumePaths, volumePaths } from '../../src/storage/volume-paths.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { encodeNeedle } from '../support/needle-bytes.ts'
import { Prng, seeds } from '../support/prng.ts'
import { TestStore, vid } from '../support/test-store.ts'
import { type StripeShape, shapeOf, TestStripe } from '../support/test-stripe.ts'
import {
  cookieOf,
  expectCode,
  PLAIN_SUPER_BLOCK,
  SIGNAL,
  settle,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const REPLICATION = parseReplicaPlacement('010')

/** A volume that was coded: its shards, its index, and what it held. */
interface Coded {
  readonly stripe: TestStripe
  readonly rows: Buffer
  readonly journal: NeedleId[]
  /** Undefined: deleted, before or since. */
  readonly needles: Map<number, Buffer | undefined>
}

/** Live rows of a volume, as `.ecx` has them. */
function rowsOf(volume: Volume): Buffer {
  const live: { id: NeedleId; offsetBytes: number; sizeBytes: number }[] = []
  const { entries } = volume
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = entries.visitSome(cursor, 100, (hi, lo, offsetBytes, sizeBytes, isDeleted) => {
      if (!isDeleted) live.push({ id: needleId(hi >>> 0, lo >>> 0), offsetBytes, sizeBytes })
    })
  }
  return encodeRows(live)
}

function encodeRows(entries: { id: NeedleId; offsetBytes: number; sizeBytes: number }[]): Buffer {
  entries.sort((a, b) => compareNeedleIds(a.id, b.id))
  const rows = Buffer.alloc(entries.length * INDEX_ENTRY_BYTES)
  for (const [row, entry] of entries.entries()) {
    encodeIndexEntry(entry, rows, row * INDEX_ENTRY_BYTES)
  }
  return rows
}

/** Puts, overwrites and deletes; then it is coded, and more is deleted. */
async function codedVolume(prng: Prng, shape: StripeShape = shapeOf(4, 2)): Promise<Coded> {
  await using volume = await TestVolume.create({ seed: prng.u32() })
  const needles = new Map<number, Buffer | undefined>()
  for (let step = 10 + prng.below(40); step > 0; step--) {
    const id = 1 + prng.below(20)
    if (prng.chance(0.2)) {
      await volume.delete(id)
      if (needles.has(id)) needles.set(id, undefined)
    } else {
      const data = prng.bytes(prng.below(prng.pick([10, 300, 3000])))
      await volume.put(id, data)
      needles.set(id, data)
    }
  }
  const rows = rowsOf(volume.volume)
  await volume.close()
  const stripe = await TestStripe.encode(volume.file('dat'), shape)
  const journal: NeedleId[] = []
  for (const id of needles.keys()) {
    if (!prng.chance(0.25)) continue
    journal.push(toId(id))
    needles.set(id, undefined)
  }
  // Also one that was never there.
  journal.push(toId(77))
  return { stripe, rows, journal, needles }
}

class Decoding {
  readonly store = new TestStore()
  readonly progress: number[] = []
  rests = 0

  options(signal = SIGNAL): DecodeOptions {
    return {
      clock: this.store.clock,
      rest: async () => {
        this.rests++
      },
      onProgress: (doneBytes, totalBytes) => this.progress.push(doneBytes / totalBytes),
      signal,
    }
  }

  async run(coded: Coded, livingOnly: boolean, signal = SIGNAL): Promise<Volume> {
    const reader = coded.stripe.reader()
    const index = new EcIndex(coded.rows, coded.journal)
    const source = { index, reader, run: { replication: REPLICATION }, livingOnly }
    const name = { collection: '', volumeId: vid(3), sizeBytes: 1 }
    const { volume } = await this.store.store.adoptVolume(name, (draft) =>
      fillFromStripe(draft, source, this.options(signal)),
    )
    return volume
  }
}

const PATHS: VolumePaths = volumePaths('/a', { collection: '', volumeId: vid(3) })

async function expectNeedles(volume: Volume, needles: Coded['needles']): Promise<void> {
  let live = 0
  for (const [id, data] of needles) {
    const reading = volume.read({ id: toId(id), cookie: cookieOf(id) })
    if (data === undefined) {
      await expectCode(reading, 'NEEDLE_NOT_FOUND')
      continue
    }
    live++
    const found = await reading
    expect([id, 'data' in found && found.data.equals(data)]).toEqual([id, true])
  }
  expect(volume.stats.liveNeedles).toBe(live)
}

/** Size and id of each record of `.dat`. */
async function recordsOf(store: TestStore): Promise<{ id: number; sizeBytes: number }[]> {
  await using dat = await store.disk.open(PATHS.dat, 'read')
  const toBytes = await dat.sizeBytes()
  const scanner = new RecordScanner(dat, { version: 3, fromBytes: 8, toBytes })
  const found: { id: number; sizeBytes: number }[] = []
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    found.push({ id: record.header.id.lo, sizeBytes: record.header.sizeBytes })
  }
  expect(scanner.end).toBe('end')
  return found
}

async function stampsOf(store: TestStore): Promise<bigint[]> {
  await using dat = await store.disk.open(PATHS.dat, 'read')
  const toBytes = await dat.sizeBytes()
  const scanner = new RecordScanner(dat, { version: 3, fromBytes: 8, toBytes })
  const stamps: bigint[] = []
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    stamps.push(record.appendAtNs)
  }
  return stamps
}

const BOTH = [
  [false, 'as it was coded'],
  [true, 'with its living needles only'],
] as const

describe('a coded volume made a normal one', () => {
  // Goal: it is the volume that was coded, less what was deleted since; also when its index is made
  // anew, and whatever as many shards as parity makes good have become. Method: random volumes.
  test.each(
    seeds(40).flatMap((seed) =>
      BOTH.map(([livingOnly, what]) => [seed, what, livingOnly] as const),
    ),
  )('is what it was (seed %d, %s)', async (seed, _what, livingOnly) => {
    const prng = new Prng(seed)
    const shape = prng.pick([shapeOf(2, 1), shapeOf(4, 2), shapeOf(10, 4)])
    const coded = await codedVolume(prng, shape)
    for (let broken = prng.below(shape.parityShards + 1); broken > 0; broken--) {
      const shard = prng.below(coded.stripe.shardCount)
      if (prng.chance(0.5)) coded.stripe.faults.set(shard, 'missing')
      else coded.stripe.corrupt(shard, prng.below(coded.stripe.geometry.shardBytes))
    }
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    const volume = await decoding.run(coded, livingOnly)
    await expectNeedles(volume, coded.needles)
    expect(volume.state).toBe('sealed')
    expect(volume.replicaPlacement).toEqual(REPLICATION)
    // Nothing had to be mended when it was opened.
    const mended = ['vif', 'sum', 'idx'].map((file) => store.hooks.count('rename', `3.${file}.tmp`))
    expect(mended).toEqual([0, 0, 0])
    expect(volume.recovery).toMatchObject({ hadSidecar: true, indexRebuilt: undefined })
    expect([volume.recovery.tailNeedles, volume.recovery.damage]).toEqual([0, undefined])
    if (livingOnly) expect(volume.stats.garbageBytes).toBe(0)
    expect(volume.superBlock.compactionRevision).toBe(livingOnly ? 1 : 0)
    // The index and its checksums are gone, all of them: `.dat` says the same by itself.
    await store.close()
    await store.disk.unlink(PATHS.idx)
    await store.disk.unlink(PATHS.sum)
    await store.open()
    expect(store.volume(3).recovery.indexRebuilt).toBeDefined()
    await expectNeedles(store.volume(3), coded.needles)
  })

  test('has all bytes where they were, and a tombstone for each that was deleted since', async () => {
    const coded = await codedVolume(new Prng(5))
    const { volume: before } = coded.stripe
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    const volume = await decoding.run(coded, false)
    const dat = store.disk.contents(PATHS.dat)
    expect(dat.subarray(0, before.length).equals(before)).toBe(true)
    const index = new EcIndex(coded.rows, [])
    const buried = coded.journal.filter((id) => index.find(id) !== undefined)
    expect(buried.length).toBeGreaterThan(1)
    expect(dat.length - before.length).toBe(buried.length * TOMBSTONE_BYTES)
    const found = buried.map((_, row) =>
      decodeNeedleHeader(dat, before.length + row * TOMBSTONE_BYTES),
    )
    // As if they had been deleted here: with the cookie of what they delete.
    expect(found.map(({ id, cookie }) => [id.lo, cookie]).sort()).toEqual(
      buried.map((id) => [id.lo, cookieOf(id.lo)]).sort(),
    )
    await expectNeedles(volume, coded.needles)
    const marks = [...decoding.progress]
    expect(marks).toEqual([...marks].sort((a, b) => a - b))
    expect(marks.at(-1)).toBeLessThanOrEqual(1)
    expect(decoding.rests).toBeGreaterThan(0)
  })

  test.each([
    ['later', 3600_000],
    ['by a clock that is behind', -3600_000],
  ])('has tombstones with stamps behind all others: %s', async (_what, ms) => {
    const coded = await codedVolume(new Prng(5))
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    store.clock.jumpWallClock(ms)
    await decoding.run(coded, false)
    const stamps = await stampsOf(store)
    expect(stamps).toEqual([...stamps].sort((a, b) => (a < b ? -1 : 1)))
    expect(new Set(stamps).size).toBe(stamps.length)
    const nowNs = BigInt(store.clock.nowMs()) * 1_000_000n
    expect((stamps.at(-1) ?? 0n) > nowNs).toBe(true)
  })

  test('with its living needles only has nothing else, in the order they had', async () => {
    const coded = await codedVolume(new Prng(6))
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    await decoding.run(coded, true)
    const index = new EcIndex(coded.rows, coded.journal)
    const inOrder = [...index.live()].sort((a, b) => a.offsetBytes - b.offsetBytes)
    const expected = inOrder.map(({ id, sizeBytes }) => ({ id: id.lo, sizeBytes }))
    expect(await recordsOf(store)).toEqual(expected)
    expect(store.disk.contents(PATHS.idx)).toHaveLength(expected.length * INDEX_ENTRY_BYTES)
    const marks = [...decoding.progress]
    expect(marks).toEqual([...marks].sort((a, b) => a - b))
  })

  test.each(BOTH)(
    'that was empty, or of which all was deleted, is empty (%s)',
    async (livingOnly) => {
      const coded = await codedVolume(new Prng(7))
      for (const id of coded.needles.keys()) {
        coded.journal.push(toId(id))
        coded.needles.set(id, undefined)
      }
      const nothing = encodeSuperBlock(PLAIN_SUPER_BLOCK)
      const empty: Coded = {
        stripe: await TestStripe.encode(nothing, shapeOf(2, 1)),
        rows: Buffer.alloc(0),
        journal: [],
        needles: new Map(),
      }
      for (const each of [coded, empty]) {
        const decoding = new Decoding()
        await using store = decoding.store
        await store.open()
        await expectNeedles(await decoding.run(each, livingOnly), each.needles)
        if (livingOnly) expect(store.disk.contents(PATHS.dat)).toHaveLength(8)
      }
    },
  )

  test('still takes deletes, and a vacuum', async () => {
    const coded = await codedVolume(new Prng(8))
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    const volume = await decoding.run(coded, false)
    const [id] = [...coded.needles].find(([, data]) => data !== undefined) ?? [0]
    await volume.delete({ id: toId(id), cookie: cookieOf(id) }, SIGNAL)
    coded.needles.set(id, undefined)
    await volume.vacuum({ tombstones: 'drop' }, SIGNAL)
    await expectNeedles(volume, coded.needles)
    expect(volume.stats.garbageBytes).toBe(0)
  })

  // Deleted elsewhere, before it was coded: the index did not have it, the records did.
  test('does not bring a needle back that only the index had deleted', async () => {
    const records = [1, 2, 3].map((id) =>
      encodeNeedle(
        { id: toId(id), cookie: cookieOf(id), data: Buffer.from(`n${id}`), attributes: {} },
        BigInt(id),
      ),
    )
    const dat = Buffer.concat([encodeSuperBlock(PLAIN_SUPER_BLOCK), ...records])
    const place = (id: number) => {
      const offsetBytes = 8 + records.slice(0, id - 1).reduce((sum, { length }) => sum + length, 0)
      return { id: toId(id), offsetBytes, sizeBytes: dat.readUInt32BE(offsetBytes + 12) }
    }
    const coded: Coded = {
      stripe: await TestStripe.encode(dat, shapeOf(2, 1)),
      rows: encodeRows([place(1), place(3)]),
      journal: [],
      needles: new Map([1, 3].map((id) => [id, Buffer.from(`n${id}`)])),
    }
    coded.needles.set(2, undefined)
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    await expectNeedles(await decoding.run(coded, false), coded.needles)
    await store.close()
    await store.disk.unlink(PATHS.idx)
    await store.disk.unlink(PATHS.sum)
    await store.open()
    await expectNeedles(store.volume(3), coded.needles)
  })

  test.each([1, 2] as const)(
    'of format version %d is one of version 3 with its living needles only',
    async (version) => {
      const data = Buffer.from('of old')
      const attributes = { lastModifiedS: 5 }
      const record = encodeNeedle({ id: toId(1), cookie: cookieOf(1), data, attributes }, 1n)
      const { sizeBytes } = decodeNeedleHeader(record, 0)
      const bodyBytes = version === 2 ? sizeBytes : data.length
      const older = Buffer.alloc(8 * Math.floor((16 + bodyBytes + 4) / 8) + 8)
      record.copy(older, 0, 0, 16)
      older.writeUInt32BE(bodyBytes, 12)
      record.copy(older, 16, version === 2 ? 16 : 20, (version === 2 ? 16 : 20) + bodyBytes)
      record.copy(older, 16 + bodyBytes, 16 + sizeBytes, 16 + sizeBytes + 4)
      const second = Buffer.from(older)
      second.writeUInt32BE(cookieOf(2), 0)
      second.writeUInt32BE(2, 8)
      const head = encodeSuperBlock({ ...PLAIN_SUPER_BLOCK, version })
      const rows = encodeRows([
        { id: toId(1), offsetBytes: 8, sizeBytes: bodyBytes },
        { id: toId(2), offsetBytes: 8 + older.length, sizeBytes: bodyBytes },
      ])
      const coded: Coded = {
        stripe: await TestStripe.encode(Buffer.concat([head, older, second]), shapeOf(2, 1)),
        rows,
        journal: [toId(2)],
        needles: new Map([
          [1, data],
          [2, undefined],
        ]),
      }
      for (const [livingOnly] of BOTH) {
        const decoding = new Decoding()
        await using store = decoding.store
        await store.open()
        const volume = await decoding.run(coded, livingOnly)
        await expectNeedles(volume, coded.needles)
        expect(volume.superBlock.version).toBe(livingOnly ? 3 : version)
        await store.close()
        await store.disk.unlink(PATHS.idx)
        await store.disk.unlink(PATHS.sum)
        await store.open()
        await expectNeedles(store.volume(3), coded.needles)
      }
    },
  )
})

describe('a coded volume that cannot be decoded', () => {
  async function expectNothing(decoding: Decoding): Promise<void> {
    const { store } = decoding
    expect(store.store.find(vid(3))).toBeUndefined()
    const files = (await store.names('/a')).filter((name) => name.startsWith('3.'))
    expect(files).toEqual([])
  }

  test.each(BOTH)('leaves nothing: too many shards are gone (%s)', async (livingOnly) => {
    const coded = await codedVolume(new Prng(9))
    for (const shard of [0, 1, 2]) coded.stripe.faults.set(shard, 'missing')
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    await expectCode(decoding.run(coded, livingOnly), 'SHARDS_LOST')
    await expectNothing(decoding)
  })

  test.each(BOTH)('leaves nothing: the index names what is not there (%s)', async (livingOnly) => {
    const coded = await codedVolume(new Prng(10))
    const wrong = [...new EcIndex(coded.rows, coded.journal).live()]
    const [first] = wrong
    if (first === undefined) throw new Error('there is no needle')
    wrong[0] = { ...first, offsetBytes: first.offsetBytes + 8 }
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    const code = livingOnly ? 'NEEDLE_CORRUPT' : 'VOLUME_DAMAGED'
    await expectCode(decoding.run({ ...coded, rows: encodeRows(wrong) }, livingOnly), code)
    await expectNothing(decoding)
  })

  test.each(BOTH)('leaves nothing: a needle was bad when it was coded (%s)', async (livingOnly) => {
    const coded = await codedVolume(new Prng(11))
    const bytes = Buffer.from(coded.stripe.volume)
    const live = [...new EcIndex(coded.rows, coded.journal).live()]
    const entry = live.find(({ sizeBytes }) => sizeBytes > 50)
    if (entry === undefined) throw new Error('all needles are empty')
    bytes[entry.offsetBytes + 24] = (bytes[entry.offsetBytes + 24] ?? 0) ^ 1
    const stripe = await TestStripe.encode(bytes, shapeOf(4, 2))
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    await expectCode(decoding.run({ ...coded, stripe }, livingOnly), 'NEEDLE_CORRUPT')
    await expectNothing(decoding)
  })

  test.each(BOTH)('leaves nothing: it is called off (%s)', async (livingOnly) => {
    const coded = await codedVolume(new Prng(12))
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    const ending = new AbortController()
    const running = decoding.run(coded, livingOnly, ending.signal)
    ending.abort()
    await expectCode(running, 'CANCELLED')
    await expectNothing(decoding)
  })

  test.each(BOTH)('leaves nothing: the disk is full (%s)', async (livingOnly) => {
    const coded = await codedVolume(new Prng(13))
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    await store.put(await filler(store), 1, 'x')
    store.disk.capacityBytes = 1
    await expectCode(decoding.run(coded, livingOnly), 'DISK_FULL')
    store.disk.capacityBytes = 2 ** 40
    await expectNothing(decoding)
  })

  // The first is in the cookie of the first record, which no checksum of a record covers.
  test.each(BOTH.flatMap(([livingOnly]) => [10, 60].map((at) => [livingOnly, at] as const)))(
    'leaves nothing: what was written reads back otherwise (%s, byte %d)',
    async (livingOnly, at) => {
      const coded = await codedVolume(new Prng(14))
      const decoding = new Decoding()
      await using store = decoding.store
      await store.open()
      let hasFlipped = false
      store.hooks.before = (call) => {
        if (hasFlipped || call.kind !== 'read' || call.path !== PATHS.dat) return
        hasFlipped = true
        store.disk.flipBit(PATHS.dat, at, 3)
      }
      const code = expect.stringMatching(/VACUUM_UNVERIFIED|NEEDLE_CORRUPT|VOLUME_DAMAGED/)
      await expect(decoding.run(coded, livingOnly)).rejects.toMatchObject({ code })
      expect(hasFlipped).toBe(true)
      await expectNothing(decoding)
    },
  )

  test.each(BOTH)(
    'says what it takes of the disk, and stops at the reserve (%s)',
    async (livingOnly) => {
      const coded = await codedVolume(new Prng(15))
      const disk = new MemDisk(new Prng(1))
      await disk.createDirectory('/a')
      const decoding = new Decoding()
      let takenBytes = 0
      let limitBytes = 1_000_000
      const isFull = (bytes: number): boolean => takenBytes + bytes > limitBytes
      const space: SpaceGuard = {
        refusePut: (bytes) =>
          isFull(bytes) ? new StoreError('DISK_FULL', 'there is no room') : undefined,
        onAppended: (bytes) => {
          takenBytes += bytes
        },
        makeRoom: async () => false,
      }
      const source = {
        index: new EcIndex(coded.rows, coded.journal),
        reader: coded.stripe.reader(),
        run: { replication: REPLICATION },
        livingOnly,
      }
      await fillFromStripe({ paths: PATHS, disk, space }, source, decoding.options())
      expect(takenBytes).toBe(disk.contents(PATHS.dat).length)
      // There was room when it began; somebody else has taken it since.
      limitBytes = takenBytes - 1
      takenBytes = 0
      let asked = 0
      const refusePut = (bytes: number) => (asked++ === 0 ? undefined : space.refusePut(bytes))
      const other = new MemDisk(new Prng(2))
      await other.createDirectory('/a')
      const draft = { paths: PATHS, disk: other, space: { ...space, refusePut } }
      await expectCode(fillFromStripe(draft, source, decoding.options()), 'DISK_FULL')
      expect([other.openFiles, disk.openFiles]).toEqual([0, 0])
    },
  )
})

async function filler(store: TestStore): Promise<number> {
  await store.createVolume(9)
  return 9
}

// Goal: a power cut leaves the whole volume, or nothing that is served. Method: cut at random
// writes and syncs, start again, look, and decode it again if it is not there.
describe('a power cut while decoding', () => {
  test.each(
    seeds(60).flatMap((seed) =>
      BOTH.map(([livingOnly, what]) => [seed, what, livingOnly] as const),
    ),
  )('leaves all or nothing (seed %d, %s)', async (seed, _what, livingOnly) => {
    const prng = new Prng(seed)
    const coded = await codedVolume(prng)
    const decoding = new Decoding()
    await using store = decoding.store
    await store.open()
    store.disk.cutPowerAfter(prng.below(50))
    const outcome = await decoding.run(coded, livingOnly).catch(() => undefined)
    store.forget()
    await settle()
    store.disk.restart()
    await store.open()
    const stored = store.store.find(vid(3))
    if (outcome !== undefined) {
      expect(stored?.volume.recovery).toMatchObject({ wasSealed: true, indexRebuilt: undefined })
      expect(stored?.volume.replicaPlacement).toEqual(REPLICATION)
    }
    // What is unfinished is in nobody's way.
    const volume = stored?.volume ?? (await decoding.run(coded, livingOnly))
    await expectNeedles(volume, coded.needles)
  })
})
