import type { MasterConfig } from '../master/config.ts'
import {
  type MasterLocation,
  MasterServer,
  type MasterServerParts,
} from '../master/master-server.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { checkUserPolicy } from './check-user-policy.ts'
import { startEmbeddedWorker } from './embedded-worker.ts'

export interface RunningMaster extends AsyncDisposable {
  readonly location: MasterLocation
  readonly secretFile: string
}

/**
 * A master with a worker beside it, which does its jobs on volume servers elsewhere. Errors as
 * `MasterServer.open`.
 */
export async function startMaster(
  parts: MasterServerParts,
  config: MasterConfig,
  signal: AbortSignal,
): Promise<RunningMaster> {
  await using opening = new DisposeStack()
  const checked = { checkPolicy: checkUserPolicy, ...parts }
  const master = opening.use(await MasterServer.open(checked, config, signal))
  const { location, secret, secretFile } = master
  const { workers } = config.repair
  if (workers > 0) {
    const connections = await VolumeConnections.open(parts, { secret, tls: config.tls })
    const { connect } = opening.use(connections)
    opening.use(await startEmbeddedWorker({ ...parts, master, connect }, workers))
  }
  const owned = opening.move()
  return { location, secretFile, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}
