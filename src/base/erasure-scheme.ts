import { quote, StoreError } from './store-error.ts'
import { GIB, MIB } from './units.ts'

/** k data shards and m parity shards, any k of which give all back. As text: `10+4`. */
export interface ErasureScheme {
  readonly dataShards: number
  readonly parityShards: number
}

/** The most that the codec can make. */
export const ERASURE_SHARDS_MAX = { data: 24, parity: 6 } as const

/** Of the format: rows of large blocks while the volume has one left, then rows of small ones. */
export const STRIPE_BLOCK_BYTES = { large: GIB, small: MIB } as const

/** @throws {StoreError} ERASURE_INVALID: not two numbers with a plus, or more than can be made. */
export function parseErasureScheme(text: string): ErasureScheme {
  const [, data, parity] = /^(\d{1,2})\+(\d{1,2})$/.exec(text) ?? []
  const scheme = { dataShards: Number(data ?? 0), parityShards: Number(parity ?? 0) }
  if (isErasureScheme(scheme)) return scheme
  const most = `${ERASURE_SHARDS_MAX.data}+${ERASURE_SHARDS_MAX.parity}`
  const why = `${quote(text)} is not data and parity shards like 10+4, at most ${most}`
  throw new StoreError('ERASURE_INVALID', why)
}

export function formatErasureScheme({ dataShards, parityShards }: ErasureScheme): string {
  return `${dataShards}+${parityShards}`
}

export function isErasureScheme({ dataShards, parityShards }: ErasureScheme): boolean {
  return (
    isBetween(dataShards, 1, ERASURE_SHARDS_MAX.data) &&
    isBetween(parityShards, 1, ERASURE_SHARDS_MAX.parity)
  )
}

export function isSameScheme(a: ErasureScheme, b: ErasureScheme): boolean {
  return a.dataShards === b.dataShards && a.parityShards === b.parityShards
}

export function shardCountOf({ dataShards, parityShards }: ErasureScheme): number {
  return dataShards + parityShards
}

function isBetween(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max
}
