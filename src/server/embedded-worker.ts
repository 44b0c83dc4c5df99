import { tokensOf } from '../client/file-tokens.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import { Worker } from '../jobs/worker.ts'
import type { MasterServer } from '../master/master-server.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'

export interface EmbeddedWorkerParts {
  readonly master: MasterServer
  readonly connect: ConnectVolume
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

/**
 * The worker beside a master: so that a cluster repairs itself when nobody starts one elsewhere.
 * Close it before the volume servers of this process, and before the master, which it gives its
 * jobs back to.
 */
export async function startEmbeddedWorker(
  { master, connect, clock, random, logger }: EmbeddedWorkerParts,
  width: number,
): Promise<AsyncDisposable> {
  await using opening = new DisposeStack()
  const shared = { connect, clock, random, logger }
  const tokens = tokensOf(master.secret, clock)
  const client = opening.use(HayloftClient.over({ ...shared, master: master.api, tokens }))
  const objects = { namespace: master.api.namespace, client }
  const name = `master ${master.location.url}`
  const options = { name, queue: '', kinds: [], width }
  opening.use(Worker.start({ ...shared, jobs: master.api.jobs, objects }, options))
  return opening.move()
}
