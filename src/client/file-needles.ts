import type { FileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import {
  type ChunkManifest,
  decodeChunkManifest,
  needlesOfManifest,
} from '../format/chunk-manifest.ts'
import type { ByteRange, NeedleContent, NeedleMetadata } from '../net/volume-api.ts'
import { unzip } from './gunzip.ts'

const FIRST_BYTE: ByteRange = { start: 0, end: 1 }

/** @throws {StoreError} MANIFEST_CORRUPT, NEEDLE_CORRUPT. */
export async function manifestIn(
  needle: { readonly data: Buffer; readonly metadata: NeedleMetadata },
  text: string,
): Promise<ChunkManifest> {
  const { data, metadata } = needle
  if (metadata.isCompressed !== true) return decodeChunkManifest(data)
  return decodeChunkManifest(await unzip(data, LIMITS.manifestBytesMax.value, text))
}

/**
 * The needles of a file beside the one that has its id: chunks, and shards of an erasure-coded one.
 * None: it is one needle, or what it lists cannot be told any more.
 *
 * @throws {StoreError} As `read`, which reads that one.
 */
export async function needlesBehind(
  read: (range: ByteRange | undefined) => Promise<NeedleContent>,
  text: string,
): Promise<readonly FileId[]> {
  if (!(await isManifest(read))) return []
  try {
    await using content = await read(undefined)
    const pieces: Uint8Array[] = []
    for await (const piece of content.data) pieces.push(piece)
    const needle = { data: Buffer.concat(pieces), metadata: content.metadata }
    return needlesOfManifest(await manifestIn(needle, text))
  } catch (error) {
    if (isStoreError(error, 'MANIFEST_CORRUPT', 'NEEDLE_CORRUPT')) return []
    throw error
  }
}

async function isManifest(
  read: (range: ByteRange | undefined) => Promise<NeedleContent>,
): Promise<boolean> {
  try {
    await using content = await read(FIRST_BYTE)
    return content.metadata.isChunkManifest === true
  } catch (error) {
    // It is empty, or cannot be read; it can still be deleted.
    if (isStoreError(error, 'RANGE_INVALID', 'NEEDLE_CORRUPT')) return false
    throw error
  }
}
