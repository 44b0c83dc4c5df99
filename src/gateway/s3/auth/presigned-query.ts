import { S3Error } from '../s3-error.ts'
import type { QueryParameters } from '../s3-request.ts'
import { type CredentialScope, checkAlgorithm, malformed, parseCredential } from './credential.ts'
import { parseDateTime, type RequestTime, SKEW_MS_MAX } from './request-time.ts'
import { parseSignedHeaders } from './signed-headers.ts'

const CODE = 'AuthorizationQueryParametersError'

/** Not part of what it signs. */
export const SIGNATURE_PARAMETER = 'X-Amz-Signature'

const NAMES: ReadonlySet<string> = new Set([
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-SignedHeaders',
  SIGNATURE_PARAMETER,
])

/** A week. Source: S3, "Authenticating requests: using query parameters". */
const EXPIRES_S_MAX = 604_800

export interface PresignedQuery {
  readonly scope: CredentialScope
  readonly signedHeaders: readonly string[]
  /** As it came: nothing is known of its shape. */
  readonly signature: string
  readonly time: RequestTime
}

/**
 * Names are compared letter by letter, as AWS does and SDKs write them.
 *
 * @throws {S3Error} AuthorizationQueryParametersError: a parameter is missing, comes twice or makes
 * no sense. NotImplemented: SigV4A. AccessDenied: the request has expired, is more than 15 minutes
 * ahead of our clock, or is meant to be good for less than a second or more than a week. AWS
 * answers the last with 400, and conformance suites want 403.
 */
export function parsePresignedQuery(query: QueryParameters, nowMs: number): PresignedQuery {
  const values = readParameters(query)
  checkAlgorithm(parameter(values, 'X-Amz-Algorithm'), CODE)
  const time = parseDateTime(parameter(values, 'X-Amz-Date'))
  if (time === undefined) throw malformed(CODE, 'X-Amz-Date must be yyyymmddThhmmssZ')
  const scope = parseCredential(parameter(values, 'X-Amz-Credential'), CODE)
  const signedHeaders = parseSignedHeaders(parameter(values, 'X-Amz-SignedHeaders'), CODE)
  const signature = parameter(values, SIGNATURE_PARAMETER)
  checkExpiry(time, parameter(values, 'X-Amz-Expires'), nowMs)
  return { scope, signedHeaders, signature, time }
}

function readParameters(query: QueryParameters): ReadonlyMap<string, string> {
  const values = new Map<string, string>()
  for (const [name, value] of query.pairs) {
    if (!NAMES.has(name)) continue
    if (values.has(name)) throw malformed(CODE, `${name} comes twice`)
    values.set(name, value)
  }
  return values
}

function parameter(values: ReadonlyMap<string, string>, name: string): string {
  const value = values.get(name)
  if (value === undefined) throw malformed(CODE, `${name} is missing`)
  return value
}

function checkExpiry(time: RequestTime, expires: string, nowMs: number): void {
  if (!/^-?\d{1,15}$/.test(expires)) throw malformed(CODE, 'X-Amz-Expires must be a number')
  const expiresS = Number(expires)
  if (expiresS < 1 || expiresS > EXPIRES_S_MAX) {
    throw new S3Error('AccessDenied', `X-Amz-Expires must be 1 to ${EXPIRES_S_MAX} seconds`)
  }
  if (time.atMs - nowMs > SKEW_MS_MAX) {
    throw new S3Error('AccessDenied', 'Request is not yet valid')
  }
  const expiresAtMs = time.atMs + expiresS * 1000
  if (nowMs > expiresAtMs) throw expiredError(expiresAtMs, nowMs)
}

export function expiredError(expiresAtMs: number, nowMs: number): S3Error {
  const fields = {
    Expires: new Date(expiresAtMs).toISOString(),
    ServerTime: new Date(nowMs).toISOString(),
  }
  return new S3Error('AccessDenied', 'Request has expired', { fields })
}
