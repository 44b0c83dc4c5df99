import { connectTo } from '../client/connect.ts'
import { NO_TOKENS } from '../client/file-tokens.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import type { NeedleAccess } from '../gateway/named-needles.ts'
import { RemoteNamespace } from '../gateway/remote-namespace.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { ClusterFlags } from './cluster-options.ts'
import type { CliContext } from './context.ts'
import { readMasterAccess } from './master-access.ts'

/** The rows of a running cluster, and its needles. */
export interface ClusterNeedles extends NeedleAccess, AsyncDisposable {
  readonly namespace: RemoteNamespace
  readonly client: HayloftClient
  readonly clock: Clock
}

/** @throws {StoreError} CONFIG_INVALID: an option. UNAVAILABLE, TIMEOUT: no master answers. */
export async function openNeedleAccess(
  context: CliContext,
  flags: ClusterFlags,
): Promise<ClusterNeedles> {
  const { clock, logger, random, signal } = context
  const { channels, cluster } = await readMasterAccess(context, flags)
  await using opening = new DisposeStack()
  const parts = { clock, random, logger }
  const connected = await connectTo(parts, cluster, opening, signal)
  const namespace = opening.use(await RemoteNamespace.open(parts, channels))
  const client = opening.use(HayloftClient.over({ ...parts, ...connected }))
  const owned = opening.move()
  const { connect, master, tokens = NO_TOKENS } = connected
  return {
    namespace,
    client,
    clock,
    master,
    connect,
    tokens,
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  }
}
