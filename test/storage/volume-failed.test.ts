import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { MIB } from '../../src/base/units.ts'
import { decodeChecksumSidecar } from '../../src/format/checksum-sidecar.ts'
import type { Durability } from '../../src/storage/volume-options.ts'
import { Prng } from '../support/prng.ts'
import {
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
/** What the closing check finds in a failed volume, whose last records have no index rows. */
const FAILED = ['VOLUME_FAILED', 'TAIL_TORN', 'INDEX_CORRUPT'] as const

/** A volume with needle 1 whose sync of needles 2 and 3 has failed. */
async function failSync(test: TestVolume): Promise<void> {
  await test.put(1, 'old')
  test.disk.failCall(1, 'EIO', ['datasync'])
  const batch = [test.put(2, 'lost'), test.put(3, 'lost too'), test.put(1, 'new')]
  for (const write of batch) await expectCode(write, 'VOLUME_FAILED')
  await settle()
}

describe('a failed sync', () => {
  test('fails its whole batch and every later write; reads of the others go on', async () => {
    await using test = await TestVolume.create({ findings: FAILED })
    await failSync(test)
    await expectCode(test.put(4, 'x'), 'VOLUME_FAILED')
    await expectCode(test.delete(1), 'VOLUME_FAILED')
    await expectCode(test.volume.seal(), 'VOLUME_FAILED')
    await expectCode(test.volume.checkpoint(), 'VOLUME_FAILED')
    async function* source() {
      yield Buffer.from('x')
    }
    await expectCode(test.putStream(4, source()), 'VOLUME_FAILED')
    await test.expectNeedles(
      new Map([
        [1, 'old'],
        [2, undefined],
        [3, undefined],
      ]),
    )
    expect(test.volume.stats).toMatchObject({
      state: 'failed',
      reason: expect.stringContaining('EIO'),
    })
  })

  test('is never tried again: no later call touches .dat, closing included', async () => {
    await using test = await TestVolume.create({ findings: FAILED })
    await failSync(test)
    const failedAt = test.hooks.calls.findLastIndex(
      ({ kind, path }) => kind === 'datasync' && path === PATHS.dat,
    )
    await expectCode(test.put(4, 'x'), 'VOLUME_FAILED')
    await test.clock.advance(2 * LIMITS.checkpointMs.value)
    await test.close()
    const later = test.hooks.calls.slice(failedAt + 1).filter(({ path }) => path === PATHS.dat)
    expect(later.filter(({ kind }) => kind !== 'read')).toEqual([])
  })

  test('is remembered over a restart by a .failed file', async () => {
    await using test = await TestVolume.create({ findings: FAILED })
    await failSync(test)
    expect(test.file('failed').toString()).toContain('EIO')
    await test.reopen()
    expect(test.volume.state).toBe('failed')
    await expectCode(test.put(4, 'x'), 'VOLUME_FAILED')
    expect((await test.read(1))?.toString()).toMatch(/old|new/)
  })

  test('is remembered however soon the volume is closed', async () => {
    await using test = await TestVolume.create({ findings: FAILED })
    await test.put(1, 'old')
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(test.put(2, 'x'), 'VOLUME_FAILED')
    await test.close()
    expect(test.disk.openFiles).toBe(0)
    test.disk.restart()
    await test.open()
    expect(test.volume.state).toBe('failed')
  })

  test('that cannot be remembered still fails the volume for this run', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'old')
    test.disk.failCall(1, 'EIO', ['datasync'])
    test.disk.failCall(1, 'EIO', ['create'])
    await expectCode(test.put(2, 'x'), 'VOLUME_FAILED')
    await settle()
    expect(test.volume.state).toBe('failed')
    test.disk.restart()
    await test.open()
    await test.expectNeedles(new Map([[1, 'old']]))
  })

  test('is healed by a vacuum, at once or after a restart', async () => {
    for (const isReopened of [false, true]) {
      await using test = await TestVolume.create()
      await failSync(test)
      if (isReopened) {
        test.disk.evictCaches()
        test.disk.restart()
        await test.open()
      }
      await test.volume.vacuum({}, SIGNAL)
      expect(test.volume.state).toBe('writable')
      await test.put(2, 'here now')
      await test.expectNeedles(
        new Map([
          [1, 'old'],
          [2, 'here now'],
          [3, undefined],
        ]),
      )
      test.disk.restart()
      await test.open()
      expect(test.volume.state).toBe('writable')
      await test.expectNeedles(
        new Map([
          [1, 'old'],
          [2, 'here now'],
          [3, undefined],
        ]),
      )
    }
  })

  test('at the very moment of which a vacuum begins leaves no .failed file behind', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'old')
    test.hooks.before = ({ path }) => (path.includes('.failed') ? settle(200) : undefined)
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(test.put(2, 'x'), 'VOLUME_FAILED')
    await test.volume.vacuum({}, SIGNAL)
    await settle(300)
    await test.reopen()
    expect(test.volume.state).toBe('writable')
  })

  test('of a large needle fails the volume whether its head or its end was synced', async () => {
    for (const call of [1, 2]) {
      await using test = await TestVolume.create({ findings: FAILED })
      await test.put(1, 'old')
      test.disk.failCall(call, 'EIO', ['datasync'])
      await expectCode(test.put(2, prng.bytes(9 * MIB)), 'VOLUME_FAILED')
      await test.expectNeedles(
        new Map([
          [1, 'old'],
          [2, undefined],
        ]),
      )
    }
  })

  test('leaves ranges of older needles readable, though the lost bytes share their block', async () => {
    await using test = await TestVolume.create({ findings: FAILED })
    const body = prng.bytes(9 * MIB)
    await test.put(1, body)
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(test.put(2, 'lost'), 'VOLUME_FAILED')
    test.disk.evictCaches()
    const range = { start: body.length - 10, end: body.length }
    const reading = test.volume.readRange({ id: toId(1), cookie: undefined }, range, SIGNAL)
    expect(await gather(reading)).toEqual(body.subarray(-10))
  })

  test('leaves no .sum that covers more than what was acknowledged', async () => {
    await using test = await TestVolume.create({ findings: FAILED })
    await test.put(1, 'old')
    await test.volume.checkpoint()
    const { datBytes } = test.volume.stats
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(test.put(2, 'lost'), 'VOLUME_FAILED')
    await test.clock.advance(2 * LIMITS.checkpointMs.value)
    const { watermarkBytes } = decodeChecksumSidecar(test.file('sum'))
    expect(watermarkBytes).toBeLessThanOrEqual(datBytes)
    test.disk.evictCaches()
    test.disk.restart()
    await test.open()
    expect(test.volume.recovery.damage).toBeUndefined()
    await test.expectNeedles(new Map([[1, 'old']]))
  })
})

describe('durability none', () => {
  const durability: Durability = { mode: 'none' }

  test('acknowledges without a sync; closing makes everything durable', async () => {
    await using test = await TestVolume.create({ durability })
    test.hooks.calls = []
    for (let id = 1; id <= 10; id++) await test.put(id, `needle ${id}`)
    await test.delete(10)
    expect(test.hooks.count('datasync')).toBe(0)
    await test.close()
    test.disk.restart()
    await test.open()
    expect(test.volume.stats.liveNeedles).toBe(9)
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 0, cutBytes: 0 })
  })

  test('keeps everything when only the process dies', async () => {
    await using test = await TestVolume.create({ durability })
    for (let id = 1; id <= 10; id++) await test.put(id, `needle ${id}`)
    await test.killAndOpen()
    expect(test.volume.stats.liveNeedles).toBe(10)
  })

  test('a power cut may lose needles after the checkpoint, but damages nothing', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      await using test = await TestVolume.create({ durability, seed })
      await test.put(1, 'checkpointed')
      await test.volume.checkpoint()
      // More rows than wait in memory: some reach .idx, maybe before their records reach .dat.
      const ids = Array.from({ length: 1500 }, (_, index) => index + 2)
      await Promise.all(ids.map((id) => test.put(id, `needle ${id}`)))
      await settle()
      test.disk.restart()
      await test.open()
      expect(test.volume.recovery.damage).toBeUndefined()
      expect(test.volume.state).toBe('writable')
      expect((await test.read(1))?.toString()).toBe('checkpointed')
      for (const id of ids) {
        expect([undefined, `needle ${id}`]).toContain((await test.read(id))?.toString())
      }
      await test.put(5000, 'goes on')
      await test.reopen()
      expect((await test.read(5000))?.toString()).toBe('goes on')
    }
  })
})

describe('durability interval of 1000 ms', () => {
  const durability: Durability = { mode: 'interval', intervalMs: 1000 }

  test('acknowledges at once and syncs when the time has come, once', async () => {
    await using test = await TestVolume.create({ durability })
    test.hooks.calls = []
    await test.put(1, 'one')
    await test.put(2, 'two')
    await test.clock.advance(999)
    expect(test.hooks.count('datasync')).toBe(0)
    await test.clock.advance(1)
    await settle()
    expect(test.hooks.count('datasync', '.dat')).toBe(1)
    await test.clock.advance(5000)
    expect(test.hooks.count('datasync', '.dat')).toBe(1)
    test.disk.restart()
    await test.open()
    await test.expectNeedles(
      new Map([
        [1, 'one'],
        [2, 'two'],
      ]),
    )
  })

  test('a failing sync fails the volume, and neither clock nor checkpoint tries it again', async () => {
    await using test = await TestVolume.create({ durability, findings: FAILED })
    await test.put(1, 'one')
    test.disk.failCall(1, 'EIO', ['datasync'])
    await test.clock.advance(1000)
    await settle()
    expect(test.volume.state).toBe('failed')
    await expectCode(test.put(2, 'two'), 'VOLUME_FAILED')
    const syncs = test.hooks.count('datasync', '.dat')
    await test.clock.advance(2 * LIMITS.checkpointMs.value)
    await settle()
    await test.close()
    expect(test.hooks.count('datasync', '.dat')).toBe(syncs)
    const { watermarkBytes } = decodeChecksumSidecar(test.file('sum'))
    expect(watermarkBytes).toBe(8)
    await test.open()
    expect(test.volume.state).toBe('failed')
  })

  test('a failing sync of a checkpoint fails the volume too', async () => {
    await using test = await TestVolume.create({ durability, findings: FAILED })
    await test.put(1, 'one')
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(test.volume.checkpoint(), 'VOLUME_FAILED')
    expect(test.volume.state).toBe('failed')
    expect(decodeChecksumSidecar(test.file('sum')).watermarkBytes).toBe(8)
    await settle()
    expect(await test.disk.stat(`${DIRECTORY}/7.failed`)).toBeDefined()
  })
})
