import { assert } from '../base/assert.ts'

/** Runs of equal length, equally far apart. */
export interface Slices {
  readonly lengthBytes: number
  readonly count: number
  /** From the beginning of one to that of the next; at least its length. */
  readonly strideBytes: number
}

/** Slices of one shard. */
export interface ShardSlices extends Slices {
  /** Where the first one begins. */
  readonly at: number
}

/** From the beginning of the first to the end of the last. */
export function spanBytesOf({ lengthBytes, count, strideBytes }: Slices): number {
  return (count - 1) * strideBytes + lengthBytes
}

/** The slices of a span, one after the other. */
export function gatherSlices(span: Buffer, slices: Slices, into: Buffer): void {
  const { count, lengthBytes, strideBytes } = slices
  assert(span.length >= spanBytesOf(slices), 'the slices are within the span')
  assert(into.length === count * lengthBytes, 'as long as all of them')
  for (let slice = 0; slice < count; slice++) {
    const from = slice * strideBytes
    span.copy(into, slice * lengthBytes, from, from + lengthBytes)
  }
}

/** Reads what lies between the slices too: one call costs more than some pages. */
export async function readSpan(
  slices: ShardSlices,
  read: (into: Buffer, at: number) => Promise<void>,
  into: Buffer,
): Promise<void> {
  if (slices.count === 1) return await read(into, slices.at)
  const span = Buffer.allocUnsafe(spanBytesOf(slices))
  await read(span, slices.at)
  gatherSlices(span, slices, into)
}
