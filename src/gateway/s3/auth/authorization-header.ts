import { quote } from '../../../base/store-error.ts'
import { type CredentialScope, malformed, parseCredential, V4_ALGORITHM } from './credential.ts'
import { parseSignedHeaders } from './signed-headers.ts'

const CODE = 'AuthorizationHeaderMalformed'

export interface AuthorizationHeader {
  readonly scope: CredentialScope
  readonly signedHeaders: readonly string[]
  /** As it came: nothing is known of its shape. */
  readonly signature: string
}

/**
 * Of `AWS4-HMAC-SHA256 Credential=.., SignedHeaders=.., Signature=..`: three parts in any order,
 * each once, with or without spaces around the commas (s3cmd and restic send none).
 *
 * @throws {S3Error} AuthorizationHeaderMalformed
 */
export function parseAuthorizationHeader(text: string): AuthorizationHeader {
  if (!text.startsWith(`${V4_ALGORITHM} `)) throw malformed(CODE, `no space after ${V4_ALGORITHM}`)
  const parts = new Map<string, string>()
  for (const part of text.slice(V4_ALGORITHM.length + 1).split(',')) {
    const at = part.indexOf('=')
    const name = part.slice(0, Math.max(at, 0)).trim()
    if (parts.has(name)) throw malformed(CODE, `${quote(name)} comes twice`)
    parts.set(name, part.slice(at + 1).trim())
  }
  const credential = parts.get('Credential')
  const signedHeaders = parts.get('SignedHeaders')
  const signature = parts.get('Signature')
  if (credential === undefined || signedHeaders === undefined || signature === undefined) {
    throw malformed(CODE, 'it needs Credential, SignedHeaders and Signature')
  }
  if (parts.size > 3) throw malformed(CODE, 'it has other parts than these three')
  return {
    scope: parseCredential(credential, CODE),
    signedHeaders: parseSignedHeaders(signedHeaders, CODE),
    signature,
  }
}
