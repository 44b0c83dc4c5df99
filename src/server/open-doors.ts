import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { ClientTokens } from '../client/file-tokens.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import { documentRoutes } from '../gateway/documents/document-routes.ts'
import {
  type DocumentsOptions,
  readDocumentsConfig,
} from '../gateway/documents/documents-config.ts'
import { DoorBuckets } from '../gateway/door-buckets.ts'
import type { DoorParts } from '../gateway/door-parts.ts'
import { type FileServiceConfig, fileService } from '../gateway/files/file-service.ts'
import { GatewaySession } from '../gateway/gateway-session.ts'
import { recoverNode } from '../gateway/node-recovery.ts'
import { objectRoutes } from '../gateway/objects/object-routes.ts'
import type { ObjectsConfig } from '../gateway/objects/objects-config.ts'
import { prometheusPage } from '../gateway/rest/prometheus-page.ts'
import { RestGateway } from '../gateway/rest/rest-gateway.ts'
import type { KeyRing } from '../gateway/s3/auth/identity.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import { GrpcServer } from '../net/grpc-server.ts'
import type { JobsApi } from '../net/jobs-api.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { TlsKeys } from '../net/tls.ts'
import type { UsersApi } from '../net/users-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'

/** Objects and documents over HTTP. */
export interface RestOptions {
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
  readonly objects: Omit<ObjectsConfig, 'bucket' | 'recoverNode'>
  readonly documents: DocumentsOptions
}

/** Files of users over gRPC. */
export interface FilesOptions extends FileServiceConfig {
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
}

/** The gateways beside S3; undefined: not this one. */
export interface DoorsOptions {
  readonly rest?: RestOptions | undefined
  readonly files?: FilesOptions | undefined
}

export interface DoorsParts {
  readonly namespace: NamespaceApi
  readonly users: UsersApi
  readonly keys: KeyRing
  readonly master: MasterApi
  readonly jobs: JobsApi
  readonly connect: ConnectVolume
  readonly tokens: ClientTokens | undefined
  readonly secret: Buffer
  readonly tls: TlsKeys | undefined
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly metrics: Metrics
}

/** Where the gateways can be reached; undefined: there is none. */
export interface DoorsAddresses {
  /** Like `http://127.0.0.1:8000`. */
  readonly restUrl: string | undefined
  /** Like `127.0.0.1:18333`. */
  readonly filesAddress: string | undefined
}

export interface Doors extends DoorsAddresses, AsyncDisposable {}

const CLOSE_MS = 10_000

/**
 * Opens the gateways beside S3 on the parts of a cluster, in this process or elsewhere; those stay
 * the caller's.
 *
 * @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID, REPLICA_PLACEMENT_INVALID; LISTEN_FAILED: a
 * port is taken.
 */
export async function openDoors(parts: DoorsParts, options: DoorsOptions): Promise<Doors> {
  const { clock, logger, namespace, random, users } = parts
  const { files, rest } = options
  await using opening = new DisposeStack()
  const closing = new AbortController()
  const client = opening.use(HayloftClient.over(parts))
  const session = opening.use(new GatewaySession({ namespace, clock, random, logger }))
  opening.defer(async () => {
    closing.abort(new StoreError('CLOSED', 'the gateway was closed'))
  })
  const buckets = new DoorBuckets({ namespace, users })
  const door = { ...parts, client, session, buckets, closing: closing.signal }
  const restGateway = rest && (await openRest(door, rest))
  if (restGateway !== undefined) {
    opening.defer(() => restGateway.close(CLOSE_MS))
    logger.info('rest.open', { url: restGateway.url })
  }
  const filesServer = files && (await openFiles(door, files))
  if (filesServer !== undefined) opening.use(filesServer)
  const addresses = {
    restUrl: restGateway?.url,
    filesAddress: filesServer && hostAndPort(filesServer.address),
  }
  const owned = opening.move()
  return { ...addresses, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}

type OpenParts = DoorParts & DoorsParts

async function openRest(parts: OpenParts, options: RestOptions): Promise<RestGateway> {
  const { host, port } = options
  const objects = objectRoutes(parts, {
    ...options.objects,
    bucket: 'objects',
    recoverNode: (node, signal) => recoverNode(parts, node, signal),
  })
  const documents = documentRoutes(parts, readDocumentsConfig(options.documents))
  const plugins = [objects, documents, prometheusPage(parts.metrics)]
  return await RestGateway.open(parts, { host, port, plugins })
}

async function openFiles(parts: OpenParts, options: FilesOptions): Promise<GrpcServer> {
  const { clock, logger, secret, tls } = parts
  const { host, port } = options
  const services = [fileService(parts, options)]
  const callsMax = LIMITS.fileCallsMax.value
  const messageMax = LIMITS.fileMessageMax.value
  const config = { host, port, services, callsMax, messageMax }
  return await GrpcServer.open({ logger, clock, secret, tls }, config)
}

function hostAndPort({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
