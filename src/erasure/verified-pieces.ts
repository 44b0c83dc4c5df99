import { AbortScope } from '../runtime/abort-scope.ts'
import type { StripeReader } from './stripe-reader.ts'

/**
 * Verified bytes of a coded volume from `fromBytes` up to `toBytes`, a block at a time: the next
 * one is read while somebody works on the one before. Nothing is read twice.
 *
 * @throws {StoreError} as `StripeReader.readVerified`.
 */
export async function* verifiedPieces(
  reader: Pick<StripeReader, 'blocksOf' | 'readVerified'>,
  { fromBytes, toBytes }: { readonly fromBytes: number; readonly toBytes: number },
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  using scope = new AbortScope(signal)
  const blocks = reader.blocksOf(fromBytes, toBytes - fromBytes)
  const readNext = (): Promise<Buffer> | undefined => {
    const next = blocks.next()
    if (next.done === true) return undefined
    const reading = reader.readVerified(next.value.datOffset, next.value.bytes, scope.signal)
    reading.catch(() => 'it is awaited when it is its turn')
    return reading
  }
  for (let ahead = readNext(); ahead !== undefined; ) {
    const piece: Buffer = await ahead
    ahead = readNext()
    yield piece
  }
}
