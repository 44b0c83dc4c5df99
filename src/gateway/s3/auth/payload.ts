/** Checks what each chunk of a signed chunked body says; made from the signature of its headers. */
export interface ChunkSignatures {
  /**
   * In the order of the chunks, the empty last one among them.
   *
   * @param sha256 of the chunk's data, in lower-case hex.
   * @throws {S3Error} SignatureDoesNotMatch
   */
  checkChunk(signature: string, sha256: string): void

  /**
   * @param text the trailers as they are signed: `name:value` and a line feed for each.
   * @throws {S3Error} SignatureDoesNotMatch
   */
  checkTrailer(signature: string, text: string): void
}

/** What `x-amz-content-sha256` promises of the body. */
export type PayloadMode =
  /** The body must have this SHA-256, in lower-case hex. */
  | { readonly kind: 'signed'; readonly sha256: string }
  | { readonly kind: 'unsigned' }
  /** `aws-chunked`. Without `signatures` the chunks are not signed. */
  | {
      readonly kind: 'chunked'
      readonly signatures: ChunkSignatures | undefined
      readonly hasTrailer: boolean
    }
