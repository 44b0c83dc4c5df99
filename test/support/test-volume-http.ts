import { type FileId, parseFileId } from '../../src/base/file-id.ts'
import type { FastResponder } from '../../src/net/fast-http.ts'
import { deriveTokenKeys, FileTokens } from '../../src/net/file-token.ts'
import { HttpServer } from '../../src/net/http-server.ts'
import type { NeedleMetadata } from '../../src/net/volume-api.ts'
import type { Logger } from '../../src/runtime/logger.ts'
import { Metrics } from '../../src/runtime/metrics.ts'
import type { VolumeHttpConfig, VolumeHttpParts } from '../../src/volume/http-context.ts'
import { volumeHttp } from '../../src/volume/http-handler.ts'
import { MemoryNeedles } from './memory-needles.ts'
import { Prng } from './prng.ts'
import { exchange, type RawAnswer } from './raw-http.ts'
import { SimClock } from './sim-clock.ts'

export const FID = '3,01637037d6'

export interface Ask {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
}

/** The HTTP side of a volume server over needles in memory, on a port of its own. */
export class TestVolumeHttp implements AsyncDisposable {
  readonly needles: MemoryNeedles
  readonly server: HttpServer
  readonly clock: SimClock
  readonly metrics: Metrics
  readonly tokens: FileTokens
  /** Requests that were answered without node:http. */
  readonly plain: { count: number }
  /** What was logged as a warning or an error. */
  readonly logged: string[]
  readonly #stop: AbortController

  private constructor(
    parts: Omit<TestVolumeHttp, 'ask' | 'json' | 'store' | typeof Symbol.asyncDispose>,
    stop: AbortController,
  ) {
    this.needles = parts.needles
    this.server = parts.server
    this.clock = parts.clock
    this.metrics = parts.metrics
    this.tokens = parts.tokens
    this.plain = parts.plain
    this.logged = parts.logged
    this.#stop = stop
  }

  static async open(
    config: Partial<VolumeHttpConfig> = {},
    more: Partial<VolumeHttpParts> = {},
    { isFast = true }: { readonly isFast?: boolean } = {},
  ): Promise<TestVolumeHttp> {
    const needles = new MemoryNeedles([3], [9])
    const clock = new SimClock()
    const metrics = new Metrics()
    const logged: string[] = []
    const logger = listLogger(logged)
    const stop = new AbortController()
    const tokens = new FileTokens({ clock }, deriveTokenKeys(Buffer.alloc(32, 7)))
    const http = volumeHttp(
      {
        access: needles,
        metrics,
        logger,
        clock,
        random: new Prng(5),
        signal: stop.signal,
        status: () => ({ Version: 'test' }),
        isReady: () => true,
        tokens,
        ...more,
      },
      {
        uploadLimitBytes: 0,
        downloadLimitBytes: 0,
        fileSizeLimitBytes: 64 * 1024 * 1024,
        readMode: 'proxy',
        ...config,
      },
    )
    const plain = { count: 0 }
    const { handler } = http
    const fast = isFast ? counted(http.fast, plain) : undefined
    const server = await HttpServer.open(
      { handler, logger, clock, ...(fast && { fast }) },
      { host: '127.0.0.1', port: 0 },
    )
    return new TestVolumeHttp({ needles, server, clock, metrics, tokens, plain, logged }, stop)
  }

  /** Stores a needle behind the back of the server. */
  store(fid: string, data: string | Buffer, metadata: NeedleMetadata = {}): FileId {
    const fileId = parseFileId(fid)
    this.needles.store({ fileId, data: Buffer.from(data), metadata })
    return fileId
  }

  async ask(target: string, { method = 'GET', headers = {}, body }: Ask = {}): Promise<RawAnswer> {
    const bytes = Buffer.from(body ?? '')
    const lines = Object.entries({
      Host: 'test',
      ...(body === undefined ? {} : { 'Content-Length': String(bytes.length) }),
      ...headers,
    }).map(([name, value]) => `${name}: ${value}\r\n`)
    const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'utf8')
    const request = Buffer.concat([head, bytes])
    const [answer] = await exchange(this.server.address, request, 1, method === 'HEAD')
    if (answer === undefined) throw new Error(`no answer to ${method} ${target}`)
    return answer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.server.destroy()
  }
}

export interface JsonAnswer {
  readonly [name: string]: unknown
  readonly code?: unknown
  readonly error?: unknown
}

export function jsonOf(answer: RawAnswer): JsonAnswer {
  return JSON.parse(answer.body.toString('utf8'))
}

function counted(fast: FastResponder, plain: { count: number }): FastResponder {
  const count = (isTaken: boolean): boolean => {
    if (isTaken) plain.count++
    return isTaken
  }
  return {
    tryGet: (path, connection) => count(fast.tryGet(path, connection)),
    tryPut: (path, body, connection) => count(fast.tryPut(path, body, connection)),
  }
}

function listLogger(logged: string[]): Logger {
  const log = (event: string, fields?: { readonly error?: unknown }): void => {
    logged.push(`${event} ${String(fields?.error ?? '')}`)
  }
  return { debug() {}, info() {}, warn: log, error: log }
}
