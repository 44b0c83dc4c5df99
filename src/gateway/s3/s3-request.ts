import { S3Error } from './s3-error.ts'

/** Parameters of a query, decoded, in the order in which they came. */
export class QueryParameters {
  readonly pairs: readonly (readonly [name: string, value: string])[]

  constructor(pairs: readonly (readonly [name: string, value: string])[]) {
    this.pairs = pairs
  }

  /** Of `a=1&b`: `b` is there, and its value is empty. @throws {S3Error} InvalidURI */
  static parse(rawQuery: string): QueryParameters {
    if (rawQuery === '') return new QueryParameters([])
    const pairs = rawQuery
      .split('&')
      .filter((pair) => pair !== '')
      .map((pair) => {
        const at = pair.indexOf('=')
        const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
        return [decodeQueryPart(name), decodeQueryPart(value)] as const
      })
    return new QueryParameters(pairs)
  }

  /** The first one with this name. Names are compared letter by letter, capitals apart. */
  get(name: string): string | undefined {
    return this.pairs.find(([candidate]) => candidate === name)?.[1]
  }

  has(name: string): boolean {
    return this.get(name) !== undefined
  }
}

/** Headers by lower-case name. What was sent more than once is joined with `,`, in order. */
export class RequestHeaders {
  /** Values as Node reads them: each byte as one Latin-1 character, trimmed. */
  readonly #values: ReadonlyMap<string, string>

  /** `rawHeaders`: names and values in turn, as they came. */
  constructor(rawHeaders: readonly string[]) {
    const values = new Map<string, string>()
    for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
      const name = (rawHeaders[at] ?? '').toLowerCase()
      const value = rawHeaders[at + 1] ?? ''
      const before = values.get(name)
      values.set(name, before === undefined ? value : `${before},${value}`)
    }
    this.#values = values
  }

  get(name: string): string | undefined {
    return this.#values.get(name)
  }

  has(name: string): boolean {
    return this.#values.has(name)
  }

  names(): Iterable<string> {
    return this.#values.keys()
  }
}

/** One request to S3, before anybody has looked at who sends it. Nothing in it was normalised. */
export interface S3Request {
  readonly method: string
  /** The path as it came: begins with `/`, still percent-encoded, nothing resolved. */
  readonly rawPath: string
  /** As it came, without the `?`; empty: there is none. */
  readonly rawQuery: string
  readonly query: QueryParameters
  readonly headers: RequestHeaders
  /** Undefined: the request is to the service itself. */
  readonly bucket: string | undefined
  /** Decoded once. Undefined: the request is to a bucket, or to the service. */
  readonly key: string | undefined
  /** Of the connection, or as a trusted proxy gives it. */
  readonly remoteAddress: string
  readonly isTls: boolean
  /** Which the answer will have. */
  readonly requestId?: string | undefined
}

/** What `parseS3Request` takes from an `IncomingMessage`. */
export interface RawRequest {
  readonly method: string
  /** The request line's target. */
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly remoteAddress: string
  readonly isTls: boolean
  readonly requestId?: string | undefined
}

/**
 * `domains`: hosts whose subdomains are buckets (virtual-host style), without port, lower case; a
 * request to any other host is path style. Nothing is resolved: `//`, `.` and `..` are parts of
 * keys.
 *
 * @throws {S3Error} InvalidURI: the target does not begin with `/`, or an escape is no UTF-8.
 */
export function parseS3Request(raw: RawRequest, domains: readonly string[]): S3Request {
  const { method, remoteAddress, isTls, requestId, url } = raw
  const at = url.indexOf('?')
  const rawPath = at < 0 ? url : url.slice(0, at)
  const rawQuery = at < 0 ? '' : url.slice(at + 1)
  if (!rawPath.startsWith('/')) throw new S3Error('InvalidURI')
  const headers = new RequestHeaders(raw.rawHeaders)
  const hostBucket = bucketOfHost(headers.get('host') ?? '', domains)
  const { bucket, key } =
    hostBucket === undefined ? splitPath(rawPath) : keyOfHost(hostBucket, rawPath)
  const query = QueryParameters.parse(rawQuery)
  const sender = { remoteAddress, isTls, requestId }
  return { method, rawPath, rawQuery, query, headers, bucket, key, ...sender }
}

function bucketOfHost(host: string, domains: readonly string[]): string | undefined {
  if (domains.length === 0) return undefined
  const name = host.replace(/:\d+$/, '').toLowerCase()
  for (const domain of domains) {
    if (name.length > domain.length + 1 && name.endsWith(`.${domain}`)) {
      return name.slice(0, -domain.length - 1)
    }
  }
  return undefined
}

function keyOfHost(bucket: string, rawPath: string) {
  const rest = rawPath.slice(1)
  return { bucket, key: rest === '' ? undefined : decodePathPart(rest) }
}

function splitPath(rawPath: string) {
  const rest = rawPath.slice(1)
  if (rest === '') return { bucket: undefined, key: undefined }
  const at = rest.indexOf('/')
  if (at < 0) return { bucket: decodePathPart(rest), key: undefined }
  const key = rest.slice(at + 1)
  const bucket = decodePathPart(rest.slice(0, at))
  return { bucket, key: key === '' ? undefined : decodePathPart(key) }
}

function decodePathPart(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new S3Error('InvalidURI', undefined, { cause })
  }
}

/** In a query `+` is a space. */
function decodeQueryPart(text: string): string {
  return decodePathPart(text.includes('+') ? text.replaceAll('+', ' ') : text)
}
