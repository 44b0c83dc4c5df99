import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import {
  parseReplicaPlacement,
  replicaPlacementFromByte,
} from '../../src/base/replica-placement.ts'
import { parseTtl, TTL_NONE, ttlFromBytes } from '../../src/base/ttl.ts'
import {
  decodeSuperBlock,
  encodeSuperBlock,
  type SuperBlock,
  superBlockBytes,
} from '../../src/format/super-block.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { golden } from '../support/golden.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'

const PLAIN: SuperBlock = {
  version: 3,
  replicaPlacement: parseReplicaPlacement('000'),
  ttl: TTL_NONE,
  compactionRevision: 0,
  extra: Buffer.alloc(0),
}

const GOLDEN: [string, string, SuperBlock][] = [
  ['super-block-v1.dat', '0100000000000000', { ...PLAIN, version: 1 }],
  [
    'super-block-v2.dat',
    '020a0303000200020a00',
    {
      version: 2,
      replicaPlacement: parseReplicaPlacement('010'),
      ttl: parseTtl('3d'),
      compactionRevision: 2,
      extra: Buffer.from('0a00', 'hex'),
    },
  ],
  [
    'super-block-v3.dat',
    '036e050401020000',
    {
      ...PLAIN,
      replicaPlacement: parseReplicaPlacement('110'),
      ttl: parseTtl('5w'),
      compactionRevision: 258,
    },
  ],
]

describe('a super block', () => {
  test.each(GOLDEN)('%s is %s', (file, hex, superBlock) => {
    expect(golden(file).toString('hex')).toBe(hex)
    expect(decodeSuperBlock(golden(file))).toEqual(superBlock)
    expect(encodeSuperBlock(superBlock).toString('hex')).toBe(hex)
    expect(superBlockBytes(superBlock)).toBe(hex.length / 2)
  })

  test('decodes from the start of a volume, whatever follows', () => {
    const volume = Buffer.concat([golden('super-block-v3.dat'), Buffer.alloc(100, 0xff)])
    expect(decodeSuperBlock(volume)).toEqual(GOLDEN[2]?.[2])
  })

  test('keeps its extra bytes when the buffer it came from is reused', () => {
    const source = golden('super-block-v2.dat')
    const { extra } = decodeSuperBlock(source)
    source.fill(0xff)
    expect(extra.toString('hex')).toBe('0a00')
  })

  test.each([0, 4, 5, 255])('version %i is VERSION_UNSUPPORTED', (version) => {
    const bytes = golden('super-block-v3.dat')
    bytes[0] = version
    expectStoreError(() => decodeSuperBlock(bytes), 'VERSION_UNSUPPORTED')
  })

  test.each([7, 255])('TTL unit %i is corrupt', (unit) => {
    const bytes = golden('super-block-v3.dat')
    bytes[3] = unit
    expectStoreError(() => decodeSuperBlock(bytes), 'SUPER_BLOCK_CORRUPT')
  })

  test.each([
    ['0300000000000000', 0],
    ['0300000000000001', undefined],
    ['0300000000000001aa', 1],
    ['030000000000ffff', undefined],
    ['010000000000ffff', 0], // Version 1 does not count extra bytes.
  ])('%s has %o extra bytes, or is corrupt', (hex, extraBytes) => {
    const decode = () => decodeSuperBlock(Buffer.from(hex, 'hex'))
    if (extraBytes === undefined) expectStoreError(decode, 'SUPER_BLOCK_CORRUPT')
    else expect(decode().extra).toHaveLength(extraBytes)
  })

  test('65535 extra bytes fit, 65536 are a bug', () => {
    const largest = { ...PLAIN, extra: Buffer.alloc(65_535, 1) }
    expect(decodeSuperBlock(encodeSuperBlock(largest))).toEqual(largest)
    const bugs = [
      { ...PLAIN, extra: Buffer.alloc(65_536) },
      { ...PLAIN, version: 1 as const, extra: Buffer.alloc(1) },
      { ...PLAIN, compactionRevision: 65_536 },
      { ...PLAIN, compactionRevision: -1 },
    ]
    for (const bug of bugs) expect(() => encodeSuperBlock(bug)).toThrow(AssertionFailure)
  })

  test('is corrupt at every cut', () => {
    for (const file of ['super-block-v1.dat', 'super-block-v2.dat', 'super-block-v3.dat']) {
      for (const { bytes } of everyCut(golden(file))) {
        expectStoreError(() => decodeSuperBlock(bytes), 'SUPER_BLOCK_CORRUPT')
      }
    }
  })

  test('with any byte changed it decodes to what re-encodes, or fails with a code', () => {
    for (const { bytes } of everyFlip(golden('super-block-v2.dat'))) {
      const superBlock = decodeOrCode(bytes)
      if (superBlock === undefined || superBlock.ttl === TTL_NONE) continue
      expect(encodeSuperBlock(superBlock)).toEqual(bytes.subarray(0, superBlockBytes(superBlock)))
    }
  })

  test('any bytes decode or fail with a code', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void decodeOrCode(bytes)))
  })

  test('comes back from its bytes', () => {
    const superBlocks = fc.record({
      version: fc.constantFrom(2 as const, 3 as const),
      replicaPlacement: fc.nat(255).map(replicaPlacementFromByte),
      ttl: fc
        .tuple(fc.integer({ min: 1, max: 255 }), fc.integer({ min: 1, max: 6 }))
        .map(([count, unit]) => ttlFromBytes(count, unit)),
      compactionRevision: fc.nat(0xffff),
      extra: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    })
    fc.assert(
      fc.property(superBlocks, (superBlock) => {
        expect(decodeSuperBlock(encodeSuperBlock(superBlock))).toEqual(superBlock)
      }),
    )
  })
})

function decodeOrCode(bytes: Uint8Array): SuperBlock | undefined {
  const source = Buffer.from(bytes)
  return expectStoreErrorOrValue(
    () => decodeSuperBlock(source),
    'SUPER_BLOCK_CORRUPT',
    'VERSION_UNSUPPORTED',
  )
}
