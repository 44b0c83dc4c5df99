import { createHash } from 'node:crypto'
import { LIMITS } from '../../../src/base/limits.ts'
import { StoreError } from '../../../src/base/store-error.ts'
import { HayloftClient } from '../../../src/client/hayloft-client.ts'
import { DoorBuckets } from '../../../src/gateway/door-buckets.ts'
import {
  type FileServiceConfig,
  type FileServiceParts,
  fileService,
} from '../../../src/gateway/files/file-service.ts'
import { GatewaySession } from '../../../src/gateway/gateway-session.ts'
import type { AccessKey, Identity } from '../../../src/gateway/s3/auth/identity.ts'
import { GrpcServer } from '../../../src/net/grpc-server.ts'
import { RemoteFiles } from '../../../src/net/remote-files.ts'
import { systemClock } from '../../../src/runtime/clock.ts'
import { DisposeStack } from '../../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { Metrics } from '../../../src/runtime/metrics.ts'
import { cryptoRandom } from '../../../src/runtime/random.ts'
import { FakeCluster } from '../../support/client-cluster.ts'
import { FakeJobs } from '../../support/fake-jobs-api.ts'
import { TestNamespace, WatchedStore } from '../../support/test-namespace.ts'

export const CHUNK_BYTES = 100_000
export const CACHE_BYTES = 1_000_000

function identity(name: string, isRoot = false): Identity {
  const canonicalId = createHash('sha256').update(name).digest('hex')
  return { name, canonicalId, displayName: name, email: undefined, isRoot, policy: undefined }
}

/** Users' files above a cluster in memory, over real gRPC. Time is simulated but for the server. */
export class FilesDoor implements AsyncDisposable {
  readonly cluster = new FakeCluster({ servers: 3, volumes: 4 })
  readonly names = new TestNamespace(new WatchedStore())
  readonly metrics = new Metrics()
  /** By access key, which is the name of its user, with the secret `{name}-secret`. */
  readonly keys = new Map<string, AccessKey>()
  readonly closing = new AbortController()
  readonly #owned = new DisposeStack()
  #server: GrpcServer | undefined

  private constructor() {
    let turn = 0
    this.cluster.choose = (volumes) => volumes[turn++ % volumes.length] as (typeof volumes)[0]
    for (const name of ['ada', 'bob']) this.#addKey(identity(name))
    this.#addKey(identity('root', true))
  }

  static async open(config: Partial<FileServiceConfig> = {}): Promise<FilesDoor> {
    await using opening = new DisposeStack()
    const door = new FilesDoor()
    const { clock, random, namespace } = door.names
    const logger = silentLogger
    const { connect, master } = door.cluster
    const session = opening.use(new GatewaySession({ namespace, clock, random, logger }))
    const parts = { master, connect, clock, random, logger }
    const client = opening.use(HayloftClient.over(parts))
    const users = { get: async (name: string) => door.user(name) as never }
    const served: FileServiceParts = {
      ...parts,
      namespace,
      client,
      session,
      jobs: new FakeJobs(),
      buckets: new DoorBuckets({ namespace, users }),
      closing: door.closing.signal,
      keys: { findKey: (accessKeyId) => door.keys.get(accessKeyId) },
      users,
      metrics: door.metrics,
    }
    opening.defer(async () => door.closing.abort())
    const service = fileService(served, {
      chunkBytes: CHUNK_BYTES,
      cacheBytes: CACHE_BYTES,
      ...config,
    })
    door.#server = opening.use(
      await GrpcServer.open(
        { logger, clock: systemClock },
        {
          host: '127.0.0.1',
          port: 0,
          services: [service],
          messageMax: LIMITS.fileMessageMax.value,
        },
      ),
    )
    const moved = opening.move()
    door.#owned.defer(() => moved[Symbol.asyncDispose]())
    return door
  }

  get address(): string {
    return `127.0.0.1:${this.server.address.port}`
  }

  get server(): GrpcServer {
    if (this.#server === undefined) throw new Error('not open')
    return this.#server
  }

  /** @throws {StoreError} USER_NOT_FOUND */
  user(name: string): Identity {
    const found = this.keys.get(name)
    if (found !== undefined) return found.user
    throw new StoreError('USER_NOT_FOUND', `there is no user ${name}`)
  }

  /** Signs as this user, with the right secret unless another is given. */
  as(name: string, secret = `${name}-secret`): RemoteFiles {
    return this.#owned.use(
      new RemoteFiles(
        { clock: this.names.clock, random: cryptoRandom },
        {
          address: this.address,
          credentials: { accessKeyId: name, secret },
          timeoutMs: 60_000,
        },
      ),
    )
  }

  /** Needles that are not yet to be deleted, by their ids. */
  liveNeedles(): string[] {
    return [...this.cluster.liveNeedles().keys()].toSorted()
  }

  async counter(name: string): Promise<number> {
    const line = (await this.metrics.text()).split('\n').find((text) => text.startsWith(`${name} `))
    return Number(line?.split(' ')[1] ?? 0)
  }

  #addKey(user: Identity): void {
    const { name } = user
    this.keys.set(name, { accessKeyId: name, secret: `${name}-secret`, user })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

export function bytesOf(length: number, seed = 1): Buffer {
  const data = Buffer.alloc(length)
  for (let at = 0; at < length; at++) data[at] = (at * 31 + seed * 17 + (at >> 8)) & 0xff
  return data
}

export async function* piecesOf(data: Uint8Array, pieceBytes = 30_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes)
}
