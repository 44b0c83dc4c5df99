import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { decodeChecksumSidecar, encodeChecksumSidecar } from '../../src/format/checksum-sidecar.ts'
import { decodeIndexEntry, INDEX_ENTRY_BYTES } from '../../src/format/index-entry.ts'
import { checkVolume } from '../../src/storage/check-volume.ts'
import { fixedFixture, fixOn, fixPaths } from '../support/fixed-volume.ts'
import { golden } from '../support/golden.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { expectCode, PATHS, SIGNAL, TestVolume } from '../support/test-volume.ts'

const dat = golden('seaweedfs/1.dat')
const idx = golden('seaweedfs/1.idx')
const paths = fixPaths()

function diskWith(files: Readonly<Record<string, Buffer>>): MemDisk {
  const disk = new MemDisk(new Prng(1))
  for (const [extension, bytes] of Object.entries(files)) {
    disk.put(`${paths.base}.${extension}`, bytes)
  }
  return disk
}

async function contentsOf(disk: MemDisk): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  for (const { name } of await disk.list('/v')) {
    files.set(name, disk.contents(`/v/${name}`).toString('latin1'))
  }
  return files
}

/** Ids, offsets and sizes, whatever the order of the rows. */
function rowsOf(bytes: Buffer): string[] {
  return Array.from({ length: bytes.length / INDEX_ENTRY_BYTES }, (_, row) =>
    JSON.stringify(decodeIndexEntry(bytes, row * INDEX_ENTRY_BYTES)),
  ).sort()
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at)
  return copy
}

describe('a volume of another system', () => {
  test('gets a .sum; .dat stays as it is, and a second fix has nothing to do', async () => {
    const disk = diskWith({ dat, idx })
    const result = await fixOn(disk, paths)
    expect(result).toMatchObject({ outcome: 'fixed', after: { ok: true, liveNeedles: 298 } })
    expect(disk.contents(paths.dat).equals(dat)).toBe(true)
    expect(rowsOf(disk.contents(paths.idx))).toEqual(rowsOf(idx))
    expect(decodeChecksumSidecar(disk.contents(paths.sum)).watermarkBytes).toBe(dat.length)
    const before = await contentsOf(disk)
    expect(await fixOn(disk, paths)).toMatchObject({ outcome: 'nothing-to-do' })
    expect(await contentsOf(disk)).toEqual(before)
    expect(disk.openFiles).toBe(0)
  })

  test.each([{ dat }, { dat, idx: idx.subarray(0, 160) }, { dat, idx: flipped(idx, 9) }])(
    'gets back a lost, short or wrong index with all 298 needles (%#)',
    async (files) => {
      const disk = diskWith(files)
      const result = await fixOn(disk, paths)
      expect(result).toMatchObject({ outcome: 'fixed', after: { ok: true, liveNeedles: 298 } })
      expect(rowsOf(disk.contents(paths.idx))).toEqual(rowsOf(idx))
    },
  )
})

describe('damage to .dat', () => {
  // Byte 100 lies in the data of the first needle.
  test.each([
    ['index and .sum', ['dat', 'idx', 'sum']],
    ['index only', ['dat', 'idx']],
    ['neither', ['dat']],
  ])('in data, with %s, is refused and then accepted', async (_what, extensions) => {
    const whole = await fixedFixture()
    const files: Record<string, Buffer> = {}
    for (const extension of extensions) {
      files[extension] = whole.get(`${paths.base}.${extension}`) ?? Buffer.alloc(0)
    }
    const disk = diskWith({ ...files, dat: flipped(dat, 100) })
    const before = await contentsOf(disk)
    const refused = await fixOn(disk, paths)
    expect(refused).toMatchObject({ outcome: 'refused', after: undefined })
    expect(refused.before.findings).toContainEqual(
      expect.objectContaining({ code: 'NEEDLE_CORRUPT', offsetBytes: 8 }),
    )
    expect(await contentsOf(disk)).toEqual(before)

    const accepted = await fixOn(disk, paths, { acceptDamage: true })
    // All records stay; the one needle goes on failing.
    expect(accepted.after).toMatchObject({ ok: false, liveNeedles: 298, findingCount: 1 })
    expect(accepted.after?.findings[0]?.code).toBe('NEEDLE_CORRUPT')
    expect(disk.contents(paths.dat).length).toBe(dat.length)
    expect(await disk.stat(`${paths.sum}.old`)).toBeUndefined()
  })

  test('outside data is found by .sum; accepted, it is covered as it is', async () => {
    const whole = await fixedFixture()
    const sum = whole.get(paths.sum) ?? Buffer.alloc(0)
    const wrong = flipped(dat, dat.length - 1)
    const disk = diskWith({ dat: wrong, idx, sum })
    expect(await fixOn(disk, paths)).toMatchObject({ outcome: 'refused' })
    expect(disk.contents(paths.sum).equals(sum)).toBe(true)
    const accepted = await fixOn(disk, paths, { acceptDamage: true })
    expect(accepted.after).toMatchObject({ ok: true, liveNeedles: 298 })
  })

  test('that breaks the chain of records is refused in any case', async () => {
    const wrong = Buffer.from(dat)
    wrong.writeInt32BE(-1, 8 + 12)
    const disk = diskWith({ dat: wrong, idx })
    const before = await contentsOf(disk)
    await expectCode(fixOn(disk, paths, { acceptDamage: true }), 'VOLUME_DAMAGED')
    expect(await contentsOf(disk)).toEqual(before)
    expect(disk.openFiles).toBe(0)
  })
})

describe('a volume of our own', () => {
  test('loses its torn tail and nothing else', async () => {
    await using made = await TestVolume.create()
    await made.put(1, 'one')
    await made.close()
    const files = { dat: made.file('dat'), idx: made.file('idx'), sum: made.file('sum') }
    const torn = Buffer.concat([files.dat, files.dat.subarray(8, 48)])
    const volume = TestVolume.over({ ...files, dat: torn })
    const result = await fixOn(volume.disk, PATHS)
    expect(result).toMatchObject({ recovery: { cutBytes: 40 }, after: { ok: true } })
    expect(volume.file('dat').equals(files.dat)).toBe(true)
  })

  test('with an index that .sum vouches for and .dat contradicts gets a new one', async () => {
    await using made = await TestVolume.create()
    await made.put(1, 'one')
    await made.put(2, 'two')
    await made.close()
    const idxBytes = made.file('idx')
    // As a bug of an earlier release would have left it: wrong rows, right checksum.
    const swapped = Buffer.concat([idxBytes.subarray(16), idxBytes.subarray(0, 16)])
    swapped.writeUInt32BE(5, 4)
    const sidecar = decodeChecksumSidecar(made.file('sum'))
    const sum = encodeChecksumSidecar({ ...sidecar, idxCrc: crc32c(swapped) })
    const volume = TestVolume.over({ dat: made.file('dat'), idx: swapped, sum })
    const result = await fixOn(volume.disk, PATHS)
    expect(result).toMatchObject({ outcome: 'fixed', before: { ok: false }, after: { ok: true } })
    expect(volume.file('idx').equals(idxBytes)).toBe(true)
  })

  test('that lost its index says how many records of size 0 it took for deletions', async () => {
    await using made = await TestVolume.create()
    await made.put(1, 'one')
    await made.delete(1)
    await made.close()
    const volume = TestVolume.over({ dat: made.file('dat') })
    const { before, after } = await fixOn(volume.disk, PATHS)
    expect(before.details.unexplainedEmpty).toBe(1)
    expect(after).toMatchObject({ ok: true, liveNeedles: 0, deleted: 1 })
  })

  test('whose sync failed earlier, or with 5-byte offsets, is refused unchanged', async () => {
    const vif = Buffer.from('{"bytesOffset":5}')
    for (const [files, code] of [
      [{ dat, idx, failed: Buffer.from('EIO') }, 'VOLUME_FAILED'],
      [{ dat, idx, vif }, 'VERSION_UNSUPPORTED'],
    ] as const) {
      const disk = diskWith(files)
      const before = await contentsOf(disk)
      await expectCode(fixOn(disk, paths), code)
      expect(await contentsOf(disk)).toEqual(before)
    }
  })
})

// Goal: a power cut at any point of an accepted fix leaves a volume whose needles are all there.
// Method: cut at every call; restart; fix again. Replay: the number in the title.
test('an accepted fix that loses power anywhere can be run again', async () => {
  const whole = await fixedFixture()
  const sum = whole.get(paths.sum) ?? Buffer.alloc(0)
  for (let calls = 0; calls < 60; calls++) {
    const disk = new MemDisk(new Prng(calls))
    disk.put(paths.dat, flipped(dat, 100))
    disk.put(paths.idx, idx)
    disk.put(paths.sum, sum)
    disk.cutPowerAfter(calls)
    const isDone = await fixOn(disk, paths, { acceptDamage: true }).then(
      () => true,
      () => false,
    )
    disk.restart()
    const again = await fixOn(disk, paths, { acceptDamage: true })
    const report = again.after ?? (await checkVolume(disk, paths, {}, SIGNAL))
    expect([calls, report.liveNeedles, report.findingCount]).toEqual([calls, 298, 1])
    if (isDone) return
  }
  expect.fail('the fix never got through')
})
