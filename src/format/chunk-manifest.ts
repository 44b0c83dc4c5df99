import { assert } from '../base/assert.ts'
import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import {
  decodeManifestErasure,
  encodeManifestErasure,
  type ManifestErasure,
} from './manifest-erasure.ts'

/** A piece of a large file, in a needle of its own. */
export interface ManifestChunk {
  readonly fileId: FileId
  /** Where its bytes stand in the file. */
  readonly offsetBytes: number
  readonly sizeBytes: number
}

/**
 * The data of a needle with flag 0x80: which needles make up a large file. JSON:
 *
 *     {"name":"big.bin","mime":"…","size":200,"chunks":[
 *       {"fid":"3,01637037d6","offset":0,"size":100},
 *       {"fid":"5,02a4b1c3d5","offset":100,"size":100}]}
 *
 * The chunks, in the order of their offsets, cover the bytes 0 up to `size` without gap or overlap.
 * `name`, `mime` and `size` may be left out when empty or 0. Of an erasure-coded file the chunks
 * are the data shards, and one more member, `erasure`, says how to make them anew.
 * Source: SeaweedFS chunk manifest; `erasure` is ours.
 */
export interface ChunkManifest {
  readonly name: string
  readonly mime: string
  readonly sizeBytes: number
  /** In the order of their offsets. */
  readonly chunks: readonly ManifestChunk[]
  readonly erasure?: ManifestErasure | undefined
}

export function encodeChunkManifest(manifest: ChunkManifest): Buffer {
  const { name, mime, sizeBytes, chunks, erasure } = manifest
  assert(chunks.length <= LIMITS.manifestChunksMax.value, `a manifest of ${chunks.length} chunks`)
  const gapAt = firstGap(chunks, sizeBytes)
  assert(gapAt === undefined, `the chunks of a manifest do not fit at byte ${gapAt}`)
  const json = {
    ...(name === '' ? {} : { name }),
    ...(mime === '' ? {} : { mime }),
    size: sizeBytes,
    chunks: chunks.map((chunk) => ({
      fid: formatFileId(chunk.fileId),
      offset: chunk.offsetBytes,
      size: chunk.sizeBytes,
    })),
    ...(erasure === undefined ? {} : { erasure: encodeManifestErasure(erasure, chunks) }),
  }
  const bytes = Buffer.from(JSON.stringify(json), 'utf8')
  assert(bytes.length <= LIMITS.manifestBytesMax.value, `a manifest of ${bytes.length} bytes`)
  return bytes
}

/**
 * Reads the JSON, not compressed.
 *
 * @throws {StoreError} MANIFEST_CORRUPT: too long, no such JSON, an invalid file id, or chunks that
 * do not cover the file exactly once, or not the shards of the stripes.
 */
export function decodeChunkManifest(source: Buffer): ChunkManifest {
  const { name = '', mime = '', size = 0, chunks = [], erasure } = parseObject(source)
  if (typeof name !== 'string' || typeof mime !== 'string') throw corrupt('name or mime is no text')
  if (!isByteCount(size)) throw corrupt('the size is not a number of bytes')
  // The format's own server writes null for an empty list.
  const list: unknown = chunks ?? []
  if (!Array.isArray(list)) throw corrupt('the chunks are not a list')
  if (list.length > LIMITS.manifestChunksMax.value) throw corrupt(`${list.length} chunks`)
  const decoded = list.map(decodeChunk).sort((a, b) => a.offsetBytes - b.offsetBytes)
  const gapAt = firstGap(decoded, size)
  if (gapAt !== undefined) throw corrupt(`a gap or an overlap at byte ${gapAt} of ${size}`)
  const manifest = { name, mime, sizeBytes: size, chunks: decoded }
  if (erasure === undefined || erasure === null) return manifest
  return { ...manifest, erasure: decodeManifestErasure(erasure, decoded) }
}

/** All needles that hold something of the file, beside that of the manifest itself. */
export function needlesOfManifest({ chunks, erasure }: ChunkManifest): readonly FileId[] {
  const parity = erasure?.stripes.flatMap(({ shards }) =>
    shards.slice(erasure.scheme.dataShards).map(({ fileId }) => fileId),
  )
  return [...chunks.map(({ fileId }) => fileId), ...(parity ?? [])].filter(
    (fileId) => fileId !== undefined,
  )
}

/** Chunks from byte `start` up to `end`, each with the part of it that is wanted. */
export interface ChunkPart {
  readonly chunk: ManifestChunk
  readonly start: number
  readonly end: number
}

export function* chunkParts(
  manifest: ChunkManifest,
  range: { readonly start: number; readonly end: number },
): Generator<ChunkPart, undefined, undefined> {
  for (const chunk of manifest.chunks) {
    const start = Math.max(0, range.start - chunk.offsetBytes)
    const end = Math.min(chunk.sizeBytes, range.end - chunk.offsetBytes)
    if (start < end) yield { chunk, start, end }
  }
}

function parseObject(source: Buffer): Readonly<Record<string, unknown>> {
  if (source.length > LIMITS.manifestBytesMax.value) throw corrupt(`${source.length} bytes`)
  let parsed: unknown
  try {
    parsed = JSON.parse(source.toString('utf8'))
  } catch (cause) {
    throw new StoreError('MANIFEST_CORRUPT', 'the chunk manifest is not JSON', { cause })
  }
  if (!isObject(parsed)) throw corrupt('not a JSON object')
  return parsed
}

function decodeChunk(value: unknown, index: number): ManifestChunk {
  if (!isObject(value)) throw corrupt(`chunk ${index} is not a JSON object`)
  const { fid, offset = 0, size } = value
  if (typeof fid !== 'string') throw corrupt(`chunk ${index} has no file id`)
  if (!isByteCount(offset)) throw corrupt(`chunk ${index} has no offset`)
  if (!isByteCount(size) || size === 0) throw corrupt(`chunk ${index} has no size`)
  return { fileId: decodeFileId(fid, index), offsetBytes: offset, sizeBytes: size }
}

function decodeFileId(fid: string, index: number): FileId {
  try {
    return parseFileId(fid)
  } catch (cause) {
    if (!isStoreError(cause)) throw cause
    const why = `the chunk manifest: chunk ${index}: ${cause.message}`
    throw new StoreError('MANIFEST_CORRUPT', why, { cause })
  }
}

function firstGap(chunks: readonly ManifestChunk[], sizeBytes: number): number | undefined {
  let at = 0
  for (const chunk of chunks) {
    if (chunk.offsetBytes !== at) return at
    at += chunk.sizeBytes
  }
  return at === sizeBytes ? undefined : at
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isByteCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function corrupt(why: string): StoreError {
  return new StoreError('MANIFEST_CORRUPT', `the chunk manifest: ${why}`)
}
