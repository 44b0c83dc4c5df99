import { createHash, createHmac } from 'node:crypto'
import type { ChunkSignatures } from '../../src/gateway/s3/auth/payload.ts'
import { S3Error } from '../../src/gateway/s3/s3-error.ts'

/** Of the examples that AWS publishes, with their credentials, in May 2013. */
const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
const DATE_TIME = '20130524T000000Z'
const SCOPE = ['20130524', 'us-east-1', 's3', 'aws4_request']

const KEY = SCOPE.reduce<Buffer>(
  (key, part) => createHmac('sha256', key).update(part).digest(),
  Buffer.from(`AWS4${SECRET}`),
)

export function sha256Hex(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Signs chunks, or checks them: one object does one of both, in order. */
export class ChunkSigner implements ChunkSignatures {
  #previous: string

  /** @param seed the signature of the request's headers. */
  constructor(seed: string) {
    this.#previous = seed
  }

  signChunk(sha256: string): string {
    return this.#sign('AWS4-HMAC-SHA256-PAYLOAD', [sha256Hex(''), sha256])
  }

  signTrailer(text: string): string {
    return this.#sign('AWS4-HMAC-SHA256-TRAILER', [sha256Hex(text)])
  }

  checkChunk(signature: string, sha256: string): void {
    if (this.signChunk(sha256) !== signature) throw new S3Error('SignatureDoesNotMatch')
  }

  checkTrailer(signature: string, text: string): void {
    if (this.signTrailer(text) !== signature) throw new S3Error('SignatureDoesNotMatch')
  }

  #sign(algorithm: string, hashes: readonly string[]): string {
    const lines = [algorithm, DATE_TIME, SCOPE.join('/'), this.#previous, ...hashes]
    this.#previous = createHmac('sha256', KEY).update(lines.join('\n')).digest('hex')
    return this.#previous
  }
}

export interface ChunkedBodyForm {
  readonly signer: Pick<ChunkSigner, 'signChunk' | 'signTrailer'> | undefined
  /** Undefined: the form without trailers. */
  readonly trailers: Readonly<Record<string, string>> | undefined
  /** What a trailer's line ends in. */
  readonly trailerEnd?: string
}

/** The wire bytes of an `aws-chunked` body with these chunks, the empty last one not among them. */
export function encodeAwsChunks(chunks: readonly Buffer[], form: ChunkedBodyForm): Buffer {
  const { signer, trailers, trailerEnd = '\r\n' } = form
  const header = (chunk: Buffer): string => {
    const extension = signer ? `;chunk-signature=${signer.signChunk(sha256Hex(chunk))}` : ''
    return `${chunk.length.toString(16)}${extension}\r\n`
  }
  const crlf = Buffer.from('\r\n')
  const wire = chunks.flatMap((chunk) => [Buffer.from(header(chunk)), chunk, crlf])
  wire.push(Buffer.from(header(Buffer.alloc(0))))
  if (trailers !== undefined) {
    const pairs = Object.entries(trailers).map(([name, value]) => `${name}:${value}`)
    const lines = pairs.map((pair) => `${pair}${trailerEnd}`)
    wire.push(Buffer.from(lines.join('')))
    if (signer) {
      const signature = signer.signTrailer(pairs.map((pair) => `${pair}\n`).join(''))
      wire.push(Buffer.from(`x-amz-trailer-signature:${signature}\r\n`))
    }
  }
  return Buffer.concat([...wire, crlf])
}

/** As a request's body comes: in pieces, not all at once. */
export async function* wireOf(...pieces: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) {
    await undefined
    yield piece
  }
}
