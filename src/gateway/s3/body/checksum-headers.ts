import type { PayloadMode } from '../auth/payload.ts'
import {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
  type ChecksumType,
} from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import {
  checksumHeaderName,
  decodeBase64,
  findChecksumAlgorithm,
  parseChecksumValue,
} from './checksum.ts'

/** Value of the header with this lower-case name; SDKs put some of them into the query instead. */
export type HeaderSource = (name: string) => string | undefined

/** What the client says the sum is, and where it says so. */
export type ChecksumClaim =
  | { readonly algorithm: ChecksumAlgorithm; readonly place: 'header'; readonly value: Buffer }
  /** The value comes after the body, in the trailer that `checksumHeaderName` names. */
  | { readonly algorithm: ChecksumAlgorithm; readonly place: 'trailer' }

/** What is to be computed of a body, and compared. */
export interface ChecksumPlan {
  /** Computed in any case, and stored with the object or part. */
  readonly algorithm: ChecksumAlgorithm
  /** May be of another algorithm, if a multipart upload keeps one that nobody chose. */
  readonly claim: ChecksumClaim | undefined
  readonly contentMd5: Buffer | undefined
}

/** The checksum that a multipart upload was created with. */
export interface UploadChecksum {
  readonly algorithm: ChecksumAlgorithm
  readonly type: ChecksumType
  /** False: the request did not say, and this is the default. */
  readonly isChosen: boolean
}

/** What S3 keeps if nobody asks for anything. */
export const DEFAULT_ALGORITHM: ChecksumAlgorithm = 'CRC64NVME'

/** Algorithms that newer SDKs know. Not to check what such a header says would be a lie. */
const FOREIGN_NAMES = ['md5', 'sha512', 'xxhash3', 'xxhash64', 'xxhash128'].map(
  (name) => `x-amz-checksum-${name}`,
)

/**
 * Reads what a request with a body says about the body's checksums.
 *
 * @param upload the upload that the body is a part of.
 * @throws {S3Error} InvalidDigest: Content-MD5. InvalidRequest: more than one checksum, an unknown
 * algorithm, a value of the wrong length; a trailer announced, but the body has none; an
 * `x-amz-sdk-checksum-algorithm` without or beside its checksum; not the upload's algorithm.
 */
export function readChecksumPlan(
  header: HeaderSource,
  mode: PayloadMode,
  upload?: UploadChecksum,
): ChecksumPlan {
  const claim = readClaim(header, mode)
  checkSdkAlgorithm(header, claim)
  const algorithm = upload?.algorithm ?? claim?.algorithm ?? DEFAULT_ALGORITHM
  if (upload?.isChosen && claim !== undefined && claim.algorithm !== algorithm) {
    throw algorithmMismatch(algorithm, claim.algorithm)
  }
  return { algorithm, claim, contentMd5: readContentMd5(header) }
}

/**
 * The algorithm that CopyObject and CreateMultipartUpload are asked for.
 *
 * @throws {S3Error} InvalidRequest: not one of ours.
 */
export function readAskedAlgorithm(header: HeaderSource): ChecksumAlgorithm | undefined {
  const name = header('x-amz-checksum-algorithm')
  if (name === undefined) return undefined
  const algorithm = findChecksumAlgorithm(name)
  if (algorithm === undefined) throw unsupported()
  return algorithm
}

/** In any case. @throws {S3Error} InvalidRequest: neither COMPOSITE nor FULL_OBJECT. */
export function readChecksumType(header: HeaderSource): ChecksumType | undefined {
  const type = header('x-amz-checksum-type')?.trim().toUpperCase()
  if (type === undefined || type === 'COMPOSITE' || type === 'FULL_OBJECT') return type
  throw invalid('Value for x-amz-checksum-type header is invalid.')
}

/** @throws {S3Error} InvalidDigest: not base64 of 16 bytes. */
function readContentMd5(header: HeaderSource): Buffer | undefined {
  const text = header('content-md5')
  if (text === undefined) return undefined
  const md5 = decodeBase64(text.trim(), 16)
  if (md5 !== undefined) return md5
  const fields = { 'Content-MD5': text }
  throw new S3Error('InvalidDigest', 'The Content-MD5 you specified is not valid.', { fields })
}

/**
 * The one header that carries a sum, unparsed.
 *
 * @throws {S3Error} InvalidRequest: more than one, or one of an algorithm that is not ours.
 */
export function findChecksumHeader(
  header: HeaderSource,
): { readonly algorithm: ChecksumAlgorithm; readonly text: string } | undefined {
  if (FOREIGN_NAMES.some((name) => header(name) !== undefined)) throw unsupported()
  let found: { algorithm: ChecksumAlgorithm; text: string } | undefined
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const text = header(checksumHeaderName(algorithm))
    if (text === undefined) continue
    if (found !== undefined) throw severalChecksums()
    found = { algorithm, text: text.trim() }
  }
  return found
}

/** A checksum of another algorithm than the one its upload was created with. */
export function algorithmMismatch(expected: ChecksumAlgorithm, actual: ChecksumAlgorithm): S3Error {
  return invalid(
    `Checksum Type mismatch occurred, expected checksum Type: ${expected.toLowerCase()}, ` +
      `actual checksum Type: ${actual.toLowerCase()}`,
  )
}

function readClaim(header: HeaderSource, mode: PayloadMode): ChecksumClaim | undefined {
  const found = findChecksumHeader(header)
  const trailed = readTrailerAlgorithm(header, mode)
  if (trailed !== undefined) {
    if (found !== undefined) throw severalChecksums()
    return { algorithm: trailed, place: 'trailer' }
  }
  if (found === undefined) return undefined
  const { algorithm, text } = found
  return { algorithm, place: 'header', value: parseChecksumValue(algorithm, text) }
}

/** Of the trailers there can be, S3 takes checksums alone. */
function readTrailerAlgorithm(
  header: HeaderSource,
  mode: PayloadMode,
): ChecksumAlgorithm | undefined {
  const text = header('x-amz-trailer')
  if (text === undefined) return undefined
  const algorithms = text.split(',').map((part) => {
    const name = part.trim().toLowerCase()
    const algorithm = CHECKSUM_ALGORITHMS.find((each) => checksumHeaderName(each) === name)
    if (algorithm !== undefined) return algorithm
    throw invalid('The value specified in the x-amz-trailer header is not supported')
  })
  if (algorithms.length > 1) throw severalChecksums()
  if (mode.kind !== 'chunked' || !mode.hasTrailer) {
    throw invalid('x-amz-trailer needs an x-amz-content-sha256 that ends in -TRAILER.')
  }
  return algorithms[0]
}

function checkSdkAlgorithm(header: HeaderSource, claim: ChecksumClaim | undefined): void {
  const name = header('x-amz-sdk-checksum-algorithm')
  if (name === undefined) return
  const algorithm = findChecksumAlgorithm(name)
  if (algorithm === undefined) throw unsupported()
  if (claim === undefined) {
    throw invalid(
      'x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or ' +
        'x-amz-trailer headers were found.',
    )
  }
  if (algorithm !== claim.algorithm) {
    throw invalid('Value for x-amz-sdk-checksum-algorithm header is invalid.')
  }
}

function severalChecksums(): S3Error {
  return invalid(
    'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
  )
}

function unsupported(): S3Error {
  const names = CHECKSUM_ALGORITHMS.join(', ')
  return invalid(
    `Checksum algorithm provided is unsupported. Please try again with any of the valid types: ` +
      `[${names}]`,
  )
}

function invalid(message: string): S3Error {
  return new S3Error('InvalidRequest', message)
}
