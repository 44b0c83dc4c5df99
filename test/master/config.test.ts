import { describe, expect, test } from 'vitest'
import { GIB } from '../../src/base/units.ts'
import { type RawMasterConfig, readMasterConfig } from '../../src/master/config.ts'
import { expectStoreError } from '../support/expect-error.ts'

describe('the configuration of a master', () => {
  test('needs a directory only', () => {
    const config = readMasterConfig({ dir: '/data' })
    expect(config).toMatchObject({
      host: '127.0.0.1',
      publicHost: '127.0.0.1',
      port: 9333,
      grpcPort: 19_333,
      strategy: 'random',
      volumeSizeMaxBytes: 30 * GIB,
      heartbeatMs: 5000,
      warmUpMaxMs: 30_000,
      needsWriteTokens: false,
      needsReadTokens: false,
    })
    expect(Object.isFrozen(config)).toBe(true)
    expect(Object.isFrozen(config.growth)).toBe(true)
    expect(config.isStandby).toBe(false)
    expect(config.repair).toEqual({
      delayMs: 15 * 60_000,
      checkMs: 5000,
      massShare: 0.2,
      garbageThreshold: 0.3,
      scrubEveryMs: 14 * 86_400_000,
      healEveryMs: 30_000,
      politeness: 4,
      leaseMs: 10_000,
      rebalanceSpread: 0.1,
      workers: 2,
      flapCount: 3,
      flapWindowMs: 600_000,
      flapCalmMs: 300_000,
      upAgainMs: 60_000,
    })
    expect(Object.isFrozen(config.repair)).toBe(true)
    expect(config.erasure).toEqual({
      scheme: undefined,
      fullPercent: 95,
      quietMs: 3_600_000,
    })
    expect(Object.isFrozen(config.erasure)).toBe(true)
  })

  test.each([
    ['10+4', { dataShards: 10, parityShards: 4 }],
    ['off', undefined],
  ])('codes volumes as %s says', (scheme, wanted) => {
    expect(readMasterConfig({ dir: 'x', erasure: { scheme } }).erasure.scheme).toEqual(wanted)
  })

  test('takes numbers as text, and sizes with units', () => {
    const raw = { dir: 'x', port: '80', volumeSizeMaxBytes: '2GiB', growth: { waitMs: '7' } }
    const config = readMasterConfig(raw)
    expect(config).toMatchObject({ port: 80, grpcPort: 10_080, volumeSizeMaxBytes: 2 * GIB })
    expect(config.growth.waitMs).toBe(7)
  })

  test('listens for gRPC on any free port when HTTP does', () => {
    expect(readMasterConfig({ dir: 'x', port: 0 }).grpcPort).toBe(0)
  })

  test.each<[string, Partial<RawMasterConfig>, string]>([
    ['dir', { dir: '' }, '""'],
    ['port', { port: 65_536 }, '"65536"'],
    ['port', { port: 'http' }, '"http"'],
    ['port', { port: '' }, '""'],
    ['port', { port: 1.5 }, '"1.5"'],
    ['grpcPort', { port: 60_000 }, 'nothing'],
    ['strategy', { strategy: 'best' }, '"best"'],
    ['defaultReplication', { defaultReplication: '9' }, '"9"'],
    ['volumeSizeMaxBytes', { volumeSizeMaxBytes: '33GiB' }, '"33GiB"'],
    ['volumeSizeMaxBytes', { volumeSizeMaxBytes: 'much' }, '"much"'],
    ['heartbeatMs', { heartbeatMs: 0 }, '"0"'],
    ['growth.crowdedShare', { growth: { crowdedShare: 1 } }, '"1"'],
    ['repair.delayMs', { repair: { delayMs: -1 } }, '"-1"'],
    ['repair.massShare', { repair: { massShare: 2 } }, '"2"'],
    ['repair.scrubEveryMs', { repair: { scrubEveryMs: 'x' } }, '"x"'],
    ['repair.workers', { repair: { workers: 1.5 } }, '"1.5"'],
    ['erasure.scheme', { erasure: { scheme: '10' } }, '"10"'],
    ['erasure.scheme', { erasure: { scheme: '25+4' } }, '"25+4"'],
    ['erasure.fullPercent', { erasure: { fullPercent: 101 } }, '"101"'],
    ['erasure.quietMs', { erasure: { quietMs: '1h' } }, '"1h"'],
    ['growth.writableMax', { growth: { writableMin: 5, writableMax: 4 } }, '"4"'],
  ])('names %s in %o with its value', (setting, raw, value) => {
    const error = expectStoreError(() => readMasterConfig({ dir: 'x', ...raw }), 'CONFIG_INVALID')
    expect(error.message).toContain(`${setting} is ${value}, but must be`)
  })

  test('takes a root key of S3 whole, or none', () => {
    expect(readMasterConfig({ dir: 'x' }).rootKey).toBeUndefined()
    const [rootAccessKey, rootSecretKey] = ['ROOT', 'eight888']
    const { rootKey } = readMasterConfig({ dir: 'x', rootAccessKey, rootSecretKey })
    expect(rootKey).toEqual({ accessKeyId: 'ROOT', secret: 'eight888' })
  })

  test.each<Partial<RawMasterConfig>>([
    { rootAccessKey: 'ROOT' },
    { rootSecretKey: 'eight888' },
    { rootAccessKey: 'RO', rootSecretKey: 'eight888' },
    { rootAccessKey: 'ROOT', rootSecretKey: 'seven77' },
    { rootAccessKey: '', rootSecretKey: '' },
  ])('refuses the root key %o, and does not show its secret', (raw) => {
    const error = expectStoreError(() => readMasterConfig({ dir: 'x', ...raw }), 'CONFIG_INVALID')
    expect(error.message).toContain('rootAccessKey and rootSecretKey must be')
    expect(error.message).not.toMatch(/eight888|seven77/)
  })
})
