import { formatFileId } from '../base/file-id.ts'
import { StoreError } from '../base/store-error.ts'
import {
  type ChunkManifest,
  type ChunkPart,
  chunkParts,
  decodeChunkManifest,
} from '../format/chunk-manifest.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { ByteRange, NeedleContent } from '../net/volume-api.ts'
import { decompress } from './http-compression.ts'
import { collect, type FileSource } from './http-source.ts'
import type { NeedleAccess } from './needle-access.ts'

/** How long a token for a chunk holds: as long as it takes to begin reading it, with margin. */
const CHUNK_TOKEN_S = 60

/** @throws {StoreError} MANIFEST_CORRUPT. */
export async function readManifest(
  source: FileSource,
  signal: AbortSignal,
): Promise<ChunkManifest> {
  const stored = source.whole ?? (await collect(source.open(undefined, signal)))
  if (source.metadata.isCompressed !== true) return decodeChunkManifest(stored)
  try {
    return decodeChunkManifest(await decompress(stored))
  } catch (cause) {
    throw new StoreError('MANIFEST_CORRUPT', 'the chunk manifest cannot be unpacked', { cause })
  }
}

export interface ChunkAccess {
  readonly access: NeedleAccess
  /** Reads need tokens: chunks are read in the name of whoever may read the file. */
  readonly tokens: FileTokens | undefined
}

/** The large file that a manifest describes. What the needle says of itself goes before. */
export function manifestSource(
  chunks: ChunkAccess,
  manifest: ChunkManifest,
  needle: FileSource,
): FileSource {
  const { metadata } = needle
  return {
    metadata: {
      ...metadata,
      isCompressed: false,
      name: metadata.name ?? manifest.name,
      mime: metadata.mime ?? (manifest.mime === '' ? undefined : manifest.mime),
    },
    checksum: needle.checksum,
    sizeBytes: manifest.sizeBytes,
    whole: undefined,
    open: (range, signal) =>
      readChunks(chunks, manifest, range ?? { start: 0, end: manifest.sizeBytes }, signal),
    [Symbol.asyncDispose]: () => needle[Symbol.asyncDispose](),
  }
}

/** The next chunk is on its way while one is being sent. */
async function* readChunks(
  chunks: ChunkAccess,
  manifest: ChunkManifest,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const parts = chunkParts(manifest, range)
  let next = startPart(chunks, parts.next().value, signal)
  try {
    while (next !== undefined) {
      const opened = await next
      next = startPart(chunks, parts.next().value, signal)
      try {
        yield* opened.pieces()
      } finally {
        await opened[Symbol.asyncDispose]()
      }
    }
  } finally {
    const unused = next?.then((opened) => opened[Symbol.asyncDispose]())
    await unused?.catch(() => {}) // It could not be opened, and nobody wants it any more.
  }
}

interface OpenedPart extends AsyncDisposable {
  pieces(): AsyncIterable<Uint8Array>
}

function startPart(
  chunks: ChunkAccess,
  part: ChunkPart | undefined,
  signal: AbortSignal,
): Promise<OpenedPart> | undefined {
  if (part === undefined) return undefined
  const opening = openPart(chunks, part, signal)
  opening.catch(() => {}) // Thrown when its turn comes; until then nobody waits for it.
  return opening
}

async function openPart(
  chunks: ChunkAccess,
  part: ChunkPart,
  signal: AbortSignal,
): Promise<OpenedPart> {
  const { chunk, start, end } = part
  const isWhole = start === 0 && end === chunk.sizeBytes
  const content = await fetchChunk(chunks, part, isWhole ? undefined : { start, end }, signal)
  if (content.metadata.isCompressed === true) {
    await content[Symbol.asyncDispose]()
    return await unzippedPart(chunks, part, signal)
  }
  if (content.dataBytes !== chunk.sizeBytes) {
    await content[Symbol.asyncDispose]()
    throw wrongSize(part, content.dataBytes)
  }
  return { pieces: () => content.data, [Symbol.asyncDispose]: () => content[Symbol.asyncDispose]() }
}

/** Offsets count the bytes of the file: of a compressed chunk all is needed to find them. */
async function unzippedPart(
  chunks: ChunkAccess,
  part: ChunkPart,
  signal: AbortSignal,
): Promise<OpenedPart> {
  await using content = await fetchChunk(chunks, part, undefined, signal)
  const data = await decompress(await collect(content.data))
  if (data.length !== part.chunk.sizeBytes) throw wrongSize(part, data.length)
  return {
    async *pieces() {
      yield data.subarray(part.start, part.end)
    },
    async [Symbol.asyncDispose]() {},
  }
}

function fetchChunk(
  { access, tokens }: ChunkAccess,
  { chunk: { fileId } }: ChunkPart,
  range: ByteRange | undefined,
  signal: AbortSignal,
): Promise<NeedleContent> {
  const readToken = tokens?.mintRead(fileId, CHUNK_TOKEN_S) ?? ''
  return access.fetch({ fileId, range, readDeleted: false, readToken }, signal)
}

function wrongSize({ chunk }: ChunkPart, bytes: number): StoreError {
  const name = formatFileId(chunk.fileId)
  const why = `chunk ${name} has ${bytes} bytes, the manifest says ${chunk.sizeBytes}`
  return new StoreError('MANIFEST_CORRUPT', why)
}
