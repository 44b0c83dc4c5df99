import { readClusterSecret } from '../net/cluster-secret.ts'
import { RemoteUsers } from '../net/remote-users.ts'
import { type ClusterFlags, masterAddresses } from './cluster-options.ts'
import type { CliContext } from './context.ts'
import { readTlsKeys } from './tls-options.ts'

/** For one try of one call of a master. */
const MASTER_TIMEOUT_MS = 10_000

/** The users of a running cluster. @throws {StoreError} CONFIG_INVALID: an option. */
export async function openUserAccess(
  context: CliContext,
  flags: ClusterFlags,
): Promise<RemoteUsers> {
  const { disk, clock, random, logger } = context
  const { secretFile } = flags
  const addresses = masterAddresses(flags).map(({ grpc }) => grpc)
  const secret = secretFile === undefined ? undefined : await readClusterSecret(disk, secretFile)
  const tls = await readTlsKeys(disk, flags)
  return await RemoteUsers.open(
    { clock, random, logger },
    { addresses, secret, tls, timeoutMs: MASTER_TIMEOUT_MS },
  )
}
