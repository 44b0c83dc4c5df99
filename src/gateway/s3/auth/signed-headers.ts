import { quote } from '../../../base/store-error.ts'
import { S3Error } from '../s3-error.ts'
import type { RequestHeaders } from '../s3-request.ts'
import { type MalformedCode, malformed } from './credential.ts'

/**
 * Of `host;x-amz-date`: names in the order in which they are signed.
 *
 * @throws {S3Error} `code`: not lower-case names of headers, each once.
 */
export function parseSignedHeaders(text: string, code: MalformedCode): readonly string[] {
  if (!/^[\w!#$%&'*+.^`|~-]+(?:;[\w!#$%&'*+.^`|~-]+)*$/.test(text) || /[A-Z]/.test(text)) {
    throw malformed(code, `the signed headers cannot be ${quote(text)}`)
  }
  const names = text.split(';')
  // Most clients sort; those that do not have sorted what they signed, as they must.
  names.sort()
  if (names.some((name, at) => name === names[at + 1])) {
    throw malformed(code, `the signed headers ${quote(text)} name one of them twice`)
  }
  return names
}

/**
 * Whatever steers S3 must be signed: a header that somebody adds to a request on its way, or to a
 * presigned one, would change what it does. `host` says which bucket is meant.
 *
 * @throws {S3Error} AccessDenied, with the field `HeadersNotSigned`.
 */
export function checkAllSigned(headers: RequestHeaders, signed: readonly string[]): void {
  const missing: string[] = signed.includes('host') ? [] : ['host']
  for (const name of headers.names()) {
    if (name.startsWith('x-amz-') && !signed.includes(name)) missing.push(name)
  }
  if (missing.length === 0) return
  throw new S3Error(
    'AccessDenied',
    'There were headers present in the request which were not signed',
    { fields: { HeadersNotSigned: missing.join(', ') } },
  )
}
