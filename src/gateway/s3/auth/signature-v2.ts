import { createHmac } from 'node:crypto'
import { S3Error } from '../s3-error.ts'
import type { S3Request } from '../s3-request.ts'
import { parseContentSha256, unsignedPayload } from './content-sha256.ts'
import { effectiveHeader, hoistedNames, hoistedValue } from './hoisted-headers.ts'
import type { AccessKey } from './identity.ts'
import { expiredError } from './presigned-query.ts'
import { readRequestTime } from './request-time.ts'
import { findKey, type VerifiedRequest, type VerifierParts } from './signature-v4.ts'
import { isSameSignature } from './signing-keys.ts'

/**
 * Query parameters that are signed, because they choose what is done. The list of S3's
 * documentation ends with what there was in 2014; whatever came later must be here too, or it could
 * be appended to a presigned URL for something else.
 */
const SUB_RESOURCES: ReadonlySet<string> = new Set([
  'accelerate',
  'acl',
  'analytics',
  'attributes',
  'cors',
  'delete',
  'encryption',
  'intelligent-tiering',
  'inventory',
  'legal-hold',
  'lifecycle',
  'location',
  'logging',
  'metrics',
  'notification',
  'object-lock',
  'ownershipControls',
  'partNumber',
  'policy',
  'policyStatus',
  'publicAccessBlock',
  'replication',
  'requestPayment',
  'response-cache-control',
  'response-content-disposition',
  'response-content-encoding',
  'response-content-language',
  'response-content-type',
  'response-expires',
  'restore',
  'retention',
  'select',
  'select-type',
  'storageClass',
  'tagging',
  'torrent',
  'uploadId',
  'uploads',
  'versionId',
  'versioning',
  'versions',
  'website',
])

interface V2Signature {
  readonly accessKeyId: string
  /** As it came: nothing is known of its shape. */
  readonly signature: string
  /** What stands on the line of the date. */
  readonly dateLine: string
  readonly isQuery: boolean
}

/**
 * Of a request with `Authorization: AWS ID:SIGNATURE`.
 *
 * @param domains hosts whose subdomains are buckets.
 * @throws {S3Error} InvalidArgument, RequestTimeTooSkewed, InvalidAccessKeyId,
 * SignatureDoesNotMatch. AccessDenied: no date, or signed chunks, which need Version 4.
 */
export async function verifyV2Header(
  request: S3Request,
  parts: VerifierParts,
  domains: readonly string[],
): Promise<VerifiedRequest> {
  const { headers } = request
  const match = /^AWS +([^:\s]+):(\S+)$/.exec(headers.get('authorization') ?? '')
  const [, accessKeyId, signature] = match ?? []
  if (accessKeyId === undefined || signature === undefined) {
    throw new S3Error('InvalidArgument', 'Expected "Authorization: AWS ID:SIGNATURE"', {
      fields: { ArgumentName: 'Authorization' },
    })
  }
  readRequestTime(headers, parts.clock.nowMs())
  // With x-amz-date the line is empty: that header is signed among the others.
  const dateLine = headers.has('x-amz-date') ? '' : (headers.get('date') ?? '')
  const signed = { accessKeyId, signature, dateLine, isQuery: false }
  return await verify(request, signed, parts, domains)
}

/**
 * Of a request with `AWSAccessKeyId`, `Signature` and `Expires` in its query.
 *
 * @param domains hosts whose subdomains are buckets.
 * @throws {S3Error} InvalidAccessKeyId, SignatureDoesNotMatch. AccessDenied: it has expired, one of
 * the three is missing, or the chunks are signed, which needs Version 4.
 */
export async function verifyV2Query(
  request: S3Request,
  parts: VerifierParts,
  domains: readonly string[],
): Promise<VerifiedRequest> {
  const { query } = request
  const accessKeyId = query.get('AWSAccessKeyId')
  const signature = query.get('Signature')
  const expires = query.get('Expires')
  if (accessKeyId === undefined || signature === undefined || expires === undefined) {
    throw new S3Error('AccessDenied', 'The query needs AWSAccessKeyId, Signature and Expires')
  }
  if (!/^\d{1,12}$/.test(expires)) {
    throw new S3Error('AccessDenied', 'Expires must be seconds since 1970')
  }
  const nowMs = parts.clock.nowMs()
  const expiresAtMs = Number(expires) * 1000
  if (nowMs > expiresAtMs) throw expiredError(expiresAtMs, nowMs)
  const signed = { accessKeyId, signature, dateLine: expires, isQuery: true }
  return await verify(request, signed, parts, domains)
}

/** In base64. `text` is Latin-1 characters that stand for bytes. */
export function signV2(secret: string, text: string): string {
  return createHmac('sha1', secret).update(text, 'latin1').digest('base64')
}

async function verify(
  request: S3Request,
  signed: V2Signature,
  parts: VerifierParts,
  domains: readonly string[],
): Promise<VerifiedRequest> {
  const payload = unsignedPayload(
    parseContentSha256(effectiveHeader(request, 'x-amz-content-sha256')),
  )
  const key = await findKey(parts.keys, signed.accessKeyId)
  checkSignature(request, signed, key, domains)
  return { key, payload }
}

/**
 * Of `?delete=` some clients sign `delete=`, as it is sent, and others `delete`, as it is meant.
 * The two mean the same to us, so both are good.
 */
function checkSignature(
  request: S3Request,
  signed: V2Signature,
  key: AccessKey,
  domains: readonly string[],
): void {
  const { method } = request
  const value = (name: string) => headerOf(request, name, signed.isQuery) ?? ''
  const lines = [method, value('content-md5'), value('content-type'), signed.dateLine]
  const head = `${lines.join('\n')}\n${amzHeaders(request, signed.isQuery)}`
  const path = `${bucketPrefix(request, domains)}${request.rawPath}`
  const [asSent, asMeant] = subResources(request.rawQuery)
  for (const query of new Set([asSent, asMeant])) {
    if (isSameSignature(signed.signature, signV2(key.secret, `${head}${path}${query}`))) return
  }
  throw new S3Error('SignatureDoesNotMatch', undefined, {
    fields: { AWSAccessKeyId: signed.accessKeyId },
  })
}

/** botocore moves the headers that are signed, these three kinds, into the query. */
function headerOf(request: S3Request, name: string, isQuery: boolean): string | undefined {
  const value = request.headers.get(name)
  return value === undefined && isQuery ? hoistedValue(request.query, name) : value
}

/** All that `effectiveHeader` could give: what is not signed must not be believed. */
function amzHeaders(request: S3Request, isQuery: boolean): string {
  const names = new Set<string>(isQuery ? hoistedNames(request.query) : [])
  for (const name of request.headers.names()) {
    if (name.startsWith('x-amz-')) names.add(name)
  }
  return [...names]
    .sort()
    .map((name) => `${name}:${headerOf(request, name, isQuery) ?? ''}\n`)
    .join('')
}

/** The resource of a request is `/bucket/key` in both styles, as encoded as it came. */
function bucketPrefix(request: S3Request, domains: readonly string[]): string {
  const { bucket, headers } = request
  if (bucket === undefined) return ''
  const host = (headers.get('host') ?? '').replace(/:\d+$/, '').toLowerCase()
  return domains.some((domain) => host === `${bucket}.${domain}`) ? `/${bucket}` : ''
}

function subResources(rawQuery: string): [asSent: string, asMeant: string] {
  if (rawQuery === '') return ['', '']
  const parts: { readonly name: string; readonly value: string | undefined }[] = []
  for (const pair of rawQuery.split('&')) {
    const at = pair.indexOf('=')
    const name = decodeURIComponent(at < 0 ? pair : pair.slice(0, at))
    if (!SUB_RESOURCES.has(name)) continue
    parts.push({ name, value: at < 0 ? undefined : decodeValue(pair.slice(at + 1)) })
  }
  if (parts.length === 0) return ['', '']
  parts.sort((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)))
  const asSent = parts.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`))
  const asMeant = parts.map(({ name, value }) => (value ? `${name}=${value}` : name))
  return [`?${asSent.join('&')}`, `?${asMeant.join('&')}`]
}

/** Values are signed decoded, as the bytes of their UTF-8. */
function decodeValue(text: string): string {
  return Buffer.from(decodeURIComponent(text.replaceAll('+', ' '))).toString('latin1')
}
