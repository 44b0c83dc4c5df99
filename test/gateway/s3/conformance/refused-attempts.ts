import type { TestS3 } from '../../../support/test-s3.ts'
import { openScene, type Scene } from './operation-cases.ts'
import type { PlainRequest, Signer, SigningKey, SigningOptions } from './signed-requests.ts'

/** A request that must be refused, and as what. */
export interface Attempt {
  readonly title: string
  readonly request: PlainRequest
  /** Any of these; undefined as a code: an answer to HEAD. */
  readonly codes: readonly string[]
}

export interface AttemptTools {
  readonly s3: TestS3
  readonly host: string
  /** Of the owner, and switched off. */
  readonly disabledKey: SigningKey
  /** A bucket of the owner beside the one that is asked about. */
  readonly elsewhere: string
}

/** A way to sign, by its name. */
export type SigningForm = readonly [form: string, sign: Signer]

const NEVER = new AbortController().signal
const MINUTE_MS = 60_000
const ago = (minutes: number) => new Date(Date.now() - minutes * MINUTE_MS)

export const STREAMING_LITERALS = [
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
  'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
] as const

/** What attempts need, and what they are made at. */
export async function openAttempts(
  s3: TestS3,
): Promise<{ readonly tools: AttemptTools; readonly scene: Scene }> {
  const { users } = s3.server
  const { accessKeyId, secret } = await users.addKey({ userName: s3.owner.name }, NEVER)
  await users.setKeyEnabled(accessKeyId, false, NEVER)
  const scene = await openScene(s3)
  const { bucket: elsewhere } = await openScene(s3)
  const disabledKey = { accessKeyId, secretAccessKey: secret }
  return { tools: { s3, host: new URL(s3.url).host, disabledKey, elsewhere }, scene }
}

/** Everything that is wrong with a request to the operation `name`, however it is signed. */
export function signedAttempts(
  forms: readonly SigningForm[],
  name: string,
  plain: PlainRequest,
  tools: AttemptTools,
): readonly Attempt[] {
  return forms.flatMap(([form, sign]) =>
    [
      ...attemptsWith(form, sign, plain, tools),
      ...lateAttempts(form, sign, plain, tools),
      ...payloadAttempts(form, sign, plain, tools),
      ...otherUserAttempts(name, sign(tools.host, tools.s3.other, plain)),
    ].map((each) => ({ ...each, title: `${form}: ${each.title}` })),
  )
}

/** Buckets of others are refused one by one; the list of one's own is everybody's to see. */
function otherUserAttempts(name: string, request: PlainRequest): readonly Attempt[] {
  if (name === 'ListBuckets' || name === 'DeleteObjects') return []
  const codes = name === 'CreateBucket' ? ['BucketAlreadyExists'] : ['AccessDenied']
  return [{ title: 'another user', request, codes }]
}

/** What is wrong whichever way a request is signed. */
function attemptsWith(
  form: string,
  sign: Signer,
  plain: PlainRequest,
  { disabledKey, elsewhere, host, s3 }: AttemptTools,
): readonly Attempt[] {
  const { accessKeyId, secretAccessKey } = s3.owner
  const mismatch = ['SignatureDoesNotMatch']
  const unknown = ['InvalidAccessKeyId']
  const signed = (key: SigningKey, options?: SigningOptions) => sign(host, key, plain, options)
  const good = signed(s3.owner)
  const otherMethod = sign(host, s3.owner, { ...plain, method: 'PATCH' })
  const fromElsewhere = sign(host, s3.owner, { ...plain, path: movedPath(plain.path, elsewhere) })
  const attempts: Attempt[] = [
    {
      title: 'a wrong secret',
      request: signed({ accessKeyId, secretAccessKey: 'x' }),
      codes: mismatch,
    },
    {
      title: 'the secret of another user',
      request: signed({ accessKeyId, secretAccessKey: s3.other.secretAccessKey }),
      codes: mismatch,
    },
    {
      title: 'an empty secret',
      request: signed({ accessKeyId, secretAccessKey: '' }),
      codes: mismatch,
    },
    {
      title: 'an unknown key',
      request: signed({ accessKeyId: 'NOBODYSKEY0000000000', secretAccessKey }),
      codes: unknown,
    },
    { title: 'a key that is switched off', request: signed(disabledKey), codes: unknown },
    {
      title: 'a signature for another method',
      request: { ...otherMethod, method: plain.method },
      codes: mismatch,
    },
    {
      title: 'a signature for another bucket',
      request: { ...fromElsewhere, path: movedPath(fromElsewhere.path, bucketOf(plain.path)) },
      codes: plain.path === '/' ? [] : mismatch,
    },
    {
      title: 'a key that was made longer',
      request: { ...good, path: good.path.replace(/^(\/[^?/]+\/[^?]+)/, '$1x') },
      codes: /^\/[^?/]+\/[^?]/.test(plain.path) ? mismatch : [],
    },
    {
      title: 'a header of S3 that is not signed',
      request: {
        ...good,
        headers: { ...good.headers, 'x-amz-bypass-governance-retention': 'true' },
      },
      codes: form.startsWith('v4') ? ['AccessDenied'] : mismatch,
    },
    {
      title: 'a sub-resource that was added',
      request: { ...good, path: withParameter(good.path, 'versionId=null') },
      codes: mismatch,
    },
  ]
  const tampered = Object.keys(plain.headers ?? {}).find((name) => name.startsWith('x-amz-'))
  if (tampered !== undefined) {
    const headers = { ...good.headers, [tampered]: 'tampered' }
    attempts.push({ title: `another ${tampered}`, request: { ...good, headers }, codes: mismatch })
  }
  return attempts.filter(({ codes }) => codes.length > 0)
}

/** What is wrong with the time of a request. */
function lateAttempts(
  form: string,
  sign: Signer,
  plain: PlainRequest,
  { host, s3 }: AttemptTools,
): readonly Attempt[] {
  const at = (minutes: number, options: SigningOptions = {}) =>
    sign(host, s3.owner, plain, { at: ago(minutes), ...options })
  if (form.endsWith('header')) {
    return [-16, 16, 60 * 24 * 365].map((minutes) => ({
      title: `a clock that is ${minutes} minutes late`,
      request: at(minutes),
      codes: ['RequestTimeTooSkewed'],
    }))
  }
  const denied = ['AccessDenied']
  if (form === 'v2-query') {
    return [
      { title: 'one that has expired', request: at(0, { expires: 1 }), codes: denied },
      { title: 'an expiry that is no number', request: at(0, { expires: 'x' }), codes: denied },
    ]
  }
  return [
    { title: 'one that has expired', request: at(2, { expiresS: 60 }), codes: denied },
    { title: 'one of the future', request: at(-16), codes: denied },
    ...[0, -1, 604_801].map((expiresS) => ({
      title: `${expiresS} s until it expires`,
      request: at(0, { expiresS }),
      codes: denied,
    })),
  ]
}

/** `x-amz-content-sha256` must not be a way round the signature. */
function payloadAttempts(
  form: string,
  sign: Signer,
  plain: PlainRequest,
  { host, s3 }: AttemptTools,
): readonly Attempt[] {
  const key = { accessKeyId: s3.owner.accessKeyId, secretAccessKey: 'x' }
  return [...STREAMING_LITERALS, 'UNSIGNED-PAYLOAD'].map((payload) => {
    const headers = { ...plain.headers, 'x-amz-content-sha256': payload }
    const request =
      form === 'v4-header'
        ? sign(host, key, plain, { payload })
        : sign(host, key, { ...plain, headers })
    return {
      title: `a wrong secret with ${payload}`,
      request,
      // Version 2 has no chunks that are signed.
      codes: ['SignatureDoesNotMatch', ...(form.startsWith('v2') ? ['AccessDenied'] : [])],
    }
  })
}

export const GARBAGE_AUTHORIZATIONS: readonly string[] = [
  'x',
  'AWS4-HMAC-SHA256',
  'AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0',
  'AWS4-HMAC-SHA256 Credential=, SignedHeaders=, Signature=',
  'AWS4-HMAC-SHA256 ,,,',
  'AWS',
  'AWS :',
  'AWS a:b',
  'Basic cm9vdDpyb290',
  'Bearer token',
  'AWS4-ECDSA-P256-SHA256 Credential=a/20260101/s3/aws4_request, SignedHeaders=host, Signature=0',
  'aws4-hmac-sha256 Credential=a/20260101/x/s3/aws4_request, SignedHeaders=host, Signature=0',
]

function withParameter(path: string, parameter: string): string {
  const [start = '', query] = path.split(/\?(.*)/s)
  return query === undefined ? `${start}?${parameter}` : `${start}?${parameter}&${query}`
}

function bucketOf(path: string): string {
  return /^\/([^/?]*)/.exec(path)?.[1] ?? ''
}

function movedPath(path: string, bucket: string): string {
  return path.replace(/^\/[^/?]*/, `/${bucket}`)
}
