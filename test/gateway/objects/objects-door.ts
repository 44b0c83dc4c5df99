import { type ClientRequest, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { HayloftClient } from '../../../src/client/hayloft-client.ts'
import { DoorBuckets } from '../../../src/gateway/door-buckets.ts'
import { GatewaySession } from '../../../src/gateway/gateway-session.ts'
import { objectRoutes } from '../../../src/gateway/objects/object-routes.ts'
import type { ObjectsConfig, ObjectsParts } from '../../../src/gateway/objects/objects-config.ts'
import { RestGateway } from '../../../src/gateway/rest/rest-gateway.ts'
import type { ClusterHealth } from '../../../src/net/jobs-api.ts'
import { DisposeStack } from '../../../src/runtime/dispose-stack.ts'
import type { Logger } from '../../../src/runtime/logger.ts'
import { Metrics } from '../../../src/runtime/metrics.ts'
import { FakeCluster } from '../../support/client-cluster.ts'
import { FakeJobs, HEALTH } from '../../support/fake-jobs-api.ts'
import { MemDisk } from '../../support/mem-disk.ts'
import { Prng } from '../../support/prng.ts'
import { TestNamespace, WatchedStore } from '../../support/test-namespace.ts'

export const MAX_FILE_BYTES = 3_000_000
export const GREEN: ClusterHealth = {
  ...HEALTH,
  color: 'green',
  isFullyRedundant: true,
  volumesBelow: 0,
  volumesUnavailable: 0,
  alerts: [],
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly text: string
  readonly json: unknown
}

export interface RawRequest {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
  /** Sends the body in pieces, without saying how long it is. */
  readonly isChunked?: boolean
}

class SomeJobs extends FakeJobs {
  current: ClusterHealth = GREEN
  failure: Error | undefined

  override async health(): Promise<ClusterHealth> {
    if (this.failure !== undefined) throw this.failure
    return this.current
  }
}

/** Objects over REST, above a cluster in memory with a server in each of three regions. */
export class ObjectsDoor implements AsyncDisposable {
  readonly cluster = new FakeCluster({ servers: 3, volumes: 0 })
  readonly jobs = new SomeJobs()
  readonly names = new TestNamespace(new WatchedStore())
  readonly disk = new MemDisk(new Prng(7))
  readonly metrics = new Metrics()
  readonly logged: string[] = []
  readonly closing = new AbortController()
  readonly #owned = new DisposeStack()
  #gateway: RestGateway | undefined
  #parts: ObjectsParts | undefined

  private constructor() {
    this.cluster.isGrowing = true
    const regions = ['us-east-1', 'us-west-1', 'eu-west-1']
    for (const [index, url] of [...this.cluster.servers.keys()].entries()) {
      this.cluster.places.set(url, [regions[index] ?? '', 'r1'])
    }
  }

  static async open(config: Partial<ObjectsConfig> = {}): Promise<ObjectsDoor> {
    await using opening = new DisposeStack()
    const door = new ObjectsDoor()
    const logger = loggerInto(door.logged)
    const { clock, random, namespace } = door.names
    const { cluster } = door
    const { connect, master } = cluster
    const session = opening.use(new GatewaySession({ namespace, clock, random, logger }))
    const parts = { master, connect, clock, random, logger }
    const client = opening.use(HayloftClient.over(parts))
    const users = { get: async () => ({ canonicalId: 'o' }) as never }
    const served = {
      ...parts,
      namespace,
      client,
      session,
      jobs: door.jobs,
      buckets: new DoorBuckets({ namespace, users }),
      disk: door.disk,
      metrics: door.metrics,
      closing: door.closing.signal,
    }
    opening.defer(() => door.closing.abort())
    const routes = objectRoutes(served, {
      bucket: 'objects',
      policy: 'replicated',
      spread: 'auto',
      maxFileBytes: MAX_FILE_BYTES,
      recoverNode: () => Promise.reject(new Error('no recovery in this test')),
      ...config,
    })
    const place = { host: '127.0.0.1', port: 0, plugins: [routes] }
    door.#gateway = opening.use(await RestGateway.open({ clock, logger }, place))
    door.#parts = served
    const moved = opening.move()
    door.#owned.defer(() => moved[Symbol.asyncDispose]())
    return door
  }

  get parts(): ObjectsParts {
    if (this.#parts === undefined) throw new Error('not open')
    return this.#parts
  }

  get url(): string {
    return this.#gateway?.url ?? ''
  }

  /** The path as it is to be sent. */
  async ask(method: string, path: string, raw: RawRequest = {}): Promise<Answer> {
    return await answerTo(this.begin(method, path, raw))
  }

  begin(method: string, path: string, { body, headers, isChunked }: RawRequest): ClientRequest {
    const { hostname, port } = new URL(this.url)
    const request = httpRequest({ hostname, port, method, path, headers, agent: false })
    if (isChunked === true && body !== undefined) {
      const bytes = Buffer.from(body)
      for (let at = 0; at < bytes.length; at += 50_000) {
        request.write(bytes.subarray(at, at + 50_000))
      }
      request.end()
    } else {
      request.end(body)
    }
    return request
  }

  async upload(path: string, data: Uint8Array | string, fields: Partial<FormPart> = {}) {
    return await this.ask('POST', `/objects/${path}`, form([{ data, ...fields }]))
  }

  /** What the master's collector would still have to delete is as good as gone. */
  async leftNeedles(): Promise<number> {
    const dropped = new Set(await this.names.store.dropped())
    return [...this.cluster.liveNeedles().keys()].filter((id) => !dropped.has(id)).length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

export interface FormPart {
  readonly data: Uint8Array | string
  readonly name: string
  /** Undefined: none. */
  readonly fileName: string | undefined
  readonly type: string | undefined
}

const BOUNDARY = 'a-boundary'

/** As browsers and curl send it. */
export function form(
  parts: readonly (Pick<FormPart, 'data'> & Partial<FormPart>)[],
): RawRequest & { readonly headers: Record<string, string>; readonly body: Buffer } {
  const pieces = parts.flatMap(({ data, ...rest }) => {
    const { name, fileName, type } = { name: 'file', fileName: 'x.bin', type: undefined, ...rest }
    const file = fileName === undefined ? '' : `; filename="${fileName}"`
    const mime = type === undefined ? '' : `Content-Type: ${type}\r\n`
    const disposition = `Content-Disposition: form-data; name="${name}"${file}`
    const head = `--${BOUNDARY}\r\n${disposition}\r\n${mime}\r\n`
    return [Buffer.from(head), Buffer.from(data), Buffer.from('\r\n')]
  })
  const body = Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--\r\n`)])
  return { headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` }, body }
}

export function answerTo(request: ClientRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request.on('error', reject)
    request.on('response', (res) => {
      const pieces: Buffer[] = []
      res.on('data', (piece: Buffer) => pieces.push(piece))
      res.on('error', reject)
      res.on('end', () => {
        const body = Buffer.concat(pieces)
        const text = body.toString('utf8')
        const isJson = res.headers['content-type']?.startsWith('application/json') === true
        const json: unknown = isJson && text !== '' ? JSON.parse(text) : undefined
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body, text, json })
      })
    })
  })
}

export function loggerInto(lines: string[]): Logger {
  const add = (event: string, fields?: Record<string, unknown>): void => {
    const { error } = fields ?? {}
    lines.push(error instanceof Error ? `${event} ${error.message}` : event)
  }
  return { debug() {}, info() {}, warn: add, error: add }
}
