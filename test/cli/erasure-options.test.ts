import { describe, expect, test } from 'vitest'
import { readErasure, readErasureSettings } from '../../src/cli/erasure-options.ts'
import { readMasterConfig } from '../../src/master/config.ts'
import { runCli } from '../support/cli-run.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'

const FLAGS = { erasure: 'off', erasureQuiet: '1h', erasureFull: '95' }

describe('the options of erasure coding', () => {
  test('say how, when and of which volumes', () => {
    expect(readErasureSettings(FLAGS)).toEqual({
      scheme: 'off',
      quietMs: 3_600_000,
      fullPercent: 95,
    })
    const flags = { erasure: '10+4', erasureQuiet: '0s', erasureFull: '12.5' }
    expect(readErasureSettings(flags)).toEqual({ scheme: '10+4', quietMs: 0, fullPercent: 12.5 })
  })

  test('are taken by a master as they are', () => {
    const off = readMasterConfig({ dir: '/m', erasure: readErasureSettings(FLAGS) })
    expect(off.erasure).toMatchObject({ scheme: undefined, quietMs: 3_600_000, fullPercent: 95 })
    expect(readMasterConfig({ dir: '/m' }).erasure).toEqual(off.erasure)
    const on = readErasureSettings({ ...FLAGS, erasure: '10+4' })
    const scheme = { dataShards: 10, parityShards: 4 }
    expect(readMasterConfig({ dir: '/m', erasure: on }).erasure).toMatchObject({ scheme })
  })

  test.each([
    [{ erasureQuiet: 'soon' }, /^--erasure-quiet "soon": it must be a time like /],
    [{ erasureFull: '0' }, /^--erasure-full "0": it must be a number from 1 to 100/],
    [{ erasureFull: '101' }, /^--erasure-full "101": /],
  ])('with %j are refused', (change, message) => {
    expect(() => readErasureSettings({ ...FLAGS, ...change })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) }),
    )
  })

  test.each(['master', 'server'])('reach a %s by flag, environment and file', async (command) => {
    const disk = new MemDisk(new Prng(1))
    const refused = {
      exitCode: 2,
      out: '',
      err: expect.stringMatching(/^hayloft: CONFIG_INVALID: .*erasure.*"10\+40"/),
    }
    expect(await runCli([command, '--erasure', '10+40'], disk)).toEqual(refused)
    const env = { HAYLOFT_ERASURE: '10+40' }
    expect(await runCli([command], disk, { env })).toEqual(refused)
    disk.put('/settings.yaml', Buffer.from(`${command}:\n  erasure: 10+40\n`))
    expect(await runCli(['--config', '/settings.yaml', command], disk)).toEqual(refused)
    const full = await runCli([command, '--erasure-full', '101'], disk)
    expect(full.err).toMatch(/^hayloft: CONFIG_INVALID: --erasure-full "101"/)
  })
})

test('a collection is coded like a scheme says, or off', () => {
  expect(readErasure('off')).toBe('off')
  expect(readErasure('4+2')).toEqual({ dataShards: 4, parityShards: 2 })
  expect(() => readErasure('')).toThrow(expect.objectContaining({ code: 'ERASURE_INVALID' }))
})
