import { type FileId, formatFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { type ObjectStripe, stripesOf } from '../erasure/object-stripe.ts'
import {
  readObjectStripe,
  type ShardNeedle,
  type StripeReadParts,
} from '../erasure/read-object-stripe.ts'
import {
  type ChunkManifest,
  type ChunkPart,
  chunkParts,
  decodeChunkManifest,
} from '../format/chunk-manifest.ts'
import type { ManifestErasure } from '../format/manifest-erasure.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { ByteRange, NeedleContent } from '../net/volume-api.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
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
  readonly clock: Clock
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
    heldBytes: manifest.erasure === undefined ? undefined : stripesHeld(manifest.erasure),
    open(range = { start: 0, end: manifest.sizeBytes }, signal) {
      if (manifest.erasure === undefined) return readChunks(chunks, manifest, range, signal)
      return readStripes(chunks, manifest.erasure, range, signal)
    },
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

const STRIPE_READ = {
  slowMs: LIMITS.objectShardSlowMs.value,
  wholeBytesMax: LIMITS.shardWholeReadMax.value,
}

/** One stripe that is being sent, and the next one. */
function stripesHeld({ stripes }: ManifestErasure): number {
  return 2 * Math.max(0, ...stripes.slice(0, 1).map(({ sizeBytes }) => sizeBytes))
}

/** The next stripe is on its way while one is being sent. Shards that are lost are made anew. */
async function* readStripes(
  chunks: ChunkAccess,
  erasure: ManifestErasure,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const parts: StripeReadParts = {
    clock: chunks.clock,
    fetch: (shard, part, stop) => fetchShard(chunks, shard, part, stop),
    isSuspect: () => false,
    onBad: () => undefined,
  }
  const stopping = new AbortController()
  using _abort = onAbort(signal, () => stopping.abort(signal.reason))
  const read = (stripe: ObjectStripe): Promise<Uint8Array[]> => {
    const start = Math.max(0, range.start - stripe.offsetBytes)
    const end = Math.min(stripe.sizeBytes, range.end - stripe.offsetBytes)
    const reading = readObjectStripe(parts, stripe, { start, end }, STRIPE_READ, stopping.signal)
    reading.catch(() => {}) // Thrown when its turn comes; until then nobody waits for it.
    return reading
  }
  const wanted = [...stripesOf(erasure)].filter(
    ({ offsetBytes, sizeBytes }) =>
      offsetBytes < range.end && range.start < offsetBytes + sizeBytes,
  )
  try {
    let next: Promise<Uint8Array[]> | undefined
    for (const stripe of [...wanted, undefined]) {
      const now = next
      next = stripe && read(stripe)
      // Let go of one by one: whoever takes them may be slow.
      for (const pieces = (await now)?.reverse() ?? []; pieces.length > 0; ) {
        yield pieces.pop() as Uint8Array
      }
    }
  } finally {
    stopping.abort()
  }
}

async function fetchShard(
  chunks: ChunkAccess,
  { fileId }: ShardNeedle,
  range: ByteRange | undefined,
  signal: AbortSignal,
): Promise<readonly Uint8Array[]> {
  await using content = await fetchNeedle(chunks, fileId, range, signal)
  if (content.metadata.isCompressed === true) {
    // Nothing that is read so is compressed when it is put.
    throw new StoreError('NEEDLE_CORRUPT', `shard ${formatFileId(fileId)} is compressed`)
  }
  const pieces: Uint8Array[] = []
  for await (const piece of content.data) pieces.push(piece)
  return pieces
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
  chunks: ChunkAccess,
  { chunk: { fileId } }: ChunkPart,
  range: ByteRange | undefined,
  signal: AbortSignal,
): Promise<NeedleContent> {
  return fetchNeedle(chunks, fileId, range, signal)
}

function fetchNeedle(
  { access, tokens }: ChunkAccess,
  fileId: FileId,
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
