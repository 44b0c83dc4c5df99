import { type NeedleId, needleIdFromBigInt, needleIdFromNumber } from '../../src/base/ids.ts'
import { hashNeedleId } from '../../src/storage/slot-table.ts'
import { Prng } from './prng.ts'

export interface NeedleEntry {
  readonly id: NeedleId
  readonly offsetBytes: number
  readonly sizeBytes: number
  readonly isDeleted: boolean
}

/** Ids at which arithmetic on halves, numbers or signs goes wrong first. */
export const BOUNDARY_IDS: readonly NeedleId[] = [
  0n,
  1n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 32n + 1n,
  2n ** 53n - 1n,
  2n ** 53n + 1n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 2n,
  2n ** 64n - 1n,
].map(needleIdFromBigInt)

/** How ids come about: `count` unlike ones of each kind, repeatable. */
export const ID_SHAPES = {
  dense: (count: number) => numbered(count, (i) => i + 1),
  'every 4th': (count: number) => numbered(count, (i) => i * 4 + 3),
  'every 1000th': (count: number) => numbered(count, (i) => i * 1000),
  'around 2^32': (count: number) => numbered(count, (i) => 2 ** 32 - (count >> 1) + i),
  'upper half only': (count: number) =>
    Array.from({ length: count }, (_, i) => ({ hi: i * 3, lo: 0 })),
  snowflake: (count: number) =>
    Array.from({ length: count }, (_, i) => {
      const timeMs = 1_700_000_000_000n + BigInt(i >> 3)
      return needleIdFromBigInt((timeMs << 22n) | (BigInt(i & 1) << 12n) | BigInt((i >> 1) & 3))
    }),
  random: (count: number) => randomIds(count, 1),
  'boundaries and random': (count: number) => [...BOUNDARY_IDS, ...randomIds(count, 2)],
  'dense with one at the very end': (count: number) => [
    ...numbered(count, (i) => i),
    { hi: 0xffff_ffff, lo: 0xffff_ffff },
  ],
  'two far clusters': (count: number) => [
    ...numbered(count >> 1, (i) => i * 2),
    ...numbered(count >> 1, (i) => 2 ** 52 + i),
  ],
} satisfies Readonly<Record<string, (count: number) => NeedleId[]>>

/** Ids that share one 32-bit hash, four in a row and then far apart. */
export function collidingIds(count: number): NeedleId[] {
  return Array.from({ length: count }, (_, i) => {
    // The hash mixes the upper 30 bits and lays them over the lower 32 of the 62 bits it uses.
    let upper = Math.imul(i >>> 2, 0x2c1b3c6d)
    upper = Math.imul(upper ^ (upper >>> 15), 0x297a2d39)
    const lower = (0xfeed_f00d ^ upper ^ (upper >>> 15)) >>> 0
    return {
      hi: (((i >>> 2) << 2) | (lower >>> 30)) >>> 0,
      lo: ((lower << 2) | (i & 3)) >>> 0,
    }
  })
}

/** The id with a hash and nothing in the upper 30 bits: the hash function backwards. */
export function idWithHash(hash: number): NeedleId {
  let lower = hash ^ (hash >>> 16)
  lower = Math.imul(lower, inverse(0x846ca68b))
  lower ^= (lower >>> 15) ^ (lower >>> 30)
  lower = Math.imul(lower, inverse(0x7feb352d))
  lower ^= lower >>> 16
  return { hi: lower >>> 30, lo: (lower << 2) >>> 0 }
}

export function hashOf(id: NeedleId): number {
  return hashNeedleId(id.hi, id.lo)
}

/** Places and sizes for ids; about one in ten deleted. */
export function entriesOf(ids: readonly NeedleId[], seed: number, sizeMax: number): NeedleEntry[] {
  const prng = new Prng(seed)
  return ids.map((id) => ({
    id,
    offsetBytes: (1 + prng.below(2 ** 32 - 1)) * 8,
    sizeBytes: prng.chance(0.1) ? 0 : prng.below(sizeMax),
    isDeleted: prng.chance(0.1),
  }))
}

function numbered(count: number, number: (index: number) => number): NeedleId[] {
  return Array.from({ length: count }, (_, index) => needleIdFromNumber(number(index)))
}

function randomIds(count: number, seed: number): NeedleId[] {
  const prng = new Prng(seed)
  return Array.from({ length: count }, () => ({ hi: prng.u32(), lo: prng.u32() }))
}

/** Modulo 2^32; each step doubles the number of right bits, from 3. */
function inverse(odd: number): number {
  let value = odd
  for (let bits = 3; bits < 32; bits *= 2) {
    value = Math.imul(value, 2 - Math.imul(odd, value))
  }
  return value
}
