import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { volumeId } from '../../src/base/ids.ts'
import { masterHttpHandler } from '../../src/master/http-handler.ts'
import type { MasterHttpConfig } from '../../src/master/http-parts.ts'
import { deriveTokenKeys, FileTokens } from '../../src/net/file-token.ts'
import { HttpServer } from '../../src/net/http-server.ts'
import { type Logger, silentLogger } from '../../src/runtime/logger.ts'
import { Metrics } from '../../src/runtime/metrics.ts'
import { FakeJobs } from './fake-jobs-api.ts'
import { FakeMaster, FakeVolumes, nodeLocation } from './fake-master.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly text: string
  readonly json: unknown
}

export interface Ask {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

export const CONFIG: MasterHttpConfig = {
  grpcPort: 19_333,
  submitBytesMax: 3_000_000,
  nameBytesMax: 5_000_000,
  usesWriteTokens: false,
  usesReadTokens: false,
  tokenSeconds: 60,
  garbageThreshold: 0.3,
}

/** Events at `error`: what a request must never cause. */
export interface LoggedError {
  readonly event: string
  readonly fields: Record<string, unknown> | undefined
}

/** The master's HTTP on a port of its own, before a fake cluster of two servers. */
export async function openMasterHttp(options: Partial<MasterHttpConfig> = {}) {
  const master = new FakeMaster()
  const volumes = new FakeVolumes()
  const jobs = new FakeJobs()
  const [first, second] = [nodeLocation(8080), nodeLocation(8081, 'r2')]
  master.volumes = [1, 2, 3].map((id) => ({
    volumeId: volumeId(id),
    collection: id === 3 ? 'photos' : '',
    writePolicy: 'all',
    locations: id === 1 ? [first, second] : [second],
  }))
  const errors: LoggedError[] = []
  const logger: Logger = {
    ...silentLogger,
    error: (event, fields) => {
      errors.push({ event, fields })
    },
  }
  const clock = new SimClock()
  const tokens = new FileTokens({ clock }, deriveTokenKeys(Buffer.alloc(32, 7)))
  const metrics = new Metrics()
  const parts = {
    api: master,
    jobs,
    connect: volumes.connect.bind(volumes),
    tokens,
    metrics,
    logger,
    clock,
    random: new Prng(5),
  }
  const handler = masterHttpHandler(parts, { ...CONFIG, ...options })
  const server = await HttpServer.open({ handler, logger, clock }, { host: '127.0.0.1', port: 0 })
  const { port } = server.address
  return {
    master,
    jobs,
    volumes,
    tokens,
    errors,
    port,
    ask: (path: string, ask: Ask = {}) => send(port, path, ask),
    [Symbol.asyncDispose]: () => server.destroy(),
  }
}

/** The path goes out byte for byte: no client in between that would tidy it up. */
export function send(port: number, path: string, ask: Ask = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', headers = {}, body } = ask
    const request = httpRequest({ host: '127.0.0.1', port, path, method, headers, agent: false })
    request.on('error', reject)
    request.on('response', (response) => {
      const pieces: Buffer[] = []
      response.on('error', reject)
      response.on('data', (piece: Buffer) => pieces.push(piece))
      response.on('end', () => {
        const whole = Buffer.concat(pieces)
        const text = whole.toString()
        const isJson = response.headers['content-type']?.startsWith('application/json') === true
        const json: unknown = isJson && text !== '' ? JSON.parse(text) : undefined
        const { statusCode = 0, headers } = response
        resolve({ status: statusCode, headers, body: whole, text, json })
      })
    })
    request.end(body)
  })
}
