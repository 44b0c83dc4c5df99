import { describe, expect, test } from 'vitest'
import { crc32c, maskCrc32c } from '../../src/base/crc32c.ts'
import { encodeIndexEntry, INDEX_ENTRY_BYTES } from '../../src/format/index-entry.ts'
import { recordBytes } from '../../src/format/needle.ts'
import { encodeSuperBlock } from '../../src/format/super-block.ts'
import { golden } from '../support/golden.ts'
import { encodeNeedle } from '../support/needle-bytes.ts'
import {
  cookieOf,
  expectCode,
  PLAIN_SUPER_BLOCK,
  SIGNAL,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const FOREIGN = { dat: golden('seaweedfs/1.dat'), idx: golden('seaweedfs/1.idx') }
const NS = 1_700_000_000_000_000_000n

interface Row {
  readonly id: number
  readonly offset: number
  readonly size: number
}

function rowsOf(...rows: Row[]): Buffer {
  const idx = Buffer.alloc(rows.length * INDEX_ENTRY_BYTES)
  for (const [index, { id, offset, size }] of rows.entries()) {
    const entry = { id: toId(id), offsetBytes: offset, sizeBytes: size }
    encodeIndexEntry(entry, idx, index * INDEX_ENTRY_BYTES)
  }
  return idx
}

function needleOf(id: number, data: string, ns: bigint): Buffer {
  const input = { id: toId(id), cookie: cookieOf(id), data: Buffer.from(data), attributes: {} }
  return encodeNeedle(input, ns)
}

/** A record of Size 0: an empty file, or the deletion of an empty one. */
function emptyRecord(id: number, ns: bigint): Buffer {
  const record = Buffer.alloc(recordBytes(0, 3))
  record.writeUInt32BE(cookieOf(id), 0)
  record.writeUInt32BE(id, 8)
  record.writeBigUInt64BE(ns, 20)
  return record
}

describe('a volume of 298 needles that SeaweedFS wrote in 2019', () => {
  /** Length and checksum of the data of every id in the index that came with it. */
  async function readAll(test: TestVolume): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    for (let at = 0; at < FOREIGN.idx.length; at += INDEX_ENTRY_BYTES) {
      const id = { hi: FOREIGN.idx.readUInt32BE(at), lo: FOREIGN.idx.readUInt32BE(at + 4) }
      const needle = await test.volume.read({ id, cookie: undefined })
      if (!('data' in needle)) throw new Error('a needle is large')
      found.set(`${id.hi}/${id.lo}`, `${needle.data.length} ${crc32c(needle.data)}`)
    }
    return found
  }

  test('opens, every needle is read, and it takes writes, deletes and a vacuum', async () => {
    await using test = TestVolume.over(FOREIGN)
    await test.open()
    expect(test.volume.recovery).toMatchObject({
      cutBytes: 0,
      corruptNeedles: 0,
      damage: undefined,
    })
    const before = await readAll(test)
    expect(before.size).toBe(298)
    expect(test.file('dat').equals(FOREIGN.dat)).toBe(true)
    await test.put(1_000_000, 'ours')
    await test.reopen()
    expect(test.volume.recovery.indexRebuilt).toBeUndefined()
    await test.volume.vacuum({}, SIGNAL)
    await test.reopen()
    expect(await readAll(test)).toEqual(before)
    expect((await test.read(1_000_000))?.toString()).toBe('ours')
    expect(test.volume.stats.liveNeedles).toBe(299)
  })

  test('has the same 298 without its index', async () => {
    await using test = TestVolume.over(FOREIGN)
    await test.open()
    await using bare = TestVolume.over({ dat: FOREIGN.dat })
    await bare.open()
    expect(bare.volume.stats.liveNeedles).toBe(298)
    expect(await readAll(bare)).toEqual(await readAll(test))
    expect(bare.file('dat').equals(FOREIGN.dat)).toBe(true)
  })
})

describe('an empty file that another system wrote: Size 0, known from its row alone', () => {
  const head = encodeSuperBlock(PLAIN_SUPER_BLOCK)
  const one = needleOf(1, 'one', NS + 1n)
  const emptyAt = head.length + one.length
  const dat = Buffer.concat([head, one, emptyRecord(2, NS + 2n), needleOf(3, 'three', NS + 3n)])
  const lastAt = emptyAt + 32
  const idx = rowsOf(
    { id: 1, offset: 8, size: one.readUInt32BE(12) },
    { id: 2, offset: emptyAt, size: 0 },
    { id: 3, offset: lastAt, size: dat.readUInt32BE(lastAt + 12) },
  )
  const expected = new Map([
    [1, 'one'],
    [2, ''],
    [3, 'three'],
  ])

  test('stays one through restarts, a kill and vacuums', async () => {
    await using test = TestVolume.over({ dat, idx })
    await test.open()
    await test.expectNeedles(expected)
    await test.put(4, 'four')
    await test.killAndOpen()
    await test.reopen()
    await test.expectNeedles(new Map([...expected, [4, 'four']]))
    await test.volume.vacuum({}, SIGNAL)
    await test.expectNeedles(new Map([...expected, [4, 'four']]))
    await test.reopen()
    await test.volume.vacuum({}, SIGNAL)
    await test.killAndOpen()
    await test.expectNeedles(new Map([...expected, [4, 'four']]))
  })

  test('is kept when .sum is lost, and is lost only with its row', async () => {
    await using test = TestVolume.over({ dat, idx })
    await test.open()
    await test.close()
    await using kept = TestVolume.over({ dat, idx: test.file('idx') })
    await kept.open()
    await kept.expectNeedles(expected)
    await using lost = TestVolume.over({ dat })
    await lost.open()
    await lost.expectNeedles(new Map([...expected, [2, undefined]] as const))
  })

  test('can be overwritten, deleted, and read with any cookie that is its own', async () => {
    await using test = TestVolume.over({ dat, idx })
    await test.open()
    await test.put(2, 'not empty any more')
    expect((await test.read(2))?.toString()).toBe('not empty any more')
    await using other = TestVolume.over({ dat, idx })
    await other.open()
    expect(await other.delete(2)).toMatchObject({ wasLive: true })
    await other.reopen()
    await other.volume.vacuum({ tombstones: 'keep' }, SIGNAL)
    await other.reopen()
    await other.expectNeedles(new Map([...expected, [2, undefined]] as const))
  })

  test('is not what a torn row of a deletion makes of a needle that had data', async () => {
    await using test = TestVolume.over({ dat, idx })
    await test.open()
    await test.volume.checkpoint()
    const sum = test.file('sum')
    const { datBytes } = test.volume.stats
    await test.delete(1)
    const torn = Buffer.concat([test.file('idx'), rowsOf({ id: 1, offset: datBytes, size: 0 })])
    await using reopened = TestVolume.over({ dat: test.file('dat'), idx: torn, sum })
    await reopened.open()
    await reopened.expectNeedles(new Map([...expected, [1, undefined]] as const))
  })
})

describe('rows (id, 0, -1): deletions without a tombstone', () => {
  const dat = Buffer.concat([
    encodeSuperBlock(PLAIN_SUPER_BLOCK),
    needleOf(1, 'one', NS + 1n),
    needleOf(2, 'two', NS + 2n),
  ])
  const twoAt = 8 + needleOf(1, 'one', NS).length
  const puts: Row[] = [
    { id: 1, offset: 8, size: dat.readUInt32BE(8 + 12) },
    { id: 2, offset: twoAt, size: dat.readUInt32BE(twoAt + 12) },
  ]
  const gone = { id: 1, offset: 0, size: -1 }

  test('stay deletions through restarts, a lost .sum and a vacuum', async () => {
    const expected = new Map([
      [1, undefined],
      [2, 'two'],
    ])
    await using test = TestVolume.over({ dat, idx: rowsOf(...puts, gone) })
    await test.open()
    await test.expectNeedles(expected)
    await test.reopen()
    await test.expectNeedles(expected)
    await using again = TestVolume.over({ dat, idx: test.file('idx') })
    await again.open()
    await again.expectNeedles(expected)
    await again.volume.vacuum({}, SIGNAL)
    await again.reopen()
    await again.expectNeedles(expected)
  })

  test('count also where they are all that the index says of the needle', async () => {
    await using test = TestVolume.over({ dat, idx: rowsOf(gone, ...puts.slice(1)) })
    await test.open()
    expect(await test.read(1)).toBeUndefined()
    expect((await test.read(2))?.toString()).toBe('two')
  })

  test('do not count against a later row', async () => {
    await using test = TestVolume.over({ dat, idx: rowsOf(gone, ...puts) })
    await test.open()
    await test.expectNeedles(
      new Map([
        [1, 'one'],
        [2, 'two'],
      ]),
    )
  })

  test('do not count against a later put whose row is not written yet', async () => {
    await using test = TestVolume.over({ dat, idx: rowsOf(...puts, gone) })
    await test.open()
    await test.put(1, 'one again')
    const files = { dat: test.file('dat'), idx: test.file('idx') }
    await using reopened = TestVolume.over(files)
    await reopened.open()
    await reopened.expectNeedles(
      new Map([
        [1, 'one again'],
        [2, 'two'],
      ]),
    )
  })
})

describe('rows with offsets of 5 bytes', () => {
  const vif = Buffer.from('{"version":3,"bytesOffset":5}')
  const data = needleOf(1, 'wide', NS + 1n)
  const dat = Buffer.concat([encodeSuperBlock(PLAIN_SUPER_BLOCK), data])
  const row = Buffer.alloc(17)
  row.writeUInt32BE(1, 4)
  row.writeUInt32BE(1, 8)
  row.writeInt32BE(data.readUInt32BE(12), 13)

  test('are read and left as they are: the volume is read-only, a vacuum is refused', async () => {
    await using test = TestVolume.over({ dat, idx: row, vif })
    const before = await test.files()
    await test.open()
    expect(test.volume.state).toBe('read-only')
    await test.expectNeedles(new Map([[1, 'wide']]))
    await expectCode(test.put(2, 'x'), 'VERSION_UNSUPPORTED')
    await expectCode(test.delete(1), 'VERSION_UNSUPPORTED')
    await expectCode(test.volume.vacuum({}, SIGNAL), 'VERSION_UNSUPPORTED')
    await test.close()
    expect(await test.files()).toEqual(before)
  })
})

describe.each([1, 2] as const)('a volume of format version %d', (version) => {
  /** Header, body, checksum, padding; the body of version 1 is the data alone. */
  function record(id: number, data: string): Buffer {
    const bytes = Buffer.from(data)
    const name = Buffer.from('n.txt')
    const attributes = Buffer.concat([Buffer.from([0x02, name.length]), name])
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    const whole = Buffer.concat([length, bytes, attributes])
    const body = version === 1 || bytes.length === 0 ? bytes : whole
    const target = Buffer.alloc(recordBytes(body.length, version))
    target.writeUInt32BE(cookieOf(id), 0)
    target.writeUInt32BE(id, 8)
    target.writeUInt32BE(body.length, 12)
    target.set(body, 16)
    target.writeUInt32BE(maskCrc32c(crc32c(bytes)), 16 + body.length)
    return target
  }

  const records = [record(1, 'one'), record(2, 'two'), record(3, 'three'), record(2, '')]
  const dat = Buffer.concat([encodeSuperBlock({ ...PLAIN_SUPER_BLOCK, version }), ...records])
  const expected = new Map([
    [1, 'one'],
    [2, undefined],
    [3, 'three'],
  ])

  test('is read without an index, and read-only', async () => {
    await using test = TestVolume.over({ dat })
    await test.open()
    expect(test.volume.state).toBe('read-only')
    await test.expectNeedles(expected)
    expect(await test.attributesOf(1)).toMatchObject(version === 1 ? {} : { name: 'n.txt' })
    await expectCode(test.put(4, 'x'), 'VOLUME_SEALED')
    await expectCode(test.delete(1), 'VOLUME_SEALED')
    await test.reopen()
    await test.expectNeedles(expected)
    expect(test.file('dat').equals(dat)).toBe(true)
  })

  test('is version 3 after a vacuum, with its attributes, and takes writes', async () => {
    for (const tombstones of ['keep', 'drop'] as const) {
      await using test = TestVolume.over({ dat })
      await test.open()
      await test.volume.vacuum({ tombstones }, SIGNAL)
      expect(test.volume.superBlock).toMatchObject({ version: 3, compactionRevision: 1 })
      expect(test.volume.state).toBe('writable')
      await test.put(4, 'four')
      await test.delete(3)
      await test.reopen()
      const after = [...expected, [4, 'four'], [3, undefined]] as const
      await test.expectNeedles(new Map(after))
      expect(await test.attributesOf(1)).toMatchObject(version === 1 ? {} : { name: 'n.txt' })
    }
  })
})
