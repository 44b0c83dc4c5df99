import type { Clock } from '../../../runtime/clock.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Request } from '../s3-request.ts'
import { parseAuthorizationHeader } from './authorization-header.ts'
import { hashCanonicalRequest, otherUris, type SignedParts } from './canonical-request.ts'
import { ChainedChunkSignatures } from './chunk-signatures.ts'
import { parseContentSha256, signedPayload, UNSIGNED_PAYLOAD } from './content-sha256.ts'
import { type CredentialScope, checkScope, V4_ALGORITHM } from './credential.ts'
import { effectiveHeader } from './hoisted-headers.ts'
import type { AccessKey, KeyRing } from './identity.ts'
import type { ChunkSignatures, PayloadMode } from './payload.ts'
import { parsePresignedQuery, SIGNATURE_PARAMETER } from './presigned-query.ts'
import { readRequestTime } from './request-time.ts'
import { checkAllSigned } from './signed-headers.ts'
import { isSameSignature, signingKey, signV4 } from './signing-keys.ts'

export interface VerifierParts {
  readonly keys: KeyRing
  readonly clock: Clock
}

/** A request whose signature was found good. */
export interface VerifiedRequest {
  readonly key: AccessKey
  readonly payload: PayloadMode
}

interface Signed extends SignedParts {
  readonly scope: CredentialScope
  readonly dateTime: string
  readonly signature: string
}

/**
 * Of a request with `Authorization: AWS4-HMAC-SHA256 ...`.
 *
 * @param region without one any is accepted.
 * @throws {S3Error} AuthorizationHeaderMalformed, MissingSecurityHeader (x-amz-content-sha256),
 * InvalidArgument, NotImplemented, RequestTimeTooSkewed, InvalidAccessKeyId, SignatureDoesNotMatch.
 * AccessDenied: no date, or not all is signed that must be.
 */
export async function verifyV4Header(
  request: S3Request,
  parts: VerifierParts,
  region: string | undefined,
): Promise<VerifiedRequest> {
  const { headers } = request
  const authorization = parseAuthorizationHeader(headers.get('authorization') ?? '')
  const payloadHash = headers.get('x-amz-content-sha256')
  if (payloadHash === undefined) {
    throw new S3Error(
      'MissingSecurityHeader',
      'Your request is missing a required header: x-amz-content-sha256',
      { fields: { MissingHeaderName: 'x-amz-content-sha256' } },
    )
  }
  const declared = parseContentSha256(payloadHash)
  const { dateTime } = readRequestTime(headers, parts.clock.nowMs())
  const key = await findKey(parts.keys, authorization.scope.accessKeyId)
  checkScope(authorization.scope, { region, dateTime }, 'AuthorizationHeaderMalformed')
  const signed = { ...authorization, dateTime, payloadHash }
  checkSignature(request, signed, key)
  return { key, payload: signedPayload(declared, () => chunkSignatures(signed, key)) }
}

/**
 * Of a request with `X-Amz-Signature` in its query. Without `x-amz-content-sha256`, as a header or
 * in the query, its body is not signed.
 *
 * @param region without one any is accepted.
 * @throws {S3Error} AuthorizationQueryParametersError, InvalidArgument, NotImplemented,
 * InvalidAccessKeyId, SignatureDoesNotMatch. AccessDenied: it has expired, is of the future, or not
 * all is signed that must be.
 */
export async function verifyV4Query(
  request: S3Request,
  parts: VerifierParts,
  region: string | undefined,
): Promise<VerifiedRequest> {
  const presigned = parsePresignedQuery(request.query, parts.clock.nowMs())
  const payloadHash = effectiveHeader(request, 'x-amz-content-sha256') ?? UNSIGNED_PAYLOAD
  const declared = parseContentSha256(payloadHash)
  const { dateTime } = presigned.time
  const key = await findKey(parts.keys, presigned.scope.accessKeyId)
  checkScope(presigned.scope, { region, dateTime }, 'AuthorizationQueryParametersError')
  const omittedParameter = SIGNATURE_PARAMETER
  const signed = { ...presigned, dateTime, payloadHash, omittedParameter }
  checkSignature(request, signed, key)
  return { key, payload: signedPayload(declared, () => chunkSignatures(signed, key)) }
}

/**
 * Ids that are not printable ASCII are nobody's, and are not repeated in the answer: XML has no way
 * to write some of their characters.
 *
 * @throws {S3Error} InvalidAccessKeyId
 */
export async function findKey(keys: KeyRing, accessKeyId: string): Promise<AccessKey> {
  if (!/^[!-~]+$/.test(accessKeyId)) throw new S3Error('InvalidAccessKeyId')
  const key = await keys.findKey(accessKeyId)
  if (key !== undefined) return key
  throw new S3Error('InvalidAccessKeyId', undefined, { fields: { AWSAccessKeyId: accessKeyId } })
}

function checkSignature(request: S3Request, signed: Signed, key: AccessKey): void {
  checkAllSigned(request.headers, signed.signedHeaders)
  const text = stringToSign(signed, hashCanonicalRequest(request, signed))
  const isSigned = (candidate: string) =>
    isSameSignature(signed.signature, signV4(signingKey(key, signed.scope), candidate))
  if (isSigned(text)) return
  for (const uri of otherUris(request.rawPath)) {
    if (isSigned(stringToSign(signed, hashCanonicalRequest(request, signed, uri)))) return
  }
  // The text holds nothing secret, and shows the one who signed where the two of us differ.
  const fields = { AWSAccessKeyId: signed.scope.accessKeyId, StringToSign: text }
  throw new S3Error('SignatureDoesNotMatch', undefined, { fields })
}

function stringToSign({ dateTime, scope }: Signed, hash: string): string {
  return `${V4_ALGORITHM}\n${dateTime}\n${scope.text}\n${hash}`
}

function chunkSignatures(signed: Signed, key: AccessKey): ChunkSignatures {
  return new ChainedChunkSignatures({
    signingKey: signingKey(key, signed.scope),
    dateTime: signed.dateTime,
    scope: signed.scope.text,
    seedSignature: signed.signature,
  })
}
