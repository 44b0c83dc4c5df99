import { createHash, type Hash } from 'node:crypto'
import { hashHex } from '../../one-shot-hash.ts'
import type { ChunkSignatures } from '../auth/payload.ts'
import { S3Error } from '../s3-error.ts'
import { moreThanAnnounced, type PayloadDecoder } from './payload-decoder.ts'

export interface AwsChunkedOptions {
  /** Undefined: the chunks are not signed. */
  readonly signatures: ChunkSignatures | undefined
  readonly hasTrailer: boolean
  /** Lower-case names of the trailers that must come, and no others may. */
  readonly trailerNames: readonly string[]
  /** `x-amz-decoded-content-length`. */
  readonly announcedBytes: number
}

/** A header has 99 bytes at most; what never ends must not be held. */
const HEADER_BYTES_MAX = 4096
/** Of all trailers together: the longest that S3 takes, with its signature, has below 200 bytes. */
const TRAILERS_BYTES_MAX = 16 * 1024
/** Line ends that some clients send after the last one. */
const EXCESS_BYTES_MAX = 4

const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
const SHA256_OF_NOTHING = hashHex('sha256', Buffer.alloc(0))
const TRAILER_SIGNATURE = 'x-amz-trailer-signature'

const SIGNED_HEADER = /^([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})\r\n$/
const UNSIGNED_HEADER = /^([0-9a-fA-F]{1,16})\r\n$/
const SIGNATURE = /^[0-9a-f]{64}$/
/** A name, a colon, and printable ASCII. */
const TRAILER = /^[ \t]*([\w-]+)[ \t]*:[ \t]*([\x20-\x7e]*?)[ \t]*$/

type State = 'header' | 'data' | 'data-end' | 'trailers' | 'end'

/**
 * Decodes `aws-chunked`: framing inside the body, beneath whatever framing HTTP has.
 *
 *     HEX[;chunk-signature=SIGNATURE] CRLF data CRLF        for each chunk
 *     0[;chunk-signature=SIGNATURE] CRLF                    the last one
 *     name:value CRLF                                       for each trailer, if there are any
 *     [x-amz-trailer-signature:SIGNATURE CRLF]              if chunks are signed and there are
 *     CRLF
 *
 * A trailer's line may also end in LF, or in LF CRLF. Source: the S3 API reference, "Signature
 * calculations for the Authorization header: transferring payload in multiple chunks".
 *
 * - Holds at most one line of a header or trailer, and never room for data that was but announced.
 * - A chunk's slices come out before its signature is checked, which is when its last byte is here.
 */
export class AwsChunkedDecoder implements PayloadDecoder {
  readonly trailers = new Map<string, string>()
  readonly #options: AwsChunkedOptions
  readonly #line = new LineReader()
  #state: State = 'header'
  #isLastChunk = false
  /** Of the chunk: bytes to come, what its header claims, and the hash once a slice was not all. */
  #leftBytes = 0
  #signature = ''
  #hash: Hash | undefined
  #sizeBytes = 0
  #trailersBytes = 0
  #isAfterBareLineFeed = false
  #trailerSignature: string | undefined
  #excessBytes = 0

  constructor(options: AwsChunkedOptions) {
    this.#options = options
  }

  /**
   * @throws {S3Error} InvalidRequest: bad framing, or more than was announced. IncompleteBody: the
   * last chunk came too early. MalformedTrailerError. SignatureDoesNotMatch.
   */
  decode(piece: Buffer): readonly Buffer[] {
    const slices: Buffer[] = []
    let at = 0
    while (at < piece.length) {
      if (this.#state === 'data') {
        const slice = piece.subarray(at, at + this.#leftBytes)
        this.#takeData(slice)
        slices.push(slice)
        at += slice.length
      } else if (this.#state === 'end') {
        at = this.#takeExcess(piece, at)
      } else {
        at = this.#readLine(piece, at, this.#state)
      }
    }
    return slices
  }

  finish(): void {
    if (this.#state !== 'end') throw new S3Error('IncompleteBody')
  }

  #readLine(piece: Buffer, at: number, state: 'header' | 'data-end' | 'trailers'): number {
    const next = this.#line.read(piece, at, this.#lineBytesMax(state))
    const line = this.#line.take()
    if (line === undefined) {
      if (this.#line.heldBytes >= this.#lineBytesMax(state)) throw tooLong(state)
      return next
    }
    if (state === 'header') this.#takeHeader(line)
    else if (state === 'data-end') this.#takeDataEnd(line)
    else this.#takeTrailerLine(line)
    return next
  }

  #lineBytesMax(state: 'header' | 'data-end' | 'trailers'): number {
    if (state === 'header') return HEADER_BYTES_MAX
    return state === 'data-end' ? 2 : TRAILERS_BYTES_MAX - this.#trailersBytes
  }

  #takeHeader(line: string): void {
    const { signatures, announcedBytes, hasTrailer } = this.#options
    const match = (signatures === undefined ? UNSIGNED_HEADER : SIGNED_HEADER).exec(line)
    if (match === null) throw new S3Error('InvalidRequest', 'The header of a chunk is malformed.')
    const [, hex = '', signature = ''] = match
    const sizeBytes = Number.parseInt(hex, 16)
    if (sizeBytes > announcedBytes - this.#sizeBytes) throw moreThanAnnounced(announcedBytes)
    this.#signature = signature
    if (sizeBytes > 0) {
      this.#leftBytes = sizeBytes
      this.#state = 'data'
      return
    }
    if (this.#sizeBytes < announcedBytes) throw new S3Error('IncompleteBody')
    signatures?.checkChunk(signature, SHA256_OF_NOTHING)
    this.#isLastChunk = true
    this.#state = hasTrailer ? 'trailers' : 'data-end'
  }

  #takeData(slice: Buffer): void {
    this.#leftBytes -= slice.length
    this.#sizeBytes += slice.length
    const isChunkComplete = this.#leftBytes === 0
    if (isChunkComplete) this.#state = 'data-end'
    const { signatures } = this.#options
    if (signatures === undefined) return
    if (isChunkComplete && this.#hash === undefined) {
      signatures.checkChunk(this.#signature, hashHex('sha256', slice))
      return
    }
    this.#hash ??= createHash('sha256')
    this.#hash.update(slice)
    if (!isChunkComplete) return
    signatures.checkChunk(this.#signature, this.#hash.digest('hex'))
    this.#hash = undefined
  }

  #takeDataEnd(line: string): void {
    if (line !== '\r\n') throw new S3Error('InvalidRequest', 'A chunk does not end in CRLF.')
    this.#state = this.#isLastChunk ? 'end' : 'header'
  }

  #takeTrailerLine(line: string): void {
    this.#trailersBytes += line.length
    const isBare = !line.endsWith('\r\n')
    const text = line.slice(0, isBare ? -1 : -2)
    if (text !== '') {
      this.#takeTrailer(text)
      this.#isAfterBareLineFeed = isBare
      return
    }
    if (isBare) throw malformedTrailer()
    // After LF the first CRLF still belongs to the same trailer.
    if (!this.#isAfterBareLineFeed) this.#endTrailers()
    this.#isAfterBareLineFeed = false
  }

  #takeTrailer(text: string): void {
    const { signatures, trailerNames } = this.#options
    const [, written = '', value = ''] = TRAILER.exec(text) ?? []
    const name = written.toLowerCase()
    // The signature covers what comes before it, so it must come last.
    if (this.#trailerSignature !== undefined) throw malformedTrailer()
    if (name === TRAILER_SIGNATURE && signatures !== undefined) {
      if (!SIGNATURE.test(value)) throw malformedTrailer()
      this.#trailerSignature = value
      return
    }
    if (!trailerNames.includes(name) || this.trailers.has(name)) throw malformedTrailer()
    this.trailers.set(name, value)
  }

  #endTrailers(): void {
    const { signatures, trailerNames } = this.#options
    if (this.trailers.size < trailerNames.length) throw malformedTrailer()
    // Without trailers there is nothing that the chunks' signatures leave open.
    const isUnsigned = this.#trailerSignature === undefined && this.trailers.size === 0
    if (signatures !== undefined && !isUnsigned) {
      if (this.#trailerSignature === undefined) throw malformedTrailer()
      const signed = [...this.trailers].map(([name, value]) => `${name}:${value}\n`)
      signatures.checkTrailer(this.#trailerSignature, signed.join(''))
    }
    this.#state = 'end'
  }

  #takeExcess(piece: Buffer, at: number): number {
    const byte = piece[at]
    this.#excessBytes++
    const isLineEnd = byte === LINE_FEED || byte === CARRIAGE_RETURN
    if (!isLineEnd || this.#excessBytes > EXCESS_BYTES_MAX) {
      throw new S3Error('InvalidRequest', 'Bytes follow the last chunk.')
    }
    return at + 1
  }
}

/** Puts a line together that may be cut anywhere between pieces; holds no piece. */
class LineReader {
  #held = ''
  #line: string | undefined

  get heldBytes(): number {
    return this.#held.length
  }

  /** Where to go on in `piece`: behind the line feed, or as far as a line of `bytesMax` reaches. */
  read(piece: Buffer, at: number, bytesMax: number): number {
    const window = piece.subarray(at, at + bytesMax - this.#held.length)
    const found = window.indexOf(LINE_FEED)
    const used = found < 0 ? window : window.subarray(0, found + 1)
    this.#held += used.toString('latin1')
    if (found >= 0) {
      this.#line = this.#held
      this.#held = ''
    }
    return at + used.length
  }

  /** The line with its end, once. */
  take(): string | undefined {
    const line = this.#line
    this.#line = undefined
    return line
  }
}

function tooLong(state: 'header' | 'data-end' | 'trailers'): S3Error {
  if (state === 'trailers') return malformedTrailer()
  if (state === 'data-end') return new S3Error('InvalidRequest', 'A chunk does not end in CRLF.')
  return new S3Error('InvalidRequest', 'The header of a chunk is too long.')
}

function malformedTrailer(): S3Error {
  return new S3Error('MalformedTrailerError')
}
