import { hashLatin1Hex } from '../../one-shot-hash.ts'
import { S3Error } from '../s3-error.ts'
import type { ChunkSignatures } from './payload.ts'
import { isSameSignature, signV4 } from './signing-keys.ts'

export const EMPTY_SHA256 = hashLatin1Hex('sha256', '')

export interface ChunkChain {
  /** Of the day and the region of the request. */
  readonly signingKey: Buffer
  /** Of the request, `yyyymmddThhmmssZ`. */
  readonly dateTime: string
  /** `date/region/s3/aws4_request`. */
  readonly scope: string
  /** The signature of the request itself. */
  readonly seedSignature: string
}

/**
 * Signatures of chunks, each over the one before: so none can be left out, repeated or moved. The
 * first follows the signature of the request, the one of the trailers that of the empty last chunk.
 *
 * Source: S3, "Signature calculations: transferring a payload in multiple chunks" and "including
 * trailing headers".
 */
export class ChainedChunkSignatures implements ChunkSignatures {
  readonly #signingKey: Buffer
  /** What follows the name of the algorithm in every text that is signed. */
  readonly #head: string
  /** Only ever one that was found good. */
  #previous: string

  constructor(chain: ChunkChain) {
    this.#signingKey = chain.signingKey
    this.#head = `${chain.dateTime}\n${chain.scope}`
    this.#previous = chain.seedSignature
  }

  checkChunk(signature: string, sha256: string): void {
    this.#check(signature, 'AWS4-HMAC-SHA256-PAYLOAD', `${EMPTY_SHA256}\n${sha256}`)
  }

  checkTrailer(signature: string, text: string): void {
    this.#check(signature, 'AWS4-HMAC-SHA256-TRAILER', hashLatin1Hex('sha256', text))
  }

  #check(signature: string, algorithm: string, tail: string): void {
    const text = `${algorithm}\n${this.#head}\n${this.#previous}\n${tail}`
    const expected = signV4(this.#signingKey, text)
    if (!isSameSignature(signature, expected)) throw new S3Error('SignatureDoesNotMatch')
    this.#previous = expected
  }
}
