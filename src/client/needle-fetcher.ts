import { crc32c, maskCrc32c } from '../base/crc32c.ts'
import { type FileId, formatFileId } from '../base/file-id.ts'
import { hex8 } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ByteRange, NeedleContent, NeedleMetadata, VolumeApi } from '../net/volume-api.ts'
import { allEnded } from '../runtime/all-ended.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { ClientTokens } from './file-tokens.ts'
import type { Replicas } from './replicas.ts'
import { RetryTurns } from './retry-turns.ts'

export interface FetcherParts {
  readonly replicas: Replicas
  readonly tokens: ClientTokens
  readonly clock: Clock
  readonly random: Random
}

export interface NeedleHead {
  readonly metadata: NeedleMetadata
  readonly checksum: number
  /** Of the whole data as stored. */
  readonly dataBytes: number
}

export interface FetchedNeedle extends NeedleHead {
  /** The range, or all of it; as stored. */
  readonly data: Buffer
}

export interface FetchedPieces extends NeedleHead {
  /** The same in the pieces in which it came: nothing was copied. */
  readonly pieces: Uint8Array[]
}

const FIRST_BYTE: ByteRange = { start: 0, end: 1 }

/**
 * Reads single needles as they are stored, from whichever copy has them.
 *
 * Every method throws a `StoreError`: NEEDLE_NOT_FOUND, COOKIE_MISMATCH, VOLUME_NOT_FOUND,
 * RANGE_INVALID, NEEDLE_CORRUPT when no copy is intact, UNAVAILABLE or TIMEOUT when none can be
 * reached, CANCELLED.
 */
export class NeedleFetcher {
  readonly #parts: FetcherParts

  constructor(parts: FetcherParts) {
    this.#parts = parts
  }

  /** Into memory. */
  async fetch(
    fileId: FileId,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<FetchedNeedle> {
    const { pieces, ...head } = await this.fetchPieces(fileId, range, signal)
    return { ...head, data: joined(pieces) }
  }

  /** Of every server that has it now and answers, whether they agree or not. */
  async fetchCopies(fileId: FileId, signal: AbortSignal): Promise<readonly FetchedNeedle[]> {
    const { replicas } = this.#parts
    const locations = await replicas.locations(fileId.volumeId, signal)
    const fetching = locations.map(async (location): Promise<FetchedNeedle[]> => {
      try {
        const volume = replicas.connect(location)
        const { pieces, ...needle } = await this.#fetchFrom(volume, fileId, undefined, signal)
        return [{ ...needle, data: joined(pieces) }]
      } catch (error) {
        if (!isStoreError(error) || error.code === 'CANCELLED') throw error
        return []
      }
    })
    return (await allEnded(fetching)).flat()
  }

  /** As `VolumeApi.readNow`, of the copy that would be asked first. */
  fetchNow(fileId: FileId): Buffer | undefined {
    const { replicas } = this.#parts
    const first = replicas.first(fileId.volumeId)
    if (first === undefined) return undefined
    return replicas.connect(first).readNow?.(this.#request(fileId, undefined))
  }

  /** Into memory, for large needles. */
  async fetchPieces(
    fileId: FileId,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<FetchedPieces> {
    const { replicas } = this.#parts
    const first = replicas.first(fileId.volumeId)
    if (first !== undefined) {
      try {
        return await this.#fetchFrom(replicas.connect(first), fileId, range, signal)
      } catch (error) {
        if (!replicas.mayHelp(fileId.volumeId, error)) throw error
        replicas.note(first.url, error)
      }
    }
    const attempt = (volume: VolumeApi) => this.#fetchFrom(volume, fileId, range, signal)
    return replicas.run(fileId.volumeId, attempt, signal)
  }

  /**
   * As it was put, or a part of that, in the pieces in which it came: one try, for those who have
   * another way to the same bytes.
   */
  async fetchOnce(
    fileId: FileId,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<readonly Uint8Array[]> {
    const { replicas } = this.#parts
    const attempt = (volume: VolumeApi) => this.#fetchFrom(volume, fileId, range, signal)
    const { metadata, pieces } = await replicas.runOnce(fileId.volumeId, attempt, signal)
    if (metadata.isCompressed !== true) return pieces
    // Nothing that is read so is compressed when it is put.
    throw new StoreError('NEEDLE_CORRUPT', `${formatFileId(fileId)} is compressed`)
  }

  /** Everything but the data. */
  stat(fileId: FileId, signal: AbortSignal): Promise<NeedleHead> {
    const attempt = async (volume: VolumeApi): Promise<NeedleHead> => {
      const content = await this.#readStart(volume, fileId, signal)
      await content[Symbol.asyncDispose]()
      const { checksum, dataBytes, metadata } = content
      return { checksum, dataBytes, metadata }
    }
    return this.#parts.replicas.run(fileId.volumeId, attempt, signal)
  }

  /** Its data comes as it is read: use `pieces`. Dispose of it. */
  open(fileId: FileId, range: ByteRange | undefined, signal: AbortSignal): Promise<NeedleContent> {
    const attempt = (volume: VolumeApi) => volume.read(this.#request(fileId, range), signal)
    return this.#parts.replicas.run(fileId.volumeId, attempt, signal)
  }

  /**
   * The data of what `open` gave, to its end: when a server fails, another goes on. The last piece
   * of a whole needle is given out only when all of it has matched the checksum. Disposes of it.
   */
  async *pieces(
    fileId: FileId,
    opened: NeedleContent,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const turns = new RetryTurns(this.#parts, signal)
    const { checksum, dataBytes } = opened
    const end = range?.end ?? dataBytes
    let content = opened
    let at = range?.start ?? 0
    let crc = 0
    let held: Uint8Array | undefined
    let hasGivenOut = false
    for (;;) {
      try {
        for await (const piece of content.data) {
          if (held !== undefined) {
            hasGivenOut = true
            yield held
          }
          held = piece
          at += piece.length
          if (range === undefined) crc = crc32c(piece, crc)
        }
        if (at !== end) throw wrongLength(fileId, at, end)
        if (range === undefined) checkChecksum(fileId, crc, checksum)
        if (held !== undefined) yield held
        return
      } catch (error) {
        if (isStoreError(error, 'NEEDLE_CORRUPT', 'PEER_FAILED')) {
          // Wrong bytes may be among those given out: only a fresh start could be right.
          if (hasGivenOut) throw error
          at = range?.start ?? 0
          crc = 0
          held = undefined
          await turns.pause(error, true)
        } else {
          await turns.next(error)
        }
      } finally {
        await content[Symbol.asyncDispose]()
      }
      const isStart = range === undefined && at === 0
      content = await this.open(fileId, isStart ? undefined : { start: at, end }, signal)
    }
  }

  async #fetchFrom(
    volume: VolumeApi,
    fileId: FileId,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<FetchedPieces> {
    const content = await volume.read(this.#request(fileId, range), signal)
    try {
      const { checksum, dataBytes, metadata } = content
      const wantedBytes = range === undefined ? dataBytes : range.end - range.start
      const pieces = await collect(fileId, content, wantedBytes)
      return { metadata, checksum, dataBytes, pieces }
    } finally {
      await content[Symbol.asyncDispose]()
    }
  }

  async #readStart(volume: VolumeApi, fileId: FileId, signal: AbortSignal): Promise<NeedleContent> {
    try {
      return await volume.read(this.#request(fileId, FIRST_BYTE), signal)
    } catch (error) {
      if (!isStoreError(error, 'RANGE_INVALID')) throw error
      return await volume.read(this.#request(fileId, undefined), signal) // It is empty.
    }
  }

  #request(fileId: FileId, range: ByteRange | undefined) {
    return { fileId, range, readDeleted: false, readToken: this.#parts.tokens.read(fileId) }
  }
}

const NO_BYTES = Buffer.alloc(0)
const SLICE_RATIO_MAX = 4

async function collect(
  fileId: FileId,
  content: NeedleContent,
  wantedBytes: number,
): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of content.data) {
    bytes += piece.length
    if (bytes > wantedBytes) throw wrongLength(fileId, bytes, wantedBytes)
    // A small piece of a large buffer would keep all of it in memory.
    const isSlice = piece.buffer.byteLength > SLICE_RATIO_MAX * piece.length
    pieces.push(isSlice ? Buffer.from(piece) : piece)
  }
  if (bytes !== wantedBytes) throw wrongLength(fileId, bytes, wantedBytes)
  return pieces
}

function joined(pieces: readonly Uint8Array[]): Buffer {
  const [first] = pieces
  if (first === undefined) return NO_BYTES
  return pieces.length === 1 ? bufferOf(first) : Buffer.concat(pieces)
}

function bufferOf(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function wrongLength(fileId: FileId, bytes: number, wantedBytes: number): StoreError {
  const why = `${formatFileId(fileId)} came with ${bytes} bytes instead of ${wantedBytes}`
  return new StoreError('PEER_FAILED', why)
}

function checkChecksum(fileId: FileId, crc: number, checksum: number): void {
  if (crc === checksum || maskCrc32c(crc) === checksum) return
  const why = `${formatFileId(fileId)} has checksum ${hex8(crc)} instead of ${hex8(checksum)}`
  throw new StoreError('NEEDLE_CORRUPT', why)
}
