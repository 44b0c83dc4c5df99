import { describe, expect, test } from 'vitest'
import {
  CHECKSUM_ALGORITHMS,
  decodeObjectVersion,
  encodeObjectVersion,
  NO_ATTRIBUTES,
  type ObjectVersion,
  publicVersionId,
  RETENTION_MODES,
  STORAGE_CLASSES,
} from '../../src/namespace/object-version.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { everyCut, everyFlip } from '../support/mutations.ts'
import { Prng, seeds } from '../support/prng.ts'

const SMALL: ObjectVersion = {
  ...NO_ATTRIBUTES,
  id: '018cc251f400aabbccdd000000001234',
  isNull: true,
  isMarker: false,
  seq: 1_704_067_200_000_000,
  modifiedAtMs: 1_704_067_200_000,
  sizeBytes: 300,
  etag: 'd41d8cd98f00b204e9800998ecf8427e',
  storageClass: 'STANDARD',
  checksum: undefined,
  parts: [{ fileId: '3,01637037d6', sizeBytes: 300 }],
  ownerId: undefined,
}

const MARKER: ObjectVersion = {
  ...SMALL,
  isNull: false,
  isMarker: true,
  sizeBytes: 0,
  etag: '',
  parts: [],
}

const FULL: ObjectVersion = {
  id: 'ffffffffffffffffffffffffffffffff',
  isNull: false,
  isMarker: false,
  seq: 5,
  modifiedAtMs: 7,
  sizeBytes: 400,
  etag: '0123456789abcdef0123456789abcdef-3',
  storageClass: 'GLACIER_IR',
  checksum: { algorithm: 'SHA256', type: 'COMPOSITE', value: 'AAAA-3' },
  parts: [
    { fileId: '4294967295,0123456789abcdef637037d6', sizeBytes: 100, checksum: 'AQID' },
    { fileId: '1,0100000000', sizeBytes: 300 },
  ],
  ownerId: 'ab'.repeat(32),
  contentType: 'text/é',
  headers: { 'cache-control': 'no-cache' },
  metadata: { k: 'v' },
  tags: [{ key: 't', value: '' }],
  acl: '{}',
  retention: { mode: 'COMPLIANCE', untilMs: 9 },
  isLegalHold: true,
}

const ROWS: readonly [string, ObjectVersion, string][] = [
  [
    'one file',
    SMALL,
    '01000280c08481f1ba8303018cc251f400aabbccdd0000000012348' +
      '0e8c792cc31ac02d41d8cd98f00b204e9800998ecf8427e00010000000300000000000000' +
      '01637037d6ac02',
  ],
  [
    'a marker',
    MARKER,
    '01000180c08481f1ba8303018cc251f400aabbccdd00000000123480e8c792cc3100' +
      '000000000000000000000000000000000000',
  ],
  [
    'all there can be',
    FULL,
    '0147fc05ffffffffffffffffffffffffffffffff07900301234567' +
      '89abcdef0123456789abcdef03' +
      'ab'.repeat(32) +
      '0904064141' +
      '41412d3307746578742fc3a902ffffffff0123456789abcdef637037d66403010203' +
      '00000001000000000000000100000000ac0200' +
      `68${Buffer.from(
        '{"headers":{"cache-control":"no-cache"},"metadata":{"k":"v"},' +
          '"tags":[{"key":"t","value":""}],"acl":"{}"}',
      ).toString('hex')}`,
  ],
]

describe('the row of a version', () => {
  test.each(ROWS)(
    'with %s has these bytes, and says the same when it is read',
    (_, version, hex) => {
      const row = encodeObjectVersion(version)
      expect(row.toString('hex')).toBe(hex)
      expect(decodeObjectVersion(row, 'k')).toEqual(version)
    },
  )

  test.each(ROWS)('with %s is METADATA_CORRUPT wherever it is cut', (_, version) => {
    for (const { bytes, what } of everyCut(encodeObjectVersion(version))) {
      const run = () => decodeObjectVersion(bytes, 'k')
      expect(expectStoreErrorOrValue(run, 'METADATA_CORRUPT'), what).toBeUndefined()
    }
  })

  test.each(ROWS)(
    'with %s is METADATA_CORRUPT or a version with any byte changed',
    (_, version) => {
      for (const { bytes } of everyFlip(encodeObjectVersion(version))) {
        const read = expectStoreErrorOrValue(
          () => decodeObjectVersion(bytes, 'k'),
          'METADATA_CORRUPT',
        )
        // What could be read can be written: it has no value that the codec does not know.
        if (read !== undefined)
          expect(decodeObjectVersion(encodeObjectVersion(read), 'k')).toEqual(read)
      }
    },
  )

  test.each([
    'null',
    '5',
    '[]',
    '"x"',
    '{"headers":5}',
    '{"headers":{"a":1}}',
    '{"metadata":[]}',
    '{"tags":{}}',
    '{"tags":[{"key":"k"}]}',
    '{"acl":{}}',
    '{',
  ])('with the attributes %s is METADATA_CORRUPT', (text) => {
    const row = encodeObjectVersion({ ...SMALL, acl: 'x' })
    const at = row.length - Buffer.byteLength('{"acl":"x"}') - 1
    const bytes = Buffer.concat([row.subarray(0, at), Buffer.of(text.length), Buffer.from(text)])
    expectStoreError(() => decodeObjectVersion(bytes, 'k'), 'METADATA_CORRUPT')
  })

  test.each([
    [0, 'STANDARD'],
    [1, 'STANDARD_IA'],
    [2, 'GLACIER_IR'],
    [3, 'REDUCED_REDUNDANCY'],
    [4, 'ONEZONE_IA'],
    [5, 'INTELLIGENT_TIERING'],
  ] as const)('has the number %d for the class %s', (number, storageClass) => {
    const row = encodeObjectVersion({ ...SMALL, storageClass })
    expect((row[1] ?? 0) >> 5).toBe(number)
    expect(decodeObjectVersion(row, 'k').storageClass).toBe(storageClass)
  })

  test('is METADATA_CORRUPT with another version, unknown flags, volume 0 or bytes behind it', () => {
    const row = encodeObjectVersion(SMALL)
    const changes: [number, number][] = [
      [0, 2],
      [1, 0xc0],
      [1, 0xe0],
      [1, 0x08],
      [1, 0x10],
    ]
    for (const [at, value] of changes) {
      const bytes = Buffer.from(row)
      bytes[at] = value
      expectStoreError(() => decodeObjectVersion(bytes, 'k'), 'METADATA_CORRUPT')
    }
    const onVolume0 = Buffer.from(row)
    onVolume0.fill(0, row.length - 18, row.length - 14)
    expectStoreError(() => decodeObjectVersion(onVolume0, 'k'), 'METADATA_CORRUPT')
    const longer = Buffer.concat([row, Buffer.of(0)])
    expectStoreError(() => decodeObjectVersion(longer, 'k'), 'METADATA_CORRUPT')
  })

  test('cannot be written with an id, owner or ETag that cannot be read again', () => {
    const bad: Partial<ObjectVersion>[] = [
      { id: 'abc' },
      { ownerId: 'ab' },
      { ownerId: 'x'.repeat(64) },
      { etag: 'D41D8CD98F00B204E9800998ECF8427E' },
      { etag: '' },
      { seq: -1 },
      { sizeBytes: 0.5 },
    ]
    for (const change of bad) {
      expect(() => encodeObjectVersion({ ...SMALL, ...change })).toThrow()
    }
  })

  test.each(seeds(50))('comes back, whatever it is (seed %d)', (seed) => {
    const prng = new Prng(seed)
    for (let round = 0; round < 20; round++) {
      const version = randomVersion(prng)
      expect(decodeObjectVersion(encodeObjectVersion(version), 'k')).toEqual(version)
    }
  })
})

test('clients know a version by its id, or as null', () => {
  expect(publicVersionId(SMALL)).toBe('null')
  expect(publicVersionId(FULL)).toBe(FULL.id)
})

function randomVersion(prng: Prng): ObjectVersion {
  const number = () => Math.floor((prng.u32() / 2 ** 32) * 2 ** prng.below(54))
  const maybe = <Value>(value: Value) => (prng.chance(0.5) ? value : undefined)
  const hex = (bytes: number) => prng.bytes(bytes).toString('hex')
  const texts = () => {
    const count = prng.below(3)
    return Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, hex(3)]))
  }
  const hasChecksums = prng.chance(0.5)
  const parts = Array.from({ length: prng.below(5) }, () => {
    const fileId = `${prng.between(1, 2 ** 32 - 1)},${'ff'}${hex(7)}${hex(4)}`
    const part = { fileId, sizeBytes: number() }
    return hasChecksums && prng.chance(0.7) ? { ...part, checksum: 'AQIDBA==' } : part
  })
  const suffix = prng.chance(0.5) ? '' : `-${prng.between(1, 10_000)}`
  const retention = { mode: prng.pick(RETENTION_MODES), untilMs: number() }
  return {
    id: hex(16),
    isNull: prng.chance(0.5),
    isMarker: false,
    seq: number(),
    modifiedAtMs: number(),
    sizeBytes: number(),
    etag: hex(16) + suffix,
    storageClass: prng.pick(STORAGE_CLASSES),
    checksum: maybe({
      algorithm: prng.pick(CHECKSUM_ALGORITHMS),
      type: prng.pick(['FULL_OBJECT', 'COMPOSITE'] as const),
      value: hex(8),
    }),
    parts,
    ownerId: maybe(hex(32)),
    contentType: maybe(hex(3)),
    headers: texts(),
    metadata: texts(),
    tags: Array.from({ length: prng.below(3) }, () => ({ key: hex(2), value: hex(2) })),
    acl: maybe(hex(3)),
    retention: maybe(retention),
    isLegalHold: prng.chance(0.5),
  }
}
