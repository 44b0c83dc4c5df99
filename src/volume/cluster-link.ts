import { StoreError } from '../base/store-error.ts'
import type { MasterApi } from '../net/master-api.ts'
import { RemoteMaster } from '../net/remote-master.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { VolumeServerConfig } from './config.ts'

const MASTER_CALL_MS = 5_000

/** The other members of the cluster, as a volume server reaches them. */
export interface ClusterLink extends AsyncDisposable {
  /** All masters as one; undefined: there is none. */
  readonly master: MasterApi | undefined
  /** Each of them, for the heartbeats. */
  readonly masters: readonly { readonly name: string; readonly api: MasterApi }[]
  readonly connect: ConnectVolume
}

interface ClusterLinkParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly random: Random
  readonly master?: MasterApi | undefined
  readonly connect?: ConnectVolume | undefined
}

/** @throws {StoreError} CONFIG_INVALID: masters elsewhere without a secret, or bad TLS keys. */
export async function openClusterLink(
  parts: ClusterLinkParts,
  config: VolumeServerConfig,
): Promise<ClusterLink> {
  await using opening = new DisposeStack()
  const { masters: addresses, secret, tls } = config
  const connect =
    parts.connect ?? opening.use(await VolumeConnections.open(parts, { secret, tls })).connect
  const close = (owned: DisposeStack) => (): Promise<void> => owned[Symbol.asyncDispose]()
  if (parts.master !== undefined) {
    const { master } = parts
    const masters = [{ name: 'local', api: master }]
    return { master, masters, connect, [Symbol.asyncDispose]: close(opening.move()) }
  }
  if (addresses.length > 0 && secret === undefined) {
    throw new StoreError('CONFIG_INVALID', 'masters elsewhere are reached with the cluster secret')
  }
  const open = async (addresses: readonly string[]): Promise<RemoteMaster> => {
    const options = { addresses, secret, tls, timeoutMs: MASTER_CALL_MS }
    return opening.use(await RemoteMaster.open(parts, options))
  }
  const master = addresses.length === 0 ? undefined : await open(addresses)
  const masters = []
  for (const name of addresses) masters.push({ name, api: await open([name]) })
  return { master, masters, connect, [Symbol.asyncDispose]: close(opening.move()) }
}
