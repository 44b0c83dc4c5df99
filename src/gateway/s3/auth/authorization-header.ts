import { LRUCache } from 'lru-cache'
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

type Signer = Omit<AuthorizationHeader, 'signature'>

interface KnownSigner {
  readonly head: string
  readonly signer: Signer
}

/** Clients, times the sets of headers they sign. */
const SIGNERS_MAX = 1024
/** None that clients send is longer; strangers cannot fill the memory. */
const HEAD_LENGTH_MAX = 512

/**
 * Heads that were parsed already: all of it but the signature is the same in most requests of a
 * client. A pure function of the text, so one cache for the process is enough.
 */
const signers = new LRUCache<string, KnownSigner>({ max: SIGNERS_MAX })
/** To compare with it is cheaper than to look it up. */
let latest: KnownSigner | undefined

const SIGNATURE_LENGTH = 64
/** As most clients write it: the signature is at the end. */
const SIGNATURE_AT_END = /, ?Signature=[0-9a-f]{64}$/

/**
 * Of `AWS4-HMAC-SHA256 Credential=.., SignedHeaders=.., Signature=..`: three parts in any order,
 * each once, with or without spaces around the commas (s3cmd and restic send none).
 *
 * @throws {S3Error} AuthorizationHeaderMalformed
 */
export function parseAuthorizationHeader(text: string): AuthorizationHeader {
  const end = text.length - SIGNATURE_LENGTH
  const isUsual = end <= HEAD_LENGTH_MAX && SIGNATURE_AT_END.test(text)
  if (!isUsual) return parse(text)
  if (latest?.head.length !== end || !text.startsWith(latest.head)) {
    latest = knownSigner(text.slice(0, end), text)
  }
  const { scope, signedHeaders } = latest.signer
  return { scope, signedHeaders, signature: text.slice(end) }
}

function knownSigner(head: string, text: string): KnownSigner {
  const known = signers.get(head)
  if (known !== undefined) return known
  const { scope, signedHeaders } = parse(text)
  const parsed = { head, signer: { scope, signedHeaders } }
  signers.set(head, parsed)
  return parsed
}

function parse(text: string): AuthorizationHeader {
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
