import { join } from 'node:path'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { GatewaySession } from '../../src/gateway/gateway-session.ts'
import { type ObjectToWrite, writeObject } from '../../src/gateway/object-writer.ts'
import { type RawMasterConfig, readMasterConfig } from '../../src/master/config.ts'
import { MasterServer } from '../../src/master/master-server.ts'
import type { Bucket } from '../../src/namespace/bucket-record.ts'
import type { NamespaceApi } from '../../src/namespace/namespace-api.ts'
import type { ObjectVersion } from '../../src/namespace/object-version.ts'
import type { JobsApi, JobView } from '../../src/net/jobs-api.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { type Logger, silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { startEmbeddedWorker } from '../../src/server/embedded-worker.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { openTempDirectory } from './temp-directory.ts'

const NEVER = new AbortController().signal
const WAIT_MS_MAX = 60_000
const POLL_MS = 20
const OWNER = '0'.repeat(64)

const QUICK = {
  delayMs: 500,
  checkMs: 50,
  healEveryMs: 200,
  politeness: 0,
  // Half of the servers may go: it is no fault of the network.
  massShare: 0.9,
  // So few bytes are never even.
  rebalanceSpread: 1,
}

export interface HealClusterOptions {
  readonly servers: number
  readonly repair?: RawMasterConfig['repair']
  /** Without one nothing is done that a test does not do itself. */
  readonly hasWorker?: boolean
  readonly logger?: Logger
}

interface Parts {
  readonly master: MasterServer
  readonly client: HayloftClient
  readonly connections: VolumeConnections
  readonly directory: string
  readonly logger: Logger
}

/** Real servers in this process, each of which can go, and a healer in a hurry. */
export class HealCluster implements AsyncDisposable {
  readonly #parts: Parts
  readonly #owned: DisposeStack
  readonly servers: (VolumeServer | undefined)[] = []
  readonly directories: string[] = []

  private constructor(parts: Parts, owned: DisposeStack) {
    this.#parts = parts
    this.#owned = owned
  }

  static async open(options: HealClusterOptions): Promise<HealCluster> {
    await using opening = new DisposeStack()
    const directory = opening.use(await openTempDirectory()).path
    const { logger = silentLogger } = options
    const shared = { clock: systemClock, random: cryptoRandom, logger }
    const late: { connections?: VolumeConnections } = {}
    const connect: VolumeConnections['connect'] = (location) => {
      if (late.connections === undefined) throw new Error('too early')
      return late.connections.connect(location)
    }
    const config = readMasterConfig({
      dir: join(directory, 'master'),
      port: 0,
      grpcPort: 0,
      warmUpMaxMs: 0,
      heartbeatMs: 100,
      repair: { ...QUICK, ...options.repair },
    })
    const disk = new NodeDisk()
    const master = opening.use(await MasterServer.open({ ...shared, disk, connect }, config, NEVER))
    const { api, secret } = master
    const connections = opening.use(await VolumeConnections.open(shared, { secret }))
    late.connections = connections
    const client = opening.use(HayloftClient.over({ ...shared, master: api, connect }))
    const cluster = new HealCluster(
      { master, client, connections, directory, logger },
      opening.move(),
    )
    for (let index = 0; index < options.servers; index++) await cluster.addServer()
    if (options.hasWorker !== false) {
      cluster.#owned.use(await startEmbeddedWorker({ ...shared, master, connect }, 4))
    }
    return cluster
  }

  get client(): HayloftClient {
    return this.#parts.client
  }

  get namespace(): NamespaceApi {
    return this.#parts.master.api.namespace
  }

  get jobs(): JobsApi {
    return this.#parts.master.api.jobs
  }

  get master(): MasterServer {
    return this.#parts.master
  }

  /** Of the server with this number. */
  urlOf(index: number): string {
    const url = this.servers[index]?.location.url
    if (url === undefined) throw new Error(`server ${index} was stopped`)
    return url
  }

  /** A new one, or again one that was stopped, with what it had. */
  async addServer(index = this.servers.length): Promise<void> {
    const { connections, directory, logger, master } = this.#parts
    const path = join(directory, `volume-${index}`)
    const { api, secret } = master
    const raw = { directories: [path], port: 0, durability: 'none', secret } as const
    const shared = { clock: systemClock, random: cryptoRandom, logger, disk: new NodeDisk() }
    const { connect } = connections
    const config = readVolumeServerConfig(raw)
    const server = await VolumeServer.open({ ...shared, connect, master: api }, config, NEVER)
    this.servers[index] = server
    this.directories[index] = path
    await this.until('the server is ready', async () => server.isReady)
  }

  async stopServer(index: number): Promise<string> {
    const url = this.urlOf(index)
    await this.servers[index]?.close()
    this.servers[index] = undefined
    return url
  }

  async bucket(name: string): Promise<Bucket> {
    const request = { name, ownerId: OWNER, isLockEnabled: false, documents: {} }
    return await this.namespace.createBucket(request, NEVER)
  }

  /** By a gateway that ends in order. */
  async write(object: ObjectToWrite): Promise<ObjectVersion> {
    const { client, logger } = this.#parts
    const shared = { clock: systemClock, random: cryptoRandom, logger }
    const { namespace } = this
    await using session = new GatewaySession({ ...shared, namespace })
    return await writeObject(
      { ...shared, namespace, client, session, closing: NEVER },
      object,
      NEVER,
    )
  }

  async color(): Promise<string> {
    return (await this.jobs.health(NEVER)).color
  }

  async heals(): Promise<readonly JobView[]> {
    return await this.jobs.listJobs({ kind: 'heal', withEnded: true }, NEVER)
  }

  async until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const untilMs = performance.now() + WAIT_MS_MAX
    while (!(await isSo())) {
      if (performance.now() > untilMs) {
        const jobs = await this.jobs.listJobs({ withEnded: true }, NEVER)
        const told = jobs.slice(-12).map(({ kind, state, error, summary, target }) => {
          return `${kind} ${JSON.stringify(target)}: ${state} ${error} ${summary}`
        })
        const { doing } = await this.jobs.health(NEVER)
        throw new Error(`${what}: not in time\n${[...told, ...doing].join('\n')}`)
      }
      await systemClock.sleep(POLL_MS, NEVER)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The worker first, and the master last.
    const servers = this.servers.filter((server) => server !== undefined)
    this.servers.length = 0
    await Promise.all(servers.map((server) => server.close()))
    await this.#owned[Symbol.asyncDispose]()
  }
}
