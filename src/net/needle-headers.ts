import { parse } from 'content-disposition'
import type { NeedleMetadata } from './volume-api.ts'

/** How the metadata of a needle travels in the headers of the volume servers' HTTP dialect. */

const PAIR_PREFIX = 'Seaweed-'
const OCTET_STREAM = 'application/octet-stream'

/** Headers of an answer that are no pairs of the needle. */
const OWN_HEADERS = new Set(
  (
    'accept-ranges age alt-svc cache-control connection content-disposition content-encoding ' +
    'content-length content-md5 content-range content-type date etag expires keep-alive ' +
    'last-modified proxy-authenticate retry-after server strict-transport-security trailer ' +
    'transfer-encoding upgrade vary via x-content-type-options x-file-store'
  ).split(' '),
)

/** Names that a server may not send back, or that mean something else on the way. */
const PAIR_NAME = /^[A-Z0-9][a-z0-9]*(?:-(?:[A-Z][a-z0-9]*|[0-9][a-z0-9]*))*$/
/** Blanks at the ends would be lost, and half a surrogate pair has no UTF-8. */
const PLAIN_VALUE = /^(?:[^\s\p{Cc}\p{Cs}](?:[^\p{Cc}\p{Cs}]*[^\s\p{Cc}\p{Cs}])?)?$/u
const ASCII_VALUE = /^[!-~](?:[ -~]*[!-~])?$/
const FORM_MIME = /^(?:multipart\/|application\/x-www-form-urlencoded)/i

/**
 * Whether a put over HTTP stores exactly this. Names lose their directories, names of pairs their
 * upper and lower case, some mime types mean a form: such needles go over gRPC.
 */
export function fitsHeaders(metadata: NeedleMetadata): boolean {
  const { name = '', mime = '', pairs = {} } = metadata
  if (/[/\\\p{Cc}\p{Cs}]/u.test(name)) return false
  if (mime !== '' && (!ASCII_VALUE.test(mime) || FORM_MIME.test(mime))) return false
  return Object.entries(pairs).every(
    ([key, value]) =>
      PAIR_NAME.test(key) && !OWN_HEADERS.has(key.toLowerCase()) && PLAIN_VALUE.test(value),
  )
}

/** Headers that say all there is to say of a needle but what its query says. */
export function metadataToHeaders(metadata: NeedleMetadata): Record<string, string> {
  const { name = '', mime, pairs = {}, isCompressed } = metadata
  const headers: Record<string, string> = {
    'content-type': mime === undefined || mime === '' ? OCTET_STREAM : mime,
    // Without a name in it there is none: otherwise the server would take the path for the name.
    'content-disposition': name === '' ? 'inline' : `inline; filename*=UTF-8''${encodeName(name)}`,
  }
  if (isCompressed === true) headers['content-encoding'] = 'gzip'
  for (const [key, value] of Object.entries(pairs)) {
    // Headers are bytes: UTF-8 in what a header line takes for Latin-1.
    headers[PAIR_PREFIX + key] = Buffer.from(value, 'utf8').toString('latin1')
  }
  return headers
}

/**
 * What the headers of an answer say. The time to live is not among it; the mime type may be one
 * that the server has found by the extension of the name.
 *
 * @param raw names and values in turn, the values read as Latin-1.
 */
export function metadataFromHeaders(raw: readonly string[]): NeedleMetadata {
  const headers = new Map<string, string>()
  const pairs: Record<string, string> = {}
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    const lower = name.toLowerCase()
    headers.set(lower, value)
    if (!OWN_HEADERS.has(lower) && !lower.startsWith('access-control-')) {
      pairs[name] = utf8Of(value)
    }
  }
  const mime = headers.get('content-type')
  const modifiedMs = Date.parse(headers.get('last-modified') ?? '')
  const store = headers.get('x-file-store')
  return {
    name: nameIn(headers.get('content-disposition')),
    mime: mime === OCTET_STREAM ? undefined : mime,
    lastModifiedS: Number.isNaN(modifiedMs) ? undefined : modifiedMs / 1000,
    pairs: Object.keys(pairs).length === 0 ? undefined : pairs,
    isCompressed: headers.get('content-encoding') === 'gzip',
    isChunkManifest: store === 'manifest',
  }
}

function nameIn(disposition: string | undefined): string | undefined {
  if (disposition === undefined) return undefined
  try {
    return parse(disposition).parameters['filename']
  } catch {
    return undefined // A stranger's header: the data is good all the same.
  }
}

/** Headers are read as Latin-1; what a server sends is UTF-8, or was Latin-1 all along. */
function utf8Of(header: string): string {
  const text = Buffer.from(header, 'latin1').toString('utf8')
  return text.includes('\ufffd') ? header : text
}

/** RFC 8187 allows less than `encodeURIComponent` leaves as it is. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
