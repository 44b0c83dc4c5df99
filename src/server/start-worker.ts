import { tokensOf } from '../client/file-tokens.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import { RemoteNamespace } from '../gateway/remote-namespace.ts'
import { Worker } from '../jobs/worker.ts'
import type { JobKind } from '../net/jobs-api.ts'
import { RemoteJobs } from '../net/remote-jobs.ts'
import { RemoteMaster } from '../net/remote-master.ts'
import { VolumeConnections } from '../net/volume-connections.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { ClusterConfig } from './cluster-config.ts'

export interface WorkerOptions {
  readonly name: string
  /** Jobs of this data centre first; empty: of the longest queue. */
  readonly queue: string
  /** Empty: all. */
  readonly kinds: readonly JobKind[]
  /** Jobs at once. */
  readonly width: number
}

/** For one try of one call of a master: shorter than a lease lasts. */
const MASTER_TIMEOUT_MS = 5000

/**
 * A worker that reaches masters and volume servers over the net. It starts without any of them, and
 * takes jobs as soon as a master leads.
 *
 * @throws {StoreError} CONFIG_INVALID: no address of a master, or `tls` cannot be used.
 */
export async function startWorker(
  parts: { readonly clock: Clock; readonly random: Random; readonly logger: Logger },
  { masters, secret, tls }: ClusterConfig,
  options: WorkerOptions,
): Promise<AsyncDisposable> {
  await using opening = new DisposeStack()
  const config = { addresses: masters, secret, tls, timeoutMs: MASTER_TIMEOUT_MS }
  const jobs = opening.use(await RemoteJobs.open(parts, config))
  const { connect } = opening.use(await VolumeConnections.open(parts, { secret, tls }))
  const master = opening.use(await RemoteMaster.open(parts, config))
  const namespace = opening.use(await RemoteNamespace.open(parts, config))
  const tokens = tokensOf(secret, parts.clock)
  const client = opening.use(HayloftClient.over({ ...parts, master, connect, tokens }))
  const objects = { namespace, client }
  opening.use(Worker.start({ ...parts, jobs, connect, objects }, options))
  return opening.move()
}
