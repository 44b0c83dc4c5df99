import fc from 'fast-check'
import { cookie, needleId, volumeId } from '../../src/base/ids.ts'
import { replicaPlacementFromByte } from '../../src/base/replica-placement.ts'
import { TTL_NONE, type Ttl } from '../../src/base/ttl.ts'
import type { WritePolicy } from '../../src/net/master-api.ts'

/** Values as they go over the wire, and how the messages that carry them are tried. */

export const u32 = fc.nat({ max: 0xffff_ffff })
export const u64 = fc.maxSafeNat()
/** May be without end. */
export const ratio = fc.double({ min: 0, noNaN: true })
export const politeness = fc.double({ min: 0, noNaN: true, noDefaultInfinity: true })
export const text = fc.string({ unit: 'grapheme' })
export const someText = fc.string({ unit: 'grapheme', minLength: 1 })
export const bool = fc.boolean()
export const bytes = fc.uint8Array({ maxLength: 100 }).map((array) => Buffer.from(array))
export const aVolumeId = fc.integer({ min: 1, max: 0xffff_ffff }).map(volumeId)
export const volumeIds = fc.array(aVolumeId)
export const aNeedleId = fc.tuple(u32, u32).map(([hi, lo]) => needleId(hi, lo))
export const fileId = fc.record({
  volumeId: aVolumeId,
  needleId: aNeedleId,
  cookie: u32.map(cookie),
})
export const replication = fc.nat({ max: 255 }).map(replicaPlacementFromByte)
export const ttl = fc.oneof(
  fc.constant(TTL_NONE),
  fc.record({ count: fc.integer({ min: 1, max: 6 }), unit: fc.constant('day' as const) }),
  fc.record({ count: fc.integer({ min: 1, max: 11 }), unit: fc.constant('month' as const) }),
) as fc.Arbitrary<Ttl>
export const node = fc.record({
  url: someText,
  publicUrl: text,
  grpcAddress: text,
  dataCenter: text,
  rack: text,
})
export const report = fc.record({
  volumeId: aVolumeId,
  collection: text,
  replication,
  ttl,
  state: fc.constantFrom('writable', 'sealed', 'read-only', 'failed', 'damaged'),
  reason: text,
  liveNeedles: u64,
  liveBytes: u64,
  garbageBytes: u64,
  datBytes: u64,
  compactionRevision: u32,
  directoryId: text,
  modifiedAtS: u64,
  digest: fc.constantFrom('', '0123456789abcdef'),
  requestsPerS: ratio,
})
export const disk = fc.record({
  directoryId: text,
  path: text,
  totalBytes: u64,
  freeBytes: u64,
  reserveBytes: u64,
  quarantinedCount: u32,
  clusterId: text,
})
export const writePolicy = fc.constantFrom<WritePolicy>('all', 'best-effort')
export const locations = fc.record({
  volumeId: aVolumeId,
  collection: text,
  locations: fc.array(node, { maxLength: 3 }),
  writePolicy,
})
export const reported = fc.array(report, { maxLength: 3 })
export const disks = fc.array(disk, { maxLength: 3 })
export const place = { dataCenter: text, rack: text, node: text }
export const growth = {
  count: u32,
  collection: text,
  replication: maybe(replication),
  ttl,
  ...place,
}
export const command = { epoch: u64, volumeId: aVolumeId }
export const ns = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })

export const extent = fc.record({ datBytes: u64, compactionRevision: u32 })

export interface Row {
  readonly message: string
  readonly values: fc.Arbitrary<unknown>
  readonly toWire: (value: unknown) => object
  readonly fromWire: (wire: unknown) => unknown
}

export function row<Value, Wire extends object>(
  message: string,
  values: fc.Arbitrary<Value>,
  toWire: (value: Value) => Wire | null,
  fromWire: (wire: Wire) => unknown,
): Row {
  return {
    message,
    values,
    toWire: toWire as Row['toWire'],
    fromWire: fromWire as Row['fromWire'],
  }
}

/** Or undefined. */
export function maybe<Value>(values: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> {
  return fc.option(values, { nil: undefined })
}
