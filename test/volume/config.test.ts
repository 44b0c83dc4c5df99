import { describe, expect, test } from 'vitest'
import { GIB, MIB } from '../../src/base/units.ts'
import { type RawVolumeServerConfig, readVolumeServerConfig } from '../../src/volume/config.ts'
import { expectStoreError } from '../support/expect-error.ts'

const read = (raw: Partial<RawVolumeServerConfig>) =>
  readVolumeServerConfig({ directories: ['/data'], ...raw })

describe('readVolumeServerConfig', () => {
  test('has a default for everything but the directories, and cannot be changed after', () => {
    const config = read({})
    expect(config).toMatchObject({
      host: '127.0.0.1',
      bindHost: '127.0.0.1',
      port: 8080,
      grpcPort: 18_080,
      masters: [],
      durability: { mode: 'fsync' },
      volumeSizeMaxBytes: 30 * GIB,
      readMode: 'proxy',
      cacheBytes: 0,
      writeTokens: false,
    })
    expect(Object.isFrozen(config)).toBe(true)
  })

  test('reads text as a command line gives it', () => {
    const secret = Buffer.alloc(32)
    const config = read({
      port: '0',
      masters: ['127.0.0.1:19333', '[::1]:19333'],
      secret,
      durability: '200ms',
      volumeSizeMax: '64MiB',
      cache: '1GiB',
      reserve: 0,
    })
    expect(config).toMatchObject({
      port: 0,
      grpcPort: 0,
      masters: ['127.0.0.1:19333', '[::1]:19333'],
      durability: { mode: 'interval', intervalMs: 200 },
      volumeSizeMaxBytes: 64 * MIB,
      cacheBytes: GIB,
      reserveBytes: 0,
    })
  })

  test('the port of gRPC is 10 000 above that of HTTP, or any free one where there is none', () => {
    expect(read({ port: 55_535 }).grpcPort).toBe(65_535)
    expect(read({ port: 55_536 }).grpcPort).toBe(0)
    expect(read({ port: 8080, grpcPort: '7' }).grpcPort).toBe(7)
  })

  test.each<[string, Partial<RawVolumeServerConfig>]>([
    ['directories', { directories: [] }],
    ['directories', { directories: ['/a', ''] }],
    ['host', { host: 'not a host' }],
    ['bindHost', { bindHost: '1.2.3.4:5' }],
    ['port', { port: 65_536 }],
    ['port', { port: '-1' }],
    ['port', { port: '80a' }],
    ['grpcPort', { grpcPort: 1.5 }],
    ['publicUrl', { publicUrl: 'http://host:80' }],
    ['masters', { masters: ['host'], secret: Buffer.alloc(32) }],
    ['masters', { masters: ['host:0'], secret: Buffer.alloc(32) }],
    ['secret', { masters: ['host:19333'] }],
    ['secret', { writeTokens: true }],
    ['secret', { readTokens: true }],
    ['dataCenter', { dataCenter: '' }],
    ['rack', { rack: 'a/b' }],
    ['durability', { durability: '0ms' }],
    ['durability', { durability: 'sometimes' }],
    ['volumeSizeMax', { volumeSizeMax: '33GiB' }],
    ['volumeSizeMax', { volumeSizeMax: '1KiB' }],
    ['reserve', { reserve: 'much' }],
    ['readMode', { readMode: 'magic' }],
    ['fileSizeLimit', { fileSizeLimit: 0 }],
    ['cache', { cache: -1 }],
    ['drainMs', { drainMs: 'long' }],
  ])('refuses a bad %s and names it: %o', (name, raw) => {
    const { message } = expectStoreError(() => read(raw), 'CONFIG_INVALID')
    expect(message).toMatch(new RegExp(`^${name} is .*; it must be `))
  })
})
