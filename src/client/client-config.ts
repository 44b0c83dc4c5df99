import { LIMITS } from '../base/limits.ts'
import { parseReplicaPlacement } from '../base/replica-placement.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { parseTtl } from '../base/ttl.ts'
import { KIB } from '../base/units.ts'
import type { TlsKeys } from '../net/tls.ts'
import type { Logger } from '../runtime/logger.ts'
import type { PutOptions } from './client-api.ts'
import type { Layout } from './lease-pool.ts'
import type { PolicyOptions } from './storage-policy.ts'

/** How files are stored unless a put says otherwise. */
export interface ClientDefaults extends PolicyOptions {
  /** Empty unless given. */
  readonly collection?: string | undefined
  /** Three digits like `001`. Unless given, the collection's own, else the cluster's. */
  readonly replication?: string | undefined
  /** Like `3m`, `4h`, `5d`; for ever unless given. */
  readonly ttl?: string | undefined
}

export interface ConnectOptions extends ClientDefaults {
  /** Like `127.0.0.1:9333`, where the gRPC port is 10000 higher; or several masters. */
  readonly masters: string | readonly string[]
  /**
   * Of a cluster that guards its files with tokens: the content of its `cluster.secret`, or the 32
   * bytes it stands for.
   */
  readonly secret?: Buffer | string | undefined
  /** Of a cluster whose servers show certificates. */
  readonly tls?: TlsKeys | undefined
  /** Nothing is logged unless given. */
  readonly logger?: Logger | undefined
}

const CHUNK_BYTES_MIN = KIB
const GRPC_PORT_OFFSET = 10_000
const PORT_MAX = 65_535

/** @throws {StoreError} REPLICA_PLACEMENT_INVALID, TTL_INVALID, CONFIG_INVALID. */
export function readLayout(options: ClientDefaults): Layout {
  const { collection = '', replication = '', ttl = '' } = options
  if (collection.length > LIMITS.collectionNameMax.value) {
    throw new StoreError('CONFIG_INVALID', `${quote(collection)} is too long for a collection`)
  }
  return {
    collection,
    replication: replication === '' ? undefined : parseReplicaPlacement(replication),
    ttl: parseTtl(ttl),
  }
}

/** @throws {StoreError} CONFIG_INVALID */
export function readWritePolicy(policy: PutOptions['writePolicy']): 'all' | 'best-effort' {
  if (policy === undefined || policy === 'all' || policy === 'best-effort') return policy ?? 'all'
  const why = `${quote(String(policy))} is no write policy: all or best-effort`
  throw new StoreError('CONFIG_INVALID', why)
}

/** @throws {StoreError} CONFIG_INVALID */
export function readChunkBytes(chunkBytes: number): number {
  const max = LIMITS.chunkBytesMax.value
  if (Number.isInteger(chunkBytes) && chunkBytes >= CHUNK_BYTES_MIN && chunkBytes <= max) {
    return chunkBytes
  }
  const why = `chunkBytes ${chunkBytes} is not from ${CHUNK_BYTES_MIN} to ${max}`
  throw new StoreError('CONFIG_INVALID', why)
}

/** @throws {StoreError} CONFIG_INVALID */
export function readConcurrency(concurrency: number | undefined): number {
  const value = concurrency ?? LIMITS.batchInFlightDefault.value
  const max = LIMITS.batchInFlightMax.value
  if (Number.isInteger(value) && value >= 1 && value <= max) return value
  throw new StoreError('CONFIG_INVALID', `concurrency ${value} is not from 1 to ${max}`)
}

/**
 * gRPC addresses of masters given by their HTTP addresses. `host:9333.19000` names the gRPC port.
 *
 * @throws {StoreError} CONFIG_INVALID: none, or one is no host and port.
 */
export function readMasters(masters: string | readonly string[]): readonly string[] {
  const list = typeof masters === 'string' ? masters.split(',') : masters
  const addresses = list.map((text) => text.trim()).filter((text) => text !== '')
  if (addresses.length === 0) throw new StoreError('CONFIG_INVALID', 'masters is empty')
  return addresses.map(grpcAddress)
}

function grpcAddress(text: string): string {
  const match = /^([^\s/]+):(\d{1,5})(?:\.(\d{1,5}))?$/.exec(text)
  const [, host = '', port = '', grpcPort = ''] = match ?? []
  const chosen = grpcPort === '' ? Number(port) + GRPC_PORT_OFFSET : Number(grpcPort)
  if (match === null || chosen < 1 || chosen > PORT_MAX) {
    throw new StoreError(
      'CONFIG_INVALID',
      `${quote(text)} is no master: write host:port, its gRPC port is ${GRPC_PORT_OFFSET} higher`,
    )
  }
  return `${host}:${chosen}`
}
