import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import { LIMITS } from '../../src/base/limits.ts'
import {
  decodeVolumeInfo,
  emptyVolumeInfo,
  encodeVolumeInfo,
  type VolumeInfo,
} from '../../src/format/volume-info.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { golden } from '../support/golden.ts'

const GOLDEN: VolumeInfo = {
  files: [],
  version: 3,
  replication: '010',
  bytesOffset: 4,
  datFileSize: 8_589_934_592,
  expireAtSec: 1_700_000_000,
  readOnly: true,
  readOnlyCanDelete: false,
  ecShardConfig: {
    dataShards: 10,
    parityShards: 4,
    encodeTsNs: '1700000000123456789',
    codec: 'ronomon-cauchy',
    codecUnit: 262_144,
  },
  unknown: {},
}

describe('writing a volume info', () => {
  test('volume-info.vif comes out byte for byte', () => {
    expect(decodeVolumeInfo(golden('volume-info.vif').toString())).toEqual(GOLDEN)
    expect(encodeVolumeInfo(GOLDEN)).toBe(golden('volume-info.vif').toString())
  })

  test('names every member, also the empty ones; 64-bit numbers are strings', () => {
    expect(JSON.parse(encodeVolumeInfo(emptyVolumeInfo()))).toEqual({
      files: [],
      version: 0,
      replication: '',
      bytesOffset: 0,
      datFileSize: '0',
      expireAtSec: '0',
      readOnly: false,
      ecShardConfig: null,
      readOnlyCanDelete: false,
    })
  })

  test('a negative or broken number is a bug', () => {
    for (const datFileSize of [-1, 0.5, 2 ** 53]) {
      const info = { ...emptyVolumeInfo(), datFileSize }
      expect(() => encodeVolumeInfo(info)).toThrow(AssertionFailure)
    }
  })
})

describe('reading a volume info', () => {
  test.each(['', ' ', '\n\t '])('empty text %o is no info', (text) => {
    expect(decodeVolumeInfo(text)).toBeUndefined()
  })

  test('an empty object is an empty info', () => {
    expect(decodeVolumeInfo('{}')).toEqual(emptyVolumeInfo())
  })

  test.each<[string, Partial<VolumeInfo>]>([
    ['{"version":3}', { version: 3 }],
    [' { "version" : 3 ,\n"replication" :  "001" }\n', { version: 3, replication: '001' }],
    ['{"datFileSize":"5"}', { datFileSize: 5 }],
    ['{"datFileSize":5}', { datFileSize: 5 }],
    ['{"dat_file_size":"5"}', { datFileSize: 5 }],
    ['{"bytes_offset":5,"read_only":true}', { bytesOffset: 5, readOnly: true }],
    ['{"BytesOffset":5}', { bytesOffset: 5 }],
    ['{"DestroyTime":"9"}', { expireAtSec: 9 }],
    ['{"expire_at_sec":"9"}', { expireAtSec: 9 }],
    ['{"read_only_can_delete":true}', { readOnlyCanDelete: true }],
    ['{"BytesOffset":5,"bytesOffset":4,"bytes_offset":6}', { bytesOffset: 4 }],
    ['{"version":null,"files":null,"readOnly":null,"ecShardConfig":null}', {}],
    ['{"files":[{"key":"k"}]}', { files: [{ key: 'k' }] }],
    [
      '{"ec_shard_config":{"data_shards":4,"parity_shards":2}}',
      { ecShardConfig: { dataShards: 4, parityShards: 2, encodeTsNs: '0' } },
    ],
    [
      '{"ecShardConfig":{"encodeTsNs":7}}',
      {
        ecShardConfig: { dataShards: 0, parityShards: 0, encodeTsNs: '7' },
      },
    ],
  ])('%s', (text, members) => {
    expect(decodeVolumeInfo(text)).toEqual({ ...emptyVolumeInfo(), ...members })
  })

  test('what it does not know is kept and written back, at both levels', () => {
    const text = '{"shape":[1,{"x":null}],"ecShardConfig":{"dataShards":4,"colour":"red"}}'
    const info = decodeVolumeInfo(text)
    expect(info?.unknown).toEqual({ shape: [1, { x: null }] })
    expect(info?.ecShardConfig?.unknown).toEqual({ colour: 'red' })
    const written = encodeVolumeInfo(info ?? emptyVolumeInfo())
    expect(JSON.parse(written)).toMatchObject(JSON.parse(text))
    expect(decodeVolumeInfo(written)).toEqual(info)
  })

  test('a member called __proto__ is only a member', () => {
    const info = decodeVolumeInfo('{"__proto__":{"readOnly":true},"constructor":1}')
    expect(info?.readOnly).toBe(false)
    expect(JSON.parse(encodeVolumeInfo(info ?? emptyVolumeInfo()))).toHaveProperty('constructor', 1)
  })

  test.each([
    'x',
    '{',
    '[]',
    '1',
    'null',
    '"x"',
    '{"version":"three"}',
    '{"version":-1}',
    '{"version":1.5}',
    '{"version":true}',
    '{"datFileSize":"9007199254740992"}',
    '{"datFileSize":"-5"}',
    '{"datFileSize":"5 "}',
    '{"datFileSize":{}}',
    '{"replication":1}',
    '{"readOnly":"true"}',
    '{"files":{}}',
    '{"files":[1]}',
    '{"files":[null]}',
    '{"ecShardConfig":[]}',
    '{"ecShardConfig":{"dataShards":"x"}}',
    '{"ecShardConfig":{"codec":1}}',
    '{"ecShardConfig":{"encodeTsNs":"123456789012345678901"}}',
  ])('%s is corrupt', (text) => {
    expectStoreError(() => decodeVolumeInfo(text), 'VOLUME_INFO_CORRUPT')
  })

  test('is corrupt at every cut', () => {
    const text = encodeVolumeInfo(GOLDEN).trimEnd()
    for (let length = 1; length < text.length; length++) {
      expectStoreError(() => decodeVolumeInfo(text.slice(0, length)), 'VOLUME_INFO_CORRUPT')
    }
  })

  test('text over the limit and text of many levels is refused', () => {
    const { value } = LIMITS.volumeInfoMax
    expect(decodeVolumeInfo('{}'.padEnd(value))).toEqual(emptyVolumeInfo())
    expectStoreError(() => decodeVolumeInfo('{}'.padEnd(value + 1)), 'VOLUME_INFO_CORRUPT')
    const deep = `{"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
    expectStoreError(() => decodeVolumeInfo(deep), 'VOLUME_INFO_CORRUPT')
  })

  test('any text and any JSON is an info or VOLUME_INFO_CORRUPT', () => {
    const names = fc.constantFrom(...Object.keys(emptyVolumeInfo()), 'BytesOffset', 'x')
    const objects = fc.dictionary(names, fc.jsonValue()).map((object) => JSON.stringify(object))
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), objects), (text) => {
        const info = expectStoreErrorOrValue(() => decodeVolumeInfo(text), 'VOLUME_INFO_CORRUPT')
        if (info !== undefined) expect(decodeVolumeInfo(encodeVolumeInfo(info))).toEqual(info)
      }),
      { numRuns: 500 },
    )
  })
})
