import { describe, expect, test } from 'vitest'
import { decodeChecksumSidecar, encodeChecksumSidecar } from '../../src/format/checksum-sidecar.ts'
import { INDEX_ENTRY_BYTES } from '../../src/format/index-entry.ts'
import { Prng } from '../support/prng.ts'
import { flipped, smallVolume } from '../support/small-volume.ts'
import { PATHS, SIGNAL, settle, TestVolume } from '../support/test-volume.ts'

const { files, needles } = await smallVolume()

/** Opens these files, expects the same needles as before, also after going on and reopening. */
async function expectSameAnswers(changed: Readonly<Record<string, Buffer>>, what = '') {
  await using test = TestVolume.over(changed)
  await test.open()
  expect(test.volume.state, what).toBe('writable')
  await test.expectNeedles(needles)
  expect(test.file('dat').equals(files.dat), what).toBe(true)
  await test.put(9, 'goes on')
  await test.reopen()
  expect(test.volume.recovery, what).toMatchObject({ indexRebuilt: undefined, cutBytes: 0 })
  await test.expectNeedles(new Map([...needles, [9, 'goes on']]))
}

describe('a volume closed in order', () => {
  test('opens from .sum and .idx alone: of .dat only the super block is read', async () => {
    await using test = TestVolume.over(files)
    await test.open()
    expect(test.hooks.count('read', '.dat')).toBe(1)
    expect(test.hooks.count('writev')).toBe(0)
    expect(test.hooks.count('datasync')).toBe(0)
    expect(test.volume.recovery).toMatchObject({
      indexRebuilt: undefined,
      tailNeedles: 0,
      cutBytes: 0,
      corruptNeedles: 0,
      damage: undefined,
    })
    await test.expectNeedles(needles)
  })

  test('has a clean .sum that covers every byte', () => {
    expect(decodeChecksumSidecar(files.sum)).toMatchObject({
      isClean: true,
      isSealed: false,
      watermarkBytes: files.dat.length,
      idxBytes: files.idx.length,
    })
  })
})

describe('a torn tail', () => {
  test('cut at every byte of the last record is removed and reported', async () => {
    await using whole = TestVolume.over(files)
    await whole.open()
    const startBytes = files.dat.length
    await whole.put(3, 'a last record of some length')
    const end = whole.volume.stats.datBytes
    await whole.put(4, 'x')
    const dat = whole.file('dat')
    for (let cut = startBytes; cut < dat.length; cut++) {
      await using test = TestVolume.over({ ...files, dat: dat.subarray(0, cut) })
      await test.open()
      const hasFirst = cut >= end
      const cutBytes = hasFirst ? cut - end : cut - startBytes
      expect(test.volume.recovery).toMatchObject({ cutBytes, tailNeedles: hasFirst ? 1 : 0 })
      await test.expectNeedles(
        hasFirst ? new Map([...needles, [3, 'a last record of some length']]) : needles,
      )
      expect(test.file('dat').length).toBe(cut - cutBytes)
    }
  })

  test('with each byte of the last record but its padding wrong is removed', async () => {
    await using whole = TestVolume.over(files)
    await whole.open()
    await whole.put(3, 'new')
    const dat = whole.file('dat')
    const [sizeAt, attributesAt] = [files.dat.length + 12, files.dat.length + 23]
    for (let at = sizeAt; at < dat.length - 8; at++) {
      // What nothing covers: the attributes behind the flags, and a stamp that is too high.
      if (at > attributesAt && at < attributesAt + 8) continue
      if (at >= attributesAt + 12) continue
      await using test = TestVolume.over({ ...files, dat: flipped(dat, at) })
      await test.open()
      await test.expectNeedles(needles)
      expect(test.volume.recovery.cutBytes, `byte ${at}`).toBe(dat.length - files.dat.length)
    }
  })

  test('of zeros, of 1 to 3000 bytes, is removed', async () => {
    for (const length of [1, 7, 8, 15, 16, 17, 32, 511, 3000]) {
      const dat = Buffer.concat([files.dat, Buffer.alloc(length)])
      await using test = TestVolume.over({ ...files, dat })
      await test.open()
      expect(test.volume.recovery.cutBytes).toBe(length)
      await test.expectNeedles(needles)
      expect(test.file('dat').equals(files.dat)).toBe(true)
    }
  })

  test('of random bytes removes no needle and brings none', async () => {
    for (let seed = 1; seed <= 100; seed++) {
      const prng = new Prng(seed)
      const dat = Buffer.concat([files.dat, prng.bytes(prng.between(1, 200))])
      await using test = TestVolume.over({ ...files, dat })
      await test.open()
      await test.expectNeedles(needles)
    }
  })
})

describe('records that no index row names yet', () => {
  test('are found behind the watermark and indexed; the next start has nothing to find', async () => {
    await using test = TestVolume.over(files)
    await test.open()
    await Promise.all([test.put(1, 'newer'), test.put(20, 'twenty'), test.delete(3)])
    await test.killAndOpen()
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 3, cutBytes: 0 })
    const expected = new Map([...needles, [1, 'newer'], [20, 'twenty'], [3, undefined]] as const)
    await test.expectNeedles(expected)
    await test.killAndOpen()
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 0, cutBytes: 0 })
    await test.expectNeedles(expected)
  })

  test('beside rows written after the .sum, the last of them torn at any byte: same answers', async () => {
    await using whole = TestVolume.over(files)
    await whole.open()
    await whole.put(20, 'twenty')
    await whole.delete(1)
    await whole.delete(3)
    const dat = whole.file('dat')
    await whole.volume.checkpoint()
    const idx = whole.file('idx')
    const expected = new Map([...needles, [20, 'twenty'], [1, undefined], [3, undefined]] as const)
    for (let cut = files.idx.length; cut <= idx.length; cut++) {
      for (const isZeroed of [false, true]) {
        const torn = Buffer.from(idx)
        torn.fill(0, cut)
        const changed = isZeroed ? torn : idx.subarray(0, cut)
        await using test = TestVolume.over({ ...files, dat, idx: changed })
        await test.open()
        await test.expectNeedles(expected)
      }
    }
  })
})

describe('an index that cannot be used: the same answers as before', () => {
  test('lost', () => expectSameAnswers({ dat: files.dat, sum: files.sum }))

  test('empty', () => expectSameAnswers({ ...files, idx: Buffer.alloc(0) }))

  test('cut at each byte of its last two rows', async () => {
    for (let left = 1; left <= 2 * INDEX_ENTRY_BYTES; left++) {
      const idx = files.idx.subarray(0, files.idx.length - left)
      await expectSameAnswers({ ...files, idx }, `${left} bytes less`)
      await expectSameAnswers({ dat: files.dat, idx }, `${left} bytes less, no .sum`)
    }
  })

  test('with each byte wrong', async () => {
    for (let at = 0; at < files.idx.length; at++) {
      for (const mask of [0xff, 0x01]) {
        await expectSameAnswers({ ...files, idx: flipped(files.idx, at, mask) }, `byte ${at}`)
      }
      await expectSameAnswers(
        { dat: files.dat, idx: flipped(files.idx, at) },
        `byte ${at}, no .sum`,
      )
    }
  })

  test('sorted by key', async () => {
    const rows = Array.from({ length: files.idx.length / INDEX_ENTRY_BYTES }, (_, index) =>
      files.idx.subarray(index * INDEX_ENTRY_BYTES, (index + 1) * INDEX_ENTRY_BYTES),
    )
    const idx = Buffer.concat(rows.toSorted((a, b) => a.compare(b)))
    await expectSameAnswers({ ...files, idx })
    await expectSameAnswers({ dat: files.dat, idx })
  })

  test('of another volume, with or without its .sum', async () => {
    await using other = await TestVolume.create()
    for (let id = 1; id <= 9; id++) await other.put(id, prng.bytes(id * 10))
    await other.delete(3)
    await other.close()
    const idx = other.file('idx')
    await expectSameAnswers({ ...files, idx })
    await expectSameAnswers({ dat: files.dat, idx })
  })

  test('of garbage, of zeros, of ones, longer and shorter', async () => {
    for (const length of [1, 15, 16, 160, 4000]) {
      for (const idx of [prng.bytes(length), Buffer.alloc(length), Buffer.alloc(length, 0xff)]) {
        await expectSameAnswers({ dat: files.dat, idx }, `${length}`)
        await expectSameAnswers({ ...files, idx }, `${length}`)
      }
    }
  })

  const prng = new Prng(1)
})

describe('a .sum that cannot be used: the same answers as before', () => {
  test('lost, alone or with the index', async () => {
    await expectSameAnswers({ dat: files.dat, idx: files.idx })
    await expectSameAnswers({ dat: files.dat })
  })

  test('with each byte wrong, cut at each byte', async () => {
    for (let at = 0; at < files.sum.length; at++) {
      await expectSameAnswers({ ...files, sum: flipped(files.sum, at) }, `byte ${at}`)
      await expectSameAnswers({ ...files, sum: files.sum.subarray(0, at) }, `cut at ${at}`)
    }
  })

  test('of an older or a newer generation', async () => {
    const sidecar = decodeChecksumSidecar(files.sum)
    for (const compactionRevision of [1, 65535]) {
      const sum = encodeChecksumSidecar({ ...sidecar, compactionRevision })
      await expectSameAnswers({ ...files, sum })
    }
  })

  test('from earlier in the life of the volume: what came since is found again', async () => {
    await using test = TestVolume.over(files)
    await test.open()
    for (let id = 20; id < 30; id++) await test.put(id, `needle ${id}`)
    await test.delete(20)
    await test.close()
    const later = { dat: test.file('dat'), idx: test.file('idx'), sum: files.sum }
    await using reopened = TestVolume.over(later)
    await reopened.open()
    expect(reopened.volume.recovery).toMatchObject({ tailNeedles: 11, indexRebuilt: undefined })
    expect((await reopened.read(29))?.toString()).toBe('needle 29')
    expect(await reopened.read(20)).toBeUndefined()
  })

  test('too large to be one', async () => {
    await expectSameAnswers({ ...files, sum: Buffer.alloc(17 * 2 ** 20) })
  })
})

describe('power lost at every call', () => {
  test('of create, first puts, checkpoint and close: acknowledged needles are there', async () => {
    let cuts = 0
    for (let call = 1; ; call++) {
      for (let seed = 1; seed <= 5; seed++) {
        if (!(await cutAtCall(call, seed * 1000 + call))) {
          expect(cuts).toBeGreaterThan(20)
          return
        }
      }
      cuts++
    }
  })

  async function cutAtCall(call: number, seed: number): Promise<boolean> {
    await using test = TestVolume.over({}, { seed })
    await test.disk.createDirectory(PATHS.directory)
    test.disk.cutPowerAfter(call)
    const acked = new Map<number, string>()
    let isCreated = false
    try {
      await test.create()
      isCreated = true
      for (let id = 1; id <= 3; id++) {
        await test.put(id, `needle ${id}`)
        acked.set(id, `needle ${id}`)
      }
      await test.volume.checkpoint()
      await test.put(4, 'four')
      acked.set(4, 'four')
      await test.close()
    } catch (error) {
      if (!test.disk.isPowerOff) throw error
    }
    await settle()
    const wasCut = test.disk.isPowerOff
    test.disk.restart()
    if ((await test.disk.stat(PATHS.dat)) === undefined) {
      expect(isCreated).toBe(false)
      await test.create()
    } else await test.open()
    expect(test.volume.state).toBe('writable')
    for (const [id, data] of acked) expect((await test.read(id))?.toString()).toBe(data)
    await test.put(5, 'five')
    await test.volume.vacuum({}, SIGNAL)
    await test.reopen()
    expect((await test.read(5))?.toString()).toBe('five')
    return wasCut
  }
})
