import { createHmac } from 'node:crypto'
import { S3Client } from '@aws-sdk/client-s3'
import { createPresignedPost } from '@aws-sdk/s3-presigned-post'
import { describe, expect, test } from 'vitest'
import type { AuthConfig } from '../../../../src/gateway/s3/auth/authenticate.ts'
import { PostFields } from '../../../../src/gateway/s3/auth/post-fields.ts'
import { verifyPostForm } from '../../../../src/gateway/s3/auth/post-policy.ts'
import { parseDateTime } from '../../../../src/gateway/s3/auth/request-time.ts'
import {
  AUTH_CONFIG,
  clockAt,
  EXAMPLE_KEY,
  hmacSha1,
  keyRing,
  OTHER_KEY,
} from '../../../support/s3-signing.ts'

const NOW = '2024-03-09T07:08:09Z'
const keys = keyRing(EXAMPLE_KEY, OTHER_KEY)

type Form = Readonly<Record<string, string>>

function verify(form: Form, iso = NOW, config: AuthConfig = AUTH_CONFIG) {
  const fields = PostFields.of(Object.entries(form))
  return verifyPostForm(fields, 'bucket', { keys, clock: clockAt(iso) }, config)
}

function policyOf(expiration = '2024-03-09T08:00:00Z'): string {
  const conditions = [{ bucket: 'bucket' }, ['starts-with', '$key', '']]
  return Buffer.from(JSON.stringify({ expiration, conditions })).toString('base64')
}

function v2Form(policy = policyOf(), key = EXAMPLE_KEY): Form {
  const signature = hmacSha1(key.secret, policy)
  return { key: 'k', AWSAccessKeyId: key.accessKeyId, signature, policy }
}

function v4Form(policy = policyOf(), key = EXAMPLE_KEY, region = 'us-east-1'): Form {
  let signingKey: Buffer = Buffer.from(`AWS4${key.secret}`)
  for (const part of ['20240301', region, 's3', 'aws4_request']) {
    signingKey = createHmac('sha256', signingKey).update(part).digest()
  }
  return {
    key: 'k',
    policy,
    'x-amz-algorithm': 'AWS4-HMAC-SHA256',
    'x-amz-credential': `${key.accessKeyId}/20240301/${region}/s3/aws4_request`,
    'x-amz-date': '20240301T000000Z',
    'x-amz-signature': createHmac('sha256', signingKey).update(policy).digest('hex'),
  }
}

function without(form: Form, name: string): Form {
  return Object.fromEntries(Object.entries(form).filter(([other]) => other !== name))
}

const VARIABLE = `\${filename}`

describe("AWS's published example of a form", () => {
  // Source: Amazon S3 API reference, "Example: browser-based upload using HTTP POST".
  const lines = [
    '{ "expiration": "2015-12-30T12:00:00.000Z",',
    '  "conditions": [',
    '    {"bucket": "sigv4examplebucket"},',
    '    ["starts-with", "$key", "user/user1/"],',
    '    {"acl": "public-read"},',
    '    {"success_action_redirect": ' +
      '"http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},',
    '    ["starts-with", "$Content-Type", "image/"],',
    '    {"x-amz-meta-uuid": "14365123651274"},',
    '    {"x-amz-server-side-encryption": "AES256"},',
    '    ["starts-with", "$x-amz-meta-tag", ""],',
    '',
    '    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},',
    '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},',
    '    {"x-amz-date": "20151229T000000Z" }',
    '  ]',
    '}',
  ]
  const fields = PostFields.of(
    Object.entries({
      key: `user/user1/${VARIABLE}`,
      acl: 'public-read',
      success_action_redirect: 'http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html',
      'Content-Type': 'image/jpeg',
      'x-amz-meta-uuid': '14365123651274',
      'x-amz-server-side-encryption': 'AES256',
      'X-Amz-Credential': 'AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request',
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Date': '20151229T000000Z',
      'x-amz-meta-tag': '',
      Policy: Buffer.from(lines.join('\r\n')).toString('base64'),
      'X-Amz-Signature': '8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e',
    }),
  )

  test('is signed by the example key and meets its policy, until it expires', async () => {
    const post = (iso: string) =>
      verifyPostForm(fields, 'sigv4examplebucket', { keys, clock: clockAt(iso) }, AUTH_CONFIG)
    const found = await post('2015-12-30T12:00:00Z')
    expect(found).toMatchObject({ kind: 'user', key: EXAMPLE_KEY })
    const policy = found.kind === 'user' ? found.policy : undefined
    expect(policy?.checkFields(fields.withFileName('photo.jpg'))).toBeUndefined()
    await expect(post('2015-12-30T12:00:01Z')).rejects.toMatchObject({ code: 'AccessDenied' })
  })
})

describe('a form made by the JavaScript SDK', () => {
  test('names its user, meets its policy, and has its range', async () => {
    const client = new S3Client({
      region: 'us-east-1',
      endpoint: 'http://localhost:8333',
      forcePathStyle: true,
      credentials: { accessKeyId: OTHER_KEY.accessKeyId, secretAccessKey: OTHER_KEY.secret },
    })
    const { fields: form } = await createPresignedPost(client, {
      Bucket: 'bucket',
      Key: `uploads/${VARIABLE}`,
      Conditions: [
        ['starts-with', '$Content-Type', 'image/'],
        ['content-length-range', 1, 1024],
      ],
      Fields: { acl: 'private', 'Content-Type': 'image/png' },
      Expires: 60,
    })
    client.destroy()
    const signedAtMs = parseDateTime(form['X-Amz-Date'] ?? '')?.atMs ?? 0
    const found = await verify(form, new Date(signedAtMs).toISOString())
    expect(found).toMatchObject({ kind: 'user', key: OTHER_KEY })
    const policy = found.kind === 'user' ? found.policy : undefined
    expect(policy?.contentLengthRange).toEqual({ minBytes: 1, maxBytes: 1024 })
    const fields = PostFields.of(Object.entries(form))
    expect(policy?.checkFields(fields.withFileName('a.png'))).toBeUndefined()
    const other = PostFields.of(Object.entries({ ...form, 'Content-Type': 'text/html' }))
    expect(() => policy?.checkFields(other)).toThrow(
      expect.objectContaining({ code: 'AccessDenied' }),
    )
  })
})

describe('a form', () => {
  test('without policy and signature is anonymous', async () => {
    expect(await verify({ key: 'k', acl: 'public-read' })).toEqual({ kind: 'anonymous' })
  })

  test.each([
    ['V2', v2Form()],
    ['V4, of a week ago', v4Form()],
  ])('signed by %s names its user until the policy expires', async (_, form) => {
    expect(await verify(form)).toMatchObject({ kind: 'user', key: EXAMPLE_KEY })
    expect(await verify(form, '2024-03-09T08:00:00Z')).toMatchObject({ kind: 'user' })
    await expect(verify(form, '2024-03-09T08:00:01Z')).rejects.toMatchObject({
      code: 'AccessDenied',
      status: 403,
    })
  })

  test.each([
    ['V2', v2Form],
    ['V4', v4Form],
  ])('signed by %s with anything wrong is refused', async (_, sign) => {
    const policy = policyOf()
    const mismatch = { code: 'SignatureDoesNotMatch', status: 403 }
    const wrong = { ...EXAMPLE_KEY, secret: OTHER_KEY.secret }
    await expect(verify(sign(policy, wrong))).rejects.toMatchObject(mismatch)
    const widened = { ...sign(policy), policy: policyOf('2025-03-09T08:00:00Z') }
    await expect(verify(widened)).rejects.toMatchObject(mismatch)
    const unknown = { ...EXAMPLE_KEY, accessKeyId: 'AKIAUNKNOWN' }
    await expect(verify(sign(policy, unknown))).rejects.toMatchObject({
      code: 'InvalidAccessKeyId',
      status: 403,
    })
  })

  test.each(
    [
      ...Object.keys(v2Form()).map((name) => ['V2', name, v2Form()] as const),
      ...Object.keys(v4Form()).map((name) => ['V4', name, v4Form()] as const),
    ].filter(([, name]) => name !== 'key'),
  )('signed by %s without %s is refused: InvalidArgument', async (_, name, form) => {
    await expect(verify(without(form, name))).rejects.toMatchObject({
      code: 'InvalidArgument',
      status: 400,
      fields: { ArgumentName: name },
    })
  })

  test.each([
    ['x-amz-algorithm', 'AWS4-HMAC-SHA512', 'InvalidArgument'],
    ['x-amz-algorithm', 'AWS4-ECDSA-P256-SHA256', 'NotImplemented'],
    ['x-amz-credential', 'AKID', 'InvalidArgument'],
    ['x-amz-date', '2024-03-01', 'InvalidArgument'],
    ['x-amz-date', '20240302T000000Z', 'InvalidArgument'],
    ['x-amz-signature', '', 'SignatureDoesNotMatch'],
    ['policy', 'x'.repeat(20_481), 'MaxMessageLengthExceeded'],
  ])('with %s=%.20s is refused: %s', async (name, value, code) => {
    await expect(verify({ ...v4Form(), [name]: value })).rejects.toMatchObject({ code })
  })

  test('signed for another region is told which one is right', async () => {
    await expect(verify(v4Form(policyOf(), EXAMPLE_KEY, 'eu-west-1'))).rejects.toMatchObject({
      code: 'InvalidArgument',
      fields: { Region: 'us-east-1' },
    })
  })

  test('signed both ways is refused', async () => {
    await expect(verify({ ...v2Form(), ...v4Form() })).rejects.toMatchObject({
      code: 'InvalidArgument',
    })
  })

  test('signed by V2 is refused where that is switched off, with what to do about it', async () => {
    const config = { ...AUTH_CONFIG, isV2Allowed: false }
    await expect(verify(v2Form(), NOW, config)).rejects.toMatchObject({
      code: 'InvalidRequest',
      message: expect.stringContaining("signature_version='s3v4'"),
    })
    expect(await verify(v4Form(), NOW, config)).toMatchObject({ kind: 'user' })
  })

  test('with a policy that is none is refused only once its signature is good', async () => {
    const none = Buffer.from('{').toString('base64')
    await expect(verify(v2Form(none))).rejects.toMatchObject({ code: 'InvalidPolicyDocument' })
    await expect(verify({ ...v2Form(none), signature: 'x' })).rejects.toMatchObject({
      code: 'SignatureDoesNotMatch',
    })
  })
})
