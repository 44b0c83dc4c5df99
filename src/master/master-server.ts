import { join } from 'node:path'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { LevelCoordinator } from '../metadata/level/level-coordinator.ts'
import { LevelStore } from '../metadata/level/level-store.ts'
import { CLUSTER_SECRET_FILE, ensureClusterSecret } from '../net/cluster-secret.ts'
import { deriveTokenKeys, FileTokens } from '../net/file-token.ts'
import { GrpcServer } from '../net/grpc-server.ts'
import { type HttpHandler, HttpServer } from '../net/http-server.ts'
import { jobsService } from '../net/serve-jobs.ts'
import { masterService } from '../net/serve-master.ts'
import { usersService } from '../net/serve-users.ts'
import type { UsersApi } from '../net/users-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import type { MasterConfig } from './config.ts'
import { masterHttpHandler } from './http-handler.ts'
import { Master } from './master.ts'
import { registerMasterMetrics } from './master-metrics.ts'
import { openUsers } from './open-users.ts'
import { namespaceService } from './serve-namespace.ts'

export interface MasterServerParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Undefined: over the net, with the cluster secret. */
  readonly connect?: ConnectVolume | undefined
  /** Of this program, for whoever asks. */
  readonly version?: string | undefined
  /** Throws a `StoreError` for what is no policy of a user. Undefined: any JSON object is one. */
  readonly checkPolicy?: ((policy: string) => void) | undefined
}

export interface MasterLocation {
  /** Host and port of HTTP, as others reach it. */
  readonly url: string
  /** Host and port of gRPC. */
  readonly grpcAddress: string
}

const METADATA_DIRECTORY = 'metadata'
const TOKEN_SECONDS = 60
const CLOSE_MS = 10_000

/** Well below what writers wait for a master. */
const STANDBY_POLL_MS = 250

interface Opened {
  readonly master: Master
  readonly users: UsersApi
  readonly metrics: Metrics
  readonly secret: Buffer
  readonly http: HttpServer
  readonly grpc: GrpcServer
}

/**
 * A master with everything around it: its metadata in a directory that only one process can use,
 * the cluster secret beside it, HTTP and gRPC.
 */
export class MasterServer implements AsyncDisposable {
  readonly api: Master
  /** Of S3, and their keys. */
  readonly users: UsersApi
  readonly location: MasterLocation
  readonly metrics: Metrics
  /** Shared by all servers of the cluster. */
  readonly secret: Buffer
  /** Where it is kept, unless the configuration brought one. */
  readonly secretFile: string
  readonly #http: HttpServer
  readonly #grpc: GrpcServer
  readonly #owned: DisposeStack
  #closing: Promise<void> | undefined

  private constructor(config: MasterConfig, opened: Opened, owned: DisposeStack) {
    this.api = opened.master
    this.users = opened.users
    this.metrics = opened.metrics
    this.secret = opened.secret
    this.secretFile = join(config.dir, CLUSTER_SECRET_FILE)
    this.#http = opened.http
    this.#grpc = opened.grpc
    this.#owned = owned
    this.location = {
      url: hostAndPort(config.publicHost, opened.http.address.port),
      grpcAddress: hostAndPort(config.publicHost, opened.grpc.address.port),
    }
  }

  /**
   * Takes the lead of the cluster whose metadata is in `config.dir`, which is made if it is
   * missing, and listens. If a part fails, what was opened is closed again. A standby waits until
   * no other master uses the directory.
   *
   * @throws {StoreError} DIRECTORY_LOCKED: another master uses the directory. LISTEN_FAILED: a port
   * is taken. CONFIG_INVALID: the secret or the TLS keys cannot be used. METADATA_CORRUPT,
   * DIRECTORY_UNUSABLE, DISK_FULL, DISK_FAILED. CANCELLED.
   */
  static async open(
    parts: MasterServerParts,
    config: MasterConfig,
    signal: AbortSignal,
  ): Promise<MasterServer> {
    const { disk, clock, random, logger, version = '' } = parts
    await using opening = new DisposeStack()
    await disk.createDirectory(config.dir)
    const directory = join(config.dir, METADATA_DIRECTORY)
    // First: its lock keeps a second master from everything below.
    const store = opening.use(await openStore(parts, config, directory, signal))
    const secret = config.secret ?? (await ensureClusterSecret(disk, random, config.dir))
    // Listening comes before leading: the address is part of it, and a taken port costs no epoch.
    const late: { handle: HttpHandler | undefined } = { handle: undefined }
    const http = opening.use(await openHttp(parts, config, late))
    const coordinator = opening.use(
      await LevelCoordinator.open(
        { store, random, logger },
        { address: hostAndPort(config.publicHost, http.address.port) },
        signal,
      ),
    )
    const users = await openUsers({ ...parts, store, coordinator }, config, signal)
    const connect =
      parts.connect ??
      opening.use(await VolumeConnections.open(parts, { secret, tls: config.tls })).connect
    const tokens = new FileTokens({ clock }, deriveTokenKeys(secret))
    const usesTokens = config.needsWriteTokens || config.needsReadTokens
    const masterTokens = config.needsWriteTokens ? tokens : undefined
    const master = opening.use(
      await Master.open(
        { ...parts, store, coordinator, connect, tokens: masterTokens, version },
        config,
        signal,
      ),
    )
    const metrics = new Metrics()
    registerMasterMetrics(metrics, master)
    const grpc = opening.use(
      await GrpcServer.open(
        { logger, clock, secret, tls: config.tls },
        {
          host: config.host,
          port: config.grpcPort,
          services: [
            masterService(master),
            jobsService(master.jobs),
            usersService(users),
            namespaceService(master.namespace),
          ],
        },
      ),
    )
    late.handle = masterHttpHandler(
      {
        api: master,
        jobs: master.jobs,
        connect,
        tokens: usesTokens ? tokens : undefined,
        metrics,
        logger,
        clock,
        random,
      },
      httpConfig(config, grpc.address.port),
    )
    const opened = { master, users, metrics, secret, http, grpc }
    const server = new MasterServer(config, opened, opening.move())
    logger.info('master.open', { ...server.location, epoch: coordinator.epoch })
    return server
  }

  /**
   * Takes nothing new, lets calls under way finish until `deadlineMs` have passed, then closes
   * everything. Twice is harmless.
   */
  close(deadlineMs: number = CLOSE_MS): Promise<void> {
    this.#closing ??= this.#close(deadlineMs)
    return this.#closing
  }

  /** Fails what is under way now, then closes everything. */
  async destroy(): Promise<void> {
    this.#grpc.destroy()
    await this.#http.destroy()
    await this.close(0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(deadlineMs: number): Promise<void> {
    try {
      await Promise.all([this.#http.close(deadlineMs), this.#grpc.close(deadlineMs)])
    } finally {
      await this.#owned[Symbol.asyncDispose]()
    }
  }
}

/** A standby tries again and again; nothing of the other master is touched before it is gone. */
async function openStore(
  parts: MasterServerParts,
  { isStandby }: MasterConfig,
  directory: string,
  signal: AbortSignal,
): Promise<LevelStore> {
  const { clock, logger } = parts
  let hasWaited = false
  for (;;) {
    try {
      return await LevelStore.open(parts, { directory }, signal)
    } catch (error) {
      if (!isStandby || !isStoreError(error, 'DIRECTORY_LOCKED')) throw error
    }
    if (!hasWaited) logger.info('master.standby', { directory })
    hasWaited = true
    await clock.sleep(STANDBY_POLL_MS, signal)
  }
}

/** Requests that come before everything is open are told to come again. */
function openHttp(
  { logger, clock }: MasterServerParts,
  { host, port }: MasterConfig,
  late: { readonly handle: HttpHandler | undefined },
): Promise<HttpServer> {
  const handler: HttpHandler = (req, res) => {
    if (late.handle !== undefined) return late.handle(req, res)
    throw new StoreError('WARMING_UP', 'this master is being opened')
  }
  return HttpServer.open({ handler, logger, clock }, { host, port })
}

function httpConfig(config: MasterConfig, grpcPort: number) {
  return {
    grpcPort,
    submitBytesMax: LIMITS.submitBytesMax.value,
    nameBytesMax: LIMITS.needleDataMax.value,
    usesWriteTokens: config.needsWriteTokens,
    usesReadTokens: config.needsReadTokens,
    tokenSeconds: TOKEN_SECONDS,
    garbageThreshold: config.repair.garbageThreshold,
  }
}

function hostAndPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
