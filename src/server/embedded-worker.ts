import { Worker } from '../jobs/worker.ts'
import type { MasterServer } from '../master/master-server.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
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
  const parts = { jobs: master.api.jobs, connect, clock, random, logger }
  const name = `master ${master.location.url}`
  return await Worker.start(parts, { name, queue: '', kinds: [], width })
}
