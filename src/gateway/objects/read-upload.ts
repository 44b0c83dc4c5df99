import type { IncomingMessage } from 'node:http'
import { LIMITS } from '../../base/limits.ts'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import { continueBody, readBody } from '../../net/http-reply.ts'
import { type FormFile, formBoundary, readFormField } from '../../net/multipart.ts'
import { restError } from '../rest/rest-error.ts'

/** The field of the form that is the object. */
const FIELD = 'file'

export interface Upload extends Disposable {
  /** Empty when the form gives none. */
  readonly mime: string
  /** Ends only after the whole form was seen to be complete. */
  readonly data: AsyncIterable<Uint8Array>
}

/**
 * The file of a form. What is left of the body when the upload is disposed of is for whoever
 * answers to drop.
 *
 * @throws {StoreError} REQUEST_INVALID: not a form (415), no form with one field `file` (422).
 * BODY_TOO_LARGE: announced to be far above `maxFileBytes`, or too much beside the file.
 * CANCELLED: the client went away. `data` throws the same.
 */
export async function readUpload(
  req: IncomingMessage,
  maxFileBytes: number,
  signal: AbortSignal,
): Promise<Upload> {
  const contentType = req.headers['content-type'] ?? ''
  if (!/^multipart\/form-data\b/i.test(contentType)) {
    const why = `an object comes as multipart/form-data with a field "${FIELD}"`
    throw restError(415, 'REQUEST_INVALID', why)
  }
  const boundary = whileForm(() => formBoundary(contentType))
  const announced = Number(req.headers['content-length'] ?? Number.NaN)
  if (announced > maxFileBytes + LIMITS.objectFormBytesMax.value) throw tooLarge(maxFileBytes)
  const pieces =
    announced <= LIMITS.objectsHeldBytes.value
      ? onePiece(await readBody(req, announced, signal))
      : bodyPieces(req)
  try {
    const file = await readFormField(pieces, boundary, FIELD)
    const data = formData(file)
    return { mime: file.mime, data, [Symbol.dispose]: () => letGo(pieces) }
  } catch (error) {
    letGo(pieces)
    throw asUnprocessable(error)
  }
}

async function* formData({ data }: FormFile): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* data
  } catch (error) {
    throw asUnprocessable(error)
  }
}

async function* onePiece(body: Buffer): AsyncGenerator<Buffer, void, undefined> {
  if (body.length > 0) yield body
}

/** The connection outlives the body: it is needed for the answer. */
async function* bodyPieces(req: IncomingMessage): AsyncGenerator<Buffer, void, undefined> {
  continueBody(req)
  try {
    for await (const piece of req.iterator({ destroyOnReturn: false })) yield piece as Buffer
  } catch (cause) {
    throw new StoreError('CANCELLED', 'the client went away', { cause })
  }
}

/** Not awaited: it ends with the next piece, which may not come before there is an answer. */
function letGo(pieces: AsyncGenerator<Buffer, void, undefined>): void {
  pieces.return().catch(() => undefined)
}

function whileForm<Result>(read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    throw asUnprocessable(error)
  }
}

/** What is wrong with a form is for its maker to learn as with any other parameter: by 422. */
function asUnprocessable(error: unknown): unknown {
  if (!isStoreError(error, 'REQUEST_INVALID')) return error
  return restError(422, 'REQUEST_INVALID', error.message, { cause: error })
}

function tooLarge(maxFileBytes: number): StoreError {
  return new StoreError('BODY_TOO_LARGE', `the file has more than ${maxFileBytes} bytes`)
}
