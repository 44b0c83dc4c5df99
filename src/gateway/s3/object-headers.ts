import type { ObjectAttributes, ObjectVersion } from '../../namespace/object-version.ts'
import { publicVersionId } from '../../namespace/object-version.ts'
import { HttpDates } from '../../net/http-date.ts'
import { effectiveHeaderNames } from './auth/hoisted-headers.ts'
import { checksumHeaderName } from './body/checksum.ts'
import { storedContentEncoding } from './body/content-encoding.ts'
import type { BucketView } from './bucket-view.ts'
import { invalidArgument } from './invalid-argument.ts'
import { S3Error } from './s3-error.ts'
import type { S3Exchange } from './s3-exchange.ts'
import type { ReplyHeaders } from './s3-reply.ts'

/** Kept with an object and sent with it, under these names. */
const KEPT_HEADERS = [
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'expires',
  'x-amz-website-redirect-location',
] as const
const REDIRECT = 'x-amz-website-redirect-location'

const SHOWN_NAMES: Readonly<Record<string, string>> = {
  'cache-control': 'Cache-Control',
  'content-disposition': 'Content-Disposition',
  'content-encoding': 'Content-Encoding',
  'content-language': 'Content-Language',
  expires: 'Expires',
}

const METADATA_PREFIX = 'x-amz-meta-'
/** Names and values together. Source: the S3 user guide, "User-defined object metadata". */
const METADATA_BYTES_MAX = 2048
const DEFAULT_TYPE = 'binary/octet-stream'

/**
 * What a request says of the object it writes. Values are Latin-1 characters that stand for bytes,
 * as they came: they are sent back the same way.
 *
 * @throws {S3Error} MetadataTooLarge, InvalidRedirectLocation
 */
export function readContentHeaders(
  exchange: S3Exchange,
): Pick<ObjectAttributes, 'contentType' | 'headers' | 'metadata'> {
  const headers: Record<string, string> = {}
  for (const name of KEPT_HEADERS) {
    const text = exchange.header(name)
    const value = name === 'content-encoding' ? storedContentEncoding(text) : text
    if (value !== undefined && value !== '') headers[name] = value
  }
  checkRedirect(headers[REDIRECT])
  const metadata: [string, string][] = []
  let bytes = 0
  for (const name of effectiveHeaderNames(exchange.request)) {
    if (!name.startsWith(METADATA_PREFIX)) continue
    const key = name.slice(METADATA_PREFIX.length)
    const value = exchange.header(name) ?? ''
    bytes += key.length + value.length
    metadata.push([key, value])
  }
  if (bytes > METADATA_BYTES_MAX) {
    const fields = { Size: String(bytes), MaxSizeAllowed: String(METADATA_BYTES_MAX) }
    throw new S3Error('MetadataTooLarge', undefined, { fields })
  }
  const contentType = exchange.header('content-type')
  return {
    contentType: contentType === '' ? undefined : contentType,
    headers,
    metadata: Object.fromEntries(metadata),
  }
}

/** Source: the S3 user guide, "Setting an object redirect". */
function checkRedirect(location: string | undefined): void {
  if (location === undefined || /^(?:https?:\/\/|\/)/.test(location)) return
  throw new S3Error('InvalidRedirectLocation')
}

/** What GET and HEAD say of a version, apart from its length. */
export function versionHeaders(version: ObjectVersion, view: BucketView): Record<string, string> {
  const headers: Record<string, string> = {
    'Last-Modified': httpDate(version.modifiedAtMs),
    ETag: `"${version.etag}"`,
    'Accept-Ranges': 'bytes',
    'Content-Type': version.contentType ?? DEFAULT_TYPE,
  }
  for (const [name, value] of Object.entries(version.headers)) {
    headers[SHOWN_NAMES[name] ?? name] = value
  }
  for (const [name, value] of Object.entries(version.metadata)) {
    headers[METADATA_PREFIX + name] = value
  }
  if (view.bucket.versioning !== 'off') headers['x-amz-version-id'] = publicVersionId(version)
  if (version.storageClass !== 'STANDARD') headers['x-amz-storage-class'] = version.storageClass
  if (version.tags.length > 0) headers['x-amz-tagging-count'] = String(version.tags.length)
  const { retention } = version
  if (retention !== undefined) {
    headers['x-amz-object-lock-mode'] = retention.mode
    headers['x-amz-object-lock-retain-until-date'] = new Date(retention.untilMs).toISOString()
  }
  if (version.isLegalHold) headers['x-amz-object-lock-legal-hold'] = 'ON'
  return headers
}

/** The checksum of the whole version. */
export function checksumHeaders({ checksum }: Pick<ObjectVersion, 'checksum'>): ReplyHeaders {
  if (checksum === undefined) return {}
  return {
    [checksumHeaderName(checksum.algorithm)]: checksum.value,
    'x-amz-checksum-type': checksum.type,
  }
}

/** What the answer to a write says. */
export function writtenHeaders(version: ObjectVersion, view: BucketView): ReplyHeaders {
  return {
    ETag: `"${version.etag}"`,
    ...(view.bucket.versioning !== 'off' && { 'x-amz-version-id': publicVersionId(version) }),
    ...checksumHeaders(version),
  }
}

const OVERRIDES = [
  ['response-cache-control', 'Cache-Control'],
  ['response-content-disposition', 'Content-Disposition'],
  ['response-content-encoding', 'Content-Encoding'],
  ['response-content-language', 'Content-Language'],
  ['response-content-type', 'Content-Type'],
  ['response-expires', 'Expires'],
] as const

/**
 * Headers that the query of a GET asks for.
 *
 * @throws {S3Error} InvalidRequest: from nobody who signs. InvalidArgument: no value of a header.
 */
export function overriddenHeaders(exchange: S3Exchange): Record<string, string> {
  const headers: Record<string, string> = {}
  if (exchange.request.query.pairs.length === 0) return headers
  for (const [parameter, name] of OVERRIDES) {
    const value = exchange.query(parameter)
    if (value === undefined) continue
    if (exchange.principal === undefined) {
      const message = 'Request specific response headers cannot be used for anonymous GET requests.'
      throw new S3Error('InvalidRequest', message)
    }
    if (!isHeaderValue(value)) {
      throw invalidArgument('This cannot be the value of a header', parameter, '')
    }
    headers[name] = Buffer.from(value, 'utf8').toString('latin1')
  }
  return headers
}

const dates = new HttpDates()

export function httpDate(timeMs: number): string {
  return dates.of(Math.floor(timeMs / 1000))
}

/** No control character but a tab: a line break would begin a header of the client's own. */
function isHeaderValue(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if ((unit < 0x20 && unit !== 0x09) || unit === 0x7f) return false
  }
  return true
}
