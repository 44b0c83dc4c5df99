import { quote } from '../../../base/store-error.ts'
import { S3Error, type S3ErrorOptions } from '../s3-error.ts'

/** The one algorithm of Signature Version 4 that is checked here. */
export const V4_ALGORITHM = 'AWS4-HMAC-SHA256'

/** Begins the names of SigV4A, which signs with a key pair for many regions. */
const V4A_ALGORITHM_PREFIX = 'AWS4-ECDSA-P256'

/**
 * AWS's longest is 14; a region is whatever clients were configured with, and part of a cache key.
 */
const REGION_LENGTH_MAX = 64

/** What the answer says of a credential that makes no sense: it depends on where it was given. */
export type MalformedCode =
  | 'AuthorizationHeaderMalformed'
  | 'AuthorizationQueryParametersError'
  | 'InvalidArgument'

/** What a signature is good for. */
export interface CredentialScope {
  readonly accessKeyId: string
  /** `yyyymmdd`. */
  readonly date: string
  readonly region: string
  /** `date/region/s3/aws4_request`, as it is signed. */
  readonly text: string
}

/**
 * Of `AKID/yyyymmdd/region/s3/aws4_request`.
 *
 * @throws {S3Error} `code`: it has another shape, or is for another service.
 */
export function parseCredential(credential: string, code: MalformedCode): CredentialScope {
  const parts = credential.split('/')
  const [accessKeyId = '', date = '', region = '', service, terminator] = parts
  if (parts.length !== 5 || accessKeyId === '') {
    throw malformed(code, 'the credential must be "ID/yyyymmdd/REGION/s3/aws4_request"')
  }
  if (!/^\d{8}$/.test(date)) throw malformed(code, `incorrect date ${quote(date)}`)
  if (!/^[\w-]+$/.test(region) || region.length > REGION_LENGTH_MAX) {
    throw malformed(code, `incorrect region ${quote(region)}`)
  }
  if (service !== 's3') throw malformed(code, `incorrect service ${quote(service ?? '')}: "s3"`)
  if (terminator !== 'aws4_request') {
    throw malformed(code, `incorrect end ${quote(terminator ?? '')}: "aws4_request"`)
  }
  return { accessKeyId, date, region, text: `${date}/${region}/s3/aws4_request` }
}

/**
 * @param region without one any is accepted: clients that were not told sign for `us-east-1`.
 * @param dateTime of the request, `yyyymmddThhmmssZ`.
 * @throws {S3Error} `code`: the credential is for another day than the request, or for another
 * region; then with the field `Region`, by which clients sign again.
 */
export function checkScope(
  scope: CredentialScope,
  expected: { readonly region: string | undefined; readonly dateTime: string },
  code: MalformedCode,
): void {
  const { region, dateTime } = expected
  if (!dateTime.startsWith(scope.date)) {
    throw malformed(code, `the credential is of ${scope.date}, the request of ${quote(dateTime)}`)
  }
  if (region !== undefined && scope.region !== region) {
    const message = `the region ${quote(scope.region)} is wrong; expecting ${quote(region)}`
    throw malformed(code, message, { fields: { Region: region } })
  }
}

/** @throws {S3Error} NotImplemented: SigV4A. `code`: anything but HMAC-SHA256. */
export function checkAlgorithm(algorithm: string, code: MalformedCode): void {
  if (algorithm === V4_ALGORITHM) return
  if (isSigV4A(algorithm)) throw new S3Error('NotImplemented', 'SigV4A is not implemented')
  throw malformed(code, `the algorithm must be ${V4_ALGORITHM}, not ${quote(algorithm)}`)
}

export function isSigV4A(algorithm: string): boolean {
  return algorithm.startsWith(V4A_ALGORITHM_PREFIX)
}

export function malformed(
  code: MalformedCode,
  message: string,
  options: S3ErrorOptions = {},
): S3Error {
  return new S3Error(code, `The authorization cannot be used: ${message}`, options)
}
