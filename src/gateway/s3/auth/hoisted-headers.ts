import { quote } from '../../../base/store-error.ts'
import { S3Error } from '../s3-error.ts'
import type { QueryParameters, S3Request } from '../s3-request.ts'

/** The CRC32 of no bytes at all, in base64. */
const EMPTY_CRC32 = 'AAAAAA=='

/** A tab apart, which headers may have. */
const CONTROLS = /[^\P{Cc}\t\u0080-\u009f]/u

/** Parameters of the signature itself: there are no headers that mean the same. */
const SIGNATURE_PARAMETERS: ReadonlySet<string> = new Set([
  'x-amz-algorithm',
  'x-amz-credential',
  'x-amz-date',
  'x-amz-expires',
  'x-amz-signature',
  'x-amz-signedheaders',
])

/** True if the query carries a signature. `authenticate` is the one who says whether it is good. */
export function isPresigned(query: QueryParameters): boolean {
  if (query.pairs.length === 0) return false
  return query.has('X-Amz-Signature') || (query.has('AWSAccessKeyId') && query.has('Signature'))
}

/**
 * A header, or the query parameter of a presigned request that stands for it: SDKs move `x-amz-*`
 * headers into the query when they presign. Without a signature in the query, nobody vouches for
 * its parameters and only headers count. A header that came wins.
 *
 * @param name in lower case.
 * @returns Latin-1 characters that stand for bytes, as the values of headers do.
 */
export function effectiveHeader(request: S3Request, name: string): string | undefined {
  const value = request.headers.get(name)
  if (value !== undefined || request.query.pairs.length === 0) return value
  if (!name.startsWith('x-amz-') || isAboutTheClient(name)) return value
  return isPresigned(request.query) ? hoistedValue(request.query, name) : undefined
}

/** The names for which `effectiveHeader` has a value, each once, in lower case. */
export function effectiveHeaderNames(request: S3Request): ReadonlySet<string> {
  const names = new Set(request.headers.names())
  if (!isPresigned(request.query)) return names
  for (const name of hoistedNames(request.query)) {
    if (!isAboutTheClient(name)) names.add(name)
  }
  return names
}

/**
 * All that could stand for headers, in lower case, with repetitions.
 *
 * @throws {S3Error} InvalidArgument: what no header can be.
 */
export function hoistedNames(query: QueryParameters): string[] {
  const names: string[] = []
  for (const [text, value] of query.pairs) {
    const name = text.toLowerCase()
    if (!name.startsWith('x-amz-') || SIGNATURE_PARAMETERS.has(name)) continue
    checkHeaderText(name, value)
    names.push(name)
  }
  return names
}

/**
 * The first parameter of this name, whichever its capitals, as the bytes of a header.
 *
 * @throws {S3Error} InvalidArgument: what no header can be.
 */
export function hoistedValue(query: QueryParameters, name: string): string | undefined {
  if (SIGNATURE_PARAMETERS.has(name)) return undefined
  const pair = query.pairs.find(([candidate]) => candidate.toLowerCase() === name)
  if (pair === undefined) return undefined
  checkHeaderText(name, pair[1])
  return Buffer.from(pair[1]).toString('latin1')
}

/**
 * What stands for a header and did not come as one. Kept with an object, a line feed or the like
 * could never be sent back: the object would break every answer that has it.
 *
 * @throws {S3Error} InvalidArgument: what no header can be.
 */
export function checkHeaderText(name: string, value: string): void {
  if (/^[\w!#$%&'*+.^`|~-]+$/.test(name) && !CONTROLS.test(value)) return
  const fields = { ArgumentName: name.slice(0, 100) }
  throw new S3Error('InvalidArgument', `${quote(name)} cannot be sent as a header`, { fields })
}

/**
 * True if the checksum that `effectiveHeader` gives for `x-amz-checksum-crc32` must not be
 * enforced: the presigner of the JavaScript SDK knows no body, so it signs the CRC32 of none, and
 * to believe it would refuse every upload. Only what was hoisted can be meant like this, and only
 * with a body: one of unknown length that turns out empty has this checksum anyway.
 */
export function isPlaceholderChecksum(request: S3Request): boolean {
  const { headers, query } = request
  if (headers.has('x-amz-checksum-crc32') || !isPresigned(query)) return false
  if (hoistedValue(query, 'x-amz-checksum-crc32') !== EMPTY_CRC32) return false
  return Number(headers.get('content-length')) > 0 || headers.has('transfer-encoding')
}

/** What says nothing about the object: SDKs hoist it along with the rest. */
function isAboutTheClient(name: string): boolean {
  return name.startsWith('x-amz-sdk-') || name === 'x-amz-user-agent'
}
