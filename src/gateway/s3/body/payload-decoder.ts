import { S3Error } from '../s3-error.ts'

/** Turns the bytes of a request's body into those of the object, piece by piece. */
export interface PayloadDecoder {
  /**
   * The object's bytes in `piece`: slices of it, never copies.
   *
   * @throws {S3Error} The body is not what its headers promised.
   */
  decode(piece: Buffer): readonly Buffer[]

  /**
   * The wire has ended; until this returns, nothing that was decoded may be kept.
   *
   * @throws {S3Error} IncompleteBody
   */
  finish(): void

  /** Values by lower-case name; complete after `finish`. */
  readonly trailers: ReadonlyMap<string, string>
}

/** The body is the object. */
export class PlainDecoder implements PayloadDecoder {
  readonly trailers: ReadonlyMap<string, string> = new Map()
  readonly #announcedBytes: number | undefined
  #sizeBytes = 0

  /** @param announcedBytes Undefined: the object is as long as what comes. */
  constructor(announcedBytes: number | undefined) {
    this.#announcedBytes = announcedBytes
  }

  decode(piece: Buffer): readonly Buffer[] {
    this.#sizeBytes += piece.length
    if (this.#announcedBytes !== undefined && this.#sizeBytes > this.#announcedBytes) {
      throw moreThanAnnounced(this.#announcedBytes)
    }
    return piece.length === 0 ? [] : [piece]
  }

  finish(): void {
    if (this.#announcedBytes !== undefined && this.#sizeBytes < this.#announcedBytes) {
      throw new S3Error('IncompleteBody')
    }
  }
}

export function moreThanAnnounced(announcedBytes: number): S3Error {
  return new S3Error(
    'InvalidRequest',
    `The body is longer than the ${announcedBytes} bytes announced.`,
  )
}
