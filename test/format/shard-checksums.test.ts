import fc from 'fast-check'
import { parse } from 'protobufjs'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import { crc32c } from '../../src/base/crc32c.ts'
import { MIB } from '../../src/base/units.ts'
import {
  decodeShardChecksums,
  encodeShardChecksums,
  SHARD_CHECKSUMS_AT,
  type ShardChecksums,
} from '../../src/format/shard-checksums.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'

const AT = SHARD_CHECKSUMS_AT

/** The message as the description of the format has it, for a decoder that is not ours. */
const MESSAGE = parse(`
  syntax = "proto3";
  message Protection {
    uint32 algorithm = 1;
    uint32 block_size = 2;
    uint32 generation = 3;
    repeated Shard shards = 5;
    string encode_uuid = 6;
  }
  message Shard { uint32 shard_id = 1; uint64 covered_size = 2; bytes block_crc32c = 3; }
`).root.lookupType('Protection')

const SOME: ShardChecksums = {
  blockBytes: MIB,
  runId: '1700000000123456789',
  shards: [
    { shard: 0, coveredBytes: 2 * MIB, blockCrcs: Uint32Array.of(1, 0xffff_fffe) },
    { shard: 3, coveredBytes: 2 * MIB - 1, blockCrcs: Uint32Array.of(0x0102_0304, 0) },
    { shard: 31, coveredBytes: 0, blockCrcs: new Uint32Array(0) },
  ],
}

/** With a head that fits it. */
function framed(payload: Uint8Array): Buffer {
  const head = Buffer.from(encodeShardChecksums(SOME).subarray(0, AT.payload))
  head.writeUInt32BE(payload.length, AT.payloadBytes)
  head.writeUInt32BE(crc32c(payload), AT.payloadCrc)
  return Buffer.concat([head, payload])
}

function encoded(members: object): Buffer {
  return framed(MESSAGE.encode(MESSAGE.fromObject(members)).finish())
}

describe('the checksums of shards', () => {
  test('come back as they were, for us and for any reader of protobuf', () => {
    const bytes = encodeShardChecksums(SOME)
    expect(decodeShardChecksums(bytes)).toEqual(SOME)
    expect(bytes.subarray(0, 6).toString('hex')).toBe('454353550001')
    expect(MESSAGE.toObject(MESSAGE.decode(bytes.subarray(AT.payload)), { longs: Number })).toEqual(
      {
        algorithm: 1,
        blockSize: MIB,
        encodeUuid: SOME.runId,
        shards: [
          { coveredSize: 2 * MIB, blockCrc32c: Buffer.from('01000000feffffff', 'hex') },
          {
            shardId: 3,
            coveredSize: 2 * MIB - 1,
            blockCrc32c: Buffer.from('0403020100000000', 'hex'),
          },
          { shardId: 31, blockCrc32c: Buffer.alloc(0) },
        ],
      },
    )
  })

  test('are read as another writer of protobuf orders them, with fields that are not known', () => {
    const shards = [{ shardId: 2, coveredSize: 7, blockCrc32c: Buffer.from('05000000', 'hex') }]
    const bytes = encoded({ algorithm: 1, blockSize: MIB, generation: 9, shards, encodeUuid: 'x' })
    const expected = { shard: 2, coveredBytes: 7, blockCrcs: Uint32Array.of(5) }
    expect(decodeShardChecksums(bytes)).toEqual({ blockBytes: MIB, runId: 'x', shards: [expected] })
  })

  test('survive sizes and checksums of any kind', () => {
    const shard = fc.record({
      coveredBytes: fc.integer({ min: 0, max: 40 * MIB }),
      fill: fc.integer({ min: 0, max: 0xffff_ffff }),
    })
    fc.assert(
      fc.property(
        fc.array(shard, { maxLength: 32 }),
        fc.integer({ min: 0, max: 6 }),
        (all, log) => {
          const blockBytes = MIB * 2 ** log
          const shards = all.map(({ coveredBytes, fill }, index) => {
            const blockCrcs = new Uint32Array(Math.ceil(coveredBytes / blockBytes)).fill(fill)
            return { shard: index, coveredBytes, blockCrcs }
          })
          const sums = { blockBytes, runId: String(log), shards }
          expect(decodeShardChecksums(encodeShardChecksums(sums))).toEqual(sums)
        },
      ),
      { numRuns: 50 },
    )
  })

  test('are corrupt at every cut, with any bit flipped, and with bytes left over', () => {
    const bytes = encodeShardChecksums(SOME)
    const damaged = [...everyCut(bytes), ...everyFlip(bytes)].map((mutation) => mutation.bytes)
    for (const each of [...damaged, Buffer.concat([bytes, Buffer.alloc(1)])]) {
      expectStoreError(() => decodeShardChecksums(each), 'SIDECAR_CORRUPT')
    }
  })

  const shard = { shardId: 1, coveredSize: 1, blockCrc32c: Buffer.alloc(4) }
  test.each<[string, object]>([
    ['another algorithm', { algorithm: 2, blockSize: MIB }],
    ['no block size', { algorithm: 1 }],
    ['blocks of half a MiB', { algorithm: 1, blockSize: MIB / 2 }],
    ['blocks of 3 MiB', { algorithm: 1, blockSize: 3 * MIB }],
    ['a shard 32', { algorithm: 1, blockSize: MIB, shards: [{ ...shard, shardId: 32 }] }],
    ['a shard twice', { algorithm: 1, blockSize: MIB, shards: [shard, shard] }],
    [
      'a checksum too few',
      { algorithm: 1, blockSize: MIB, shards: [{ ...shard, coveredSize: MIB + 1 }] },
    ],
    [
      'half a checksum',
      { algorithm: 1, blockSize: MIB, shards: [{ ...shard, blockCrc32c: Buffer.alloc(2) }] },
    ],
  ])('with a right frame but %s are corrupt', (_what, members) => {
    expectStoreError(() => decodeShardChecksums(encoded(members)), 'SIDECAR_CORRUPT')
  })

  test('any payload decodes or is corrupt', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (payload) => {
        expectStoreErrorOrValue(() => decodeShardChecksums(framed(payload)), 'SIDECAR_CORRUPT')
      }),
      { numRuns: 2000 },
    )
  })

  test('cannot be made of what does not fit together', () => {
    const bugs: Partial<ShardChecksums>[] = [
      { blockBytes: MIB - 1 },
      { shards: [{ shard: 32, coveredBytes: 0, blockCrcs: new Uint32Array(0) }] },
      { shards: [{ shard: 0, coveredBytes: 1, blockCrcs: new Uint32Array(0) }] },
    ]
    for (const bug of bugs) {
      expect(() => encodeShardChecksums({ ...SOME, ...bug })).toThrow(AssertionFailure)
    }
  })
})
