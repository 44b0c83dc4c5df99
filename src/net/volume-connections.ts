import { LRUCache } from 'lru-cache'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { NodeLocation } from './master-api.ts'
import { RemoteVolume } from './remote-volume.ts'
import type { TlsKeys } from './tls.ts'
import type { ConnectVolume, VolumeApi } from './volume-api.ts'

export interface VolumeConnectionsParts {
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
}

export interface VolumeConnectionsConfig {
  readonly secret?: Buffer | undefined
  readonly tls?: TlsKeys | undefined
  /** For one call; `LIMITS.remoteCallMs` unless given. */
  readonly timeoutMs?: number | undefined
}

interface Remote {
  readonly api: RemoteVolume
  readonly grpcAddress: string
}

/**
 * The volume servers of a cluster: each over one set of connections, or directly if it is in this
 * process. Ask anew for every call: a connection that has not been asked for long is let go.
 */
export class VolumeConnections implements AsyncDisposable {
  /** A function of its own, to be handed on. @throws {StoreError} CLOSED. */
  readonly connect: ConnectVolume
  readonly #parts: VolumeConnectionsParts
  readonly #config: VolumeConnectionsConfig
  readonly #local = new Map<string, VolumeApi>()
  readonly #remote: LRUCache<string, Remote>
  readonly #leaving = new Set<Promise<void>>()
  #closing: Promise<void> | undefined

  private constructor(parts: VolumeConnectionsParts, config: VolumeConnectionsConfig) {
    this.#parts = parts
    this.#config = config
    this.connect = (location) => this.#connect(location)
    this.#remote = new LRUCache<string, Remote>({
      max: LIMITS.volumeConnectionsMax.value,
      dispose: ({ api }, url) => this.#letGo(url, api),
    })
  }

  static async open(
    parts: VolumeConnectionsParts,
    config: VolumeConnectionsConfig,
  ): Promise<VolumeConnections> {
    return new VolumeConnections(parts, config)
  }

  /** From now on this server is reached without the net. Whoever made it closes it. */
  addLocal(url: string, api: VolumeApi): void {
    this.#local.set(url, api)
    this.#remote.delete(url)
  }

  /** The server is no longer in this process. */
  removeLocal(url: string): void {
    this.#local.delete(url)
  }

  /** Lets calls under way finish, within limits. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  #connect(location: NodeLocation): VolumeApi {
    if (this.#closing !== undefined) throw new StoreError('CLOSED', 'the connections are closed')
    const { url, grpcAddress } = location
    const local = this.#local.get(url)
    if (local !== undefined) return local
    const known = this.#remote.get(url)
    if (known?.grpcAddress === grpcAddress) return known.api
    const { secret, tls, timeoutMs = LIMITS.remoteCallMs.value } = this.#config
    const api = new RemoteVolume(this.#parts, { location, secret, tls, timeoutMs })
    this.#remote.set(url, { api, grpcAddress }) // Lets go of one with another address.
    return api
  }

  #letGo(url: string, api: RemoteVolume): void {
    const leaving = api[Symbol.asyncDispose]().catch((error: unknown) => {
      this.#parts.logger.warn('net.connection_not_closed', { url, error })
    })
    this.#leaving.add(leaving)
    void leaving.then(() => this.#leaving.delete(leaving))
  }

  async #close(): Promise<void> {
    this.#remote.clear()
    this.#local.clear()
    await Promise.all(this.#leaving)
  }
}
