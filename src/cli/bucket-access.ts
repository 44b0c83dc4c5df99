import { RemoteNamespace } from '../gateway/remote-namespace.ts'
import type { ClusterFlags } from './cluster-options.ts'
import type { CliContext } from './context.ts'
import { readMasterAccess } from './master-access.ts'

/** The buckets of a running cluster. @throws {StoreError} CONFIG_INVALID: an option. */
export async function openBucketAccess(
  context: CliContext,
  flags: ClusterFlags,
): Promise<RemoteNamespace> {
  return await RemoteNamespace.open(context, (await readMasterAccess(context, flags)).channels)
}
