import { S3Error } from '../s3-error.ts'
import { type AuthConfig, type PostSignatureForm, requireV2Allowed } from './authenticate.ts'
import { checkAlgorithm, checkScope, parseCredential } from './credential.ts'
import type { AccessKey } from './identity.ts'
import { PostPolicy, parsePostPolicy } from './post-conditions.ts'
import type { PostFields } from './post-fields.ts'
import { parseDateTime } from './request-time.ts'
import { signV2 } from './signature-v2.ts'
import { findKey, type VerifierParts } from './signature-v4.ts'
import { isSameSignature, signingKey, signV4 } from './signing-keys.ts'

/** AWS's bound of all fields of a form together. */
const POLICY_LENGTH_MAX = 20_480

const CODE = 'InvalidArgument'

/** Who posted a form, and what the one who signed it allows. */
export type PostAuthentication =
  | { readonly kind: 'anonymous' }
  | {
      readonly kind: 'user'
      readonly key: AccessKey
      readonly form: PostSignatureForm
      readonly policy: PostPolicy
    }

/**
 * Of a form without a policy anybody may be the sender. One with a policy must be signed, and its
 * fields and its file are still to be checked: `policy.checkFields`, `policy.checkLength`.
 *
 * @param bucket to which the form is posted.
 * @throws {S3Error} InvalidArgument: a field of the signature is missing or makes no sense.
 * InvalidRequest: Version 2, which is switched off. InvalidAccessKeyId, SignatureDoesNotMatch,
 * NotImplemented (SigV4A), InvalidPolicyDocument, MaxMessageLengthExceeded. AccessDenied: the
 * policy has expired.
 */
export async function verifyPostForm(
  fields: PostFields,
  bucket: string,
  parts: VerifierParts,
  config: AuthConfig,
): Promise<PostAuthentication> {
  const isV4 = fields.has('x-amz-signature') || fields.has('x-amz-credential')
  const isV2 = fields.has('signature') || fields.has('awsaccesskeyid')
  const base64 = fields.get('policy')
  if (base64 === undefined) {
    if (isV4 || isV2) throw missing('policy')
    return { kind: 'anonymous' }
  }
  if (base64.length > POLICY_LENGTH_MAX) throw new S3Error('MaxMessageLengthExceeded')
  if (isV4 && isV2) throw new S3Error(CODE, 'Only one auth mechanism allowed in a form')
  const key = isV4
    ? await verifyV4Form(fields, base64, parts, config.region)
    : await verifyV2Form(fields, base64, parts, config)
  // Nothing is parsed that the holder of a key has not signed.
  const document = parsePostPolicy(base64)
  if (parts.clock.nowMs() > document.expiresAtMs) {
    throw new S3Error('AccessDenied', 'Invalid according to Policy: Policy expired.')
  }
  const form = isV4 ? 'v4-form' : 'v2-form'
  return { kind: 'user', key, form, policy: new PostPolicy(document, bucket) }
}

async function verifyV4Form(
  fields: PostFields,
  base64: string,
  parts: VerifierParts,
  region: string | undefined,
): Promise<AccessKey> {
  const signature = need(fields, 'x-amz-signature')
  checkAlgorithm(need(fields, 'x-amz-algorithm'), CODE)
  const scope = parseCredential(need(fields, 'x-amz-credential'), CODE)
  // How long a form is good is up to its policy: its date may be of any day.
  const time = parseDateTime(need(fields, 'x-amz-date'))
  if (time === undefined) throw new S3Error(CODE, 'x-amz-date must be yyyymmddThhmmssZ')
  const key = await findKey(parts.keys, scope.accessKeyId)
  checkScope(scope, { region, dateTime: time.dateTime }, CODE)
  checkSignature(signature, signV4(signingKey(key, scope), base64))
  return key
}

async function verifyV2Form(
  fields: PostFields,
  base64: string,
  parts: VerifierParts,
  config: AuthConfig,
): Promise<AccessKey> {
  const accessKeyId = need(fields, 'AWSAccessKeyId')
  const signature = need(fields, 'signature')
  requireV2Allowed(config)
  const key = await findKey(parts.keys, accessKeyId)
  checkSignature(signature, signV2(key.secret, base64))
  return key
}

function checkSignature(shown: string, expected: string): void {
  if (!isSameSignature(shown, expected)) throw new S3Error('SignatureDoesNotMatch')
}

function need(fields: PostFields, name: string): string {
  const value = fields.get(name)
  if (value === undefined) throw missing(name)
  return value
}

function missing(name: string): S3Error {
  const message = `A signed form needs a field "${name}" before its file`
  return new S3Error(CODE, message, { fields: { ArgumentName: name } })
}
