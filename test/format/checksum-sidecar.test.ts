import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import { crc32c } from '../../src/base/crc32c.ts'
import { KIB, MIB } from '../../src/base/units.ts'
import {
  CHECKSUM_SIDECAR_AT,
  type ChecksumSidecar,
  checksumSidecarBytes,
  decodeChecksumSidecar,
  encodeChecksumSidecar,
} from '../../src/format/checksum-sidecar.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { golden } from '../support/golden.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'

const AT = CHECKSUM_SIDECAR_AT

const EMPTY: ChecksumSidecar = {
  blockBytes: MIB,
  watermarkBytes: 0,
  idxBytes: 0,
  idxCrc: 0,
  compactionRevision: 0,
  isClean: false,
  isSealed: false,
  lastAppendAtNs: 0n,
  blockCrcs: new Uint32Array(0),
}

describe('a checksum sidecar', () => {
  test('checksums.sum has the fields it was made of, and the same bytes when written', () => {
    const expected: ChecksumSidecar = {
      blockBytes: 4096,
      watermarkBytes: 4104,
      idxBytes: 16,
      idxCrc: crc32c(Buffer.from('00000000000000010000000100000016', 'hex')),
      compactionRevision: 2,
      isClean: true,
      isSealed: true,
      lastAppendAtNs: 1_700_000_000_123_456_789n,
      blockCrcs: Uint32Array.of(
        crc32c(Buffer.alloc(4104, 'hay').subarray(0, 4096)),
        crc32c(Buffer.alloc(4104, 'hay').subarray(4096)),
      ),
    }
    expect(decodeChecksumSidecar(golden('checksums.sum'))).toEqual(expected)
    expect(encodeChecksumSidecar(expected)).toEqual(golden('checksums.sum'))
  })

  test.each([
    [0, 0],
    [1, 1],
    [4095, 1],
    [4096, 1],
    [4097, 2],
    [8192, 2],
  ])('of %i bytes in blocks of 4 KiB has %i checksums', (watermarkBytes, blocks) => {
    const sidecar = covering(watermarkBytes, 4 * KIB)
    const bytes = encodeChecksumSidecar(sidecar)
    expect(bytes).toHaveLength(52 + 4 * blocks + 4)
    expect(bytes).toHaveLength(checksumSidecarBytes(watermarkBytes, 4 * KIB))
    expect(decodeChecksumSidecar(bytes)).toEqual(sidecar)
  })

  test.each([4 * KIB, 8 * KIB, MIB, 64 * MIB])('may have blocks of %i bytes', (blockBytes) => {
    const sidecar = covering(3 * blockBytes, blockBytes)
    expect(decodeChecksumSidecar(encodeChecksumSidecar(sidecar))).toEqual(sidecar)
  })

  test.each([0, 1, 2 * KIB, 4 * KIB - 1, 4 * KIB + 1, 5000, 12 * KIB, 128 * MIB, 2 ** 31])(
    'cannot have blocks of %i bytes',
    (blockBytes) => {
      expect(() => encodeChecksumSidecar({ ...EMPTY, blockBytes })).toThrow(AssertionFailure)
      const bytes = resigned((target) => target.writeUInt32BE(blockBytes, AT.blockBytes))
      expectStoreError(() => decodeChecksumSidecar(bytes), 'SIDECAR_CORRUPT')
    },
  )

  test('the number of checksums must fit the watermark', () => {
    const bugs: Partial<ChecksumSidecar>[] = [
      { blockCrcs: new Uint32Array(1) },
      { watermarkBytes: 1 },
      { watermarkBytes: -1 },
      { watermarkBytes: 0.5, blockCrcs: new Uint32Array(1) },
      { idxBytes: -16 },
      { idxBytes: 2 ** 53 },
    ]
    for (const bug of bugs) {
      expect(() => encodeChecksumSidecar({ ...EMPTY, ...bug })).toThrow(AssertionFailure)
    }
  })

  test('is corrupt at every cut', () => {
    for (const { bytes } of everyCut(golden('checksums.sum'))) {
      expectStoreError(() => decodeChecksumSidecar(bytes), 'SIDECAR_CORRUPT')
    }
  })

  test('is corrupt with any bit flipped', () => {
    for (const { bytes } of everyFlip(golden('checksums.sum'))) {
      expectStoreError(() => decodeChecksumSidecar(bytes), 'SIDECAR_CORRUPT')
    }
  })

  test('is corrupt with bytes left over', () => {
    const bytes = Buffer.concat([golden('checksums.sum'), Buffer.alloc(1)])
    expectStoreError(() => decodeChecksumSidecar(bytes), 'SIDECAR_CORRUPT')
  })

  test.each<[string, (target: Buffer) => unknown]>([
    ['another format version', (target) => target.writeUInt32BE(2, AT.formatVersion)],
    ['an unknown flag', (target) => target.writeUInt16BE(4, AT.flags)],
    ['a watermark above 2^53', (target) => target.writeUInt8(0xff, AT.watermarkBytes)],
    ['a watermark of another block count', (target) => target.writeUInt8(1, AT.watermarkBytes + 2)],
    ['an index length above 2^53', (target) => target.writeUInt8(0xff, AT.idxBytes)],
    ['no blocks', (target) => target.writeUInt32BE(0, AT.blockCount)],
    ['2^32 - 1 blocks', (target) => target.writeUInt32BE(0xffff_ffff, AT.blockCount)],
  ])('with a right checksum but %s it is corrupt', (_, change) => {
    expectStoreError(() => decodeChecksumSidecar(resigned(change)), 'SIDECAR_CORRUPT')
  })

  test('that claims 2^32 - 1 blocks of 4 KiB consistently allocates nothing for them', () => {
    const bytes = resigned((target) => {
      target.writeBigUInt64BE(BigInt(0xffff_ffff) * 4096n, AT.watermarkBytes)
      target.writeUInt32BE(0xffff_ffff, AT.blockCount)
    })
    const before = process.memoryUsage().arrayBuffers
    expectStoreError(() => decodeChecksumSidecar(bytes), 'SIDECAR_CORRUPT')
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MIB)
  })

  test('any bytes decode or fail with SIDECAR_CORRUPT, also below a right frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 60 }), (bytes) => {
        const framed = sign(Buffer.concat([golden('checksums.sum').subarray(0, 12), bytes]))
        for (const source of [Buffer.from(bytes), framed]) {
          expectStoreErrorOrValue(() => decodeChecksumSidecar(source), 'SIDECAR_CORRUPT')
        }
      }),
    )
  })

  test('comes back from its bytes', () => {
    const sidecars = fc.record({
      blockBytes: fc.constant(4 * KIB),
      watermarkBytes: fc.nat(100_000),
      idxBytes: fc.maxSafeNat(),
      idxCrc: fc.nat(0xffff_ffff),
      compactionRevision: fc.nat(0xffff),
      isClean: fc.boolean(),
      isSealed: fc.boolean(),
      lastAppendAtNs: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    })
    fc.assert(
      fc.property(sidecars, (fields) => {
        const sidecar = { ...covering(fields.watermarkBytes, fields.blockBytes), ...fields }
        expect(decodeChecksumSidecar(encodeChecksumSidecar(sidecar))).toEqual(sidecar)
      }),
    )
  })
})

function covering(watermarkBytes: number, blockBytes: number): ChecksumSidecar {
  const count = Math.ceil(watermarkBytes / blockBytes)
  const blockCrcs = Uint32Array.from({ length: count }, (_, index) => 0xffff_ffff - index)
  return { ...EMPTY, watermarkBytes, blockBytes, blockCrcs }
}

/** The golden sidecar, changed, with a checksum that fits the change. */
function resigned(change: (target: Buffer) => unknown): Buffer {
  const bytes = golden('checksums.sum')
  change(bytes)
  return sign(bytes.subarray(0, -4))
}

function sign(body: Buffer): Buffer {
  const crc = Buffer.alloc(4)
  crc.writeUInt32BE(crc32c(body))
  return Buffer.concat([body, crc])
}
