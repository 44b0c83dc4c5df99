import { join } from 'node:path'
import { StoreError } from '../base/store-error.ts'
import { type ClientTokens, tokensOf } from '../client/file-tokens.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import { parseCodedPolicy } from '../gateway/s3/coded-policy.ts'
import { type RawMasterConfig, readMasterConfig } from '../master/config.ts'
import { MasterServer } from '../master/master-server.ts'
import { ROOT_KEY_FILE } from '../master/open-users.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import type { JobsApi } from '../net/jobs-api.ts'
import type { TlsKeys } from '../net/tls.ts'
import type { UsersApi } from '../net/users-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { type Logger, silentLogger } from '../runtime/logger.ts'
import { NodeDisk } from '../runtime/node-disk.ts'
import { cryptoRandom, type Random } from '../runtime/random.ts'
import { readVolumeServerConfig, type VolumeServerConfig } from '../volume/config.ts'
import { VolumeServer } from '../volume/volume-server.ts'
import { checkUserPolicy } from './check-user-policy.ts'
import { DrainingVolume } from './draining-volume.ts'
import { startEmbeddedWorker } from './embedded-worker.ts'
import {
  type Doors,
  type DoorsAddresses,
  type DoorsOptions,
  type DoorsParts,
  openDoors,
} from './open-doors.ts'
import { localKeys, type S3Options, S3Server, type S3ServerParts } from './open-s3.ts'

export interface StartServerOptions {
  /** Made if missing; the next start with it goes on where this one ended. */
  readonly dir: string
  readonly volumeServers?: number
  /** Labels, given to the volume servers in turn. */
  readonly racks?: readonly string[]
  readonly dataCenters?: readonly string[]
  /** Address to listen on: 127.0.0.1 unless given. */
  readonly ip?: string
  readonly publicHost?: string | undefined
  /** HTTP port of the master, 9333 unless given; 0: any that is free. */
  readonly port?: number
  /** gRPC port of the master: HTTP port + 10000 unless given. */
  readonly grpcPort?: number | undefined
  /** HTTP port of the first volume server, 8080 unless given, one more for each; 0: any. */
  readonly volumePort?: number
  /** Three digits like `001`. */
  readonly replication?: string
  /** Which volume takes a new file: `ring`, `least-used` or `random`, which is the default. */
  readonly strategy?: string
  /** `none` leaves it to the system when an acknowledged write reaches the disk. */
  readonly durability?: 'fsync' | 'none'
  readonly volumeSize?: number | string
  /** Threads for the HTTP of each volume server, beside the one that owns the volumes. */
  readonly threads?: number
  readonly needsWriteTokens?: boolean
  readonly needsReadTokens?: boolean
  /** How copies are kept whole. */
  readonly repair?: RepairOptions
  /** Which volumes are erasure-coded by themselves; none unless given. */
  readonly erasure?: ErasureOptions
  /** While another process uses `dir`, wait for it to end instead of failing. */
  readonly isStandby?: boolean
  /** An access key that the root user of S3 has beside its others; both or neither. */
  readonly rootAccessKey?: string | undefined
  readonly rootSecretKey?: string | undefined
  /** Undefined: no S3. */
  readonly s3?: S3Options | undefined
  /** Objects and documents over HTTP, users' files over gRPC; those that are left out are not. */
  readonly doors?: DoorsOptions | undefined
  readonly tls?: TlsKeys | undefined
  readonly logger?: Logger
}

/** What is left out has the default that docs/CLI.md names. */
export interface RepairOptions {
  /** A server may be away so long before its copies are made elsewhere. */
  readonly delayMs?: number
  /** All volumes are looked at so often. */
  readonly checkMs?: number
  /** Volumes with more garbage are vacuumed: 0 to 1. */
  readonly garbageThreshold?: number
  /** Every copy is read and checked so often. */
  readonly scrubEveryMs?: number
  /** Objects are looked after so often, if there is anything to do; 0: only when asked for. */
  readonly healEveryMs?: number
  /** Chores rest so many times as long as they work; repair of lost copies never does. */
  readonly politeness?: number
  /** Jobs done at once in this process; 0 leaves them to workers elsewhere. */
  readonly workers?: number
  /** A worker may be silent so long; then its job goes to another. */
  readonly leaseMs?: number
}

/** What is left out has the default that docs/CLI.md names. */
export interface ErasureOptions {
  /** Data and parity shards like `10+4`, or `off`; collections may say otherwise. */
  readonly scheme?: string
  /** A volume is full when it is filled so far. */
  readonly fullPercent?: number
  /** Only volumes that nobody has written to for so long. */
  readonly quietMs?: number
}

/** A cluster that runs in this process. */
export interface RunningServer extends DoorsAddresses, AsyncDisposable {
  /** Calls the parts directly, without the network. Closed together with the server. */
  readonly client: HayloftClient
  /** Repair and other chores, and the health of the cluster. */
  readonly jobs: JobsApi
  /** Users of S3 and their keys. */
  readonly users: UsersApi
  /** Buckets and objects, below S3. */
  readonly namespace: NamespaceApi
  /** Like `http://127.0.0.1:9333`. */
  readonly masterUrl: string
  readonly masterGrpcAddress: string
  readonly volumeUrls: readonly string[]
  /** Where S3 is served; undefined: nowhere. */
  readonly s3Url: string | undefined
  /** The access key that the first start made for the root user of S3. */
  readonly rootKeyFile: string
  /** The cluster secret, for volume servers of other processes. */
  readonly secretFile: string
  /** Finishes what is under way, then closes everything; what was acknowledged is on disk. */
  close(): Promise<void>
}

const VOLUME_PORT = 8080
const VOLUME_SERVERS_MAX = 64
const READY_POLL_MS = 5
/** Opening is done by then; what is left is one heartbeat over a function call. */
const READY_MS_MAX = 30_000

/**
 * Runs a whole cluster in this process, on one data directory: a master (`dir/master`) and volume
 * servers (`dir/volume-1` and on). They call each other directly; HTTP and gRPC are open too. When
 * this returns, files can be stored. If a part fails, what was opened is closed again.
 *
 * @throws {StoreError} CONFIG_INVALID; LISTEN_FAILED: a port is taken. DIRECTORY_LOCKED: another
 * server uses the directory. DIRECTORY_UNUSABLE, DISK_FULL, DISK_FAILED; CANCELLED: `signal`.
 */
export async function startServer(
  options: StartServerOptions,
  signal: AbortSignal = new AbortController().signal,
): Promise<RunningServer> {
  const { logger = silentLogger, tls } = options
  const parts: Parts = { disk: new NodeDisk(), clock: systemClock, random: cryptoRandom, logger }
  const masterConfig = readMasterConfig(rawMasterConfig(options))
  // All settings are judged before anything is made on disk.
  readVolumeConfigs(options, Buffer.alloc(0))
  if (options.s3?.codedPolicy !== undefined) parseCodedPolicy(options.s3.codedPolicy)
  await using opening = new DisposeStack()
  // The master is opened first, and calls volume servers only once there are some.
  const local = new Map<string, LocalVolumeServer>()
  const late: { connect: ConnectVolume } = { connect: notConnected }
  const connectMaster: ConnectVolume = (location) =>
    local.get(location.url)?.door.api ?? late.connect(location)
  const masterParts = { ...parts, connect: connectMaster, checkPolicy: checkUserPolicy }
  const master = opening.use(await MasterServer.open(masterParts, masterConfig, signal))
  const { secret, api } = master
  const connections = opening.use(await VolumeConnections.open(parts, { secret, tls }))
  const { connect } = connections
  late.connect = connect
  opening.defer(() => closeAll([...local.values()]))
  for (const config of readVolumeConfigs(options, secret)) {
    const server = await VolumeServer.open({ ...parts, master: api, connect }, config, signal)
    local.set(server.location.url, { server, door: new DrainingVolume(server.api) })
    connections.addLocal(server.location.url, server.api)
  }
  const volumes = [...local.values()].map(({ server }) => server)
  await waitUntilReady(master, volumes, parts.clock, signal)
  const tokens = clientTokens(options, secret, parts.clock)
  const { workers } = masterConfig.repair
  if (workers > 0) {
    opening.use(await startEmbeddedWorker({ ...parts, master, connect }, workers))
  }
  const client = opening.use(HayloftClient.over({ ...parts, master: api, connect, tokens }))
  const s3 =
    options.s3 && opening.use(await openS3({ ...parts, connect, tokens }, master, options.s3))
  const doors = opening.use(await openAllDoors({ ...parts, connect, tokens }, master, options))
  const rootKeyFile = join(masterConfig.dir, ROOT_KEY_FILE)
  const { filesAddress, restUrl } = doors
  const served = { client, s3Url: s3?.url, restUrl, filesAddress, rootKeyFile }
  return new InProcessServer(master, volumes, served, opening.move())
}

interface Parts {
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

interface Served extends DoorsAddresses {
  readonly client: HayloftClient
  readonly s3Url: string | undefined
  readonly rootKeyFile: string
}

function openS3(
  parts: Pick<S3ServerParts, 'clock' | 'random' | 'logger' | 'connect' | 'tokens'>,
  { api, metrics, users }: MasterServer,
  options: S3Options,
): Promise<S3Server> {
  const keys = localKeys(users)
  const served = { ...parts, master: api, namespace: api.namespace, users, keys, metrics }
  return S3Server.open(served, options)
}

async function openAllDoors(
  parts: Pick<DoorsParts, 'disk' | 'clock' | 'random' | 'logger' | 'connect' | 'tokens'>,
  { api, metrics, secret, users }: MasterServer,
  { doors = {}, tls }: StartServerOptions,
): Promise<Doors> {
  if (doors.rest === undefined && doors.files === undefined) return NO_DOORS
  const { jobs, namespace } = api
  const keys = localKeys(users)
  const cluster = { master: api, jobs, namespace, users, keys, metrics, secret, tls }
  return await openDoors({ ...parts, ...cluster }, doors)
}

const NO_DOORS: Doors = {
  restUrl: undefined,
  filesAddress: undefined,
  [Symbol.asyncDispose]: async () => undefined,
}

class InProcessServer implements RunningServer {
  readonly client: HayloftClient
  readonly jobs: JobsApi
  readonly users: UsersApi
  readonly namespace: NamespaceApi
  readonly masterUrl: string
  readonly masterGrpcAddress: string
  readonly volumeUrls: readonly string[]
  readonly s3Url: string | undefined
  readonly restUrl: string | undefined
  readonly filesAddress: string | undefined
  readonly rootKeyFile: string
  readonly secretFile: string
  readonly #owned: DisposeStack
  #closing: Promise<void> | undefined

  constructor(
    master: MasterServer,
    volumes: readonly VolumeServer[],
    { client, filesAddress, restUrl, rootKeyFile, s3Url }: Served,
    owned: DisposeStack,
  ) {
    this.client = client
    this.s3Url = s3Url
    this.restUrl = restUrl
    this.filesAddress = filesAddress
    this.rootKeyFile = rootKeyFile
    this.jobs = master.api.jobs
    this.users = master.users
    this.namespace = master.api.namespace
    this.masterUrl = `http://${master.location.url}`
    this.masterGrpcAddress = master.location.grpcAddress
    this.volumeUrls = volumes.map(({ location }) => `http://${location.url}`)
    this.secretFile = master.secretFile
    this.#owned = owned
  }

  /**
   * The client first; then the worker; then volume servers, which say goodbye to the master; and
   * it last.
   */
  close(): Promise<void> {
    this.#closing ??= this.#owned[Symbol.asyncDispose]()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

interface LocalVolumeServer {
  readonly server: VolumeServer
  /** The master's way to it. */
  readonly door: DrainingVolume
}

const notConnected: ConnectVolume = ({ url }) => {
  throw new StoreError('UNAVAILABLE', `${url} cannot be reached before the start is over`)
}

async function closeAll(volumes: readonly LocalVolumeServer[]): Promise<void> {
  const close = async ({ server, door }: LocalVolumeServer): Promise<void> => {
    await door.close()
    await server.close()
  }
  const results = await Promise.allSettled(volumes.map(close))
  const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
  if (errors.length > 0) throw new AggregateError(errors, 'not every volume server closed in order')
}

/** @throws {StoreError} TIMEOUT: the master does not hear of all volume servers. */
async function waitUntilReady(
  { api }: MasterServer,
  volumes: readonly VolumeServer[],
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const untilMs = clock.monotonicMs() + READY_MS_MAX
  for (;;) {
    const { isWarming } = await api.status()
    if (!isWarming && volumes.every((volume) => volume.isReady)) return
    if (clock.monotonicMs() > untilMs) {
      throw new StoreError('TIMEOUT', `master and volume servers not ready in ${READY_MS_MAX} ms`)
    }
    await clock.sleep(READY_POLL_MS, signal)
  }
}

function clientTokens(
  { needsWriteTokens = false, needsReadTokens = false }: StartServerOptions,
  secret: Buffer,
  clock: Clock,
): ClientTokens | undefined {
  if (!needsWriteTokens && !needsReadTokens) return undefined
  return tokensOf(secret, clock)
}

function rawMasterConfig(options: StartServerOptions): RawMasterConfig {
  const { ip, publicHost, port, grpcPort, replication, strategy, volumeSize, tls } = options
  return {
    dir: join(options.dir, 'master'),
    host: ip,
    publicHost,
    port,
    grpcPort,
    defaultReplication: replication,
    strategy,
    volumeSizeMaxBytes: volumeSize,
    needsWriteTokens: options.needsWriteTokens,
    needsReadTokens: options.needsReadTokens,
    repair: options.repair,
    erasure: options.erasure,
    standby: options.isStandby,
    rootAccessKey: options.rootAccessKey,
    rootSecretKey: options.rootSecretKey,
    // With ports chosen anew, volume servers known from before never come back as such.
    ...(options.volumePort === 0 && { warmUpMaxMs: 0 }),
    tls,
  }
}

/** @throws {StoreError} CONFIG_INVALID */
function readVolumeConfigs(
  options: StartServerOptions,
  secret: Buffer,
): readonly VolumeServerConfig[] {
  const { volumeServers = 1, volumePort = VOLUME_PORT, ip = '127.0.0.1' } = options
  const { min, max } = { min: 1, max: VOLUME_SERVERS_MAX }
  if (!Number.isInteger(volumeServers) || volumeServers < min || volumeServers > max) {
    const why = `volumeServers is ${volumeServers}; it must be from ${min} to ${max}`
    throw new StoreError('CONFIG_INVALID', why)
  }
  return Array.from({ length: volumeServers }, (_, index) =>
    readVolumeServerConfig({
      directories: [join(options.dir, `volume-${index + 1}`)],
      host: options.publicHost ?? ip,
      bindHost: ip,
      port: volumePort === 0 ? 0 : volumePort + index,
      dataCenter: labelOf(options.dataCenters, index),
      rack: labelOf(options.racks, index),
      durability: options.durability,
      volumeSizeMax: options.volumeSize,
      threads: options.threads,
      writeTokens: options.needsWriteTokens,
      readTokens: options.needsReadTokens,
      secret,
      tls: options.tls,
    }),
  )
}

/** In turn; undefined: the default. */
function labelOf(labels: readonly string[] | undefined, index: number): string | undefined {
  return labels === undefined || labels.length === 0 ? undefined : labels[index % labels.length]
}
