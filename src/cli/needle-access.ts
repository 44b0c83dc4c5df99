import { connectTo } from '../client/connect.ts'
import { NO_TOKENS } from '../client/file-tokens.ts'
import type { NeedleAccess } from '../gateway/named-needles.ts'
import { RemoteNamespace } from '../gateway/remote-namespace.ts'
import { readClusterSecret } from '../net/cluster-secret.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { type ClusterFlags, masterAddresses } from './cluster-options.ts'
import type { CliContext } from './context.ts'
import { readTlsKeys } from './tls-options.ts'

/** For one try of one call of a master. */
const MASTER_TIMEOUT_MS = 10_000

/** The rows of a running cluster, and its needles. */
export interface ClusterNeedles extends NeedleAccess, AsyncDisposable {
  readonly namespace: RemoteNamespace
  readonly clock: Clock
}

/** @throws {StoreError} CONFIG_INVALID: an option. UNAVAILABLE, TIMEOUT: no master answers. */
export async function openNeedleAccess(
  context: CliContext,
  flags: ClusterFlags,
): Promise<ClusterNeedles> {
  const { clock, disk, logger, random, signal } = context
  const addresses = masterAddresses(flags)
  const masters = addresses.map(({ grpc, http }) => {
    return `${http}.${grpc.slice(grpc.lastIndexOf(':') + 1)}`
  })
  const { secretFile } = flags
  const secret = secretFile === undefined ? undefined : await readClusterSecret(disk, secretFile)
  const tls = await readTlsKeys(disk, flags)
  await using opening = new DisposeStack()
  const parts = { clock, random, logger }
  const connected = await connectTo(parts, { masters, secret, tls }, opening, signal)
  const config = { addresses: addresses.map(({ grpc }) => grpc), secret, tls }
  const namespace = opening.use(
    await RemoteNamespace.open(parts, { ...config, timeoutMs: MASTER_TIMEOUT_MS }),
  )
  const owned = opening.move()
  const { connect, master, tokens = NO_TOKENS } = connected
  return {
    namespace,
    clock,
    master,
    connect,
    tokens,
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  }
}
