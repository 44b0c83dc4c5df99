import { type FileId, formatFileId } from '../../src/base/file-id.ts'
import { formatNeedleId, type VolumeId } from '../../src/base/ids.ts'
import { type ErrorCode, isStoreError, StoreError } from '../../src/base/store-error.ts'
import {
  decodeNeedle,
  encodeNeedleHead,
  encodeNeedleTail,
  type Needle,
  prepareNeedle,
} from '../../src/format/needle.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type {
  ByteRange,
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
} from '../../src/net/volume-api.ts'
import type { ReadBuffer } from '../../src/storage/read-buffer.ts'
import type { NeedleAccess, StreamedNeedle } from '../../src/volume/needle-access.ts'

interface Stored {
  readonly bytes: Buffer
  readonly cookie: number
  isDeleted: boolean
}

const PIECE_BYTES = 64 * 1024

/** Needles in a map, as encoded records: what the HTTP side is tested against. */
export class MemoryNeedles implements NeedleAccess {
  /** The next put or delete fails with this. */
  failure: StoreError | undefined
  readonly puts: (PutRequest | PutStreamRequest)[] = []
  readonly deletes: DeleteRequest[] = []
  readonly fetches: ReadRequest[] = []
  /** The copies of another server, for reads that fail here. */
  others: MemoryNeedles | undefined
  /** What reads that failed here were given as the reason, and what was found bad later. */
  readonly failures: string[] = []
  readonly bad: FileId[] = []
  /** Needles with at least this many bytes are streamed. */
  largeMin = 8 * 1024 * 1024 + 1
  /** Nothing is warm: every read takes the slow way. */
  isCold = false
  /** Needles that were handed out to be streamed and not given back. */
  openCount = 0
  locations: readonly NodeLocation[] = []
  readonly #local: Set<number>
  readonly #remote: Set<number>
  readonly #records = new Map<string, Stored>()

  constructor(local: readonly number[] = [3], remote: readonly number[] = [9]) {
    this.#local = new Set(local)
    this.#remote = new Set(remote)
  }

  isLocal(volumeId: VolumeId): boolean {
    return this.#local.has(volumeId)
  }

  /** Stores without any check, also in a volume of another server. */
  store(request: Pick<PutRequest, 'fileId' | 'data' | 'metadata'>): number {
    const { fileId, data, metadata } = request
    const prepared = prepareNeedle({
      id: fileId.needleId,
      cookie: fileId.cookie,
      data: Buffer.from(data),
      attributes: metadata,
    })
    const bytes = Buffer.alloc(prepared.recordBytes)
    const at = encodeNeedleHead(prepared, bytes, 0)
    bytes.set(data, at)
    encodeNeedleTail(prepared, { hi: 1, lo: 2 }, bytes, at + data.length)
    const { cookie } = fileId
    this.#records.set(keyOf(fileId), { bytes, cookie, isDeleted: false })
    return prepared.checksum
  }

  has(fileId: FileId): boolean {
    return this.#records.get(keyOf(fileId))?.isDeleted === false
  }

  readWarm(fileId: FileId, readDeleted: boolean, into: ReadBuffer): Needle | undefined {
    const { bytes } = this.#find(fileId, readDeleted, this.#local)
    if (this.isCold || bytes.length > into.bytes.length) return undefined
    bytes.copy(into.bytes)
    return decodeNeedle(into.bytes, 0, 3, bytes.length, into.view)
  }

  async read(fileId: FileId, readDeleted: boolean): Promise<Needle | StreamedNeedle> {
    const needle = this.#decode(fileId, readDeleted, this.#local)
    return needle.data.length >= this.largeMin ? this.#stream(needle) : needle
  }

  async put(request: PutRequest): Promise<PutAnswer> {
    this.puts.push(request)
    return this.#write(request)
  }

  async putStream(request: PutStreamRequest): Promise<PutAnswer> {
    const pieces: Uint8Array[] = []
    this.#checkWrite(request.fileId)
    for await (const piece of request.source) pieces.push(piece)
    this.puts.push(request)
    return this.#write({ ...request, data: Buffer.concat(pieces) })
  }

  async delete(request: DeleteRequest): Promise<DeleteAnswer> {
    this.deletes.push(request)
    this.#checkWrite(request.fileId)
    const found = this.#records.get(keyOf(request.fileId))
    if (found === undefined || found.isDeleted) return { wasLive: false, freedBytes: 0 }
    found.isDeleted = true
    return { wasLive: true, freedBytes: found.bytes.length }
  }

  async fetch(request: ReadRequest): Promise<NeedleContent> {
    this.fetches.push(request)
    const { fileId, range, readDeleted } = request
    const everywhere = new Set([...this.#local, ...this.#remote])
    const needle = this.#decode(fileId, readDeleted, everywhere)
    const { data } = needle
    this.openCount++
    return {
      metadata: needle.attributes(),
      checksum: needle.checksum,
      dataBytes: data.length,
      data: piecesOf(range === undefined ? data : data.subarray(range.start, range.end)),
      [Symbol.asyncDispose]: async () => {
        this.openCount--
      },
    }
  }

  async fetchInstead(request: ReadRequest, code: ErrorCode): Promise<NeedleContent | undefined> {
    this.failures.push(code)
    if (request.isForwarded === true) return undefined
    try {
      return await this.others?.fetch(request)
    } catch (error) {
      if (isStoreError(error)) return undefined
      throw error
    }
  }

  noteBad(fileId: FileId): void {
    this.bad.push(fileId)
  }

  async locate(): Promise<readonly NodeLocation[]> {
    return this.locations
  }

  #write(request: PutRequest): PutAnswer {
    this.#checkWrite(request.fileId)
    const old = this.#records.get(keyOf(request.fileId))
    const checksum = this.store(request)
    const isUnchanged =
      old?.isDeleted === false &&
      Buffer.from(request.data).equals(decodeNeedle(old.bytes, 0, 3).data)
    return { checksum, dataBytes: request.data.length, isUnchanged, isDurable: true }
  }

  #checkWrite(fileId: FileId): void {
    const { failure } = this
    this.failure = undefined
    if (failure !== undefined) throw failure
    if (!this.isLocal(fileId.volumeId)) {
      throw new StoreError('VOLUME_NOT_FOUND', `there is no volume ${fileId.volumeId}`)
    }
    const old = this.#records.get(keyOf(fileId))
    if (old !== undefined && old.cookie !== fileId.cookie) {
      throw new StoreError('COOKIE_MISMATCH', 'the cookie does not belong to the needle')
    }
  }

  #find(fileId: FileId, readDeleted: boolean, volumes: ReadonlySet<number>): Stored {
    if (!volumes.has(fileId.volumeId)) {
      throw new StoreError('VOLUME_NOT_FOUND', `there is no volume ${fileId.volumeId}`)
    }
    const found = this.#records.get(keyOf(fileId))
    if (found === undefined || (found.isDeleted && !readDeleted)) {
      throw new StoreError('NEEDLE_NOT_FOUND', `there is no needle ${formatFileId(fileId)}`)
    }
    if (found.cookie !== fileId.cookie) {
      throw new StoreError('COOKIE_MISMATCH', 'the cookie does not belong to the needle')
    }
    return found
  }

  #decode(fileId: FileId, readDeleted: boolean, volumes: ReadonlySet<number>): Needle {
    return decodeNeedle(this.#find(fileId, readDeleted, volumes).bytes, 0, 3)
  }

  #stream(needle: Needle): StreamedNeedle {
    this.openCount++
    const { data } = needle
    return {
      attributes: needle.attributes(),
      cookie: needle.cookie,
      dataBytes: data.length,
      checksum: needle.checksum,
      read: () => piecesOf(data),
      readRange: (range: ByteRange) => piecesOf(data.subarray(range.start, range.end)),
      [Symbol.dispose]: () => {
        this.openCount--
      },
    }
  }
}

function keyOf({ volumeId, needleId }: FileId): string {
  return `${volumeId},${formatNeedleId(needleId)}`
}

async function* piecesOf(data: Buffer): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < data.length; at += PIECE_BYTES) yield data.subarray(at, at + PIECE_BYTES)
}
