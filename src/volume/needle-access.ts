import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import type { ErrorCode } from '../base/store-error.ts'
import type { Needle } from '../format/needle.ts'
import type { NeedleAttributes } from '../format/needle-attributes.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  ByteRange,
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
} from '../net/volume-api.ts'
import type { BufferShelf, LentBytes } from '../runtime/buffer-shelf.ts'
import type { ReadBuffer } from '../storage/read-buffer.ts'

/** A needle that is not in memory whole: `LargeNeedle`, or one read through another thread. */
export interface StreamedNeedle extends Disposable {
  readonly attributes: NeedleAttributes
  readonly cookie: number
  readonly dataBytes: number
  readonly checksum: number

  read(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>

  readRange(range: ByteRange, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>

  /** As `LargeNeedle.lend`. Absent where the bytes come in memory of their own anyway. */
  lend?(shelf: BufferShelf, signal: AbortSignal): AsyncGenerator<LentBytes, void, undefined>
}

/** All that an answer needs of a `Needle`. */
export type WholeNeedle = Pick<Needle, 'data' | 'checksum' | 'attributes'>

/**
 * The needles of this server, as the HTTP side sees them: in the thread that owns the volumes, or
 * in a data thread that shares their index. Write tokens are checked behind it, read tokens before.
 */
export interface NeedleAccess {
  isLocal(volumeId: VolumeId): boolean

  /**
   * As `Volume.readWarm`: undefined means use `read`.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND, NEEDLE_NOT_FOUND, COOKIE_MISMATCH, NEEDLE_CORRUPT.
   */
  readWarm(fileId: FileId, readDeleted: boolean, into: ReadBuffer): Needle | undefined

  /**
   * As `Volume.read`. Where the needle is read through another thread it may come from another copy
   * of the volume, unless the request is forwarded from one.
   */
  read(
    fileId: FileId,
    readDeleted: boolean,
    isForwarded: boolean,
  ): Promise<WholeNeedle | StreamedNeedle>

  put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer>

  putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer>

  delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer>

  /**
   * A needle of any volume of the cluster: from here, from another copy if the one here is bad, or
   * from wherever the volume is.
   */
  fetch(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent>

  /**
   * From another copy, after the one here failed with `code`. Undefined: there is none that helps,
   * or the request comes from another copy itself.
   */
  fetchInstead(
    request: ReadRequest,
    code: ErrorCode,
    signal: AbortSignal,
  ): Promise<NeedleContent | undefined>

  /** Its bytes here are not what was stored, which was found while they were being sent. */
  noteBad(fileId: FileId): void

  /** The servers that hold a volume, as the master knows them; empty: none, or not known. */
  locate(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]>
}
