import { describe, expect, test } from 'vitest'
import { GIB, MIB } from '../../src/base/units.ts'
import { NEEDLE_HEADER_BYTES } from '../../src/format/needle.ts'
import { Prng } from '../support/prng.ts'
import { flipped, smallVolume } from '../support/small-volume.ts'
import { DIRECTORY, expectCode, PATHS, SIGNAL, TestVolume } from '../support/test-volume.ts'

const { files, needles } = await smallVolume()
const DAMAGE = ['VOLUME_DAMAGED', 'NEEDLE_CORRUPT', 'INDEX_CORRUPT', 'TAIL_TORN'] as const
/** Needle 1 is the first record. */
const FIRST_DATA_AT = 8 + 20
const FIRST_SIZE_AT = 8 + 12

/** Opens damaged files, runs `look`, closes, and expects every byte where it was. */
async function expectUntouched(
  changed: Readonly<Record<string, Buffer>>,
  look: (test: TestVolume) => Promise<void>,
): Promise<void> {
  await using test = TestVolume.over(changed, { findings: DAMAGE })
  const before = await test.files()
  await test.open()
  expect(test.volume.state).toBe('damaged')
  await look(test)
  await expectCode(test.put(50, 'x'), 'VOLUME_DAMAGED')
  await expectCode(test.delete(1), 'VOLUME_DAMAGED')
  await expectCode(test.volume.seal(), 'VOLUME_DAMAGED')
  await expectCode(test.volume.vacuum({}, SIGNAL), 'VOLUME_DAMAGED')
  await expectCode(test.volume.checkpoint(), 'VOLUME_DAMAGED')
  await test.close()
  const after = await test.files()
  for (const [name, bytes] of before) expect(after.get(name) === bytes, name).toBe(true)
  for (const [name, bytes] of after)
    if (!before.has(name)) expect([name, bytes]).toEqual([name, ''])
}

/** Every needle but `id`, which is NEEDLE_CORRUPT. */
async function expectAllBut(test: TestVolume, id: number): Promise<void> {
  for (const [other, data] of needles) {
    if (other === id) await expectCode(test.read(id), 'NEEDLE_CORRUPT')
    else expect((await test.read(other))?.toString(), `needle ${other}`).toBe(data)
  }
}

describe('rot below the watermark', () => {
  test('in the data of one needle is NEEDLE_CORRUPT there; nothing is cut, the volume goes on', async () => {
    await using test = TestVolume.over(
      { ...files, dat: flipped(files.dat, FIRST_DATA_AT) },
      { findings: DAMAGE },
    )
    await test.open()
    expect(test.volume.state).toBe('writable')
    await expectAllBut(test, 1)
    await test.put(9, 'goes on')
    await test.reopen()
    await expectAllBut(test, 1)
    expect(test.file('dat').length).toBeGreaterThan(files.dat.length)
  })

  test('is not blessed by the .sum of later checkpoints: found when the index is lost', async () => {
    await using test = TestVolume.over(
      { ...files, dat: flipped(files.dat, FIRST_DATA_AT + 12) },
      { findings: DAMAGE },
    )
    await test.open()
    await test.put(9, 'goes on')
    await test.volume.checkpoint()
    await test.close()
    await test.disk.unlink(PATHS.idx)
    await test.open()
    expect(test.volume.state).toBe('damaged')
  })

  test('of each byte of .dat, with the index lost: damaged, the rest served, files untouched', async () => {
    for (let at = 8; at < files.dat.length; at++) {
      const changed = { sum: files.sum, dat: flipped(files.dat, at, 0x55) }
      await expectUntouched(changed, async (test) => {
        let wrong = 0
        for (const [id, data] of needles) {
          const found = await test.read(id).catch(() => 'refused')
          if (found?.toString() !== data) wrong++
        }
        // A wrong id is one needle missing and maybe another one changed; a broken length hides
        // more.
        if (at % 8 === 4 && at > 100) expect(wrong).toBeLessThanOrEqual(needles.size)
      })
    }
  })

  test('of a length, with the index stale: what follows is found by the rows that are left', async () => {
    const idx = files.idx.subarray(0, files.idx.length - 1)
    for (const mask of [0x7f, 0xff, 0x01]) {
      const dat = flipped(files.dat, FIRST_SIZE_AT, mask)
      await expectUntouched({ ...files, dat, idx }, async (test) => {
        for (const [id, data] of needles) {
          if (id !== 1) expect((await test.read(id))?.toString(), `needle ${id}`).toBe(data)
        }
      })
    }
  })

  test('of the super block is a coded error, and nothing changes', async () => {
    for (const [mask, code] of [
      [0x04, 'VERSION_UNSUPPORTED'],
      [0x80, 'VERSION_UNSUPPORTED'],
    ] as const) {
      const test = TestVolume.over({ ...files, dat: flipped(files.dat, 0, mask) })
      const before = await test.files()
      await expectCode(test.open(), code)
      expect(await test.files()).toEqual(before)
      expect(test.disk.openFiles).toBe(0)
    }
  })
})

describe('a .dat shorter than its watermark', () => {
  test('by 1 byte or nearly all is damage: what is there is served, nothing changes', async () => {
    for (const left of [1, 8, 100, files.dat.length - 8]) {
      const dat = files.dat.subarray(0, files.dat.length - left)
      await expectUntouched({ ...files, dat }, async (test) => {
        expect(test.volume.stats.reason).toContain(`${files.dat.length} were durable`)
        if (left <= 100) expect((await test.read(1))?.toString()).toBe('needle 1')
      })
    }
  })

  test('with the index lost as well is damage', async () => {
    const dat = files.dat.subarray(0, files.dat.length - 8)
    await expectUntouched({ sum: files.sum, dat }, async (test) => {
      expect((await test.read(1))?.toString()).toBe('needle 1')
    })
  })
})

describe('files that are no volume', () => {
  const FOREIGN = Buffer.from('%PDF-1.7 this is something else entirely, and longer than that')
  test.each([
    ['empty', Buffer.alloc(0), 'SUPER_BLOCK_CORRUPT'],
    ['of 7 bytes', files.dat.subarray(0, 7), 'SUPER_BLOCK_CORRUPT'],
    ['of version 4', flipped(files.dat, 0, 0x07), 'VERSION_UNSUPPORTED'],
    ['of zeros', Buffer.alloc(4096), 'VERSION_UNSUPPORTED'],
    ['foreign', FOREIGN, 'VERSION_UNSUPPORTED'],
    ['with a ttl unit 9', flipped(files.dat, 3, 9), 'SUPER_BLOCK_CORRUPT'],
    ['with extra bytes that are not there', flipped(files.dat, 6), 'SUPER_BLOCK_CORRUPT'],
  ] as const)('a .dat %s is a coded error and stays as it is', async (_what, dat, code) => {
    for (const others of [{}, { idx: files.idx, sum: files.sum }]) {
      const test = TestVolume.over({ ...others, dat })
      const before = await test.files()
      await expectCode(test.open(), code)
      expect(await test.files()).toEqual(before)
      expect(test.disk.openFiles).toBe(0)
    }
  })

  test('a .vif that cannot be read as one is VOLUME_INFO_CORRUPT; a tiered volume is refused', async () => {
    const vif = (text: string) => TestVolume.over({ ...files, vif: Buffer.from(text) }).open()
    await expectCode(vif('not JSON'), 'VOLUME_INFO_CORRUPT')
    await expectCode(vif('{"replication":"9x9"}'), 'VOLUME_INFO_CORRUPT')
    await expectCode(vif(' '.repeat(2 * MIB)), 'VOLUME_INFO_CORRUPT')
    await expectCode(vif('{"files":[{"backendType":"s3"}]}'), 'VERSION_UNSUPPORTED')
  })

  test('a .dat of more than 32 GiB, beyond what rows can reach, is VERSION_UNSUPPORTED', async () => {
    const test = TestVolume.over(files)
    test.hooks.sizeIs = (path) => (path === PATHS.dat ? 33 * GIB : undefined)
    await expectCode(test.open(), 'VERSION_UNSUPPORTED')
    expect(test.disk.openFiles).toBe(0)
  })

  test('a missing .dat is PATH_NOT_FOUND, whatever lies beside it', async () => {
    const test = TestVolume.over({ idx: files.idx, sum: files.sum })
    await expectCode(test.open(), 'PATH_NOT_FOUND')
    // A new volume would take the old rows for its own.
    await expectCode(test.create(), 'VOLUME_EXISTS')
    const names = (await test.disk.list(DIRECTORY)).map((entry) => entry.name)
    expect(names).toEqual(['7.idx', '7.sum'])
  })
})

describe('a volume of 70 MiB whose .sum is lost', () => {
  const prng = new Prng(1)
  const pieces = Array.from({ length: 10 }, () => prng.bytes(7 * MIB))

  /** The files without their .sum, one byte of .dat wrong; made once, for they are large. */
  let sound: Promise<Readonly<Record<'dat' | 'idx', Buffer>>> | undefined
  async function damagedAt(at: number, mask: number) {
    sound ??= (async () => {
      await using test = await TestVolume.create()
      for (const [id, data] of pieces.entries()) await test.put(id, data)
      await test.close()
      return { dat: test.file('dat'), idx: test.file('idx') }
    })()
    const { dat, idx } = await sound
    return { dat: flipped(dat, at, mask), idx }
  }

  test('and a length near its start is wrong: nothing is cut, the rows say that more follows', async () => {
    // Runs past the end; negative; ends 16 MiB later, within the file, and swallows two needles.
    for (const [mask, firstId] of [
      [0x40, 1],
      [0x80, 1],
      [0x01, 4],
    ] as const) {
      const changed = await damagedAt(FIRST_SIZE_AT, mask)
      await using test = TestVolume.over(changed, { findings: DAMAGE })
      await test.open()
      expect(test.volume.state).toBe('damaged')
      for (const [id, data] of pieces.entries()) {
        if (id < firstId) continue
        expect((await test.read(id))?.equals(data), `needle ${id}`).toBe(true)
      }
      expect(test.file('dat').equals(changed.dat)).toBe(true)
    }
  })

  test('and the data of a needle is wrong: the rows vouch for it, it is NEEDLE_CORRUPT alone', async () => {
    const changed = await damagedAt(FIRST_DATA_AT + NEEDLE_HEADER_BYTES, 1)
    await using test = TestVolume.over(changed, { findings: DAMAGE })
    await test.open()
    expect(test.volume.recovery).toMatchObject({ corruptNeedles: 1, cutBytes: 0 })
    await expectCode(test.read(0), 'NEEDLE_CORRUPT')
    for (const [id, data] of pieces.entries()) {
      if (id > 0) expect((await test.read(id))?.equals(data)).toBe(true)
    }
  })
})
