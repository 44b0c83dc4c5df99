import { createHash, createHmac } from 'node:crypto'
import type { Socket } from 'node:net'
import { expect } from 'vitest'
import { encodeAwsChunks } from '../../../support/aws-chunks.ts'
import {
  openSocket,
  parseAnswers,
  type RawAnswer as WireAnswer,
} from '../../../support/raw-http.ts'
import {
  type RawAnswer,
  type RawRequest,
  signedHeaders,
  type TestS3,
  type TestUser,
} from '../../../support/test-s3.ts'

const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
}

/** What all elements of this name hold, their references resolved. */
export function textsOf(xml: string, name: string): string[] {
  const found = xml.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))
  return Array.from(found, ([, text = '']) => unescapeXml(text))
}

export function textOf(xml: string, name: string): string | undefined {
  return textsOf(xml, name)[0]
}

/** The `CommonPrefixes` of a list. */
export function commonPrefixesOf(xml: string): string[] {
  const found = xml.matchAll(/<CommonPrefixes><Prefix>([^<]*)<\/Prefix><\/CommonPrefixes>/g)
  return Array.from(found, ([, text = '']) => unescapeXml(text))
}

function unescapeXml(text: string): string {
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|\w+);/g, (whole, decimal, hex) => {
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    return ENTITIES[whole] ?? whole
  })
}

/** A key as it stands in a path: all but `/` and the unreserved characters is encoded. */
export function keyPath(key: string): string {
  return encodeURIComponent(key)
    .replaceAll('%2F', '/')
    .replace(/[!'()*]/g, (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`)
}

export function md5Base64(bytes: string | Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64')
}

export function md5Hex(bytes: string | Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex')
}

/** A bucket of the owner's, and requests to it. */
export class BucketScene {
  readonly s3: TestS3
  readonly name: string
  readonly user: TestUser

  constructor(s3: TestS3, name: string, user: TestUser) {
    this.s3 = s3
    this.name = name
    this.user = user
  }

  static async make(s3: TestS3, user = s3.owner): Promise<BucketScene> {
    const name = s3.newBucketName()
    expect(await s3.raw({ method: 'PUT', path: `/${name}`, as: user })).toMatchObject({
      status: 200,
    })
    return new BucketScene(s3, name, user)
  }

  /** The path of a key, with a query if there is one. */
  path(key: string, query = ''): string {
    return `/${this.name}/${keyPath(key)}${query}`
  }

  request(method: string, key: string, more: Partial<RawRequest> = {}): Promise<RawAnswer> {
    return this.s3.raw({ method, path: this.path(key), as: this.user, ...more })
  }

  /** Expects 200. */
  async put(
    key: string,
    body: string | Uint8Array = '',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawAnswer> {
    const answer = await this.request('PUT', key, { body, headers })
    expect([key, answer.status, answer.code]).toEqual([key, 200, undefined])
    return answer
  }

  /** Of keys and bodies, a few at a time. */
  async putAll(keys: readonly string[]): Promise<void> {
    const waiting = [...keys]
    const work = async (): Promise<void> => {
      for (let key = waiting.shift(); key !== undefined; key = waiting.shift()) {
        await this.put(key)
      }
    }
    await Promise.all(Array.from({ length: 8 }, work))
  }

  get(key: string, headers: Readonly<Record<string, string>> = {}): Promise<RawAnswer> {
    return this.request('GET', key, { headers })
  }

  head(key: string, headers: Readonly<Record<string, string>> = {}): Promise<RawAnswer> {
    return this.request('HEAD', key, { headers })
  }

  /** A request to the bucket itself; `query` with its question mark. */
  bucket(method: string, query = '', more: Partial<RawRequest> = {}): Promise<RawAnswer> {
    return this.s3.raw({ method, path: `/${this.name}${query}`, as: this.user, ...more })
  }
}

/**
 * The headers of a request without a body, signed as text and made the bytes that go over the wire:
 * one character each.
 */
export async function signedBytes(
  s3: TestS3,
  user: TestUser,
  request: {
    readonly method: string
    readonly path: string
    readonly headers: Readonly<Record<string, string>>
  },
): Promise<Record<string, string>> {
  const headers = { host: new URL(s3.url).host, ...request.headers }
  const signed = await signedHeaders(user, { ...request, headers, bytes: Buffer.alloc(0) })
  return Object.fromEntries(
    Object.entries(signed).map(([name, value]) => [name, Buffer.from(value).toString('latin1')]),
  )
}

export type ChunkedForm = 'signed' | 'signed-trailer' | 'unsigned-trailer'

const LITERALS: Readonly<Record<ChunkedForm, string>> = {
  signed: 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
  'signed-trailer': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
  'unsigned-trailer': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
}

export interface ChunkedUpload {
  readonly path: string
  readonly as: TestUser
  readonly form: ChunkedForm
  readonly chunks: readonly Buffer[]
  readonly trailers?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  /** What becomes of the wire's bytes before they are sent. */
  readonly change?: (wire: Buffer) => Buffer
}

/** The headers and bytes of an `aws-chunked` upload, signed as the SDKs do it. */
export async function chunkedRequest(
  s3: TestS3,
  upload: ChunkedUpload,
): Promise<{ readonly headers: Record<string, string>; readonly wire: Buffer }> {
  const { as, chunks, form, path, trailers } = upload
  const sizeBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  const headers = await signedHeaders(as, {
    method: 'PUT',
    path,
    headers: {
      host: new URL(s3.url).host,
      'content-encoding': 'aws-chunked',
      'x-amz-content-sha256': LITERALS[form],
      'x-amz-decoded-content-length': String(sizeBytes),
      ...(trailers && { 'x-amz-trailer': Object.keys(trailers).join(',') }),
      ...upload.headers,
    },
    bytes: Buffer.alloc(0),
  })
  const signer = form === 'unsigned-trailer' ? undefined : signerOf(as, headers)
  const hasTrailer = form !== 'signed'
  const wire = encodeAwsChunks(chunks, {
    signer,
    trailers: hasTrailer ? (trailers ?? {}) : undefined,
  })
  return { headers, wire: upload.change?.(wire) ?? wire }
}

/** Signs chunks after the headers, whose signature is the first link of the chain. */
function signerOf(user: TestUser, headers: Readonly<Record<string, string>>) {
  const { authorization = '', 'x-amz-date': date = '' } = headers
  const [, scope = '', seed = ''] =
    /Credential=[^/]+\/([^,]+),.*Signature=([0-9a-f]{64})/.exec(authorization) ?? []
  const key = scope
    .split('/')
    .reduce<Buffer>(
      (above, part) => createHmac('sha256', above).update(part).digest(),
      Buffer.from(`AWS4${user.secretAccessKey}`),
    )
  const empty = createHash('sha256').digest('hex')
  let previous = seed
  const sign = (algorithm: string, tail: string): string => {
    const text = `${algorithm}\n${date}\n${scope}\n${previous}\n${tail}`
    previous = createHmac('sha256', key).update(text).digest('hex')
    return previous
  }
  return {
    signChunk: (sha256: string) => sign('AWS4-HMAC-SHA256-PAYLOAD', `${empty}\n${sha256}`),
    signTrailer: (text: string) =>
      sign('AWS4-HMAC-SHA256-TRAILER', createHash('sha256').update(text).digest('hex')),
  }
}

/** A connection of its own, and what comes back on it. */
export class RawTalk implements Disposable {
  readonly #socket: Socket
  #received = Buffer.alloc(0)
  #isClosed = false
  #wake: () => void = () => {}

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (piece) => {
      this.#received = Buffer.concat([this.#received, piece])
      this.#wake()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#isClosed = true
      this.#wake()
    })
  }

  static async open(s3: TestS3): Promise<RawTalk> {
    const { hostname, port } = new URL(s3.url)
    return new RawTalk(await openSocket({ host: hostname, port: Number(port) }))
  }

  /** Text goes as Latin-1: each character is one byte. */
  send(bytes: string | Buffer): void {
    this.#socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  /** A request whose headers somebody signed; nothing is added to them. */
  sendHead(method: string, path: string, headers: Readonly<Record<string, string>>): void {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    this.send(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  }

  /** Says that nothing more comes. */
  end(): void {
    this.#socket.end()
  }

  cut(): void {
    this.#socket.destroy()
  }

  /** As soon as there are so many answers, or there will be no more. */
  async answers(count: number, isHead = false): Promise<readonly WireAnswer[]> {
    for (;;) {
      const answers = parseAnswers(this.#received, isHead)
      if (answers.length >= count || this.#isClosed) return answers
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** When the other side has closed it. */
  async closed(): Promise<void> {
    await this.answers(Number.POSITIVE_INFINITY)
  }

  get text(): string {
    return this.#received.toString('latin1')
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }
}

export function codeOf({ body }: WireAnswer): string | undefined {
  return textOf(body.toString(), 'Code')
}

const patterns = new Map<number, Buffer>()

/** Random enough that no two places in it look alike, and the same each time. */
export function patternBytes(sizeBytes: number): Buffer {
  const known = patterns.get(sizeBytes)
  if (known !== undefined) return known
  const bytes = Buffer.alloc(sizeBytes)
  let state = sizeBytes + 1
  for (let at = 0; at < sizeBytes; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff
    bytes[at] = state >>> 16
  }
  patterns.set(sizeBytes, bytes)
  return bytes
}
