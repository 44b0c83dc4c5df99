import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { Needle } from '../format/needle.ts'
import { checkRange } from '../format/needle-checks.ts'
import type { ByteRange, NeedleContent, NeedleMetadata } from '../net/volume-api.ts'
import type { StreamedNeedle } from './needle-access.ts'

/**
 * A needle that was read, or opened to be streamed, as callers of `VolumeApi` see it.
 *
 * `onCorrupt` is told of what shows only while a large one is being read.
 *
 * @throws {StoreError} RANGE_INVALID.
 */
export function contentOf(
  found: Needle | StreamedNeedle,
  range: ByteRange | undefined,
  signal: AbortSignal,
  onCorrupt: () => void = () => undefined,
): NeedleContent {
  if (!('data' in found)) return largeContent(found, range, signal, onCorrupt)
  const { data } = found
  if (range !== undefined) checkRange(range, data.length)
  const wanted = range === undefined ? data : data.subarray(range.start, range.end)
  return {
    metadata: found.attributes(),
    checksum: found.checksum,
    dataBytes: data.length,
    data: piecesOf(wanted),
    [Symbol.asyncDispose]: async () => undefined,
  }
}

function largeContent(
  large: StreamedNeedle,
  range: ByteRange | undefined,
  signal: AbortSignal,
  onCorrupt: () => void,
): NeedleContent {
  const dispose = (): void => large[Symbol.dispose]()
  try {
    if (range !== undefined) checkRange(range, large.dataBytes)
  } catch (error) {
    dispose()
    throw error
  }
  const { attributes, checksum, dataBytes } = large
  const metadata: NeedleMetadata = attributes
  return {
    metadata,
    checksum,
    dataBytes,
    data: disposing(
      range === undefined ? large.read(signal) : large.readRange(range, signal),
      dispose,
      onCorrupt,
    ),
    [Symbol.asyncDispose]: async () => dispose(),
  }
}

async function* piecesOf(data: Buffer): AsyncGenerator<Buffer, void, undefined> {
  const piece = LIMITS.streamPiece.value
  for (let at = 0; at < data.length; at += piece) yield data.subarray(at, at + piece)
}

async function* disposing(
  pieces: AsyncIterable<Uint8Array>,
  dispose: () => void,
  onCorrupt: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* pieces
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_CORRUPT')) onCorrupt()
    throw error
  } finally {
    dispose()
  }
}
