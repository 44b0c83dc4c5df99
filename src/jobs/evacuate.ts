import { StoreError } from '../base/store-error.ts'
import type { Job, JobContext } from './job.ts'
import { QueuedMoves } from './queued-moves.ts'

/**
 * Moves every volume away from a server.
 *
 * @throws {StoreError} REQUEST_INVALID: the target names no server.
 */
export function createEvacuate(context: JobContext): Job {
  const { node } = context.lease.job.target
  if (node === undefined || node === '') {
    throw new StoreError('REQUEST_INVALID', 'an evacuation needs the url of the server')
  }
  return new QueuedMoves(context, { kind: 'evacuate' })
}
