import { describe, expect, test } from 'vitest'
import {
  ChainedChunkSignatures,
  EMPTY_SHA256,
} from '../../../../src/gateway/s3/auth/chunk-signatures.ts'
import { signV4 } from '../../../../src/gateway/s3/auth/signing-keys.ts'

const signingKey = Buffer.from('a key of a test')
const dateTime = '20240309T070809Z'
const scope = '20240309/us-east-1/s3/aws4_request'
const seedSignature = '0'.repeat(64)
const ONE = '1'.repeat(64)
const TWO = '2'.repeat(64)
const MISMATCH = expect.objectContaining({ code: 'SignatureDoesNotMatch', status: 403 })

function chunkSignature(previous: string, sha256: string): string {
  const lines = ['AWS4-HMAC-SHA256-PAYLOAD', dateTime, scope, previous, EMPTY_SHA256, sha256]
  return signV4(signingKey, lines.join('\n'))
}

const first = chunkSignature(seedSignature, ONE)
const second = chunkSignature(first, TWO)
const last = chunkSignature(second, EMPTY_SHA256)

function chain() {
  return new ChainedChunkSignatures({ signingKey, dateTime, scope, seedSignature })
}

describe('the signatures of chunks', () => {
  test('are good in the order of the chunks', () => {
    const signatures = chain()
    signatures.checkChunk(first, ONE)
    signatures.checkChunk(second, TWO)
    expect(() => signatures.checkChunk(last, EMPTY_SHA256)).not.toThrow()
  })

  test('refuse a chunk that was left out', () => {
    const signatures = chain()
    signatures.checkChunk(first, ONE)
    expect(() => signatures.checkChunk(last, EMPTY_SHA256)).toThrow(MISMATCH)
  })

  test('refuse a chunk that comes twice', () => {
    const signatures = chain()
    signatures.checkChunk(first, ONE)
    expect(() => signatures.checkChunk(first, ONE)).toThrow(MISMATCH)
  })

  test('refuse the second chunk as the first', () => {
    expect(() => chain().checkChunk(second, TWO)).toThrow(MISMATCH)
  })

  test('refuse other data', () => {
    expect(() => chain().checkChunk(first, TWO)).toThrow(MISMATCH)
  })

  test.each([
    '',
    'a',
    first.slice(1),
    `${first}0`,
    first.toUpperCase(),
    `${first.slice(0, 63)}\u0130`,
  ])('refuse %j, and go on from the last good one', (signature) => {
    const signatures = chain()
    expect(() => signatures.checkChunk(signature, ONE)).toThrow(MISMATCH)
    expect(() => signatures.checkChunk(first, ONE)).not.toThrow()
  })

  test('refuse a trailer signed as a chunk, and a chunk signed as a trailer', () => {
    const signatures = chain()
    expect(() => signatures.checkTrailer(first, 'x-amz-checksum-crc32:AAAAAA==\n')).toThrow(
      MISMATCH,
    )
    const trailerLines = ['AWS4-HMAC-SHA256-TRAILER', dateTime, scope, seedSignature, EMPTY_SHA256]
    const trailer = signV4(signingKey, trailerLines.join('\n'))
    expect(() => signatures.checkChunk(trailer, EMPTY_SHA256)).toThrow(MISMATCH)
    expect(() => signatures.checkTrailer(trailer, '')).not.toThrow()
  })
})
