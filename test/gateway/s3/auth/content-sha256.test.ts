import { describe, expect, test } from 'vitest'
import {
  parseContentSha256,
  requireNotChunked,
  signedPayload,
  unsignedPayload,
} from '../../../../src/gateway/s3/auth/content-sha256.ts'
import type { ChunkSignatures } from '../../../../src/gateway/s3/auth/payload.ts'

const SHA256 = '0123456789abcdef'.repeat(4)
const SIGNED = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'
const SIGNED_TRAILER = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER'
const UNSIGNED_TRAILER = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'

const signatures: ChunkSignatures = { checkChunk: () => undefined, checkTrailer: () => undefined }

describe('x-amz-content-sha256', () => {
  test.each([
    [undefined, { kind: 'unsigned' }],
    ['UNSIGNED-PAYLOAD', { kind: 'unsigned' }],
    [SHA256, { kind: 'signed', sha256: SHA256 }],
    [SIGNED, { kind: 'chunked', signatures, hasTrailer: false }],
    [SIGNED_TRAILER, { kind: 'chunked', signatures, hasTrailer: true }],
    [UNSIGNED_TRAILER, { kind: 'chunked', signatures: undefined, hasTrailer: true }],
  ])('of %s in a signed request is %j', (text, expected) => {
    expect(signedPayload(parseContentSha256(text), () => signatures)).toEqual(expected)
  })

  test.each([SIGNED, SIGNED_TRAILER])('of %s is refused where nothing is signed by V4', (text) => {
    expect(() => unsignedPayload(parseContentSha256(text))).toThrow(
      expect.objectContaining({ code: 'AccessDenied' }),
    )
  })

  test.each([undefined, 'UNSIGNED-PAYLOAD', SHA256, UNSIGNED_TRAILER])(
    'of %s needs no signature',
    (text) => {
      const declared = parseContentSha256(text)
      expect(unsignedPayload(declared).kind).toBe(declared.kind)
    },
  )

  test.each([
    '',
    'unsigned-payload',
    'UNSIGNED-PAYLOAD-TRAILER',
    'STREAMING-UNSIGNED-PAYLOAD',
    'STREAMING-AWS4-HMAC-SHA256',
    'streaming-aws4-hmac-sha256-payload',
    `${SIGNED},${SIGNED}`,
    SHA256.toUpperCase(),
    SHA256.slice(1),
    `${SHA256}0`,
    `${SHA256.slice(1)}g`,
  ])('of %j is refused: InvalidArgument', (text) => {
    expect(() => parseContentSha256(text)).toThrow(
      expect.objectContaining({ code: 'InvalidArgument' }),
    )
  })

  test.each([
    'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD',
    'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER',
  ])('of %s is NotImplemented', (text) => {
    expect(() => parseContentSha256(text)).toThrow(
      expect.objectContaining({ code: 'NotImplemented' }),
    )
  })
})

describe('an operation that takes no chunked body', () => {
  test.each([
    { kind: 'chunked', signatures, hasTrailer: false },
    { kind: 'chunked', signatures: undefined, hasTrailer: true },
  ] as const)('refuses %j: InvalidRequest', (payload) => {
    expect(() => requireNotChunked(payload)).toThrow(
      expect.objectContaining({ code: 'InvalidRequest' }),
    )
  })

  test.each([{ kind: 'unsigned' }, { kind: 'signed', sha256: SHA256 }] as const)(
    'takes %j',
    (payload) => {
      expect(() => requireNotChunked(payload)).not.toThrow()
    },
  )
})
