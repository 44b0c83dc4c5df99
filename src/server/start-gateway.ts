import { tokensOf } from '../client/file-tokens.ts'
import { RemoteNamespace } from '../gateway/remote-namespace.ts'
import { CachedKeyRing } from '../gateway/s3/auth/cached-key-ring.ts'
import { RemoteJobs } from '../net/remote-jobs.ts'
import { RemoteMaster } from '../net/remote-master.ts'
import { RemoteUsers } from '../net/remote-users.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { Metrics } from '../runtime/metrics.ts'
import type { ClusterConfig } from './cluster-config.ts'
import { type DoorsAddresses, type DoorsOptions, type DoorsParts, openDoors } from './open-doors.ts'
import { type S3Options, S3Server } from './open-s3.ts'

export interface RunningGateway extends DoorsAddresses, AsyncDisposable {
  /** Undefined: it serves no S3. */
  readonly s3Url: string | undefined
}

/** Which gateways this process is; those left out it is not. */
export interface GatewayOptions extends DoorsOptions {
  readonly s3?: S3Options | undefined
}

/** For one try of one call of a master. */
const MASTER_TIMEOUT_MS = 10_000

/**
 * A gateway that reaches masters and volume servers over the net. It stores nothing, so there can
 * be any number of them.
 *
 * @throws {StoreError} CONFIG_INVALID; LISTEN_FAILED: a port is taken.
 */
export async function startGateway(
  parts: Pick<DoorsParts, 'disk' | 'clock' | 'random' | 'logger'>,
  { masters, secret, tls }: ClusterConfig,
  options: GatewayOptions,
): Promise<RunningGateway> {
  await using opening = new DisposeStack()
  const config = { addresses: masters, secret, tls, timeoutMs: MASTER_TIMEOUT_MS }
  const master = opening.use(await RemoteMaster.open(parts, config))
  const namespace = opening.use(await RemoteNamespace.open(parts, config))
  const users = opening.use(await RemoteUsers.open(parts, config))
  const jobs = opening.use(await RemoteJobs.open(parts, config))
  const { connect } = opening.use(await VolumeConnections.open(parts, { secret, tls }))
  const keys = new CachedKeyRing({ users, clock: parts.clock })
  opening.defer(async () => keys[Symbol.dispose]())
  const tokens = tokensOf(secret, parts.clock)
  const metrics = new Metrics()
  metrics.collectProcess()
  const served = { ...parts, namespace, users, keys, master, connect, tokens, metrics }
  const s3 = options.s3 && opening.use(await S3Server.open(served, options.s3))
  const { filesAddress, restUrl } = opening.use(
    await openDoors({ ...served, jobs, secret, tls }, options),
  )
  const owned = opening.move()
  const addresses = { s3Url: s3?.url, restUrl, filesAddress }
  return { ...addresses, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}
