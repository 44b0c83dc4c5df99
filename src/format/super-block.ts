import { assert } from '../base/assert.ts'
import {
  type ReplicaPlacement,
  replicaPlacementFromByte,
  replicaPlacementToByte,
} from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import { type Ttl, ttlFromBytes, ttlToBytes } from '../base/ttl.ts'

/** The fixed part; the first needle starts after it and the extra bytes. */
export const SUPER_BLOCK_BYTES = 8

/** Where each field of the super block starts. */
export const SUPER_BLOCK_AT = {
  version: 0,
  replicaPlacement: 1,
  ttlCount: 2,
  ttlUnit: 3,
  compactionRevision: 4,
  extraSize: 6,
  extra: 8,
} as const

const UINT16_MAX = 0xffff

/**
 * The first bytes of every `.dat` file. Big-endian.
 *
 *     0           1               2             3            4              6             8
 *     | version   | placement u8  | ttl count   | ttl unit   | revision u16 | extra u16   | extra |
 *
 * `placement` is three decimal digits in one byte. `revision` grows by one with every vacuum.
 * `extra` counts the bytes that follow, in versions 2 and 3 only; nothing known is kept in them.
 * Source: SeaweedFS volume super block, versions 1 to 3.
 */
export interface SuperBlock {
  readonly version: 1 | 2 | 3
  readonly replicaPlacement: ReplicaPlacement
  readonly ttl: Ttl
  readonly compactionRevision: number
  readonly extra: Buffer
}

/** Length on disk: where the first needle starts. */
export function superBlockBytes(superBlock: SuperBlock): number {
  return SUPER_BLOCK_BYTES + (superBlock.version === 1 ? 0 : superBlock.extra.length)
}

/** Hayloft writes version 3; the older ones are encoded for tests. */
export function encodeSuperBlock(superBlock: SuperBlock): Buffer {
  const { version, compactionRevision, extra } = superBlock
  assert(version === 1 || version === 2 || version === 3, `super block version ${version}`)
  assert(extra.length <= UINT16_MAX, `super block extra of ${extra.length} bytes`)
  assert(version > 1 || extra.length === 0, 'version 1 has no extra bytes')
  assert(
    Number.isInteger(compactionRevision) &&
      compactionRevision >= 0 &&
      compactionRevision <= UINT16_MAX,
    `compaction revision ${compactionRevision}`,
  )
  const target = Buffer.alloc(superBlockBytes(superBlock))
  target[SUPER_BLOCK_AT.version] = version
  target[SUPER_BLOCK_AT.replicaPlacement] = replicaPlacementToByte(superBlock.replicaPlacement)
  target.set(ttlToBytes(superBlock.ttl), SUPER_BLOCK_AT.ttlCount)
  target.writeUInt16BE(compactionRevision, SUPER_BLOCK_AT.compactionRevision)
  target.writeUInt16BE(extra.length, SUPER_BLOCK_AT.extraSize)
  target.set(extra, SUPER_BLOCK_AT.extra)
  return target
}

/**
 * Reads the super block at the start of `source`; bytes after it are ignored.
 *
 * @throws {StoreError} SUPER_BLOCK_CORRUPT: cut short, an unknown TTL unit, or extra bytes that
 * are not there. VERSION_UNSUPPORTED: a version other than 1, 2 or 3.
 */
export function decodeSuperBlock(source: Buffer): SuperBlock {
  if (source.length < SUPER_BLOCK_BYTES) {
    throw new StoreError('SUPER_BLOCK_CORRUPT', `super block of ${source.length} bytes`)
  }
  const version = source.readUInt8(SUPER_BLOCK_AT.version)
  if (version !== 1 && version !== 2 && version !== 3) {
    throw new StoreError('VERSION_UNSUPPORTED', `volume format version ${version}`)
  }
  const extraBytes = version === 1 ? 0 : source.readUInt16BE(SUPER_BLOCK_AT.extraSize)
  if (SUPER_BLOCK_BYTES + extraBytes > source.length) {
    throw new StoreError(
      'SUPER_BLOCK_CORRUPT',
      `super block with ${extraBytes} extra bytes, ${source.length - SUPER_BLOCK_BYTES} are there`,
    )
  }
  return {
    version,
    replicaPlacement: replicaPlacementFromByte(source.readUInt8(SUPER_BLOCK_AT.replicaPlacement)),
    ttl: decodeTtl(source),
    compactionRevision: source.readUInt16BE(SUPER_BLOCK_AT.compactionRevision),
    // A copy: the caller's buffer may be reused.
    extra: Buffer.from(source.subarray(SUPER_BLOCK_AT.extra, SUPER_BLOCK_BYTES + extraBytes)),
  }
}

function decodeTtl(source: Buffer): Ttl {
  const unit = source.readUInt8(SUPER_BLOCK_AT.ttlUnit)
  try {
    return ttlFromBytes(source.readUInt8(SUPER_BLOCK_AT.ttlCount), unit)
  } catch (cause) {
    throw new StoreError('SUPER_BLOCK_CORRUPT', `TTL unit ${unit} in a super block`, { cause })
  }
}
