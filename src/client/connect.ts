import { StoreError } from '../base/store-error.ts'
import type { MasterApi } from '../net/master-api.ts'
import { RemoteMaster } from '../net/remote-master.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import type { Clock } from '../runtime/clock.ts'
import type { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { type ConnectOptions, readMasters } from './client-config.ts'
import { type ClientTokens, tokensOf } from './file-tokens.ts'

export interface Connected {
  readonly master: MasterApi
  readonly connect: ConnectVolume
  readonly tokens: ClientTokens | undefined
}

/** For one try of one call of a master. */
const MASTER_TIMEOUT_MS = 10_000
const SECRET_PATTERN = /^[0-9a-f]{64}$/i

/**
 * The servers of a cluster over the net; `owned` closes the connections.
 *
 * @throws {StoreError} CONFIG_INVALID; UNAVAILABLE, TIMEOUT: no master answers. CANCELLED.
 */
export async function connectTo(
  parts: { readonly clock: Clock; readonly random: Random; readonly logger: Logger },
  options: ConnectOptions,
  owned: DisposeStack,
  signal: AbortSignal,
): Promise<Connected> {
  const addresses = readMasters(options.masters)
  const secret = options.secret === undefined ? undefined : readSecret(options.secret)
  const { tls } = options
  const timeoutMs = MASTER_TIMEOUT_MS
  const config = { addresses, secret, tls, timeoutMs }
  const master = owned.use(await RemoteMaster.open(parts, config))
  const connections = owned.use(await VolumeConnections.open(parts, { secret, tls }))
  await master.status(signal)
  const tokens = secret === undefined ? undefined : tokensOf(secret, parts.clock)
  return { master, connect: connections.connect, tokens }
}

/** The content of the file as text, or the bytes it stands for. */
function readSecret(secret: Buffer | string): Buffer {
  if (typeof secret !== 'string') return secret
  const digits = secret.trim()
  if (SECRET_PATTERN.test(digits)) return Buffer.from(digits, 'hex')
  throw new StoreError('CONFIG_INVALID', 'the cluster secret is not 64 hex digits')
}
