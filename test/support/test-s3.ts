import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { S3Client } from '@aws-sdk/client-s3'
import { SignatureV4 } from '@smithy/signature-v4'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { type RunningServer, startServer } from '../../src/server/start-server.ts'
import { NodeSha256 } from './node-sha256.ts'
import { openTempDirectory } from './temp-directory.ts'

export interface TestUser {
  readonly name: string
  readonly canonicalId: string
  readonly email: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** The SDK with default settings but endpoint, keys and path style. */
  readonly sdk: S3Client
}

export interface RawAnswer {
  readonly status: number
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly text: string
  /** The `Code` of an error document, or of nothing. */
  readonly code: string | undefined
}

export interface RawRequest {
  readonly method?: string
  /** Percent-encoded already, with the query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Who signs, in the header; undefined: nobody. */
  readonly as?: TestUser | undefined
}

/** A whole server in this process, with S3 on a port of its own and three kinds of identity. */
export class TestS3 implements AsyncDisposable {
  readonly server: RunningServer
  readonly url: string
  /** May do everything. */
  readonly root: TestUser
  /** Owns what it makes. */
  readonly owner: TestUser
  readonly other: TestUser
  readonly #owned: DisposeStack
  #bucketCount = 0

  private constructor(
    server: RunningServer,
    url: string,
    users: { root: TestUser; owner: TestUser; other: TestUser },
    owned: DisposeStack,
  ) {
    this.server = server
    this.url = url
    this.root = users.root
    this.owner = users.owner
    this.other = users.other
    this.#owned = owned
  }

  static async open(
    options: Partial<Parameters<typeof startServer>[0]> & {
      readonly s3Options?: Partial<NonNullable<Parameters<typeof startServer>[0]['s3']>>
    } = {},
  ): Promise<TestS3> {
    await using opening = new DisposeStack()
    const directory = opening.use(await openTempDirectory())
    const { s3Options, ...rest } = options
    const root = { accessKeyId: 'ROOTKEYOFTESTS', secretAccessKey: 'a-secret-of-tests-only' }
    const server = opening.use(
      await startServer({
        dir: directory.path,
        port: 0,
        grpcPort: 0,
        volumePort: 0,
        durability: 'none',
        volumeSize: '64MiB',
        rootAccessKey: root.accessKeyId,
        rootSecretKey: root.secretAccessKey,
        repair: { workers: 0 },
        ...rest,
        s3: { host: '127.0.0.1', port: 0, ...s3Options },
      }),
    )
    const url = server.s3Url ?? ''
    const users = {
      root: await TestS3.#rootUser(opening, server, url, root),
      owner: await TestS3.addUser(opening, server, url, 'owner'),
      other: await TestS3.addUser(opening, server, url, 'other'),
    }
    return new TestS3(server, url, users, opening.move())
  }

  static async #rootUser(
    owned: DisposeStack,
    server: RunningServer,
    url: string,
    key: { accessKeyId: string; secretAccessKey: string },
  ): Promise<TestUser> {
    const { canonicalId, name } = await server.users.get('root', NEVER)
    return { ...key, name, canonicalId, email: '', sdk: sdkOf(owned, url, key) }
  }

  static async addUser(
    owned: DisposeStack,
    server: RunningServer,
    url: string,
    name: string,
    policy?: string,
  ): Promise<TestUser> {
    const email = `${name}@example.com`
    const { canonicalId } = await server.users.add({ name, email, policy }, NEVER)
    const { accessKeyId, secret } = await server.users.addKey({ userName: name }, NEVER)
    const key = { accessKeyId, secretAccessKey: secret }
    return { ...key, name, canonicalId, email, sdk: sdkOf(owned, url, key) }
  }

  /** One more user, with a policy of its own if given. */
  addUser(name: string, policy?: string): Promise<TestUser> {
    return TestS3.addUser(this.#owned, this.server, this.url, name, policy)
  }

  newBucketName(): string {
    this.#bucketCount++
    return `bucket-${this.#bucketCount}`
  }

  /** A plain HTTP request, signed in its header if somebody signs. Nothing is retried. */
  async raw(request: RawRequest): Promise<RawAnswer> {
    const { as, body, method = 'GET', path } = request
    const bytes = Buffer.from(body ?? '')
    const headers: Record<string, string> = { host: new URL(this.url).host, ...request.headers }
    if (bytes.length > 0 || method === 'PUT' || method === 'POST') {
      headers['content-length'] ??= String(bytes.length)
    }
    const signed =
      as === undefined ? headers : await signedHeaders(as, { method, path, headers, bytes })
    return await send(this.url, method, path, signed, bytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

/** What `raw` would send: for tests that change it before it goes. */
export async function signedHeaders(
  user: { readonly accessKeyId: string; readonly secretAccessKey: string },
  request: {
    readonly method: string
    readonly path: string
    readonly headers: Readonly<Record<string, string>>
    readonly bytes: Uint8Array
  },
): Promise<Record<string, string>> {
  const { bytes, headers, method, path } = request
  const [rawPath = '/', rawQuery = ''] = path.split(/\?(.*)/s)
  const signer = new SignatureV4({
    service: 's3',
    region: 'us-east-1',
    uriEscapePath: false,
    applyChecksum: false,
    credentials: user,
    sha256: NodeSha256,
  })
  const query: Record<string, string> = {}
  for (const pair of rawQuery.split('&').filter((text) => text !== '')) {
    const [name = '', value = ''] = pair.split(/=(.*)/s)
    query[decodeURIComponent(name.replaceAll('+', ' '))] = decodeURIComponent(
      value.replaceAll('+', ' '),
    )
  }
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const signed = await signer.sign({
    method,
    protocol: 'http:',
    hostname: 'unused',
    path: rawPath,
    query,
    headers: { 'x-amz-content-sha256': sha256, ...headers },
  })
  return signed.headers
}

const NEVER = new AbortController().signal

function sdkOf(
  owned: DisposeStack,
  endpoint: string,
  credentials: { readonly accessKeyId: string; readonly secretAccessKey: string },
): S3Client {
  const sdk = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials,
    maxAttempts: 1,
  })
  owned.defer(async () => sdk.destroy())
  return sdk
}

function send(
  url: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Buffer,
): Promise<RawAnswer> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, method, path, headers, agent: false }, (res) => {
      const pieces: Buffer[] = []
      res.on('data', (piece: Buffer) => pieces.push(piece))
      res.on('error', reject)
      res.on('end', () => {
        const bytes = Buffer.concat(pieces)
        const text = bytes.toString('utf8')
        const [, code] = /<Error>.*?<Code>(.*?)<\/Code>/s.exec(text) ?? []
        const answered = Object.fromEntries(
          Object.entries(res.headers).map(([name, value]) => [name, String(value)]),
        )
        resolve({ status: res.statusCode ?? 0, headers: answered, body: bytes, text, code })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}
