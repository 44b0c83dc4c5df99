import { tokensOf } from '../client/file-tokens.ts'
import { RemoteNamespace } from '../gateway/remote-namespace.ts'
import { CachedKeyRing } from '../gateway/s3/auth/cached-key-ring.ts'
import { RemoteMaster } from '../net/remote-master.ts'
import { RemoteUsers } from '../net/remote-users.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { ClusterConfig } from './cluster-config.ts'
import { type S3Options, S3Server } from './open-s3.ts'

export interface RunningGateway extends AsyncDisposable {
  readonly s3Url: string
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
  parts: { readonly clock: Clock; readonly random: Random; readonly logger: Logger },
  { masters, secret, tls }: ClusterConfig,
  options: S3Options,
): Promise<RunningGateway> {
  await using opening = new DisposeStack()
  const config = { addresses: masters, secret, tls, timeoutMs: MASTER_TIMEOUT_MS }
  const master = opening.use(await RemoteMaster.open(parts, config))
  const namespace = opening.use(await RemoteNamespace.open(parts, config))
  const users = opening.use(await RemoteUsers.open(parts, config))
  const { connect } = opening.use(await VolumeConnections.open(parts, { secret, tls }))
  const keys = new CachedKeyRing({ users, clock: parts.clock })
  opening.defer(async () => keys[Symbol.dispose]())
  const tokens = tokensOf(secret, parts.clock)
  const served = { ...parts, namespace, users, keys, master, connect, tokens }
  const s3 = opening.use(await S3Server.open(served, options))
  const owned = opening.move()
  return { s3Url: s3.url, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}
