import { createHash, createHmac } from 'node:crypto'
import { SignatureV4 } from '@smithy/signature-v4'
import type { AuthConfig } from '../../src/gateway/s3/auth/authenticate.ts'
import type { AccessKey, KeyRing } from '../../src/gateway/s3/auth/identity.ts'
import { parseS3Request, type S3Request } from '../../src/gateway/s3/s3-request.ts'
import { NodeSha256 } from './node-sha256.ts'
import { SimClock } from './sim-clock.ts'

export const DOMAIN = 's3.amazonaws.com'

export const AUTH_CONFIG: AuthConfig = {
  region: 'us-east-1',
  isV2Allowed: true,
  domains: [DOMAIN],
}

function accessKey(name: string, accessKeyId: string, secret: string): AccessKey {
  const canonicalId = createHash('sha256').update(name).digest('hex')
  const user = { canonicalId, name, displayName: name, email: undefined, isRoot: false }
  return { accessKeyId, secret, user: { ...user, policy: undefined } }
}

/** The one of AWS's published examples. */
export const EXAMPLE_KEY = accessKey(
  'example',
  'AKIAIOSFODNN7EXAMPLE',
  'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
)

export const OTHER_KEY = accessKey(
  'other',
  'AKIAOTHERUSERSKEY001',
  'another-secret+of/another-user',
)

export function keyRing(...keys: readonly AccessKey[]): KeyRing {
  return { findKey: (id) => keys.find(({ accessKeyId }) => accessKeyId === id) }
}

/** Stands at a moment like `2013-05-24T00:00:00Z`. */
export function clockAt(iso: string): SimClock {
  const clock = new SimClock()
  clock.jumpWallClock(Date.parse(iso) - clock.nowMs())
  return clock
}

export interface RequestSketch {
  readonly method?: string
  readonly url?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** What `parseS3Request` makes of it: header values are bytes as Latin-1, as Node reads them. */
export function s3Request(sketch: RequestSketch, domains: readonly string[] = [DOMAIN]): S3Request {
  const { method = 'GET', url = '/', headers = {} } = sketch
  const rawHeaders = Object.entries(headers).flat()
  const connection = { remoteAddress: '127.0.0.1', isTls: false }
  return parseS3Request({ method, url, rawHeaders, ...connection }, domains)
}

export interface SmithySketch {
  readonly method: string
  readonly host: string
  /** Encoded as it goes over the wire. */
  readonly path: string
  /** Decoded. */
  readonly query: Readonly<Record<string, string>>
  /** As text, not yet as bytes. */
  readonly headers: Readonly<Record<string, string>>
}

export interface SmithyOptions {
  readonly key: AccessKey
  readonly at: Date
  readonly region?: string
  /** Undefined: by header. */
  readonly expiresInS?: number
}

/** Signed by the signer of the JavaScript SDK, by header or by query; as it would arrive here. */
export async function signWithSmithy(
  sketch: SmithySketch,
  options: SmithyOptions,
): Promise<Required<RequestSketch>> {
  const { key, at, region = 'us-east-1', expiresInS } = options
  const signer = new SignatureV4({
    credentials: { accessKeyId: key.accessKeyId, secretAccessKey: key.secret },
    region,
    service: 's3',
    sha256: NodeSha256,
    uriEscapePath: false,
  })
  const { method, host, path } = sketch
  const request = {
    method,
    protocol: 'http:',
    hostname: host,
    path,
    query: { ...sketch.query },
    headers: { host, ...sketch.headers },
  }
  const signed =
    expiresInS === undefined
      ? await signer.sign(request, { signingDate: at })
      : await signer.presign(request, { signingDate: at, expiresIn: expiresInS })
  const pairs = Object.entries(signed.query ?? {}).map(
    ([name, value]) => `${escapePart(name)}=${escapePart(String(value))}`,
  )
  const headers = Object.fromEntries(
    Object.entries(signed.headers).map(([name, value]) => [name, asBytes(value)]),
  )
  return { method, url: pairs.length === 0 ? path : `${path}?${pairs.join('&')}`, headers }
}

/** Text as Node hands out a header that carries its UTF-8. */
export function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1')
}

export function escapePart(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** Signature Version 2 of a string that a test wrote down. */
export function hmacSha1(secret: string, text: string): string {
  return createHmac('sha1', secret).update(text).digest('base64')
}
