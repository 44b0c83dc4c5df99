import { assert } from '../../../base/assert.ts'
import { MIB } from '../../../base/units.ts'
import { S3Error } from '../s3-error.ts'
import { AwsChunkedDecoder } from './aws-chunked.ts'
import {
  algorithmsOf,
  type BodyPromise,
  type BodySummary,
  checkBody,
  RunningSums,
  type StreamedSums,
  sumsOf,
} from './body-checks.ts'
import { checksumHeaderName } from './checksum.ts'
import type { HeaderSource } from './checksum-headers.ts'
import { moreThanAnnounced, type PayloadDecoder, PlainDecoder } from './payload-decoder.ts'

/** The bytes of a request's body, before they are decoded. */
export interface BodyWire extends AsyncIterable<Buffer> {
  /** All of them, at most `bytesMax`: for a small body that costs less than a stream. */
  readonly whole?: (bytesMax: number) => Promise<Buffer>
}

/** With the signatures of chunks, of which there are few in a small body. */
const WHOLE_WIRE_BYTES_MAX = 1.25 * MIB

/** How many bytes the headers announce. */
export interface BodyLengths {
  /** `Content-Length`: of the wire. Undefined: HTTP's own chunks say where it ends. */
  readonly wireBytes: number | undefined
  /** `x-amz-decoded-content-length`: of the object, if the body is `aws-chunked`. */
  readonly decodedBytes: number | undefined
}

/** All that a request's headers promise of its body. */
export interface BodyTerms extends BodyPromise {
  readonly lengths: BodyLengths
  /** Of the object. */
  readonly sizeBytesMax: number
}

/** @throws {S3Error} InvalidRequest: one of them is not a whole number of at most 15 digits. */
export function readBodyLengths(header: HeaderSource): BodyLengths {
  return {
    wireBytes: readLength(header, 'content-length'),
    decodedBytes: readLength(header, 'x-amz-decoded-content-length'),
  }
}

/**
 * The size of the object as announced; undefined: nobody said. Asks no more than the headers, so it
 * can be refused before the client was told to send the body.
 *
 * @throws {S3Error} EntityTooLarge. MissingContentLength: an `aws-chunked` body says no length.
 */
export function announcedSize(terms: BodyTerms): number | undefined {
  const { mode, lengths, sizeBytesMax } = terms
  const isChunked = mode.kind === 'chunked'
  const sizeBytes = isChunked ? lengths.decodedBytes : lengths.wireBytes
  if (isChunked && sizeBytes === undefined) {
    const message = 'A chunked body needs the x-amz-decoded-content-length header.'
    throw new S3Error('MissingContentLength', message)
  }
  if (sizeBytes !== undefined && sizeBytes > sizeBytesMax) throw tooLarge(sizeBytes, sizeBytesMax)
  return sizeBytes
}

/**
 * The object in a request's body, checked on its way through. To be read once.
 *
 * - Pieces come as they arrive, before anything was proved: only when the iteration has ended
 *   without an error may what was read be committed.
 * - Holds no piece: there are as many in memory as the reader keeps.
 * - If it throws, or its reader stops, the wire is told to stop as well. A wire that must outlive
 *   the error, because an answer follows on the same connection, has to take no notice.
 */
export class ObjectBody implements AsyncIterable<Buffer> {
  readonly #wire: AsyncIterable<Buffer>
  readonly #terms: BodyTerms
  readonly #decoder: PayloadDecoder
  /** As `announcedSize` says. */
  readonly announcedBytes: number | undefined
  readonly #makeSums: (promise: BodyPromise) => StreamedSums
  #isStarted = false
  #summary: BodySummary | undefined

  /**
   * `makeSums`: where the sums are computed; in this thread unless given.
   *
   * @throws {S3Error} EntityTooLarge, MissingContentLength: as `announcedSize`.
   */
  constructor(
    wire: AsyncIterable<Buffer>,
    terms: BodyTerms,
    makeSums = (promise: BodyPromise): StreamedSums => new RunningSums(algorithmsOf(promise)),
  ) {
    this.#wire = wire
    this.#terms = terms
    this.#makeSums = makeSums
    this.announcedBytes = announcedSize(terms)
    this.#decoder = createDecoder(terms, this.announcedBytes)
  }

  /** Only after the iteration has ended. */
  get summary(): BodySummary {
    assert(this.#summary !== undefined, 'the body was read to its end')
    return this.#summary
  }

  /**
   * @throws {S3Error} Before it ends: IncompleteBody, EntityTooLarge, InvalidRequest,
   * MalformedTrailerError, SignatureDoesNotMatch, XAmzContentSHA256Mismatch, BadDigest. Besides
   * whatever the wire throws.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    assert(!this.#isStarted, 'a body is read once')
    this.#isStarted = true
    using sums = this.#makeSums(this.#terms)
    const { sizeBytesMax } = this.#terms
    for await (const piece of this.#wire) {
      for (const slice of this.#decoder.decode(piece)) {
        const waiting = sums.update(slice)
        if (sums.sizeBytes > sizeBytesMax) throw tooLarge(sums.sizeBytes, sizeBytesMax)
        if (waiting !== undefined) await waiting
        yield slice
      }
    }
    this.#decoder.finish()
    this.#summary = checkBody(this.#terms, await sums.digest(), this.#decoder.trailers)
  }
}

/** A body that was read whole. */
export interface SmallBody {
  /** Not a copy, if it came in one piece. */
  readonly data: Buffer
  readonly summary: BodySummary
}

/**
 * Reads a body that is small enough to be held: the sums are computed in one call each, which is
 * what makes a 4 KiB object cheap. The caller has seen that `announcedSize` is known and small:
 * once the first byte is here, so much is allocated.
 *
 * @throws {S3Error} As `ObjectBody`. Besides whatever the wire throws.
 */
export async function readSmallBody(wire: BodyWire, terms: BodyTerms): Promise<SmallBody> {
  const sizeBytes = announcedSize(terms)
  assert(sizeBytes !== undefined, 'the size of a small body is known')
  const decoder = createDecoder(terms, sizeBytes)
  const collected = new CollectedBytes(sizeBytes)
  const { wireBytes } = terms.lengths
  if (wire.whole !== undefined && wireBytes !== undefined && wireBytes <= WHOLE_WIRE_BYTES_MAX) {
    for (const slice of decoder.decode(await wire.whole(wireBytes))) collected.append(slice)
  } else {
    for await (const piece of wire) {
      for (const slice of decoder.decode(piece)) collected.append(slice)
    }
  }
  decoder.finish()
  const data = collected.bytes()
  return { data, summary: checkBody(terms, sumsOf(terms, data), decoder.trailers) }
}

/** Pieces of a whole whose size is known. A piece that is the whole is taken as it is. */
class CollectedBytes {
  readonly #sizeBytes: number
  #whole: Buffer | undefined
  #filledBytes = 0

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes
  }

  append(piece: Buffer): void {
    const endBytes = this.#filledBytes + piece.length
    if (endBytes > this.#sizeBytes) throw moreThanAnnounced(this.#sizeBytes)
    if (piece.length === this.#sizeBytes) {
      this.#whole = piece
    } else {
      // Not a list of pieces: a client that sends single bytes would make each of them an object.
      this.#whole ??= Buffer.allocUnsafe(this.#sizeBytes)
      piece.copy(this.#whole, this.#filledBytes)
    }
    this.#filledBytes = endBytes
  }

  bytes(): Buffer {
    assert(this.#filledBytes === this.#sizeBytes, 'the decoder saw all bytes')
    return this.#whole ?? Buffer.alloc(0)
  }
}

function createDecoder(terms: BodyTerms, announcedBytes: number | undefined): PayloadDecoder {
  const { mode, plan } = terms
  if (mode.kind !== 'chunked') return new PlainDecoder(announcedBytes)
  assert(announcedBytes !== undefined, 'the size of a chunked body is known')
  const { signatures, hasTrailer } = mode
  const { claim } = plan
  const trailerNames = claim?.place === 'trailer' ? [checksumHeaderName(claim.algorithm)] : []
  return new AwsChunkedDecoder({ signatures, hasTrailer, trailerNames, announcedBytes })
}

/** Any number of 15 digits is exact. */
const LENGTH = /^\d{1,15}$/

function readLength(header: HeaderSource, name: string): number | undefined {
  const text = header(name)?.trim()
  if (text === undefined) return undefined
  if (!LENGTH.test(text))
    throw new S3Error('InvalidRequest', `Value for ${name} header is invalid.`)
  return Number(text)
}

function tooLarge(sizeBytes: number, sizeBytesMax: number): S3Error {
  const fields = { ProposedSize: `${sizeBytes}`, MaxSizeAllowed: `${sizeBytesMax}` }
  return new S3Error('EntityTooLarge', undefined, { fields })
}
