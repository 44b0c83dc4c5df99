import type { IncomingMessage } from 'node:http'
import { type FileId, formatFileId } from '../base/file-id.ts'
import { cookie, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { continueBody } from '../net/http-reply.ts'
import type { AssignRequest, NodeLocation } from '../net/master-api.ts'
import { RETRY } from '../net/retry.ts'
import type { NeedleMetadata, PutAnswer } from '../net/volume-api.ts'
import { pickLocation } from './http-directory.ts'
import type { MasterHttpParts } from './http-parts.ts'

export interface Upload {
  readonly assign: AssignRequest
  readonly metadata: NeedleMetadata
  readonly source: AsyncIterable<Uint8Array>
}

export interface UploadedFile {
  readonly fileId: FileId
  readonly location: NodeLocation
  readonly answer: PutAnswer
}

/**
 * Stores a new file on every replica of a volume the master picks. When that fails and the bytes
 * are still held, it is tried again with another volume and another id: what the first try left
 * behind is garbage that nobody has been told of.
 *
 * @throws {StoreError} What `assign` throws; what the last volume answered.
 */
export async function storeUpload(
  parts: MasterHttpParts,
  upload: Upload,
  signal: AbortSignal,
): Promise<UploadedFile> {
  const held = await holdStart(upload.source)
  const excludedVolumeIds: VolumeId[] = []
  for (;;) {
    const assign = { ...upload.assign, excludedVolumeIds: [...excludedVolumeIds] }
    const lease = await parts.api.assign(assign, signal)
    const location = pickLocation(parts, lease.locations)
    const fileId = {
      volumeId: lease.volumeId,
      needleId: lease.firstNeedleId,
      cookie: cookie(parts.random.u32()),
    }
    try {
      if (location === undefined) {
        throw new StoreError('UNAVAILABLE', `volume ${lease.volumeId} is out of reach`)
      }
      const put = {
        fileId,
        metadata: upload.metadata,
        writeToken: lease.writeToken,
        isReplica: false,
      }
      const volume = parts.connect(location)
      const answer = held.isWhole
        ? await volume.put({ ...put, data: held.start }, signal)
        : await volume.putStream({ ...put, source: held.read() }, signal)
      return { fileId, location, answer }
    } catch (error) {
      excludedVolumeIds.push(lease.volumeId)
      const isLast = excludedVolumeIds.length >= LIMITS.uploadTries.value
      if (isLast || !held.isStillWhole() || !helpsElsewhere(error)) throw error
      parts.logger.warn('http.upload_moved', { file: formatFileId(fileId), error })
    }
  }
}

/** Another volume may well take it: it is not the fault of the upload itself. */
function helpsElsewhere(error: unknown): boolean {
  return isStoreError(error) && RETRY[error.code] !== 'never'
}

interface HeldUpload {
  /** As much as is held in memory: all of it if `isWhole`. */
  readonly start: Buffer
  readonly isWhole: boolean
  /** Nothing was taken from the source beyond what is held: it can be read once more. */
  isStillWhole(): boolean
  read(): AsyncIterable<Uint8Array>
}

async function holdStart(source: AsyncIterable<Uint8Array>): Promise<HeldUpload> {
  const iterator = source[Symbol.asyncIterator]()
  const pieces: Uint8Array[] = []
  let bytes = 0
  let isWhole = false
  while (!isWhole && bytes <= LIMITS.uploadHeldBytes.value) {
    const next = await iterator.next()
    if (next.done === true) {
      isWhole = true
    } else {
      pieces.push(next.value)
      bytes += next.value.length
    }
  }
  const start = Buffer.concat(pieces, bytes)
  let isRestBegun = false
  async function* read(): AsyncIterable<Uint8Array> {
    yield start
    for (;;) {
      isRestBegun = true
      const next = await iterator.next()
      if (next.done === true) return
      yield next.value
    }
  }
  return { start, isWhole, isStillWhole: () => isWhole || !isRestBegun, read }
}

/**
 * The body of a request, piece by piece. It leaves the connection open when it is given up, so that
 * an error can still be answered.
 *
 * @throws {StoreError} BODY_TOO_LARGE: it has, or is announced to have, more than `bytesMax`.
 * CANCELLED: the client went away.
 */
export async function* readRequestBody(
  req: IncomingMessage,
  bytesMax: number,
): AsyncIterable<Uint8Array> {
  const announced = Number(req.headers['content-length'] ?? 0)
  if (announced > bytesMax) throw tooLarge(bytesMax)
  continueBody(req)
  let bytes = 0
  const pieces = req.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]()
  for (;;) {
    const next = await nextPiece(pieces)
    if (next === undefined) return
    bytes += next.length
    if (bytes > bytesMax) throw tooLarge(bytesMax)
    yield next
  }
}

async function nextPiece(pieces: AsyncIterator<Buffer>): Promise<Buffer | undefined> {
  try {
    const next = await pieces.next()
    return next.done === true ? undefined : next.value
  } catch (cause) {
    throw new StoreError('CANCELLED', 'the client went away', { cause })
  }
}

function tooLarge(bytesMax: number): StoreError {
  return new StoreError('BODY_TOO_LARGE', `the body has more than ${bytesMax} bytes`)
}
