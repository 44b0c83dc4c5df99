import { type OutgoingHttpHeaders, validateHeaderName, validateHeaderValue } from 'node:http'
import { create } from 'content-disposition'
import { contentType as contentTypeOf, lookup } from 'mime-types'
import { StoreError } from '../base/store-error.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import { type FileTarget, isTrue } from './http-target.ts'

const OCTET_STREAM = 'application/octet-stream'

/** Names that pairs may not have: they steer the connection, the browser, or say what we say. */
const RESERVED = new Set(
  (
    'accept-ranges alt-svc age allow clear-site-data connection content-disposition ' +
    'content-encoding content-length content-location content-range content-security-policy ' +
    'content-type date etag host keep-alive last-modified link location nel proxy-authenticate ' +
    'proxy-connection public-key-pins refresh report-to retry-after server ' +
    'service-worker-allowed set-cookie set-cookie2 sourcemap strict-transport-security te ' +
    'trailer transfer-encoding upgrade vary via warning www-authenticate x-content-type-options ' +
    'x-file-store x-frame-options'
  ).split(' '),
)

const OVERRIDES: readonly (readonly [parameter: string, header: string])[] = [
  ['response-cache-control', 'Cache-Control'],
  ['response-content-type', 'Content-Type'],
  ['response-content-disposition', 'Content-Disposition'],
  ['response-content-encoding', 'Content-Encoding'],
  ['response-content-language', 'Content-Language'],
  ['response-expires', 'Expires'],
]

/** The headers that describe a file, whatever part of it is sent. */
export function fileHeaders(metadata: NeedleMetadata, target: FileTarget): OutgoingHttpHeaders {
  const { query } = target
  const headers: OutgoingHttpHeaders = pairHeaders(metadata.pairs)
  headers['X-Content-Type-Options'] = 'nosniff'
  headers['Accept-Ranges'] = 'bytes'
  const name = target.fileName ?? metadata.name ?? ''
  headers['Content-Type'] = mimeOf(metadata.mime, target.extension || extensionOf(name))
  if (name !== '') headers['Content-Disposition'] = disposition(name, isTrue(query.get('dl')))
  for (const [parameter, header] of query.size === 0 ? [] : OVERRIDES) {
    const value = query.get(parameter)
    if (value === null || value === '') continue
    if (!isHeaderValue(header, value)) {
      throw new StoreError('REQUEST_INVALID', `${parameter} cannot be the value of a header`)
    }
    headers[header] = value
  }
  return headers
}

const plainDisposition = /^[\w., ()+@=-]+$/

/** RFC 6266: names that are not plain get a second form for clients that know it. */
export function disposition(name: string, isAttachment: boolean): string {
  const type = isAttachment ? 'attachment' : 'inline'
  if (plainDisposition.test(name)) return `${type}; filename="${name}"`
  // Control characters would survive in the plain form and split the header.
  return create(name.replace(/\p{Cc}/gu, '_'), { type })
}

/** What was stored, unless that says nothing; else what the extension means. Never guessed. */
export function mimeOf(stored: string | undefined, extension: string): string {
  if (
    stored !== undefined &&
    stored !== '' &&
    stored !== OCTET_STREAM &&
    isHeaderValue('Content-Type', stored)
  ) {
    return stored
  }
  return mimeOfExtension(extension)
}

/** Extensions are short, but they come from outside: known ones only are kept. */
const mimes = new Map<string, string>()
const MIMES_MAX = 1000

function mimeOfExtension(extension: string): string {
  if (extension === '') return OCTET_STREAM
  const found = mimes.get(extension)
  if (found !== undefined) return found
  // What contains a slash would be taken for a type, and given back as it is.
  const type = lookup(extension)
  const mime = type === false ? false : contentTypeOf(type)
  if (mime === false) return OCTET_STREAM
  if (mimes.size < MIMES_MAX && extension.length <= 8) mimes.set(extension, mime)
  return mime
}

/** Whether a reader finds this type by the extension anyway, so that it need not be stored. */
export function isImpliedBy(mime: string, extension: string): boolean {
  if (mime === '' || mime === OCTET_STREAM) return true
  if (extension === '') return false
  return mimeOfExtension(extension) === mime || lookup(extension) === mime
}

/** With its dot; empty when there is none. */
export function extensionOf(name: string): string {
  const dot = name.lastIndexOf('.')
  return dot < 0 || dot === name.length - 1 ? '' : name.slice(dot)
}

/**
 * Pairs go out as they came in: as UTF-8 bytes. One that cannot be a header, or must not be, is
 * left out.
 */
function pairHeaders(pairs: NeedleMetadata['pairs']): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = Object.create(null)
  for (const [name, value] of Object.entries(pairs ?? {})) {
    const lower = name.toLowerCase()
    if (RESERVED.has(lower) || lower.startsWith('access-control-')) continue
    const bytes = Buffer.from(value, 'utf8').toString('latin1')
    if (isHeaderName(name) && isHeaderValue(name, bytes)) headers[name] = bytes
  }
  return headers
}

function isHeaderName(name: string): boolean {
  try {
    validateHeaderName(name)
    return true
  } catch {
    return false
  }
}

function isHeaderValue(name: string, value: string): boolean {
  try {
    validateHeaderValue(name, value)
    return true
  } catch {
    return false
  }
}
