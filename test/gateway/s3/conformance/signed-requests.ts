import { createHash, createHmac } from 'node:crypto'

/**
 * Requests signed in the four forms there are, written from the documents of AWS and not with the
 * code under test, so that each part of one can be wrong on purpose.
 */

export interface SigningKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface PlainRequest {
  readonly method: string
  /** Percent-encoded, with the query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

export interface SigningOptions {
  readonly at?: Date
  readonly region?: string
  /** What `x-amz-content-sha256` says; undefined: the truth, or `UNSIGNED-PAYLOAD` in a query. */
  readonly payload?: string
  readonly expiresS?: number | string
  /** Of V2 queries: seconds since 1970. */
  readonly expires?: number | string
}

export type Signer = (
  host: string,
  key: SigningKey,
  request: PlainRequest,
  options?: SigningOptions,
) => PlainRequest

export const signV4Header: Signer = (host, key, request, options = {}) => {
  const { dateTime, scope } = scopeOf(options)
  const payload = options.payload ?? sha256(request.body ?? '')
  const headers: Record<string, string> = {
    host,
    ...request.headers,
    'x-amz-date': dateTime,
    'x-amz-content-sha256': payload,
  }
  const names = Object.keys(headers)
    .map((name) => name.toLowerCase())
    .sort()
  const [path = '', query = ''] = request.path.split(/\?(.*)/s)
  const canonical = [
    request.method,
    path,
    canonicalQuery(query),
    ...names.map((name) => `${name}:${headers[name] ?? ''}`),
    '',
    names.join(';'),
    payload,
  ].join('\n')
  const signature = v4Signature(key, { dateTime, scope, canonical, region: options.region })
  const authorization =
    `AWS4-HMAC-SHA256 Credential=${key.accessKeyId}/${scope}, ` +
    `SignedHeaders=${names.join(';')}, Signature=${signature}`
  return { ...request, headers: { ...headers, authorization } }
}

/** All headers are signed but not moved into the query. */
export const signV4Query: Signer = (host, key, request, options = {}) => {
  const { dateTime, scope } = scopeOf(options)
  const headers: Record<string, string> = { host, ...request.headers }
  const names = Object.keys(headers)
    .map((name) => name.toLowerCase())
    .sort()
  const parameters = [
    'X-Amz-Algorithm=AWS4-HMAC-SHA256',
    `X-Amz-Credential=${encodeURIComponent(`${key.accessKeyId}/${scope}`)}`,
    `X-Amz-Date=${dateTime}`,
    `X-Amz-Expires=${options.expiresS ?? 900}`,
    `X-Amz-SignedHeaders=${encodeURIComponent(names.join(';'))}`,
  ]
  if (options.payload !== undefined) parameters.push(`X-Amz-Content-Sha256=${options.payload}`)
  const [path = '', query = ''] = request.path.split(/\?(.*)/s)
  const whole = [query, ...parameters].filter((part) => part !== '').join('&')
  const canonical = [
    request.method,
    path,
    canonicalQuery(whole),
    ...names.map((name) => `${name}:${headers[name] ?? ''}`),
    '',
    names.join(';'),
    options.payload ?? headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD',
  ].join('\n')
  const signature = v4Signature(key, { dateTime, scope, canonical, region: options.region })
  return { ...request, headers, path: `${path}?${whole}&X-Amz-Signature=${signature}` }
}

export const signV2Header: Signer = (host, key, request, options = {}) => {
  const date = (options.at ?? new Date()).toUTCString()
  const headers: Record<string, string> = { host, ...request.headers, date }
  const signature = v2Signature(key, { ...request, headers }, date)
  return {
    ...request,
    headers: { ...headers, authorization: `AWS ${key.accessKeyId}:${signature}` },
  }
}

export const signV2Query: Signer = (host, key, request, options = {}) => {
  const now = (options.at ?? new Date()).getTime()
  const expires = String(options.expires ?? Math.floor(now / 1000) + 900)
  const headers: Record<string, string> = { host, ...request.headers }
  const signature = encodeURIComponent(v2Signature(key, { ...request, headers }, expires))
  const parameters = `AWSAccessKeyId=${key.accessKeyId}&Signature=${signature}&Expires=${expires}`
  const glue = request.path.includes('?') ? '&' : '?'
  return { ...request, headers, path: `${request.path}${glue}${parameters}` }
}

/** Those that bear on what is done. Source: S3, "Signing and authenticating REST requests". */
const V2_PARAMETERS = new Set(
  (
    'accelerate acl attributes cors delete encryption legal-hold lifecycle location logging ' +
    'notification object-lock ownershipControls partNumber policy policyStatus publicAccessBlock ' +
    'replication requestPayment restore retention select select-type tagging torrent uploadId ' +
    'uploads versionId versioning versions website response-content-type ' +
    'response-content-disposition'
  ).split(' '),
)

function v2Signature(key: SigningKey, request: PlainRequest, dateLine: string): string {
  const [path = '', query = ''] = request.path.split(/\?(.*)/s)
  const signed = query
    .split('&')
    .filter((pair) => V2_PARAMETERS.has(pair.split('=')[0] ?? ''))
    .sort(byName)
  const entries = Object.entries(request.headers ?? {})
  const value = (name: string) => entries.find(([each]) => each.toLowerCase() === name)?.[1] ?? ''
  const amz = entries
    .map(([name, text]) => `${name.toLowerCase()}:${text}\n`)
    .filter((line) => line.startsWith('x-amz-'))
    .sort()
    .join('')
  const head = [request.method, value('content-md5'), value('content-type'), dateLine].join('\n')
  const resource = signed.length === 0 ? path : `${path}?${signed.join('&')}`
  return createHmac('sha1', key.secretAccessKey)
    .update(`${head}\n${amz}${resource}`)
    .digest('base64')
}

function scopeOf({ at = new Date(), region = 'us-east-1' }: SigningOptions) {
  const dateTime = at.toISOString().replace(/-|:|\.\d{3}/g, '')
  return { dateTime, scope: `${dateTime.slice(0, 8)}/${region}/s3/aws4_request` }
}

function canonicalQuery(query: string): string {
  return query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => (pair.includes('=') ? pair : `${pair}=`))
    .sort(byName)
    .join('&')
}

function byName(a: string, b: string): number {
  const [nameA = ''] = a.split('=')
  const [nameB = ''] = b.split('=')
  if (nameA === nameB) return a < b ? -1 : 1
  return nameA < nameB ? -1 : 1
}

function v4Signature(
  key: SigningKey,
  signed: {
    readonly dateTime: string
    readonly scope: string
    readonly canonical: string
    readonly region: string | undefined
  },
): string {
  const { canonical, dateTime, region = 'us-east-1', scope } = signed
  const text = `AWS4-HMAC-SHA256\n${dateTime}\n${scope}\n${sha256(canonical)}`
  return v4Hmac(key, dateTime.slice(0, 8), region, text)
}

function v4Hmac(key: SigningKey, date: string, region: string, text: string): string {
  let secret: string | Buffer = `AWS4${key.secretAccessKey}`
  for (const part of [date, region, 's3', 'aws4_request']) secret = hmac(secret, part)
  return hmac(secret, text).toString('hex')
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

export type FormField = readonly [name: string, value: string]

/** The fields of a form that sign `policy` by Version 4, the policy among them. */
export function v4FormFields(
  key: SigningKey,
  policy: unknown,
  { at = new Date(), region = 'us-east-1' }: SigningOptions = {},
): readonly FormField[] {
  const { dateTime, scope } = scopeOf({ at, region })
  const base64 = encodePolicy(policy)
  return [
    ['policy', base64],
    ['x-amz-algorithm', 'AWS4-HMAC-SHA256'],
    ['x-amz-credential', `${key.accessKeyId}/${scope}`],
    ['x-amz-date', dateTime],
    ['x-amz-signature', v4Hmac(key, dateTime.slice(0, 8), region, base64)],
  ]
}

export function v2FormFields(key: SigningKey, policy: unknown): readonly FormField[] {
  const base64 = encodePolicy(policy)
  const signature = createHmac('sha1', key.secretAccessKey).update(base64).digest('base64')
  return [
    ['AWSAccessKeyId', key.accessKeyId],
    ['signature', signature],
    ['policy', base64],
  ]
}

function encodePolicy(policy: unknown): string {
  const text = typeof policy === 'string' ? policy : JSON.stringify(policy)
  return Buffer.from(text).toString('base64')
}

export const BOUNDARY = 'A-boundary-of-tests'

export interface FormFile {
  readonly name?: string
  readonly fileName?: string | undefined
  readonly data: string | Uint8Array
}

/** A form in `multipart/form-data`; without a file it ends after its fields. */
export function writeForm(
  fields: readonly FormField[],
  file?: FormFile,
  after: readonly FormField[] = [],
): Buffer {
  const parts: Buffer[] = fields.map(writeField)
  if (file !== undefined) {
    const { data, fileName = 'file.txt', name = 'file' } = file
    const disposition = `form-data; name="${name}"; filename="${fileName}"`
    const head = `--${BOUNDARY}\r\nContent-Disposition: ${disposition}`
    parts.push(Buffer.from(`${head}\r\nContent-Type: text/plain\r\n\r\n`))
    parts.push(Buffer.from(data), Buffer.from('\r\n'))
  }
  return Buffer.concat([...parts, ...after.map(writeField), Buffer.from(`--${BOUNDARY}--\r\n`)])
}

function writeField([name, value]: FormField): Buffer {
  const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n`
  return Buffer.from(`${head}${value}\r\n`)
}

export function formRequest(bucket: string, body: Uint8Array): PlainRequest {
  const headers = { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` }
  return { method: 'POST', path: `/${bucket}`, headers, body }
}
