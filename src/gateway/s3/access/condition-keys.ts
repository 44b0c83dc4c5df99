/**
 * The condition keys there are values for. A policy that names another one is refused: a condition
 * that can never be judged would allow too much or too little, and nobody would notice.
 */
const PLAIN_KEYS = [
  'aws:CurrentTime',
  'aws:EpochTime',
  'aws:PrincipalType',
  'aws:Referer',
  'aws:SecureTransport',
  'aws:SourceIp',
  'aws:UserAgent',
  'aws:userid',
  'aws:username',
  's3:LocationConstraint',
  's3:RequestObjectTagKeys',
  's3:VersionId',
  's3:authType',
  's3:delimiter',
  's3:if-match',
  's3:if-none-match',
  's3:max-keys',
  's3:object-lock-legal-hold',
  's3:object-lock-mode',
  's3:object-lock-remaining-retention-days',
  's3:object-lock-retain-until-date',
  's3:prefix',
  's3:signatureAge',
  's3:signatureversion',
  's3:x-amz-acl',
  's3:x-amz-content-sha256',
  's3:x-amz-copy-source',
  's3:x-amz-grant-full-control',
  's3:x-amz-grant-read',
  's3:x-amz-grant-read-acp',
  's3:x-amz-grant-write',
  's3:x-amz-grant-write-acp',
  's3:x-amz-metadata-directive',
  's3:x-amz-server-side-encryption',
  's3:x-amz-server-side-encryption-aws-kms-key-id',
  's3:x-amz-server-side-encryption-customer-algorithm',
  's3:x-amz-storage-class',
] as const

export const EXISTING_TAG_PREFIX = 's3:ExistingObjectTag/'
export const REQUEST_TAG_PREFIX = 's3:RequestObjectTag/'
const TAG_PREFIXES = [EXISTING_TAG_PREFIX, REQUEST_TAG_PREFIX]

const SPELLINGS: ReadonlyMap<string, string> = new Map(
  PLAIN_KEYS.map((key) => [key.toLowerCase(), key]),
)

/**
 * The one spelling under which a value is looked up; undefined: there is no such key. Policies may
 * write keys in any case, but what follows the `/` is the key of a tag, whose case counts.
 */
export function parseConditionKey(text: string): string | undefined {
  const caseless = text.toLowerCase()
  const prefix = TAG_PREFIXES.find((known) => caseless.startsWith(known.toLowerCase()))
  if (prefix === undefined) return SPELLINGS.get(caseless)
  return text.length > prefix.length ? prefix + text.slice(prefix.length) : undefined
}
