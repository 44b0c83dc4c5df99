import type { IncomingMessage } from 'node:http'
import { StoreError } from '../../base/store-error.ts'
import { MIB } from '../../base/units.ts'
import { continueBody } from '../../net/http-reply.ts'
import { cancelledError, onAbort } from '../../runtime/abort.ts'
import type { HeldShare } from './held-bytes.ts'
import { checkUtf8, JsonScanner } from './json-scanner.ts'

export interface BodyTerms {
  readonly sizeBytesMax: number
  readonly held: HeldShare
}

const FIRST_BYTES = 64 * 1024
const FIRST_BYTES_MAX = MIB

/**
 * Reads a body and checks while it comes that it is a JSON object: one that cannot become one is
 * refused at the first byte that shows it. The request stays usable for an answer.
 *
 * @throws {StoreError} REQUEST_INVALID: it is no JSON object. BODY_TOO_LARGE; OVERLOADED: there is
 * no room for it in memory now. CANCELLED: the client went away, or `signal` aborted.
 */
export async function readDocumentBody(
  req: IncomingMessage,
  { held, sizeBytesMax }: BodyTerms,
  signal: AbortSignal,
): Promise<Buffer> {
  const announced = announcedBytes(req)
  if (announced !== undefined && announced > sizeBytesMax) throw tooLarge(sizeBytesMax)
  const buffer = new GrowingBuffer(held, announced, sizeBytesMax)
  const scanner = new JsonScanner()
  await readPieces(
    req,
    (piece) => {
      if (buffer.sizeBytes + piece.length > sizeBytesMax) throw tooLarge(sizeBytesMax)
      scanner.push(piece)
      buffer.add(piece)
    },
    signal,
  )
  scanner.end()
  const bytes = buffer.bytes
  checkUtf8(bytes)
  return bytes
}

/**
 * Many small pieces take no more memory than their bytes: they are copied together. The memory is
 * taken as bytes come, not as they are announced: whoever sends nothing holds up nobody.
 */
class GrowingBuffer {
  readonly #held: HeldShare
  readonly #endBytes: number
  #buffer: Buffer
  sizeBytes = 0

  constructor(held: HeldShare, announced: number | undefined, sizeBytesMax: number) {
    this.#held = held
    this.#endBytes = announced ?? sizeBytesMax
    const first = announced === undefined ? FIRST_BYTES : Math.min(announced, FIRST_BYTES_MAX)
    held.add(first)
    this.#buffer = Buffer.allocUnsafe(first)
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.sizeBytes)
  }

  add(piece: Uint8Array): void {
    const neededBytes = this.sizeBytes + piece.length
    if (neededBytes > this.#buffer.length) this.#grow(neededBytes)
    this.#buffer.set(piece, this.sizeBytes)
    this.sizeBytes = neededBytes
  }

  #grow(neededBytes: number): void {
    const doubled = Math.min(2 * this.#buffer.length, this.#endBytes)
    const grownBytes = Math.max(doubled, neededBytes)
    this.#held.add(grownBytes - this.#buffer.length)
    const grown = Buffer.allocUnsafe(grownBytes)
    grown.set(this.bytes)
    this.#buffer = grown
  }
}

function readPieces(
  req: IncomingMessage,
  onPiece: (piece: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return Promise.reject(cancelledError(signal, 'before reading the body'))
  if (req.destroyed && !req.complete) return Promise.reject(goneError())
  continueBody(req)
  return new Promise((resolve, reject) => {
    const aborting = onAbort(signal, () => finish(cancelledError(signal, 'reading the body')))
    const onData = (piece: Buffer): void => {
      try {
        onPiece(piece)
      } catch (error) {
        finish(error)
      }
    }
    const onEnd = (): void => finish(undefined)
    const onClose = (): void => finish(goneError())
    const finish = (error: unknown): void => {
      aborting[Symbol.dispose]()
      req.off('data', onData).off('end', onEnd).off('close', onClose)
      if (error === undefined) resolve()
      else reject(error)
    }
    req.on('data', onData).on('end', onEnd).on('close', onClose)
    req.on('error', onClose)
  })
}

function announcedBytes(req: IncomingMessage): number | undefined {
  const text = req.headers['content-length']
  return text === undefined ? undefined : Number(text)
}

function tooLarge(sizeBytesMax: number): StoreError {
  return new StoreError('BODY_TOO_LARGE', `a document has at most ${sizeBytesMax} bytes`)
}

function goneError(): StoreError {
  return new StoreError('CANCELLED', 'the client went away')
}
