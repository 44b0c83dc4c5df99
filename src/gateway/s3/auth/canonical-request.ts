import { hashLatin1Hex } from '../../one-shot-hash.ts'
import { S3Error } from '../s3-error.ts'
import type { QueryParameters, RequestHeaders, S3Request } from '../s3-request.ts'

/** What of a request is signed, beside the request itself. */
export interface SignedParts {
  /** In lower case, in the order in which their values are signed. */
  readonly signedHeaders: readonly string[]
  /** A SHA-256 in hex, or one of the literals that stand in for it. */
  readonly payloadHash: string
  /** The query parameter that carries the signature, and so cannot be part of what it signs. */
  readonly omittedParameter?: string
}

/**
 * The SHA-256 of a request's canonical form, in hex. Header values are Latin-1 characters that
 * stand for the bytes that came, and everything else is ASCII: the hash is over those bytes.
 *
 * Source: AWS Signature Version 4, "Create a signed AWS API request", with the exceptions for S3.
 *
 * @throws {S3Error} InvalidURI: an escape in the path is no UTF-8.
 */
export function hashCanonicalRequest(
  request: S3Request,
  parts: SignedParts,
  uri = canonicalUri(request.rawPath),
): string {
  return hashLatin1Hex('sha256', canonicalRequest(request, parts, uri))
}

/** @throws {S3Error} InvalidURI: an escape in the path is no UTF-8. */
export function canonicalRequest(
  request: S3Request,
  parts: SignedParts,
  uri = canonicalUri(request.rawPath),
): string {
  const { signedHeaders, payloadHash, omittedParameter } = parts
  const query = canonicalQuery(request.query, omittedParameter)
  const headers = canonicalHeaders(request.headers, signedHeaders)
  const names = signedHeaders.join(';')
  return `${request.method}\n${uri}\n${query}\n${headers}\n${names}\n${payloadHash}`
}

/**
 * The path decoded once and encoded again, never normalised: `//`, `.` and `..` are parts of keys.
 * So clients are forgiven that leave `+` or `!` as they are, or write escapes in lower case.
 *
 * @throws {S3Error} InvalidURI: an escape is no UTF-8.
 */
export function canonicalUri(rawPath: string): string {
  if (/^[A-Za-z0-9\-._~/]*$/.test(rawPath)) return rawPath
  try {
    return encodePart(decodeURIComponent(rawPath)).replaceAll('%2F', '/')
  } catch (cause) {
    throw new S3Error('InvalidURI', undefined, { cause })
  }
}

/**
 * What clients sign instead that do not do as S3 says: the path as they send it, with `%7E` or a
 * bare `!` in it, or encoded again segment by segment, so that `%2F` stays. Each names the same
 * object, so a signature of any of them is one of this request.
 */
export function otherUris(rawPath: string): readonly string[] {
  const usual = canonicalUri(rawPath)
  if (usual === rawPath) return []
  const bySegment = rawPath.split('/').map((segment) => encodePart(decodeURIComponent(segment)))
  const others = new Set([rawPath, bySegment.join('/')])
  others.delete(usual)
  return [...others]
}

/**
 * Sorted by name and then by value, both encoded. Names are compared apart from values: in `a=1`
 * and `a-b=2` joined, `-` would sort before `=`.
 */
export function canonicalQuery(query: QueryParameters, omittedParameter?: string): string {
  if (query.pairs.length === 0) return ''
  const pairs: [name: string, value: string][] = []
  for (const [name, value] of query.pairs) {
    if (name !== omittedParameter) pairs.push([encodePart(name), encodePart(value)])
  }
  pairs.sort(([nameA, valueA], [nameB, valueB]) =>
    nameA === nameB ? compareText(valueA, valueB) : compareText(nameA, nameB),
  )
  return pairs.map(([name, value]) => `${name}=${value}`).join('&')
}

/** A line for each; one that was signed but did not come, as with a proxy in between, is empty. */
export function canonicalHeaders(headers: RequestHeaders, names: readonly string[]): string {
  let lines = ''
  for (const name of names) lines += `${name}:${canonicalValue(headers.get(name) ?? '')}\n`
  return lines
}

/**
 * Only spaces and tabs are trimmed and made one: `trim()` would also take the character U+00A0,
 * which here is one byte of a longer UTF-8 sequence, such as the second one of `à`.
 */
function canonicalValue(value: string): string {
  if (!/^[ \t]|[ \t]$|[ \t]{2}|\t/.test(value)) return value
  return value.replace(/^[ \t]+|[ \t]+$/g, '').replace(/[ \t]+/g, ' ')
}

function encodePart(text: string): string {
  if (/^[A-Za-z0-9\-._~]*$/.test(text)) return text
  return encodeURIComponent(text).replace(/[!'()*]/g, encodeCharacter)
}

function encodeCharacter(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

/** Both are ASCII: their order is that of their bytes. */
function compareText(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
