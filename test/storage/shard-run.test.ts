import { describe, expect, test } from 'vitest'
import { GIB, KIB, MIB } from '../../src/base/units.ts'
import { parseRunDirectory, parseShardNumber, shardPaths } from '../../src/storage/shard-paths.ts'
import {
  decodeShardRun,
  encodeShardRun,
  openCodec,
  type ShardRun,
} from '../../src/storage/shard-run.ts'
import { vid } from '../support/test-store.ts'

const RUN: ShardRun = {
  volumeId: vid(7),
  collection: 'photos',
  dataShards: 10,
  parityShards: 4,
  runId: '1763748000123456789',
  replication: { otherDataCenters: 1, otherRacks: 0, otherServers: 1 },
  version: 3,
  datBytes: 30 * GIB,
  compactionRevision: 12,
  largeBlockBytes: GIB,
  smallBlockBytes: MIB,
  codec: 'ronomon-cauchy',
  codecUnitBytes: 128 * KIB,
  encodedAtS: 1_763_748_000,
  indexCrc: 0xfedc_ba98,
}

describe('the .vif of a run', () => {
  test.each([
    RUN,
    { ...RUN, collection: '', largeBlockBytes: 4 * MIB, smallBlockBytes: 256 * KIB },
    { ...RUN, version: 2 as const, datBytes: 8, compactionRevision: 0, indexCrc: 0 },
  ])('says all of it (%#)', (run) => {
    expect(decodeShardRun(run, encodeShardRun(run))).toEqual(run)
  })

  test('with any bit flipped is refused, or says the same', () => {
    const bytes = encodeShardRun(RUN)
    let refused = 0
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const altered = Buffer.from(bytes)
        altered[at] = (altered[at] ?? 0) ^ (1 << bit)
        try {
          // White space may change, and what protojson takes for an absent member.
          expect(decodeShardRun(RUN, altered)).toEqual(RUN)
        } catch (error) {
          expect(error).toMatchObject({ code: 'VOLUME_INFO_CORRUPT' })
          refused++
        }
      }
    }
    expect(refused).toBeGreaterThan(bytes.length * 6)
  })

  test.each([
    { largeBlockBytes: 3 * MIB, smallBlockBytes: 2 * MIB },
    { smallBlockBytes: 64 * KIB },
    { codecUnitBytes: 0 },
    { dataShards: 25 },
    { parityShards: 0 },
    { datBytes: 0 },
    { datBytes: 33 * GIB },
  ])('that no geometry can be made of is refused: %o', (wrong) => {
    const bytes = encodeShardRun({ ...RUN, ...wrong })
    const read = () => decodeShardRun(RUN, bytes)
    expect(read).toThrow(expect.objectContaining({ code: 'VOLUME_INFO_CORRUPT' }))
  })

  test.each(['', '{}', 'no JSON', '{"version": 3, "readOnly": true}'])(
    'of another kind is refused: %s',
    (text) => {
      const read = () => decodeShardRun(RUN, Buffer.from(text))
      expect(read).toThrow(expect.objectContaining({ code: 'VOLUME_INFO_CORRUPT' }))
    },
  )

  test('of a codec that is not there can be read, but not used', () => {
    const run = decodeShardRun(RUN, encodeShardRun({ ...RUN, codec: 'of-tomorrow' }))
    expect(() => openCodec(run)).toThrow(expect.objectContaining({ code: 'CODEC_UNAVAILABLE' }))
    expect(openCodec(RUN)).toMatchObject({ dataShards: 10, unitBytes: 128 * KIB })
  })
})

describe('the directory of a run', () => {
  test.each([
    [RUN, 'photos_7.ec-1763748000123456789'],
    [{ ...RUN, collection: '', runId: '1' }, '7.ec-1'],
  ])('is named after volume and run', (run, name) => {
    expect(shardPaths('/a', run).directory).toBe(`/a/${name}`)
    const { collection, volumeId, runId } = run
    expect(parseRunDirectory(name)).toEqual({ collection, volumeId, runId })
  })

  test.each(['7.ec-', '7.ec-0', '7.ec-01', '7.ec-1x', '7.ec00', '.ec-1', '07.ec-1', 'x.ec-1'])(
    'is not named %s',
    (name) => {
      expect(parseRunDirectory(name)).toBeUndefined()
    },
  )

  test.each(['', '0', '01', '../../etc', '1/2', '1'.repeat(21)])(
    'is never made of the run %j',
    (runId) => {
      const make = () => shardPaths('/a', { ...RUN, runId })
      expect(make).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
    },
  )

  test.each([
    ['7.ec00', 0],
    ['c_7.ec31', 31],
    ['7.ec32', undefined],
    ['7.ec5', undefined],
    ['7.ec05.draft', undefined],
    ['7.ecx', undefined],
  ])('has in it %s, shard %s', (name, shard) => {
    expect(parseShardNumber(name)).toBe(shard)
  })
})
