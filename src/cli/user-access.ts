import { RemoteUsers } from '../net/remote-users.ts'
import type { ClusterFlags } from './cluster-options.ts'
import type { CliContext } from './context.ts'
import { readMasterAccess } from './master-access.ts'

/** The users of a running cluster. @throws {StoreError} CONFIG_INVALID: an option. */
export async function openUserAccess(
  context: CliContext,
  flags: ClusterFlags,
): Promise<RemoteUsers> {
  return await RemoteUsers.open(context, (await readMasterAccess(context, flags)).channels)
}
