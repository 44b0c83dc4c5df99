import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { MIB } from '../../src/base/units.ts'
import { Prng } from '../support/prng.ts'
import {
  DIRECTORY,
  expectCode,
  inPieces,
  PATHS,
  SIGNAL,
  TestVolume,
} from '../support/test-volume.ts'

const body = new Prng(1).bytes(20 * MIB)

async function spools(test: TestVolume): Promise<string[]> {
  const names = (await test.disk.list(DIRECTORY)).map((entry) => entry.name)
  return names.filter((name) => name.includes('spool'))
}

describe('putStream', () => {
  test.each([0, 1, 8 * MIB - 100, 8 * MIB, 8 * MIB + 1, 9 * MIB])(
    'a body of %d bytes comes back, and no spool file is left',
    async (size) => {
      await using test = await TestVolume.create()
      const data = body.subarray(0, size)
      const result = await test.putStream(1, inPieces(data, 700_001))
      expect(result).toEqual({ checksum: crc32c(data), dataBytes: size, isUnchanged: false })
      expect((await test.read(1))?.equals(data)).toBe(true)
      await test.reopen()
      expect((await test.read(1))?.equals(data)).toBe(true)
      expect(await spools(test)).toEqual([])
    },
  )

  test('20 MiB are spooled: no write hands over more than 9 MiB, no record is whole in memory', async () => {
    await using test = await TestVolume.create()
    let spooledBytes = 0
    test.hooks.after = async ({ kind, path }) => {
      if (kind !== 'writev' || !path.includes('spool')) return
      const grownBytes = test.disk.contents(path).length - spooledBytes
      expect(grownBytes).toBeLessThanOrEqual(9 * MIB)
      spooledBytes += grownBytes
    }
    await test.putStream(1, inPieces(body, MIB))
    expect(spooledBytes).toBe(20 * MIB)
    expect(test.hooks.count('writev', '.dat')).toBeGreaterThanOrEqual(20)
    expect((await test.read(1))?.equals(body)).toBe(true)
    expect(await spools(test)).toEqual([])
  })

  test('when the source fails after 12 MiB nothing is stored and the spool file is gone', async () => {
    await using test = await TestVolume.create()
    const before = test.volume.stats
    async function* failing() {
      yield* inPieces(body.subarray(0, 12 * MIB), MIB)
      expect(await spools(test)).toEqual(['7.spool-0'])
      throw new Error('the sender went away')
    }
    await expect(test.putStream(1, failing())).rejects.toThrow('the sender went away')
    expect(await spools(test)).toEqual([])
    expect(test.volume.stats).toEqual({ ...before, requestCount: expect.any(Number) })
  })

  test('when aborted after 12 MiB it is CANCELLED and the spool file is gone', async () => {
    await using test = await TestVolume.create()
    const aborting = new AbortController()
    async function* aborted() {
      yield* inPieces(body.subarray(0, 12 * MIB), MIB)
      aborting.abort()
      yield body.subarray(12 * MIB)
    }
    await expectCode(test.putStream(1, aborted(), aborting.signal), 'CANCELLED')
    expect(await spools(test)).toEqual([])
    expect(test.volume.stats.liveNeedles).toBe(0)
  })

  test('when the disk fills up under the spool it is DISK_FULL and the spool file is gone', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'old')
    test.disk.capacityBytes = 10 * MIB
    await expectCode(test.putStream(1, inPieces(body, MIB)), 'DISK_FULL')
    expect(await spools(test)).toEqual([])
    expect((await test.read(1))?.toString()).toBe('old')
  })

  test('when the disk fills up under .dat it is DISK_FULL and .dat ends where it did', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'old')
    const { datBytes } = test.volume.stats
    test.disk.capacityBytes = 30 * MIB
    await expectCode(test.putStream(1, inPieces(body, MIB)), 'DISK_FULL')
    expect(test.file('dat').length).toBe(datBytes)
    await test.expectNeedles(new Map([[1, 'old']]))
    test.disk.capacityBytes = 60 * MIB
    await test.putStream(1, inPieces(body, MIB))
    expect((await test.read(1))?.equals(body)).toBe(true)
  })

  test('a spool file that an earlier run left behind is no obstacle', async () => {
    await using test = await TestVolume.create()
    test.disk.put(`${PATHS.base}.spool-0`, Buffer.alloc(30 * MIB))
    await test.putStream(1, inPieces(body, MIB))
    expect((await test.read(1))?.equals(body)).toBe(true)
    expect(await spools(test)).toEqual([])
  })

  test('a slow sender holds up nobody', async () => {
    await using test = await TestVolume.create()
    let goOn = () => {}
    const waiting = new Promise<void>((resolve) => {
      goOn = resolve
    })
    async function* slow() {
      yield Buffer.from('slow ')
      await waiting
      yield Buffer.from('body')
    }
    const streaming = test.putStream(1, slow())
    await test.put(2, 'quick')
    expect(test.volume.stats.liveNeedles).toBe(1)
    goOn()
    await streaming
    await test.expectNeedles(
      new Map([
        [1, 'slow body'],
        [2, 'quick'],
      ]),
    )
  })

  test('6 at once of 9 MiB all come back', async () => {
    await using test = await TestVolume.create()
    const ids = Array.from({ length: 6 }, (_, index) => index + 1)
    const dataOf = (id: number) => body.subarray(id * 1000, id * 1000 + 9 * MIB)
    await Promise.all(ids.map((id) => test.putStream(id, inPieces(dataOf(id), MIB))))
    for (const id of ids) expect((await test.read(id))?.equals(dataOf(id))).toBe(true)
    expect(await spools(test)).toEqual([])
  })

  test('over a sealed volume takes in nothing: VOLUME_SEALED at once', async () => {
    await using test = await TestVolume.create()
    await test.volume.seal()
    let isAsked = false
    async function* source() {
      isAsked = true
      yield body
    }
    await expectCode(test.putStream(1, source()), 'VOLUME_SEALED')
    expect(isAsked).toBe(false)
  })

  test('a volume closed meanwhile is CLOSED, and not failed for it', async () => {
    await using test = await TestVolume.create()
    const { volume } = test
    let goOn = () => {}
    const waiting = new Promise<void>((resolve) => {
      goOn = resolve
    })
    async function* slow() {
      yield Buffer.from('slow')
      await waiting
    }
    const input = { id: { hi: 0, lo: 1 }, cookie: 1, attributes: {} }
    const streaming = volume.putStream(input, slow(), SIGNAL)
    await test.close()
    goOn()
    await expectCode(streaming, 'CLOSED')
    await test.open()
    expect(test.volume.state).toBe('writable')
    expect(await test.disk.stat(PATHS.failed)).toBeUndefined()
  })
})
