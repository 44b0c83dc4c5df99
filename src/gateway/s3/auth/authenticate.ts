import { S3Error } from '../s3-error.ts'
import type { QueryParameters, S3Request } from '../s3-request.ts'
import { parseContentSha256, unsignedPayload } from './content-sha256.ts'
import { isSigV4A, V4_ALGORITHM } from './credential.ts'
import type { AccessKey } from './identity.ts'
import type { PayloadMode } from './payload.ts'
import { verifyV2Header, verifyV2Query } from './signature-v2.ts'
import {
  type VerifiedRequest,
  type VerifierParts,
  verifyV4Header,
  verifyV4Query,
} from './signature-v4.ts'

export interface AuthConfig {
  /** Undefined: requests may be signed for any region. */
  readonly region: string | undefined
  /** Whether Signature Version 2 is accepted. */
  readonly isV2Allowed: boolean
  /** Hosts whose subdomains are buckets, without port, lower case. */
  readonly domains: readonly string[]
}

export type SignatureForm = 'v4-header' | 'v4-query' | 'v2-header' | 'v2-query'

/** Of what browsers post, with the signature among its fields: `verifyPostForm` is for those. */
export type PostSignatureForm = 'v4-form' | 'v2-form'

/** Who sent a request, and what its body must be checked against. */
export type Authentication =
  | { readonly kind: 'anonymous'; readonly payload: PayloadMode }
  | {
      readonly kind: 'user'
      readonly key: AccessKey
      readonly form: SignatureForm | PostSignatureForm
      readonly payload: PayloadMode
    }

/**
 * The one place where requests are authenticated, for every operation and every kind of body. Only
 * a request without a trace of a signature is anonymous; one with several, or of a kind that is not
 * known here, is refused.
 *
 * @throws {S3Error} AccessDenied, AuthorizationHeaderMalformed, AuthorizationQueryParametersError,
 * InvalidAccessKeyId, InvalidArgument, MissingSecurityHeader, NotImplemented, RequestTimeTooSkewed,
 * SignatureDoesNotMatch. InvalidRequest: Version 2, which is switched off.
 */
export async function authenticate(
  request: S3Request,
  parts: VerifierParts,
  config: AuthConfig,
): Promise<Authentication> {
  const form = signatureForm(request)
  if (form === undefined) {
    const declared = parseContentSha256(request.headers.get('x-amz-content-sha256'))
    return { kind: 'anonymous', payload: unsignedPayload(declared) }
  }
  const { key, payload } = await verify(form, request, parts, config)
  return { kind: 'user', key, form, payload }
}

/** @throws {S3Error} InvalidRequest: Version 2 is switched off; the message says what to do. */
export function requireV2Allowed(config: AuthConfig): void {
  if (config.isV2Allowed) return
  throw new S3Error(
    'InvalidRequest',
    'Signature Version 2 is switched off here. Please use AWS4-HMAC-SHA256: in boto3, ' +
      "Config(signature_version='s3v4')",
  )
}

function verify(
  form: SignatureForm,
  request: S3Request,
  parts: VerifierParts,
  config: AuthConfig,
): Promise<VerifiedRequest> {
  if (form === 'v4-header') return verifyV4Header(request, parts, config.region)
  if (form === 'v4-query') return verifyV4Query(request, parts, config.region)
  requireV2Allowed(config)
  if (form === 'v2-header') return verifyV2Header(request, parts, config.domains)
  return verifyV2Query(request, parts, config.domains)
}

/** Undefined: nothing in the request is even meant as a signature. */
function signatureForm(request: S3Request): SignatureForm | undefined {
  const authorization = request.headers.get('authorization')
  const queryForms = queryForm(request.query)
  if (queryForms.length + Number(authorization !== undefined) > 1) {
    throw new S3Error(
      'InvalidArgument',
      'Only one auth mechanism allowed: the X-Amz-Algorithm query parameter, the Signature query ' +
        'parameter or the Authorization header',
      { fields: { ArgumentName: 'Authorization' } },
    )
  }
  return authorization === undefined ? queryForms[0] : headerForm(authorization)
}

function headerForm(authorization: string): SignatureForm {
  if (authorization.startsWith(`${V4_ALGORITHM} `)) return 'v4-header'
  const [scheme = ''] = authorization.split(' ', 1)
  if (scheme === V4_ALGORITHM) return 'v4-header'
  if (scheme === 'AWS') return 'v2-header'
  if (isSigV4A(scheme)) throw new S3Error('NotImplemented', 'SigV4A is not implemented')
  if (scheme === '') throw new S3Error('AccessDenied', 'The Authorization header is empty')
  throw new S3Error('InvalidArgument', 'Unsupported Authorization Type', {
    fields: { ArgumentName: 'Authorization' },
  })
}

/**
 * Each name is enough, whichever its capitals: a signature that is incomplete or misspelt is meant
 * as one all the same, and is refused by the verifier rather than taken for none.
 */
function queryForm(query: QueryParameters): SignatureForm[] {
  if (query.pairs.length === 0) return []
  const forms = new Set<SignatureForm>()
  for (const [name] of query.pairs) {
    const form = QUERY_FORMS.get(name.toLowerCase())
    if (form !== undefined) forms.add(form)
  }
  return [...forms]
}

const QUERY_FORMS: ReadonlyMap<string, SignatureForm> = new Map([
  ['x-amz-algorithm', 'v4-query'],
  ['x-amz-credential', 'v4-query'],
  ['x-amz-signature', 'v4-query'],
  ['awsaccesskeyid', 'v2-query'],
  ['signature', 'v2-query'],
])
