import type { FileId } from '../base/file-id.ts'
import { isStoreError, type StoreError } from '../base/store-error.ts'
import type { ByteRange, NeedleContent, NeedleMetadata, ReadRequest } from '../net/volume-api.ts'
import type { BufferShelf, LentBytes } from '../runtime/buffer-shelf.ts'
import type { ReadBuffer } from '../storage/read-buffer.ts'
import { decompress, decompressStream, unzippedBytesMax } from './http-compression.ts'
import type { NeedleAccess, StreamedNeedle } from './needle-access.ts'

/** The bytes of a file, wherever they come from. Whoever has one disposes of it. */
export interface FileSource extends AsyncDisposable {
  readonly metadata: NeedleMetadata
  readonly checksum: number
  /** Undefined: known only at the end, so neither ranges nor a length can be given. */
  readonly sizeBytes: number | undefined
  /** All bytes, when they are in memory. */
  readonly whole: Buffer | undefined
  /** What is in memory while it is being sent, where that is more than two pieces. */
  readonly heldBytes?: number | undefined
  /** The bytes of `range`, or all. A source may be opened again for another range. */
  open(range: ByteRange | undefined, signal: AbortSignal): AsyncIterable<Uint8Array>
  /** All bytes, in memory that is to be released. Absent: `open` does not take much anyway. */
  readonly lend?: (shelf: BufferShelf, signal: AbortSignal) => AsyncIterable<LentBytes>
}

export interface SourceRequest {
  readonly fileId: FileId
  readonly readDeleted: boolean
  readonly readToken: string
  /** From another copy of the volume, whose own is bad. */
  readonly isForwarded: boolean
}

/** A needle of this server. Errors as `NeedleAccess.read`. */
async function localSource(
  access: NeedleAccess,
  request: SourceRequest,
  into: ReadBuffer,
): Promise<FileSource> {
  const { fileId, readDeleted, isForwarded } = request
  const warm = access.readWarm(fileId, readDeleted, into)
  if (warm !== undefined) {
    // The buffer is used again for the next read, perhaps before this one has been sent.
    return memorySource(warm.attributes(), warm.checksum, Buffer.from(warm.data))
  }
  const found = await access.read(fileId, readDeleted, isForwarded)
  if ('data' in found) return memorySource(found.attributes(), found.checksum, found.data)
  return largeSource(found)
}

/** A needle of this server, or of another copy if the one here is bad. */
export async function goodSource(
  access: NeedleAccess,
  request: SourceRequest,
  into: ReadBuffer,
  signal: AbortSignal,
): Promise<FileSource> {
  try {
    return await localSource(access, request, into)
  } catch (error) {
    if (!isStoreError(error)) throw error
    const other = await otherSource(access, request, error, signal)
    if (other === undefined) throw error
    return other
  }
}

/** A needle of another server. Errors as `NeedleAccess.fetch`. */
export async function remoteSource(
  access: NeedleAccess,
  request: SourceRequest,
  signal: AbortSignal,
): Promise<FileSource> {
  const fetch: Fetch = (wanted, signal) => access.fetch(wanted, signal)
  return fetchedSource(fetch, request, await fetch({ ...request, range: undefined }, signal))
}

/** Of another copy, after the one here failed so. Undefined: there is none that helps. */
export async function otherSource(
  access: NeedleAccess,
  request: SourceRequest,
  failure: StoreError,
  signal: AbortSignal,
): Promise<FileSource | undefined> {
  const { code } = failure
  const whole = { ...request, range: undefined }
  const content = await access.fetchInstead(whole, code, signal)
  if (content === undefined) return undefined
  const fetch: Fetch = async (wanted, signal) => {
    const found = await access.fetchInstead(wanted, code, signal)
    if (found === undefined) throw failure
    return found
  }
  return fetchedSource(fetch, request, content)
}

type Fetch = (request: ReadRequest, signal: AbortSignal) => Promise<NeedleContent>

function fetchedSource(fetch: Fetch, request: SourceRequest, content: NeedleContent): FileSource {
  let isUsed = false
  let closing: PromiseLike<void> | undefined
  const close = async (): Promise<void> => {
    closing ??= content[Symbol.asyncDispose]()
    await closing
  }
  /** What was opened first is let go before that: it may hold up the connection that is needed. */
  async function* fetchAnew(
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    await close()
    await using found = await fetch({ ...request, range }, signal)
    yield* found.data
  }
  return {
    metadata: content.metadata,
    checksum: content.checksum,
    sizeBytes: content.dataBytes,
    whole: undefined,
    open(range, signal) {
      if (range !== undefined || isUsed) return fetchAnew(range, signal)
      isUsed = true
      return content.data
    },
    [Symbol.asyncDispose]: close,
  }
}

/** The same file without its compression; undefined: it cannot be unpacked within the limits. */
export async function unzippedSource(
  source: FileSource,
  signal: AbortSignal,
): Promise<FileSource | undefined> {
  const metadata = { ...source.metadata, isCompressed: false }
  if (source.whole !== undefined) {
    try {
      const data = await decompress(source.whole)
      return memorySource(metadata, source.checksum, data)
    } catch {
      return undefined // The client gets it as it is stored, and is told that it is gzip.
    }
  }
  const bytesMax = unzippedBytesMax(source.sizeBytes ?? 0)
  return {
    metadata,
    checksum: source.checksum,
    sizeBytes: undefined,
    whole: undefined,
    open: () => decompressStream(source.open(undefined, signal), bytesMax),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  }
}

export function memorySource(
  metadata: NeedleMetadata,
  checksum: number,
  whole: Buffer,
): FileSource {
  return {
    metadata,
    checksum,
    sizeBytes: whole.length,
    whole,
    async *open(range) {
      yield range === undefined ? whole : whole.subarray(range.start, range.end)
    },
    async [Symbol.asyncDispose]() {},
  }
}

export async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return Buffer.concat(all)
}

function largeSource(needle: StreamedNeedle): FileSource {
  return {
    metadata: needle.attributes,
    checksum: needle.checksum,
    sizeBytes: needle.dataBytes,
    whole: undefined,
    open: (range, signal) =>
      range === undefined ? needle.read(signal) : needle.readRange(range, signal),
    ...(needle.lend === undefined ? {} : { lend: needle.lend.bind(needle) }),
    async [Symbol.asyncDispose]() {
      needle[Symbol.dispose]()
    },
  }
}
