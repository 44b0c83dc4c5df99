import { S3Error } from '../s3-error.ts'
import type { ChunkSignatures, PayloadMode } from './payload.ts'

export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD'

/** `x-amz-content-sha256` as it was understood, before anybody knows whether it was signed. */
export type DeclaredPayload =
  | Extract<PayloadMode, { readonly kind: 'signed' | 'unsigned' }>
  | {
      readonly kind: 'chunked'
      readonly hasSignatures: boolean
      readonly hasTrailer: boolean
    }

const UNSIGNED: DeclaredPayload = { kind: 'unsigned' }

const LITERALS: ReadonlyMap<string, DeclaredPayload> = new Map<string, DeclaredPayload>([
  [UNSIGNED_PAYLOAD, UNSIGNED],
  [
    'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
    { kind: 'chunked', hasSignatures: true, hasTrailer: false },
  ],
  [
    'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
    { kind: 'chunked', hasSignatures: true, hasTrailer: true },
  ],
  [
    'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    { kind: 'chunked', hasSignatures: false, hasTrailer: true },
  ],
])

/**
 * @param text undefined: no header came, and nothing is promised of the body.
 * @throws {S3Error} InvalidArgument: neither 64 lower-case hex digits nor one of the literals.
 * NotImplemented: chunks signed by SigV4A.
 */
export function parseContentSha256(text: string | undefined): DeclaredPayload {
  if (text === undefined) return UNSIGNED
  if (/^[0-9a-f]{64}$/.test(text)) return { kind: 'signed', sha256: text }
  const literal = LITERALS.get(text)
  if (literal !== undefined) return literal
  if (text.startsWith('STREAMING-AWS4-ECDSA-P256')) {
    throw new S3Error('NotImplemented', 'SigV4A is not implemented')
  }
  throw new S3Error(
    'InvalidArgument',
    'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- literal, or a SHA-256 in hex',
    { fields: { ArgumentName: 'x-amz-content-sha256' } },
  )
}

/** @param makeSignatures called only if the chunks are signed. */
export function signedPayload(
  declared: DeclaredPayload,
  makeSignatures: () => ChunkSignatures,
): PayloadMode {
  if (declared.kind !== 'chunked') return declared
  const { hasSignatures, hasTrailer } = declared
  return { kind: 'chunked', signatures: hasSignatures ? makeSignatures() : undefined, hasTrailer }
}

/**
 * For a request without a signature that a chain of chunk signatures could begin with.
 *
 * @throws {S3Error} AccessDenied: its chunks are signed. To take them unchecked would let anybody
 * write what the one who signed did not send.
 */
export function unsignedPayload(declared: DeclaredPayload): PayloadMode {
  return signedPayload(declared, () => {
    throw new S3Error('AccessDenied', 'Signed chunks need a request signed by Signature Version 4')
  })
}

/**
 * For every operation but PutObject and UploadPart: they alone take chunked bodies.
 *
 * @throws {S3Error} InvalidRequest: the body is `aws-chunked`.
 */
export function requireNotChunked(payload: PayloadMode): void {
  if (payload.kind !== 'chunked') return
  throw new S3Error(
    'InvalidRequest',
    'The value of x-amz-content-sha256 is for PutObject and UploadPart only',
  )
}
